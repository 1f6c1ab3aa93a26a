//! Whatever the agent or its state directory is like, dnf ends as it does alone, in bounded time.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::time::{Duration, Instant};

use pkgtorrent_test_support::agent::Agent;
use pkgtorrent_test_support::dnf::Host;
use pkgtorrent_test_support::fake_agent::FakeAgent;
use pkgtorrent_test_support::process::{Program, built, wait_for};
use pkgtorrent_test_support::{Disk, Trial, proxy};
use rustix::process::{Pid, Signal, kill_process};

/// Who the agent runs as where there is no user of its own.
const NOBODY: u32 = 65_534;

const AT_ONCE: Duration = Duration::ZERO;

/// After so long a silence `fetch` takes the agent for hung.
const SILENCE_LIMIT: Duration = Duration::from_secs(10);

/// Sharing what dnf has downloaded is given two seconds, and a second to end.
const OFFER_LIMIT: Duration = Duration::from_secs(3);

/// How long the packages that are not held back may take.
const FETCH_LIMIT: Duration = Duration::from_secs(30);

/// A dnf that installs three packages, two of which are in place. The third is held back.
fn start(host: &Host) -> (Program, Pid) {
    let program = host.start(&["install", "app"]);
    let two = ["app-1.0-1.noarch.rpm", "lib-1.0-1.noarch.rpm"];
    wait_for("two packages in place", FETCH_LIMIT, || (host.cached_files("repo") == two).then_some(()));
    (program, host.its_agent().running())
}

fn signal(agent: Pid, signal: Signal) {
    kill_process(agent, signal).expect("the agent is there");
}

#[test]
fn an_agent_that_is_killed_leaves_what_it_had_done_and_is_started_anew() {
    let trial = Trial::new();
    let (server, gate) = proxy::before_with_gate(trial.service.addr(), "data-");
    let host = trial.mirror.host().agent(&server.url("/"));
    let (program, agent) = start(&host);
    signal(agent, Signal::KILL);
    let outcome = host.wait(program, Instant::now()).same_as(&trial.alone).placed(2);
    let outcome = outcome.within(AT_ONCE, &trial.alone);
    assert!(outcome.output.contains("the agent went away"), "{}", outcome.output);
    trial.expect_downloads(&["data-1.0-1.noarch.rpm".into()], &outcome);
    trial.expect_right_packages(&host);
    gate.open();
    let _ = host.dnf(&["remove", "data"]).succeeded();
    let _ = trial.placed(&host);
    assert_ne!(host.its_agent().running(), agent);
}

#[test]
fn a_hung_agent_costs_the_silence_after_which_it_is_known() {
    for trial in Trial::each() {
        let (server, _gate) = proxy::before_with_gate(trial.service.addr(), "data-");
        let host = trial.mirror.host().agent(&server.url("/"));
        let (program, agent) = start(&host);
        signal(agent, Signal::STOP);
        let limit = SILENCE_LIMIT + OFFER_LIMIT;
        let outcome = host.wait(program, Instant::now()).same_as(&trial.alone).placed(2);
        let outcome = outcome.within(limit, &trial.alone);
        assert!(outcome.duration > SILENCE_LIMIT, "it did not hang: {:?}", outcome.duration);
        trial.expect_downloads(&["data-1.0-1.noarch.rpm".into()], &outcome);
        trial.expect_right_packages(&host);
        // One that hangs from the beginning.
        let _ = host.dnf(&["remove", "data"]).succeeded();
        let _ = trial.left_to_dnf(&host, "the agent has not answered for 10 seconds", limit);
        signal(agent, Signal::KILL);
    }
}

#[test]
fn what_is_at_the_agents_socket_need_not_be_an_agent() {
    for trial in Trial::each() {
        for (says, reason) in [
            ("SSH-2.0-OpenSSH_9.2\n", "not understood"),
            ("{\"type\":\"refused\",\"reason\":\"not today\"}\n", "the agent refused: not today"),
            ("{\"type\":\"hello\",\"version\":99,\"oldest\":98,\"program\":\"9\"}\n", "too new"),
            (
                "{\"type\":\"hello\",\"version\":1,\"oldest\":1,\"program\":\"9\"}\n{\"type\":\"end\"}\n",
                "forgot it",
            ),
        ] {
            let host = trial.host();
            let _agent = FakeAgent::saying(&host.path("agent"), says);
            // It may be asked to share what dnf has downloaded, and not answer to that.
            let _ = trial.left_to_dnf(&host, reason, OFFER_LIMIT);
        }
        let host = trial.host();
        // One that closes every connection is taken for one that is about to end, and replaced.
        let _agent = FakeAgent::start(&host.path("agent"), drop);
        let _ = trial.placed(&host);
    }
}

#[test]
fn a_helper_that_is_not_there_costs_nothing() {
    let trial = Trial::new();
    let host = trial.mirror.host();
    let program = host.path("pkgtorrent");
    let options = format!("service = {}\ncommand = {}\n", trial.service.url("/"), program.display());
    let host = host.shim(&options);
    let _ = trial.left_to_dnf(&host, "No such file", AT_ONCE);
    fs::write(&program, "#!/bin/sh\n").expect("written");
    let _ = host.dnf(&["remove", "data"]).succeeded();
    let _ = trial.left_to_dnf(&host, "Permission denied", AT_ONCE);
}

#[test]
fn a_state_directory_that_is_none_of_ours_costs_nothing() {
    type Prepare = fn(&Host);
    let trial = Trial::new();
    let cases: [(&str, Prepare); 6] = [
        ("Not a directory", |host| fs::write(host.path("agent"), "").expect("a file")),
        ("cannot create", |host| symlink(host.path("nothing/here"), host.path("agent")).expect("a link")),
        ("is a state directory of version 2", |host| {
            fs::create_dir(host.path("agent")).expect("a directory");
            host.write("agent/version", "pkgtorrent 2\n");
        }),
        ("is not a state directory", |host| {
            fs::create_dir(host.path("agent")).expect("a directory");
            host.write("agent/letter", "Dear ...");
        }),
        ("belongs to user 12345", |host| {
            fs::create_dir(host.path("agent")).expect("a directory");
            chown(host.path("agent"), Some(12345), None).expect("this test runs as root");
        }),
        ("may be written by others than its owner", |host| {
            fs::create_dir(host.path("agent")).expect("a directory");
            chown(host.path("agent"), Some(NOBODY), None).expect("this test runs as root");
            host.write("agent/version", "pkgtorrent 1\n");
            fs::set_permissions(host.path("agent"), Permissions::from_mode(0o777)).expect("a mode");
        }),
    ];
    for (reason, prepare) in cases {
        let host = trial.host();
        prepare(&host);
        let _ = trial.left_to_dnf(&host, reason, AT_ONCE);
        assert!(host.its_agent().pid().is_none(), "{reason}");
    }
}

#[test]
fn a_state_directory_without_parents_is_made() {
    let trial = Trial::new();
    let host = trial.mirror.host();
    let state_dir = host.path("no/such/directory");
    // Ends the agent.
    let agent = Agent::new().in_dir(&state_dir);
    let command = format!("{} --state-dir {}", built("pkgtorrent").display(), state_dir.display());
    let host = host.shim(&format!("service = {}\ncommand = {command}\n", trial.service.url("/")));
    let _ = trial.placed(&host);
    assert!(agent.pid().is_some());
}

#[test]
fn a_full_disk_costs_nothing_and_room_on_it_is_used_again() {
    let trial = Trial::new();
    let disk = Disk::new(8 << 20);
    let host = trial.host();
    fs::create_dir(disk.path().join("agent")).expect("a directory");
    symlink(disk.path().join("agent"), host.path("agent")).expect("a link");
    // First there is not a byte for the agent itself, then there is none for packages.
    let ballast = disk.fill_but(0);
    let _ = trial.left_to_dnf(&host, "No space left", AT_ONCE);
    fs::remove_file(&ballast).expect("room");
    let ballast = disk.fill_but(64 << 10);
    let _ = host.dnf(&["remove", "data"]).succeeded();
    let _ = trial.left_to_dnf(&host, "no room in ", AT_ONCE);
    fs::remove_file(&ballast).expect("room");
    let _ = host.dnf(&["remove", "data"]).succeeded();
    let _ = trial.placed(&host);
}

#[test]
fn a_read_only_disk_costs_nothing() {
    let trial = Trial::new();
    let disk = Disk::new(8 << 20);
    let host = trial.host();
    fs::create_dir(disk.path().join("agent")).expect("a directory");
    symlink(disk.path().join("agent"), host.path("agent")).expect("a link");
    disk.make_read_only();
    let _ = trial.left_to_dnf(&host, "Read-only file system", AT_ONCE);
}

#[test]
fn a_wrong_configuration_costs_nothing() {
    for trial in Trial::each() {
        for (config, reason) in [
            ("service = ", "its answer breaks off"),
            ("servise = \"auto\"\n", "its answer breaks off"),
            ("idle_timeout = 0\n", "its answer breaks off"),
            ("user = \"root\"\n", "the agent never runs as root"),
            ("ca_file = \"/nonexistent.pem\"\n", "/nonexistent.pem"),
        ] {
            let host = trial.host();
            host.its_agent().set_config(&format!("background = \"always\"\n{config}"));
            let _ = trial.left_to_dnf(&host, reason, AT_ONCE);
        }
    }
}
