//! How long an operator waits for what looks at a host: `status` of an agent that shares a thousand packages, and `doctor`
//! where the service does not answer at all.

use std::process::Command;

use anyhow::ensure;
use pkgtorrent_test_support::agent::Agent;
use pkgtorrent_test_support::blackhole::Blackhole;
use pkgtorrent_test_support::{Package, Repository};

use crate::bench::{Bench, milliseconds, timed};
use crate::sample::{Sample, Unit};
use crate::scoreboard::{Scoreboard, Target};

/// How many packages the agent shares, and how long each of them is.
const PACKAGES: u64 = 1000;
const PACKAGE_LEN: usize = 40_000;

/// How often each command is timed in a round: one takes milliseconds.
const CALLS: usize = 20;

/// Measures the figure.
pub(crate) fn measure(bench: &Bench, board: &mut Scoreboard) -> anyhow::Result<()> {
    let (root, state) = (bench.fresh_state()?, bench.fresh_state()?);
    let repository = Repository::create(root.path().join("repo"));
    let packages: Vec<Package> =
        (0..PACKAGES).map(|seed| repository.add_blob(&format!("{seed}.rpm"), PACKAGE_LEN, seed)).collect();
    repository.list(&packages);
    let service = bench.launch(root.path(), &state).start();
    let agent = Agent::new();
    let fetched = agent.fetch(&service.url("/"), &agent.wants(&packages));
    ensure!(fetched.status == Some(0), "the agent has not got all: {fetched:?}");

    let blackhole = Blackhole::open();
    let down = format!("http://{}/", blackhole.addr());
    let (mut status, mut doctor) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds {
        for _ in 0..CALLS {
            status.push(time(agent.command(&["status"]), 0)?);
        }
        doctor.push(time(agent.command(&["doctor", "--service", &down]), 1)?);
    }
    let milliseconds = |values: Vec<f64>| Sample::new(Unit::Milliseconds, values);
    let (status, doctor) = (milliseconds(status), milliseconds(doctor));
    board.add("tools", "status of an agent with 1,000 packages", &status, Target::Under(20.0));
    board.add("tools", "doctor, the service behind a firewall", &doctor, Target::Under(2000.0));
    Ok(())
}

/// Milliseconds of a command, which has to end so.
fn time(mut command: Command, expected: i32) -> anyhow::Result<f64> {
    let (time, output) = timed(|| command.output());
    let output = output?;
    ensure!(output.status.code() == Some(expected), "{output:?}");
    Ok(milliseconds(time))
}
