//! The read-only API behind the page, for whoever wants to see the same in a program: typed answers, of which the document
//! at `openapi.json` is made.

pub(crate) mod answers;
pub(crate) mod fleet;
pub(crate) mod health;
pub(crate) mod packages;
pub(crate) mod parameters;
pub(crate) mod swarms;

use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::{HttpResponse, ResponseError, Route, web};
use serde::Serialize;
use utoipa::OpenApi;

use super::error::HttpError;
use super::{PREFIX, get_and_head, only};
use answers::Refused;

/// What the API is made of, but for this document itself.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "pkgtorrent-service",
        description = "What the service has and does. Everything can be read and nothing changed. Fields may be added, and none is ever taken away or changed."
    ),
    servers((url = "/pkgtorrent/api/v1")),
    paths(
        fleet::get,
        fleet::get_fallbacks,
        fleet::get_history,
        fleet::get_packages,
        fleet::get_sites,
        fleet::get_slowest,
        packages::get,
        packages::get_all,
        swarms::get,
        swarms::get_all
    )
)]
struct Document;

/// Every path and who answers for it.
fn routes() -> Vec<(&'static str, [Route; 2])> {
    vec![
        ("/history", get_and_head(fleet::get_history)),
        ("/installs/fallbacks", get_and_head(fleet::get_fallbacks)),
        ("/installs/packages", get_and_head(fleet::get_packages)),
        ("/installs/slowest", get_and_head(fleet::get_slowest)),
        ("/overview", get_and_head(fleet::get)),
        ("/packages", get_and_head(packages::get_all)),
        ("/packages/{digest}", get_and_head(packages::get)),
        ("/sites", get_and_head(fleet::get_sites)),
        ("/swarms", get_and_head(swarms::get_all)),
        ("/swarms/{info_hash}", get_and_head(swarms::get)),
    ]
}

/// Wires the API's paths to their endpoints.
pub(super) fn configure(config: &mut web::ServiceConfig) {
    let resource = |path: &str| web::resource(format!("{PREFIX}/api/v1{path}"));
    for (path, routes) in routes() {
        config.service(only("api", resource(path), routes));
    }
    config.service(only("api", resource("/openapi.json"), get_and_head(document)));
}

async fn document() -> Result<HttpResponse, ApiError> {
    answer(&Document::openapi())
}

/// An answer that holds for a moment.
fn answer(answer: &impl Serialize) -> Result<HttpResponse, ApiError> {
    let body = serde_json::to_vec(answer).map_err(|_| HttpError::Internal)?;
    Ok(HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .content_type("application/json")
        .body(body))
}

/// An answer that is none, in the form of the others.
#[derive(Debug)]
pub(crate) struct ApiError(HttpError);

impl<E: Into<HttpError>> From<E> for ApiError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.0.status_code()
    }

    fn error_response(&self) -> HttpResponse {
        let response = self.0.error_response().drop_body();
        let refused = Refused { error: self.to_string() };
        // A struct of one text always encodes.
        let body = serde_json::to_vec(&refused).unwrap_or_default();
        let mut response = response.set_body(actix_web::body::BoxBody::new(body));
        let json = actix_web::http::header::HeaderValue::from_static("application/json");
        response.headers_mut().insert(actix_web::http::header::CONTENT_TYPE, json);
        response
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_path_is_in_the_document_and_the_other_way_round() {
        let document = Document::openapi();
        let documented: BTreeSet<&str> = document.paths.paths.keys().map(String::as_str).collect();
        let answered: BTreeSet<&str> = routes().iter().map(|(path, _)| *path).collect();
        assert_eq!(documented, answered);
    }
}
