//! What the operator says of giving: which hosts give nothing to others, or only so much.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use pkgtorrent_protocol::{HostGroup, networks};
use serde::Deserialize;

use crate::rate::MaxRate;

/// A rule for some hosts, as it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UploadKeys {
    /// Hosts in these networks.
    #[serde(default)]
    networks: Vec<IpNet>,
    /// Hosts that name one of these groups.
    #[serde(default)]
    groups: Vec<HostGroup>,
    /// The most that each of them gives.
    max_rate: UploadRate,
}

/// A rate at which a host gives; `"0"` for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct UploadRate(u64);

impl TryFrom<String> for UploadRate {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text == "0" {
            return Ok(Self(0));
        }
        match MaxRate::try_from(text)?.0 {
            Some(rate) => Ok(Self(rate)),
            None => Err("say how much: \"0\" for nothing, or a rate like \"8 Mbit/s\"".to_owned()),
        }
    }
}

/// The rules.
#[derive(Debug, Clone, Default)]
pub struct UploadRules(Vec<UploadKeys>);

impl UploadRules {
    /// Checks rules that were read, each with its name.
    pub fn new(rules: BTreeMap<String, UploadKeys>) -> Result<Self, String> {
        for (name, rule) in &rules {
            if rule.networks.is_empty() && rule.groups.is_empty() {
                return Err(format!("{name:?} names neither networks nor groups, and so no host"));
            }
        }
        Ok(Self(rules.into_values().collect()))
    }

    /// Bytes that a host may give in a second at most: the least of all rules that it falls under.
    #[must_use]
    pub fn limit(&self, ip: IpAddr, group: Option<&HostGroup>) -> Option<u64> {
        let is_for = |rule: &&UploadKeys| {
            let is_of_group = group.is_some_and(|group| rule.groups.contains(group));
            is_of_group || networks::contain(&rule.networks, ip.to_canonical())
        };
        self.0.iter().filter(is_for).map(|rule| rule.max_rate.0).min()
    }

    /// The port by which a host is named to others: 0, which is none, if it gives nothing.
    #[must_use]
    pub fn listed_port(&self, ip: IpAddr, port: u16) -> u16 {
        if self.limit(ip, None) == Some(0) { 0 } else { port }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Result<UploadRules, String> {
        UploadRules::new(toml::from_str(text).map_err(|error: toml::de::Error| error.to_string())?)
    }

    #[test]
    fn the_least_of_all_that_apply_counts() {
        let rules = rules(
            r#"
            vpn = { networks = ["10.8.0.0/16"], max_rate = "0" }
            branch = { networks = ["10.8.0.0/15"], groups = ["branch"], max_rate = "8 Mbit/s" }
            thin = { groups = ["branch", "laptops"], max_rate = "800 kbit/s" }
            "#,
        )
        .expect("rules");
        let limit = |ip: &str, group: Option<&str>| {
            let group = group.map(|group| group.parse().expect("a group"));
            rules.limit(ip.parse().expect("an address"), group.as_ref())
        };
        for (ip, group, expected) in [
            ("10.8.1.2", None, Some(0)),
            ("::ffff:10.8.1.2", None, Some(0)),
            ("10.8.1.2", Some("branch"), Some(0)),
            ("10.9.1.2", None, Some(1_000_000)),
            ("10.9.1.2", Some("laptops"), Some(100_000)),
            ("10.9.1.2", Some("servers"), Some(1_000_000)),
            ("10.1.1.2", Some("branch"), Some(100_000)),
            ("10.1.1.2", None, None),
        ] {
            assert_eq!(limit(ip, group), expected, "{ip} {group:?}");
        }
        assert_eq!(rules.listed_port("10.8.1.2".parse().expect("an address"), 7), 0);
        assert_eq!(rules.listed_port("10.9.1.2".parse().expect("an address"), 7), 7);
    }

    #[test]
    fn what_makes_no_rule_is_refused() {
        for (text, reason) in [
            (r#"a = { max_rate = "0" }"#, "\"a\" names neither"),
            (r#"a = { groups = ["x"] }"#, "max_rate"),
            (r#"a = { groups = ["x y"], max_rate = "0" }"#, "names no group"),
            (r#"a = { groups = ["x"], max_rate = "" }"#, "say how much"),
            (r#"a = { groups = ["x"], max_rate = "1" }"#, "write it like"),
            (r#"a = { network = ["10.0.0.0/8"], max_rate = "0" }"#, "network"),
        ] {
            let refused = rules(text).expect_err(text);
            assert!(refused.contains(reason), "{refused}");
        }
    }
}
