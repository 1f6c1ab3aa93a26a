//! One install in words, for somebody who wants to know why it was slow.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::drawing::{Style, draw};
use super::{advice, date, seconds};
use crate::records::{PackageRecord, PeerRecord, Record, Wait, WaitRecord};
use crate::text::{bytes, harmless};

/// How many peers, packages, decisions and times are named; `--json` has all.
const PEERS_TOLD: usize = 8;
const PACKAGES_TOLD: usize = 5;
const DECISIONS_TOLD: usize = 30;
const TIMES_TOLD: usize = 4;

/// A rate that was measured for less than this says nothing.
const MEASURED_MIN: u64 = 250;

/// What is told of an install. No text of the record reaches a terminal as more than text.
pub(super) fn tell(record: &Record, style: &Style) -> String {
    let mut text = String::new();
    // Writing into a string does not fail.
    let _ = headline(&mut text, record)
        .and_then(|()| write!(text, "\n{}", draw(record, style)))
        .and_then(|()| waits(&mut text, record))
        .and_then(|()| fallbacks(&mut text, record))
        .and_then(|()| peers(&mut text, record))
        .and_then(|()| packages(&mut text, record))
        .and_then(|()| decisions(&mut text, record));
    text
}

fn headline(text: &mut String, record: &Record) -> std::fmt::Result {
    let Record { number, packages, placed, took, bytes: from, .. } = record;
    writeln!(
        text,
        "install {number}: {placed} of {packages} packages in place after {}, begun {}",
        seconds(*took),
        date(record.began)
    )?;
    if let Some(set) = record.set {
        writeln!(text, "set       {set}")?;
    }
    for service in &record.services {
        writeln!(text, "service   {}", harmless(service))?;
    }
    let sum = [from.origin, from.near, from.far, from.store].into_iter().fold(0_u64, u64::saturating_add);
    writeln!(
        text,
        "bytes     {}: {} from hosts of this site, {} from other sites, {} from the mirror, {} were here",
        bytes(sum),
        bytes(from.near),
        bytes(from.far),
        bytes(from.origin),
        bytes(from.store),
    )?;
    let came = sum - from.store.min(sum);
    writeln!(text, "rate      {}", rate(came, *took))?;
    writeln!(text, "over HTTP {}", over_http(record, came))
}

/// What would have been, had all of it come from the mirror.
fn over_http(record: &Record, came: u64) -> String {
    let cost =
        format!("the mirror would have sent {} instead of {}", bytes(came), bytes(record.bytes.origin));
    let sent: u64 = record.timeline.origin.iter().fold(0, |sum, bytes| sum.saturating_add(*bytes));
    if record.origin_busy < MEASURED_MIN || sent == 0 {
        return format!("{cost}; how fast is unknown, as this host asked it for too little");
    }
    let time = u128::from(came) * u128::from(record.origin_busy) / u128::from(sent);
    let time = u64::try_from(time).unwrap_or(u64::MAX);
    format!("{cost}; at {}, as it sent to this host, in {}", rate(sent, record.origin_busy), seconds(time))
}

/// Bytes a second.
fn rate(count: u64, millis: u64) -> String {
    let rate = u128::from(count) * 1000 / u128::from(millis.max(1));
    format!("{} a second", bytes(u64::try_from(rate).unwrap_or(u64::MAX)))
}

fn waits(text: &mut String, record: &Record) -> std::fmt::Result {
    let len = |wait: &WaitRecord| wait.to.saturating_sub(wait.from);
    let mut by_reason: BTreeMap<Wait, (u64, Vec<&WaitRecord>)> = BTreeMap::new();
    for wait in &record.waits {
        let (time, waits) = by_reason.entry(wait.why).or_default();
        *time = time.saturating_add(len(wait));
        waits.push(wait);
    }
    if by_reason.is_empty() {
        return Ok(());
    }
    let all = by_reason.values().fold(0_u64, |sum, (time, _)| sum.saturating_add(*time));
    writeln!(text, "\nnothing came for {}:", seconds(all))?;
    let mut by_time: Vec<(Wait, (u64, Vec<&WaitRecord>))> = by_reason.into_iter().collect();
    by_time.sort_by_key(|(_, (time, _))| std::cmp::Reverse(*time));
    for (why, (time, mut waits)) in by_time {
        waits.sort_by_key(|wait| std::cmp::Reverse(len(wait)));
        let told = waits
            .iter()
            .take(TIMES_TOLD)
            .map(|wait| format!("{} to {}", seconds(wait.from), seconds(wait.to)));
        let told: Vec<String> = told.collect();
        let more = if waits.len() > TIMES_TOLD { ", and others" } else { "" };
        writeln!(text, "  {:>9}  {} ({}{more})", seconds(time), advice::of_wait(why), told.join(", "))?;
    }
    left_out(text, record.waits_left_out.into(), "more such times")
}

fn fallbacks(text: &mut String, record: &Record) -> std::fmt::Result {
    if record.fallbacks.is_empty() {
        return Ok(());
    }
    writeln!(text, "\nleft to the package manager:")?;
    for fallback in &record.fallbacks {
        let (reason, advice) = advice::of_fallback(fallback.reason);
        writeln!(text, "  {} packages: {reason}: {}", fallback.packages, harmless(&fallback.example))?;
        writeln!(text, "    what to do: {advice}")?;
    }
    Ok(())
}

fn peers(text: &mut String, record: &Record) -> std::fmt::Result {
    if record.peers.is_empty() {
        return Ok(());
    }
    let mut by_speed: Vec<&PeerRecord> = record.peers.iter().collect();
    // Those that made trouble, then the slowest.
    by_speed.sort_by_key(|peer| {
        let speed = u128::from(peer.bytes) * 1000 / u128::from(peer.owed.max(MEASURED_MIN));
        (!peer.is_banned, peer.silences == 0, speed)
    });
    writeln!(text, "\npeers, the slowest first:")?;
    for peer in by_speed.iter().take(PEERS_TOLD) {
        writeln!(text, "  {}", one_peer(peer))?;
    }
    let unnamed = by_speed.len().saturating_sub(PEERS_TOLD) as u64 + u64::from(record.other_peers.peers);
    left_out(text, unnamed, "more peers")
}

fn one_peer(peer: &PeerRecord) -> String {
    let mut text = format!("{:<24}  {:>9}", harmless(&peer.address), bytes(peer.bytes));
    if peer.owed >= MEASURED_MIN {
        text.push_str(&format!(" at {}", rate(peer.bytes, peer.owed)));
    }
    if peer.is_far {
        text.push_str(", in another site");
    }
    match peer.silences {
        0 => {}
        1 => text.push_str(", fell silent once"),
        times => text.push_str(&format!(", fell silent {times} times")),
    }
    if peer.is_banned {
        text.push_str(", sent wrong bytes and is banned");
    }
    if !peer.client.is_empty() {
        text.push_str(&format!(" ({})", harmless(&peer.client)));
    }
    text
}

fn packages(text: &mut String, record: &Record) -> std::fmt::Result {
    if record.slowest.is_empty() {
        return Ok(());
    }
    writeln!(text, "\npackages that were left or took longest:")?;
    for package in record.slowest.iter().take(PACKAGES_TOLD) {
        let PackageRecord { name, size, whole, over, left, .. } = package;
        let end = match (left, whole) {
            (Some(reason), _) => format!("left after {}: {}", seconds(*over), advice::of_fallback(*reason).0),
            (None, Some(whole)) => {
                format!("here after {}, in place after {}", seconds(*whole), seconds(*over))
            }
            (None, None) => format!("in place after {}", seconds(*over)),
        };
        writeln!(text, "  {:>9}  {}  {end}", bytes(*size), harmless(name))?;
    }
    left_out(text, u64::from(record.packages).saturating_sub(PACKAGES_TOLD as u64), "more packages")
}

fn decisions(text: &mut String, record: &Record) -> std::fmt::Result {
    let decisions = &record.decisions;
    if decisions.is_empty() {
        return Ok(());
    }
    writeln!(text, "\nwhat the agent decided:")?;
    let half = if decisions.len() > DECISIONS_TOLD { DECISIONS_TOLD / 2 } else { decisions.len() };
    let tell = |text: &mut String, decisions: &[crate::records::DecisionRecord]| {
        decisions.iter().try_for_each(|it| writeln!(text, "  {:>9}  {}", seconds(it.at), harmless(&it.what)))
    };
    tell(text, &decisions[..half])?;
    let told_last = if decisions.len() > DECISIONS_TOLD { half } else { 0 };
    let between = (decisions.len() - half - told_last) as u64;
    left_out(text, between.saturating_add(record.decisions_left_out), "more decisions")?;
    tell(text, &decisions[decisions.len() - told_last..])
}

fn left_out(text: &mut String, count: u64, what: &str) -> std::fmt::Result {
    if count == 0 { Ok(()) } else { writeln!(text, "             and {count} {what}") }
}

#[cfg(test)]
mod tests {
    use pkgtorrent_protocol::report::{Fallback, FallbackReason, Ledger};

    use super::*;
    use crate::records::{DecisionRecord, Timeline};

    fn told(record: &Record) -> String {
        tell(record, &Style::default())
    }

    #[test]
    fn what_the_mirror_was_spared_is_told_with_the_time_that_it_would_have_taken() {
        let record = Record {
            took: 2000,
            bytes: Ledger { origin: 1_000_000, near: 8_000_000, far: 1_000_000, store: 5, sent: 0 },
            timeline: Timeline { seconds: 1, origin: vec![500_000, 500_000], ..Timeline::default() },
            origin_busy: 1000,
            ..Record::default()
        };
        let text = told(&record);
        assert!(text.contains("would have sent 10.0 MB instead of 1.0 MB; at 1.0 MB a second"), "{text}");
        assert!(text.contains("in 10.0 s") && text.contains("rate      5.0 MB a second"), "{text}");
        let unknown = told(&Record { origin_busy: 0, ..record });
        assert!(unknown.contains("how fast is unknown"), "{unknown}");
    }

    #[test]
    fn the_reason_that_cost_most_comes_first() {
        let wait = |from, to, why| WaitRecord { from, to, why };
        let waits = vec![wait(0, 300, Wait::Plan), wait(500, 1500, Wait::Lid), wait(3000, 5000, Wait::Lid)];
        let text = told(&Record { waits, ..Record::default() });
        let (lid, plan) = (text.find("lid is reached"), text.find("was asked where"));
        assert!(text.contains("nothing came for 3.3 s") && lid < plan && lid.is_some(), "{text}");
        assert!(text.contains("(3.0 s to 5.0 s, 0.5 s to 1.5 s)"), "{text}");
    }

    #[test]
    fn who_made_trouble_comes_before_who_was_slow() {
        let peer = |port: u16, bytes, silences, is_banned| PeerRecord {
            address: format!("10.0.0.1:{port}"),
            bytes,
            silences,
            is_banned,
            owed: 1000,
            ..PeerRecord::default()
        };
        let peers = vec![
            peer(1, 9_000_000, 0, false),
            peer(2, 1000, 0, false),
            peer(3, 0, 2, false),
            peer(4, 0, 0, true),
        ];
        let text = told(&Record { peers, ..Record::default() });
        let places: Vec<Option<usize>> = (1..=4).map(|port| text.find(&format!("10.0.0.1:{port}"))).collect();
        assert!(places[3] < places[2] && places[2] < places[1] && places[1] < places[0], "{text}");
        assert!(text.contains("fell silent 2 times") && text.contains("is banned"), "{text}");
    }

    #[test]
    fn whatever_a_record_says_is_text() {
        let evil = "\u{1b}[2J\u{9b}31m\u{202e}\r\n\u{7}".to_owned();
        let record = Record {
            services: vec![evil.clone()],
            peers: vec![PeerRecord { address: evil.clone(), client: evil.clone(), ..PeerRecord::default() }],
            decisions: vec![DecisionRecord { at: 0, what: evil.clone() }],
            fallbacks: vec![Fallback { reason: FallbackReason::Wrong, packages: 1, example: evil.clone() }],
            slowest: vec![PackageRecord { name: evil, ..PackageRecord::default() }],
            took: u64::MAX,
            origin_busy: u64::MAX,
            began: u64::MAX,
            ..Record::default()
        };
        let text = told(&record);
        assert!(
            text.chars().all(|sign| sign == '\n' || (!sign.is_control() && sign != '\u{202e}')),
            "{text:?}"
        );
        assert!(text.contains("what to do:"));
    }

    #[test]
    fn of_many_decisions_the_first_and_the_last_are_told() {
        let decision = |at: u64| DecisionRecord { at: at * 1000, what: format!("decision {at}.") };
        let record =
            Record { decisions: (0..50).map(decision).collect(), decisions_left_out: 7, ..Record::default() };
        let text = told(&record);
        assert!(
            text.contains("decision 14.") && !text.contains("decision 15.") && text.contains("decision 35.")
        );
        assert!(text.contains("and 27 more decisions"), "{text}");
    }
}
