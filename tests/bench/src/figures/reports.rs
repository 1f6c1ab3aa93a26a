//! What it costs the service that ten thousand hosts report what they do, at the rate that it asks them for.

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use pkgtorrent_fleet::usage;
use pkgtorrent_protocol::InfoHash;
use pkgtorrent_protocol::announce::{BatchAnnounce, SwarmAnnounce};
use pkgtorrent_protocol::report::{InstallReport, Ledger, Report};
use pkgtorrent_test_support::ask;
use pkgtorrent_test_support::http::Connection;

use super::{digests, introduce, peer_id, port};
use crate::bench::Bench;
use crate::data::packages::{Packages, Repository};
use crate::sample::{Sample, Unit};
use crate::scoreboard::{Scoreboard, Target};

/// How many hosts there are.
const HOSTS: usize = 10_000;

/// How often each host reports in a round: as often as it may at once.
const REPORTS: u64 = 3;

/// Measures the figure.
pub(crate) fn measure(bench: &Bench, board: &mut Scoreboard) -> anyhow::Result<()> {
    let packages = Packages::open(&bench.data)?;
    let set = packages.of(Repository::Many);
    let (mut costs, mut shares) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds {
        let state = bench.fresh_state()?;
        let service = bench.launch(&packages.root, &state).start();
        let plans = introduce(service.addr(), &digests(&set[..60]))?;
        let swarm = plans[0].bundles[0].info_hash;
        let mut spent = [0.0; 2];
        let mut report_after = 0;
        for number in 1..=REPORTS {
            for (spent, is_reporting) in spent.iter_mut().zip([false, true]) {
                let before = usage::cpu_seconds(service.pid())?;
                report_after = announce(service.addr(), swarm, is_reporting.then_some(number))?;
                *spent += usage::cpu_seconds(service.pid())? - before;
            }
        }
        let reports = (HOSTS as u64 * REPORTS) as f64;
        ensure!(service.metric("pkgtorrent_reports_total") == reports, "not all reports were counted");
        let each = (spent[1] - spent[0]).max(0.0) / reports;
        costs.push(each * 1e3);
        shares.push(each * 100.0 * HOSTS as f64 / f64::from(report_after));
    }
    let what = |what: &str| format!("10,000 hosts: {what}");
    let each = Sample::new(Unit::Milliseconds, costs);
    board.add("reports", what("processor time of one report"), &each, Target::None);
    let share = Sample::new(Unit::Percent, shares);
    board.add("reports", what("share of one core"), &share, Target::Under(2.0));
    Ok(())
}

/// All hosts announce, one after the other, with their report of this number or without one. After how many seconds they
/// may report again.
fn announce(service: SocketAddr, swarm: InfoHash, number: Option<u64>) -> anyhow::Result<u32> {
    let mut connection = Connection::open(service)?;
    let mut report_after = None;
    for host in 0..HOSTS {
        let swarm = SwarmAnnounce {
            info_hash: swarm,
            left: 0,
            event: None,
            wanted: Some(0),
            served: false,
            lease: None,
        };
        let batch = BatchAnnounce {
            version: 1,
            peer_id: peer_id(host),
            port: port(host),
            swarms: vec![swarm],
            compact: true,
            report: number.map(report),
        };
        let response = connection.send(&ask::batch_request(&batch)).context("announcing")?;
        report_after = ask::batch_answer(response).report_after;
    }
    report_after.context("the service keeps no accounts")
}

/// What a busy host says: an install since the last time.
fn report(number: u64) -> Report {
    let bytes = Ledger { origin: 1 << 20, near: 60 << 20, far: 1 << 18, store: 1 << 10, sent: 50 << 20 };
    let install =
        InstallReport { number, took: 2_000, packages: 60, placed: 60, bytes, ..InstallReport::default() };
    let mut total = Ledger::default();
    (0..number).for_each(|_| total += bytes);
    Report { program: "0.1.0".into(), bytes: total, installs: vec![install], installs_left_out: 0 }
}
