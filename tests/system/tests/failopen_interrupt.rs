//! Ctrl-C ends dnf as it does alone, and neither the agent nor what it has fetched; half a package is nowhere.

use std::time::{Duration, Instant};

use pkgtorrent_test_support::dnf::{self, Host, Outcome};
use pkgtorrent_test_support::process::wait_for;
use pkgtorrent_test_support::proxy;
use pkgtorrent_test_support::server::Answer;
use pkgtorrent_test_support::{Mirror, Server, Trial, http};
use rustix::process::Signal;

/// From the signal to dnf's end on a busy machine. The shim would wait for half a minute.
const END_LIMIT: Duration = Duration::from_secs(15);

/// How long it may take until a download is under way.
const START_LIMIT: Duration = Duration::from_secs(30);

const HELD_BACK: &str = "data-1.0-1.noarch.rpm";

/// What dnf alone does when it is interrupted while it downloads.
fn interrupted_alone(mirror: &Mirror, signal: Signal) -> Outcome {
    let mirror = mirror.server.addr();
    let holding = Server::start(move |request| {
        if request.target.ends_with(HELD_BACK) {
            return Answer::Hang;
        }
        let response = http::get(mirror, &request.target);
        Answer::new(response.status, response.body)
    });
    let host = Host::new().repository("repo", &holding.url("/repo/"));
    let program = host.start(&["install", "app"]);
    let is_asked_for = |names: Vec<String>| names.iter().any(|name| name == HELD_BACK);
    wait_for("download", START_LIMIT, || is_asked_for(holding.take_packages()).then_some(()));
    dnf::signal_group(&program, signal);
    host.wait(program, Instant::now())
}

/// Panics if anything but whole packages is where dnf looks for them. Gives their names.
fn expect_whole_packages(trial: &Trial, host: &Host) -> Vec<String> {
    let names = host.cached_files("repo");
    for name in &names {
        let package = trial.mirror.packages.iter().find(|package| package.file_name() == *name);
        let package = package.unwrap_or_else(|| panic!("{name} is left behind"));
        let bytes = std::fs::read(host.package_cache("repo").join(name)).expect("a file");
        assert!(bytes == package.bytes(), "{name} is not whole");
    }
    names
}

fn interrupt(trial: &Trial, signal: Signal) {
    let alone = interrupted_alone(&trial.mirror, signal);
    let _ = trial.mirror.server.take_packages();
    let (server, gate) = proxy::before_with_gate(trial.service.addr(), "data-");
    let host = trial.mirror.host().agent(&server.url("/"));
    let program = host.start(&["install", "app"]);
    wait_for("two packages in place", START_LIMIT, || (host.cached_files("repo").len() == 2).then_some(()));
    let agent = host.its_agent().running();
    dnf::signal_group(&program, signal);
    let outcome = host.wait(program, Instant::now()).same_as(&alone);
    assert!(outcome.duration < END_LIMIT, "{signal:?}: {:?}", outcome.duration);
    assert!(!expect_whole_packages(trial, &host).contains(&HELD_BACK.to_owned()));
    assert_eq!(host.its_agent().pid(), Some(agent), "the agent lives on");
    assert_eq!(trial.mirror.server.take_packages(), [""; 0], "dnf has downloaded something by itself");

    // Not from dnf's own cache.
    let _ = host.dnf(&["clean", "packages"]).succeeded();
    assert_eq!(host.cached_files("repo"), [""; 0]);
    let _ = server.take_packages();
    gate.open();
    let _ = trial.placed(&host);
    let asked_for = server.take_packages();
    assert!(asked_for.iter().all(|name| name == HELD_BACK), "fetched once more: {asked_for:?}");
    assert_eq!(host.its_agent().pid(), Some(agent), "the agent lives on");
}

#[test]
fn ctrl_c_ends_dnf_and_leaves_the_agent_with_what_it_has() {
    interrupt(&Trial::new(), Signal::INT);
}

#[test]
fn a_terminal_that_is_closed_leaves_the_agent_with_what_it_has() {
    interrupt(&Trial::new(), Signal::HUP);
}

#[test]
fn a_shutdown_of_the_session_leaves_the_agent_with_what_it_has() {
    interrupt(&Trial::new(), Signal::TERM);
}

#[test]
fn whenever_ctrl_c_comes_nothing_partial_stays() {
    let trial = Trial::new();
    let host = trial.host();
    // From before the shim is loaded until after everything is in place.
    let step = trial.alone.duration / 7;
    let mut cached = 0;
    for n in 1..=8 {
        let program = host.start(&["install", "--downloadonly", "app"]);
        std::thread::sleep(step * n);
        dnf::signal_group(&program, Signal::INT);
        let outcome = host.wait(program, Instant::now());
        assert!(outcome.duration < END_LIMIT, "after {:?}: {:?}", step * n, outcome.duration);
        cached += expect_whole_packages(&trial, &host).len();
        let _ = host.dnf(&["clean", "packages"]);
        if n == 4 {
            // The second half is with another agent, and an empty store. Perhaps it never came to the first.
            host.its_agent().kill9();
            let _ = std::fs::remove_dir_all(host.path("agent"));
        }
    }
    assert!(cached > 0, "Ctrl-C always came before there was anything");
    let _ = trial.placed(&host);
}
