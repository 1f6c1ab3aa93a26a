//! Where hosts are decides whom they meet, and who brings what.

use std::collections::BTreeMap;

use pkgtorrent_protocol::PieceLen;
use pkgtorrent_protocol::announce::{LeaseWish, PieceRange};

use super::*;
use crate::{LeaseQuestion, Sites};

/// Three sites; the origin is in the first, and the second and third are near each other.
fn three_sites() -> Settings {
    let sites = [("a", "10.1.0.0/16"), ("b", "10.2.0.0/16"), ("c", "10.3.0.0/16")];
    let sites: BTreeMap<_, _> =
        sites.map(|(name, text)| (name.to_owned(), vec![text.parse().expect("a network")])).into();
    let links = [("b".to_owned(), "c".to_owned())];
    let sites = Sites::new(&sites, &links, Some("a")).expect("sites");
    Settings { sites, flood: None, ..Settings::default() }
}

/// Enters so many leechers of a site.
fn populate_site(swarms: &mut Swarms, site: u8, hosts: u8) {
    for host in 0..hosts {
        answered(swarms, Announce { wanted: 0, ..leecher(&format!("10.{site}.0.{host}:1")) }, Duration::ZERO);
    }
}

/// How many of each site an asker is told of, and which sites the first ten are in.
fn told(swarms: &mut Swarms, asker: &str, wanted: usize) -> ([usize; 3], String) {
    let peers = answered(swarms, Announce { wanted, ..leecher(asker) }, Duration::ZERO).peers;
    let sites: Vec<char> = peers.iter().filter_map(|peer| peer.to_string().chars().nth(3)).collect();
    let count = |site| sites.iter().filter(|it| **it == site).count();
    (['1', '2', '3'].map(count), sites.iter().take(10).collect())
}

#[test]
fn a_site_meets_itself_first_and_every_fifth_peer_is_of_the_nearest_other() {
    let mut swarms = swarms(three_sites());
    (1..4).for_each(|site| populate_site(&mut swarms, site, 40));
    assert_eq!(told(&mut swarms, "10.2.9.9:0", 25), ([0, 20, 5], "2222322223".to_owned()));
    let (counts, order) = told(&mut swarms, "10.1.9.9:0", 25);
    assert_eq!((counts[0], counts[1] + counts[2]), (20, 5));
    assert_eq!((&order[..4], &order[5..9]), ("1111", "1111"));
}

#[test]
fn what_a_small_site_does_not_fill_others_do_the_near_ones_first() {
    let mut swarms = swarms(three_sites());
    populate_site(&mut swarms, 1, 40);
    populate_site(&mut swarms, 2, 3);
    populate_site(&mut swarms, 3, 2);
    let (counts, order) = told(&mut swarms, "10.2.9.9:0", 25);
    assert_eq!((counts, &order[..6]), ([20, 3, 2], "222331"));
    assert_eq!(told(&mut swarms, "10.3.9.9:0", 4).0, [0, 2, 2]);
}

#[test]
fn neighbouring_addresses_come_first_where_no_sites_are_named() {
    let mut swarms = swarms(Settings { flood: None, ..Settings::default() });
    (1..4).for_each(|site| populate_site(&mut swarms, site, 8));
    let (counts, order) = told(&mut swarms, "10.2.0.99:0", 24);
    assert_eq!(counts, [8, 8, 8], "all of them all the same");
    assert_eq!((&order[..4], &order[5..9]), ("2222", "2222"));
}

fn lease(swarms: &mut Swarms, host: &str, lacks: &[PieceRange]) -> Vec<PieceRange> {
    let Announce { peer_id, address, .. } = leecher(host);
    let wish = LeaseWish { lacks: lacks.to_vec(), wants: true, ..LeaseWish::default() };
    let question = LeaseQuestion {
        info_hash: SWARM,
        peer_id,
        address,
        pieces: 100,
        piece_len: PieceLen::Large,
        wish: &wish,
    };
    swarms.lease(&question, Duration::ZERO).expect("a listed host").pieces
}

#[test]
fn each_site_has_leases_of_its_own() {
    let mut swarms = swarms(three_sites());
    (1..3).for_each(|site| populate_site(&mut swarms, site, 2));
    assert_eq!(lease(&mut swarms, "10.1.0.0:1", &[]), [(0, 100)]);
    assert_eq!(lease(&mut swarms, "10.2.0.0:1", &[]), [(0, 100)]);
    assert_eq!(lease(&mut swarms, "10.1.0.1:1", &[]), [(50, 50)]);
    assert_eq!(
        lease(&mut swarms, "10.2.0.0:1", &[]),
        [(0, 100)],
        "what one site does is nothing to the other"
    );
    answered(&mut swarms, stopped(leecher("10.2.0.0:1")), Duration::ZERO);
    assert_eq!(lease(&mut swarms, "10.2.0.1:1", &[]), [(0, 100)]);
    assert_eq!(lease(&mut swarms, "10.1.0.1:1", &[]), [(50, 50)]);
}

#[test]
fn a_seed_elsewhere_brings_nothing_into_a_site() {
    let mut swarms = swarms(three_sites());
    answered(&mut swarms, seed("10.1.0.9:1"), Duration::ZERO);
    (1..3).for_each(|site| populate_site(&mut swarms, site, 2));
    assert_eq!(lease(&mut swarms, "10.1.0.0:1", &[]), []);
    assert_eq!(lease(&mut swarms, "10.2.0.0:1", &[]), [(0, 100)]);
}

#[test]
fn the_origins_site_fetches_first_copies_and_else_the_nearest_that_has_hosts() {
    let mut swarms = swarms(three_sites());
    let second_hand = |swarms: &Swarms| {
        ["10.1.0.0:1", "10.2.0.0:1", "10.3.0.0:1", "10.9.0.0:1"]
            .map(|host| swarms.is_second_hand(&SWARM, address(host)))
    };
    assert_eq!(second_hand(&swarms), [false; 4], "nobody is there");
    (2..4).for_each(|site| populate_site(&mut swarms, site, 1));
    assert_eq!(second_hand(&swarms), [true, false, true, false], "who is in no site is as without sites");
    populate_site(&mut swarms, 1, 1);
    assert_eq!(second_hand(&swarms), [false, true, true, false]);
    answered(&mut swarms, stopped(leecher("10.1.0.0:1")), Duration::ZERO);
    assert_eq!(second_hand(&swarms), [true, false, true, false]);
}

#[test]
fn few_of_a_site_bring_what_another_fetches() {
    let mut swarms = swarms(three_sites());
    (1..3).for_each(|site| populate_site(&mut swarms, site, 30));
    let holding = |swarms: &mut Swarms, site: u8| {
        let hosts = (0..30).map(|host| lease(swarms, &format!("10.{site}.0.{host}:1"), &[]));
        hosts.filter(|lease| !lease.is_empty()).count()
    };
    assert_eq!((holding(&mut swarms, 1), holding(&mut swarms, 2)), (16, 4));
}
