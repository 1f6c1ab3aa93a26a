//! The service knows of its fleet what the hosts know of themselves, byte for byte, and nothing of hosts that say nothing.

use std::time::Duration;

use pkgtorrent_protocol::PeerId;
use pkgtorrent_protocol::announce::{BatchAnnounce, SwarmAnnounce, SwarmAnswer};
use pkgtorrent_protocol::report::{Fallback, INSTALLS_MAX, InstallReport, Ledger, Report};
use pkgtorrent_system_tests::site::Site;
use pkgtorrent_test_support::process::wait_for;
use pkgtorrent_test_support::{Agent, Package, Service, ask, http};
use serde_json::Value;

const FILES: [(&str, usize); 3] = [("a.rpm", 400_000), ("b.rpm", 700_001), ("c.rpm", 3_000_000)];

/// How long news may take: a host announces every ten seconds.
const TOLD_WITHIN: Duration = Duration::from_secs(60);

/// The hosts of a test announce as often as agents do at most.
const CONFIG: &str = "announce_interval = 10\nsites = { here = [\"127.0.0.0/8\"] }";

fn api(service: &Service, path: &str) -> Value {
    let response = http::get(service.addr(), &format!("/pkgtorrent/api/v1{path}")).expect_status(200);
    serde_json::from_slice(&response.body).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// What the service says of the fleet; nothing where it keeps no accounts.
fn fleet(service: &Service) -> Option<Value> {
    Some(api(service, "/overview")["fleet"].take()).filter(|fleet| !fleet.is_null())
}

/// The bytes of today, and how many installs ended.
fn counted(service: &Service) -> (Ledger, u64) {
    let fleet = fleet(service).expect("accounts");
    let bytes = serde_json::from_value(fleet["today"]["bytes"].clone()).expect("bytes");
    (bytes, fleet["today"]["installs"].as_u64().expect("a number"))
}

fn own(host: &Agent) -> Ledger {
    host.status().expect("an agent runs").ledger
}

fn sum(hosts: &[Agent]) -> Ledger {
    hosts.iter().map(own).fold(Ledger::default(), |mut sum, ledger| {
        sum += ledger;
        sum
    })
}

fn fetch(host: &Agent, site: &Site) {
    let _ = host.fetch(&site.service.url("/"), &host.wants(&site.packages)).all_placed();
}

#[test]
fn the_service_knows_what_its_hosts_know_also_after_a_restart() {
    let mut site = Site::start_apart(&FILES, CONFIG);
    let hosts = [Agent::new(), Agent::new(), Agent::new()];
    hosts.iter().for_each(|host| fetch(host, &site));
    // What the service does not have is left to the package manager.
    let foreign = site.repository.add_blob("foreign.rpm", 5_000, 99);
    let wants = hosts[2].wants_in("elsewhere", [&site.packages[0], &foreign]);
    assert_eq!(hosts[2].fetch(&site.service.url("/"), &wants).status, Some(3));
    let told = || (sum(&hosts), 4);
    wait_for("account of everything", TOLD_WITHIN, || (counted(&site.service) == told()).then_some(()));
    let (bytes, _) = counted(&site.service);
    // The last blocks of all are asked of two.
    let sent = bytes.near..=bytes.near + bytes.near / 5;
    assert!(sent.contains(&bytes.sent), "what hosts got from hosts is what hosts gave to hosts: {bytes:?}");
    assert_eq!(bytes.origin as f64, site.service.metric("pkgtorrent_webseed_bytes_total"));
    assert_eq!(bytes.origin + bytes.near, 3 * site.packages.iter().map(|package| package.size).sum::<u64>());
    assert_eq!(api(&site.service, "/sites")[0]["name"], "here");
    let fallback = &api(&site.service, "/installs/fallbacks")[0];
    assert_eq!(fallback["host"], "127.0.0.1");
    assert_eq!((&fallback["placed"], &fallback["packages"]), (&1.into(), &2.into()));
    assert_eq!(fallback["fallbacks"][0]["reason"], "unknown", "{fallback}");

    let before = fleet(&site.service).expect("accounts");
    site.service.restart();
    assert_eq!(fleet(&site.service).expect("accounts")["month"], before["month"]);
    assert_eq!(&api(&site.service, "/installs/fallbacks")[0], fallback);
    // The last word of each has its totals once more.
    let told = told();
    for host in &hosts {
        host.stop();
    }
    wait_for("word of all three", TOLD_WITHIN, || {
        (fleet(&site.service).expect("accounts")["hosts"] == 3).then_some(())
    });
    assert_eq!(counted(&site.service), told, "nothing counts twice");
}

#[test]
fn an_install_without_a_service_is_told_when_there_is_one() {
    let mut site = Site::start_apart(&FILES, CONFIG);
    let host = Agent::with_config("connect_timeout = 1");
    let [first, rest @ ..] = &site.packages[..] else { unreachable!("three packages") };
    let wants = |packages: &[Package]| host.wants(packages);
    let url = site.service.url("/");
    assert!(site.service.stop());
    assert_eq!(host.fetch(&url, &wants(std::slice::from_ref(first))).status, Some(3));
    site.service.restart();
    let _ = host.fetch(&url, &wants(rest)).all_placed();
    wait_for("both installs", TOLD_WITHIN, || (counted(&site.service).1 == 2).then_some(()));
    let reasons = &fleet(&site.service).expect("accounts")["today"]["fallbacks"];
    assert_eq!(reasons, &serde_json::json!({ "no_plan": 1 }));
}

#[test]
fn who_says_nothing_is_not_counted() {
    let site = Site::start_apart(&FILES, CONFIG);
    let (silent, open) = (Agent::with_config("reports = false"), Agent::new());
    for host in [&silent, &open] {
        fetch(host, &site);
    }
    silent.stop();
    let ledger = own(&open);
    open.stop();
    wait_for("word of who says something", TOLD_WITHIN, || {
        (counted(&site.service) == (ledger, 1)).then_some(())
    });
    assert_eq!(fleet(&site.service).expect("accounts")["hosts"], 1);
}

#[test]
fn a_service_that_keeps_no_accounts_forgets_those_that_it_had() {
    let mut site = Site::start_apart(&FILES, CONFIG);
    let (peer, _) = announce(&site, Some(report(1000)));
    assert_eq!(counted(&site.service).0.near, 1000);
    site.service.set_config(&format!("accounts = false\n{CONFIG}"));
    site.service.restart();
    assert_eq!(fleet(&site.service), None);
    let mut silent = peer;
    silent.report = Some(report(2000));
    assert_eq!(ask::announce_all(site.service.addr(), &silent).report_after, None);
    site.service.set_config(CONFIG);
    site.service.restart();
    assert_eq!(counted(&site.service), (Ledger::default(), 0));
}

#[test]
fn no_report_makes_an_announce_fail_or_the_sums_absurd() {
    let site = Site::start_apart(&FILES, CONFIG);
    let everything =
        Ledger { origin: u64::MAX, near: u64::MAX, far: u64::MAX, store: u64::MAX, sent: u64::MAX };
    let install = InstallReport {
        number: u64::MAX,
        ended_ago: u32::MAX,
        took: u32::MAX,
        packages: u32::MAX,
        placed: u32::MAX,
        bytes: everything,
        fallbacks: vec![Fallback {
            packages: u32::MAX,
            example: "<script>\u{1b}".into(),
            ..Fallback::default()
        }],
        ..InstallReport::default()
    };
    let absurd = Report { bytes: everything, installs: vec![install.clone()], ..Report::default() };
    let too_long = Report { installs: vec![install; INSTALLS_MAX + 1], ..Report::default() };
    for (n, report) in [absurd.clone(), too_long, absurd].into_iter().enumerate() {
        let (_, answer) = announce(&site, Some(report));
        assert!(matches!(answer.swarms[..], [SwarmAnswer::Known { .. }]), "{n}: {answer:?}");
        assert_eq!(answer.report_after, Some(5));
    }
    let (bytes, installs) = counted(&site.service);
    // An hour of 100 Gbit/s, and what the second of its kind may bring on top within a test.
    assert!(bytes.near < 50_000_000_000_000, "{bytes:?}");
    assert_eq!(installs, 1);
    assert_eq!(fleet(&site.service).expect("accounts")["reports_ignored"], 1);
    assert!(api(&site.service, "/installs/fallbacks")[0]["fallbacks"][0]["example"] == "<script> ");
}

fn report(near: u64) -> Report {
    Report { bytes: Ledger { near, ..Ledger::default() }, ..Report::default() }
}

/// Announces as a host that has everything of the site's first bundle.
fn announce(
    site: &Site,
    report: Option<Report>,
) -> (BatchAnnounce, pkgtorrent_protocol::announce::BatchAnswer) {
    let info_hash = site.plan().bundles[0].info_hash;
    let swarm =
        SwarmAnnounce { info_hash, left: 0, event: None, wanted: Some(0), served: false, lease: None };
    let batch = BatchAnnounce {
        version: 1,
        peer_id: PeerId([7; 20]),
        port: 1,
        swarms: vec![swarm],
        compact: true,
        report,
    };
    let answer = ask::announce_all(site.service.addr(), &batch);
    (batch, answer)
}
