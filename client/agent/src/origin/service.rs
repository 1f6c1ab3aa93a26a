//! A service's URL, and which other places it may send this host to.

use std::fmt;
use std::str::FromStr;

use pkgtorrent_protocol::SetDigest;
use reqwest::Url;

use super::errors::ServiceUrlError;

/// Where a service's paths begin when its URL names none.
const DEFAULT_PATH: &str = "/pkgtorrent/v1/";

/// The base URL of a service: http or https, ending in a slash, without user, query and fragment.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceUrl(Url);

impl ServiceUrl {
    /// Reads `http://host[:port][/prefix/]`. Without a prefix it is the one that services have unless told otherwise.
    pub fn parse(text: &str) -> Result<Self, ServiceUrlError> {
        let refused = |reason: &str| ServiceUrlError { text: text.to_owned(), reason: reason.to_owned() };
        let mut url = Url::parse(text).map_err(|error| refused(&error.to_string()))?;
        if let Some(reason) = not_a_base(&url) {
            return Err(refused(reason));
        }
        match url.path() {
            "" | "/" => url.set_path(DEFAULT_PATH),
            path if !path.ends_with('/') => url.set_path(&format!("{path}/")),
            _ => {}
        }
        Ok(Self(url))
    }

    /// The URL.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// Where sets are posted.
    pub(super) fn sets(&self) -> Url {
        below(&self.0, "sets")
    }

    /// Where the plan of a set is; `query` says who asks, and may be empty.
    pub(super) fn set(&self, digest: SetDigest, query: &str) -> Url {
        let mut url = below(&self.0, &format!("sets/{digest}"));
        url.set_query(Some(query).filter(|query| !query.is_empty()));
        url
    }
}

impl FromStr for ServiceUrl {
    type Err = ServiceUrlError;

    fn from_str(text: &str) -> Result<Self, ServiceUrlError> {
        Self::parse(text)
    }
}

impl fmt::Display for ServiceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for ServiceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.0.as_str(), f)
    }
}

/// Appends to a base URL; `path` has nothing in it that needs escaping.
pub(super) fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path()));
    url
}

/// Why nothing can be put below a URL, or its like is not spoken to.
pub(super) fn not_a_base(url: &Url) -> Option<&'static str> {
    if !matches!(url.scheme(), "http" | "https") {
        Some("only http and https are spoken")
    } else if has_user(url) {
        Some("a user name is not allowed")
    } else if url.query().is_some() || url.fragment().is_some() {
        Some("a query or a fragment is not allowed")
    } else {
        None
    }
}

pub(super) fn has_user(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

/// Whether two URLs are served by the same program: scheme, host and port.
pub(super) fn is_same_origin(one: &Url, other: &Url) -> bool {
    one.scheme() == other.scheme()
        && one.host_str() == other.host_str()
        && one.port_or_known_default() == other.port_or_known_default()
}

/// Whether an entry of `origin_hosts`, spelled as the settings have it, names where a URL leads. Without a port it names
/// all of the host's.
pub(super) fn is_named_by(url: &Url, entry: &str) -> bool {
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else { return false };
    match entry.strip_prefix(host) {
        Some("") => true,
        Some(rest) => rest.strip_prefix(':').is_some_and(|rest| rest.parse() == Ok(port)),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_services_url_ends_in_a_slash_and_has_a_prefix() {
        for (text, expected) in [
            ("http://mirror.example", "http://mirror.example/pkgtorrent/v1/"),
            ("http://mirror.example/", "http://mirror.example/pkgtorrent/v1/"),
            ("HTTPS://Mirror.Example:443", "https://mirror.example/pkgtorrent/v1/"),
            ("http://[::1]:7070", "http://[::1]:7070/pkgtorrent/v1/"),
            ("http://127.0.0.1:7070/x", "http://127.0.0.1:7070/x/"),
            ("http://127.0.0.1:7070/x/y/", "http://127.0.0.1:7070/x/y/"),
        ] {
            let url = ServiceUrl::parse(text).expect(text);
            assert_eq!(url.to_string(), expected);
            assert_eq!(ServiceUrl::parse(expected), Ok(url), "it stays as it is");
        }
    }

    #[test]
    fn what_is_no_services_url_is_refused_with_its_reason() {
        for (text, reason) in [
            ("", "relative URL"),
            ("mirror.example", "relative URL"),
            ("ftp://mirror.example/", "only http and https"),
            ("file:///etc/passwd", "only http and https"),
            ("http://me@mirror.example/", "user name"),
            ("http://:pw@mirror.example/", "user name"),
            ("http://mirror.example/?x", "query"),
            ("http://mirror.example/#x", "query"),
            ("http://", "empty host"),
            ("http://mirror.example:70000/", "port"),
        ] {
            let error = ServiceUrl::parse(text).expect_err(text).to_string();
            assert!(error.contains(reason) && error.contains(&format!("{text:?}")), "{error}");
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let same = |one: &str, other: &str| {
            is_same_origin(&Url::parse(one).expect(one), &Url::parse(other).expect(other))
        };
        assert!(same("http://a/x", "http://A:80/y?z"));
        assert!(same("https://[::1]/", "https://[0:0::1]:443/"));
        for other in ["https://a/x", "http://a:81/x", "http://b/x", "http://a.b/x", "https://a:80/x"] {
            assert!(!same("http://a/x", other), "{other}");
        }
    }

    #[test]
    fn hosts_are_named_with_or_without_a_port() {
        for (entry, url, is_named) in [
            ("seed.example", "http://seed.example/x/", true),
            ("seed.example", "https://seed.example:8443/x/", true),
            ("seed.example", "http://Seed.Example/", true),
            ("seed.example:80", "http://seed.example/", true),
            ("seed.example:443", "https://seed.example/", true),
            ("seed.example:443", "http://seed.example/", false),
            ("seed.example:8080", "http://seed.example/", false),
            ("seed.example", "http://other.seed.example/", false),
            ("seed.example", "http://seed.example.org/", false),
            ("192.0.2.1", "http://192.0.2.1:5/", true),
            ("[::1]", "http://[::1]:5/", true),
            ("[::1]:5", "http://[::1]:5/", true),
            ("[::1]:6", "http://[::1]:5/", false),
            ("::1:5", "http://[::1]:5/", false),
            ("seed.example:port", "http://seed.example/", false),
            ("seed.example:", "http://seed.example/", false),
            ("", "http://seed.example/", false),
        ] {
            assert_eq!(is_named_by(&Url::parse(url).expect(url), entry), is_named, "{entry} {url}");
        }
    }
}
