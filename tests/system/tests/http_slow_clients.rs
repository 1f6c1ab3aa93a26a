//! Hundreds of clients that send or take next to nothing hold nobody else up, and are all cut off in the end.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pkgtorrent_system_tests::site::Site;
use pkgtorrent_system_tests::wire::open_files;
use pkgtorrent_test_support::ask;
use pkgtorrent_test_support::http::{Connection, Request};
use pkgtorrent_test_support::process::wait_for;
use rustix::net::{AddressFamily, SocketType, sockopt};

/// The slow ones at once.
const CLIENTS: usize = 500;

/// What the service is told to wait for a client.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(2);

/// By when all must be gone: some of them are only noticed by the kernel's probes, whose distance doubles.
const GONE_WITHIN: Duration = Duration::from_secs(40);

/// What the service may have open by chance when it is looked at. A leak would be of a tenth of the clients at least.
const STRAY_FILES: usize = 4;

/// How often a trickling client sends or takes a byte: often enough that no pause is as long as the timeout.
const TRICKLE_INTERVAL: Duration = Duration::from_millis(250);

/// What a client that does not read lets the kernel keep for it: the service must be held up before it has sent all.
const RECEIVE_BUFFER: usize = 32 << 10;

/// A file that fits no buffer.
const LARGE_LEN: u64 = 256 << 20;

/// The ways of being slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slowness {
    /// Connects and says nothing.
    Silent,
    /// Never ends the request line.
    HalfALine,
    /// Sends its headers byte by byte.
    TricklingHead,
    /// Sends the set's body byte by byte.
    TricklingBody,
    /// Sends the set's body in chunks of a byte.
    TricklingChunks,
    /// Sends a body that nobody asked for, byte by byte.
    UnwantedBody,
    /// The same in chunks.
    UnwantedChunks,
    /// Sends one good request and then half of another.
    HalfASecondRequest,
    /// Sends one good request and then another byte by byte.
    TricklingSecondRequest,
    /// Asks for a large file and reads nothing.
    ReadsNothing,
    /// Asks for a large file and reads a byte now and then.
    ReadsBytes,
    /// Asks for a small file many times over and never reads an answer.
    AsksAndReadsNothing,
    /// Keeps the connection after an answer.
    Idle,
}

const KINDS: [Slowness; 13] = [
    Slowness::Silent,
    Slowness::HalfALine,
    Slowness::TricklingHead,
    Slowness::TricklingBody,
    Slowness::TricklingChunks,
    Slowness::UnwantedBody,
    Slowness::UnwantedChunks,
    Slowness::HalfASecondRequest,
    Slowness::TricklingSecondRequest,
    Slowness::ReadsNothing,
    Slowness::ReadsBytes,
    Slowness::AsksAndReadsNothing,
    Slowness::Idle,
];

impl Slowness {
    /// What it sends at once.
    fn opening(self) -> String {
        let sets = format!("{}sets", ask::PREFIX);
        let get = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
        let large = "GET /large HTTP/1.1\r\nHost: x\r\n\r\n";
        match self {
            Self::Silent => String::new(),
            Self::HalfALine => "GET /hea".into(),
            Self::TricklingHead => "GET /healthz HTTP/1.1\r\nHost: x\r\nX: ".into(),
            Self::TricklingBody => {
                format!("POST {sets} HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
            }
            Self::TricklingChunks => {
                format!("POST {sets} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            }
            Self::UnwantedBody => "GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n".into(),
            Self::UnwantedChunks => {
                "POST /nothing HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".into()
            }
            Self::HalfASecondRequest => format!("{get}GET /hea"),
            Self::TricklingSecondRequest => format!("{get}GET /healthz HTTP/1.1\r\nX: "),
            Self::ReadsNothing | Self::ReadsBytes => large.into(),
            Self::AsksAndReadsNothing => "GET /repo/small.rpm HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100),
            Self::Idle => get.into(),
        }
    }

    /// What it sends now and then.
    fn trickle(self) -> &'static [u8] {
        match self {
            Self::TricklingHead | Self::TricklingBody | Self::UnwantedBody | Self::TricklingSecondRequest => {
                b"x"
            }
            Self::TricklingChunks | Self::UnwantedChunks => b"1\r\nx\r\n",
            _ => b"",
        }
    }

    /// How many bytes it takes now and then.
    fn takes(self) -> usize {
        match self {
            Self::ReadsNothing | Self::AsksAndReadsNothing => 0,
            Self::ReadsBytes => 1,
            _ => 64 << 10,
        }
    }
}

struct SlowClient {
    slowness: Slowness,
    stream: TcpStream,
}

impl SlowClient {
    fn connect(service: SocketAddr, slowness: Slowness) -> Self {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        if slowness.takes() <= 1 {
            sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER).expect("a socket option");
        }
        rustix::net::connect(&socket, &service).expect("connects");
        let mut stream = TcpStream::from(socket);
        stream.set_nodelay(true).expect("a socket option");
        stream.write_all(slowness.opening().as_bytes()).expect("sent");
        stream.set_nonblocking(true).expect("a socket option");
        Self { slowness, stream }
    }

    /// Does what it does now and then; whether it has noticed that it was cut off. One that does not read cannot.
    fn is_cut_off(&mut self) -> bool {
        let would_block = |error: &std::io::Error| error.kind() == ErrorKind::WouldBlock;
        let trickle = self.slowness.trickle();
        if !trickle.is_empty() && self.stream.write(trickle).is_err_and(|error| !would_block(&error)) {
            return true;
        }
        let mut buffer = vec![0; self.slowness.takes()];
        match buffer.len() {
            0 => self.stream.take_error().is_ok_and(|error| error.is_some()),
            _ => match self.stream.read(&mut buffer) {
                Ok(n) => n == 0,
                Err(error) => !would_block(&error),
            },
        }
    }
}

/// How long a polite client waits, over a connection of its own, for a plan, a package and the health together.
fn answered_in(site: &Site) -> Duration {
    let started = Instant::now();
    let connect = || Connection::open(site.service.addr()).expect("connects");
    let mut connection = connect();
    let mut ask = |what: &str, request: Request| {
        // A connection that was kept may have been closed meanwhile, on a machine as busy as this test makes it: every
        // client asks again then.
        connection.send(&request).unwrap_or_else(|_| {
            connection = connect();
            connection.send(&request).unwrap_or_else(|e| panic!("{what}: {e} after {:?}", started.elapsed()))
        })
    };
    let plan = ask("a plan", ask::set_request(&site.digests(), None));
    assert_eq!(ask::plan_of(plan).unknown, []);
    let package = ask("a package", Request::get("/repo/small.rpm")).expect_status(200);
    assert!(package.body == site.packages[0].bytes());
    ask("health", Request::get("/healthz")).expect_status(200);
    started.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

#[test]
fn slow_clients_hold_nobody_up_and_are_cut_off() {
    let config = format!("client_timeout = {}\n", CLIENT_TIMEOUT.as_secs());
    let site = Site::start(&[("small.rpm", 100_000)], &config);
    let large = File::create(site.root().join("large")).expect("a file");
    large.set_len(LARGE_LEN).expect("zeros that take no space");
    let (service, pid) = (site.service.addr(), site.service.pid());
    site.plan();
    let quiet = median((0..40).map(|_| answered_in(&site)).collect());
    let files_before = wait_for("end of the quiet time's connections", GONE_WITHIN, || {
        let files = open_files(pid);
        std::thread::sleep(CLIENT_TIMEOUT);
        (open_files(pid) == files).then_some(files)
    });

    let mut clients: Vec<SlowClient> =
        KINDS.iter().cycle().take(CLIENTS).map(|&slowness| SlowClient::connect(service, slowness)).collect();
    wait_for("acceptance of all", CLIENT_TIMEOUT, || {
        (open_files(pid) > files_before + CLIENTS / 2).then_some(())
    });
    let over = AtomicBool::new(false);
    let (started, deadline) = (Instant::now(), Instant::now() + GONE_WITHIN);
    let times = std::thread::scope(|scope| {
        let polite = scope.spawn(|| {
            let mut times = Vec::new();
            while !over.load(Ordering::Relaxed) {
                times.push(answered_in(&site));
                std::thread::sleep(Duration::from_millis(20));
            }
            times
        });
        // Those who do not read learn nothing: what the service has open says whether they are gone.
        while Instant::now() < deadline && open_files(pid) > files_before + STRAY_FILES {
            clients.retain_mut(|client| !client.is_cut_off());
            std::thread::sleep(TRICKLE_INTERVAL);
        }
        over.store(true, Ordering::Relaxed);
        polite.join().expect("polite clients are served")
    });
    let took = started.elapsed();
    let left = |clients: &[SlowClient]| -> BTreeSet<String> {
        clients.iter().map(|client| format!("{:?}", client.slowness)).collect()
    };
    let files = open_files(pid);
    assert!(
        files <= files_before + STRAY_FILES,
        "{files} files are open, {files_before} before: {:?}",
        left(&clients)
    );
    wait_for("as many open files as before", CLIENT_TIMEOUT * 3, || {
        (open_files(pid) <= files_before + STRAY_FILES).then_some(())
    });
    // Those who read have noticed.
    clients.retain(|client| client.slowness.takes() > 1);
    wait_for("end of the last slow connection", GONE_WITHIN, || {
        clients.retain_mut(|client| !client.is_cut_off());
        clients.is_empty().then_some(())
    });
    let (slowest, during) = (times.iter().max().copied().unwrap_or_default(), median(times));
    eprintln!(
        "quiet {quiet:?}, with {CLIENTS} slow clients {during:?}, at most {slowest:?}; gone after {took:?}"
    );
    assert!(took > CLIENT_TIMEOUT / 2, "a timeout is not spent at once");
    assert!(during < (quiet * 10).max(Duration::from_millis(200)), "{during:?} instead of {quiet:?}");
    assert!(slowest < Duration::from_secs(5), "somebody waited {slowest:?}");
    site.plan();
}

#[test]
fn who_takes_its_time_but_takes_enough_is_served() {
    let config = format!("client_timeout = {}\nmin_rate = 50000\n", CLIENT_TIMEOUT.as_secs());
    let site = Site::start(&[("small.rpm", 6_000_000)], &config);
    let mut stream = TcpStream::connect(site.service.addr()).expect("connects");
    sockopt::set_socket_recv_buffer_size(&stream, RECEIVE_BUFFER).expect("a socket option");
    stream.write_all(b"GET /repo/small.rpm HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("sent");
    let (mut taken, mut buffer) = (0, vec![0; 200_000]);
    let started = Instant::now();
    while let Ok(n @ 1..) = stream.read(&mut buffer) {
        taken += n;
        // About a megabyte in a second: over twice the timeout for all of it.
        let due = Duration::from_secs_f64(taken as f64 / 1.2e6);
        std::thread::sleep(due.saturating_sub(started.elapsed()));
    }
    assert!(started.elapsed() > CLIENT_TIMEOUT * 2);
    assert!(taken > 6_000_000, "cut off after {taken} bytes");
}
