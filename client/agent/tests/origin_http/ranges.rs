//! Ranges of files: what servers make of them, and what is made of that.

use std::net::TcpListener;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pkgtorrent_agent::origin::{Http, RangeRequest, read_range};
use pkgtorrent_agent::settings::IpVersion;
use tokio::sync::mpsc;

use crate::server::{Next, Server, Wire};
use crate::{STALL, WHOLE, content, http, kind, read, settings, url};

const SIZE: usize = 100_000;

/// A server that answers every request for a file of [`SIZE`] bytes in this way.
fn answering(answer: impl Fn(&mut Wire<'_>) -> Next + Send + Sync + 'static) -> Server {
    Server::start(move |_, wire| answer(wire))
}

/// Asks for the range 10..20 and is told why it does not come.
async fn reason(server: &Server) -> (&'static str, String) {
    let (result, _) = read(&http(), &server.url("/f"), SIZE, 10..20).await;
    let error = result.expect_err("no range");
    assert!(error.to_string().starts_with(&format!("http://{}/f: ", server.address())), "{error}");
    (kind(&error), error.to_string())
}

#[tokio::test]
async fn ranges_come_over_one_connection_as_they_were_asked_for() {
    let file = content(SIZE);
    let served = file.clone();
    let server = Server::start(move |asked, wire| wire.serve(asked, &served));
    let http = http();
    for range in [0..1, 0..SIZE - 1, 5..5 + 70_000, SIZE - 1..SIZE, 0..SIZE] {
        let (result, bytes) = read(&http, &server.url("/f"), SIZE, range.clone()).await;
        assert_eq!(result, Ok(WHOLE), "{range:?}");
        assert!(bytes == file[range.clone()], "{range:?}: other bytes");
    }
    let asked = server.asked();
    let ranges: Vec<_> = asked.iter().map(|asked| asked.header("range")).collect();
    // The whole file is not asked for as a range.
    let expected =
        [Some("bytes=0-0"), Some("bytes=0-99998"), Some("bytes=5-70004"), Some("bytes=99999-99999"), None];
    assert_eq!(ranges, expected);
    for asked in &asked {
        assert_eq!(asked.header("accept-encoding"), Some("identity"));
        assert!(asked.header("user-agent").is_some_and(|agent| agent.starts_with("pkgtorrent/")));
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn several_requests_at_once_use_several_connections_and_keep_them() {
    let file = content(SIZE);
    let served = file.clone();
    let server = Server::start(move |asked, wire| {
        thread::sleep(Duration::from_millis(50));
        wire.serve(asked, &served)
    });
    let (http, target) = (http(), server.url("/f"));
    for _ in 0..3 {
        let reads = (0..6).map(|n| read(&http, &target, SIZE, n * 1000..n * 1000 + 500));
        for (n, (result, bytes)) in futures_util::future::join_all(reads).await.into_iter().enumerate() {
            assert_eq!(result, Ok(WHOLE));
            assert!(bytes == file[n * 1000..n * 1000 + 500]);
        }
    }
    assert_eq!(server.connections(), 6);
}

#[tokio::test]
async fn a_server_that_ignores_ranges_is_listened_to_from_the_start() {
    for chunked in [false, true] {
        let file = content(SIZE);
        let served = file.clone();
        let server = answering(move |wire| {
            if !chunked {
                return wire.answer("200 OK", "", &served);
            }
            wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            for chunk in served.chunks(7777) {
                wire.send(format!("{:x}\r\n", chunk.len()));
                wire.send(chunk);
                wire.send("\r\n");
            }
            wire.send("0\r\n\r\n");
            Next::KeepOpen
        });
        let http = http();
        for range in [0..10, 60_000..60_001, 50_000..SIZE, 0..SIZE] {
            let (result, bytes) = read(&http, &server.url("/f"), SIZE, range.clone()).await;
            let report = result.expect("a range");
            assert_eq!((report.ranges_ignored, report.cancelled), (range != (0..SIZE), false), "{range:?}");
            assert!(bytes == file[range.clone()], "{range:?}: other bytes");
        }
        // An answer that was read to its end leaves its connection to the next; the others may, if little was left.
        assert!(server.connections() <= 3, "chunked: {chunked}, {} connections", server.connections());
    }
}

#[tokio::test]
async fn an_answer_that_is_not_the_range_is_refused() {
    let ten = "0123456789";
    let place = "Content-Range: bytes 10-19/100000\r\n";
    let partial = |headers: &str, body: &str| {
        format!("HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len())
    };
    let long = "x".repeat(99_999);
    for (answer, kind, reason) in [
        (partial("", ten), "refused", "no range"),
        (partial("Content-Range: bytes 10-19/99999\r\n", ten), "refused", "10-19/99999"),
        (partial("Content-Range: bytes 0-9/100000\r\n", ten), "refused", "0-9/100000"),
        (partial("Content-Range: bytes 10-18/100000\r\n", &ten[1..]), "refused", "10-18"),
        (partial("Content-Range: bytes 10-20/100000\r\n", "01234567890"), "refused", "10-20"),
        (partial("Content-Range: bytes */100000\r\n", ten), "refused", "*/100000"),
        (partial("Content-Range: items 10-19/100000\r\n", ten), "refused", "items"),
        (partial("Content-Type: multipart/byteranges; boundary=x\r\n", ten), "refused", "no range"),
        (partial(place, "012345678"), "refused", "the answer has 9 bytes and not 10"),
        (partial(place, "01234567890"), "refused", "the answer has 11 bytes and not 10"),
        (partial(&format!("{place}Content-Encoding: gzip\r\n"), ten), "refused", "content-encoding \"gzip\""),
        (
            format!(
                "HTTP/1.1 206 Partial Content\r\nTransfer-Encoding: gzip, chunked\r\n{place}\r\na\r\n{ten}\r\n0\r\n\r\n"
            ),
            "refused",
            "transfer-encoding",
        ),
        (
            format!(
                "HTTP/1.1 206 Partial Content\r\nTransfer-Encoding: chunked\r\n{place}\r\nb\r\n{ten}x\r\n0\r\n\r\n"
            ),
            "refused",
            "more than 10 bytes",
        ),
        (
            format!(
                "HTTP/1.1 206 Partial Content\r\nTransfer-Encoding: chunked\r\n{place}\r\na\r\n{ten}\r\n1\r\nx\r\n0\r\n\r\n"
            ),
            "refused",
            "more than 10 bytes",
        ),
        (
            format!("HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n{long}"),
            "refused",
            "99999 bytes and not 100000",
        ),
        (
            "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */7\r\nContent-Length: 0\r\n\r\n"
                .into(),
            "refused",
            "416",
        ),
        ("HTTP/1.1 204 No Content\r\n\r\n".into(), "refused", "204"),
        ("HTTP/1.1 304 Not Modified\r\n\r\n".into(), "refused", "304"),
        (
            "HTTP/1.1 403 Forbidden\r\nContent-Length: 7\r\n\r\nno way\n".into(),
            "refused",
            "403 Forbidden: \"no way\"",
        ),
        ("HTTP/1.1 412 Precondition Failed\r\nContent-Length: 0\r\n\r\n".into(), "refused", "412"),
        (
            "HTTP/1.1 404 Not Found\r\nContent-Length: 10\r\n\r\nnot found\n".into(),
            "missing",
            "404 Not Found: \"not found\"",
        ),
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 6\r\n\r\n<html>".into(), "missing", "404 Not Found"),
        ("HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n".into(), "missing", "410"),
        ("HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n".into(), "broken", "429"),
        ("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n".into(), "broken", "500"),
        ("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\n\x07\n".into(), "broken", "503"),
        ("SSH-2.0-OpenSSH_9.2\r\n".into(), "broken", "HTTP"),
        ("<html>an ancient answer</html>".into(), "broken", "HTTP"),
    ] {
        let sent = answer.clone();
        let server = answering(move |wire| {
            wire.send(&sent);
            Next::KeepOpen
        });
        let (found, text) = self::reason(&server).await;
        assert_eq!(found, kind, "{text}: {}", &answer[..answer.len().min(200)]);
        assert!(text.contains(reason), "{text}: {}", &answer[..answer.len().min(200)]);
        assert!(!text.chars().any(char::is_control), "{text:?}");
        assert!(!text.contains("<html>"), "a page says nothing in a log: {text}");
    }
}

#[tokio::test]
async fn a_part_is_not_taken_for_the_whole() {
    let server = answering(|wire| {
        let place = format!("Content-Range: bytes 0-{}/{SIZE}\r\n", SIZE - 1);
        wire.answer("206 Partial Content", &place, &content(SIZE))
    });
    let (result, bytes) = read(&http(), &server.url("/f"), SIZE, 0..SIZE).await;
    assert_eq!(kind(&result.expect_err("refused")), "refused");
    assert!(bytes.is_empty());
}

#[tokio::test]
async fn a_connection_that_closes_early_brings_what_it_had() {
    let endings = [
        format!("Content-Length: {SIZE}\r\n"),
        "Connection: close\r\n".to_owned(),
        "Transfer-Encoding: chunked\r\n".to_owned(),
    ];
    for headers in endings {
        for is_reset in [false, true] {
            let is_chunked = headers.contains("chunked");
            let head = format!("HTTP/1.1 200 OK\r\n{headers}\r\n");
            let server = answering(move |wire| {
                wire.send(&head);
                wire.send(if is_chunked { "3e8\r\n" } else { "" });
                wire.send(&content(SIZE)[..1000]);
                if is_reset {
                    // What was sent would be lost with the connection.
                    thread::sleep(Duration::from_millis(100));
                    return wire.reset();
                }
                Next::Close
            });
            let (result, bytes) = read(&http(), &server.url("/f"), SIZE, 0..SIZE).await;
            let error = result.expect_err("not whole");
            assert_eq!(kind(&error), "broken", "{error}");
            assert!(error.to_string().contains("closed early after 1000"), "{error}");
            assert!(bytes == content(SIZE)[..1000], "{} bytes", bytes.len());
        }
    }
}

#[tokio::test]
async fn silence_ends_within_the_time_limit_wherever_it_begins() {
    let beginnings = [
        "",
        "HTTP/1.1 206 Partial Con",
        "HTTP/1.1 206 Partial Content\r\nContent-Length: 10\r\n",
        "HTTP/1.1 206 Partial Content\r\nContent-Length: 10\r\nContent-Range: bytes 10-19/100000\r\n\r\n",
        "HTTP/1.1 206 Partial Content\r\nContent-Length: 10\r\nContent-Range: bytes 10-19/100000\r\n\r\n012345678",
        "HTTP/1.1 206 Partial Content\r\nTransfer-Encoding: chunked\r\nContent-Range: bytes 10-19/100000\r\n\r\na\r\n0123456789\r\n",
        "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 10\r\n\r\n",
    ];
    for beginning in beginnings {
        let server = answering(move |wire| {
            wire.send(beginning);
            wire.wait_for_hangup()
        });
        let started = Instant::now();
        let (kind, text) = reason(&server).await;
        assert_eq!(kind, "broken", "{text}");
        // The head is waited for at least as long as a connection.
        let limit = STALL.max(settings().connect_timeout) + Duration::from_millis(500);
        assert!(
            (STALL..limit).contains(&started.elapsed()),
            "{:?} for {beginning:?}: {text}",
            started.elapsed()
        );
    }
}

#[tokio::test]
async fn a_trickle_is_given_up_and_a_slow_server_is_not() {
    // A byte now and then, in the head and in the body: never silent for as long as the limit.
    for head in ["HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"] {
        let server = answering(move |wire| {
            wire.send(head);
            while wire.send("x") {
                thread::sleep(Duration::from_millis(20));
            }
            Next::Close
        });
        let started = Instant::now();
        let (result, _) = read(&http(), &server.url("/f"), SIZE, 0..SIZE).await;
        let error = result.expect_err("too slow");
        assert_eq!(kind(&error), "broken", "{error}");
        assert!(
            started.elapsed() < STALL * 2 + settings().connect_timeout,
            "{:?}: {error}",
            started.elapsed()
        );
    }
    // Twice the least rate, for several times the limit.
    let file = content(4000);
    let served = file.clone();
    let server = answering(move |wire| {
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n");
        for part in served.chunks(100) {
            wire.send(part);
            thread::sleep(Duration::from_millis(50));
        }
        Next::KeepOpen
    });
    let started = Instant::now();
    let (result, bytes) = read(&http(), &server.url("/f"), 4000, 0..4000).await;
    assert_eq!(result, Ok(WHOLE));
    assert!(bytes == file && started.elapsed() > STALL * 4);
}

#[tokio::test]
async fn the_time_that_the_receiver_takes_is_not_the_servers() {
    let size = 8 << 20;
    let file = content(size);
    let server = Server::start(move |asked, wire| wire.serve(asked, &file));
    let (sender, mut receiver) = mpsc::channel::<Bytes>(1);
    let request = RangeRequest { url: server.url("/f"), size: size as u64, range: 0..size as u64 };
    let http = http();
    let take = async {
        let mut len = 0;
        let mut pauses = 0;
        while let Some(bytes) = receiver.recv().await {
            len += bytes.len();
            if pauses < 3 {
                pauses += 1;
                tokio::time::sleep(STALL * 2).await;
            }
        }
        len
    };
    let (result, len) = tokio::join!(read_range(&http, request, sender), take);
    assert_eq!((result, len), (Ok(WHOLE), size));
}

#[tokio::test]
async fn when_nobody_wants_the_rest_the_connection_is_closed_at_once() {
    for beginning in ["", "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n0123456789"] {
        let hung_up = Arc::new(Mutex::new(None));
        let noted = Arc::clone(&hung_up);
        let server = answering(move |wire| {
            wire.send(beginning);
            let next = wire.wait_for_hangup();
            *noted.lock().expect("whole") = Some(Instant::now());
            next
        });
        // Long limits: it must not be them that end it.
        let mut settings = settings();
        settings.stall_timeout = Duration::from_secs(15);
        let http = Http::new(&settings).expect("a client");
        let (sender, mut receiver) = mpsc::channel(4);
        let request = RangeRequest { url: server.url("/f"), size: SIZE as u64, range: 0..SIZE as u64 };
        let drop_soon = async {
            if !beginning.is_empty() {
                receiver.recv().await.expect("some bytes");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            drop(receiver);
            Instant::now()
        };
        let (result, dropped) = tokio::join!(read_range(&http, request, sender), drop_soon);
        assert!(result.expect("no error").cancelled);
        assert!(dropped.elapsed() < Duration::from_millis(300), "{:?}", dropped.elapsed());
        let deadline = Instant::now() + Duration::from_secs(5);
        while hung_up.lock().expect("whole").is_none() {
            assert!(Instant::now() < deadline, "the server was not told");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test]
async fn redirects_are_followed_three_times_and_nowhere_else() {
    let elsewhere = Server::start(|asked, wire| wire.serve(asked, &content(SIZE)));
    let other = elsewhere.url("/f");
    let server = Server::start(move |asked, wire| {
        let to = |wire: &mut Wire<'_>, target: &str| {
            wire.answer("302 Found", &format!("Location: {target}\r\n"), b"moved")
        };
        match asked.target.as_str() {
            "/f" => wire.serve(asked, &content(SIZE)),
            "/1" => to(wire, "f"),
            "/2" => to(wire, "/1"),
            "/3" => to(wire, "/2"),
            "/4" => to(wire, "/3"),
            "/loop" => to(wire, "/loop"),
            "/user" => to(wire, &format!("http://me:pw@{}/f", asked.header("host").expect("a host"))),
            "/tls" => to(wire, &format!("https://{}/f", asked.header("host").expect("a host"))),
            "/nowhere" => wire.answer("302 Found", "", b""),
            _ => to(wire, other.as_str()),
        }
    });
    for path in ["/f", "/1", "/2", "/3"] {
        let (result, bytes) = read(&http(), &server.url(path), SIZE, 10..20).await;
        assert_eq!(result, Ok(WHOLE), "{path}");
        assert!(bytes == content(SIZE)[10..20]);
    }
    for path in ["/4", "/loop", "/user", "/tls", "/elsewhere", "/nowhere"] {
        let (result, bytes) = read(&http(), &server.url(path), SIZE, 10..20).await;
        let error = result.expect_err("refused");
        assert_eq!(kind(&error), "refused", "{path}: {error}");
        assert!(error.to_string().contains("302 Found: not redirected to"), "{path}: {error}");
        assert!(bytes.is_empty());
    }
    assert_eq!(server.asked().iter().filter(|asked| asked.target == "/loop").count(), 4);
    assert!(elsewhere.asked().is_empty());
}

#[tokio::test]
async fn a_head_without_end_is_given_up_before_it_fills_the_memory() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let server = answering(move |wire| {
        wire.send("HTTP/1.1 200 OK\r\n");
        let line = format!("X-More: {}\r\n", "y".repeat(8000));
        while wire.send(&line) {
            counted.fetch_add(line.len(), Ordering::SeqCst);
        }
        Next::Close
    });
    let started = Instant::now();
    let (kind, text) = reason(&server).await;
    assert_eq!(kind, "broken", "{text}");
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    // A good part of it is in the kernel's buffers.
    assert!(sent.load(Ordering::SeqCst) < 16 << 20, "{sent:?} bytes were taken");
}

#[tokio::test]
async fn who_cannot_be_reached_is_told_from_who_answers_badly() {
    let closed = TcpListener::bind("127.0.0.1:0").expect("binds").local_addr().expect("an address");
    for target in [format!("http://{closed}/f"), "http://no-such-host.invalid/f".into()] {
        let started = Instant::now();
        let (result, _) = read(&http(), &url(&target), SIZE, 10..20).await;
        let error = result.expect_err("nobody is there");
        assert_eq!(kind(&error), "unreachable", "{error}");
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}: {error}", started.elapsed());
    }
    // A listener whose queue is full drops packets, as firewalls do.
    let full = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None)
        .expect("a socket");
    rustix::net::bind(&full, &std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 0)).expect("binds");
    rustix::net::listen(&full, 0).expect("listens");
    let listener = TcpListener::from(full.as_fd().try_clone_to_owned().expect("a socket"));
    let address = listener.local_addr().expect("an address");
    let waiting: Vec<_> =
        (0..3).map(|_| std::net::TcpStream::connect_timeout(&address, Duration::from_millis(100))).collect();
    assert!(waiting.iter().any(Result::is_err), "the queue is not full");
    let started = Instant::now();
    let (result, _) = read(&http(), &url(&format!("http://{address}/f")), SIZE, 10..20).await;
    let error = result.expect_err("nobody answers");
    assert_eq!(kind(&error), "unreachable", "{error}");
    assert!(
        started.elapsed() < settings().connect_timeout + Duration::from_millis(400),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn only_the_wanted_version_of_the_internet_protocol_is_spoken() {
    let four = Server::start(|asked, wire| wire.serve(asked, &content(SIZE)));
    let six = Server::listen("[::1]:0", None, |asked, wire| wire.serve(asked, &content(SIZE)));
    for (ip_version, reaches_four, reaches_six) in
        [(IpVersion::Any, true, true), (IpVersion::V4, true, false), (IpVersion::V6, false, true)]
    {
        let http = Http::new(&crate::OriginSettings { ip_version, ..settings() }).expect("a client");
        let named = url(&format!("http://localhost:{}/f", four.address().port()));
        for (target, is_reached) in
            [(four.url("/f"), reaches_four), (named, reaches_four), (six.url("/f"), reaches_six)]
        {
            let (result, bytes) = read(&http, &target, SIZE, 10..20).await;
            match result {
                Ok(_) => assert!(is_reached && bytes == content(SIZE)[10..20], "{target} by {ip_version:?}"),
                Err(error) => {
                    assert!(!is_reached, "{ip_version:?}: {error}");
                    assert_eq!(kind(&error), "unreachable", "{error}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_range_that_the_file_does_not_have_is_not_asked_for() {
    let server = answering(|wire| wire.answer("200 OK", "", b""));
    for (size, range) in [(0, 0..0), (10, 5..5), (10, 5..11), (10, 10..11)] {
        let (result, bytes) = read(&http(), &server.url("/f"), size, range).await;
        assert_eq!(kind(&result.expect_err("nothing to ask for")), "refused");
        assert!(bytes.is_empty());
    }
    assert!(server.asked().is_empty());
}
