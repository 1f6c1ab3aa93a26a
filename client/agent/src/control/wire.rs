//! Framing on the agent's socket: JSON lines, some of which an open file goes along with.
//!
//! A file travels with the first bytes of the line that it belongs to, so it is here at the latest when the line is
//! whole, and files arrive in the order of their lines. Where in the bytes a file was sent is not told, so what decides
//! which line a file belongs to is the line itself: see [`Message::carries_file`].

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use pkgtorrent_protocol::set::SET_PACKAGES_MAX;
use pkgtorrent_protocol::socket::{Answer, LINE_LEN_MAX, Request};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// How many bytes are asked of the socket at once: a socket's buffer holds some 200 KiB.
const RECEIVE_LEN: usize = 64 << 10;

/// A buffer that grew beyond this for one long line is given back once it is empty.
const BUFFER_LEN_KEPT: usize = 4 * RECEIVE_LEN;

/// How many received files may wait for their lines. A call of [`receive`] brings one file of an honest sender, so
/// whoever takes all whole lines between two calls never has more than two.
pub const FILES_QUEUED_MAX: usize = 8;

/// How many values a line has at most: eight for each package of the largest set, which takes five. A line is taken
/// apart before it is known what it says, and each of its values, however short, takes up to 150 bytes then.
const VALUES_MAX: usize = SET_PACKAGES_MAX * 8;

/// How much of a line that was not understood an error repeats.
const QUOTED_CHARS_MAX: usize = 80;

/// What is wrong with what the other side sent.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// A line has no end.
    #[error("a line is longer than {LINE_LEN_MAX} bytes")]
    LineTooLong,
    /// A line would take far more memory than its own length.
    #[error("a line has more than {VALUES_MAX} values")]
    TooManyValues,
    /// More files came than lines that they could belong to.
    #[error("more than {FILES_QUEUED_MAX} files came without a line that they belong to")]
    TooManyFiles,
    /// A line speaks of a file that did not come.
    #[error("a line came without the file that belongs to it")]
    FileMissing,
    /// A line is not what this side understands.
    #[error("not understood: {line:?}: {source}")]
    NotUnderstood {
        /// Its beginning.
        line: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl From<WireError> for io::Error {
    fn from(error: WireError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

/// One line's content.
pub trait Message: DeserializeOwned {
    /// Whether an open file goes along with it.
    fn carries_file(&self) -> bool;
}

impl Message for Answer {
    fn carries_file(&self) -> bool {
        matches!(self, Self::Whole { .. })
    }
}

impl Message for Request {
    fn carries_file(&self) -> bool {
        matches!(self, Self::Add { .. })
    }
}

/// What arrived and was not taken yet.
#[derive(Debug, Default)]
pub struct Lines {
    bytes: Vec<u8>,
    /// Where the first line that was not taken begins.
    begin: usize,
    /// Up to where there is known to be no line's end.
    searched: usize,
    files: VecDeque<OwnedFd>,
}

impl Lines {
    /// Nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds what arrived. Files beyond [`FILES_QUEUED_MAX`] are closed, which is an error that ends the connection.
    pub fn push(&mut self, bytes: &[u8], files: impl IntoIterator<Item = OwnedFd>) -> Result<(), WireError> {
        self.drop_taken();
        self.bytes.extend_from_slice(bytes);
        self.push_files(files)
    }

    /// The next whole line, with its file if it carries one; `None` when more has to arrive first.
    #[expect(
        clippy::should_implement_trait,
        reason = "what comes next depends on the type that is asked for"
    )]
    pub fn next<M: Message>(&mut self) -> Result<Option<(M, Option<OwnedFd>)>, WireError> {
        let Some(ahead) = self.bytes[self.searched..].iter().position(|byte| *byte == b'\n') else {
            self.searched = self.bytes.len();
            return if self.searched - self.begin > LINE_LEN_MAX {
                Err(WireError::LineTooLong)
            } else {
                Ok(None)
            };
        };
        let end = self.searched + ahead;
        let line = &self.bytes[self.begin..end];
        if line.len() > LINE_LEN_MAX {
            return Err(WireError::LineTooLong);
        }
        // Every value but the first begins behind one of these. In texts they count too; names have few.
        if line.iter().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count() > VALUES_MAX {
            return Err(WireError::TooManyValues);
        }
        let message = serde_json::from_slice::<M>(line).map_err(|source| WireError::NotUnderstood {
            line: String::from_utf8_lossy(line).chars().take(QUOTED_CHARS_MAX).collect(),
            source,
        });
        self.begin = end + 1;
        self.searched = self.begin;
        let message = message?;
        let file = match message.carries_file() {
            true => Some(self.files.pop_front().ok_or(WireError::FileMissing)?),
            false => None,
        };
        Ok(Some((message, file)))
    }

    /// Whether part of a line is here.
    #[must_use]
    pub fn is_amid_line(&self) -> bool {
        self.begin < self.bytes.len()
    }

    fn push_files(&mut self, files: impl IntoIterator<Item = OwnedFd>) -> Result<(), WireError> {
        for file in files {
            if self.files.len() == FILES_QUEUED_MAX {
                return Err(WireError::TooManyFiles);
            }
            self.files.push_back(file);
        }
        Ok(())
    }

    fn drop_taken(&mut self) {
        if self.begin == self.bytes.len() && self.bytes.capacity() > BUFFER_LEN_KEPT {
            self.bytes = Vec::new();
        } else {
            self.bytes.drain(..self.begin);
        }
        self.searched -= self.begin;
        self.begin = 0;
    }
}

/// Takes what the socket has, up to a bounded number of bytes. Zero means that the other side said its last. Call
/// [`Lines::next`] until it has nothing before calling this again: that is what bounds the buffer.
pub fn receive(socket: impl AsFd, lines: &mut Lines) -> io::Result<usize> {
    lines.drop_taken();
    let filled = lines.bytes.len();
    lines.bytes.resize(filled + RECEIVE_LEN, 0);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut buffers = [IoSliceMut::new(&mut lines.bytes[filled..])];
        match rustix::net::recvmsg(&socket, &mut buffers, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other,
        }
    };
    let length = received.as_ref().map_or(0, |message| message.bytes);
    lines.bytes.truncate(filled + length);
    let flags = received?.flags;
    let files = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(files) => Some(files),
        _ => None,
    });
    lines.push_files(files.flatten())?;
    // The kernel closed a file: there were several, or this process may not open one more.
    if flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::Error::other("a file that came along could not be taken"));
    }
    Ok(length)
}

/// Sends the beginning of `bytes`, as much as the socket takes, and the file with it. What is left must be sent without
/// the file.
pub fn send(socket: impl AsFd, bytes: &[u8], file: Option<BorrowedFd<'_>>) -> io::Result<usize> {
    let files: &[BorrowedFd<'_>] = file.as_slice();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() && !control.push(SendAncillaryMessage::ScmRights(files)) {
        return Err(io::Error::other("no space for a file"));
    }
    loop {
        match rustix::net::sendmsg(&socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL) {
            Err(rustix::io::Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

/// Sends all of `bytes` over a blocking socket, and the file with it.
pub fn send_all(socket: impl AsFd, bytes: &[u8], file: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut sent = send(&socket, bytes, file)?;
    while sent < bytes.len() {
        match send(&socket, &bytes[sent..], None)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            more => sent += more,
        }
    }
    Ok(())
}

/// A message as a line.
pub fn encode(message: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Seek, Write};
    use std::os::unix::net::UnixStream;

    use pkgtorrent_protocol::control::Sources;
    use pkgtorrent_protocol::socket::Want;
    use pkgtorrent_protocol::{Algorithm, PackageDigest};

    use super::*;

    fn file_with(content: &str) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content.as_bytes()).unwrap();
        file
    }

    fn content_of(file: OwnedFd) -> String {
        let mut file = File::from(file);
        file.rewind().unwrap();
        let mut content = String::new();
        file.read_to_string(&mut content).unwrap();
        content
    }

    fn whole(index: usize) -> Answer {
        Answer::Whole { index, from: Sources::default() }
    }

    #[test]
    fn lines_and_their_files_arrive_in_order() {
        let (here, there) = UnixStream::pair().unwrap();
        for (answer, content) in [
            (Answer::Alive, None),
            (whole(0), Some("zero")),
            (Answer::Progress { index: 5, done: 6 }, None),
            (whole(1), Some("one")),
            (Answer::End, None),
        ] {
            let file = content.map(file_with);
            send_all(&here, &encode(&answer).unwrap(), file.as_ref().map(AsFd::as_fd)).unwrap();
        }
        drop(here);
        let mut lines = Lines::new();
        let mut taken = Vec::new();
        while receive(&there, &mut lines).unwrap() > 0 {
            while let Some((answer, file)) = lines.next::<Answer>().unwrap() {
                taken.push((answer, file.map(content_of)));
            }
        }
        let expected = [
            (Answer::Alive, None),
            (whole(0), Some("zero".to_owned())),
            (Answer::Progress { index: 5, done: 6 }, None),
            (whole(1), Some("one".to_owned())),
            (Answer::End, None),
        ];
        assert_eq!(taken, expected);
        assert!(!lines.is_amid_line());
    }

    #[test]
    fn a_received_file_is_not_inherited_by_programs_that_are_started() {
        let (here, there) = UnixStream::pair().unwrap();
        send_all(&here, &encode(&whole(0)).unwrap(), Some(file_with("x").as_fd())).unwrap();
        let mut lines = Lines::new();
        receive(&there, &mut lines).unwrap();
        let (_, file) = lines.next::<Answer>().unwrap().unwrap();
        let flags = rustix::io::fcntl_getfd(file.unwrap()).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    }

    #[test]
    fn a_line_is_taken_once_its_end_is_here() {
        let mut lines = Lines::new();
        let bytes = encode(&Answer::Alive).unwrap();
        for byte in &bytes[..bytes.len() - 1] {
            lines.push(&[*byte], None).unwrap();
            assert!(lines.next::<Answer>().unwrap().is_none());
            assert!(lines.is_amid_line());
        }
        lines.push(b"\n", None).unwrap();
        assert_eq!(lines.next::<Answer>().unwrap().unwrap().0, Answer::Alive);
        assert!(lines.next::<Answer>().unwrap().is_none());
    }

    #[test]
    fn a_long_line_passes_and_its_memory_is_given_back() {
        let (here, there) = UnixStream::pair().unwrap();
        let long = Answer::Refused { reason: "x".repeat(3 << 20) };
        let bytes = encode(&long).unwrap();
        let sender = std::thread::spawn(move || send_all(&here, &bytes, None));
        let mut lines = Lines::new();
        let answer = loop {
            assert!(receive(&there, &mut lines).unwrap() > 0);
            if let Some((answer, _)) = lines.next::<Answer>().unwrap() {
                break answer;
            }
        };
        sender.join().unwrap().unwrap();
        assert_eq!(answer, long);
        lines.push(b"{", None).unwrap();
        assert!(lines.bytes.capacity() <= BUFFER_LEN_KEPT);
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let mut lines = Lines::new();
        lines.push(&vec![b' '; LINE_LEN_MAX], None).unwrap();
        assert!(lines.next::<Answer>().unwrap().is_none());
        lines.push(b"  ", None).unwrap();
        assert!(matches!(lines.next::<Answer>(), Err(WireError::LineTooLong)));
    }

    #[test]
    fn the_largest_set_passes_and_a_line_of_more_values_is_refused() {
        let want = Want {
            digest: PackageDigest::new(Algorithm::Sha512, &[7; 64]).unwrap(),
            size: u64::MAX,
            service: 0,
            name: "a-name,-of-[some]-length-1.2.3-4.x86_64.rpm".to_owned(),
        };
        let wants = vec![want; SET_PACKAGES_MAX];
        let fetch = Request::Fetch { services: vec!["http://mirror".to_owned()], wants, needs: Vec::new() };
        let mut lines = Lines::new();
        lines.push(&encode(&fetch).unwrap(), None).unwrap();
        assert_eq!(lines.next::<Request>().unwrap().unwrap().0, fetch);
        let nested = format!("{{\"type\":\"fetch\",\"wants\":[{}]}}\n", ["[0]"; VALUES_MAX / 2].join(","));
        lines.push(nested.as_bytes(), None).unwrap();
        assert!(matches!(lines.next::<Request>(), Err(WireError::TooManyValues)));
    }

    #[test]
    fn files_that_belong_to_no_line_are_closed_and_end_the_connection() {
        let mut lines = Lines::new();
        let file = || OwnedFd::from(file_with(""));
        lines.push(b"", (0..FILES_QUEUED_MAX).map(|_| file())).unwrap();
        let (inside, outside) = UnixStream::pair().unwrap();
        assert!(matches!(lines.push(b"", [OwnedFd::from(inside)]), Err(WireError::TooManyFiles)));
        assert_eq!((&outside).read(&mut [0]).unwrap(), 0, "the end that was refused is closed");
    }

    #[test]
    fn a_line_whose_file_did_not_come_is_refused() {
        let mut lines = Lines::new();
        lines.push(&encode(&Request::Add { index: 0, digest: None }).unwrap(), None).unwrap();
        assert!(matches!(lines.next::<Request>(), Err(WireError::FileMissing)));
    }

    #[test]
    fn what_is_not_understood_is_quoted_in_part() {
        let mut lines = Lines::new();
        lines.push(format!("{}\n", "é".repeat(1000)).as_bytes(), None).unwrap();
        let error = lines.next::<Answer>().expect_err("garbage").to_string();
        assert!(error.contains("éé") && error.len() < 400, "{error}");
        assert!(lines.next::<Answer>().unwrap().is_none(), "the line is over");
    }
}
