//! Which URLs answers name, and whose address a peer has: neither follows from a stranger's word.

use std::net::SocketAddr;
use std::time::Duration;

use pkgtorrent_protocol::PeerId;
use pkgtorrent_protocol::metainfo::Metainfo;
use pkgtorrent_protocol::plan::Plan;
use pkgtorrent_system_tests::site::Site;
use pkgtorrent_system_tests::wire::talk;
use pkgtorrent_test_support::http::{self, Connection, Request, Response};
use pkgtorrent_test_support::{Launch, ask};

const ANSWER_LIMIT: Duration = Duration::from_secs(20);

fn site(config: &str) -> Site {
    Site::start(&[("a.rpm", 2_000)], config)
}

/// The base of every URL in a plan and in its torrent, after a check that all of them have the same.
fn base_of(plan: &Plan, torrent: &[u8]) -> String {
    let base =
        plan.announce.strip_suffix(&format!("{}announce", ask::PREFIX)).expect("an announce URL").to_owned();
    assert_eq!(plan.torrents, format!("{base}{}torrents/", ask::PREFIX));
    assert_eq!(plan.web_seeds, [format!("{base}{}webseed/", ask::PREFIX)]);
    let (metainfo, _) = Metainfo::parse(torrent).expect("a .torrent");
    assert_eq!(metainfo.web_seeds, plan.web_seeds);
    assert_eq!(metainfo.trackers, [[format!("{base}/announce")]]);
    base
}

/// Asks for the plan and the torrent with these headers.
fn asked(site: &Site, service: SocketAddr, headers: &[(&str, &str)]) -> Result<String, Response> {
    let with =
        |request: Request| headers.iter().fold(request, |request, (name, value)| request.header(name, value));
    let plan = http::send(service, &with(ask::set_request(&site.digests(), None)));
    let set = ask::set_digest(&site.digests());
    let torrent = http::send(service, &with(Request::get(&format!("{}sets/{set}.torrent", ask::PREFIX))));
    assert_eq!(plan.status, torrent.status);
    if plan.status != 200 {
        return Err(plan);
    }
    Ok(base_of(&ask::plan_of(plan), &torrent.body))
}

/// Hosts that a name check can get wrong.
fn odd_hosts() -> Vec<String> {
    [
        "",
        "evil.example",
        "evil.example:80",
        "mirror.example.evil.example",
        "evilmirror.example",
        "mirror.example@evil",
        "user:password@mirror.example",
        "mirror.example/evil",
        "mirror.example#x",
        "mirror.example?x",
        "mirror.example:",
        "mirror.example:x",
        "mirror.example:80:80",
        "[::1",
        "::1",
        "mirror.example,evil.example",
        "mirror.example evil",
        "\"mirror.example\"",
        "<script>",
        "mirror.example\\evil",
        "mirror.example.",
    ]
    .into_iter()
    .map(str::to_owned)
    .chain(["a".repeat(300), "a".repeat(20_000), format!("{}.mirror.example", "a".repeat(5_000))])
    .collect()
}

#[test]
fn without_configuration_urls_name_the_address_that_was_connected_to() {
    let site = site("");
    let service = site.service.addr();
    let expected = format!("http://{service}");
    assert_eq!(asked(&site, service, &[]).expect("a plan"), expected);
    for host in odd_hosts().iter().map(String::as_str).chain(["mirror.example", "localhost"]) {
        assert_eq!(asked(&site, service, &[("Host", host)]).expect("a plan"), expected, "Host: {host:.60}");
    }
    let forged = [
        ("X-Forwarded-Host", "evil.example"),
        ("X-Forwarded-Proto", "https"),
        ("Forwarded", "host=evil.example"),
    ];
    assert_eq!(asked(&site, service, &forged).expect("a plan"), expected);
}

#[test]
fn with_public_url_urls_name_it_whatever_the_host() {
    let site = site("public_url = 'https://mirror.example/prefix/'\n");
    for host in ["mirror.example", "evil.example", "", "x:y@z"] {
        let base = asked(&site, site.service.addr(), &[("Host", host)]).expect("a plan");
        assert_eq!(base, "https://mirror.example/prefix", "Host: {host}");
    }
}

#[test]
fn with_allowed_hosts_others_are_refused_plans_and_torrents() {
    let site = site("allowed_hosts = ['Mirror.example', '[::1]', '127.0.0.2:7070']\n");
    let service = site.service.addr();
    for (host, base) in [
        ("mirror.example", "http://mirror.example"),
        ("MIRROR.Example", "http://mirror.example"),
        ("mirror.example:8080", "http://mirror.example:8080"),
        ("[::1]:99", "http://[::1]:99"),
        ("[::1]", "http://[::1]"),
        ("127.0.0.2:7070", "http://127.0.0.2:7070"),
    ] {
        assert_eq!(asked(&site, service, &[("Host", host)]).expect(host), base);
    }
    for host in odd_hosts().iter().map(String::as_str).chain(["127.0.0.2:7071", "127.0.0.2", "[::2]"]) {
        let refused = asked(&site, service, &[("Host", host)]).expect_err(host);
        assert_eq!(refused.status, 421, "Host: {host:.60}");
        assert_eq!(refused.header("cache-control"), Some("no-store"));
        assert!(refused.text().contains("allowed_hosts") && refused.body.len() < 400, "{}", refused.text());
    }
    let forged = [("Host", "evil.example"), ("X-Forwarded-Host", "mirror.example")];
    assert_eq!(asked(&site, service, &forged).expect_err("refused").status, 421);
    // Files are the same under every name.
    let file = http::send(service, &Request::get("/repo/a.rpm").header("Host", "evil.example"));
    assert!(file.expect_status(200).body == site.packages[0].bytes());
}

#[test]
fn requests_whose_host_is_no_header_at_all_do_no_harm() {
    let site = site("allowed_hosts = ['mirror.example']\n");
    let service = site.service.addr();
    site.repository.list(&site.packages);
    let post = ask::set_request(&site.digests(), None).header("Host", "mirror.example");
    http::send(service, &post).expect_status(200);
    let path = format!("{}sets/{}", ask::PREFIX, ask::set_digest(&site.digests()));
    let said = |request: String| talk(service, request.as_bytes(), ANSWER_LIMIT);
    // The target's own authority counts for more than the Host (RFC 9112, section 3.2.2).
    for (target, host, status) in [
        (format!("http://mirror.example{path}"), "evil.example", 200),
        (format!("http://evil.example{path}"), "mirror.example", 421),
        (format!("http://mirror.example@evil.example{path}"), "mirror.example", 421),
    ] {
        let heard = said(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"));
        assert_eq!(heard.statuses(), [status], "{target}: {}", heard.text());
        assert!(!heard.text().contains("http://evil.example"), "{}", heard.text());
    }
    for (lines, statuses) in [
        ("", &[400][..]),
        ("Host: mirror.example\r\nHost: evil.example\r\n", &[400]),
        ("Host: mirror.example\r\n\tevil.example\r\n", &[400]),
        ("Host: mirror.example\rX-Evil: 1\r\n", &[400]),
        ("Host: mirror.example\0evil\r\n", &[400]),
        ("Host : mirror.example\r\n", &[400]),
        ("Host: \u{fc}\r\n", &[400, 421]),
        ("Host: mirror.example%0d%0aX-Evil:%201\r\n", &[421]),
    ] {
        let heard = said(format!("GET {path} HTTP/1.1\r\n{lines}Connection: close\r\n\r\n"));
        assert!(heard.closed, "{lines:?}");
        let [status] = heard.statuses()[..] else { panic!("{lines:?}: {}", heard.text()) };
        assert!(statuses.contains(&status), "{lines:?}: {status}");
        assert!(!heard.text().to_lowercase().contains("x-evil: 1"), "{lines:?}: {}", heard.text());
    }
    // HTTP/1.0 has no Host to demand, and so names none of ours.
    let heard = said(format!("GET {path} HTTP/1.0\r\n\r\n"));
    assert_eq!(heard.statuses(), [421]);
}

/// Joins the plan's swarm from `from`, with headers, and says whom the next asker is introduced to.
fn introduced_after(
    site: &Site,
    service: SocketAddr,
    port: u16,
    headers: &[(&str, &str)],
) -> Vec<SocketAddr> {
    let joining = ask::set_request(&site.digests(), Some((port, PeerId([b'j'; 20]))));
    let joining = headers.iter().fold(joining, |request, (name, value)| request.header(name, value));
    http::send(service, &joining).expect_status(200);
    ask::post_set(service, &site.digests()).bundles.remove(0).peers
}

const FORGERIES: [&[(&str, &str)]; 6] = [
    &[("X-Forwarded-For", "10.1.2.3")],
    &[("X-Forwarded-For", "10.1.2.3, 10.1.2.4")],
    &[("X-Forwarded-For", "10.1.2.3"), ("X-Forwarded-For", "10.1.2.4")],
    &[("Forwarded", "for=10.1.2.3")],
    &[("X-Real-IP", "10.1.2.3")],
    &[("X-Forwarded-For", "127.0.0.1")],
];

#[test]
fn a_forged_address_has_no_effect() {
    // Trusting some proxy is not trusting everyone.
    for config in ["", "trusted_proxies = ['10.0.0.0/8', '127.0.0.9/32']\n"] {
        let site = site(config);
        let service = site.service.addr();
        for headers in FORGERIES {
            let peers = introduced_after(&site, service, 4242, headers);
            assert_eq!(peers, ["127.0.0.1:4242".parse().expect("an address")], "{headers:?}");
        }
        let query = "info_hash=%00&peer_id=x&port=4242&ip=10.1.2.3";
        let failure = http::get(service, &format!("/announce?{query}")).expect_status(200);
        assert!(failure.body.starts_with(b"d14:failure reason"), "{}", failure.text());
    }
}

#[test]
fn a_trusted_proxy_says_whom_it_was_asked_by() {
    let site =
        site("trusted_proxies = ['127.0.0.1/32', '10.9.0.0/16']\nallowed_hosts = ['mirror.example']\n");
    let service = site.service.addr();
    let url = [("X-Forwarded-Host", "mirror.example"), ("X-Forwarded-Proto", "https"), ("Host", "internal")];
    assert_eq!(asked(&site, service, &url).expect("a plan"), "https://mirror.example");
    for (port, forwarded, expected) in [
        (1_001, "10.1.2.3", "10.1.2.3"),
        (1_002, "10.6.6.6, 10.1.2.3", "10.1.2.3"),
        (1_003, "10.6.6.6, 10.1.2.3, 10.9.0.1", "10.1.2.3"),
        (1_004, "fd00::7", "fd00::7"),
        (1_005, "[fd00::7]:99", "fd00::7"),
        (1_006, "::ffff:10.1.2.3", "10.1.2.3"),
        (1_007, "nonsense", "127.0.0.1"),
    ] {
        let request = ask::set_request(&site.digests(), Some((port, PeerId([port as u8; 20]))))
            .header("Host", "mirror.example")
            .header("X-Forwarded-For", forwarded);
        http::send(service, &request).expect_status(200);
        let request = ask::set_request(&site.digests(), None).header("Host", "mirror.example");
        let peers = ask::plan_of(http::send(service, &request)).bundles.remove(0).peers;
        let expected = SocketAddr::new(expected.parse().expect("an address"), port);
        assert!(peers.contains(&expected), "{forwarded}: {peers:?} without {expected}");
        let of_port = peers.iter().filter(|peer| peer.port() == port).count();
        assert_eq!(of_port, 1, "{forwarded}: {peers:?}");
    }
}

#[test]
fn ipv4_and_ipv6_clients_are_each_told_the_address_that_they_reached() {
    let site =
        Site::start_with(&[("a.rpm", 2_000)], |launch: Launch| launch.listen("[::]:0").listen("127.0.0.1:0"));
    let (both, four) = (site.service.addr(), site.service.addrs()[1]);
    let by_v6: SocketAddr = format!("[::1]:{}", both.port()).parse().expect("an address");
    let by_v4: SocketAddr = format!("127.0.0.1:{}", both.port()).parse().expect("an address");
    let by_other: SocketAddr = format!("127.0.0.2:{}", both.port()).parse().expect("an address");
    for service in [by_v6, by_v4, by_other, four] {
        assert_eq!(asked(&site, service, &[]).expect("a plan"), format!("http://{service}"));
        let peers = introduced_after(&site, service, 7_000, &[]);
        // A client that came over IPv4 is not written as an IPv6 address.
        assert!(peers.iter().all(|peer| peer.ip() == peer.ip().to_canonical()), "{peers:?}");
        assert!(
            peers.iter().any(|peer| peer.is_ipv4() == service.is_ipv4() && peer.ip().is_loopback()),
            "{peers:?}"
        );
    }
    let mut connection = Connection::open(by_v6).expect("connects");
    assert_eq!(connection.send(&Request::get("/healthz")).expect("an answer").status, 200);
}
