//! Where the agent's messages go: to standard error, and in a detached agent to a file of limited length.
//!
//! Anybody on the machine can cause messages, by asking although they may not. So the limit holds at any time, and not
//! only when an agent starts.

use std::fs::File;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::files::{LOG_LEN_MAX, StateDir};

/// The log that standard error has become, if it has.
static KEPT: OnceLock<Kept> = OnceLock::new();

struct Kept {
    directory: Arc<StateDir>,
    /// The file's length.
    len: Mutex<u64>,
}

/// Makes this file, which is the directory's log, the standard error for good.
pub fn keep(log: &File, directory: &Arc<StateDir>) -> io::Result<()> {
    rustix::stdio::dup2_stderr(log)?;
    let kept = Kept { directory: Arc::clone(directory), len: Mutex::new(log.metadata()?.len()) };
    // A process keeps one log.
    let _ = KEPT.set(kept);
    Ok(())
}

/// What messages are written to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Messages;

impl Write for Messages {
    fn write(&mut self, message: &[u8]) -> io::Result<usize> {
        match KEPT.get() {
            Some(kept) => kept.write(message),
            None => io::stderr().write(message),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Kept {
    fn write(&self, message: &[u8]) -> io::Result<usize> {
        let mut len = self.len.lock().unwrap_or_else(PoisonError::into_inner);
        if *len > LOG_LEN_MAX {
            // Without a new file there is no message: the old one has its length.
            let log = self.directory.open_log()?;
            rustix::stdio::dup2_stderr(&log)?;
            *len = log.metadata()?.len();
        }
        let written = io::stderr().write(message)?;
        *len += written as u64;
        Ok(written)
    }
}
