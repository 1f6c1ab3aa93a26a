//! Who asks, and under which URL we are known to them: neither is taken from a stranger's word.

use std::net::{IpAddr, SocketAddr};

use actix_web::HttpRequest;
use ipnet::IpNet;

use super::error::HttpError;
use crate::settings::Settings;

/// The longest Host that is looked at: the longest name that DNS has, and a port.
const HOST_LEN_MAX: usize = 260;

/// The client's address: that of the connection or, behind a proxy that we trust, what the proxy saw.
pub(crate) fn client(request: &HttpRequest, trusted: &[IpNet]) -> Option<IpAddr> {
    let forwarded = request.headers().get_all("x-forwarded-for").filter_map(|value| value.to_str().ok());
    Some(believed(request.peer_addr()?.ip(), forwarded, trusted))
}

/// Walks back from the connection's address as far as there are trusted proxies. Each proxy appends whom it was asked
/// by; what stands before the first stranger is the stranger's own claim.
fn believed<'a>(peer: IpAddr, forwarded: impl Iterator<Item = &'a str>, trusted: &[IpNet]) -> IpAddr {
    let mut ip = peer.to_canonical();
    let hops: Vec<&str> = forwarded.flat_map(|value| value.split(',')).map(str::trim).collect();
    for hop in hops.into_iter().rev() {
        if !is_trusted(ip, trusted) {
            break;
        }
        match address(hop) {
            Some(before) => ip = before.to_canonical(),
            // A proxy that we trust does not know: better its own address than a guess.
            None => break,
        }
    }
    ip
}

fn address(hop: &str) -> Option<IpAddr> {
    let bare = hop.strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(ip, _)| ip);
    bare.unwrap_or(hop).parse().ok().or_else(|| hop.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

fn is_trusted(ip: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|network| network.contains(&ip))
}

/// The base of URLs in the answer, without a slash at its end.
pub(crate) fn base_url(
    request: &HttpRequest,
    settings: &Settings,
    local: Option<SocketAddr>,
) -> Result<String, HttpError> {
    let peer = request.peer_addr().map(|peer| peer.ip().to_canonical());
    let proxied = peer.is_some_and(|peer| is_trusted(peer, &settings.trusted_proxies));
    let from_proxy = |name: &str| {
        let value = request.headers().get(name).filter(|_| proxied)?.to_str().ok()?;
        Some(value.split(',').next_back()?.trim().to_lowercase())
    };
    let named = from_proxy("x-forwarded-host").or_else(|| host(request)).unwrap_or_default();
    let is_allowed = named.len() <= HOST_LEN_MAX && is_one_of(&named, &settings.allowed_hosts);
    if !settings.allowed_hosts.is_empty() && !is_allowed {
        return Err(HttpError::ForeignHost(named.chars().take(80).collect()));
    }
    if let Some(url) = &settings.public_url {
        return Ok(url.clone());
    }
    let scheme = match from_proxy("x-forwarded-proto").as_deref() {
        Some("https") => "https",
        _ => "http",
    };
    if is_allowed {
        return Ok(format!("{scheme}://{named}"));
    }
    // Whatever the Host says, the client has reached this address.
    local.map(|local| format!("{scheme}://{}", canonical(local))).ok_or(HttpError::Internal)
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn host(request: &HttpRequest) -> Option<String> {
    let from_header = || request.headers().get("host")?.to_str().ok().map(str::to_lowercase);
    request.uri().authority().map(|authority| authority.as_str().to_lowercase()).or_else(from_header)
}

/// Whether a Host is in the list, which may name it with or without its port.
fn is_one_of(named: &str, allowed: &[String]) -> bool {
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let bare = named.rsplit_once(':').filter(|(_, port)| is_port(port)).map_or(named, |(host, _)| host);
    allowed.iter().any(|host| host == named || host == bare)
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn settings(text: &str) -> Settings {
        let mut configuration = pkgtorrent_settings::Configuration::default();
        configuration.take_text("service.toml".as_ref(), text).expect("valid");
        configuration.settle(crate::settings::Keys::settle).expect("settles")
    }

    fn seen(peer: &str, forwarded: &[&str], trusted: &[&str]) -> String {
        let trusted: Vec<IpNet> = trusted.iter().map(|t| t.parse().expect("a network")).collect();
        let request = TestRequest::get().peer_addr(peer.parse().expect("an address"));
        let request = forwarded.iter().fold(request, |r, value| r.append_header(("x-forwarded-for", *value)));
        client(&request.to_http_request(), &trusted).expect("an address").to_string()
    }

    #[test]
    fn a_forwarded_address_counts_only_from_a_trusted_proxy() {
        let proxy = &["10.0.0.0/24", "::1/128"][..];
        assert_eq!(seen("10.9.9.9:5", &["1.2.3.4"], &[]), "10.9.9.9");
        assert_eq!(seen("10.9.9.9:5", &["1.2.3.4"], proxy), "10.9.9.9");
        assert_eq!(seen("10.0.0.1:5", &["10.5.5.5"], proxy), "10.5.5.5");
        assert_eq!(seen("10.0.0.1:5", &["6.6.6.6, 10.5.5.5"], proxy), "10.5.5.5");
        assert_eq!(seen("10.0.0.1:5", &["6.6.6.6", "10.5.5.5, 10.0.0.2"], proxy), "10.5.5.5");
        assert_eq!(seen("10.0.0.1:5", &["rubbish"], proxy), "10.0.0.1");
        assert_eq!(seen("10.0.0.1:5", &[], proxy), "10.0.0.1");
        assert_eq!(seen("[::1]:5", &["[fd00::7]:99"], proxy), "fd00::7");
        assert_eq!(seen("10.0.0.1:5", &["10.5.5.5:1234"], proxy), "10.5.5.5");
        assert_eq!(seen("[::ffff:10.0.0.1]:5", &["10.5.5.5"], proxy), "10.5.5.5");
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_forwarded_a_stranger_is_who_it_is(values in proptest::collection::vec("[0-9a-f:.,\\[\\] ]{0,40}", 0..4)) {
            let stranger: IpAddr = "10.9.9.9".parse().expect("an address");
            let proxy: IpNet = "10.0.0.0/24".parse().expect("a network");
            let forwarded = || values.iter().map(String::as_str);
            proptest::prop_assert_eq!(believed(stranger, forwarded(), &[proxy]), stranger);
            // From the proxy, the last hop counts when it is an address, and nothing else does.
            let last = forwarded().flat_map(|v| v.split(',')).next_back().and_then(|hop| address(hop.trim()));
            let seen = believed(proxy.addr(), forwarded(), &[proxy]);
            let expected = last.map_or(proxy.addr(), |ip| ip.to_canonical());
            proptest::prop_assert!(seen == expected || proxy.contains(&expected));
        }
    }

    fn url(headers: &[(&str, &str)], config: &str) -> Result<String, HttpError> {
        let request = headers.iter().fold(TestRequest::get(), |r, &pair| r.insert_header(pair));
        let request = request.peer_addr("10.0.0.1:5".parse().expect("an address"));
        let local = Some("10.0.0.7:7070".parse().expect("an address"));
        base_url(&request.to_http_request(), &settings(config), local)
    }

    #[test]
    fn urls_are_made_from_what_is_known_and_nothing_else() {
        let ok = |text: &str| Ok(text.to_owned());
        let host = |h| [("host", h)];
        assert_eq!(url(&host("evil.example"), ""), ok("http://10.0.0.7:7070"));
        assert_eq!(url(&host("evil.example"), "public_url = 'https://m.example/'"), ok("https://m.example"));
        let known = "allowed_hosts = ['M.example']";
        assert_eq!(url(&host("m.example"), known), ok("http://m.example"));
        assert_eq!(url(&host("m.EXAMPLE:81"), known), ok("http://m.example:81"));
        assert!(matches!(url(&host("evil.example"), known), Err(HttpError::ForeignHost(_))));
        assert!(matches!(url(&host("m.example@evil"), known), Err(HttpError::ForeignHost(_))));
        assert!(matches!(url(&host("m.example:x/"), known), Err(HttpError::ForeignHost(_))));
        assert!(matches!(url(&[], known), Err(HttpError::ForeignHost(_))));
        let forwarded = [("host", "x"), ("x-forwarded-host", "m.example"), ("x-forwarded-proto", "https")];
        let trusting = format!("{known}\ntrusted_proxies = ['10.0.0.1/32']");
        assert_eq!(url(&forwarded, &trusting), ok("https://m.example"));
        assert!(matches!(url(&forwarded, known), Err(HttpError::ForeignHost(_))));
    }
}
