//! Packages: a search through all of them, and one of them with its home.

use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use maud::{Markup, html};

use super::chart::{self, Chart};
use super::parts::{self, figure, pager, query, table};
use super::shell::{Tab, Top, page};
use super::{swarms, text};
use crate::accounts::{self, InstalledPackage, PackageSpread};
use crate::http::Service;
use crate::http::api::answers::{Package, Packages};
use crate::http::api::packages::{self, PARAMETERS};
use crate::http::api::parameters::{Paging, Parameters, ROWS_MAX};
use crate::http::error::HttpError;

/// How many packages are listed that were installed lately.
const INSTALLED_MAX: usize = 20;

/// How many minutes and days are shown of how a package spread.
const MINUTES: usize = 180;
const DAYS: usize = 30;

pub(super) async fn get_all(service: Data<Service>, request: HttpRequest) -> Result<HttpResponse, HttpError> {
    let parameters = Parameters::read(request.query_string(), PARAMETERS)?;
    let (searched, paging) = (parameters.text("q")?, parameters.paging(ROWS_MAX)?);
    let found = packages::list(&service, searched.clone(), paging).await?;
    let top = Top::from(request.path());
    let lately = service.accounts.as_ref().map(|accounts| accounts.lock().packages(INSTALLED_MAX));
    let content = html! {
        (list(top, &searched, paging, &found))
        (installed(top, &lately.unwrap_or_default()))
    };
    Ok(page(top, Tab::Packages, "Packages", &content))
}

pub(super) async fn get(
    service: Data<Service>,
    request: HttpRequest,
    digest: Path<String>,
) -> Result<HttpResponse, HttpError> {
    let package = packages::package(&service, &digest).await?;
    let top = Top::from(request.path());
    Ok(page(top, Tab::Other, &package.name, &content(top, &package, accounts::now())))
}

fn list(top: Top, searched: &str, paging: Paging, found: &Packages) -> Markup {
    let columns = [("Package", false), ("Size", true)];
    let rows = html! { @for package in &found.packages {
        @let digest = package.digest.strip_prefix("sha256:").unwrap_or(&package.digest);
        tr {
            th scope="row" { a href=(top.to(&format!("packages/{digest}"))) { (package.path) } }
            (parts::bytes(package.bytes))
        }
    } };
    html! {
        h1 { "Packages " span.count { (text::number(found.total as u64)) } }
        form.search role="search" aria-label="Packages" {
            label { "Path or digest " input type="search" name="q" value=(searched) maxlength="200" autocomplete="off"; }
            button { "Search" }
        }
        @if found.packages.is_empty() {
            p.empty { "No package is called that." }
        } @else {
            (table("Packages", &columns, &rows))
        }
        (pager(paging, found.packages.len(), found.matching, |offset| {
            query(&[("q", searched), ("offset", &offset.to_string())], "main")
        }))
    }
}

fn installed(top: Top, packages: &[InstalledPackage]) -> Markup {
    let columns = [("Package", false), ("Installs within a month", true), ("Last in the hour from", true)];
    let rows = html! { @for package in packages {
        tr {
            th scope="row" { a href=(top.to(&format!("packages/{}", package.package))) { (package.name) } }
            (parts::number(package.installs))
            td.number { (text::day(package.last)) " " (text::clock(package.last)) " UTC" }
        }
    } };
    html! {
        section aria-labelledby="lately-title" {
            h2 #lately-title { "Installed lately" }
            @if packages.is_empty() {
                p.empty { "Nothing, as far as hosts have told." }
            } @else {
                (table("Installed lately", &columns, &rows))
            }
        }
    }
}

/// How a package spread: by minute for some hours, and by day for a month.
fn spread(spread: &PackageSpread, now: u64) -> Markup {
    let draw = |label, step: u64, count: usize, amounts: &[(u64, u32)]| {
        let since = (now / step + 1).saturating_sub(count as u64) * step;
        let bars =
            chart::bars(since, step, count, amounts.iter().map(|(at, count)| (*at, [u64::from(*count)])));
        Chart { label, parts: [("near", "installs")], written: text::number, since, step, bars }.draw()
    };
    html! {
        section aria-labelledby="spread-title" {
            h2 #spread-title { "How it spread" }
            div.pair {
                (draw("Installs by minute", 60, MINUTES, &spread.minutes))
                (draw("Installs by day", 24 * 3600, DAYS, &spread.hours))
            }
        }
    }
}

fn content(top: Top, package: &Package, now: u64) -> Markup {
    html! {
        h1 { (package.name) }
        p.about { code { (package.digest) } }
        dl.figures {
            (figure("Size", &text::bytes(package.bytes), &html! {
                (text::count(package.bytes, "byte"))
            }))
            @if let Some(home) = &package.home {
                (figure("Hosts with all of its bundle", &text::number(home.complete.into()), &html! {
                    (text::count(home.incomplete.into(), "host")) " fetching"
                }))
            }
        }
        @if let Some(known) = &package.spread { (spread(known, now)) }
        section aria-labelledby="home-title" {
            h2 #home-title { "Where it is shared" }
            @match &package.home {
                Some(home) => { p { "In the bundle of " (swarms::name(top, home)) "." } (swarms::first_copies(home)) }
                None => { p.empty { "Nobody has asked for it lately." } }
            }
        }
        section aria-labelledby="places-title" {
            h2 #places-title { "Where it lies on the mirror" }
            @if package.paths.is_empty() {
                p.empty { "It is gone from the mirror; hosts that have it share it on." }
            } @else {
                ul.paths { @for path in &package.paths { li { (path) } } }
            }
        }
    }
}
