//! What every figure needs: the program built from these sources, its data, and rounds that take turns.

use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use pkgtorrent_test_support::Launch;
use tempfile::TempDir;

/// The settings that measuring on one machine needs: all hosts share its address, and nobody is to be turned away.
const CONFIGURATION: &str = "\
announces_per_second = 1000000
announces_burst = 1000000000
peer_networks = [\"127.0.0.0/8\"]
";

/// The run's circumstances.
#[derive(Debug)]
pub(crate) struct Bench {
    /// Where the data lies from one run to the next.
    pub(crate) data: PathBuf,
    /// How often each figure is measured.
    pub(crate) rounds: u32,
    /// How many things the machine does at once.
    pub(crate) cores: usize,
}

impl Bench {
    /// Builds the programs, since a stale one would be measured as readily, and finds the place for the data.
    pub(crate) fn prepare(rounds: u32) -> anyhow::Result<Self> {
        ensure!(!cfg!(debug_assertions), "an unoptimised build measures nothing: run it with --release");
        let programs = ["build", "-p", "pkgtorrent-server", "-p", "pkgtorrent-agent", "--bins"];
        run(&mut cargo(&programs), "building the programs")?;
        let program = std::env::current_exe().context("the path of this program")?;
        // target/<profile>/pkgtorrent-bench
        let target = program.ancestors().nth(2).context("this program lies in no target directory")?;
        let data = target.join("bench-data");
        fs::create_dir_all(&data).with_context(|| format!("creating {}", data.display()))?;
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        Ok(Self { data, rounds, cores })
    }

    /// Builds the foreign client that is no program of the distribution. It is a workspace of its own, and lies beside
    /// the other programs.
    pub(crate) fn build_rqbit(&self) -> anyhow::Result<()> {
        let target = self.data.parent().context("the data lies in no target directory")?;
        let mut command = cargo(&["build", "--manifest-path", "../rqbit/Cargo.toml"]);
        run(command.arg("--target-dir").arg(target), "building pkgtorrent-rqbit")
    }

    /// A directory for a service's state, on the same disk as the data and gone afterwards.
    pub(crate) fn fresh_state(&self) -> anyhow::Result<TempDir> {
        tempfile::tempdir_in(&self.data).context("a directory for the state")
    }

    /// The service over `root`, ready to be started.
    pub(crate) fn launch(&self, root: &Path, state: &TempDir) -> Launch {
        Launch::new(root, state.path()).config(CONFIGURATION)
    }

    /// Measures two sides in turns, as often as each figure is measured.
    pub(crate) fn alternate<A, B>(
        &self,
        ours: impl FnMut() -> anyhow::Result<A>,
        theirs: impl FnMut() -> anyhow::Result<B>,
    ) -> anyhow::Result<Vec<(A, B)>> {
        in_turns(self.rounds, ours, theirs)
    }
}

/// Measures two sides in turns, the one that begins changing from round to round.
pub(crate) fn in_turns<A, B>(
    rounds: u32,
    mut ours: impl FnMut() -> anyhow::Result<A>,
    mut theirs: impl FnMut() -> anyhow::Result<B>,
) -> anyhow::Result<Vec<(A, B)>> {
    let mut pairs = Vec::new();
    for round in 0..rounds {
        pairs.push(if round % 2 == 0 {
            let first = ours()?;
            (first, theirs()?)
        } else {
            let first = theirs()?;
            (ours()?, first)
        });
    }
    Ok(pairs)
}

/// How long `work` takes, and its result.
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let result = work();
    (start.elapsed(), result)
}

/// Milliseconds with their fractions.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// The cargo that runs this, on the release profile of this workspace wherever it was started.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).args(["--release", "--locked"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

/// Runs a command and insists on its success; `what` names it in the error.
pub(crate) fn run(command: &mut Command, what: &str) -> anyhow::Result<()> {
    let status = command.status().with_context(|| what.to_owned())?;
    ensure!(status.success(), "{what}: {status}");
    Ok(())
}
