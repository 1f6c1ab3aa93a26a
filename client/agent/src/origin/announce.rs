//! Announces to a service's tracker.

use std::time::Duration;

use pkgtorrent_protocol::announce::{BATCH_SWARMS_MAX, BatchAnnounce, BatchAnswer};
use reqwest::{StatusCode, Url};

use super::errors::PlanError;
use super::http::{Asked, Http, refused};

/// The longest answer that is read: fifty peers of both families for each swarm.
const ANSWER_LEN_MAX: usize = 64 << 10;
const ANSWER_LEN_PER_SWARM: usize = 4 << 10;

/// Announces; so long is waited until the answer begins.
pub async fn announce(
    http: &Http,
    url: &Url,
    batch: &BatchAnnounce,
    patience: Duration,
) -> Result<BatchAnswer, PlanError> {
    let body = serde_json::to_vec(batch).map_err(|error| refused(url, error.to_string()))?;
    let mut answer = http.send(Asked::Post(url, body), patience).await?;
    if answer.status() != StatusCode::OK {
        return Err(answer.into_error().await.into());
    }
    let len_max = ANSWER_LEN_MAX + batch.swarms.len().min(BATCH_SWARMS_MAX) * ANSWER_LEN_PER_SWARM;
    let body = answer.body(len_max).await?;
    serde_json::from_slice(&body)
        .map_err(|error| refused(url, format!("its answer is no announce's: {error}")).into())
}
