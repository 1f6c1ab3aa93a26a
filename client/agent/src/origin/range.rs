//! One range of a file over HTTP, whatever the server makes of the request.

use std::ops::Range;

use bytes::Bytes;
use reqwest::header::CONTENT_RANGE;
use reqwest::{StatusCode, Url};
use tokio::sync::mpsc;

use super::errors::RequestError;
use super::http::{Answer, Asked, Http, broken, refused};

/// What is wanted of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeRequest {
    /// Where the file is.
    pub url: Url,
    /// The size of the whole file in bytes.
    pub size: u64,
    /// Which of its bytes are wanted: some, and none beyond its end.
    pub range: Range<u64>,
}

/// Why a range did not come, or not all of it.
pub type RangeError = RequestError;

/// How a range came, when nothing went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RangeReport {
    /// The server knows no ranges and sent the file from its start: what stood before the range was thrown away.
    pub ranges_ignored: bool,
    /// Nobody wanted the rest any more.
    pub cancelled: bool,
}

/// What comes of a dropped receiver.
const CANCELLED: RangeReport = RangeReport { ranges_ignored: false, cancelled: true };

/// Fetches a range and sends its bytes, in order, to `bytes`. When the receiver is dropped it stops at once.
///
/// The time for which a full channel holds this up does not count against the server.
pub async fn read_range(
    http: &Http,
    request: RangeRequest,
    bytes: mpsc::Sender<Bytes>,
) -> Result<RangeReport, RangeError> {
    tokio::select! {
        biased;
        () = bytes.closed() => Ok(CANCELLED),
        result = read(http, &request, &bytes) => result,
    }
}

async fn read(
    http: &Http,
    request: &RangeRequest,
    bytes: &mpsc::Sender<Bytes>,
) -> Result<RangeReport, RangeError> {
    let RangeRequest { url, size, range } = request;
    if range.is_empty() || range.end > *size {
        return Err(refused(url, format!("there are no bytes {range:?} in a file of {size}")));
    }
    let is_whole = *range == (0..*size);
    let asked = if is_whole { Asked::Get(url) } else { Asked::Range(url, range.clone()) };
    let mut answer = http.send(asked, http.head_patience()).await?;
    let sent = match answer.status() {
        StatusCode::OK => 0..*size,
        StatusCode::PARTIAL_CONTENT if !is_whole => {
            check_content_range(&answer, request)?;
            range.clone()
        }
        StatusCode::PARTIAL_CONTENT => return Err(refused(url, "a part came where the whole was asked for")),
        status if status.is_success() => return Err(refused(url, format!("{status} is no answer"))),
        _ => return Err(answer.into_error().await),
    };
    let sent_len = sent.end - sent.start;
    if let Some(len) = answer.len().filter(|&len| len != sent_len) {
        return Err(refused(url, format!("the answer has {len} bytes and not {sent_len}")));
    }
    let mut at = sent.start;
    while at < range.end {
        let Some(chunk) = answer.next().await? else {
            let (came, wanted) = (at - sent.start, sent_len);
            return Err(broken(url, format!("closed early after {came} of {wanted} bytes")));
        };
        let wanted = overlap(&chunk, at, range);
        at += chunk.len() as u64;
        if !wanted.is_empty() && bytes.send(wanted).await.is_err() {
            return Ok(CANCELLED);
        }
    }
    // To be used again, a connection must have been read to the answer's end. What follows a range that was cut out of
    // a whole file may be long: that connection is given up.
    if sent.end == range.end && (at > sent.end || answer.next().await?.is_some()) {
        return Err(refused(url, format!("the answer has more than {sent_len} bytes")));
    }
    Ok(RangeReport { ranges_ignored: sent != *range, cancelled: false })
}

/// What a chunk that begins at `at` has of the range.
fn overlap(chunk: &Bytes, at: u64, range: &Range<u64>) -> Bytes {
    let len = chunk.len() as u64;
    let start = range.start.saturating_sub(at).min(len);
    let end = range.end.saturating_sub(at).min(len);
    // Both are at most the chunk's length.
    chunk.slice(start as usize..end as usize)
}

fn check_content_range(answer: &Answer, request: &RangeRequest) -> Result<(), RequestError> {
    let RangeRequest { url, size, range } = request;
    let value = answer.header(&CONTENT_RANGE).unwrap_or("no range");
    let place = format!("bytes {}-{}/", range.start, range.end - 1);
    match value.strip_prefix(place.as_str()) {
        Some(total) if total == "*" || total == size.to_string() => Ok(()),
        _ => Err(refused(url, format!("asked for {place}{size}, the answer has {value:?}"))),
    }
}
