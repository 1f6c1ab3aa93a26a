//! The host's side: `pkgtorrent` with a state directory of its own, the agent in it, and what its commands say.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use pkgtorrent_protocol::control::{FetchEvent, FetchPackage, FetchRequest, Sources, VERSION};
use pkgtorrent_protocol::socket::{AgentStatus, StoredPackage};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::process::{Program, built, wait_for};
use crate::repository::Package;

/// How long a command may take. None of them waits longer by itself: a service that never answers is given up after half
/// a minute.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// How long an agent may take to end.
const END_LIMIT: Duration = Duration::from_secs(10);

/// How many events a failing test shows.
const SHOWN_EVENTS_MAX: usize = 60;

/// A host without a package manager: a state directory, a directory for destinations, and a configuration file. Dropping
/// it ends its agent.
#[derive(Debug)]
pub struct Agent {
    // Dropped last of all: the agent is in it.
    directory: TempDir,
    state_dir: PathBuf,
    commands: AtomicU32,
}

impl Default for Agent {
    fn default() -> Self {
        Self::new()
    }
}

impl Agent {
    /// A host with a state directory that does not exist yet, below a directory that only this user may search.
    #[must_use]
    pub fn new() -> Self {
        Self::with_config("")
    }

    /// As [`Self::new`], with this configuration file.
    #[must_use]
    pub fn with_config(toml: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory for a host");
        let state_dir = directory.path().join("state");
        let agent = Self { directory, state_dir, commands: AtomicU32::new(0) };
        agent.set_config(toml);
        agent
    }

    /// With another state directory than the usual one.
    #[must_use]
    pub fn in_dir(mut self, state_dir: impl Into<PathBuf>) -> Self {
        self.state_dir = state_dir.into();
        self
    }

    /// Replaces the configuration file; an agent that runs does not notice.
    pub fn set_config(&self, toml: &str) {
        fs::write(self.config(), toml).expect("a configuration is written");
    }

    /// The configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.path("agent.toml")
    }

    /// The state directory.
    #[must_use]
    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// A place for other things of the test.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// `pkgtorrent` with this host's configuration and state directory, and these arguments.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(built("pkgtorrent"));
        command.env_remove("RUST_LOG").env_remove("STATE_DIRECTORY");
        command.arg("--config").arg(self.config()).arg("--state-dir").arg(&self.state_dir).args(arguments);
        command
    }

    /// What a package manager wants of these packages, in its cache `cache/`.
    #[must_use]
    pub fn wants<'a>(&self, packages: impl IntoIterator<Item = &'a Package>) -> Vec<FetchPackage> {
        self.wants_in("cache", packages)
    }

    /// As [`Self::wants`], with the destinations in another directory of this host.
    #[must_use]
    pub fn wants_in<'a>(
        &self,
        directory: &str,
        packages: impl IntoIterator<Item = &'a Package>,
    ) -> Vec<FetchPackage> {
        let directory = self.path(directory);
        packages.into_iter().map(|package| want(package, &directory.join(package.file_name()))).collect()
    }

    /// Has these packages fetched, and returns what came of it: it was checked that the events are as promised, and that
    /// what they call placed is there.
    pub fn fetch(&self, service: &str, wants: &[FetchPackage]) -> Fetched {
        self.start_fetch(service, wants).wait()
    }

    /// Begins to have these packages fetched.
    #[must_use]
    pub fn start_fetch(&self, service: &str, wants: &[FetchPackage]) -> Fetching {
        self.start(self.command(&["fetch", "--service", service]), wants)
    }

    /// Begins to have these packages fetched by a command of the test's own making.
    #[must_use]
    pub fn start(&self, command: Command, wants: &[FetchPackage]) -> Fetching {
        let request = FetchRequest { version: VERSION, packages: wants.to_vec(), reserve: None };
        self.start_with_input(command, &serde_json::to_vec(&request).expect("a request encodes"), wants)
    }

    /// Runs `fetch` with any bytes as its input.
    pub fn fetch_text(&self, arguments: &[&str], input: &[u8]) -> Fetched {
        let mut all = vec!["fetch"];
        all.extend(arguments);
        self.start_with_input(self.command(&all), input, &[]).end()
    }

    fn start_with_input(&self, mut command: Command, input: &[u8], wants: &[FetchPackage]) -> Fetching {
        let number = self.commands.fetch_add(1, Ordering::Relaxed);
        let path = |kind: &str| self.path(&format!("fetch-{number}.{kind}"));
        fs::write(path("in"), input).expect("a request is written");
        let input = File::open(path("in")).expect("the request again");
        let program = Program::start_with_input(&mut command, &path("err"), &path("out"), input);
        Fetching { program, output: path("out"), wants: wants.to_vec(), started: Instant::now() }
    }

    /// Runs another command of `pkgtorrent` to its end.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.run_command(self.command(arguments))
    }

    /// Runs a command of the test's own making to its end.
    pub fn run_command(&self, mut command: Command) -> Ran {
        let number = self.commands.fetch_add(1, Ordering::Relaxed);
        let (stdout, stderr) =
            (self.path(&format!("run-{number}.out")), self.path(&format!("run-{number}.err")));
        let started = Instant::now();
        let mut program = Program::start_with_stdout(&mut command, &stderr, &stdout);
        let status = program.wait(COMMAND_LIMIT).code();
        let text = |path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
        Ran { status, output: text(stdout), errors: program.output(), duration: started.elapsed() }
    }

    /// What the agent says of itself; `None` when none runs.
    #[must_use]
    pub fn status(&self) -> Option<AgentStatus> {
        let ran = self.run(&["status", "--json"]);
        if ran.status == Some(1) && ran.errors.contains("no agent is running") {
            return None;
        }
        assert_eq!(ran.status, Some(0), "{ran:?}");
        Some(serde_json::from_str(&ran.output).unwrap_or_else(|e| panic!("{e}: {ran:?}")))
    }

    /// What the store has, as `store list` says.
    #[must_use]
    pub fn stored(&self) -> Vec<StoredPackage> {
        stored(&self.run(&["store", "list", "--json"]).succeeded())
    }

    /// Has every package of the store read again; panics when one is damaged.
    pub fn verify(&self) -> Vec<StoredPackage> {
        stored(&self.run(&["store", "verify", "--json"]).succeeded())
    }

    /// The process that `agent.pid` names, if it is this state directory's agent.
    #[must_use]
    pub fn pid(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.state_dir.join("agent.pid")).ok()?;
        let pid = Pid::from_raw(text.trim().parse().ok()?)?;
        self.processes().contains(&pid).then_some(pid)
    }

    /// The agent's process; panics when there is none.
    #[must_use]
    pub fn running(&self) -> Pid {
        self.pid().expect("an agent runs")
    }

    /// Every process that is an agent of this state directory, as the kernel lists them.
    #[must_use]
    pub fn processes(&self) -> Vec<Pid> {
        let directory = self.state_dir.as_os_str().as_encoded_bytes();
        let is_agent = |pid: &Pid| {
            let line = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
            let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
            words.contains(&directory) && words.contains(&b"agent".as_slice())
        };
        let entries = fs::read_dir("/proc").expect("/proc").flatten();
        let pids = entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
        pids.filter(is_agent).collect()
    }

    /// Ends the agent with `agent stop`, and panics unless it is gone then.
    pub fn stop(&self) {
        let _ = self.run(&["agent", "stop"]).succeeded();
        self.wait_until_gone();
    }

    /// Ends the agent as the kernel would for want of memory.
    pub fn kill9(&self) {
        for pid in self.processes() {
            // It may end in between.
            let _ = kill_process(pid, Signal::KILL);
        }
        self.wait_until_gone();
    }

    /// Keeps the agent from doing anything more, as if its host were cut off: nobody is told that it has gone.
    pub fn freeze(&self) {
        for pid in self.processes() {
            kill_process(pid, Signal::STOP).expect("it is there");
        }
    }

    /// Waits until there is no agent.
    pub fn wait_until_gone(&self) {
        wait_for("end of the agent", END_LIMIT, || self.processes().is_empty().then_some(()));
    }

    /// What the agent has logged.
    #[must_use]
    pub fn log(&self) -> String {
        let text = |name| fs::read(self.state_dir.join(name)).unwrap_or_default();
        String::from_utf8_lossy(&[text("agent.log.1"), text("agent.log")].concat()).into_owned()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        for pid in self.processes() {
            // Also one that a test has stopped: an agent may be killed at any time.
            let _ = kill_process(pid, Signal::KILL);
        }
        if std::thread::panicking() {
            eprintln!("--- log of the agent in {} ---\n{}---", self.state_dir.display(), self.log());
        }
    }
}

/// What a package manager wants of a package, which is to appear at `dest`.
#[must_use]
pub fn want(package: &Package, dest: &Path) -> FetchPackage {
    FetchPackage {
        name: package.file_name().into(),
        url: format!("http://mirror.invalid/{}", package.file_name()),
        digest: package.identity.into(),
        size: package.size,
        dest: dest.to_str().expect("a destination is UTF-8").into(),
    }
}

/// Panics unless a package lies at `dest` as it is promised: its bytes in a plain file with one name, readable for all,
/// belonging to this user, without extended attributes.
pub fn assert_placed(package: &Package, dest: impl AsRef<Path>) {
    let dest = dest.as_ref();
    let shown = dest.display();
    let status = fs::symlink_metadata(dest).unwrap_or_else(|e| panic!("{shown}: {e}"));
    assert!(status.is_file(), "{shown} is {:?}", status.file_type());
    assert_eq!((status.permissions().mode() & 0o7777, status.nlink()), (0o644, 1), "{shown}");
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    assert_eq!((status.uid(), status.gid()), (uid, gid), "{shown}");
    assert_eq!(rustix::fs::llistxattr(dest, &mut [0_u8; 4096][..]), Ok(0), "attributes of {shown}");
    assert!(
        fs::read(dest).unwrap_or_else(|e| panic!("{shown}: {e}")) == package.bytes(),
        "{shown} is another"
    );
}

/// A `fetch` that was started. Dropping it ends it.
#[derive(Debug)]
pub struct Fetching {
    program: Program,
    output: PathBuf,
    wants: Vec<FetchPackage>,
    started: Instant,
}

impl Fetching {
    /// The program.
    pub fn program(&mut self) -> &mut Program {
        &mut self.program
    }

    /// The events so far.
    #[must_use]
    pub fn events(&self) -> Vec<FetchEvent> {
        let text = fs::read_to_string(&self.output).expect("the events");
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        parsed(whole)
    }

    /// Waits for an event like this one.
    pub fn wait_for_event(&mut self, what: &str, is_it: impl Fn(&FetchEvent) -> bool) {
        wait_for(what, COMMAND_LIMIT, || {
            let has_it = self.events().iter().any(&is_it);
            assert!(has_it || self.program.ended().is_none(), "fetch ended before {what}");
            has_it.then_some(())
        });
    }

    /// Waits until this many bytes of one package are here.
    pub fn wait_for_progress(&mut self, bytes: u64) {
        self.wait_for_event(
            "progress",
            |event| matches!(event, FetchEvent::Progress { done, .. } if *done >= bytes),
        );
    }

    /// Waits for its end and returns what came of it, after a check that the events are as promised.
    pub fn wait(self) -> Fetched {
        let wants = self.wants.clone();
        let fetched = self.end();
        fetched.check(&wants);
        fetched
    }

    /// Waits for its end and returns what came of it, whatever that is.
    pub fn end(mut self) -> Fetched {
        let status = self.program.wait(COMMAND_LIMIT).code();
        let duration = self.started.elapsed();
        Fetched { status, events: self.events(), errors: self.program.output(), duration }
    }
}

/// What came of a `fetch`.
#[derive(Clone)]
pub struct Fetched {
    /// The exit status; none if a signal ended it.
    pub status: Option<i32>,
    /// What it wrote to its standard output.
    pub events: Vec<FetchEvent>,
    /// What it wrote to its standard error.
    pub errors: String,
    /// How long it took.
    pub duration: Duration,
}

impl std::fmt::Debug for Fetched {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let left_out = self.events.len().saturating_sub(SHOWN_EVENTS_MAX);
        formatter
            .debug_struct("Fetched")
            .field("status", &self.status)
            .field("duration", &self.duration)
            .field("errors", &self.errors)
            .field("events_left_out", &left_out)
            .field("events", &&self.events[left_out..])
            .finish()
    }
}

impl Fetched {
    /// How many packages are in place and how many are not, and where all bytes came from: the last event.
    #[must_use]
    pub fn done(&self) -> (usize, usize, Sources) {
        match self.events.last() {
            Some(FetchEvent::Done { placed, failed, bytes }) => (*placed, *failed, *bytes),
            other => panic!("the last event is {other:?}: {self:?}"),
        }
    }

    /// Where all bytes came from.
    #[must_use]
    pub fn bytes(&self) -> Sources {
        self.done().2
    }

    /// Where a package came from, if it is in place.
    #[must_use]
    pub fn placed(&self, index: usize) -> Option<Sources> {
        self.events.iter().find_map(|event| match event {
            FetchEvent::Placed { index: of, from } if *of == index => Some(*from),
            _ => None,
        })
    }

    /// Why a package is not in place.
    #[must_use]
    pub fn failure(&self, index: usize) -> Option<&str> {
        self.events.iter().find_map(|event| match event {
            FetchEvent::Failed { index: of, reason } if *of == index => Some(reason.as_str()),
            _ => None,
        })
    }

    /// This outcome, after a panic unless every package is in place.
    #[must_use]
    pub fn all_placed(self) -> Self {
        assert_eq!(self.status, Some(0), "{self:?}");
        self
    }

    /// This outcome, after a panic unless this package failed with a reason that has `reason` in it.
    #[must_use]
    pub fn failed_with(self, index: usize, reason: &str) -> Self {
        let found = self.failure(index);
        assert!(found.is_some_and(|found| found.contains(reason)), "package {index}, {reason:?}: {self:?}");
        self
    }

    /// This outcome, after a panic unless it was bad input with a message that has `reason` in it and no event.
    #[must_use]
    pub fn refused_with(self, reason: &str) -> Self {
        assert_eq!((self.status, self.events.len()), (Some(2), 0), "{self:?}");
        assert!(self.errors.contains(reason), "{reason:?}: {self:?}");
        self
    }

    /// Panics unless the events are as promised: each package has one last event and no progress after it, progress grows
    /// and is no more than the size, where the bytes came from adds up, and the sum comes last.
    fn check(&self, wants: &[FetchPackage]) {
        let mut is_over = vec![false; wants.len()];
        let mut last_done = vec![0; wants.len()];
        let (mut count, mut sum) = ((0, 0), Sources::default());
        let (last, events) = self.events.split_last().unwrap_or_else(|| panic!("no event: {self:?}"));
        for event in events {
            match event {
                FetchEvent::Progress { index, done } => {
                    assert!(!is_over[*index] && *done <= wants[*index].size, "{event:?}: {self:?}");
                    assert!(last_done[*index] < *done, "{event:?} is no progress: {self:?}");
                    last_done[*index] = *done;
                }
                FetchEvent::Waiting { index, .. } => assert!(!is_over[*index], "{event:?}: {self:?}"),
                FetchEvent::Placed { index, from } => {
                    assert!(!std::mem::replace(&mut is_over[*index], true), "{event:?}: {self:?}");
                    let bytes = from.peers + from.origin + from.store;
                    assert_eq!(bytes, wants[*index].size, "{event:?}: {self:?}");
                    let status = fs::symlink_metadata(&wants[*index].dest);
                    assert!(status.is_ok_and(|status| status.len() == bytes), "{event:?}: {self:?}");
                    count.0 += 1;
                    sum.peers += from.peers;
                    sum.origin += from.origin;
                    sum.store += from.store;
                }
                FetchEvent::Failed { index, reason } => {
                    assert!(!std::mem::replace(&mut is_over[*index], true), "{event:?}: {self:?}");
                    assert!(!reason.is_empty(), "{event:?}: {self:?}");
                    count.1 += 1;
                }
                FetchEvent::Planned { .. } | FetchEvent::Done { .. } => panic!("{event:?}: {self:?}"),
            }
        }
        assert!(is_over.iter().all(|is_over| *is_over), "a package without a last event: {self:?}");
        assert_eq!(*last, FetchEvent::Done { placed: count.0, failed: count.1, bytes: sum }, "{self:?}");
        assert_eq!(self.status, Some(if count.1 == 0 { 0 } else { 3 }), "{self:?}");
        assert_eq!(self.errors, "", "fetch has its events to say what is wrong");
    }
}

/// What came of another command.
#[derive(Debug, Clone)]
pub struct Ran {
    /// The exit status; none if a signal ended it.
    pub status: Option<i32>,
    /// What it wrote to its standard output.
    pub output: String,
    /// What it wrote to its standard error.
    pub errors: String,
    /// How long it took.
    pub duration: Duration,
}

impl Ran {
    /// This outcome, after a panic unless it was a success.
    #[must_use]
    pub fn succeeded(self) -> Self {
        assert_eq!(self.status, Some(0), "{self:?}");
        self
    }

    /// This outcome, after a panic unless problems were found and said with `reason` in them.
    #[must_use]
    pub fn failed_with(self, reason: &str) -> Self {
        assert_eq!(self.status, Some(1), "{self:?}");
        assert!(self.errors.contains(reason), "{reason:?}: {self:?}");
        self
    }
}

fn stored(ran: &Ran) -> Vec<StoredPackage> {
    let lines = ran.output.lines();
    lines.map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

fn parsed(text: &str) -> Vec<FetchEvent> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}
