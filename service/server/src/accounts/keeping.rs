//! Keeping the accounts: in the state, and up to date with time and with the packages of sets.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use actix_web::web::Data;
use pkgtorrent_protocol::SetDigest;

use super::spread::NamedPackage;
use super::{Accounts, SharedAccounts};
use crate::http::Service;
use crate::state::{Record, State, Table};

/// How often sets are made into packages.
const TICK_INTERVAL: Duration = Duration::from_secs(5);

/// How often what has changed is stored. It is one transaction, with what hosts have reported and the sums that it is in: a
/// service that is killed counts from the next reports what it has lost, but for single installs.
const SAVE_TICKS: u32 = 12;

/// Records that one write drops.
const BATCH: usize = 1000;

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// The accounts that are stored.
pub(crate) fn open(state: &State) -> SharedAccounts {
    let (mut accounts, now, mut damaged) = (Accounts::new(), now(), Vec::new());
    state.for_each(Table::Accounts, |key, value| {
        if accounts.restore(now, key, value).is_none() {
            damaged.push((key.to_vec(), None));
        }
    });
    if !damaged.is_empty() {
        tracing::warn!("{} records of the accounts do not read well and are dropped", damaged.len());
    }
    store(state, damaged);
    accounts.tick(now);
    SharedAccounts::new(accounts)
}

/// Forgets what earlier runs have stored: none are to be kept any more.
pub(crate) fn forget(state: &State) {
    let mut all = Vec::new();
    state.for_each(Table::Accounts, |key, _| all.push((key.to_vec(), None)));
    store(state, all);
}

/// Keeps accounts up to date and stored, for as long as it is polled.
pub(crate) async fn keep(service: Data<Service>) {
    let mut interval = tokio::time::interval(TICK_INTERVAL);
    for tick in (0..SAVE_TICKS).cycle() {
        interval.tick().await;
        let service = service.clone();
        // A panic in there was logged; the next round does what is left.
        let _ = tokio::task::spawn_blocking(move || round(&service, tick + 1 == SAVE_TICKS)).await;
    }
}

fn round(service: &Service, is_time_to_save: bool) {
    let Some(accounts) = &service.accounts else { return };
    let now = now();
    let sets = {
        let mut accounts = accounts.lock();
        accounts.tick(now);
        accounts.take_sets()
    };
    for (set, installs) in sets {
        let packages = packages_of(service, set);
        accounts.lock().spread(now, installs, packages);
    }
    if is_time_to_save {
        let changes = accounts.lock().changes();
        service.state.save_later(changes.into_iter().map(record).collect());
    }
}

/// Hands over to the state what has come since the last time, before the service ends.
pub(crate) fn finish(service: &Service) {
    round(service, true);
}

/// The packages of a set that are known here, with their files' names.
fn packages_of(service: &Service, set: SetDigest) -> Vec<NamedPackage> {
    let Some(set) = service.planner.known_set(set) else { return Vec::new() };
    let catalog = service.packages.catalog();
    let named = set.packages().iter().filter_map(|digest| {
        let located = catalog.locate(digest).next()?;
        let name = located.path.file_name()?.to_string_lossy().into_owned();
        Some((service.packages.identity(digest)?, name))
    });
    named.collect()
}

fn store(state: &State, changes: Vec<super::Change>) {
    let records: Vec<Record> = changes.into_iter().map(record).collect();
    for batch in records.chunks(BATCH) {
        state.save_later(batch.to_vec());
    }
}

fn record((key, value): super::Change) -> Record {
    Record { table: Table::Accounts, key, value }
}
