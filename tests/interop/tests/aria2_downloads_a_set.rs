//! aria2 downloads a set's `.torrent` from the web seed alone. It takes padding for files like others.

use pkgtorrent_interop_tests::aria2;
use pkgtorrent_interop_tests::mirror::Mirror;
use pkgtorrent_interop_tests::on_disk::{Padding, assert_holds};

#[test]
fn aria2_downloads_a_set_from_the_web_seed() {
    let mirror = Mirror::start();
    let (torrent, _, bundle) = mirror.torrent();
    let directory = mirror.directory_for("aria2");
    aria2::download(&torrent, &directory);
    assert_holds(&directory, &bundle, &mirror.packages, Padding::Written);
    assert!(mirror.service.metric("pkgtorrent_webseed_bytes_total") >= mirror.package_bytes() as f64);
}
