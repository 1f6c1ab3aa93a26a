//! libtorrent downloads a set's `.torrent` from the web seed alone. It knows padding and keeps it off the disk.

use pkgtorrent_interop_tests::libtorrent;
use pkgtorrent_interop_tests::mirror::Mirror;
use pkgtorrent_interop_tests::on_disk::{Padding, assert_holds};

#[test]
fn libtorrent_downloads_a_set_from_the_web_seed() {
    let mirror = Mirror::start();
    let (torrent, _, bundle) = mirror.torrent();
    let directory = mirror.directory_for("libtorrent");
    libtorrent::download(&torrent, &directory);
    assert_holds(&directory, &bundle, &mirror.packages, Padding::LeftOut);
    assert!(mirror.service.metric("pkgtorrent_webseed_bytes_total") >= mirror.package_bytes() as f64);
}
