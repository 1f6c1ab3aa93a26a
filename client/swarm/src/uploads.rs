//! Who is sent to next.
//!
//! The hosts are ours, so nobody has to earn what it gets. A few links at a time are *active*; each gets a turn of one
//! piece, so that it soon has something to give on, and goes to the back of the queue. The piece that was given least
//! often comes first: who alone has many pieces lets each of them out once before any of them twice, and the others give
//! them on. So that nobody starves by that, some turns go to who waits longest. One that takes nothing, because its line
//! is slow or its host is gone, holds no slot for others.

use std::collections::VecDeque;
use std::time::Duration;

use pkgtorrent_protocol::wire::Block;

use crate::action::Action;
use crate::identity::LinkId;
use crate::swarm::Swarm;

/// How much a link gets at most before it is another's turn: a piece of the middle class.
const TURN_LEN_MAX: u32 = 128 << 10;

/// How many blocks of one link are on their way from the disk to the network: so many that neither waits for the other.
const SENDING_MAX: u32 = 8;

/// So many blocks of each link are considered for its next turn: what a host of ours usually has asked for.
const CONSIDERED_MAX: usize = 16;

/// Each turn of this number is for who waits longest.
const PATIENT_TURN: u64 = 4;

/// A link that takes no block for so long does not count as active.
const STUCK_AFTER: Duration = Duration::from_secs(1);

/// The most blocks that a peer may ask for before it is answered: what we announce, and what others do.
const WANTS_MAX: usize = 512;

/// The queue of links that want something.
#[derive(Debug, Clone, Default)]
pub(crate) struct Uploads {
    waiting: VecDeque<LinkId>,
    active: Vec<(LinkId, u32)>,
    /// How many turns there were.
    turns: u64,
}

impl Uploads {
    fn knows(&self, link: LinkId) -> bool {
        self.waiting.contains(&link) || self.active.iter().any(|(active, _)| *active == link)
    }

    pub(crate) fn forget(&mut self, link: LinkId) {
        self.waiting.retain(|other| *other != link);
        self.active.retain(|(other, _)| *other != link);
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.active.is_empty()
    }
}

impl Swarm {
    /// A peer asks for a block.
    pub(crate) fn asked(&mut self, id: LinkId, block: Block) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let Some(crowd) = self.crowds.get(&link.bundle) else { return };
        let is_inside = u64::from(block.begin) + u64::from(block.len)
            <= u64::from(crowd.layout.piece_len().bytes())
            && block.len > 0;
        if !is_inside || !crowd.served.get(block.piece) || link.wants.len() >= WANTS_MAX {
            self.actions.push(Action::Reject { link: id, block });
            return;
        }
        if link.wants.is_empty() && link.sending == 0 {
            link.took_at = self.now;
        }
        link.wants.push_back(block);
        if !self.uploads.knows(id) {
            self.uploads.waiting.push_back(id);
        }
        self.send();
    }

    /// A peer does not want a block any more. BEP 6 wants an answer to every request: that it will not come.
    pub(crate) fn ask_cancelled(&mut self, id: LinkId, block: Block) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if let Some(index) = link.wants.iter().position(|other| *other == block) {
            link.wants.remove(index);
            self.actions.push(Action::Reject { link: id, block });
        }
    }

    /// A block has gone.
    pub(crate) fn sent(&mut self, id: LinkId) {
        if let Some(link) = self.links.get_mut(&id) {
            link.sending = link.sending.saturating_sub(1);
            link.took_at = self.now;
        }
        self.send();
    }

    /// Gives every free slot to who waits longest, and every active link what it may have.
    pub(crate) fn send(&mut self) {
        loop {
            self.fill_slots();
            let mut is_turn_over = false;
            for index in 0..self.uploads.active.len() {
                self.send_to(index);
            }
            let (links, uploads) = (&self.links, &mut self.uploads);
            uploads.active.retain(|(id, left)| {
                let Some(link) = links.get(id) else { return false };
                let is_over = link.wants.is_empty() || *left == 0;
                // What is on its way counts: else everything would be on its way at once.
                if !is_over || link.sending > 0 {
                    return true;
                }
                is_turn_over = true;
                if !link.wants.is_empty() {
                    uploads.waiting.push_back(*id);
                }
                false
            });
            if !is_turn_over {
                return;
            }
        }
    }

    fn fill_slots(&mut self) {
        let now = self.now;
        let is_stuck = |id: &LinkId| {
            self.links.get(id).is_none_or(|link| now.saturating_sub(link.took_at) > STUCK_AFTER)
        };
        let mut moving = self.uploads.active.iter().filter(|(id, _)| !is_stuck(id)).count();
        while moving < self.settings.upload_slots {
            let Some(id) = self.next_turn() else { return };
            let Some(link) = self.links.get_mut(&id) else { continue };
            link.took_at = now;
            let piece_len = self.crowds.get(&link.bundle).map_or(0, |crowd| crowd.layout.piece_len().bytes());
            self.uploads.active.push((id, piece_len.min(TURN_LEN_MAX)));
            moving += 1;
        }
    }

    /// Whose turn it is. What it is to get first comes first among what it wants.
    fn next_turn(&mut self) -> Option<LinkId> {
        self.uploads.turns += 1;
        let considered = if self.uploads.turns.is_multiple_of(PATIENT_TURN) { 1 } else { usize::MAX };
        let Some((position, piece)) = self.rarest_wanted(considered) else {
            return self.uploads.waiting.pop_front();
        };
        let id = self.uploads.waiting.remove(position)?;
        let link = self.links.get_mut(&id)?;
        link.wants.make_contiguous().sort_by_key(|block| block.piece != piece);
        let given = self.crowds.get_mut(&link.bundle)?.given.get_mut(piece as usize)?;
        *given = given.saturating_add(1);
        Some(id)
    }

    /// The piece that was given to the fewest, of what the first so many in the queue want, and who waits longest for it.
    fn rarest_wanted(&self, considered: usize) -> Option<(usize, u32)> {
        let mut rarest: Option<(u16, usize, u32)> = None;
        for (position, id) in self.uploads.waiting.iter().enumerate().take(considered) {
            let Some(link) = self.links.get(id) else { continue };
            let Some(crowd) = self.crowds.get(&link.bundle) else { continue };
            for block in link.wants.iter().take(CONSIDERED_MAX) {
                let given = crowd.given.get(block.piece as usize).copied().unwrap_or_default();
                if rarest.is_none_or(|(least, ..)| given < least) {
                    rarest = Some((given, position, block.piece));
                }
            }
        }
        rarest.map(|(_, position, piece)| (position, piece))
    }

    fn send_to(&mut self, index: usize) {
        let (id, left) = &mut self.uploads.active[index];
        let Some(link) = self.links.get_mut(id) else { return };
        while *left > 0 && link.sending < SENDING_MAX {
            let Some(block) = link.wants.pop_front() else { return };
            let crowd = self.crowds.get(&link.bundle);
            // A file may have been withdrawn, or turned out to be wrong, since it was asked for.
            if !crowd.is_some_and(|crowd| crowd.served.get(block.piece)) {
                self.actions.push(Action::Reject { link: *id, block });
                continue;
            }
            *left = left.saturating_sub(block.len);
            link.sending += 1;
            self.actions.push(Action::Send { link: *id, block });
        }
    }

    /// Panics unless whoever wants something is in the queue once.
    pub(crate) fn check_uploads(&self) {
        for (id, link) in &self.links {
            let waiting = self.uploads.waiting.iter().filter(|other| *other == id).count();
            let active = self.uploads.active.iter().filter(|(other, _)| other == id).count();
            assert!(waiting + active <= 1, "{id} is in the queue twice");
            assert!(link.wants.is_empty() || waiting + active == 1, "{id} is not in the queue");
            assert!(link.wants.len() <= WANTS_MAX);
        }
    }
}
