//! How long a host waits for a transaction's packages when dnf asks through an agent, beside dnf's own download of the
//! same packages from the same service. All bytes come from the service on both sides.

use std::cell::RefCell;

use pkgtorrent_fleet::{Lines, Network, Rate};
use pkgtorrent_test_support::{Host, Manager, Service};

use crate::bench::{Bench, in_turns, milliseconds};
use crate::data::rpms::{Rpms, Transaction};
use crate::download::{By, Downloader};
use crate::sample::{Sample, Unit};
use crate::scoreboard::{Scoreboard, Target};

/// How much the slow line carries, in Mbit/s.
const RATE_MBIT: f64 = 50.0;

/// How many pairs of downloads of a single small package are compared: milliseconds on a machine that has other things
/// to do.
const SMALL_PAIRS: u32 = 20;

/// Measures 60 packages over a slow line.
pub(crate) fn measure_line(bench: &Bench, board: &mut Scoreboard) -> anyhow::Result<()> {
    let updates = Rpms::open(&bench.data, Transaction::Updates)?;
    let state = bench.fresh_state()?;
    let network = Network::new(&Lines::even(1, Rate::mbit(RATE_MBIT)))?;
    let (origin, host) = (network.origin(), &network.hosts()[0]);
    let launch = bench.launch(&updates.root, &state).listen(&format!("{}:0", origin.address()));
    let service = origin.inside(|| launch.start())?;
    for manager in Manager::all() {
        let pairs = host.inside(|| pairs(manager, &updates, &service, By::RunningAgent, bench.rounds))??;
        report_ratio(board, manager, "60 packages, 32 MB, 50 Mbit/s", &pairs, 1.05);
    }
    Ok(())
}

/// Measures 60 packages over the loopback device.
pub(crate) fn measure_loopback(bench: &Bench, board: &mut Scoreboard) -> anyhow::Result<()> {
    let updates = Rpms::open(&bench.data, Transaction::Updates)?;
    let state = bench.fresh_state()?;
    let service = bench.launch(&updates.root, &state).start();
    let pairs = pairs(Manager::Dnf4, &updates, &service, By::RunningAgent, bench.rounds)?;
    report_ratio(board, Manager::Dnf4, "60 packages, 32 MB, loopback", &pairs, 1.3);
    Ok(())
}

/// Measures a single small package.
pub(crate) fn measure_small(bench: &Bench, board: &mut Scoreboard) -> anyhow::Result<()> {
    let small = Rpms::open(&bench.data, Transaction::Small)?;
    let state = bench.fresh_state()?;
    let service = bench.launch(&small.root, &state).start();
    for (by, what, target_ms) in
        [(By::RunningAgent, "agent runs", 30.0), (By::NewAgent, "no agent runs", 150.0)]
    {
        let what = format!("1 package, 100 kB, loopback, {what}");
        for manager in Manager::all() {
            let pairs = pairs(manager, &small, &service, by, SMALL_PAIRS)?;
            let (name, longer) = (manager.name(), |(ours, theirs): &(f64, f64)| ours - theirs);
            let more = Sample::new(Unit::Milliseconds, pairs.iter().map(longer));
            board.add("host", format!("{what}: more than {name}"), &more, Target::Under(target_ms));
            let theirs = Sample::new(Unit::Milliseconds, pairs.iter().map(|(_, theirs)| *theirs));
            board.add("host", format!("{what}: {name} itself"), &theirs, Target::None);
        }
    }
    Ok(())
}

/// Milliseconds of downloads in turns: through an agent, and by dnf itself. The service has been asked before.
fn pairs(
    manager: Manager,
    rpms: &Rpms,
    service: &Service,
    by: By,
    rounds: u32,
) -> anyhow::Result<Vec<(f64, f64)>> {
    let server = service.addr().to_string();
    let hosts: RefCell<Vec<Host>> = RefCell::default();
    let download = |by| {
        let downloader = Downloader::new(manager, rpms, &server, by)?;
        let time = downloader.download()?;
        hosts.borrow_mut().push(downloader.rest());
        Ok(milliseconds(time))
    };
    // Unmeasured: the service reads the packages, and both sides come into the page cache.
    in_turns(1, || download(by), || download(By::Dnf))?;
    in_turns(rounds, || download(by), || download(By::Dnf))
}

fn report_ratio(board: &mut Scoreboard, manager: Manager, what: &str, pairs: &[(f64, f64)], target: f64) {
    let name = manager.name();
    let sample = |unit, value: fn(&(f64, f64)) -> f64| Sample::new(unit, pairs.iter().map(value));
    let ratio = sample(Unit::Ratio, |(ours, theirs)| ours / theirs);
    board.add("host", format!("{what}: beside {name}"), &ratio, Target::Under(target));
    let ours = sample(Unit::Milliseconds, |(ours, _)| *ours);
    board.add("host", format!("{what}: through an agent, {name}"), &ours, Target::None);
    let theirs = sample(Unit::Milliseconds, |(_, theirs)| *theirs);
    board.add("host", format!("{what}: {name} itself"), &theirs, Target::None);
}
