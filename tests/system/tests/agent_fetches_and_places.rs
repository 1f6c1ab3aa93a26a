//! `fetch` puts packages where they are wanted, from the origin the first time and from the store afterwards, and says of
//! each what became of it.

use std::fs;
use std::path::Path;

use pkgtorrent_protocol::control::{FETCH_REQUEST_LEN_MAX, FetchPackage, Sources};
use pkgtorrent_protocol::set::SET_PACKAGES_MAX;
use pkgtorrent_protocol::{Algorithm, PackageDigest};
use pkgtorrent_system_tests::site::{ODD_NAMES, Site};
use pkgtorrent_test_support::agent::{Agent, assert_placed, want};
use pkgtorrent_test_support::metadata::{self, Compression, Listed};
use pkgtorrent_test_support::{Launch, Package, Repository, Service};
use tempfile::TempDir;

/// Around every border: of pieces, of classes of packages, of what one request asks for.
const SIZES: [(&str, usize); 8] = [
    ("one-byte.rpm", 1),
    ("one-piece.rpm", 32 << 10),
    ("one-piece-and-a-byte.rpm", (32 << 10) + 1),
    ("small.rpm", 300_001),
    ("largest-small.rpm", (1 << 20) - 1),
    ("smallest-medium.rpm", 1 << 20),
    ("medium.rpm", 5_000_003),
    ("large.rpm", (64 << 20) + 4_000_001),
];

fn origin(bytes: u64) -> Sources {
    Sources { origin: bytes, ..Sources::default() }
}

fn store(bytes: u64) -> Sources {
    Sources { store: bytes, ..Sources::default() }
}

fn assert_all_placed(packages: &[Package], wants: &[FetchPackage]) {
    for (package, want) in packages.iter().zip(wants) {
        assert_placed(package, &want.dest);
    }
}

#[test]
fn from_the_origin_then_from_the_store() {
    let names = ODD_NAMES.iter().map(|name| (*name, 40_000));
    let files: Vec<(&str, usize)> = SIZES.into_iter().chain(names).collect();
    let mut site = Site::start(&files, "");
    let agent = Agent::new();
    let sum = site.packages.iter().map(|package| package.size).sum();

    let wants = agent.wants_in("cache/is/new", &site.packages);
    let fetched = agent.fetch(&site.service.url("/"), &wants).all_placed();
    assert_eq!(fetched.done(), (wants.len(), 0, origin(sum)));
    for (index, want) in wants.iter().enumerate() {
        assert_eq!(fetched.placed(index), Some(origin(want.size)), "{}", want.name);
    }
    assert_all_placed(&site.packages, &wants);
    assert_eq!(
        site.service.metric("pkgtorrent_webseed_bytes_total"),
        sum as f64,
        "each byte once, no padding"
    );

    site.service.stop();
    let elsewhere = agent.wants_in("cache/is/elsewhere", &site.packages);
    let fetched = agent.fetch(&site.service.url("/"), &elsewhere).all_placed();
    assert_eq!(fetched.done(), (wants.len(), 0, store(sum)));
    assert_all_placed(&site.packages, &elsewhere);

    // Where a package lies already, nobody is asked.
    agent.stop();
    let fetched = agent.fetch(&site.service.url("/"), &elsewhere).all_placed();
    assert_eq!(fetched.done(), (wants.len(), 0, store(sum)));
    assert_eq!(agent.status(), None, "an agent was started for nothing");

    // A new agent has what the old one had.
    let again = agent.wants_in("cache/again", &site.packages);
    let fetched = agent.fetch(&site.service.url("/"), &again).all_placed();
    assert_eq!(fetched.bytes(), store(sum));
    let status = agent.status().expect("an agent runs");
    assert_eq!((status.packages, status.bytes), (wants.len() as u64, sum));
}

/// A mirror whose metadata has these digests of a package each.
fn site_of_digests(directory: &TempDir, algorithms: &[Algorithm]) -> (Service, Vec<Package>) {
    let root = directory.path().join("root");
    let repository = Repository::create(root.join("repo"));
    let packages: Vec<Package> = (0_u64..)
        .zip(algorithms)
        .map(|(seed, algorithm)| repository.add_blob(&format!("{algorithm:?}.rpm"), 100_000, seed))
        .collect();
    let listed: Vec<Listed> = packages
        .iter()
        .zip(algorithms)
        .map(|(package, algorithm)| {
            Listed::new(package.digest(*algorithm), package.size, package.file_name())
        })
        .collect();
    metadata::write(repository.directory(), &listed, Compression::Gzip);
    (Launch::new(&root, &directory.path().join("state")).start(), packages)
}

#[test]
fn by_whatever_digest_the_metadata_has() {
    let directory = tempfile::tempdir().unwrap();
    let (mut service, packages) = site_of_digests(&directory, &Algorithm::ALL);
    let agent = Agent::new();
    let by_digest = |directory: &str| {
        let mut wants = agent.wants_in(directory, &packages);
        for ((want, package), algorithm) in wants.iter_mut().zip(&packages).zip(Algorithm::ALL) {
            want.digest = package.digest(algorithm);
        }
        wants
    };
    let sum = packages.iter().map(|package| package.size).sum();

    let wants = by_digest("first");
    let fetched = agent.fetch(&service.url("/"), &wants).all_placed();
    assert_eq!(fetched.bytes(), origin(sum));
    assert_all_placed(&packages, &wants);

    service.stop();
    for restarted in [false, true] {
        if restarted {
            agent.stop();
        }
        let wants = by_digest(&format!("second-{restarted}"));
        let fetched = agent.fetch(&service.url("/"), &wants).all_placed();
        assert_eq!(fetched.bytes(), store(sum));
        assert_all_placed(&packages, &wants);
    }
    // They are the same packages by their own digests.
    let wants = agent.wants_in("third", &packages);
    assert_eq!(agent.fetch(&service.url("/"), &wants).all_placed().bytes(), store(sum));
}

#[test]
fn two_digests_of_one_package_are_one_download() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    let repository = Repository::create(root.join("repo"));
    let package = repository.add_blob("a.rpm", 400_000, 1);
    let listed =
        Algorithm::ALL.map(|algorithm| Listed::new(package.digest(algorithm), package.size, "a.rpm"));
    metadata::write(repository.directory(), &listed, Compression::Gzip);
    let service = Launch::new(&root, &directory.path().join("state")).start();
    let agent = Agent::new();
    let wants = Algorithm::ALL.map(|algorithm| {
        let want = want(&package, &agent.path(&format!("cache/{algorithm:?}.rpm")));
        FetchPackage { digest: package.digest(algorithm), ..want }
    });
    let fetched = agent.fetch(&service.url("/"), &wants).all_placed();
    for want in &wants {
        assert_placed(&package, &want.dest);
    }
    assert_eq!(fetched.bytes().origin, package.size, "{fetched:?}");
    assert_eq!(service.metric("pkgtorrent_webseed_bytes_total"), package.size as f64);
}

#[test]
fn one_package_may_be_wanted_twice() {
    let site = Site::start(&[("a.rpm", 50_000)], "");
    let agent = Agent::new();
    let package = &site.packages[0];
    let wants = ["x/a.rpm", "y/a.rpm", "x/a.rpm"].map(|dest| want(package, &agent.path(dest)));
    let fetched = agent.fetch(&site.service.url("/"), &wants).all_placed();
    assert_eq!(fetched.bytes(), Sources { peers: 0, origin: 50_000, store: 100_000 });
    for want in &wants {
        assert_placed(package, &want.dest);
    }
}

#[test]
fn auto_asks_the_services_of_the_packages_urls() {
    let sites = [("a.rpm", 30_000), ("b.rpm", 2_000_000)].map(|file| Site::start(&[file], ""));
    let gone = Site::start(&[("c.rpm", 10)], "");
    let mut packages: Vec<Package> = sites.iter().map(|site| site.packages[0].clone()).collect();
    packages.push(gone.packages[0].clone());
    let gone_url = gone.service.url("/repo/c.rpm");
    drop(gone);
    let agent = Agent::with_config("service = \"auto\"\n");
    let wants_in = |directory: &str| {
        let mut wants = agent.wants_in(directory, &packages);
        wants[0].url = sites[0].service.url("/repo/a.rpm");
        wants[1].url = sites[1].service.url("/repo/b.rpm");
        wants[2].url.clone_from(&gone_url);
        wants.push(FetchPackage { url: "file:///srv/d.rpm".into(), ..want(&packages[0], &agent.path("d")) });
        wants
    };
    let wants = wants_in("one");
    let fetched = agent.start(agent.command(&["fetch"]), &wants).wait();
    assert_eq!(fetched.done(), (2, 2, origin(2_030_000)), "{fetched:?}");
    let fetched = fetched.failed_with(2, "onnection refused").failed_with(3, "no host");
    assert_all_placed(&packages[..2], &wants);
    for (index, site) in sites.iter().enumerate() {
        let sent = site.service.metric("pkgtorrent_webseed_bytes_total");
        assert_eq!(sent, packages[index].size as f64, "{fetched:?}");
    }
    // The command line counts more than the configuration.
    let fetched = agent.fetch(&sites[0].service.url("/"), &wants_in("two")[1..3]);
    assert_eq!(fetched.placed(0), Some(store(2_000_000)));
    let _ = fetched.failed_with(1, "does not have it");
}

#[test]
fn what_the_service_does_not_have_is_left_and_the_rest_is_placed() {
    let site = Site::start(&[("a.rpm", 70_000), ("b.rpm", 3_000_000)], "");
    let agent = Agent::new();
    let mut wants = agent.wants(&site.packages);
    let stranger = "1".repeat(64);
    let unknown = |name: &str, digest: &str, size| FetchPackage {
        digest: digest.parse::<PackageDigest>().expect("a digest"),
        size,
        ..want(&site.packages[0], &agent.path(name))
    };
    wants.push(unknown("unknown", &format!("sha256:{stranger}"), 5));
    wants.push(unknown("unknown-512", &format!("sha512:{stranger}{stranger}"), 5));
    wants.push(unknown("other-size", &site.packages[0].digest(Algorithm::Sha1).to_string(), 70_000));
    wants.push(unknown("empty", &format!("sha256:{}", "2".repeat(64)), 0));
    wants.push(unknown("absurd", &format!("sha256:{}", "3".repeat(64)), u64::MAX));
    let fetched = agent.fetch(&site.service.url("/"), &wants);
    assert_eq!(fetched.done(), (2, 5, origin(3_070_000)), "{fetched:?}");
    assert_all_placed(&site.packages, &wants);
    let fetched = (2..5).fold(fetched, |fetched, index| fetched.failed_with(index, "does not have it"));
    let fetched = fetched.failed_with(5, "no size").failed_with(6, "no size");
    for want in &wants[2..] {
        assert!(!Path::new(&want.dest).exists(), "{fetched:?}");
    }
}

#[test]
fn a_size_that_is_not_the_packages_is_refused() {
    let site = Site::start(&[("a.rpm", 70_000), ("b.rpm", 80_000)], "");
    let agent = Agent::new();
    let mut wants = agent.wants(&site.packages);
    wants[0].size += 1;
    let fetched = agent.fetch(&site.service.url("/"), &wants).failed_with(0, "70000 bytes, not 70001");
    assert_eq!(fetched.done().0, 1);
    // And from the store as well.
    let right = agent.wants(&site.packages);
    let _ = agent.fetch(&site.service.url("/"), &right).all_placed();
    wants[0].dest = agent.path("elsewhere").to_str().unwrap().into();
    let _ = agent.fetch(&site.service.url("/"), &wants).failed_with(0, "70000 bytes, not 70001");
    assert!(!agent.path("elsewhere").exists());
}

#[test]
fn without_a_service_nothing_is_asked_and_nothing_started() {
    let site = Site::start(&[("a.rpm", 70_000)], "");
    let configured = format!("service = \"{}\"\n", site.service.url("/"));
    for (config, arguments) in [("", &["fetch"][..]), (configured.as_str(), &["fetch", "--service", ""])] {
        let agent = Agent::with_config(config);
        let fetched = agent.start(agent.command(arguments), &agent.wants(&site.packages)).wait();
        let fetched = fetched.failed_with(0, "no service is configured");
        assert_eq!(fetched.status, Some(3));
        assert!(!agent.state_dir().exists(), "{fetched:?}");
    }
    // What is configured is asked when the command line says nothing.
    let agent = Agent::with_config(&configured);
    let fetched = agent.start(agent.command(&["fetch"]), &agent.wants(&site.packages)).wait();
    assert_eq!(fetched.all_placed().bytes(), origin(70_000));
}

#[test]
fn an_empty_transaction_is_a_success_that_starts_nothing() {
    let agent = Agent::new();
    let fetched = agent.fetch("http://127.0.0.1:9/", &[]).all_placed();
    assert_eq!((fetched.done(), fetched.events.len()), ((0, 0, Sources::default()), 1));
    assert!(!agent.state_dir().exists());
}

#[test]
fn bad_input_is_named_and_has_no_events() {
    let agent = Agent::new();
    let service = ["--service", "http://127.0.0.1:9/"];
    let digest = format!("sha256:{}", "0".repeat(64));
    let package = |text: &str| format!(r#"{{"version":1,"packages":[{text}]}}"#);
    let good = format!(r#"{{"name":"a","url":"","digest":"{digest}","size":1,"dest":"/x/a"}}"#);
    let same_dest = good.replace("sha256:0", "sha256:1");
    for (input, reason) in [
        (String::new(), "EOF"),
        ("nonsense".into(), "line 1"),
        ("{\"version\":1,\"packages\":[".into(), "EOF"),
        ("[]".into(), "line 1"),
        (r#"{"packages":[]}"#.into(), "version"),
        (r#"{"version":2,"packages":[]}"#.into(), "version 2"),
        (r#"{"version":1}"#.into(), "packages"),
        (package(&good.replace(r#""size":1"#, r#""size":-1"#)), "invalid value"),
        (package(&good.replace("sha256:", "md5:")), "digest"),
        (package(&good.replace("sha256:0", "sha256:")), "digest"),
        (package(&good.replace(r#""dest":"/x/a""#, r#""dest":"x/a""#)), "no absolute path"),
        (package(&good.replace(r#""dest":"/x/a""#, r#""dest":"/""#)), "no absolute path"),
        (package(&good.replace(r#","dest":"/x/a""#, "")), "dest"),
        (package(&format!("{good},{same_dest}")), "same destination"),
        (package(&vec![good.as_str(); SET_PACKAGES_MAX + 1].join(",")), "at most"),
        (" ".repeat(FETCH_REQUEST_LEN_MAX + 1), "longer than"),
    ] {
        let _ = agent.fetch_text(&service, input.as_bytes()).refused_with(reason);
    }
    let _ = agent.fetch_text(&service, b"{\"version\":1,\xff").refused_with("request on standard input");
    let empty = package("");
    let _ = agent.fetch_text(&["--service", "ftp://x/"], empty.as_bytes()).refused_with("http");
    let _ = agent.fetch_text(&["--sevrice"], empty.as_bytes()).refused_with("--sevrice");
    agent.set_config("no_such_key = 1\n");
    let _ = agent.fetch_text(&[], empty.as_bytes()).refused_with("no_such_key");
    fs::remove_file(agent.config()).unwrap();
    let _ = agent.fetch_text(&[], empty.as_bytes()).refused_with("agent.toml");
    assert!(!agent.state_dir().exists());
}

#[test]
fn a_state_directory_may_be_deep_and_named_in_any_way() {
    let site = Site::start(&[("a.rpm", 70_000)], "");
    // Longer than a socket's address can be.
    let deep: String = (0..12).map(|n| format!("a directory, {n} «{}»/", "ä".repeat(10))).collect();
    let agent = Agent::new();
    let state_dir = agent.path(&format!("{deep}state"));
    assert!(state_dir.as_os_str().len() > 300);
    let agent = agent.in_dir(state_dir);
    let fetched = agent.fetch(&site.service.url("/"), &agent.wants(&site.packages)).all_placed();
    assert_eq!(fetched.bytes(), origin(70_000));
    assert_placed(&site.packages[0], agent.path("cache/a.rpm"));
    let status = agent.status().expect("an agent runs");
    assert_eq!((status.packages, Path::new(&status.state_dir)), (1, agent.state_dir()));
    assert_eq!(status.pid, agent.running().as_raw_nonzero().get() as u32);
    assert_eq!(agent.stored().len(), 1);
    agent.stop();
    assert!(!agent.state_dir().join("agent.sock").exists());
}
