//! A server of a test's own between hosts and the service, which does with the service's answers what the test wants.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use pkgtorrent_protocol::plan::Plan;

use crate::ask::PREFIX;
use crate::http::{Connection, Request, Response};
use crate::server::{Answer, Received, Server};

/// How often a request that is held back looks whether it may go on.
const GATE_POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Headers that belong to a connection and not to an answer.
const OF_CONNECTION: [&str; 3] = ["content-length", "transfer-encoding", "connection"];

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A plan.
    Plan,
    /// A bundle's info dictionary.
    Info,
    /// Bytes of a package.
    Package,
    /// Anything else.
    Other,
}

impl Part {
    /// What this request is for.
    #[must_use]
    pub fn of(request: &Received) -> Self {
        match request.target.strip_prefix(PREFIX) {
            Some(rest) if rest.starts_with("sets") => Self::Plan,
            Some(rest) if rest.ends_with(".info") => Self::Info,
            Some(rest) if rest.starts_with("webseed/") => Self::Package,
            _ => Self::Other,
        }
    }
}

/// As [`before`], for a change of what plans say.
#[must_use]
pub fn before_with_plan(service: SocketAddr, change: impl Fn(&mut Plan) + Send + Sync + 'static) -> Server {
    before(service, move |request, answer| match answer {
        Answer::Response { status: 200, body, .. } if Part::of(request) == Part::Plan => {
            let mut plan = serde_json::from_slice(&body).expect("the service answers with a plan");
            change(&mut plan);
            Answer::new(200, serde_json::to_vec(&plan).expect("a plan encodes"))
        }
        unchanged => unchanged,
    })
}

/// Holds requests back until it is opened or dropped.
#[derive(Debug, Default)]
pub struct Gate {
    is_open: Arc<AtomicBool>,
}

impl Gate {
    /// Lets everything pass from now on.
    pub fn open(&self) {
        self.is_open.store(true, Ordering::Relaxed);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.open();
    }
}

/// As [`before`], but the bytes of the package whose file's name begins so come only when the gate is open.
#[must_use]
pub fn before_with_gate(service: SocketAddr, name: &'static str) -> (Server, Gate) {
    let gate = Gate::default();
    let is_open = Arc::clone(&gate.is_open);
    let server = before(service, move |request, passed| {
        let file_name = request.target.rsplit('/').next().unwrap_or_default();
        if Part::of(request) == Part::Package && file_name.starts_with(name) {
            while !is_open.load(Ordering::Relaxed) {
                thread::sleep(GATE_POLL_INTERVAL);
            }
        }
        passed
    });
    (server, gate)
}

/// Starts a server that passes every request on to `service`, and the answer back as `adapt` makes it. What the answer
/// says of the service's address is said of this server's.
#[must_use]
pub fn before(
    service: SocketAddr,
    adapt: impl Fn(&Received, Answer) -> Answer + Send + Sync + 'static,
) -> Server {
    Server::start(move |request| adapt(request, pass_on(service, request)))
}

/// What the service answers to a request. One that does not is a bad gateway.
#[must_use]
pub fn pass_on(service: SocketAddr, received: &Received) -> Answer {
    let mut request = match received.method.as_str() {
        "POST" => Request::post(&received.target, received.body.clone()),
        method => Request::new(method, &received.target),
    };
    for name in ["range", "content-type"] {
        if let Some(value) = received.header(name) {
            request = request.header(name, value);
        }
    }
    match Connection::open(service).and_then(|mut connection| connection.send(&request)) {
        Ok(response) => answer(service, received, response),
        Err(error) => Answer::new(502, format!("{error}\n")),
    }
}

fn answer(service: SocketAddr, received: &Received, response: Response) -> Answer {
    let Response { status, headers, body } = response;
    let is_json = headers.iter().any(|(_, value)| value.starts_with("application/json"));
    let body = match received.header("host") {
        Some(host) if is_json => {
            String::from_utf8_lossy(&body).replace(&service.to_string(), host).into_bytes()
        }
        _ => body,
    };
    let headers = headers.into_iter();
    let headers = headers.filter(|(name, _)| !OF_CONNECTION.contains(&name.to_ascii_lowercase().as_str()));
    Answer::Response { status, headers: headers.collect(), body }
}
