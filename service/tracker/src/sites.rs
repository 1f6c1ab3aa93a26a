//! Where hosts are: sites with networks of their own, and how far it is from one to another.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use pkgtorrent_protocol::plan::SITE_NETWORKS_MAX;

/// The most sites. Each has lists of its own in every swarm that its hosts are in.
pub const SITES_MAX: usize = 256;

/// Addresses that begin with as many equal bits are taken for neighbours where no sites are configured.
const V4_PREFIX_LEN: u8 = 24;
const V6_PREFIX_LEN: u8 = 64;

/// Why these are no sites.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SitesError {
    /// More than [`SITES_MAX`].
    #[error("{0} sites, at most {SITES_MAX} are allowed")]
    TooMany(usize),
    /// A site without networks, or with more than [`SITE_NETWORKS_MAX`].
    #[error("{site:?} has {networks} networks, 1 to {SITE_NETWORKS_MAX} are allowed")]
    Networks {
        /// The site.
        site: String,
        /// How many it has.
        networks: usize,
    },
    /// An address would be in both.
    #[error("{first} of {first_site:?} and {second} of {second_site:?} overlap")]
    Overlap {
        /// One network.
        first: IpNet,
        /// Whose it is.
        first_site: String,
        /// The other.
        second: IpNet,
        /// Whose that is.
        second_site: String,
    },
    /// There is no such site.
    #[error("there is no site {0:?}")]
    Unknown(String),
}

/// A site, or what is in none of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SiteId(u16);

impl SiteId {
    /// Where hosts are that no site has; without configuration, all.
    pub(crate) const NONE: Self = Self(u16::MAX);
}

/// How far one host is from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Distance {
    /// In the same site.
    Same,
    /// In a linked one.
    Near,
    /// Anywhere else.
    Far,
}

/// All sites. Without any, nothing is known of distances.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sites {
    /// Their names, in this order.
    names: Vec<String>,
    /// The networks of each site, which are in the order of their names.
    networks: Vec<Vec<IpNet>>,
    /// Every network with its site, by its first address: no two overlap.
    by_address: Vec<(IpNet, SiteId)>,
    /// Sites that are near each other, both ways.
    links: BTreeSet<(SiteId, SiteId)>,
    /// Where the origin is.
    origin: Option<SiteId>,
}

impl Sites {
    /// Sites by their names. `links` are pairs of those that are nearer to each other than to the rest; `origin` is the
    /// one in which the web seed stands.
    pub fn new(
        sites: &BTreeMap<String, Vec<IpNet>>,
        links: &[(String, String)],
        origin: Option<&str>,
    ) -> Result<Self, SitesError> {
        if sites.len() > SITES_MAX {
            return Err(SitesError::TooMany(sites.len()));
        }
        if let Some((site, networks)) =
            sites.iter().find(|(_, networks)| !(1..=SITE_NETWORKS_MAX).contains(&networks.len()))
        {
            return Err(SitesError::Networks { site: site.clone(), networks: networks.len() });
        }
        let names: Vec<&String> = sites.keys().collect();
        let id = |name: &str| match names.binary_search_by(|known| known.as_str().cmp(name)) {
            // At most SITES_MAX.
            Ok(index) => Ok(SiteId(index as u16)),
            Err(_) => Err(SitesError::Unknown(name.to_owned())),
        };
        let networks: Vec<Vec<IpNet>> =
            sites.values().map(|networks| networks.iter().map(IpNet::trunc).collect()).collect();
        let mut by_address: Vec<(IpNet, SiteId)> = (0..)
            .zip(&networks)
            .flat_map(|(index, networks)| networks.iter().map(move |network| (*network, SiteId(index))))
            .collect();
        by_address.sort_unstable_by_key(|(network, _)| (network.network(), network.prefix_len()));
        // One that overlaps any before it overlaps the one right before it.
        let pairs = by_address.iter().zip(by_address.iter().skip(1));
        let overlapping = pairs.into_iter().find(|((first, _), (second, _))| first.contains(second));
        if let Some(((first, first_site), (second, second_site))) = overlapping {
            let name = |site: &SiteId| names[usize::from(site.0)].clone();
            let (first_site, second_site) = (name(first_site), name(second_site));
            return Err(SitesError::Overlap { first: *first, first_site, second: *second, second_site });
        }
        let mut pairs = BTreeSet::new();
        for (a, b) in links {
            let (a, b) = (id(a)?, id(b)?);
            pairs.extend([(a, b), (b, a)]);
        }
        let origin = origin.map(id).transpose()?;
        let names = sites.keys().cloned().collect();
        Ok(Self { names, networks, by_address, links: pairs, origin })
    }

    /// Whether none are configured.
    pub(crate) fn is_empty(&self) -> bool {
        self.networks.is_empty()
    }

    /// The site that an address is in.
    pub(crate) fn of(&self, ip: IpAddr) -> SiteId {
        let behind = self.by_address.partition_point(|(network, _)| network.network() <= ip);
        let before = behind.checked_sub(1).and_then(|index| self.by_address.get(index));
        before.filter(|(network, _)| network.contains(&ip)).map_or(SiteId::NONE, |(_, site)| *site)
    }

    /// The networks of the site that an address is in; none of an address that is in no site.
    #[must_use]
    pub fn networks_around(&self, ip: IpAddr) -> &[IpNet] {
        self.networks.get(usize::from(self.of(ip.to_canonical()).0)).map_or(&[], Vec::as_slice)
    }

    /// What a site is called; none of where hosts are that no site has.
    pub(crate) fn name(&self, site: SiteId) -> Option<&str> {
        self.names.get(usize::from(site.0)).map(String::as_str)
    }

    /// The name of the site that an address is in; empty of an address that is in no site.
    #[must_use]
    pub fn name_of(&self, ip: IpAddr) -> &str {
        self.name(self.of(ip.to_canonical())).unwrap_or_default()
    }

    pub(crate) fn distance(&self, a: SiteId, b: SiteId) -> Distance {
        if a == b {
            Distance::Same
        } else if self.links.contains(&(a, b)) {
            Distance::Near
        } else {
            Distance::Far
        }
    }

    /// Of sites with hosts in a swarm, the one that fetches first copies from the origin: the origin's own, else the one
    /// nearest to it, and of several the first by name.
    pub(crate) fn first_hand(&self, present: impl Iterator<Item = SiteId>) -> Option<SiteId> {
        let from_origin = |site: SiteId| self.origin.map(|origin| self.distance(origin, site));
        present.filter(|site| *site != SiteId::NONE).min_by_key(|site| (from_origin(*site), *site))
    }
}

/// Whether two addresses look like neighbours.
pub(crate) fn have_same_prefix(a: IpAddr, b: IpAddr) -> bool {
    let prefix_len = if a.is_ipv4() { V4_PREFIX_LEN } else { V6_PREFIX_LEN };
    IpNet::new(a, prefix_len).is_ok_and(|network| network.contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sites(text: &[(&str, &[&str])]) -> BTreeMap<String, Vec<IpNet>> {
        let networks = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a network")).collect();
        text.iter().map(|(name, texts)| ((*name).to_owned(), networks(texts))).collect()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn links(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    }

    #[test]
    fn an_address_is_in_the_site_whose_network_has_it() {
        let text: &[(&str, &[&str])] =
            &[("b", &["10.2.0.0/16", "fd00:2::/32"]), ("a", &["10.1.9.9/16", "10.3.4.0/24"])];
        let sites = Sites::new(&sites(text), &[], None).expect("sites");
        let [a, b] = [SiteId(0), SiteId(1)];
        for (address, site) in [
            ("10.1.0.0", a),
            ("10.1.255.255", a),
            ("10.3.4.255", a),
            ("10.2.1.1", b),
            ("fd00:2::9", b),
            ("10.0.255.255", SiteId::NONE),
            ("10.3.5.0", SiteId::NONE),
            ("9.0.0.0", SiteId::NONE),
            ("fd00:3::", SiteId::NONE),
        ] {
            assert_eq!(sites.of(ip(address)), site, "{address}");
        }
        assert_eq!(sites.networks_around(ip("10.2.7.7")).len(), 2);
        assert_eq!(sites.networks_around(ip("10.9.7.7")), []);
        assert_eq!(
            ["10.2.7.7", "::ffff:10.1.7.7", "10.9.7.7"].map(|address| sites.name_of(ip(address))),
            ["b", "a", ""]
        );
        assert_eq!(Sites::default().of(ip("10.2.7.7")), SiteId::NONE);
    }

    #[test]
    fn linked_sites_are_near_and_the_origins_own_fetches_first_copies() {
        let text: &[(&str, &[&str])] =
            &[("a", &["10.1.0.0/16"]), ("b", &["10.2.0.0/16"]), ("c", &["10.3.0.0/16"])];
        let known = Sites::new(&sites(text), &links(&[("b", "c")]), Some("c")).expect("sites");
        let [a, b, c] = [0, 1, 2].map(SiteId);
        assert_eq!([(a, a), (c, b), (b, c), (a, b)].map(|(x, y)| known.distance(x, y)), {
            [Distance::Same, Distance::Near, Distance::Near, Distance::Far]
        });
        let first_hand = |present: &[SiteId]| known.first_hand(present.iter().copied());
        assert_eq!(first_hand(&[a, SiteId::NONE, b, c]), Some(c));
        assert_eq!(first_hand(&[a, SiteId::NONE, b]), Some(b), "the nearest");
        assert_eq!(first_hand(&[SiteId::NONE, a]), Some(a));
        assert_eq!(first_hand(&[SiteId::NONE]), None);
        let nowhere = Sites::new(&sites(text), &[], None).expect("sites");
        assert_eq!(nowhere.first_hand([c, b].into_iter()), Some(b));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let refused = |text: &[(&str, &[&str])], pairs: &[(&str, &str)], origin| {
            Sites::new(&sites(text), &links(pairs), origin).expect_err("refused").to_string()
        };
        let overlapping: &[(&str, &[&str])] =
            &[("a", &["10.1.2.0/24"]), ("b", &["10.3.0.0/16", "10.0.0.0/8"])];
        assert_eq!(refused(overlapping, &[], None), r#"10.0.0.0/8 of "b" and 10.1.2.0/24 of "a" overlap"#);
        assert_eq!(refused(&[("a", &["10.1.0.0/16"])], &[("a", "b")], None), r#"there is no site "b""#);
        assert_eq!(refused(&[("a", &["10.1.0.0/16"])], &[], Some("x")), r#"there is no site "x""#);
        assert_eq!(refused(&[("a", &[])], &[], None), r#""a" has 0 networks, 1 to 64 are allowed"#);
        let many: Vec<String> = (0..=SITES_MAX).map(|site| format!("{site:03}")).collect();
        let many: Vec<(&str, &[&str])> =
            many.iter().map(|name| (name.as_str(), &["10.0.0.0/8"][..])).collect();
        assert_eq!(refused(&many, &[], None), "257 sites, at most 256 are allowed");
    }

    #[test]
    fn neighbours_have_the_same_prefix() {
        for (a, b, are) in [
            ("10.1.2.3", "10.1.2.250", true),
            ("10.1.2.3", "10.1.3.3", false),
            ("fd00::1", "fd00::ffff:1", true),
            ("fd00::1", "fd00:0:0:1::1", false),
            ("10.1.2.3", "fd00::1", false),
        ] {
            assert_eq!(have_same_prefix(ip(a), ip(b)), are, "{a} {b}");
        }
    }
}
