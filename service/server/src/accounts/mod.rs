//! The fleet's accounts: what hosts tell of their installs, summed up by site and time.
//!
//! *Participants*: handlers of announces bring reports, the page and its API read, and [`keep`] takes what has changed
//! into the state. [`Accounts`] is a plain value behind one lock, which nobody holds for longer than the sums take:
//! the registry's thread has no time for readers, and nothing here has to agree with what it knows.
//!
//! *Goals*: every byte that a host reports counts once, also over restarts of this service; nothing grows without a
//! limit; ten thousand hosts cost little.
//! *Non-goals*: proof. A host is believed as far as a line can carry what it says.

mod buckets;
mod documented;
mod durations;
mod hosts;
mod installs;
mod keeping;
mod metered;
mod spread;
mod stored;
mod tally;
#[cfg(test)]
mod tests;
mod views;

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pkgtorrent_protocol::SetDigest;
use pkgtorrent_protocol::report::{FallbackReason, InstallReport, Report};

use buckets::{Buckets, Place};
use hosts::Hosts;
pub(crate) use hosts::{Ignored, Reporter};
pub(crate) use installs::EndedInstall;
use installs::{Fallbacks, Slowest};
pub(crate) use keeping::{finish, forget, keep, now, open};
use spread::{NamedPackage, Spread};
use stored::{Change, Kind};
use tally::Tally;
pub(crate) use views::{History, InstalledPackage, Overview, PackageSpread, SiteView, Sums};

const MINUTE: u64 = 60;
const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

/// How many days back accounts go: the longest month.
const KEPT_DAYS: u32 = 31;

/// How many minutes back they go by minute.
const MINUTES_KEPT: u32 = 180;

/// The most sites: those of the configuration, and as many that were there a month ago.
const SITES_MAX: usize = 2 * pkgtorrent_tracker::SITES_MAX;

/// A site's place in the list of all that are known.
type SiteIndex = u16;

/// Hosts in one place.
#[derive(Debug)]
struct Site {
    /// Empty where hosts are that no site has.
    name: String,
    /// What was counted on the current day.
    today: Tally,
    /// What was counted in the current month.
    month: Tally,
}

/// What all hosts have told.
#[derive(Debug)]
pub(crate) struct Accounts {
    sites: Vec<Site>,
    hosts: Hosts,
    minutes: Buckets,
    hours: Buckets,
    changed_hours: BTreeSet<Place>,
    slowest: Slowest,
    fallbacks: Fallbacks,
    spread: Spread,
    /// How many reports were not counted since the start.
    ignored: u64,
    /// The minute, day and month that it is.
    minute: u64,
    day: u64,
    month: Month,
}

/// A month of a year.
type Month = (i16, i8);

impl Accounts {
    pub(crate) fn new() -> Self {
        Self {
            sites: Vec::new(),
            hosts: Hosts::new(),
            minutes: Buckets::new(MINUTE, MINUTES_KEPT),
            hours: Buckets::new(HOUR, KEPT_DAYS * 24),
            changed_hours: BTreeSet::new(),
            slowest: Slowest::default(),
            fallbacks: Fallbacks::default(),
            spread: Spread::default(),
            ignored: 0,
            minute: 0,
            day: 0,
            month: (0, 0),
        }
    }

    /// Counts what is new in a host's report. `now` is in seconds since 1970, here and everywhere.
    pub(crate) fn report(&mut self, now: u64, from: &Reporter<'_>, report: &Report) -> Result<(), Ignored> {
        let counted = self.count(now, from, report);
        self.ignored += u64::from(counted.is_err());
        counted
    }

    fn count(&mut self, now: u64, from: &Reporter<'_>, report: &Report) -> Result<(), Ignored> {
        report.check().map_err(|_| Ignored::Oversized)?;
        let site = self.site(from.site).ok_or(Ignored::Beyond)?;
        let news = self.hosts.hear(now, from, site, report)?;
        let mut tally = Tally { bytes: news.bytes, installs: news.ended, ..Tally::default() };
        for install in news.installs {
            tally.add(install);
            metered::took(install);
            let ended = EndedInstall::new(now, from.address, from.site, install);
            self.slowest.add(now, &ended);
            if !install.fallbacks.is_empty() {
                self.fallbacks.add(ended);
            }
            if let Some(set) = install.set.filter(|_| has_all_there_is(install)) {
                self.spread.add(set);
            }
        }
        if tally != Tally::default() {
            metered::count(from.site, &tally);
            self.turn(now);
            self.minutes.add(now, site, &tally);
            self.changed_hours.insert(self.hours.add(now, site, &tally));
            let site = &mut self.sites[usize::from(site)];
            site.today.merge(&tally);
            site.month.merge(&tally);
        }
        Ok(())
    }

    /// After how many seconds a host may report again.
    pub(crate) fn report_after(&self) -> u32 {
        // Some minutes at most.
        self.hosts.report_after() as u32
    }

    /// Lets go what is too old, if that was not done in this minute.
    pub(crate) fn tick(&mut self, now: u64) {
        self.turn(now);
        if std::mem::replace(&mut self.minute, now / MINUTE) == now / MINUTE {
            return;
        }
        self.hosts.expire(now);
        self.minutes.expire(now);
        self.changed_hours.extend(self.hours.expire(now));
        self.slowest.expire(now);
        self.fallbacks.expire(now);
        self.spread.expire(now);
    }

    /// The sets that were installed since the last time, and in how many installs, to be handed to [`Self::spread`].
    pub(crate) fn take_sets(&mut self) -> Vec<(SetDigest, u32)> {
        self.spread.take_sets()
    }

    /// So many installs have put these packages into place.
    pub(crate) fn spread(&mut self, now: u64, installs: u32, packages: Vec<NamedPackage>) {
        self.spread.count(now, installs, packages);
    }

    /// The records that have changed since the last time.
    pub(crate) fn changes(&mut self) -> Vec<Change> {
        let hour = |place: Place| {
            let name = self.sites[usize::from(place.1)].name.as_bytes();
            let key = Kind::Hour.key(&[&place.0.to_be_bytes(), name]);
            (key, self.hours.get(&place).map(|tally| tally.to_bytes()))
        };
        let mut changes: Vec<Change> =
            std::mem::take(&mut self.changed_hours).into_iter().map(hour).collect();
        changes.extend(self.hosts.changes());
        changes.extend(self.slowest.changes());
        changes.extend(self.fallbacks.changes());
        changes.extend(self.spread.changes());
        changes
    }

    /// Takes up a stored record, in the order of their keys; `None` when it is not one.
    pub(crate) fn restore(&mut self, now: u64, key: &[u8], value: &[u8]) -> Option<()> {
        let (kind, key) = Kind::of(key)?;
        match kind {
            Kind::Hour => {
                let (hour, name) = key.split_first_chunk()?;
                let site = self.site(std::str::from_utf8(name).ok()?)?;
                self.hours.restore((u32::from_be_bytes(*hour), site), Tally::from_bytes(value)?);
                Some(())
            }
            Kind::Slowest => self.slowest.restore(key, value),
            Kind::Fallback => self.fallbacks.restore(key, value),
            Kind::Spread => self.spread.restore(key, value),
            Kind::Hosts => self.hosts.restore(now, value),
        }
    }

    /// The place of a site's name; `None` when there are too many.
    fn site(&mut self, name: &str) -> Option<SiteIndex> {
        let known = self.sites.iter().position(|site| site.name == name);
        let index = known.or_else(|| {
            let has_room = self.sites.len() < SITES_MAX;
            has_room.then(|| {
                let site = Site { name: name.to_owned(), today: Tally::default(), month: Tally::default() };
                self.sites.push(site);
                self.sites.len() - 1
            })
        });
        index.and_then(|index| SiteIndex::try_from(index).ok())
    }

    /// Begins another day or month when it is time.
    fn turn(&mut self, now: u64) {
        let day = now / DAY;
        if day == self.day {
            return;
        }
        (self.day, self.month) = (day, month_of(now));
        for site in &mut self.sites {
            (site.today, site.month) = (Tally::default(), Tally::default());
        }
        // Back to the first hour of the longest month.
        for ((hour, site), tally) in
            self.hours.since(self.hours.at((day + 1).saturating_sub(KEPT_DAYS.into()) * DAY))
        {
            let at = u64::from(*hour) * HOUR;
            let site = &mut self.sites[usize::from(*site)];
            if at / DAY == day {
                site.today.merge(tally);
            }
            if month_of(at) == self.month {
                site.month.merge(tally);
            }
        }
    }
}

/// Accounts that many use.
pub(crate) struct SharedAccounts(Mutex<Accounts>);

impl SharedAccounts {
    pub(crate) fn new(accounts: Accounts) -> Self {
        Self(Mutex::new(accounts))
    }

    /// The accounts, for as long as a sum takes.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Accounts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an install has put everything into place that the service has of it.
fn has_all_there_is(install: &InstallReport) -> bool {
    let unknown = install.fallbacks.iter().filter(|fallback| fallback.reason == FallbackReason::Unknown);
    let unknown: u64 = unknown.map(|fallback| u64::from(fallback.packages)).sum();
    install.placed > 0 && u64::from(install.placed) + unknown >= u64::from(install.packages)
}

/// The month in UTC, in which the hours begin and end.
fn month_of(at: u64) -> Month {
    let date = i64::try_from(at).ok().and_then(|at| jiff::Timestamp::from_second(at).ok());
    date.map_or((0, 0), |at| {
        let date = at.to_zoned(jiff::tz::TimeZone::UTC).date();
        (date.year(), date.month())
    })
}
