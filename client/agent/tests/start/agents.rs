//! Agents that `fetch` starts.

use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::time::Duration;

use crate::support::{Lab, PROGRAM, reason};

/// What the agent says of a service that it has asked: so it has run.
const ASKED: &str = "127.0.0.1:1/";

#[test]
fn an_agent_is_started_while_another_ends() {
    let lab = Lab::new();
    for _ in 0..25 {
        let reason = lab.reason(lab.fetch(&Lab::no_service()));
        assert!(reason.contains(ASKED), "{reason}");
        lab.stop();
    }
}

#[test]
fn an_agent_that_is_killed_is_replaced() {
    let lab = Lab::new();
    for _ in 0..3 {
        let reason = lab.reason(lab.fetch(&Lab::no_service()));
        assert!(reason.contains(ASKED), "{reason}");
        let pid = rustix::process::Pid::from_raw(lab.agent_pid() as i32).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
}

#[test]
fn many_who_start_an_agent_at_once_get_one() {
    let lab = Lab::new();
    let fetches: Vec<_> = (0..8).map(|_| lab.start(lab.fetch(&Lab::no_service()))).collect();
    for fetch in fetches {
        let reason = reason(fetch);
        assert!(reason.contains(ASKED), "{reason}");
    }
    let status = lab.program().args(["status", "--json"]).output().unwrap();
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["pid"], lab.agent_pid());
}

#[test]
fn an_agent_has_nothing_of_its_caller() {
    let lab = Lab::new();
    let script = format!(
        "exec 7<{directory} 8</etc/passwd; cd {directory}; umask 077; exec \"$@\"",
        directory = lab.path().display()
    );
    let mut command = Command::new("sh");
    command.args(["-c", &script, "sh", PROGRAM, "--state-dir"]).arg(lab.state_dir());
    command.args(["fetch", "--listen", "127.0.0.1:0", "--service", &Lab::no_service()]);
    let reason = lab.reason(command);
    assert!(reason.contains(ASKED), "{reason}");

    let process = format!("/proc/{}", lab.agent_pid());
    let link = |name: String| std::fs::read_link(format!("{process}/{name}")).unwrap_or_default();
    assert_eq!(link("cwd".into()), std::path::Path::new("/"));
    for descriptor in std::fs::read_dir(format!("{process}/fd")).unwrap() {
        let name = descriptor.unwrap().file_name().into_string().unwrap();
        let target = link(format!("fd/{name}"));
        assert!(target != lab.path() && target != std::path::Path::new("/etc/passwd"), "{name}: {target:?}");
    }
    let status = std::fs::read_to_string(format!("{process}/status")).unwrap();
    assert!(status.contains("Umask:\t0022\n") && status.contains("SigBlk:\t0000000000000000\n"), "{status}");
    let stat = std::fs::read_to_string(format!("{process}/stat")).unwrap();
    // After the name: state, parent, process group, session, terminal.
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let pid = lab.agent_pid().to_string();
    assert_eq!(fields[2..5], [pid.as_str(), pid.as_str(), "0"]);
    let name = std::fs::read(format!("{process}/cmdline")).unwrap();
    assert!(name.starts_with(b"pkgtorrent\0agent\0"), "{}", String::from_utf8_lossy(&name));
    assert_eq!(lab.state_dir().join("agent.pid").metadata().unwrap().mode() & 0o777, 0o644);
}

#[test]
fn why_an_agent_does_not_start_is_told() {
    let lab = Lab::new();
    std::fs::create_dir(lab.state_dir()).unwrap();
    std::fs::write(lab.state_dir().join("precious"), "something else").unwrap();
    let began = std::time::Instant::now();
    let reason = lab.reason(lab.fetch(&Lab::no_service()));
    assert!(reason.contains("is not a state directory"), "{reason}");
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}
