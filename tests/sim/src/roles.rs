//! Which packages hosts want: each host those of its role.

use std::collections::BTreeSet;

use rand_pcg::Pcg64Mcg;

use crate::package::{seeded, shuffle, unit};
use crate::scenario::Scenario;

/// The packages of each role, in ascending order.
pub(crate) struct Roles(Vec<Vec<u32>>);

impl Roles {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let roles = scenario.roles.max(1);
        // The number of a scenario's packages fits.
        let packages = 0..scenario.packages.len() as u32;
        Self(match scenario.packages_per_role {
            Some(count) => popular(scenario.seed, roles, count, packages.collect()),
            None => (0..roles)
                .map(|role| packages.clone().filter(|it| is_of(role, roles, *it)).collect())
                .collect(),
        })
    }

    /// What a host wants.
    pub(crate) fn of(&self, host: u32) -> &[u32] {
        &self.0[host as usize % self.0.len()]
    }

    /// What any of so many hosts wants.
    pub(crate) fn union(&self, hosts: u32) -> BTreeSet<u32> {
        self.0.iter().take(hosts as usize).flatten().copied().collect()
    }

    /// What the role that has the most wants, in bytes.
    pub(crate) fn largest(&self, sizes: &[u64]) -> u64 {
        let len = |role: &Vec<u32>| role.iter().map(|package| sizes[*package as usize]).sum();
        self.0.iter().map(len).max().unwrap_or(0)
    }
}

/// Whether a role has a package where half of them are everybody's, and each of the others is one role's.
fn is_of(role: u32, roles: u32, package: u32) -> bool {
    roles == 1 || package.is_multiple_of(2) || (package / 2) % roles == role
}

/// Roles of so many packages each, by Zipf's law: the most popular one is drawn twice as often as the second.
fn popular(seed: u64, roles: u32, count: usize, mut by_rank: Vec<u32>) -> Vec<Vec<u32>> {
    let mut random = seeded(seed, 4);
    shuffle(&mut by_rank, &mut random);
    let draw = |random: &mut Pcg64Mcg| {
        let mut role = BTreeSet::new();
        while role.len() < count.min(by_rank.len()) {
            let rank = (by_rank.len() as f64).powf(unit(random)) as usize;
            role.insert(by_rank[rank.min(by_rank.len()) - 1]);
        }
        role.into_iter().collect()
    };
    (0..roles).map(|_| draw(&mut random)).collect()
}
