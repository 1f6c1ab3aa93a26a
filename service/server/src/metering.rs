//! What the service counts: every metric's name, kind and meaning in one place.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{Counter, CounterFn, Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};

/// Bounds of the planning time's buckets, in seconds: around what a cached plan, a new one, and a build take.
const PLAN_SECONDS: &[f64] = &[0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];

/// Makes this process's metrics; it can be done once.
pub(crate) fn install() -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new().set_buckets(PLAN_SECONDS)?.install_recorder()?;
    for (name, meaning) in COUNTERS {
        describe_counter!(*name, *meaning);
        // A counter that nothing has happened to is zero, not absent.
        metrics::counter!(*name).increment(0);
    }
    for (name, meaning) in GAUGES {
        describe_gauge!(*name, *meaning);
    }
    describe_histogram!(
        "pkgtorrent_plan_seconds",
        Unit::Seconds,
        "time to answer for a plan, once its question is read"
    );
    Ok(handle)
}

/// What the web seed has sent: a metric that the lid has to know as well.
#[derive(Debug)]
pub(crate) struct Sent {
    bytes: AtomicU64,
    metric: Counter,
}

impl Sent {
    pub(crate) fn new() -> Self {
        Self { bytes: AtomicU64::new(0), metric: metrics::counter!("pkgtorrent_webseed_bytes_total") }
    }

    pub(crate) fn get(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// What answers count with.
    pub(crate) fn counter(self: &Arc<Self>) -> Counter {
        Counter::from_arc(Arc::clone(self))
    }
}

impl CounterFn for Sent {
    fn increment(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.metric.increment(bytes);
    }

    fn absolute(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
        self.metric.absolute(bytes);
    }
}

const COUNTERS: &[(&str, &str)] = &[
    ("pkgtorrent_plans_total", "plans that were answered"),
    ("pkgtorrent_plan_bytes_total", "bytes of plans"),
    ("pkgtorrent_sets_planned_total", "plannings: equal questions share one"),
    ("pkgtorrent_sets_not_remembered_total", "sets that were not stored because too many are"),
    ("pkgtorrent_bundles_built_total", "bundles that were formed"),
    ("pkgtorrent_info_bytes_total", "bytes of info dictionaries"),
    ("pkgtorrent_webseed_bytes_total", "bytes of packages and padding handed to connections by the web seed"),
    ("pkgtorrent_mirror_bytes_total", "bytes of files handed to connections by the mirror"),
    ("pkgtorrent_announce_bytes_total", "bytes of answers to announces"),
    ("pkgtorrent_announces_total", "announces, one for each swarm"),
    ("pkgtorrent_announces_refused_total", "announces that got no peers"),
    ("pkgtorrent_reports_total", "reports of hosts about themselves that were counted"),
    (
        "pkgtorrent_reports_ignored_total",
        "reports that were not: too long, too early, or of more hosts than are known",
    ),
    ("pkgtorrent_leases_granted_total", "runs of pieces whose first copies were left to one host"),
    ("pkgtorrent_leases_stolen_total", "those of them that another host held until then"),
    (
        "pkgtorrent_leases_starved_total",
        "those of them that others had already, for a host that nobody served",
    ),
    ("pkgtorrent_leases_expired_total", "runs of pieces whose host was silent for too long"),
    (
        "pkgtorrent_lid_asked_bytes_total",
        "bytes that hosts could have been leased under the lid, each time that they asked",
    ),
    ("pkgtorrent_lid_granted_bytes_total", "those of them that were leased"),
    ("pkgtorrent_lid_held_back_bytes_total", "those of them that were not because the lid was reached"),
    (
        "pkgtorrent_lid_unasked_bytes_total",
        "bytes that the web seed sent although nobody was leased them, under a lid",
    ),
    ("pkgtorrent_packages_hashed_total", "packages whose file was read from start to end"),
    ("pkgtorrent_bytes_hashed_total", "bytes of files that were read from start to end"),
    ("pkgtorrent_packages_corrupt_total", "files whose bytes are not what is listed"),
    ("pkgtorrent_packages_unusable_total", "listed packages that could not be shared, corrupt ones included"),
    ("pkgtorrent_repository_errors_total", "scans that could not use a repository's metadata"),
    ("pkgtorrent_scans_total", "scans of the root"),
    ("pkgtorrent_state_errors_total", "writes of the state that failed"),
    (
        "pkgtorrent_state_writes_dropped_total",
        "writes of the state that were dropped because too many waited",
    ),
];

const GAUGES: &[(&str, &str)] = &[
    ("pkgtorrent_catalog_packages", "packages that are listed and have a file"),
    ("pkgtorrent_catalog_missing", "packages that are listed and have no file of that size"),
    ("pkgtorrent_readings", "files that are being read or wait for it"),
    ("pkgtorrent_scan_seconds", "how long the last scan took"),
    ("pkgtorrent_bundles", "bundles that are known"),
    ("pkgtorrent_peers_complete", "peers that have everything, one for each swarm that they are in"),
    ("pkgtorrent_leased_pieces", "pieces whose first copies are left to one host now"),
    ("pkgtorrent_peers_incomplete", "peers that do not have everything yet, one for each swarm"),
];
