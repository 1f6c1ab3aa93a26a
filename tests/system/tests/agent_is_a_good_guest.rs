//! The agent that `fetch` leaves behind has nothing of its caller, is not root, does not spread, obeys, and goes by itself.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use pkgtorrent_protocol::control::{FetchRequest, VERSION};
use pkgtorrent_system_tests::site::Site;
use pkgtorrent_test_support::Agent;
use pkgtorrent_test_support::process::{Program, installed, wait_for};
use pkgtorrent_test_support::proxy::{self, Part};
use pkgtorrent_test_support::user::{NOBODY, OTHER_USER, agent_user, as_user, ids_of};
use rustix::process::{Pid, Signal};

/// How long what is certain to happen may take on a busy machine.
const SOON: Duration = Duration::from_secs(20);

fn site() -> Site {
    Site::start(&[("a.rpm", 300_000)], "")
}

/// The fields of `/proc/<pid>/status`.
fn status_of(pid: Pid) -> HashMap<String, String> {
    let text = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).expect("a process");
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.map(|(name, value)| (name.to_owned(), value.trim().replace('\t', " "))).collect()
}

#[test]
fn it_keeps_nothing_of_its_caller() {
    let site = site();
    let agent = Agent::new();
    let wants = agent.wants(&site.packages);
    let (open, here) = (agent.path("open"), agent.path("here"));
    fs::create_dir(&here).unwrap();
    let request = FetchRequest { version: VERSION, packages: wants.clone(), reserve: None };
    fs::write(agent.path("request"), serde_json::to_vec(&request).unwrap()).unwrap();
    // From a shell in a terminal that has a directory, files and a pipe open.
    let script = "umask 077; cd \"$HERE\"; exec 7<. 8>>\"$OPEN\" 9>\"$OPEN\"; sleep 1 | exec \"$@\" 6<&0 <\"$REQUEST\"";
    let fetch = agent.command(&["fetch", "--events", "json", "--service", &site.service.url("/")]);
    let words = [fetch.get_program()].into_iter().chain(fetch.get_args()).map(|word| word.to_str().unwrap());
    let words: String =
        ["sh", "-c", script, "sh"].into_iter().chain(words).map(|word| format!("'{word}' ")).collect();
    let mut terminal = Command::new(installed("script"));
    terminal.args(["-qec", &words, "/dev/null"]);
    terminal.env("REQUEST", agent.path("request")).env("HERE", &here).env("OPEN", &open);
    let ran = agent.run_command(terminal).succeeded();
    assert!(ran.output.contains("\"placed\""), "{ran:?}");
    assert!(fs::read(&wants[0].dest).unwrap() == site.packages[0].bytes());

    let pid = agent.running();
    for (name, mode) in [("agent.sock", 0o666), ("agent.pid", 0o644)] {
        let status = fs::symlink_metadata(agent.state_dir().join(name)).unwrap();
        assert_eq!(status.permissions().mode() & 0o777, mode, "{name}");
    }
    let number = pid.as_raw_nonzero();
    let stat = fs::read_to_string(format!("/proc/{number}/stat")).unwrap();
    let fields: Vec<i32> =
        stat.rsplit(") ").next().unwrap().split(' ').skip(1).take(4).map(|n| n.parse().unwrap()).collect();
    let (group, session, terminal) = (fields[1], fields[2], fields[3]);
    assert_eq!((group, session, terminal), (number.get(), number.get(), 0), "{stat}");
    assert_eq!(fs::read_link(format!("/proc/{number}/cwd")).unwrap(), Path::new("/"));
    let mut links = HashMap::new();
    for entry in fs::read_dir(format!("/proc/{number}/fd")).unwrap() {
        let path = entry.unwrap().path();
        let descriptor: i32 = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
        links.insert(descriptor, fs::read_link(path).unwrap());
    }
    let null = Path::new("/dev/null");
    assert_eq!((links[&0].as_path(), links[&1].as_path()), (null, null));
    assert_eq!(links[&2], agent.state_dir().join("agent.log"));
    for link in links.values() {
        let shown = link.to_str().unwrap();
        let is_its_own = link == null
            || link.starts_with(agent.state_dir())
            || shown.starts_with("anon_inode:")
            || shown.starts_with("socket:");
        assert!(is_its_own, "{links:?}");
    }
}

#[test]
fn it_is_not_root() {
    let site = site();
    for (config, user) in [
        ("", agent_user()),
        ("user = \"no-such-user\"\n", NOBODY),
        (&format!("user = \"{OTHER_USER}\"\n"), OTHER_USER),
    ] {
        let agent = Agent::with_config(config);
        let fetch = agent.command(&["fetch", "--service", &site.service.url("/")]);
        // As a login has it, and not only the group of root itself.
        let mut with_groups = Command::new(installed("setpriv"));
        with_groups.args(["--groups=0,4,27", "--"]).arg(fetch.get_program()).args(fetch.get_args());
        let _ = agent.start(with_groups, &agent.wants(&site.packages)).wait().all_placed();
        let (uid, _) = ids_of(user);
        let status = status_of(agent.running());
        assert_eq!(status["Uid"], [uid; 4].map(|uid| uid.to_string()).join(" "), "{status:?}");
        assert_eq!(status["Groups"], status["Gid"].split(' ').next().unwrap(), "{status:?}");
        assert!(!status["Gid"].split(' ').any(|group| group == "0"), "{status:?}");
        for capabilities in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(status[capabilities], "0".repeat(16), "{status:?}");
        }
        assert_eq!(status["NoNewPrivs"], "1", "{status:?}");
        assert_eq!(agent.status().map(|status| status.user).as_deref(), Some(user));
        for (name, mode) in [
            ("", 0o711),
            ("store", 0o700),
            ("partial", 0o700),
            ("alias", 0o700),
            ("agent.log", 0o600),
            ("agent.lock", 0o600),
            ("agent.pid", 0o644),
            ("agent.sock", 0o666),
        ] {
            let status = fs::symlink_metadata(agent.state_dir().join(name)).unwrap();
            let found = (status.permissions().mode() & 0o777, status.uid());
            // A socket's permissions are its mode; who made it may be anybody.
            let owner = if name == "agent.sock" { found.1 } else { uid };
            assert_eq!(found, (mode, owner), "{name:?}");
        }
    }
}

#[test]
fn it_never_becomes_root() {
    let site = site();
    let agent = Agent::with_config("user = \"root\"\n");
    let fetched = agent.fetch(&site.service.url("/"), &agent.wants(&site.packages));
    let _ = fetched.failed_with(0, "never runs as root");
    assert_eq!(agent.processes(), []);
    assert!(!agent.state_dir().exists());
}

#[test]
fn it_says_where_it_is_and_ends_when_told() {
    let site = site();
    let agent = Agent::new();
    assert_eq!(agent.status(), None);
    agent.stop();
    let fetched = agent.fetch(&site.service.url("/"), &agent.wants(&site.packages)).all_placed();
    let (pid, status) = (agent.running(), agent.status().expect("it runs"));
    assert_eq!(status.pid.to_string(), pid.as_raw_nonzero().to_string());
    assert_eq!((status.packages, status.bytes), (1, 300_000), "{fetched:?}");
    assert_eq!((status.received.origin, status.waiting, status.downloads.len()), (300_000, 0, 0));
    assert!(status.ends_in >= 800, "{status:?}");
    for shown in ["(pid ", "1 packages", "300.0 kB"] {
        let text = agent.run(&["status"]).succeeded().output;
        assert!(text.contains(shown), "{shown:?}: {text}");
    }
    let log = agent.log();
    assert!(log.contains("1 of 1 packages placed"), "{log}");

    agent.stop();
    for name in ["agent.pid", "agent.sock"] {
        assert!(!agent.state_dir().join(name).exists(), "{name}");
    }
    assert_eq!(agent.status(), None);
    agent.stop();

    // And by the signal that systemd sends.
    let _ = agent.run(&["store", "list"]).succeeded();
    rustix::process::kill_process(agent.running(), Signal::TERM).unwrap();
    agent.wait_until_gone();
    for name in ["agent.pid", "agent.sock"] {
        assert!(!agent.state_dir().join(name).exists(), "{name}");
    }
}

#[test]
fn there_is_one_for_a_state_directory() {
    let site = site();
    for round in 0..5 {
        let agent = Agent::new();
        let both: Vec<_> = ["x", "y"]
            .map(|cache| agent.start_fetch(&site.service.url("/"), &agent.wants_in(cache, &site.packages)))
            .into_iter()
            .map(|fetching| fetching.wait().all_placed())
            .collect();
        assert_eq!(both[0].bytes().origin + both[1].bytes().origin, 300_000, "round {round}");
        let pid = agent.running();
        assert_eq!(agent.processes(), [pid], "round {round}");
        let _ = agent.run(&["agent"]).failed_with("already running");
        assert_eq!(agent.processes(), [pid], "round {round}");
        assert_eq!(agent.status().expect("it runs").packages, 1);
    }
}

#[test]
fn what_a_dead_agent_left_is_no_hindrance() {
    let site = site();
    let agent = Agent::new();
    let _ = agent.fetch(&site.service.url("/"), &agent.wants(&site.packages)).all_placed();
    agent.kill9();
    assert!(agent.state_dir().join("agent.sock").exists() && agent.state_dir().join("agent.pid").exists());
    agent.stop();
    assert_eq!(agent.status(), None);
    let again = agent.fetch(&site.service.url("/"), &agent.wants_in("again", &site.packages)).all_placed();
    assert_eq!(again.bytes().store, 300_000);
}

/// The time of day of a line of a log, in microseconds.
fn logged_at(log: &str, what: &str) -> u64 {
    let line =
        log.lines().rev().find(|line| line.contains(what)).unwrap_or_else(|| panic!("{what:?}: {log}"));
    let time = line.split(['T', 'Z']).nth(1).expect("a time");
    let parts = time.split([':', '.']).map(|part| part.parse::<u64>().expect("a number"));
    parts.zip([3_600_000_000, 60_000_000, 1_000_000, 1]).map(|(part, unit)| part * unit).sum()
}

#[test]
fn it_goes_when_nobody_needs_it_and_not_before() {
    const DAY: u64 = 86_400_000_000;
    let site = site();
    // It shares for a second, and stays a second after the last command.
    for (seed_min, idle_timeout, stays) in [(1, 1, 1_000_000), (0, 2, 2_000_000), (2, 1, 1_900_000)] {
        let agent = Agent::with_config(&format!(
            "seed_min = {seed_min}\nseed_max = {seed_min}\nidle_timeout = {idle_timeout}\n"
        ));
        let _ = agent.fetch(&site.service.url("/"), &agent.wants(&site.packages)).all_placed();
        agent.wait_until_gone();
        let log = agent.log();
        let stayed = (logged_at(&log, "ending") + DAY - logged_at(&log, "packages placed")) % DAY;
        assert!(stayed >= stays, "it stayed {stayed} microseconds: {log}");
        assert!(!agent.state_dir().join("agent.sock").exists());
    }
}

#[test]
fn it_stays_while_it_is_needed() {
    let site = site();
    let server = proxy::before(site.service.addr(), |request, answer| match Part::of(request) {
        Part::Package => answer.slow(1_000, Duration::from_millis(30)),
        _ => answer,
    });
    let agent = Agent::with_config("seed_min = 0\nseed_max = 0\nidle_timeout = 1\n");
    let fetched = agent.fetch(&server.url("/"), &agent.wants(&site.packages)).all_placed();
    assert!(fetched.duration > Duration::from_secs(2), "it was to be slow");
    agent.wait_until_gone();
    // While it shares, it does not count that nobody asks.
    let agent = Agent::with_config("seed_min = 3600\nidle_timeout = 1\n");
    let _ = agent.fetch(&site.service.url("/"), &agent.wants(&site.packages)).all_placed();
    std::thread::sleep(Duration::from_secs(3));
    assert!(agent.status().expect("it stays").ends_in > 3500);
}

#[test]
fn systemds_socket_is_systemds() {
    let site = site();
    let agent = Agent::new();
    // The directory belongs to the agent's user, as StateDirectory= has it; the socket is there before the agent.
    fs::create_dir(agent.state_dir()).unwrap();
    let (uid, gid) = ids_of(agent_user());
    std::os::unix::fs::chown(agent.state_dir(), Some(uid), Some(gid)).unwrap();
    let script = "import os, socket, sys\n\
                  listener = socket.socket(socket.AF_UNIX)\n\
                  listener.bind(sys.argv[1])\n\
                  os.chmod(sys.argv[1], 0o666)\n\
                  listener.listen()\n\
                  os.dup2(listener.fileno(), 3)\n\
                  os.set_inheritable(3, True)\n\
                  os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))\n\
                  os.execv(sys.argv[2], sys.argv[2:])\n";
    let mut command = Command::new("/usr/bin/python3");
    let agents = agent.command(&["agent"]);
    command.args(["-c", script]).arg(agent.state_dir().join("agent.sock"));
    command.arg(agents.get_program()).args(agents.get_args());
    let mut program = Program::start(&mut command, &agent.path("agent-output"));
    wait_for("an agent", SOON, || agent.pid().is_some().then_some(()));
    let fetched = agent.fetch(&site.service.url("/"), &agent.wants(&site.packages)).all_placed();
    assert_eq!(fetched.bytes().origin, 300_000);
    assert_eq!(agent.running().as_raw_nonzero().get().to_string(), program.pid().to_string());
    agent.stop();
    assert!(program.wait(SOON).success());
    assert!(agent.state_dir().join("agent.sock").exists(), "systemd's socket was removed");
    assert!(!agent.state_dir().join("agent.pid").exists());
}

#[test]
fn its_log_does_not_grow_for_ever() {
    const LOG_LEN_MAX: u64 = 1 << 20;
    // Each of them is worth a line.
    const REFUSALS: u64 = LOG_LEN_MAX / 60;
    let site = site();
    let agent = Agent::new();
    fs::set_permissions(agent.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    let _ = agent.fetch(&site.service.url("/"), &agent.wants(&site.packages)).all_placed();
    let len_of = |name: &str| fs::metadata(agent.state_dir().join(name)).map_or(0, |status| status.len());
    let script = "import socket, sys\n\
                  for _ in range(int(sys.argv[2])):\n\
                  \x20   refused = socket.socket(socket.AF_UNIX)\n\
                  \x20   refused.connect(sys.argv[1])\n\
                  \x20   assert b'may not ask' in refused.recv(4096)\n\
                  \x20   refused.close()\n";
    let mut others = as_user(OTHER_USER, Path::new("/usr/bin/python3"));
    others.args(["-c", script]);
    others.arg(agent.state_dir().join("agent.sock")).arg(REFUSALS.to_string());
    let _ = agent.run_command(others).succeeded();
    let (log, old) = (len_of("agent.log"), len_of("agent.log.1"));
    assert!(log <= LOG_LEN_MAX + 4096 && old <= LOG_LEN_MAX + 4096, "{log} and {old} bytes");
    assert!(log > 0 && agent.log().contains("may not ask"), "it says who is refused");

    // What an agent finds that is too long is put aside.
    agent.stop();
    fs::write(agent.state_dir().join("agent.log"), "x".repeat(LOG_LEN_MAX as usize + 1)).unwrap();
    let _ = agent.run(&["store", "list"]).succeeded();
    assert_eq!(len_of("agent.log.1"), LOG_LEN_MAX + 1);
    assert!(len_of("agent.log") < LOG_LEN_MAX);
}
