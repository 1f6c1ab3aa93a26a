//! Crowds of foreign clients get their packages as well, so that what they take can be put beside what ours take.
//!
//! librqbit is left out: it is built for measuring only.

mod mirror;

use pkgtorrent_fleet::{Client, Crowd, Lines, Network, Outcome, Rate};

/// How many hosts there are.
const HOSTS: usize = 3;

/// The packages' sizes: 1 MB in all, with padding for those who do not know it.
const SIZES: [u64; 3] = [50_000, 250_000, 700_000];

fn outcome(client: Client) -> Outcome {
    let directory = tempfile::tempdir().expect("a directory");
    let wanted = mirror::packages(directory.path(), &SIZES);
    let network = Network::new(&Lines::even(HOSTS, Rate::mbit(50.0))).expect("a network");
    let outcome = Crowd::new(&network, &wanted, directory.path()).run(client).expect("a crowd");
    assert!(outcome.hosts.iter().all(|host| host.took.is_some()), "{outcome:?}");
    println!("{client}: {:?}, {:.2} copies, {outcome:?}", outcome.last(), outcome.copies());
    outcome
}

#[test]
fn plain_http_costs_the_origin_a_copy_for_each_host() {
    let outcome = outcome(Client::Http);
    // What TCP, IP and Ethernet add is a few per cent.
    let per_host = outcome.copies() / HOSTS as f64;
    assert!((1.02..1.12).contains(&per_host), "{outcome:?}");
    assert!(outcome.share_from_peers() < 0.05, "{outcome:?}");
}

#[test]
fn aria2_gets_its_packages_and_keeps_sharing() {
    assert!(outcome(Client::Aria2).copies() > 1.0);
}

#[test]
fn libtorrent_hosts_get_most_from_each_other() {
    let outcome = outcome(Client::Libtorrent);
    assert!(outcome.copies() < HOSTS as f64 && outcome.share_from_peers() > 0.05, "{outcome:?}");
}

#[test]
fn a_super_seed_gives_little_more_than_one_copy() {
    let outcome = outcome(Client::SuperSeeding);
    assert!(outcome.copies() < 2.0 && outcome.share_from_peers() > 0.05, "{outcome:?}");
}
