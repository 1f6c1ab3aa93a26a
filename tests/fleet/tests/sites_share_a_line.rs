//! Two sites with a thin line between them: each piece goes over it about once, whichever hosts want it.

mod mirror;

use pkgtorrent_fleet::{Client, Crowd, Lines, Network, Rate};

/// How many hosts each site has.
const HOSTS: usize = 3;

/// The packages' sizes: 4 MB in all, some of each piece length.
const SIZES: [u64; 5] = [20_000, 280_000, 700_000, 1_000_000, 2_000_000];

#[test]
fn a_far_site_costs_its_line_one_copy() {
    let directory = tempfile::tempdir().expect("a directory");
    let wanted = mirror::packages(directory.path(), &SIZES);

    let lines = Lines::even(2 * HOSTS, Rate::mbit(20.0)).far(HOSTS, Rate::mbit(5.0));
    let network = Network::new(&lines).expect("a network");
    let outcome = Crowd::new(&network, &wanted, directory.path()).run(Client::Pkgtorrent).expect("a crowd");

    assert_eq!(outcome.hosts.iter().filter(|host| host.took.is_some()).count(), 2 * HOSTS);
    assert!(outcome.last() > outcome.floor.mul_f64(0.95), "a line that carries more: {outcome:?}");
    // Without sites each of the three would ask the other site for whatever it has.
    let copies = outcome.crossed_copies();
    assert!((1.0..1.4).contains(&copies), "{copies} copies over the line: {outcome:?}");
    let (near, far) = outcome.hosts.split_at(HOSTS);
    let last_near = near.iter().filter_map(|host| host.took).max().expect("near hosts");
    assert!(far.iter().filter_map(|host| host.took).all(|took| took > last_near), "{outcome:?}");
}
