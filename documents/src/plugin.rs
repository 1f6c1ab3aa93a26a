//! The page on the plugins' file. Its keys are documented in the files that are installed, plugin-shim/*/pkgtorrent.conf.

use anyhow::{Context, ensure};
use pkgtorrent_settings::roff;

use crate::DATE;

const DNF4: &str = include_str!("../../plugin-shim/dnf4/pkgtorrent.conf");
const DNF5: &str = include_str!("../../plugin-shim/dnf5/pkgtorrent.conf");

/// A key of a plugin's file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    name: String,
    default: String,
    doc: Vec<String>,
}

/// yum-torrent.conf(5).
pub(crate) fn conf_page() -> anyhow::Result<String> {
    let mut page = format!(
        ".TH YUM\\-TORRENT.CONF 5 {DATE}\n.SH NAME\nyum\\-torrent.conf \\- configuration of the package managers' plugins of \
         pkgtorrent\n\
         .SH SYNOPSIS\n.I /etc/dnf/plugins/pkgtorrent.conf\n.br\n.I /etc/dnf/libdnf5\\-plugins/pkgtorrent.conf\n\
         .SH DESCRIPTION\nThe first file is that of the plugin for dnf 4, the second that of the one for dnf5. Each has a\n\
         section\n.B [main]\nwith a key and its value on each line. A line that begins with # is a comment.\n.PP\n\
         A key with a value that makes no sense is told of in the package manager's log, and it downloads as if the\n\
         plugin were not installed. How packages are fetched and shared is configured elsewhere, in\n\
         .BR pkgtorrent.conf (5).\n\
         .SH KEYS\n"
    );
    let (dnf4, dnf5) = (keys(DNF4)?, keys(DNF5)?);
    for key in &dnf5 {
        let common = dnf4.iter().find(|other| other.name == key.name);
        page.push_str(&format!(".TP\n.B {}\n", roff(&key.name)));
        for line in &common.unwrap_or(key).doc {
            page.push_str(&format!("{}\n", roff(line)));
        }
        if common.is_none() {
            page.push_str("Only dnf5 has it.\n");
        }
        match key.default.as_str() {
            "" => page.push_str("It is empty by default.\n"),
            default => page.push_str(&format!("Default:\n.B {}\n", roff(default))),
        }
    }
    page.push_str(
        ".SH EXAMPLES\n.nf\n[main]\nenabled = 1\nservice = http://mirror.example.com:7070\n.fi\n\
         .SH SEE ALSO\n.BR yum\\-torrent (1),\n.BR dnf\\-pkgtorrent (8),\n.BR pkgtorrent.conf (5)\n",
    );
    Ok(page)
}

/// The keys of a file, each with the comment right above it.
fn keys(file: &str) -> anyhow::Result<Vec<Key>> {
    let (mut keys, mut doc) = (Vec::new(), Vec::new());
    for line in file.lines() {
        if let Some(comment) = line.strip_prefix('#') {
            doc.push(comment.trim().to_owned());
        } else if let Some((name, default)) = line.split_once('=') {
            ensure!(!doc.is_empty(), "nothing is said of {name}");
            let (name, default) = (name.trim().to_owned(), default.trim().to_owned());
            keys.push(Key { name, default, doc: std::mem::take(&mut doc) });
        } else {
            doc.clear();
        }
    }
    keys.first().context("no keys")?;
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const SHIM4: &str = include_str!("../../plugin-shim/dnf4/pkgtorrent.py");
    const SHIM5: &str = include_str!("../../plugin-shim/dnf5/pkgtorrent.cpp");

    /// What the package manager itself reads.
    const FOREIGN: [&str; 2] = ["enabled", "name"];

    fn names(file: &str) -> BTreeSet<String> {
        let names = keys(file).expect("keys").into_iter().map(|key| key.name);
        names.filter(|name| !FOREIGN.contains(&name.as_str())).collect()
    }

    /// The options that a plugin reads, and the defaults that it has for them.
    fn read(source: &str) -> BTreeSet<(String, String)> {
        let calls = source.match_indices("option(\"").filter(|(place, _)| !source[..*place].ends_with('_'));
        let option = |(place, _)| {
            let mut quoted = source[place..].split('"').skip(1).step_by(2).map(str::to_owned);
            (quoted.next().expect("a name"), quoted.next().expect("a default"))
        };
        calls.map(option).collect()
    }

    #[test]
    fn files_and_plugins_have_the_same_keys_and_defaults() {
        for (file, shim) in [(DNF4, SHIM4), (DNF5, SHIM5)] {
            let documented = keys(file).expect("keys").into_iter();
            let documented = documented.filter(|key| !FOREIGN.contains(&key.name.as_str()));
            assert_eq!(documented.map(|key| (key.name, key.default)).collect::<BTreeSet<_>>(), read(shim));
        }
    }

    #[test]
    fn both_files_say_the_same_of_the_keys_that_both_have() {
        let of_dnf5 = keys(DNF5).expect("keys");
        for key in keys(DNF4).expect("keys") {
            let other = of_dnf5.iter().find(|other| other.name == key.name).expect("dnf5 has all of them");
            assert_eq!(key.doc.join(" "), other.doc.join(" ").replace("dnf5", "dnf"), "{}", key.name);
        }
        assert_eq!(names(DNF5).difference(&names(DNF4)).collect::<Vec<_>>(), ["interactive"]);
    }
}
