//! Looking at a service without asking it for anything.

use std::time::{Duration, SystemTime};

use pkgtorrent_protocol::service::{SERVICE_HEADER, ServiceVersion};
use pkgtorrent_protocol::{SetDigest, Sha256Digest};
use reqwest::StatusCode;
use reqwest::header::{DATE, HeaderName};
use tokio::time::timeout;

use super::errors::RequestError;
use super::http::{Asked, Http, broken};
use super::service::ServiceUrl;

/// No set has this digest: a service that answers sets does not know it.
const NO_SET: SetDigest = SetDigest(Sha256Digest([0; 32]));

/// What a service shows of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// How it answers a set that it cannot know.
    pub status: StatusCode,
    /// What that means, where it is not what a service answers.
    pub complaint: Option<RequestError>,
    /// What it says it is.
    pub version: Option<ServiceVersion>,
    /// Its clock.
    pub date: Option<SystemTime>,
}

/// Asks a service for a set that it cannot know, and waits so long for all of the answer.
pub async fn look(http: &Http, service: &ServiceUrl, patience: Duration) -> Result<Look, RequestError> {
    let url = service.set(NO_SET, "");
    let looked = async {
        let answer = http.send(Asked::Get(&url), patience).await?;
        let version = answer.header(&HeaderName::from_static(SERVICE_HEADER));
        let version = version.and_then(|text| text.parse().ok());
        let date = answer.header(&DATE).and_then(|text| httpdate::parse_http_date(text).ok());
        let status = answer.status();
        let complaint = match status {
            StatusCode::PRECONDITION_FAILED => None,
            _ => Some(answer.into_error().await),
        };
        Ok(Look { status, complaint, version, date })
    };
    let late = || broken(&url, format!("no answer within {} s", patience.as_secs_f64()));
    timeout(patience, looked).await.unwrap_or_else(|_| Err(late()))
}
