//! How soon the service is ready over 100,000 packages, and how much memory they take.

use std::time::Duration;

use anyhow::ensure;
use pkgtorrent_fleet::usage::{self, Memory};
use pkgtorrent_test_support::{Compression, Service};

use crate::bench::{Bench, timed};
use crate::data::catalog::{self, PACKAGES};
use crate::sample::{Sample, Unit};
use crate::scoreboard::{Scoreboard, Target};

/// What is known of one start.
struct Start {
    time: Duration,
    memory: Memory,
}

/// Measures the figure, for both compressions that repositories have.
pub(crate) fn measure(bench: &Bench, board: &mut Scoreboard) -> anyhow::Result<()> {
    for compression in [Compression::Gzip, Compression::Zstd] {
        let root = catalog::root(&bench.data, compression)?;
        // Unmeasured: it brings the metadata and the directories into the page cache.
        drop(bench.launch(&root, &bench.fresh_state()?).start());
        let (mut cold, mut warm) = (Vec::new(), Vec::new());
        for _ in 0..bench.rounds {
            let state = bench.fresh_state()?;
            let (time, mut service) = timed(|| bench.launch(&root, &state).start());
            cold.push(look(time, &service)?);
            service.stop();
            let (time, ()) = timed(|| service.restart());
            warm.push(look(time, &service)?);
        }
        let kind = format!("{compression:?}").to_lowercase();
        report(board, &format!("{kind}, cold start"), &cold, 5.0);
        report(board, &format!("{kind}, restart"), &warm, 1.0);
    }
    Ok(())
}

fn look(time: Duration, service: &Service) -> anyhow::Result<Start> {
    let memory = usage::memory(service.pid())?;
    let known = service.metric("pkgtorrent_catalog_packages");
    ensure!(known == PACKAGES as f64, "the service is ready and knows {known} packages of {PACKAGES}");
    Ok(Start { time, memory })
}

fn report(board: &mut Scoreboard, what: &str, starts: &[Start], seconds: f64) {
    let sample = |unit, value: fn(&Start) -> f64| Sample::new(unit, starts.iter().map(value));
    let times = sample(Unit::Seconds, |start| start.time.as_secs_f64());
    board.add("catalog", format!("{what}: until ready"), &times, Target::Under(seconds));
    let resident = sample(Unit::Megabytes, |start| start.memory.resident as f64 / 1e6);
    board.add("catalog", format!("{what}: resident"), &resident, Target::Under(150.0));
    let peak = sample(Unit::Megabytes, |start| start.memory.peak as f64 / 1e6);
    board.add("catalog", format!("{what}: resident at most"), &peak, Target::Under(150.0));
}
