//! The live swarms as they were within the last second: however many people look, the registry is asked once.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pkgtorrent_tracker::SwarmOverview;

use crate::bundle::Bundle;
use crate::flights::Flights;
use crate::registry::{Busy, Registry, RegistryHandle};

/// How old what is shown may be.
const AGE_MAX: Duration = Duration::from_secs(1);

/// The most swarms that are looked at: as many as the tracker knows bundles.
const SWARMS_MAX: usize = 10_000;

/// All live swarms at one moment.
#[derive(Debug)]
pub(crate) struct Live {
    /// Those with peers, the one with the most first.
    pub(crate) swarms: Vec<(SwarmOverview, Arc<Bundle>)>,
    /// How many bundles there are, with and without peers.
    pub(crate) bundles: usize,
}

type Seen = Result<Arc<Live>, Busy>;

/// Who is asked for them.
pub(crate) struct LiveSwarms {
    registry: RegistryHandle,
    last: Mutex<Option<(Instant, Arc<Live>)>>,
    looking: Arc<Flights<(), Seen>>,
}

impl LiveSwarms {
    pub(crate) fn new(registry: RegistryHandle) -> Arc<Self> {
        Arc::new(Self { registry, last: Mutex::new(None), looking: Flights::new() })
    }

    /// The live swarms, at most a second old.
    pub(crate) async fn get(self: &Arc<Self>) -> Seen {
        if let Some(live) = self.fresh() {
            return Ok(live);
        }
        let (result, flight) = self.looking.join(());
        if let Some(flight) = flight {
            let own = Arc::clone(self);
            // A task of its own: the first to ask may go away, the others still want to see.
            tokio::spawn(async move {
                let live = own.registry.run(look).await.map(Arc::new);
                if let Ok(live) = &live {
                    let mut last = own.last.lock().unwrap_or_else(PoisonError::into_inner);
                    *last = Some((Instant::now(), Arc::clone(live)));
                }
                flight.land(live);
            });
        }
        result.await.unwrap_or(Err(Busy))
    }

    fn fresh(&self) -> Option<Arc<Live>> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, live) = last.as_ref().filter(|(seen, _)| seen.elapsed() < AGE_MAX)?;
        Some(Arc::clone(live))
    }
}

fn look(registry: &mut Registry) -> Live {
    let overviews = registry.tracker.busiest_swarms(SWARMS_MAX);
    let with_bundle = |swarm: SwarmOverview| Some((swarm, registry.bundle(&swarm.info_hash)?));
    let swarms = overviews.into_iter().filter_map(with_bundle).collect();
    Live { swarms, bundles: registry.bundles() }
}
