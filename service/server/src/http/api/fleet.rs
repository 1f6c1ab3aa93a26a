//! What hosts have told of themselves: the fleet at a glance, over time, by site, and the installs that somebody may want to
//! look at.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::answers::{Overview, Refused, SwarmTotals};
use super::health::health;
use super::parameters::{Parameters, ROWS_MAX};
use super::{ApiError, answer};
use crate::accounts::{self, EndedInstall, History, InstalledPackage, SiteView};
use crate::http::Service;
use crate::http::error::HttpError;

/// The most hours that are looked back.
const HOURS_MAX: u32 = 31 * 24;

/// The most days.
const DAYS_MAX: u32 = 31;

/// How many installs a page lists.
const INSTALLS_MAX: usize = 10;

/// Everything at a glance.
#[utoipa::path(get, path = "/overview", responses(
    (status = OK, body = Overview),
    (status = BAD_REQUEST, body = Refused), (status = SERVICE_UNAVAILABLE, body = Refused),
))]
pub(super) async fn get(service: Data<Service>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    Parameters::read(request.query_string(), &[])?;
    let live = service.live.get().await?;
    let sum = |of: fn(&pkgtorrent_tracker::SwarmOverview) -> u32| {
        live.swarms.iter().map(|(swarm, _)| u64::from(of(swarm))).sum()
    };
    let swarms = SwarmTotals {
        live: live.swarms.len(),
        complete: sum(|swarm| swarm.count.complete),
        incomplete: sum(|swarm| swarm.count.incomplete),
    };
    let fleet = service.accounts.as_ref().map(|accounts| accounts.lock().overview(accounts::now()));
    answer(&Overview { service: health(&service).await?, swarms, fleet })
}

/// What hosts fetched over time, by minute for the last three hours and by hour beyond.
#[utoipa::path(get, path = "/history", params(
    ("hours" = Option<u32>, Query, description = "how many hours to look back, 3 if nothing is said"),
    ("site" = Option<String>, Query, description = "only the hosts of this site; empty for those in no site"),
), responses(
    (status = OK, body = History),
    (status = BAD_REQUEST, body = Refused), (status = SERVICE_UNAVAILABLE, body = Refused),
    (status = NOT_FOUND, body = Refused),
))]
pub(super) async fn get_history(
    service: Data<Service>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let parameters = Parameters::read(request.query_string(), &["hours", "site"])?;
    let (hours, site) = (parameters.number("hours", 3, 1..=HOURS_MAX)?, parameters.get("site"));
    let history = accounts_of(&service)?.lock().history(accounts::now(), hours, site);
    answer(&history.ok_or(HttpError::NotFound)?)
}

/// All sites that had hosts within a month.
#[utoipa::path(get, path = "/sites", responses(
    (status = OK, body = Vec<SiteView>),
    (status = BAD_REQUEST, body = Refused), (status = SERVICE_UNAVAILABLE, body = Refused),
    (status = NOT_FOUND, body = Refused),
))]
pub(super) async fn get_sites(
    service: Data<Service>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    Parameters::read(request.query_string(), &[])?;
    let sites = accounts_of(&service)?.lock().sites(accounts::now());
    answer(&sites)
}

/// The slowest installs, the slowest first.
#[utoipa::path(get, path = "/installs/slowest", params(
    ("days" = Option<u32>, Query, description = "how many days to look back, 1 for today"),
    ("limit" = Option<usize>, Query, description = "how many to list, at most 100"),
), responses(
    (status = OK, body = Vec<EndedInstall>),
    (status = BAD_REQUEST, body = Refused), (status = SERVICE_UNAVAILABLE, body = Refused),
    (status = FORBIDDEN, body = Refused),
    (status = NOT_FOUND, body = Refused),
))]
pub(super) async fn get_slowest(
    service: Data<Service>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let parameters = Parameters::read(request.query_string(), &["days", "limit"])?;
    let days = parameters.number("days", 1, 1..=DAYS_MAX)?;
    let limit = parameters.number("limit", ROWS_MAX, 1..=ROWS_MAX)?;
    let slowest = installs_for(&service, &request)?.lock().slowest(accounts::now(), days, limit);
    answer(&slowest)
}

/// The latest installs that left packages to the package manager, the latest first.
#[utoipa::path(get, path = "/installs/fallbacks", params(
    ("limit" = Option<usize>, Query, description = "how many to list, at most 100"),
), responses(
    (status = OK, body = Vec<EndedInstall>),
    (status = BAD_REQUEST, body = Refused), (status = SERVICE_UNAVAILABLE, body = Refused),
    (status = FORBIDDEN, body = Refused),
    (status = NOT_FOUND, body = Refused),
))]
pub(super) async fn get_fallbacks(
    service: Data<Service>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let parameters = Parameters::read(request.query_string(), &["limit"])?;
    let limit = parameters.number("limit", ROWS_MAX, 1..=ROWS_MAX)?;
    let fallbacks = installs_for(&service, &request)?.lock().fallbacks(limit);
    answer(&fallbacks)
}

/// The packages that were installed lately, those of the last hour first.
#[utoipa::path(get, path = "/installs/packages", params(
    ("limit" = Option<usize>, Query, description = "how many to list, at most 100"),
), responses(
    (status = OK, body = Vec<InstalledPackage>),
    (status = BAD_REQUEST, body = Refused), (status = SERVICE_UNAVAILABLE, body = Refused),
    (status = NOT_FOUND, body = Refused),
))]
pub(super) async fn get_packages(
    service: Data<Service>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let parameters = Parameters::read(request.query_string(), &["limit"])?;
    let limit = parameters.number("limit", ROWS_MAX, 1..=ROWS_MAX)?;
    let packages = accounts_of(&service)?.lock().packages(limit);
    answer(&packages)
}

fn accounts_of(service: &Service) -> Result<&accounts::SharedAccounts, HttpError> {
    service.accounts.as_ref().ok_or(HttpError::NoAccounts)
}

/// The accounts, for who may be told of single hosts.
fn installs_for<'a>(
    service: &'a Service,
    request: &HttpRequest,
) -> Result<&'a accounts::SharedAccounts, HttpError> {
    if service.is_inside(request)? { accounts_of(service) } else { Err(HttpError::Outside) }
}

/// What a page shows of the fleet.
pub(crate) struct Fleet {
    pub(crate) overview: accounts::Overview,
    /// The last hours by minute.
    pub(crate) lately: History,
    /// As many hours as were asked for.
    pub(crate) history: History,
    pub(crate) sites: Vec<SiteView>,
    /// Installs of single hosts, if they may be told.
    pub(crate) installs: Option<Installs>,
}

/// Installs that somebody may want to look at.
pub(crate) struct Installs {
    pub(crate) slowest: Vec<EndedInstall>,
    pub(crate) fallbacks: Vec<EndedInstall>,
}

/// What a page shows of the fleet; nothing where no accounts are kept.
pub(crate) fn fleet(service: &Service, hours: u32, is_inside: bool) -> Option<Fleet> {
    let now = accounts::now();
    let mut accounts = service.accounts.as_ref()?.lock();
    let installs = is_inside.then(|| Installs {
        slowest: accounts.slowest(now, 1, INSTALLS_MAX),
        fallbacks: accounts.fallbacks(INSTALLS_MAX),
    });
    Some(Fleet {
        overview: accounts.overview(now),
        lately: accounts.history(now, 1, None)?,
        history: accounts.history(now, hours, None)?,
        sites: accounts.sites(now),
        installs,
    })
}
