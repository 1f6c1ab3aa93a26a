//! Metrics as a program serves them, and as docs/metrics.md has them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use pkgtorrent_test_support::http;

/// The label that a histogram's buckets have of themselves.
pub const BUCKET_LABEL: &str = "le";

/// What a name may end in that stands in the type's line without it.
const HISTOGRAM_ENDS: [&str; 3] = ["_bucket", "_sum", "_count"];

/// A metric without its values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Described {
    /// Counter, gauge or histogram.
    pub kind: String,
    /// What it means.
    pub meaning: String,
    /// The names of its labels, but a bucket's.
    pub labels: BTreeSet<String>,
}

/// One series and its value.
#[derive(Debug)]
pub struct Series {
    /// The name of its line.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What it is now.
    pub value: f64,
}

/// What a program serves.
#[derive(Debug, Default)]
pub struct Served {
    /// The metrics by name.
    pub metrics: BTreeMap<String, Described>,
    /// Their series.
    pub series: Vec<Series>,
}

impl Served {
    /// Asks at this address.
    #[must_use]
    pub fn get(address: SocketAddr) -> Self {
        let mut served = Self::default();
        served.take(&http::get(address, "/metrics").expect_status(200).text());
        served
    }

    /// Adds what another program serves.
    #[must_use]
    pub fn with(mut self, other: Self) -> Self {
        self.metrics.extend(other.metrics);
        self.series.extend(other.series);
        self
    }

    /// The series of this name, with this value of a label if one is named.
    pub fn series_of<'a>(
        &'a self,
        name: &'a str,
        label: Option<(&'a str, &'a str)>,
    ) -> impl Iterator<Item = &'a Series> + 'a {
        let has = move |series: &Series| {
            label.is_none_or(|(label, value)| series.labels.get(label).is_some_and(|has| has == value))
        };
        self.series.iter().filter(move |series| series.name == name && has(series))
    }

    /// The sum of these.
    #[must_use]
    pub fn sum(&self, name: &str, label: Option<(&str, &str)>) -> f64 {
        self.series_of(name, label).map(|series| series.value).sum()
    }

    fn take(&mut self, text: &str) {
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(comment) = line.strip_prefix("# ") {
                let [what, name, rest] = words(comment);
                let metric = self.metrics.entry(name.to_owned()).or_default();
                match what {
                    "TYPE" => rest.clone_into(&mut metric.kind),
                    "HELP" => rest.clone_into(&mut metric.meaning),
                    _ => panic!("{line}"),
                }
            } else {
                self.series.push(series(line));
            }
        }
        for Series { name, labels, .. } in &self.series {
            let of = |end: &&str| name.strip_suffix(*end).filter(|name| self.metrics.contains_key(*name));
            let name = HISTOGRAM_ENDS.iter().find_map(of).unwrap_or(name);
            let metric = self.metrics.get_mut(name).unwrap_or_else(|| panic!("{name} has no type"));
            metric.labels.extend(labels.keys().filter(|label| *label != BUCKET_LABEL).cloned());
        }
    }
}

fn words(comment: &str) -> [&str; 3] {
    let words: Vec<&str> = comment.splitn(3, ' ').collect();
    words.try_into().unwrap_or_else(|_| panic!("{comment}: three words are wanted"))
}

fn series(line: &str) -> Series {
    let (series, value) = line.rsplit_once(' ').expect(line);
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    let labels = labels.strip_suffix('}').expect(line).split(',').filter(|label| !label.is_empty());
    let label = |label: &str| {
        let (name, value) = label.split_once('=').expect(line);
        (name.to_owned(), value.trim_matches('"').to_owned())
    };
    let value = value.parse().unwrap_or_else(|error| panic!("{line}: {error}"));
    Series { name: name.to_owned(), labels: labels.map(label).collect(), value }
}

/// The repository's file with this path.
#[must_use]
pub fn repository_file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// What docs/metrics.md has below this heading.
#[must_use]
pub fn documented(heading: &str) -> BTreeMap<String, Described> {
    let text = fs::read_to_string(repository_file("docs/metrics.md")).expect("docs/metrics.md");
    let section = text.split("\n## ").find_map(|section| section.strip_prefix(heading)).expect(heading);
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split(" | ").collect();
        let [name, kind, _, labels, meaning] = cells[..] else { panic!("{row}: five cells are wanted") };
        let labels = labels.split(", ").map(|label| label.trim().trim_matches('`').to_owned());
        let metric = Described {
            kind: kind.to_owned(),
            meaning: meaning.trim_end_matches(" |").to_owned(),
            labels: labels.filter(|label| !label.is_empty()).collect(),
        };
        (name.trim_end_matches('`').to_owned(), metric)
    })
    .collect()
}
