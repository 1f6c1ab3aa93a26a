//! The web seed (BEP 19): packages by their digest, and padding, which is made as it is sent.

use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use pkgtorrent_protocol::Sha256Digest;
use pkgtorrent_protocol::metainfo::{BUNDLE_NAME, PADDING_DIRECTORY, padding_len};

use super::Service;
use super::error::HttpError;
use super::file::{Content, Sending, respond};

/// A path names its content for ever.
const FOREVER: &str = "public, max-age=31536000, immutable";

pub(super) async fn get(
    service: Data<Service>,
    request: HttpRequest,
    path: Path<String>,
) -> Result<HttpResponse, HttpError> {
    let parts: Vec<&str> = path.split('/').collect();
    let [bundle, directory, name] = parts.as_slice() else {
        return Err(HttpError::NotFound);
    };
    if *bundle != BUNDLE_NAME {
        return Err(HttpError::NotFound);
    }
    let settings = service.settings.load();
    let sending = |etag| Sending {
        etag,
        modified: None,
        content_type: "application/octet-stream",
        cache_control: FOREVER,
        pace: service.pace(),
        counter: service.web_seed.counter(),
        accel_redirect: settings.accel_redirect.as_deref(),
    };
    if *directory == PADDING_DIRECTORY {
        let len = padding_len(name).ok_or(HttpError::NotFound)?;
        return Ok(respond(&request, Content::Zeros(len.into()), &sending(format!("\"zeros-{len}\""))));
    }
    // The file name is for people and for foreign clients' disks: the digest alone says what is wanted.
    let identity: Sha256Digest = directory.parse().map_err(|_| HttpError::NotFound)?;
    let opened = service.packages.open(identity).await.ok_or(HttpError::NotFound)?;
    let (file, look, path) = opened;
    let sending = Sending { content_type: "application/x-rpm", ..sending(format!("\"{identity}\"")) };
    Ok(respond(&request, Content::File(file, look, &path), &sending))
}
