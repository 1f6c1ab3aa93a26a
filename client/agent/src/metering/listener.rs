//! The agent's metrics over HTTP: one path, one answer for each connection, and nobody is waited for.
//!
//! It shares the thread that downloads, so there is little of everything that callers could ask for.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use crate::engine::Event;

/// The most callers at once; further ones wait in the kernel. One collector is usual, two where it is being replaced.
const CALLERS_MAX: usize = 8;

/// The longest head of a request: a collector's has some 300 bytes.
const HEAD_LEN_MAX: usize = 4096;

/// The most lines of it.
const HEADERS_MAX: usize = 32;

/// How long a caller may take to ask and to read. Prometheus gives up after ten seconds itself.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long to wait when a connection cannot be accepted, which is for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where collectors come in.
pub(crate) struct MetricsListener(Option<StdListener>);

/// What a caller asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Metrics { with_body: bool },
    Other(&'static str),
}

impl MetricsListener {
    /// Nothing, without an address. An agent that cannot listen there works all the same.
    pub(crate) fn open(address: Option<SocketAddr>) -> Self {
        let open = |address| {
            let listener = StdListener::bind(address)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        Self(address.and_then(|address| {
            open(address)
                .inspect_err(|error: &io::Error| tracing::warn!("metrics_listen: {address}: {error}"))
                .ok()
        }))
    }

    /// Answers for as long as it is polled.
    pub(crate) async fn answer(self, events: mpsc::Sender<Event>) {
        let Some(listener) = self.0.and_then(|listener| TcpListener::from_std(listener).ok()) else {
            return std::future::pending().await;
        };
        if let Ok(address) = listener.local_addr() {
            tracing::info!("metrics are at http://{address}/metrics");
        }
        let room = Arc::new(Semaphore::new(CALLERS_MAX));
        // It is said once that no descriptor is left.
        let mut is_short = false;
        loop {
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, address)) => {
                    is_short = false;
                    let events = events.clone();
                    tokio::spawn(async move {
                        match timeout(PATIENCE, serve(stream, &events)).await {
                            Ok(Ok(())) => {}
                            Ok(Err(error)) => tracing::debug!("metrics for {address}: {error}"),
                            Err(_) => tracing::debug!("metrics for {address}: too slow"),
                        }
                        drop(permit);
                    });
                }
                Err(error) => {
                    if !std::mem::replace(&mut is_short, true) {
                        tracing::warn!("accepting a collector of metrics: {error}");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn serve(mut stream: TcpStream, events: &mpsc::Sender<Event>) -> io::Result<()> {
    let (status, text, with_body) = match read_request(&mut stream).await? {
        Asked::Metrics { with_body } => {
            let (answer, text) = oneshot::channel();
            // Without an engine the agent is about to end.
            if events.send(Event::Measured { answer }).await.is_err() {
                return Ok(());
            }
            let Ok(text) = text.await else { return Ok(()) };
            ("200 OK", text, with_body)
        }
        Asked::Other(status) => (status, format!("{status}\n"), true),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\nConnection: close\r\n\r\n",
        text.len()
    );
    stream.write_all(head.as_bytes()).await?;
    if with_body {
        stream.write_all(text.as_bytes()).await?;
    }
    stream.shutdown().await
}

async fn read_request(stream: &mut TcpStream) -> io::Result<Asked> {
    let mut head = Vec::new();
    loop {
        if let Some(asked) = parse(&head) {
            return Ok(asked);
        }
        if stream.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// What is asked for, once that is known.
fn parse(head: &[u8]) -> Option<Asked> {
    if head.len() > HEAD_LEN_MAX {
        return Some(Asked::Other("431 Request Header Fields Too Large"));
    }
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Partial) => return None,
        Ok(httparse::Status::Complete(_)) => {}
        Err(_) => return Some(Asked::Other("400 Bad Request")),
    }
    let path = request.path.and_then(|target| target.split('?').next());
    Some(match (request.method, path) {
        (_, path) if path != Some("/metrics") => Asked::Other("404 Not Found"),
        (Some(method @ ("GET" | "HEAD")), _) => Asked::Metrics { with_body: method == "GET" },
        _ => Asked::Other("405 Method Not Allowed"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_metrics_are_to_be_had() {
        let get = Asked::Metrics { with_body: true };
        for (request, asked) in [
            ("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", Some(get)),
            ("GET /metrics?a=b HTTP/1.0\r\n\r\n", Some(get)),
            ("HEAD /metrics HTTP/1.1\r\n\r\n", Some(Asked::Metrics { with_body: false })),
            ("GET /metrics HTTP/1.1\r\nHost: x\r\n", None),
            ("", None),
            ("POST /metrics HTTP/1.1\r\n\r\n", Some(Asked::Other("405 Method Not Allowed"))),
            ("GET / HTTP/1.1\r\n\r\n", Some(Asked::Other("404 Not Found"))),
            ("GET /metrics/../x HTTP/1.1\r\n\r\n", Some(Asked::Other("404 Not Found"))),
            ("\x16\x03\x01\x02", Some(Asked::Other("400 Bad Request"))),
        ] {
            assert_eq!(parse(request.as_bytes()), asked, "{request:?}");
        }
    }

    #[test]
    fn a_head_has_an_end() {
        let long = format!("GET /metrics HTTP/1.1\r\nX: {}", "x".repeat(HEAD_LEN_MAX));
        assert_eq!(parse(long.as_bytes()), Some(Asked::Other("431 Request Header Fields Too Large")));
        let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(HEADERS_MAX + 1));
        assert_eq!(parse(many.as_bytes()), Some(Asked::Other("400 Bad Request")));
    }
}
