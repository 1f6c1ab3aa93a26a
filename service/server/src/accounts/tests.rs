use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use pkgtorrent_protocol::report::{Fallback, INSTALLS_MAX, Ledger};
use pkgtorrent_protocol::{PeerId, Sha256Digest};

use super::hosts::HOSTS_MAX;
use super::*;
use crate::state::{Record, State, Table};

/// A Sunday at noon, UTC.
const NOON: u64 = 1_782_648_000;

fn peer_id(host: u32) -> PeerId {
    let mut name = [b'-'; 20];
    name[16..].copy_from_slice(&host.to_be_bytes());
    PeerId(name)
}

fn from(site: &str, host: u32) -> Reporter<'_> {
    Reporter { site, address: IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + host)), peer_id: peer_id(host) }
}

fn totals(near: u64) -> Report {
    let bytes = Ledger { origin: near / 10, near, far: 5, store: 1, sent: near / 2 };
    Report { program: "0.1.0".into(), bytes, ..Report::default() }
}

fn install(number: u64, took: u32) -> InstallReport {
    let set = Some(SetDigest(Sha256Digest([number as u8; 32])));
    InstallReport { number, set, took, packages: 10, placed: 10, ..InstallReport::default() }
}

fn fallen_back(number: u64, reason: FallbackReason, packages: u32) -> InstallReport {
    let example = "mirror \u{1b}[31mgone\n".to_owned();
    let fallbacks = vec![Fallback { reason, packages, example }];
    InstallReport { placed: 10 - packages, fallbacks, ..install(number, 700) }
}

fn with(report: Report, installs: Vec<InstallReport>) -> Report {
    Report { installs, ..report }
}

/// The state, without a disk.
type Stored = BTreeMap<Vec<u8>, Vec<u8>>;

fn store(accounts: &mut Accounts, stored: &mut Stored) -> usize {
    let changes = accounts.changes();
    let written = changes.len();
    for (key, value) in changes {
        match value {
            Some(value) => drop(stored.insert(key, value)),
            None => drop(stored.remove(&key)),
        }
    }
    written
}

fn restored(now: u64, stored: &Stored) -> Accounts {
    let mut accounts = Accounts::new();
    for (key, value) in stored {
        accounts.restore(now, key, value).expect("a record");
    }
    accounts.tick(now);
    accounts
}

fn near(accounts: &mut Accounts, now: u64) -> u64 {
    accounts.overview(now).today.bytes.near
}

#[test]
fn totals_count_once_however_often_they_are_told() {
    let mut accounts = Accounts::new();
    for (after, told, counted) in
        [(0, 1000, 1000), (5, 1000, 1000), (10, 1500, 1500), (15, 1200, 1500), (20, 1600, 1600)]
    {
        let now = NOON + after;
        accounts.report(now, &from("a", 1), &with(totals(told), vec![install(1, 900)])).expect("counted");
        assert_eq!(near(&mut accounts, now), counted, "{told}");
    }
    // The agent's next run, and another host.
    accounts.report(NOON + 20, &from("a", 2), &totals(100)).expect("counted");
    accounts.report(NOON + 20, &from("b", 3), &totals(10)).expect("counted");
    let overview = accounts.overview(NOON + 20);
    assert_eq!((overview.hosts, overview.today.installs, overview.today.placed), (3, 1, 10));
    assert_eq!(overview.today.bytes, Ledger { origin: 171, near: 1710, far: 15, store: 3, sent: 855 });
    assert_eq!(overview.today, overview.month);
    assert_eq!(overview.today.spared, 1725);
    assert_eq!(overview.programs, BTreeMap::from([("0.1.0".to_owned(), 3)]));
    let sites = accounts.sites(NOON + 20);
    let sites: Vec<_> =
        sites.iter().map(|site| (site.name.as_str(), site.hosts, site.today.bytes.near)).collect();
    assert_eq!(sites, [("a", 2, 1700), ("b", 1, 10)]);
}

#[test]
fn installs_that_are_not_told_one_by_one_are_counted() {
    let mut accounts = Accounts::new();
    let report =
        Report { installs_left_out: 12, ..with(totals(0), vec![install(13, 900), install(14, 900)]) };
    for now in [NOON, NOON + 10] {
        accounts.report(now, &from("", 1), &report).expect("counted");
        assert_eq!(accounts.overview(now).today.installs, 14);
    }
    let far_ahead = with(totals(0), vec![install(u64::MAX, 900)]);
    accounts.report(NOON + 20, &from("", 1), &far_ahead).expect("counted");
    assert_eq!(accounts.overview(NOON + 20).today.installs, 15, "only what is told");
}

#[test]
fn nobody_is_believed_more_than_a_line_carries() {
    let mut accounts = Accounts::new();
    let everything =
        Ledger { origin: u64::MAX, near: u64::MAX, far: u64::MAX, store: u64::MAX, sent: u64::MAX };
    let hostile = Report { bytes: everything, ..Report::default() };
    accounts.report(NOON, &from("", 1), &totals(7)).expect("counted");
    accounts.report(NOON + 10, &from("", 1), &hostile).expect("counted");
    let ten_seconds = 10 * 12_500_000_000;
    assert_eq!(near(&mut accounts, NOON + 10), 7 + ten_seconds);
    accounts.report(NOON + 20, &from("", 1), &totals(0)).expect("counted");
    accounts.report(NOON + 30, &from("", 1), &hostile).expect("counted");
    assert_eq!(near(&mut accounts, NOON + 30), 7 + ten_seconds, "it has said all");
    for host in 2..100 {
        accounts.report(NOON + 30, &from("", host), &hostile).expect("counted");
    }
    assert!(near(&mut accounts, NOON + 30) <= 7 + ten_seconds + 98 * 360 * ten_seconds);
}

#[test]
fn who_says_too_much_or_too_often_is_not_counted() {
    let mut accounts = Accounts::new();
    let long = with(totals(1), vec![install(1, 1); INSTALLS_MAX + 1]);
    assert_eq!(accounts.report(NOON, &from("", 1), &long), Err(Ignored::Oversized));
    let taken = (0..100).filter(|n| accounts.report(NOON + n / 10, &from("", 1), &totals(*n)).is_ok());
    // Four at once, and one in two seconds.
    assert_eq!(taken.count(), 9);
    assert_eq!(accounts.overview(NOON + 10).reports_ignored, 92);
    accounts.report(NOON + 30, &from("", 1), &totals(100)).expect("counted");
    assert_eq!(near(&mut accounts, NOON + 30), 100, "nothing is lost by it");
}

#[test]
fn more_hosts_are_asked_less_often_and_are_bounded() {
    let mut accounts = Accounts::new();
    assert_eq!(accounts.report_after(), 5);
    for host in 0..10_000 {
        accounts.report(NOON, &from("", host), &totals(1)).expect("counted");
    }
    assert_eq!(accounts.report_after(), 100);
    for host in 10_000..HOSTS_MAX as u32 {
        accounts.report(NOON, &from("", host), &totals(1)).expect("counted");
    }
    assert_eq!(accounts.report_after(), 300);
    let one_more = from("", HOSTS_MAX as u32);
    assert_eq!(accounts.report(NOON, &one_more, &totals(1)), Err(Ignored::Beyond));
    accounts.tick(NOON + MINUTE);
    assert_eq!(accounts.report(NOON + MINUTE, &one_more, &totals(1)), Err(Ignored::Beyond), "all are there");
    accounts.tick(NOON + HOUR);
    accounts.report(NOON + HOUR, &one_more, &totals(1)).expect("the others are silent");
    assert_eq!(near(&mut accounts, NOON + HOUR), HOSTS_MAX as u64 + 1);
    assert_eq!((accounts.overview(NOON + HOUR).hosts, accounts.report_after()), (1, 5));
}

#[test]
fn history_is_there_by_minute_and_hour_and_site() {
    let mut accounts = Accounts::new();
    for (after, site, told) in [(0, "a", 100), (HOUR, "a", 300), (HOUR + 70, "b", 50)] {
        let host = if site == "a" { 1 } else { 2 };
        accounts.report(NOON + after, &from(site, host), &totals(told)).expect("counted");
    }
    let now = NOON + HOUR + 70;
    let points = |hours, site: Option<&str>| {
        let history = accounts.history(now, hours, site).expect("a history");
        let points =
            history.points.iter().map(|point| (point.at - NOON, point.sums.bytes.near)).collect::<Vec<_>>();
        (history.step, points)
    };
    assert_eq!(points(3, None), (60, vec![(0, 100), (3600, 200), (3660, 50)]));
    assert_eq!(points(1, None), (60, vec![(3600, 200), (3660, 50)]));
    assert_eq!(points(24, None), (3600, vec![(0, 100), (3600, 250)]));
    assert_eq!(points(u32::MAX, Some("b")), (3600, vec![(3600, 50)]));
    assert_eq!(accounts.history(now, 24, Some("c")), None);
    accounts.tick(NOON + 4 * HOUR);
    assert_eq!(accounts.history(NOON + 4 * HOUR, 3, None).expect("a history").points.len(), 1);
}

#[test]
fn a_day_and_a_month_begin_anew() {
    let mut accounts = Accounts::new();
    // 28 June 2026, the last second of that day, the last of the month, and the first of the next one.
    for (n, now) in
        [NOON, NOON + 12 * HOUR - 1, NOON + 60 * HOUR - 1, NOON + 60 * HOUR].into_iter().enumerate()
    {
        accounts.report(now, &from("", 1), &totals(100 * (n as u64 + 1))).expect("counted");
        let overview = accounts.overview(now);
        let sums = (overview.today.bytes.near, overview.month.bytes.near);
        assert_eq!(sums, [(100, 100), (200, 200), (100, 300), (100, 100)][n]);
    }
}

#[test]
fn the_slowest_of_a_day_and_the_latest_fallbacks_can_be_looked_at() {
    let mut accounts = Accounts::new();
    for host in 0..600 {
        let installs = vec![install(1, host * 10), fallen_back(2, FallbackReason::NotBrought, 4)];
        accounts
            .report(NOON + u64::from(host), &from("a", host), &with(totals(0), installs))
            .expect("counted");
    }
    let slowest: Vec<u32> = accounts.slowest(NOON, 1, 99).iter().map(|install| install.took_ms).collect();
    assert_eq!(slowest, (550..600).rev().map(|host| host * 10).collect::<Vec<_>>());
    accounts.report(NOON + DAY, &from("a", 1), &with(totals(0), vec![install(3, 77)])).expect("counted");
    assert_eq!(accounts.slowest(NOON + DAY, 1, 99).len(), 1);
    assert_eq!(accounts.slowest(NOON + DAY, 2, 99).len(), 51);
    let fallbacks = accounts.fallbacks(9999);
    assert_eq!(fallbacks.len(), 500);
    assert_eq!(fallbacks[0].host, from("", 599).address);
    assert_eq!(fallbacks[0].fallbacks[0].example, "mirror  [31mgone ", "nothing that a terminal obeys");
    let today = accounts.overview(NOON + HOUR).today;
    assert_eq!((today.fallbacks.get("not_brought"), today.left), (Some(&2400), 2400));
}

#[test]
fn packages_spread_where_all_of_a_set_that_there_is_was_placed() {
    let mut accounts = Accounts::new();
    let package = |n: u32| (Sha256Digest([n as u8; 32]), format!("p{n}.rpm"));
    for (host, install) in [
        (1, install(1, 5)),
        (2, install(1, 5)),
        (3, fallen_back(1, FallbackReason::Unknown, 3)),
        (4, fallen_back(1, FallbackReason::NotBrought, 3)),
    ] {
        accounts.report(NOON, &from("", host), &with(totals(0), vec![install])).expect("counted");
    }
    let sets = accounts.take_sets();
    assert_eq!(sets, [(SetDigest(Sha256Digest([1; 32])), 3)]);
    assert_eq!(accounts.take_sets(), []);
    accounts.spread(NOON, 3, vec![package(1), package(2)]);
    accounts.spread(NOON + 90, 2, vec![package(2)]);
    let spread = accounts.spread_of(&package(2).0).expect("known");
    assert_eq!((spread.package.installs, spread.package.name.as_str()), (5, "p2.rpm"));
    assert_eq!((spread.minutes, spread.hours), (vec![(NOON, 3), (NOON + 60, 2)], vec![(NOON, 5)]));
    let listed: Vec<String> = accounts.packages(9).into_iter().map(|package| package.name).collect();
    assert_eq!(listed, ["p2.rpm", "p1.rpm"]);
    accounts.tick(NOON + 32 * DAY);
    assert_eq!(accounts.packages(9), []);
}

#[test]
fn the_longest_not_installed_packages_make_room() {
    let mut accounts = Accounts::new();
    let package = |n: u64| {
        let mut identity = [0; 32];
        identity[..8].copy_from_slice(&n.to_be_bytes());
        (Sha256Digest(identity), "p.rpm".to_owned())
    };
    for n in 0..2500 {
        accounts.spread(NOON + n * HOUR / 10, 1, vec![package(n)]);
    }
    assert!(accounts.packages(9999).len() <= 2048);
    assert!(accounts.spread_of(&package(0).0).is_none() && accounts.spread_of(&package(2499).0).is_some());
    let mut stored = Stored::new();
    store(&mut accounts, &mut stored);
    accounts.spread(NOON + 250 * HOUR, 1, (3000..9000).map(package).collect());
    store(&mut accounts, &mut stored);
    assert_eq!(stored.len(), 2048, "what was forgotten is not stored any more");
    assert!(accounts.spread_of(&package(2499).0).is_some(), "one large set does not drive out all others");
}

#[test]
fn all_is_there_after_a_restart_and_nothing_counts_twice() {
    let (mut accounts, mut stored) = (Accounts::new(), Stored::new());
    for host in 0..300 {
        let installs = vec![install(1, host), fallen_back(2, FallbackReason::Unknown, 1)];
        let site = if host % 2 == 0 { "even" } else { "" };
        accounts.report(NOON, &from(site, host), &with(totals(1000), installs)).expect("counted");
    }
    for (set, installs) in accounts.take_sets() {
        accounts.spread(NOON, installs, vec![(set.0, "p.rpm".to_owned())]);
    }
    store(&mut accounts, &mut stored);
    assert_eq!(store(&mut accounts, &mut stored), 0, "what has not changed is not written again");
    let now = NOON + 10;
    let mut again = restored(now, &stored);
    let seen = |accounts: &mut Accounts| {
        let sums = (
            accounts.overview(now).today,
            accounts.overview(now).month,
            accounts.history(now, 24, Some("even")),
        );
        (sums, accounts.slowest(now, 1, 99), accounts.fallbacks(999), accounts.packages(9))
    };
    assert!(seen(&mut again) == seen(&mut accounts));
    for host in 0..300 {
        let installs = vec![install(2, host), install(3, host)];
        let site = if host % 2 == 0 { "even" } else { "" };
        again.report(now, &from(site, host), &with(totals(1100), installs)).expect("counted");
    }
    let today = again.overview(now).today;
    assert_eq!((today.bytes.near, today.installs, again.overview(now).hosts), (300 * 1100, 900, 300));
    // A month later nothing of it is left but the hosts, and they go a day later.
    again.tick(NOON + 33 * DAY);
    store(&mut again, &mut stored);
    assert_eq!(stored.keys().filter(|key| key[0] != b'p').count(), 0);
    again.tick(NOON + 35 * DAY);
    store(&mut again, &mut stored);
    assert_eq!(stored.len(), 0);
}

#[test]
fn damaged_records_are_known_as_such() {
    let (mut accounts, mut stored) = (Accounts::new(), Stored::new());
    let report = with(totals(1), vec![fallen_back(1, FallbackReason::Unknown, 1)]);
    accounts.report(NOON, &from("a", 1), &report).expect("counted");
    accounts.spread(NOON, 1, vec![(Sha256Digest([1; 32]), "p.rpm".to_owned())]);
    store(&mut accounts, &mut stored);
    assert_eq!(stored.len(), 5, "one of each kind");
    for (key, value) in &stored {
        let cut = &value[..value.len() - 1];
        let no_rest = key[..1].to_vec();
        let long = [value, &[0xff; 70][..]].concat();
        let (other, kind) = ([&[99], &value[1..]].concat(), [b"x", &key[1..]].concat());
        for (key, value) in [(key, cut), (key, &long), (key, &other), (&kind, value), (&no_rest, value)] {
            // The last numbers of a tally may be missing, and hosts are not told apart by their record's key.
            let is_good = (key[0] == b'h' && value == cut) || key[..] == *b"p";
            if !is_good {
                assert_eq!(Accounts::new().restore(NOON, key, value), None, "{key:?} {value:?}");
            }
        }
    }
}

#[test]
fn a_month_of_ten_thousand_hosts_is_small() {
    let directory = tempfile::tempdir().expect("a directory");
    let state = State::open(directory.path()).expect("opens");
    let mut accounts = Accounts::new();
    let sites: Vec<String> = (0..40).map(|site| format!("site-{site:02}")).collect();
    for hour in 0..30 * 24 {
        let now = NOON + hour * HOUR;
        // All are there at first, and then every site has some of everything in every hour.
        let hosts = if hour == 0 { 10_000 } else { 160 };
        for host in 0..hosts {
            let bytes =
                Ledger { origin: 1 << 24, near: 1 << 30, far: 1 << 26, store: 1 << 22, sent: 1 << 30 };
            let bytes = tally::each(&bytes, &bytes, |bytes, _| bytes * (hour + 1));
            let ended = match host % 4 {
                0 => fallen_back(hour + 1, FallbackReason::NotBrought, 2),
                _ => install(hour + 1, 500 << (hour % 7)),
            };
            let report =
                Report { program: "0.1.0".into(), bytes, installs: vec![ended], installs_left_out: 0 };
            accounts.report(now, &from(&sites[host as usize % sites.len()], host), &report).expect("counted");
        }
        let package = |n: u8| {
            let identity =
                Sha256Digest([&[n, (hour / 3) as u8][..], &[0; 30]].concat().try_into().expect("32"));
            (identity, format!("a-package-{n}-1.2.3-4.el9.x86_64.rpm"))
        };
        accounts.spread(now, 400, (0..60).map(package).collect());
        if hour % 12 == 11 {
            accounts.tick(now);
            let record = |(key, value)| Record { table: Table::Accounts, key, value };
            state.save_later(accounts.changes().into_iter().map(record).collect());
            state.flush();
        }
    }
    let mut records = 0;
    state.for_each(Table::Accounts, |_, _| records += 1);
    assert!(records > 40 * 30 * 24, "every hour of every site");
    drop(state);
    let file = std::fs::read_dir(directory.path()).expect("listed").next().expect("a file").expect("a file");
    let bytes = file.metadata().expect("a file").len();
    assert!(bytes < 50_000_000, "{bytes} bytes");
}
