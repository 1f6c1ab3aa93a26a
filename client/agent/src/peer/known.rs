//! One connection for each peer and bundle.

use std::collections::HashMap;

use pkgtorrent_protocol::{InfoHash, PeerId};
use pkgtorrent_swarm::LinkId;

/// The peers that there is a connection to.
#[derive(Debug)]
pub struct Known {
    own: PeerId,
    links: HashMap<(InfoHash, PeerId), Held>,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    link: LinkId,
    is_dialled: bool,
}

/// What becomes of a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is the only one.
    Keep,
    /// It stays, and this older one ends.
    KeepInsteadOf(LinkId),
    /// It ends: there is another.
    Refuse,
}

impl Known {
    /// Nobody is known yet to this agent.
    #[must_use]
    pub fn new(own: PeerId) -> Self {
        Self { own, links: HashMap::new() }
    }

    /// A new connection is ready. When two hosts have called each other at the same time, the call of the one with the
    /// smaller peer id stays: both ends know that without asking. Of two calls by the same host the first stays.
    pub fn meet(&mut self, info_hash: InfoHash, peer: PeerId, link: LinkId, is_dialled: bool) -> Verdict {
        let we_are_smaller = self.own < peer;
        let new = Held { link, is_dialled };
        match self.links.get_mut(&(info_hash, peer)) {
            None => {
                self.links.insert((info_hash, peer), new);
                Verdict::Keep
            }
            Some(held) if held.is_dialled != is_dialled && is_dialled == we_are_smaller => {
                let old = std::mem::replace(held, new);
                Verdict::KeepInsteadOf(old.link)
            }
            Some(_) => Verdict::Refuse,
        }
    }

    /// A connection is over. One that was replaced before changes nothing.
    pub fn part(&mut self, info_hash: InfoHash, peer: PeerId, link: LinkId) {
        if self.links.get(&(info_hash, peer)).is_some_and(|held| held.link == link) {
            self.links.remove(&(info_hash, peer));
        }
    }

    /// Whether there is a connection to this peer for this bundle.
    #[must_use]
    pub fn has(&self, info_hash: InfoHash, peer: PeerId) -> bool {
        self.links.contains_key(&(info_hash, peer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUNDLE: InfoHash = InfoHash([7; 20]);
    const SMALL: PeerId = PeerId([1; 20]);
    const LARGE: PeerId = PeerId([2; 20]);

    /// Who called, of the connection that each side is left with when both calls meet in these orders.
    fn left(small_sees_own_first: bool, large_sees_own_first: bool) -> (PeerId, PeerId) {
        let remaining = |own, other, own_first: bool| {
            let mut known = Known::new(own);
            let calls = if own_first { [true, false] } else { [false, true] };
            let mut kept = None;
            for (link, is_dialled) in (0..).map(LinkId).zip(calls) {
                match known.meet(BUNDLE, other, link, is_dialled) {
                    Verdict::Keep => kept = Some((link, is_dialled)),
                    Verdict::KeepInsteadOf(old) => {
                        assert_eq!(kept.map(|(link, _)| link), Some(old));
                        kept = Some((link, is_dialled));
                    }
                    Verdict::Refuse => {}
                }
            }
            if kept.is_some_and(|(_, is_dialled)| is_dialled) { own } else { other }
        };
        (remaining(SMALL, LARGE, small_sees_own_first), remaining(LARGE, SMALL, large_sees_own_first))
    }

    #[test]
    fn of_two_calls_at_once_both_ends_keep_the_one_of_the_smaller_id() {
        for (small_first, large_first) in [(true, true), (true, false), (false, true), (false, false)] {
            assert_eq!(left(small_first, large_first), (SMALL, SMALL), "{small_first} {large_first}");
        }
    }

    #[test]
    fn a_second_call_by_the_same_host_is_refused_until_the_first_is_over() {
        for (own, other) in [(SMALL, LARGE), (LARGE, SMALL)] {
            for is_dialled in [true, false] {
                let mut known = Known::new(own);
                assert_eq!(known.meet(BUNDLE, other, LinkId(1), is_dialled), Verdict::Keep);
                assert_eq!(known.meet(BUNDLE, other, LinkId(2), is_dialled), Verdict::Refuse);
                assert_eq!(known.meet(InfoHash([8; 20]), other, LinkId(3), is_dialled), Verdict::Keep);
                known.part(BUNDLE, other, LinkId(2));
                assert!(known.has(BUNDLE, other), "the refused one's end is not the other's");
                known.part(BUNDLE, other, LinkId(1));
                assert!(!known.has(BUNDLE, other));
                assert_eq!(known.meet(BUNDLE, other, LinkId(4), is_dialled), Verdict::Keep);
            }
        }
    }
}
