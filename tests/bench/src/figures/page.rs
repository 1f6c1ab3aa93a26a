//! How fast the service's page is there, how long it is, and how much it has to do, with five thousand live swarms.

use anyhow::Context;
use pkgtorrent_protocol::PackageDigest;
use pkgtorrent_test_support::Browser;

use super::homes;
use crate::bench::Bench;
use crate::data::holes;
use crate::sample::{Sample, Unit};
use crate::scoreboard::{Scoreboard, Target};

/// When something could first be read, in milliseconds.
const FIRST_PAINT: &str = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime";

/// The bytes of the page and of what it loads, with their heads.
const BYTES: &str = "['navigation', 'resource'].flatMap((kind) => performance.getEntriesByType(kind))
    .reduce((sum, entry) => sum + entry.transferSize, 0)";

/// The longest task within some updates, in milliseconds: nothing if none took fifty.
const LONGEST_TASK: &str = "new Promise((resolve) => {
    let longest = 0;
    new PerformanceObserver((seen) => {
        longest = Math.max(longest, ...seen.getEntries().map((entry) => entry.duration));
    }).observe({ type: 'longtask', buffered: true });
    setTimeout(() => resolve(longest), 10000);
})";

/// Measures the figure.
pub(crate) fn measure(bench: &Bench, board: &mut Scoreboard) -> anyhow::Result<()> {
    let (root, packages) = holes::open(&bench.data)?;
    let state = bench.fresh_state()?;
    let service = bench.launch(&root, &state).start();
    let groups: Vec<&[PackageDigest]> = packages.chunks(homes::PACKAGES_PER_HOME).collect();
    homes::settle(service.addr(), &groups)?;
    let (mut paint, mut bytes, mut task) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.rounds {
        // One that has nothing of the page from before.
        let browser = Browser::start();
        browser.open(&service.url("/pkgtorrent/"));
        browser.wait_until(FIRST_PAINT);
        let number = |expression: &str| {
            let value = browser.eval(&format!("return {expression}")).as_f64();
            value.with_context(|| format!("no number: {expression}"))
        };
        paint.push(number(FIRST_PAINT)?);
        bytes.push(number(BYTES)? / 1e3);
        task.push(number(LONGEST_TASK)?);
    }
    let mut add = |what: &str, unit, values: Vec<f64>, most| {
        board.add("page", format!("5,000 swarms: {what}"), &Sample::new(unit, values), Target::Under(most));
    };
    add("first paint", Unit::Milliseconds, paint, 200.0);
    add("all bytes", Unit::Kilobytes, bytes, 300.0);
    add("longest task of 50 ms or more", Unit::Milliseconds, task, 50.0);
    Ok(())
}
