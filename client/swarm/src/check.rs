//! What always holds between two events.

use crate::asking::Next;
use crate::crowd::Crowd;
use crate::file::Stage;
use crate::files::FileKey;
use crate::piece::Piece;
use crate::sources::Choice;
use crate::swarm::Swarm;

impl Swarm {
    /// Checks that the state agrees with itself, for tests and simulators.
    ///
    /// # Panics
    /// If it does not.
    pub fn check_invariants(&self) {
        self.files.check_invariants();
        self.check_requests();
        self.check_pieces();
        self.check_peers();
        self.check_uploads();
        self.check_hope();
        assert!(self.actions.is_empty(), "every action was handed over");
    }

    /// Each request is for a known file of its source, and never are there too many.
    fn check_requests(&self) {
        self.requests.check_invariants();
        assert!(self.requests.len() <= self.settings.connections(), "more requests than connections");
        for (id, request) in self.requests.iter() {
            let file = self.files.get(request.file);
            let whole =
                file.map(|file| file.pieces.whole()).unwrap_or_else(|| panic!("{id:?} is for no file"));
            assert!(request.run.pieces > 0, "{id:?} is for nothing");
            assert!(whole.first <= request.run.first, "{id:?} begins before its file");
            assert!(request.run.range().end <= whole.range().end, "{id:?} ends after its file");
            assert_eq!(request.is_for_whole_file, request.run == whole);
            assert!(self.sources.get(request.source).is_some(), "{id:?} is at no source");
            assert!(self.crowds.contains_key(&request.file.bundle), "{id:?} is of no bundle");
        }
    }

    /// Each piece is in the state that its file, the requests and the assemblies say.
    fn check_pieces(&self) {
        for (key, file) in self.files.iter() {
            file.pieces.check_invariants();
            let crowd = &self.crowds[&key.bundle];
            let is_fetching = file.stage == Stage::Fetching;
            for (piece, state) in file.pieces.iter() {
                let is_assembled = crowd.assemblies.contains_key(&piece);
                assert_eq!(crowd.needed.get(piece), is_fetching && state != Piece::Here);
                assert_eq!(crowd.served.get(piece), state == Piece::Here);
                assert_eq!(
                    crowd.rarity.contains(piece),
                    is_fetching && state == Piece::Missing && !file.is_mismatched && !is_assembled
                );
                assert!(state != Piece::Assembling || is_assembled, "{piece} is put together by nobody");
                assert!(!is_assembled || state != Piece::Missing, "{piece} is missing and put together");
                let Piece::Requested(id) = state else { continue };
                let request = self.requests.get(id).unwrap_or_else(|| panic!("{piece} waits for no request"));
                assert!(request.file == key && request.run.contains(piece), "{piece} waits for {request:?}");
            }
            let requests = self.requests.iter().filter(|(_, request)| request.file == key).count();
            assert_eq!(file.requests, requests, "requests of {key:?} are miscounted");
            assert_eq!(file.stage == Stage::Fetching, !file.is_given_up() && !file.pieces.are_all_here());
            assert!(!file.is_given_up() || requests == 0, "{key:?} is given up and asked for");
        }
    }

    /// Nothing is forgotten: no connection is idle without a reason, and every file that is not given up is asked for,
    /// or will be when a connection is free or at the time when the swarm is to be woken.
    fn check_hope(&self) {
        let are_all_busy = self.requests.len() == self.settings.connections();
        assert!(are_all_busy || matches!(self.choose_next(), Next::Wait { .. }), "a connection is idle");
        assert!(self.wake_at().is_none_or(|wake_at| wake_at > self.now), "the time to wake is over");
        let is_alone = |key: &FileKey| self.crowds.get(&key.bundle).is_some_and(Crowd::is_alone);
        for (key, file) in self.files.incomplete().filter(|(key, file)| file.requests == 0 && is_alone(key)) {
            let are_all_busy = are_all_busy || self.has_asked_enough(key.bundle);
            assert!(file.has_attempts_left(&self.settings), "{key:?} is to be given up");
            match self.sources.choose(key, file, self.now) {
                Choice::Ask(_) => assert!(are_all_busy, "{key:?} could be asked for"),
                Choice::Wait { until } => {
                    assert!(
                        are_all_busy || self.wake_at().is_some_and(|at| at <= until),
                        "{key:?} is not woken"
                    );
                }
                Choice::AfterRequest | Choice::Nobody => panic!("{key:?} waits for nothing"),
            }
        }
    }
}
