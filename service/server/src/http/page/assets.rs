//! The page's script, style sheet and icon. Their names have their digests in them, so that a browser asks once for each.

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use actix_web::web::Path;
use sha2::{Digest, Sha256};

use crate::http::error::HttpError;

/// One file of the page.
pub(super) struct Asset {
    /// Its name without the digest, and what stands behind that.
    stem: &'static str,
    extension: &'static str,
    media_type: &'static str,
    content: &'static str,
}

pub(super) const SCRIPT: Asset = Asset {
    stem: "page",
    extension: "js",
    media_type: "text/javascript; charset=utf-8",
    content: include_str!("assets/page.js"),
};

pub(super) const STYLE: Asset = Asset {
    stem: "page",
    extension: "css",
    media_type: "text/css; charset=utf-8",
    content: include_str!("assets/page.css"),
};

pub(super) const ICON: Asset = Asset {
    stem: "icon",
    extension: "svg",
    media_type: "image/svg+xml",
    content: include_str!("assets/icon.svg"),
};

impl Asset {
    /// Its path below the top page.
    pub(super) fn path(&self) -> String {
        format!("assets/{}", self.name())
    }

    pub(super) fn media_type(&self) -> &'static str {
        self.media_type
    }

    fn name(&self) -> String {
        let digest = Sha256::digest(self.content);
        let digest: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{}.{digest}.{}", self.stem, self.extension)
    }
}

pub(super) async fn get(name: Path<String>) -> Result<HttpResponse, HttpError> {
    let asset = [SCRIPT, STYLE, ICON].into_iter().find(|asset| asset.name() == *name);
    let asset = asset.ok_or(HttpError::NotFound)?;
    Ok(HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "public, max-age=31536000, immutable"))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .content_type(asset.media_type)
        .body(asset.content))
}
