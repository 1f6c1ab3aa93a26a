//! How sockets to peers are set up.

use std::io;
use std::os::fd::AsRawFd;

use tokio::net::TcpStream;

/// How many bytes the kernel may have that it has not sent yet: two blocks for each of the slots that the swarm sends
/// in. What it does not have can still be cancelled, and is not sent late on a slow line.
const UNSENT_MAX: libc::c_int = 128 << 10;

/// Small messages go at once, and what waits to be sent waits with us.
pub(super) fn set_up(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    limit_unsent(stream)
}

#[expect(unsafe_code, reason = "no safe wrapper among the dependencies has this option")]
fn limit_unsent(stream: &TcpStream) -> io::Result<()> {
    let value = UNSENT_MAX;
    let len = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the descriptor is open while it is borrowed; the pointer and length are those of a living integer.
    let result = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_NOTSENT_LOWAT,
            (&raw const value).cast(),
            len,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
