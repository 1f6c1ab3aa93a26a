//! What the shim is told.

use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pkgtorrent_protocol::control::{FetchEvent, Sources};

use crate::args::EventForm;

/// The events of one run. It can be told from any thread; every package has one last event.
pub(super) struct Report {
    // The lock keeps lines whole and counts right; nothing waits while it is held but for the shim to read.
    state: Mutex<State>,
}

struct State {
    is_over: Vec<bool>,
    placed: usize,
    failed: usize,
    bytes: Sources,
    form: EventForm,
    output: Box<dyn Write + Send>,
    /// Whether anybody still reads what is written.
    is_read: bool,
}

impl Report {
    /// A report on so many packages, to standard output.
    pub(super) fn new(packages: usize, form: EventForm) -> Self {
        Self::to(packages, form, Box::new(io::stdout()))
    }

    fn to(packages: usize, form: EventForm, output: Box<dyn Write + Send>) -> Self {
        let state = State {
            is_over: vec![false; packages],
            placed: 0,
            failed: 0,
            bytes: Sources::default(),
            form,
            output,
            is_read: true,
        };
        Self { state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a package has had its last event.
    pub(super) fn is_over(&self, index: usize) -> bool {
        self.state().is_over[index]
    }

    /// Whether the shim is still there.
    pub(super) fn is_read(&self) -> bool {
        self.state().is_read
    }

    pub(super) fn progress(&self, index: usize, done: u64) {
        let mut state = self.state();
        if !state.is_over[index] {
            state.say(&FetchEvent::Progress { index, done });
        }
    }

    pub(super) fn waiting(&self, index: usize, reason: String) {
        let mut state = self.state();
        if !state.is_over[index] {
            state.say(&FetchEvent::Waiting { index, reason });
        }
    }

    pub(super) fn placed(&self, index: usize, from: Sources) {
        let mut state = self.state();
        if state.end(index) {
            state.placed += 1;
            state.bytes.peers += from.peers;
            state.bytes.origin += from.origin;
            state.bytes.store += from.store;
            state.say(&FetchEvent::Placed { index, from });
        }
    }

    pub(super) fn failed(&self, index: usize, reason: &str) {
        let mut state = self.state();
        if state.end(index) {
            state.failed += 1;
            state.say(&FetchEvent::Failed { index, reason: reason.to_owned() });
        }
    }

    /// The last event. True if all packages are in place.
    pub(super) fn done(&self) -> bool {
        let mut state = self.state();
        let done = FetchEvent::Done { placed: state.placed, failed: state.failed, bytes: state.bytes };
        state.say(&done);
        state.placed == state.is_over.len()
    }
}

impl State {
    /// Notes a package's last event; false if it had one.
    fn end(&mut self, index: usize) -> bool {
        !std::mem::replace(&mut self.is_over[index], true)
    }

    fn say(&mut self, event: &FetchEvent) {
        let mut line = match self.form {
            EventForm::Json => serde_json::to_vec(event).unwrap_or_default(),
            EventForm::Lines => event.to_line().into_bytes(),
        };
        line.push(b'\n');
        let written = self.output.write_all(&line).and_then(|()| self.output.flush());
        self.is_read &= written.is_ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_package_has_one_last_event() {
        let page = Page::default();
        let report = Report::to(2, EventForm::Json, Box::new(page.clone()));
        report.placed(0, Sources { store: 5, ..Sources::default() });
        report.failed(0, "too late");
        report.progress(0, 1);
        report.failed(1, "gone");
        report.placed(1, Sources::default());
        assert!(!report.done());
        let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
        let events: Vec<FetchEvent> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let from = Sources { store: 5, ..Sources::default() };
        assert_eq!(
            events,
            [
                FetchEvent::Placed { index: 0, from },
                FetchEvent::Failed { index: 1, reason: "gone".into() },
                FetchEvent::Done { placed: 1, failed: 1, bytes: from },
            ]
        );
    }
}
