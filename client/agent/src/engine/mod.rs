//! The engine: the one owner of everything that the agent knows.
//!
//! *Participants*: commands, each over a [`Session`]; services, which are asked for plans and hear announces; web seeds,
//! which are read from; other hosts, each over a connection of [`crate::peer`]; the [`Store`]; and the [`Swarm`], which
//! decides what is asked from whom.
//!
//! Tasks do the waiting: they speak with commands, services and web seeds, hash and write, and tell the engine what came
//! of it as an [`Event`]. Only the engine's loop changes state, so nothing here has a lock.
//!
//! A digest that somebody wants is in `wanted` until it is in the store or cannot be had, however many want it. Its way:
//! a plan is asked for ([`plans`]), the bundle's info dictionary is read ([`bundles`]), the package is downloaded ([`downloads`]), its
//! digest is checked, and it is passed to those who wait ([`passing`]).

mod adding;
mod announcing;
mod bundles;
mod connections;
mod decisions;
mod downloads;
mod event;
mod following;
mod giving;
mod installs;
mod lifetime;
mod measuring;
mod network;
mod passing;
mod pieces;
mod plans;
mod reporting;
mod request;
mod session;
mod setback;
mod sharing;
mod status;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pkgtorrent_protocol::report::Ledger;
use pkgtorrent_protocol::socket::{ALIVE_INTERVAL, Answer, Need, Request};
use pkgtorrent_protocol::{HostGroup, InfoHash, PackageDigest, PeerId, Sha256Digest};
use pkgtorrent_swarm::{BundleId, RequestId, Swarm};
use rand_pcg::Pcg64Mcg;
use tokio::sync::{Semaphore, mpsc};

pub use event::{Caller, Event, Outgoing, SessionId};
pub(crate) use session::ANSWERS_MAX;

use self::announcing::Tracker;
use self::bundles::{Bundle, WebSeed};
use self::downloads::{Download, Running};
use self::event::{PlanId, Task, TaskEvent};
use self::giving::OpenPackages;
use self::installs::Installs;
use self::lifetime::Lifetime;
use self::measuring::Failures;
use self::network::Network;
use self::plans::{PlanAsked, Slow};
use self::request::{UNWRITTEN_KIB_MAX, Yard};
use self::session::{Session, Sessions};
use self::setback::Setback;
use self::sharing::Sharing;
use crate::origin::Http;
use crate::peer::{self, Peers};
use crate::records::Records;
use crate::settings::Settings;
use crate::store::Store;

/// Events that wait for the engine. Tasks wait when it is full, and with them their sockets.
pub const EVENTS_MAX: usize = 1024;

/// A package is given up after so many requests in a row that brought none of it, and a web seed after so many that
/// brought nothing at all. With the time that a request may stall, a web seed that accepts connections and never
/// answers is given up within the half minute that the package manager's plugin waits for something new.
const ATTEMPTS_MAX: u32 = 3;
const SOURCE_FAILURES_MAX: u32 = 4;

/// How often commands are told of progress: as often as a person can see.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// How long a download that nobody waits for any more goes on: long enough for a command that was interrupted to be
/// started again.
const UNWANTED_GRACE: Duration = Duration::from_secs(10);

/// How often the engine looks at what only time changes.
const TICK_INTERVAL: Duration = Duration::from_secs(1);

/// Somebody wants this digest and it is not in the store.
#[derive(Debug)]
struct Wanted {
    size: u64,
    name: String,
    waiters: Vec<(SessionId, usize)>,
    /// When the last waiter left.
    unwanted_since: Option<Instant>,
    state: WantedState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WantedState {
    /// A service was asked where it is.
    Planning(PlanId),
    /// Its bundle's info dictionary is being read.
    Joining(BundleId),
    /// It is being downloaded under its identity.
    Downloading(Sha256Digest),
}

/// The agent's state.
pub struct Engine {
    store: Store,
    swarm: Swarm,
    yard: Yard,
    lifetime: Lifetime,
    sharing: Sharing,
    group: Option<HostGroup>,
    sessions: Sessions,
    wanted: HashMap<PackageDigest, Wanted>,
    plans: HashMap<PlanId, PlanAsked>,
    slow_services: HashMap<String, Slow>,
    bundles: HashMap<BundleId, Bundle>,
    bundle_ids: HashMap<InfoHash, BundleId>,
    web_seeds: Vec<WebSeed>,
    downloads: HashMap<Sha256Digest, Download>,
    open: OpenPackages,
    running: HashMap<RequestId, Running>,
    network: Network,
    trackers: Vec<Tracker>,
    /// Whether services are told what this host does.
    is_reporting: bool,
    random: Pcg64Mcg,
    installs: Installs,
    /// Where the bytes of this run came from, and how many went to others.
    ledger: Ledger,
    failures: Failures,
    started: Instant,
    ticked: Instant,
    progress_told: Instant,
    alive_told: Instant,
    /// Whether memory was taken since it was last given back.
    was_busy: bool,
    next_plan: u64,
    next_bundle: u32,
    description: Description,
}

/// What `status` says that never changes.
#[derive(Debug, Clone, Default)]
pub struct Description {
    /// The user that the agent runs as.
    pub user: String,
    /// Its state directory.
    pub state_dir: String,
}

/// Who this agent is among its peers.
#[derive(Debug)]
pub struct Identity {
    /// The connections to them.
    pub peers: Peers,
    /// Its name.
    pub peer_id: PeerId,
    /// The port on which it listens, if it does.
    pub port: Option<u16>,
    /// For all that is random.
    pub seed: u64,
}

impl Engine {
    /// An engine with this store. It hears what `events` is the other end of, and sends its own tasks' events there.
    #[must_use]
    pub fn new(
        settings: &Settings,
        store: Store,
        http: Http,
        events: mpsc::Sender<Event>,
        identity: Identity,
        description: Description,
        records: Option<Records>,
    ) -> Self {
        let Identity { peers, peer_id, port, seed } = identity;
        let now = Instant::now();
        let swarm = Swarm::new(
            pkgtorrent_swarm::Settings {
                origin_connections: settings.origin.connections,
                attempts_max: ATTEMPTS_MAX,
                source_failures_max: SOURCE_FAILURES_MAX,
                ..pkgtorrent_swarm::Settings::default()
            },
            seed,
        );
        Self {
            store,
            swarm,
            yard: Yard { http, unwritten: Arc::new(Semaphore::new(UNWRITTEN_KIB_MAX)), events },
            lifetime: Lifetime::new(settings.seeding.min, settings.idle_timeout, now),
            sharing: Sharing::new(settings),
            group: settings.group.clone(),
            sessions: Sessions::new(),
            wanted: HashMap::new(),
            plans: HashMap::new(),
            slow_services: HashMap::new(),
            bundles: HashMap::new(),
            bundle_ids: HashMap::new(),
            web_seeds: Vec::new(),
            downloads: HashMap::new(),
            open: OpenPackages::default(),
            running: HashMap::new(),
            network: Network::new(peers, peer_id, port, settings.peers.connections_max),
            trackers: Vec::new(),
            is_reporting: settings.reports,
            random: Pcg64Mcg::new(u128::from(seed)),
            installs: Installs::new(records, now),
            ledger: Ledger::default(),
            failures: Failures::default(),
            started: now,
            ticked: now,
            progress_told: now,
            alive_told: now,
            was_busy: false,
            next_plan: 0,
            next_bundle: 0,
            description,
        }
    }

    /// Runs until it was told to stop, or has had nothing to do for long enough.
    pub async fn run(
        &mut self,
        mut events: mpsc::Receiver<Event>,
        mut of_peers: mpsc::Receiver<peer::Event>,
    ) {
        loop {
            let wake_at = self.wake_at();
            tokio::select! {
                event = events.recv() => match event {
                    // The end of the connection, which is that of the process, is the answer.
                    Some(Event::Asked { request: Request::Stop, .. }) => {
                        tracing::info!("told to stop");
                        return;
                    }
                    Some(event) => self.handle(event),
                    None => return,
                },
                Some(event) = of_peers.recv() => self.peer_said(event),
                () = tokio::time::sleep_until(wake_at.into()) => self.tick(),
            }
            self.flush();
            if self.lifetime.is_over(Instant::now(), self.shares_until(), self.is_busy()) {
                tracing::info!("nothing to do and nobody asked for anything: ending");
                return;
            }
        }
    }

    fn is_busy(&self) -> bool {
        !self.wanted.is_empty()
            || self.sessions.values().any(|session| session.is_waiting() || session.is_adding)
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// When the engine has to look again although nothing happened.
    fn wake_at(&self) -> Instant {
        // Counted from the last time: events that come more often than this must not put it off for ever.
        let mut wake = self.ticked + TICK_INTERVAL;
        let due = self.announce_at().into_iter().chain(self.info_at()).chain(self.watch_at());
        wake = due.fold(wake, Instant::min);
        if !self.downloads.is_empty() {
            wake = wake.min(self.progress_told + PROGRESS_INTERVAL);
        }
        match self.swarm.wake_at() {
            Some(at) => wake.min(self.started + at),
            None => wake,
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Connected { session, caller, answers } => {
                self.lifetime.connected();
                self.was_busy = true;
                self.sessions.insert(session, Session::new(caller, answers));
            }
            Event::Asked { session, request, file } => self.asked(session, request, file),
            Event::Reloaded { settings, http } => self.reloaded(&settings, http),
            Event::Measured { answer } => {
                // Whoever asked may have gone away.
                let _ = answer.send(self.metrics());
            }
            Event::Closed { session } => self.closed(session),
            Event::Task(TaskEvent(task)) => self.task_said(task),
        }
        self.tell_progress();
    }

    /// Goes by other settings, as far as they do not take a restart.
    fn reloaded(&mut self, settings: &Settings, http: Http) {
        self.store.set_limits(settings.store.clone());
        self.lifetime.set_times(settings.seeding.min, settings.idle_timeout);
        self.sharing.reload(settings);
        self.look_at_hours();
        self.network.peers.limit_download(settings.peers.download_limit);
        self.group.clone_from(&settings.group);
        self.is_reporting = settings.reports;
        self.yard.http = http;
        self.store.tidy(&self.needs());
    }

    fn asked(&mut self, id: SessionId, request: Request, file: Option<std::os::fd::OwnedFd>) {
        match request {
            Request::Fetch { services, wants, needs } => self.fetch(id, services, &wants, needs),
            Request::Taken { index, failed } => self.taken(id, index, failed),
            Request::Rejected { index } => self.rejected(id, index),
            Request::Add { index, digest } => self.add(id, index, digest, file),
            Request::Status => self.say_status(id),
            Request::List => self.say_list(id),
            Request::Verify => self.verify(id),
            // The connection has dealt with the first, the loop with the second.
            Request::Hello { .. } | Request::Stop => {}
        }
    }

    fn task_said(&mut self, task: Task) {
        self.failures.count(&task);
        match task {
            Task::Planned { plan, result, took } => self.planned(plan, result, took),
            Task::Informed { bundle, service, result, took } => {
                self.informed(bundle, service, result, took);
            }
            Task::InfoRead { bundle, result } => self.info_read(bundle, result),
            Task::Announced { asked, result } => self.announced(&asked, result),
            Task::Assembled(assembled) => self.assembled(assembled),
            Task::Read(read) => self.block_read(read),
            Task::Resumed { partial, result } => self.resumed(&partial, result),
            Task::Arrived { request, partial, at, pieces } => {
                self.arrived(request, &partial, at, pieces);
            }
            Task::Unwritable { request, error } => self.unwritable(request, &error),
            Task::Ended { request, outcome, reason } => self.request_ended(request, outcome, reason),
            Task::Sealed { partial, result } => self.sealed(&partial, result),
            Task::Added { session, index, result } => self.added(session, index, result),
            Task::Judged { session, index, identity, result } => {
                self.judged(session, index, identity, matches!(result, Ok(true)));
            }
            Task::Checked { session, identity, result } => self.checked(session, identity, result),
        }
    }

    fn tick(&mut self) {
        let now = Instant::now();
        self.ticked = now;
        self.tell_swarm(pkgtorrent_swarm::Event::Tick);
        self.watch_installs(now);
        self.drop_unwanted(now);
        self.leave_shared();
        self.look_at_hours();
        self.announce_due();
        self.dial_again();
        self.ask_for_infos();
        self.tell_progress();
        if now.duration_since(self.alive_told) >= Duration::from_secs(ALIVE_INTERVAL) {
            self.alive_told = now;
            for session in self.sessions.values() {
                session.send(Answer::Alive, None);
            }
            self.tell_waiting();
        }
        let is_busy = !self.sessions.is_empty() || self.is_busy();
        if !is_busy && self.was_busy {
            crate::memory::give_back_what_is_free();
        }
        self.was_busy = is_busy;
    }

    /// A connection is over: what it alone wanted is no longer wanted.
    fn closed(&mut self, id: SessionId) {
        let now = Instant::now();
        self.lifetime.disconnected(now);
        let Some(mut session) = self.sessions.remove(&id) else { return };
        for identity in session.pinned() {
            self.store.unpin(&identity);
        }
        self.interrupt_install(&mut session);
        for wanted in self.wanted.values_mut() {
            wanted.waiters.retain(|(waiter, _)| *waiter != id);
            if wanted.waiters.is_empty() && wanted.unwanted_since.is_none() {
                wanted.unwanted_since = Some(now);
            }
        }
        self.plans_given_up();
        self.put_off_additions(id, session);
    }

    /// What must stay free for the package managers of all that wait.
    fn needs(&self) -> Vec<Need> {
        self.sessions.values().flat_map(Session::needs).collect()
    }

    /// A want is not to be had: everyone who waits for it is told.
    fn fail(&mut self, digest: &PackageDigest, setback: &Setback) {
        let Some(wanted) = self.wanted.remove(digest) else { return };
        tracing::debug!("{}: {}", wanted.name, setback.text);
        for (id, index) in wanted.waiters {
            if let Some(session) = self.sessions.get_mut(&id) {
                session.fail(index, setback);
            }
            self.end_if_over(id);
        }
    }

    /// Says the last word once nothing is open.
    fn end_if_over(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get(&id)
            && !session.is_waiting()
        {
            session.send(Answer::End, None);
            self.end_install(id);
        }
    }
}
