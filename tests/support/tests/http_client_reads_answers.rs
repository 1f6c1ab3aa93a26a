//! The HTTP client against a foreign server, and against answers that no good server gives.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Command;
use std::time::Duration;

use pkgtorrent_test_support::http::{self, Connection, Request};
use pkgtorrent_test_support::process::{self, Program};

#[test]
fn a_foreign_server_is_understood() {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("file"), b"0123456789").expect("a file");
    let port = process::free_port();
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-m", "http.server", "--protocol", "HTTP/1.1", "--bind", "127.0.0.1", &port.to_string()]);
    command.current_dir(directory.path());
    let log = tempfile::NamedTempFile::new().expect("a log");
    let _server = Program::start(&mut command, log.path());
    let server = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut connection = process::wait_for("python3 -m http.server", Duration::from_secs(10), || {
        Connection::open(server).ok()
    });
    // One connection, several answers.
    let head = connection.send(&Request::head("/file")).expect("an answer").expect_status(200);
    assert_eq!((head.header("CONTENT-length"), head.body.len()), (Some("10"), 0));
    assert_eq!(connection.send(&Request::get("/file")).expect("an answer").body, b"0123456789");
    assert_eq!(connection.send(&Request::get("/none")).expect("an answer").status, 404);
    assert_eq!(http::get(server, "/file").text(), "0123456789");
}

#[test]
fn chunks_are_joined_and_a_cut_body_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let server = listener.local_addr().expect("its address");
    let answers: [&[u8]; 2] = [
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1;x=y\r\nd\r\n0\r\nT: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
    ];
    let thread = std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut request = [0; 1024];
            let len = stream.read(&mut request).expect("a request");
            assert!(request[..len].starts_with(b"GET /x HTTP/1.1\r\nHost: 127.0.0.1:"));
            stream.write_all(answer).expect("an answer");
        }
    });
    assert_eq!(http::get(server, "/x").expect_status(200).text(), "abcd");
    let mut connection = Connection::open(server).expect("a connection");
    let error = connection.send(&Request::get("/x")).expect_err("the body is cut");
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    thread.join().expect("the server's thread");
}
