//! How fast bundles are built of packages that nobody has asked for before, beside openssl's digests of the same files.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::Context;
use pkgtorrent_test_support::ask;
use pkgtorrent_test_support::http::Connection;
use pkgtorrent_test_support::process;

use super::{check_whole, digests};
use crate::bench::{Bench, run, timed};
use crate::data::packages::{Package, Packages, Repository};
use crate::sample::{Sample, Unit};
use crate::scoreboard::{Scoreboard, Target};

/// How long a build may take before the connection gives up on it: a hundred times what it should.
const BUILD_LIMIT: Duration = Duration::from_secs(120);

/// In so many parts the files are handed to openssl, for each of its two digests: enough that all cores end at nearly
/// the same time, few enough that starting the program (3 ms) does not count.
const PARTS: usize = 8;

/// Measures the figure.
pub(crate) fn measure(bench: &Bench, board: &mut Scoreboard) -> anyhow::Result<()> {
    let packages = Packages::open(&bench.data)?;
    let set = packages.of(Repository::Mixed);
    packages.warm(&set)?;
    let bytes = set.iter().map(|package| package.size).sum::<u64>() as f64;
    let rate = |time: Duration| bytes / time.as_secs_f64() / 1e9;
    let rounds = bench.alternate(
        || build(bench, &packages, &set).map(rate),
        || openssl(bench, &packages.root, &set).map(rate),
    )?;
    let sample = |unit, value: fn(&(f64, f64)) -> f64| Sample::new(unit, rounds.iter().map(value));
    let ratio = sample(Unit::Ratio, |(ours, theirs)| ours / theirs);
    board.add("build", "throughput beside openssl sha1 + sha256", &ratio, Target::AtLeast(0.8));
    let ours = sample(Unit::GbytePerSecond, |(ours, _)| *ours);
    board.add("build", "a set never seen before, POST to plan", &ours, Target::None);
    let theirs = sample(Unit::GbytePerSecond, |(_, theirs)| *theirs);
    board.add("build", "openssl, both digests on all cores", &theirs, Target::None);
    Ok(())
}

fn build(bench: &Bench, packages: &Packages, set: &[Package]) -> anyhow::Result<Duration> {
    let state = bench.fresh_state()?;
    let service = bench.launch(&packages.root, &state).start();
    let request = ask::set_request(&digests(set), None);
    let mut connection = Connection::open(service.addr())?;
    connection.set_timeout(BUILD_LIMIT)?;
    let (time, response) = timed(|| connection.send(&request));
    check_whole(&ask::plan_of(response.context("posting the set")?), set.len())?;
    Ok(time)
}

fn openssl(bench: &Bench, root: &Path, set: &[Package]) -> anyhow::Result<Duration> {
    let program = process::installed("openssl");
    let parts = parts(set);
    let jobs: Vec<_> = parts.iter().flat_map(|part| [("-sha1", part), ("-sha256", part)]).collect();
    let jobs = Mutex::new(jobs.into_iter());
    let next = || jobs.lock().ok().and_then(|mut jobs| jobs.next());
    let (time, results) = timed(|| {
        std::thread::scope(|scope| {
            let work = || -> anyhow::Result<()> {
                while let Some((digest, part)) = next() {
                    let mut command = Command::new(&program);
                    command.arg("dgst").arg(digest).args(part).current_dir(root).stdout(Stdio::null());
                    run(&mut command, "openssl dgst")?;
                }
                Ok(())
            };
            let workers: Vec<_> = (0..bench.cores).map(|_| scope.spawn(work)).collect();
            let joined = workers.into_iter().map(std::thread::ScopedJoinHandle::join);
            joined.collect::<Vec<_>>()
        })
    });
    for result in results {
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    }
    Ok(time)
}

/// The files' paths in parts of nearly the same number of bytes, the largest part first.
fn parts(set: &[Package]) -> Vec<Vec<&str>> {
    let mut largest_first: Vec<&Package> = set.iter().collect();
    largest_first.sort_by_key(|package| std::cmp::Reverse(package.size));
    let mut parts: Vec<(u64, Vec<&str>)> = vec![(0, Vec::new()); PARTS];
    for package in largest_first {
        if let Some((bytes, paths)) = parts.iter_mut().min_by_key(|(bytes, _)| *bytes) {
            *bytes += package.size;
            paths.push(&package.path);
        }
    }
    parts.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
    parts.into_iter().map(|(_, paths)| paths).filter(|paths| !paths.is_empty()).collect()
}
