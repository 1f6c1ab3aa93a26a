//! Packages on their way: from a bundle to a file in the store.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pkgtorrent_protocol::layout::Extent;
use pkgtorrent_protocol::metainfo::BundleInfo;
use pkgtorrent_protocol::report::{FallbackReason, Ledger};
use pkgtorrent_protocol::socket::Answer;
use pkgtorrent_protocol::{Algorithm, PackageDigest, PieceLen, Sha256Digest};
use pkgtorrent_swarm::{
    Action, BundleId, Event as SwarmEvent, FileIndex, GiveUpReason, Outcome, RequestId, SourceId,
};
use tokio::task::AbortHandle;

use super::event::{Sealed, Task, is_alias};
use super::installs::Giver;
use super::passing::from_store;
use super::request::Errand;
use super::setback::Setback;
use super::{Engine, PROGRESS_INTERVAL, SessionId, UNWANTED_GRACE, WantedState};
use crate::origin::package_url;
use crate::store::Partial;

/// How often in a row a command is told that nothing came of a package on purpose: for half a minute.
const WAITS_TOLD_MAX: u32 = 15;

/// How often, and after what pause, a package is read again that was written to while it was read: writing what has
/// arrived takes milliseconds, and on a disk that is busy a second.
const SEAL_AGAIN_MAX: u32 = 40;
const SEAL_AGAIN: Duration = Duration::from_millis(50);

/// One package on its way.
#[derive(Debug)]
pub(super) struct Download {
    bundle: BundleId,
    file: FileIndex,
    extent: Extent,
    piece_len: PieceLen,
    partial: Partial,
    name: String,
    /// The digests under which it is wanted.
    digests: Vec<PackageDigest>,
    from: Ledger,
    /// Which of its pieces are counted there. Some come twice: a server that knows no ranges sends everything.
    counted: Vec<bool>,
    last_failure: Option<String>,
    /// How many bytes commands were told of.
    told: u64,
    /// How often commands were told that it waits, since something of it came.
    waits_told: u32,
    /// Whole, it was another package: it is fetched again, from the origin alone.
    is_again: bool,
}

/// One request that is under way.
#[derive(Debug)]
pub(super) struct Running {
    identity: Sha256Digest,
    source: SourceId,
    /// The command for which it is.
    session: Option<SessionId>,
    abort: AbortHandle,
}

impl Download {
    /// What of it is here.
    pub(super) fn done(&self) -> u64 {
        (self.from.near + self.from.far + self.from.origin + self.from.store).min(self.extent.size)
    }

    /// How many bytes this piece of the package adds to what is here of it.
    fn count(&mut self, nth: u32) -> u64 {
        match self.counted.get_mut(nth as usize) {
            Some(is_counted) if !*is_counted => *is_counted = true,
            _ => return 0,
        }
        let piece_len = u64::from(self.piece_len.bytes());
        self.extent.size.saturating_sub(u64::from(nth) * piece_len).min(piece_len)
    }

    /// Peers brought this piece of it; gives the bytes that it adds.
    pub(super) fn count_from_peers(&mut self, nth: u32, givers: &[(Giver, u64)]) -> Ledger {
        let bytes = self.count(nth);
        let far =
            givers.iter().filter(|(giver, _)| giver.is_far).map(|(_, bytes)| bytes).sum::<u64>().min(bytes);
        let from = Ledger { near: bytes - far, far, ..Ledger::default() };
        self.from += from;
        from
    }

    /// The digests under which it is wanted.
    pub(super) fn digests(&self) -> &[PackageDigest] {
        &self.digests
    }

    pub(super) fn bundle(&self) -> BundleId {
        self.bundle
    }

    /// The file of its bundle that it is, and where that is.
    pub(super) fn place(&self) -> (FileIndex, Extent) {
        (self.file, self.extent)
    }

    /// Whether its pieces may come from another bundle as well as from this one.
    pub(super) fn may_move(&self) -> bool {
        !self.is_again && self.done() < self.size()
    }

    /// It is this file of another bundle from now on.
    pub(super) fn move_to(&mut self, bundle: BundleId, file: FileIndex, extent: Extent) {
        (self.bundle, self.file, self.extent) = (bundle, file, extent);
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn partial(&self) -> &Partial {
        &self.partial
    }

    pub(super) fn size(&self) -> u64 {
        self.extent.size
    }
}

impl Engine {
    pub(super) fn start_download(
        &mut self,
        id: BundleId,
        digest: PackageDigest,
        file: u32,
    ) -> Result<(), Setback> {
        let Some(wanted) = self.wanted.get(&digest) else { return Ok(()) };
        let (size, name) = (wanted.size, wanted.name.clone());
        let Some(info) = self.bundles.get(&id).and_then(|bundle| bundle.info.clone()) else { return Ok(()) };
        let extents = info.layout().extents();
        let index = extents.binary_search_by_key(&file, |extent| extent.file).map_err(|_| {
            Setback::no_plan(format!("the plan names file {file} of its bundle, which is no package"))
        })?;
        let (extent, package) = (extents[index], &info.packages()[index]);
        if extent.size != size {
            return Err(Setback::wrong(format!("the service has it with {} bytes, not {size}", extent.size)));
        }
        let identity = package.identity;
        if digest.identity().is_some_and(|asked| asked != identity) {
            return Err(Setback::wrong(format!("the plan names {identity} for it")));
        }
        if let Some(wanted) = self.wanted.get_mut(&digest) {
            wanted.state = WantedState::Downloading(identity);
        }
        if self.store.size(&identity) == Some(size) {
            // Wanted by a digest that the store does not know it by. Whoever places it checks that digest.
            self.arrived_whole(&digest, identity, from_store(size));
            return Ok(());
        }
        if let Some(download) = self.downloads.get_mut(&identity) {
            download.digests.push(digest);
            return Ok(());
        }
        let partial = self.store.begin(identity, size, &self.needs())?;
        // Below the number of a bundle's files, which is a u32.
        let file = FileIndex(index as u32);
        let download = Download {
            bundle: id,
            file,
            extent,
            piece_len: info.layout().piece_len(),
            partial: partial.clone(),
            name,
            digests: vec![digest],
            from: Ledger::default(),
            counted: vec![false; extent.pieces as usize],
            last_failure: None,
            told: 0,
            waits_told: 0,
            is_again: false,
        };
        self.downloads.insert(identity, download);
        if let Some(bundle) = self.bundles.get_mut(&id) {
            bundle.downloads.push((file, identity));
            // What was in the store before is not there any more.
            let pieces = extent.first_piece..extent.first_piece + extent.pieces;
            bundle.unchecked.retain(|piece| !pieces.contains(piece));
        }
        if partial.is_new() {
            self.resumed(&partial, Ok(Vec::new()));
        } else {
            self.spawn_resume(partial, info, extent);
        }
        Ok(())
    }

    fn spawn_resume(&self, partial: Partial, info: Arc<BundleInfo>, extent: Extent) {
        let events = self.yard.events.clone();
        tokio::task::spawn_blocking(move || {
            let hashes = package_hashes(&info, &extent);
            let result = partial.verified_pieces(info.layout().piece_len(), hashes);
            let _ = events.blocking_send(Task::Resumed { partial, result }.into());
        });
    }

    /// What an earlier run left of a package is known.
    pub(super) fn resumed(&mut self, partial: &Partial, result: std::io::Result<Vec<u32>>) {
        let identity = partial.identity();
        let Some(download) = self.download_of(partial) else { return };
        let pieces = match result {
            Ok(pieces) => pieces,
            Err(error) => {
                let setback = Setback::of_disk("what is there of it cannot be read", &error);
                return self.give_up(identity, &setback, false);
            }
        };
        let (bundle, file, first) = (download.bundle, download.file, download.extent.first_piece);
        download.from.store = pieces.iter().map(|piece| download.count(*piece)).sum();
        let have = pieces.into_iter().map(|piece| first + piece).collect();
        self.tell_swarm(SwarmEvent::Want { bundle, file, have });
    }

    /// Tells the swarm, and does what it decides.
    pub(super) fn tell_swarm(&mut self, event: SwarmEvent) {
        let actions = self.swarm.handle(event, self.now());
        self.record_decisions();
        self.act(actions);
    }

    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Request { request, source, bundle, file, first_piece, pieces } => {
                    self.start_request(request, source, bundle, file, first_piece..first_piece + pieces);
                }
                Action::Cancel { request } => {
                    if let Some(running) = self.no_longer_running(request) {
                        running.abort.abort();
                    }
                }
                Action::Whole { bundle, file } => self.seal(bundle, file),
                Action::Keep { bundle, block } => self.keep(bundle, block),
                Action::Check { bundle, piece } => self.check(bundle, piece),
                Action::Discard { bundle, piece } => self.discard(bundle, piece),
                Action::Send { link, block } => self.give(link, block),
                Action::AskTracker { bundle, wish } => self.wish(bundle, wish),
                Action::GiveUp { bundle, file, reason } => {
                    if let Some(identity) = self.identity_of(bundle, file) {
                        let setback = self.describe(reason, identity);
                        self.give_up(identity, &setback, true);
                    }
                }
                action => self.act_on_link(&action),
            }
        }
    }

    pub(super) fn identity_of(&self, bundle: BundleId, file: FileIndex) -> Option<Sha256Digest> {
        let downloads = &self.bundles.get(&bundle)?.downloads;
        downloads.iter().find(|(other, _)| *other == file).map(|(_, identity)| *identity)
    }

    fn start_request(
        &mut self,
        request: RequestId,
        source: SourceId,
        bundle: BundleId,
        file: FileIndex,
        pieces: std::ops::Range<u32>,
    ) {
        let identity = self.identity_of(bundle, file);
        let download = identity.and_then(|identity| Some((identity, self.downloads.get(&identity)?)));
        let info = self.bundles.get(&bundle).and_then(|bundle| bundle.info.clone());
        let seed = self.web_seeds.iter().find(|seed| seed.source == source);
        let (Some((identity, download)), Some(info), Some(seed)) = (download, info, seed) else {
            // What the swarm asks for is what it was told of.
            debug_assert!(false, "a request for what is not there");
            return;
        };
        let errand = Errand {
            request,
            bundle,
            url: package_url(&seed.url, &info.packages()[file.0 as usize]),
            extent: download.extent,
            pieces,
            partial: download.partial.clone(),
            info,
        };
        let task = tokio::spawn(errand.run(self.yard.clone()));
        let session = self.asks_origin(&identity);
        self.running.insert(request, Running { identity, source, session, abort: task.abort_handle() });
    }

    fn no_longer_running(&mut self, request: RequestId) -> Option<Running> {
        let running = self.running.remove(&request)?;
        if let Some(session) = running.session {
            self.asked_origin(session);
        }
        Some(running)
    }

    /// Pieces arrived; those that were right are written, even if the request was cancelled meanwhile.
    pub(super) fn arrived(
        &mut self,
        request: RequestId,
        partial: &Partial,
        (bundle, first_piece): (BundleId, u32),
        pieces: Vec<(u32, bool)>,
    ) {
        for (piece, is_right) in pieces {
            if let Some(download) = self.download_of(partial) {
                if is_right {
                    let from = Ledger { origin: download.count(piece - first_piece), ..Ledger::default() };
                    download.from += from;
                    self.credit(&partial.identity(), from, &[]);
                } else {
                    download.last_failure = Some(format!("piece {piece} does not match its hash"));
                }
            }
            if is_right {
                self.came_before_move(partial, bundle, first_piece, piece);
            }
            self.tell_swarm(match is_right {
                true => SwarmEvent::Verified { request, piece },
                false => SwarmEvent::Corrupt { request, piece },
            });
        }
    }

    /// The store's disk does not take a piece: this package cannot be had, whatever the sources do.
    pub(super) fn unwritable(&mut self, request: RequestId, error: &std::io::Error) {
        if let Some(running) = self.running.get(&request) {
            self.cannot_write(running.identity, error);
        }
    }

    /// Once all of a package is here, what came twice cannot be written any more, and need not.
    pub(super) fn cannot_write(&mut self, identity: Sha256Digest, error: &std::io::Error) {
        if self.downloads.get(&identity).is_some_and(|download| download.done() < download.size()) {
            self.give_up(identity, &Setback::of_disk("it cannot be written", error), false);
        }
    }

    /// Why a package is given up, with what its last request met. One that no request was made for hears what befell the
    /// others, for which its source was given up.
    fn describe(&self, reason: GiveUpReason, identity: Sha256Digest) -> Setback {
        let of_package = self.downloads.get(&identity).and_then(|download| download.last_failure.as_ref());
        let of_source = match reason {
            GiveUpReason::NoSource { last: Some(last) } => {
                self.web_seeds.iter().find(|seed| seed.source == last.source)
            }
            _ => None,
        };
        let text = match of_package.or(of_source.and_then(|seed| seed.last_failure.as_ref())) {
            Some(last) => format!("{reason}: {last}"),
            None => reason.to_string(),
        };
        let kind = match reason {
            GiveUpReason::NoSource { .. } | GiveUpReason::Attempts { .. } => FallbackReason::NotBrought,
            GiveUpReason::DigestMismatch => FallbackReason::Wrong,
        };
        Setback::new(kind, text)
    }

    /// A request is over.
    pub(super) fn request_ended(&mut self, request: RequestId, outcome: Outcome, reason: Option<String>) {
        let Some(running) = self.no_longer_running(request) else { return };
        if let Some(reason) = reason {
            if let Some(seed) = self.web_seeds.iter_mut().find(|seed| seed.source == running.source) {
                seed.last_failure = Some(reason.clone());
            }
            if let Some(download) = self.downloads.get_mut(&running.identity) {
                tracing::debug!("{}: {reason}", download.name);
                download.last_failure = Some(reason);
            }
        }
        self.tell_swarm(SwarmEvent::Ended { request, outcome });
    }

    /// The download that this file is of. What a task says of the file of one that was given up meanwhile is not true of
    /// another one of the same package.
    pub(super) fn download_of(&mut self, partial: &Partial) -> Option<&mut Download> {
        let download = self.downloads.get_mut(&partial.identity())?;
        download.partial.is_same_as(partial).then_some(download)
    }

    /// Every piece is here: the whole digest has the last word.
    fn seal(&mut self, bundle: BundleId, file: FileIndex) {
        let Some(identity) = self.identity_of(bundle, file) else { return };
        let Some(download) = self.downloads.get(&identity) else { return };
        let mut aliases: Vec<Algorithm> =
            download.digests.iter().filter(|digest| is_alias(digest)).map(PackageDigest::algorithm).collect();
        aliases.sort_unstable();
        aliases.dedup();
        let (partial, events) = (download.partial.clone(), self.yard.events.clone());
        tokio::task::spawn_blocking(move || {
            let seal = || {
                let digests = partial.digests(&aliases)?;
                if digests.identity != identity {
                    return Ok(Sealed::Mismatch);
                }
                partial.finish()?;
                Ok(Sealed::Whole(digests))
            };
            let is_busy = |result: &std::io::Result<Sealed>| {
                result.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::ResourceBusy)
            };
            let mut result = seal();
            // A piece that came from two sides may still be being written a second time.
            for _ in 0..SEAL_AGAIN_MAX {
                if !is_busy(&result) {
                    break;
                }
                std::thread::sleep(SEAL_AGAIN);
                result = seal();
            }
            let _ = events.blocking_send(Task::Sealed { partial, result }.into());
        });
    }

    /// A package's digest is known.
    pub(super) fn sealed(&mut self, partial: &Partial, result: std::io::Result<Sealed>) {
        let identity = partial.identity();
        let Some(download) = self.download_of(partial) else { return };
        let digests = match result {
            Ok(Sealed::Whole(digests)) => digests,
            Ok(Sealed::Mismatch) => {
                let (bundle, file) = (download.bundle, download.file);
                download.from = Ledger::default();
                download.counted.fill(false);
                download.is_again = true;
                download.last_failure = Some("its pieces match their hashes, the whole does not".into());
                return self.tell_swarm(SwarmEvent::DigestMismatch { bundle, file });
            }
            Err(error) => {
                return self.give_up(identity, &Setback::of_disk("it cannot be kept", &error), false);
            }
        };
        let Some(download) = self.downloads.remove(&identity) else { return };
        let is_other = |digest: &PackageDigest| {
            let of_its_kind = digests.aliases.iter().find(|found| found.algorithm() == digest.algorithm());
            of_its_kind.is_some_and(|found| found != digest)
        };
        // One that was wanted only when the package was being read is checked by whoever places it.
        let (wrong, right): (Vec<PackageDigest>, Vec<PackageDigest>) =
            download.digests.iter().partition(|digest| is_other(digest));
        let aliases: Vec<PackageDigest> =
            right.iter().copied().filter(|digest| digests.aliases.contains(digest)).collect();
        if let Err(error) = self.store.enter(identity, download.extent.size, &aliases) {
            tracing::warn!("{}: {error}", download.name);
        }
        self.done_with(download.bundle, download.file);
        self.offer(download.bundle, download.file);
        for (nth, digest) in right.iter().enumerate() {
            // Under its other digests it is there as well, by then.
            let from = if nth == 0 { download.from } else { from_store(download.extent.size) };
            self.arrived_whole(digest, identity, from);
        }
        for digest in wrong {
            self.fail(&digest, &Setback::wrong("what the service has for it is another package"));
        }
    }

    /// A package cannot be had.
    pub(super) fn give_up(&mut self, identity: Sha256Digest, setback: &Setback, keep: bool) {
        let Some(download) = self.downloads.remove(&identity) else { return };
        tracing::debug!("{} is left to the package manager: {}", download.name, setback.text);
        self.store.abandon(&identity, keep);
        self.forget_file(download.bundle, download.file);
        for digest in download.digests {
            self.fail(&digest, setback);
        }
    }

    fn done_with(&mut self, id: BundleId, file: FileIndex) {
        if let Some(bundle) = self.bundles.get_mut(&id) {
            bundle.downloads.retain(|(other, _)| *other != file);
        }
        // Another download of it would be another file.
        self.open.close(id, file);
    }

    /// The swarm need not care for a file any more, nor for a bundle of which it was the last.
    pub(super) fn forget_file(&mut self, bundle: BundleId, file: FileIndex) {
        self.done_with(bundle, file);
        self.tell_swarm(SwarmEvent::Unwant { bundle, file });
        self.leave_if_unused(bundle);
    }

    /// Ends what nobody has waited for in a while; what is there of it is kept.
    pub(super) fn drop_unwanted(&mut self, now: Instant) {
        let is_over =
            |since: &Option<Instant>| since.is_some_and(|since| now.duration_since(since) >= UNWANTED_GRACE);
        let dropped: Vec<(PackageDigest, WantedState)> = self
            .wanted
            .iter()
            .filter(|(_, wanted)| is_over(&wanted.unwanted_since))
            .map(|(digest, wanted)| (*digest, wanted.state))
            .collect();
        for (digest, state) in dropped {
            self.wanted.remove(&digest);
            let WantedState::Downloading(identity) = state else { continue };
            let Some(download) = self.downloads.get_mut(&identity) else { continue };
            download.digests.retain(|other| *other != digest);
            if download.digests.is_empty() {
                let setback = Setback::new(FallbackReason::Interrupted, "nobody waits for it");
                self.give_up(identity, &setback, true);
            }
        }
    }

    /// Tells commands how far their packages are.
    pub(super) fn tell_progress(&mut self) {
        let now = Instant::now();
        if now.duration_since(self.progress_told) < PROGRESS_INTERVAL {
            return;
        }
        self.progress_told = now;
        for download in self.downloads.values_mut() {
            let done = download.done();
            if done <= download.told {
                continue;
            }
            download.told = done;
            download.waits_told = 0;
            for digest in &download.digests {
                let Some(wanted) = self.wanted.get(digest) else { continue };
                for (session, index) in &wanted.waiters {
                    if let Some(session) = self.sessions.get(session) {
                        session.progress(*index, done);
                    }
                }
            }
        }
    }
}

impl Engine {
    /// Tells commands which packages do not come on purpose: that others fetch them first, or that the mirror sends no more
    /// for now, is no reason for the package manager to lose patience. But that has an end too.
    pub(super) fn tell_waiting(&mut self) {
        for download in self.downloads.values_mut() {
            let reason = if self.swarm.is_held_back(download.bundle) {
                "the mirror's lid is reached"
            } else if self.swarm.is_holding_off(download.bundle) && download.waits_told < WAITS_TOLD_MAX {
                download.waits_told += 1;
                "another host fetches it first"
            } else {
                continue;
            };
            for digest in &download.digests {
                let waiters = self.wanted.get(digest).map_or(&[][..], |wanted| &wanted.waiters);
                for (session, index) in waiters {
                    if let Some(session) = self.sessions.get(session) {
                        session.send(Answer::Waiting { index: *index, reason: reason.to_owned() }, None);
                    }
                }
            }
        }
    }
}

/// A package's part of its bundle's piece hashes.
pub(super) fn package_hashes<'a>(info: &'a BundleInfo, extent: &Extent) -> &'a [u8] {
    use pkgtorrent_protocol::layout::BLOCK_HASH_LEN;
    let start = extent.first_piece as usize * BLOCK_HASH_LEN;
    &info.block_hashes()[start..start + extent.pieces as usize * BLOCK_HASH_LEN]
}
