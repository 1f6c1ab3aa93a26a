//! What was asked and is not answered yet.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::files::FileKey;
use crate::identity::{RequestId, SourceId};
use crate::piece::Run;

/// How many requests are remembered after they were cancelled. A piece may be at the hasher at that moment, and is
/// reported a little later; if it is not known any more where it belongs, it is fetched once more, no worse.
const CANCELLED_MAX: usize = 64;

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) source: SourceId,
    pub(crate) file: FileKey,
    pub(crate) run: Run,
    pub(crate) since: Duration,
    /// It is for the whole file.
    pub(crate) is_for_whole_file: bool,
    /// It brought a piece that was right and was not here.
    pub(crate) has_brought: bool,
    /// The last piece that it brought wrong.
    pub(crate) wrong_piece: Option<u32>,
}

/// All requests that are under way.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    next: u64,
    under_way: BTreeMap<RequestId, Request>,
    cancelled: BTreeMap<RequestId, (FileKey, Run)>,
}

impl Requests {
    /// How many are under way.
    pub(crate) fn len(&self) -> usize {
        self.under_way.len()
    }

    /// The number that the next request will get.
    pub(crate) fn next_id(&self) -> RequestId {
        RequestId(self.next)
    }

    pub(crate) fn begin(&mut self, request: Request) -> RequestId {
        let id = self.next_id();
        self.next += 1;
        self.under_way.insert(id, request);
        id
    }

    pub(crate) fn get(&self, id: RequestId) -> Option<&Request> {
        self.under_way.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: RequestId) -> Option<&mut Request> {
        self.under_way.get_mut(&id)
    }

    /// The request is over.
    pub(crate) fn end(&mut self, id: RequestId) -> Option<Request> {
        self.under_way.remove(&id)
    }

    /// The request is over before its time, and may still bring a piece that is being hashed.
    pub(crate) fn cancel(&mut self, id: RequestId) -> Option<Request> {
        let request = self.under_way.remove(&id)?;
        self.cancelled.insert(id, (request.file, request.run));
        if self.cancelled.len() > CANCELLED_MAX {
            self.cancelled.pop_first();
        }
        Some(request)
    }

    /// The file of a cancelled request that was to bring this piece.
    pub(crate) fn cancelled_file(&self, id: RequestId, piece: u32) -> Option<FileKey> {
        self.cancelled.get(&id).filter(|(_, run)| run.contains(piece)).map(|(file, _)| *file)
    }

    /// What was cancelled brings nothing for this file any more: its pieces are fetched from the start, or never.
    pub(crate) fn forget_cancelled(&mut self, file: FileKey) {
        self.cancelled.retain(|_, (its_file, _)| *its_file != file);
    }

    /// Those under way that fit, in the order in which they were asked.
    pub(crate) fn select(&self, fits: impl Fn(&Request) -> bool) -> Vec<RequestId> {
        self.under_way.iter().filter(|(_, request)| fits(request)).map(|(id, _)| *id).collect()
    }

    /// Panics if more is remembered than there should be.
    pub(crate) fn check_invariants(&self) {
        assert!(self.cancelled.len() <= CANCELLED_MAX, "too many cancelled requests are remembered");
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (RequestId, &Request)> {
        self.under_way.iter().map(|(id, request)| (*id, request))
    }
}
