//! Whatever the service does, dnf ends as it does alone, in bounded time; and what was slow once is not waited for again.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use pkgtorrent_test_support::dnf::Host;
use pkgtorrent_test_support::process::free_port;
use pkgtorrent_test_support::proxy::{self, Part};
use pkgtorrent_test_support::server::Answer;
use pkgtorrent_test_support::{Server, Trial};

/// The agent's `connect_timeout`.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// The shim's `timeout`, shortened: by default it is half a minute.
const SHIM_TIMEOUT: Duration = Duration::from_secs(5);

const AT_ONCE: Duration = Duration::ZERO;

/// How long packages are tried to be had that fail again and again: four times, with pauses of up to four seconds.
const TRIES_LIMIT: Duration = Duration::from_secs(10);

/// What a network says that wants its guests to sign in.
const PAGE: &str = "<!DOCTYPE html><title>Sign in</title>";

/// Installs on hosts whose services answer everything in these ways, and are left to dnf for these reasons.
fn install_with_each(answers: impl IntoIterator<Item = (&'static str, Answer)>) {
    let trials: Vec<Trial> = Trial::each().collect();
    for (reason, answer) in answers {
        for trial in &trials {
            let answer = answer.clone();
            let service = Server::start(move |_| answer.clone());
            let _ = trial.left_to_dnf(&trial.mirror.host().agent(&service.url("/")), reason, AT_ONCE);
            assert!(!service.take_requests().is_empty(), "{reason}: it was not asked");
        }
    }
}

/// The next transaction on a host, for a package that the host does not have from the first: the service is not asked.
fn install_other(trial: &Trial, host: &Host) {
    let outcome = host.dnf(&["install", "other"]).succeeded().within(AT_ONCE, &trial.alone).placed(0);
    assert!(outcome.output.contains("a moment ago"), "{}", outcome.output);
    trial.expect_downloads(&[trial.mirror.other.file_name().to_owned()], &outcome);
    assert_eq!(outcome.installed.len(), 4);
}

/// An address from which no connection is ever accepted or refused: packets to it are dropped, because the queue of
/// connections that wait to be accepted is full.
struct Unreachable {
    listener: TcpListener,
    _waiting: Vec<TcpStream>,
}

impl Unreachable {
    fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        rustix::net::listen(&listener, 0).expect("a short queue");
        let address = listener.local_addr().expect("its address");
        let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(500)).ok();
        let waiting = std::iter::from_fn(connect).collect();
        Self { listener, _waiting: waiting }
    }

    fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("its address")
    }
}

#[test]
fn a_hung_service_is_given_up_by_the_agent_before_the_shim_gives_the_agent_up() {
    let trial = Trial::new();
    let service = Server::start(|_| Answer::Hang);
    // The shim's usual timeout.
    let limit = Duration::from_secs(30);
    let _ = trial.left_to_dnf(&trial.mirror.host().agent(&service.url("/")), "no answer within", limit);
}

#[test]
fn a_service_that_is_down_costs_nothing() {
    for trial in Trial::each() {
        let host = trial.mirror.host().agent(&format!("http://127.0.0.1:{}/", free_port()));
        let _ = trial.left_to_dnf(&host, "onnection refused", AT_ONCE);
    }
}

#[test]
fn a_service_that_refuses_costs_nothing() {
    let elsewhere = Server::start(|_| Answer::new(200, "{}"));
    install_with_each([
        ("500 Internal Server Error", Answer::new(500, "no\n")),
        ("503 Service Unavailable", Answer::new(503, "").header("Retry-After", "86400")),
        ("404 Not Found", Answer::new(404, PAGE)),
        ("412 Precondition Failed", Answer::new(412, "")),
        ("302 Found: not redirected", Answer::new(302, "").header("Location", &elsewhere.url("/"))),
        ("connection closed", Answer::Raw(Vec::new())),
    ]);
    assert!(elsewhere.take_requests().is_empty(), "the redirect was followed");
}

#[test]
fn a_service_that_talks_nonsense_costs_nothing() {
    let half = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"version\":";
    let long_header = [b"HTTP/1.1 200 OK\r\nX: ".as_slice(), &[b'x'; 1 << 20]].concat();
    install_with_each([
        ("expected value at line 1", Answer::new(200, PAGE).header("Content-Type", "text/html")),
        ("204 No Content", Answer::new(204, "")),
        ("null", Answer::new(200, "null")),
        ("expected value at line 1", Answer::new(200, (0..=255).cycle().take(100_000).collect::<Vec<u8>>())),
        ("invalid type", Answer::new(200, "[".repeat(60_000))),
        ("invalid HTTP version", Answer::Raw(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec())),
        ("closed early after 11 of 1000 bytes", Answer::Raw(half.to_vec())),
        ("message head is too large", Answer::Raw(long_header)),
    ]);
}

#[test]
fn an_answer_without_end_is_not_read_to_its_end() {
    let trial = Trial::new();
    let endless = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let service = format!("http://{}/", endless.local_addr().expect("its address"));
    // It ends with the test's process.
    std::thread::spawn(move || {
        for mut stream in endless.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n{\"version\":1,\"torrents\":\"");
            while stream.write_all(&[b'x'; 64 << 10]).is_ok() {}
        }
    });
    let _ = trial.left_to_dnf(&trial.mirror.host().agent(&service), "the answer is longer than", AT_ONCE);
}

#[test]
fn a_service_that_cannot_be_reached_costs_one_connect_timeout_and_then_nothing() {
    let trial = Trial::new();
    let unreachable = Unreachable::new();
    let host = trial.mirror.host().agent(&format!("http://{}/", unreachable.address()));
    let first = trial.left_to_dnf(&host, "tcp connect error", CONNECT_LIMIT);
    assert!(first.duration > CONNECT_LIMIT, "it was reached: {:?}", first.duration);
    install_other(&trial, &host);
}

#[test]
fn a_service_that_never_answers_costs_one_timeout_and_then_nothing() {
    let trial = Trial::new();
    let service = Server::start(|_| Answer::Hang);
    let host = trial.mirror.host();
    let (url, command, seconds) = (service.url("/"), host.agent_command(), SHIM_TIMEOUT.as_secs());
    let host = host.shim(&format!("service = {url}\ncommand = {command}\ntimeout = {seconds}\n"));
    let first = trial.left_to_dnf(&host, "nothing new for", SHIM_TIMEOUT);
    assert!(first.duration > SHIM_TIMEOUT, "it was not waited for: {:?}", first.duration);
    assert_eq!(service.take_requests().len(), 1);
    install_other(&trial, &host);
    assert!(service.take_requests().is_empty(), "it was asked again");
}

#[test]
fn a_service_that_breaks_off_after_its_plan_costs_little() {
    for trial in Trial::each() {
        let cut = b"HTTP/1.1 206 Partial Content\r\nContent-Length: 100\r\n\r\n".to_vec();
        for (broken, reason, answer) in [
            (Part::Info, "500 Internal Server Error", Answer::new(500, "")),
            (Part::Info, "404 Not Found", Answer::new(404, "")),
            (Part::Info, "connection closed", Answer::Raw(Vec::new())),
            (Part::Package, "does not have it", Answer::new(404, "")),
            (Part::Package, "source 0 ", Answer::new(500, "")),
            (Part::Package, "source 0 ", Answer::Raw(cut)),
        ] {
            let breaking = proxy::before(trial.service.addr(), move |request, passed| {
                if Part::of(request) == broken { answer.clone() } else { passed }
            });
            let host = trial.mirror.host().agent(&breaking.url("/"));
            let _ = trial.left_to_dnf(&host, reason, TRIES_LIMIT);
            assert!(breaking.take_requests().iter().any(|request| Part::of(request) == broken), "{reason}");
        }
    }
}

#[test]
fn a_service_that_knows_none_of_the_packages_costs_nothing() {
    for trial in Trial::each() {
        let empty = tempfile::tempdir().expect("a directory");
        let service = trial.mirror.service_of(empty.path());
        let host = trial.mirror.host().agent(&service.url("/"));
        let _ = trial.left_to_dnf(&host, "the service does not have it", AT_ONCE);
    }
}

#[test]
fn with_the_same_service_at_its_best_dnf_downloads_nothing() {
    for trial in Trial::each() {
        let passing = proxy::before(trial.service.addr(), |_, passed| passed);
        let _ = trial.placed(&trial.mirror.host().agent(&passing.url("/")));
        assert!(passing.take_requests().iter().any(|request| Part::of(request) == Part::Package));
    }
}
