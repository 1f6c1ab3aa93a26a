//! What single keys say: addresses, services, proxies and choices, each read from its text.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use pkgtorrent_protocol::HostGroup;
use pkgtorrent_protocol::group::NoGroup;
use reqwest::Url;
use serde::Deserialize;

/// Where a service answers when its URL has no path.
const SERVICE_PREFIX: &str = "/pkgtorrent/v1/";

/// An address to listen on: with a host, or a port alone for all addresses of this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Listen(pub SocketAddr);

/// An address for collectors of metrics, if there is one; a port alone is one of this host's own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct MetricsListen(pub Option<SocketAddr>);

/// A group, or none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Group(pub Option<HostGroup>);

/// Which service is asked for plans.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Service {
    /// None: the package manager downloads by itself.
    #[default]
    None,
    /// The hosts of the packages' own URLs.
    Auto,
    /// This base URL, with http or https, a host and a path that ends in a slash.
    Url(String),
}

/// Whether `fetch` may leave an agent running.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Background {
    /// Where an agent can outlive the command: not in a chroot, a container or an image build.
    #[default]
    Auto,
    /// Wherever it is.
    Always,
    /// Nowhere: the engine runs within `fetch`.
    Never,
}

/// Which proxy stands between this host and its origins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Proxy {
    /// What the environment says.
    #[default]
    Environment,
    /// None, whatever the environment says.
    None,
    /// This one, an http or https URL.
    Url(String),
}

/// Which version of the internet protocol is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum IpVersion {
    /// Whichever works.
    #[default]
    #[serde(rename = "any")]
    Any,
    /// IPv4 only.
    #[serde(rename = "4")]
    V4,
    /// IPv6 only.
    #[serde(rename = "6")]
    V6,
}

/// Why a text names no service, proxy or host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It is something else than a URL with http or https.
    #[error("{0:?} is no http or https URL")]
    NotHttp(String),
    /// It says more than where the service is.
    #[error("{0:?} has a user name, query or fragment, which a service's URL may not have")]
    TooMuch(String),
    /// Nothing can listen on port 0.
    #[error("{0:?} has port 0")]
    PortZero(String),
    /// It is neither an address with a port nor a port.
    #[error("{0:?} is no address to listen on: expected ADDRESS:PORT or PORT")]
    NotListen(String),
}

impl FromStr for Listen {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let port = text.parse().map(|port: u16| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)));
        let address = port.ok().or_else(|| text.parse().ok());
        address.map(Self).ok_or_else(|| AddressError::NotListen(text.to_owned()))
    }
}

impl TryFrom<String> for Listen {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl TryFrom<String> for MetricsListen {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        match text.parse() {
            Ok(port) => Ok(Self(Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port))))),
            Err(_) => text.parse::<Listen>().map(|listen| Self(Some(listen.0))),
        }
    }
}

impl FromStr for Service {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "" => return Ok(Self::None),
            "auto" => return Ok(Self::Auto),
            _ => {}
        }
        let mut url = http_url(text)?;
        let says_more = !url.username().is_empty() || url.password().is_some();
        if says_more || url.query().is_some() || url.fragment().is_some() {
            return Err(AddressError::TooMuch(text.to_owned()));
        }
        // The URL's type does not tell an empty path from a slash.
        if url.path() == "/" {
            url.set_path(SERVICE_PREFIX);
        } else if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        Ok(Self::Url(url.into()))
    }
}

impl TryFrom<String> for Service {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl TryFrom<String> for Group {
    type Error = NoGroup;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.is_empty() {
            Ok(Self(None))
        } else {
            HostGroup::try_from(text).map(|group| Self(Some(group)))
        }
    }
}

impl TryFrom<String> for Proxy {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.as_str() {
            "" => Ok(Self::Environment),
            "none" => Ok(Self::None),
            url => http_url(url).map(|url| Self::Url(url.into())),
        }
    }
}

fn http_url(text: &str) -> Result<Url, AddressError> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let url = url.ok_or_else(|| AddressError::NotHttp(text.to_owned()))?;
    if url.port() == Some(0) {
        return Err(AddressError::PortZero(text.to_owned()));
    }
    Ok(url)
}
