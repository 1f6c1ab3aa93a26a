//! What comes over HTTP is right or refused, and every wait ends, however a server behaves.

mod plans;
mod proxies;
mod ranges;
mod server;
mod tls;

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use pkgtorrent_agent::origin::{Http, RangeError, RangeReport, RangeRequest, read_range};
use pkgtorrent_agent::settings::{IpVersion, OriginSettings, Proxy};
use reqwest::Url;
use tokio::sync::mpsc;

/// How long servers may stall here. The tests' own limits are far above it.
const STALL: Duration = Duration::from_millis(400);

fn settings() -> OriginSettings {
    OriginSettings {
        connections: 6,
        hosts: Vec::new(),
        proxy: Proxy::None,
        ca_file: None,
        ip_version: IpVersion::Any,
        connect_timeout: Duration::from_millis(600),
        stall_timeout: STALL,
        min_rate: 1000,
    }
}

fn http() -> Http {
    Http::new(&settings()).expect("a client")
}

fn url(text: &str) -> Url {
    text.parse().expect("a URL")
}

/// Bytes of which each place has its own.
fn content(len: usize) -> Vec<u8> {
    (0..len as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// Reads a range to its end: what was said of it, and what came.
async fn read(
    http: &Http,
    url: &Url,
    size: usize,
    range: Range<usize>,
) -> (Result<RangeReport, RangeError>, Vec<u8>) {
    let (sender, mut receiver) = mpsc::channel::<Bytes>(4);
    let request =
        RangeRequest { url: url.clone(), size: size as u64, range: range.start as u64..range.end as u64 };
    let take = async {
        let mut taken = Vec::new();
        while let Some(bytes) = receiver.recv().await {
            assert!(!bytes.is_empty(), "nothing was sent on as something");
            taken.extend_from_slice(&bytes);
        }
        taken
    };
    tokio::join!(read_range(http, request, sender), take)
}

/// What a range's error is called here.
fn kind(error: &RangeError) -> &'static str {
    match error {
        RangeError::Missing(_) => "missing",
        RangeError::Unreachable(_) => "unreachable",
        RangeError::Refused(_) => "refused",
        RangeError::Broken(_) => "broken",
    }
}

const WHOLE: RangeReport = RangeReport { ranges_ignored: false, cancelled: false };
