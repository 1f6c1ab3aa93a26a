//! What to ask for next, and whom.

use std::time::Duration;

use crate::action::Action;
use crate::files::FileKey;
use crate::identity::SourceId;
use crate::piece::Run;
use crate::request::Request;
use crate::share::share;
use crate::sources::Choice;
use crate::swarm::Swarm;

/// What an idle connection is for.
pub(crate) enum Next {
    /// These pieces of a file, from this source.
    Request { key: FileKey, source: SourceId, run: Run },
    /// Nothing before this time, or, without one, before something happens.
    Wait { until: Option<Duration> },
}

impl Swarm {
    /// Gives every idle connection something to do, if there is something.
    pub(crate) fn ask(&mut self) {
        self.wake_at = None;
        while self.requests.len() < self.settings.connections() {
            match self.choose_next() {
                Next::Request { key, source, run } => self.request(key, source, run),
                Next::Wait { until } => {
                    self.wake_at = until;
                    break;
                }
            }
        }
    }

    /// The file of fewest requests, and among those the one that was wanted first: so small files come side by side,
    /// and large ones are shared among the connections that are left.
    pub(crate) fn choose_next(&self) -> Next {
        let mut best: Option<(usize, FileKey, SourceId)> = None;
        let mut until: Option<Duration> = None;
        for (key, file) in self.files.incomplete() {
            if best.is_some_and(|(requests, ..)| requests <= file.requests)
                || !file.has_attempts_left(&self.settings)
            {
                continue;
            }
            match self.sources.choose(key, file, self.now) {
                Choice::Ask(source) => best = Some((file.requests, key, source)),
                Choice::Wait { until: ready } => until = Some(until.map_or(ready, |until| until.min(ready))),
                Choice::AfterRequest | Choice::Nobody => {}
            }
            if best.is_some_and(|(requests, ..)| requests == 0) {
                break;
            }
        }
        let Some((_, key, source)) = best else {
            return Next::Wait { until };
        };
        self.choose_run(key, source).map_or(Next::Wait { until }, |run| Next::Request { key, source, run })
    }

    fn request(&mut self, key: FileKey, source: SourceId, run: Run) {
        let id = self.requests.next_id();
        let whole = self.files.change(key, |file| {
            file.requests += 1;
            file.pieces.request(run, id);
            file.pieces.whole()
        });
        let is_for_whole_file = whole == Some(run);
        self.requests.begin(Request {
            source,
            file: key,
            run,
            is_for_whole_file,
            has_brought: false,
            wrong_piece: None,
        });
        self.actions.push(Action::Request {
            request: id,
            source,
            bundle: key.bundle,
            file: key.file,
            first_piece: run.first,
            pieces: run.pieces,
        });
    }

    /// Which pieces of a file one request is for.
    fn choose_run(&self, key: FileKey, source: SourceId) -> Option<Run> {
        let pieces = &self.files.get(key)?.pieces;
        if self.sources.get(source)?.sends_whole_files {
            return Some(pieces.whole());
        }
        let Run { first, pieces: missing } = pieces.missing_run()?;
        let run_len = pieces.run_len(Run { first, pieces: missing });
        let taken = share(&self.settings, pieces.piece_len(), run_len, self.files.missing_len());
        Some(Run { first, pieces: taken })
    }
}
