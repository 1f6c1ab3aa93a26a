//! Two foreign clients that know nothing of each other meet through the service's tracker: one has the files, the other
//! gets them, and the service gives neither a byte of them.

use std::time::Duration;

use pkgtorrent_interop_tests::mirror::Mirror;
use pkgtorrent_interop_tests::on_disk::{Padding, assert_holds, lay_out};
use pkgtorrent_interop_tests::transmission::Transmission;
use pkgtorrent_interop_tests::{aria2, libtorrent};
use pkgtorrent_protocol::metainfo::Metainfo;
use pkgtorrent_test_support::ask;
use pkgtorrent_test_support::process::wait_for;

/// How long a client may take to check its files and announce itself.
const ANNOUNCE_LIMIT: Duration = Duration::from_secs(60);

fn wait_for_seed(mirror: &Mirror, metainfo: &Metainfo) {
    wait_for("complete peer in the swarm", ANNOUNCE_LIMIT, || {
        let (complete, _) = ask::scrape(mirror.service.addr(), metainfo.info_hash());
        (complete == 1).then_some(())
    });
}

#[test]
fn aria2_gets_a_set_from_libtorrent() {
    let mirror = Mirror::start();
    let (torrent, metainfo, bundle) = mirror.torrent_without_web_seeds();
    let (from, to) = (mirror.directory_for("libtorrent"), mirror.directory_for("aria2"));
    lay_out(&from, &bundle, &mirror.packages);
    let before = mirror.served_bytes();
    let _seed = libtorrent::start(&torrent, &from);
    wait_for_seed(&mirror, &metainfo);
    aria2::download(&torrent, &to);
    assert_holds(&to, &bundle, &mirror.packages, Padding::Written);
    assert_eq!(mirror.served_bytes(), before);
}

#[test]
fn libtorrent_gets_a_set_from_transmission() {
    let mirror = Mirror::start();
    let (torrent, metainfo, bundle) = mirror.torrent_without_web_seeds();
    let (from, to) = (mirror.directory_for("transmission"), mirror.directory_for("libtorrent"));
    lay_out(&from, &bundle, &mirror.packages);
    let before = mirror.served_bytes();
    let mut seed = Transmission::start(&from.with_extension("log"));
    seed.add(&torrent, &from);
    wait_for_seed(&mirror, &metainfo);
    libtorrent::download(&torrent, &to);
    assert_holds(&to, &bundle, &mirror.packages, Padding::LeftOut);
    assert_eq!(mirror.served_bytes(), before);
}

#[test]
fn transmission_gets_a_set_from_aria2() {
    let mirror = Mirror::start();
    let (torrent, metainfo, bundle) = mirror.torrent_without_web_seeds();
    let (from, to) = (mirror.directory_for("aria2"), mirror.directory_for("transmission"));
    lay_out(&from, &bundle, &mirror.packages);
    let before = mirror.served_bytes();
    let _seed = aria2::start(&torrent, &from);
    wait_for_seed(&mirror, &metainfo);
    let mut client = Transmission::start(&to.with_extension("log"));
    client.add(&torrent, &to);
    client.wait_complete();
    assert_holds(&to, &bundle, &mirror.packages, Padding::Written);
    assert_eq!(mirror.served_bytes(), before);
}
