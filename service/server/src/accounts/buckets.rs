//! Tallies by time and site: the minutes of the last hours, and the hours of a month.

use std::collections::BTreeMap;

use super::SiteIndex;
use super::tally::Tally;

/// Which bucket of its kind since 1970, and whose.
pub(super) type Place = (u32, SiteIndex);

/// Equal stretches of time, as far back as they are kept. One in which nothing happened at a site takes nothing.
#[derive(Debug)]
pub(super) struct Buckets {
    /// Seconds of each.
    pub(super) span: u64,
    /// How many are kept.
    kept: u32,
    tallies: BTreeMap<Place, Tally>,
}

impl Buckets {
    pub(super) fn new(span: u64, kept: u32) -> Self {
        Self { span, kept, tallies: BTreeMap::new() }
    }

    /// The bucket of a moment.
    pub(super) fn at(&self, now: u64) -> u32 {
        u32::try_from(now / self.span).unwrap_or(u32::MAX)
    }

    /// Adds to the bucket of this moment, and gives its place.
    pub(super) fn add(&mut self, now: u64, site: SiteIndex, more: &Tally) -> Place {
        let place = (self.at(now), site);
        self.tallies.entry(place).or_default().merge(more);
        place
    }

    pub(super) fn get(&self, place: &Place) -> Option<&Tally> {
        self.tallies.get(place)
    }

    pub(super) fn restore(&mut self, place: Place, tally: Tally) {
        self.tallies.insert(place, tally);
    }

    /// All from a bucket on, the oldest first.
    pub(super) fn since(&self, first: u32) -> impl Iterator<Item = (&Place, &Tally)> {
        self.tallies.range((first, 0)..)
    }

    /// Drops what is too old, and gives its places.
    pub(super) fn expire(&mut self, now: u64) -> Vec<Place> {
        let stay = self.tallies.split_off(&(self.at(now).saturating_sub(self.kept - 1), 0));
        std::mem::replace(&mut self.tallies, stay).into_keys().collect()
    }
}
