//! An agent shows what it does to collectors where it was told to, and nothing to anybody elsewhere.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use pkgtorrent_system_tests::site::Site;
use pkgtorrent_system_tests::watched::{Served, documented};
use pkgtorrent_test_support::Agent;
use pkgtorrent_test_support::http::{self, Request};
use pkgtorrent_test_support::process::wait_for;

const FILES: [(&str, usize); 2] = [("a.rpm", 400_000), ("b.rpm", 2_000_000)];
const TOTAL: f64 = 2_400_000.0;

/// How long the agent may take to say where that is, or to hang up.
const LIMIT: Duration = Duration::from_secs(20);

/// A host that has fetched everything, with this configuration.
fn host_with(config: &str, site: &Site) -> Agent {
    let host = Agent::with_config(config);
    let fetched = host.fetch(&site.service.url("/"), &host.wants(&site.packages)).all_placed();
    assert_eq!(fetched.done().0, site.packages.len());
    host
}

fn host(site: &Site) -> Agent {
    host_with("metrics_listen = \"0\"\n", site)
}

fn metrics_of(host: &Agent) -> SocketAddr {
    wait_for("the address of the metrics in the log", LIMIT, || {
        let log = host.log();
        let (_, after) = log.split_once("metrics are at http://")?;
        after.split_once("/metrics")?.0.parse().ok()
    })
}

#[test]
fn an_agent_shows_what_is_documented_of_it() {
    let site = Site::start_apart(&FILES, "");
    let (first, second) = (host(&site), host(&site));
    // A service that is not there is a plan that is not given, and packages that are left to the package manager.
    second.fetch("http://127.0.0.1:1/", &second.wants(&Site::start_apart(&FILES[..1], "").packages));

    let of_first = Served::get(metrics_of(&first));
    assert_eq!(of_first.metrics, documented("Of an agent"));
    let bytes =
        |served: &Served, source| served.sum("pkgtorrent_agent_bytes_total", Some(("source", source)));
    assert_eq!(bytes(&of_first, "origin"), TOTAL);
    for (metric, value) in [
        ("pkgtorrent_agent_installs_total", 1.0),
        ("pkgtorrent_agent_packages_placed_total", 2.0),
        ("pkgtorrent_agent_packages_left_total", 0.0),
        ("pkgtorrent_agent_store_packages", 2.0),
        ("pkgtorrent_agent_store_bytes", TOTAL),
        ("pkgtorrent_agent_store_limit_bytes", f64::from(1 << 30) * 10.0),
        ("pkgtorrent_agent_origin_errors_total", 0.0),
    ] {
        assert_eq!(of_first.sum(metric, None), value, "{metric}");
    }
    let of_second = Served::get(metrics_of(&second));
    let from_first = bytes(&of_second, "near");
    assert!(from_first > 0.0 && from_first + bytes(&of_second, "origin") == TOTAL, "{of_second:?}");
    wait_for("what the first host has sent", LIMIT, || {
        let sent = Served::get(metrics_of(&first)).sum("pkgtorrent_agent_sent_bytes_total", None);
        (sent >= from_first).then_some(())
    });
    let no_plan = Some(("reason", "no_plan"));
    assert_eq!(of_second.sum("pkgtorrent_agent_packages_left_total", no_plan), 1.0);
    assert_eq!(of_second.sum("pkgtorrent_agent_plan_failures_total", None), 1.0);
    assert_eq!(of_second.sum("pkgtorrent_agent_installs_total", None), 2.0);
}

#[test]
fn nothing_else_is_to_be_had_there() {
    let site = Site::start_apart(&FILES[..1], "");
    let host = host(&site);
    let address = metrics_of(&host);
    assert!(address.ip().is_loopback(), "a port alone is one of the host's own");
    let status = |method, path| http::send(address, &Request::new(method, path)).status;
    assert_eq!(status("GET", "/"), 404);
    assert_eq!(status("GET", "/pkgtorrent/"), 404);
    assert_eq!(status("POST", "/metrics"), 405);
    let head = http::send(address, &Request::head("/metrics")).expect_status(200);
    assert!(head.body.is_empty());
}

#[test]
fn callers_that_say_nothing_or_too_much_are_hung_up_on_and_keep_nobody_out() {
    let site = Site::start_apart(&FILES[..1], "");
    let host = host(&site);
    let address = metrics_of(&host);
    let connect = || {
        let stream = TcpStream::connect(address).expect("connects");
        stream.set_read_timeout(Some(LIMIT)).expect("a time limit");
        stream
    };
    let mut talker = connect();
    // It may be cut off before all of this is sent.
    let _ = talker.write_all(format!("GET /metrics HTTP/1.1\r\nX: {}", "x".repeat(1 << 20)).as_bytes());
    let mut answer = Vec::new();
    let _ = talker.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");

    let mut silent: Vec<TcpStream> = (0..8).map(|_| connect()).collect();
    // It waits in the kernel until the silent ones are hung up on.
    assert!(Served::get(address).sum("pkgtorrent_agent_installs_total", None) > 0.0);
    for stream in &mut silent {
        assert_eq!(stream.read(&mut [0]).expect("the end"), 0);
    }
}

#[test]
fn an_agent_shows_nothing_unless_it_is_told_to() {
    let site = Site::start_apart(&FILES[..1], "");
    let host = host_with("", &site);
    assert!(!host.log().contains("metrics are at"), "{}", host.log());
    let agent = host.status().expect("an agent runs").pid;
    assert_eq!(listeners_of(agent), 1, "only the one for other hosts");
}

/// How many TCP sockets of a process listen.
fn listeners_of(pid: u32) -> usize {
    let sockets: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("its descriptors")
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter_map(|target| Some(target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let listening = |table: &str| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        let of_it = |line: &&str| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            fields.get(3) == Some(&"0A")
                && fields.get(9).is_some_and(|inode| sockets.iter().any(|s| s == inode))
        };
        text.lines().filter(of_it).count()
    };
    listening("tcp") + listening("tcp6")
}
