//! A command's end of a connection to the agent. Blocking.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pkgtorrent_protocol::socket::{Answer, Request, VERSION, VERSION_OLDEST};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::wire::{self, Lines, WireError};
use crate::files::StateDir;

/// An agent that has said nothing for this long hangs. It says something every
/// [`ALIVE_INTERVAL`](pkgtorrent_protocol::socket::ALIVE_INTERVAL), and five times that is more than a busy machine needs.
pub const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Why there is no connection to an agent.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody listens.
    #[error("no agent is running at {0}")]
    NoAgent(PathBuf),
    /// The agent does not want to talk to us.
    #[error("the agent refused: {0}")]
    Refused(String),
    /// The agent is of a version that does not get on with ours. [`Connection::stop`] works all the same.
    #[error("the running agent ({}) is too {age} for this program", agent.program())]
    OtherVersion {
        /// Whether it is older or newer.
        age: Age,
        /// The connection to it.
        agent: Box<Connection>,
    },
    /// The socket could not be used.
    #[error("connecting to the agent at {path}: {source}")]
    Socket {
        /// The socket.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// The agent hangs, went away, or speaks something else.
    #[error(transparent)]
    Lost(#[from] LostError),
}

/// How an agent compares with this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// It is of an earlier version.
    Older,
    /// It is of a later version.
    Newer,
}

impl std::fmt::Display for Age {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Older => "old",
            Self::Newer => "new",
        })
    }
}

/// Why a connection is of no more use.
#[derive(Debug, thiserror::Error)]
pub enum LostError {
    /// It says nothing, or takes nothing.
    #[error("the agent has not answered for {} seconds", SILENCE_MAX.as_secs())]
    Hung,
    /// It closed the connection.
    #[error("the agent went away")]
    Gone,
    /// It says what cannot be.
    #[error("the agent's answer is wrong: {0}")]
    Wrong(#[from] WireError),
    /// It says what does not belong here.
    #[error("the agent's answer does not belong here: {0:?}")]
    Unexpected(Box<Answer>),
    /// A request could not be written as JSON.
    #[error("writing a request: {0}")]
    Encoding(#[from] serde_json::Error),
    /// The socket failed.
    #[error("the connection to the agent failed: {0}")]
    Socket(io::Error),
}

impl LostError {
    fn of(error: io::Error) -> Self {
        match error.kind() {
            // What a time limit of a blocking socket looks like.
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Hung,
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Self::Gone,
            _ => match error.downcast::<WireError>() {
                Ok(wrong) => Self::Wrong(wrong),
                Err(other) => Self::Socket(other),
            },
        }
    }
}

/// The half of a connection that sends. Clones send over the same connection, from any thread.
#[derive(Debug, Clone)]
pub struct Sender {
    // The lock keeps lines whole.
    stream: Arc<Mutex<UnixStream>>,
}

impl Sender {
    /// Sends one request.
    pub fn send(&self, request: &Request) -> Result<(), LostError> {
        self.send_with(request, None)
    }

    /// Sends one request, and the file that belongs to it.
    pub fn send_with(&self, request: &Request, file: Option<BorrowedFd<'_>>) -> Result<(), LostError> {
        let line = wire::encode(request)?;
        let stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        wire::send_all(&*stream, &line, file).map_err(LostError::of)
    }
}

/// A connection to an agent that greeted us.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    sender: Sender,
    lines: Lines,
    program: String,
}

impl Connection {
    /// Connects to the agent of a state directory, the path of which may be longer than a socket's address.
    pub fn connect(state_dir: &Path) -> Result<Self, ConnectError> {
        let path = StateDir::socket_path(state_dir);
        let stream = connect(state_dir, &path).map_err(|errno| match errno {
            Errno::NOENT | Errno::CONNREFUSED | Errno::NOTDIR => ConnectError::NoAgent(path.clone()),
            // Its queue of connections that it has not accepted is full.
            Errno::AGAIN => ConnectError::Lost(LostError::Hung),
            other => ConnectError::Socket { path: path.clone(), source: other.into() },
        })?;
        Self::over(stream)
    }

    /// Greets the agent at the other end of `stream`.
    pub fn over(stream: UnixStream) -> Result<Self, ConnectError> {
        let sender = Self::set_up(&stream).map_err(LostError::Socket)?;
        let mut connection = Self { stream, sender, lines: Lines::new(), program: String::new() };
        // An agent that refuses may not read at all. What it says counts, not that it closed.
        let _ = connection.send(&Request::Hello { version: VERSION, oldest: VERSION_OLDEST });
        match connection.next() {
            Ok((Answer::Hello { version, oldest, program }, _)) => {
                connection.program = program;
                if version < VERSION_OLDEST {
                    Err(ConnectError::OtherVersion { age: Age::Older, agent: Box::new(connection) })
                } else if oldest > VERSION {
                    Err(ConnectError::OtherVersion { age: Age::Newer, agent: Box::new(connection) })
                } else {
                    Ok(connection)
                }
            }
            Ok((Answer::Refused { reason }, _)) => Err(ConnectError::Refused(reason)),
            Ok((other, _)) => Err(LostError::Unexpected(Box::new(other)).into()),
            Err(lost) => Err(lost.into()),
        }
    }

    fn set_up(stream: &UnixStream) -> io::Result<Sender> {
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        stream.set_write_timeout(Some(SILENCE_MAX))?;
        Ok(Sender { stream: Arc::new(Mutex::new(stream.try_clone()?)) })
    }

    /// The version of the agent's program.
    #[must_use]
    pub fn program(&self) -> &str {
        &self.program
    }

    /// What other threads send with.
    #[must_use]
    pub fn sender(&self) -> Sender {
        self.sender.clone()
    }

    /// Sends one request.
    pub fn send(&self, request: &Request) -> Result<(), LostError> {
        self.sender.send(request)
    }

    /// Sends one request, and the file that belongs to it.
    pub fn send_with(&self, request: &Request, file: BorrowedFd<'_>) -> Result<(), LostError> {
        self.sender.send_with(request, Some(file))
    }

    /// Waits for what the agent says next. A file comes with [`Answer::Whole`], always.
    #[expect(clippy::should_implement_trait, reason = "it is no iterator: it has no end of its own")]
    pub fn next(&mut self) -> Result<(Answer, Option<OwnedFd>), LostError> {
        let since = Instant::now();
        loop {
            if let Some(next) = self.lines.next::<Answer>()? {
                return Ok(next);
            }
            // Single bytes now and then are no answer.
            if since.elapsed() >= SILENCE_MAX {
                return Err(LostError::Hung);
            }
            if wire::receive(&self.stream, &mut self.lines).map_err(LostError::of)? == 0 {
                return Err(LostError::Gone);
            }
        }
    }

    /// Asks the agent to end, and waits until it has closed its connections, which is when it writes nothing any more.
    /// Agents of every version understand this.
    pub fn stop(mut self) -> Result<(), LostError> {
        self.send(&Request::Stop)?;
        loop {
            match self.next() {
                Err(LostError::Gone) => return Ok(()),
                // A newer agent may say what we do not know on its way out.
                Ok(_) | Err(LostError::Wrong(WireError::NotUnderstood { .. })) => {}
                Err(lost) => return Err(lost),
            }
        }
    }
}

fn connect(state_dir: &Path, path: &Path) -> rustix::io::Result<UnixStream> {
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // Connecting waits for as long as the agent's queue is full; this limits it.
    set_socket_timeout(&socket, Timeout::Send, Some(SILENCE_MAX))?;
    match SocketAddrUnix::new(path) {
        Ok(address) => rustix::net::connect(&socket, &address)?,
        Err(_) => {
            let directory = rustix::fs::openat(
                CWD,
                state_dir,
                OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
                Mode::empty(),
            )?;
            let short = format!("/proc/self/fd/{}", directory.as_raw_fd());
            let short = StateDir::socket_path(Path::new(&short));
            rustix::net::connect(&socket, &SocketAddrUnix::new(short)?)?;
        }
    }
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    /// An agent that says `hello` to the first caller, then does as `then` says.
    fn agent<T: Send + 'static>(
        hello: &str,
        then: impl FnOnce(UnixStream) -> T + Send + 'static,
    ) -> (UnixStream, thread::JoinHandle<T>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let hello = format!("{hello}\n");
        let running = thread::spawn(move || {
            (&ours).write_all(hello.as_bytes()).unwrap();
            then(ours)
        });
        (theirs, running)
    }

    fn requests(stream: &UnixStream) -> Vec<Request> {
        let mut lines = Lines::new();
        let mut requests = Vec::new();
        while wire::receive(stream, &mut lines).unwrap() > 0 {
            while let Some((request, _)) = lines.next::<Request>().unwrap() {
                requests.push(request);
            }
        }
        requests
    }

    #[test]
    fn no_agent_is_told_from_other_trouble() {
        let directory = tempfile::tempdir().unwrap();
        let refused = Connection::connect(directory.path());
        assert!(matches!(refused, Err(ConnectError::NoAgent(_))), "no socket");
        drop(UnixListener::bind(directory.path().join("agent.sock")).unwrap());
        let refused = Connection::connect(directory.path());
        assert!(matches!(refused, Err(ConnectError::NoAgent(_))), "nobody listens");
        let refused = Connection::connect(&directory.path().join("missing"));
        assert!(matches!(refused, Err(ConnectError::NoAgent(_))), "no directory");
    }

    #[test]
    fn a_long_path_is_no_hindrance() {
        let directory = tempfile::tempdir().unwrap();
        let deep = directory.path().join("d".repeat(120)).join("e".repeat(120));
        std::fs::create_dir_all(&deep).unwrap();
        assert!(matches!(Connection::connect(&deep), Err(ConnectError::NoAgent(_))));
        let short = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(short.path().join("agent.sock")).unwrap();
        std::fs::rename(short.path().join("agent.sock"), deep.join("agent.sock")).unwrap();
        let greeting = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            (&stream)
                .write_all(b"{\"type\":\"hello\",\"version\":1,\"oldest\":1,\"program\":\"9\"}\n")
                .unwrap();
            requests(&stream)
        });
        let connection = Connection::connect(&deep).expect("connects");
        assert_eq!(connection.program(), "9");
        drop(connection);
        assert_eq!(greeting.join().unwrap(), [Request::Hello { version: VERSION, oldest: VERSION_OLDEST }]);
    }

    #[test]
    fn a_refusal_is_told_even_when_the_agent_has_closed() {
        let (stream, running) = agent(r#"{"type":"refused","reason":"not you"}"#, drop);
        running.join().unwrap();
        match Connection::over(stream) {
            Err(ConnectError::Refused(reason)) => assert_eq!(reason, "not you"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn agents_of_other_versions_are_told_apart_and_can_be_stopped() {
        for (hello, expected) in [
            (r#"{"type":"hello","version":0,"oldest":0,"program":"0.0.1"}"#, Age::Older),
            (r#"{"type":"hello","version":9,"oldest":2,"program":"9.0","more":[]}"#, Age::Newer),
        ] {
            let (stream, running) = agent(hello, |stream| {
                (&stream).write_all(b"{\"type\":\"farewell\"}\n{\"type\":\"end\"}\n").unwrap();
                let mut lines = Lines::new();
                loop {
                    wire::receive(&stream, &mut lines).unwrap();
                    while let Some((request, _)) = lines.next::<Request>().unwrap() {
                        if request == Request::Stop {
                            std::thread::sleep(Duration::from_millis(50));
                            return Instant::now();
                        }
                    }
                }
            });
            match Connection::over(stream) {
                Err(ConnectError::OtherVersion { age, agent }) => {
                    assert_eq!(age, expected);
                    agent.stop().expect("stops");
                }
                other => panic!("{other:?}"),
            }
            let stopped = Instant::now();
            assert!(running.join().unwrap() <= stopped, "it was waited for");
        }
    }

    #[test]
    fn an_agent_of_a_later_version_that_knows_ours_is_fine() {
        let (stream, _running) = agent(r#"{"type":"hello","version":9,"oldest":1,"program":"9.0"}"#, drop);
        assert_eq!(Connection::over(stream).expect("gets on").program(), "9.0");
    }

    #[test]
    fn an_agent_that_went_away_is_told_from_one_that_talks_nonsense() {
        let (stream, running) = agent(r#"{"type":"hello","version":1,"oldest":1,"program":""}"#, drop);
        let mut connection = Connection::over(stream).expect("greets");
        running.join().unwrap();
        assert!(matches!(connection.next(), Err(LostError::Gone)));
        let (stream, _running) = agent("SSH-2.0", drop);
        let refused = Connection::over(stream);
        assert!(matches!(refused, Err(ConnectError::Lost(LostError::Wrong(_)))), "{refused:?}");
    }

    #[test]
    fn an_agent_that_says_nothing_hangs() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let began = Instant::now();
        let refused = Connection::over(ours);
        assert!(matches!(refused, Err(ConnectError::Lost(LostError::Hung))), "{refused:?}");
        assert!(began.elapsed() < SILENCE_MAX + Duration::from_secs(3));
    }
}
