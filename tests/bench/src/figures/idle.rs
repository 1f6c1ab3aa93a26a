//! How much memory an agent keeps while it has nothing to do: when it has just started, and after a transaction.

use std::time::Duration;

use anyhow::Context;
use pkgtorrent_fleet::usage;
use pkgtorrent_test_support::Manager;

use crate::bench::Bench;
use crate::data::rpms::{Rpms, Transaction};
use crate::download::{By, Downloader};
use crate::sample::{Sample, Unit};
use crate::scoreboard::{Scoreboard, Target};

/// How long an agent rests before it counts as idle: its threads go after five seconds.
const REST: Duration = Duration::from_secs(15);

/// What an agent may keep, in megabytes.
const TARGET_MB: f64 = 15.0;

/// Measures the figure.
pub(crate) fn measure(bench: &Bench, board: &mut Scoreboard) -> anyhow::Result<()> {
    let updates = Rpms::open(&bench.data, Transaction::Updates)?;
    let state = bench.fresh_state()?;
    let service = bench.launch(&updates.root, &state).start();
    let (mut started, mut rested, mut peak) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.rounds {
        let host = Downloader::new(Manager::Dnf4, &updates, &service.addr().to_string(), By::RunningAgent)?;
        let pid = host.agent_pid().context("the host has no agent")?;
        started.push(usage::memory(pid)?.resident);
        host.download()?;
        std::thread::sleep(REST);
        let memory = usage::memory(pid)?;
        rested.push(memory.resident);
        peak.push(memory.peak);
    }
    let sample =
        |values: &[u64]| Sample::new(Unit::Megabytes, values.iter().map(|bytes| *bytes as f64 / 1e6));
    board.add("idle", "agent, just started: resident", &sample(&started), Target::Under(TARGET_MB));
    board.add(
        "idle",
        "agent, at rest after 60 packages: resident",
        &sample(&rested),
        Target::Under(TARGET_MB),
    );
    board.add("idle", "agent, 60 packages: resident at most", &sample(&peak), Target::None);
    Ok(())
}
