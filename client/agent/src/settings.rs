//! What an operator can set on a host: read from a file and its drop-ins, overridden by the environment and the command
//! line.
//!
//! The comment on a key in `keys!` is the only place where it is documented: the default file and the manual page are
//! made from it.

use std::ffi::OsString;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use pkgtorrent_protocol::HostGroup;
use pkgtorrent_protocol::networks::default_peer_networks;
use pkgtorrent_settings::{Origin, SettingsError, Wrong, keys, seconds, within, wrong};
use pkgtorrent_swarm::Seeding;
use reqwest::Url;

use crate::hours::Hours;

mod value;

pub use self::value::{AddressError, Background, Group, IpVersion, Listen, MetricsListen, Proxy, Service};

/// Where the configuration is read from when no other file is named, if it is there.
pub const DEFAULT_CONFIG: &str = "/etc/pkgtorrent/agent.toml";

/// What the names of the environment variables that override it begin with.
pub const VARIABLES_PREFIX: &str = "PKGTORRENT_";

/// The state directory of an agent that root starts.
pub const SYSTEM_STATE_DIR: &str = "/var/lib/pkgtorrent";

/// The most connections to one web seed. Browsers get on with six; a host that needs more than this is a load on the
/// mirror that pkgtorrent is there to spare.
const ORIGIN_CONNECTIONS_MAX: usize = 64;

/// The most connections to other hosts: half of the descriptors that a process has by default, and far more than any
/// host needs to reach everybody in few steps.
const PEER_CONNECTIONS_MAX: usize = 512;

/// The longest that an agent may be told to stay for nobody: a month.
const STAY_MAX: u64 = 30 * 86_400;

/// The fastest that an origin may be asked to be: a gigabyte a second, more than any host takes from one connection.
const MIN_RATE_MAX: u64 = 1_000_000_000;

keys! {
    /// The service to ask, as a URL, for example `http://mirror.example.com:7070`. `auto` asks the host of each
    /// package's own URL. When it is empty nothing is asked, and the package manager downloads as it always did. A
    /// service named by who calls `pkgtorrent fetch` counts more than this.
    service: Service = r#""""# => Reload,
    /// The address for other hosts, or only its port. When the port is busy any free one is taken instead. `[::]` is every
    /// address of this host, those of IPv4 too.
    listen: Listen = r#""[::]:7071""# => Restart,
    /// The address at which `/metrics` shows what the agent does, for Prometheus, for example `127.0.0.1:7073` or only its
    /// port, which is one of this host's own then. Empty means nowhere. An agent that has nothing to do ends, and its
    /// numbers with it.
    metrics_listen: MetricsListen = r#""""# => Restart,
    /// The networks that other hosts are in: connections come from there and go there, and nowhere else.
    peer_networks: Vec<IpNet> = r#"["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "169.254.0.0/16", "100.64.0.0/10", "::1/128", "fc00::/7", "fe80::/10"]"# => Restart,
    /// The most connections to other hosts at once, over all bundles.
    peer_connections: usize = "200" => Restart,
    /// Bytes that are sent to other hosts in a second at most, over all connections. 0 means no limit.
    upload_limit: u64 = "0" => Reload,
    /// Times of day, by this host's clock, in which it gives to other hosts, for example `["18:00-08:00", "12:00-13:00"]`.
    /// At others it takes from them and gives nothing. Empty means at any time.
    upload_hours: Hours = "[]" => Reload,
    /// The group that this host is in, for services that have rules for groups: letters, digits, dots, dashes and
    /// underscores. Empty means none.
    group: Group = r#""""# => Reload,
    /// Bytes that are taken from other hosts in a second at most, over all connections. 0 means no limit. Web seeds are
    /// not held back.
    download_limit: u64 = "0" => Reload,
    /// Whether services that keep accounts are told what this host does: its bytes by source, how long installs took, and
    /// what was left to the package manager and why. That goes along with announces.
    reports: bool = "true" => Reload,
    /// Whether `pkgtorrent fetch` may leave an agent running that keeps sharing: `always`, `never`, or `auto`, which
    /// is always but in a chroot, a container or an image build.
    background: Background = r#""auto""# => Reload,
    /// The user that the agent runs as when root starts it. If there is no such user it is `nobody`.
    user: String = r#""pkgtorrent""# => Restart,
    /// Users that may ask the agent for packages, beside root and the agent's own.
    allowed_users: Vec<String> = "[]" => Reload,
    /// The most bytes that the store keeps. What nobody has wanted for longest leaves first.
    store_max_bytes: u64 = "10737418240" => Reload,
    /// Bytes that stay free on the store's file system: the store shrinks before they are touched. 0 means 5 % of the
    /// file system, but at most 1 GiB.
    free_space_min: u64 = "0" => Reload,
    /// Seconds that the agent keeps sharing at least after a package was last wanted on this host.
    seed_min: u64 = "900" => Reload,
    /// Seconds that it keeps sharing at most. Each host shares each set for a time of its own between the two: ever fewer
    /// of them stay, so that a set is still there hours after a burst, and not the same ones for every set. Equal to
    /// `seed_min`, all leave after that time; where it is not set, it is a day or `seed_min` if that is more.
    seed_max: u64 = "86400" => Reload,
    /// Seconds after which an agent that has nothing to do and need not share any longer ends.
    idle_timeout: u64 = "60" => Reload,
    /// The most connections at once to one web seed.
    origin_connections: usize = "6" => Restart,
    /// Hosts, with or without a port, that a service may name as web seeds beside itself.
    origin_hosts: Vec<String> = "[]" => Reload,
    /// The proxy for services and web seeds, as a URL. When it is empty the environment says which, in `http_proxy`,
    /// `https_proxy` and `no_proxy`; `none` means a direct connection whatever the environment says.
    proxy: Proxy = r#""""# => Reload,
    /// A file of certificates, in PEM, that are trusted beside the system's own.
    ca_file: PathBuf = r#""""# => Reload,
    /// The version of the internet protocol to reach services and web seeds by: `any`, `4` or `6`.
    ip_version: IpVersion = r#""any""# => Reload,
    /// Seconds that a connection to a service or web seed may take to be made.
    connect_timeout: u64 = "5" => Reload,
    /// Seconds without `min_rate` after which an answer is given up and the bytes are taken from elsewhere.
    stall_timeout: u64 = "5" => Reload,
    /// The fewest bytes in a second that a web seed has to deliver, on average over `stall_timeout`.
    min_rate: u64 = "1000" => Reload,
}

/// What the agent and the commands that talk to it run with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Which service is asked.
    pub service: Service,
    /// Where other hosts reach the agent.
    pub listen: SocketAddr,
    /// Where it shows what it does, if it does.
    pub metrics_listen: Option<SocketAddr>,
    /// Which hosts those are, and how much they get.
    pub peers: PeerSettings,
    /// When other hosts get anything.
    pub upload_hours: Hours,
    /// The group that services know this host by.
    pub group: Option<HostGroup>,
    /// Whether services are told what this host does.
    pub reports: bool,
    /// Whether an agent may be left running.
    pub background: Background,
    /// The user that root runs the agent as.
    pub user: String,
    /// Further users that may ask it.
    pub allowed_users: Vec<String>,
    /// How much the store may take.
    pub store: StoreLimits,
    /// How long the agent shares what it has.
    pub seeding: Seeding,
    /// How long it then waits for something to do.
    pub idle_timeout: Duration,
    /// How services and web seeds are reached.
    pub origin: OriginSettings,
}

/// Connections to other hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerSettings {
    /// The networks that they are in.
    pub networks: Vec<IpNet>,
    /// The most connections at once.
    pub connections_max: usize,
    /// Bytes a second that are sent; zero for as many as there are.
    pub upload_limit: u64,
    /// Bytes a second that are taken; zero for as many as there are.
    pub download_limit: u64,
}

/// How much the store may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreLimits {
    /// The most bytes that it keeps.
    pub max_bytes: u64,
    /// Bytes that it leaves free; none for 5 % of the file system, at most 1 GiB.
    pub free_space_min: Option<u64>,
}

/// How services and web seeds are reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginSettings {
    /// The most connections at once to one web seed.
    pub connections: usize,
    /// Hosts that may be web seeds beside the service's own, in lower case, each with or without a port.
    pub hosts: Vec<String>,
    /// Which proxy to use.
    pub proxy: Proxy,
    /// Certificates to trust beside the system's: an absolute path.
    pub ca_file: Option<PathBuf>,
    /// Which version of the internet protocol to use.
    pub ip_version: IpVersion,
    /// How long making a connection may take.
    pub connect_timeout: Duration,
    /// How long too little may come.
    pub stall_timeout: Duration,
    /// What is too little: fewer bytes a second than this. Never zero, so that a silent origin is always noticed.
    pub min_rate: u64,
}

/// How long the agent shares, from the shortest and the longest time.
fn seeding(min: Option<u64>, max: Option<u64>) -> Result<Seeding, Wrong> {
    let min = seconds("seed_min", min, 900, 0..=STAY_MAX)?;
    let is_set = max.is_some();
    let max = seconds("seed_max", max, 86_400, 0..=STAY_MAX)?;
    if is_set && max < min {
        let (min, max) = (min.as_secs(), max.as_secs());
        return Err(wrong("seed_max", format!("{max} seconds are less than seed_min, {min}")));
    }
    Ok(Seeding { min, max: max.max(min) })
}

impl Keys {
    /// Checks the keys and fills in defaults.
    pub fn settle(self) -> Result<Settings, Wrong> {
        let allowed_users = self.allowed_users.unwrap_or_default();
        for name in &allowed_users {
            user("allowed_users", name)?;
        }
        let name = self.user.unwrap_or_else(|| "pkgtorrent".to_owned());
        user("user", &name)?;
        let max_bytes = self.store_max_bytes.unwrap_or(10 << 30);
        if max_bytes == 0 {
            return Err(wrong("store_max_bytes", "0 is no size of a store: a package has to fit in it"));
        }
        let origin = OriginSettings {
            connections: within(
                "origin_connections",
                self.origin_connections.unwrap_or(6),
                1..=ORIGIN_CONNECTIONS_MAX,
                "",
            )?,
            hosts: origin_hosts(self.origin_hosts.unwrap_or_default())?,
            proxy: self.proxy.unwrap_or_default(),
            ca_file: ca_file(self.ca_file.unwrap_or_default())?,
            ip_version: self.ip_version.unwrap_or_default(),
            connect_timeout: seconds("connect_timeout", self.connect_timeout, 5, 1..=300)?,
            stall_timeout: seconds("stall_timeout", self.stall_timeout, 5, 1..=600)?,
            min_rate: within(
                "min_rate",
                self.min_rate.unwrap_or(1000),
                1..=MIN_RATE_MAX,
                " bytes in a second",
            )?,
        };
        Ok(Settings {
            service: self.service.unwrap_or_default(),
            listen: self
                .listen
                .map_or_else(|| SocketAddr::from((Ipv6Addr::UNSPECIFIED, 7071)), |listen| listen.0),
            metrics_listen: self.metrics_listen.unwrap_or_default().0,
            peers: PeerSettings {
                networks: self.peer_networks.unwrap_or_else(default_peer_networks),
                connections_max: within(
                    "peer_connections",
                    self.peer_connections.unwrap_or(200),
                    1..=PEER_CONNECTIONS_MAX,
                    "",
                )?,
                upload_limit: self.upload_limit.unwrap_or(0),
                download_limit: self.download_limit.unwrap_or(0),
            },
            upload_hours: self.upload_hours.unwrap_or_default(),
            group: self.group.unwrap_or_default().0,
            reports: self.reports.unwrap_or(true),
            background: self.background.unwrap_or_default(),
            user: name,
            allowed_users,
            store: StoreLimits { max_bytes, free_space_min: self.free_space_min.filter(|&bytes| bytes > 0) },
            seeding: seeding(self.seed_min, self.seed_max)?,
            idle_timeout: seconds("idle_timeout", self.idle_timeout, 60, 1..=STAY_MAX)?,
            origin,
        })
    }
}

fn user(key: &'static str, name: &str) -> Result<(), Wrong> {
    if name.is_empty() || name.contains([':', '/', '\n', '\0']) {
        return Err(wrong(
            key,
            format!("{name:?} is no user's name: that has a letter, and no colon or slash"),
        ));
    }
    Ok(())
}

fn ca_file(path: PathBuf) -> Result<Option<PathBuf>, Wrong> {
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    if path.is_absolute() {
        return Ok(Some(path));
    }
    // The agent leaves the directory that it is started in.
    Err(wrong("ca_file", format!("{} is no absolute path: that begins with a slash", path.display())))
}

fn origin_hosts(hosts: Vec<String>) -> Result<Vec<String>, Wrong> {
    let lower = |host: String| {
        let lower = host.to_lowercase();
        match is_host(&lower) {
            true => Ok(lower),
            false => Err(wrong("origin_hosts", format!("{host:?} is no host: write HOST or HOST:PORT"))),
        }
    };
    hosts.into_iter().map(lower).collect()
}

/// Whether this is a host as URLs are compared by, and nothing behind it but a port.
fn is_host(text: &str) -> bool {
    let Ok(url) = Url::parse(&format!("http://{text}/")) else { return false };
    match url.host_str().and_then(|host| text.strip_prefix(host)) {
        Some("") => true,
        Some(rest) => {
            rest.strip_prefix(':').and_then(|port| port.parse::<u16>().ok()).is_some_and(|port| port > 0)
        }
        None => false,
    }
}

/// Where the state directory is when the command line does not say so: for root the system's, else the user's own.
/// `is_service` says that systemd may have named one for this very process; what it names for a program that merely
/// calls `pkgtorrent` is that program's own.
pub fn default_state_dir(is_service: bool) -> Result<PathBuf, SettingsError> {
    let is_root = rustix::process::geteuid().is_root();
    state_dir_of(is_service, is_root, |name| std::env::var_os(name))
}

fn state_dir_of(
    is_service: bool,
    is_root: bool,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<PathBuf, SettingsError> {
    // What is relative would be another directory for each place that a command is called from.
    let directory = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    if is_service && let Some(path) = directory("STATE_DIRECTORY") {
        return Ok(path);
    }
    if is_root {
        return Ok(Path::new(SYSTEM_STATE_DIR).to_owned());
    }
    let home = || directory("HOME").map(|home| home.join(".local/state"));
    let parent = directory("XDG_STATE_HOME").or_else(home);
    let parent = parent.ok_or_else(|| SettingsError::At {
        origin: Origin::Variable("HOME".into()),
        reason: "is not set: say where to keep state, --state-dir DIR".into(),
    })?;
    Ok(parent.join("pkgtorrent"))
}

/// The default configuration file: every key with what it means, commented out.
#[must_use]
pub fn default_file() -> String {
    pkgtorrent_settings::default_file(
        "Configuration of pkgtorrent on a host, in TOML. Every key is shown with its default.\n\
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
        let taken = configuration.take_text(Path::new("agent.toml"), text);
        taken.and_then(|()| configuration.settle(Keys::settle)).map_err(|error| error.to_string())
    }

    #[test]
    fn the_default_file_says_what_the_defaults_are() {
        let uncommented: String = default_file()
            .lines()
            .filter_map(|line| line.strip_prefix('#').filter(|l| l.contains(" = ") && !l.starts_with(' ')))
            .map(|line| format!("{line}\n"))
            .collect();
        assert_eq!(uncommented.lines().count(), KEY_DOCS.len());
        assert_eq!(settled(&uncommented), settled(""));
        assert!(settled("").is_ok_and(|settings| settings.service == Service::None));
    }

    #[test]
    fn what_is_set_arrives() {
        let settings = settled(
            r#"
            service = "auto"
            listen = "127.0.0.1:0"
            metrics_listen = "7073"
            peer_networks = ["10.1.0.0/16", "fd00::/8"]
            peer_connections = 7
            upload_limit = 8
            download_limit = 9
            upload_hours = ["22:00-06:00"]
            group = "laptops"
            reports = false
            background = "never"
            user = "carrier"
            allowed_users = ["alice"]
            store_max_bytes = 1000
            free_space_min = 7
            seed_min = 0
            seed_max = 2
            idle_timeout = 1
            origin_connections = 2
            origin_hosts = ["CDN.example.com", "[2001:db8::1]:8080"]
            proxy = "http://user:secret@proxy.example.com:3128"
            ca_file = "/etc/ca.pem"
            ip_version = "6"
            connect_timeout = 3
            stall_timeout = 4
            min_rate = 1
            "#,
        );
        let expected = Settings {
            service: Service::Auto,
            listen: "127.0.0.1:0".parse().expect("an address"),
            metrics_listen: Some("127.0.0.1:7073".parse().expect("an address")),
            peers: PeerSettings {
                networks: vec!["10.1.0.0/16".parse().expect("one"), "fd00::/8".parse().expect("one")],
                connections_max: 7,
                upload_limit: 8,
                download_limit: 9,
            },
            upload_hours: vec!["22:00-06:00".to_owned()].try_into().expect("hours"),
            group: Some("laptops".parse().expect("a group")),
            reports: false,
            background: Background::Never,
            user: "carrier".to_owned(),
            allowed_users: vec!["alice".to_owned()],
            store: StoreLimits { max_bytes: 1000, free_space_min: Some(7) },
            seeding: Seeding { min: Duration::ZERO, max: Duration::from_secs(2) },
            idle_timeout: Duration::from_secs(1),
            origin: OriginSettings {
                connections: 2,
                hosts: vec!["cdn.example.com".to_owned(), "[2001:db8::1]:8080".to_owned()],
                proxy: Proxy::Url("http://user:secret@proxy.example.com:3128/".to_owned()),
                ca_file: Some("/etc/ca.pem".into()),
                ip_version: IpVersion::V6,
                connect_timeout: Duration::from_secs(3),
                stall_timeout: Duration::from_secs(4),
                min_rate: 1,
            },
        };
        assert_eq!(settings, Ok(expected));
        assert_eq!(settled("proxy = \"none\"").expect("settles").origin.proxy, Proxy::None);
    }

    #[test]
    fn a_port_alone_listens_on_all_addresses() {
        for (text, address) in [("7071", "[::]:7071"), ("0.0.0.0:1", "0.0.0.0:1"), ("[::1]:0", "[::1]:0")] {
            let listen = settled(&format!("listen = \"{text}\"")).expect("settles").listen;
            assert_eq!(listen.to_string(), address);
        }
    }

    #[test]
    fn a_service_s_url_ends_in_a_slash_and_has_a_path() {
        for (text, url) in [
            ("http://mirror.example.com", "http://mirror.example.com/pkgtorrent/v1/"),
            ("https://mirror.example.com:8443/", "https://mirror.example.com:8443/pkgtorrent/v1/"),
            ("http://[::1]:7070/fast", "http://[::1]:7070/fast/"),
            ("HTTP://Mirror.Example.com:80/a/b/", "http://mirror.example.com/a/b/"),
        ] {
            assert_eq!(text.parse(), Ok(Service::Url(url.to_owned())), "{text}");
            let Service::Url(settled) = text.parse().expect(text) else { panic!("{text} is a URL") };
            assert_eq!(settled.parse(), Ok(Service::Url(settled)), "{text} stays as it is");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_key() {
        for text in [
            r#"service = "mirror.example.com""#,
            r#"service = "mirror:7070""#,
            r#"service = "ftp://mirror""#,
            r#"service = "http://""#,
            r#"service = "http://mirror:0/""#,
            r#"service = "http://mirror:70700/""#,
            r#"service = "http://user@mirror/""#,
            r#"service = "http://:secret@mirror/""#,
            r#"service = "http://mirror/?a=b""#,
            r#"service = "http://mirror/#a""#,
            r#"service = " ""#,
            r#"listen = "host:7071""#,
            r#"listen = ":7071""#,
            r#"listen = "70710""#,
            r#"metrics_listen = "localhost""#,
            "listen = 7071",
            r#"peer_networks = ["10.0.0.1/33"]"#,
            r#"peer_networks = "10.0.0.0/8""#,
            "peer_connections = 0",
            "peer_connections = 513",
            "upload_limit = -1",
            "download_limit = 1.5",
            r#"upload_hours = ["8-18"]"#,
            r#"upload_hours = "08:00-18:00""#,
            r#"group = "a b""#,
            r#"background = "sometimes""#,
            r#"user = """#,
            r#"user = "a:b""#,
            r#"allowed_users = ["alice", ""]"#,
            "store_max_bytes = 0",
            "store_max_bytes = -1",
            "seed_min = 2592001",
            "seed_max = 2592001",
            "seed_max = 899",
            "idle_timeout = 0",
            "origin_connections = 0",
            "origin_connections = 65",
            r#"origin_hosts = ["http://cdn.example.com"]"#,
            r#"origin_hosts = ["cdn.example.com/path"]"#,
            r#"origin_hosts = ["user@cdn.example.com"]"#,
            r#"origin_hosts = ["cdn.example.com:0"]"#,
            r#"origin_hosts = ["cdn.example.com:+1"]"#,
            r#"origin_hosts = ["cdn.example.com:"]"#,
            r#"origin_hosts = ["127.1"]"#,
            r#"origin_hosts = [""]"#,
            r#"proxy = "proxy:3128""#,
            r#"proxy = "socks5://proxy""#,
            r#"ca_file = "ca.pem""#,
            r#"ip_version = "5""#,
            "connect_timeout = 0",
            "stall_timeout = 601",
            "min_rate = 0",
            "min_rate = 1000000001",
        ] {
            let key = text.split(' ').next().expect("a key");
            let error = settled(text).expect_err(text);
            assert!(error.starts_with(&format!("agent.toml:1: {key}: ")), "{text}: {error}");
        }
    }

    #[test]
    fn a_refusal_says_what_would_be_right() {
        for (text, reason) in [
            ("service = \"mirror\"", "service: \"mirror\" is no http or https URL; the default is \"\""),
            ("listen = 7071", "listen: expected a text in quotes, found 7071; the default is \"[::]:7071\""),
            (
                "listen = \"host:1\"",
                "listen: \"host:1\" is no address to listen on: expected ADDRESS:PORT or PORT; the default is \"[::]:7071\"",
            ),
            (
                "background = \"sometimes\"",
                "background: expected one of \"auto\", \"always\", \"never\", found \"sometimes\"; the default is \"auto\"",
            ),
            ("ip_version = 6", "ip_version: expected a text in quotes, found 6; the default is \"any\""),
            ("user = \"a:b\"", "user: \"a:b\" is no user's name: that has a letter, and no colon or slash"),
            ("origin_hosts = [\"a/b\"]", "origin_hosts: \"a/b\" is no host: write HOST or HOST:PORT"),
            ("ca_file = \"ca.pem\"", "ca_file: ca.pem is no absolute path: that begins with a slash"),
            ("min_rate = 0", "min_rate: 0 is not between 1 and 1000000000 bytes in a second"),
            (
                "proxy = \"socks://u:secret@p\"",
                "proxy: \"socks://u:***@p\" is no http or https URL; the default is \"\"",
            ),
        ] {
            assert_eq!(settled(&format!("\n{text}")), Err(format!("agent.toml:2: {reason}")), "{text}");
        }
    }

    #[test]
    fn state_is_where_systemd_root_or_the_user_has_it() {
        let variables = |set: &'static [(&str, &str)]| {
            move |name: &str| set.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value))
        };
        let of = |is_service, is_root, set: &'static [(&str, &str)]| {
            state_dir_of(is_service, is_root, variables(set)).ok().map(|path| path.display().to_string())
        };
        let given: &[_] = &[("STATE_DIRECTORY", "/var/lib/given"), ("HOME", "/home/a")];
        assert_eq!(of(true, true, given).as_deref(), Some("/var/lib/given"));
        assert_eq!(of(true, false, given).as_deref(), Some("/var/lib/given"));
        assert_eq!(of(false, true, given).as_deref(), Some("/var/lib/pkgtorrent"));
        assert_eq!(of(false, false, given).as_deref(), Some("/home/a/.local/state/pkgtorrent"));
        let own: &[_] = &[("XDG_STATE_HOME", "/s"), ("HOME", "/home/a")];
        assert_eq!(of(true, false, own).as_deref(), Some("/s/pkgtorrent"));
        let relative: &[_] = &[("XDG_STATE_HOME", "s"), ("STATE_DIRECTORY", ""), ("HOME", "/home/a")];
        assert_eq!(of(true, false, relative).as_deref(), Some("/home/a/.local/state/pkgtorrent"));
        assert_eq!(of(true, false, &[]), None);
    }
}
