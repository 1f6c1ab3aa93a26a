//! `pkgtorrent agent`: the process that downloads, keeps and shares.

use std::fs::File;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use pkgtorrent_protocol::PeerId;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::control::listener;
use crate::engine::{Description, EVENTS_MAX, Engine, Event, Identity, SessionId};
use crate::files::StateDir;
use crate::log;
use crate::metering::MetricsListener;
use crate::origin::Http;
use crate::peer::{self, Patience, Peers};
use crate::records::Records;
use crate::reload::{Reloading, Told};
use crate::settings::Settings;
use crate::store::Store;
use crate::user::{self, Callers};

/// Threads that hash, read and write: enough for a disk's queue and for the cores that a package manager leaves.
const BLOCKING_THREADS_MAX: usize = 4;

/// How long such a thread stays without work. Each costs memory, and an agent is idle for most of its life.
const BLOCKING_THREAD_IDLE: Duration = Duration::from_secs(5);

/// How long pieces that are being written may take when the agent ends. What is cut off is checked by the next one.
const END_GRACE: Duration = Duration::from_secs(2);

/// What `fetch` waits to read when it has started an agent.
pub const READY: &str = "ready\n";

/// Runs the agent until it is told to end or has nothing left to do.
pub fn run(
    reloading: Reloading,
    settings: Settings,
    state_dir: &Path,
    is_detached: bool,
) -> anyhow::Result<()> {
    // Everything that needs root, and everything whose path only root may walk, comes before root is dropped.
    let owner = user::target_owner(&settings.user)?;
    let files = Arc::new(StateDir::open(state_dir, owner)?);
    let _lock = files.lock()?;
    let http = Http::new(&settings.origin)?;
    let callers = Callers::new(&settings.allowed_users, owner)?;
    let (door, metrics) = (Door::open(&settings), MetricsListener::open(settings.metrics_listen));
    let socket = match inherited_socket()? {
        Some(socket) => socket,
        None => files.bind_socket().context("making the agent's socket")?,
    };
    if is_detached {
        let log = files.open_log().context("opening the agent's log")?;
        user::drop_root(&settings.user)?;
        log::keep(&log, &files).context("sending messages to the log")?;
    } else {
        user::drop_root(&settings.user)?;
    }
    files.write_pid().context("writing agent.pid")?;
    let prepared =
        Prepared { settings, files: Arc::clone(&files), http, callers, socket, door, metrics, is_detached };
    let result = runtime()?.block_on_and_end(serve(reloading, prepared));
    files.remove_pid_and_socket();
    result
}

/// Tells whoever started the agent that its socket listens, and lets go of that one's pipe.
fn say_ready(is_detached: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    // Nobody may be reading.
    let _ = out.write_all(READY.as_bytes()).and_then(|()| out.flush());
    if is_detached {
        let null = File::options().write(true).open("/dev/null").context("opening /dev/null")?;
        rustix::stdio::dup2_stdout(&null).context("closing the standard output")?;
    }
    Ok(())
}

/// All that had to be opened before root was given up.
struct Prepared {
    settings: Settings,
    files: Arc<StateDir>,
    http: Http,
    callers: Callers,
    socket: UnixListener,
    door: Door,
    metrics: MetricsListener,
    is_detached: bool,
}

async fn serve(reloading: Reloading, prepared: Prepared) -> anyhow::Result<()> {
    let Prepared { settings, files, http, callers, socket, door, metrics, is_detached } = prepared;
    // Before anything else: until then it would end the agent.
    let hangup = signal(SignalKind::hangup())?;
    let (events, queue) = mpsc::channel(EVENTS_MAX);
    let description = describe(files.path());
    tracing::info!(
        "agent {} runs as {} in {}",
        env!("CARGO_PKG_VERSION"),
        description.user,
        description.state_dir
    );
    let (of_peers, peers_queue) = mpsc::channel(peer::EVENTS_MAX);
    let peers = door.peers(&settings, of_peers);
    let mut engine = engine(&settings, &files, http, events.clone(), (&door, peers.clone()), description)?;
    socket.set_nonblocking(true)?;
    let socket = tokio::net::UnixListener::from_std(socket)?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let (callers_sender, callers) = watch::channel(callers);
    let told = Told { events: events.clone(), callers: callers_sender };
    say_ready(is_detached)?;
    tokio::select! {
        () = engine.run(queue, peers_queue) => {}
        () = listener::listen(socket, callers, events.clone()) => {}
        () = metrics.answer(events) => {}
        () = door.answer(&peers) => {}
        () = reloading.at_each(hangup, told) => {}
        _ = interrupt.recv() => tracing::info!("interrupted"),
        _ = terminate.recv() => tracing::info!("asked to end"),
    }
    engine.end_installs();
    engine.say_farewell().await;
    Ok(())
}

/// Serves one command on a connection within this process, until that is closed.
pub fn serve_in_process(settings: Settings, files: StateDir, connection: UnixStream) -> anyhow::Result<()> {
    let http = Http::new(&settings.origin)?;
    let files = Arc::new(files);
    let door = Door::open(&settings);
    runtime()?.block_on_and_end(async move {
        let (events, queue) = mpsc::channel(EVENTS_MAX);
        let (of_peers, peers_queue) = mpsc::channel(peer::EVENTS_MAX);
        let peers = door.peers(&settings, of_peers);
        let who = (&door, peers.clone());
        let mut engine = engine(&settings, &files, http, events.clone(), who, describe(files.path()))?;
        connection.set_nonblocking(true)?;
        let connection = tokio::net::UnixStream::from_std(connection)?;
        let callers = Callers::new(&[], None)?;
        let served = tokio::select! {
            () = engine.run(queue, peers_queue) => Ok(()),
            () = door.answer(&peers) => Ok(()),
            served = listener::serve(connection, SessionId(0), &callers, &events) => Ok(served?),
        };
        engine.say_farewell().await;
        served
    })
}

fn engine(
    settings: &Settings,
    files: &Arc<StateDir>,
    http: Http,
    events: mpsc::Sender<Event>,
    (door, peers): (&Door, Peers),
    description: Description,
) -> anyhow::Result<Engine> {
    let store = Store::open(Arc::clone(files), settings.store.clone())?;
    // It only spreads hosts' second attempts over time: the clock and the process id are random enough.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seed = u64::from(now.subsec_nanos()) << 32 | u64::from(std::process::id());
    let identity = Identity { peers, peer_id: door.peer_id, port: door.port(), seed };
    // Without them nothing can be explained, and everything be installed.
    let records = Records::open(files, settings.store.free_space_min)
        .inspect_err(|error| tracing::warn!("installs are not recorded: {error}"));
    Ok(Engine::new(settings, store, http, events, identity, description, records.ok()))
}

/// Where other hosts come in.
struct Door {
    listener: Option<TcpListener>,
    peer_id: PeerId,
}

impl Door {
    /// An agent that cannot listen fetches all the same.
    fn open(settings: &Settings) -> Self {
        let listener = peer::bind(settings.listen)
            .inspect_err(|error| tracing::warn!("other hosts cannot connect: {}: {error}", settings.listen))
            .ok();
        Self { listener, peer_id: peer_id() }
    }

    fn port(&self) -> Option<u16> {
        Some(self.listener.as_ref()?.local_addr().ok()?.port())
    }

    fn peers(&self, settings: &Settings, events: mpsc::Sender<peer::Event>) -> Peers {
        Peers::new(&settings.peers, Patience::default(), self.peer_id, self.port(), events)
    }

    /// Lets other hosts in for as long as it is polled.
    async fn answer(&self, peers: &Peers) {
        if let Some(listener) = self.listener.as_ref().and_then(|it| it.try_clone().ok())
            && let Err(error) = peers.listen(listener).await
        {
            tracing::warn!("other hosts cannot connect: {error}");
        }
        std::future::pending::<()>().await;
    }
}

/// A name that no other agent has: the program's, and what the kernel draws.
fn peer_id() -> PeerId {
    let mut id = *b"-PT0100-............";
    let drawn = rustix::rand::getrandom(&mut id[8..], rustix::rand::GetRandomFlags::empty());
    if drawn.is_err() {
        // Older than any kernel that has what else is needed.
        id[8..12].copy_from_slice(&std::process::id().to_be_bytes());
    }
    PeerId(id)
}

fn describe(state_dir: &Path) -> Description {
    Description { user: user::current_name(), state_dir: state_dir.display().to_string() }
}

/// The socket that systemd listens on for the agent.
fn inherited_socket() -> anyhow::Result<Option<UnixListener>> {
    listenfd::ListenFd::from_env().take_unix_listener(0).context("taking over systemd's socket")
}

/// A runtime that ends within [`END_GRACE`].
struct Bounded(Runtime);

fn runtime() -> anyhow::Result<Bounded> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_keep_alive(BLOCKING_THREAD_IDLE)
        .build()
        .context("starting the runtime")?;
    Ok(Bounded(runtime))
}

impl Bounded {
    fn block_on_and_end<T>(self, work: impl Future<Output = T>) -> T {
        let result = self.0.block_on(work);
        self.0.shutdown_timeout(END_GRACE);
        result
    }
}
