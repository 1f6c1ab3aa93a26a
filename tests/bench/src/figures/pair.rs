//! How fast large packages go from one agent to another over the loopback device, and what that costs the processor,
//! beside libtorrent.
//!
//! What libtorrent does as well stands against it: sending, receiving, checking each piece. The digest of the whole,
//! which is in an agent's time for receiving, is measured alone and taken off; placing is not in it.
//!
//! In a virtual machine whose host takes back unused memory, the first use of a page costs more than all that is done
//! with it, up to 1.4 s of processor time for a gigabyte that is written. It meets both sides, but not evenly.

use std::fs::{self, File};
use std::io::Read;

use anyhow::Context;
use pkgtorrent_agent::place::place;
use pkgtorrent_fleet::usage::Tally;
use sha2::{Digest, Sha256};

use crate::bench::Bench;
use crate::data::packages::{Package, Packages, Repository};
use crate::exchange::{Exchange, agents, libtorrent};
use crate::sample::{Sample, Unit};
use crate::scoreboard::{Scoreboard, Target};

/// What two agents are to reach, in Gbit/s, unless libtorrent does not.
const RATE_TARGET: f64 = 3.0;

/// How much a digest is fed at once.
const CHUNK_LEN: usize = 1 << 20;

/// Measures the figure.
pub(crate) fn measure(bench: &Bench, board: &mut Scoreboard) -> anyhow::Result<()> {
    let all = Packages::open(&bench.data)?;
    let large = all.of(Repository::Large);
    all.warm(&large)?;
    let state = bench.fresh_state()?;
    let service = bench.launch(&all.root, &state).start();
    // Sets of their own: each kind of client is to find nobody but its own seed.
    let (ours, theirs) = large.split_at(large.len() / 2);
    let agents = agents::Seeded::start(bench, &service, ours)?;
    let clients = libtorrent::Seeded::start(bench, &service, &all, theirs)?;
    let pairs = bench.alternate(|| agents.exchange(), || clients.exchange())?;
    drop((agents, clients));
    let extras =
        (0..bench.rounds).map(|_| Ok((digest_cost(&all, &ours[0])?, place_cost(bench, &all, &ours[0])?)));
    report(board, &pairs, &extras.collect::<anyhow::Result<Vec<_>>>()?);
    Ok(())
}

fn report(board: &mut Scoreboard, pairs: &[(Exchange, Exchange)], extras: &[(f64, f64)]) {
    let sample =
        |unit, value: &dyn Fn(&(Exchange, Exchange)) -> f64| Sample::new(unit, pairs.iter().map(value));
    let theirs = sample(Unit::GbitPerSecond, &|(_, theirs)| theirs.gbit_per_second());
    let ours = sample(Unit::GbitPerSecond, &|(ours, _)| ours.gbit_per_second());
    let target = Target::AtLeast(RATE_TARGET.min(theirs.median()));
    board.add("pair", "1 GB from one agent to another, loopback", &ours, target);
    board.add("pair", "the same by libtorrent", &theirs, Target::None);

    let digest = Sample::new(Unit::CpuPerGbyte, extras.iter().map(|(digest, _)| *digest));
    let apart = digest.median();
    let send = sample(Unit::Ratio, &|(ours, theirs)| ours.cpu_to_send() / theirs.cpu_to_send());
    board.add("pair", "processor time to send, beside libtorrent's", &send, Target::Under(1.0));
    let receive =
        sample(Unit::Ratio, &|(ours, theirs)| (ours.cpu_to_receive() - apart) / theirs.cpu_to_receive());
    let what = "processor time to receive, without the digest, beside libtorrent's";
    board.add("pair", what, &receive, Target::Under(1.0));
    for (what, value) in
        [("to send", Exchange::cpu_to_send as fn(&Exchange) -> f64), ("to receive", Exchange::cpu_to_receive)]
    {
        let ours = sample(Unit::CpuPerGbyte, &|(ours, _)| value(ours));
        board.add("pair", format!("agent {what}"), &ours, Target::None);
        let theirs = sample(Unit::CpuPerGbyte, &|(_, theirs)| value(theirs));
        board.add("pair", format!("libtorrent {what}"), &theirs, Target::None);
    }
    board.add("pair", "of the agent's to receive: the digest", &digest, Target::None);
    let placing = Sample::new(Unit::CpuPerGbyte, extras.iter().map(|(_, placing)| *placing));
    board.add("pair", "placing, after it", &placing, Target::None);
}

/// The processor time for a gigabyte's digest, of bytes that are in memory as an agent's are.
fn digest_cost(all: &Packages, package: &Package) -> anyhow::Result<f64> {
    let mut bytes = Vec::new();
    File::open(all.root.join(&package.path))?.read_to_end(&mut bytes).context("reading a package")?;
    let (seconds, digest) = own_seconds(|| {
        let mut digest = Sha256::new();
        bytes.chunks(CHUNK_LEN).for_each(|chunk| digest.update(chunk));
        digest.finalize()
    });
    anyhow::ensure!(digest[..] == package.digest.0, "{} has another digest", package.path);
    Ok(seconds / (package.size as f64 / 1e9))
}

/// The processor time for a gigabyte's copying to where the package manager looks for it, and for the check there.
fn place_cost(bench: &Bench, all: &Packages, package: &Package) -> anyhow::Result<f64> {
    let file = File::open(all.root.join(&package.path)).context("opening a package")?;
    let directory = bench.fresh_state()?;
    let dest = directory.path().join(package.file_name());
    let (seconds, placed) = own_seconds(|| place(&file, &dest, &package.package_digest(), package.size));
    placed.context("placing a package")?;
    fs::remove_file(&dest).context("removing a package")?;
    Ok(seconds / (package.size as f64 / 1e9))
}

/// The processor time of this process while it does this.
fn own_seconds<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let used = || {
        let mut tally = Tally::default();
        tally.look_at_time(&[std::process::id()]);
        tally.cpu_seconds()
    };
    let before = used();
    let result = work();
    (used() - before, result)
}
