//! Sets: the plan, for our agents, and the whole set as one torrent, for everyone else.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::http::header::{CACHE_CONTROL, HeaderName};
use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use pkgtorrent_protocol::peers::CompactPeers;
use pkgtorrent_protocol::plan::{
    self, AskerQuery, Plan, PlannedBundle, Policy, SET_REQUEST_LEN_MAX, SetRequest,
};
use pkgtorrent_protocol::{PackageSet, SetDigest};
use pkgtorrent_tracker::Refusal;

use super::announce::milliseconds;
use super::error::HttpError;
use super::{PREFIX, Service, read_body, torrents};
use crate::metering;
use crate::planner::SetPlan;
use crate::registry::{Introduced, PlanAsker};

/// First peers for an asker that reads them in their compact form. At ten thousand hosts plans are the most that the
/// service sends beside packages. Each host is named to as many others as it is told of, so that this makes fifty.
const COMPACT_PEERS_MAX: usize = 25;

/// How often a plan that turned out of date while it was answered is made anew.
const PLAN_ATTEMPTS: usize = 4;

/// Whom a plan is for.
struct Host {
    ip: IpAddr,
    /// Whether it reads peers in their compact form.
    compact: bool,
    /// What it may give to others.
    upload_limit: Option<u64>,
}

pub(super) async fn get(
    service: Data<Service>,
    request: HttpRequest,
    digest: Path<String>,
) -> Result<HttpResponse, HttpError> {
    let started = Instant::now();
    let asker =
        AskerQuery::parse(request.query_string()).map_err(|e| HttpError::BadRequest(e.to_string()))?;
    let (digest, set) = known_set(&service, &digest)?;
    answer(&service, &request, digest, set, &asker, started).await
}

pub(super) async fn post(
    service: Data<Service>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, HttpError> {
    let body = read_body(&service, &request, payload, SET_REQUEST_LEN_MAX).await?;
    let started = Instant::now();
    let bad = |e: String| HttpError::BadRequest(e);
    let asked: SetRequest = serde_json::from_slice(&body).map_err(|e| bad(e.to_string()))?;
    if asked.version != plan::VERSION {
        return Err(bad(format!("version {} is not spoken here, only {}", asked.version, plan::VERSION)));
    }
    let set = PackageSet::new(asked.packages).map_err(|e| bad(e.to_string()))?;
    let SetRequest { port, peer_id, compact, group, .. } = asked;
    let asker = AskerQuery { port, peer_id, compact, group };
    answer(&service, &request, set.digest(), Arc::new(set), &asker, started).await
}

pub(super) async fn get_torrent(
    service: Data<Service>,
    request: HttpRequest,
    digest: Path<String>,
) -> Result<HttpResponse, HttpError> {
    let (digest, set) = known_set(&service, &digest)?;
    let base_url = service.base_url(&request)?;
    let bundle = service.planner.set_torrent(digest, set).await?;
    torrents::torrent(&service, bundle.info_hash, &base_url).await
}

fn known_set(service: &Service, digest: &str) -> Result<(SetDigest, Arc<PackageSet>), HttpError> {
    let digest: SetDigest = digest.parse().map_err(|_| HttpError::NotFound)?;
    let set = service.planner.known_set(digest).ok_or(HttpError::UnknownSet)?;
    Ok((digest, set))
}

async fn answer(
    service: &Data<Service>,
    request: &HttpRequest,
    digest: SetDigest,
    set: Arc<PackageSet>,
    asker: &AskerQuery,
    started: Instant,
) -> Result<HttpResponse, HttpError> {
    let base_url = service.base_url(request)?;
    let ip = service.client(request)?;
    let upload_limit = service.settings.load().uploads.limit(ip, asker.group.as_ref());
    if upload_limit.is_some() {
        metering::PLANS_HELD_BACK.add(1);
    }
    // Who gives nothing is named to nobody, and brings no first copies for others.
    let port = asker.port.filter(|_| upload_limit != Some(0)).unwrap_or(0);
    let address = SocketAddr::new(ip, port);
    let compact = asker.compact;
    let host = Host { ip, compact, upload_limit };
    let wanted = if compact { COMPACT_PEERS_MAX } else { usize::MAX };
    let asker = PlanAsker { address, peer_id: asker.peer_id, wanted };
    let mut planned = service.planner.plan(digest, Arc::clone(&set), None).await?;
    for _ in 0..PLAN_ATTEMPTS {
        if let Some(introduced) = introduce(service, &planned, asker).await? {
            let plan = plan(digest, &planned, introduced, &host, &base_url, service);
            let body = serde_json::to_vec(&plan).map_err(|_| HttpError::Internal)?;
            metering::PLANS.add(1);
            metering::PLAN_BYTES.add(body.len() as u64);
            let took = started.elapsed();
            metering::PLAN_TIMES.took(took);
            return Ok(HttpResponse::Ok()
                .insert_header((CACHE_CONTROL, "no-store"))
                .insert_header((
                    HeaderName::from_static("server-timing"),
                    format!("handler;dur={:.3}", took.as_secs_f64() * 1e3),
                ))
                .content_type("application/json")
                .body(body));
        }
        planned = service.planner.plan(digest, Arc::clone(&set), Some(&planned)).await?;
    }
    // Homes that move faster than plans are made: the host is better served by its package manager now.
    Err(HttpError::Busy)
}

/// What the asker is told with every bundle; none when the plan is out of date. An asker that may not join still gets its plan: it
/// can use the web seeds.
async fn introduce(
    service: &Service,
    planned: &Arc<SetPlan>,
    asker: PlanAsker,
) -> Result<Option<Vec<Introduced>>, HttpError> {
    let planned = Arc::clone(planned);
    let introduced = service
        .registry
        .run(move |registry| match registry.introduce(&planned.bundles, planned.homes_generation, &asker) {
            Err(Refusal::TooManyAnnounces { .. } | Refusal::OutsideNetworks(_)) => {
                metering::PLANS_WITHOUT_PEERS.add(1);
                Ok(Some(vec![Introduced::default(); planned.bundles.len()]))
            }
            other => other,
        })
        .await?;
    // An unknown swarm is one that was dropped since.
    Ok(introduced.unwrap_or(None))
}

fn plan(
    set: SetDigest,
    planned: &SetPlan,
    introduced: Vec<Introduced>,
    host: &Host,
    base_url: &str,
    service: &Service,
) -> Plan {
    let bundles = planned.bundles.iter().zip(introduced).map(|(planned, introduced)| {
        let (peers, compact_peers) = peers_in_form(introduced.peers, host.compact);
        PlannedBundle {
            info_hash: planned.bundle.info_hash,
            info_len: planned.bundle.info_len,
            piece_len: planned.bundle.piece_len.bytes(),
            files: planned.files.clone(),
            peers,
            compact_peers,
            complete: introduced.complete,
            incomplete: introduced.incomplete,
            ask_again: milliseconds(&introduced.lease),
            lease: introduced.lease.pieces,
            second_hand: introduced.second_hand,
        }
    });
    let seconds = |duration: Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
    let settings = service.settings.load();
    let tracker = &settings.tracker;
    Plan {
        version: plan::VERSION,
        set,
        bundles: bundles.collect(),
        unknown: planned.unknown.clone(),
        web_seeds: vec![torrents::web_seed(base_url)],
        torrents: format!("{base_url}{PREFIX}/v1/torrents/"),
        announce: format!("{base_url}{PREFIX}/v1/announce"),
        policy: Policy {
            announce_interval: seconds(tracker.interval),
            lease_ttl: seconds(tracker.lease_ttl),
            upload_limit: host.upload_limit,
        },
        site: tracker.sites.networks_around(host.ip).to_vec(),
    }
}

/// Peers in the form that the asker reads, and none in the other.
pub(super) fn peers_in_form(peers: Vec<SocketAddr>, compact: bool) -> (Vec<SocketAddr>, CompactPeers) {
    if compact { (Vec::new(), CompactPeers(peers)) } else { (peers, CompactPeers::default()) }
}
