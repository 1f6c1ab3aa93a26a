//! What can be read out of the accounts. These types are the API's JSON: every field says its unit, times are seconds since
//! 1970.

use std::collections::BTreeMap;

use pkgtorrent_protocol::Sha256Digest;
use pkgtorrent_protocol::report::{FallbackReason, Ledger};
use serde::Serialize;
use utoipa::ToSchema;

use super::documented;
use super::hosts::LATELY;
use super::installs::EndedInstall;
use super::spread::Package;
use super::tally::Tally;
use super::{Accounts, HOUR, KEPT_DAYS, MINUTES_KEPT};

/// The most versions that are told apart.
const PROGRAMS_MAX: usize = 16;

/// Sums over some time and some hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Sums {
    /// Bytes by source, and those that hosts gave to others.
    #[schema(value_type = documented::Ledger)]
    pub(crate) bytes: Ledger,
    /// Bytes that the mirror would have sent otherwise: those from other hosts.
    pub(crate) spared: u64,
    /// Installs that have ended.
    pub(crate) installs: u64,
    /// Packages that these have put into place.
    pub(crate) placed: u64,
    /// Packages that they have left to the package manager.
    pub(crate) left: u64,
    /// The latter by reason; without those that there are none for.
    #[schema(value_type = BTreeMap<String, u64>)]
    pub(crate) fallbacks: BTreeMap<&'static str, u64>,
    /// How many milliseconds half of the installs took at most, within a fifth; absent without installs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) took_p50_ms: Option<u32>,
    /// The same of 95 of 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) took_p95_ms: Option<u32>,
}

/// The fleet at a glance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Fleet)]
pub(crate) struct Overview {
    /// When this was so.
    pub(crate) now: u64,
    /// Hosts that have reported lately.
    pub(crate) hosts: usize,
    /// Within how many seconds that is.
    pub(crate) lately: u64,
    /// The most frequent versions of the program on these hosts, and on how many.
    pub(crate) programs: BTreeMap<String, usize>,
    /// Since midnight, UTC.
    pub(crate) today: Sums,
    /// Since the first of the month, UTC.
    pub(crate) month: Sums,
    /// Reports that were not counted since the service started: too early, too long, or of too many hosts.
    pub(crate) reports_ignored: u64,
}

/// One site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct SiteView {
    /// Its name; empty for hosts that are in no site.
    pub(crate) name: String,
    /// Hosts that have reported lately.
    pub(crate) hosts: usize,
    /// Since midnight, UTC.
    pub(crate) today: Sums,
    /// Since the first of the month, UTC.
    pub(crate) month: Sums,
}

/// What happened over time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct History {
    /// Seconds of each point: those of a minute or an hour.
    pub(crate) step: u64,
    /// When the first point would begin.
    pub(crate) since: u64,
    /// When the last one does.
    pub(crate) until: u64,
    /// The oldest first, without those in which nothing happened.
    pub(crate) points: Vec<Point>,
}

/// A minute or an hour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Point {
    /// When it begins.
    pub(crate) at: u64,
    /// What was counted in it.
    #[serde(flatten)]
    pub(crate) sums: Sums,
}

/// A package that was installed lately.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct InstalledPackage {
    /// Its digest.
    #[schema(value_type = String)]
    pub(crate) package: Sha256Digest,
    /// Its file's name.
    pub(crate) name: String,
    /// How many installs it was in.
    pub(crate) installs: u64,
    /// When the hour of the last one began.
    pub(crate) last: u64,
}

/// How one package spread. Installs are counted that had everything which the service has of their set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct PackageSpread {
    /// Which one.
    #[serde(flatten)]
    pub(crate) package: InstalledPackage,
    /// Pairs of the beginning of a minute and installs in it, for the last three hours.
    pub(crate) minutes: Vec<(u64, u32)>,
    /// Pairs of the beginning of an hour and installs in it.
    pub(crate) hours: Vec<(u64, u32)>,
}

impl Accounts {
    /// The fleet at a glance.
    pub(crate) fn overview(&mut self, now: u64) -> Overview {
        self.turn(now);
        let mut programs = BTreeMap::<&str, usize>::new();
        for (_, program) in self.hosts.present(now) {
            *programs.entry(program).or_default() += 1;
        }
        let mut programs: Vec<_> = programs.into_iter().collect();
        programs.sort_by_key(|(_, hosts)| std::cmp::Reverse(*hosts));
        programs.truncate(PROGRAMS_MAX);
        Overview {
            now,
            hosts: self.hosts.present(now).count(),
            lately: LATELY,
            programs: programs.into_iter().map(|(program, hosts)| (program.to_owned(), hosts)).collect(),
            today: Sums::of(&together(self.sites.iter().map(|site| &site.today))),
            month: Sums::of(&together(self.sites.iter().map(|site| &site.month))),
            reports_ignored: self.ignored,
        }
    }

    /// All sites that had hosts within the month, by name.
    pub(crate) fn sites(&mut self, now: u64) -> Vec<SiteView> {
        self.turn(now);
        let mut hosts = vec![0; self.sites.len()];
        self.hosts.present(now).for_each(|(site, _)| hosts[usize::from(site)] += 1);
        let view = |(site, hosts): (&super::Site, usize)| SiteView {
            name: site.name.clone(),
            hosts,
            today: Sums::of(&site.today),
            month: Sums::of(&site.month),
        };
        let mut views: Vec<SiteView> = self.sites.iter().zip(hosts).map(view).collect();
        views.sort_by(|a, b| a.name.cmp(&b.name));
        views
    }

    /// The last hours of one site, or of all of them together: by minute as far as these go back, else by hour. `None`
    /// when there is no such site.
    pub(crate) fn history(&self, now: u64, hours: u32, site: Option<&str>) -> Option<History> {
        let site = match site {
            Some(name) => Some(self.sites.iter().position(|site| site.name == name)?),
            None => None,
        };
        let is_fine = u64::from(hours) * HOUR <= u64::from(MINUTES_KEPT) * self.minutes.span;
        let buckets = if is_fine { &self.minutes } else { &self.hours };
        let hours = hours.clamp(1, KEPT_DAYS * 24);
        let last = buckets.at(now);
        let steps = u32::try_from(u64::from(hours) * HOUR / buckets.span).unwrap_or(u32::MAX);
        let first = (last + 1).saturating_sub(steps);
        let mut sums = BTreeMap::<u32, Tally>::new();
        for ((at, of_site), tally) in buckets.since(first) {
            if site.is_none_or(|site| usize::from(*of_site) == site) {
                sums.entry(*at).or_default().merge(tally);
            }
        }
        let begin = |at: u32| u64::from(at) * buckets.span;
        let points = sums.iter().map(|(at, tally)| Point { at: begin(*at), sums: Sums::of(tally) }).collect();
        Some(History { step: buckets.span, since: begin(first), until: begin(last), points })
    }

    /// The slowest installs of the last days, today included, the slowest first.
    pub(crate) fn slowest(&self, now: u64, days: u32, limit: usize) -> Vec<EndedInstall> {
        self.slowest.since(now, days).into_iter().take(limit).cloned().collect()
    }

    /// The latest installs that left packages to the package manager, the latest first.
    pub(crate) fn fallbacks(&self, limit: usize) -> Vec<EndedInstall> {
        self.fallbacks.latest().take(limit).cloned().collect()
    }

    /// The packages that were installed lately, those of the last hour first, and of these the most frequent.
    pub(crate) fn packages(&self, limit: usize) -> Vec<InstalledPackage> {
        let known = self.spread.packages.iter();
        let mut packages: Vec<InstalledPackage> =
            known.map(|(identity, package)| installed(*identity, package)).collect();
        packages.sort_by(|a, b| (b.last, b.installs, a.package).cmp(&(a.last, a.installs, b.package)));
        packages.truncate(limit);
        packages
    }

    /// How one package spread; `None` when it was not installed lately.
    pub(crate) fn spread_of(&self, package: &Sha256Digest) -> Option<PackageSpread> {
        let known = self.spread.packages.get(package)?;
        let times = |counts: &[(u32, u32)], span: u64| -> Vec<(u64, u32)> {
            counts.iter().map(|(at, count)| (u64::from(*at) * span, *count)).collect()
        };
        Some(PackageSpread {
            package: installed(*package, known),
            minutes: times(&known.minutes, self.minutes.span),
            hours: times(&known.hours, self.hours.span),
        })
    }
}

impl Sums {
    fn of(tally: &Tally) -> Self {
        let reasons = FallbackReason::ALL.into_iter().map(FallbackReason::name);
        Self {
            bytes: tally.bytes,
            spared: tally.bytes.near.saturating_add(tally.bytes.far),
            installs: tally.installs,
            placed: tally.placed,
            left: tally.left,
            fallbacks: reasons.zip(tally.fallbacks).filter(|(_, packages)| *packages > 0).collect(),
            took_p50_ms: tally.took.quantile(0.5),
            took_p95_ms: tally.took.quantile(0.95),
        }
    }
}

fn together<'a>(tallies: impl Iterator<Item = &'a Tally>) -> Tally {
    tallies.fold(Tally::default(), |mut sum, tally| {
        sum.merge(tally);
        sum
    })
}

fn installed(identity: Sha256Digest, package: &Package) -> InstalledPackage {
    InstalledPackage {
        package: identity,
        name: package.name.clone(),
        installs: package.installs(),
        last: u64::from(package.last()) * HOUR,
    }
}
