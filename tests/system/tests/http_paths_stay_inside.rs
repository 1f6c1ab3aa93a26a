//! Nothing outside the root is ever sent, whatever a client asks for and whatever lies or is listed below the root.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use pkgtorrent_protocol::{PackageDigest, Sha256Digest};
use pkgtorrent_system_tests::site::{Site, web_seed_path};
use pkgtorrent_system_tests::{Lab, sha256, wire};
use pkgtorrent_test_support::http::{self, Connection, Request};
use pkgtorrent_test_support::metadata::{self, Compression, Listed};
use pkgtorrent_test_support::process::{self, Program};
use pkgtorrent_test_support::{Launch, Repository, Rpm, ask};
use rustix::fs::{FileType, Mode, makedev, mknodat};

/// What stands in every file outside of the root. No answer may hold it.
const SECRET: &[u8] = b"this is nobody's business";

const ANSWER_LIMIT: Duration = Duration::from_secs(20);

fn holds_secret(bytes: &[u8]) -> bool {
    bytes.windows(SECRET.len()).any(|window| window == SECRET) || bytes.starts_with(b"root:")
}

/// Every way to write `../` that some server has fallen for.
const UPS: [&str; 22] = [
    "../",
    "..%2f",
    "..%2F",
    "%2e%2e/",
    "%2E%2E%2F",
    ".%2e/",
    "%2e./",
    "..\\",
    "..%5c",
    "%2e%2e%5c",
    "%252e%252e/",
    "%252e%252e%252f",
    "..%252f",
    "....//",
    "..;/",
    "..%00/",
    "%2e%2e%00%2f",
    "%c0%ae%c0%ae/",
    "%uff0e%uff0e/",
    "..//",
    "./../",
    "..%20/",
];

#[test]
fn no_spelling_of_a_path_leaves_the_root() {
    let site = Site::start(&[("inside.rpm", 5_000)], "");
    site.plan();
    let (service, package) = (site.service.addr(), &site.packages[0]);
    fs::write(site.path("secret.rpm"), SECRET).expect("a secret");
    let state =
        fs::read_dir(site.path("state")).expect("the state").next().expect("a file").expect("an entry");
    let state = format!("state/{}", state.file_name().to_str().expect("a name"));
    let bundle = format!("{}webseed/pkgtorrent/", ask::PREFIX);
    let bases = [
        "/".to_owned(),
        "/repo/".into(),
        "/repo/repodata/".into(),
        "/pkgtorrent/".into(),
        ask::PREFIX.into(),
        format!("{}torrents/", ask::PREFIX),
        format!("{}sets/", ask::PREFIX),
        format!("{bundle}.pad/"),
        format!("{bundle}{}/", package.identity),
        bundle,
    ];
    let mut targets = Vec::new();
    for base in &bases {
        for up in UPS {
            for depth in 1..=8 {
                let up = up.repeat(depth);
                targets.extend([
                    format!("{base}{up}secret.rpm"),
                    format!("{base}{up}{state}"),
                    format!("{base}{up}etc/passwd"),
                ]);
            }
        }
        let outside = site.path("secret.rpm");
        let absolute = outside.to_str().expect("a path");
        for absolute in [absolute, "/etc/passwd"] {
            let all_escaped = absolute.replace('/', "%2f");
            targets.extend([
                format!("{base}{absolute}"),
                format!("{base}/{absolute}"),
                format!("{base}{all_escaped}"),
                format!("{base}%00{all_escaped}"),
                format!("http://x{base}..{absolute}"),
                format!("file://{absolute}"),
                absolute.to_owned(),
            ]);
        }
        for long in [200, 255, 256, 4_000, 5_000, 30_000] {
            targets.push(format!("{base}{}", "a".repeat(long)));
            targets.push(format!("{base}{}inside.rpm", "a/".repeat(long / 2)));
            targets.push(format!("{base}{}secret.rpm", "../".repeat(long / 3)));
        }
    }
    let mut connection = Connection::open(service).expect("connects");
    for target in &targets {
        let response = connection.send(&Request::get(target)).unwrap_or_else(|_| {
            // What is no request at all is answered and then cut off.
            connection = Connection::open(service).expect("connects");
            connection.send(&Request::get(target)).unwrap_or_else(|e| panic!("{target}: {e}"))
        });
        if response.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
            || response.status == 400
        {
            connection = Connection::open(service).expect("connects");
        }
        assert!(!holds_secret(&response.body), "{target}");
        // A package's name on the web seed says nothing, its digest everything.
        let is_package =
            target.starts_with(&format!("{}webseed/pkgtorrent/{}", ask::PREFIX, package.identity))
                && response.body == package.bytes();
        assert!(
            matches!(response.status, 400 | 404 | 414 | 431) || is_package,
            "{target}: {}",
            response.status
        );
        assert!(response.text().len() < 500 || is_package, "{target}: {}", response.text());
    }
    for raw in ["GET /\0/secret.rpm", "GET ../secret.rpm", "GET secret.rpm", "GET \\..\\secret.rpm", "GET *"]
    {
        let heard = wire::talk(
            service,
            format!("{raw} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes(),
            ANSWER_LIMIT,
        );
        assert!(heard.closed && !holds_secret(&heard.bytes), "{raw}");
        assert!(heard.statuses().iter().all(|status| (400..500).contains(status)), "{raw}: {}", heard.text());
    }
    // The same path, when it leads nowhere else, is served.
    let whole = http::get(service, "/repo/inside.rpm").expect_status(200);
    assert!(whole.body == package.bytes());
}

#[test]
fn symlinks_lead_only_inside() {
    let lab = Lab::new();
    let outside = lab.state().with_file_name("outside");
    fs::create_dir_all(outside.join("repodata")).expect("a directory");
    fs::write(outside.join("secret.rpm"), SECRET).expect("a secret");
    fs::write(outside.join("repodata/repomd.xml"), SECRET).expect("a secret");
    let repository = Repository::create(lab.path("repo"));
    let package = repository.add_blob("real.rpm", 3_000, 1);
    repository.list(std::slice::from_ref(&package));
    let link = |to: &Path, at: &str| symlink(to, lab.path(at)).unwrap_or_else(|e| panic!("{at}: {e}"));
    link(&outside.join("secret.rpm"), "file");
    link(&outside, "directory");
    link(Path::new("../outside/secret.rpm"), "relative");
    link(Path::new("../outside"), "relative-directory");
    link(Path::new("second"), "first");
    link(Path::new("third"), "second");
    link(&outside.join("secret.rpm"), "third");
    link(Path::new("repo/../../outside/secret.rpm"), "through");
    link(Path::new("/etc/passwd"), "passwd");
    link(Path::new("/proc/self/environ"), "environ");
    link(Path::new("/proc/self/root"), "magic");
    link(Path::new("/proc/self/cwd"), "cwd");
    link(Path::new("loop"), "loop");
    link(Path::new("nowhere"), "dangling");
    link(&lab.state(), "state");
    link(&lab.root(), "absolute-inside");
    link(&lab.path("repo/real.rpm"), "absolute-file-inside");
    link(Path::new("repo/real.rpm"), "relative-inside");
    link(Path::new("absolute-file-inside"), "chain-inside");
    // A way out and in again is a way in.
    link(Path::new("../root/repo/real.rpm"), "out-and-in");
    fs::create_dir(lab.path("foreign")).expect("a directory");
    symlink(outside.join("repodata"), lab.path("foreign/repodata")).expect("a link");
    let service = lab.launch().config("rescan_interval = 1\n").start();
    let address = service.addr();
    let state = fs::read_dir(lab.state()).expect("the state").next().expect("a file").expect("an entry");
    let state = format!("/state/{}", state.file_name().to_str().expect("a name"));
    let outwards = [
        "/file",
        "/directory/secret.rpm",
        "/directory",
        "/relative",
        "/relative-directory/secret.rpm",
        "/first",
        "/second",
        "/third",
        "/through",
        "/passwd",
        "/environ",
        "/magic/etc/passwd",
        "/cwd/secret.rpm",
        "/loop",
        "/dangling",
        "/foreign/repodata/repomd.xml",
        "/absolute-inside/file",
        "/absolute-inside/directory/secret.rpm",
        state.as_str(),
    ];
    for target in outwards {
        for request in
            [Request::get(target), Request::head(target), Request::get(target).header("Range", "bytes=0-3")]
        {
            let response = http::send(address, &request);
            assert!(!holds_secret(&response.body), "{target}");
            assert_eq!(response.status, 404, "{target}");
            assert_eq!(response.header("etag"), None, "{target}: nothing is told of it either");
        }
    }
    let inwards = [
        "/absolute-inside/repo/real.rpm",
        "/absolute-file-inside",
        "/relative-inside",
        "/chain-inside",
        "/out-and-in",
    ];
    for target in inwards {
        assert!(http::get(address, target).expect_status(200).body == package.bytes(), "{target}");
    }
    let page = http::get(address, "/pkgtorrent/").text();
    assert!(page.contains("/repo") && !page.contains("/foreign"), "{page}");
}

#[test]
fn metadata_cannot_list_what_lies_outside() {
    let lab = Lab::new();
    let outside = lab.state().with_file_name("outside");
    let secret = Rpm::new("secret").build();
    fs::create_dir_all(&outside).expect("a directory");
    fs::write(outside.join("secret.rpm"), &secret).expect("a package");
    let identity = sha256(&secret);
    let repository = Repository::create(lab.path("repo"));
    let inside = repository.add_blob("inside.rpm", 4_000, 1);
    symlink(&outside, lab.path("repo/out")).expect("a link");
    symlink(outside.join("secret.rpm"), lab.path("repo/linked.rpm")).expect("a link");
    // A directory of packages without metadata, one of which is a link out.
    fs::create_dir(lab.path("loose")).expect("a directory");
    symlink(outside.join("secret.rpm"), lab.path("loose/secret.rpm")).expect("a link");
    let listed = |href: &str| Listed::new(identity.into(), secret.len() as u64, href);
    let absolute = outside.join("secret.rpm");
    let mut entries: Vec<Listed> = [
        "out/secret.rpm",
        "linked.rpm",
        "../../outside/secret.rpm",
        "out/../out/secret.rpm",
        "./../../outside/secret.rpm",
        absolute.to_str().expect("a path"),
        "..%2f..%2foutside%2fsecret.rpm",
        "%2e%2e/%2e%2e/outside/secret.rpm",
        "a\\..\\..\\secret.rpm",
        "",
        ".",
        "..",
    ]
    .into_iter()
    .map(listed)
    .collect();
    entries.push(Listed { base: Some(format!("file://{}/", outside.display())), ..listed("secret.rpm") });
    entries.push(Listed::new(inside.identity.into(), inside.size, "inside.rpm"));
    metadata::write(repository.directory(), &entries, Compression::Gzip);
    // A repository whose repomd.xml leads out to its list.
    let foreign = Repository::create(&outside);
    foreign.list(&[pkgtorrent_test_support::Package::write(&outside.join("more.rpm"), secret.clone())]);
    let leading_out = Repository::create(lab.path("leading-out"));
    fs::create_dir(lab.path("leading-out/repodata")).expect("a directory");
    let repomd = fs::read_to_string(outside.join("repodata/repomd.xml")).expect("metadata");
    let repomd = repomd.replace("href=\"repodata/", "href=\"../../outside/repodata/");
    fs::write(leading_out.directory().join("repodata/repomd.xml"), repomd).expect("metadata");

    let service = lab.start();
    let address = service.addr();
    let wanted: [PackageDigest; 2] = [identity.into(), inside.identity.into()];
    let plan = ask::post_set(address, &wanted);
    assert_eq!(plan.unknown, [identity.into()], "only what lies inside is planned");
    let hidden = pkgtorrent_test_support::Package::write(&outside.join("again.rpm"), secret.clone());
    for target in [web_seed_path(&hidden), "/repo/linked.rpm".into(), "/repo/out/secret.rpm".into()] {
        let response = http::get(address, &target);
        assert_eq!(response.status, 404, "{target}");
        assert!(response.body != secret, "{target}");
    }
    assert!(http::get(address, &web_seed_path(&inside)).expect_status(200).body == inside.bytes());
    let page = http::get(address, "/pkgtorrent/").text();
    assert!(!page.contains("secret"), "{page}");
}

#[test]
fn what_is_no_regular_file_is_not_found_and_holds_nobody_up() {
    let lab = Lab::new();
    fs::create_dir(lab.path("directory.rpm")).expect("a directory");
    let node = |name: &str, kind, device| {
        mknodat(rustix::fs::CWD, lab.path(name), kind, Mode::RUSR | Mode::WUSR, device)
    };
    node("fifo.rpm", FileType::Fifo, 0).expect("a FIFO");
    node("fifo", FileType::Fifo, 0).expect("a FIFO");
    let _socket = UnixListener::bind(lab.path("socket.rpm")).expect("a socket");
    let mut targets = vec!["/directory.rpm", "/fifo.rpm", "/fifo", "/socket.rpm", "/"];
    // Only root can make devices, and not in every container.
    for (name, minor) in [("zero.rpm", 5), ("tty", 0)] {
        if node(name, FileType::CharacterDevice, makedev(if name == "tty" { 5 } else { 1 }, minor)).is_ok() {
            targets.push(if name == "tty" { "/tty" } else { "/zero.rpm" });
        }
    }
    let service = lab.start();
    let mut connection = Connection::open(service.addr()).expect("connects");
    connection.set_timeout(ANSWER_LIMIT).expect("a time limit");
    for target in targets {
        for request in [Request::get(target), Request::head(target)] {
            assert_eq!(connection.send(&request).expect("an answer").status, 404, "{target}");
        }
    }
    assert_eq!(service.metric("pkgtorrent_catalog_packages"), 0.0);
}

#[test]
fn state_and_root_are_never_mixed() {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path().join("root");
    fs::create_dir_all(root.join("below")).expect("a root");
    symlink(root.join("below"), directory.path().join("link")).expect("a link");
    for (root, state) in [
        (root.clone(), root.join("state")),
        (root.clone(), root.clone()),
        (root.clone(), directory.path().join("link")),
        (root.join("below"), root.clone()),
    ] {
        let mut command: Command = Launch::new(&root, &state).listen("127.0.0.1:0").command(directory.path());
        let mut program = Program::start(&mut command, &directory.path().join("log"));
        assert!(!program.wait(ANSWER_LIMIT).success(), "{} in {}", state.display(), root.display());
        assert!(program.output().contains("must not lie in each other"), "{}", program.output());
    }
}

/// A package that is replaced by a link out, after it was verified, is gone.
#[test]
fn a_package_that_becomes_a_link_is_not_followed_out() {
    let site = Site::start(&[("a.rpm", SECRET.len()), ("b.rpm", 100)], "");
    let (service, package) = (site.service.addr(), &site.packages[0]);
    site.plan();
    fs::write(site.path("secret"), SECRET).expect("a secret");
    let new = site.root().join("repo/.new");
    symlink(site.path("secret"), &new).expect("a link");
    fs::rename(&new, &package.path).expect("renamed");
    for target in [web_seed_path(package), "/repo/a.rpm".into()] {
        let response = http::get(service, &target);
        assert_eq!(response.status, 404, "{target}");
        assert!(!holds_secret(&response.body), "{target}");
    }
    let plan = process::wait_for("plan without the package", ANSWER_LIMIT, || {
        let plan = ask::post_set(service, &site.digests());
        (!plan.unknown.is_empty()).then_some(plan)
    });
    assert_eq!(plan.unknown, [PackageDigest::from(Sha256Digest(package.identity.0))]);
}
