//! What the fleet's hosts have told: what the mirror was spared, where bytes came from, and where it went badly.

use maud::{Markup, html};

use super::chart::{self, Chart};
use super::parts::{bar, bytes, figure, number, query, table};
use super::text;
use crate::accounts::{EndedInstall, History, Overview, SiteView, Sums};
use crate::http::api::fleet::{Fleet, Installs};

/// What sources are called, with their classes, from the dearest on.
const SOURCES: [(&str, &str); 3] =
    [("origin", "the mirror"), ("near", "hosts of the same site"), ("far", "hosts of other sites")];

/// How much of the history counts as now, in seconds: agents of a large fleet report every few minutes.
const NOW: u64 = 600;

/// How many sites are listed, those with the most hosts first.
const SITES_MAX: usize = 50;

/// For how long back bytes are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) word: &'static str,
    name: &'static str,
    pub(super) hours: u32,
    /// How many bars there are.
    bars: usize,
}

/// All of them, the usual one first.
pub(super) const SPANS: [(&str, Span); 3] = [
    ("hours", Span { word: "hours", name: "3 hours", hours: 3, bars: 180 }),
    ("day", Span { word: "day", name: "a day", hours: 24, bars: 24 }),
    ("month", Span { word: "month", name: "30 days", hours: 720, bars: 30 }),
];

/// All that is said about the fleet.
pub(super) fn sections(fleet: &Fleet, span: Span) -> Markup {
    html! {
        (figures(&fleet.overview, &fleet.lately))
        section #history aria-labelledby="history-title" {
            div.head {
                h2 #history-title { "Where hosts got their bytes" }
                nav aria-label="Time" { @for (word, other) in &SPANS {
                    a href=(query(&[("span", word)], "history")) aria-current=[(*other == span).then_some("true")] {
                        (other.name)
                    }
                } }
            }
            (history(&fleet.history, span))
        }
        section aria-labelledby="sites-title" {
            h2 #sites-title { "Hosts by site" }
            (sites(&fleet.sites))
        }
        @if let Some(found) = &fleet.installs { (installs(found, fleet.overview.now)) }
    }
}

fn installs(installs: &Installs, now: u64) -> Markup {
    html! {
        div.pair {
            section aria-labelledby="slowest-title" {
                h2 #slowest-title { "Slowest installs today" }
                (slowest(&installs.slowest, now))
            }
            section aria-labelledby="fallbacks-title" {
                h2 #fallbacks-title { "Lately left to the package manager" }
                (fallbacks(&installs.fallbacks, now))
            }
        }
    }
}

fn figures(overview: &Overview, lately: &History) -> Markup {
    let recent = lately.points.iter().filter(|point| point.at + NOW > overview.now);
    let now = recent.fold([0_u64; 3], |sum, point| {
        let sources = sources(&point.sums);
        [0, 1, 2].map(|source| sum[source].saturating_add(sources[source]))
    });
    let from_hosts = now[1].saturating_add(now[2]);
    html! {
        dl.figures {
            (figure("The mirror was spared today", &text::bytes(overview.today.spared), &spared(&overview.today)))
            (figure("This month", &text::bytes(overview.month.spared), &spared(&overview.month)))
            (figure("From other hosts in the last 10 minutes", &text::percent(from_hosts, from_hosts.saturating_add(now[0])), &html! {
                (source_bar(now)) (text::bytes(from_hosts.saturating_add(now[0]))) " in all"
            }))
            (figure("Hosts", &text::number(overview.hosts as u64), &html! {
                (text::count(overview.today.installs, "install")) " today"
                @if let (Some(half), Some(most)) = (overview.today.took_p50_ms, overview.today.took_p95_ms) {
                    ", half of them within " (text::milliseconds(half.into()))
                    ", 95 of 100 within " (text::milliseconds(most.into()))
                }
            }))
        }
    }
}

fn spared(sums: &Sums) -> Markup {
    let fetched = sums.spared.saturating_add(sums.bytes.origin);
    html! { (text::percent(sums.spared, fetched)) " of " (text::bytes(fetched)) " that hosts fetched" }
}

/// Bytes from each of [`SOURCES`].
fn sources(sums: &Sums) -> [u64; 3] {
    [sums.bytes.origin, sums.bytes.near, sums.bytes.far]
}

fn source_bar(bytes: [u64; 3]) -> Markup {
    let told: Vec<String> = SOURCES
        .iter()
        .zip(bytes)
        .map(|((_, name), part)| format!("{} from {name}", text::bytes(part)))
        .collect();
    let parts = [0, 1, 2].map(|source| (SOURCES[source].0, bytes[source]));
    bar(&parts, &told.join(", "))
}

fn history(history: &History, span: Span) -> Markup {
    let seconds = history.until + history.step - history.since;
    let step = (seconds / span.bars as u64).max(1);
    let amounts = history.points.iter().map(|point| (point.at, sources(&point.sums)));
    let bars = chart::bars(history.since, step, span.bars, amounts);
    let label = "Bytes that hosts fetched";
    Chart { label, parts: SOURCES, written: text::bytes, since: history.since, step, bars }.draw()
}

fn sites(sites: &[SiteView]) -> Markup {
    if sites.is_empty() {
        return html! { p.empty { "No host has reported yet." } };
    }
    let columns = [
        ("Site", false),
        ("Hosts", true),
        ("Sources today", false),
        ("From the mirror", true),
        ("From hosts", true),
        ("Installs", true),
        ("95 of 100 within", true),
        ("Packages left", true),
    ];
    let is_alone = sites.len() == 1;
    let mut sites: Vec<&SiteView> = sites.iter().collect();
    sites.sort_by_key(|site| std::cmp::Reverse(site.hosts));
    let left_out = sites.len().saturating_sub(SITES_MAX);
    let rows = html! { @for site in sites.into_iter().take(SITES_MAX) {
        tr {
            th scope="row" { (site_name(&site.name, is_alone)) }
            (number(site.hosts as u64))
            td.wide { (source_bar(sources(&site.today))) }
            (bytes(site.today.bytes.origin))
            (bytes(site.today.spared))
            (number(site.today.installs))
            td.number { (site.today.took_p95_ms.map_or_else(|| "–".into(), |took| text::milliseconds(took.into()))) }
            (number(site.today.left))
        }
    } };
    html! {
        (table("Hosts by site", &columns, &rows))
        @if left_out > 0 { p.about { "and " (text::count(left_out as u64, "site")) " with fewer hosts" } }
        ul.legend { @for (class, name) in &SOURCES { li { span class={ "key " (class) } {} (name) } } }
    }
}

fn site_name(name: &str, is_alone: bool) -> &str {
    match (name, is_alone) {
        ("", true) => "all hosts",
        ("", false) => "no site",
        _ => name,
    }
}

fn slowest(installs: &[EndedInstall], now: u64) -> Markup {
    if installs.is_empty() {
        return html! { p.empty { "No install has ended today." } };
    }
    let columns = [("Host", false), ("Took", true), ("Packages", true), ("Sources", false), ("Ended", true)];
    let rows = html! { @for install in installs {
        tr {
            th scope="row" { (host(install)) }
            td.number { (text::milliseconds(install.took_ms.into()))
                @if install.waited_ms > 0 { span.more { br; (text::milliseconds(install.waited_ms.into())) " held back" } }
            }
            (number(install.packages.into()))
            td.wide { (source_bar([install.bytes.origin, install.bytes.near, install.bytes.far])) }
            td.number { (text::ago(now.saturating_sub(install.ended))) }
        }
    } };
    table("Slowest installs today", &columns, &rows)
}

fn fallbacks(installs: &[EndedInstall], now: u64) -> Markup {
    if installs.is_empty() {
        return html! { p.empty { "Nothing: hosts got all they wanted." } };
    }
    let columns = [("Host", false), ("Packages", true), ("Why", false), ("Ended", true)];
    let rows = html! { @for install in installs {
        tr {
            th scope="row" { (host(install)) }
            (number(install.packages.saturating_sub(install.placed).into()))
            td.reasons { @for fallback in &install.fallbacks {
                p { (reason(fallback.reason.name())) " (" (text::number(fallback.packages.into())) ")"
                    @if !fallback.example.is_empty() { span.more { ": " (fallback.example) } }
                }
            } }
            td.number { (text::ago(now.saturating_sub(install.ended))) }
        }
    } };
    table("Lately left to the package manager", &columns, &rows)
}

fn host(install: &EndedInstall) -> Markup {
    html! { (install.host) @if !install.site.is_empty() { span.more { " " (install.site) } } }
}

/// A reason's name as people say it.
fn reason(name: &str) -> &str {
    match name {
        "no_plan" => "the service had no plan",
        "unknown" => "unknown to the service",
        "not_brought" => "nobody gave it in time",
        "wrong" => "not the package",
        "no_room" => "no room",
        "not_placed" => "could not be put into place",
        "interrupted" => "not waited for",
        _ => "something else",
    }
}
