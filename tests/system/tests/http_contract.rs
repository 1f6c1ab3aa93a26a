//! Every path of the contract answers with the status, methods, headers and bytes that hosts and proxies rely on.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::ops::Range;
use std::time::{Duration, SystemTime};

use pkgtorrent_protocol::metainfo::{BundleInfo, Metainfo};
use pkgtorrent_protocol::plan::Plan;
use pkgtorrent_protocol::{InfoHash, PackageDigest, Sha256Digest};
use pkgtorrent_system_tests::site::{ODD_NAMES, Site, escaped, web_seed_path};
use pkgtorrent_system_tests::wire::talk;
use pkgtorrent_test_support::http::{self, Connection, Request, Response};
use pkgtorrent_test_support::process::wait_for;
use pkgtorrent_test_support::{Launch, Rpm, ask};
use sha1::{Digest, Sha1};

const FOREVER: &str = "public, max-age=31536000, immutable";
const NO_STORE: &str = "no-store";
const NOBODY: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// One large package and one small one, which the service knows as a set.
fn site() -> (Site, Plan) {
    let site = Site::start(&[("large.rpm", 300_000), ("small.rpm", 1_000)], "");
    let plan = site.plan();
    (site, plan)
}

fn cache_control(response: &Response) -> &str {
    response.header("cache-control").unwrap_or_default()
}

fn get_with(service: SocketAddr, target: &str, headers: &[(&str, &str)]) -> Response {
    let request =
        headers.iter().fold(Request::get(target), |request, (name, value)| request.header(name, value));
    http::send(service, &request)
}

/// The headers that have to be the same for GET and HEAD. Date and Server-Timing differ from answer to answer.
fn lasting_headers(response: &Response) -> BTreeSet<(String, String)> {
    let lasting = |name: &str| !matches!(name, "date" | "server-timing");
    let lower = response.headers.iter().map(|(name, value)| (name.to_lowercase(), value.clone()));
    lower.filter(|(name, _)| lasting(name)).collect()
}

#[test]
fn paths_take_their_methods_and_name_them_to_others() {
    let (site, plan) = site();
    let service = site.service.addr();
    let (read, post) = ("GET, HEAD", "POST");
    let bundle = plan.bundles[0].info_hash;
    let paths = [
        (format!("{}sets", ask::PREFIX), post),
        (format!("{}announce", ask::PREFIX), post),
        (format!("{}sets/{}", ask::PREFIX, plan.set), read),
        (format!("{}sets/{}.torrent", ask::PREFIX, plan.set), read),
        (format!("{}torrents/{bundle}.torrent", ask::PREFIX), read),
        (format!("{}torrents/{bundle}.info", ask::PREFIX), read),
        (web_seed_path(&site.packages[0]), read),
        ("/announce".into(), read),
        ("/scrape".into(), read),
        ("/healthz".into(), read),
        ("/metrics".into(), read),
        ("/pkgtorrent/".into(), read),
        (format!("/pkgtorrent/bundles/{bundle}"), read),
        ("/pkgtorrent/packages".into(), read),
        ("/pkgtorrent/api/v1/swarms".into(), read),
        ("/pkgtorrent/api/v1/openapi.json".into(), read),
        ("/repo/large.rpm".into(), read),
        ("/repo/repodata/repomd.xml".into(), read),
        ("/nothing/here".into(), read),
    ];
    for (path, allowed) in paths {
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"] {
            let response = http::send(service, &Request::new(method, &path));
            let is_allowed = allowed.split(", ").any(|one| one == method);
            assert_eq!(response.status != 405, is_allowed, "{method} {path}: {}", response.status);
            assert!(response.status < 500, "{method} {path}: {}", response.status);
            if !is_allowed {
                assert_eq!(response.header("allow"), Some(allowed), "{method} {path}");
                assert_eq!(cache_control(&response), NO_STORE, "{method} {path}");
            }
        }
    }
}

#[test]
fn head_says_what_get_says_and_sends_no_body() {
    let (site, plan) = site();
    let service = site.service.addr();
    let bundle = plan.bundles[0].info_hash;
    let paths = [
        format!("{}sets/{}", ask::PREFIX, plan.set),
        format!("{}sets/{}.torrent", ask::PREFIX, plan.set),
        format!("{}torrents/{bundle}.torrent", ask::PREFIX),
        format!("{}torrents/{bundle}.info", ask::PREFIX),
        web_seed_path(&site.packages[0]),
        format!("{}webseed/pkgtorrent/.pad/27680_1", ask::PREFIX),
        "/repo/large.rpm".into(),
        "/repo/repodata/repomd.xml".into(),
        "/healthz".into(),
        "/pkgtorrent/".into(),
        "/pkgtorrent/api/v1/openapi.json".into(),
        "/nothing".into(),
        format!("{}sets/{NOBODY}", ask::PREFIX),
    ];
    let mut connection = Connection::open(service).expect("connects");
    for path in paths {
        let got = connection.send(&Request::get(&path)).expect("an answer");
        let head = connection.send(&Request::head(&path)).expect("an answer");
        assert_eq!(head.status, got.status, "{path}");
        assert_eq!(lasting_headers(&head), lasting_headers(&got), "{path}");
        assert_eq!(got.header("content-length"), Some(got.body.len().to_string().as_str()), "{path}");
        // Had a body followed, it would be taken for the next answer.
        let after = connection.send(&Request::get("/healthz")).expect("an answer");
        assert_eq!(after.text(), "ok\n", "after HEAD {path}");
    }
}

#[test]
fn plans_are_nobodys_to_keep_and_unknown_sets_are_asked_for_in_full() {
    let (site, plan) = site();
    let service = site.service.addr();
    let posted = http::send(service, &ask::set_request(&site.digests(), None)).expect_status(200);
    let got = http::get(service, &format!("{}sets/{}", ask::PREFIX, plan.set)).expect_status(200);
    for response in [&posted, &got] {
        assert_eq!(response.header("content-type"), Some("application/json"));
        assert_eq!(cache_control(response), NO_STORE);
        assert!(response.header("server-timing").is_some_and(|timing| timing.starts_with("handler;dur=")));
    }
    assert_eq!(ask::plan_of(posted), ask::plan_of(got));
    let offered: usize = plan.bundles.iter().map(|bundle| bundle.files.len()).sum();
    assert_eq!(offered, site.packages.len());

    let unknown = http::get(service, &format!("{}sets/{NOBODY}", ask::PREFIX)).expect_status(412);
    assert_eq!(cache_control(&unknown), NO_STORE);
    assert!(unknown.text().contains("POST"), "{}", unknown.text());
    http::get(service, &format!("{}sets/{NOBODY}.torrent", ask::PREFIX)).expect_status(412);
    for nonsense in ["xyz", "00", &NOBODY[1..], &format!("{NOBODY}0")] {
        let response = http::get(service, &format!("{}sets/{nonsense}", ask::PREFIX)).expect_status(404);
        assert_eq!(cache_control(&response), NO_STORE);
    }
    for query in ["port=70000", "port=x", "peer_id=short"] {
        let response =
            http::get(service, &format!("{}sets/{}?{query}", ask::PREFIX, plan.set)).expect_status(400);
        assert_eq!(cache_control(&response), NO_STORE, "{query}");
        assert!(!response.body.is_empty(), "{query}: the answer says nothing");
    }
}

#[test]
fn unknown_packages_are_named_and_the_others_planned() {
    let (site, _) = site();
    let service = site.service.addr();
    let missing: PackageDigest = Sha256Digest([7; 32]).into();
    let mixed = [site.packages[0].identity.into(), missing];
    let plan = ask::post_set(service, &mixed);
    assert_eq!(plan.unknown, [missing]);
    assert_eq!(plan.bundles.iter().map(|bundle| bundle.files.len()).sum::<usize>(), 1);
    assert_eq!(ask::get_set(service, plan.set), Some(plan.clone()), "the set is known from now on");

    let torrent = http::get(service, &format!("{}sets/{}.torrent", ask::PREFIX, plan.set)).expect_status(404);
    assert!(torrent.text().contains(&missing.to_string()), "{}", torrent.text());
    assert_eq!(cache_control(&torrent), NO_STORE);

    let nothing = ask::post_set(service, &[missing]);
    assert_eq!((nothing.unknown.as_slice(), nothing.bundles.len()), (&[missing][..], 0));
}

#[test]
fn info_dictionaries_are_immutable_and_torrents_name_where_to_go() {
    let (site, plan) = site();
    let service = site.service.addr();
    let base = format!("http://{service}");
    assert_eq!(plan.web_seeds, [format!("{base}{}webseed/", ask::PREFIX)]);
    assert_eq!(plan.torrents, format!("{base}{}torrents/", ask::PREFIX));
    assert_eq!(plan.announce, format!("{base}{}announce", ask::PREFIX));
    for bundle in &plan.bundles {
        let url = format!("{}torrents/{}", ask::PREFIX, bundle.info_hash);
        let info = http::get(service, &format!("{url}.info")).expect_status(200);
        assert_eq!(cache_control(&info), FOREVER);
        assert_eq!(info.header("etag"), Some(format!("\"{}\"", bundle.info_hash).as_str()));
        assert_eq!(info.header("content-type"), Some("application/octet-stream"));
        assert_eq!(InfoHash::of(&info.body), bundle.info_hash);
        assert_eq!(info.body.len(), bundle.info_len as usize);
        BundleInfo::parse(&info.body).expect("a bundle");

        let torrent = http::get(service, &format!("{url}.torrent")).expect_status(200);
        assert_eq!(torrent.header("content-type"), Some("application/x-bittorrent"));
        assert_eq!(cache_control(&torrent), NO_STORE, "its URLs follow the request");
        let (metainfo, _) = Metainfo::parse(&torrent.body).expect("a .torrent");
        assert_eq!(metainfo.info, info.body);
        assert_eq!(metainfo.trackers, [[format!("{base}/announce")]]);
        assert_eq!(metainfo.web_seeds, plan.web_seeds);
    }
    let (_, whole) = Metainfo::parse(&ask::set_torrent(service, plan.set)).expect("a .torrent");
    assert_eq!(whole.packages().len(), site.packages.len());
    for name in ["0".repeat(40), "xyz".into(), plan.set.to_string()] {
        for kind in ["info", "torrent"] {
            let response =
                http::get(service, &format!("{}torrents/{name}.{kind}", ask::PREFIX)).expect_status(404);
            assert_eq!(cache_control(&response), NO_STORE);
        }
    }
}

#[test]
fn swarms_spread_over_external_trackers_in_an_order_that_follows_from_the_info_hash() {
    let trackers: Vec<String> = (0..3).map(|n| format!("http://tracker{n}.example/announce")).collect();
    let names: Vec<String> = (0..12).map(|n| format!("{n}.rpm")).collect();
    let files: Vec<(&str, usize)> = names.iter().map(|name| (name.as_str(), 500)).collect();
    let site = Site::start(&files, &format!("trackers = {trackers:?}\n"));
    let service = site.service.addr();
    let mut first = BTreeSet::new();
    for package in &site.packages {
        let digests = [package.identity.into()];
        ask::post_set(service, &digests);
        let torrent = ask::set_torrent(service, ask::set_digest(&digests));
        let (metainfo, _) = Metainfo::parse(&torrent).expect("a .torrent");
        let mut expected = trackers.clone();
        expected.sort_by_key(|url| {
            <[u8; 20]>::from(Sha1::new().chain_update(metainfo.info_hash().0).chain_update(url).finalize())
        });
        expected.push(format!("http://{service}/announce"));
        let tiers: Vec<Vec<String>> = expected.into_iter().map(|url| vec![url]).collect();
        assert_eq!(metainfo.trackers, tiers);
        first.insert(metainfo.trackers[0][0].clone());
        assert_eq!(ask::set_torrent(service, ask::set_digest(&digests)), torrent, "the order stays");
    }
    assert!(first.len() > 1, "twelve swarms start at one tracker: {first:?}");
}

/// The parts of a multipart answer: the place of each in the file, and its bytes.
fn parts_of(response: &Response) -> Vec<(String, Vec<u8>)> {
    let kind = response.header("content-type").expect("a content type");
    let boundary = kind.strip_prefix("multipart/byteranges; boundary=").expect("several parts");
    let delimiter = format!("\r\n--{boundary}").into_bytes();
    // The first delimiter may stand at the very start, without a line end before it.
    let body = [b"\r\n".as_slice(), response.body.strip_prefix(b"\r\n").unwrap_or(&response.body)].concat();
    let starts: Vec<usize> =
        (0..body.len() - delimiter.len()).filter(|&at| body[at..].starts_with(&delimiter)).collect();
    let part = |range: Range<usize>| {
        let bytes = &body[range];
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        assert!(head.contains("content-type: application/x-rpm"), "{head}");
        let place = head.lines().find_map(|line| line.strip_prefix("content-range: ")).expect("a place");
        (place.to_owned(), bytes[end + 4..].to_vec())
    };
    assert!(body[starts[starts.len() - 1]..].ends_with(b"--\r\n"), "the last delimiter ends the answer");
    starts.windows(2).map(|pair| part(pair[0] + delimiter.len()..pair[1])).collect()
}

/// Ranges and their conditions, which are the same on the web seed and on the mirror.
fn assert_ranges_are_right(service: SocketAddr, path: &str, content: &[u8], etag: &str) {
    let len = content.len();
    let whole = http::get(service, path).expect_status(200);
    assert!(whole.body == content, "{path}: other bytes");
    assert_eq!(whole.header("etag"), Some(etag));
    assert!(!etag.starts_with("W/"), "{path}: {etag} is no strong validator");
    assert_eq!(whole.header("accept-ranges"), Some("bytes"));
    for (asked, range) in [
        ("0-0".to_owned(), 0..1),
        ("100-199".into(), 100..200),
        (format!("{}-", len - 5), len - 5..len),
        ("-7".into(), len - 7..len),
        (format!("5-{}", len * 3), 5..len),
        (format!("-{}", len * 3), 0..len),
        ("65530-65545".into(), 65_530..65_546),
    ] {
        let response = get_with(service, path, &[("Range", &format!("bytes={asked}"))]).expect_status(206);
        let place = format!("bytes {}-{}/{len}", range.start, range.end - 1);
        assert_eq!(response.header("content-range"), Some(place.as_str()), "{asked}");
        assert_eq!(response.header("etag"), Some(etag), "{asked}");
        assert!(response.body == content[range], "{path} {asked}: other bytes");
    }
    let several = get_with(service, path, &[("Range", "bytes=0-9, 1000-1099,-3")]).expect_status(206);
    let parts = parts_of(&several);
    assert_eq!(parts.len(), 3);
    for ((place, bytes), range) in parts.into_iter().zip([0..10, 1000..1100, len - 3..len]) {
        assert_eq!(place, format!("bytes {}-{}/{len}", range.start, range.end - 1));
        assert!(bytes == content[range], "{path} {place}: other bytes");
    }
    for beyond in [format!("bytes={len}-"), "bytes=-0".into(), format!("bytes={}-{}", len + 1, len + 2)] {
        let response = get_with(service, path, &[("Range", &beyond)]).expect_status(416);
        assert_eq!(response.header("content-range"), Some(format!("bytes */{len}").as_str()));
        assert_eq!(cache_control(&response), NO_STORE);
    }
    for nonsense in ["bytes=b-a", "bytes=9-1", "lines=1-2", "bytes=", "bytes=0-,0-,0-"] {
        assert!(
            get_with(service, path, &[("Range", nonsense)]).expect_status(200).body == content,
            "{nonsense}"
        );
    }
    let weak = format!("W/{etag}");
    for (validator, status) in [(etag, 206), ("\"other\"", 200), (&weak, 200), ("nonsense", 200)] {
        let response = get_with(service, path, &[("Range", "bytes=1-2"), ("If-Range", validator)]);
        assert_eq!(response.status, status, "{path}: If-Range {validator}");
        assert!(response.body == content[if status == 206 { 1..3 } else { 0..len }]);
    }
    for (validators, status) in
        [(etag, 304), (&weak, 304), ("*", 304), ("\"other\"", 200), (&format!("\"other\", {etag}"), 304)]
    {
        let response = get_with(service, path, &[("If-None-Match", validators)]);
        assert_eq!(response.status, status, "{path}: If-None-Match {validators}");
        assert_eq!(response.header("etag"), Some(etag), "a 304 names the version too");
    }
    let failed = get_with(service, path, &[("If-Match", "\"other\"")]).expect_status(412);
    assert_eq!(cache_control(&failed), NO_STORE);
    get_with(service, path, &[("If-Match", etag)]).expect_status(200);
}

#[test]
fn the_web_seed_sends_packages_by_digest_with_ranges() {
    let (site, _) = site();
    let (service, large) = (site.service.addr(), &site.packages[0]);
    let path = web_seed_path(large);
    assert_ranges_are_right(service, &path, large.bytes(), &format!("\"{}\"", large.identity));
    let whole = http::get(service, &path);
    assert_eq!(cache_control(&whole), FOREVER);
    assert_eq!(whole.header("content-type"), Some("application/x-rpm"));

    let identity = large.identity;
    for wrong in [
        format!("webseed/pkgtorrent/{NOBODY}/large.rpm"),
        format!("webseed/pkgtorrent/{identity}"),
        format!("webseed/pkgtorrent/{identity}/large.rpm/more"),
        format!("webseed/other/{identity}/large.rpm"),
        format!("webseed/{identity}/large.rpm"),
        "webseed/".into(),
        "webseed/pkgtorrent/xyz/large.rpm".into(),
        "nothing".into(),
    ] {
        let response = http::get(service, &format!("{}{wrong}", ask::PREFIX)).expect_status(404);
        assert_eq!(cache_control(&response), NO_STORE, "{wrong}");
    }
    let bytes = site.service.metric("pkgtorrent_webseed_bytes_total");
    http::send(service, &Request::head(&path)).expect_status(200);
    assert_eq!(site.service.metric("pkgtorrent_webseed_bytes_total"), bytes, "HEAD sends nothing");
    http::get(service, &path);
    assert_eq!(site.service.metric("pkgtorrent_webseed_bytes_total"), bytes + 300_000.0);
}

#[test]
fn padding_is_zeros_of_exactly_the_length_in_its_name() {
    let (site, plan) = site();
    let service = site.service.addr();
    let path = |name: &str| format!("{}webseed/pkgtorrent/.pad/{name}", ask::PREFIX);
    for len in [1, 2, 32_767, 65_536, 65_537, (1 << 20) - 1] {
        let response = http::get(service, &path(&format!("{len}_0"))).expect_status(200);
        assert_eq!(response.body.len(), len);
        assert!(response.body.iter().all(|&byte| byte == 0));
        assert_eq!(cache_control(&response), FOREVER);
    }
    let name = path("70000_3");
    let etag = http::get(service, &name).header("etag").expect("an ETag").to_owned();
    let range =
        get_with(service, &name, &[("Range", "bytes=69990-"), ("If-Range", &etag)]).expect_status(206);
    assert_eq!(range.body, [0; 10]);
    get_with(service, &name, &[("Range", "bytes=70000-")]).expect_status(416);
    for nonsense in [
        "0_0",
        "1048576_0",
        "1048577_0",
        "9999999999999999999999_0",
        "-1_0",
        "+1_0",
        "01_0",
        "1_00",
        "1",
        "1_",
        "_1",
        "1_0_0",
        "1_-1",
        "1_4294967296",
        "a_0",
        "1_0.x",
        " 1_0",
        "%31_0x",
        "",
    ] {
        let response = http::get(service, &path(&escaped(nonsense)));
        assert_eq!((response.status, cache_control(&response)), (404, NO_STORE), "{nonsense:?}");
    }
    http::get(service, &path("1_0/x")).expect_status(404);

    // Every padding file that a torrent names is there.
    let info = ask::bundle_info(service, plan.bundles[0].info_hash);
    let bundle = BundleInfo::parse(&info).expect("a bundle");
    let extents: Vec<_> = bundle.layout().extents().to_vec();
    assert!(extents.iter().any(|extent| extent.padding > 0));
    for extent in extents.iter().filter(|extent| extent.padding > 0) {
        let response =
            http::get(service, &path(&format!("{}_{}", extent.padding, extent.file))).expect_status(200);
        assert_eq!(response.body.len(), extent.padding as usize);
    }
}

#[test]
fn odd_file_names_arrive_on_the_web_seed_and_on_the_mirror() {
    let files: Vec<(&str, usize)> = ODD_NAMES.iter().map(|&name| (name, 40_000)).collect();
    let site = Site::start(&files, "");
    let service = site.service.addr();
    site.plan();
    for package in &site.packages {
        let name = package.file_name();
        let escaped = escaped(name);
        // curl and librepo leave these as they are, browsers escape them.
        let spellings =
            [escaped.clone(), escaped.replace("%2B", "+").replace("%5E", "^").replace("%26", "&")];
        for spelling in spellings {
            for path in [format!("/repo/{spelling}"), web_seed_path(package).replace(&escaped, &spelling)] {
                let response = http::get(service, &path);
                assert_eq!(response.status, 200, "{path}");
                assert!(response.body == package.bytes(), "{path}: other bytes");
            }
        }
    }
    // Escaped once more they are other names.
    http::get(service, "/repo/two%20words%20A%20%26%20more.rpm").expect_status(404);
    http::get(service, "/repo/question%3Fmark%23and/slash.rpm").expect_status(404);
    // A query is no part of the name.
    http::get(service, "/repo/100%25.rpm?x=y").expect_status(200);
    assert_eq!(http::get(service, "//repo///100%25.rpm").expect_status(200).body, site.packages[4].bytes());
}

#[test]
fn mirror_paths_answer_ranges_and_conditions() {
    let (site, _) = site();
    let (service, large) = (site.service.addr(), &site.packages[0]);
    let path = "/repo/large.rpm";
    let whole = http::get(service, path).expect_status(200);
    let etag = whole.header("etag").expect("an ETag").to_owned();
    assert_ranges_are_right(service, path, large.bytes(), &etag);
    assert_eq!(whole.header("content-type"), Some("application/x-rpm"));
    assert_eq!(cache_control(&whole), "public, max-age=1, must-revalidate");
    let modified = whole.header("last-modified").expect("Last-Modified").to_owned();
    get_with(service, path, &[("If-Modified-Since", &modified)]).expect_status(304);
    get_with(service, path, &[("If-Modified-Since", "Thu, 01 Jan 1970 00:00:00 GMT")]).expect_status(200);
    get_with(service, path, &[("If-Unmodified-Since", "Thu, 01 Jan 1970 00:00:00 GMT")]).expect_status(412);
    get_with(service, path, &[("Range", "bytes=0-1"), ("If-Range", &modified)]).expect_status(206);
    // The stronger condition counts.
    get_with(service, path, &[("If-Modified-Since", &modified), ("If-None-Match", "\"x\"")])
        .expect_status(200);

    let metadata = http::get(service, "/repo/repodata/repomd.xml").expect_status(200);
    assert_eq!(metadata.header("content-type"), Some("text/xml"));
    assert_eq!(metadata.body, fs::read(site.root().join("repo/repodata/repomd.xml")).expect("metadata"));
    for missing in ["/", "/repo", "/repo/", "/repo/missing.rpm", "/repo/large.rpm/", "/repo/large.rpm/x"] {
        let response = http::get(service, missing).expect_status(404);
        assert_eq!(cache_control(&response), NO_STORE, "{missing}");
    }
    // A file of the same size and time in its place is another version.
    let modified_at = fs::metadata(&large.path).and_then(|metadata| metadata.modified()).expect("a time");
    let replaced = site.repository.add_blob("large.rpm", 300_000, 99);
    File::options()
        .write(true)
        .open(&replaced.path)
        .and_then(|file| file.set_modified(modified_at))
        .expect("a time");
    let after = get_with(service, path, &[("If-None-Match", &etag)]).expect_status(200);
    assert_eq!(after.header("last-modified"), Some(modified.as_str()));
    assert!(after.body == replaced.bytes());
}

#[test]
fn one_connection_carries_many_requests_one_after_the_other_or_at_once() {
    let (site, _) = site();
    let service = site.service.addr();
    let mut connection = Connection::open(service).expect("connects");
    for _ in 0..50 {
        let response =
            connection.send(&Request::get("/repo/small.rpm")).expect("an answer").expect_status(200);
        assert!(response.body == site.packages[1].bytes());
        let response = connection.send(&ask::set_request(&site.digests(), None)).expect("an answer");
        assert_eq!(ask::plan_of(response).unknown, []);
        assert_eq!(connection.send(&Request::get("/missing")).expect("an answer").status, 404);
    }
    // All requests are sent before the first answer is read.
    let targets = ["/repo/large.rpm", "/healthz", "/missing", "/repo/small.rpm"];
    let mut requests = String::new();
    for target in targets.iter().cycle().take(40) {
        requests.push_str(&format!("GET {target} HTTP/1.1\r\nHost: {service}\r\n\r\n"));
    }
    let sender = connection.send_raw(requests.as_bytes());
    sender.expect("sent");
    for target in targets.iter().cycle().take(40) {
        let response = connection.read_response(false).expect("an answer");
        match *target {
            "/repo/large.rpm" => assert!(response.body == site.packages[0].bytes()),
            "/repo/small.rpm" => assert!(response.body == site.packages[1].bytes()),
            "/healthz" => assert_eq!(response.text(), "ok\n"),
            _ => assert_eq!(response.status, 404),
        }
    }
    let closing =
        connection.send(&Request::get("/healthz").header("Connection", "close")).expect("an answer");
    assert_eq!(closing.status, 200);
    assert!(connection.send(&Request::get("/healthz")).is_err(), "close was asked for");
}

#[test]
fn clients_of_http_1_0_are_answered_and_told_the_end() {
    let (site, _) = site();
    let service = site.service.addr();
    let limit = Duration::from_secs(20);
    for request in ["GET /repo/large.rpm HTTP/1.0\r\n\r\n", "GET /repo/large.rpm HTTP/1.0\r\nHost: x\r\n\r\n"]
    {
        let heard = talk(service, request.as_bytes(), limit);
        assert!(heard.closed, "the connection ends with the answer");
        assert!(heard.bytes.starts_with(b"HTTP/1.0 200") || heard.bytes.starts_with(b"HTTP/1.1 200"));
        assert!(heard.bytes.ends_with(site.packages[0].bytes()));
    }
    let mut connection = Connection::open(service).expect("connects");
    for _ in 0..3 {
        connection.send_raw(b"GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").expect("sent");
        assert_eq!(connection.read_response(false).expect("an answer").text(), "ok\n");
    }
}

#[test]
fn health_follows_the_first_scan() {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path().join("root");
    fs::create_dir(&root).expect("a root");
    // Without metadata the service has to read the file first: as long as the disk and two digests take.
    let path = root.join("large.rpm");
    fs::write(&path, Rpm::new("large").build()).expect("a package");
    let file = File::options().write(true).open(&path).expect("a file");
    file.set_len(1 << 30).expect("zeros that take no space");
    file.set_modified(SystemTime::now() - Duration::from_secs(3600)).expect("a file at rest");
    let service = Launch::new(&root, &directory.path().join("state")).start_unready();
    let mut connection = Connection::open(service.addr()).expect("connects");
    let before = connection.send(&Request::get("/healthz")).expect("an answer").expect_status(503);
    assert_eq!(cache_control(&before), NO_STORE);
    assert!(before.text().contains("scan"), "{}", before.text());
    // The mirror needs no scan.
    http::send(service.addr(), &Request::head("/large.rpm")).expect_status(200);
    let after = wait_for("200 from /healthz", Duration::from_secs(60), || {
        let response = http::get(service.addr(), "/healthz");
        (response.status == 200).then_some(response)
    });
    assert_eq!((after.text().as_str(), cache_control(&after)), ("ok\n", NO_STORE));
}

#[test]
fn metrics_can_be_parsed() {
    let (site, _) = site();
    let service = site.service.addr();
    http::get(service, "/repo/large.rpm");
    let response = http::get(service, "/metrics").expect_status(200);
    assert!(
        response.header("content-type").is_some_and(|kind| kind.starts_with("text/plain; version=0.0.4"))
    );
    assert_eq!(cache_control(&response), NO_STORE);
    let is_name = |name: &str| {
        !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':')
    };
    let (text, mut typed, mut samples) = (response.text(), BTreeSet::new(), 0);
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(comment) = line.strip_prefix("# ") {
            let words: Vec<&str> = comment.splitn(3, ' ').collect();
            assert!(matches!(words[0], "HELP" | "TYPE") && words.len() == 3, "{line}");
            assert!(words[0] != "TYPE" || typed.insert(words[1].to_owned()), "{} has two types", words[1]);
            continue;
        }
        let (series, value) = line.rsplit_once(' ').expect(line);
        value.parse::<f64>().unwrap_or_else(|e| panic!("{line}: {e}"));
        let name = series.split('{').next().unwrap_or_default();
        assert!(is_name(name) && name.starts_with("pkgtorrent_"), "{line}");
        let of = |suffix: &str| name.strip_suffix(suffix).is_some_and(|name| typed.contains(name));
        assert!(typed.contains(name) || of("_bucket") || of("_sum") || of("_count"), "{line} has no type");
        samples += 1;
    }
    assert!(samples > 10, "{text}");
    assert_eq!(site.service.metric("pkgtorrent_catalog_packages"), 2.0);
    assert_eq!(site.service.metric("pkgtorrent_mirror_bytes_total"), 300_000.0);
}

#[test]
fn the_page_lists_repositories_and_swarms() {
    let (site, _) = site();
    let service = site.service.addr();
    let plan = ask::post_set_as(service, &site.digests(), 6881, pkgtorrent_protocol::PeerId([b'p'; 20]));
    let page = http::get(service, "/pkgtorrent/").expect_status(200);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(cache_control(&page), NO_STORE);
    let text = page.text();
    assert!(text.contains("/repo"), "{text}");
    for bundle in &plan.bundles {
        assert!(text.contains(&bundle.info_hash.to_string()), "{text}");
    }
    http::get(service, "/pkgtorrent").expect_status(200);
}
