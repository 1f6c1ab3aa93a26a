//! Where no process may be left behind, `fetch` does an agent's work itself, and leaves nothing but the packages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use pkgtorrent_system_tests::site::Site;
use pkgtorrent_test_support::agent::{Agent, assert_placed, want};
use pkgtorrent_test_support::process::{built, installed, run};
use pkgtorrent_test_support::proxy::{self, Part};
use rustix::process::Signal;

/// How long what need not wait for anything may take on a busy machine.
const SOON: Duration = Duration::from_secs(20);

fn site() -> Site {
    Site::start(&[("a.rpm", 300_000)], "")
}

/// Everything below a directory.
fn tree(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory").flatten() {
        found.push(entry.path());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.append(&mut tree(&entry.path()));
        }
    }
    found.sort();
    found
}

#[test]
fn in_process_nothing_is_left_behind() {
    let site = site();
    for (config, argument) in [("", Some("--in-process")), ("background = \"never\"\n", None)] {
        let agent = Agent::with_config(config);
        fs::create_dir(agent.path("mount")).unwrap();
        let wants = agent.wants_in("mount/cache", &site.packages);
        let service = site.service.url("/");
        let arguments: Vec<&str> = ["fetch", "--service", &service].into_iter().chain(argument).collect();
        let fetched = agent.start(agent.command(&arguments), &wants).wait().all_placed();
        assert_eq!(fetched.bytes().origin, 300_000);
        assert_placed(&site.packages[0], &wants[0].dest);
        assert_eq!(agent.processes(), []);
        assert!(!agent.state_dir().exists());
        let expected = ["mount/cache", "mount/cache/a.rpm"].map(|name| agent.path(name));
        assert_eq!(tree(&agent.path("mount")), expected);
    }
    let agent = Agent::with_config("background = \"never\"\n");
    let file = site.packages[0].path.to_str().unwrap();
    let _ = agent.run(&["store", "add", file]).failed_with("no store without an agent");
    assert!(!agent.state_dir().exists());
}

#[test]
fn an_agent_that_runs_is_asked_wherever_one_is() {
    let site = site();
    let agent = Agent::new();
    let service = site.service.url("/");
    let _ = agent.fetch(&service, &agent.wants(&site.packages)).all_placed();
    let command = agent.command(&["fetch", "--service", &service, "--in-process"]);
    let fetched = agent.start(command, &agent.wants_in("again", &site.packages)).wait().all_placed();
    assert_eq!(fetched.bytes().store, 300_000, "{fetched:?}");
}

#[test]
fn interrupted_in_process_it_leaves_no_directory() {
    let site = Site::start(&[("a.rpm", 3_000_000)], "");
    let server = proxy::before(site.service.addr(), |request, answer| match Part::of(request) {
        Part::Package => answer.slow(16 << 10, Duration::from_millis(20)),
        _ => answer,
    });
    let agent = Agent::new();
    let mount = agent.path("mount");
    fs::create_dir(&mount).unwrap();
    let start = || {
        let command = agent.command(&["fetch", "--in-process", "--service", &server.url("/")]);
        let mut fetching = agent.start(command, &agent.wants_in("mount", &site.packages));
        fetching.wait_for_progress(1);
        fetching
    };
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let mut fetching = start();
        fetching.program().signal(signal);
        let fetched = fetching.end();
        assert_ne!(fetched.status, Some(0), "{signal:?}");
        assert_eq!(tree(&mount), [""; 0].map(PathBuf::from), "{signal:?}: {fetched:?}");
    }
    // After this one only somebody else can tidy up, who comes later.
    let mut fetching = start();
    fetching.program().signal(Signal::KILL);
    let _ = fetching.end();
    assert_ne!(tree(&mount), [""; 0].map(PathBuf::from), "there is nothing to test");
    let command = agent.command(&["fetch", "--in-process", "--service", &site.service.url("/")]);
    let _ = agent.start(command, &agent.wants_in("mount", &site.packages)).wait().all_placed();
    assert_eq!(tree(&mount), [mount.join("a.rpm")]);
}

/// A directory that is good for being a root: the program and what it needs to run.
fn small_root(agent: &Agent) -> PathBuf {
    let root = agent.path("root");
    let program = built("pkgtorrent");
    let libraries = run(Command::new(installed("ldd")).arg(&program), SOON);
    let libraries = libraries.split_whitespace().filter(|word| word.starts_with('/'));
    for library in libraries {
        let inside = root.join(library.trim_start_matches('/'));
        fs::create_dir_all(inside.parent().expect("a directory")).expect("a directory of libraries");
        fs::copy(library, &inside).unwrap_or_else(|e| panic!("{library}: {e}"));
    }
    fs::copy(program, root.join("pkgtorrent")).expect("the program");
    fs::create_dir_all(root.join("var/cache")).expect("a directory of packages");
    fs::create_dir_all(root.join("proc")).expect("a place for /proc");
    root
}

#[test]
fn in_a_chroot_nothing_is_left_behind() {
    let site = site();
    for has_proc in [false, true] {
        let agent = Agent::new();
        let root = small_root(&agent);
        let before = tree(&root);
        let service = site.service.url("/");
        let arguments = ["/pkgtorrent", "--state-dir", "/var/lib/state", "fetch", "--service", &service];
        let mut command = match has_proc {
            false => Command::new(installed("chroot")),
            true => {
                let mut command = Command::new(installed("unshare"));
                let script = "mount -t proc proc \"$1/proc\" && exec chroot \"$@\"";
                command.args(["--mount", "sh", "-c", script, "sh"]);
                command
            }
        };
        command.arg(&root).args(arguments);
        let dest = Path::new("/var/cache/a.rpm");
        let fetched = agent.start(command, &[want(&site.packages[0], dest)]).end();
        let fetched = fetched.all_placed();
        assert_eq!(fetched.bytes().origin, 300_000, "with /proc: {has_proc}");
        assert_placed(&site.packages[0], root.join("var/cache/a.rpm"));
        let mut after = tree(&root);
        after.retain(|path| !before.contains(path));
        assert_eq!(after, [root.join("var/cache/a.rpm")], "with /proc: {has_proc}");
        let in_root = agent.in_dir("/var/lib/state").processes();
        assert_eq!(in_root, [], "with /proc: {has_proc}");
    }
}

#[test]
fn where_no_agent_can_be_started_the_packages_are_left() {
    let site = site();
    let agent = Agent::new();
    let root = small_root(&agent);
    fs::write(root.join("agent.toml"), "background = \"always\"\n").unwrap();
    let mut command = Command::new(installed("chroot"));
    command.arg(&root).args(["/pkgtorrent", "--config", "/agent.toml", "--state-dir", "/state", "fetch"]);
    command.args(["--service", &site.service.url("/")]);
    // Without /proc a program cannot start itself.
    let fetched = agent.start(command, &[want(&site.packages[0], Path::new("/var/cache/a.rpm"))]).wait();
    assert!(fetched.duration < SOON, "{fetched:?}");
    let _ = fetched.failed_with(0, "starting the agent");
}
