//! Who wanted a package last.
//!
//! A home has packages that only some of its hosts want. Of ten peers by chance none may have what one role in forty wants,
//! and who waits for such peers starves, and has the origin send it again. Whoever was given a plan with the same
//! package before has it, or is about to; so for each package the last one is remembered.

use std::net::SocketAddr;
use std::time::Duration;

use pkgtorrent_protocol::{InfoHash, Sha256Digest};

use super::Homes;

impl Homes {
    /// Who was last given plans with these packages of a bundle. What was wanted longest ago is what fewest want, and comes
    /// first. Nobody where it is the same host for all that there are: then any other has them as well.
    pub(crate) fn wanted_by(&self, bundle: &InfoHash, packages: &[Sha256Digest]) -> Vec<SocketAddr> {
        let mut wanted: Vec<(Duration, SocketAddr)> =
            packages.iter().filter_map(|package| self.wanted(package)).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let is_all = self.bundles.get(bundle).is_some_and(|it| it.members.len() <= packages.len());
        if is_all && wanted.len() == 1 {
            wanted.clear();
        }
        wanted.into_iter().map(|(_, host)| host).collect()
    }

    pub(super) fn wanted(&self, identity: &Sha256Digest) -> Option<(Duration, SocketAddr)> {
        self.homes.get(identity)?.wanted
    }

    /// This host is given a plan with these packages.
    pub(crate) fn wants(&mut self, host: SocketAddr, packages: &[Sha256Digest], now: Duration) {
        for identity in packages {
            if let Some(home) = self.homes.get_mut(identity) {
                home.wanted = Some((now, host));
            }
        }
    }
}
