//! Live swarms, all of them or one: what they share, who is in them, and how far their first copies are.

use std::cmp::Reverse;
use std::sync::Arc;

use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use pkgtorrent_protocol::InfoHash;
use pkgtorrent_tracker::{SwarmOverview, SwarmView};

use super::answers::{self, BundledPackage, Cell, SitePeers, Swarm, Swarms};
use super::parameters::{Paging, Parameters, ROWS_MAX};
use super::{ApiError, answer};
use crate::bundle::Bundle;
use crate::http::Service;
use crate::http::error::HttpError;
use crate::live::Live;

/// The most cells that a bundle's pieces are shown in: a picture of them has room for no more.
const CELLS_MAX: u32 = 1024;

/// The parameters of a list of swarms.
pub(crate) const PARAMETERS: &[&str] = &["q", "order", "offset", "limit"];

/// In which order swarms are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Those with the most peers first.
    Peers,
    /// Those with the most peers that lack something first.
    Incomplete,
    /// The largest first.
    Size,
    /// Those of which the most pieces have not left the mirror first.
    Absent,
}

/// The orders by their names, the usual one first.
pub(crate) const ORDERS: &[(&str, Order)] = &[
    ("peers", Order::Peers),
    ("incomplete", Order::Incomplete),
    ("size", Order::Size),
    ("absent", Order::Absent),
];

/// Which swarms are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    /// What the info hash begins with, or a package's name contains, in lower case.
    pub(crate) text: String,
    pub(crate) order: Order,
    pub(crate) paging: Paging,
}

impl Question {
    /// Reads one that gets so many rows if it does not say how many.
    pub(crate) fn read(parameters: &Parameters, rows: usize) -> Result<Self, HttpError> {
        let order = parameters.choice("order", ORDERS)?;
        Ok(Self { text: parameters.text("q")?, order, paging: parameters.paging(rows)? })
    }
}

/// The live swarms.
#[utoipa::path(get, path = "/swarms", params(
    ("q" = Option<String>, Query, description = "the beginning of an info hash, or a part of a package's file name"),
    ("order" = Option<String>, Query, description = "peers (if none is named), incomplete, size or absent: what is most comes first"),
    ("offset" = Option<usize>, Query, description = "how many to leave out, from the first one on"),
    ("limit" = Option<usize>, Query, description = "how many to list, at most 100"),
), responses((status = OK, body = Swarms), (status = BAD_REQUEST, body = answers::Refused), (status = SERVICE_UNAVAILABLE, body = answers::Refused)))]
pub(super) async fn get_all(service: Data<Service>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let parameters = Parameters::read(request.query_string(), PARAMETERS)?;
    answer(&list(&service, Question::read(&parameters, ROWS_MAX)?).await?)
}

/// One bundle, its peers and its pieces.
#[utoipa::path(get, path = "/swarms/{info_hash}", params(
    ("info_hash" = String, Path, description = "the bundle's name on the wire, in hexadecimal"),
    ("offset" = Option<usize>, Query, description = "how many packages to leave out, from the first one on"),
    ("limit" = Option<usize>, Query, description = "how many packages to list, at most 100"),
), responses(
    (status = OK, body = answers::Bundle),
    (status = BAD_REQUEST, body = answers::Refused), (status = SERVICE_UNAVAILABLE, body = answers::Refused),
    (status = NOT_FOUND, body = answers::Refused),
))]
pub(super) async fn get(
    service: Data<Service>,
    request: HttpRequest,
    info_hash: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let parameters = Parameters::read(request.query_string(), &["offset", "limit"])?;
    answer(&bundle(&service, &info_hash, parameters.paging(ROWS_MAX)?).await?)
}

/// The swarms that are asked for.
pub(crate) async fn list(service: &Service, question: Question) -> Result<Swarms, HttpError> {
    let live = service.live.get().await?;
    if question.text.is_empty() {
        return Ok(search(&live, &question));
    }
    // Thousands of names would hold up the other connections of this worker.
    Ok(service.searching.run(move || search(&live, &question)).await?)
}

fn search(live: &Live, question: &Question) -> Swarms {
    let text = question.text.as_str();
    let is_wanted = |bundle: &Bundle| {
        text.is_empty()
            || bundle.info_hash.to_string().starts_with(text)
            || bundle.packages.iter().any(|it| it.name.as_str().to_ascii_lowercase().contains(text))
    };
    let mut found: Vec<&(SwarmOverview, Arc<Bundle>)> =
        live.swarms.iter().filter(|(_, bundle)| is_wanted(bundle)).collect();
    // Stable: those that are alike stay in the order of their peers.
    match question.order {
        Order::Peers => {}
        Order::Incomplete => found.sort_by_key(|(swarm, _)| Reverse(swarm.count.incomplete)),
        Order::Size => found.sort_by_cached_key(|(_, bundle)| Reverse(bytes(bundle))),
        Order::Absent => found.sort_by_key(|(swarm, bundle)| Reverse(bundle.pieces - out(swarm, bundle))),
    }
    let matching = found.len();
    let rows = question.paging.of(found);
    let swarms = rows.into_iter().map(|(overview, bundle)| swarm(overview, bundle)).collect();
    Swarms { live: live.swarms.len(), matching, offset: question.paging.offset, swarms }
}

/// One bundle, if it is known.
pub(crate) async fn bundle(
    service: &Service,
    info_hash: &str,
    paging: Paging,
) -> Result<answers::Bundle, HttpError> {
    let info_hash: InfoHash = info_hash.parse().map_err(|_| HttpError::NotFound)?;
    let seen = service.registry.run(move |r| Some((r.tracker.view(&info_hash)?, r.bundle(&info_hash)?)));
    let (view, bundle) = seen.await?.ok_or(HttpError::NotFound)?;
    let packages = paging.of(bundle.packages.iter().zip(bundle.files()));
    let packages = packages.into_iter().map(|(package, (_, file))| BundledPackage {
        sha256: package.identity.to_string(),
        name: package.name.as_str().to_owned(),
        bytes: package.size,
        first_piece: file.pieces.0,
        pieces: file.pieces.1,
    });
    Ok(answers::Bundle {
        swarm: swarm(&view.overview, &bundle),
        piece_len: bundle.piece_len.bytes(),
        is_home: bundle.is_home,
        cells: cells(&view, bundle.pieces),
        offset: paging.offset,
        packages: packages.collect(),
        sites: view.sites.into_iter().map(site_peers).collect(),
    })
}

fn site_peers(peers: pkgtorrent_tracker::SitePeers) -> SitePeers {
    SitePeers { site: peers.site, complete: peers.complete, incomplete: peers.incomplete }
}

/// A swarm as it is listed.
pub(super) fn swarm(overview: &SwarmOverview, bundle: &Bundle) -> Swarm {
    let largest = bundle.packages.iter().max_by_key(|package| package.size);
    Swarm {
        info_hash: bundle.info_hash.to_string(),
        largest: largest.map(|package| package.name.as_str().to_owned()).unwrap_or_default(),
        packages: bundle.packages.len(),
        bytes: bytes(bundle),
        pieces: bundle.pieces,
        complete: overview.count.complete,
        incomplete: overview.count.incomplete,
        completed: overview.count.downloaded,
        first_copies: out(overview, bundle),
        leased: overview.first_copies.unwrap_or_default().leased.min(bundle.pieces),
    }
}

fn bytes(bundle: &Bundle) -> u64 {
    bundle.packages.iter().map(|package| package.size).sum()
}

/// How many pieces have left the mirror: where somebody has everything, somebody has each of them.
fn out(overview: &SwarmOverview, bundle: &Bundle) -> u32 {
    if overview.count.complete > 0 {
        return bundle.pieces;
    }
    overview.first_copies.unwrap_or_default().out.min(bundle.pieces)
}

fn cells(view: &SwarmView, pieces: u32) -> Vec<Cell> {
    let count = view.overview.count;
    let peers = count.complete + count.incomplete;
    // Who reported a piece may be complete by now, or gone.
    let hosts = |piece: u32| {
        let reported = view.copies.get(piece as usize).copied().unwrap_or_default();
        u32::from(reported).min(peers).max(count.complete)
    };
    let mut is_leased = vec![false; pieces as usize];
    for &(first, len) in &view.leased {
        let range = first.min(pieces) as usize..first.saturating_add(len).min(pieces) as usize;
        is_leased[range].fill(true);
    }
    let of_cell = pieces.div_ceil(CELLS_MAX).max(1);
    let cell = |first: u32| {
        let range = first..pieces.min(first + of_cell);
        let absent = range.clone().filter(|&piece| hosts(piece) == 0);
        Cell {
            first,
            pieces: range.end - first,
            absent: absent.clone().count() as u32,
            leased: absent.filter(|&piece| is_leased[piece as usize]).count() as u32,
            hosts: range.map(hosts).min().unwrap_or_default(),
        }
    };
    (0..pieces).step_by(of_cell as usize).map(cell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pkgtorrent_tracker::SwarmCount;

    fn view(complete: u32, incomplete: u32, copies: &[u16], leased: &[(u32, u32)]) -> SwarmView {
        let count = SwarmCount { complete, incomplete, downloaded: 0 };
        let overview = SwarmOverview { info_hash: InfoHash([1; 20]), count, first_copies: None };
        SwarmView { overview, sites: Vec::new(), copies: copies.to_vec(), leased: leased.to_vec() }
    }

    #[test]
    fn a_cell_says_who_has_the_rarest_of_its_pieces() {
        let cell = |first, absent, leased, hosts| Cell { first, pieces: 1, absent, leased, hosts };
        // Five reports of four hosts: one has left.
        let seen = cells(&view(0, 4, &[0, 5, 1, 0], &[(0, 1), (2, 1), (9, 9)]), 4);
        assert_eq!(seen, [cell(0, 1, 1, 0), cell(1, 0, 0, 4), cell(2, 0, 0, 1), cell(3, 1, 0, 0)]);
        let seeded = cells(&view(2, 1, &[], &[]), 2);
        assert_eq!(seeded, [cell(0, 0, 0, 2), cell(1, 0, 0, 2)]);
        assert_eq!(cells(&view(0, 0, &[], &[]), 0), []);
    }

    #[test]
    fn many_pieces_share_their_cells() {
        let copies: Vec<u16> = (0..2500).map(|piece| u16::from(piece % 3 > 0)).collect();
        let seen = cells(&view(0, 9, &copies, &[(0, 3)]), 2500);
        assert_eq!(seen.len(), 834);
        assert_eq!(seen[0], Cell { first: 0, pieces: 3, absent: 1, leased: 1, hosts: 0 });
        assert_eq!(seen[833], Cell { first: 2499, pieces: 1, absent: 1, leased: 0, hosts: 0 });
        assert_eq!(seen.iter().map(|cell| cell.pieces).sum::<u32>(), 2500);
    }
}
