//! The fleet's lines as the kernel has them.

use std::collections::HashMap;
use std::fs;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::lines::{Lines, Rate};
use crate::namespace::{Namespace, sweep};

/// The most hosts in one fleet: what the two cores of a small machine can bear to run at once.
pub const HOSTS_MAX: usize = 40;

/// Addresses out of the private ranges, which services and agents take for peers without being told to.
const ORIGIN_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const FIRST_HOST_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 1);

/// The networks of both sites, as a service is told of them where there are two.
pub(crate) const NEAR_NETWORK: &str = "10.0.0.0/23";
pub(crate) const FAR_NETWORK: &str = "10.0.2.0/24";
const FIRST_FAR_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 1);

/// The two ends of the line between the sites: at the near router, and at the far one.
const LINK_ADDRESSES: [&str; 2] = ["10.0.0.252", "10.0.0.253"];

/// The device at either end of it.
const LINK: &str = "between";

/// What is between them, under one address at all its ports. It is a router because neighbours are remembered in one
/// table for all namespaces of a machine: forty hosts that are all each other's neighbours are more than fit into it.
const ROUTER_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 254);
const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

/// How much may leave at once: a packet as large as the kernel hands to a device, with its head.
const BURST: &str = "68kb";

/// How long a line keeps what it cannot send yet: what a small router does.
const LATENCY: &str = "50ms";

/// How often the kernel tries in vain before it ends a connection. A packet that the sender's own shaper has no room for
/// is such a try, so that of a hundred connections on one full line some came to the usual fifteen within minutes. On a
/// line of its own speed the drop would be at the next router, and no try.
const TRIES: &str = "/proc/sys/net/ipv4/tcp_retries2";
const TRIES_MAX: &str = "255";

/// The device at a station's end of its line.
const DEVICE: &str = "line";

/// How many networks this process has made: each has names of its own.
static NETWORKS: AtomicU32 = AtomicU32::new(0);

/// What a line has carried since it was made, with the heads of all packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes that its station sent.
    pub sent: u64,
    /// Bytes that its station was sent.
    pub received: u64,
}

/// The origin or a host: what is at the end of a line.
#[derive(Debug)]
pub struct Station {
    namespace: Namespace,
    address: Ipv4Addr,
    /// The device at the router's end of its line, named like the station.
    port: String,
}

impl Station {
    /// Puts a station at the end of a new line of the router.
    fn join(router: &Namespace, name: &str, address: Ipv4Addr, rate: Rate) -> anyhow::Result<Self> {
        let (_, port) = name.rsplit_once('-').context("a station's name has no number")?;
        let station = Self { namespace: Namespace::add(name)?, address, port: port.to_owned() };
        let namespace = &station.namespace;
        // Both ends are made where they stay: no name of a device of the machine is taken.
        let router_name = router.name();
        namespace.ip(&[
            "link",
            "add",
            "name",
            DEVICE,
            "type",
            "veth",
            "peer",
            "name",
            port,
            "netns",
            router_name,
        ])?;
        set(namespace, TRIES, TRIES_MAX)?;
        shape(namespace, DEVICE, rate)?;
        shape(router, port, rate)?;
        let (own, gateway) = (format!("{address}/32"), format!("{ROUTER_ADDRESS}/32"));
        for (at, device, own, other) in [(namespace, DEVICE, &own, &gateway), (router, port, &gateway, &own)]
        {
            at.ip(&["address", "add", own, "dev", device])?;
            at.ip(&["link", "set", device, "up"])?;
            at.ip(&["route", "add", other, "dev", device])?;
        }
        namespace.ip(&["route", "add", "default", "via", &ROUTER_ADDRESS.to_string()])?;
        Ok(station)
    }

    /// Its name among a network's stations.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.port
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Does this where its sockets are, and those of the programs that it starts.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> anyhow::Result<T> {
        self.namespace.inside(work)
    }

    /// Cuts its line: nothing comes or goes any more, and nobody is told.
    pub fn cut(&self) -> anyhow::Result<()> {
        self.namespace.ip(&["link", "set", DEVICE, "down"])
    }
}

/// A fleet's stations and the router between them. Dropping it removes them all.
#[derive(Debug)]
pub struct Network {
    origin: Station,
    hosts: Vec<Station>,
    router: Namespace,
    far_router: Option<Namespace>,
    lines: Lines,
}

impl Network {
    /// Makes a fleet with these lines.
    pub fn new(lines: &Lines) -> anyhow::Result<Self> {
        ensure!((1..=HOSTS_MAX).contains(&lines.hosts.len()), "a fleet has 1 to {HOSTS_MAX} hosts");
        sweep()?;
        let number = NETWORKS.fetch_add(1, Ordering::Relaxed);
        let router = Namespace::add(&format!("{number}-router"))?;
        set(&router, FORWARDING, "1")?;
        let origin = Station::join(&router, &format!("{number}-origin"), ORIGIN_ADDRESS, lines.origin)?;
        let far_router = lines.far.map(|far| join_site(&router, number, far.link)).transpose()?;
        let first_far = lines.hosts.len() - lines.far.map_or(0, |far| far.hosts.min(lines.hosts.len()));
        let hosts = (0..).zip(&lines.hosts).map(|(index, &rate)| {
            let (router, first) = match &far_router {
                Some(far_router) if index >= first_far => (far_router, FIRST_FAR_ADDRESS),
                _ => (&router, FIRST_HOST_ADDRESS),
            };
            // At most HOSTS_MAX.
            let address = Ipv4Addr::from_bits(first.to_bits() + index as u32);
            Station::join(router, &format!("{number}-host{index}"), address, rate)
        });
        let hosts = hosts.collect::<anyhow::Result<_>>()?;
        Ok(Self { origin, hosts, router, far_router, lines: lines.clone() })
    }

    /// Where the mirror is.
    #[must_use]
    pub fn origin(&self) -> &Station {
        &self.origin
    }

    /// Where packages are wanted.
    #[must_use]
    pub fn hosts(&self) -> &[Station] {
        &self.hosts
    }

    /// How fast the lines are.
    #[must_use]
    pub fn lines(&self) -> &Lines {
        &self.lines
    }

    /// What the origin's line has carried.
    pub fn origin_traffic(&self) -> anyhow::Result<Traffic> {
        self.traffic(&self.origin, &self.ports()?)
    }

    /// What the line between the sites has carried, both ways together; nothing where there is but one.
    pub fn link_bytes(&self) -> anyhow::Result<u64> {
        let ends = [Some(&self.router), self.far_router.as_ref()];
        let sent =
            ends.into_iter().flatten().map(|end| Ok(shaped_bytes(end)?.get(LINK).copied().unwrap_or(0)));
        sent.sum()
    }

    /// What the hosts' lines have carried.
    pub fn host_traffic(&self) -> anyhow::Result<Vec<Traffic>> {
        let ports = self.ports()?;
        self.hosts.iter().map(|host| self.traffic(host, &ports)).collect()
    }

    /// How many bytes the hosts have received together: a glance that costs one command.
    pub(crate) fn received_by_hosts(&self) -> anyhow::Result<u64> {
        let ports = self.ports()?;
        Ok(self.hosts.iter().filter_map(|host| ports.get(&host.port)).sum())
    }

    /// How many bytes have left by each port of the routers. No two stations' have one name.
    fn ports(&self) -> anyhow::Result<HashMap<String, u64>> {
        let mut ports = shaped_bytes(&self.router)?;
        if let Some(far_router) = &self.far_router {
            ports.extend(shaped_bytes(far_router)?);
        }
        Ok(ports)
    }

    fn traffic(&self, station: &Station, ports: &HashMap<String, u64>) -> anyhow::Result<Traffic> {
        let sent = shaped_bytes(&station.namespace)?.get(DEVICE).copied();
        let received = ports.get(&station.port).copied();
        Ok(Traffic {
            sent: sent.with_context(|| format!("{} has no line", station.address))?,
            received: received.with_context(|| format!("the router has no port {}", station.port))?,
        })
    }
}

/// Makes the router of a far site, and its line to this one.
fn join_site(router: &Namespace, number: u32, link: Rate) -> anyhow::Result<Namespace> {
    let far_router = Namespace::add(&format!("{number}-far"))?;
    set(&far_router, FORWARDING, "1")?;
    let far_name = far_router.name();
    router.ip(&["link", "add", "name", LINK, "type", "veth", "peer", "name", LINK, "netns", far_name])?;
    let [near_end, far_end] = LINK_ADDRESSES;
    for (at, own, other) in [(router, near_end, far_end), (&far_router, far_end, near_end)] {
        shape(at, LINK, link)?;
        at.ip(&["address", "add", own, "peer", other, "dev", LINK])?;
        at.ip(&["link", "set", LINK, "up"])?;
    }
    router.ip(&["route", "add", FAR_NETWORK, "via", far_end])?;
    far_router.ip(&["route", "add", "default", "via", near_end])?;
    Ok(far_router)
}

/// Changes one of a namespace's settings.
fn set(namespace: &Namespace, setting: &str, value: &str) -> anyhow::Result<()> {
    namespace.inside(|| fs::write(setting, value))?.with_context(|| format!("writing {setting}"))
}

/// Limits what leaves by a device.
fn shape(namespace: &Namespace, device: &str, rate: Rate) -> anyhow::Result<()> {
    let rate = rate.to_tc();
    let shape =
        ["qdisc", "add", "dev", device, "root", "tbf", "rate", &rate, "burst", BURST, "latency", LATENCY];
    namespace.tc(&shape).map(drop)
}

/// How many bytes have left by each shaped device of a namespace.
///
/// The shaper counts what a real line would carry. The device's own counter takes a packet that the kernel has not cut
/// into pieces yet for one, and would miss nearly all heads.
fn shaped_bytes(namespace: &Namespace) -> anyhow::Result<HashMap<String, u64>> {
    let text = namespace.tc(&["-s", "-j", "qdisc", "show"])?;
    let rows: Vec<Value> = serde_json::from_slice(&text).context("what tc prints")?;
    let shaped = rows.iter().filter(|row| row["kind"] == "tbf");
    let bytes = shaped.map(|row| Some((row["dev"].as_str()?.to_owned(), row["bytes"].as_u64()?)));
    bytes.collect::<Option<_>>().context("tc names no device and bytes")
}
