//! The figures, one module each.

pub(crate) mod build;
pub(crate) mod catalog;
pub(crate) mod crowd;
pub(crate) mod crowd10k;
pub(crate) mod fleet5k;
pub(crate) mod homes;
pub(crate) mod host;
pub(crate) mod idle;
pub(crate) mod page;
pub(crate) mod pair;
pub(crate) mod place;
pub(crate) mod plans;
pub(crate) mod reports;
pub(crate) mod roles;
pub(crate) mod seen;
pub(crate) mod sites;
pub(crate) mod tools;
pub(crate) mod tracker;
pub(crate) mod webseed;

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use pkgtorrent_protocol::plan::Plan;
use pkgtorrent_protocol::{PackageDigest, PeerId};
use pkgtorrent_test_support::ask;
use pkgtorrent_test_support::http::Response;

use crate::data::Random;
use crate::data::packages::Package;

/// How many packages the sets have whose plans are asked for: a host's monthly updates.
const SET_LEN: usize = 60;

/// How sets name these packages.
pub(crate) fn digests(packages: &[Package]) -> Vec<PackageDigest> {
    packages.iter().map(Package::package_digest).collect()
}

/// Fails unless `plan` has a place for each of so many packages: a service that shares nothing answers fast.
fn check_whole(plan: &Plan, packages: usize) -> anyhow::Result<()> {
    let planned: usize = plan.bundles.iter().map(|bundle| bundle.files.len()).sum();
    ensure!(plan.unknown.is_empty(), "{} packages are unknown", plan.unknown.len());
    ensure!(planned == packages, "the plan has {planned} of {packages} packages");
    Ok(())
}

/// Makes every package known to the service, in sets of [`SET_LEN`] as hosts would, and returns the plans.
fn introduce(service: SocketAddr, packages: &[PackageDigest]) -> anyhow::Result<Vec<Plan>> {
    let order = Random::new(1).distinct(packages.len(), packages.len());
    let shuffled: Vec<PackageDigest> = order.into_iter().map(|index| packages[index]).collect();
    let plans = shuffled.chunks(SET_LEN).map(|set| {
        let plan = ask::post_set(service, set);
        check_whole(&plan, set.len())?;
        Ok(plan)
    });
    plans.collect()
}

/// What the service says that its handler took.
fn handler_ms(response: &Response) -> anyhow::Result<f64> {
    let timing = response.header("server-timing").context("the plan has no Server-Timing")?;
    let duration = timing.split([';', ',']).find_map(|part| part.trim().strip_prefix("dur="));
    let duration = duration.with_context(|| format!("Server-Timing without a duration: {timing:?}"))?;
    duration.parse().with_context(|| format!("Server-Timing: {timing:?}"))
}

/// The name of one of many pretended hosts.
fn peer_id(number: usize) -> PeerId {
    let mut id = *b"-BE0001-000000000000";
    id[12..].copy_from_slice(format!("{number:08}").as_bytes());
    PeerId(id)
}

/// The port of one of many pretended hosts: they share an address, so this is what tells them apart.
fn port(number: usize) -> u16 {
    20_000 + (number % 40_000) as u16
}
