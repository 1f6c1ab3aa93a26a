//! What an operator can set: read from a file and its drop-ins, overridden by the environment and the command line.
//!
//! The comment on a key in `keys!` is the only place where it is documented: the default file and the manual page are
//! made from it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use pkgtorrent_settings::{Wrong, keys, seconds, within, wrong};
use pkgtorrent_tracker::{Sites, SitesError};
use serde::Deserialize;

use crate::rate::MaxRate;
use crate::uploads::{UploadKeys, UploadRules};

/// Where the configuration is read from when no other file is named, if it is there.
pub const DEFAULT_CONFIG: &str = "/etc/pkgtorrent/service.toml";

/// What the names of the environment variables that override it begin with.
pub const VARIABLES_PREFIX: &str = "PKGTORRENT_SERVICE_";

/// The most peers in an answer: ten times what makes a random graph dense.
const PEERS_PER_ANSWER_MAX: usize = 500;

/// The most threads of one kind: more than any machine has cores for.
const THREADS_MAX: usize = 256;

/// The most connections: more than any machine has open files for.
const CONNECTIONS_MAX: usize = 1_000_000;

keys! {
    /// The directory whose repositories are served. Every directory below it with `repodata/repomd.xml` is a
    /// repository; packages outside of any are served as well.
    root: PathBuf = r#""/srv/mirror""# => Restart,
    /// Addresses to listen on. Port 0 means any free one.
    listen: Vec<SocketAddr> = r#"["[::]:7070"]"# => Restart,
    /// Addresses to listen on for those who watch over the service, for example `["127.0.0.1:7072"]`: then the page, what
    /// is behind it, `/metrics` and a `/healthz` that says more are there and not on the addresses above. Empty means that
    /// whoever reaches the service sees them.
    admin_listen: Vec<SocketAddr> = "[]" => Restart,
    /// The directory for what is remembered between runs: block lists, bundles, sets. It is made if it is not there.
    /// It must not lie below the root, nor the root below it. Everything in it can be computed again. The default for
    /// any other user than root is `pkgtorrent-service` in `$XDG_STATE_HOME`, or else in `~/.local/state`.
    state: PathBuf = r#""/var/lib/pkgtorrent-service""# => Restart,
    /// The URL under which hosts reach this service, for example `http://mirror.example.com`. When it is empty, URLs in
    /// answers are made from the Host that a request names if that is one of `allowed_hosts`, and from the address
    /// that the host connected to otherwise.
    public_url: String = r#""""# => Reload,
    /// Hosts that requests may name, with or without a port. When this is set, requests for plans and torrents that
    /// name any other are refused.
    allowed_hosts: Vec<String> = "[]" => Reload,
    /// Networks of proxies that stand before this service: what they say in X-Forwarded-For, X-Forwarded-Proto and
    /// X-Forwarded-Host is believed, and nobody else's word.
    trusted_proxies: Vec<IpNet> = "[]" => Reload,
    /// Networks whose hosts are introduced to each other. Hosts outside get no peers and are given to nobody.
    peer_networks: Vec<IpNet> = r#"["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16", "127.0.0.0/8", "fc00::/7", "fe80::/10", "::1/128"]"# => Restart,
    /// Places with networks of their own, for example `{ berlin = ["10.1.0.0/16"], lyon = ["10.2.0.0/16", "fd00:2::/32"] }`.
    /// Hosts of a site meet each other first, and each piece comes into it about once. Those that are in no site are
    /// treated as without sites. Where none are named, neighbouring addresses meet first.
    sites: BTreeMap<String, Vec<IpNet>> = "{}" => Restart,
    /// Pairs of sites that are nearer to each other than to the rest, for example `[["berlin", "lyon"]]`.
    site_links: Vec<(String, String)> = "[]" => Restart,
    /// The site that this service stands in. Its hosts fetch first copies, and the others have them from these. When it
    /// is empty, the first site by name that has hosts which want something fetches it.
    origin_site: String = r#""""# => Restart,
    /// Announce URLs of further trackers, for clients of other makes. Torrents name them before this service's own, in
    /// an order that follows from the info hash, so that swarms spread over them.
    trackers: Vec<String> = "[]" => Reload,
    /// The location under which an nginx in front of this service serves the root itself. When it is set, files are
    /// answered with X-Accel-Redirect and no bytes. See packaging/nginx/pkgtorrent.conf.
    accel_redirect: String = r#""""# => Reload,
    /// What hosts may take of this service's web seed. `origin.max_rate`, for example `"8 Mbit/s"`, is the most that all
    /// hosts together are told to fetch from it while they have others to wait for; it comes to them in turns, what nobody
    /// has yet before all else. A host without others takes what its line takes, and leaves them less for a while.
    /// Clients of other makes are not held back, but count. Bytes that a proxy sends instead of this service are not seen
    /// here. Empty means no limit.
    origin: OriginKeys = r#"{ max_rate = "" }"# => Reload,
    /// What hosts give to others at most: rules with a name for networks, or for groups as hosts name theirs (`group` in
    /// agent.toml), for example `{ vpn = { networks = ["10.8.0.0/16"], max_rate = "0" }, branch = { groups = ["branch"],
    /// max_rate = "8 Mbit/s" } }`. `"0"` means nothing: such a host is named to nobody, and still takes from others. Of
    /// several rules for one host the least counts. A host learns it with its next plan.
    uploads: BTreeMap<String, UploadKeys> = "{}" => Reload,
    /// Seconds between announces of a peer.
    announce_interval: u64 = "60" => Reload,
    /// The most peers in one answer.
    peers_per_answer: usize = "50" => Reload,
    /// Announces, and plans whose host joins their swarms, that one address may ask for in a second, on average; 0 for
    /// no limit. A plan beyond it comes without peers.
    announces_per_second: u32 = "250" => Reload,
    /// As many of them that one address may ask for at once.
    announces_burst: u32 = "1000" => Reload,
    /// Whether to keep accounts of what hosts report with their announces: bytes by source and site, installs, and why
    /// packages were left to the package manager. They are kept in the state for a month. Otherwise hosts report nothing,
    /// and what was kept is forgotten.
    accounts: bool = "true" => Restart,
    /// Seconds after which the root is looked through even if nothing seems to have changed.
    rescan_interval: u64 = "300" => Restart,
    /// Threads that read packages; 0 for one for each core.
    build_threads: usize = "0" => Restart,
    /// Threads that answer requests; 0 for one for each core.
    workers: usize = "0" => Restart,
    /// The most connections at once. Further ones wait in the kernel.
    connections_max: usize = "20000" => Restart,
    /// Seconds that a client may take to send a request, and that it may keep a connection without one.
    client_timeout: u64 = "30" => Restart,
    /// Bytes in a second that a client must take of an answer, on average after `client_timeout`. Slower ones are cut
    /// off.
    min_rate: u64 = "1024" => Reload,
}

/// What hosts may take of the web seed.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OriginKeys {
    /// The most of all hosts together.
    #[serde(default)]
    pub max_rate: MaxRate,
}

/// What the service runs with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The directory whose repositories are served.
    pub root: PathBuf,
    /// Addresses to listen on.
    pub listen: Vec<SocketAddr>,
    /// Addresses to listen on for those who watch; empty when they come in with everybody else.
    pub admin_listen: Vec<SocketAddr>,
    /// The state directory.
    pub state: PathBuf,
    /// The base of URLs in answers, without a slash at its end.
    pub public_url: Option<String>,
    /// Hosts that requests may name, in lower case; empty for any.
    pub allowed_hosts: Vec<String>,
    /// Networks of proxies.
    pub trusted_proxies: Vec<IpNet>,
    /// Announce URLs of further trackers.
    pub trackers: Vec<String>,
    /// Where nginx serves the root, with a slash at its end.
    pub accel_redirect: Option<String>,
    /// What hosts give to others at most.
    pub uploads: UploadRules,
    /// How the tracker behaves.
    pub tracker: pkgtorrent_tracker::Settings,
    /// Whether hosts report what they do.
    pub accounts: bool,
    /// When the root is looked through in any case.
    pub rescan_interval: Duration,
    /// Threads that read packages.
    pub build_threads: usize,
    /// Threads that answer requests.
    pub workers: usize,
    /// The most connections at once.
    pub connections_max: usize,
    /// How long a client may take.
    pub client_timeout: Duration,
    /// How fast it must be.
    pub min_rate: u64,
}

impl Keys {
    /// Checks the keys and fills in defaults.
    pub fn settle(self) -> Result<Settings, Wrong> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = |key, n: Option<usize>| match within(key, n.unwrap_or(0), 0..=THREADS_MAX, "") {
            Ok(0) => Ok(cores.min(THREADS_MAX)),
            counted => counted,
        };
        let tracker = pkgtorrent_tracker::Settings {
            peers_per_answer_max: within(
                "peers_per_answer",
                self.peers_per_answer.unwrap_or(50),
                1..=PEERS_PER_ANSWER_MAX,
                "",
            )?,
            peer_networks: self.peer_networks.unwrap_or_else(pkgtorrent_tracker::default_peer_networks),
            sites: sites(
                &self.sites.unwrap_or_default(),
                &self.site_links.unwrap_or_default(),
                &self.origin_site.unwrap_or_default(),
            )?,
            flood: flood(self.announces_per_second.unwrap_or(250), self.announces_burst.unwrap_or(1000)),
            origin_max_rate: self.origin.unwrap_or_default().max_rate.0,
            ..pkgtorrent_tracker::Settings::with_interval(seconds(
                "announce_interval",
                self.announce_interval,
                60,
                1..=86_400,
            )?)
        };
        let listen = self.listen.unwrap_or_else(|| vec![SocketAddr::from(([0_u16; 8], 7070))]);
        if listen.is_empty() {
            return Err(wrong("listen", "name at least one address, like \"[::]:7070\""));
        }
        Ok(Settings {
            root: self.root.unwrap_or_else(|| "/srv/mirror".into()),
            listen,
            admin_listen: self.admin_listen.unwrap_or_default(),
            state: self.state.unwrap_or_else(|| "/var/lib/pkgtorrent-service".into()),
            public_url: public_url(&self.public_url.unwrap_or_default())?,
            allowed_hosts: self.allowed_hosts.unwrap_or_default().iter().map(|h| h.to_lowercase()).collect(),
            trusted_proxies: self.trusted_proxies.unwrap_or_default(),
            trackers: trackers(self.trackers.unwrap_or_default())?,
            accel_redirect: accel_redirect(&self.accel_redirect.unwrap_or_default())?,
            uploads: UploadRules::new(self.uploads.unwrap_or_default())
                .map_err(|error| wrong("uploads", error))?,
            tracker,
            accounts: self.accounts.unwrap_or(true),
            rescan_interval: seconds("rescan_interval", self.rescan_interval, 300, 1..=86_400)?,
            build_threads: threads("build_threads", self.build_threads)?,
            workers: threads("workers", self.workers)?,
            connections_max: within(
                "connections_max",
                self.connections_max.unwrap_or(20_000),
                1..=CONNECTIONS_MAX,
                "",
            )?,
            client_timeout: seconds("client_timeout", self.client_timeout, 30, 1..=3_600)?,
            min_rate: self.min_rate.unwrap_or(1024),
        })
    }
}

/// Where state is kept unless somebody says otherwise: the directory that systemd gives us, else the system's for root,
/// else the user's own.
#[must_use]
pub fn default_state() -> PathBuf {
    const NAME: &str = "pkgtorrent-service";
    if let Some(directory) = std::env::var_os("STATE_DIRECTORY") {
        return directory.into();
    }
    if rustix::process::geteuid().is_root() {
        return Path::new("/var/lib").join(NAME);
    }
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/state"));
    std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).or_else(home).unwrap_or_default().join(NAME)
}

/// What is wrong is in one of the three keys: which, the error shows by what it names.
fn sites(
    sites: &BTreeMap<String, Vec<IpNet>>,
    links: &[(String, String)],
    origin: &str,
) -> Result<Sites, Wrong> {
    let origin = Some(origin).filter(|origin| !origin.is_empty());
    let refused = |key| move |error: SitesError| wrong(key, error.to_string());
    Sites::new(sites, &[], None).map_err(refused("sites"))?;
    Sites::new(sites, links, None).map_err(refused("site_links"))?;
    Sites::new(sites, links, origin).map_err(refused("origin_site"))
}

fn flood(per_second: u32, burst: u32) -> Option<pkgtorrent_tracker::FloodLimit> {
    (per_second > 0).then(|| pkgtorrent_tracker::FloodLimit {
        burst: burst.max(1),
        refill_per_second: per_second,
        ..pkgtorrent_tracker::FloodLimit::default()
    })
}

fn public_url(url: &str) -> Result<Option<String>, Wrong> {
    if url.is_empty() {
        return Ok(None);
    }
    if !is_http_url(url) {
        return Err(wrong("public_url", format!("{url:?} is no http or https URL")));
    }
    Ok(Some(url.trim_end_matches('/').to_owned()))
}

fn trackers(urls: Vec<String>) -> Result<Vec<String>, Wrong> {
    match urls.iter().find(|url| !is_http_url(url) && !url.starts_with("udp://")) {
        Some(url) => Err(wrong("trackers", format!("{url:?} is no http, https or udp URL"))),
        None => Ok(urls),
    }
}

fn is_http_url(url: &str) -> bool {
    url.parse::<actix_web::http::Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.authority().is_some()
            && uri.query().is_none()
    })
}

fn accel_redirect(location: &str) -> Result<Option<String>, Wrong> {
    if location.is_empty() {
        return Ok(None);
    }
    if !location.starts_with('/') || location.contains("..") {
        return Err(wrong("accel_redirect", format!("{location:?} is no location: it starts with a slash")));
    }
    Ok(Some(format!("{}/", location.trim_end_matches('/'))))
}

/// The default configuration file: every key with what it means, commented out.
#[must_use]
pub fn default_file() -> String {
    pkgtorrent_settings::default_file(
        "Configuration of pkgtorrent-service, in TOML. Every key is shown with its default.\n\
         Drop-ins in the directory of the same name with .d behind it, *.toml, override it.",
        KEY_DOCS,
    )
}

#[cfg(test)]
mod tests {
    use pkgtorrent_settings::Configuration;

    use super::*;

    fn settled(text: &str) -> Result<Settings, String> {
        let mut configuration = Configuration::<Keys>::default();
        let taken = configuration.take_text(Path::new("service.toml"), text);
        taken.and_then(|()| configuration.settle(Keys::settle)).map_err(|error| error.to_string())
    }

    #[test]
    fn the_default_file_says_what_the_defaults_are() {
        let uncommented: String = default_file()
            .lines()
            .filter_map(|line| line.strip_prefix('#').filter(|l| l.contains(" = ") && !l.starts_with(' ')))
            .map(|line| format!("{line}\n"))
            .collect();
        let (spelled, none) = (settled(&uncommented).expect("settles"), settled("").expect("settles"));
        let sorted = |settings: &Settings| {
            let mut tracker = settings.tracker.clone();
            tracker.peer_networks.sort();
            let settings = Settings { tracker, ..settings.clone() };
            format!("{settings:?}")
        };
        assert_eq!(sorted(&spelled), sorted(&none));
        assert_eq!(uncommented.lines().count(), KEY_DOCS.len());
    }

    #[test]
    fn what_is_wrong_with_sites_is_named_by_its_key() {
        let sites = r#"sites = { a = ["10.1.0.0/16"], b = ["10.2.0.0/16"] }"#;
        for (text, reason) in [
            (r#"sites = { a = ["10.1.0.0/16"], b = ["10.1.2.0/24"] }"#, "1: sites: 10.1.0.0/16 of \"a\" and"),
            (r#"sites = { a = [] }"#, "1: sites: \"a\" has 0 networks"),
            (&format!("{sites}\nsite_links = [[\"a\", \"c\"]]"), "2: site_links: there is no site \"c\""),
            (&format!("{sites}\norigin_site = \"c\""), "2: origin_site: there is no site \"c\""),
        ] {
            let refused = settled(text).expect_err(text);
            assert!(refused.starts_with(&format!("service.toml:{reason}")), "{refused}");
        }
        let refused = settled("\nsites = { a = [\"10.1.0.0\"] }").expect_err("no network");
        assert!(refused.starts_with("service.toml:2: sites: "), "{refused}");
        let text = format!("{sites}\nsite_links = [[\"a\", \"b\"]]\norigin_site = \"b\"");
        let settled = settled(&text).expect("settles").tracker.sites;
        assert_eq!(settled.networks_around("10.2.3.4".parse().expect("an address")).len(), 1);
    }

    #[test]
    fn the_lid_is_read_in_either_form() {
        for text in ["origin.max_rate = \"8 Mbit/s\"", "origin = { max_rate = \"8 Mbit/s\" }"] {
            assert_eq!(settled(text).expect(text).tracker.origin_max_rate, Some(1_000_000));
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_place_and_what_would() {
        for (text, reason) in [
            ("lissten = []", "there is no key \"lissten\"; did you mean listen?"),
            (
                "trusted_proxies = [\"10.0.0.0/33\"]",
                "trusted_proxies: invalid IP address syntax, found \"10.0.0.0/33\"; the default is []",
            ),
            (
                "listen = [\"7070\"]",
                "listen: invalid socket address syntax, found \"7070\"; the default is [\"[::]:7070\"]",
            ),
            (
                "origin.max_rate = \"8 MB\"",
                "origin: \"8 MB\" is no rate: write it like \"8 Mbit/s\", in kbit/s, Mbit/s or Gbit/s; \
                 the default is { max_rate = \"\" }",
            ),
            (
                "origin.rate = \"8 Mbit/s\"",
                "origin: expected \"max_rate\", found rate; the default is { max_rate = \"\" }",
            ),
            (
                "site_links = [[\"a\"]]",
                "site_links: expected a list of two, found [\"a\"]; the default is []",
            ),
            ("public_url = \"mirror\"", "public_url: \"mirror\" is no http or https URL"),
            ("announce_interval = 0", "announce_interval: 0 is not between 1 and 86400 seconds"),
            ("accel_redirect = \"x\"", "accel_redirect: \"x\" is no location: it starts with a slash"),
            ("trackers = [\"x\"]", "trackers: \"x\" is no http, https or udp URL"),
            ("listen = []", "listen: name at least one address, like \"[::]:7070\""),
            ("peers_per_answer = 0", "peers_per_answer: 0 is not between 1 and 500"),
            ("build_threads = 257", "build_threads: 257 is not between 0 and 256"),
            ("workers = 257", "workers: 257 is not between 0 and 256"),
            ("connections_max = 0", "connections_max: 0 is not between 1 and 1000000"),
        ] {
            assert_eq!(settled(text).expect_err(text), format!("service.toml:1: {reason}"), "{text}");
        }
    }
}
