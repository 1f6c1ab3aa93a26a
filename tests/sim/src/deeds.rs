//! What a host's swarm is told, and what it then wants done.

use std::collections::VecDeque;

use pkgtorrent_protocol::wire::{BLOCK_LEN, Block};
use pkgtorrent_swarm::{Action, BundleId, Event};

use crate::happening::{Happening, Said};
use crate::service::nanos;
use crate::world::{World, is_ban};

/// What comes of one event beside what is done at once.
#[derive(Default)]
struct Aftermath {
    /// What the swarm is told next.
    events: VecDeque<Event>,
    /// What peers are asked for.
    asks: Vec<(u32, Block)>,
}

impl World {
    /// Tells a swarm what happened, and does all that it says.
    pub(crate) fn tell(&mut self, host: u32, event: Event) {
        let mut after = Aftermath::default();
        after.events.push_back(event);
        while let Some(event) = after.events.pop_front() {
            let now = std::time::Duration::from_nanos(self.now);
            let actions = self.host(host).swarm.handle(event, now);
            for action in actions {
                self.act(host, action, &mut after);
            }
            self.say_asks(host, &mut after.asks);
            self.check(host);
        }
        self.wake_in_time(host);
    }

    fn check(&mut self, host: u32) {
        let one_in = self.scenario.check_one_in;
        let it = self.host(host);
        it.told = it.told.wrapping_add(1);
        if one_in > 0 && it.told.is_multiple_of(one_in) {
            it.swarm.check_invariants();
        }
    }

    fn wake_in_time(&mut self, host: u32) {
        let soon = self.now + 1;
        let it = self.host(host);
        let Some(at) = it.swarm.wake_at().map(|at| nanos(at).max(soon)) else { return };
        if it.wakes_at.is_none_or(|wakes_at| wakes_at > at) {
            it.wakes_at = Some(at);
            self.queue.put(at, Happening::Wake { host });
        }
    }

    /// Blocks that are asked of one peer are asked in one message.
    fn say_asks(&mut self, host: u32, asks: &mut Vec<(u32, Block)>) {
        asks.sort_by_key(|(wire, _)| *wire);
        for of_wire in asks.chunk_by(|a, b| a.0 == b.0) {
            let wire = of_wire[0].0;
            let blocks = of_wire.iter().map(|(_, block)| *block).collect();
            let end = self.wires[wire as usize].end_of(host);
            self.say(wire, end, Said::Asks(blocks));
        }
        asks.clear();
    }

    fn act(&mut self, host: u32, action: Action, after: &mut Aftermath) {
        match action {
            Action::Request { request, bundle, first_piece, pieces, .. } => {
                self.begin_fetch(host, request, bundle.0, first_piece, pieces);
            }
            Action::Cancel { request } => self.cancel_fetch(host, request),
            Action::Ask { link, block } => after.asks.push((link.0 as u32, block)),
            Action::CancelAsk { link, block } => self.say_to(host, link.0, Said::Cancel(block)),
            Action::Keep { bundle, block } => self.keep(host, bundle.0, block),
            Action::Check { bundle, piece } => {
                after.events.push_back(self.check_piece(host, bundle.0, piece));
            }
            Action::Discard { bundle, piece } => {
                self.host(host).wrong.remove(&(bundle.0, piece));
            }
            Action::Interest { link, is_interested } => {
                let end = self.wires[link.0 as usize].end_of(host);
                self.wires[link.0 as usize].is_interested[end] = is_interested;
                self.count_message(link.0 as u32, end, 5);
            }
            Action::Have { link, piece } => self.have(host, link.0 as u32, piece),
            Action::Send { link, block } => self.send(host, link.0 as u32, block),
            Action::Reject { link, block } => self.say_to(host, link.0, Said::Reject(block)),
            Action::Part { link, reason } => {
                let wire = link.0 as u32;
                let hosts = self.wires[wire as usize].hosts;
                if is_ban(reason) {
                    let other = if hosts[0] == host { hosts[1] } else { hosts[0] };
                    self.host(host).banned.insert(other);
                }
                self.hang_up(wire, host);
                self.dial(host, self.wires[wire as usize].bundle);
            }
            Action::AskTracker { bundle, wish } => {
                let wished = Happening::Wished { host, bundle: bundle.0, wish: Box::new(wish) };
                self.put_after(self.latency, wished);
            }
            Action::Whole { bundle, file } => {
                self.file_done(host, bundle.0, file.0, true);
                after.events.push_back(Event::Offer { bundle, file });
            }
            Action::GiveUp { bundle, file, .. } => {
                self.host(host).given_up += 1;
                self.file_done(host, bundle.0, file.0, false);
            }
        }
    }

    fn say_to(&mut self, host: u32, link: u64, said: Said) {
        let end = self.wires[link as usize].end_of(host);
        if self.wires[link as usize].is_open[end] {
            self.say(link as u32, end, said);
        }
    }

    /// Keeps a block, and remembers whether it was wrong.
    fn keep(&mut self, host: u32, bundle: u32, block: Block) {
        let is_wrong = self.is_wrong;
        let wrong = &mut self.host(host).wrong;
        let number = block.begin / BLOCK_LEN;
        if is_wrong {
            wrong.entry((bundle, block.piece)).or_default().insert(number);
        } else if let Some(blocks) = wrong.get_mut(&(bundle, block.piece)) {
            blocks.remove(&number);
        }
    }

    fn check_piece(&mut self, host: u32, bundle: u32, piece: u32) -> Event {
        let key = (bundle, piece);
        let it = self.host(host);
        match it.wrong.remove(&key).filter(|wrong| !wrong.is_empty()) {
            Some(wrong) => {
                it.wrong_copies.entry(key).or_insert(wrong);
                Event::PieceCorrupt { bundle: BundleId(bundle), piece }
            }
            None => {
                let wrong = it.wrong_copies.remove(&key).unwrap_or_default().into_iter().collect();
                self.piece_here(host, bundle, piece);
                Event::PieceVerified { bundle: BundleId(bundle), piece, wrong }
            }
        }
    }

    pub(crate) fn piece_here(&mut self, host: u32, bundle: u32, piece: u32) {
        let len = u64::from(self.bundles[bundle as usize].piece_len(piece));
        let it = self.host(host);
        if it.part(bundle).is_some_and(|part| part.here.set(piece)) {
            it.useful += len;
        }
    }
}
