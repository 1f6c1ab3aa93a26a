//! Making room: what leaves, in which order, and when nothing can be done.

use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use pkgtorrent_protocol::Sha256Digest;
use pkgtorrent_protocol::socket::Need;

use super::directories::Area;
use super::{Partial, Store, StoreError, room};

/// How long half a package is kept for a resume. The hosts of a burst come back within minutes, a machine that was
/// switched off the next morning.
pub(super) const KEPT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// How long evicting waits for its blocks, in steps of [`SETTLE_STEP`], before the file system is asked to hurry: XFS
/// gives them back one to five milliseconds after the last name of a file is gone.
const SETTLE_STEPS_MAX: u32 = 10;
const SETTLE_STEP: Duration = Duration::from_millis(2);

/// How often the file system is then asked to write out what it has. Btrfs gives blocks back when it does, sometimes
/// only the second time; it takes some 30 milliseconds.
const SYNCS_MAX: u32 = 2;

/// How much has to leave, and why.
#[derive(Debug, Clone, Copy)]
struct Lack {
    over_limit: u64,
    disk: u64,
    free: u64,
    kept_free: u64,
}

impl Lack {
    fn bytes(&self) -> u64 {
        self.over_limit.max(self.disk)
    }
}

/// What leaves may share its blocks or be open somewhere, and then gives nothing back. Then more leaves, twice as much
/// each time, so that a large store of such files is not searched through package by package.
#[derive(Debug, Default)]
struct Rounds {
    done: u32,
}

impl Rounds {
    /// How much leaves in the next round.
    fn next(&mut self, lack: Lack) -> u64 {
        let factor = 1_u64.checked_shl(self.done).unwrap_or(u64::MAX);
        self.done += 1;
        lack.bytes().saturating_mul(factor)
    }
}

impl Store {
    /// Removes what may leave until the store is within its limits, these needs included.
    pub fn tidy(&mut self, needs: &[Need]) {
        let now = SystemTime::now();
        let is_old = |since: SystemTime| now.duration_since(since).is_ok_and(|age| age > KEPT_MAX);
        let old: Vec<Sha256Digest> =
            self.kept.iter().filter(|(_, kept)| is_old(kept.since)).map(|(identity, _)| *identity).collect();
        let mut tidied = old.iter().try_for_each(|identity| self.drop_kept(identity));
        let mut rounds = Rounds::default();
        while tidied.is_ok() {
            tidied = match self.settled_lack(0, 0, needs) {
                Ok(lack) if lack.bytes() > 0 && self.evictable() > 0 => self.evict(rounds.next(lack)),
                Ok(_) => return,
                Err(error) => Err(error),
            };
        }
        if let Err(error) = tidied {
            tracing::warn!("the store stays larger than it should be: {error}");
        }
    }

    /// Makes room for `bytes` more, `disk_bytes` of which the file system has not given yet. Nothing leaves when that
    /// would not suffice. Gives how much must stay free.
    pub(super) fn make_room(
        &mut self,
        bytes: u64,
        disk_bytes: u64,
        needs: &[Need],
    ) -> Result<u64, StoreError> {
        let mut rounds = Rounds::default();
        loop {
            let lack = self.settled_lack(bytes, disk_bytes, needs)?;
            let evictable = self.evictable();
            let path = || self.directories.root();
            if lack.bytes() == 0 {
                return Ok(lack.kept_free);
            } else if lack.over_limit > evictable {
                let in_use = self.bytes() - evictable;
                let max = self.limits.max_bytes;
                return Err(StoreError::OverLimit { path: path(), needed: bytes, bytes: in_use, max });
            } else if lack.disk > evictable {
                let Lack { free, kept_free: kept, .. } = lack;
                return Err(StoreError::NoSpace { path: path(), needed: disk_bytes, free, kept, evictable });
            }
            self.evict(rounds.next(lack))?;
        }
    }

    /// What lacks once the blocks of what has left are free. File systems that share blocks give them back a little later,
    /// and to take that for none would drive out everything.
    fn settled_lack(&mut self, bytes: u64, disk_bytes: u64, needs: &[Need]) -> Result<Lack, StoreError> {
        let mut lack = self.lack(bytes, disk_bytes, needs)?;
        if !self.disk.can_share {
            return Ok(lack);
        }
        let (mut steps, mut syncs) = (0, 0);
        while lack.disk > 0 {
            if self.disk.has_uncounted() || (self.has_freed && steps == SETTLE_STEPS_MAX && syncs < SYNCS_MAX)
            {
                self.disk.sync();
                syncs += 1;
            } else if self.has_freed && steps < SETTLE_STEPS_MAX {
                std::thread::sleep(SETTLE_STEP);
                steps += 1;
            } else {
                self.has_freed = false;
                break;
            }
            lack = self.lack(bytes, disk_bytes, needs)?;
        }
        Ok(lack)
    }

    fn lack(&self, bytes: u64, disk_bytes: u64, needs: &[Need]) -> Result<Lack, StoreError> {
        let measure = self.disk.measure()?;
        let promised = self.downloading.values().map(Partial::unreserved).sum::<u64>()
            + self.claims.unreserved.load(Ordering::Relaxed);
        let free = measure.free.saturating_sub(promised);
        let floor = room::floor(self.limits.free_space_min, measure.total);
        let kept_free = floor.saturating_add(self.disk.needed(needs));
        Ok(Lack {
            over_limit: self.bytes().saturating_add(bytes).saturating_sub(self.limits.max_bytes),
            disk: disk_bytes.saturating_add(kept_free).saturating_sub(free),
            free,
            kept_free,
        })
    }

    /// Bytes that may leave.
    pub(super) fn evictable(&self) -> u64 {
        self.index.evictable() + self.kept.values().map(|kept| kept.size).sum::<u64>()
    }

    /// Lets `bytes` leave: half packages first, of which the oldest is the least likely to be resumed; then packages
    /// as the index says.
    pub(super) fn evict(&mut self, bytes: u64) -> Result<(), StoreError> {
        let mut kept: Vec<_> = self.kept.iter().map(|(id, kept)| (kept.since, *id, kept.size)).collect();
        kept.sort_unstable();
        let mut freed: u64 = 0;
        for (_, identity, size) in kept {
            if freed >= bytes {
                break;
            }
            self.drop_kept(&identity)?;
            freed += size;
        }
        for identity in self.index.victims(bytes.saturating_sub(freed)) {
            tracing::debug!("{identity} leaves the store");
            self.drop_package(&identity)?;
        }
        Ok(())
    }

    fn drop_kept(&mut self, identity: &Sha256Digest) -> Result<(), StoreError> {
        self.directories.unlink(Area::Partials, &identity.to_string())?;
        self.has_freed = true;
        self.kept.remove(identity);
        Ok(())
    }
}
