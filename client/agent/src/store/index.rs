//! What the store has, in memory: packages by identity and by alias, and in which order they would leave.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, SystemTime};

use pkgtorrent_protocol::{PackageDigest, Sha256Digest};

#[derive(Debug)]
struct Entry {
    size: u64,
    wanted: SystemTime,
    aliases: Vec<PackageDigest>,
}

/// The index. It decides nothing about files.
#[derive(Debug, Default)]
pub(super) struct Index {
    packages: HashMap<Sha256Digest, Entry>,
    // The least recently wanted first.
    order: BTreeSet<(SystemTime, Sha256Digest)>,
    aliases: HashMap<PackageDigest, Sha256Digest>,
    // Counted apart from the packages: a pin outlives a package that is replaced.
    pins: HashMap<Sha256Digest, u32>,
    bytes: u64,
}

impl Index {
    pub(super) fn find(&self, digest: &PackageDigest) -> Option<Sha256Digest> {
        match digest.identity() {
            Some(identity) => self.packages.contains_key(&identity).then_some(identity),
            None => self.aliases.get(digest).copied(),
        }
    }

    pub(super) fn size(&self, identity: &Sha256Digest) -> Option<u64> {
        self.packages.get(identity).map(|entry| entry.size)
    }

    pub(super) fn len(&self) -> u64 {
        self.packages.len() as u64
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Enters a package; one that was there already keeps its aliases.
    pub(super) fn insert(&mut self, identity: Sha256Digest, size: u64, wanted: SystemTime) {
        let aliases = self.remove(&identity);
        for alias in &aliases {
            self.aliases.insert(*alias, identity);
        }
        self.bytes += size;
        self.order.insert((wanted, identity));
        self.packages.insert(identity, Entry { size, wanted, aliases });
    }

    /// Forgets a package, and gives its aliases.
    pub(super) fn remove(&mut self, identity: &Sha256Digest) -> Vec<PackageDigest> {
        let Some(entry) = self.packages.remove(identity) else { return Vec::new() };
        self.bytes -= entry.size;
        self.order.remove(&(entry.wanted, *identity));
        for alias in &entry.aliases {
            self.aliases.remove(alias);
        }
        entry.aliases
    }

    /// A package is known by this digest too: `false` when it was already, or when there is no such package.
    pub(super) fn add_alias(&mut self, alias: PackageDigest, identity: Sha256Digest) -> bool {
        if self.aliases.get(&alias) == Some(&identity) || !self.packages.contains_key(&identity) {
            return false;
        }
        let earlier = self.aliases.insert(alias, identity);
        if let Some(entry) = earlier.and_then(|earlier| self.packages.get_mut(&earlier)) {
            entry.aliases.retain(|other| *other != alias);
        }
        if let Some(entry) = self.packages.get_mut(&identity) {
            entry.aliases.push(alias);
        }
        true
    }

    /// The time to note for a package that is wanted now: later than any other, whatever the clock does.
    pub(super) fn next_wanted(&self) -> SystemTime {
        let latest = self.order.last().map(|(wanted, _)| *wanted + Duration::from_nanos(1));
        SystemTime::now().max(latest.unwrap_or(SystemTime::UNIX_EPOCH))
    }

    pub(super) fn touch(&mut self, identity: &Sha256Digest, wanted: SystemTime) {
        if let Some(entry) = self.packages.get_mut(identity) {
            self.order.remove(&(entry.wanted, *identity));
            self.order.insert((wanted, *identity));
            entry.wanted = wanted;
        }
    }

    pub(super) fn pin(&mut self, identity: Sha256Digest) {
        *self.pins.entry(identity).or_default() += 1;
    }

    pub(super) fn unpin(&mut self, identity: &Sha256Digest) {
        if let Some(pins) = self.pins.get_mut(identity) {
            *pins -= 1;
            if *pins == 0 {
                self.pins.remove(identity);
            }
        }
    }

    /// Bytes of packages that nobody has pinned.
    pub(super) fn evictable(&self) -> u64 {
        self.bytes - self.pins.keys().filter_map(|identity| self.size(identity)).sum::<u64>()
    }

    /// The packages that leave so that at least `bytes` become free: the least recently wanted, none that is pinned.
    pub(super) fn victims(&self, bytes: u64) -> Vec<Sha256Digest> {
        let mut freed = 0;
        let unpinned = self.order.iter().filter(|(_, identity)| !self.pins.contains_key(identity));
        unpinned
            .take_while(|(_, identity)| {
                let is_needed = freed < bytes;
                freed += self.size(identity).unwrap_or_default();
                is_needed
            })
            .map(|(_, identity)| *identity)
            .collect()
    }

    /// The packages with their sizes and when they were last wanted, that longest ago first.
    pub(super) fn list(&self) -> Vec<(Sha256Digest, u64, SystemTime)> {
        let ordered = self.order.iter();
        ordered.map(|(wanted, id)| (*id, self.size(id).unwrap_or_default(), *wanted)).collect()
    }
}

#[cfg(test)]
mod tests {
    use pkgtorrent_protocol::Algorithm;
    use proptest::prelude::*;

    use super::*;

    fn id(n: u8) -> Sha256Digest {
        Sha256Digest([n; 32])
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn alias(n: u8) -> PackageDigest {
        PackageDigest::new(Algorithm::Sha1, &[n; 20]).expect("a digest")
    }

    #[test]
    fn the_least_recently_wanted_leaves_first_and_what_is_pinned_stays() {
        let mut index = Index::default();
        for n in 1..=4 {
            index.insert(id(n), 10, at(n.into()));
        }
        index.touch(&id(1), at(9));
        index.pin(id(2));
        index.pin(id(2));
        assert_eq!(index.victims(10), [id(3)]);
        assert_eq!(index.victims(11), [id(3), id(4)]);
        assert_eq!(index.victims(1000), [id(3), id(4), id(1)]);
        assert_eq!(index.victims(0), []);
        index.unpin(&id(2));
        assert_eq!(index.evictable(), 30);
        index.unpin(&id(2));
        assert_eq!((index.victims(10), index.evictable()), (vec![id(2)], 40));
        index.unpin(&id(2));
    }

    #[test]
    fn a_pin_holds_a_package_that_comes_later_or_comes_again() {
        let mut index = Index::default();
        index.pin(id(1));
        index.insert(id(1), 10, at(1));
        index.insert(id(1), 12, at(2));
        assert_eq!((index.bytes(), index.len(), index.evictable()), (12, 1, 0));
        index.remove(&id(1));
        index.insert(id(1), 10, at(3));
        assert_eq!(index.victims(1), []);
    }

    #[test]
    fn an_alias_goes_with_its_package() {
        let mut index = Index::default();
        index.insert(id(1), 10, at(1));
        index.insert(id(2), 10, at(1));
        assert!(!index.add_alias(alias(1), id(3)), "no such package");
        assert!(index.add_alias(alias(1), id(1)));
        assert!(!index.add_alias(alias(1), id(1)));
        index.insert(id(1), 11, at(2));
        assert_eq!(index.find(&alias(1)), Some(id(1)));
        assert!(index.add_alias(alias(1), id(2)), "it moves");
        assert_eq!(index.remove(&id(1)), []);
        assert_eq!(index.find(&alias(1)), Some(id(2)));
        assert_eq!(index.remove(&id(2)), [alias(1)]);
        assert_eq!((index.find(&alias(1)), index.find(&id(2).into())), (None, None));
    }

    #[test]
    fn a_clock_that_goes_backwards_does_not_make_the_last_one_the_oldest() {
        let mut index = Index::default();
        let later = SystemTime::now() + Duration::from_secs(1000);
        index.insert(id(1), 10, later);
        let next = index.next_wanted();
        assert!(next > later);
        index.insert(id(2), 10, next);
        assert_eq!(index.victims(1), [id(1)]);
    }

    proptest! {
        /// Whatever happens, the sums and the order are those of the packages that are there.
        #[test]
        fn sums_and_order_follow(steps in proptest::collection::vec((0_u8..5, 0_u8..6, 1_u64..100), 0..60)) {
            let mut index = Index::default();
            for (step, n, value) in steps {
                match step {
                    0 => index.insert(id(n), value, at(value)),
                    1 => drop(index.remove(&id(n))),
                    2 => index.touch(&id(n), at(value)),
                    3 => index.pin(id(n)),
                    _ => index.unpin(&id(n)),
                }
                prop_assert_eq!(index.bytes(), index.packages.values().map(|entry| entry.size).sum::<u64>());
                prop_assert_eq!(index.order.len(), index.packages.len());
                let victims = index.victims(u64::MAX);
                prop_assert_eq!(index.evictable(), victims.iter().filter_map(|id| index.size(id)).sum::<u64>());
                prop_assert!(victims.iter().all(|id| !index.pins.contains_key(id)));
            }
        }
    }
}
