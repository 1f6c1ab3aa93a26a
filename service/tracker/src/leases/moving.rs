//! What is known of a package's first copies, for the bundle that is its home from now on.

use std::net::SocketAddr;
use std::time::Duration;

use super::ranges::Range;
use super::{Leases, STRETCHES_MAX, Stretch};

/// What is known of one of a package's pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// Nothing.
    Nothing,
    /// It is leased to this host, since then.
    Leased { holder: SocketAddr, since: Duration },
    /// So many hosts have it; one that alone reported it is known.
    Out { copies: u8, sole: Option<SocketAddr> },
}

impl Leases {
    /// What is known of a package's pieces. Where somebody has everything, somebody has each of them.
    pub(crate) fn known_of(&self, first: u32, pieces: u32, is_seeded: bool) -> Vec<Known> {
        let known = |piece: u32| {
            let copies = self.copies.get(piece as usize).copied().unwrap_or(0);
            if copies > 0 || is_seeded {
                let sole = self.sole.get(piece as usize).copied().flatten();
                return Known::Out { copies: copies.max(1), sole };
            }
            // Who holds for want of peers holds what is out, and is asked nothing for others.
            let stretch = self.stretches.range(..=piece).next_back().map(|(_, stretch)| stretch);
            match stretch.filter(|stretch| piece < stretch.end && !stretch.starved) {
                Some(stretch) => Known::Leased { holder: stretch.holder, since: stretch.since },
                None => Known::Nothing,
            }
        };
        (first..first.saturating_add(pieces)).map(known).collect()
    }

    /// Knows the same of the pieces from `first` on, as far as nothing is known of them; the bundle has so many in all.
    pub(crate) fn take_over(&mut self, first: u32, known: &[Known], pieces: u32, now: Duration) {
        if known.iter().all(|known| *known == Known::Nothing) {
            return;
        }
        self.begin(pieces);
        let mut piece = first;
        for alike in known.chunk_by(|one, next| one == next) {
            // No more than the package has pieces.
            let range = Range { start: piece, end: piece + alike.len() as u32 };
            piece = range.end;
            let is_unknown = range.end <= self.pieces()
                && self.unreported_len(range) == range.len()
                && self.leased_within(range).next().is_none();
            if !is_unknown {
                continue;
            }
            match alike[0] {
                Known::Nothing => {}
                Known::Out { copies, sole } => self.note_out(range, copies, sole, now),
                Known::Leased { holder, since } if self.stretches.len() < STRETCHES_MAX => {
                    self.free -= range.len();
                    self.put(range, Stretch { end: range.end, holder, since, starved: false });
                    self.host(holder, now).held += range.len();
                }
                Known::Leased { .. } => {}
            }
        }
    }

    fn note_out(&mut self, range: Range, copies: u8, sole: Option<SocketAddr>, now: Duration) {
        self.free -= range.len();
        self.copies[range.start as usize..range.end as usize].fill(copies);
        self.sole[range.start as usize..range.end as usize].fill(sole);
        if let Some(host) = sole {
            self.host(host, now).sole += range.len();
        }
    }
}
