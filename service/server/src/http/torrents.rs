//! Bundles as `.torrent` files and as bare info dictionaries.

use actix_web::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, ETAG};
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use pkgtorrent_protocol::InfoHash;
use pkgtorrent_protocol::metainfo::Metainfo;
use sha1::{Digest, Sha1};

use crate::metering;

use super::error::HttpError;
use super::{PREFIX, Service};

pub(super) async fn get_torrent(
    service: Data<Service>,
    request: HttpRequest,
    info_hash: Path<String>,
) -> Result<HttpResponse, HttpError> {
    let info_hash = info_hash.parse().map_err(|_| HttpError::NotFound)?;
    let base_url = service.base_url(&request)?;
    torrent(&service, info_hash, &base_url).await
}

pub(super) async fn get_info(
    service: Data<Service>,
    info_hash: Path<String>,
) -> Result<HttpResponse, HttpError> {
    let info_hash: InfoHash = info_hash.parse().map_err(|_| HttpError::NotFound)?;
    let info = service.planner.info(info_hash).await?.ok_or(HttpError::NotFound)?;
    metering::INFO_BYTES.add(info.len() as u64);
    Ok(HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "public, max-age=31536000, immutable"))
        .insert_header((ETAG, format!("\"{info_hash}\"")))
        .content_type("application/octet-stream")
        .body(info))
}

/// The `.torrent` of a bundle, its URLs below `base_url`.
pub(super) async fn torrent(
    service: &Service,
    info_hash: InfoHash,
    base_url: &str,
) -> Result<HttpResponse, HttpError> {
    let info = service.planner.info(info_hash).await?.ok_or(HttpError::NotFound)?;
    let metainfo = Metainfo {
        info: info.to_vec(),
        trackers: announce_list(info_hash, &service.settings.load().trackers, format!("{base_url}/announce")),
        web_seeds: vec![web_seed(base_url)],
    };
    let body = metainfo.encode().map_err(|error| {
        tracing::error!("bundle {info_hash}: {error}");
        HttpError::Internal
    })?;
    // Its URLs depend on how it was asked for, so it is nobody's to keep.
    Ok(HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header((CONTENT_DISPOSITION, format!("attachment; filename=\"{info_hash}.torrent\"")))
        .content_type("application/x-bittorrent")
        .body(body))
}

/// The base URL of web seeds.
pub(super) fn web_seed(base_url: &str) -> String {
    format!("{base_url}{PREFIX}/v1/webseed/")
}

/// Every tracker in a tier of its own, so that a swarm meets at the first one that answers. The order is by a hash of
/// tracker and swarm: each tracker comes first for its share of the swarms, and stays there when others come and go.
fn announce_list(info_hash: InfoHash, trackers: &[String], own: String) -> Vec<Vec<String>> {
    let mut trackers: Vec<&String> = trackers.iter().collect();
    trackers.sort_by_cached_key(|url| Sha1::new().chain_update(info_hash.0).chain_update(url).finalize());
    trackers.into_iter().cloned().chain([own]).map(|url| vec![url]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swarms_spread_over_the_trackers_and_stay_where_they_are() {
        let trackers: Vec<String> = (0..4).map(|n| format!("http://t{n}.example/announce")).collect();
        let order = |n: u8, trackers: &[String]| announce_list(InfoHash([n; 20]), trackers, "own".into());
        let mut first = std::collections::BTreeMap::new();
        for n in 0..200 {
            let tiers = order(n, &trackers);
            assert_eq!(tiers.len(), 5);
            assert_eq!(tiers.last(), Some(&vec!["own".to_owned()]));
            *first.entry(tiers[0][0].clone()).or_insert(0) += 1;
            // Without the last tracker, whoever was first elsewhere still is.
            let fewer = order(n, &trackers[..3]);
            assert!(tiers[0][0] == trackers[3] || tiers[0] == fewer[0]);
        }
        assert!(first.len() == 4 && first.values().all(|&count| count > 25), "{first:?}");
    }
}
