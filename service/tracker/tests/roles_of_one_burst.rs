//! Forty roles of one repository come within the same minutes: their plans stay short.

mod sharing;

use std::collections::BTreeSet;

use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

use sharing::{MINUTE, Package, SEEDING, Sharing, zipf};

const HOSTS: usize = 5000;
const ROLES: usize = 40;
const NAMES_PER_ROLE: usize = 50;
const ARRIVING: u64 = 10 * MINUTE;

fn role(random: &mut Pcg64Mcg) -> Vec<Package> {
    let mut names = BTreeSet::new();
    while names.len() < NAMES_PER_ROLE {
        names.insert((zipf(random), 0));
    }
    names.into_iter().collect()
}

#[test]
fn forty_roles_have_plans_of_eight_bundles() {
    for seed in 1..=5 {
        let mut random = Pcg64Mcg::seed_from_u64(seed);
        let roles: Vec<Vec<Package>> = (0..ROLES).map(|_| role(&mut random)).collect();
        let mut sharing = Sharing::new(seed);
        let mut plans: Vec<usize> = (0..HOSTS)
            .map(|host| {
                // From one on, since nobody shares anything at the beginning.
                let now = 1 + host as u64 * ARRIVING / HOSTS as u64;
                let role = random.next_u64() as usize % ROLES;
                sharing.fetch(host, &roles[role], now, SEEDING).len()
            })
            .collect();
        plans.sort_unstable();
        let (median, p99) = (plans[HOSTS / 2], plans[HOSTS * 99 / 100]);
        let (first_copies, bundles) = (sharing.first_copies(), sharing.bundles(ARRIVING));
        let what = format!(
            "seed {seed}: plans of {median} bundles, p99 {p99}; {first_copies:.3} first copies; {bundles} bundles shared"
        );
        eprintln!("{what}");
        assert!(median <= 8, "{what}");
        // Homes are merged within the first seconds, and most packages once. Did nobody follow, what the first hosts
        // shared in the old ones would be nearly half a copy.
        assert!(first_copies <= 1.02, "{what}");
    }
}
