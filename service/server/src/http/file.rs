//! Answering with a file: validators, conditions, ranges, or a word to nginx to do it.

use std::fs::File;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use actix_web::http::header::{self, HeaderMap};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use super::range::{self, Ranges};
use crate::body::{Pace, Part, PartsBody};
use crate::fingerprint::Look;

/// Between the parts of an answer with several ranges. No file is searched for it: parts have lengths.
const BOUNDARY: &str = "pkgtorrent-part-8f2c61d09e";

/// What is sent.
pub(crate) enum Content<'a> {
    /// A file, and its path below the root.
    File(File, Look, &'a Path),
    /// So many zeros.
    Zeros(u64),
}

/// How it is sent.
pub(crate) struct Sending<'a> {
    pub(crate) etag: String,
    pub(crate) modified: Option<SystemTime>,
    pub(crate) content_type: &'static str,
    pub(crate) cache_control: &'static str,
    pub(crate) pace: Pace,
    pub(crate) counter: metrics::Counter,
    /// Where nginx serves the root.
    pub(crate) accel_redirect: Option<&'a str>,
}

/// What a URL's path keeps as it is.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Answers a GET or HEAD.
pub(crate) fn respond(request: &HttpRequest, content: Content<'_>, sending: &Sending<'_>) -> HttpResponse {
    let headers = request.headers();
    let len = match &content {
        Content::File(_, look, _) => look.fingerprint.size(),
        Content::Zeros(len) => *len,
    };
    if fails_precondition(headers, sending) {
        return HttpResponse::PreconditionFailed()
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .finish();
    }
    if is_unmodified(headers, sending) {
        return describe(StatusCode::NOT_MODIFIED, sending).finish();
    }
    if let (Content::File(_, _, path), Some(location)) = (&content, sending.accel_redirect) {
        return redirect_inside(path, location, sending);
    }
    let ranges = match headers.get(header::RANGE).and_then(|value| value.to_str().ok()) {
        Some(value) if range_applies(headers, sending) => range::parse(value, len),
        _ => Ranges::Whole,
    };
    let whole = |from, to| match &content {
        Content::File(..) => Part::File(from, to),
        Content::Zeros(_) => Part::Zeros(to - from),
    };
    let (mut response, parts) = match ranges {
        Ranges::Unsatisfiable => {
            return HttpResponse::RangeNotSatisfiable()
                .insert_header((header::CONTENT_RANGE, format!("bytes */{len}")))
                .insert_header((header::CACHE_CONTROL, "no-store"))
                .finish();
        }
        Ranges::Whole => (describe(StatusCode::OK, sending), vec![whole(0, len)]),
        Ranges::Parts(ranges) => {
            let mut response = describe(StatusCode::PARTIAL_CONTENT, sending);
            if let [one] = ranges.as_slice() {
                response.insert_header((header::CONTENT_RANGE, content_range(one, len)));
                (response, vec![whole(one.start, one.end)])
            } else {
                let kind = format!("multipart/byteranges; boundary={BOUNDARY}");
                response.insert_header((header::CONTENT_TYPE, kind));
                (response, multipart(&ranges, len, sending.content_type, whole))
            }
        }
    };
    let source = match content {
        Content::File(file, look, _) => Some((file, look)),
        Content::Zeros(_) => None,
    };
    let body = PartsBody::new(source, parts, sending.pace, sending.counter.clone());
    response.body(if request.method() == Method::HEAD { body.without_content() } else { body })
}

fn describe(status: StatusCode, sending: &Sending<'_>) -> HttpResponseBuilder {
    let mut response = HttpResponse::build(status);
    response
        .insert_header((header::ETAG, sending.etag.as_str()))
        .insert_header((header::ACCEPT_RANGES, "bytes"))
        .insert_header((header::CACHE_CONTROL, sending.cache_control));
    if status != StatusCode::NOT_MODIFIED {
        response.insert_header((header::CONTENT_TYPE, sending.content_type));
    }
    if let Some(modified) = sending.modified {
        response.insert_header((header::LAST_MODIFIED, httpdate::fmt_http_date(modified)));
    }
    response
}

/// Tells nginx which file to send. It does ranges itself, by the ETag that we give it; the name of the cache header is
/// another, because nginx would keep the usual one even on an error of its own.
fn redirect_inside(path: &Path, location: &str, sending: &Sending<'_>) -> HttpResponse {
    use std::os::unix::ffi::OsStrExt;
    let target = format!("{location}{}", percent_encode(path.as_os_str().as_bytes(), PATH));
    let mut response = describe(StatusCode::OK, sending);
    response
        .insert_header(("X-Accel-Redirect", target))
        .insert_header(("X-Pkgtorrent-Cache-Control", sending.cache_control));
    let mut response = response.finish();
    response.headers_mut().remove(header::CACHE_CONTROL);
    response
}

fn content_range(range: &std::ops::Range<u64>, len: u64) -> String {
    format!("bytes {}-{}/{len}", range.start, range.end - 1)
}

fn multipart(
    ranges: &[std::ops::Range<u64>],
    len: u64,
    content_type: &str,
    part: impl Fn(u64, u64) -> Part,
) -> Vec<Part> {
    let mut parts = Vec::with_capacity(ranges.len() * 2 + 1);
    for range in ranges {
        let head = format!(
            "\r\n--{BOUNDARY}\r\nContent-Type: {content_type}\r\nContent-Range: {}\r\n\r\n",
            content_range(range, len)
        );
        parts.push(Part::Bytes(Bytes::from(head)));
        parts.push(part(range.start, range.end));
    }
    parts.push(Part::Bytes(Bytes::from(format!("\r\n--{BOUNDARY}--\r\n"))));
    parts
}

fn text<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn date(headers: &HeaderMap, name: &header::HeaderName) -> Option<SystemTime> {
    text(headers, name).and_then(|value| httpdate::parse_http_date(value).ok())
}

/// The time as HTTP can say it.
fn in_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn names(list: &str, etag: &str) -> bool {
    list.split(',').map(str::trim).any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == etag)
}

fn fails_precondition(headers: &HeaderMap, sending: &Sending<'_>) -> bool {
    if let Some(list) = text(headers, &header::IF_MATCH) {
        return !names(list, &sending.etag);
    }
    match (date(headers, &header::IF_UNMODIFIED_SINCE), sending.modified) {
        (Some(since), Some(modified)) => in_seconds(modified) > in_seconds(since),
        _ => false,
    }
}

fn is_unmodified(headers: &HeaderMap, sending: &Sending<'_>) -> bool {
    if let Some(list) = text(headers, &header::IF_NONE_MATCH) {
        return names(list, &sending.etag);
    }
    match (date(headers, &header::IF_MODIFIED_SINCE), sending.modified) {
        (Some(since), Some(modified)) => in_seconds(modified) <= in_seconds(since),
        _ => false,
    }
}

/// Whether If-Range lets the Range count: only for the very same version.
fn range_applies(headers: &HeaderMap, sending: &Sending<'_>) -> bool {
    let Some(value) = text(headers, &header::IF_RANGE) else {
        return true;
    };
    if value.starts_with('"') || value.starts_with("W/") {
        return value == sending.etag;
    }
    match (httpdate::parse_http_date(value).ok(), sending.modified) {
        (Some(named), Some(modified)) => in_seconds(named) == in_seconds(modified),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;
    use std::time::Duration;

    fn answer(request: TestRequest) -> HttpResponse {
        let sending = Sending {
            etag: "\"abc\"".into(),
            modified: Some(UNIX_EPOCH + Duration::from_secs(1_000_000)),
            content_type: "application/x-rpm",
            cache_control: "max-age=1",
            pace: Pace { min_rate: 0, grace: Duration::ZERO },
            counter: metrics::Counter::noop(),
            accel_redirect: None,
        };
        respond(&request.to_http_request(), Content::Zeros(100), &sending)
    }

    fn status(headers: &[(&str, &str)]) -> u16 {
        let request = headers.iter().fold(TestRequest::get(), |request, &pair| request.insert_header(pair));
        answer(request).status().as_u16()
    }

    #[test]
    fn conditions_are_weighed_as_the_standard_says() {
        let (then, later) = ("Mon, 12 Jan 1970 13:46:40 GMT", "Mon, 12 Jan 1970 13:46:41 GMT");
        let before = "Mon, 12 Jan 1970 13:46:39 GMT";
        for (headers, expected) in [
            (&[][..], 200),
            (&[("if-none-match", "\"abc\"")], 304),
            (&[("if-none-match", "W/\"abc\"")], 304),
            (&[("if-none-match", "\"x\", \"abc\"")], 304),
            (&[("if-none-match", "\"x\"")], 200),
            (&[("if-none-match", "\"x\""), ("if-modified-since", later)], 200),
            (&[("if-modified-since", then)], 304),
            (&[("if-modified-since", before)], 200),
            (&[("if-modified-since", "nonsense")], 200),
            (&[("if-match", "\"x\"")], 412),
            (&[("if-match", "*")], 200),
            (&[("if-unmodified-since", before)], 412),
            (&[("if-unmodified-since", then)], 200),
            (&[("range", "bytes=0-1")], 206),
            (&[("range", "bytes=100-")], 416),
            (&[("range", "bytes=0-1"), ("if-range", "\"abc\"")], 206),
            (&[("range", "bytes=0-1"), ("if-range", "\"x\"")], 200),
            (&[("range", "bytes=0-1"), ("if-range", "W/\"abc\"")], 200),
            (&[("range", "bytes=0-1"), ("if-range", then)], 206),
            (&[("range", "bytes=0-1"), ("if-range", later)], 200),
        ] {
            assert_eq!(status(headers), expected, "{headers:?}");
        }
    }

    #[actix_web::test]
    async fn several_ranges_come_as_parts_with_their_places() {
        let response = answer(TestRequest::get().insert_header(("range", "bytes=0-1,98-")));
        assert_eq!(response.status(), 206);
        let body = actix_web::body::to_bytes(response.into_body()).await.expect("a body");
        let text = String::from_utf8(body.to_vec()).expect("zeros are characters too");
        assert!(text.contains("Content-Range: bytes 0-1/100\r\n\r\n\0\0\r\n--"), "{text:?}");
        assert!(text.contains("Content-Range: bytes 98-99/100\r\n\r\n\0\0\r\n--"), "{text:?}");
    }
}
