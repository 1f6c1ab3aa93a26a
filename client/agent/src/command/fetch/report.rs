//! What the shim is told, or who sits at the terminal.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pkgtorrent_protocol::control::{FetchEvent, FetchPackage, PlannedSource, Sources};

use super::bars::Bars;
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
    output: Output,
    /// Whether anybody still reads what is written.
    is_read: bool,
}

/// How it is told.
enum Output {
    /// To a program.
    Events(EventForm, Box<dyn Write + Send>),
    /// To somebody at a terminal.
    Bars(Box<Bars>),
}

impl Report {
    /// A report on these packages, to standard output; without a form, in bars on a terminal and else as JSON.
    pub(super) fn new(packages: &[FetchPackage], form: Option<EventForm>) -> Self {
        let is_watched = io::stdout().is_terminal() && io::stderr().is_terminal();
        let output = match form {
            None if is_watched => Output::Bars(Box::new(Bars::new(packages))),
            form => Output::Events(form.unwrap_or(EventForm::Json), Box::new(io::stdout())),
        };
        Self::to(packages.len(), output)
    }

    fn to(packages: usize, output: Output) -> Self {
        let state = State {
            is_over: vec![false; packages],
            placed: 0,
            failed: 0,
            bytes: Sources::default(),
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

    /// Where a package would come from, and how many hosts have all and some of its bundle.
    pub(super) fn planned(&self, index: usize, from: PlannedSource, (complete, partial): (u32, u32)) {
        let mut state = self.state();
        if state.end(index) {
            let counts = if from.is_known() { &mut state.placed } else { &mut state.failed };
            *counts += 1;
            state.say(&FetchEvent::Planned { index, from, complete, partial });
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
        let (form, output) = match &mut self.output {
            Output::Bars(bars) => return bars.show(event),
            Output::Events(form, output) => (form, output),
        };
        let mut line = match form {
            EventForm::Json => serde_json::to_vec(event).unwrap_or_default(),
            EventForm::Lines => event.to_line().into_bytes(),
        };
        line.push(b'\n');
        let written = output.write_all(&line).and_then(|()| output.flush());
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
        let report = Report::to(2, Output::Events(EventForm::Json, Box::new(page.clone())));
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
