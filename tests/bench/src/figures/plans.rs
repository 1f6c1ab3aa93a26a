//! How many plans a second hosts get that ask for a set that the service knows.

use std::time::Duration;

use anyhow::ensure;
use pkgtorrent_test_support::ask::{self, PREFIX};

use super::{SET_LEN, check_whole, digests, peer_id, port};
use crate::bench::Bench;
use crate::data::packages::{Packages, Repository};
use crate::sample::{Sample, Unit};
use crate::scoreboard::{Scoreboard, Target};
use crate::wrk::{self, Load};

/// How long one round asks.
const ROUND: Duration = Duration::from_secs(5);

/// How many different hosts ask, again and again, as hosts with a retry do. They share this machine's address, behind
/// which the tracker lists 64 of a swarm: all of these are listed, and each answer has fifty others.
const HOSTS: usize = 60;

/// How many peers of each bundle a plan names, once enough hosts have joined.
const PEERS: usize = 50;

/// Measures the figure.
pub(crate) fn measure(bench: &Bench, board: &mut Scoreboard) -> anyhow::Result<()> {
    let packages = Packages::open(&bench.data)?;
    let set = packages.of(Repository::Mixed);
    packages.warm(&set)?;
    let set = digests(&set[..SET_LEN]);
    let state = bench.fresh_state()?;
    let service = bench.launch(&packages.root, &state).start();
    check_whole(&ask::post_set(service.addr(), &set), set.len())?;
    let target = format!("{PREFIX}sets/{}", ask::set_digest(&set));
    let joining: Vec<String> =
        (0..HOSTS).map(|host| format!("{target}?port={}&peer_id={}", port(host), peer_id(host))).collect();
    let rounds = bench.alternate(
        || wrk::load(service.addr(), &joining, ROUND),
        || wrk::load(service.addr(), std::slice::from_ref(&target), ROUND),
    )?;
    let plan = ask::post_set_as(service.addr(), &set, port(0), peer_id(0));
    let peers = plan.bundles.iter().map(|bundle| bundle.peers.len());
    ensure!(peers.clone().all(|peers| peers == PEERS), "the plan has {:?} peers", peers.collect::<Vec<_>>());
    let joining: Vec<Load> = rounds.iter().map(|round| round.0).collect();
    let looking: Vec<Load> = rounds.iter().map(|round| round.1).collect();
    report(board, "60 packages, joining", &joining, Target::AtLeast(5000.0), Target::Under(50.0));
    report(board, "60 packages, without port", &looking, Target::None, Target::None);
    Ok(())
}

fn report(board: &mut Scoreboard, what: &str, loads: &[Load], rate: Target, p99: Target) {
    let sample = |unit, value: fn(&Load) -> f64| Sample::new(unit, loads.iter().map(value));
    board.add("plans", format!("{what}: plans"), &sample(Unit::PerSecond, |load| load.per_second), rate);
    board.add("plans", format!("{what}: p99"), &sample(Unit::Milliseconds, |load| load.p99_ms), p99);
    board.add("plans", format!("{what}: p50"), &sample(Unit::Milliseconds, |load| load.p50_ms), Target::None);
}
