//! wrk, the load generator: started, given its requests, and read.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use pkgtorrent_test_support::process;

/// The issue's number of connections, on as many threads as the machine that it speaks of has cores.
const CONNECTIONS: u32 = 64;
const THREADS: u32 = 2;

/// Requests the targets of a file one after the other, each thread from another place on, and ends with a line for us.
///
/// The requests are made before the clock runs, so that they cost the generator nothing.
const SCRIPT: &str = r#"
local threads = 0
function setup(thread)
  thread:set("place", threads)
  threads = threads + 1
end

function init(args)
  requests = {}
  for target in io.lines(args[1]) do
    requests[#requests + 1] = wrk.format("GET", target)
  end
  next_request = math.floor(#requests * place / tonumber(args[2]))
end

function request()
  next_request = next_request % #requests + 1
  return requests[next_request]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format("\nresult %d %d %d %d %d %d\n", summary.requests, summary.bytes, summary.duration,
    latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"#;

/// What one run of wrk saw.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// Answers in a second.
    pub(crate) per_second: f64,
    /// The median time to an answer.
    pub p50_ms: f64,
    /// The time within which 99 of 100 answers came.
    pub p99_ms: f64,
    /// The mean length of an answer with its head.
    pub(crate) answer_bytes: f64,
}

/// Asks `server` for the targets in turn for as long as `duration`. An answer that is no success fails the figure.
pub(crate) fn load(server: SocketAddr, targets: &[String], duration: Duration) -> anyhow::Result<Load> {
    let directory = tempfile::tempdir().context("a directory for wrk")?;
    let (script, list) = (directory.path().join("rotate.lua"), directory.path().join("targets"));
    fs::write(&script, SCRIPT).context("writing wrk's script")?;
    fs::write(&list, targets.join("\n") + "\n").context("writing wrk's targets")?;
    let mut command = Command::new(process::installed("wrk"));
    command
        .args([format!("-t{THREADS}"), format!("-c{CONNECTIONS}"), format!("-d{}s", duration.as_secs())])
        .arg("--latency")
        .arg(format!("http://{server}/"))
        .arg("-s")
        .arg(&script)
        .arg("--")
        .arg(&list)
        .arg(THREADS.to_string());
    let output = process::run(&mut command, duration + Duration::from_secs(30));
    let load = parse(&output).with_context(|| format!("wrk says: {output}"))?;
    ensure!(load.1 == 0, "{} answers were errors: {output}", load.1);
    Ok(load.0)
}

fn parse(output: &str) -> Option<(Load, u64)> {
    let line = output.lines().find_map(|line| line.strip_prefix("result "))?;
    let numbers: Vec<u64> = line.split(' ').map(str::parse).collect::<Result<_, _>>().ok()?;
    let &[requests, bytes, duration_us, p50_us, p99_us, errors] = numbers.as_slice() else {
        return None;
    };
    let load = Load {
        per_second: requests as f64 * 1e6 / duration_us as f64,
        p50_ms: p50_us as f64 / 1e3,
        p99_ms: p99_us as f64 / 1e3,
        answer_bytes: bytes as f64 / requests as f64,
    };
    Some((load, errors))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scripts_line_is_read() {
        let (load, errors) = parse("Running\n\nresult 1000 50000 2000000 1500 9000 3\n").expect("a result");
        assert_eq!((load.per_second, load.p50_ms, load.p99_ms), (500.0, 1.5, 9.0));
        assert_eq!((load.answer_bytes, errors), (50.0, 3));
        assert!(parse("wrk: unable to connect").is_none());
    }
}
