//! What to ask peers for.

use std::ops::Bound;

use pkgtorrent_protocol::wire::{BLOCK_LEN, Block};

use crate::action::Action;
use crate::assembly::Assembly;
use crate::files::FileKey;
use crate::identity::{BundleId, LinkId};
use crate::swarm::Swarm;

/// Towards the end a block is asked of so many peers at once: the last one waits for the faster of the two.
const ASKED_MAX: usize = 2;

/// However slow our line seems to be, so many blocks are asked for at once: a second's worth at 2 Mbit/s, from which a
/// fast line finds its rate within a few round trips.
const ASKED_LEAST: usize = 16;

impl Swarm {
    /// Asks every link that may have something to give for what it can.
    pub(crate) fn feed(&mut self) {
        if self.hungry.is_empty() {
            return;
        }
        let asked_max = self.asked_max();
        let mut asked: usize = self.links.values().map(|link| link.asked.len()).sum();
        while let Some(id) = self.next_hungry() {
            while asked < asked_max
                && let Some(block) = self.next_block(id)
                && let Some(link) = self.links.get_mut(&id)
            {
                link.ask(block, self.now);
                asked += 1;
                self.actions.push(Action::Ask { link: id, block });
            }
            self.tell_interest(id);
            self.fed_last = id;
            self.is_line_full = asked >= asked_max;
            if self.is_line_full {
                // It goes on with the next one when something has come.
                self.hungry.insert(id);
                return;
            }
        }
    }

    /// How many blocks all peers together are asked for: what our own line takes within the time that they may wait.
    /// More would only queue up before it, until every peer seems to be silent.
    fn asked_max(&self) -> usize {
        let wanted = self.received.get() * self.settings.line_time.as_secs_f64() / f64::from(BLOCK_LEN);
        (wanted as usize).max(ASKED_LEAST)
    }

    /// Takes turns, so that what one link leaves of the line is not always the same one's.
    fn next_hungry(&mut self) -> Option<LinkId> {
        let behind = (Bound::Excluded(self.fed_last), Bound::Unbounded);
        let next = self.hungry.range(behind).next().or_else(|| self.hungry.first()).copied()?;
        self.hungry.remove(&next);
        Some(next)
    }

    fn tell_interest(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        // Said once, and taken back only when nothing at all is missing: every change costs a message.
        let is_over = self.crowds.get(&link.bundle).is_none_or(|crowd| crowd.needed.is_empty());
        let is_interested = if link.is_interesting { !is_over } else { link.useful > 0 };
        if is_interested != link.is_interesting {
            link.is_interesting = is_interested;
            self.actions.push(Action::Interest { link: id, is_interested });
        }
    }

    fn next_block(&mut self, id: LinkId) -> Option<Block> {
        let link = self.links.get(&id)?;
        if link.useful == 0 || !link.has_room(&self.settings, self.now) {
            return None;
        }
        let bundle = link.bundle;
        self.of_its_pieces(id)
            .or_else(|| self.of_orphans(bundle, id))
            .or_else(|| self.of_new_piece(bundle, id))
            .or_else(|| self.of_others_pieces(bundle, id))
    }

    /// An open block of a piece that it was asked for already.
    fn of_its_pieces(&mut self, id: LinkId) -> Option<Block> {
        let link = self.links.get(&id)?;
        let crowd = self.crowds.get_mut(&link.bundle)?;
        link.owns.iter().find_map(|piece| crowd.assemblies.get_mut(piece)?.ask_open(id))
    }

    /// An open block of a piece whose owner has failed.
    fn of_orphans(&mut self, bundle: BundleId, id: LinkId) -> Option<Block> {
        let link = self.links.get_mut(&id)?;
        let crowd = self.crowds.get_mut(&bundle)?;
        let may_be = |piece: u32| !link.is_far || crowd.may_bring(piece);
        let piece = crowd.orphans.iter().copied().find(|piece| {
            link.has.get(*piece)
                && may_be(*piece)
                && crowd.assemblies.get(piece).is_some_and(|it| it.is_solo || it.has_open())
        })?;
        let assembly = crowd.assemblies.get_mut(&piece)?;
        let dropped = if assembly.is_solo { assembly.begin_again(id) } else { Vec::new() };
        assembly.owner = Some(id);
        let block = assembly.ask_open(id);
        link.owns.push(piece);
        crowd.orphans.remove(&piece);
        for (other, block) in dropped {
            self.cancel_ask(other, block);
        }
        block
    }

    /// The first block of the rarest piece that it has and nobody is asked for; where everybody else has everything, of the
    /// first one.
    fn of_new_piece(&mut self, bundle: BundleId, id: LinkId) -> Option<Block> {
        let link = self.links.get(&id)?;
        let crowd = self.crowds.get(&bundle)?;
        let piece_len = u64::from(crowd.layout.piece_len().bytes());
        if self.assembling_len + piece_len > self.settings.assembling_len_max {
            return None;
        }
        if link.is_far {
            let piece = self.next_to_bring(crowd, id)?;
            return self.assemble(bundle, id, piece);
        }
        // What only this link has does not count as available if it was silent, and is asked for nevertheless.
        let pieces = if link.is_counted { crowd.rarity.available() } else { crowd.rarity.all() };
        let piece = if crowd.is_among_seeds() {
            crowd.needed.iter().find(|piece| crowd.rarity.contains(*piece))?
        } else {
            pieces.iter().copied().find(|piece| link.has.get(*piece))?
        };
        self.assemble(bundle, id, piece)
    }

    /// Begins to put a piece together, and asks for its first block.
    fn assemble(&mut self, bundle: BundleId, id: LinkId, piece: u32) -> Option<Block> {
        let crowd = self.crowds.get_mut(&bundle)?;
        let file = crowd.file_of(piece)?;
        let len = crowd.piece_len(piece);
        let is_solo = crowd.suspects.contains_key(&piece);
        let mut assembly = Assembly::new(piece, len, id, is_solo);
        let block = assembly.ask_open(id)?;
        crowd.assemblies.insert(piece, assembly);
        self.assembling_len += u64::from(len);
        self.links.get_mut(&id)?.owns.push(piece);
        self.change(FileKey { bundle, file }, |file| file.pieces.assemble(piece));
        Some(block)
    }

    /// Once everything is asked for or requested, what is slow is asked for elsewhere too: first the blocks that other
    /// links were not asked for yet, then pieces that the origin is to bring, then blocks that are under way.
    fn of_others_pieces(&mut self, bundle: BundleId, id: LinkId) -> Option<Block> {
        let link = self.links.get(&id)?;
        let crowd = self.crowds.get_mut(&bundle)?;
        if crowd.rarity.len() > 0 || link.is_far {
            return None;
        }
        let has = |piece: &u32| link.has.get(*piece);
        let of_others = crowd.assemblies.iter_mut().filter(|(piece, it)| has(piece) && !it.is_solo);
        for (_, assembly) in of_others {
            if let Some(block) = assembly.ask_open(id) {
                return Some(block);
            }
        }
        // What more than this is under way would mostly be sent twice.
        if !link.asked.is_empty() {
            return None;
        }
        let requested = crowd.needed.iter().find(|piece| has(piece) && !crowd.assemblies.contains_key(piece));
        if let Some(piece) = requested.filter(|piece| !self.is_from_origin_only(bundle, *piece)) {
            return self.assemble(bundle, id, piece);
        }
        let crowd = self.crowds.get_mut(&bundle)?;
        let link = self.links.get(&id)?;
        let of_others =
            crowd.assemblies.iter_mut().filter(|(piece, it)| link.has.get(**piece) && !it.is_solo);
        of_others.into_iter().find_map(|(_, assembly)| assembly.ask_again(id, ASKED_MAX))
    }

    fn is_from_origin_only(&self, bundle: BundleId, piece: u32) -> bool {
        let Some(file) = self.crowds.get(&bundle).and_then(|crowd| crowd.file_of(piece)) else { return true };
        self.files.get(FileKey { bundle, file }).is_none_or(|file| file.is_mismatched)
    }
}
