//! Bytes on a connection as no proper client would send them, and what the service has open meanwhile.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// What came back on a connection, and how it ended.
#[derive(Debug, Clone)]
pub struct Heard {
    /// Every byte that came.
    pub bytes: Vec<u8>,
    /// Whether the other side closed the connection; otherwise the time was up.
    pub closed: bool,
}

impl Heard {
    /// The bytes as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// The status codes of all answers, in order. Bodies that look like a status line would be counted, so tests that
    /// use this ask for none.
    #[must_use]
    pub fn statuses(&self) -> Vec<u16> {
        let text = self.text();
        let starts = text.match_indices("HTTP/1.").map(|(at, _)| at);
        starts.filter_map(|at| text.get(at + 9..at + 12)?.parse().ok()).collect()
    }
}

/// Sends `bytes` on a connection of their own and listens until the other side closes it or `limit` is over. A
/// connection that is closed while there is still something to send is no error.
#[must_use]
pub fn talk(peer: SocketAddr, bytes: &[u8], limit: Duration) -> Heard {
    talk_and(peer, bytes, limit, false)
}

/// As [`talk`], and closes the sending half after the last byte.
#[must_use]
pub fn talk_and_finish(peer: SocketAddr, bytes: &[u8], limit: Duration) -> Heard {
    talk_and(peer, bytes, limit, true)
}

fn talk_and(peer: SocketAddr, bytes: &[u8], limit: Duration, finish: bool) -> Heard {
    let deadline = Instant::now() + limit;
    let mut stream = TcpStream::connect(peer).unwrap_or_else(|e| panic!("{peer}: {e}"));
    stream.set_nodelay(true).expect("a socket option");
    let mut sender = stream.try_clone().expect("a second handle of a socket");
    sender.set_write_timeout(Some(limit)).expect("a socket option");
    let bytes = bytes.to_owned();
    // Apart from the reading, since an answer may come before everything is sent.
    let sending = std::thread::spawn(move || {
        let sent = sender.write_all(&bytes);
        if finish && sent.is_ok() {
            let _ = sender.shutdown(Shutdown::Write);
        }
    });
    let mut heard = Heard { bytes: Vec::new(), closed: false };
    let mut buffer = [0; 64 << 10];
    while let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        stream.set_read_timeout(Some(left)).expect("a socket option");
        match stream.read(&mut buffer) {
            Ok(0) => heard.closed = true,
            Ok(n) => heard.bytes.extend_from_slice(&buffer[..n]),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(_) => heard.closed = true,
        }
        if heard.closed {
            break;
        }
    }
    let _ = stream.shutdown(Shutdown::Both);
    sending.join().expect("the sender ends");
    heard
}

/// How many files and sockets a process has open.
#[must_use]
pub fn open_files(pid: u32) -> usize {
    let path = format!("/proc/{pid}/fd");
    fs::read_dir(&path).unwrap_or_else(|e| panic!("{path}: {e}")).count()
}

/// The memory that a process has resident, in bytes.
#[must_use]
pub fn resident_bytes(pid: u32) -> u64 {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()).and_then(|kib| kib.parse::<u64>().ok());
    kib.unwrap_or_else(|| panic!("no VmRSS: {status}")) << 10
}
