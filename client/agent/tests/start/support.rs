use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use pkgtorrent_protocol::control::FetchEvent;
use tempfile::TempDir;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_pkgtorrent");

/// A state directory, a cache, and a service that takes connections and never says a word. Its agent ends with it.
pub(crate) struct Lab {
    directory: TempDir,
    service: TcpListener,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(directory.path().join("cache")).expect("a cache");
        Self { directory, service: TcpListener::bind("127.0.0.1:0").expect("a port") }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.directory.path().join("cache")
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    pub(crate) fn silent_service(&self) -> String {
        format!("http://{}/", self.service.local_addr().expect("an address"))
    }

    /// A service that nobody can reach, so that `fetch` is soon over.
    pub(crate) fn no_service() -> String {
        // Nothing listens on the reserved port.
        "http://127.0.0.1:1/".into()
    }

    /// `pkgtorrent` with this lab's state directory.
    pub(crate) fn program(&self) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg("--state-dir").arg(self.state_dir());
        command
    }

    pub(crate) fn fetch(&self, service: &str) -> Command {
        let mut command = self.program();
        command.args(["fetch", "--listen", "127.0.0.1:0", "--service", service]);
        command
    }

    /// A request for one package.
    pub(crate) fn request(&self) -> String {
        let digest = "0".repeat(64);
        let dest = self.cache().join("a.rpm");
        format!(
            r#"{{"version":1,"packages":[{{"name":"a","url":"","digest":"sha256:{digest}","size":5,"dest":{dest:?}}}]}}"#
        )
    }

    /// Starts a `fetch` with the request on its standard input.
    pub(crate) fn start(&self, mut command: Command) -> Child {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut input = child.stdin.take().expect("piped");
        input.write_all(self.request().as_bytes()).expect("written");
        child
    }

    /// Runs a `fetch` that fails, and gives the reason.
    pub(crate) fn reason(&self, command: Command) -> String {
        reason(self.start(command))
    }

    pub(crate) fn stop(&self) {
        let status = self.program().args(["agent", "stop"]).status().expect("starts");
        assert!(status.success(), "{status}");
    }

    pub(crate) fn agent_pid(&self) -> u32 {
        let pid = std::fs::read_to_string(self.state_dir().join("agent.pid")).expect("an agent");
        pid.trim().parse().expect("a number")
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.program().args(["agent", "stop"]).status();
    }
}

/// Waits for a `fetch` that fails, and gives the reason.
pub(crate) fn reason(fetch: Child) -> String {
    let output = fetch.wait_with_output().expect("ends");
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    let mut events = text.lines().map(|line| serde_json::from_str(line).expect("an event"));
    match (events.next(), events.next(), events.next()) {
        (Some(FetchEvent::Failed { index: 0, reason }), Some(FetchEvent::Done { failed: 1, .. }), None) => {
            reason
        }
        other => panic!("{other:?}"),
    }
}
