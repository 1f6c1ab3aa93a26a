//! What the other tests rely on: packages that rpm accepts, and metadata that createrepo_c made of them.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use pkgtorrent_protocol::Algorithm;
use pkgtorrent_test_support::{Compression, Repository, Rpm, process};

const LIMIT: Duration = Duration::from_secs(30);

fn primary_list(repository: &Repository, extension: &str) -> String {
    let repodata = repository.directory().join("repodata");
    let repomd = fs::read_to_string(repodata.join("repomd.xml")).expect("repomd.xml");
    let name = repomd
        .split('"')
        .find_map(|part| part.strip_prefix("repodata/").filter(|name| name.contains("-primary.xml")))
        .expect("repomd.xml names a primary list");
    assert!(name.ends_with(extension), "{name}");
    let bytes = fs::read(repodata.join(name)).expect("the primary list that repomd.xml names");
    let mut text = String::new();
    let read = match extension {
        "gz" => std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(bytes.as_slice()), &mut text),
        "zst" => {
            std::io::Read::read_to_string(&mut zstd::Decoder::new(bytes.as_slice()).expect("zstd"), &mut text)
        }
        "xz" => {
            std::io::Read::read_to_string(&mut liblzma::read::XzDecoder::new(bytes.as_slice()), &mut text)
        }
        _ => std::io::Read::read_to_string(&mut bytes.as_slice(), &mut text),
    };
    read.expect("the primary list is text");
    text
}

fn odd_names() -> Vec<Rpm> {
    vec![
        Rpm::new("libstdc++").version("1.0~rc1^git2").release("3").arch("x86_64").payload_len(40_000),
        Rpm::new("unicode").epoch(2).payload_len(10).named("ünïcode-日本-1.0-1.noarch.rpm"),
        Rpm::new("exact").size(32_768),
    ]
}

#[test]
fn createrepo_lists_what_was_built() {
    let directory = tempfile::tempdir().expect("a directory");
    for (argument, algorithm) in
        [("sha", Algorithm::Sha1), ("sha256", Algorithm::Sha256), ("sha512", Algorithm::Sha512)]
    {
        let repository = Repository::create(directory.path().join(argument));
        let packages: Vec<_> = odd_names().iter().map(|rpm| repository.add_in("Packages", rpm)).collect();
        repository.index_with(&["--checksum", argument]);
        let list = primary_list(&repository, "gz");
        for package in &packages {
            let digest = package.digest(algorithm).to_string();
            let digits = digest.split(':').next_back().expect("digits");
            assert!(
                list.contains(&format!("<checksum type=\"{argument}\" pkgid=\"YES\">{digits}<")),
                "{list}"
            );
            assert!(list.contains(&format!("<size package=\"{}\"", package.size)), "{list}");
        }
    }
}

#[test]
fn a_list_survives_another_compression() {
    let directory = tempfile::tempdir().expect("a directory");
    let repository = Repository::create(directory.path());
    let package = repository.add(&Rpm::new("one"));
    for (compression, extension) in [
        (Compression::None, "xml"),
        (Compression::Zstd, "zst"),
        (Compression::Xz, "xz"),
        (Compression::Gzip, "gz"),
    ] {
        repository.index_compressed(compression);
        assert!(primary_list(&repository, extension).contains(&package.identity.to_string()));
    }
}

#[test]
fn rpm_accepts_the_packages() {
    let directory = tempfile::tempdir().expect("a directory");
    let repository = Repository::create(directory.path());
    for rpm in odd_names() {
        let package = repository.add(&rpm);
        let mut command = Command::new(process::installed("rpm"));
        command
            .args(["--checksig", "--verbose", "--dbpath"])
            .arg(directory.path().join("db"))
            .arg(&package.path);
        let output = process::run(&mut command, LIMIT);
        assert!(output.contains("digest: OK") && !output.contains("BAD"), "{output}");
        let again = repository.add(&rpm.rebuilt());
        assert_eq!((&again.path, again.size), (&package.path, package.size));
        assert_ne!(again.identity, package.identity);
        assert_eq!(fs::read(Path::new(&again.path)).expect("the file"), again.bytes());
        let mut command = Command::new(process::installed("rpm"));
        command
            .args(["--checksig", "--verbose", "--dbpath"])
            .arg(directory.path().join("db"))
            .arg(&again.path);
        assert!(!process::run(&mut command, LIMIT).contains("BAD"));
    }
}
