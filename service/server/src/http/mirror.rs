//! Everything else: the files below the root, as a mirror that dnf can use.

use std::path::Path;

use crate::metering;

use actix_web::http::header::HeaderValue;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use percent_encoding::percent_decode_str;

use super::error::HttpError;
use super::file::{Content, Sending, respond};
use super::{Service, is_read, method_not_allowed};

/// A second is long enough for a proxy to answer a burst from one copy, and short enough that metadata and packages
/// never disagree for long.
const A_MOMENT: &str = "public, max-age=1, must-revalidate";

pub(super) async fn any(service: Data<Service>, request: HttpRequest) -> Result<HttpResponse, HttpError> {
    if !is_read(request.method()) {
        return Ok(method_not_allowed("GET, HEAD"));
    }
    // The router has not decoded this path: `%2F` and `%00` must not become something else on the way.
    let decoded: Vec<u8> = percent_decode_str(request.uri().path()).collect();
    let path = relative(&decoded).ok_or(HttpError::NotFound)?;
    let (file, look) = service.packages.root().open_file(path).map_err(|error| {
        if error.kind() != std::io::ErrorKind::NotFound {
            tracing::debug!("{path:?}: {error}");
        }
        HttpError::NotFound
    })?;
    let settings = service.settings.load();
    let sending = Sending {
        etag: look.fingerprint.etag(),
        modified: Some(look.fingerprint.modified()),
        content_type: content_type(path),
        cache_control: A_MOMENT,
        pace: service.pace(),
        counter: metering::MIRROR_BYTES.handle(),
        accel_redirect: settings.accel_redirect.as_deref(),
    };
    let mut response = respond(&request, Content::File(file, look, path), &sending);
    // What stands in a repository is never a page of ours.
    let headers = response.headers_mut();
    headers.insert("x-content-type-options".parse().expect("a name"), HeaderValue::from_static("nosniff"));
    Ok(response)
}

/// The path below the root: doubled slashes, as clients join them, are one.
fn relative(decoded: &[u8]) -> Option<&Path> {
    use std::os::unix::ffi::OsStrExt;
    let from = decoded.iter().position(|&b| b != b'/')?;
    let is_directory = decoded.last() == Some(&b'/');
    let path = Path::new(std::ffi::OsStr::from_bytes(&decoded[from..]));
    let has_dots = decoded.split(|&b| b == b'/').any(|part| part == b"." || part == b"..");
    (!is_directory && !has_dots && !decoded.contains(&0) && crate::root::is_clean(path)).then_some(path)
}

fn content_type(path: &Path) -> &'static str {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("rpm" | "drpm") => "application/x-rpm",
        Some("xml") => "text/xml",
        Some("gz") => "application/gzip",
        Some("xz") => "application/x-xz",
        Some("zst" | "zck") => "application/zstd",
        Some("txt" | "asc") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_paths_below_the_root_are_looked_at() {
        let seen = |path: &[u8]| relative(path).map(|path| path.display().to_string());
        assert_eq!(seen(b"/a/b.rpm").as_deref(), Some("a/b.rpm"));
        assert_eq!(seen(b"//a//b.rpm").as_deref(), Some("a//b.rpm"));
        for path in [&b"/"[..], b"", b"/../x", b"/a/../x", b"/a/./x", b"/..", b"/a/", b"/a\0b", b"/a/.."] {
            assert_eq!(seen(path), None, "{}", String::from_utf8_lossy(path));
        }
    }
}
