//! Seeing the root change: inotify says that something happened, a scan finds out what, a slow rescan is the net below.

use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::metering;

use inotify::{Inotify, WatchMask};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::scan::Scan;
use super::{Catalog, Scanner};

/// A change is looked at once nothing more has happened for this long.
const QUIET_FOR: Duration = Duration::from_millis(200);

/// Under endless change, a scan starts at the latest this long after the first of it.
const BUSY_FOR_MAX: Duration = Duration::from_secs(1);

/// Scans take at most a fifth of one core's time, however busy the root is. Reading packages that are new is not meant:
/// after an hour of that, nobody should wait four more for what came meanwhile.
const REST_PER_SCAN: u32 = 4;

/// When something was in motion, the next look comes after this long.
const UNSETTLED_AFTER: Duration = Duration::from_secs(1);

/// How soon an end is noticed.
const END_NOTICED_WITHIN: Duration = Duration::from_millis(500);

/// Scans until `end` is set, and hands every new catalog to `publish`.
pub(crate) fn watch(
    mut scanner: Scanner,
    rescan_interval: Duration,
    end: &AtomicBool,
    mut publish: impl FnMut(Arc<Catalog>),
) {
    let mut watcher = Watcher::new();
    while !end.load(Ordering::Relaxed) {
        let started = Instant::now();
        let scan = catch_unwind(AssertUnwindSafe(|| scanner.scan(|directory| watcher.add(directory))));
        // What it knew is still right, and what it missed it looks at again: a mistake of ours must not end the watch.
        let scan = scan.unwrap_or_else(|_| {
            tracing::error!("a scan panicked; what it would have found stays unknown");
            Scan { catalog: None, unsettled: false, reading: Duration::ZERO }
        });
        let took = started.elapsed();
        metering::SCANS.add(1);
        metering::SCAN_SECONDS.set(took.as_secs_f64());
        if let Some(catalog) = scan.catalog {
            publish(Arc::new(catalog));
        }
        rest(took.saturating_sub(scan.reading) * REST_PER_SCAN, end);
        watcher.wait(if scan.unsettled { UNSETTLED_AFTER } else { rescan_interval }, end);
    }
}

fn rest(length: Duration, end: &AtomicBool) {
    let until = Instant::now() + length;
    while !end.load(Ordering::Relaxed) {
        match until.checked_duration_since(Instant::now()) {
            Some(left) => std::thread::sleep(left.min(END_NOTICED_WITHIN)),
            None => return,
        }
    }
}

/// Inotify on every directory of the last walk; without it, only time passes.
struct Watcher {
    inotify: Option<Inotify>,
    complained: bool,
}

impl Watcher {
    fn new() -> Self {
        let inotify = Inotify::init()
            .inspect_err(|e| tracing::warn!("changes are seen by the slow rescan only: inotify: {e}"))
            .ok();
        Self { inotify, complained: false }
    }

    /// Watches a directory. One that is watched already stays so, and a new one of the same name is another.
    fn add(&mut self, directory: &Path) {
        let mask = WatchMask::CREATE
            | WatchMask::CLOSE_WRITE
            | WatchMask::MOVED_FROM
            | WatchMask::MOVED_TO
            | WatchMask::DELETE
            | WatchMask::ATTRIB
            | WatchMask::MOVE_SELF
            | WatchMask::DELETE_SELF
            | WatchMask::ONLYDIR
            | WatchMask::EXCL_UNLINK;
        let Some(inotify) = &self.inotify else { return };
        match inotify.watches().add(directory, mask) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) if !self.complained => {
                self.complained = true;
                tracing::warn!(
                    "{}: changes here are seen by the slow rescan only (fs.inotify.max_user_watches?): {error}",
                    directory.display()
                );
            }
            Err(_) => {}
        }
    }

    /// Returns after `at_most`, or when something has changed and is quiet again, or at the end.
    fn wait(&mut self, at_most: Duration, end: &AtomicBool) {
        let until = Instant::now() + at_most;
        while !end.load(Ordering::Relaxed) {
            let Some(left) = until.checked_duration_since(Instant::now()) else {
                return;
            };
            if self.changed_within(left.min(END_NOTICED_WITHIN)) {
                let busy_until = Instant::now() + BUSY_FOR_MAX;
                while Instant::now() < busy_until && self.changed_within(QUIET_FOR) {}
                return;
            }
        }
    }

    /// Waits for an event and takes all that have come; which ones they are does not matter.
    fn changed_within(&mut self, timeout: Duration) -> bool {
        let Some(inotify) = &mut self.inotify else {
            std::thread::sleep(timeout);
            return false;
        };
        let timeout = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: timeout.subsec_nanos().into() };
        let fd = inotify.as_fd();
        let mut fds = [PollFd::new(&fd, PollFlags::IN)];
        if !matches!(poll(&mut fds, Some(&timeout)), Ok(1..)) {
            return false;
        }
        let mut buffer = [0; 16 << 10];
        let mut changed = false;
        while let Ok(events) = inotify.read_events(&mut buffer) {
            changed |= events.count() > 0;
        }
        changed
    }
}
