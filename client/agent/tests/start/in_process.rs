//! Where no agent may be left running.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Lab, PROGRAM, reason};

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("a directory");
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

/// Starts a `fetch` without an agent, and waits until it is at work.
fn at_work(lab: &Lab, mut command: Command) -> Child {
    command.arg("--in-process");
    let child = lab.start(command);
    let deadline = Instant::now() + Duration::from_secs(20);
    let has_begun = |name: &String| lab.cache().join(name).join("store").exists();
    while !names(&lab.cache()).iter().any(has_begun) {
        assert!(Instant::now() < deadline, "it does not begin");
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}

#[test]
fn what_ends_a_fetch_leaves_no_directory() {
    for signal in [Signal::INT, Signal::TERM] {
        let lab = Lab::new();
        let mut fetch = at_work(&lab, lab.fetch(&lab.silent_service()));
        let began = Instant::now();
        kill_process(Pid::from_child(&fetch), signal).unwrap();
        let status = fetch.wait().unwrap();
        assert_eq!(status.signal(), Some(signal.as_raw()), "{status}");
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        assert_eq!(names(&lab.cache()), [""; 0]);
        assert!(!lab.state_dir().exists());
    }
}

#[test]
fn a_signal_that_is_to_be_ignored_is_ignored() {
    let lab = Lab::new();
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' INT; exec \"$@\"", "sh", PROGRAM, "--state-dir"]).arg(lab.state_dir());
    command.args(["fetch", "--service", &lab.silent_service()]);
    let mut fetch = at_work(&lab, command);
    kill_process(Pid::from_child(&fetch), Signal::INT).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert!(fetch.try_wait().unwrap().is_none(), "it goes on");
    kill_process(Pid::from_child(&fetch), Signal::TERM).unwrap();
    assert_eq!(fetch.wait().unwrap().signal(), Some(Signal::TERM.as_raw()));
    assert_eq!(names(&lab.cache()), [""; 0]);
}

#[test]
fn a_fetch_that_is_over_leaves_nothing() {
    let lab = Lab::new();
    let mut command = lab.fetch(&Lab::no_service());
    command.arg("--in-process");
    let reason = lab.reason(command);
    assert!(reason.contains("127.0.0.1:1/"), "{reason}");
    assert_eq!(names(&lab.cache()), [""; 0]);
    assert!(!lab.state_dir().exists());
}

#[test]
fn an_interrupted_fetch_leaves_its_agent_running() {
    let lab = Lab::new();
    let mut fetch = lab.start(lab.fetch(&lab.silent_service()));
    let deadline = Instant::now() + Duration::from_secs(20);
    let waiting = || {
        let status = lab.program().args(["status", "--json"]).output().unwrap();
        let status: Option<serde_json::Value> = serde_json::from_slice(&status.stdout).ok();
        status.is_some_and(|status| status["waiting"] == 1)
    };
    while !waiting() {
        assert!(Instant::now() < deadline, "it does not begin");
        std::thread::sleep(Duration::from_millis(20));
    }
    kill_process(Pid::from_child(&fetch), Signal::INT).unwrap();
    assert_eq!(fetch.wait().unwrap().signal(), Some(Signal::INT.as_raw()));
    let status = lab.program().arg("status").status().unwrap();
    assert!(status.success(), "the agent is there: {status}");
}

/// A root of its own with the program in it, and without `/proc`.
#[test]
fn in_a_chroot_nothing_is_left_running() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not tested: this needs root");
        return;
    }
    let lab = Lab::new();
    let root = lab.cache();
    let libraries = Command::new("ldd").arg(PROGRAM).output().expect("ldd");
    let libraries = String::from_utf8(libraries.stdout).unwrap();
    let libraries = libraries.split_whitespace().filter(|word| word.starts_with('/'));
    for file in libraries.chain([PROGRAM]) {
        let place = root.join(file.trim_start_matches('/'));
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::copy(file, place).unwrap();
    }
    let before = names(&root).len();
    let mut command = Command::new("chroot");
    command.arg(&root).arg(PROGRAM).args(["fetch", "--service", &Lab::no_service()]);
    let reason = reason(lab.start(command));
    assert!(reason.contains("127.0.0.1:1/"), "{reason}");
    assert_eq!(names(&root).len(), before);
    let is_inside = |process: &str| {
        std::fs::read_link(format!("/proc/{process}/root"))
            .is_ok_and(|of_process| of_process.starts_with(&root))
    };
    let left: Vec<String> = names(Path::new("/proc")).into_iter().filter(|name| is_inside(name)).collect();
    assert_eq!(left, [""; 0]);
}
