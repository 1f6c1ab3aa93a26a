//! Putting packages into place while others still arrive.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use pkgtorrent_protocol::control::{FetchPackage, Sources};
use pkgtorrent_protocol::socket::{PASSED_MAX, Request};

use super::report::Report;
use crate::control::client::Sender;
use crate::place::place;

/// Threads that place: copying and hashing keep a core busy, and the package manager waits for nothing else.
const THREADS: usize = 2;

/// A package that the agent passed.
pub(super) struct Passed {
    pub(super) want: usize,
    pub(super) index: usize,
    pub(super) package: FetchPackage,
    pub(super) from: Sources,
    pub(super) file: File,
}

/// The threads that place.
pub(super) struct Placing {
    queue: SyncSender<Passed>,
    threads: Vec<JoinHandle<()>>,
}

impl Placing {
    pub(super) fn start(agent: &Sender, report: &Arc<Report>) -> std::io::Result<Self> {
        // As many as the agent passes before it hears of the first.
        let (queue, passed) = sync_channel(PASSED_MAX);
        let passed = Arc::new(Mutex::new(passed));
        let threads = (0..THREADS).map(|_| {
            let (passed, agent, report) = (Arc::clone(&passed), agent.clone(), Arc::clone(report));
            std::thread::Builder::new().name("place".into()).spawn(move || work(&passed, &agent, &report))
        });
        Ok(Self { queue, threads: threads.collect::<Result<_, _>>()? })
    }

    /// Has a package placed.
    pub(super) fn place(&self, passed: Passed) {
        // It fails only when all threads are gone, and then the packages that were not reported are failed at the end.
        let _ = self.queue.send(passed);
    }

    /// Waits until everything is placed.
    pub(super) fn finish(self) {
        drop(self.queue);
        for thread in self.threads {
            let _ = thread.join();
        }
    }
}

fn work(passed: &Mutex<Receiver<Passed>>, agent: &Sender, report: &Report) {
    loop {
        let next = passed.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(passed) = next else { return };
        let want = passed.want;
        // A bug in placing costs a package, not the transaction.
        let answer = catch_unwind(AssertUnwindSafe(|| place_one(&passed, report))).unwrap_or_else(|_| {
            let reason = "placing it failed in an unexpected way";
            report.failed(passed.index, reason);
            Request::Taken { index: want, failed: Some(reason.into()) }
        });
        drop(passed);
        // When the agent is gone, whoever reads its answers sees that as well.
        let _ = agent.send(&answer);
    }
}

/// Places one package, reports it, and gives what the agent is to be told.
fn place_one(passed: &Passed, report: &Report) -> Request {
    let Passed { want, index, package, from, file } = passed;
    match place(file, Path::new(&package.dest), &package.digest, package.size) {
        Ok(_) => {
            report.placed(*index, *from);
            Request::Taken { index: *want, failed: None }
        }
        // The agent fetches it once more, or says that it failed.
        Err(error) if error.is_the_sources() => Request::Rejected { index: *want },
        Err(error) => {
            report.failed(*index, &error.to_string());
            Request::Taken { index: *want, failed: Some(error.without_place()) }
        }
    }
}
