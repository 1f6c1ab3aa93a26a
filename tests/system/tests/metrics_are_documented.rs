//! docs/metrics.md has what the programs show, all of it and nothing else.

use std::time::Duration;

use pkgtorrent_system_tests::site::Site;
use pkgtorrent_system_tests::watched::{Series, Served, documented};
use pkgtorrent_test_support::process::wait_for;
use pkgtorrent_test_support::{Agent, ask, http};

const FILES: [(&str, usize); 2] = [("a.rpm", 400_000), ("b.rpm", 2_000_000)];
const TOTAL: f64 = 2_400_000.0;

/// How long an agent's report may take: it goes with the next announce.
const REPORTED_WITHIN: Duration = Duration::from_secs(30);

/// Sites, a rule for uploads, and a lid, so that what is counted of these moves.
const CONFIG: &str = r#"
announce_interval = 1
sites = { here = ["127.0.0.0/8"] }
uploads = { all = { networks = ["127.0.0.0/8"], max_rate = "800 Mbit/s" } }
origin.max_rate = "800 Mbit/s"
"#;

#[test]
fn the_service_shows_what_is_documented_of_it() {
    let site = Site::start_apart(&FILES, CONFIG);
    let service = site.service.addr();
    let host = Agent::new();
    let fetched = host.fetch(&site.service.url("/"), &host.wants(&site.packages)).all_placed();
    assert_eq!(fetched.bytes().origin as f64, TOTAL);
    http::get(service, "/repo/a.rpm").expect_status(200);
    http::get(service, "/nothing").expect_status(404);
    http::get(service, &format!("{}sets/nonsense", ask::PREFIX)).expect_status(404);
    http::get(service, &format!("/announce?info_hash={0}&peer_id={0}&port=1&left=1", "a".repeat(20)))
        .expect_status(200);

    let served = wait_for("the host's report and the registry's", REPORTED_WITHIN, || {
        let served = Served::get(service);
        // Some numbers of the registry's come once a second.
        let is_there = |metric| served.sum(metric, None) > 0.0;
        (is_there("pkgtorrent_fleet_installs_total") && is_there("pkgtorrent_bundles")).then_some(served)
    });
    assert_eq!(served.metrics, documented("Of the service"));
    let requests = |endpoint| served.sum("pkgtorrent_requests_total", Some(("endpoint", endpoint)));
    for endpoint in ["set_get", "set_post", "info", "webseed", "agent_announce", "announce", "mirror"] {
        assert!(requests(endpoint) > 0.0, "{endpoint}: {served:?}");
    }
    let failed = |series: &&Series| series.labels["status"] == "4xx";
    let of_mirror = Some(("endpoint", "mirror"));
    let mut of_mirror = served.series_of("pkgtorrent_requests_total", of_mirror);
    assert_eq!(of_mirror.find(failed).expect("a series").value, 1.0);
    for moved in [
        "pkgtorrent_announces_total",
        "pkgtorrent_announces_refused_total",
        "pkgtorrent_announce_bytes_total",
        "pkgtorrent_build_info",
        "pkgtorrent_bytes_hashed_total",
        "pkgtorrent_errand_seconds_count",
        "pkgtorrent_fleet_install_seconds_count",
        "pkgtorrent_info_bytes_total",
        "pkgtorrent_leases_granted_total",
        "pkgtorrent_lid_asked_bytes_total",
        "pkgtorrent_plan_bytes_total",
        "pkgtorrent_plan_seconds_count",
        "pkgtorrent_plans_total",
        "pkgtorrent_plans_upload_limited_total",
        "pkgtorrent_ready",
        "pkgtorrent_start_time_seconds",
    ] {
        assert!(served.sum(moved, None) > 0.0, "{moved}: {served:?}");
    }
    assert!(served.sum("pkgtorrent_webseed_bytes_total", None) >= TOTAL);
    assert_eq!(served.sum("pkgtorrent_lid_bytes_per_second", None), 1e8);
}
