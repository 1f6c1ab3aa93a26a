//! How long a set takes that nobody has asked for before, when all its packages have been shared before.

use anyhow::Context;
use pkgtorrent_protocol::PackageDigest;
use pkgtorrent_test_support::ask;
use pkgtorrent_test_support::http::{Connection, Request};

use super::{check_whole, digests, handler_ms, introduce, peer_id, port};
use crate::bench::{Bench, milliseconds, timed};
use crate::data::Random;
use crate::data::packages::{Packages, Repository};
use crate::sample::{Sample, Unit};
use crate::scoreboard::{Scoreboard, Target};

/// How many packages a set has.
const PACKAGES: usize = 300;

/// How many different sets a round asks for: the 99th percentile is then the tenth slowest.
const SETS: usize = 1000;

/// Measures the figure.
pub(crate) fn measure(bench: &Bench, board: &mut Scoreboard) -> anyhow::Result<()> {
    let packages = Packages::open(&bench.data)?;
    let all = packages.of(Repository::Many);
    packages.warm(&all)?;
    let known = digests(&all);
    let state = bench.fresh_state()?;
    let service = bench.launch(&packages.root, &state).start();
    introduce(service.addr(), &known)?;
    let mut connection = Connection::open(service.addr())?;
    let nothing = Request::get("/healthz");
    let (mut handler, mut client, mut noise) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..bench.rounds {
        let mut random = Random::new(u64::from(round) + 1000);
        let times = (0..SETS).map(|number| {
            let set: Vec<PackageDigest> =
                random.distinct(PACKAGES, known.len()).into_iter().map(|index| known[index]).collect();
            // Each asker is another host, as in a burst.
            let host = round as usize * SETS + number;
            let request = ask::set_request(&set, Some((port(host), peer_id(host))));
            let (time, response) = timed(|| connection.send(&request));
            let response = response.context("posting a set")?.expect_status(200);
            let handler_ms = handler_ms(&response)?;
            check_whole(&ask::plan_of(response), PACKAGES)?;
            let (nothing_time, response) = timed(|| connection.send(&nothing));
            let _ = response.context("asking for /healthz")?.expect_status(200);
            Ok((handler_ms, milliseconds(time), milliseconds(nothing_time)))
        });
        let times: Vec<(f64, f64, f64)> = times.collect::<anyhow::Result<_>>()?;
        handler.push(Sample::new(Unit::Milliseconds, times.iter().map(|time| time.0)));
        client.push(Sample::new(Unit::Milliseconds, times.iter().map(|time| time.1)));
        noise.push(Sample::new(Unit::Milliseconds, times.iter().map(|time| time.2)));
    }
    let each = |rounds: &[Sample], percent| {
        Sample::new(Unit::Milliseconds, rounds.iter().map(|round| round.percentile(percent)))
    };
    board.add("seen", "300 known packages, handler p99", &each(&handler, 99.0), Target::Under(5.0));
    board.add("seen", "300 known packages, handler p50", &each(&handler, 50.0), Target::None);
    board.add("seen", "300 known packages, POST p99 at the client", &each(&client, 99.0), Target::None);
    board.add("seen", "300 known packages, POST p50 at the client", &each(&client, 50.0), Target::None);
    // What a request costs that does nothing: on a busy machine the tail of both is the wait for a core.
    board.add("seen", "/healthz in between, p99 at the client", &each(&noise, 99.0), Target::None);
    Ok(())
}
