//! Which homes become one, so that few bundles make a plan.
//!
//! Every set of packages that nobody shares yet becomes a home, so a fleet of many roles, or somebody who posts odd sets,
//! makes many small ones, and a host that wants a bit of each would take part in all of them. A request that touches
//! more homes of a class than [`homes_max`] has the smaller ones of them merged, with its own new packages, into one.
//!
//! Three things keep this from doing harm:
//! - Homes are merged whole. Taking out just what one request wants would leave the rest behind for the next one, which
//!   takes it back: roles that share the usual packages would fetch them again and again. Merging alone comes to an
//!   end, and no request, however odd, ever makes another one touch more homes than before.
//! - What a package's home grows by is at least what it was: the largest home that is merged is no larger than the others
//!   together. So no host has to follow a package (see [`moving`](super::moving)) more often than a bundle can double,
//!   and no first copy is fetched again more often than that where nobody follows. What is not merged by this rule has
//!   more than all smaller ones together, so few of those are left too.
//! - A home that grows too large to be read by who wants little of it is left alone, see [`MERGED_PACKAGES_MAX`].

use pkgtorrent_protocol::InfoHash;
use pkgtorrent_protocol::layout::BUNDLE_PIECES_MAX;

/// So many homes of a class may make a plan for a few packages: a host can be in so many swarms without noticing.
const HOMES_MIN: usize = 8;

/// A plan may have one more home of a class for so many packages of that class. A role that has the usual packages in
/// common with thirty others finds its sixty in some ten homes: that is no reason to fetch anything again.
const PACKAGES_PER_HOME: usize = 8;

/// But never more than this: with three classes, as many as an agent takes part in.
const HOMES_MAX: usize = 80;

/// The most packages of a bundle that comes of merging: its info dictionary stays below half a megabyte for who wants a
/// few packages of it.
const MERGED_PACKAGES_MAX: usize = 1024;

/// What merging has to know of a bundle, or of the packages that are about to become one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) packages: usize,
    pub(super) pieces: u64,
}

impl Extent {
    pub(super) fn add(&mut self, pieces: u32) {
        self.packages += 1;
        self.pieces += u64::from(pieces);
    }

    pub(super) fn remove(&mut self, pieces: u32) {
        self.packages -= 1;
        self.pieces -= u64::from(pieces);
    }
}

/// How many homes of a class may hold so many packages of a request.
pub(super) fn homes_max(packages: usize) -> usize {
    (HOMES_MIN + packages / PACKAGES_PER_HOME).min(HOMES_MAX)
}

/// Which of the homes that a request touches, all of one class, are merged with each other and with the packages that
/// have none, when there are too many.
pub(super) fn to_merge(mut homes: Vec<(Extent, InfoHash)>, homeless: Extent) -> Vec<InfoHash> {
    homes.sort_unstable_by_key(|(extent, info_hash)| (extent.pieces, *info_hash));
    let (mut together, mut merged) = (homeless, 0);
    for (at, (home, _)) in homes.iter().enumerate() {
        let is_outgrown = home.pieces <= together.pieces;
        together.packages += home.packages;
        together.pieces += home.pieces;
        if together.packages > MERGED_PACKAGES_MAX || together.pieces > u64::from(BUNDLE_PIECES_MAX) {
            break;
        }
        if is_outgrown {
            merged = at + 1;
        }
    }
    homes.truncate(merged);
    homes.into_iter().map(|(_, info_hash)| info_hash).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn homes(pieces: &[u64]) -> Vec<(Extent, InfoHash)> {
        let home = |(n, &pieces): (usize, &u64)| (Extent { packages: 1, pieces }, InfoHash([n as u8; 20]));
        pieces.iter().enumerate().map(home).collect()
    }

    fn merged(pieces: &[u64], homeless: u64) -> usize {
        to_merge(homes(pieces), Extent { packages: 1, pieces: homeless }).len()
    }

    #[test]
    fn the_smaller_ones_become_one_and_none_outweighs_the_others() {
        assert_eq!(merged(&[1; 60], 0), 60);
        assert_eq!(merged(&[1, 2, 4, 8, 16], 0), 0, "each is more than all before it");
        assert_eq!(merged(&[4, 1, 2, 8, 16], 1), 5);
        assert_eq!(
            merged(&[1, 1, 5, 6, 14, 40], 0),
            4,
            "5 comes along with 6, and all of them are less than 14"
        );
        assert_eq!(merged(&[7], 6), 0);
        assert_eq!(merged(&[7], 7), 1);
    }

    #[test]
    fn what_is_merged_fits_a_bundle() {
        assert_eq!(merged(&[u64::from(BUNDLE_PIECES_MAX) / 3; 9], 0), 3);
        let full = Extent { packages: MERGED_PACKAGES_MAX / 2, pieces: 5 };
        let homes = (0..9).map(|n| (full, InfoHash([n; 20]))).collect();
        assert_eq!(to_merge(homes, Extent::default()).len(), 2);
    }
}
