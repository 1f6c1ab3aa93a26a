//! Something at an agent's socket that is no agent, or one of another version, or one that lies.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use serde_json::Value;

/// The stand-in. Dropping it ends it.
#[derive(Debug)]
pub struct FakeAgent {
    socket: PathBuf,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    requests: Mutex<Vec<Value>>,
    ends: AtomicBool,
}

/// One connection of a command. It ends when it is dropped.
#[derive(Debug)]
pub struct Conversation {
    stream: BufReader<UnixStream>,
    shared: Arc<Shared>,
}

impl FakeAgent {
    /// Listens as the agent of a state directory, which is made if it is missing. Each connection is handed to `converse`
    /// on a thread of its own.
    #[must_use]
    pub fn start(state_dir: &Path, converse: impl Fn(Conversation) + Send + Sync + 'static) -> Self {
        fs::create_dir_all(state_dir).expect("a state directory");
        let socket = state_dir.join("agent.sock");
        let listener = UnixListener::bind(&socket).unwrap_or_else(|e| panic!("{}: {e}", socket.display()));
        let shared = Arc::new(Shared::default());
        let (of_thread, converse) = (Arc::clone(&shared), Arc::new(converse));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if of_thread.ends.load(Ordering::Relaxed) {
                    return;
                }
                let conversation =
                    Conversation { stream: BufReader::new(stream), shared: Arc::clone(&of_thread) };
                let converse = Arc::clone(&converse);
                thread::spawn(move || converse(conversation));
            }
        });
        Self { socket, shared }
    }

    /// As [`Self::start`], for one that says each of `hello` when it is greeted, and nothing more. It ends when it is told
    /// to stop, and its socket stays as a dead agent's does.
    #[must_use]
    pub fn saying(state_dir: &Path, hello: &'static str) -> Self {
        Self::start(state_dir, move |mut conversation| {
            while let Some(request) = conversation.next_request() {
                match request["type"].as_str() {
                    Some("hello") => conversation.say(hello),
                    Some("stop") => return conversation.end(),
                    _ => {}
                }
            }
        })
    }

    /// The types of what it was asked, in order.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        let requests = self.shared.requests.lock().expect("no thread panicked with the list");
        requests.iter().map(|request| request["type"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

impl Drop for FakeAgent {
    fn drop(&mut self) {
        self.shared.end(&self.socket);
    }
}

impl Shared {
    fn end(&self, socket: &Path) {
        self.ends.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for a connection. A real agent that has taken the socket's place does not mind.
        let _ = UnixStream::connect(socket);
    }
}

impl Conversation {
    /// What the command asks next; `None` when it has gone.
    pub fn next_request(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(len) if len > 0 => {}
            _ => return None,
        }
        let request: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
        self.shared.requests.lock().expect("no thread panicked with the list").push(request.clone());
        Some(request)
    }

    /// Says bytes as they are. A command that has gone does not hear them.
    pub fn say(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.get_mut().write_all(bytes.as_ref());
    }

    /// Says one line with an open file.
    pub fn pass(&mut self, line: &str, file: &File) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let files = [file.as_fd()];
        assert!(control.push(SendAncillaryMessage::ScmRights(&files)), "there is room for one file");
        let line = [IoSlice::new(line.as_bytes())];
        let _ = rustix::net::sendmsg(self.stream.get_ref(), &line, &mut control, SendFlags::NOSIGNAL);
    }

    /// Ends the connection, and listens no more.
    pub fn end(self) {
        let address = self.stream.get_ref().local_addr().expect("an address");
        self.shared.end(address.as_pathname().expect("a named socket"));
    }
}
