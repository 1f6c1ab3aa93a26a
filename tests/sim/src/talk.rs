//! What hosts say to each other and to the service, and what they are told.

use pkgtorrent_protocol::wire::{Bitfield, Block};
use pkgtorrent_swarm::{BundleId, Event, FileIndex, LinkId, Wish};

use crate::happening::{Happening, Occasion, PlannedSwarm, Said};
use crate::line::time_of;
use crate::queue::Time;
use crate::service::nanos;
use crate::wire::{BLOCK_HEAD_LEN, HANDSHAKE_LEN, WINDOW, Wire};
use crate::world::{SOURCE, World};

/// How long a host waits for a peer that has the info dictionary.
pub(crate) const INFO_PATIENCE: Time = 300_000_000;

/// Between two announces of a host that has nothing special to say.
pub(crate) const ANNOUNCE_INTERVAL: Time = 60_000_000_000;

/// How long a host waits for a service that does not answer.
const SERVICE_PATIENCE: Time = 3_000_000_000;

/// So many have messages wait for no others.
const HAVES_MAX: usize = 4;

/// So many connections a host opens for each bundle, however many there are.
const DIALS_MIN: usize = 2;

/// With fewer connections than this a host asks the tracker for more peers.
const LINKS_FEW: usize = 10;

impl World {
    // --- Connections ------------------------------------------------------------------------------------------

    /// Opens as many connections as there should be.
    pub(crate) fn dial(&mut self, host: u32, bundle: u32) {
        let (dials_max, links_max) = (self.dials_max(host), self.scenario.links_max);
        let rtt = nanos(self.scenario.rtt());
        loop {
            let Some(part) = self.host(host).part(bundle) else { return };
            let is_enough = part.dialled >= dials_max || part.wires.len() + part.dialling >= links_max;
            if is_enough {
                return;
            }
            let Some(to) = part.known.pop() else { return };
            part.dialled += 1;
            part.dialling += 1;
            self.put_after(rtt, Happening::Dialled { from: host, to, bundle });
        }
    }

    /// How many connections a host opens for one bundle.
    fn dials_max(&self, host: u32) -> usize {
        let (of_bundle, in_all) = (self.scenario.dials_max, self.scenario.dials_in_all);
        let needed = self.hosts[host as usize].parts.iter().filter(|part| part.files_left > 0).count();
        (in_all / needed.max(1)).max(DIALS_MIN).min(of_bundle)
    }

    pub(crate) fn dialled(&mut self, from: u32, to: u32, bundle: u32) {
        if let Some(part) = self.host(from).part(bundle) {
            part.dialling -= 1;
        }
        if self.is_gone(from) {
            return;
        }
        if self.is_accepted(from, to, bundle) {
            self.connect(from, to, bundle);
        } else {
            if let Some(part) = self.host(from).part(bundle) {
                part.dialled -= 1;
            }
            if self.host(to).part(bundle).is_none() {
                self.called_for_unknown(to);
            }
            self.dial(from, bundle);
        }
    }

    fn is_accepted(&mut self, from: u32, to: u32, bundle: u32) -> bool {
        let links_max = self.scenario.links_max;
        let is_known = self.pairs.contains(&(bundle, from.min(to), from.max(to)));
        let is_banned = self.hosts[from as usize].banned.contains(&to);
        let it = self.host(to);
        let is_open = !it.is_gone && !it.is_firewalled && !it.banned.contains(&from);
        let is_welcome = is_open && !is_known && !is_banned && from != to;
        is_welcome && self.makes_room_for_wire(to, bundle, links_max)
    }

    /// Whether a host may have one connection more for a bundle, or gives up one that nobody needs.
    fn makes_room_for_wire(&mut self, host: u32, bundle: u32, links_max: usize) -> bool {
        let Some(part) = self.hosts[host as usize].parts.iter().find(|part| part.bundle == bundle) else {
            return false;
        };
        if part.wires.len() < links_max {
            return true;
        }
        let is_idle = |wire: &&u32| {
            let it = &self.wires[**wire as usize];
            part.files_left == 0 && !it.is_interested[1 - it.end_of(host)]
        };
        let idle = part.wires.iter().find(is_idle).copied();
        idle.inspect(|wire| self.drop_wire(*wire, host)).is_some()
    }

    /// A host parts with another of its own accord.
    fn drop_wire(&mut self, wire: u32, host: u32) {
        self.hang_up(wire, host);
        self.tell(host, Event::LinkGone { link: LinkId(u64::from(wire)) });
    }

    fn connect(&mut self, from: u32, to: u32, bundle: u32) {
        let wire = self.wires.len() as u32;
        self.wires.push(Wire::new(bundle, [from, to]));
        self.pairs.insert((bundle, from.min(to), from.max(to)));
        self.message_len += 2 * HANDSHAKE_LEN;
        for (end, host) in [(0, from), (1, to)] {
            let Some(part) = self.host(host).part(bundle) else { continue };
            part.wires.push(wire);
            let (has_info, is_over, here) = (part.has_info, part.files_left == 0, part.here.clone());
            if has_info {
                self.tell_linked(host, wire);
                self.say(wire, end, Said::HasInfo);
            }
            self.say(wire, end, Said::Has(Box::new(here)));
            if has_info && is_over {
                self.say(wire, end, Said::UploadOnly);
            }
        }
    }

    fn tell_linked(&mut self, host: u32, wire: u32) {
        let (it, link) = (&self.wires[wire as usize], LinkId(u64::from(wire)));
        let bundle = BundleId(it.bundle);
        let is_far = it.hosts.map(|host| self.hosts[host as usize].is_far);
        self.tell(host, Event::Linked { link, bundle });
        if is_far[0] != is_far[1] {
            self.tell(host, Event::Far { link });
        }
    }

    /// One end closes a connection; the other hears of it.
    pub(crate) fn hang_up(&mut self, wire: u32, host: u32) {
        let end = self.wires[wire as usize].end_of(host);
        if self.wires[wire as usize].is_open[end] {
            self.say(wire, end, Said::Gone);
            self.close(wire, end);
        }
    }

    fn close(&mut self, wire: u32, end: usize) {
        let it = &mut self.wires[wire as usize];
        it.is_open[end] = false;
        it.ways[end].blocks.clear();
        let (bundle, host, [a, b]) = (it.bundle, it.hosts[end], it.hosts);
        if it.is_open == [false; 2] {
            self.pairs.remove(&(bundle, a.min(b), a.max(b)));
        }
        if let Some(part) = self.host(host).part(bundle) {
            part.wires.retain(|other| *other != wire);
            part.dialled = part.dialled.saturating_sub(1);
        }
    }

    // --- Messages ---------------------------------------------------------------------------------------------

    pub(crate) fn say(&mut self, wire: u32, end: usize, said: Said) {
        self.flush_way(wire, end);
        self.say_now(wire, end, said);
    }

    fn say_now(&mut self, wire: u32, end: usize, said: Said) {
        let len = said.len();
        self.count_message(wire, end, len);
        let heard = Happening::Heard { wire, end: 1 - end as u8, said };
        self.put_after(self.latency, heard);
    }

    /// A message takes its time of both lines.
    pub(crate) fn count_message(&mut self, wire: u32, end: usize, len: u64) {
        let hosts = self.wires[wire as usize].hosts;
        self.message_len += len;
        self.host(hosts[end]).up.message(len);
        self.host(hosts[1 - end]).down.message(len);
        let [from, to] = [end, 1 - end].map(|end| self.hosts[hosts[end] as usize].is_far);
        self.link.message(from, to, len);
    }

    /// Sends the have messages that wait for a connection.
    fn flush_way(&mut self, wire: u32, end: usize) {
        let haves = std::mem::take(&mut self.wires[wire as usize].ways[end].haves);
        if !haves.is_empty() && self.wires[wire as usize].is_open[end] {
            self.say_now(wire, end, Said::Haves(haves.into()));
        }
    }

    pub(crate) fn have(&mut self, host: u32, wire: u32, piece: u32) {
        let (now, interval) = (self.now, nanos(self.scenario.haves_interval));
        let end = self.wires[wire as usize].end_of(host);
        let way = &mut self.wires[wire as usize].ways[end];
        way.haves.push(piece);
        let is_first = way.haves.len() == 1;
        if way.haves.len() >= HAVES_MAX || now >= way.haves_rest_until {
            way.haves_rest_until = now + interval;
            self.flush_way(wire, end);
        } else if is_first {
            let rest = way.haves_rest_until - now;
            let it = self.host(host);
            it.with_haves.push(wire);
            if !std::mem::replace(&mut it.is_flush_due, true) {
                self.put_after(rest, Happening::Flush { host });
            }
        }
    }

    pub(crate) fn flush(&mut self, host: u32) {
        let it = self.host(host);
        it.is_flush_due = false;
        let wires = std::mem::take(&mut it.with_haves);
        if it.is_gone {
            return;
        }
        let rest_until = self.now + nanos(self.scenario.haves_interval);
        for wire in wires {
            let end = self.wires[wire as usize].end_of(host);
            self.wires[wire as usize].ways[end].haves_rest_until = rest_until;
            self.flush_way(wire, end);
        }
    }

    pub(crate) fn heard(&mut self, wire: u32, end: u8, said: Said) {
        let end = usize::from(end);
        let it = &self.wires[wire as usize];
        let (host, bundle) = (it.hosts[end], it.bundle);
        if !it.is_open[end] || self.is_gone(host) {
            return;
        }
        let has_info = self.host(host).part(bundle).is_some_and(|part| part.has_info);
        match said {
            Said::Gone => {
                self.close(wire, end);
                self.tell(host, Event::LinkGone { link: LinkId(u64::from(wire)) });
            }
            Said::HasInfo if has_info => {}
            Said::HasInfo => self.ask_for_info(host, wire),
            Said::AskInfo if has_info => self.send_info(wire, end),
            Said::AskInfo => {}
            said if has_info => self.hear(host, wire, said),
            said => self.hear_early(wire, end, said),
        }
    }

    fn hear(&mut self, host: u32, wire: u32, said: Said) {
        let link = LinkId(u64::from(wire));
        match said {
            Said::Has(pieces) => {
                self.tell(host, Event::Has { link, pieces: *pieces });
                self.tell(host, Event::Unchoked { link });
            }
            Said::Haves(pieces) => self.tell(host, Event::Have { link, pieces: pieces.into_vec() }),
            Said::Asks(blocks) => {
                for block in blocks {
                    self.tell(host, Event::Asked { link, block });
                }
            }
            Said::Cancel(block) => self.tell(host, Event::AskCancelled { link, block }),
            Said::Reject(block) => self.tell(host, Event::Rejected { link, block }),
            Said::UploadOnly => self.tell(host, Event::UploadOnly { link, is_upload_only: true }),
            Said::HasInfo | Said::AskInfo | Said::Gone => {}
        }
    }

    /// What a host hears before it knows the bundle's layout it remembers.
    fn hear_early(&mut self, wire: u32, end: usize, said: Said) {
        let pieces = self.bundles[self.wires[wire as usize].bundle as usize].layout.pieces();
        let early = &mut self.wires[wire as usize].ways[1 - end].early;
        match said {
            Said::Has(pieces) => *early = Some(pieces),
            Said::Haves(haves) => {
                let early = early.get_or_insert_with(|| Box::new(Bitfield::none(pieces)));
                for piece in haves {
                    early.set(piece);
                }
            }
            Said::UploadOnly => self.wires[wire as usize].ways[1 - end].is_upload_only = true,
            _ => {}
        }
    }

    // --- Info dictionaries ------------------------------------------------------------------------------------

    fn ask_for_info(&mut self, host: u32, wire: u32) {
        let (bundle, end) = (self.wires[wire as usize].bundle, self.wires[wire as usize].end_of(host));
        let Some(part) = self.host(host).part(bundle) else { return };
        if !std::mem::replace(&mut part.is_info_asked, true) {
            self.say(wire, end, Said::AskInfo);
        }
    }

    fn send_info(&mut self, wire: u32, end: usize) {
        let it = &self.wires[wire as usize];
        let (bundle, host, other) = (it.bundle, it.hosts[end], it.hosts[1 - end]);
        let len = u64::from(self.bundles[bundle as usize].info_len);
        self.count_message(wire, end, len);
        let took = time_of(len, self.hosts[host as usize].up.rate());
        self.put_after(self.latency + took, Happening::Informed { host: other, bundle });
    }

    pub(crate) fn info_awaited(&mut self, host: u32, bundle: u32) {
        let is_service_dead = self.service.is_dead(self.now);
        let Some(part) = self.host(host).part(bundle) else { return };
        if part.has_info {
            return;
        }
        if !is_service_dead {
            return self.ask_service_for_info(host, bundle);
        }
        part.is_info_asked = false;
        let wires = part.wires.clone();
        if let Some(wire) = wires.get(self.now as usize % wires.len().max(1)) {
            self.ask_for_info(host, *wire);
        }
        self.put_after(INFO_PATIENCE, Happening::InfoAwaited { host, bundle });
    }

    pub(crate) fn ask_service_for_info(&mut self, host: u32, bundle: u32) {
        if self.service.is_dead(self.now) {
            return;
        }
        let len = u64::from(self.bundles[bundle as usize].info_len) + crate::origin::HEAD_LEN;
        self.service.info_len += len;
        let at = self.answer_at(host, len) + self.latency;
        self.queue.put(at, Happening::Informed { host, bundle });
    }

    /// A host knows the bundle's layout: only now can its swarm take part.
    pub(crate) fn informed(&mut self, host: u32, bundle: u32) {
        let is_gone = self.is_gone(host);
        let layout = self.bundles[bundle as usize].layout.clone();
        let Some(part) = self.host(host).part(bundle) else { return };
        if is_gone || std::mem::replace(&mut part.has_info, true) {
            return;
        }
        let (wires, files, guidance) = (part.wires.clone(), part.files.clone(), part.guidance.take());
        let brought = std::mem::take(&mut part.brought);
        let has_all = self.claims_everything(host);
        let id = BundleId(bundle);
        self.tell(host, Event::Join { bundle: id, layout });
        self.tell(host, Event::Source { source: SOURCE, bundles: vec![id], order: 0 });
        if let Some((others, lease, is_second_hand)) = guidance {
            self.tell_guidance(
                host,
                PlannedSwarm { bundle, peers: Vec::new(), others, lease, is_second_hand, moved: 0 },
                true,
            );
        }
        for wire in &wires {
            self.tell_linked(host, *wire);
            let end = self.wires[*wire as usize].end_of(host);
            self.say(*wire, end, Said::HasInfo);
        }
        for file in files.into_iter().map(FileIndex) {
            if has_all {
                self.tell(host, Event::Offer { bundle: id, file });
            } else {
                self.tell(host, Event::Want { bundle: id, file, have: Vec::new() });
            }
        }
        if self.bring(host, bundle, &brought) {
            self.report_standing(host, bundle);
        }
        for wire in wires {
            let end = self.wires[wire as usize].end_of(host);
            if let Some(early) = self.wires[wire as usize].ways[1 - end].early.take() {
                self.hear(host, wire, Said::Has(early));
            }
            if self.wires[wire as usize].ways[1 - end].is_upload_only {
                self.hear(host, wire, Said::UploadOnly);
            }
        }
    }

    // --- The tracker ------------------------------------------------------------------------------------------

    fn tell_guidance(&mut self, host: u32, swarm: PlannedSwarm, is_plan: bool) {
        let PlannedSwarm { bundle, others, lease, is_second_hand, .. } = swarm;
        let is_unguided = is_plan && lease.is_none();
        let ask_again = lease.as_ref().and_then(|lease| lease.ask_again);
        let lease =
            lease.map(|it| it.pieces.into_iter().map(|(first, pieces)| first..first + pieces).collect());
        let id = BundleId(bundle);
        self.tell(host, Event::Guided { bundle: id, others, lease, is_second_hand, ask_again });
        if is_unguided {
            self.tell(host, Event::Unguided { bundle: id });
        }
    }

    pub(crate) fn wished(&mut self, host: u32, bundle: u32, wish: &Wish) {
        if self.service.is_dead(self.now) {
            return self.put_after(SERVICE_PATIENCE, Happening::Unguided { host, bundle });
        }
        let wanted = self.peers_wanted(host, bundle);
        let (swarm, len) =
            self.service.wish(host, bundle, &self.bundles[bundle as usize], wish, wanted, self.now);
        let at = self.answer_at(host, len);
        self.queue.put(at, Happening::Guided { host, swarm: Box::new(swarm) });
    }

    fn peers_wanted(&mut self, host: u32, bundle: u32) -> usize {
        let wanted = self.scenario.peers_wanted;
        let few = LINKS_FEW.min(self.dials_max(host));
        let is_short =
            |part: &mut crate::host::Part| part.files_left > 0 && part.wires.len() + part.dialling < few;
        if self.host(host).part(bundle).is_some_and(is_short) { wanted } else { 0 }
    }

    pub(crate) fn guided(&mut self, host: u32, mut swarm: PlannedSwarm) {
        if self.is_gone(host) {
            return;
        }
        let (bundle, peers) = (swarm.bundle, std::mem::take(&mut swarm.peers));
        let Some(part) = self.host(host).part(bundle) else { return };
        if !peers.is_empty() {
            part.known = peers;
            part.dialled = part.dialled.min(part.wires.len());
        }
        let moved = swarm.moved;
        if part.has_info {
            self.tell_guidance(host, swarm, false);
        }
        self.dial(host, bundle);
        self.heard_of_moves(host, bundle, moved);
    }

    pub(crate) fn unguided(&mut self, host: u32, bundle: u32) {
        if !self.is_gone(host) {
            self.tell(host, Event::Unguided { bundle: BundleId(bundle) });
        }
    }

    pub(crate) fn announce(&mut self, host: u32, occasion: Occasion) {
        if self.is_gone(host) || self.service.is_dead(self.now) {
            return;
        }
        if occasion == Occasion::Regular {
            self.put_after(ANNOUNCE_INTERVAL, Happening::Announce { host, occasion });
        }
        if occasion != Occasion::Completed {
            let now = self.now;
            let it = self.host(host);
            (it.announced_at, it.is_called) = (now, false);
        }
        let bundles: Vec<(u32, bool)> = self.hosts[host as usize]
            .parts
            .iter()
            .map(|part| (part.bundle, part.here.is_complete()))
            .collect();
        let swarms: Vec<(u32, bool, usize)> = bundles
            .into_iter()
            .map(|(bundle, is_complete)| (bundle, is_complete, self.peers_wanted(host, bundle)))
            .collect();
        let is_completed = occasion == Occasion::Completed;
        let event = is_completed.then_some(pkgtorrent_tracker::Event::Completed);
        let (told, len) = self.service.announce(host, &swarms, event, &self.bundles, self.now);
        if is_completed {
            let bundles = swarms.iter().map(|(bundle, ..)| &self.bundles[*bundle as usize]);
            self.service.are_served(host, bundles);
        }
        let at = self.answer_at(host, len);
        for swarm in told {
            self.queue.put(at, Happening::Guided { host, swarm: Box::new(swarm) });
        }
    }

    // --- Blocks -----------------------------------------------------------------------------------------------

    /// Lets a connection have its turn, if it has something to send and may.
    fn queue_way(&mut self, wire: u32, end: usize) {
        let it = &mut self.wires[wire as usize];
        let host = it.hosts[end];
        let way = &mut it.ways[end];
        if way.is_queued || way.blocks.is_empty() || way.under_way >= WINDOW {
            return;
        }
        way.is_queued = true;
        self.host(host).up.ready.push_back(wire);
    }

    /// Sends the next block, if none is being sent.
    fn send_next(&mut self, host: u32) {
        if self.is_gone(host) || !self.hosts[host as usize].up.is_idle() {
            return;
        }
        while let Some(wire) = self.host(host).up.ready.pop_front() {
            let end = self.wires[wire as usize].end_of(host);
            let way = &mut self.wires[wire as usize].ways[end];
            way.is_queued = false;
            let Some(block) = way.blocks.pop_front() else { continue };
            way.under_way += block.len;
            self.flush_way(wire, end);
            let now = self.now;
            let len = u64::from(block.len) + BLOCK_HEAD_LEN;
            self.message_len += BLOCK_HEAD_LEN;
            let left_at = self.host(host).up.begin(wire, block, len, now);
            return self.queue.put(left_at, Happening::BlockLeft { host });
        }
    }

    pub(crate) fn send(&mut self, host: u32, wire: u32, block: Block) {
        let end = self.wires[wire as usize].end_of(host);
        self.wires[wire as usize].ways[end].blocks.push_back(block);
        self.queue_way(wire, end);
        self.send_next(host);
    }

    pub(crate) fn block_left(&mut self, host: u32) {
        let Some((wire, block, since)) = self.host(host).up.end() else { return };
        if self.is_gone(host) {
            return;
        }
        let end = self.wires[wire as usize].end_of(host);
        let receiver = self.wires[wire as usize].hosts[1 - end];
        let (now, latency) = (self.now, self.latency);
        let len = u64::from(block.len) + BLOCK_HEAD_LEN;
        let to = 1 - end as u8;
        let [from_far, is_far] = [host, receiver].map(|host| self.hosts[host as usize].is_far);
        if from_far == is_far {
            let came_at = self.host(receiver).down.receive(len, since + latency, now + latency);
            self.queue.put(came_at, Happening::BlockCame { wire, end: to, block });
        } else {
            let crossed_at = self.link.cross(is_far, len, since + latency, now + latency);
            self.queue.put(crossed_at, Happening::BlockCrossed { wire, end: to, block });
        }
        self.queue_way(wire, end);
        if self.wires[wire as usize].is_open[end] {
            self.tell(host, Event::Sent { link: LinkId(u64::from(wire)), block });
        }
        self.send_next(host);
    }

    pub(crate) fn block_crossed(&mut self, wire: u32, end: u8, block: Block) {
        let (now, receiver) = (self.now, self.wires[wire as usize].hosts[usize::from(end)]);
        let came_at = self.host(receiver).down.receive(u64::from(block.len) + BLOCK_HEAD_LEN, now, now);
        self.queue.put(came_at, Happening::BlockCame { wire, end, block });
    }

    pub(crate) fn block_came(&mut self, wire: u32, end: u8, block: Block) {
        let end = usize::from(end);
        let it = &mut self.wires[wire as usize];
        let (sender, receiver, is_open) = (it.hosts[1 - end], it.hosts[end], it.is_open[end]);
        if self.hosts[receiver as usize].is_gone {
            // Nobody says that it came: the window stays closed.
            return;
        }
        it.ways[1 - end].under_way -= block.len;
        self.queue_way(wire, 1 - end);
        self.send_next(sender);
        self.peer_len += u64::from(block.len);
        self.timeline.peers(self.now, u64::from(block.len));
        self.host(receiver).from_peers += u64::from(block.len);
        if is_open {
            self.is_wrong = self.hosts[sender as usize].is_liar;
            self.tell(receiver, Event::Arrived { link: LinkId(u64::from(wire)), block });
        }
    }
}
