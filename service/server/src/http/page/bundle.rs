//! One bundle: its pieces as a picture, its peers by site, and its packages.

use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use maud::{Markup, html};

use super::parts::{self, figure, pager, query, table};
use super::shell::{Tab, Top, page};
use super::{picture, text};
use crate::http::Service;
use crate::http::api::answers::{Bundle, SitePeers};
use crate::http::api::parameters::{Paging, Parameters, ROWS_MAX};
use crate::http::api::swarms;
use crate::http::error::HttpError;

/// What a site is called where hosts are that no site has.
const NO_SITE: &str = "no site";

pub(super) async fn get(
    service: Data<Service>,
    request: HttpRequest,
    info_hash: Path<String>,
) -> Result<HttpResponse, HttpError> {
    let parameters = Parameters::read(request.query_string(), &["offset", "limit"])?;
    let paging = parameters.paging(ROWS_MAX)?;
    let bundle = swarms::bundle(&service, &info_hash, paging).await?;
    let top = Top::from(request.path());
    Ok(page(top, Tab::Other, &bundle.swarm.largest, &content(top, &bundle, paging)))
}

fn content(top: Top, bundle: &Bundle, paging: Paging) -> Markup {
    let swarm = &bundle.swarm;
    html! {
        h1 { "Bundle of " (swarm.largest)
            @if swarm.packages > 1 { " and " (text::number(swarm.packages as u64 - 1)) " more" }
        }
        p.about { code { (swarm.info_hash) } " · "
            a href=(top.to(&format!("v1/torrents/{}.torrent", swarm.info_hash))) { "torrent" }
            @if !bundle.is_home { " · a whole set, made for a client of another make" }
        }
        dl.figures {
            (figure("Size", &text::bytes(swarm.bytes), &html! {
                (text::count(swarm.packages as u64, "package")) ", " (text::count(swarm.pieces.into(), "piece"))
                " of " (bundle.piece_len / 1024) " KiB"
            }))
            (figure("Hosts with all of it", &text::number(swarm.complete.into()), &html! {
                (text::number(swarm.completed)) " have become complete since the service started"
            }))
            (figure("Hosts that fetch", &text::number(swarm.incomplete.into()), &html! {
                (text::count(swarm.leased.into(), "piece")) " on the way from the mirror"
            }))
        }
        section aria-labelledby="pieces-title" {
            h2 #pieces-title { "Pieces" }
            (picture::pieces(&bundle.cells))
        }
        section aria-labelledby="sites-title" {
            h2 #sites-title { "Hosts by site" }
            (sites(&bundle.sites))
        }
        section #packages aria-labelledby="packages-title" {
            h2 #packages-title { "Packages" }
            (packages(top, bundle))
            (pager(paging, bundle.packages.len(), swarm.packages, |offset| {
                query(&[("offset", &offset.to_string())], "packages")
            }))
        }
    }
}

fn sites(sites: &[SitePeers]) -> Markup {
    if sites.is_empty() {
        return html! { p.empty { "Nobody shares it now." } };
    }
    let columns = [("Site", false), ("Have all", true), ("Fetching", true)];
    let rows = html! { @for peers in sites {
        tr {
            th scope="row" { (peers.site.as_deref().unwrap_or(NO_SITE)) }
            (parts::number(peers.complete.into()))
            (parts::number(peers.incomplete.into()))
        }
    } };
    table("Hosts by site", &columns, &rows)
}

fn packages(top: Top, bundle: &Bundle) -> Markup {
    let columns = [("Package", false), ("Size", true), ("Pieces", true)];
    let rows = html! { @for package in &bundle.packages {
        tr {
            th scope="row" { a href=(top.to(&format!("packages/{}", package.sha256))) { (package.name) } }
            (parts::bytes(package.bytes))
            (parts::number(package.pieces.into()))
        }
    } };
    table("Packages", &columns, &rows)
}
