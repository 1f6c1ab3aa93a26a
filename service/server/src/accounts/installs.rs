//! Installs that somebody may want to look at: the slowest ones of each day, and the latest with fallbacks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

use pkgtorrent_protocol::SetDigest;
use pkgtorrent_protocol::report::{Fallback, InstallReport, Ledger, TEXT_LEN_MAX};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::documented;

use super::hosts::legible;
use super::stored::{Change, Kind};
use super::{DAY, KEPT_DAYS};

/// How many of a day are kept. With their reasons they are some 20 kB, written anew whenever one comes among them.
const SLOWEST_MAX: usize = 50;

/// How many with fallbacks are kept: half a kilobyte each, written once.
const FALLBACKS_MAX: usize = 500;

/// One install that has ended on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct EndedInstall {
    /// When it ended, in seconds since 1970.
    pub(crate) ended: u64,
    /// The host's address.
    #[schema(value_type = String)]
    pub(crate) host: IpAddr,
    /// Its site; empty where it is in none.
    pub(crate) site: String,
    /// The set that it asked for, if it asked a service.
    #[schema(value_type = Option<String>)]
    pub(crate) set: Option<SetDigest>,
    /// How many milliseconds it took.
    pub(crate) took_ms: u32,
    /// For how many of them something was held back on purpose.
    pub(crate) waited_ms: u32,
    /// How many packages it was about.
    pub(crate) packages: u32,
    /// How many of them are in place.
    pub(crate) placed: u32,
    /// Bytes by source.
    #[schema(value_type = documented::Ledger)]
    pub(crate) bytes: Ledger,
    /// Why the others were left to the package manager.
    #[schema(value_type = Vec<documented::Fallback>)]
    pub(crate) fallbacks: Vec<Fallback>,
}

impl EndedInstall {
    pub(super) fn new(now: u64, host: IpAddr, site: &str, install: &InstallReport) -> Self {
        let legible = |fallback: &Fallback| {
            let example = legible(&fallback.example, TEXT_LEN_MAX);
            Fallback { example, ..fallback.clone() }
        };
        Self {
            ended: now.saturating_sub(install.ended_ago.into()),
            host,
            site: site.to_owned(),
            set: install.set,
            took_ms: install.took,
            waited_ms: install.waited,
            packages: install.packages,
            placed: install.placed,
            bytes: install.bytes,
            fallbacks: install.fallbacks.iter().map(legible).collect(),
        }
    }
}

/// The slowest installs of each day on which they were reported.
#[derive(Debug, Default)]
pub(super) struct Slowest {
    /// By day since 1970, the slowest first.
    days: BTreeMap<u32, Vec<EndedInstall>>,
    changed: BTreeSet<u32>,
}

impl Slowest {
    pub(super) fn add(&mut self, now: u64, install: &EndedInstall) {
        let day = day_of(now);
        let slowest = self.days.entry(day).or_default();
        let place = slowest.partition_point(|other| other.took_ms >= install.took_ms);
        if place < SLOWEST_MAX {
            slowest.insert(place, install.clone());
            slowest.truncate(SLOWEST_MAX);
            self.changed.insert(day);
        }
    }

    /// The slowest of the last days, the slowest first.
    pub(super) fn since(&self, now: u64, days: u32) -> Vec<&EndedInstall> {
        let first = (day_of(now) + 1).saturating_sub(days);
        let mut slowest: Vec<&EndedInstall> = self.days.range(first..).flat_map(|(_, day)| day).collect();
        slowest.sort_by_key(|install| std::cmp::Reverse(install.took_ms));
        slowest
    }

    pub(super) fn expire(&mut self, now: u64) {
        let stay = self.days.split_off(&day_of(now).saturating_sub(KEPT_DAYS));
        self.changed.extend(std::mem::replace(&mut self.days, stay).into_keys());
    }

    pub(super) fn changes(&mut self) -> Vec<Change> {
        let changed = std::mem::take(&mut self.changed);
        let record = |day: u32| {
            let value = self.days.get(&day).and_then(|slowest| serde_json::to_vec(slowest).ok());
            (Kind::Slowest.key(&[&day.to_be_bytes()]), value)
        };
        changed.into_iter().map(record).collect()
    }

    pub(super) fn restore(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        let day = u32::from_be_bytes(key.try_into().ok()?);
        self.days.insert(day, serde_json::from_slice(value).ok()?);
        Some(())
    }
}

/// The latest installs with fallbacks.
#[derive(Debug, Default)]
pub(super) struct Fallbacks {
    /// With numbers that grow.
    latest: VecDeque<(u64, EndedInstall)>,
    next: u64,
    /// What is not stored yet begins here.
    unsaved: u64,
    dropped: Vec<u64>,
}

impl Fallbacks {
    pub(super) fn add(&mut self, install: EndedInstall) {
        self.latest.push_back((self.next, install));
        self.next += 1;
        if self.latest.len() > FALLBACKS_MAX {
            self.drop_first();
        }
    }

    fn drop_first(&mut self) {
        let first = self.latest.pop_front().map(|(number, _)| number);
        // What was never stored need not be removed.
        self.dropped.extend(first.filter(|&number| number < self.unsaved));
    }

    /// The latest first.
    pub(super) fn latest(&self) -> impl Iterator<Item = &EndedInstall> {
        self.latest.iter().rev().map(|(_, install)| install)
    }

    pub(super) fn expire(&mut self, now: u64) {
        let kept_since = now.saturating_sub(u64::from(KEPT_DAYS) * DAY);
        while self.latest.front().is_some_and(|(_, install)| install.ended < kept_since) {
            self.drop_first();
        }
    }

    pub(super) fn changes(&mut self) -> Vec<Change> {
        let key = |number: u64| Kind::Fallback.key(&[&number.to_be_bytes()]);
        let dropped = self.dropped.drain(..).map(|number| (key(number), None));
        let unsaved = self.latest.iter().filter(|(number, _)| *number >= self.unsaved);
        let added = unsaved.map(|(number, install)| (key(*number), serde_json::to_vec(install).ok()));
        let changes = dropped.chain(added).collect();
        self.unsaved = self.next;
        changes
    }

    /// Takes up a stored record, in the order of their keys.
    pub(super) fn restore(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        let number = u64::from_be_bytes(key.try_into().ok()?);
        let install = serde_json::from_slice(value).ok()?;
        self.next = number.checked_add(1)?;
        self.unsaved = self.next;
        self.latest.push_back((number, install));
        Some(())
    }
}

fn day_of(now: u64) -> u32 {
    u32::try_from(now / DAY).unwrap_or(u32::MAX - 1)
}
