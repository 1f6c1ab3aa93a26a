//! What the service counts: every metric's name, unit and meaning in one place, and a handle to count it by.

mod kinds;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use metrics::{Counter, CounterFn};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use pkgtorrent_protocol::report::FallbackReason;
use pkgtorrent_settings::Metric;

use self::kinds::{Count, CountBy, Gauge, GaugeBy, Times};

/// Bounds of the planning time's buckets, in seconds: around what a cached plan, a new one, and a build take.
const PLAN_SECONDS: &[f64] = &[0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];

/// Bounds of the errands' buckets, in seconds: around what an announce, a plan's, and one that moves homes take.
const ERRAND_SECONDS: &[f64] = &[0.00001, 0.0001, 0.001, 0.01, 0.1, 1.0];

/// Bounds of the installs' buckets, in seconds: from a package that was there to a release upgrade over a thin line.
const INSTALL_SECONDS: &[f64] = &[0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0, 600.0, 1800.0];

/// Declares metrics: a handle each, and all of them as documentation shows them.
macro_rules! table {
    ($($(#[doc = $doc:literal])+ $handle:ident: $kind:ident = $name:literal, $unit:literal $(, by $($label:literal)+)?;)*) => {
        $($(#[doc = $doc])+ pub(crate) static $handle: $kind = $kind::new($name $(, &[$($label),+])?);)*

        /// Everything that the service counts.
        pub const METRICS: &[Metric] = &[$(Metric {
            name: $name,
            kind: $kind::KIND,
            unit: $unit,
            labels: &[$($($label),+)?],
            doc: concat!($($doc),+),
        }),*];

        /// Says what they mean. A counter that nothing has happened to is zero, not absent.
        fn describe() {
            $($handle.describe(concat!($($doc),+).trim());)*
        }
    };
}

table! {
    /// 1, with the version that runs.
    BUILD_INFO: GaugeBy = "pkgtorrent_build_info", "1", by "version";
    /// When it started, since 1970.
    START_TIME: Gauge = "pkgtorrent_start_time_seconds", "seconds";
    /// Whether the first scan is done: 1 or 0.
    READY: Gauge = "pkgtorrent_ready", "1";
    /// Requests that were answered, by what was asked for and the class of the answer's status, `2xx` to `5xx`.
    REQUESTS: CountBy = "pkgtorrent_requests_total", "requests", by "endpoint" "status";

    /// Plans that were answered.
    PLANS: Count = "pkgtorrent_plans_total", "plans";
    /// Bytes of plans.
    PLAN_BYTES: Count = "pkgtorrent_plan_bytes_total", "bytes";
    /// Time to answer for a plan, once its question is read.
    PLAN_TIMES: Times = "pkgtorrent_plan_seconds", "seconds";
    /// Plans without peers for a host outside of `peer_networks`, or one that asks too often.
    PLANS_WITHOUT_PEERS: Count = "pkgtorrent_plans_without_peers_total", "plans";
    /// Plans for hosts that `uploads` holds back.
    PLANS_HELD_BACK: Count = "pkgtorrent_plans_upload_limited_total", "plans";
    /// Plannings: equal questions share one.
    SETS_PLANNED: Count = "pkgtorrent_sets_planned_total", "sets";
    /// Sets that were not stored because too many are.
    SETS_NOT_REMEMBERED: Count = "pkgtorrent_sets_not_remembered_total", "sets";
    /// Bundles that were formed.
    BUNDLES_BUILT: Count = "pkgtorrent_bundles_built_total", "bundles";
    /// Bundles that are known.
    BUNDLES: Gauge = "pkgtorrent_bundles", "bundles";

    /// Bytes of packages and padding handed to connections by the web seed.
    WEB_SEED_BYTES: Count = "pkgtorrent_webseed_bytes_total", "bytes";
    /// Bytes of files handed to connections by the mirror.
    MIRROR_BYTES: Count = "pkgtorrent_mirror_bytes_total", "bytes";
    /// Bytes of info dictionaries.
    INFO_BYTES: Count = "pkgtorrent_info_bytes_total", "bytes";
    /// Bytes of answers to announces.
    ANNOUNCE_BYTES: Count = "pkgtorrent_announce_bytes_total", "bytes";

    /// Announces, one for each swarm.
    ANNOUNCES: Count = "pkgtorrent_announces_total", "announces";
    /// Announces that got no peers.
    ANNOUNCES_REFUSED: Count = "pkgtorrent_announces_refused_total", "announces";
    /// Peers that have everything, one for each swarm that they are in.
    PEERS_COMPLETE: Gauge = "pkgtorrent_peers_complete", "peers";
    /// Peers that do not have everything yet, one for each swarm.
    PEERS_INCOMPLETE: Gauge = "pkgtorrent_peers_incomplete", "peers";
    /// Pieces whose first copies are left to one host now.
    LEASED_PIECES: Gauge = "pkgtorrent_leased_pieces", "pieces";
    /// Runs of pieces whose first copies were left to one host.
    LEASES_GRANTED: Count = "pkgtorrent_leases_granted_total", "leases";
    /// Those of them that another host held until then.
    LEASES_STOLEN: Count = "pkgtorrent_leases_stolen_total", "leases";
    /// Those of them that others had already, for a host that nobody served.
    LEASES_STARVED: Count = "pkgtorrent_leases_starved_total", "leases";
    /// Runs of pieces whose host was silent for too long.
    LEASES_EXPIRED: Count = "pkgtorrent_leases_expired_total", "leases";

    /// Reports of hosts about themselves that were counted.
    REPORTS: Count = "pkgtorrent_reports_total", "reports";
    /// Reports that were not: too long, too early, or of more hosts than are known.
    REPORTS_IGNORED: Count = "pkgtorrent_reports_ignored_total", "reports";
    /// Bytes of packages that hosts reported, by where they came from: `origin`, `near` and `far` (hosts of the same site and of others), `store`. Hosts in no site have the site `none`.
    FLEET_BYTES: CountBy = "pkgtorrent_fleet_bytes_total", "bytes", by "source" "site";
    /// Bytes of packages that they sent to others.
    FLEET_SENT: CountBy = "pkgtorrent_fleet_sent_bytes_total", "bytes", by "site";
    /// Installs that ended.
    FLEET_INSTALLS: CountBy = "pkgtorrent_fleet_installs_total", "installs", by "site";
    /// How long those took that hosts told more of.
    FLEET_INSTALL_TIMES: Times = "pkgtorrent_fleet_install_seconds", "seconds";
    /// Packages that they left to package managers: `no_plan`, `unknown` to the service, `not_brought` by anybody, `wrong`, `no_room`, `not_placed`, `interrupted`, `other`.
    FLEET_FALLBACKS: CountBy = "pkgtorrent_fleet_fallback_packages_total", "packages", by "reason";

    /// What `origin.max_rate` allows in a second; 0 for no lid.
    LID: Gauge = "pkgtorrent_lid_bytes_per_second", "bytes a second";
    /// Bytes that hosts could have been leased under the lid, each time that they asked.
    LID_ASKED: Count = "pkgtorrent_lid_asked_bytes_total", "bytes";
    /// Those of them that were leased.
    LID_GRANTED: Count = "pkgtorrent_lid_granted_bytes_total", "bytes";
    /// Those of them that were not because the lid was reached.
    LID_HELD_BACK: Count = "pkgtorrent_lid_held_back_bytes_total", "bytes";
    /// Bytes that the web seed sent although nobody was leased them, under a lid.
    LID_UNASKED: Count = "pkgtorrent_lid_unasked_bytes_total", "bytes";

    /// Packages that are listed and have a file.
    CATALOG_PACKAGES: Gauge = "pkgtorrent_catalog_packages", "packages";
    /// Packages that are listed and have no file of that size.
    CATALOG_MISSING: Gauge = "pkgtorrent_catalog_missing", "packages";
    /// Repositories below the root.
    REPOSITORIES: Gauge = "pkgtorrent_repositories", "repositories";
    /// Scans of the root.
    SCANS: Count = "pkgtorrent_scans_total", "scans";
    /// How long the last scan took.
    SCAN_SECONDS: Gauge = "pkgtorrent_scan_seconds", "seconds";
    /// Scans that could not use a repository's metadata.
    REPOSITORY_ERRORS: Count = "pkgtorrent_repository_errors_total", "scans";
    /// Files that are being read or wait for it.
    READINGS: Gauge = "pkgtorrent_readings", "files";
    /// Packages whose file was read from start to end.
    PACKAGES_HASHED: Count = "pkgtorrent_packages_hashed_total", "packages";
    /// Bytes of files that were read from start to end.
    BYTES_HASHED: Count = "pkgtorrent_bytes_hashed_total", "bytes";
    /// Files whose bytes are not what is listed.
    PACKAGES_CORRUPT: Count = "pkgtorrent_packages_corrupt_total", "packages";
    /// Listed packages that could not be shared, corrupt ones included.
    PACKAGES_UNUSABLE: Count = "pkgtorrent_packages_unusable_total", "packages";
    /// Packages that are listed now and not shared because their file is another one.
    PACKAGES_DAMAGED: Gauge = "pkgtorrent_packages_damaged", "packages";

    /// Errands that wait for the registry, the one owner of swarms and bundles.
    ERRANDS_WAITING: Gauge = "pkgtorrent_errands_waiting", "errands";
    /// Errands that it did not take: whoever asked was told to come again.
    ERRANDS_REFUSED: Count = "pkgtorrent_errands_refused_total", "errands";
    /// Time that each errand took; the sum of a second is the share of one core.
    ERRAND_TIMES: Times = "pkgtorrent_errand_seconds", "seconds";
    /// Writes of the state that failed.
    STATE_ERRORS: Count = "pkgtorrent_state_errors_total", "writes";
    /// Writes of the state that were dropped because too many waited.
    STATE_WRITES_DROPPED: Count = "pkgtorrent_state_writes_dropped_total", "writes";
}

/// Makes this process's metrics; it can be done once.
pub(crate) fn install() -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full(PLAN_TIMES.name().to_owned()), PLAN_SECONDS)?
        .set_buckets_for_metric(Matcher::Full(ERRAND_TIMES.name().to_owned()), ERRAND_SECONDS)?
        .set_buckets_for_metric(Matcher::Full(FLEET_INSTALL_TIMES.name().to_owned()), INSTALL_SECONDS)?
        .install_recorder()?;
    describe();
    for reason in FallbackReason::ALL {
        FLEET_FALLBACKS.at(&[reason.name()]).increment(0);
    }
    BUILD_INFO.at(&[env!("CARGO_PKG_VERSION")]).set(1.0);
    // A clock before 1970 says nothing that anybody could use.
    START_TIME.set(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64());
    Ok(handle)
}

/// What the web seed has sent: a metric that the lid has to know as well.
#[derive(Debug)]
pub(crate) struct Sent {
    bytes: AtomicU64,
}

impl Sent {
    pub(crate) fn new() -> Self {
        Self { bytes: AtomicU64::new(0) }
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
        WEB_SEED_BYTES.add(bytes);
    }

    fn absolute(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
        WEB_SEED_BYTES.set(bytes);
    }
}
