//! Announces and scrapes: the tracker as clients of any make see it, and as our agents do.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use pkgtorrent_protocol::announce::{
    self, BATCH_SWARMS_MAX, BatchAnnounce, BatchAnswer, Event, GetAnnounce, GetAnswer, LeaseWish,
    ScrapedSwarm, SwarmAnnounce, SwarmAnswer,
};
use pkgtorrent_protocol::report::{REPORT_LEN_MAX, Report};
use pkgtorrent_protocol::{InfoHash, PeerId};
use pkgtorrent_tracker::{Announce, Introduction, Lease, Refusal};

use super::error::HttpError;
use super::sets::peers_in_form;
use super::{Service, read_body};
use crate::accounts::{self, Reporter};
use crate::metering;
use crate::registry::Registry;

/// The longest batch that is read: every swarm takes about 150 bytes, and those few in which a host has much to say of
/// leases some two kilobytes; and one report.
const BATCH_LEN_MAX: usize = BATCH_SWARMS_MAX * 256 + 1024 + REPORT_LEN_MAX;

/// The version of the batch's form.
const VERSION: u32 = 1;

pub(super) async fn get(service: Data<Service>, request: HttpRequest) -> Result<HttpResponse, HttpError> {
    let asked = match GetAnnounce::parse(request.query_string()) {
        Ok(asked) => asked,
        // Clients show their users a bencoded reason, and retry on anything else.
        Err(error) => return Ok(bencoded(counted(announce::failure(&error.to_string())))),
    };
    let announce = Announce {
        info_hash: asked.info_hash,
        peer_id: asked.peer_id,
        address: listed_address(&service, &request, asked.port, asked.event == Some(Event::Stopped))?,
        complete: asked.left == 0,
        event: asked.event.map(tracker_event),
        wanted: asked.wanted.map_or(usize::MAX, |wanted| wanted as usize),
    };
    let answered = service.registry.run(move |r| r.tracker.announce(&announce, r.now())).await?;
    metering::ANNOUNCES.add(1);
    Ok(bencoded(counted(match answered {
        Ok(introduction) => get_answer(introduction).encode(),
        Err(refusal) => {
            metering::ANNOUNCES_REFUSED.add(1);
            announce::failure(&refusal.to_string())
        }
    })))
}

pub(super) async fn scrape(service: Data<Service>, request: HttpRequest) -> Result<HttpResponse, HttpError> {
    let swarms = match announce::parse_scrape(request.query_string()) {
        Ok(swarms) => swarms,
        Err(error) => return Ok(bencoded(announce::failure(&error.to_string()))),
    };
    let scraped = service.registry.run(move |registry| {
        let scraped = swarms.into_iter().filter_map(|info_hash| {
            let count = registry.tracker.count(&info_hash)?;
            Some(ScrapedSwarm {
                info_hash,
                complete: count.complete,
                downloaded: u32::try_from(count.downloaded).unwrap_or(u32::MAX),
                incomplete: count.incomplete,
            })
        });
        scraped.collect()
    });
    Ok(bencoded(announce::encode_scrape(scraped.await?)))
}

pub(super) async fn post(
    service: Data<Service>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, HttpError> {
    let body = read_body(&service, &request, payload, BATCH_LEN_MAX).await?;
    let batch: BatchAnnounce =
        serde_json::from_slice(&body).map_err(|error| HttpError::BadRequest(error.to_string()))?;
    if batch.version != VERSION {
        let problem = format!("version {} is not spoken here, only {VERSION}", batch.version);
        return Err(HttpError::BadRequest(problem));
    }
    if batch.swarms.len() > BATCH_SWARMS_MAX {
        let problem = format!("{} swarms at once, at most {BATCH_SWARMS_MAX}", batch.swarms.len());
        return Err(HttpError::BadRequest(problem));
    }
    for wish in batch.swarms.iter().filter_map(|swarm| swarm.lease.as_ref()) {
        wish.check().map_err(|error| HttpError::BadRequest(error.to_string()))?;
    }
    let is_parting = batch.swarms.iter().all(|swarm| swarm.event == Some(Event::Stopped));
    let address = listed_address(&service, &request, batch.port, is_parting)?;
    let announces: Vec<Announce> =
        batch.swarms.iter().map(|swarm| from_batch(&batch, swarm, address)).collect();
    let asked: Vec<InfoHash> = announces.iter().map(|announce| announce.info_hash).collect();
    let served: BTreeSet<InfoHash> =
        batch.swarms.iter().filter(|swarm| swarm.served).map(|swarm| swarm.info_hash).collect();
    let wishes: Vec<Option<LeaseWish>> = batch.swarms.into_iter().map(|swarm| swarm.lease).collect();
    let answered = service.registry.run(move |registry| {
        let answered = announce_all(registry, address, &announces, &wishes);
        if answered.is_ok() {
            registry.tracker.are_served(&served, address);
        }
        answered
    });
    let answered = answered.await?;
    metering::ANNOUNCES.add(asked.len() as u64);
    // Whom the tracker does not hear is not heard here either.
    let report = batch.report.as_ref().filter(|_| answered.is_ok());
    let (report_after, is_taken) = count(&service, address.ip(), batch.peer_id, report);
    let unreported = batch.report.is_some() && !is_taken;
    // Older agents report nothing, and read no compact peers either.
    let report_after = report_after.filter(|_| batch.compact || batch.report.is_some());
    // What refuses the address refuses all of its swarms.
    let answered = answered.unwrap_or_else(|refusal| vec![Err(refusal); asked.len()]);
    let mut interval = service.settings.load().tracker.interval;
    let mut swarms = Vec::new();
    for (info_hash, answer) in asked.into_iter().zip(answered) {
        swarms.push(match answer {
            Ok(Told { introduction, lease, moved, second_hand }) => {
                // The agent has one clock for all its swarms: the longest wait that any of them was given.
                interval = interval.max(introduction.interval);
                let Introduction { complete, incomplete, .. } = introduction;
                let (peers, compact_peers) = peers_in_form(introduction.peers, batch.compact);
                let ask_again = lease.as_ref().and_then(milliseconds);
                let lease = lease.map(|lease| lease.pieces);
                SwarmAnswer::Known {
                    info_hash,
                    complete,
                    incomplete,
                    peers,
                    compact_peers,
                    lease,
                    ask_again,
                    moved,
                    second_hand,
                }
            }
            Err(refusal) => {
                metering::ANNOUNCES_REFUSED.add(1);
                SwarmAnswer::Refused { info_hash, refused: refusal.to_string() }
            }
        });
    }
    let answer =
        BatchAnswer { version: VERSION, interval: whole_seconds(interval), swarms, report_after, unreported };
    let body = serde_json::to_vec(&answer).map_err(|_| HttpError::Internal)?;
    Ok(HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .content_type("application/json")
        .body(counted(body)))
}

/// Counts what a host reports, if it does; after how many seconds it may do so again. No report makes an announce fail.
fn count(
    service: &Service,
    address: IpAddr,
    peer_id: PeerId,
    report: Option<&Report>,
) -> (Option<u32>, bool) {
    let Some(accounts) = &service.accounts else { return (None, false) };
    let mut accounts = accounts.lock();
    let mut is_taken = false;
    if let Some(report) = report {
        let settings = service.settings.load();
        let from = Reporter { site: settings.tracker.sites.name_of(address), address, peer_id };
        is_taken = accounts.report(accounts::now(), &from, report).is_ok();
        let counter = if is_taken { &metering::REPORTS } else { &metering::REPORTS_IGNORED };
        counter.add(1);
    }
    (Some(accounts.report_after()), is_taken)
}

/// Where others reach the asker, if they are to. One that leaves may have been listed before a rule was made for it.
fn listed_address(
    service: &Service,
    request: &HttpRequest,
    port: u16,
    is_parting: bool,
) -> Result<SocketAddr, HttpError> {
    let ip = service.client(request)?;
    let listed = service.settings.load().uploads.listed_port(ip, port);
    Ok(SocketAddr::new(ip, if is_parting { port } else { listed }))
}

/// An answer to an announce, whose bytes count.
fn counted(answer: Vec<u8>) -> Vec<u8> {
    metering::ANNOUNCE_BYTES.add(answer.len() as u64);
    answer
}

/// What a host is told of one swarm.
#[derive(Clone)]
struct Told {
    introduction: Introduction,
    lease: Option<Lease>,
    moved: u32,
    second_hand: bool,
}

/// Announces first, so that who has just come can be leased something, and who has left cannot.
fn announce_all(
    registry: &mut Registry,
    address: SocketAddr,
    announces: &[Announce],
    wishes: &[Option<LeaseWish>],
) -> Result<Vec<Result<Told, Refusal>>, Refusal> {
    let now = registry.now();
    let introduced = registry.tracker.announce_all(address, announces, now)?;
    let answered = introduced.into_iter().zip(announces).zip(wishes).map(|((introduced, announce), wish)| {
        let introduction = introduced?;
        let mut leased = |wish| registry.lease(announce.info_hash, announce.peer_id, address, wish);
        let lease = wish.as_ref().map(|wish| leased(wish).unwrap_or_default());
        let moved = registry.tracker.moved(&announce.info_hash);
        let second_hand = registry.tracker.is_second_hand(&announce.info_hash, address);
        Ok(Told { introduction, lease, moved, second_hand })
    });
    Ok(answered.collect())
}

fn from_batch(batch: &BatchAnnounce, swarm: &SwarmAnnounce, address: SocketAddr) -> Announce {
    Announce {
        info_hash: swarm.info_hash,
        peer_id: batch.peer_id,
        address,
        complete: swarm.left == 0,
        event: swarm.event.map(tracker_event),
        wanted: swarm.wanted.map_or(usize::MAX, |wanted| wanted as usize),
    }
}

fn tracker_event(event: Event) -> pkgtorrent_tracker::Event {
    match event {
        Event::Started => pkgtorrent_tracker::Event::Started,
        Event::Completed => pkgtorrent_tracker::Event::Completed,
        Event::Stopped => pkgtorrent_tracker::Event::Stopped,
    }
}

fn get_answer(introduction: Introduction) -> GetAnswer {
    GetAnswer {
        interval: whole_seconds(introduction.interval),
        min_interval: whole_seconds(introduction.min_interval),
        complete: introduction.complete,
        incomplete: introduction.incomplete,
        peers: introduction.peers,
    }
}

/// When a host may ask for more, where there is a lid.
pub(super) fn milliseconds(lease: &Lease) -> Option<u32> {
    lease.ask_again.map(|after| u32::try_from(after.as_millis()).unwrap_or(u32::MAX))
}

fn whole_seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX).max(1)
}

fn bencoded(body: Vec<u8>) -> HttpResponse {
    HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).content_type("text/plain").body(body)
}
