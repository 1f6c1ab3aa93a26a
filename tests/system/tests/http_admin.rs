//! Where those who watch over the service have addresses of their own, nobody else sees what they see.

use std::fs;
use std::net::SocketAddr;

use pkgtorrent_system_tests::site::{Site, web_seed_path};
use pkgtorrent_test_support::{ask, http};

const OWN_DOOR: &str = "admin_listen = [\"127.0.0.1:0\"]\n";

/// What those who watch see.
const WATCHED: [&str; 4] = ["/pkgtorrent/", "/pkgtorrent", "/pkgtorrent/api/v1/overview", "/metrics"];

fn status(address: SocketAddr, path: &str) -> u16 {
    http::get(address, path).status
}

#[test]
fn without_addresses_of_their_own_they_come_in_with_everybody() {
    let site = Site::start(&[("a.rpm", 1_000)], "");
    for path in WATCHED {
        assert_eq!(status(site.service.addr(), path), 200, "{path}");
    }
}

#[test]
fn what_is_watched_is_on_their_addresses_and_nowhere_else() {
    let site = Site::start(&[("a.rpm", 1_000)], OWN_DOOR);
    let (public, admin) = (site.service.addr(), site.service.admin_addr());
    // Neither what lies below the root takes the names that are not served.
    fs::create_dir(site.root().join("pkgtorrent")).expect("a directory");
    for name in ["metrics", "pkgtorrent/page"] {
        fs::write(site.root().join(name), "a file of the mirror").expect("a file");
    }
    for path in WATCHED {
        assert_eq!((status(public, path), status(admin, path)), (404, 200), "{path}");
    }
    assert_eq!(status(public, "/pkgtorrent/page"), 404);
    assert!(http::get(admin, "/metrics").text().contains("pkgtorrent_catalog_packages 1\n"));
}

#[test]
fn hosts_are_served_on_the_public_addresses_alone() {
    let site = Site::start(&[("a.rpm", 1_000)], OWN_DOOR);
    let (public, admin) = (site.service.addr(), site.service.admin_addr());
    let plan = site.plan();
    let set = format!("{}sets/{}", ask::PREFIX, plan.set);
    for path in [set, web_seed_path(&site.packages[0]), "/repo/a.rpm".into(), "/scrape".into()] {
        assert_eq!((status(public, &path), status(admin, &path)), (200, 404), "{path}");
    }
}

#[test]
fn those_who_watch_are_told_more_of_its_health() {
    let site = Site::start(&[("a.rpm", 1_000)], OWN_DOOR);
    let public = http::get(site.service.addr(), "/healthz").expect_status(200);
    assert_eq!(public.text(), "ok\n");
    let full = http::get(site.service.admin_addr(), "/healthz").expect_status(200);
    assert_eq!(
        full.text(),
        "yes the first scan is done\nyes the registry answers\nyes the state is written\n"
    );
}

#[test]
fn those_who_watch_are_told_of_single_hosts_wherever_they_are() {
    const SINGLE_HOSTS: &str = "/pkgtorrent/api/v1/installs/slowest";
    let elsewhere = "peer_networks = [\"192.0.2.0/24\"]\n";
    let site = Site::start(&[("a.rpm", 1_000)], elsewhere);
    assert_eq!(status(site.service.addr(), SINGLE_HOSTS), 403);
    let site = Site::start(&[("a.rpm", 1_000)], &format!("{elsewhere}{OWN_DOOR}"));
    assert_eq!(status(site.service.admin_addr(), SINGLE_HOSTS), 200);
}
