//! A plain HTTP/1.1 client: blocking, without redirects, and able to send what no proper client would.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a read or write may take before the other side counts as stuck.
const IO_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest line of an answer's head that is read.
const LINE_LEN_MAX: u64 = 64 << 10;

/// A request. The target goes out as it is, so that tests can send odd ones.
#[derive(Debug, Clone)]
pub struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

impl Request {
    /// A request without a body.
    #[must_use]
    pub fn new(method: &str, target: &str) -> Self {
        Self { method: method.into(), target: target.into(), headers: Vec::new(), body: None }
    }

    /// `GET target`.
    #[must_use]
    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// `HEAD target`.
    #[must_use]
    pub fn head(target: &str) -> Self {
        Self::new("HEAD", target)
    }

    /// `POST target` with a body.
    #[must_use]
    pub fn post(target: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { body: Some(body.into()), ..Self::new("POST", target) }
    }

    /// With one more header. A `Host` given here stands in for the connection's address.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    fn encode(&self, host: SocketAddr) -> Vec<u8> {
        let mut out = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            out.push_str(&format!("Host: {host}\r\n"));
        }
        for (name, value) in &self.headers {
            out.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = &self.body {
            out.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        out.push_str("\r\n");
        let mut out = out.into_bytes();
        out.extend_from_slice(self.body.as_deref().unwrap_or_default());
        out
    }
}

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The headers as they came.
    pub headers: Vec<(String, String)>,
    /// The body, without any chunking.
    pub body: Vec<u8>,
}

impl Response {
    /// The first header of this name, in whatever case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// This answer, after a panic if it has another status.
    pub fn expect_status(self, status: u16) -> Self {
        let mut shown = self.text();
        if let Some((end, _)) = shown.char_indices().nth(500) {
            shown.truncate(end);
        }
        assert_eq!(self.status, status, "the answer is {shown:?} with {:?}", self.headers);
        self
    }
}

/// A connection that carries one request after the other.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<TcpStream>,
    peer: SocketAddr,
}

impl Connection {
    /// Connects, with a time limit for every later read and write.
    pub fn open(peer: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&peer, IO_TIMEOUT)?;
        stream.set_read_timeout(Some(IO_TIMEOUT))?;
        stream.set_write_timeout(Some(IO_TIMEOUT))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream), peer })
    }

    /// Other time limits than the usual ones, for tests of slowness.
    pub fn set_timeout(&self, limit: Duration) -> io::Result<()> {
        self.stream.get_ref().set_read_timeout(Some(limit))?;
        self.stream.get_ref().set_write_timeout(Some(limit))
    }

    /// This side's address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.stream.get_ref().local_addr()
    }

    /// Sends a request and reads its answer.
    pub fn send(&mut self, request: &Request) -> io::Result<Response> {
        self.send_raw(&request.encode(self.peer))?;
        self.read_response(request.method == "HEAD")
    }

    /// Sends bytes as they are.
    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Reads one answer; that to a HEAD has no body whatever its headers say.
    pub fn read_response(&mut self, to_head: bool) -> io::Result<Response> {
        loop {
            let response = self.read_one(to_head)?;
            // 100 Continue and its like announce the answer proper.
            if response.status >= 200 {
                return Ok(response);
            }
        }
    }

    fn read_one(&mut self, to_head: bool) -> io::Result<Response> {
        let status_line = self.read_line()?;
        let status = status_line
            .strip_prefix("HTTP/1.")
            .and_then(|rest| rest.get(2..5))
            .and_then(|code| code.parse().ok())
            .ok_or_else(|| malformed(&format!("no status line: {status_line:?}")))?;
        let mut response = Response { status, headers: self.read_headers()?, body: Vec::new() };
        if to_head || status < 200 || status == 204 || status == 304 {
            return Ok(response);
        }
        let chunked = response.header("transfer-encoding").is_some_and(|value| value.contains("chunked"));
        let len = response.header("content-length").map(str::parse::<u64>);
        if chunked {
            response.body = self.read_chunks()?;
        } else if let Some(len) = len {
            let len = len.map_err(|_| malformed("the content-length is no number"))?;
            response.body = self.read_body(len)?;
        } else {
            self.stream.read_to_end(&mut response.body)?;
        }
        Ok(response)
    }

    fn read_headers(&mut self) -> io::Result<Vec<(String, String)>> {
        let mut headers = Vec::new();
        loop {
            let line = self.read_line()?;
            if line.is_empty() {
                return Ok(headers);
            }
            let (name, value) =
                line.split_once(':').ok_or_else(|| malformed(&format!("no header: {line:?}")))?;
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    fn read_chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.read_line()?;
            let digits = line.split(';').next().unwrap_or_default().trim();
            let len = u64::from_str_radix(digits, 16)
                .map_err(|_| malformed(&format!("no chunk length: {line:?}")))?;
            if len == 0 {
                self.read_headers()?;
                return Ok(body);
            }
            body.append(&mut self.read_body(len)?);
            self.read_line()?;
        }
    }

    fn read_body(&mut self, len: u64) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        (&mut self.stream).take(len).read_to_end(&mut body)?;
        if body.len() as u64 == len {
            Ok(body)
        } else {
            let what = format!("the body ends after {} of {len} bytes", body.len());
            Err(io::Error::new(io::ErrorKind::UnexpectedEof, what))
        }
    }

    fn read_line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        (&mut self.stream).take(LINE_LEN_MAX).read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the answer's head is cut off"));
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        String::from_utf8(line).map_err(|_| malformed("the answer's head is not UTF-8"))
    }
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Sends one request on a connection of its own; panics when there is no answer.
pub fn send(peer: SocketAddr, request: &Request) -> Response {
    Connection::open(peer)
        .and_then(|mut connection| connection.send(request))
        .unwrap_or_else(|e| panic!("{} {} at {peer}: {e}", request.method, request.target))
}

/// Fetches `target` on a connection of its own; panics when there is no answer.
pub fn get(peer: SocketAddr, target: &str) -> Response {
    send(peer, &Request::get(target))
}
