//! A package that dnf can make from what is installed and a small delta is left to dnf.

use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::{fs, io};

use pkgtorrent_test_support::dnf::Host;
use pkgtorrent_test_support::{Repository, Rpm, Server, StandIn, process};

const BUILD_LIMIT: Duration = Duration::from_secs(60);

/// Builds a package as distributions do: a delta is applied by compressing the payload once more, which gives the same
/// bytes only for a compressor that rpm knows.
fn build(into: &Path, version: &str, requires: &str) {
    let work = tempfile::tempdir().expect("a directory");
    // Much that stays the same, and the version.
    let noise: Vec<String> =
        (0..9_000_u64).map(|n| format!("{:016x}", n.wrapping_mul(0x9E37_79B9_7F4A_7C15))).collect();
    fs::write(work.path().join("payload"), format!("{version}\n{}", noise.join("\n"))).expect("a payload");
    let spec = format!(
        "Name: changing\nVersion: {version}\nRelease: 1\nSummary: A test's package\nLicense: MIT\nBuildArch: noarch\n{requires}\n\
         %description\nx\n%install\ninstall -D {} %{{buildroot}}/usr/share/changing\n%files\n/usr/share/changing\n",
        work.path().join("payload").display()
    );
    fs::write(work.path().join("changing.spec"), spec).expect("a specification");
    let mut command = Command::new(process::installed("rpmbuild"));
    command
        .args(["--quiet", "--define", &format!("_topdir {}", work.path().display())])
        .args(["--define", "_binary_payload w9.gzdio", "-bb"])
        .arg(work.path().join("changing.spec"));
    process::run(&mut command, BUILD_LIMIT);
    let name = format!("changing-{version}-1.noarch.rpm");
    copy(&work.path().join("RPMS/noarch").join(&name), &into.join(&name)).expect("a built package");
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to.parent().unwrap_or(to))?;
    fs::copy(from, to).map(|_| ())
}

#[test]
fn the_helper_is_asked_for_what_dnf_cannot_make_from_a_delta() {
    assert!(Path::new("/usr/bin/applydeltarpm").exists(), "run `scripts/install-deps test`");
    let directory = tempfile::tempdir().expect("a directory");
    let old = directory.path().join("old");
    build(&old, "1.0", "");
    Repository::create(&old).index();
    let new = directory.path().join("new");
    build(&new, "2.0", "Requires: other");
    let repository = Repository::create(&new);
    repository.add(&Rpm::new("other"));
    let before = old.display().to_string();
    repository.index_with(&["--deltas", "--oldpackagedirs", &before, "--num-deltas", "1"]);
    assert!(new.join("drpms").is_dir(), "createrepo_c makes no deltas");
    let server = Server::files(directory.path());

    let upgrade = |deltas: &str| {
        let stand_in = StandIn::new(directory.path());
        let host = Host::new().repository("repo", &server.url("/old/")).shim(&stand_in.options("place"));
        let _ = host.dnf(&["install", "changing"]).succeeded();
        assert_eq!(stand_in.take_calls().len(), 1);
        let host = host.repository("repo", &server.url("/new/"));
        let outcome = host.dnf(&[deltas, "--setopt=deltarpm_percentage=100", "upgrade"]).succeeded();
        assert!(outcome.installed.contains("changing-2.0-1"), "{}", outcome.output);
        assert!(outcome.installed.contains("other-1.0-1"), "{}", outcome.output);
        let calls = stand_in.take_calls();
        assert_eq!(calls.len(), 1, "{calls:?}");
        let packages = calls[0].packages().iter();
        let mut names: Vec<String> = packages.map(|package| package["name"].to_string()).collect();
        names.sort();
        (names, server.take_packages())
    };
    let (names, downloaded) = upgrade("--setopt=deltarpm=1");
    assert_eq!(names, ["\"other-1.0-1.noarch\""]);
    // The delta is applied to the files of this machine, not to those of the installroot, so that here dnf has to
    // fetch the package after all.
    assert_eq!(downloaded, ["changing-1.0-1_2.0-1.noarch.drpm", "changing-2.0-1.noarch.rpm"]);

    let (names, downloaded) = upgrade("--setopt=deltarpm=0");
    assert_eq!(names, ["\"changing-2.0-1.noarch\"", "\"other-1.0-1.noarch\""]);
    assert!(downloaded.is_empty(), "{downloaded:?}");
}
