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

    /// Whom to ask for it.
    fn hosts(&self) -> &[SocketAddr] {
        if self.served.is_empty() { &self.fetching } else { &self.served }
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
        let wanting: Vec<&Wanting> =
            packages.iter().filter_map(|package| Some(&self.homes.get(package)?.wanting)).collect();
        let is_all = self.bundles.get(bundle).is_some_and(|it| it.members.len() <= packages.len());
        if is_all && wanting.iter().all(|it| it.hosts() == wanting[0].hosts()) {
            return Vec::new();
        }
        let mut has: BTreeMap<SocketAddr, Vec<usize>> = BTreeMap::new();
        for (at, wanting) in wanting.iter().enumerate() {
            for host in wanting.hosts() {
                has.entry(*host).or_default().push(at);
            }
        }
        has.retain(|host, _| is_callable(host));
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
