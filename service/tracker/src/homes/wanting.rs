//! Who wanted a package last, and who has got it.
//!
//! A home has packages that only some of its hosts want. Of ten peers by chance none may have what one role in forty wants,
//! and who waits for such peers starves, and has the origin send it again. So for each package is remembered who was last
//! given plans with it, and who of those has said since to have all that it wanted. The former may be waiting themselves, and
//! who comes next would wait for them, and so on for hours; so they are named only where there is none of the latter.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use pkgtorrent_protocol::{InfoHash, Sha256Digest};

use super::Homes;

/// How many are remembered of each package who have it: among so many there is one that has most of what another wants.
const SERVED_MAX: usize = 4;

/// How many are remembered of each package who may not have it yet.
const FETCHING_MAX: usize = 2;

/// Of a larger share of a bundle only so many packages are looked at, those that fewest want.
const PACKAGES_LOOKED_AT_MAX: usize = 256;

/// Who was last given plans with a package.
#[derive(Debug, Clone, Default)]
pub(super) struct Wanting {
    /// How many there were.
    times: u32,
    /// Those who may not have it yet, the latest at the end.
    fetching: Vec<SocketAddr>,
    /// Those who have it.
    served: Vec<SocketAddr>,
}

impl Wanting {
    fn add(&mut self, host: SocketAddr) {
        self.times = self.times.saturating_add(1);
        push(&mut self.fetching, host, FETCHING_MAX);
    }

    fn serve(&mut self, host: SocketAddr) {
        let before = self.fetching.len();
        self.fetching.retain(|other| *other != host);
        if self.fetching.len() < before {
            push(&mut self.served, host, SERVED_MAX);
        }
    }

    fn is_of_same_hosts(&self, other: &Self) -> bool {
        (&self.served, &self.fetching) == (&other.served, &other.fetching)
    }

    /// Whom to ask for it, of those that can be called.
    fn hosts(&self, is_callable: impl Fn(&SocketAddr) -> bool) -> Vec<SocketAddr> {
        let callable = |hosts: &[SocketAddr]| hosts.iter().copied().filter(&is_callable).collect::<Vec<_>>();
        let served = callable(&self.served);
        if served.is_empty() { callable(&self.fetching) } else { served }
    }
}

/// Adds a host behind the others, the first of which leaves when there are too many.
fn push(hosts: &mut Vec<SocketAddr>, host: SocketAddr, hosts_max: usize) {
    hosts.retain(|other| *other != host);
    if hosts.len() == hosts_max {
        hosts.remove(0);
    }
    hosts.push(host);
}

impl Homes {
    /// Hosts that have these packages of a bundle, or were last given plans with them, as few as have them all: who has most
    /// of what few want comes first. Nobody where the same hosts want all that there is: then any other has them as well.
    pub(crate) fn wanted_by(
        &self,
        bundle: &InfoHash,
        packages: &[Sha256Digest],
        hosts_max: usize,
        is_callable: impl Fn(&SocketAddr) -> bool,
    ) -> Vec<SocketAddr> {
        if hosts_max == 0 {
            return Vec::new();
        }
        let mut wanting: Vec<&Wanting> =
            packages.iter().filter_map(|package| Some(&self.homes.get(package)?.wanting)).collect();
        let is_all = self.bundles.get(bundle).is_some_and(|it| it.members.len() <= packages.len());
        if is_all && wanting.iter().all(|it| it.is_of_same_hosts(wanting[0])) {
            return Vec::new();
        }
        if wanting.len() > PACKAGES_LOOKED_AT_MAX {
            wanting.select_nth_unstable_by_key(PACKAGES_LOOKED_AT_MAX, |it| it.times);
            wanting.truncate(PACKAGES_LOOKED_AT_MAX);
        }
        let mut has: BTreeMap<SocketAddr, Vec<usize>> = BTreeMap::new();
        for (at, wanting) in wanting.iter().enumerate() {
            for host in wanting.hosts(&is_callable) {
                has.entry(host).or_default().push(at);
            }
        }
        let most = wanting.iter().map(|it| it.times).max().unwrap_or(0);
        let mut worth: Vec<u64> = wanting.iter().map(|it| u64::from(most / it.times.max(1))).collect();
        let mut chosen = Vec::new();
        while chosen.len() < hosts_max {
            let value = |packages: &Vec<usize>| packages.iter().map(|at| worth[*at]).sum::<u64>();
            let Some((host, packages)) = has.iter().max_by_key(|(_, packages)| value(packages)) else {
                break;
            };
            if value(packages) == 0 {
                break;
            }
            chosen.push(*host);
            for at in packages.clone() {
                worth[at] = 0;
            }
        }
        chosen
    }

    /// How many packages a bundle was formed of.
    pub(crate) fn len_of(&self, bundle: &InfoHash) -> usize {
        self.bundles.get(bundle).map_or(0, |bundle| bundle.members.len())
    }

    pub(super) fn wanting(&self, identity: &Sha256Digest) -> Wanting {
        self.homes.get(identity).map(|home| home.wanting.clone()).unwrap_or_default()
    }

    /// This host is given a plan with these packages.
    pub(crate) fn wants(&mut self, host: SocketAddr, packages: &[Sha256Digest]) {
        for identity in packages {
            if let Some(home) = self.homes.get_mut(identity) {
                home.wanting.add(host);
            }
        }
    }

    /// This host has all that it wanted of a bundle.
    pub(crate) fn is_served(&mut self, host: SocketAddr, bundle: &InfoHash) {
        let Some(bundle) = self.bundles.get(bundle) else { return };
        for (identity, _) in &bundle.members {
            if let Some(home) = self.homes.get_mut(identity) {
                home.wanting.serve(host);
            }
        }
    }
}
