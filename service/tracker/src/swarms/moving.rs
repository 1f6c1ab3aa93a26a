//! What moves along when packages get another home.
//!
//! Hosts share the old home until they hear of the new one. Until then the new swarm has them listed, so that whoever
//! needs the packages calls them, by which they hear of it; and it knows which first copies are out or on their way, so
//! that nobody is leased them again.

use std::time::Duration;

use super::{Swarms, enter};
use crate::homes::Move;
use crate::swarm::{Contact, Swarm};

/// So many peers of one old home are listed in the new one. They are there for those who come within the minute in which
/// the others announce anyway, and listing them takes a fraction of a millisecond.
const CARRIED_MAX: usize = 500;

impl Swarms {
    /// Takes over what is known of packages in their old swarms, to be called once the new ones are registered.
    pub(crate) fn carry_over(&mut self, moves: &[Move], now: Duration) {
        for of_pair in moves.chunk_by(|one, next| (one.from, one.to) == (next.from, next.to)) {
            let Some(Move { from, to, .. }) = of_pair.first() else { continue };
            let (Some(&from), Some(&to)) = (self.slot_of.get(from), self.slot_of.get(to)) else { continue };
            let fresh_since = self.fresh_since(now);
            let carried = self.slots[from].some_fresh(fresh_since, CARRIED_MAX);
            for contact in carried {
                self.carry_peer(to, contact);
            }
            if let Ok([from, to]) = self.slots.get_disjoint_mut([from, to]) {
                of_pair.iter().for_each(|moved| carry_first_copies(from, to, moved, now));
            }
        }
    }

    /// Lists a peer as one that has something: it has never said that it has everything of this bundle.
    fn carry_peer(&mut self, to: usize, contact: Contact) {
        let swarm = &mut self.slots[to];
        if !swarm.lists(contact.address) {
            enter(swarm, contact, false, &self.settings, &mut self.listed);
        }
    }
}

fn carry_first_copies(from: &Swarm, to: &mut Swarm, moved: &Move, now: Duration) {
    let (old, new) = moved.first_piece;
    for local in from.locals() {
        let known = local.leases.known_of(old, moved.pieces, local.is_seeded());
        to.local(local.site).leases.take_over(new, &known, moved.of_pieces, now);
    }
}
