//! docs/metrics.md: everything that both programs count.

use pkgtorrent_agent::metering as agent;
use pkgtorrent_server::metering as service;
use pkgtorrent_settings::table_of_metrics;

const TEXT: &str = "\
# Metrics

Made from the sources by `make generate`. A histogram `x` is served as `x_bucket`, with the label `le`, `x_sum` and
`x_count`. [Watching](watching.md) says how these are collected and what to look at.

## Of the service

At `/metrics` of its public address, or of `admin_listen` where that is set.

";

const OF_AGENTS: &str = "
## Of an agent

At `/metrics` of `metrics_listen`, where that is set. They begin anew with each agent.

";

pub(crate) fn page() -> String {
    let (service, agent) = (table_of_metrics(service::METRICS), table_of_metrics(agent::METRICS));
    format!("{TEXT}{service}{OF_AGENTS}{agent}")
}
