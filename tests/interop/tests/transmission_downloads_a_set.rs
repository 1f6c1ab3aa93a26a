//! Transmission downloads a set's `.torrent` from the web seed alone. It takes padding for files like others.

use pkgtorrent_interop_tests::mirror::Mirror;
use pkgtorrent_interop_tests::on_disk::{Padding, assert_holds};
use pkgtorrent_interop_tests::transmission::Transmission;

#[test]
fn transmission_downloads_a_set_from_the_web_seed() {
    let mirror = Mirror::start();
    let (torrent, _, bundle) = mirror.torrent();
    let directory = mirror.directory_for("transmission");
    let mut transmission = Transmission::start(&directory.with_extension("log"));
    transmission.add(&torrent, &directory);
    transmission.wait_complete();
    assert_holds(&directory, &bundle, &mirror.packages, Padding::Written);
    assert!(mirror.service.metric("pkgtorrent_webseed_bytes_total") >= mirror.package_bytes() as f64);
}
