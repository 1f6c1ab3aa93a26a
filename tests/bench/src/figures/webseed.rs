//! How fast the web seed serves whole files and ranges, and at what cost, beside nginx with the same files.

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use pkgtorrent_fleet::{Nginx, usage};
use pkgtorrent_test_support::ask::PREFIX;
use pkgtorrent_test_support::http::{self, Request};
use pkgtorrent_test_support::process::free_port;

use crate::bench::Bench;
use crate::data::Random;
use crate::data::packages::{Package, Packages, Repository};
use crate::sample::{Sample, Unit};
use crate::scoreboard::{Scoreboard, Target};
use crate::transfer::{self, Range};

/// How often each connection fetches its file in one round: seconds of work, so that the kernel's coarse count of
/// processor time means something.
const REPEATS: usize = 4;

/// The length of one range: what an agent asks for when it coalesces pieces.
const RANGE_LEN: u64 = 256 << 10;

/// How many connections ask for ranges.
const RANGE_CONNECTIONS: usize = 32;

/// How long one round of ranges lasts.
const RANGE_ROUND: Duration = Duration::from_secs(3);

/// One of the two servers.
struct Side {
    addr: SocketAddr,
    pid: u32,
    path: fn(&Package) -> String,
}

/// One measured round of one side.
struct Round {
    gbit_per_second: f64,
    ranges_per_second: f64,
    cpu_per_gbyte: f64,
}

/// Measures the figure.
pub(crate) fn measure(bench: &Bench, board: &mut Scoreboard) -> anyhow::Result<()> {
    let packages = Packages::open(&bench.data)?;
    let large = packages.of(Repository::Large);
    let mut mixed = packages.of(Repository::Mixed);
    mixed.retain(|package| package.size > RANGE_LEN);
    packages.warm(&large)?;
    packages.warm(&mixed)?;
    let state = bench.fresh_state()?;
    let service = bench.launch(&packages.root, &state).start();
    let nginx = Nginx::start(&packages.root, SocketAddr::from(([127, 0, 0, 1], free_port())))?;
    let ours = Side { addr: service.addr(), pid: service.pid(), path: web_seed_path };
    let theirs = Side { addr: nginx.addr(), pid: nginx.pid(), path: |package| format!("/{}", package.path) };
    for side in [&ours, &theirs] {
        for package in large.iter().chain(&mixed) {
            check_bytes(side, &packages, package)?;
        }
    }
    for connections in [1, large.len()] {
        let rounds = bench.alternate(
            || whole_files(&ours, &large, connections),
            || whole_files(&theirs, &large, connections),
        )?;
        report_whole(board, connections, &rounds);
    }
    let rounds = bench.alternate(|| ranges(&ours, &mixed), || ranges(&theirs, &mixed))?;
    report_ranges(board, &rounds);
    Ok(())
}

fn web_seed_path(package: &Package) -> String {
    format!("{PREFIX}webseed/pkgtorrent/{}/{}", package.digest, package.file_name())
}

/// Compares one range with the file: bytes that are wrong may come as fast as they like.
fn check_bytes(side: &Side, packages: &Packages, package: &Package) -> anyhow::Result<()> {
    let start = (package.size - RANGE_LEN) / 2;
    let range = format!("bytes={start}-{}", start + RANGE_LEN - 1);
    let request = Request::get(&(side.path)(package)).header("Range", &range);
    let answer = http::send(side.addr, &request).expect_status(206);
    let mut bytes = vec![0; RANGE_LEN as usize];
    let file = File::open(packages.root.join(&package.path)).context("opening a package")?;
    file.read_exact_at(&mut bytes, start).context("reading a package")?;
    ensure!(answer.body == bytes, "{} sends other bytes of {}", side.addr, package.path);
    Ok(())
}

fn whole_files(side: &Side, files: &[Package], connections: usize) -> anyhow::Result<Round> {
    observe(side, || {
        let (time, sent) = transfer::at_once(side.addr, connections, |number, transfer| {
            let file = &files[number % files.len()];
            let path = (side.path)(file);
            for _ in 0..REPEATS {
                transfer.fetch(&path, None, file.size)?;
            }
            Ok(file.size * REPEATS as u64)
        })?;
        Ok((time, sent.into_iter().sum(), 0))
    })
}

fn ranges(side: &Side, files: &[Package]) -> anyhow::Result<Round> {
    let paths: Vec<String> = files.iter().map(side.path).collect();
    observe(side, || {
        let (time, counts) = transfer::at_once(side.addr, RANGE_CONNECTIONS, |number, transfer| {
            let mut random = Random::new(number as u64);
            let (start, mut count) = (Instant::now(), 0);
            while start.elapsed() < RANGE_ROUND {
                let index = random.below(files.len() as u64) as usize;
                let start = random.below(files[index].size - RANGE_LEN + 1);
                transfer.fetch(&paths[index], Some(Range { start, len: RANGE_LEN }), RANGE_LEN)?;
                count += 1;
            }
            Ok(count)
        })?;
        let count = counts.into_iter().sum::<u64>();
        Ok((time, count * RANGE_LEN, count))
    })
}

/// Runs `work`, which returns its time, bytes and requests, and counts what the server used for it.
fn observe(
    side: &Side,
    work: impl FnOnce() -> anyhow::Result<(Duration, u64, u64)>,
) -> anyhow::Result<Round> {
    let before = usage::cpu_seconds(side.pid)?;
    let (time, bytes, requests) = work()?;
    let cpu_seconds = usage::cpu_seconds(side.pid)? - before;
    let (seconds, gbytes) = (time.as_secs_f64(), bytes as f64 / 1e9);
    Ok(Round {
        gbit_per_second: gbytes * 8.0 / seconds,
        ranges_per_second: requests as f64 / seconds,
        cpu_per_gbyte: cpu_seconds / gbytes,
    })
}

fn report_whole(board: &mut Scoreboard, connections: usize, rounds: &[(Round, Round)]) {
    let plural = if connections == 1 { "" } else { "s" };
    let what = format!("512 MiB files, {connections} connection{plural}");
    let ours = Sample::new(Unit::GbitPerSecond, rounds.iter().map(|(ours, _)| ours.gbit_per_second));
    board.add("webseed", what.clone(), &ours, Target::AtLeast(5.0));
    let theirs = Sample::new(Unit::GbitPerSecond, rounds.iter().map(|(_, theirs)| theirs.gbit_per_second));
    board.add("webseed", format!("{what}, nginx"), &theirs, Target::None);
    report_cpu(board, &what, rounds);
}

fn report_ranges(board: &mut Scoreboard, rounds: &[(Round, Round)]) {
    let what = "ranges of 256 KiB, 32 connections";
    let ratio = rounds.iter().map(|(ours, theirs)| ours.ranges_per_second / theirs.ranges_per_second);
    board.add(
        "webseed",
        format!("{what}, beside nginx"),
        &Sample::new(Unit::Ratio, ratio),
        Target::AtLeast(0.6),
    );
    let ours = Sample::new(Unit::PerSecond, rounds.iter().map(|(ours, _)| ours.ranges_per_second));
    board.add("webseed", what, &ours, Target::None);
    let theirs = Sample::new(Unit::PerSecond, rounds.iter().map(|(_, theirs)| theirs.ranges_per_second));
    board.add("webseed", format!("{what}, nginx"), &theirs, Target::None);
    report_cpu(board, what, rounds);
}

fn report_cpu(board: &mut Scoreboard, what: &str, rounds: &[(Round, Round)]) {
    let ours = Sample::new(Unit::CpuPerGbyte, rounds.iter().map(|(ours, _)| ours.cpu_per_gbyte));
    board.add("webseed", format!("{what}: processor"), &ours, Target::None);
    let theirs = Sample::new(Unit::CpuPerGbyte, rounds.iter().map(|(_, theirs)| theirs.cpu_per_gbyte));
    board.add("webseed", format!("{what}: processor, nginx"), &theirs, Target::None);
}
