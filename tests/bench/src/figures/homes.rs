//! How long a set takes that nobody has asked for before, when its packages live in twenty of five thousand homes.

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use pkgtorrent_protocol::PackageDigest;
use pkgtorrent_test_support::ask;
use pkgtorrent_test_support::http::Connection;

use super::{check_whole, handler_ms, peer_id, port};
use crate::bench::Bench;
use crate::data::{Random, holes};
use crate::sample::{Sample, Unit};
use crate::scoreboard::{Scoreboard, Target};

/// How many packages have their home together.
pub(super) const PACKAGES_PER_HOME: usize = 20;

/// How many groups a set has packages of.
const GROUPS_PER_SET: usize = 20;

/// How many packages a set has of each of them: 300 in all.
const PACKAGES_PER_GROUP: usize = 15;

/// How many different sets a round asks for: the 99th percentile is then the tenth slowest.
const SETS: usize = 1000;

/// Measures the figure.
pub(crate) fn measure(bench: &Bench, board: &mut Scoreboard) -> anyhow::Result<()> {
    let (root, packages) = holes::open(&bench.data)?;
    let state = bench.fresh_state()?;
    let service = bench.launch(&root, &state).start();
    // Nearly every group makes one home, and one with a large package two.
    let groups: Vec<&[PackageDigest]> = packages.chunks(PACKAGES_PER_HOME).collect();
    settle(service.addr(), &groups)?;
    let (mut p99, mut p50) = (Vec::new(), Vec::new());
    for round in 0..bench.rounds {
        let times = ask_for_sets(service.addr(), &groups, round)?;
        p99.push(times.percentile(99.0));
        p50.push(times.percentile(50.0));
    }
    let each = |times: Vec<f64>| Sample::new(Unit::Milliseconds, times);
    board.add("homes", "300 packages of 20 homes, handler p99", &each(p99), Target::Under(3.0));
    board.add("homes", "300 packages of 20 homes, handler p50", &each(p50), Target::None);
    Ok(())
}

/// Gives every group a home, and a host that shares it.
pub(super) fn settle(service: SocketAddr, groups: &[&[PackageDigest]]) -> anyhow::Result<()> {
    let mut connection = Connection::open(service)?;
    for (number, group) in groups.iter().enumerate() {
        let request = ask::set_request(group, Some((port(number), peer_id(number))));
        let response = connection.send(&request).context("posting a group")?.expect_status(200);
        check_whole(&ask::plan_of(response), group.len())?;
    }
    Ok(())
}

/// The times of one round, in milliseconds.
fn ask_for_sets(service: SocketAddr, groups: &[&[PackageDigest]], round: u32) -> anyhow::Result<Sample> {
    let mut connection = Connection::open(service)?;
    let mut random = Random::new(u64::from(round) + 2000);
    let times = (0..SETS).map(|number| {
        let chosen = random.distinct(GROUPS_PER_SET, groups.len());
        let set: Vec<PackageDigest> =
            chosen.into_iter().flat_map(|group| groups[group][..PACKAGES_PER_GROUP].to_vec()).collect();
        // Each asker is another host, as in a burst.
        let host = round as usize * SETS + number;
        let request = ask::set_request(&set, Some((port(host), peer_id(host))));
        let response = connection.send(&request).context("posting a set")?.expect_status(200);
        let handler_ms = handler_ms(&response)?;
        let plan = ask::plan_of(response);
        check_whole(&plan, set.len())?;
        ensure!(plan.bundles.len() >= GROUPS_PER_SET, "the plan has {} bundles", plan.bundles.len());
        Ok(handler_ms)
    });
    Ok(Sample::new(Unit::Milliseconds, times.collect::<anyhow::Result<Vec<f64>>>()?))
}
