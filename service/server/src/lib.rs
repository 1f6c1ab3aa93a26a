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
mod live;
mod metering;
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
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use actix_web::dev::{Server, Service as _};
use actix_web::web::Data;
use actix_web::{App, HttpServer};

use arc_swap::ArcSwap;
use catalog::Scanner;
pub use check::check;
use http::{Connection, Service};
use idle::{AnsweringBody, Watched};
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

/// How long answers may go on after the service was told to end.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// How long to wait with other settings for a registry that is overloaded.
const RELOAD_RETRY: Duration = Duration::from_millis(100);

/// Connections that wait in the kernel to be accepted: a fleet comes within one second.
const BACKLOG: i32 = 4096;

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
    on_listening: impl FnOnce(&[SocketAddr]),
) -> Result<(), RunError> {
    let metrics = metering::install().map_err(|error| RunError::Metrics(error.to_string()))?;
    let root = Root::open(&settings.root)
        .map_err(|source| RunError::Root { path: settings.root.clone(), source })?;
    check_apart(&settings.state, &root.path())?;
    // Before anything else, so that a port in use costs no scan.
    let listeners = settings.listen.iter().map(|&address| bind(address)).collect::<Result<Vec<_>, _>>()?;

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
    let addresses: Vec<SocketAddr> =
        listeners.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?;
    let server = serve(service.clone(), listeners)?;
    on_listening(&addresses);
    let sweeping = tokio::spawn(sweep(service.clone()));
    let tidying = tokio::spawn(tidying::run(service.clone()));
    let keeping = tokio::spawn(accounts::keep(service.clone()));
    let reloading = tokio::spawn(reload(service.clone(), reloads));
    let handle = server.handle();
    let stopping = tokio::spawn(async move {
        shutdown.await;
        tracing::info!("ending");
        handle.stop(true).await;
    });
    let served = server.await;
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

fn serve(service: Data<Service>, listeners: Vec<TcpListener>) -> Result<Server, RunError> {
    let settings = service.settings.load();
    let user_timeout = u32::try_from(settings.client_timeout.as_millis()).unwrap_or(u32::MAX);
    let per_worker = affordable(settings.connections_max).div_ceil(settings.workers);
    let (workers, client_timeout) = (settings.workers, settings.client_timeout);
    let app = move || {
        App::new().app_data(service.clone()).configure(http::configure).wrap_fn(|request, next| {
            let answering = request.conn_data::<Connection>().and_then(Connection::answer);
            let answer = next.call(request);
            async move { Ok(answer.await?.map_body(|_, body| AnsweringBody::new(body, answering))) }
        })
    };
    let mut server = HttpServer::new(app)
        .workers(workers)
        .max_connections(per_worker)
        .client_request_timeout(client_timeout)
        .keep_alive(client_timeout)
        .shutdown_timeout(SHUTDOWN_TIMEOUT.as_secs())
        .disable_signals()
        .on_connect(move |stream, extensions| {
            let Some(stream) = stream.downcast_ref::<actix_web::rt::net::TcpStream>() else {
                return;
            };
            // A client that takes nothing at all is cut off by the kernel: no write would ever return to notice.
            let _ = rustix::net::sockopt::set_tcp_user_timeout(stream, user_timeout);
            let _ = stream.set_nodelay(true);
            if let Ok(local) = stream.local_addr() {
                extensions.insert(Connection { local, watched: Watched::new(stream, client_timeout).ok() });
            }
        });
    for listener in listeners {
        server = server.listen(listener)?;
    }
    Ok(server.run())
}

/// Open files that a connection takes: itself, its second handle, and the file that it is sent.
const FILES_PER_CONNECTION: u64 = 3;

/// Open files that everything else takes, with room to spare.
const FILES_RESERVED: u64 = 256;

/// As many of the wanted connections as the system gives us open files for, after asking for all that we may have.
fn affordable(wanted: usize) -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let before = getrlimit(Resource::Nofile);
    // What is refused here is found out below.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: before.maximum, maximum: before.maximum });
    let Some(files) = getrlimit(Resource::Nofile).current else { return wanted };
    let most =
        usize::try_from(files.saturating_sub(FILES_RESERVED) / FILES_PER_CONNECTION).unwrap_or(usize::MAX);
    if most < wanted {
        tracing::warn!(
            "{most} connections at once instead of {wanted}: this process may have {files} open files"
        );
    }
    wanted.min(most).max(1)
}

/// Binds before the service starts, so that a mistake is told at once. An IPv6 address takes IPv4 as well, and where
/// there is no IPv6, every address of the machine is every IPv4 one.
fn bind(address: SocketAddr) -> Result<TcpListener, RunError> {
    let bound = match bind_to(address) {
        Err(error) if address.ip() == Ipv6Addr::UNSPECIFIED && has_no_family(&error) => {
            bind_to(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()))
        }
        bound => bound,
    };
    bound.map_err(|source| RunError::Listen { address, source })
}

fn has_no_family(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    matches!(Errno::from_io_error(error), Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL))
}

fn bind_to(address: SocketAddr) -> std::io::Result<TcpListener> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
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
