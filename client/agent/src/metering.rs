//! What the agent shows of itself over time: every metric's name, unit and meaning in one place.
//!
//! Nothing here is counted for its own sake: the engine knows these numbers anyway, and writes them down when somebody
//! asks. Where nobody may ask, that costs nothing.

mod listener;
mod text;

use pkgtorrent_settings::{Metric, MetricKind};

pub(crate) use self::listener::MetricsListener;
pub(crate) use self::text::MetricsText;

/// Declares metrics, each and all of them.
macro_rules! table {
    ($($(#[doc = $doc:literal])+ $metric:ident: $kind:ident = $name:literal, $unit:literal $(, by $label:literal)?;)*) => {
        $($(#[doc = $doc])+ pub(crate) const $metric: Metric = Metric {
            name: $name,
            kind: MetricKind::$kind,
            unit: $unit,
            labels: &[$($label)?],
            doc: concat!($($doc),+),
        };)*

        /// Everything that an agent shows.
        pub const METRICS: &[Metric] = &[$($metric),*];
    };
}

table! {
    /// 1, with the version that runs.
    BUILD_INFO: Gauge = "pkgtorrent_agent_build_info", "1", by "version";
    /// For how long it has run.
    UPTIME: Gauge = "pkgtorrent_agent_uptime_seconds", "seconds";

    /// Bytes of packages by where they came from: `origin`, `near` and `far` (hosts of the same site and of others), `store`.
    BYTES: Counter = "pkgtorrent_agent_bytes_total", "bytes", by "source";
    /// Bytes of packages that other hosts got.
    SENT: Counter = "pkgtorrent_agent_sent_bytes_total", "bytes";
    /// Bytes of all else that hosts say to each other: `sent` and `received`.
    MESSAGES: Counter = "pkgtorrent_agent_message_bytes_total", "bytes", by "direction";

    /// Installs that ended.
    INSTALLS: Counter = "pkgtorrent_agent_installs_total", "installs";
    /// How long they took, together.
    INSTALL_SECONDS: Counter = "pkgtorrent_agent_install_seconds_total", "seconds";
    /// For how much of it something was held back on purpose.
    HELD_BACK: Counter = "pkgtorrent_agent_held_back_seconds_total", "seconds";
    /// Packages that were put where the package manager looks.
    PLACED: Counter = "pkgtorrent_agent_packages_placed_total", "packages";
    /// Packages that were left to the package manager, by why.
    LEFT: Counter = "pkgtorrent_agent_packages_left_total", "packages", by "reason";
    /// Packages that are being downloaded.
    DOWNLOADS: Gauge = "pkgtorrent_agent_downloads", "packages";

    /// Plans that no service gave when it was asked.
    PLAN_FAILURES: Counter = "pkgtorrent_agent_plan_failures_total", "requests";
    /// Announces that no service answered.
    ANNOUNCE_FAILURES: Counter = "pkgtorrent_agent_announce_failures_total", "requests";
    /// Requests to web seeds that did not end well.
    ORIGIN_ERRORS: Counter = "pkgtorrent_agent_origin_errors_total", "requests";

    /// Packages in the store.
    STORE_PACKAGES: Gauge = "pkgtorrent_agent_store_packages", "packages";
    /// Bytes in the store, half-downloaded packages included.
    STORE_BYTES: Gauge = "pkgtorrent_agent_store_bytes", "bytes";
    /// The most bytes that the store may have.
    STORE_LIMIT: Gauge = "pkgtorrent_agent_store_limit_bytes", "bytes";

    /// Hosts that it is connected with.
    PEERS: Gauge = "pkgtorrent_agent_peers", "hosts";
    /// Connections to them, one for each bundle, by who made it: `in` and `out`.
    LINKS: Gauge = "pkgtorrent_agent_links", "connections", by "direction";
    /// Hosts that sent wrong bytes and are no longer spoken with.
    BANNED: Gauge = "pkgtorrent_agent_peers_banned", "hosts";
    /// Bundles that others may take from it.
    SHARED: Gauge = "pkgtorrent_agent_bundles_shared", "bundles";
}
