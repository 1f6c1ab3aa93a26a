//! What an operator can set.

use std::time::Duration;

use ipnet::IpNet;

use crate::flood::FloodLimit;
use crate::networks::default_peer_networks;
use crate::sites::Sites;

/// The tracker's settings. Those that decide who is let in, and where it stands, hold for its life: peers that were let in
/// are not looked at again. The others can change, see `Tracker::reconfigure`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How long a peer waits before it announces again. Each answer says a little more than this, at random, so that
    /// hosts which one cron line started at once drift apart.
    pub interval: Duration,
    /// A peer that has not announced for so long is gone: never handed out again, and soon forgotten. Two and a half
    /// intervals forgive one announce that got lost, even after the longest interval that was asked for.
    pub peer_ttl: Duration,
    /// A lease of first copies goes to another host when it was not renewed for so long. Hosts announce for their leases
    /// every second or so; ten of them forgive a slow answer and are soon over when the host has died. Zero: nothing is
    /// leased.
    pub lease_ttl: Duration,
    /// How many bytes a second hosts are leased at most, in all swarms together; `None` for any number.
    pub origin_max_rate: Option<u64>,
    /// The most peers in one answer. Fifty make a random graph of any size dense; more only cost bytes.
    pub peers_per_answer_max: usize,
    /// The most peers of one swarm. Who comes later is answered with peers and not listed.
    pub swarm_peers_max: usize,
    /// The most peers of all swarms together: each takes some 150 bytes, so a million of them stay under 200 MB.
    pub peers_max: usize,
    /// The most peers of one swarm behind one address: several agents on a machine, or hosts behind one router. Beyond
    /// it they are answered and not listed, so that no address can crowd out the others.
    pub peers_per_address_max: u32,
    /// How often one address may announce; `None` for no limit, as a simulator or a benchmark on loopback wants it.
    pub flood: Option<FloodLimit>,
    /// Only addresses in these networks announce, and only they are handed out.
    pub peer_networks: Vec<IpNet>,
    /// Where hosts are. Those of a site meet each other first, and bring each piece into it once.
    pub sites: Sites,
    /// A bundle without peers stays its packages' home for so long after it was last planned or announced: hosts that
    /// come within the hour still find each other, and a bundle of packages that belong together now replaces it after.
    pub home_idle: Duration,
    /// The most bundles known at once. Beyond it the ones go that were not used for longest, those with peers last.
    pub bundles_max: usize,
}

impl Settings {
    /// The defaults with another base interval, and a lifetime of peers that fits it.
    #[must_use]
    pub fn with_interval(interval: Duration) -> Self {
        Self {
            interval,
            peer_ttl: interval.saturating_mul(5) / 2,
            lease_ttl: Duration::from_secs(10),
            origin_max_rate: None,
            peers_per_answer_max: 50,
            swarm_peers_max: 200_000,
            peers_max: 1_000_000,
            peers_per_address_max: 64,
            flood: Some(FloodLimit::default()),
            peer_networks: default_peer_networks(),
            sites: Sites::default(),
            home_idle: Duration::from_secs(3600),
            bundles_max: 10_000,
        }
    }
}

impl Default for Settings {
    /// A minute's interval: two announces of ten thousand hosts are then 330 requests a second, and a crashed host is
    /// forgotten before its peers have tried it often.
    fn default() -> Self {
        Self::with_interval(Duration::from_secs(60))
    }
}
