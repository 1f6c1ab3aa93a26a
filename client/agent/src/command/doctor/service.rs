//! The service: whether it can be reached, of which version it is, whether it makes plans, and what its clock says.

use std::time::{Duration, SystemTime};

use reqwest::StatusCode;

use super::Patient;
use super::finding::Finding;
use crate::origin::{Http, Look, ServiceUrl, look};
use crate::text::duration;

/// For how long its answer is waited for: less than for everything together, so that what it means can still be said.
const PATIENCE: Duration = Duration::from_millis(1200);

/// Clocks further apart than this are not kept by anybody.
const CLOCKS_APART_MAX: Duration = Duration::from_secs(60);

const SERVICE: &str = "service";
const PLAN: &str = "plan";
const CLOCK: &str = "clock";

pub(super) const CHECKS: &[&str] = &[SERVICE, PLAN, CLOCK];

/// Which service is asked for packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    Nobody,
    /// The host of each package's URL.
    Everybody,
    One(ServiceUrl),
}

/// What was seen of it.
enum Facts {
    NotLooked(Asked),
    Looked { url: ServiceUrl, resolves: bool, look: Result<Look, String>, now: SystemTime },
}

pub(super) fn check(patient: &Patient) -> Vec<Finding> {
    judge(&gather(patient))
}

fn gather(patient: &Patient) -> Facts {
    let url = match &patient.service {
        Asked::One(url) => url.clone(),
        other => return Facts::NotLooked(other.clone()),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let (look, resolves) = match (runtime, Http::new(&patient.settings.origin)) {
        (Ok(runtime), Ok(http)) => {
            let seen = runtime.block_on(async { tokio::join!(look(&http, &url, PATIENCE), resolves(&url)) });
            // A resolver that hangs is on a thread that nobody waits for.
            runtime.shutdown_background();
            (seen.0.map_err(|error| error.to_string()), seen.1)
        }
        (Err(error), _) => (Err(error.to_string()), true),
        (_, Err(error)) => (Err(error.to_string()), true),
    };
    Facts::Looked { url, resolves, look, now: SystemTime::now() }
}

/// Whether its name has an address.
async fn resolves(url: &ServiceUrl) -> bool {
    let (Some(host), Some(port)) = (url.url().host_str(), url.url().port_or_known_default()) else {
        return false;
    };
    let host = host.trim_matches(['[', ']']);
    let found = tokio::time::timeout(PATIENCE, tokio::net::lookup_host((host, port))).await;
    found.is_ok_and(|found| found.is_ok_and(|mut addresses| addresses.next().is_some()))
}

fn judge(facts: &Facts) -> Vec<Finding> {
    match facts {
        Facts::NotLooked(asked) => {
            let service = match asked {
                Asked::Everybody => Finding::unknown(SERVICE, "the host of each package's own URL is asked")
                    .advise("name one of them: pkgtorrent doctor --service URL"),
                _ => Finding::problem(
                    SERVICE,
                    "none is configured: nothing is asked, and the package manager downloads as always",
                    "set `service` in the file of the package manager's plugin, or in /etc/pkgtorrent/agent.toml",
                ),
            };
            let unknown = |check| Finding::unknown(check, "there is no service to look at");
            vec![service, unknown(PLAN), unknown(CLOCK)]
        }
        Facts::Looked { url, look: Ok(look), now, .. } => {
            vec![version(url, look), plan(look), clock(look.date, *now)]
        }
        Facts::Looked { resolves, look: Err(reason), .. } => {
            let advice = if *resolves {
                "see that pkgtorrent-service runs there, and that no firewall or proxy stands in between"
            } else {
                "its name has no address here: see the URL and this host's resolver"
            };
            let unknown = |check| Finding::unknown(check, "the service cannot be reached");
            vec![Finding::problem(SERVICE, reason, advice), unknown(PLAN), unknown(CLOCK)]
        }
    }
}

fn version(url: &ServiceUrl, look: &Look) -> Finding {
    const OURS: &str = env!("CARGO_PKG_VERSION");
    match &look.version {
        Some(version) if version.is_understood() => {
            Finding::ok(SERVICE, format!("{url} is version {}, this program {OURS}", version.program))
        }
        Some(version) => Finding::problem(
            SERVICE,
            format!(
                "{url} is version {} and speaks protocol {}, which this program, {OURS}, does not know",
                version.program, version.protocol
            ),
            "install pkgtorrent of one version on both sides",
        ),
        None if look.complaint.is_none() => {
            Finding::ok(SERVICE, format!("{url} answers, and does not say its version"))
        }
        None => {
            Finding::unknown(SERVICE, format!("{url} is answered by something that does not say what it is"))
        }
    }
}

fn plan(look: &Look) -> Finding {
    let Some(complaint) = &look.complaint else { return Finding::ok(PLAN, "sets are answered") };
    let advice = match look.status {
        StatusCode::NOT_FOUND => "no pkgtorrent-service is at this URL: see its host, port and path",
        StatusCode::MISDIRECTED_REQUEST => "name this host in the service's allowed_hosts or public_url",
        status if status.is_success() => "something else than pkgtorrent-service answers there",
        _ => "the service's log says what is wrong with it",
    };
    Finding::problem(PLAN, complaint.to_string(), advice)
}

fn clock(date: Option<SystemTime>, now: SystemTime) -> Finding {
    let Some(date) = date else { return Finding::unknown(CLOCK, "the service does not say what time it is") };
    let (apart, side) = match now.duration_since(date) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    if apart <= CLOCKS_APART_MAX {
        return Finding::ok(CLOCK, "as the service's");
    }
    Finding::warning(
        CLOCK,
        format!("{} {side} the service's", duration(apart.as_secs())),
        "keep both by chronyd or the like: upload_hours, certificates and what is logged go by them",
    )
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;
    use crate::origin::{RequestError, Trouble};

    fn url() -> ServiceUrl {
        ServiceUrl::parse("http://mirror.example:7070").unwrap()
    }

    fn looked(look: Result<Look, String>) -> Facts {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        Facts::Looked { url: url(), resolves: true, look, now }
    }

    fn well() -> Look {
        Look {
            status: StatusCode::PRECONDITION_FAILED,
            complaint: None,
            version: "0.1.0; protocol=1".parse().ok(),
            date: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_059)),
        }
    }

    fn missing() -> RequestError {
        RequestError::Missing(Trouble { url: "http://mirror.example/".into(), reason: "404".into() })
    }

    fn states(facts: &Facts) -> Vec<State> {
        judge(facts).iter().map(|finding| finding.state).collect()
    }

    #[test]
    fn a_service_that_is_well_is_fine() {
        assert_eq!(states(&looked(Ok(well()))), [State::Ok; 3]);
        let silent = Look { version: None, date: None, ..well() };
        assert_eq!(states(&looked(Ok(silent))), [State::Ok, State::Ok, State::Unknown]);
    }

    #[test]
    fn each_thing_that_is_wrong_is_in_its_own_line() {
        let other = Look { version: "9.0; protocol=2".parse().ok(), ..well() };
        assert_eq!(states(&looked(Ok(other))), [State::Problem, State::Ok, State::Ok]);
        for date in [1_000_061, 999_939] {
            let date = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(date));
            assert_eq!(states(&looked(Ok(Look { date, ..well() }))), [State::Ok, State::Ok, State::Warning]);
        }
        let other = Look { complaint: Some(missing()), version: None, ..well() };
        assert_eq!(states(&looked(Ok(other))), [State::Unknown, State::Problem, State::Ok]);
        let unreachable = [State::Problem, State::Unknown, State::Unknown];
        assert_eq!(states(&looked(Err("refused".into()))), unreachable);
        assert_eq!(states(&Facts::NotLooked(Asked::Nobody)), unreachable);
        assert_eq!(states(&Facts::NotLooked(Asked::Everybody)), [State::Unknown; 3]);
    }

    #[test]
    fn a_name_without_an_address_is_told_from_a_service_that_is_down() {
        let advice = |resolves| {
            let now = SystemTime::UNIX_EPOCH;
            let facts = Facts::Looked { url: url(), resolves, look: Err("no".into()), now };
            judge(&facts)[0].advice.clone().unwrap()
        };
        assert!(advice(false).contains("resolver") && advice(true).contains("runs there"));
    }
}
