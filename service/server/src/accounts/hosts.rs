//! Which hosts report, and what they have reported last: totals become differences here.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;

use pkgtorrent_protocol::PeerId;
use pkgtorrent_protocol::report::{InstallReport, Ledger, Report};

use super::tally::each;
use super::{SiteIndex, stored};

/// The most agents whose totals are known: six times ten thousand hosts, as each run of an agent is another. It is some
/// ten megabytes; the reports of more are not counted.
pub(super) const HOSTS_MAX: usize = 65_536;

/// Who has reported within so many seconds is there: twice as long as anybody is told to wait.
pub(super) const LATELY: u64 = 600;

/// An agent that has said nothing for so many seconds is forgotten. If it comes back, all of its totals count again.
const FORGOTTEN_AFTER: u64 = 24 * 3600;

/// How many reports all hosts together are to send in a second: one takes some ten microseconds.
const REPORTS_PER_SECOND: u64 = 100;

/// The least and the most seconds between two reports of a host.
const REPORT_AFTER_MIN: u64 = 5;
const REPORT_AFTER_MAX: u64 = 300;

/// How many reports may come at twice the rate that was asked for: the last word of an agent comes when it comes.
const EARLY_MAX: u64 = 4;

/// What a line of 100 Gbit/s brings in a second. Nobody is believed to have got or given more.
const LINE_RATE: u64 = 12_500_000_000;

/// How long a host that is new here may have been at work before.
const BEFORE_FIRST: u64 = 3600;

/// A program's version is kept up to so many bytes.
const PROGRAM_LEN_MAX: usize = 32;

/// In how many records the hosts are stored. One of ten thousand hosts has some nine kilobytes then, and only those
/// with news are written.
const SHARDS: usize = 64;

/// Whose report it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reporter<'a> {
    /// The name of its site; empty where it is in none.
    pub(crate) site: &'a str,
    /// Its address.
    pub(crate) address: IpAddr,
    /// The agent.
    pub(crate) peer_id: PeerId,
}

/// Why a report was not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ignored {
    /// It says more than it may.
    Oversized,
    /// Its host reports more often than it was asked to.
    Early,
    /// More hosts are not known.
    Beyond,
}

/// One agent.
#[derive(Debug)]
struct Host {
    /// Where it is; none of those that have not reported since the start.
    site: Option<SiteIndex>,
    program: Box<str>,
    totals: Ledger,
    last_install: u64,
    heard: u64,
    /// Seconds by which its reports are ahead of the rate that was asked for.
    ahead: u64,
}

/// What is new in a report.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct News<'a> {
    pub(super) bytes: Ledger,
    pub(super) installs: Vec<&'a InstallReport>,
    /// How many installs have ended, with those that are not told one by one.
    pub(super) ended: u64,
}

/// All agents that have reported.
#[derive(Debug)]
pub(super) struct Hosts {
    known: HashMap<PeerId, Host>,
    /// How many have reported lately.
    lately: usize,
    changed: [bool; SHARDS],
}

impl Hosts {
    pub(super) fn new() -> Self {
        Self { known: HashMap::new(), lately: 0, changed: [false; SHARDS] }
    }

    /// Takes a report, and gives what it says that was not known.
    pub(super) fn hear<'a>(
        &mut self,
        now: u64,
        from: &Reporter<'_>,
        site: SiteIndex,
        report: &'a Report,
    ) -> Result<News<'a>, Ignored> {
        let pace = (self.report_after() / 2).max(1);
        if self.known.len() >= HOSTS_MAX && !self.known.contains_key(&from.peer_id) {
            return Err(Ignored::Beyond);
        }
        let is_new = !self.known.contains_key(&from.peer_id);
        let host = self.known.entry(from.peer_id).or_insert_with(|| Host {
            site: None,
            program: Box::default(),
            totals: Ledger::default(),
            last_install: 0,
            heard: now.saturating_sub(BEFORE_FIRST),
            ahead: 0,
        });
        let silent = now.saturating_sub(host.heard);
        let ahead = host.ahead.saturating_sub(silent);
        if ahead >= EARLY_MAX * pace {
            return Err(Ignored::Early);
        }
        if silent > LATELY {
            self.lately += 1;
        }
        host.ahead = ahead + pace;
        host.heard = now;
        host.site = Some(site);
        if *host.program != *report.program {
            host.program = legible(&report.program, PROGRAM_LEN_MAX).into();
        }
        let news = host.news(report, silent.max(1));
        self.changed[shard(&from.peer_id)] |= is_new || news.ended > 0 || news.bytes != Ledger::default();
        Ok(news)
    }

    /// After how many seconds a host may report again.
    pub(super) fn report_after(&self) -> u64 {
        (self.lately as u64 / REPORTS_PER_SECOND).clamp(REPORT_AFTER_MIN, REPORT_AFTER_MAX)
    }

    /// Forgets who has been silent for long; where many are known, of those that have been silent for a while the
    /// longest silent ones.
    pub(super) fn expire(&mut self, now: u64) {
        let silent = |host: &Host| now.saturating_sub(host.heard);
        let mut excessive = HashSet::new();
        let excess = self.known.len().saturating_sub(HOSTS_MAX / 8 * 7);
        if excess > 0 {
            let silences = self.known.iter().map(|(peer_id, host)| (Reverse(silent(host)), *peer_id));
            let mut silences: Vec<_> = silences.filter(|(silence, _)| silence.0 > LATELY).collect();
            silences.sort_unstable();
            excessive = silences.into_iter().take(excess).map(|(_, peer_id)| peer_id).collect();
        }
        let changed = &mut self.changed;
        self.known.retain(|peer_id, host| {
            let stays = silent(host) < FORGOTTEN_AFTER && !excessive.contains(peer_id);
            changed[shard(peer_id)] |= !stays;
            stays
        });
        self.lately = self.known.values().filter(|host| silent(host) <= LATELY).count();
    }

    /// Site and program's version of all that have reported lately.
    pub(super) fn present(&self, now: u64) -> impl Iterator<Item = (SiteIndex, &str)> {
        let present = self.known.values().filter(move |host| now.saturating_sub(host.heard) <= LATELY);
        present.filter_map(|host| Some((host.site?, &*host.program)))
    }

    /// The records that have changed since the last time.
    pub(super) fn changes(&mut self) -> Vec<stored::Change> {
        let mut parts: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
        let changed = std::mem::replace(&mut self.changed, [false; SHARDS]);
        for (peer_id, host) in self.known.iter().filter(|(peer_id, _)| changed[shard(peer_id)]) {
            let out = parts.entry(shard(peer_id)).or_insert_with(|| vec![stored::VERSION]);
            host.write(peer_id, out);
        }
        let is_changed = (0..SHARDS).filter(|&part| changed[part]);
        is_changed.map(|part| (stored::Kind::Hosts.key(&[&[part as u8]]), parts.remove(&part))).collect()
    }

    /// Takes up a stored record; `None` when it is not one. When these hosts were heard is not stored: it would be written
    /// again and again. They count as silent for a while.
    pub(super) fn restore(&mut self, now: u64, mut bytes: &[u8]) -> Option<()> {
        stored::take_version(&mut bytes)?;
        while !bytes.is_empty() && self.known.len() < HOSTS_MAX {
            let (peer_id, host) = Host::read(&mut bytes, now.saturating_sub(LATELY + 1))?;
            self.known.insert(peer_id, host);
        }
        Some(())
    }
}

impl Host {
    /// What a report says beyond the last one, after so many seconds. One that comes late says nothing new: totals only
    /// grow.
    fn news<'a>(&mut self, report: &'a Report, seconds: u64) -> News<'a> {
        let possible = LINE_RATE.saturating_mul(seconds);
        let bytes = each(&report.bytes, &self.totals, |new, old| new.saturating_sub(old).min(possible));
        self.totals = each(&report.bytes, &self.totals, u64::max);
        let mut installs: Vec<&InstallReport> = Vec::new();
        let mut last = self.last_install;
        for install in &report.installs {
            if install.number > last {
                last = install.number;
                installs.push(install);
            }
        }
        let numbered = last - self.last_install;
        let told = installs.len() as u64 + u64::from(report.installs_left_out);
        self.last_install = last;
        News { bytes, installs, ended: numbered.min(told) }
    }

    fn write(&self, peer_id: &PeerId, out: &mut Vec<u8>) {
        let Ledger { origin, near, far, store, sent } = self.totals;
        out.extend_from_slice(&peer_id.0);
        let numbers = [origin, near, far, store, sent, self.last_install];
        numbers.into_iter().for_each(|number| stored::put(out, number));
    }

    fn read(bytes: &mut &[u8], heard: u64) -> Option<(PeerId, Self)> {
        let peer_id = PeerId(bytes.split_off(..20)?.try_into().ok()?);
        let mut next = || stored::take(bytes);
        let [origin, near, far, store, sent] = [next()?, next()?, next()?, next()?, next()?];
        let totals = Ledger { origin, near, far, store, sent };
        let last_install = next()?;
        let host = Self { site: None, program: Box::default(), totals, last_install, heard, ahead: 0 };
        Some((peer_id, host))
    }
}

/// The part in which an agent is stored. What it calls itself ends by chance.
fn shard(peer_id: &PeerId) -> usize {
    usize::from(peer_id.0[19]) % SHARDS
}

/// A host's text without what would do something where it is shown, up to so many bytes.
pub(super) fn legible(text: &str, len_max: usize) -> String {
    let mut out: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    while out.len() > len_max {
        out.pop();
    }
    out
}
