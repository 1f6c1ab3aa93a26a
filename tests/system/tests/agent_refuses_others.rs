//! Root, the agent's own user and those that are allowed may ask the agent, and nobody else. Any user can have an agent of
//! its own.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use pkgtorrent_system_tests::site::Site;
use pkgtorrent_test_support::agent::{Agent, assert_placed, want};
use pkgtorrent_test_support::process::built;
use pkgtorrent_test_support::user::{OTHER_USER, agent_user, as_user, ids_of};

/// How long what need not wait for anything may take on a busy machine.
const SOON: Duration = Duration::from_secs(20);

fn site() -> Site {
    Site::start(&[("a.rpm", 300_000)], "")
}

/// A host whose directory everybody may search, with a copy of the program that everybody may run, and another user's
/// own directory on it.
fn open_host() -> (Agent, PathBuf) {
    let agent = Agent::new();
    let home = agent.path("home");
    fs::create_dir(&home).expect("a directory");
    let (uid, gid) = ids_of(OTHER_USER);
    chown(&home, Some(uid), Some(gid)).expect("it is given away");
    fs::set_permissions(agent.path(""), fs::Permissions::from_mode(0o755)).expect("it is opened");
    fs::copy(built("pkgtorrent"), agent.path("pkgtorrent")).expect("a copy of the program");
    (agent, home)
}

/// `pkgtorrent` with this host's configuration and state directory, called by another user.
fn command_of(user: &str, agent: &Agent, arguments: &[&str]) -> Command {
    let mut command = as_user(user, &agent.path("pkgtorrent"));
    command.args(agent.command(arguments).get_args());
    command
}

#[test]
fn others_may_not_ask_it_unless_they_are_allowed() {
    let site = site();
    let (agent, home) = open_host();
    let _ = agent.fetch(&site.service.url("/"), &agent.wants(&site.packages)).all_placed();
    let pid = agent.running();
    let other = |arguments: &[&str]| agent.run_command(command_of(OTHER_USER, &agent, arguments));
    let fetch = || {
        let command = command_of(OTHER_USER, &agent, &["fetch", "--service", &site.service.url("/")]);
        agent.start(command, &[want(&site.packages[0], &home.join("a.rpm"))]).wait()
    };

    let _ = fetch().failed_with(0, "may not ask this agent");
    let file = site.packages[0].path.to_str().unwrap();
    for command in [
        &["status"][..],
        &["store", "list"],
        &["store", "verify"],
        &["store", "add", file],
        &["agent", "stop"],
    ] {
        let _ = other(command).failed_with("may not ask this agent");
    }
    assert!(!home.join("a.rpm").exists());
    assert_eq!(agent.running(), pid);
    let own = command_of(agent_user(), &agent, &["status", "--json"]);
    let _ = agent.run_command(own).succeeded();

    agent.stop();
    agent.set_config(&format!("allowed_users = [\"{OTHER_USER}\"]\n"));
    let _ = agent.run(&["store", "list"]).succeeded();
    assert_eq!(fetch().all_placed().bytes().store, 300_000);
    let placed = fs::metadata(home.join("a.rpm")).unwrap();
    assert_eq!((placed.uid(), placed.gid()), ids_of(OTHER_USER));
}

#[test]
fn a_state_directory_that_is_out_of_reach_is_no_reason_to_wait() {
    let site = site();
    let (agent, home) = open_host();
    let hidden = agent.path("hidden");
    fs::create_dir(&hidden).unwrap();
    fs::set_permissions(&hidden, fs::Permissions::from_mode(0o700)).unwrap();
    let agent = agent.in_dir(hidden.join("state"));
    let _ = agent.fetch(&site.service.url("/"), &agent.wants(&site.packages)).all_placed();
    let fetch = command_of(OTHER_USER, &agent, &["fetch", "--service", &site.service.url("/")]);
    let fetched = agent.start(fetch, &[want(&site.packages[0], &home.join("a.rpm"))]).wait();
    assert!(fetched.duration < SOON, "{fetched:?}");
    let _ = fetched.failed_with(0, "ermission denied");
}

#[test]
fn a_user_has_an_agent_of_its_own() {
    let site = site();
    let (agent, home) = open_host();
    let agent = agent.in_dir(home.join("state"));
    let (uid, gid) = ids_of(OTHER_USER);
    let fetch = command_of(OTHER_USER, &agent, &["fetch", "--service", &site.service.url("/")]);
    let wants = [want(&site.packages[0], &home.join("cache/a.rpm"))];
    let _ = agent.start(fetch, &wants).wait().all_placed();
    let process = fs::metadata(format!("/proc/{}", agent.running().as_raw_nonzero())).unwrap();
    assert_eq!((process.uid(), process.gid()), (uid, gid));
    let placed = fs::metadata(&wants[0].dest).unwrap();
    assert_eq!((placed.uid(), placed.gid()), (uid, gid));

    // Root may ask it too, and trusts nothing of what it gets: that is checked once more where it is placed.
    let fetched = agent.fetch(&site.service.url("/"), &agent.wants(&site.packages)).all_placed();
    assert_eq!(fetched.bytes().store, 300_000);
    assert_placed(&site.packages[0], agent.path("cache/a.rpm"));
    let stored = agent.state_dir().join("store").join(site.packages[0].identity.to_string());
    fs::File::options().write(true).open(stored).unwrap().write_all_at(b"evil", 1000).unwrap();
    let fetched = agent.fetch(&site.service.url("/"), &agent.wants_in("again", &site.packages)).all_placed();
    assert_eq!(fetched.bytes().origin, 300_000, "{fetched:?}");
    assert_placed(&site.packages[0], agent.path("again/a.rpm"));
}

#[test]
fn nobody_is_asked_as_root_who_took_roots_place() {
    // A state directory that another user made is not one that root's agent works in.
    let site = site();
    let (agent, home) = open_host();
    let agent = agent.in_dir(home.join("state"));
    let own = command_of(OTHER_USER, &agent, &["store", "list"]);
    let _ = agent.run_command(own).succeeded();
    let stop = command_of(OTHER_USER, &agent, &["agent", "stop"]);
    let _ = agent.run_command(stop).succeeded();
    let fetched = agent.fetch(&site.service.url("/"), &agent.wants(&site.packages));
    let (uid, expected) = (ids_of(OTHER_USER).0, ids_of(agent_user()).0);
    let _ = fetched.failed_with(0, &format!("belongs to user {uid}, not to {expected}"));
    assert_eq!(agent.processes(), []);
}
