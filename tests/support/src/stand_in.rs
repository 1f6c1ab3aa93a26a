//! A program in the place of `pkgtorrent` that misbehaves as a test wants, and tells what it was called with.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::process::wait_for;

/// How long dnf may take until it calls its helper.
const CALL_LIMIT: Duration = Duration::from_secs(30);

/// The stand-in. Its modes are in `stand_in.py`.
#[derive(Debug)]
pub struct StandIn {
    directory: TempDir,
    packages: String,
}

/// One call of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// Its process id.
    pub pid: i32,
    /// Its arguments, as `pkgtorrent` would have had them.
    pub arguments: Vec<String>,
    /// What it was given on its standard input; null where it did not look.
    pub request: Value,
}

impl Call {
    /// Its process.
    #[must_use]
    pub fn process(&self) -> Pid {
        Pid::from_raw(self.pid).expect("a process id")
    }

    /// The packages of the request.
    #[must_use]
    pub fn packages(&self) -> &[Value] {
        self.request["packages"].as_array().map_or(&[], Vec::as_slice)
    }
}

impl StandIn {
    /// A stand-in that has the packages below a directory.
    #[must_use]
    pub fn new(packages: &Path) -> Self {
        let directory = tempfile::tempdir().expect("a directory for a stand-in's calls");
        fs::write(directory.path().join("stand_in.py"), include_str!("stand_in.py"))
            .expect("a program is written");
        Self { directory, packages: packages.display().to_string() }
    }

    /// The `command` and `service` of a shim's configuration with which the stand-in behaves in this mode.
    #[must_use]
    pub fn options(&self, mode: &str) -> String {
        let directory = self.directory.path().display();
        format!(
            "service = http://service.invalid/\n\
             command = /usr/bin/python3 {directory}/stand_in.py {directory} {} {mode}\n",
            self.packages
        )
    }

    /// Waits for a call and takes it.
    #[must_use]
    pub fn wait_for_call(&self) -> Call {
        wait_for("call of the stand-in", CALL_LIMIT, || self.take_calls().into_iter().next())
    }

    /// The calls since the last time, in their order.
    #[must_use]
    pub fn take_calls(&self) -> Vec<Call> {
        let entries =
            fs::read_dir(self.directory.path()).expect("a stand-in's directory").filter_map(Result::ok);
        let mut paths: Vec<_> = entries
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
            .collect();
        paths.sort();
        paths.iter().map(|path| read_call(path)).collect()
    }
}

impl Drop for StandIn {
    /// Leaves no process behind that a shim should have ended: then the test has failed, and its stand-in sleeps on.
    fn drop(&mut self) {
        let directory = self.directory.path().as_os_str().as_encoded_bytes();
        let pids = fs::read_to_string(self.directory.path().join("pids")).unwrap_or_default();
        for pid in pids.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)) {
            let line = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
            if line.split(|byte| *byte == 0).any(|word| word == directory) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}

fn read_call(path: &Path) -> Call {
    let text = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    fs::remove_file(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let call: Value = serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let arguments = call["arguments"].as_array().expect("arguments").iter();
    Call {
        pid: call["pid"].as_i64().and_then(|pid| pid.try_into().ok()).expect("a process id"),
        arguments: arguments.map(|argument| argument.as_str().unwrap_or_default().to_owned()).collect(),
        request: call["request"].clone(),
    }
}
