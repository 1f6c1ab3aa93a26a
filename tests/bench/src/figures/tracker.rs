//! How many announces a second are answered with fifty peers: by the tracker alone, and over HTTP.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use pkgtorrent_protocol::InfoHash;
use pkgtorrent_protocol::announce::GetAnnounce;
use pkgtorrent_test_support::ask;

use super::{digests, introduce, peer_id, port};
use crate::bench::{Bench, cargo};
use crate::data::Random;
use crate::data::packages::{Packages, Repository};
use crate::sample::{Sample, Unit};
use crate::scoreboard::{Scoreboard, Target};
use crate::wrk;

/// How long one round asks.
const ROUND: Duration = Duration::from_secs(5);

/// How many peers every answer must hold.
const PEERS: usize = 50;

/// How many peers each swarm has. They all share this machine's address, behind which the tracker lists 64 of a swarm.
const SWARM_LEN: usize = 60;

/// The length of one peer in a compact answer.
const COMPACT_PEER_LEN: usize = 6;

/// Measures the figure.
pub(crate) fn measure(bench: &Bench, board: &mut Scoreboard) -> anyhow::Result<()> {
    let rates = pure_rates()?;
    let pure = Sample::new(Unit::PerSecond, rates.iter().copied());
    board.add("tracker", "pure, one core, several kinds of swarm", &pure, Target::AtLeast(500e3));
    over_http(bench, board)
}

/// Runs the tracker's own measurement, which prints a line for each kind of swarm:
/// `swarm of  10000, IPv4 :   1000000 (900000..1100000)`.
fn pure_rates() -> anyhow::Result<Vec<f64>> {
    let mut command = cargo(&["run", "-p", "pkgtorrent-tracker", "--example", "announce_rate"]);
    let output = command.stderr(Stdio::inherit()).output().context("running announce_rate")?;
    ensure!(output.status.success(), "announce_rate: {}", output.status);
    let text = String::from_utf8(output.stdout).context("what announce_rate prints")?;
    let lines = text.lines().filter(|line| line.starts_with("swarm of"));
    let rates = lines.map(|line| {
        let numbers = line.rsplit(':').next().unwrap_or_default();
        let median = numbers.split_whitespace().next().unwrap_or_default();
        median.parse().with_context(|| format!("what announce_rate prints: {line:?}"))
    });
    let rates: Vec<f64> = rates.collect::<anyhow::Result<_>>()?;
    ensure!(!rates.is_empty(), "announce_rate prints no rates: {text}");
    Ok(rates)
}

fn over_http(bench: &Bench, board: &mut Scoreboard) -> anyhow::Result<()> {
    let packages = Packages::open(&bench.data)?;
    let set = packages.of(Repository::Many);
    packages.warm(&set)?;
    let state = bench.fresh_state()?;
    let service = bench.launch(&packages.root, &state).start();
    let plans = introduce(service.addr(), &digests(&set))?;
    let mut swarms: Vec<InfoHash> =
        plans.iter().flat_map(|plan| plan.bundles.iter().map(|bundle| bundle.info_hash)).collect();
    swarms.sort_unstable();
    swarms.dedup();
    let peers =
        swarms.iter().flat_map(|&info_hash| (0..SWARM_LEN).map(move |host| announce(info_hash, host)));
    let peers: Vec<GetAnnounce> = peers.collect();
    // All of them come once; after that every answer is full.
    for peer in &peers {
        ask::announce(service.addr(), peer);
    }
    let order = Random::new(3).distinct(peers.len(), peers.len());
    for &index in order.iter().take(swarms.len()) {
        let answer = ask::announce(service.addr(), &peers[index]);
        ensure!(answer.peers.len() == PEERS, "an answer has {} peers, not {PEERS}", answer.peers.len());
    }
    let targets: Vec<String> =
        order.into_iter().map(|index| format!("/announce?{}", peers[index].to_query())).collect();
    let mut rates = Vec::new();
    let mut p99 = Vec::new();
    for _ in 0..bench.rounds {
        let load = wrk::load(service.addr(), &targets, ROUND)?;
        // A refusal has the status of a success, but not its length.
        let full = (PEERS * COMPACT_PEER_LEN) as f64;
        ensure!(load.answer_bytes > full, "an answer has {:.0} bytes in the mean", load.answer_bytes);
        rates.push(load.per_second);
        p99.push(load.p99_ms);
    }
    let what = format!("over HTTP, {} swarms of {SWARM_LEN}", swarms.len());
    board.add("tracker", what.clone(), &Sample::new(Unit::PerSecond, rates), Target::AtLeast(15e3));
    board.add("tracker", format!("{what}: p99"), &Sample::new(Unit::Milliseconds, p99), Target::None);
    Ok(())
}

fn announce(info_hash: InfoHash, host: usize) -> GetAnnounce {
    GetAnnounce {
        info_hash,
        peer_id: peer_id(host),
        port: port(host),
        left: 1,
        event: None,
        wanted: u32::try_from(PEERS).ok(),
    }
}
