//! Which addresses may be peers, and one form for each address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The networks that no packet from the internet carries as its source: RFC 1918, loopback, link-local, the carriers'
/// shared range, and their IPv6 counterparts. A tracker that hands out nothing else, and a host that
/// dials nothing else, cannot be aimed at a stranger.
#[must_use]
pub fn default_peer_networks() -> Vec<IpNet> {
    vec![
        IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 8)),
        IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(172, 16, 0, 0), 12)),
        IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 0, 0), 16)),
        IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8)),
        IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16)),
        IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10)),
        IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)),
        IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7)),
        IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10)),
    ]
}

/// Whether an address (in its canonical form) lies in one of the networks.
#[must_use]
pub fn contain(networks: &[IpNet], ip: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&ip))
}

/// The one form of an address: an IPv4 address that came through an IPv6 socket is IPv4, and what only means something
/// on the host that wrote it (flow label, interface number) goes. Without this a peer could be listed twice.
#[must_use]
pub fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::from((ip, address.port())),
        IpAddr::V6(ip) => SocketAddr::V6(SocketAddrV6::new(ip, address.port(), 0, 0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_are_peers_and_public_ones_are_not() {
        let networks = default_peer_networks();
        let is_peer = |text: &str| contain(&networks, text.parse().expect("an address"));
        for inside in [
            "10.255.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.3.4",
            "127.0.0.1",
            "169.254.9.9",
            "100.64.0.1",
            "100.127.255.255",
            "::1",
            "fc00::1",
            "fdff::1",
            "fe80::1",
        ] {
            assert!(is_peer(inside), "{inside}");
        }
        for outside in [
            "11.0.0.1",
            "172.32.0.1",
            "192.169.0.1",
            "8.8.8.8",
            "100.128.0.1",
            "0.0.0.0",
            "::",
            "::2",
            "2001:db8::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_peer(outside), "{outside}");
        }
    }

    #[test]
    fn an_address_has_one_form() {
        let mapped: SocketAddr = "[::ffff:10.0.0.1]:80".parse().expect("an address");
        assert_eq!(canonical(mapped).to_string(), "10.0.0.1:80");
        let scoped = SocketAddr::V6(SocketAddrV6::new("fe80::1".parse().expect("an address"), 80, 5, 3));
        assert_eq!(canonical(scoped).to_string(), "[fe80::1]:80");
    }
}
