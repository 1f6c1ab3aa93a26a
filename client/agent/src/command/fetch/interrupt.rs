//! Ending on Ctrl-C without leaving anything behind.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal, raise};

use crate::place::remove_temporaries;

/// The signals by which a person or a program ends this one.
const SIGNALS: [Signal; 3] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM];

/// How often a directory is removed in which the rest of this process may still be making files.
const ATTEMPTS_MAX: usize = 20;

/// How long it is left alone in between.
const PAUSE: Duration = Duration::from_millis(5);

/// From now on a signal that ends this process first removes what is not in place yet, and `directory` with everything
/// in it. Call it before there is a second thread: those that start later leave the signals to this one's.
pub(super) fn clean_up_first(directory: Option<PathBuf>) {
    let ignored = ignored_signals();
    let mut signals = SigSet::empty();
    // What whoever started us had us ignore stays ignored.
    for signal in SIGNALS.into_iter().filter(|signal| ignored & (1 << (*signal as i32 - 1)) == 0) {
        signals.add(signal);
    }
    // Without this they end the process all the same.
    if signals.thread_block().is_err() {
        return;
    }
    let waiting = move || {
        let Ok(signal) = signals.wait() else { return };
        remove_temporaries();
        if let Some(directory) = directory {
            remove(&directory);
        }
        let _ = signals.thread_unblock();
        let _ = raise(signal);
    };
    if std::thread::Builder::new().name("signals".into()).spawn(waiting).is_err() {
        let _ = signals.thread_unblock();
    }
}

fn remove(directory: &Path) {
    for _ in 0..ATTEMPTS_MAX {
        let _ = std::fs::remove_dir_all(directory);
        if !directory.exists() {
            return;
        }
        std::thread::sleep(PAUSE);
    }
}

/// The signals that are ignored, the first one's in the lowest bit.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
