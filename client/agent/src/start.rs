//! Finding an agent, or starting one.
//!
//! Under systemd the agent's socket unit starts it. Elsewhere `fetch` starts one that leaves everything of its caller
//! behind. In a chroot, a container or an image build nothing may be left running: there the agent's work is done within
//! the calling process, on a state directory that goes with it.

use std::fs;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::Mode;

use crate::command::agent::READY;
use crate::control::client::{Age, ConnectError, Connection, LostError};
use crate::files::{StateDir, StateDirError};
use crate::settings::{Background, SYSTEM_STATE_DIR};

/// How long an agent may take until it listens. One that ends takes less.
const START_LIMIT: Duration = Duration::from_secs(5);

/// How often `systemctl` is looked after.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);

/// How long to wait for an agent that starts or ends before the next is started.
const RESPAWN_INTERVAL: Duration = Duration::from_millis(50);

/// What an agent says of a directory that another one has.
const ALREADY_RUNNING: &str = "already running";

/// How long systemd may take to listen.
const SYSTEMCTL_LIMIT: Duration = Duration::from_secs(5);

/// How much of what an agent says before it fails is repeated.
const REASON_LEN_MAX: u64 = 4096;

/// The unit with which systemd starts the agent.
pub(crate) const SOCKET_UNIT: &str = "pkgtorrent-agent.socket";

/// The namespace of process ids that a machine starts with has this number always.
const FIRST_NUMBERING: &str = "pid:[4026531836]";

/// Where units are installed.
pub(crate) const UNIT_DIRS: [&str; 4] =
    ["/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];

/// Which agent is wanted, and how it may be started.
#[derive(Debug, Clone)]
pub struct Start {
    /// Its state directory.
    pub state_dir: PathBuf,
    /// Whether the command line named that directory: an agent of one's own is wanted then, in a container too.
    pub is_named: bool,
    /// The configuration file that the command line named.
    pub config: Option<PathBuf>,
    /// The address that the command line named.
    pub listen: Option<SocketAddr>,
    /// Whether an agent may be left running.
    pub background: Background,
    /// Where a directory for work within this process may be made.
    pub temporary_parent: PathBuf,
}

/// Why there is no agent.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// One runs, and there is no talking to it.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// It did not start.
    #[error("the agent did not start: {0}")]
    Agent(String),
    /// It could not be started.
    #[error("starting the agent: {0}")]
    Spawn(io::Error),
    /// There is nowhere to work within this process.
    #[error(transparent)]
    Temporary(#[from] StateDirError),
    /// Work within this process could not begin.
    #[error("working without an agent: {0}")]
    InProcess(io::Error),
}

/// Connects to the agent, and starts it if there is none. `serve` does an agent's work for the other end of a connection
/// within this process, on a thread of its own.
pub fn connect_or_start(
    start: &Start,
    serve: impl FnOnce(UnixStream, StateDir) -> io::Result<()>,
) -> Result<Connection, StartError> {
    if let Some(connection) = running(start)? {
        return Ok(connection);
    }
    if must_be_in_process(start) {
        return in_process(start, serve);
    }
    if has_socket_unit(start) {
        systemctl_start();
        if let Some(connection) = running(start)? {
            return Ok(connection);
        }
    }
    spawn(start)
}

/// The agent that runs, if one does.
fn running(start: &Start) -> Result<Option<Connection>, StartError> {
    match Connection::connect(&start.state_dir) {
        Ok(connection) => Ok(Some(connection)),
        // One that ended when it had nothing left to do closes what it had not accepted yet.
        Err(ConnectError::NoAgent(_) | ConnectError::Lost(LostError::Gone)) => Ok(None),
        Err(ConnectError::OtherVersion { age: Age::Older, agent }) => {
            // What it was doing is lost with it; a program that was just replaced is worth that.
            agent.stop().map_err(ConnectError::from)?;
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Leaves the caller's terminal, process group, working directory and files behind. For an agent that `fetch` has
/// started: its standard streams are its own already.
pub fn leave_caller_behind() -> io::Result<()> {
    // Fails only for the leader of a process group, which a process that was just started is not.
    rustix::process::setsid()?;
    rustix::process::chdir("/")?;
    // The caller's may keep the agent's socket and process id from those who may see them.
    rustix::process::umask(Mode::from_raw_mode(0o022));
    // Collected first: reading the directory has a descriptor of its own.
    let open: Vec<i32> = fs::read_dir("/proc/self/fd")?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|descriptor| *descriptor > 2)
        .collect();
    for descriptor in open {
        // One of them was the directory's and is closed already.
        let _ = nix::unistd::close(descriptor);
    }
    Ok(())
}

fn must_be_in_process(start: &Start) -> bool {
    match start.background {
        Background::Always => false,
        Background::Never => true,
        Background::Auto => is_chroot() || (!start.is_named && is_container()),
    }
}

/// Whether our root is not the machine's. What cannot be told is taken for no.
fn is_chroot() -> bool {
    let id = |path: &str| fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()));
    match (id("/"), id("/proc/1/root/")) {
        (Ok(ours), Ok(first)) => ours != first,
        // Only root of the first process's own namespace may look there. Mounts are listed as we see them: a directory
        // that was made the root is on none of them.
        _ => match fs::read_to_string("/proc/self/mountinfo") {
            Ok(mounts) => !has_root_mount(&mounts),
            // Without /proc nothing of an agent would work.
            Err(_) => true,
        },
    }
}

fn has_root_mount(mountinfo: &str) -> bool {
    mountinfo.lines().any(|line| line.split(' ').nth(4) == Some("/"))
}

fn is_container() -> bool {
    const MARKS: [&str; 3] = ["/.dockerenv", "/run/.containerenv", "/run/systemd/container"];
    // What a build or a pod runs ends with the first process of its own numbering, whatever else marks it.
    let is_first_numbering =
        fs::read_link("/proc/self/ns/pid").map_or(true, |numbering| numbering == Path::new(FIRST_NUMBERING));
    let first_environment = fs::read("/proc/1/environ").unwrap_or_default();
    !is_first_numbering
        || MARKS.iter().any(|mark| Path::new(mark).exists())
        || std::env::var_os("container").is_some()
        || first_environment.split(|byte| *byte == 0).any(|variable| variable.starts_with(b"container="))
}

fn has_socket_unit(start: &Start) -> bool {
    start.state_dir == Path::new(SYSTEM_STATE_DIR)
        && Path::new("/run/systemd/system").is_dir()
        && UNIT_DIRS.iter().any(|directory| Path::new(directory).join(SOCKET_UNIT).exists())
}

/// Has systemd listen. Whether that helped is seen by connecting.
fn systemctl_start() {
    let mut command = Command::new("systemctl");
    command
        .args(["start", "--no-ask-password", SOCKET_UNIT])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let Ok(mut child) = command.spawn() else { return };
    let deadline = Instant::now() + SYSTEMCTL_LIMIT;
    while Instant::now() < deadline {
        match child.try_wait() {
            Ok(None) => std::thread::sleep(RETRY_INTERVAL),
            Ok(Some(_)) | Err(_) => return,
        }
    }
    let _ = child.kill();
    let _ = child.wait();
}

fn in_process(
    start: &Start,
    serve: impl FnOnce(UnixStream, StateDir) -> io::Result<()>,
) -> Result<Connection, StartError> {
    let files = StateDir::temporary(&start.temporary_parent)?;
    let (ours, theirs) = UnixStream::pair().map_err(StartError::InProcess)?;
    serve(theirs, files).map_err(StartError::InProcess)?;
    Ok(Connection::over(ours)?)
}

/// Starts an agent of its own.
fn spawn(start: &Start) -> Result<Connection, StartError> {
    let deadline = Instant::now() + START_LIMIT;
    loop {
        let child = agent_command(start).and_then(|mut command| command.spawn());
        let failed = wait_until_ready(child.map_err(StartError::Spawn)?);
        if let Some(connection) = running(start)? {
            return Ok(connection);
        }
        match failed {
            // Another has the directory: one that another command has just started, whose socket will be there in a
            // moment, or one that is about to end.
            Some(reason) if reason.contains(ALREADY_RUNNING) && Instant::now() < deadline => {
                std::thread::sleep(RESPAWN_INTERVAL);
            }
            Some(reason) => return Err(StartError::Agent(reason)),
            None => return Err(StartError::Agent("it ended again at once".into())),
        }
    }
}

fn agent_command(start: &Start) -> io::Result<Command> {
    let mut command = Command::new("/proc/self/exe");
    // What it is called in a list of processes.
    command.arg0("pkgtorrent").arg("agent").arg("--detach").arg("--state-dir").arg(&start.state_dir);
    if let Some(config) = &start.config {
        // The agent leaves the directory that a relative path begins in.
        command.arg("--config").arg(std::path::absolute(config)?);
    }
    if let Some(listen) = start.listen {
        command.arg("--listen").arg(listen.to_string());
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command)
}

/// Waits until an agent says that it listens. Otherwise gives the last that it said.
fn wait_until_ready(mut child: Child) -> Option<String> {
    let mut output = child.stdout.take()?;
    let errors = child.stderr.take();
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    // The thread ends with the agent's hold of the pipe, which it lets go of once it is ready.
    std::thread::spawn(move || {
        let mut ready = [0; READY.len()];
        let is_ready = output.read_exact(&mut ready).is_ok() && ready == READY.as_bytes();
        let _ = sender.send(is_ready);
    });
    match receiver.recv_timeout(START_LIMIT) {
        Ok(true) => None,
        Ok(false) => {
            let mut reason = Vec::new();
            if let Some(errors) = errors {
                let _ = errors.take(REASON_LEN_MAX).read_to_end(&mut reason);
            }
            let reason = String::from_utf8_lossy(&reason);
            // It is on its way out: its output ended.
            let _ = child.wait();
            let last = reason.lines().rev().find(|line| !line.trim().is_empty());
            Some(last.unwrap_or("it gave no reason").to_owned())
        }
        Err(_) => Some(format!("it is not ready after {} seconds", START_LIMIT.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_that_is_no_mount_is_a_chroot() {
        let machine = "22 27 0:21 / /proc rw - proc proc rw\n27 1 8:1 / / rw,relatime - ext4 /dev/sda rw\n";
        assert!(has_root_mount(machine));
        let chroot =
            "22 27 0:21 / /proc rw - proc proc rw\n28 27 8:2 / /boot rw,relatime - ext4 /dev/sda rw\n";
        assert!(!has_root_mount(chroot));
        assert!(!has_root_mount(""));
    }

    #[test]
    fn an_agent_that_is_already_running_is_told_from_other_failures() {
        let said = StateDirError::AlreadyRunning { path: "/x".into() }.to_string();
        assert!(said.contains(ALREADY_RUNNING), "{said}");
    }

    #[test]
    fn what_may_run_in_the_background_follows_the_setting() {
        let start = |background, is_named| Start {
            state_dir: "/x".into(),
            is_named,
            config: None,
            listen: None,
            background,
            temporary_parent: "/".into(),
        };
        assert!(must_be_in_process(&start(Background::Never, true)));
        assert!(!must_be_in_process(&start(Background::Always, false)));
    }
}
