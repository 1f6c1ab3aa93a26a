//! What peers say and send, and what becomes of it.

use std::time::Duration;

use pkgtorrent_protocol::wire::{Bitfield, Block};

use crate::action::{Action, PartReason};
use crate::assembly::{Assembly, BlockState};
use crate::crowd::Crowd;
use crate::far::SILENCE_FACTOR;
use crate::files::FileKey;
use crate::identity::{BundleId, LinkId};
use crate::journal::Happening;
use crate::link::Link;
use crate::swarm::Swarm;

/// A link that answered nothing so many times in a row is ended.
const SILENCES_MAX: u32 = 2;

/// How long a link that answered nothing is asked for nothing.
const SILENCE_REST: Duration = Duration::from_secs(1);

impl Swarm {
    pub(crate) fn linked(&mut self, id: LinkId, bundle: BundleId) {
        let now = self.now;
        let Some(crowd) = self.crowds.get_mut(&bundle) else { return };
        self.links.insert(id, Link::new(bundle, crowd.layout.pieces(), now));
        crowd.links.insert(id);
        crowd.met = crowd.met.saturating_add(1);
        // The origin was asked for whatever was missing; with peers there is a choice. One peer more is no reason to wait:
        // in a fleet somebody comes all the time.
        if crowd.links.len() == 1 {
            crowd.guide.lives(now);
        }
        self.is_origin_due = true;
        self.note(Happening::Linked { link: id, bundle });
    }

    pub(crate) fn foreign(&mut self, id: LinkId) {
        if let Some(link) = self.links.get_mut(&id) {
            link.is_foreign = true;
        }
    }

    /// All that a peer has.
    pub(crate) fn has(&mut self, id: LinkId, pieces: &Bitfield) {
        let total = self.link_crowd(id).map(|(_, crowd)| crowd.layout.pieces());
        if total == Some(pieces.pieces()) {
            self.have(id, pieces.iter());
        }
    }

    /// A peer has these pieces.
    pub(crate) fn have(&mut self, id: LinkId, pieces: impl IntoIterator<Item = u32>) {
        let now = self.now;
        let Some(link) = self.links.get_mut(&id) else { return };
        let Some(crowd) = self.crowds.get_mut(&link.bundle) else { return };
        crowd.far.lives(id);
        for piece in pieces {
            if piece >= crowd.layout.pieces() || !link.has.set(piece) {
                continue;
            }
            let is_needed = crowd.needed.get(piece);
            if link.is_counted {
                if is_needed && crowd.rarity.holders(piece) == 0 {
                    crowd.guide.lives(now);
                }
                crowd.rarity.gain(piece, &mut self.random);
            }
            link.useful += u32::from(is_needed);
        }
        if link.has.is_complete() {
            let bundle = link.bundle;
            self.count_seeds(bundle);
        }
        self.hungry.insert(id);
        self.part_if_idle(id);
    }

    /// Counts the links that have everything.
    fn count_seeds(&mut self, bundle: BundleId) {
        let Some(crowd) = self.crowds.get_mut(&bundle) else { return };
        let is_seed = |link: &&Link| link.is_counted && link.has.is_complete();
        // No more links than there are descriptors.
        let seeds = crowd.links.iter().filter_map(|id| self.links.get(id)).filter(is_seed).count() as u32;
        // What only seeds have may be leased to this host.
        self.is_origin_due |= seeds != crowd.seeds;
        crowd.seeds = seeds;
    }

    pub(crate) fn choked(&mut self, id: LinkId) {
        if let Some(link) = self.links.get_mut(&id) {
            link.is_unchoked = false;
            // Who knows BEP 6 rejects what it does not answer; of the others it is known.
            self.release_link(id);
        }
    }

    pub(crate) fn unchoked(&mut self, id: LinkId) {
        if let Some(link) = self.links.get_mut(&id) {
            link.is_unchoked = true;
            self.hungry.insert(id);
        }
    }

    pub(crate) fn arrived(&mut self, id: LinkId, block: Block) {
        let now = self.now;
        let Some(link) = self.links.get_mut(&id) else { return };
        if !link.answer(block, now) {
            return;
        }
        let bundle = link.bundle;
        self.received.add(block.len, now);
        self.hungry.insert(id);
        self.count_again(id);
        let Some(crowd) = self.crowds.get_mut(&bundle) else { return };
        crowd.far.lives(id);
        let Some(assembly) = crowd.assemblies.get_mut(&block.piece) else { return };
        if assembly.is_solo && assembly.owner != Some(id) {
            return;
        }
        let Some(others) = assembly.arrive(block, id) else { return };
        let is_whole = assembly.is_whole();
        self.actions.push(Action::Keep { bundle, block });
        for other in others {
            self.cancel_ask(other, block);
        }
        if is_whole {
            self.actions.push(Action::Check { bundle, piece: block.piece });
        }
    }

    pub(crate) fn rejected(&mut self, id: LinkId, block: Block) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if !link.no_longer_asked(block) {
            return;
        }
        let bundle = link.bundle;
        // It does not have this piece, whatever it said.
        link.owns.retain(|piece| *piece != block.piece);
        if link.has.clear(block.piece)
            && let Some(crowd) = self.crowds.get_mut(&bundle)
        {
            link.useful -= u32::from(crowd.needed.get(block.piece));
            if link.is_counted {
                crowd.rarity.lose(block.piece, &mut self.random);
            }
            self.is_origin_due = true;
        }
        self.release_block(bundle, id, block);
        self.orphan(bundle, id, block.piece);
        self.hungry.insert(id);
    }

    pub(crate) fn link_gone(&mut self, id: LinkId) {
        if self.links.contains_key(&id) {
            self.note(Happening::Unlinked { link: id });
            self.drop_link(id);
        }
    }

    /// A piece that peers sent is right and kept.
    pub(crate) fn piece_verified(&mut self, bundle: BundleId, piece: u32, wrong: &[u32]) {
        let now = self.now;
        let Some(crowd) = self.crowds.get_mut(&bundle) else { return };
        if !crowd.assemblies.get(&piece).is_some_and(Assembly::is_whole) {
            return;
        }
        let len = crowd.piece_len(piece);
        crowd.guide.from_peers.add(len, now);
        crowd.guide.lives(now);
        crowd.guide.brought = now;
        let suspects = crowd.suspects.remove(&piece).unwrap_or_default();
        let Some(file) = crowd.file_of(piece) else { return };
        let liars: std::collections::BTreeSet<LinkId> =
            wrong.iter().filter_map(|block| *suspects.get(*block as usize)?).collect();
        self.drop_assembly(bundle, piece, false);
        let key = FileKey { bundle, file };
        let had_failed = self.change(key, |file| {
            let had_failed = file.attempts() > 0;
            file.pieces.verify(piece);
            file.helped();
            had_failed
        });
        // Its failures are forgiven: the origin may be asked for it again.
        self.is_origin_due |= had_failed == Some(true);
        for link in liars {
            self.ban(link, piece);
        }
        self.complete_if_whole(key);
    }

    /// A piece that peers sent is wrong.
    pub(crate) fn piece_corrupt(&mut self, bundle: BundleId, piece: u32) {
        let Some(crowd) = self.crowds.get_mut(&bundle) else { return };
        let Some(assembly) = crowd.assemblies.get(&piece).filter(|assembly| assembly.is_whole()) else {
            return;
        };
        let (senders, set) = (assembly.senders(), assembly.sender_set());
        let only = (set.len() == 1).then(|| set.first().copied()).flatten();
        if only.is_none() {
            crowd.suspects.entry(piece).or_insert(senders);
            self.note(Happening::Mixed { bundle, piece });
        }
        self.drop_assembly(bundle, piece, false);
        self.disassemble(bundle, piece);
        if let Some(link) = only {
            self.ban(link, piece);
        }
        self.feed_crowd(bundle);
    }

    fn ban(&mut self, id: LinkId, piece: u32) {
        if self.links.contains_key(&id) {
            let bundle = self.links.get(&id).map(|link| link.bundle);
            self.note(Happening::Banned { link: id, piece });
            self.part(id, PartReason::Liar { piece });
            if let Some(bundle) = bundle {
                self.was_lied_to(bundle);
            }
        }
    }

    pub(crate) fn part(&mut self, id: LinkId, reason: PartReason) {
        self.drop_link(id);
        self.actions.push(Action::Part { link: id, reason });
    }

    /// Two hosts that need nothing of each other part.
    pub(crate) fn part_if_idle(&mut self, id: LinkId) {
        let Some((link, crowd)) = self.link_crowd(id) else { return };
        let is_over = crowd.needed.is_empty() && !crowd.served.is_empty();
        if is_over && link.has.is_complete() {
            self.part(id, PartReason::Idle);
        }
    }

    /// A peer says whether it will ask for anything.
    pub(crate) fn upload_only(&mut self, id: LinkId, is_upload_only: bool) {
        if let Some(link) = self.links.get_mut(&id) {
            link.is_upload_only = is_upload_only;
        }
    }

    /// Parts with peers of whom nothing is to be expected any more while something is needed: they take the places of
    /// those that have it.
    fn part_with_spent(&mut self) {
        let is_needed =
            |link: &Link| self.crowds.get(&link.bundle).is_some_and(|crowd| !crowd.needed.is_empty());
        let is_spent = |link: &Link| {
            let is_idle = link.asked.is_empty() && link.wants.is_empty() && link.sending == 0;
            link.is_upload_only && is_idle && link.useful == 0 && !link.has.is_empty() && is_needed(link)
        };
        let spent: Vec<LinkId> =
            self.links.iter().filter(|(_, link)| is_spent(link)).map(|(id, _)| *id).collect();
        for id in spent {
            self.part(id, PartReason::Spent);
        }
    }

    /// Looks for links that owe something for too long, or have nothing more to give.
    pub(crate) fn look_after_links(&mut self) {
        self.part_with_spent();
        let (now, silence_max) = (self.now, self.settings.silence_max);
        let silent: Vec<LinkId> = self
            .links
            .iter()
            .filter(|(_, link)| {
                let silence_max = silence_max * if link.is_far { SILENCE_FACTOR } else { 1 };
                !link.asked.is_empty() && now.saturating_sub(link.owes_since) >= silence_max
            })
            .map(|(id, _)| *id)
            .collect();
        for id in silent {
            self.fell_silent(id);
        }
        let rested: Vec<LinkId> = self
            .links
            .iter()
            .filter(|(_, link)| link.asked.is_empty() && link.useful > 0)
            .map(|(id, _)| *id)
            .collect();
        self.hungry.extend(rested);
    }

    fn fell_silent(&mut self, id: LinkId) {
        let now = self.now;
        let Some(link) = self.links.get_mut(&id) else { return };
        link.silences += 1;
        link.rests_until = now + SILENCE_REST;
        let (silences, bundle, blocks) = (link.silences, link.bundle, link.asked.len() as u32);
        self.note(Happening::Silent { link: id, blocks });
        if silences >= SILENCES_MAX {
            self.part(id, PartReason::Silent);
        } else {
            let asked = self.links.get(&id).map(|link| link.asked.clone()).unwrap_or_default();
            for block in asked {
                self.cancel_ask(id, block);
            }
            self.release_link(id);
            self.uncount(id);
        }
        self.is_origin_due = true;
        self.feed_crowd(bundle);
    }

    /// The peer is to send nothing of this any more.
    pub(crate) fn cancel_ask(&mut self, id: LinkId, block: Block) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if link.cancel(block) {
            let bundle = link.bundle;
            self.actions.push(Action::CancelAsk { link: id, block });
            self.hungry.insert(id);
            self.release_block(bundle, id, block);
        }
    }

    fn release_block(&mut self, bundle: BundleId, id: LinkId, block: Block) {
        if let Some(crowd) = self.crowds.get_mut(&bundle)
            && let Some(assembly) = crowd.assemblies.get_mut(&block.piece)
        {
            assembly.release(block, id);
        }
    }

    /// Nothing is expected of a link: others may be asked for what it owed.
    fn release_link(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let (bundle, asked, owns) =
            (link.bundle, std::mem::take(&mut link.asked), std::mem::take(&mut link.owns));
        for block in asked {
            self.release_block(bundle, id, block);
        }
        for piece in owns {
            self.orphan(bundle, id, piece);
        }
        self.feed_crowd(bundle);
    }

    /// Nobody asks for the open blocks of a piece; one of which nothing is here or asked for is simply missing.
    fn orphan(&mut self, bundle: BundleId, owner: LinkId, piece: u32) {
        let Some(crowd) = self.crowds.get_mut(&bundle) else { return };
        let Some(assembly) = crowd.assemblies.get_mut(&piece) else { return };
        if assembly.owner != Some(owner) || assembly.is_whole() {
            return;
        }
        assembly.owner = None;
        let is_untouched = assembly.asked().is_empty() && assembly.sender_set().is_empty();
        if is_untouched {
            self.drop_assembly(bundle, piece, false);
            self.disassemble(bundle, piece);
        } else {
            crowd.orphans.insert(piece);
        }
    }

    /// What was begun to be put together and nobody has any more is missing again, so that it can be fetched; and after a
    /// wait in vain also what nobody is asked for, because whoever has it answers nothing.
    pub(crate) fn drop_hopeless_orphans(&mut self, bundle: BundleId) {
        let Some(crowd) = self.crowds.get(&bundle) else { return };
        let is_asked_for = |piece: &u32| crowd.assemblies.get(piece).is_some_and(|it| !it.asked().is_empty());
        let is_hopeless = |piece: &u32| {
            crowd.rarity.holders(*piece) == 0 || crowd.guide.has_waited_in_vain() && !is_asked_for(piece)
        };
        let hopeless = crowd.orphans.iter().copied().filter(is_hopeless);
        for piece in hopeless.collect::<Vec<u32>>() {
            self.drop_assembly(bundle, piece, true);
            self.disassemble(bundle, piece);
        }
    }

    pub(crate) fn disassemble(&mut self, bundle: BundleId, piece: u32) {
        if let Some(file) = self.crowds.get(&bundle).and_then(|crowd| crowd.file_of(piece)) {
            self.change(FileKey { bundle, file }, |file| file.pieces.disassemble(piece));
            self.is_origin_due = true;
        }
    }

    /// A piece is not put together any more. Whoever was asked for something of it is told.
    pub(crate) fn drop_assembly(&mut self, bundle: BundleId, piece: u32, tell_caller: bool) {
        let Some(crowd) = self.crowds.get_mut(&bundle) else { return };
        let Some(assembly) = crowd.assemblies.remove(&piece) else { return };
        crowd.orphans.remove(&piece);
        self.assembling_len -= u64::from(assembly.len());
        if let Some(owner) = assembly.owner.and_then(|owner| self.links.get_mut(&owner)) {
            owner.owns.retain(|other| *other != piece);
        }
        for (link, block) in assembly.asked() {
            self.cancel_ask(link, block);
        }
        if tell_caller {
            self.actions.push(Action::Discard { bundle, piece });
        }
    }

    /// The pieces of a silent link do not count as available.
    fn uncount(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id).filter(|link| link.is_counted) else { return };
        link.is_counted = false;
        if let Some(crowd) = self.crowds.get_mut(&link.bundle) {
            for piece in link.has.iter() {
                crowd.rarity.lose(piece, &mut self.random);
            }
            let bundle = link.bundle;
            self.count_seeds(bundle);
        }
    }

    /// A link that was silent speaks again.
    fn count_again(&mut self, id: LinkId) {
        let is_uncounted = |link: &&mut Link| !link.is_counted && !link.is_far;
        let Some(link) = self.links.get_mut(&id).filter(is_uncounted) else { return };
        link.is_counted = true;
        if let Some(crowd) = self.crowds.get_mut(&link.bundle) {
            for piece in link.has.iter() {
                crowd.rarity.gain(piece, &mut self.random);
            }
            let bundle = link.bundle;
            self.count_seeds(bundle);
        }
    }

    fn drop_link(&mut self, id: LinkId) {
        self.release_link(id);
        self.uncount(id);
        let Some(link) = self.links.remove(&id) else { return };
        self.uploads.forget(id);
        self.hungry.remove(&id);
        if let Some(crowd) = self.crowds.get_mut(&link.bundle) {
            crowd.links.remove(&id);
            crowd.far.part(id, self.now);
        }
        self.count_seeds(link.bundle);
        self.is_origin_due = true;
        self.go_on_if_alone(link.bundle);
        self.send();
    }

    pub(crate) fn link_crowd(&self, id: LinkId) -> Option<(&Link, &Crowd)> {
        let link = self.links.get(&id)?;
        Some((link, self.crowds.get(&link.bundle)?))
    }

    /// Every link of a bundle may find something to ask for.
    pub(crate) fn feed_crowd(&mut self, bundle: BundleId) {
        if let Some(crowd) = self.crowds.get(&bundle) {
            self.hungry.extend(crowd.links.iter().copied());
        }
    }

    /// Panics unless links and assemblies agree.
    pub(crate) fn check_peers(&self) {
        let mut assembling_len = 0;
        for (bundle, crowd) in &self.crowds {
            crowd.rarity.check_invariants();
            crowd.check_guide();
            for (piece, assembly) in &crowd.assemblies {
                assembly.check_invariants();
                assembling_len += u64::from(assembly.len());
                assert!(crowd.needed.get(*piece), "piece {piece} is put together and not needed");
                assert_eq!(
                    crowd.orphans.contains(piece),
                    assembly.owner.is_none(),
                    "piece {piece} of {bundle:?}"
                );
                for (link, block) in assembly.asked() {
                    let link = &self.links[&link];
                    assert!(link.asked.contains(&block), "{block:?} is asked of nobody");
                }
            }
            for id in &crowd.links {
                assert_eq!(self.links[id].bundle, *bundle);
            }
            crowd.check_far(crowd.links.iter().copied().filter(|id| self.links[id].is_far));
        }
        assert_eq!(assembling_len, self.assembling_len, "what is put together is miscounted");
        for (id, link) in &self.links {
            let crowd = &self.crowds[&link.bundle];
            assert!(crowd.links.contains(id));
            assert!(!(link.is_far && link.is_counted), "{id} is far and counts");
            let useful = link.has.iter().filter(|piece| crowd.needed.get(*piece)).count() as u32;
            assert_eq!(link.useful, useful, "{id}: what it has of use is miscounted");
            for block in &link.asked {
                let state = crowd.assemblies.get(&block.piece).and_then(|it| it.state(*block));
                let is_asked = matches!(state, Some(BlockState::Asked(links)) if links.contains(id));
                assert!(is_asked, "{id} was asked for {block:?}, which is {state:?}");
            }
        }
    }
}
