//! `pkgtorrent agent`: the process that downloads, keeps and shares.

use std::fs::File;
use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::control::listener;
use crate::engine::{Description, EVENTS_MAX, Engine, Event, SessionId};
use crate::files::StateDir;
use crate::log;
use crate::origin::Http;
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
pub fn run(settings: Settings, state_dir: &Path, is_detached: bool) -> anyhow::Result<()> {
    // Everything that needs root, and everything whose path only root may walk, comes before root is dropped.
    let owner = user::target_owner(&settings.user)?;
    let files = Arc::new(StateDir::open(state_dir, owner)?);
    let _lock = files.lock()?;
    let http = Http::new(&settings.origin)?;
    let callers = Callers::new(&settings.allowed_users, owner)?;
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
    let result = runtime()?.block_on_and_end(serve(settings, &files, http, callers, socket, is_detached));
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

async fn serve(
    settings: Settings,
    files: &Arc<StateDir>,
    http: Http,
    callers: Callers,
    socket: UnixListener,
    is_detached: bool,
) -> anyhow::Result<()> {
    let (events, queue) = mpsc::channel(EVENTS_MAX);
    let description = describe(files.path());
    tracing::info!(
        "agent {} runs as {} in {}",
        env!("CARGO_PKG_VERSION"),
        description.user,
        description.state_dir
    );
    let engine = engine(&settings, files, http, events.clone(), description)?;
    socket.set_nonblocking(true)?;
    let socket = tokio::net::UnixListener::from_std(socket)?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    // The terminal that it may have been started from is none of its business.
    let _hangup = signal(SignalKind::hangup())?;
    say_ready(is_detached)?;
    tokio::select! {
        () = engine.run(queue) => {}
        () = listener::listen(socket, callers, events) => {}
        _ = interrupt.recv() => tracing::info!("interrupted"),
        _ = terminate.recv() => tracing::info!("asked to end"),
    }
    Ok(())
}

/// Serves one command on a connection within this process, until that is closed.
pub fn serve_in_process(settings: Settings, files: StateDir, connection: UnixStream) -> anyhow::Result<()> {
    let http = Http::new(&settings.origin)?;
    let files = Arc::new(files);
    runtime()?.block_on_and_end(async move {
        let (events, queue) = mpsc::channel(EVENTS_MAX);
        let engine = engine(&settings, &files, http, events.clone(), describe(files.path()))?;
        connection.set_nonblocking(true)?;
        let connection = tokio::net::UnixStream::from_std(connection)?;
        let callers = Callers::new(&[], None)?;
        tokio::select! {
            () = engine.run(queue) => Ok(()),
            served = listener::serve(connection, SessionId(0), &callers, &events) => Ok(served?),
        }
    })
}

fn engine(
    settings: &Settings,
    files: &Arc<StateDir>,
    http: Http,
    events: mpsc::Sender<Event>,
    description: Description,
) -> anyhow::Result<Engine> {
    let store = Store::open(Arc::clone(files), settings.store.clone())?;
    // It only spreads hosts' second attempts over time: the clock and the process id are random enough.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seed = u64::from(now.subsec_nanos()) << 32 | u64::from(std::process::id());
    Ok(Engine::new(settings, store, http, events, seed, description))
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
