//! Requests that are too long, cut off, nonsense or two in one are refused, clearly and at once, and cost nothing.

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use pkgtorrent_protocol::announce::BATCH_SWARMS_MAX;
use pkgtorrent_protocol::plan::SET_REQUEST_LEN_MAX;
use pkgtorrent_protocol::set::SET_PACKAGES_MAX;
use pkgtorrent_system_tests::site::Site;
use pkgtorrent_system_tests::wire::{Heard, resident_bytes, talk, talk_and_finish};
use pkgtorrent_test_support::ask;
use pkgtorrent_test_support::http::{self, Request};

/// How long any refusal may take on a busy machine. The service's own patience, which nothing here may use up, is
/// thirty seconds.
const REFUSED_WITHIN: Duration = Duration::from_secs(20);

/// What all attempts of one test together may leave in memory: several times the longest body that is read.
const GROWTH_MAX: u64 = 96 << 20;

fn site() -> Site {
    Site::start(&[("a.rpm", 2_000)], "")
}

fn sets() -> String {
    format!("{}sets", ask::PREFIX)
}

/// The service answers as if nothing had happened.
fn assert_well(site: &Site) {
    assert_eq!(http::get(site.service.addr(), "/healthz").expect_status(200).text(), "ok\n");
    site.plan();
}

/// A set of this many packages, all of them unknown.
fn set_of(packages: usize) -> String {
    let mut body = String::with_capacity(packages * 75 + 40);
    body.push_str("{\"version\":1,\"packages\":[");
    for n in 0..packages {
        let comma = if n == 0 { "" } else { "," };
        write!(body, "{comma}\"sha256:{n:064x}\"").expect("a string grows");
    }
    body.push_str("]}");
    body
}

#[test]
fn what_is_no_set_is_refused_with_a_reason() {
    let site = site();
    let service = site.service.addr();
    let good = format!("sha256:{}", "a".repeat(64));
    let of = |packages: &str| format!("{{\"version\":1,\"packages\":{packages}}}");
    let cases: Vec<(Vec<u8>, &str)> = vec![
        ("".into(), "EOF"),
        ("nonsense".into(), "expected"),
        ("{".into(), "EOF"),
        ("[]".into(), "invalid length"),
        ("null".into(), "invalid type"),
        ("{}".into(), "missing field"),
        ("{\"version\":1}".into(), "packages"),
        (of("[]").into(), "empty"),
        (of("{}").into(), "invalid type"),
        (of("[1]").into(), "invalid type"),
        (of("[\"\"]").into(), "digest"),
        (of("[\"sha256:\"]").into(), "digest"),
        (of(&format!("[\"sha256:{}\"]", "a".repeat(63))).into(), "digest"),
        (of(&format!("[\"sha256:{}\"]", "g".repeat(64))).into(), "digest"),
        (of(&format!("[\"md5:{}\"]", "a".repeat(32))).into(), "algorithm"),
        (of(&format!("[\"{}\"]", "a".repeat(64))).into(), "digest"),
        (of("[\"sha256:../../../../etc/passwd\"]").into(), "digest"),
        (of(&format!("[\"{}\"]", "x".repeat(100_000))).into(), "digest"),
        (of(&format!("[\"{good}\"]")).replace(":1,", ":2,").into(), "version 2"),
        (of(&format!("[\"{good}\"]")).replace(":1,", ":-1,").into(), "invalid value"),
        (of(&format!("[\"{good}\"]")).replace(":1,", ":\"1\",").into(), "invalid type"),
        (of(&format!("[\"{good}\"],\"port\":70000")).into(), "invalid value"),
        (of(&format!("[\"{good}\"],\"peer_id\":\"short\"")).into(), "peer id"),
        (format!("{} trailing", of(&format!("[\"{good}\"]"))).into(), "trailing"),
        (b"{\"version\":1,\"packages\":[\"\xff\xfe\"]}".to_vec(), "unicode"),
        (b"\xff\xfe\x00{".to_vec(), "expected"),
        (vec![0; 10_000], "expected"),
        ("[".repeat(200_000).into(), "invalid type"),
        (of(&"[".repeat(200_000)).into(), "invalid type"),
        (format!("{{\"version\":1,\"x\":{}", "[".repeat(1_000_000)).into(), "EOF"),
        (format!("{{\"version\":1,\"x\":{}", "{\"a\":".repeat(500_000)).into(), "EOF"),
        (format!("{{\"version\":{}", "1".repeat(100_000)).into(), "number"),
        (set_of(SET_PACKAGES_MAX + 1).into(), "at most"),
    ];
    for (body, about) in cases {
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        let started = Instant::now();
        let refused = http::send(service, &Request::post(&sets(), body));
        assert_eq!(refused.status, 400, "{shown}: {}", refused.text());
        assert_eq!(refused.header("cache-control"), Some("no-store"), "{shown}");
        let text = refused.text().to_lowercase();
        assert!(text.contains(&about.to_lowercase()), "{shown}: {text}");
        assert!(text.len() < 500, "{shown}: the refusal has {} bytes", text.len());
        assert!(started.elapsed() < REFUSED_WITHIN, "{shown}");
    }
    assert_well(&site);
}

#[test]
fn odd_sets_that_make_sense_are_answered() {
    let site = site();
    let service = site.service.addr();
    let digest = site.digests()[0].to_string();
    let same = format!("\"{digest}\",").repeat(1_000);
    let twice = format!("{{\"version\":1,\"packages\":[{same}\"{digest}\"],\"later\":{{\"x\":[1,2]}}}}");
    let plan = ask::plan_of(http::send(service, &Request::post(&sets(), twice)));
    assert_eq!((plan.set, plan.unknown.len()), (ask::set_digest(&site.digests()), 0));
    assert_eq!(plan.bundles[0].files, [(0, 0)], "a package that is named often is wanted once");
    let upper = digest.to_uppercase().replace("SHA256", "sha256");
    let upper = Request::post(&sets(), format!("{{\"version\":1,\"packages\":[\"{upper}\"]}}"));
    assert_eq!(ask::plan_of(http::send(service, &upper)).set, plan.set);
    // The largest set that is allowed.
    let started = Instant::now();
    let plan = ask::plan_of(http::send(service, &Request::post(&sets(), set_of(SET_PACKAGES_MAX))));
    assert_eq!(plan.unknown.len(), SET_PACKAGES_MAX);
    assert!(started.elapsed() < REFUSED_WITHIN);
    assert_well(&site);
}

#[test]
fn a_set_of_a_million_is_refused_and_fills_no_memory() {
    let site = site();
    let service = site.service.addr();
    let body = set_of(1_000_000).into_bytes();
    http::send(service, &Request::post(&sets(), set_of(SET_PACKAGES_MAX))).expect_status(200);
    let before = resident_bytes(site.service.pid());
    let started = Instant::now();
    for _ in 0..3 {
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let head = post_head(&sets(), &format!("Content-Length: {}", body.len()));
                    let heard = talk(service, &[head.as_bytes(), &body].concat(), REFUSED_WITHIN);
                    assert_refused(&heard, 413, &SET_REQUEST_LEN_MAX.to_string());
                });
            }
        });
        let now = resident_bytes(site.service.pid());
        assert!(now < before + GROWTH_MAX, "{now} bytes after {before}");
    }
    assert!(started.elapsed() < REFUSED_WITHIN * 2, "{:?}", started.elapsed());
    assert_well(&site);
}

fn post_head(path: &str, headers: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n\r\n")
}

/// One answer with this status and text, and the end of the connection.
fn assert_refused(heard: &Heard, status: u16, about: &str) {
    let shown: String = heard.text().chars().take(600).collect();
    assert_eq!(heard.statuses(), [status], "{shown}");
    assert!(shown.contains(about), "nothing of {about:?}: {shown}");
    assert!(heard.closed, "the connection stays open: {shown}");
}

#[test]
fn bodies_beyond_any_limit_are_refused_before_they_have_come() {
    // Of what is too long only so much is read, and waited for, as lets a client hear the refusal.
    let site = Site::start(&[("a.rpm", 2_000)], "client_timeout = 2\n");
    let service = site.service.addr();
    let batch = format!("{}announce", ask::PREFIX);
    let before = resident_bytes(site.service.pid());
    let refused = |path: &str, headers: &str, body: &[u8]| {
        let heard = talk(service, &[post_head(path, headers).as_bytes(), body].concat(), REFUSED_WITHIN);
        let shown: String = heard.text().chars().take(600).collect();
        assert!(matches!(heard.statuses()[..], [408 | 413]), "{headers}: {shown}");
        assert!(shown.contains("longer than") || shown.contains("in time"), "{headers}: {shown}");
        assert!(heard.closed, "{headers}: the connection stays open: {shown}");
    };
    for (path, len) in
        [(sets(), "1000000000000"), (sets(), "18446744073709551615"), (batch.clone(), "5000000")]
    {
        refused(&path, &format!("Content-Length: {len}"), &vec![b' '; 4_900_000]);
    }
    // In chunks without an end, large and tiny ones.
    let chunk = [b"8000\r\n".as_slice(), &[b' '; 0x8000], b"\r\n"].concat();
    refused(&sets(), "Transfer-Encoding: chunked", &chunk.repeat(4_000));
    refused(&sets(), "Transfer-Encoding: chunked", &b"1\r\n \r\n".repeat(6_000_000));
    // One that is sent to its end is always told why.
    let all = vec![b' '; BATCH_SWARMS_MAX * 400];
    let heard = http::send(service, &Request::post(&batch, all)).expect_status(413);
    assert!(heard.text().contains("longer than"), "{}", heard.text());
    let now = resident_bytes(site.service.pid());
    assert!(now < before + GROWTH_MAX, "{now} bytes after {before}");
    assert_well(&site);
}

#[test]
fn a_body_that_is_cut_off_is_refused() {
    let site = site();
    let service = site.service.addr();
    for (headers, body) in [
        ("Content-Length: 1000", "{\"version\":1"),
        ("Content-Length: 1000", ""),
        ("Transfer-Encoding: chunked", "5\r\n{\"ver"),
        ("Transfer-Encoding: chunked", "ff\r\n{"),
        ("Transfer-Encoding: chunked", "5\r\n{\"ver\r\n"),
        ("Transfer-Encoding: chunked", ""),
    ] {
        let request = format!("{}{body}", post_head(&sets(), headers));
        let heard = talk_and_finish(service, request.as_bytes(), REFUSED_WITHIN);
        assert!(heard.closed, "{headers} {body:?}: {}", heard.text());
        // Who has gone away need not be told, but is never told that all is well.
        assert!(matches!(heard.statuses()[..], [] | [400]), "{headers} {body:?}: {}", heard.text());
    }
    for request in
        ["GET", "GET / HTT", "GET / HTTP/1.1\r\nHost: x", "GET / HTTP/1.1\r\nHost: x\r\n", "\r\n", "\0\0\0\0"]
    {
        let heard = talk_and_finish(service, request.as_bytes(), REFUSED_WITHIN);
        assert!(heard.closed && matches!(heard.statuses()[..], [] | [400]), "{request:?}: {}", heard.text());
    }
    assert_well(&site);
}

/// A request that would be answered with 404, hidden where a lenient reader would take it for one.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";

fn assert_one_refusal(service: SocketAddr, request: &str) {
    let heard = talk(service, request.as_bytes(), REFUSED_WITHIN);
    let [status] = heard.statuses()[..] else { panic!("{request:?}: {}", heard.text()) };
    assert!((400..500).contains(&status), "{request:?}: {status}");
    assert_ne!(status, 404, "{request:?}: what was smuggled in is answered");
    assert!(heard.closed, "{request:?}: the connection stays open");
}

#[test]
fn a_request_is_never_taken_for_two() {
    let site = site();
    let service = site.service.addr();
    let len = SMUGGLED.len();
    for headers in [
        format!("Content-Length: {len}\r\nTransfer-Encoding: chunked"),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {len}"),
        "Content-Length: 0\r\nTransfer-Encoding: chunked".into(),
        "Content-Length: 5\r\nContent-Length: 0".into(),
        "Content-Length: 5\r\nContent-Length: 5".into(),
        "Content-Length: 5, 5".into(),
        "Content-Length: +5".into(),
        "Content-Length: -5".into(),
        "Content-Length: 0x5".into(),
        "Content-Length: 5 5".into(),
        "Content-Length: 99999999999999999999999".into(),
        "Content-Length:".into(),
        "Transfer-Encoding: xchunked".into(),
        "Transfer-Encoding: chunked, identity".into(),
        "Transfer-Encoding: identity, chunked".into(),
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity".into(),
        "Transfer-Encoding: identity".into(),
        "Transfer-Encoding : chunked".into(),
        "Transfer-Encoding\t: chunked".into(),
        "X: y\r\n Transfer-Encoding: chunked".into(),
        "X: y\rTransfer-Encoding: chunked".into(),
        "X: y\0z".into(),
        " X: y".into(),
        ": y".into(),
        "no colon".into(),
    ] {
        assert_one_refusal(service, &format!("{}0\r\n\r\n{SMUGGLED}", post_head(&sets(), &headers)));
    }
    assert_one_refusal(
        service,
        &format!("POST {} HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}", sets()),
    );
    for chunks in [
        "xyz\r\n",
        "-1\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "ffffffffffffffffff\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "5\r\nhelloX0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "\r\n5\r\nhello\r\n0\r\n\r\n",
        "5\nhello\n0\n\n",
    ] {
        let request = post_head(&sets(), "Transfer-Encoding: chunked");
        assert_one_refusal(service, &format!("{request}{chunks}{SMUGGLED}"));
    }
    // A body that nobody asked for is no request either.
    for (path, status) in [("/healthz", 200), ("/missing", 404), ("/repo/a.rpm", 200)] {
        let head = format!("HEAD {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len}\r\n\r\n");
        let heard = talk(service, format!("{head}{SMUGGLED}").as_bytes(), REFUSED_WITHIN);
        assert_eq!(heard.statuses(), [status], "{path}: {}", heard.text());
    }
    assert_well(&site);
}

#[test]
fn floods_of_headers_and_endless_lines_are_refused() {
    let site = site();
    let service = site.service.addr();
    let before = resident_bytes(site.service.pid());
    let many = |n: usize| (0..n).map(|n| format!("X-{n}: y\r\n")).collect::<String>();
    let long = |n: usize| "x".repeat(n);
    for head in [
        format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", many(200)),
        format!("GET / HTTP/1.1\r\nHost: x\r\n{}", many(200_000)),
        format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}", long(4 << 20)),
        format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", long(4 << 20)),
        format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", long(4 << 20)),
        long(4 << 20),
        "\r\n".repeat(2 << 20),
        format!("GET / HTTP/1.1\r\nHost: x\r\n{}: y\r\n\r\n", long(1 << 20)),
        "GET / HTTP/9.9\r\nHost: x\r\n\r\n".into(),
        "GET  / HTTP/1.1\r\nHost: x\r\n\r\n".into(),
        "G\u{fc}T / HTTP/1.1\r\nHost: x\r\n\r\n".into(),
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}".into(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(),
    ] {
        let shown: String = head.chars().take(40).collect();
        let heard = talk_and_finish(service, head.as_bytes(), REFUSED_WITHIN);
        assert!(heard.closed, "{shown:?}");
        assert!(matches!(heard.statuses()[..], [] | [400] | [414] | [431]), "{shown:?}: {}", heard.text());
    }
    // As many and as long ones as anybody sends are fine.
    let usual = format!(
        "GET /healthz HTTP/1.1\r\nHost: x\r\nX: {}\r\n{}Connection: close\r\n\r\n",
        long(8_000),
        many(60)
    );
    assert_eq!(talk(service, usual.as_bytes(), REFUSED_WITHIN).statuses(), [200]);
    let now = resident_bytes(site.service.pid());
    assert!(now < before + GROWTH_MAX, "{now} bytes after {before}");
    assert_well(&site);
}

#[test]
fn an_upload_is_told_to_stop_before_it_starts() {
    let site = site();
    let service = site.service.addr();
    // Expect: 100-continue, as curl sends it: the answer is the refusal or the word to go on, never silence.
    let head = post_head("/repo/a.rpm", "Content-Length: 1000000\r\nExpect: 100-continue");
    let heard = talk_and_finish(service, head.as_bytes(), REFUSED_WITHIN);
    assert!(heard.statuses().ends_with(&[405]), "{}", heard.text());
    let body = format!("{{\"version\":1,\"packages\":[\"{}\"]}}", site.digests()[0]);
    let head = post_head(
        &sets(),
        &format!("Content-Length: {}\r\nExpect: 100-continue\r\nConnection: close", body.len()),
    );
    let heard = talk(service, format!("{head}{body}").as_bytes(), REFUSED_WITHIN);
    assert_eq!(heard.statuses(), [100, 200], "{}", heard.text());
    assert_well(&site);
}
