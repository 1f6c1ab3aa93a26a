//! Foreign programs: found or named as missing, bounded in time, and ended by their process id.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long a program that was asked to end may take to do so.
const END_GRACE: Duration = Duration::from_secs(5);

/// How often a condition is looked at: well below what a test's time limits distinguish.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// How much of an output a failing test shows.
const SHOWN_BYTES_MAX: usize = 16 << 10;

/// What would lead a program's requests to this machine elsewhere.
const PROXY_VARIABLES: [&str; 6] =
    ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];

/// The path of an installed program. Its absence fails the test: a test that is skipped proves nothing.
#[must_use]
pub fn installed(program: &str) -> PathBuf {
    let directories = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&directories)
        // Daemons live where an unprivileged user's PATH does not look.
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|directory| directory.join(program))
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("{program} is not installed: run `scripts/install-deps test`"))
}

/// The path of one of the workspace's own programs: cargo puts it beside other programs, and a test one directory below.
#[must_use]
pub fn built(program: &str) -> PathBuf {
    let running = std::env::current_exe().expect("the running program's path");
    // target/<profile>/<program> or target/<profile>/deps/<test>
    let places = running.ancestors().skip(1).take(2).map(|directory| directory.join(program));
    let found = places.clone().find(|place| place.is_file());
    found.unwrap_or_else(|| {
        let places: Vec<PathBuf> = places.collect();
        panic!(
            "{program} is missing, looked for at {places:?}: build it with `cargo build --workspace --bins` (and \
             `--release` for a release test)"
        )
    })
}

/// Waits until `condition` gives a value; panics at the deadline, saying what was awaited.
pub fn wait_for<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "no {what} within {limit:?}");
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// A TCP port of 127.0.0.1 that was free a moment ago.
#[must_use]
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port on 127.0.0.1");
    listener.local_addr().expect("its address").port()
}

/// A running program whose output goes to a file. Dropping it ends it, and shows the output of a failing test.
#[derive(Debug)]
pub struct Program {
    child: Child,
    name: String,
    output: PathBuf,
    ended: Option<ExitStatus>,
}

impl Program {
    /// Starts `command` without an input, without proxies and in a locale whose file names are UTF-8; what it writes is
    /// appended to the file `output`.
    #[must_use]
    pub fn start(command: &mut Command, output: &Path) -> Self {
        let file = open_output(output);
        command.stdout(file.try_clone().expect("a second handle of an output file"));
        Self::start_apart(command, file, output)
    }

    /// As [`Self::start`], with the standard output in a file of its own.
    #[must_use]
    pub fn start_with_stdout(command: &mut Command, output: &Path, stdout: &Path) -> Self {
        command.stdout(open_output(stdout));
        Self::start_apart(command, open_output(output), output)
    }

    /// As [`Self::start_with_stdout`], with a file as the standard input.
    #[must_use]
    pub fn start_with_input(command: &mut Command, output: &Path, stdout: &Path, input: File) -> Self {
        command.stdout(open_output(stdout));
        Self::spawn(command.stdin(input), open_output(output), output)
    }

    fn start_apart(command: &mut Command, stderr: File, output: &Path) -> Self {
        Self::spawn(command.stdin(Stdio::null()), stderr, output)
    }

    fn spawn(command: &mut Command, stderr: File, output: &Path) -> Self {
        let program = Path::new(command.get_program());
        let name = program.file_name().unwrap_or(OsStr::new("?")).to_string_lossy().into_owned();
        for variable in PROXY_VARIABLES {
            command.env_remove(variable);
        }
        let child = command
            .env("LC_ALL", "C.UTF-8")
            .stderr(stderr)
            .spawn()
            .unwrap_or_else(|e| panic!("{name} does not start: {e}"));
        Self { child, name, output: output.to_owned(), ended: None }
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The exit status once it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("a child's status");
        }
        self.ended
    }

    /// Waits for its end, at most `limit`.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("end of {}", self.name);
        wait_for(&what, limit, || self.ended())
    }

    /// Waits for its end and panics unless it was a success. Returns the output.
    pub fn succeed(mut self, limit: Duration) -> String {
        let status = self.wait(limit);
        assert!(status.success(), "{} failed: {status}", self.name);
        self.output()
    }

    /// What it has written so far.
    #[must_use]
    pub fn output(&self) -> String {
        let bytes = fs::read(&self.output).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Sends a signal to the process, unless it has ended.
    pub fn signal(&mut self, signal: Signal) {
        if self.ended().is_none() {
            // Not yet waited for, so the id is still this child's. It may end in between, which is no error.
            let _ = kill_process(Pid::from_child(&self.child), signal);
        }
    }

    /// Ends the process at once, as a crash or the kernel would.
    pub fn kill9(&mut self) {
        self.signal(Signal::KILL);
        self.wait(END_GRACE);
    }

    /// Asks the process to end, and ends it by force when it does not. Returns whether asking was enough.
    pub fn end(&mut self) -> bool {
        self.signal(Signal::TERM);
        let deadline = Instant::now() + END_GRACE;
        while self.ended().is_none() {
            if Instant::now() > deadline {
                self.signal(Signal::KILL);
                let _ = self.child.wait();
                return false;
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        true
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.end();
        if std::thread::panicking() {
            let output = self.output();
            let mut from = output.len().saturating_sub(SHOWN_BYTES_MAX);
            while !output.is_char_boundary(from) {
                from += 1;
            }
            eprintln!("--- output of {} ---\n{}---", self.name, &output[from..]);
        }
    }
}

/// Runs a program to its end and returns its output; panics when it fails or takes longer than `limit`.
pub fn run(command: &mut Command, limit: Duration) -> String {
    let output = tempfile::NamedTempFile::new().expect("a file for a program's output");
    Program::start(command, output.path()).succeed(limit)
}

fn open_output(path: &Path) -> File {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
