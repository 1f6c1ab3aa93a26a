//! Keeping the state as small as what it describes: records that nothing has used for a day are dropped.
//!
//! A record goes only when two rounds in a row find it unused, so that a repository which was away for an hour, on a
//! disk that was not mounted, costs no hashing when it comes back.

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, SystemTime};

use actix_web::web::Data;
use pkgtorrent_protocol::{PackageDigest, Sha256Digest};

use crate::catalog::{Catalog, digest_key, take_digest};
use crate::http::Service;
use crate::planner::set_planned_at;
use crate::state::{Record, Table};

/// Time between two rounds.
const INTERVAL: Duration = Duration::from_secs(24 * 3600);

/// A set that nobody wanted for so long is forgotten: who wants it again is asked for its packages.
const SET_IDLE_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// Records that one transaction drops.
const BATCH: usize = 1000;

type Unused = HashSet<(Table, Vec<u8>)>;

/// Tidies up from time to time.
pub(crate) async fn run(service: Data<Service>) {
    let mut unused_before = Unused::new();
    loop {
        tokio::time::sleep(INTERVAL).await;
        let Ok(bundled) = service.registry.run(|registry| registry.bundled()).await else { continue };
        let for_round = service.clone();
        let round = tokio::task::spawn_blocking(move || {
            let unused = find_unused(&for_round, &bundled, SystemTime::now());
            drop_records(&for_round, unused.intersection(&unused_before));
            for_round.state.flush();
            for_round.packages.forget_ready();
            for_round.planner.measure_sets();
            unused
        });
        unused_before = round.await.unwrap_or_default();
    }
}

fn find_unused(service: &Service, bundled: &HashSet<Sha256Digest>, now: SystemTime) -> Unused {
    let catalog = service.packages.catalog();
    let paths: HashSet<Vec<u8>> = catalog.paths().map(|path| path.as_os_str().as_bytes().to_vec()).collect();
    let primaries: HashSet<Vec<u8>> = catalog.primaries().map(|primary| digest_key(&primary)).collect();
    let mut aliased = HashSet::new();
    let mut unused = Unused::new();
    let mut look = |table, is_used: &mut dyn FnMut(&[u8], &[u8]) -> bool| {
        service.state.for_each(table, |key, value| {
            if !is_used(key, value) {
                unused.insert((table, key.to_vec()));
            }
        });
    };
    look(Table::Files, &mut |path, _| paths.contains(path));
    look(Table::Listings, &mut |primary, _| primaries.contains(primary));
    look(Table::Aliases, &mut |mut alias, identity| {
        let is_used = take_digest(&mut alias).is_some_and(|alias| is_listed(&catalog, &alias));
        aliased.extend(is_used.then(|| identity.to_vec()));
        is_used
    });
    look(Table::Blocks, &mut |key, _| {
        let Some(identity) = key.first_chunk::<32>() else { return false };
        let identity_digest = Sha256Digest(*identity);
        bundled.contains(&identity_digest)
            || aliased.contains(&identity[..])
            || is_listed(&catalog, &identity_digest.into())
    });
    look(Table::Sets, &mut |_, value| {
        let planned_at = set_planned_at(value).map(|(planned_at, _)| planned_at);
        planned_at.is_some_and(|at| now.duration_since(at).unwrap_or_default() < SET_IDLE_MAX)
    });
    unused
}

fn is_listed(catalog: &Catalog, digest: &PackageDigest) -> bool {
    catalog.locate(digest).next().is_some()
}

fn drop_records<'a>(service: &Service, unused: impl Iterator<Item = &'a (Table, Vec<u8>)>) {
    let dropped: Vec<Record> =
        unused.map(|(table, key)| Record { table: *table, key: key.clone(), value: None }).collect();
    if !dropped.is_empty() {
        tracing::info!("{} records of the state are not used any more and dropped", dropped.len());
    }
    for batch in dropped.chunks(BATCH) {
        service.state.save_later(batch.to_vec());
    }
}
