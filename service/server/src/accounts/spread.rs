//! How packages spread: in how many installs each was, by minute and by hour.
//!
//! Hosts tell sets, not packages. What is counted is the sets, and every few seconds these are made into packages by who
//! knows them: ten thousand hosts with the same set cost that once.

use std::collections::{BTreeSet, HashMap};

use pkgtorrent_protocol::{SetDigest, Sha256Digest};

use super::stored::{self, Change, Kind};
use super::{HOUR, KEPT_DAYS, MINUTE, MINUTES_KEPT};

/// The most packages that are known. The longest not installed ones make room.
pub(super) const PACKAGES_MAX: usize = 2048;

/// The most packages of one set that count, so that one strange set does not drive out all others.
const SET_PACKAGES_MAX: usize = PACKAGES_MAX / 2;

/// The most different sets between two times that they are made into packages. More are not counted.
const SETS_MAX: usize = 256;

/// How often something happened, by a number that grows with time.
type Counts = Vec<(u32, u32)>;

/// A package and its file's name.
pub(crate) type NamedPackage = (Sha256Digest, String);

#[derive(Debug, Default)]
pub(super) struct Package {
    pub(super) name: String,
    /// By minute since 1970.
    pub(super) minutes: Counts,
    /// By hour since 1970.
    pub(super) hours: Counts,
}

impl Package {
    /// How many installs it was in.
    pub(super) fn installs(&self) -> u64 {
        self.hours.iter().map(|(_, count)| u64::from(*count)).sum()
    }

    /// The hour of the last one.
    pub(super) fn last(&self) -> u32 {
        self.hours.last().map_or(0, |(hour, _)| *hour)
    }
}

/// All packages that were installed lately.
#[derive(Debug, Default)]
pub(super) struct Spread {
    /// What hosts told of since the last time.
    sets: HashMap<SetDigest, u32>,
    pub(super) packages: HashMap<Sha256Digest, Package>,
    changed: BTreeSet<(u32, Sha256Digest)>,
}

impl Spread {
    /// One install of this set has put all of it into place that the service has.
    pub(super) fn add(&mut self, set: SetDigest) {
        let has_room = self.sets.len() < SETS_MAX;
        match self.sets.get_mut(&set) {
            Some(count) => *count = count.saturating_add(1),
            None if has_room => drop(self.sets.insert(set, 1)),
            None => {}
        }
    }

    /// The sets that were counted since the last time.
    pub(super) fn take_sets(&mut self) -> Vec<(SetDigest, u32)> {
        std::mem::take(&mut self.sets).into_iter().collect()
    }

    /// So many installs had these packages.
    pub(super) fn count(&mut self, now: u64, installs: u32, packages: Vec<NamedPackage>) {
        let (minute, hour) = (number(now, MINUTE), number(now, HOUR));
        for (identity, name) in packages.into_iter().take(SET_PACKAGES_MAX) {
            let package = self.packages.entry(identity).or_default();
            package.name = name;
            add(&mut package.minutes, minute, installs);
            add(&mut package.hours, hour, installs);
            self.changed.insert((package.last() / 24, identity));
        }
        self.make_room();
    }

    fn make_room(&mut self) {
        let excess = self.packages.len().saturating_sub(PACKAGES_MAX);
        if excess > 0 {
            let mut by_age: Vec<(u32, Sha256Digest)> =
                self.packages.iter().map(|(identity, package)| (package.last(), *identity)).collect();
            by_age.sort_unstable();
            by_age[..excess].iter().for_each(|(_, identity)| self.forget(identity));
        }
    }

    fn forget(&mut self, identity: &Sha256Digest) {
        let hours = self.packages.remove(identity).map(|package| package.hours).unwrap_or_default();
        self.changed.extend(hours.into_iter().map(|(hour, _)| (hour / 24, *identity)));
    }

    pub(super) fn expire(&mut self, now: u64) {
        let first_minute = number(now, MINUTE).saturating_sub(MINUTES_KEPT);
        let first_hour = (number(now, HOUR) / 24).saturating_sub(KEPT_DAYS) * 24;
        let mut over = Vec::new();
        for (identity, package) in &mut self.packages {
            package.minutes.retain(|(minute, _)| *minute > first_minute);
            let gone = package.hours.partition_point(|(hour, _)| *hour < first_hour);
            self.changed.extend(package.hours.drain(..gone).map(|(hour, _)| (hour / 24, *identity)));
            over.extend(package.hours.is_empty().then_some(*identity));
        }
        over.iter().for_each(|identity| self.forget(identity));
        self.make_room();
    }

    pub(super) fn changes(&mut self) -> Vec<Change> {
        let changed = std::mem::take(&mut self.changed);
        let record = |(day, identity): (u32, Sha256Digest)| {
            let key = Kind::Spread.key(&[&day.to_be_bytes(), &identity.0]);
            (key, self.packages.get(&identity).and_then(|package| to_bytes(day, package)))
        };
        changed.into_iter().map(record).collect()
    }

    /// Takes up a stored record, in the order of their keys; `None` when it is not one.
    pub(super) fn restore(&mut self, key: &[u8], mut value: &[u8]) -> Option<()> {
        let (day, identity) = key.split_first_chunk::<4>()?;
        let first_hour = u32::from_be_bytes(*day).checked_mul(24)?;
        stored::take_version(&mut value)?;
        let name_len = usize::try_from(stored::take(&mut value)?).ok()?;
        let name = std::str::from_utf8(value.split_off(..name_len)?).ok()?.to_owned();
        let mut hours = Counts::new();
        while !value.is_empty() {
            let (hour, count) = (stored::take(&mut value)?, stored::take(&mut value)?);
            let hour = u32::try_from(hour).ok().filter(|&hour| hour < 24)?;
            hours.push((first_hour + hour, u32::try_from(count).ok()?));
        }
        let package = self.packages.entry(Sha256Digest(identity.try_into().ok()?)).or_default();
        package.name = name;
        package.hours.extend(hours);
        Some(())
    }
}

/// What a package's day looks like in the state; `None` when nothing happened.
fn to_bytes(day: u32, package: &Package) -> Option<Vec<u8>> {
    let mut hours = package.hours.iter().filter(|(hour, _)| hour / 24 == day).peekable();
    hours.peek()?;
    let mut out = vec![stored::VERSION];
    stored::put(&mut out, package.name.len() as u64);
    out.extend_from_slice(package.name.as_bytes());
    for (hour, count) in hours {
        stored::put(&mut out, (hour % 24).into());
        stored::put(&mut out, (*count).into());
    }
    Some(out)
}

fn add(counts: &mut Counts, at: u32, more: u32) {
    match counts.last_mut() {
        // A clock that was set back has its installs in the last stretch of time.
        Some((last, count)) if *last >= at => *count = count.saturating_add(more),
        _ => counts.push((at, more)),
    }
}

fn number(now: u64, span: u64) -> u32 {
    u32::try_from(now / span).unwrap_or(u32::MAX)
}
