//! What somebody at a terminal sees instead of events.

use std::collections::HashMap;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use pkgtorrent_protocol::control::{FetchEvent, FetchPackage, PlannedSource, Sources};

use crate::text::bytes;

/// More packages than this at once are not shown one by one: they would fill the screen.
const PACKAGES_MAX: usize = 8;

/// How much of what others wrote is shown.
const TEXT_CHARS_MAX: usize = 160;

/// How they look: of everything, and of one package.
const TOTAL: &str = "{bar:30} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {wide_msg}";
const PACKAGE: &str = "{bar:30} {percent:>3} % {decimal_bytes_per_sec:>12} {wide_msg}";

/// The bars of one run.
pub(super) struct Bars {
    screen: MultiProgress,
    total: ProgressBar,
    packages: Vec<Package>,
    shown: HashMap<usize, ProgressBar>,
    came: Sources,
}

struct Package {
    name: String,
    size: u64,
    done: u64,
}

impl Bars {
    pub(super) fn new(packages: &[FetchPackage]) -> Self {
        let screen = MultiProgress::new();
        let sum = packages.iter().fold(0, |sum: u64, package| sum.saturating_add(package.size));
        let total = screen.add(ProgressBar::new(sum));
        total.set_style(style(TOTAL));
        let of = |package: &FetchPackage| Package { name: plain(&package.name), size: package.size, done: 0 };
        let packages = packages.iter().map(of).collect();
        Self { screen, total, packages, shown: HashMap::new(), came: Sources::default() }
    }

    pub(super) fn show(&mut self, event: &FetchEvent) {
        match event {
            FetchEvent::Progress { index, done } => self.progress(*index, *done),
            FetchEvent::Waiting { reason, .. } => self.total.set_message(plain(reason)),
            FetchEvent::Placed { index, from } => {
                self.came.peers += from.peers;
                self.came.origin += from.origin;
                self.came.store += from.store;
                self.total.set_message(sources(&self.came));
                self.advance(*index, u64::MAX);
                self.end(*index, &sources(from));
            }
            FetchEvent::Planned { index, from, complete, partial } => {
                self.end(*index, &planned(*from, *complete, *partial));
            }
            FetchEvent::Failed { index, reason } => {
                self.leave(*index);
                self.end(*index, &format!("left to the package manager: {}", plain(reason)));
            }
            FetchEvent::Done { placed, failed, bytes } => {
                self.total.finish_and_clear();
                let rest = sources(bytes);
                self.say(&format!("{placed} of {} packages: {rest}", placed + failed));
            }
        }
    }

    fn progress(&mut self, index: usize, done: u64) {
        self.advance(index, done);
        let Some(package) = self.packages.get(index) else { return };
        if !self.shown.contains_key(&index) && self.shown.len() >= PACKAGES_MAX {
            return;
        }
        let (screen, total) = (&self.screen, &self.total);
        let bar = self.shown.entry(index).or_insert_with(|| {
            let bar = screen.insert_before(total, ProgressBar::new(package.size));
            bar.set_style(style(PACKAGE));
            bar.set_message(package.name.clone());
            bar
        });
        bar.set_position(package.done);
    }

    fn advance(&mut self, index: usize, done: u64) {
        let Some(package) = self.packages.get_mut(index) else { return };
        let done = done.min(package.size);
        // What was wrong is fetched again: then less is here than was.
        self.total.set_position((self.total.position() + done).saturating_sub(package.done));
        package.done = done;
    }

    fn end(&mut self, index: usize, how: &str) {
        if let Some(bar) = self.shown.remove(&index) {
            bar.finish_and_clear();
        }
        if let Some(package) = self.packages.get(index) {
            self.say(&format!("{} {}: {how}", bytes(package.size), package.name));
        }
    }

    /// A package is not waited for any more.
    fn leave(&mut self, index: usize) {
        self.advance(index, 0);
        let size = self.packages.get(index).map_or(0, |package| package.size);
        self.total.set_length(self.total.length().unwrap_or(0).saturating_sub(size));
    }

    fn say(&self, line: &str) {
        // Where it cannot be written nobody reads it.
        let _ = self.screen.println(line);
    }
}

fn style(template: &str) -> ProgressStyle {
    // A template that is wrong is one of ours, and a test's matter.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Bytes of a run or of a package by where they came from.
fn sources(from: &Sources) -> String {
    let parts = [(from.peers, "from peers"), (from.origin, "from the mirror"), (from.store, "were here")];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, from)| format!("{} {from}", bytes(*count)))
        .collect();
    if parts.is_empty() { "nothing came".into() } else { parts.join(", ") }
}

fn planned(from: PlannedSource, complete: u32, partial: u32) -> String {
    match from {
        PlannedSource::Destination => "in place".into(),
        PlannedSource::Store => "in the store".into(),
        PlannedSource::Bundle => {
            format!("in a bundle, which {complete} hosts have and {partial} have some of")
        }
        PlannedSource::Unknown => "the service does not have it".into(),
    }
}

/// A text that others wrote, without what a terminal might obey.
fn plain(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).map(|sign| if sign.is_control() { ' ' } else { sign }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str) -> FetchPackage {
        let digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
        FetchPackage { name: name.into(), url: String::new(), digest, size: 100, dest: "/x".into() }
    }

    #[test]
    fn the_total_follows_the_packages_forth_and_back() {
        let packages: Vec<FetchPackage> = (0..20).map(|_| package("a")).collect();
        let mut bars = Bars::new(&packages);
        for index in 0..20 {
            bars.show(&FetchEvent::Progress { index, done: 50 });
        }
        assert_eq!((bars.total.position(), bars.shown.len()), (1000, PACKAGES_MAX));
        bars.show(&FetchEvent::Progress { index: 3, done: 10 });
        assert_eq!(bars.total.position(), 960);
        let from = Sources { peers: 100, ..Sources::default() };
        bars.show(&FetchEvent::Placed { index: 3, from });
        bars.show(&FetchEvent::Failed { index: 4, reason: "gone".into() });
        assert_eq!((bars.total.position(), bars.total.length()), (1000, Some(1900)));
        assert_eq!(bars.shown.len(), PACKAGES_MAX - 2);
        bars.show(&FetchEvent::Progress { index: 99, done: 1 });
        assert_eq!(bars.total.message(), "100 B from peers");
    }

    #[test]
    fn templates_are_right_and_names_say_nothing_to_the_terminal() {
        for template in [TOTAL, PACKAGE] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
        assert_eq!(plain("a\u{1b}[2Jb"), "a [2Jb");
        let some = Sources { peers: 2_000_000, origin: 5, store: 0 };
        assert_eq!(sources(&some), "2.0 MB from peers, 5 B from the mirror");
        assert_eq!(sources(&Sources::default()), "nothing came");
    }
}
