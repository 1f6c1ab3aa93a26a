//! The examples in packaging/nginx with a real nginx: one that sends the files' bytes itself, and one that keeps them.

use std::path::Path;
use std::time::Duration;

use pkgtorrent_protocol::PeerId;
use pkgtorrent_protocol::plan::Plan;
use pkgtorrent_system_tests::nginx::Nginx;
use pkgtorrent_system_tests::sha256;
use pkgtorrent_system_tests::site::{ODD_NAMES, Site, escaped, web_seed_path};
use pkgtorrent_test_support::http::{self, Connection, Request, Response};
use pkgtorrent_test_support::process::wait_for;
use pkgtorrent_test_support::{Package, ask};

const FOREVER: &str = "public, max-age=31536000, immutable";

/// What the caching proxy may have kept of a mirror path is looked at again after a second.
const FRESH_LIMIT: Duration = Duration::from_secs(20);

fn files() -> Vec<(&'static str, usize)> {
    let mut files = vec![("large.rpm", 5_000_000), ("small.rpm", 900)];
    files.extend(ODD_NAMES.iter().map(|&name| (name, 30_000)));
    files
}

fn get_with(nginx: &Nginx, target: &str, headers: &[(&str, &str)]) -> Response {
    let request =
        headers.iter().fold(Request::get(target), |request, (name, value)| request.header(name, value));
    http::send(nginx.addr(), &request)
}

/// How many bytes of files the service has sent itself.
fn sent(site: &Site) -> f64 {
    site.service.metric("pkgtorrent_webseed_bytes_total")
        + site.service.metric("pkgtorrent_mirror_bytes_total")
}

fn assert_is(response: &Response, package: &Package, target: &str) {
    assert_eq!(response.status, 200, "{target}");
    assert_eq!(response.body.len() as u64, package.size, "{target}");
    assert_eq!(sha256(&response.body), package.identity, "{target}: other bytes");
}

fn mirror_path(package: &Package) -> String {
    format!("/repo/{}", escaped(package.file_name()))
}

/// What holds behind either nginx: the bytes, ranges and conditions of the web seed.
fn assert_web_seed_is_right(nginx: &Nginx, site: &Site) {
    let large = &site.packages[0];
    let (path, etag) = (web_seed_path(large), format!("\"{}\"", large.identity));
    for package in &site.packages {
        let response = http::get(nginx.addr(), &web_seed_path(package));
        assert_is(&response, package, package.file_name());
        assert_eq!(response.header("etag"), Some(format!("\"{}\"", package.identity).as_str()));
        assert_eq!(response.header("cache-control"), Some(FOREVER));
        assert_eq!(response.header("content-type"), Some("application/x-rpm"));
        assert_eq!(response.header("x-accel-redirect"), None, "what is inside stays inside");
    }
    let size = large.bytes().len();
    for (asked, range) in [
        ("0-0", 0..1),
        ("1000000-3200000", 1_000_000..3_200_001),
        ("4999990-", 4_999_990..size),
        ("-9", size - 9..size),
    ] {
        let response = get_with(nginx, &path, &[("Range", &format!("bytes={asked}"))]).expect_status(206);
        let place = format!("bytes {}-{}/{size}", range.start, range.end - 1);
        assert_eq!(response.header("content-range"), Some(place.as_str()));
        assert_eq!(response.header("etag"), Some(etag.as_str()), "a range names its version");
        assert!(response.body == large.bytes()[range], "{asked}: other bytes");
    }
    get_with(nginx, &path, &[("Range", &format!("bytes={size}-"))]).expect_status(416);
    let part = get_with(nginx, &path, &[("Range", "bytes=5-9"), ("If-Range", &etag)]).expect_status(206);
    assert!(part.body == large.bytes()[5..10]);
    let whole = get_with(nginx, &path, &[("Range", "bytes=5-9"), ("If-Range", "\"another\"")]);
    assert_is(&whole, large, "If-Range with another version");
    let same = get_with(nginx, &path, &[("If-None-Match", &etag)]).expect_status(304);
    assert!(same.body.is_empty());
    assert_is(&get_with(nginx, &path, &[("If-None-Match", "\"another\"")]), large, "another version");

    let head = http::send(nginx.addr(), &Request::head(&path)).expect_status(200);
    assert_eq!(head.header("content-length"), Some(size.to_string().as_str()));
    assert_eq!(head.header("etag"), Some(etag.as_str()));
    let padding = format!("{}webseed/pkgtorrent/.pad/70000_2", ask::PREFIX);
    assert_eq!(http::get(nginx.addr(), &padding).expect_status(200).body, vec![0; 70_000]);
    let padding = get_with(nginx, &padding, &[("Range", "bytes=100-299")]).expect_status(206);
    assert_eq!(padding.body, [0; 200]);
}

fn assert_mirror_is_right(nginx: &Nginx, site: &Site) {
    for package in &site.packages {
        let path = mirror_path(package);
        let response = http::get(nginx.addr(), &path);
        assert_is(&response, package, &path);
        let etag = response.header("etag").expect("an ETag");
        let modified = response.header("last-modified").expect("a time");
        get_with(nginx, &path, &[("If-None-Match", etag)]).expect_status(304);
        get_with(nginx, &path, &[("If-Modified-Since", modified)]).expect_status(304);
        let range =
            get_with(nginx, &path, &[("Range", "bytes=10-19"), ("If-Range", etag)]).expect_status(206);
        assert!(range.body == package.bytes()[10..20], "{path}");
        assert_is(
            &get_with(nginx, &path, &[("Range", "bytes=10-19"), ("If-Range", "\"x\"")]),
            package,
            &path,
        );
    }
    let repomd = http::get(nginx.addr(), "/repo/repodata/repomd.xml").expect_status(200);
    assert_eq!(repomd.header("content-type"), Some("text/xml"));
    assert_eq!(repomd.body, std::fs::read(site.root().join("repo/repodata/repomd.xml")).expect("metadata"));
}

/// Asks for the plan through nginx.
fn plan_through(nginx: &Nginx, site: &Site) -> Plan {
    let response = http::send(nginx.addr(), &ask::set_request(&site.digests(), None)).expect_status(200);
    assert_eq!(response.header("cache-control"), Some("no-store"));
    ask::plan_of(response)
}

/// Plans through nginx hand out the clients' own addresses, whatever those claim.
fn assert_peers_are_the_clients(nginx: &Nginx, site: &Site) {
    let join = |port, name| {
        ask::set_request(&site.digests(), Some((port, PeerId([name; 20]))))
            .header("X-Forwarded-For", "10.6.6.6")
    };
    http::send(nginx.addr6(), &join(1_001, b'a')).expect_status(200);
    http::send(nginx.addr(), &join(1_002, b'b')).expect_status(200);
    let mut peers = plan_through(nginx, site).bundles[0].peers.clone();
    peers.sort();
    assert_eq!(
        peers,
        ["127.0.0.1:1002".parse().expect("an address"), "[::1]:1001".parse().expect("an address")]
    );
}

#[test]
fn nginx_sends_the_bytes_and_the_service_decides() {
    let site = Site::start(
        &files(),
        "accel_redirect = '/pkgtorrent-files/'\ntrusted_proxies = ['127.0.0.1/32']\n\
         public_url = 'http://mirror.example'\n",
    );
    let (root, service) = (site.root().display().to_string(), site.service.addr().to_string());
    let replaced = [("/srv/mirror", root.as_str()), ("127.0.0.1:7070", service.as_str())];
    let nginx = Nginx::start("pkgtorrent.conf", &replaced, &site.path("nginx"));

    let plan = plan_through(&nginx, &site);
    assert_eq!(plan.unknown, []);
    assert_eq!(plan.web_seeds, [format!("http://mirror.example{}webseed/", ask::PREFIX)]);
    assert_web_seed_is_right(&nginx, &site);
    assert_mirror_is_right(&nginx, &site);
    assert_peers_are_the_clients(&nginx, &site);
    // All that the service itself sent were padding's zeros.
    assert_eq!(sent(&site), 70_200.0);

    for target in [
        "/pkgtorrent-files/repo/small.rpm",
        "/missing",
        "/repo/../../etc/passwd",
        "/repo/%2e%2e%2f%2e%2e%2fx",
    ] {
        let response = http::get(nginx.addr(), target);
        assert!(matches!(response.status, 400 | 404), "{target}: {}", response.status);
    }
    let missing = http::get(nginx.addr(), "/missing");
    assert_eq!(missing.header("cache-control"), Some("no-store"));
    // A file that nginx cannot open, though the service could: an error that no cache may keep.
    std::fs::remove_file(&site.packages[1].path).expect("removed");
    let gone = http::get(nginx.addr(), &web_seed_path(&site.packages[1])).expect_status(404);
    assert_ne!(gone.header("cache-control"), Some(FOREVER));

    let mut connection = Connection::open(nginx.addr()).expect("connects");
    for _ in 0..20 {
        let response = connection.send(&Request::get(&web_seed_path(&site.packages[0]))).expect("an answer");
        assert_is(&response, &site.packages[0], "one after the other");
    }
}

/// A service and the caching proxy before it.
fn cached(files: &[(&str, usize)]) -> (Site, Nginx) {
    let site = Site::start(files, "trusted_proxies = ['127.0.0.1/32']\n");
    let service = site.service.addr().to_string();
    let cache = site.path("cache").display().to_string();
    let replaced = [("127.0.0.1:7070", service.as_str()), ("/var/cache/nginx/pkgtorrent", cache.as_str())];
    let nginx = Nginx::start("caching-proxy.conf", &replaced, &site.path("nginx"));
    (site, nginx)
}

#[test]
fn a_caching_proxy_fetches_every_byte_once() {
    let (site, nginx) = cached(&files());
    plan_through(&nginx, &site);
    assert_web_seed_is_right(&nginx, &site);
    let all: u64 = site.packages.iter().map(|package| package.size).sum();
    let once = sent(&site);
    assert!(once >= all as f64 && once <= all as f64 + 80_000.0, "{once} for {all}");
    // All of it once more costs the service nothing.
    assert_web_seed_is_right(&nginx, &site);
    assert_eq!(sent(&site), once);

    assert_mirror_is_right(&nginx, &site);
    let (mirrored, path) = (sent(&site), mirror_path(&site.packages[0]));
    assert_is(&http::get(nginx.addr(), &path), &site.packages[0], &path);
    // After its second the copy is asked about by its ETag, and kept.
    let asked_again = |requests: Vec<String>| requests.iter().any(|line| line.starts_with("304 200"));
    wait_for("question whether the copy is still right", FRESH_LIMIT, || {
        assert_is(&http::get(nginx.addr(), &path), &site.packages[0], &path);
        asked_again(nginx.requests()).then_some(())
    });
    assert_eq!(sent(&site), mirrored);
}

#[test]
fn a_range_of_a_large_package_costs_the_service_slices_and_no_more() {
    let (site, nginx) = cached(&[("large.rpm", 8 << 20)]);
    plan_through(&nginx, &site);
    let path = web_seed_path(&site.packages[0]);
    for _ in 0..2 {
        let range = get_with(&nginx, &path, &[("Range", "bytes=3000000-3000099")]).expect_status(206);
        assert!(range.body == site.packages[0].bytes()[3_000_000..3_000_100]);
    }
    assert_eq!(sent(&site), f64::from(1 << 20));
    assert_is(&http::get(nginx.addr(), &path), &site.packages[0], &path);
    assert_eq!(sent(&site), f64::from(8 << 20));
}

#[test]
fn a_resigned_package_is_never_served_under_the_old_digest() {
    let (site, nginx) = cached(&[("signed.rpm", 2_500_000)]);
    let old = &site.packages[0];
    plan_through(&nginx, &site);
    // Half of the old one lies in the cache.
    let half = get_with(&nginx, &web_seed_path(old), &[("Range", "bytes=0-99")]).expect_status(206);
    assert!(half.body == old.bytes()[..100]);
    assert_is(&http::get(nginx.addr(), &mirror_path(old)), old, "the mirror path");

    let new = site.repository.add_blob("signed.rpm", 2_500_000, 77);
    site.repository.list(std::slice::from_ref(&new));
    wait_for("plan for the new package", FRESH_LIMIT, || {
        let plan = ask::plan_of(http::send(nginx.addr(), &ask::set_request(&[new.identity.into()], None)));
        plan.unknown.is_empty().then_some(())
    });
    // What is left of the old one is the old one's, or nothing.
    for headers in [&[("Range", "bytes=50-199")][..], &[("Range", "bytes=1500000-1500099")], &[]] {
        let request =
            headers.iter().fold(Request::get(&web_seed_path(old)), |r, (name, value)| r.header(name, value));
        let mut connection = Connection::open(nginx.addr()).expect("connects");
        // It may be cut off in the middle, where the cache ends.
        if let Ok(response) = connection.send(&request) {
            match response.status {
                206 if headers[0].1 == "bytes=50-199" => assert!(response.body == old.bytes()[50..200]),
                206 => assert!(response.body == old.bytes()[1_500_000..1_500_100], "the new one's bytes"),
                200 => assert_eq!(sha256(&response.body), old.identity),
                status => assert!(matches!(status, 404 | 502), "{status}"),
            }
        }
    }
    assert_is(&http::get(nginx.addr(), &web_seed_path(&new)), &new, "the new digest's URL");
    // The mirror path follows within moments, and is never a mixture.
    wait_for("the new package at the mirror path", FRESH_LIMIT, || {
        let response = http::get(nginx.addr(), &mirror_path(&new)).expect_status(200);
        let digest = sha256(&response.body);
        assert!(digest == old.identity || digest == new.identity, "neither the old nor the new package");
        (digest == new.identity).then_some(())
    });
}

#[test]
fn answers_of_the_moment_are_never_kept() {
    let (site, nginx) = cached(&[("a.rpm", 3_000)]);
    let set = ask::set_digest(&site.digests());
    let target = format!("{}sets/{set}", ask::PREFIX);
    http::get(nginx.addr(), &target).expect_status(412);
    let plan = plan_through(&nginx, &site);
    assert_eq!(ask::plan_of(http::get(nginx.addr(), &target)), plan, "a 412 is not remembered");
    assert_peers_are_the_clients(&nginx, &site);
    let plan = ask::plan_of(http::get(nginx.addr(), &target));
    assert_eq!(plan.bundles[0].peers.len(), 2, "nor is a plan");
    http::get(nginx.addr(), &format!("{}torrents/{}.info", ask::PREFIX, plan.bundles[0].info_hash))
        .expect_status(200);

    // Neither is a 404: what was missing is there the moment that it is there.
    let later = Package::write(&site.path("later.rpm"), vec![9; 4_000]);
    for target in [web_seed_path(&later), mirror_path(&later)] {
        http::get(nginx.addr(), &target).expect_status(404);
        http::get(nginx.addr(), &target).expect_status(404);
    }
    let later = Package::write(&site.root().join("repo/later.rpm"), later.bytes().to_vec());
    assert_is(&http::get(nginx.addr(), &mirror_path(&later)), &later, "the mirror path");
    site.repository.list(&[site.packages[0].clone(), later.clone()]);
    wait_for("plan for the new package", FRESH_LIMIT, || {
        let plan = ask::post_set(site.service.addr(), &[later.identity.into()]);
        plan.unknown.is_empty().then_some(())
    });
    assert_is(&http::get(nginx.addr(), &web_seed_path(&later)), &later, "the web seed");
}

#[test]
fn curl_fetches_resumes_and_revalidates_through_the_cache() {
    let (site, nginx) = cached(&[("libstdc++-1.0~rc1^git-1.x86_64.rpm", 3_000_000)]);
    let package = &site.packages[0];
    let url = format!("http://{}{}", nginx.addr(), mirror_path(package));
    let file = site.path("download.rpm");
    let curl = |arguments: &[&str]| {
        let mut command = std::process::Command::new(pkgtorrent_test_support::process::installed("curl"));
        command
            .args(["--silent", "--show-error", "--fail", "--noproxy", "*", "--output"])
            .arg(&file)
            .args(arguments);
        pkgtorrent_test_support::process::run(command.arg(&url), FRESH_LIMIT);
    };
    let read = |path: &Path| std::fs::read(path).expect("the download");
    curl(&[]);
    assert_eq!(sha256(&read(&file)), package.identity);
    std::fs::write(&file, &package.bytes()[..1_000_000]).expect("half a download");
    curl(&["--continue-at", "-"]);
    assert_eq!(sha256(&read(&file)), package.identity, "resumed");
}
