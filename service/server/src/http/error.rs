//! What goes wrong while answering, and what the client is told of it: no more than it can use.

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, RETRY_AFTER};
use actix_web::{HttpResponse, ResponseError};
use pkgtorrent_protocol::PackageDigest;
use pkgtorrent_protocol::service::{SERVICE_HEADER, ServiceVersion};

use crate::planner::PlanError;
use crate::registry::Busy;

/// How many unknown packages an error names.
const NAMED_MAX: usize = 20;

/// An answer that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HttpError {
    /// The request makes no sense; the text says why.
    #[error("{0}")]
    BadRequest(String),
    /// What hosts do is not written down here.
    #[error("no accounts are kept here: see `accounts` in service.toml")]
    NoAccounts,
    /// Who asks is a stranger.
    #[error("who installs what is told inside of peer_networks only")]
    Outside,
    /// There is no such thing.
    #[error("not found")]
    NotFound,
    /// The set was not asked for before: its packages are wanted.
    #[error("this set is not known: POST its packages to /pkgtorrent/v1/sets")]
    UnknownSet,
    /// The set's torrent would lack these.
    #[error("{} packages of the set are not known here: {}", .0.len(), named(.0))]
    UnknownPackages(Vec<PackageDigest>),
    /// The set fits no torrent.
    #[error("{0}")]
    TooLarge(String),
    /// The request names a Host that is not ours.
    #[error("this service does not answer for the host {0:?}: see allowed_hosts and public_url")]
    ForeignHost(String),
    /// The request takes too long to arrive.
    #[error("the request did not arrive in time")]
    TooSlow,
    /// There is too much to do.
    #[error("the service is overloaded, try again")]
    Busy,
    /// Something broke; the log says what.
    #[error("internal error")]
    Internal,
}

fn named(packages: &[PackageDigest]) -> String {
    let names: Vec<String> = packages.iter().take(NAMED_MAX).map(ToString::to_string).collect();
    names.join(" ")
}

fn version() -> String {
    ServiceVersion::of(env!("CARGO_PKG_VERSION")).to_string()
}

impl ResponseError for HttpError {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::NotFound | Self::NoAccounts | Self::UnknownPackages(_) => StatusCode::NOT_FOUND,
            Self::Outside => StatusCode::FORBIDDEN,
            Self::UnknownSet => StatusCode::PRECONDITION_FAILED,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::ForeignHost(_) => StatusCode::MISDIRECTED_REQUEST,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        // A proxy must not remember a failure: the next moment may bring what was missing.
        response.insert_header((CACHE_CONTROL, "no-store")).content_type("text/plain; charset=utf-8");
        match self {
            Self::Busy => drop(response.insert_header((RETRY_AFTER, "1"))),
            // Whoever looks for what is wrong with a host asks for a set that nobody has.
            Self::UnknownSet => drop(response.insert_header((SERVICE_HEADER, version()))),
            // What is left of the request would be taken for the next one.
            Self::TooSlow | Self::TooLarge(_) => drop(response.force_close()),
            _ => {}
        }
        response.body(format!("{self}\n"))
    }
}

impl From<PlanError> for HttpError {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Busy => Self::Busy,
            PlanError::Abandoned => Self::Internal,
            PlanError::Unknown(packages) => Self::UnknownPackages(packages),
            PlanError::NoTorrent(_) => Self::TooLarge(error.to_string()),
        }
    }
}

impl From<Busy> for HttpError {
    fn from(Busy: Busy) -> Self {
        Self::Busy
    }
}
