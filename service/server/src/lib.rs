//! `pkgtorrent-service`: the mirror's side of pkgtorrent.
//!
//! Participants: a **scanner** watches the root and publishes catalogs; **readers** verify packages and hash their
//! pieces; the **registry** owns tracker and bundles; the **planner** turns sets into plans; **workers** answer HTTP.
//!
//! *Goals*: a package is read once in its life; any number of equal questions cost one answer; no wrong byte leaves
//! under a digest, whatever happens to the files meanwhile; everything remembered can be lost.
//! *Non-goals*: choosing packages (clients name digests), changing anything below the root, TLS (a proxy's business).

mod accounts;
pub mod args;
mod blocks;
mod body;
mod bundle;
mod cache;
mod catalog;
mod check;
mod digesting;
mod fingerprint;
mod flights;
mod http;
mod idle;
mod listening;
mod live;
pub mod metering;
mod packages;
mod planner;
mod rate;
mod registry;
pub mod reload;
mod root;
mod searching;
pub mod settings;
mod state;
mod tidying;
pub mod uploads;

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use actix_web::web::Data;
use arc_swap::ArcSwap;
use catalog::Scanner;
pub use check::check;
use http::Service;
pub use listening::Addresses;
use listening::Listeners;
use live::LiveSwarms;
use metering::Sent;
use packages::Packages;
use planner::Planner;
use registry::{Busy, RegistryHandle};
use root::Root;
use searching::Searching;
use settings::Settings;
use state::State;
pub use state::StateError;
use tokio::sync::mpsc;

/// How long to wait with other settings for a registry that is overloaded.
const RELOAD_RETRY: Duration = Duration::from_millis(100);

/// Why the service cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The root cannot be used.
    #[error("root {path}: {source}")]
    Root {
        /// The directory.
        path: PathBuf,
        /// What came of it.
        source: std::io::Error,
    },
    /// State and root are mixed.
    #[error("the state directory {state} and the root {root} must not lie in each other")]
    StateInRoot {
        /// The state directory.
        state: PathBuf,
        /// The root.
        root: PathBuf,
    },
    /// The state cannot be used.
    #[error("state: {0}")]
    State(#[from] StateError),
    /// An address cannot be listened on.
    #[error("listening on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What came of it.
        source: std::io::Error,
    },
    /// The system gives us no thread, or the like.
    #[error("{0}")]
    System(#[from] std::io::Error),
    /// The metrics recorder is in use: only one service runs in a process.
    #[error("metrics: {0}")]
    Metrics(String),
}

impl RunError {
    /// Whether the operator asked for what cannot be, rather than the system refusing it now.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        matches!(self, Self::Root { .. } | Self::StateInRoot { .. })
    }
}

/// Runs the service until `shutdown` is done, by other settings whenever some come through `reloads`. `on_listening` is
/// told every address once connections are accepted there.
pub async fn run(
    settings: Settings,
    reloads: mpsc::Receiver<Settings>,
    shutdown: impl Future<Output = ()> + Send + 'static,
    on_listening: impl FnOnce(&Addresses),
) -> Result<(), RunError> {
    let metrics = metering::install().map_err(|error| RunError::Metrics(error.to_string()))?;
    let root = Root::open(&settings.root)
        .map_err(|source| RunError::Root { path: settings.root.clone(), source })?;
    check_apart(&settings.state, &root.path())?;
    // Before anything else, so that a port in use costs no scan.
    let listeners = Listeners::bind(&settings)?;

    let (root, state) = (Arc::new(root), Arc::new(State::open(&settings.state)?));
    let packages = Packages::start(Arc::clone(&root), Arc::clone(&state), settings.build_threads)?;
    let web_seed = Arc::new(Sent::new());
    let tracker = settings.tracker.clone();
    let registry = RegistryHandle::start(tracker, seed()?, Arc::clone(&state), Arc::clone(&web_seed))?;
    let planner = Planner::new(Arc::clone(&packages), registry.clone(), Arc::clone(&state));
    let scanner = Scanner::new(root, Arc::clone(&state), settings.build_threads);
    let rescan_interval = settings.rescan_interval;
    let accounts = settings.accounts.then(|| accounts::open(&state));
    if accounts.is_none() {
        accounts::forget(&state);
    }
    let service = Data::new(Service {
        settings: ArcSwap::from_pointee(settings),
        live: LiveSwarms::new(registry.clone()),
        searching: Searching::default(),
        started: Instant::now(),
        ready: false.into(),
        state,
        packages,
        planner,
        registry,
        accounts,
        metrics,
        web_seed,
    });

    let end = Arc::new(AtomicBool::new(false));
    let scanning = {
        let (service, end) = (service.clone(), Arc::clone(&end));
        std::thread::Builder::new().name("scanner".into()).spawn(move || {
            catalog::watch(scanner, rescan_interval, &end, |catalog| {
                let (packages, repositories) = (catalog.packages(), catalog.repositories().count());
                tracing::info!("{packages} packages in {repositories} repositories");
                if packages == 0 && service.packages.catalog().packages() > 0 {
                    tracing::warn!("no package is left below the root");
                }
                service.packages.publish(catalog);
                service.ready.store(true, Ordering::Release);
            });
        })?
    };
    let addresses = listeners.addresses()?;
    let server = listeners.serve(&service)?;
    on_listening(&addresses);
    let sweeping = tokio::spawn(sweep(service.clone()));
    let tidying = tokio::spawn(tidying::run(service.clone()));
    let keeping = tokio::spawn(accounts::keep(service.clone()));
    let reloading = tokio::spawn(reload(service.clone(), reloads));
    let end_serving = server.end();
    let stopping = tokio::spawn(async move {
        shutdown.await;
        tracing::info!("ending");
        end_serving.await;
    });
    let served = server.ended().await;
    stopping.abort();
    sweeping.abort();
    tidying.abort();
    keeping.abort();
    reloading.abort();
    end.store(true, Ordering::Relaxed);
    // The scanner ends within a second or so; a panic there was logged when it happened.
    let ending = tokio::task::spawn_blocking(move || {
        let scanned = scanning.join();
        accounts::finish(&service);
        service.state.flush();
        scanned
    });
    let _ = ending.await;
    Ok(served?)
}

/// The state must not be served, and the root not be filled with it.
fn check_apart(state: &Path, root: &Path) -> Result<(), RunError> {
    let io = |source| StateError::Io { path: state.to_owned(), source };
    let absolute = std::path::absolute(state).map_err(io)?;
    // What is not there yet is where the nearest directory above it is: nothing is made in a root by mistake.
    let above = absolute.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?)));
    let Some((above, resolved)) = above else { return Ok(()) };
    let below = absolute.strip_prefix(above).unwrap_or(Path::new(""));
    let state = resolved.join(below);
    if state.starts_with(root) || root.starts_with(&state) {
        return Err(RunError::StateInRoot { state, root: root.to_owned() });
    }
    Ok(())
}

/// Lets the registry sweep when nobody else calls, and takes the histograms' samples together: they would pile up for
/// as long as nobody asks for the metrics.
async fn sweep(service: Data<Service>) {
    let mut interval = tokio::time::interval(registry::SWEEP_INTERVAL);
    loop {
        interval.tick().await;
        service.metrics.run_upkeep();
        // A registry too busy for this sweeps by itself.
        let _ = service.registry.run(|_| ()).await;
    }
}

/// Goes by other settings as they come, as far as they do not take a restart.
async fn reload(service: Data<Service>, mut reloads: mpsc::Receiver<Settings>) {
    while let Some(settings) = reloads.recv().await {
        let tracker = settings.tracker.clone();
        service.settings.store(Arc::new(settings));
        loop {
            let tracker = tracker.clone();
            match service.registry.run(move |registry| registry.reconfigure(tracker)).await {
                Ok(()) => break,
                Err(Busy) => tokio::time::sleep(RELOAD_RETRY).await,
            }
        }
    }
}

/// A number that clients cannot guess: it decides whom they meet.
fn seed() -> std::io::Result<u64> {
    let mut bytes = [0; 8];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}
