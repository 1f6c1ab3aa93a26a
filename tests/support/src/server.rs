//! A plain HTTP/1.1 server of a test's own: it serves a directory or whatever a function says, and remembers who asked
//! for what.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use percent_encoding::percent_decode_str;

/// How long a read or write may take before the client counts as gone.
const IO_TIMEOUT: Duration = Duration::from_secs(30);

/// How often a connection that is left without an answer looks whether the server is ending.
const HANG_POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// `GET` and the like.
    pub method: String,
    /// The path and query, not decoded.
    pub target: String,
    /// The headers in their order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Received {
    /// The first header of this name, which is in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// What the server does with a request.
#[derive(Debug, Clone)]
pub enum Answer {
    /// An answer in good form; the length is added.
    Response {
        /// The status code.
        status: u16,
        /// More headers.
        headers: Vec<(String, String)>,
        /// The body.
        body: Vec<u8>,
    },
    /// These bytes, then the end of the connection.
    Raw(Vec<u8>),
    /// These bytes, in parts of this length with a pause before each.
    Slow {
        /// The head and the body.
        bytes: Vec<u8>,
        /// The length of a part.
        part_len: usize,
        /// The pause before each part.
        pause: Duration,
        /// What comes after the last.
        then: Then,
    },
    /// Nothing, until the client goes or the server ends.
    Hang,
}

/// What becomes of a connection after a slow answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// The next request.
    GoOn,
    /// Its end.
    Close,
    /// Nothing, until the client goes or the server ends.
    Hang,
}

impl Answer {
    /// An answer without headers of its own.
    #[must_use]
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self::Response { status, headers: Vec::new(), body: body.into() }
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let Self::Response { headers, .. } = &mut self {
            headers.push((name.into(), value.into()));
        }
        self
    }

    /// The answer's bytes as they are sent for anything but a HEAD.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        match self {
            Self::Response { status, headers, body } => {
                [head(status, &headers, body.len()).as_slice(), body.as_slice()].concat()
            }
            Self::Raw(bytes) | Self::Slow { bytes, .. } => bytes,
            Self::Hang => Vec::new(),
        }
    }

    /// This answer, slowly.
    #[must_use]
    pub fn slow(self, part_len: usize, pause: Duration) -> Self {
        Self::Slow { bytes: self.encode(), part_len, pause, then: Then::GoOn }
    }

    /// This answer without its last `missing` bytes, and what comes instead of them.
    #[must_use]
    pub fn cut(self, missing: usize, then: Then) -> Self {
        let len = self.clone().encode().len();
        self.cut_to(len.saturating_sub(missing), then)
    }

    /// The first `len` bytes of this answer, its head included, and what comes instead of the rest.
    #[must_use]
    pub fn cut_to(self, len: usize, then: Then) -> Self {
        let mut bytes = self.encode();
        bytes.truncate(len);
        Self::Slow { part_len: bytes.len().max(1), bytes, pause: Duration::ZERO, then }
    }
}

fn head(status: u16, headers: &[(String, String)], len: usize) -> Vec<u8> {
    let mut out = format!("HTTP/1.1 {status} -\r\nContent-Length: {len}\r\n").into_bytes();
    for (name, value) in headers {
        out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out
}

type Handler = dyn Fn(&Received) -> Answer + Send + Sync;

struct Shared {
    handler: Box<Handler>,
    requests: Mutex<Vec<Received>>,
    ends: AtomicBool,
}

/// The running server. Dropping it ends it.
pub struct Server {
    shared: Arc<Shared>,
    address: SocketAddr,
    listening: Option<JoinHandle<()>>,
}

impl Server {
    /// Answers what `handler` says, on a free port of 127.0.0.1.
    #[must_use]
    pub fn start(handler: impl Fn(&Received) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port on 127.0.0.1");
        let address = listener.local_addr().expect("its address");
        let shared = Arc::new(Shared {
            handler: Box::new(handler),
            requests: Mutex::default(),
            ends: AtomicBool::new(false),
        });
        let of_thread = Arc::clone(&shared);
        let listening = Some(thread::spawn(move || listen(&listener, &of_thread)));
        Self { shared, address, listening }
    }

    /// Serves the files below a directory.
    #[must_use]
    pub fn files(root: &Path) -> Self {
        let root = root.to_owned();
        Self::start(move |request| file(&root, request))
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// The URL of `path`, which starts with a slash.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What was asked for since the last call, in the order of arrival.
    #[must_use]
    pub fn take_requests(&self) -> Vec<Received> {
        std::mem::take(&mut self.shared.requests.lock().expect("no thread panicked with the list"))
    }

    /// The names of the packages that were asked for since the last call, sorted; the other requests are dropped.
    #[must_use]
    pub fn take_packages(&self) -> Vec<String> {
        let requests = self.take_requests();
        let targets = requests.iter().filter(|request| request.target.ends_with("rpm"));
        let mut names: Vec<String> = targets
            .map(|request| request.target.rsplit('/').next().unwrap_or_default())
            .map(|name| percent_decode_str(name).decode_utf8_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for a connection.
        drop(TcpStream::connect(self.address));
        if let Some(listening) = self.listening.take() {
            let _ = listening.join();
        }
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

fn listen(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.ends.load(Ordering::Relaxed) {
            return;
        }
        if let Ok(stream) = stream {
            let shared = Arc::clone(shared);
            // A client that goes away in the middle is no error of the test.
            thread::spawn(move || serve(stream, &shared));
        }
    }
}

fn serve(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_read_timeout(Some(IO_TIMEOUT))?;
    stream.set_write_timeout(Some(IO_TIMEOUT))?;
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    while let Some(request) = read_request(&mut stream)? {
        shared.requests.lock().expect("no thread panicked with the list").push(request.clone());
        match (shared.handler)(&request) {
            Answer::Response { status, headers, body } => {
                let mut out = head(status, &headers, body.len());
                if request.method != "HEAD" {
                    out.extend_from_slice(&body);
                }
                stream.get_mut().write_all(&out)?;
            }
            Answer::Raw(bytes) => return stream.get_mut().write_all(&bytes),
            Answer::Slow { bytes, part_len, pause, then } => {
                for part in bytes.chunks(part_len) {
                    thread::sleep(pause);
                    if shared.ends.load(Ordering::Relaxed) {
                        return Ok(());
                    }
                    stream.get_mut().write_all(part)?;
                }
                match then {
                    Then::GoOn => {}
                    Then::Close => return Ok(()),
                    Then::Hang => return hang(shared),
                }
            }
            Answer::Hang => return hang(shared),
        }
    }
    Ok(())
}

fn hang(shared: &Shared) -> io::Result<()> {
    while !shared.ends.load(Ordering::Relaxed) {
        thread::sleep(HANG_POLL_INTERVAL);
    }
    Ok(())
}

fn read_request(stream: &mut BufReader<TcpStream>) -> io::Result<Option<Received>> {
    let malformed = || io::Error::from(io::ErrorKind::InvalidData);
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (method, target) = (words.next().ok_or_else(malformed)?, words.next().ok_or_else(malformed)?);
    let mut request =
        Received { method: method.into(), target: target.into(), headers: Vec::new(), body: Vec::new() };
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        request.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let len = request.header("content-length").map_or(Ok(0), str::parse).map_err(|_| malformed())?;
    stream.take(len).read_to_end(&mut request.body)?;
    Ok(Some(request))
}

fn file(root: &Path, request: &Received) -> Answer {
    let path = request.target.split('?').next().unwrap_or_default().trim_start_matches('/');
    let path: PathBuf = root.join(percent_decode_str(path).decode_utf8_lossy().as_ref());
    let Ok(body) = fs::read(path) else { return Answer::new(404, "there is no such file\n") };
    let Some(range) = request.header("range").and_then(|range| range.strip_prefix("bytes=")) else {
        return Answer::new(200, body).header("Accept-Ranges", "bytes");
    };
    let (first, last) = range.split_once('-').unwrap_or((range, ""));
    let first = first.parse().unwrap_or(usize::MAX);
    let end = last.parse().map_or(body.len(), |last: usize| body.len().min(last.saturating_add(1)));
    if first >= end {
        return Answer::new(416, "");
    }
    let part = format!("bytes {first}-{}/{}", end - 1, body.len());
    Answer::new(206, &body[first..end]).header("Content-Range", &part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{self, Request};

    #[test]
    fn files_and_their_parts_are_served_and_requests_remembered() {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("a b.rpm"), b"0123456789").expect("a file is written");
        let server = Server::files(directory.path());
        assert_eq!(http::get(server.addr(), "/a%20b.rpm").expect_status(200).body, b"0123456789");
        let part = http::send(server.addr(), &Request::get("/a%20b.rpm").header("Range", "bytes=3-5"));
        assert_eq!((part.status, part.body.as_slice()), (206, b"345".as_slice()));
        let _ = http::get(server.addr(), "/nothing").expect_status(404);
        assert_eq!(server.take_packages(), ["a b.rpm", "a b.rpm"]);
        assert!(server.take_requests().is_empty());
    }

    #[test]
    fn an_answer_may_be_slow_or_cut() {
        let pause = Duration::from_millis(5);
        let server = Server::start(move |request| match request.target.as_str() {
            "/slow" => Answer::new(200, "0123456789").slow(7, pause),
            _ => Answer::new(200, "0123456789").cut(3, Then::Close),
        });
        let mut connection = http::Connection::open(server.addr()).expect("connects");
        for _ in 0..2 {
            let response = connection.send(&Request::get("/slow")).expect("an answer");
            assert_eq!(response.body, b"0123456789");
        }
        let error = connection.send(&Request::get("/cut")).expect_err("it is cut");
        assert!(error.to_string().contains("7 of 10"), "{error}");
    }

    #[test]
    fn a_server_ends_although_somebody_waits_for_its_answer() {
        let server = Server::start(|_| Answer::Hang);
        let mut connection = http::Connection::open(server.addr()).expect("connects");
        connection.send_raw(b"GET / HTTP/1.1\r\n\r\n").expect("sends");
        drop(server);
        connection.read_response(false).expect_err("there is no answer");
    }
}
