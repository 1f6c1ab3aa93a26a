//! A crowd: all hosts want packages at once, mostly the same.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::client::{Client, Download, Told};
use crate::lines::{Lines, Rate};
use crate::network::{Network, Station, Traffic};
use crate::origin::Origin;
use crate::usage::Tally;
use crate::wanted::Wanted;
use crate::web_seed::WebSeed;

/// How often it is looked whether a host is done: well below what a figure distinguishes.
const TICK: Duration = Duration::from_millis(10);

/// Every how many ticks memory and lines are looked at, which costs more.
const TICKS_PER_SURVEY: u32 = 20;

/// A crowd that takes so many times what each host would need for itself from the origin, one after the other, is stuck.
const PATIENCE: f64 = 2.0;

/// What a crowd may take beside that: starting, and noticing peers that are gone.
const PATIENCE_MORE: Duration = Duration::from_secs(60);

/// What is to happen.
#[derive(Debug, Clone, Copy)]
pub struct Crowd<'a> {
    network: &'a Network,
    wanted: &'a Wanted,
    sets: &'a [Wanted],
    directory: &'a Path,
    spread: Duration,
    lost: usize,
    second_wave: Option<(usize, Duration)>,
    lid: Option<Rate>,
}

impl<'a> Crowd<'a> {
    /// All hosts of a network want these packages at the same moment. What they download lies below `directory` while
    /// it lasts.
    #[must_use]
    pub fn new(network: &'a Network, wanted: &'a Wanted, directory: &'a Path) -> Self {
        let (spread, lost) = (Duration::ZERO, 0);
        Self { network, wanted, sets: &[], directory, spread, lost, second_wave: None, lid: None }
    }

    /// Each host has a set of its own, all of which make up what was said to be wanted.
    #[must_use]
    pub fn sets(mut self, sets: &'a [Wanted]) -> Self {
        self.sets = sets;
        self
    }

    /// The last so many hosts start so long after all others are done, which share what they have meanwhile.
    #[must_use]
    pub fn second_wave(mut self, hosts: usize, after: Duration) -> Self {
        self.second_wave = Some((hosts, after));
        self
    }

    /// The hosts start one after the other, evenly over this time.
    #[must_use]
    pub fn spread(mut self, spread: Duration) -> Self {
        self.spread = spread;
        self
    }

    /// The last so many hosts are lost when half of all bytes are there: their lines are cut, then they end.
    #[must_use]
    pub fn lose(mut self, hosts: usize) -> Self {
        self.lost = hosts;
        self
    }

    /// The service has this lid on what hosts take from it, and its web seed is looked at.
    #[must_use]
    pub fn lid(mut self, lid: Option<Rate>) -> Self {
        self.lid = lid;
        self
    }

    /// The lines, and no more of the origin's than the lid leaves.
    fn lines(&self) -> Lines {
        let lines = self.network.lines().clone();
        let origin = self.lid.filter(|lid| *lid < lines.origin).unwrap_or(lines.origin);
        lines.origin(origin)
    }

    /// Lets it happen. Fails unless every host that is not lost has the right bytes in the end.
    pub fn run(&self, client: Client) -> anyhow::Result<Outcome> {
        let directory = tempfile::tempdir_in(self.directory).context("a directory for a crowd")?;
        let station = self.network.origin();
        let sites = self.network.lines().far.is_some();
        let (wanted, sets, lid) = (self.wanted, self.sets, self.lid);
        let start = || Origin::start(client, station, sites, wanted, sets, directory.path(), lid);
        let origin = station.inside(start)??;
        let crossed_before = self.network.link_bytes()?;
        let before = (self.network.origin_traffic()?, origin.cpu_seconds()?);
        let sent_before = station.inside(|| origin.application_bytes())?;
        let mut run = Run::new(self, client, &origin, directory.path())?;
        run.until_all_are_done()?;
        let mut outcome = run.outcome()?;
        outcome.origin = since(self.network.origin_traffic()?, before.0);
        outcome.crossed = self.network.link_bytes()? - crossed_before;
        outcome.origin_cpu_seconds = origin.cpu_seconds()? - before.1;
        if client == Client::Pkgtorrent {
            let sent = station.inside(|| origin.application_bytes())?;
            outcome.application_bytes = sent.zip(sent_before).map(|(now, before)| now - before);
        }
        outcome.told = run.check()?;
        Ok(outcome)
    }

    /// What a host wants.
    fn wanted_by(&self, host: usize) -> &'a Wanted {
        self.sets.get(host).unwrap_or(self.wanted)
    }

    fn floor(&self) -> Duration {
        let wanted: Vec<u64> =
            (0..self.network.hosts().len()).map(|host| self.wanted_by(host).bytes()).collect();
        self.lines().floor_of(self.wanted.bytes(), &wanted)
    }
}

fn since(now: Traffic, before: Traffic) -> Traffic {
    Traffic { sent: now.sent - before.sent, received: now.received - before.received }
}

/// What has become of a host.
enum State {
    Waiting,
    Downloading,
    Done(Duration),
    Lost,
}

struct Host<'a> {
    station: &'a Station,
    download: Option<Box<dyn Download>>,
    tally: Tally,
    start: Duration,
    state: State,
}

impl Host<'_> {
    fn is_over(&self) -> bool {
        matches!(self.state, State::Done(_) | State::Lost)
    }

    /// Looks whether it is done. The processor time is read before: a process whose end was noticed has none.
    fn look(&mut self, since_start: Duration, survey: bool) -> anyhow::Result<()> {
        let Some(download) = &mut self.download else { return Ok(()) };
        let pids = download.pids();
        if survey {
            self.tally.look_at_memory(&pids);
        }
        if survey || matches!(self.state, State::Downloading) {
            self.tally.look_at_time(&pids);
        }
        let address = self.station.address();
        if matches!(self.state, State::Downloading)
            && download.is_complete().with_context(|| format!("the download of {address}"))?
        {
            self.state = State::Done(since_start);
        }
        Ok(())
    }

    fn lose(&mut self) -> anyhow::Result<()> {
        self.station.cut()?;
        if let Some(mut download) = self.download.take() {
            download.kill();
        }
        self.state = State::Lost;
        Ok(())
    }
}

/// A crowd that runs.
struct Run<'a> {
    crowd: &'a Crowd<'a>,
    client: Client,
    origin: &'a Origin,
    directory: &'a Path,
    hosts: Vec<Host<'a>>,
    before: Vec<Traffic>,
    are_lost: bool,
    /// What the web seed had sent when the first wave was done.
    second_wave: Option<u64>,
    web_seed: WebSeed,
    started: Instant,
}

impl<'a> Run<'a> {
    fn new(
        crowd: &'a Crowd<'a>,
        client: Client,
        origin: &'a Origin,
        directory: &'a Path,
    ) -> anyhow::Result<Self> {
        let stations = crowd.network.hosts();
        let count = stations.len() as u32;
        let first_wave = stations.len() - crowd.second_wave.map_or(0, |(hosts, _)| hosts);
        let hosts = (0_u32..).zip(stations).map(|(index, station)| Host {
            station,
            download: None,
            tally: Tally::default(),
            start: if (index as usize) < first_wave { crowd.spread * index / count } else { Duration::MAX },
            state: State::Waiting,
        });
        let hosts = hosts.collect();
        let before = crowd.network.host_traffic()?;
        let started = Instant::now();
        Ok(Self {
            crowd,
            client,
            origin,
            directory,
            hosts,
            before,
            are_lost: false,
            second_wave: None,
            web_seed: WebSeed::default(),
            started,
        })
    }

    fn until_all_are_done(&mut self) -> anyhow::Result<()> {
        let limit = self.limit();
        for tick in 0_u32.. {
            let survey = tick.is_multiple_of(TICKS_PER_SURVEY);
            self.start_due_hosts()?;
            self.begin_second_wave()?;
            if survey && self.crowd.lost > 0 && !self.are_lost {
                self.lose_hosts_half_way()?;
            }
            if survey && self.crowd.lid.is_some() {
                let sent = self.crowd.network.origin().inside(|| self.origin.web_seed_bytes())?;
                self.web_seed.look(self.started.elapsed(), sent.unwrap_or(0));
            }
            for host in &mut self.hosts {
                host.look(self.started.elapsed(), survey)?;
            }
            if self.hosts.iter().all(Host::is_over) {
                break;
            }
            if self.started.elapsed() > limit {
                let left = self.hosts.iter().filter(|host| !host.is_over()).count();
                bail!("{left} hosts of {} are not done within {limit:?}", self.hosts.len());
            }
            std::thread::sleep(TICK);
        }
        for host in &mut self.hosts {
            host.look(self.started.elapsed(), true)?;
        }
        Ok(())
    }

    fn limit(&self) -> Duration {
        let lines = self.crowd.lines();
        let bytes = self.crowd.wanted.bytes();
        let all_from_origin = bytes as f64 * self.hosts.len() as f64 / lines.origin.bytes_per_second();
        let seconds = PATIENCE * all_from_origin.max(lines.floor(bytes).as_secs_f64());
        let second_wave = self.crowd.second_wave.map_or(Duration::ZERO, |(_, after)| after);
        Duration::from_secs_f64(seconds) + self.crowd.spread + second_wave + PATIENCE_MORE
    }

    /// Once all others are done, the hosts of the second wave have a time to start.
    fn begin_second_wave(&mut self) -> anyhow::Result<()> {
        let Some((count, after)) = self.crowd.second_wave.filter(|_| self.second_wave.is_none()) else {
            return Ok(());
        };
        let first = self.hosts.len() - count;
        if self.hosts[..first].iter().all(Host::is_over) {
            let station = self.crowd.network.origin();
            let sent = station.inside(|| self.origin.web_seed_bytes())?.unwrap_or(0);
            let start = self.started.elapsed() + after;
            self.hosts[first..].iter_mut().for_each(|host| host.start = start);
            self.second_wave = Some(sent);
        }
        Ok(())
    }

    fn start_due_hosts(&mut self) -> anyhow::Result<()> {
        let (client, origin) = (self.client, self.origin);
        for (index, host) in self.hosts.iter_mut().enumerate() {
            let wanted = self.crowd.wanted_by(index);
            if !matches!(host.state, State::Waiting) || self.started.elapsed() < host.start {
                continue;
            }
            let station = host.station;
            let directory = self.directory.join(station.name());
            host.start = self.started.elapsed();
            host.state = State::Downloading;
            host.download = Some(station.inside(|| client.start(station, origin, wanted, &directory))??);
        }
        Ok(())
    }

    fn lose_hosts_half_way(&mut self) -> anyhow::Result<()> {
        let before: u64 = self.before.iter().map(|traffic| traffic.received).sum();
        let half = self.crowd.wanted.bytes() * self.hosts.len() as u64 / 2;
        if self.crowd.network.received_by_hosts()? - before < half {
            return Ok(());
        }
        self.are_lost = true;
        let first = self.hosts.len() - self.crowd.lost.min(self.hosts.len());
        self.hosts[first..].iter_mut().try_for_each(Host::lose)
    }

    fn outcome(&self) -> anyhow::Result<Outcome> {
        let traffic = self.crowd.network.host_traffic()?;
        let traffic = traffic.into_iter().zip(&self.before).map(|(now, &before)| since(now, before));
        let hosts = self.hosts.iter().zip(traffic).map(|(host, traffic)| HostOutcome {
            took: match host.state {
                State::Done(at) => Some(at - host.start),
                _ => None,
            },
            traffic,
            peak_memory: host.tally.peak_memory(),
        });
        Ok(Outcome {
            client: self.client,
            bytes: self.crowd.wanted.bytes(),
            floor: self.crowd.floor(),
            hosts: hosts.collect(),
            origin: Traffic::default(),
            crossed: 0,
            application_bytes: None,
            second_wave_bytes: self.second_wave_bytes()?,
            cpu_seconds: self.hosts.iter().map(|host| host.tally.cpu_seconds()).sum(),
            origin_cpu_seconds: 0.0,
            told: None,
            web_seed: self.web_seed.clone(),
        })
    }

    /// What the web seed has sent since the first wave was done.
    fn second_wave_bytes(&self) -> anyhow::Result<Option<u64>> {
        let sent = self.crowd.network.origin().inside(|| self.origin.web_seed_bytes())?;
        Ok(sent.zip(self.second_wave).map(|(now, before)| now - before))
    }

    /// Compares what is on the disks with the mirror. Says what the hosts do.
    fn check(&mut self) -> anyhow::Result<Option<Told>> {
        let mut sum = None;
        for (index, host) in self.hosts.iter_mut().enumerate() {
            let Some(download) = host.download.take() else { continue };
            let told = download.check(self.crowd.wanted_by(index));
            let told = told.with_context(|| format!("the download of {}", host.station.address()))?;
            if let Some(told) = told {
                sum.get_or_insert(Told::default()).add(&told);
            }
        }
        Ok(sum)
    }
}

/// What became of one host.
#[derive(Debug, Clone, Copy)]
pub struct HostOutcome {
    /// From its program's start until it had everything; `None` if it was lost.
    pub took: Option<Duration>,
    /// What its line carried meanwhile.
    pub traffic: Traffic,
    /// The most memory that one of its processes had.
    pub peak_memory: u64,
}

/// What a crowd took.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What it was made of.
    pub client: Client,
    /// The size of what any host wanted.
    pub bytes: u64,
    /// How long it had to take at least.
    pub floor: Duration,
    /// The hosts, the straggler first and the lost ones last.
    pub hosts: Vec<HostOutcome>,
    /// What the origin's line carried.
    pub origin: Traffic,
    /// What the line between the sites carried, both ways together.
    pub crossed: u64,
    /// What the service says that it sent: plans, info dictionaries, answers to announces, and packages. Of our own crowds only.
    pub application_bytes: Option<u64>,
    /// What the web seed sent after the first of two waves. Of our own crowds only.
    pub second_wave_bytes: Option<u64>,
    /// The processor time of all hosts' processes.
    pub cpu_seconds: f64,
    /// The processor time of the origin's processes.
    pub origin_cpu_seconds: f64,
    /// What the hosts that were not lost say, together. Of our own crowds only.
    pub told: Option<Told>,
    /// What the web seed sent when, if there was a lid.
    pub web_seed: WebSeed,
}

impl Outcome {
    /// How long each host took that was not lost, ascending.
    fn sorted(&self) -> Vec<Duration> {
        let mut times: Vec<Duration> = self.hosts.iter().filter_map(|host| host.took).collect();
        times.sort_unstable();
        times
    }

    /// How long the slowest host took.
    #[must_use]
    pub fn last(&self) -> Duration {
        self.sorted().last().copied().unwrap_or_default()
    }

    /// How long the host in the middle took.
    #[must_use]
    pub fn median(&self) -> Duration {
        let times = self.sorted();
        times.get(times.len() / 2).copied().unwrap_or_default()
    }

    /// How many times the packages left the origin, with the heads of all packets.
    #[must_use]
    pub fn copies(&self) -> f64 {
        self.origin.sent as f64 / self.bytes as f64
    }

    /// How many times the packages went over the line between the sites, with the heads of all packets.
    #[must_use]
    pub fn crossed_copies(&self) -> f64 {
        self.crossed as f64 / self.bytes as f64
    }

    /// How many times the packages left the service as bytes of its answers.
    #[must_use]
    pub fn application_copies(&self) -> Option<f64> {
        Some(self.application_bytes? as f64 / self.bytes as f64)
    }

    /// What the hosts said to each other beside blocks of packages, as a part of those blocks. What one sends another
    /// receives, so that their sum is what passes both ways.
    #[must_use]
    pub fn messages_share(&self) -> Option<f64> {
        let told = self.told?;
        Some(told.messages.sent as f64 / told.from.peers as f64)
    }

    /// The share of what all hosts received that did not come from the origin.
    #[must_use]
    pub fn share_from_peers(&self) -> f64 {
        let received: u64 = self.hosts.iter().map(|host| host.traffic.received).sum();
        1.0 - (self.origin.sent as f64 / received as f64).min(1.0)
    }

    /// The most memory that a process of a host had.
    #[must_use]
    pub fn peak_memory(&self) -> u64 {
        self.hosts.iter().map(|host| host.peak_memory).max().unwrap_or_default()
    }
}
