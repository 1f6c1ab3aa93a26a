//! Requests and answers as everything here uses them: with an end to every wait, and no redirects elsewhere.

use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, RANGE,
    TRANSFER_ENCODING,
};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Certificate, Client, ClientBuilder, Method, Response, StatusCode, Url};
use rustls::crypto::{CryptoProvider, ring};
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};

use super::errors::{OriginError, RequestError, Trouble};
use super::pace::Pace;
use super::service::{has_user, is_same_origin};
use crate::settings::{IpVersion, OriginSettings, Proxy};

/// For how long a plan, or what belongs to it, is waited for: a service may read and hash many packages when they are
/// asked for first. It is less than the half minute after which a shim gives the agent up: then it is known which service
/// was slow, and that one is left alone for a while.
const PLAN_PATIENCE: Duration = Duration::from_secs(20);

/// How often a request is sent on: enough for a mirror that tidies up its paths.
const REDIRECTS_MAX: usize = 3;

/// Connections that nobody used for so long are closed: a set's requests follow one another faster than that, and each
/// connection keeps a buffer of up to 400 KiB.
const POOL_IDLE: Duration = Duration::from_secs(5);

/// How much of an answer that is none is read: errors are a line long, and a connection whose answer was read to its
/// end can be used again.
const ERROR_LEN_MAX: usize = 4096;

/// How much of an error's text is repeated in messages.
const ERROR_CHARS_MAX: usize = 200;

/// The slowest rate, in bytes a second, at which what a request carries is expected to leave this host.
const UPLOAD_RATE: u64 = 64 << 10;

/// What the variables of the environment that name proxies for http are called.
const PROXY_VARIABLES: [&str; 4] = ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"];

/// Connections to services and web seeds, as the settings want them.
#[derive(Clone)]
pub struct Http {
    inner: Arc<Inner>,
}

// What is in it may be a proxy's password.
impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Http")
    }
}

struct Inner {
    settings: OriginSettings,
    certificates: Vec<Certificate>,
    is_proxy_tls: bool,
    plan_patience: Duration,
    plain: Client,
    // Made when it is first needed: reading the system's certificates takes time and memory.
    tls: OnceCell<Client>,
}

/// A request.
pub(super) enum Asked<'a> {
    /// For the whole.
    Get(&'a Url),
    /// For a part that is not empty.
    Range(&'a Url, Range<u64>),
    /// With JSON.
    Post(&'a Url, Vec<u8>),
}

impl Asked<'_> {
    fn url(&self) -> &Url {
        match self {
            Self::Get(url) | Self::Range(url, _) | Self::Post(url, _) => url,
        }
    }
}

impl Http {
    /// Reads what the settings name and prepares for plain HTTP. The certificates of the system are read later, and
    /// only if a service is asked over TLS.
    pub fn new(settings: &OriginSettings) -> Result<Self, OriginError> {
        // Another part of the program may have done so: it is the same one.
        let _ = CryptoProvider::install_default(ring::default_provider());
        let certificates = settings.ca_file.as_deref().map(certificates).transpose()?.unwrap_or_default();
        let plain = builder(settings)?.tls_certs_only([]).build();
        let plain = plain.map_err(|error| OriginError::Client(chain(&error)))?;
        let inner = Inner {
            settings: settings.clone(),
            certificates,
            is_proxy_tls: is_proxy_tls(&settings.proxy),
            plan_patience: PLAN_PATIENCE,
            plain,
            tls: OnceCell::new(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// For how long the head of an answer to a small question may take, and a connection for it if there is none.
    pub(super) fn head_patience(&self) -> Duration {
        self.inner.settings.stall_timeout.max(self.inner.settings.connect_timeout)
    }

    /// For how long the answer to a large question may take.
    pub(super) fn plan_patience(&self) -> Duration {
        self.inner.plan_patience
    }

    #[cfg(test)]
    pub(super) fn with_plan_patience(mut self, patience: Duration) -> Self {
        Arc::get_mut(&mut self.inner).expect("nobody else has it yet").plan_patience = patience;
        self
    }

    /// Hosts beside the service that a plan may name.
    pub(super) fn origin_hosts(&self) -> &[String] {
        &self.inner.settings.hosts
    }

    /// Sends a request and waits so long for the answer's head, connecting included. Any status is an answer, except a
    /// redirect that is not followed.
    pub(super) async fn send(&self, asked: Asked<'_>, patience: Duration) -> Result<Answer, RequestError> {
        let url = asked.url().clone();
        let client = self.client(&url).await?;
        let mut wait = patience;
        let request = match asked {
            Asked::Get(_) => client.request(Method::GET, url.clone()),
            Asked::Range(_, range) => {
                let last = range.end.saturating_sub(1);
                client
                    .request(Method::GET, url.clone())
                    .header(RANGE, format!("bytes={}-{last}", range.start))
            }
            Asked::Post(_, body) => {
                wait += Duration::from_secs(body.len() as u64 / UPLOAD_RATE);
                let request = client.request(Method::POST, url.clone());
                request.header(CONTENT_TYPE, "application/json").body(body)
            }
        };
        let response = match timeout(wait, request.send()).await {
            Err(_) => return Err(broken(&url, format!("no answer within {} s", wait.as_secs_f64()))),
            Ok(Err(error)) => return Err(failed_to_send(&url, error)),
            Ok(Ok(response)) => response,
        };
        check_head(&url, &response)?;
        let pace = Pace::new(self.inner.settings.stall_timeout, self.inner.settings.min_rate);
        let len = response.content_length();
        Ok(Answer { url, response, len, pace, got: 0 })
    }

    async fn client(&self, url: &Url) -> Result<Client, RequestError> {
        if url.scheme() == "http" && !self.inner.is_proxy_tls {
            return Ok(self.inner.plain.clone());
        }
        let inner = Arc::clone(&self.inner);
        let made = self.inner.tls.get_or_try_init(|| async {
            let made = spawn_blocking(move || {
                let builder = builder(&inner.settings).map_err(|error| error.to_string())?;
                let certificates = inner.certificates.iter().cloned();
                builder.tls_certs_merge(certificates).build().map_err(|error| chain(&error))
            });
            made.await.unwrap_or_else(|error| Err(error.to_string()))
        });
        made.await.cloned().map_err(|reason| unreachable(url, reason))
    }
}

/// Everything but trust.
fn builder(settings: &OriginSettings) -> Result<ClientBuilder, OriginError> {
    let mut headers = HeaderMap::new();
    // Packages are compressed already, and ranges of a compressed answer would be ranges of something else.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let builder = Client::builder()
        .user_agent(concat!("pkgtorrent/", env!("CARGO_PKG_VERSION")))
        .default_headers(headers)
        .http1_only()
        .referer(false)
        .redirect(Policy::custom(redirect))
        .connect_timeout(settings.connect_timeout)
        .pool_max_idle_per_host(settings.connections)
        .pool_idle_timeout(POOL_IDLE);
    // A socket that is bound to any address of one version connects to no other.
    let builder = match settings.ip_version {
        IpVersion::Any => builder,
        IpVersion::V4 => builder.local_address(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        IpVersion::V6 => builder.local_address(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
    };
    match &settings.proxy {
        Proxy::Environment => Ok(builder),
        Proxy::None => Ok(builder.no_proxy()),
        Proxy::Url(url) => Ok(builder.proxy(proxy(url)?)),
    }
}

fn proxy(text: &str) -> Result<reqwest::Proxy, OriginError> {
    let url = Url::parse(text).map_err(|error| OriginError::Proxy(error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(OriginError::Proxy(format!("{} is not spoken, only http and https are", url.scheme())));
    }
    reqwest::Proxy::all(url).map_err(|error| OriginError::Proxy(chain(&error.without_url())))
}

fn is_proxy_tls(proxy: &Proxy) -> bool {
    let is_tls = |url: &str| url.trim_start().to_ascii_lowercase().starts_with("https:");
    match proxy {
        Proxy::None => false,
        Proxy::Url(url) => is_tls(url),
        Proxy::Environment => {
            PROXY_VARIABLES.iter().any(|name| std::env::var(name).is_ok_and(|url| is_tls(&url)))
        }
    }
}

fn certificates(path: &Path) -> Result<Vec<Certificate>, OriginError> {
    let wrong = |reason: String| OriginError::NoCertificates { path: path.to_owned(), reason };
    let pem = fs::read(path).map_err(|source| OriginError::CaFile { path: path.to_owned(), source })?;
    let certificates = Certificate::from_pem_bundle(&pem).map_err(|error| wrong(chain(&error)))?;
    if certificates.is_empty() {
        return Err(wrong("there are no certificates in it".to_owned()));
    }
    // They are looked at when a client is made of them, and not before.
    let tried = Client::builder().tls_certs_only(certificates.clone()).build();
    tried.map_err(|error| wrong(chain(&error)))?;
    Ok(certificates)
}

/// Follows what stays with the same server. What is not followed comes back as the answer.
fn redirect(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let next = attempt.url();
    let stays = attempt.previous().last().is_some_and(|previous| is_same_origin(previous, next));
    if stays && !has_user(next) && attempt.previous().len() <= REDIRECTS_MAX {
        attempt.follow()
    } else {
        attempt.stop()
    }
}

fn check_head(url: &Url, response: &Response) -> Result<(), RequestError> {
    let status = response.status();
    if status.is_redirection() {
        let target =
            response.headers().get(LOCATION).map(|target| String::from_utf8_lossy(target.as_bytes()));
        let target = abridged(&target.unwrap_or_default());
        return Err(refused(url, format!("{status}: not redirected to {target:?}")));
    }
    // The text of an error is not used for anything.
    if status.is_success() {
        only(url, response, &CONTENT_ENCODING, "identity")?;
        only(url, response, &TRANSFER_ENCODING, "chunked")?;
    }
    Ok(())
}

fn only(url: &Url, response: &Response, name: &HeaderName, allowed: &str) -> Result<(), RequestError> {
    let mut values = response.headers().get_all(name).iter();
    match values.find(|value| !value.as_bytes().eq_ignore_ascii_case(allowed.as_bytes())) {
        None => Ok(()),
        Some(value) => {
            let value = abridged(&String::from_utf8_lossy(value.as_bytes()));
            Err(refused(url, format!("the answer has {name} {value:?}")))
        }
    }
}

/// The head of an answer, and its body as it comes.
pub(super) struct Answer {
    url: Url,
    response: Response,
    len: Option<u64>,
    pace: Pace,
    got: u64,
}

impl Answer {
    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    pub(super) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(super) fn header(&self, name: &HeaderName) -> Option<&str> {
        self.response.headers().get(name).and_then(|value| value.to_str().ok())
    }

    /// The length of the body, if its head says so.
    pub(super) fn len(&self) -> Option<u64> {
        self.len
    }

    /// The next bytes; none after the last. Not to be called any more after an error.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, RequestError> {
        let started = Instant::now();
        match timeout(self.pace.left(), self.response.chunk()).await {
            Err(_) => Err(broken(&self.url, self.pace.complaint())),
            Ok(Err(error)) => {
                let of = self.len.map(|len| format!(" of {len}")).unwrap_or_default();
                let reason = format!("closed early after {}{of} bytes: {}", self.got, chain(&error));
                Err(broken(&self.url, reason))
            }
            Ok(Ok(None)) => Ok(None),
            Ok(Ok(Some(bytes))) => {
                self.got = self.got.saturating_add(bytes.len() as u64);
                self.pace.came(started.elapsed(), bytes.len() as u64);
                Ok(Some(bytes))
            }
        }
    }

    /// The whole body, if it has at most `len_max` bytes.
    pub(super) async fn body(&mut self, len_max: usize) -> Result<Vec<u8>, RequestError> {
        let too_long = |url| Err(refused(url, format!("the answer is longer than {len_max} bytes")));
        if self.len.is_some_and(|len| len > len_max as u64) {
            return too_long(&self.url);
        }
        let mut body = Vec::new();
        while let Some(bytes) = self.next().await? {
            if bytes.len() > len_max - body.len() {
                return too_long(&self.url);
            }
            body.extend_from_slice(&bytes);
        }
        Ok(body)
    }

    /// Reads to the end of an answer that says nothing, so that its connection can be used again.
    pub(super) async fn skip(&mut self) {
        // Whether that went well matters to nobody: if not, there will be another connection.
        let _ = self.body(ERROR_LEN_MAX).await;
    }

    /// What this status means when it is none that was hoped for, in the answer's own words if it has some.
    pub(super) async fn into_error(mut self) -> RequestError {
        let status = self.status();
        let mut reason = status.to_string();
        if let Ok(body) = self.body(ERROR_LEN_MAX).await
            && let Ok(text) = str::from_utf8(&body)
            && let Some(line) = text.lines().next().map(abridged).filter(|line| !line.is_empty())
            && !line.starts_with('<')
        {
            // A String takes any text.
            let _ = write!(reason, ": {line:?}");
        }
        match status {
            StatusCode::NOT_FOUND | StatusCode::GONE => missing(&self.url, reason),
            // They say themselves that another time may be better.
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => broken(&self.url, reason),
            status if status.is_server_error() => broken(&self.url, reason),
            _ => refused(&self.url, reason),
        }
    }
}

fn failed_to_send(url: &Url, error: reqwest::Error) -> RequestError {
    let error = error.without_url();
    let reason = chain(&error);
    if error.is_connect() {
        unreachable(url, reason)
    } else if error.is_builder() {
        refused(url, reason)
    } else {
        broken(url, reason)
    }
}

/// What is behind an error: its own text says only that there was one.
fn chain(error: &reqwest::Error) -> String {
    let mut reasons = Vec::new();
    let mut source = error.source();
    while let Some(error) = source {
        reasons.push(error.to_string());
        source = error.source();
    }
    if reasons.is_empty() { error.to_string() } else { reasons.join(": ") }
}

pub(super) fn abridged(text: &str) -> String {
    text.chars().take(ERROR_CHARS_MAX).collect()
}

fn trouble(url: &Url, reason: impl Into<String>) -> Trouble {
    Trouble { url: named(url), reason: reason.into() }
}

/// A URL as messages name it: without the query, which says who asks, and is longer than what there is room for.
pub(super) fn named(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.into()
}

fn missing(url: &Url, reason: impl Into<String>) -> RequestError {
    RequestError::Missing(trouble(url, reason))
}

fn unreachable(url: &Url, reason: impl Into<String>) -> RequestError {
    RequestError::Unreachable(trouble(url, reason))
}

pub(super) fn refused(url: &Url, reason: impl Into<String>) -> RequestError {
    RequestError::Refused(trouble(url, reason))
}

pub(super) fn broken(url: &Url, reason: impl Into<String>) -> RequestError {
    RequestError::Broken(trouble(url, reason))
}
