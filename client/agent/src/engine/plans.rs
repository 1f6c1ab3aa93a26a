//! Asking services where packages are.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use pkgtorrent_protocol::PackageDigest;
use pkgtorrent_protocol::PackageSet;
use pkgtorrent_protocol::plan::AskerQuery;
use pkgtorrent_protocol::report::FallbackReason;
use pkgtorrent_protocol::socket::{Answer, Need, Want};
use pkgtorrent_swarm::BundleId;

use super::event::{PlanId, Task};
use super::setback::Setback;
use super::{Engine, SessionId, Wanted, WantedState};
use crate::origin::{CheckedPlan, PlanError, ServiceUrl, ask};

/// A service that took longer than this to fail is not asked again for [`SLOW_REST`].
const SLOW_MIN: Duration = Duration::from_secs(1);

/// How long a service that failed slowly is left alone: one that drops packets must not cost every transaction of a
/// script its whole time limit.
const SLOW_REST: Duration = Duration::from_secs(15);

/// The largest package that is taken: no repository has one of a terabyte, and lengths add up without overflow.
const PACKAGE_LEN_MAX: u64 = 1 << 40;

/// The most plans that are asked for at once.
const PLANS_MAX: usize = 256;

/// A plan that was asked for.
#[derive(Debug)]
pub(super) struct PlanAsked {
    pub(super) service: String,
    pub(super) set: PackageSet,
    pub(super) since: Instant,
    /// The bundle whose packages have another home now, if that is what it is asked for.
    pub(super) following: Option<BundleId>,
}

/// A service that failed slowly.
#[derive(Debug)]
pub(super) struct Slow {
    until: Instant,
    reason: String,
}

impl Engine {
    /// A command wants packages.
    pub(super) fn fetch(&mut self, id: SessionId, services: Vec<String>, wants: &[Want], needs: Vec<Need>) {
        self.lifetime.used(Instant::now());
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if let Err(reason) = session.want(wants.to_vec(), needs) {
            session.send(Answer::Refused { reason: reason.into() }, None);
            return;
        }
        session.services = services;
        for (index, want) in wants.iter().enumerate() {
            self.look_in_store(id, index, want);
        }
        // After that, so that nothing leaves that this transaction wants.
        self.store.tidy(&self.needs());
        self.ask_services(id);
        self.pass_on(id);
        self.end_if_over(id);
    }

    fn look_in_store(&mut self, id: SessionId, index: usize, want: &Want) {
        let Some(identity) = self.store.find(&want.digest) else { return };
        let reason = match self.store.size(&identity) {
            Some(size) if size == want.size => {
                self.whole_for(id, index, identity, super::passing::from_store(size));
                return;
            }
            Some(size) => format!("a package of this digest has {size} bytes, not {}", want.size),
            None => return,
        };
        if let Some(session) = self.sessions.get_mut(&id) {
            session.fail(index, &Setback::wrong(reason));
        }
    }

    /// Asks the session's services for what it still waits for.
    fn ask_services(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get(&id) else { return };
        let mut by_service: BTreeMap<usize, Vec<(usize, Want)>> = BTreeMap::new();
        for (index, want) in session.waited_for() {
            by_service.entry(want.service).or_default().push((index, want.clone()));
        }
        for (service, wants) in by_service {
            self.ask_service(id, service, wants);
        }
    }

    /// A package is to be fetched although it was there a moment ago.
    pub(super) fn fetch_again(&mut self, id: SessionId, index: usize, want: &Want) {
        self.ask_service(id, want.service, vec![(index, want.clone())]);
    }

    /// Asks a service for those of these packages that nobody has asked for. The question names the session's whole
    /// set, as every host with this set does, so that the service has seen it.
    fn ask_service(&mut self, id: SessionId, service: usize, wants: Vec<(usize, Want)>) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Some(url) = session.services.get(service).cloned() else {
            for (index, _) in wants {
                session.fail(index, &Setback::no_plan("no service was named for it"));
            }
            return;
        };
        let set = session.set_of(service);
        if let Ok(set) = PackageSet::new(set.clone()) {
            self.set_is_asked_for(id, set.digest());
        }
        let plan = PlanId(self.next_plan);
        self.next_plan += 1;
        let mut is_new = false;
        for (index, want) in wants {
            is_new |= self.wait_for(id, index, &want, plan);
        }
        if !is_new {
            return;
        }
        match self.question(&url, set) {
            Ok((service_url, set)) => {
                let since = Instant::now();
                let asked = PlanAsked { service: url, set: set.clone(), since, following: None };
                self.plans.insert(plan, asked);
                self.spawn_question(plan, service_url, set, self.asker());
            }
            Err(reason) => self.fail_plan(plan, &Setback::no_plan(reason)),
        }
    }

    pub(super) fn question(
        &self,
        url: &str,
        set: Vec<PackageDigest>,
    ) -> Result<(ServiceUrl, PackageSet), String> {
        if let Some(slow) = self.slow_services.get(url).filter(|slow| slow.until > Instant::now()) {
            return Err(format!("{} (a moment ago)", slow.reason));
        }
        if self.plans.len() >= PLANS_MAX {
            return Err("too many sets are asked for at once".into());
        }
        let service_url = ServiceUrl::parse(url).map_err(|error| error.to_string())?;
        let set = PackageSet::new(set).map_err(|error| error.to_string())?;
        Ok((service_url, set))
    }

    /// Who is not listened for joins no swarm: nobody could come to it, and nothing would be leased to it for long.
    fn asker(&self) -> AskerQuery {
        match self.network.port {
            Some(port) => AskerQuery {
                port: Some(port).filter(|_| self.sharing.is_open()),
                peer_id: Some(self.network.id),
                group: self.group.clone(),
                ..AskerQuery::default()
            },
            None => AskerQuery { group: self.group.clone(), ..AskerQuery::default() },
        }
    }

    pub(super) fn spawn_question(
        &self,
        plan: PlanId,
        service: ServiceUrl,
        set: PackageSet,
        asker: AskerQuery,
    ) {
        let yard = self.yard.clone();
        tokio::spawn(async move {
            let started = Instant::now();
            let result = ask(&yard.http, &service, &set, asker).await.map(Box::new);
            let _ = yard.events.send(Task::Planned { plan, result, took: started.elapsed() }.into()).await;
        });
    }

    /// Enters a waiter for a digest. True if nobody had wanted it before, so that this plan is the one to find it.
    fn wait_for(&mut self, id: SessionId, index: usize, want: &Want, plan: PlanId) -> bool {
        let setback = match self.wanted.get_mut(&want.digest) {
            Some(wanted) if wanted.size == want.size => {
                wanted.waiters.push((id, index));
                wanted.unwanted_since = None;
                return wanted.state == WantedState::Planning(plan);
            }
            Some(wanted) => {
                let size = wanted.size;
                Setback::wrong(format!(
                    "somebody else wants the same digest with {size} bytes, not {}",
                    want.size
                ))
            }
            None if want.size == 0 || want.size > PACKAGE_LEN_MAX => {
                Setback::other(format!("{} bytes is no size that a package can have", want.size))
            }
            None => {
                let wanted = Wanted {
                    size: want.size,
                    name: want.name.clone(),
                    waiters: vec![(id, index)],
                    unwanted_since: None,
                    state: WantedState::Planning(plan),
                };
                self.wanted.insert(want.digest, wanted);
                return true;
            }
        };
        if let Some(session) = self.sessions.get_mut(&id) {
            session.fail(index, &setback);
        }
        false
    }

    /// A service has answered.
    pub(super) fn planned(
        &mut self,
        id: PlanId,
        result: Result<Box<CheckedPlan>, PlanError>,
        took: Duration,
    ) {
        let Some(asked) = self.plans.remove(&id) else { return };
        let plan = match result {
            Ok(plan) => plan,
            Err(error) => {
                let setback = Setback::no_plan(error.to_string());
                self.rest_if_slow(asked.service, &error, took);
                if let Some(bundle) = asked.following {
                    self.not_followed(bundle);
                }
                self.fail_plan(id, &setback);
                return;
            }
        };
        self.slow_services.remove(&asked.service);
        self.announced_by_plan(&plan.announce, plan.policy);
        let digests = asked.set.packages();
        for bundle in &plan.bundles {
            let in_set = |(nth, file): &(usize, u32)| Some((*digests.get(*nth)?, *file));
            let packages: Vec<(PackageDigest, u32)> = bundle.files.iter().filter_map(in_set).collect();
            let state = WantedState::Planning(id);
            let is_wanted =
                |digest: &PackageDigest| self.wanted.get(digest).is_some_and(|wanted| wanted.state == state);
            let wanted: Vec<(PackageDigest, u32)> =
                packages.iter().filter(|(digest, _)| is_wanted(digest)).copied().collect();
            if wanted.is_empty() {
                self.share_stored(&plan, bundle, packages, &asked.service);
            } else {
                self.join(&plan, bundle, wanted, packages, &asked.service);
            }
        }
        self.share_for(&plan, &asked);
        self.fail_plan(id, &Setback::new(FallbackReason::Unknown, "the service does not have it"));
    }

    /// A command has gone while a service still thought about its packages: the package manager's patience is over, and
    /// is not to be tried again in a moment. The answer, if there is one, ends the rest.
    pub(super) fn plans_given_up(&mut self) {
        let slow: Vec<PlanId> = self
            .plans
            .iter()
            .filter(|(_, asked)| asked.since.elapsed() > SLOW_MIN)
            .map(|(id, _)| *id)
            .filter(|id| self.is_unwanted(*id))
            .collect();
        for id in slow {
            let Some(asked) = self.plans.get(&id) else { continue };
            let (service, waited) = (asked.service.clone(), asked.since.elapsed().as_secs());
            self.leave_alone(service.clone(), format!("{service}: no answer within {waited} s"));
            self.fail_plan(id, &Setback::no_plan("nobody waits for the service's answer"));
        }
    }

    /// Whether a plan was to find something, and nobody waits for any of it.
    fn is_unwanted(&self, id: PlanId) -> bool {
        let mut of_plan = self.wanted.values().filter(|it| it.state == WantedState::Planning(id)).peekable();
        of_plan.peek().is_some() && of_plan.all(|wanted| wanted.waiters.is_empty())
    }

    /// A service has failed to answer, or to say what is in a bundle of its plan.
    pub(super) fn rest_if_slow(&mut self, service: String, error: &PlanError, took: Duration) {
        if took > SLOW_MIN {
            self.leave_alone(service, error.to_string());
        }
    }

    fn leave_alone(&mut self, service: String, reason: String) {
        let now = Instant::now();
        self.slow_services.retain(|_, slow| slow.until > now);
        self.slow_services.insert(service, Slow { until: now + SLOW_REST, reason });
    }

    /// Whatever this plan was to find, and did not, is failed.
    fn fail_plan(&mut self, id: PlanId, setback: &Setback) {
        let state = WantedState::Planning(id);
        let lost: Vec<PackageDigest> = self
            .wanted
            .iter()
            .filter(|(_, wanted)| wanted.state == state)
            .map(|(digest, _)| *digest)
            .collect();
        if !lost.is_empty() {
            tracing::warn!("{} packages are left to the package manager: {}", lost.len(), setback.text);
        }
        for digest in lost {
            self.fail(&digest, setback);
        }
    }
}
