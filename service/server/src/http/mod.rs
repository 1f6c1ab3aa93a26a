//! The contract's table of paths, one file for each kind of endpoint.

mod announce;
mod answered;
mod api;
mod error;
mod file;
mod mirror;
mod origin;
mod page;
mod range;
mod sets;
mod status;
mod torrents;
mod webseed;

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use actix_web::http::Method;
use actix_web::web::{self, Data};
use actix_web::{HttpRequest, HttpResponse, Resource, Route};
use arc_swap::ArcSwap;
use futures_util::StreamExt;
use metrics_exporter_prometheus::PrometheusHandle;
use pkgtorrent_protocol::networks::contain;

use crate::accounts::SharedAccounts;
use crate::body::Pace;
use crate::idle::{Answering, Watched};
use crate::live::LiveSwarms;
use crate::metering::Sent;
use crate::packages::Packages;
use crate::planner::Planner;
use crate::registry::RegistryHandle;
use crate::searching::Searching;
use crate::settings::Settings;
use crate::state::State;
use answered::Answered;
pub(crate) use answered::count;
use error::HttpError;

/// The prefix of everything that is not the mirror's or an announce.
const PREFIX: &str = "/pkgtorrent";

/// What every endpoint can use.
pub(crate) struct Service {
    /// What it goes by; a reload replaces it.
    pub(crate) settings: ArcSwap<Settings>,
    pub(crate) packages: Arc<Packages>,
    pub(crate) planner: Arc<Planner>,
    pub(crate) registry: RegistryHandle,
    pub(crate) state: Arc<State>,
    /// What hosts tell; none where no accounts are kept.
    pub(crate) accounts: Option<SharedAccounts>,
    pub(crate) metrics: PrometheusHandle,
    /// What the web seed has sent.
    pub(crate) web_seed: Arc<Sent>,
    /// Whether the first scan is done.
    pub(crate) ready: AtomicBool,
    /// When this run began.
    pub(crate) started: Instant,
    /// What swarms there are, for people.
    pub(crate) live: Arc<LiveSwarms>,
    /// Searches for people.
    pub(crate) searching: Searching,
}

impl Service {
    fn client(&self, request: &HttpRequest) -> Result<IpAddr, HttpError> {
        origin::client(request, &self.settings.load().trusted_proxies).ok_or(HttpError::Internal)
    }

    /// Whether who asks may be told of single hosts: those that are introduced to each other, and who watches over the service.
    fn is_inside(&self, request: &HttpRequest) -> Result<bool, HttpError> {
        if request.app_data::<Watchers>().is_some() {
            return Ok(true);
        }
        let (client, settings) = (self.client(request)?, self.settings.load());
        Ok(contain(&settings.tracker.peer_networks, client))
    }

    fn base_url(&self, request: &HttpRequest) -> Result<String, HttpError> {
        let local = request.conn_data::<Connection>().map(|connection| connection.local);
        origin::base_url(request, &self.settings.load(), local)
    }

    fn pace(&self) -> Pace {
        let settings = self.settings.load();
        Pace { min_rate: settings.min_rate, grace: settings.client_timeout }
    }
}

/// Marks the addresses that only those who watch over the service reach.
struct Watchers;

/// What is kept of each connection.
#[derive(Clone)]
pub(crate) struct Connection {
    /// The address that the client connected to.
    pub(crate) local: SocketAddr,
    /// What cuts it off when it is idle; none when the system has no second handle for it.
    pub(crate) watched: Option<Rc<Watched>>,
}

impl Connection {
    /// Notes that an answer begins, which ends when what this returns is dropped.
    pub(crate) fn answer(&self) -> Option<Answering> {
        self.watched.as_ref().map(Watched::answer)
    }
}

/// Everything on the same addresses.
pub(crate) fn everything(config: &mut web::ServiceConfig) {
    config.service(only("healthz", web::resource("/healthz"), get_and_head(status::healthz)));
    watching(config);
    hosts(config);
}

/// What is for everybody where others watch over the service elsewhere: of what they see there is nothing here.
pub(crate) fn public(config: &mut web::ServiceConfig) {
    config.service(only("healthz", web::resource("/healthz"), get_and_head(status::healthz))).service(only(
        "nothing",
        web::resource(["/metrics", PREFIX]),
        get_and_head(nothing),
    ));
    hosts(config);
}

/// What is for those who watch over the service.
pub(crate) fn admin(config: &mut web::ServiceConfig) {
    config.service(only("healthz", web::resource("/healthz"), get_and_head(status::health)));
    watching(config);
    config.app_data(Watchers).app_data(Answered::at("nothing")).default_service(web::to(nothing));
}

/// What the service has and does: the page, and the numbers.
fn watching(config: &mut web::ServiceConfig) {
    config
        .app_data(queries())
        .service(only("metrics", web::resource("/metrics"), get_and_head(status::metrics)))
        .configure(for_people);
}

/// What hosts ask for, and clients of any make.
fn hosts(config: &mut web::ServiceConfig) {
    let v1 = |path: &str| web::resource(format!("{PREFIX}/v1{path}"));
    config
        .app_data(queries())
        .app_data(Answered::at("mirror"))
        .service(only("set_post", v1("/sets"), [web::post().to(sets::post)]))
        .service(only("torrent", v1("/sets/{digest}.torrent"), get_and_head(sets::get_torrent)))
        .service(only("set_get", v1("/sets/{digest}"), get_and_head(sets::get)))
        .service(only("torrent", v1("/torrents/{info_hash}.torrent"), get_and_head(torrents::get_torrent)))
        .service(only("info", v1("/torrents/{info_hash}.info"), get_and_head(torrents::get_info)))
        .service(only("webseed", v1("/webseed/{tail:.*}"), get_and_head(webseed::get)))
        .service(only("agent_announce", v1("/announce"), [web::post().to(announce::post)]))
        .service(only("announce", web::resource("/announce"), get_and_head(announce::get)))
        .service(only("scrape", web::resource("/scrape"), get_and_head(announce::scrape)))
        .service(only("nothing", web::resource(format!("{PREFIX}/{{tail:.*}}")), get_and_head(nothing)))
        .default_service(web::to(mirror::any));
}

/// What is told of a query that makes no sense.
fn queries() -> web::QueryConfig {
    web::QueryConfig::default()
        .error_handler(|error, _| HttpError::BadRequest(format!("the query: {error}")).into())
}

/// What people look at, and programs in their place: the page and the API behind it.
pub(crate) fn for_people(config: &mut web::ServiceConfig) {
    config.configure(api::configure).configure(page::configure);
}

async fn nothing() -> Result<HttpResponse, HttpError> {
    Err(HttpError::NotFound)
}

fn get_and_head<F, Args>(handler: F) -> [Route; 2]
where
    F: actix_web::Handler<Args> + Clone,
    Args: actix_web::FromRequest + 'static,
    F::Output: actix_web::Responder + 'static,
{
    [web::get().to(handler.clone()), web::head().to(handler)]
}

/// A resource with these routes, which tells other methods so; its answers count as this endpoint's.
fn only<const N: usize>(endpoint: &'static str, resource: Resource, routes: [Route; N]) -> Resource {
    let allowed = if N == 1 { "POST" } else { "GET, HEAD" };
    let resource = routes.into_iter().fold(resource.app_data(Answered::at(endpoint)), Resource::route);
    resource.default_service(web::to(move || async move { method_not_allowed(allowed) }))
}

fn method_not_allowed(allowed: &'static str) -> HttpResponse {
    HttpResponse::MethodNotAllowed()
        .insert_header((actix_web::http::header::ALLOW, allowed))
        .insert_header((actix_web::http::header::CACHE_CONTROL, "no-store"))
        .finish()
}

fn is_read(method: &Method) -> bool {
    method == Method::GET || method == Method::HEAD
}

/// How much of a body that is too long is read and thrown away. A client that is still sending when the connection
/// closes sees only that, and never the answer that says why.
const DRAINED_LEN_MAX: usize = 256 << 20;

/// The whole body of a request, if it is not too long and comes in time.
async fn read_body(
    service: &Data<Service>,
    request: &HttpRequest,
    mut payload: web::Payload,
    len_max: usize,
) -> Result<web::BytesMut, HttpError> {
    let too_long = || HttpError::TooLarge(format!("the body is longer than {len_max} bytes"));
    let declared = request.headers().get("content-length").and_then(|value| value.to_str().ok());
    let declared: Option<usize> = declared.and_then(|declared| declared.parse().ok());
    if declared.is_some_and(|declared| declared > len_max + DRAINED_LEN_MAX) {
        return Err(too_long());
    }
    let read = async {
        let (mut body, mut read) = (web::BytesMut::new(), 0);
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|e| HttpError::BadRequest(format!("the body is cut off: {e}")))?;
            read += chunk.len();
            if read > len_max + DRAINED_LEN_MAX {
                break;
            }
            if read <= len_max {
                body.extend_from_slice(&chunk);
            }
        }
        if read <= len_max { Ok(body) } else { Err(too_long()) }
    };
    let in_time = tokio::time::timeout(service.settings.load().client_timeout, read).await;
    in_time.unwrap_or(Err(HttpError::TooSlow))
}
