//! All bundles share one budget of connections.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::ops::Range;

use pkgtorrent_swarm::{BundleId, LinkId};
use tokio::sync::oneshot;

use super::*;
use crate::peer::{Event as PeerEvent, FromPeer, Hello, Peer};

impl Host {
    /// Wants a package of each of so many bundles.
    fn in_bundles(bundles: u8) -> (Self, Vec<BundleId>) {
        let mut host = Self::new();
        let packages: Vec<Package> = (1..=bundles).map(Package::new).collect();
        let digests: Vec<PackageDigest> = packages.iter().map(|package| package.identity.into()).collect();
        host.fetch(ALICE, &digests);
        let alone: Vec<[&Package; 1]> = packages.iter().map(|package| [package]).collect();
        let planned: Vec<&[&Package]> = alone.iter().map(|package| &package[..]).collect();
        host.answer(&digests, &planned);
        let ids = (0..u32::from(bundles)).map(BundleId).collect();
        (host, ids)
    }

    /// These hosts call for a bundle; gives the other ends of the connections.
    fn called(&mut self, bundle: BundleId, calls: Range<u16>) -> Vec<mpsc::Receiver<peer::Command>> {
        calls.map(|call| self.called_from([127, 0, 0, 1], bundle, call)).collect()
    }

    fn called_from(&mut self, ip: [u8; 4], bundle: BundleId, call: u16) -> mpsc::Receiver<peer::Command> {
        let mut peer_id = [2; 20];
        peer_id[..2].copy_from_slice(&call.to_le_bytes());
        let (peer, commands) = Peer::channel();
        let hello = Hello {
            info_hash: self.engine.bundles[&bundle].info_hash,
            peer_id: PeerId(peer_id),
            address: SocketAddr::from((ip, 1000 + call)),
            is_dialled: false,
            is_fast: true,
            peer,
            welcome: oneshot::channel().0,
        };
        self.engine.peer_said(PeerEvent::Hello(hello));
        commands
    }

    fn links(&self, bundles: &[BundleId]) -> Vec<usize> {
        bundles.iter().map(|bundle| self.engine.swarm.links(*bundle)).collect()
    }
}

#[tokio::test]
async fn the_more_bundles_are_needed_the_fewer_connections_are_made_for_each() {
    for (bundles, connections) in [(1, 10), (4, 10), (8, 5), (20, 2), (60, 2)] {
        assert_eq!(Host::in_bundles(bundles).0.engine.dialled_max(), connections, "{bundles} bundles");
    }
}

#[tokio::test]
async fn a_bundle_that_comes_late_gets_connections_of_those_that_have_many() {
    let (mut host, bundles) = Host::in_bundles(5);
    let mut calls: Vec<_> = bundles[..2].iter().map(|bundle| host.called(*bundle, 0..90)).collect();
    assert_eq!(host.links(&bundles), [80, 80, 0, 0, 0], "no bundle has more");
    calls.extend(bundles[2..].iter().map(|bundle| host.called(*bundle, 0..90)));
    let links = host.links(&bundles);
    assert_eq!(links.iter().sum::<usize>(), 175, "an eighth of 200 is left for who calls next");
    assert!(links.iter().all(|links| (34..=36).contains(links)), "{links:?}");
}

#[tokio::test]
async fn a_full_bundle_gives_up_who_needs_nothing_for_who_calls() {
    let (stored, wanted) = (Package::new(1), Package::new(2));
    let mut host = Host::new();
    host.add(&stored, stored.sha512()).await;
    let digests = [stored.identity.into(), wanted.identity.into()];
    host.fetch(ALICE, &digests);
    host.answer(&digests, &[&[&stored], &[&wanted, &Package::new(3)]]);
    let (given, needed): (Vec<BundleId>, Vec<BundleId>) =
        host.engine.bundles.keys().partition(|id| host.engine.swarm.needed_len(**id) == 0);
    let links = |host: &Host, bundle: BundleId| -> BTreeSet<LinkId> {
        host.engine.network.links_of(bundle).map(|(link, _)| *link).collect()
    };
    let mut calls = host.called(given[0], 0..80);
    let before = links(&host, given[0]);
    calls.extend(host.called(given[0], 80..81));
    let after = links(&host, given[0]);
    assert_eq!((before.len(), after.len()), (80, 80));
    assert_eq!(before.difference(&after).collect::<Vec<_>>(), before.first().as_slice(), "the oldest one");

    for link in &after {
        let messages = vec![FromPeer::Interested(true)];
        host.engine.peer_said(PeerEvent::Messages { link: *link, messages });
    }
    calls.extend(host.called(given[0], 81..82));
    assert_eq!(links(&host, given[0]), after, "they need something");

    calls.extend(host.called(needed[0], 0..80));
    let before = links(&host, needed[0]);
    calls.extend(host.called(needed[0], 80..81));
    assert_eq!(links(&host, needed[0]), before, "this host needs something");
}

#[tokio::test]
async fn who_comes_from_another_host_shows_that_this_one_can_be_reached() {
    let (mut host, bundles) = Host::in_bundles(1);
    let mut links = host.called(bundles[0], 0..1);
    assert_eq!((host.engine.peers_inbound(), host.engine.network.called), (1, None), "from this very host");
    links.push(host.called_from([10, 0, 0, 9], bundles[0], 1));
    assert_eq!((host.engine.peers_inbound(), host.engine.peers_connected()), (2, 2));
    assert!(host.engine.network.called.is_some());
}
