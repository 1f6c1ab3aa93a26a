//! `pkgtorrent explain`: why an install took as long as it did, from what was recorded of it. No agent is needed.

mod advice;
mod drawing;
mod telling;

use std::io::{IsTerminal, Write};
use std::path::Path;

use anyhow::bail;
use serde::Serialize;

use self::drawing::Style;
use crate::args::InstallName;
use crate::records::{Record, read_all};
use crate::text::{bytes, duration};

/// How wide a terminal is taken for that does not say it.
const WIDTH_DEFAULT: usize = 80;

/// How much of a set's digest is shown where there is little room: enough to tell some dozens apart.
const SET_LEN_SHOWN: usize = 12;

/// Tells one install; the last one, unless another is named.
pub fn tell(state_dir: &Path, name: Option<&InstallName>, as_json: bool) -> anyhow::Result<()> {
    let records = read_all(state_dir)?;
    let found = records.iter().rev().find(|record| name.is_none_or(|name| name.names(record)));
    let Some(record) = found else {
        match name {
            Some(name) => bail!("no install is recorded in {} that {name} names", state_dir.display()),
            None => bail!("no install is recorded in {}", state_dir.display()),
        }
    };
    let mut out = std::io::stdout().lock();
    if as_json {
        serde_json::to_writer_pretty(&mut out, record)?;
        writeln!(out)?;
    } else {
        out.write_all(telling::tell(record, &style()).as_bytes())?;
    }
    Ok(())
}

/// Lists all installs that are recorded, the oldest first.
pub fn list(state_dir: &Path, as_json: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for record in read_all(state_dir)? {
        if as_json {
            serde_json::to_writer(&mut out, &Listed::of(&record))?;
            writeln!(out)?;
        } else {
            writeln!(out, "{}", line(&record))?;
        }
    }
    Ok(())
}

/// The last install in a line, if there is one.
pub fn last_line(state_dir: &Path) -> Option<String> {
    read_all(state_dir).ok()?.last().map(line)
}

/// What a list says of an install.
#[derive(Debug, Serialize)]
struct Listed<'a> {
    number: u64,
    set: Option<String>,
    began: u64,
    took: u64,
    waited: u64,
    packages: u32,
    placed: u32,
    bytes: &'a pkgtorrent_protocol::report::Ledger,
}

impl<'a> Listed<'a> {
    fn of(record: &'a Record) -> Self {
        let Record { number, began, took, waited, packages, placed, bytes, .. } = record;
        let set = record.set.map(|set| set.to_string());
        Self {
            number: *number,
            set,
            began: *began,
            took: *took,
            waited: *waited,
            packages: *packages,
            placed: *placed,
            bytes,
        }
    }
}

fn line(record: &Record) -> String {
    let Record { number, took, packages, placed, bytes: from, .. } = record;
    let set = record.set.map_or_else(|| "-".to_owned(), |set| set.to_string());
    format!(
        "{number:>6}  {}  {:<SET_LEN_SHOWN$}  {placed} of {packages} packages in {}: {} from peers, {} from the mirror, {} were here",
        date(record.began),
        &set[..set.len().min(SET_LEN_SHOWN)],
        seconds(*took),
        bytes(from.near.saturating_add(from.far)),
        bytes(from.origin),
        bytes(from.store),
    )
}

/// A time of day on this host.
fn date(unix: u64) -> String {
    let at = i64::try_from(unix).ok().and_then(|unix| jiff::Timestamp::from_second(unix).ok());
    match at {
        Some(at) => at.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        None => "at no time".into(),
    }
}

/// Milliseconds as people read them.
fn seconds(millis: u64) -> String {
    if millis < 60_000 {
        format!("{}.{} s", millis / 1000, millis % 1000 / 100)
    } else {
        duration(millis / 1000)
    }
}

/// How to draw on the standard output.
fn style() -> Style {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let terminal =
        std::io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find(|name| is_set(name));
    let locale = locale.and_then(|name| std::env::var(name).ok()).unwrap_or_default().to_ascii_lowercase();
    Style {
        width: terminal
            .then(|| terminal_size::terminal_size().map_or(WIDTH_DEFAULT, |(width, _)| width.0.into())),
        is_colored: terminal && !is_set("NO_COLOR"),
        is_utf8: locale.contains("utf-8") || locale.contains("utf8"),
    }
}
