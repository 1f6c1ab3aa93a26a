//! When the origin is asked although there are peers.
//!
//! The first copy of a piece should leave the origin once. The tracker leases each piece to one host; the others hold
//! off until a peer has it. Holding off ends: when nothing comes for a while the tracker is asked for a lease, and when
//! it does not answer, or never gives one, this host helps itself. A host whose peers bring far too little is *starved*
//! and gets a lease even for pieces that others have.

use std::ops::Range;
use std::time::Duration;

use pkgtorrent_protocol::wire::Bitfield;
use rand_core::Rng;
use rand_pcg::Pcg64Mcg;

use crate::action::{Action, Wish};
use crate::crowd::{Crowd, ranges};
use crate::far;
use crate::identity::BundleId;
use crate::journal::Happening;
use crate::lid::Lid;
use crate::link::Rate;
use crate::swarm::Swarm;

/// The tracker takes no more ranges in one list.
const RANGES_MAX: usize = 64;

/// The tracker is asked at most this often for one bundle.
const ASK_INTERVAL: Duration = Duration::from_millis(200);

/// More of a lease is asked for when this part of the last one is left, so that no time is lost over the answer.
const LEFT_DIVISOR: u32 = 4;

/// After holding off so many times in vain a host helps itself, whatever the tracker says.
const WAITS_MAX: u32 = 3;

/// Peers are far too slow if what is missing takes longer than this, and the origin gave twice as much...
const SLOW_ETA: Duration = Duration::from_secs(20);

/// ... or longer than this, when nothing is known of the origin. It is asked for a little then, and known afterwards.
const SLOW_ETA_UNKNOWN: Duration = Duration::from_secs(60);

/// Peers have so long to get going before their rate is judged.
const RATE_PATIENCE: Duration = Duration::from_secs(4);

/// What the tracker has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guidance {
    /// Nothing yet.
    Unknown,
    /// It leases first copies.
    Leases,
    /// It does not answer, or leases nothing.
    None,
}

/// What is known of a bundle's first copies.
#[derive(Debug, Clone)]
pub(crate) struct Guide {
    pub(crate) guidance: Guidance,
    /// How many others the tracker knows.
    pub(crate) others: u32,
    /// What this host is to fetch first copies of, in the order in which it does.
    lease: Vec<Range<u32>>,
    leased: Bitfield,
    /// How many pieces the lease had when it was given.
    given: u32,
    /// The last sign that waiting is worth while: a piece came, a first copy was seen at a peer, a lease was given.
    pub(crate) life: Duration,
    /// When a piece last came.
    pub(crate) brought: Duration,
    /// How many bytes the origin brought.
    pub(crate) from_origin: u64,
    /// When the origin was last asked for something.
    pub(crate) fetched: Option<Duration>,
    /// Peers bring nothing, or far too little.
    pub(crate) is_starved: bool,
    /// Since when something is wanted and there is somebody to bring it.
    pub(crate) since: Duration,
    /// What peers brought.
    pub(crate) from_peers: Rate,
    /// The tracker was asked and has not answered.
    is_asked: bool,
    pub(crate) asked_at: Option<Duration>,
    /// Where there is a lid on what hosts take from the origin.
    pub(crate) lid: Option<Lid>,
    /// Pieces that the origin brought without a lease, and of which the tracker was not told; and those of them that were
    /// told and not answered.
    unleased: Bitfield,
    told: Vec<u32>,
    /// How often this host held off in vain since the last sign of life.
    waits: u32,
    /// The present hold-off: the time that is set, and up to half of it more, so that hosts do not act all at once.
    hold_off: Duration,
}

impl Guide {
    pub(crate) fn new(pieces: u32, now: Duration) -> Self {
        Self {
            guidance: Guidance::Unknown,
            others: 0,
            lease: Vec::new(),
            leased: Bitfield::none(pieces),
            given: 0,
            life: now,
            brought: now,
            from_origin: 0,
            fetched: None,
            is_starved: false,
            since: now,
            from_peers: Rate::new(now),
            is_asked: false,
            asked_at: None,
            lid: None,
            unleased: Bitfield::none(pieces),
            told: Vec::new(),
            waits: 0,
            hold_off: Duration::ZERO,
        }
    }

    /// Something came, or will: there is a reason to go on waiting for peers.
    pub(crate) fn lives(&mut self, now: Duration) {
        self.life = now;
        self.waits = 0;
    }

    fn set_lease(&mut self, lease: Vec<Range<u32>>) {
        self.leased = Bitfield::none(self.leased.pieces());
        let pieces = self.leased.pieces();
        self.lease = lease
            .into_iter()
            .map(|range| range.start.min(pieces)..range.end.min(pieces))
            .filter(|range| !range.is_empty())
            .collect();
        for piece in self.lease.iter().cloned().flatten() {
            self.leased.set(piece);
        }
        self.given = self.leased.count();
    }

    pub(crate) fn hold_off(&self) -> Duration {
        self.hold_off
    }

    /// Whether a whole hold-off has passed since the last sign of life.
    pub(crate) fn has_waited_in_vain(&self) -> bool {
        self.waits > 0
    }

    /// What was waited for is not there: that is no better than a whole hold-off in vain.
    fn wait_no_longer(&mut self) {
        self.waits = self.waits.max(1);
        self.is_starved = true;
        self.asked_at = None;
        if let Some(lid) = &mut self.lid {
            lid.ask_at = Duration::ZERO;
        }
    }

    /// The origin is asked for something.
    pub(crate) fn fetches(&mut self, now: Duration) {
        self.fetched = Some(now);
        if let Some(lid) = &mut self.lid {
            lid.is_impatient = false;
        }
    }

    /// The origin has brought a piece.
    pub(crate) fn fetched_piece(&mut self, piece: u32) {
        if !self.leased.get(piece) {
            self.unleased.set(piece);
        }
    }

    fn draw_hold_off(&mut self, hold_off: Duration, random: &mut Pcg64Mcg) {
        let unit = f64::from(random.next_u32()) / f64::from(u32::MAX);
        self.hold_off = hold_off.mul_f64(1.0 + unit / 2.0);
    }
}

impl Crowd {
    /// Whether this host takes first copies without being told to. Where none of the others could be reached, it has
    /// waited long enough after the first time.
    pub(crate) fn helps_itself(&self) -> bool {
        if let Some(lid) = &self.guide.lid {
            return lid.is_impatient;
        }
        let waits_max = match (self.links.is_empty(), self.far.is_second_hand()) {
            (true, _) => 1,
            (false, false) => WAITS_MAX,
            (false, true) => far::WAITS_MAX,
        };
        self.guide.guidance == Guidance::None || self.guide.waits >= waits_max
    }

    /// This host has something to do, or did something, on its own. That is a reason to wait for peers, but for a host that
    /// has waited in vain already and has still reached nobody. Under a lid it is given a little at a time, which says nothing
    /// of its peers.
    pub(crate) fn goes_on(&mut self, now: Duration) {
        let is_reason = !self.links.is_empty() || !self.guide.has_waited_in_vain();
        if is_reason && self.guide.lid.is_none() {
            self.guide.lives(now);
        }
    }

    /// Whether a missing piece may be asked of the origin although there are peers.
    pub(crate) fn may_fetch(&self, piece: u32) -> bool {
        if self.is_alone() {
            return true;
        }
        let guide = &self.guide;
        let (is_leased, holders) = (guide.leased.get(piece), self.rarity.holders(piece));
        let is_ours = is_leased || self.helps_itself();
        let is_brought = self.far.is_awaited && !guide.is_starved;
        // The tracker leases although there are seeds when these are too few for all: what only they have is as good as
        // nowhere.
        is_ours && !is_brought && (guide.is_starved || holders == 0 || is_leased && holders <= self.seeds)
    }

    /// Whether a piece is leased to this host.
    pub(crate) fn is_leased(&self, piece: u32) -> bool {
        self.guide.leased.get(piece)
    }

    /// The pieces of the lease, in the order in which this host brings them.
    pub(crate) fn lease(&self) -> impl Iterator<Item = u32> + '_ {
        self.guide.lease.iter().cloned().flatten()
    }

    /// The piece with which the next range from the origin begins, while there are peers: one of those that may be.
    pub(crate) fn next_to_fetch(&self, may_be: impl Fn(u32) -> bool) -> Option<u32> {
        let is_missing =
            |piece: &u32| self.rarity.contains(*piece) && self.may_fetch(*piece) && may_be(*piece);
        let of_lease = self.guide.lease.iter().cloned().flatten().find(is_missing);
        of_lease.or_else(|| {
            let absent = self.rarity.absent().iter().copied().find(is_missing);
            absent.or_else(|| self.rarity.available().iter().copied().find(is_missing))
        })
    }

    /// How many pieces of the lease are needed.
    fn lease_left(&self) -> u32 {
        let left = self.guide.lease.iter().cloned().flatten().filter(|piece| self.needed.get(*piece));
        left.count() as u32
    }

    /// Whether something of the lease has come that the tracker was not told of.
    fn has_news(&self) -> bool {
        self.guide.lease.iter().cloned().flatten().any(|piece| self.served.get(piece))
    }

    /// Whether the tracker was not told of something that this host brought. That it has everything says it as well, but only
    /// where there are many that have; and what only a seed has, which may be slow, is better brought once more.
    fn has_last_news(&self) -> bool {
        let has_brought = !self.served.is_complete() || self.guide.from_origin > 0;
        let is_news = self.has_news() || self.guide.unleased.count() > 0;
        self.guide.guidance == Guidance::Leases && has_brought && is_news
    }

    /// Whether there is a piece that nobody has, as far as is known, and that is leased to others or nobody.
    pub(crate) fn lacks_others_pieces(&self) -> bool {
        self.rarity.absent().iter().any(|piece| !self.guide.leased.get(*piece))
    }

    /// What to say where nothing was said before.
    pub(crate) fn standing(&self) -> Wish {
        let got = ranges(self.served.iter(), RANGES_MAX);
        Wish { got, wants: !self.needed.is_empty(), ..self.wish() }
    }

    fn wish(&self) -> Wish {
        let of_lease = self.guide.lease.iter().cloned().flatten().filter(|piece| self.served.get(*piece));
        let got = of_lease.chain(self.guide.unleased.iter());
        Wish {
            got: ranges(got, RANGES_MAX),
            lacks: ranges(self.needed.iter(), RANGES_MAX),
            is_starved: self.guide.is_starved && !self.needed.is_empty(),
            wants: !self.needed.is_empty() && (self.guide.is_starved || self.lacks_others_pieces()),
        }
    }
}

impl Swarm {
    /// The tracker has answered.
    pub(crate) fn guided(
        &mut self,
        bundle: BundleId,
        others: u32,
        lease: Option<Vec<Range<u32>>>,
        is_second_hand: bool,
        ask_again: Option<Duration>,
    ) {
        let (now, patience) = (self.now, self.settings.hold_off);
        let Some(crowd) = self.crowds.get_mut(&bundle) else { return };
        crowd.far.guided(is_second_hand, now, patience);
        crowd.guide.others = others;
        crowd.guide.is_asked = false;
        // The first answer comes with the plan, unasked.
        crowd.guide.asked_at.get_or_insert(now);
        if let Some(lease) = lease {
            crowd.guide.guidance = Guidance::Leases;
            let pieces = lease.iter().map(|range| u64::from(range.end.saturating_sub(range.start))).sum();
            // Being told again what was known is no sign of life.
            let is_news = lease.iter().cloned().flatten().any(|piece| !crowd.guide.leased.get(piece));
            crowd.guide.set_lease(lease);
            for piece in std::mem::take(&mut crowd.guide.told) {
                crowd.guide.unleased.clear(piece);
            }
            let is_held_back = crowd.guide.told_of_lid(ask_again, is_news, now);
            if is_news {
                crowd.goes_on(now);
                self.note(Happening::Leased { bundle, pieces });
            } else if is_held_back {
                self.note(Happening::HeldBack { bundle });
            }
        }
        self.is_origin_due = true;
        self.feed_far(bundle);
        self.go_on_if_alone(bundle);
        self.tell_tracker_of_last(bundle);
    }

    /// Nothing is needed any more: if the tracker does not know of all that this host brought, it is told at once. Others
    /// would be leased the same again.
    pub(crate) fn tell_tracker_of_last(&mut self, bundle: BundleId) {
        if self.crowds.get(&bundle).is_some_and(|crowd| crowd.needed.is_empty()) {
            self.ask_tracker_if_due(bundle);
        }
    }

    /// Without anybody else nothing changes by itself any more: what only others could bring is fetched or given up now.
    pub(crate) fn go_on_if_alone(&mut self, bundle: BundleId) {
        if self.crowds.get(&bundle).is_some_and(Crowd::is_alone) {
            self.drop_hopeless_orphans(bundle);
            self.give_up_hopeless_files();
        }
    }

    /// The tracker does not answer, or leases nothing.
    pub(crate) fn unguided(&mut self, bundle: BundleId) {
        let Some(crowd) = self.crowds.get_mut(&bundle) else { return };
        crowd.guide.is_asked = false;
        crowd.guide.told.clear();
        if crowd.guide.guidance != Guidance::None {
            crowd.guide.guidance = Guidance::None;
            self.note(Happening::Unguided { bundle });
        }
        self.feed_far(bundle);
        self.is_origin_due = true;
    }

    /// Looks after every bundle of which something is needed: whether peers bring enough, and what to tell the tracker.
    pub(crate) fn look_after_crowds(&mut self) {
        let bundles: Vec<BundleId> = self.crowds.keys().copied().collect();
        for bundle in bundles {
            self.drop_hopeless_orphans(bundle);
            self.look_after_crowd(bundle);
        }
    }

    fn look_after_crowd(&mut self, bundle: BundleId) {
        let (now, patience) = (self.now, self.settings.hold_off);
        let Some(crowd) = self.crowds.get_mut(&bundle) else { return };
        self.is_origin_due |= crowd.far.look(now, patience);
        if crowd.needed.is_empty() || crowd.is_alone() {
            crowd.guide.lives(now);
            crowd.guide.since = now;
            crowd.guide.is_starved = false;
            return;
        }
        let hold_off = self.settings.hold_off * crowd.far.hold_off_factor();
        if crowd.guide.hold_off() < hold_off {
            crowd.guide.draw_hold_off(hold_off, &mut self.random);
        }
        let was_starved = crowd.guide.is_starved;
        let is_quiet = now.saturating_sub(crowd.guide.life) >= crowd.guide.hold_off();
        let origin_rate = self.origin_rate;
        if is_quiet {
            // One more time in vain; the next one is counted from now.
            crowd.guide.waits += 1;
            crowd.guide.life = now;
            crowd.far.was_in_vain(now);
            crowd.guide.draw_hold_off(self.settings.hold_off, &mut self.random);
        }
        // Where this host's own line is all that peers wait for, the origin would bring no more.
        let is_too_slow = !self.is_line_full && crowd.may_find_slow() && crowd.is_too_slow(origin_rate, now);
        let is_impatient = crowd.guide.loses_patience(now);
        crowd.guide.is_starved = crowd.guide.has_waited_in_vain() || is_too_slow;
        let (is_starved, helps_itself) = (crowd.guide.is_starved, crowd.helps_itself());
        if is_quiet || is_starved != was_starved || is_impatient {
            self.is_origin_due = true;
        }
        if is_starved && !was_starved {
            self.note(Happening::Starved { bundle, helps_itself });
        }
        self.ask_tracker_if_due(bundle);
    }

    /// Someone who said to have pieces had none of them. The tracker may have believed it too, and have leased nothing.
    pub(crate) fn was_lied_to(&mut self, bundle: BundleId) {
        let Some(crowd) = self.crowds.get_mut(&bundle) else { return };
        if crowd.needed.is_empty() || !crowd.rarity.available().is_empty() {
            return;
        }
        crowd.guide.wait_no_longer();
        self.is_origin_due = true;
        self.ask_tracker_if_due(bundle);
    }

    /// Tells the tracker of the lease and asks for more, if that is of use now.
    pub(crate) fn ask_tracker_if_due(&mut self, bundle: BundleId) {
        let (now, report_interval) = (self.now, self.settings.report_interval);
        let Some(crowd) = self.crowds.get_mut(&bundle) else { return };
        let (guide, is_over) = (&crowd.guide, crowd.needed.is_empty());
        if is_over && !crowd.has_last_news() || guide.is_asked || guide.guidance == Guidance::None {
            return;
        }
        let since = guide.asked_at.map_or(Duration::MAX, |at| now.saturating_sub(at));
        if since < ASK_INTERVAL && !is_over {
            return;
        }
        let is_lease_due = match &guide.lid {
            Some(lid) => crowd.is_lease_due(lid, now),
            None => (guide.has_waited_in_vain() || guide.is_starved) && since >= guide.hold_off(),
        };
        let has_lease = !guide.lease.is_empty();
        let is_ending = has_lease && crowd.lease_left() <= guide.given / LEFT_DIVISOR;
        // Until it is told of what has come, the tracker takes it for what others may have.
        let is_report_due = has_lease && (since >= report_interval || crowd.has_news());
        if !(is_over || is_lease_due || is_report_due || is_ending && crowd.lacks_others_pieces()) {
            return;
        }
        let wish = crowd.wish();
        crowd.guide.told = crowd.guide.unleased.iter().collect();
        crowd.guide.is_asked = true;
        crowd.guide.asked_at = Some(now);
        self.actions.push(Action::AskTracker { bundle, wish });
    }
}

impl Crowd {
    /// Whether what is needed would take far too long at the peers' rate, and the origin is faster. Under a lid it is not:
    /// the peers wait for it as well.
    fn is_too_slow(&self, origin_rate: Option<f64>, now: Duration) -> bool {
        if now.saturating_sub(self.guide.since) < RATE_PATIENCE || self.guide.lid.is_some() {
            return false;
        }
        let rate = self.guide.from_peers.get();
        let eta = self.needed_len() as f64 / rate.max(1.0);
        match origin_rate {
            Some(origin) => eta > SLOW_ETA.as_secs_f64() && origin > 2.0 * rate,
            None => eta > SLOW_ETA_UNKNOWN.as_secs_f64(),
        }
    }

    /// Panics unless the guide fits the crowd.
    pub(crate) fn check_guide(&self) {
        let leased: u32 = self.guide.lease.iter().map(|range| range.end - range.start).sum();
        assert!(leased >= self.guide.leased.count(), "a leased piece is in no range");
    }
}
