//! What people look at: copies of what is known, for a page that shows it. Nothing here changes anything.

use pkgtorrent_protocol::InfoHash;
use pkgtorrent_protocol::announce::PieceRange;

use crate::announce::SwarmCount;
use crate::leases::Leases;
use crate::sites::Sites;
use crate::swarm::Swarm;

/// One swarm in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SwarmOverview {
    /// Which swarm.
    pub info_hash: InfoHash,
    /// Its numbers.
    pub count: SwarmCount,
    /// What is known of its first copies; none where nobody has asked for leases.
    pub first_copies: Option<FirstCopies>,
}

/// How many of a bundle's pieces have left the origin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct FirstCopies {
    /// Pieces that some host has reported.
    pub out: u32,
    /// Pieces that one host is to fetch now, and nobody has.
    pub leased: u32,
}

/// The peers of a swarm that are in one site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SitePeers {
    /// The site's name; none for hosts that are in no site.
    pub site: Option<String>,
    /// How many have everything.
    pub complete: u32,
    /// How many do not.
    pub incomplete: u32,
}

/// A swarm, seen closely.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwarmView {
    /// The same as in a list.
    pub overview: SwarmOverview,
    /// Its peers, the site with the most of them first.
    pub sites: Vec<SitePeers>,
    /// How many hosts have said to have each piece beside those that have everything, about. Empty where nobody has asked
    /// for leases.
    pub copies: Vec<u16>,
    /// What is leased, ascending in each site.
    pub leased: Vec<PieceRange>,
}

impl FirstCopies {
    fn of(leases: &Leases) -> Self {
        let pieces = leases.copies().len() as u32;
        let leased = leases.first_copies();
        Self { out: pieces.saturating_sub(leases.free() + leased), leased }
    }
}

impl SwarmOverview {
    pub(crate) fn of(swarm: &Swarm) -> Self {
        let known = swarm.locals().iter().filter(|local| !local.leases.copies().is_empty());
        // What one site's hosts brought is what has left the origin; the others have it from them.
        let first_copies = known.map(|local| FirstCopies::of(&local.leases)).max();
        Self { info_hash: swarm.info_hash, count: swarm.count(), first_copies }
    }
}

impl SwarmView {
    pub(crate) fn of(swarm: &Swarm, sites: &Sites) -> Self {
        let (mut copies, mut leased) = (Vec::<u16>::new(), Vec::new());
        for local in swarm.locals() {
            let reported = local.leases.copies();
            copies.resize(copies.len().max(reported.len()), 0);
            copies.iter_mut().zip(reported).for_each(|(sum, &copies)| *sum += u16::from(copies));
            leased.extend(local.leases.leased_ranges());
        }
        let peers = swarm.locals().iter().map(|local| {
            let (incomplete, complete) = local.count();
            let site = sites.name(local.site).map(str::to_owned);
            // Far below 2^32, see `Swarm::count`.
            SitePeers { site, complete: complete as u32, incomplete: incomplete as u32 }
        });
        let mut peers: Vec<SitePeers> = peers.filter(|site| site.complete + site.incomplete > 0).collect();
        peers.sort_by_key(|site| std::cmp::Reverse(site.complete + site.incomplete));
        Self { overview: SwarmOverview::of(swarm), sites: peers, copies, leased }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use pkgtorrent_protocol::announce::LeaseWish;
    use pkgtorrent_protocol::{PeerId, PieceLen};

    use super::*;
    use crate::{Announce, LeaseQuestion, Settings, Tracker};

    const SWARM: InfoHash = InfoHash([7; 20]);
    const NOW: Duration = Duration::from_secs(10);

    fn tracker() -> Tracker {
        let networks = |text: &str| vec![text.parse().expect("a network")];
        let sites = [("east".into(), networks("10.1.0.0/16")), ("west".into(), networks("10.2.0.0/16"))];
        let sites = Sites::new(&sites.into(), &[], Some("east")).expect("sites");
        let mut tracker = Tracker::new(Settings { sites, ..Settings::default() }, 1);
        tracker.register(SWARM, NOW);
        tracker
    }

    fn announce(tracker: &mut Tracker, address: &str, complete: bool) {
        let (address, peer_id) = (address.parse().expect("an address"), PeerId([1; 20]));
        let announce = Announce { info_hash: SWARM, peer_id, address, complete, event: None, wanted: 0 };
        tracker.announce(&announce, NOW).expect("listed");
    }

    fn lease(tracker: &mut Tracker, address: &str, wish: &LeaseWish) {
        let (address, peer_id): (SocketAddr, _) = (address.parse().expect("an address"), PeerId([1; 20]));
        let piece_len = PieceLen::Small;
        let asked = LeaseQuestion { info_hash: SWARM, peer_id, address, pieces: 10, piece_len, wish };
        tracker.lease(&asked, NOW).expect("an answer");
    }

    #[test]
    fn a_swarm_is_seen_with_its_sites_and_pieces() {
        let mut tracker = tracker();
        announce(&mut tracker, "10.1.0.1:1", false);
        assert_eq!(tracker.busiest_swarms(9)[0].first_copies, None, "nobody has asked");
        let wants = LeaseWish { wants: true, lacks: vec![(0, 6)], ..LeaseWish::default() };
        lease(&mut tracker, "10.1.0.1:1", &wants);
        lease(&mut tracker, "10.1.0.1:1", &LeaseWish { got: vec![(0, 2)], ..LeaseWish::default() });
        announce(&mut tracker, "10.2.0.1:1", true);
        announce(&mut tracker, "10.2.0.2:1", false);
        announce(&mut tracker, "10.9.0.2:1", false);
        lease(&mut tracker, "10.2.0.2:1", &LeaseWish { got: vec![(1, 2)], ..LeaseWish::default() });
        let view = tracker.view(&SWARM).expect("known");
        assert_eq!(view.overview, tracker.busiest_swarms(9)[0]);
        assert_eq!(view.overview.first_copies, Some(FirstCopies { out: 2, leased: 4 }));
        assert_eq!(view.copies, [1, 2, 1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(view.leased, [(2, 4)]);
        let peers = |site: Option<&str>, complete, incomplete| SitePeers {
            site: site.map(str::to_owned),
            complete,
            incomplete,
        };
        let sites = [peers(Some("west"), 1, 1), peers(Some("east"), 0, 1), peers(None, 0, 1)];
        assert_eq!(view.sites, sites);
        assert_eq!(tracker.view(&InfoHash([8; 20])), None);
    }
}
