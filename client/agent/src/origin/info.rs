//! Info dictionaries, and the URLs of the packages in them.

use std::sync::Arc;

use bytes::Bytes;
use pkgtorrent_protocol::InfoHash;
use pkgtorrent_protocol::metainfo::{BUNDLE_NAME, BundleInfo, BundlePackage};
use reqwest::{StatusCode, Url};
use tokio::task::spawn_blocking;

use super::errors::PlanError;
use super::http::{Asked, Http, refused};
use super::plan::CheckedBundle;
use super::service::below;

/// An info dictionary as it was read, and its bytes, which are given to other hosts.
#[derive(Debug, Clone)]
pub struct Info {
    /// What it says.
    pub bundle: Arc<BundleInfo>,
    /// Its bytes.
    pub bytes: Bytes,
}

/// Fetches a bundle's info dictionary. It has the length, the hash and the piece length that the plan says.
pub async fn info(http: &Http, torrents: &Url, bundle: &CheckedBundle) -> Result<Info, PlanError> {
    let url = below(torrents, &format!("{}.info", bundle.info_hash));
    let mut answer = http.send(Asked::Get(&url), http.plan_patience()).await?;
    if answer.status() != StatusCode::OK {
        return Err(answer.into_error().await.into());
    }
    let bytes = answer.body(bundle.info_len).await?;
    if bytes.len() != bundle.info_len {
        let reason = format!("{} bytes came, the plan says {}", bytes.len(), bundle.info_len);
        return Err(refused(&url, reason).into());
    }
    read_info(bytes.into(), bundle, url.to_string()).await
}

/// Reads an info dictionary that came from somewhere.
pub async fn read_info(bytes: Bytes, bundle: &CheckedBundle, from: String) -> Result<Info, PlanError> {
    let (info_hash, piece_len, url) = (bundle.info_hash, bundle.piece_len, from);
    // A large one takes tens of milliseconds, for which everything else would stand still.
    let parsed = spawn_blocking(move || {
        if InfoHash::of(&bytes) != info_hash {
            return Err(PlanError::OtherInfo { url });
        }
        match BundleInfo::parse(&bytes) {
            Err(source) => Err(PlanError::NotABundle { url, source }),
            Ok(info) if info.layout().piece_len() != piece_len => Err(PlanError::OtherPieceLen { url }),
            Ok(info) => Ok(Info { bundle: Arc::new(info), bytes }),
        }
    });
    match parsed.await {
        Ok(result) => result,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

/// Where a web seed has a package (BEP 19).
#[must_use]
pub fn package_url(web_seed: &Url, package: &BundlePackage) -> Url {
    let mut url = web_seed.clone();
    // Only URLs without a host cannot be appended to, and no checked plan has such.
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend([BUNDLE_NAME, &package.identity.to_string(), package.name.as_str()]);
    }
    url
}
