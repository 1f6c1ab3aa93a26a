//! A client that costs as little as a client can: it reads into one buffer and looks only at the head.
//!
//! It is the same for both servers, so that what differs between two measurements is the server.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

/// Large enough that a read costs little beside the copy, small enough to stay in the processor's cache.
const BUFFER_LEN: usize = 256 << 10;

/// A connection that stays quiet for so long is stuck.
const IO_TIMEOUT: Duration = Duration::from_secs(30);

/// A part of a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Range {
    /// Its first byte.
    pub(crate) start: u64,
    /// Its length.
    pub(crate) len: u64,
}

/// One keep-alive connection.
pub(crate) struct Transfer {
    stream: TcpStream,
    host: SocketAddr,
    buffer: Vec<u8>,
}

impl Transfer {
    /// Connects.
    pub(crate) fn open(server: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(server).with_context(|| format!("connecting to {server}"))?;
        stream.set_read_timeout(Some(IO_TIMEOUT))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, host: server, buffer: vec![0; BUFFER_LEN] })
    }

    /// Fetches a file or a part of it and drops what comes; the status and the length must be right.
    pub(crate) fn fetch(
        &mut self,
        path: &str,
        range: Option<Range>,
        expected_len: u64,
    ) -> anyhow::Result<()> {
        let mut request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n", self.host);
        if let Some(Range { start, len }) = range {
            request.push_str(&format!("Range: bytes={start}-{}\r\n", start + len - 1));
        }
        request.push_str("\r\n");
        self.stream.write_all(request.as_bytes()).context("sending a request")?;
        let status = if range.is_some() { "206" } else { "200" };
        let mut left = expected_len
            .checked_sub(self.read_head(status, expected_len).with_context(|| path.to_owned())?)
            .context("the server sent more than was asked for")?;
        while left > 0 {
            let want = left.min(BUFFER_LEN as u64) as usize;
            left -= self.read_some(0, want)? as u64;
        }
        Ok(())
    }

    /// Reads the head and returns how much of the body came with it.
    fn read_head(&mut self, status: &str, expected_len: u64) -> anyhow::Result<u64> {
        let mut filled = 0;
        let end = loop {
            filled += self.read_some(filled, BUFFER_LEN)?;
            if let Some(end) = self.buffer[..filled].windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
        };
        let head = std::str::from_utf8(&self.buffer[..end]).context("the head is not text")?;
        ensure!(head.split(' ').nth(1) == Some(status), "not {status}: {head:?}");
        let len = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<u64>().ok())?
        });
        ensure!(len == Some(expected_len), "the length is not {expected_len}: {head:?}");
        Ok((filled - end - 4) as u64)
    }

    fn read_some(&mut self, from: usize, to: usize) -> anyhow::Result<usize> {
        loop {
            match self.stream.read(&mut self.buffer[from..to]) {
                Ok(0) => bail!("the server closed the connection"),
                Ok(read) => return Ok(read),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e).context("reading an answer"),
            }
        }
    }
}

/// Runs `work` on so many connections at once and returns the time from the first's start to the last's end, with what
/// each returned. The connections are open before the clock runs.
pub(crate) fn at_once<T: Send>(
    server: SocketAddr,
    connections: usize,
    work: impl Fn(usize, &mut Transfer) -> anyhow::Result<T> + Sync,
) -> anyhow::Result<(Duration, Vec<T>)> {
    let mut transfers =
        (0..connections).map(|_| Transfer::open(server)).collect::<anyhow::Result<Vec<_>>>()?;
    let barrier = Barrier::new(connections + 1);
    std::thread::scope(|scope| {
        let threads: Vec<_> = transfers
            .iter_mut()
            .enumerate()
            .map(|(number, transfer)| {
                let (barrier, work) = (&barrier, &work);
                scope.spawn(move || {
                    barrier.wait();
                    work(number, transfer)
                })
            })
            .collect();
        barrier.wait();
        let start = Instant::now();
        let results = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        let results = results.collect::<anyhow::Result<Vec<T>>>()?;
        Ok((start.elapsed(), results))
    })
}
