//! A server that does what it is told: one thread a connection, no HTTP library.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use reqwest::Url;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// No test takes so long: what still waits then is let go.
const PATIENCE: Duration = Duration::from_secs(20);

/// What was asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The range that was asked for, as it would index a file.
    pub(crate) fn range(&self) -> Option<(usize, usize)> {
        let (first, last) = self.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
        Some((first.parse().expect("a number"), last.parse::<usize>().expect("a number") + 1))
    }
}

/// A connection on which to answer.
pub(crate) struct Wire<'a> {
    stream: &'a mut (dyn ReadWrite + 'a),
    socket: &'a TcpStream,
}

pub(crate) trait ReadWrite: Read + Write {}

impl<T: Read + Write> ReadWrite for T {}

impl Wire<'_> {
    /// Sends bytes; whether somebody is still there to take them.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).and_then(|()| self.stream.flush()).is_ok()
    }

    /// An answer with its length.
    pub(crate) fn answer(&mut self, status: &str, headers: &str, body: &[u8]) -> Next {
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
        self.send(head);
        self.send(body);
        Next::KeepOpen
    }

    /// What a web seed does.
    pub(crate) fn serve(&mut self, asked: &Asked, file: &[u8]) -> Next {
        match asked.range() {
            None => self.answer("200 OK", "", file),
            Some((start, end)) => {
                let place = format!("Content-Range: bytes {start}-{}/{}\r\n", end - 1, file.len());
                self.answer("206 Partial Content", &place, &file[start..end])
            }
        }
    }

    /// Waits until the other side hangs up.
    pub(crate) fn wait_for_hangup(&mut self) -> Next {
        let mut sink = [0; 1024];
        while self.stream.read(&mut sink).is_ok_and(|len| len > 0) {}
        Next::Close
    }

    /// Ends the connection as a program does that is killed.
    pub(crate) fn reset(&mut self) -> Next {
        rustix::net::sockopt::set_socket_linger(self.socket, Some(Duration::ZERO)).expect("lingers");
        Next::Close
    }

    /// Passes bytes both ways until either side ends.
    pub(crate) fn tunnel(&mut self, to: SocketAddr) -> Next {
        let mut other = TcpStream::connect(to).expect("connects");
        let (mut from, mut back) =
            (self.socket.try_clone().expect("a socket"), other.try_clone().expect("a socket"));
        let mut this = self.socket.try_clone().expect("a socket");
        let thread = thread::spawn(move || {
            let _ = io::copy(&mut back, &mut this);
            let _ = this.shutdown(Shutdown::Both);
        });
        let _ = io::copy(&mut from, &mut other);
        let _ = other.shutdown(Shutdown::Both);
        thread.join().expect("ends");
        Next::Close
    }
}

/// What becomes of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    KeepOpen,
    Close,
}

type Handler = dyn Fn(&Asked, &mut Wire<'_>) -> Next + Send + Sync;

/// A listening server; it ends with the test.
pub(crate) struct Server {
    address: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
}

struct Shared {
    asked: Mutex<Vec<Asked>>,
    connections: AtomicUsize,
    stopped: AtomicBool,
    handler: Box<Handler>,
    tls: Option<Arc<ServerConfig>>,
}

impl Server {
    pub(crate) fn start(handler: impl Fn(&Asked, &mut Wire<'_>) -> Next + Send + Sync + 'static) -> Self {
        Self::listen("127.0.0.1:0", None, handler)
    }

    pub(crate) fn listen(
        address: &str,
        tls: Option<Arc<ServerConfig>>,
        handler: impl Fn(&Asked, &mut Wire<'_>) -> Next + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).expect("binds");
        let address = listener.local_addr().expect("an address");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let shared = Arc::new(Shared {
            asked: Mutex::default(),
            connections: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
            handler: Box::new(handler),
            tls,
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accept(&listener, &accepting));
        Self { address, scheme, shared }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self, path: &str) -> Url {
        format!("{}://{}{path}", self.scheme, self.address).parse().expect("a URL")
    }

    /// What was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().expect("whole").clone()
    }

    /// How many connections were made so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Accepting goes on with the next connection.
        let _ = TcpStream::connect(self.address);
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for socket in listener.incoming() {
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        let Ok(socket) = socket else { return };
        shared.connections.fetch_add(1, Ordering::SeqCst);
        let shared = Arc::clone(shared);
        thread::spawn(move || connection(&socket, &shared));
    }
}

fn connection(socket: &TcpStream, shared: &Shared) {
    socket.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    socket.set_write_timeout(Some(PATIENCE)).expect("a time limit");
    socket.set_nodelay(true).expect("no delay");
    let result = match &shared.tls {
        None => talk(&mut BufReader::new(socket), socket, shared),
        Some(config) => {
            let tls = ServerConnection::new(Arc::clone(config)).expect("a connection");
            talk(&mut BufReader::new(StreamOwned::new(tls, socket)), socket, shared)
        }
    };
    // A client may hang up at any time.
    drop(result);
}

fn talk<S: ReadWrite>(reader: &mut BufReader<S>, socket: &TcpStream, shared: &Shared) -> io::Result<()> {
    while let Some(asked) = read_request(reader)? {
        shared.asked.lock().expect("whole").push(asked.clone());
        let mut wire = Wire { stream: reader.get_mut(), socket };
        if (shared.handler)(&asked, &mut wire) == Next::Close {
            break;
        }
    }
    Ok(())
}

fn read_request(reader: &mut impl BufRead) -> io::Result<Option<Asked>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split(' ').map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.push((name.to_owned(), value.to_owned())),
            None => break,
        }
    }
    let mut asked = Asked { method, target, headers, body: Vec::new() };
    let len = asked.header("content-length").map_or(0, |len| len.parse().expect("a number"));
    asked.body = vec![0; len];
    reader.read_exact(&mut asked.body)?;
    Ok(Some(asked))
}
