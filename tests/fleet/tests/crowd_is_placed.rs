//! Six hosts want the same packages in the same moment, each on a line of its own, and every one of them gets them.

mod mirror;

use std::time::Duration;

use pkgtorrent_fleet::{Client, Crowd, Lines, Network, Rate};

/// How many hosts there are.
const HOSTS: usize = 6;

/// The packages' sizes: 8 MB in all, some of each piece length.
const SIZES: [u64; 9] = [20_000, 60_000, 200_000, 500_000, 700_000, 900_000, 1_400_000, 1_900_000, 2_320_000];

#[test]
fn a_crowd_gets_its_packages_over_shaped_lines() {
    let directory = tempfile::tempdir().expect("a directory");
    let wanted = mirror::packages(directory.path(), &SIZES);

    let network = Network::new(&Lines::even(HOSTS, Rate::mbit(20.0))).expect("a network");
    // Also checks that every host has the mirror's bytes where it wanted them.
    let outcome = Crowd::new(&network, &wanted, directory.path()).run(Client::Pkgtorrent).expect("a crowd");

    assert_eq!(outcome.hosts.iter().filter(|host| host.took.is_some()).count(), HOSTS);
    // Lines that carried all of it faster than they can would be no lines; their shapers' first burst is free.
    assert_eq!(outcome.floor, Duration::from_millis(3200));
    assert!(outcome.last() > outcome.floor.mul_f64(0.95), "{outcome:?}");
    for host in &outcome.hosts {
        assert!(host.traffic.received > wanted.bytes() && host.peak_memory > 0, "{outcome:?}");
    }
    assert!(outcome.origin.sent > wanted.bytes() && outcome.cpu_seconds > 0.0, "{outcome:?}");
    let told = outcome.told.expect("our hosts know where their bytes came from");
    assert_eq!(told.from.peers + told.from.origin, wanted.bytes() * HOSTS as u64, "{outcome:?}");
    let messages = outcome.messages_share().expect("and what they said");
    assert!((0.0005..0.02).contains(&messages), "{messages} of what peers sent: {outcome:?}");
    // Without a swarm each host costs the origin a copy.
    let copies = outcome.application_copies().expect("the service counts what it sends");
    assert!((1.0..HOSTS as f64 / 2.0).contains(&copies), "{copies} copies: {outcome:?}");
}
