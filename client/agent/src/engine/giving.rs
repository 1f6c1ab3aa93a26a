//! What other hosts get: blocks of packages that are here, and of verified pieces of those that are on their way.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use pkgtorrent_protocol::Sha256Digest;
use pkgtorrent_protocol::layout::BLOCK_HASH_LEN;
use pkgtorrent_protocol::metainfo::BundleInfo;
use pkgtorrent_protocol::wire::Block;
use pkgtorrent_swarm::{BundleId, Event as SwarmEvent, FileIndex, LinkId};
use rustix::io::ReadWriteFlags;

use super::Engine;
use super::event::Task;
use crate::peer::Command;
use crate::store::{Partial, piece_matches};

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
    /// Its piece was checked as well.
    pub(crate) is_checked: bool,
    pub(crate) result: io::Result<Bytes>,
}

/// A piece that nobody has checked since it was put where it is.
pub(super) struct Unchecked {
    info: Arc<BundleInfo>,
    piece: u32,
    /// Where it begins in its package, and its length without padding.
    offset: u64,
    len: usize,
}

impl Unchecked {
    /// Reads it, and gives the block if the piece is right.
    pub(super) fn read(&self, readable: &Readable, block: Block) -> io::Result<Bytes> {
        let piece_len = self.info.layout().piece_len();
        let mut bytes = vec![0; self.len];
        readable.read(self.offset, &mut bytes)?;
        let start = self.piece as usize * BLOCK_HASH_LEN;
        if !piece_matches(piece_len, &bytes, &self.info.block_hashes()[start..start + BLOCK_HASH_LEN]) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "its piece does not match its hash"));
        }
        // What lies behind the end of the package is padding.
        bytes.resize(piece_len.bytes() as usize, 0);
        let begin = block.begin as usize;
        Ok(Bytes::from(bytes).slice(begin..begin + block.len as usize))
    }
}

impl Engine {
    /// A peer gets a block.
    pub(super) fn give(&mut self, link: LinkId, block: Block) {
        let Some(bundle) = self.network.bundle_of(link) else { return };
        let Some((file, offset, readable)) = self.readable(bundle, block) else {
            return self.not_given(link, block);
        };
        if let Some(piece) = self.unchecked(bundle, block.piece) {
            let events = self.yard.events.clone();
            tokio::task::spawn_blocking(move || {
                let result = piece.read(&readable, block);
                let read = ReadBlock { link, bundle, file, block, is_checked: true, result };
                let _ = events.blocking_send(Task::Read(read).into());
            });
            return;
        }
        let Some(size) = self.size_of(bundle, file) else { return };
        // What lies behind the end of the package is padding.
        let len = size.saturating_sub(offset).min(u64::from(block.len)) as usize;
        let mut bytes = vec![0; block.len as usize];
        match readable.read_now(offset, &mut bytes[..len]) {
            Some(()) => {
                let result = Ok(Bytes::from(bytes));
                self.block_read(ReadBlock { link, bundle, file, block, is_checked: false, result });
            }
            None => {
                let events = self.yard.events.clone();
                tokio::task::spawn_blocking(move || {
                    let result = readable.read(offset, &mut bytes[..len]).map(|()| Bytes::from(bytes));
                    let read = ReadBlock { link, bundle, file, block, is_checked: false, result };
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
        let ReadBlock { link, bundle, file, block, is_checked, result } = read;
        match result {
            Ok(data) => {
                if let Some(bundle) = self.bundles.get_mut(&bundle).filter(|_| is_checked) {
                    bundle.unchecked.remove(&block.piece);
                }
                self.network.say(link, Command::Block { block, data });
            }
            Err(error) => {
                tracing::warn!("a block for another host cannot be read: {error}");
                if error.kind() == io::ErrorKind::InvalidData {
                    self.drop_stored(bundle, file);
                }
                self.open.close(bundle, file);
                self.not_given(link, block);
                self.tell_swarm(SwarmEvent::Withdraw { bundle, file });
            }
        }
    }

    /// A package of the store is not what its name says.
    fn drop_stored(&mut self, bundle: BundleId, file: FileIndex) {
        let info = self.bundles.get(&bundle).and_then(|bundle| bundle.info.as_ref());
        let Some(identity) = info.map(|info| info.packages()[file.0 as usize].identity) else { return };
        tracing::warn!("{identity} leaves the store: its pieces do not match");
        self.store.remove(&identity);
    }

    /// A piece that was offered and has not been checked, if it is such a one.
    pub(super) fn unchecked(&self, id: BundleId, piece: u32) -> Option<Unchecked> {
        let bundle = self.bundles.get(&id).filter(|bundle| bundle.unchecked.contains(&piece))?;
        let info = bundle.info.clone()?;
        let layout = info.layout();
        let extent = layout.extents()[layout.index_of(piece)?];
        let offset = u64::from(piece - extent.first_piece) * u64::from(layout.piece_len().bytes());
        let len = layout.payload_len(piece) as usize;
        Some(Unchecked { piece, offset, len, info })
    }

    /// A block has left for a peer.
    pub(super) fn given(&mut self, link: LinkId, block: Block) {
        self.ledger.sent += u64::from(block.len);
        self.tell_swarm(SwarmEvent::Sent { link, block });
    }

    fn not_given(&mut self, link: LinkId, block: Block) {
        self.network.say(link, Command::Reject(block));
        self.tell_swarm(SwarmEvent::Sent { link, block });
    }

    /// The file that a block is in, where it begins in it, and what to read it from.
    pub(super) fn readable(&mut self, id: BundleId, block: Block) -> Option<(FileIndex, u64, Readable)> {
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
            bundle.is_used();
        }
        self.tell_swarm(SwarmEvent::Offer { bundle, file });
        self.announce_if_done(bundle);
    }

    /// A package that is in the store is given to peers of this bundle from now on; whether it is and was not before. What
    /// lies there may be of an earlier run, so each of its pieces is checked when it is first given.
    pub(super) fn offer_stored(&mut self, id: BundleId, file: FileIndex, identity: Sha256Digest) -> bool {
        let Some(bundle) = self.bundles.get_mut(&id) else { return false };
        let Some(extent) = bundle.info.as_ref().and_then(|info| info.layout().extents().get(file.0 as usize))
        else {
            return false;
        };
        let is_offered = self.swarm.served(id).is_some_and(|served| served.get(extent.first_piece));
        if self.store.size(&identity) != Some(extent.size) || is_offered {
            return false;
        }
        bundle.unchecked.extend(extent.first_piece..extent.first_piece + extent.pieces);
        self.offer(id, file);
        true
    }
}
