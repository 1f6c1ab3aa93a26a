//! What other hosts get: blocks of packages that are here, and of verified pieces of those that are on their way.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use pkgtorrent_protocol::wire::Block;
use pkgtorrent_protocol::{PackageDigest, Sha256Digest};
use pkgtorrent_swarm::{BundleId, Event as SwarmEvent, FileIndex, LinkId};
use rustix::io::ReadWriteFlags;

use super::Engine;
use super::event::Task;
use crate::peer::Command;
use crate::store::Partial;

/// How many packages are held open for reading, of all bundles together.
const OPEN_MAX: usize = 64;

/// Where a package's bytes are read.
#[derive(Debug, Clone)]
pub(super) enum Readable {
    /// It is in the store.
    Package(Arc<File>),
    /// It is on its way.
    Partial(Partial),
}

impl Readable {
    /// Reads from here what the kernel has in memory; `None` if a disk would have to be waited for.
    fn read_now(&self, offset: u64, bytes: &mut [u8]) -> Option<()> {
        let mut parts = [io::IoSliceMut::new(bytes)];
        let wanted = parts[0].len();
        match rustix::io::preadv2(self.file(), &mut parts, offset, ReadWriteFlags::NOWAIT) {
            Ok(read) if read == wanted => Some(()),
            _ => None,
        }
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.file().read_exact_at(bytes, offset)
    }

    fn file(&self) -> &File {
        match self {
            Self::Package(file) => file,
            Self::Partial(partial) => partial.file(),
        }
    }
}

/// The packages that are open for reading, the one that was opened first in front.
#[derive(Debug, Default)]
pub(super) struct OpenPackages(VecDeque<(BundleId, FileIndex, Readable)>);

impl OpenPackages {
    fn get(&self, bundle: BundleId, file: FileIndex) -> Option<Readable> {
        let found = self.0.iter().find(|(of, open, _)| (*of, *open) == (bundle, file));
        found.map(|(_, _, readable)| readable.clone())
    }

    fn keep(&mut self, bundle: BundleId, file: FileIndex, readable: Readable) {
        if self.0.len() == OPEN_MAX {
            self.0.pop_front();
        }
        self.0.push_back((bundle, file, readable));
    }

    pub(super) fn close(&mut self, bundle: BundleId, file: FileIndex) {
        self.0.retain(|(of, open, _)| (*of, *open) != (bundle, file));
    }

    pub(super) fn close_all_of(&mut self, bundle: BundleId) {
        self.0.retain(|(of, ..)| *of != bundle);
    }
}

/// A block that was read.
#[derive(Debug)]
pub(crate) struct ReadBlock {
    pub(crate) link: LinkId,
    pub(crate) bundle: BundleId,
    pub(crate) file: FileIndex,
    pub(crate) block: Block,
    pub(crate) result: io::Result<Bytes>,
}

impl Engine {
    /// A peer gets a block.
    pub(super) fn give(&mut self, link: LinkId, block: Block) {
        let Some(bundle) = self.network.bundle_of(link) else { return };
        let Some((file, offset, readable)) = self.readable(bundle, block) else {
            return self.not_given(link, block);
        };
        let Some(size) = self.size_of(bundle, file) else { return };
        // What lies behind the end of the package is padding.
        let len = size.saturating_sub(offset).min(u64::from(block.len)) as usize;
        let mut bytes = vec![0; block.len as usize];
        match readable.read_now(offset, &mut bytes[..len]) {
            Some(()) => {
                let result = Ok(Bytes::from(bytes));
                self.block_read(ReadBlock { link, bundle, file, block, result });
            }
            None => {
                let events = self.yard.events.clone();
                tokio::task::spawn_blocking(move || {
                    let result = readable.read(offset, &mut bytes[..len]).map(|()| Bytes::from(bytes));
                    let read = ReadBlock { link, bundle, file, block, result };
                    let _ = events.blocking_send(Task::Read(read).into());
                });
            }
        }
    }

    fn size_of(&self, bundle: BundleId, file: FileIndex) -> Option<u64> {
        let info = self.bundles.get(&bundle)?.info.as_ref()?;
        Some(info.layout().extents().get(file.0 as usize)?.size)
    }

    /// A block was read, or was not: then the package is not here any more, whatever was thought.
    pub(super) fn block_read(&mut self, read: ReadBlock) {
        let ReadBlock { link, bundle, file, block, result } = read;
        match result {
            Ok(data) => {
                self.network.say(link, Command::Block { block, data });
            }
            Err(error) => {
                tracing::warn!("a block for another host cannot be read: {error}");
                self.open.close(bundle, file);
                self.not_given(link, block);
                self.tell_swarm(SwarmEvent::Withdraw { bundle, file });
            }
        }
    }

    /// A block has left for a peer.
    pub(super) fn given(&mut self, link: LinkId, block: Block) {
        self.sent += u64::from(block.len);
        self.tell_swarm(SwarmEvent::Sent { link, block });
    }

    fn not_given(&mut self, link: LinkId, block: Block) {
        self.network.say(link, Command::Reject(block));
        self.tell_swarm(SwarmEvent::Sent { link, block });
    }

    /// The file that a block is in, where it begins in it, and what to read it from.
    fn readable(&mut self, id: BundleId, block: Block) -> Option<(FileIndex, u64, Readable)> {
        let bundle = self.bundles.get(&id)?;
        let info = bundle.info.clone()?;
        let layout = info.layout();
        let index = layout.index_of(block.piece)?;
        let extent = layout.extents()[index];
        let nth = u64::from(block.piece - extent.first_piece);
        let offset = nth * u64::from(layout.piece_len().bytes()) + u64::from(block.begin);
        // No more files than pieces, which are u32.
        let file = FileIndex(index as u32);
        if let Some(readable) = self.open.get(id, file) {
            return Some((file, offset, readable));
        }
        let identity = info.packages()[index].identity;
        let readable = match self.downloads.get(&identity) {
            Some(download) => Readable::Partial(download.partial().clone()),
            None => Readable::Package(Arc::new(self.store.open_package(&identity).ok().flatten()?)),
        };
        self.open.keep(id, file, readable.clone());
        Some((file, offset, readable))
    }

    /// The package is in the store and all of its pieces are right: peers may have it.
    pub(super) fn offer(&mut self, bundle: BundleId, file: FileIndex) {
        self.open.close(bundle, file);
        if let Some(bundle) = self.bundles.get_mut(&bundle) {
            bundle.offers = true;
        }
        self.tell_swarm(SwarmEvent::Offer { bundle, file });
        self.announce_if_done(bundle);
    }

    /// Packages of a plan that were in the store already are given on too, once their pieces are known to be right: what
    /// lies in the store may be of an earlier run.
    pub(super) fn offer_stored(&mut self, id: BundleId, planned: &[(PackageDigest, u32)]) {
        let Some(info) = self.bundles.get(&id).and_then(|bundle| bundle.info.clone()) else { return };
        for (_, file) in planned {
            let extents = info.layout().extents();
            let Ok(index) = extents.binary_search_by_key(file, |extent| extent.file) else { continue };
            let (extent, identity) = (extents[index], info.packages()[index].identity);
            if self.store.size(&identity) != Some(extent.size) || self.is_offered(id, extent.first_piece) {
                continue;
            }
            let Ok(Some(package)) = self.store.open_package(&identity) else { continue };
            let (info, events) = (Arc::clone(&info), self.yard.events.clone());
            // Below the number of a bundle's files, which is a u32.
            let file = FileIndex(index as u32);
            tokio::task::spawn_blocking(move || {
                let piece_len = info.layout().piece_len();
                let hashes = super::downloads::package_hashes(&info, &extent);
                let is_right = crate::store::all_pieces_match(&package, extent.size, piece_len, hashes);
                let _ = events.blocking_send(Task::Offered { bundle: id, file, identity, is_right }.into());
            });
        }
    }

    fn is_offered(&self, bundle: BundleId, piece: u32) -> bool {
        self.swarm.served(bundle).is_some_and(|served| served.get(piece))
    }

    /// A package of the store was read for its pieces.
    pub(super) fn offered(
        &mut self,
        bundle: BundleId,
        file: FileIndex,
        identity: Sha256Digest,
        is_right: io::Result<bool>,
    ) {
        match is_right {
            Ok(true) => self.offer(bundle, file),
            Ok(false) if self.store.size(&identity).is_some() => {
                tracing::warn!("{identity} leaves the store: its pieces do not match");
                self.store.remove(&identity);
            }
            Ok(false) => {}
            Err(error) => tracing::warn!("{identity} is not shared: {error}"),
        }
    }
}
