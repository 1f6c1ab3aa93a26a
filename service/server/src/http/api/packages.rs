//! Packages below the root: searched for, and one of them with its home.

use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use pkgtorrent_protocol::PackageDigest;

use super::answers::{ListedPackage, Package, Packages, Refused};
use super::parameters::{Paging, Parameters, ROWS_MAX};
use super::{ApiError, answer, swarms};
use crate::catalog::Located;
use crate::http::Service;
use crate::http::error::HttpError;

/// The parameters of a list of packages.
pub(crate) const PARAMETERS: &[&str] = &["q", "offset", "limit"];

/// How many places of a package are named.
const PLACES_MAX: usize = 20;

/// Packages by a part of their path, or the beginning of their digest.
#[utoipa::path(get, path = "/packages", params(
    ("q" = Option<String>, Query, description = "a part of the path, or the beginning of the digest"),
    ("offset" = Option<usize>, Query, description = "how many to leave out, from the first one on"),
    ("limit" = Option<usize>, Query, description = "how many to list, at most 100"),
), responses((status = OK, body = Packages), (status = BAD_REQUEST, body = Refused), (status = SERVICE_UNAVAILABLE, body = Refused)))]
pub(super) async fn get_all(service: Data<Service>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let parameters = Parameters::read(request.query_string(), PARAMETERS)?;
    answer(&list(&service, parameters.text("q")?, parameters.paging(ROWS_MAX)?).await?)
}

/// One package.
#[utoipa::path(get, path = "/packages/{digest}", params(
    ("digest" = String, Path, description = "its SHA-256 in hexadecimal, or any digest with its algorithm, like sha1:<hex>"),
), responses(
    (status = OK, body = Package),
    (status = BAD_REQUEST, body = Refused), (status = SERVICE_UNAVAILABLE, body = Refused),
    (status = NOT_FOUND, body = Refused),
))]
pub(super) async fn get(
    service: Data<Service>,
    request: HttpRequest,
    digest: Path<String>,
) -> Result<HttpResponse, ApiError> {
    Parameters::read(request.query_string(), &[])?;
    answer(&package(&service, &digest).await?)
}

/// The packages that are asked for.
pub(crate) async fn list(service: &Service, text: String, paging: Paging) -> Result<Packages, HttpError> {
    let catalog = service.packages.catalog();
    let searching = move || {
        let mut found = catalog.search(&text);
        found.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        let matching = found.len();
        let packages = paging.of(found).iter().map(listed).collect();
        Packages { total: catalog.packages(), matching, offset: paging.offset, packages }
    };
    Ok(service.searching.run(searching).await?)
}

fn listed(located: &Located) -> ListedPackage {
    ListedPackage { digest: located.listed.to_string(), path: path(located), bytes: located.size }
}

fn path(located: &Located) -> String {
    format!("/{}", located.path.display())
}

/// One package, if it is below the root or in a bundle.
pub(crate) async fn package(service: &Service, digest: &str) -> Result<Package, HttpError> {
    let named = if digest.contains(':') { digest.to_owned() } else { format!("sha256:{digest}") };
    let digest: PackageDigest = named.parse().map_err(|_| HttpError::NotFound)?;
    let identity = service.packages.identity(&digest);
    let home = service.registry.run(move |registry| {
        let info_hash = registry.tracker.home_of(&identity?)?;
        Some((registry.tracker.view(&info_hash)?.overview, registry.bundle(&info_hash)?))
    });
    let home = home.await?;
    let catalog = service.packages.catalog();
    let digests = identity.map_or_else(|| vec![digest], |identity| service.packages.digests(identity));
    let places: Vec<Located> = digests.iter().flat_map(|digest| catalog.locate(digest)).collect();
    let bundled = home.as_ref().and_then(|(_, bundle)| {
        let member = bundle.packages.iter().find(|package| Some(package.identity) == identity)?;
        Some((member.name.as_str().to_owned(), member.size))
    });
    let in_catalog = places
        .first()
        .and_then(|located| Some((located.path.file_name()?.to_string_lossy().into_owned(), located.size)));
    let (name, bytes) = in_catalog.or(bundled).ok_or(HttpError::NotFound)?;
    Ok(Package {
        digest: digest.to_string(),
        sha256: identity.map(|identity| identity.to_string()),
        name,
        bytes,
        paths: places.iter().take(PLACES_MAX).map(path).collect(),
        spread: identity.and_then(|identity| service.accounts.as_ref()?.lock().spread_of(&identity)),
        home: home.map(|(overview, bundle)| swarms::swarm(&overview, &bundle)),
    })
}
