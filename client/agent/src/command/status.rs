//! `pkgtorrent status`: what the agent has and does.

use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;

use anyhow::{anyhow, bail};
use pkgtorrent_protocol::control::Sources;
use pkgtorrent_protocol::report::{InstallReport, Ledger};
use pkgtorrent_protocol::socket::{AgentStatus, Answer, InstallStatus, Request};

use super::explain;
use crate::control::client::{ConnectError, Connection};
use crate::text::{bytes, duration, harmless};

/// How many downloads and shared bundles are named; `--json` has all.
const NAMED_MAX: usize = 20;

/// Asks the agent and prints what it says.
pub fn run(state_dir: &Path, as_json: bool) -> anyhow::Result<()> {
    let status = ask(state_dir)?;
    let mut out = std::io::stdout().lock();
    if as_json {
        serde_json::to_writer_pretty(&mut out, &status)?;
        writeln!(out)?;
    } else {
        out.write_all(describe(&status).as_bytes())?;
    }
    Ok(())
}

fn ask(state_dir: &Path) -> anyhow::Result<AgentStatus> {
    let mut connection = Connection::connect(state_dir).map_err(|error| match error {
        ConnectError::NoAgent(_) => match explain::last_line(state_dir) {
            Some(last) => anyhow!("{error}; the last install was\n{last}"),
            None => error.into(),
        },
        error => error.into(),
    })?;
    connection.send(&Request::Status)?;
    loop {
        match connection.next()?.0 {
            Answer::Status(status) => return Ok(*status),
            Answer::Refused { reason } => bail!("the agent refused: {}", harmless(&reason)),
            _ => {}
        }
    }
}

/// What came from where. An agent that was started before an upgrade tells it in other fields.
fn ledger_of(status: &AgentStatus) -> Ledger {
    let Sources { peers, origin, store } = status.received;
    if status.ledger != Ledger::default() {
        return status.ledger;
    }
    Ledger { origin, near: peers, far: 0, store, sent: status.sent }
}

fn describe(status: &AgentStatus) -> String {
    let Ledger { origin, near, far, store, sent } = ledger_of(status);
    let mut text = format!(
        "agent     {} (pid {}), runs as {}, for {}\n\
         state     {}\n\
         store     {} packages, {} of at most {}\n\
         received  {} from the origin, {} from hosts of this site, {} from other sites; {} were there\n\
         peers     {} connected, {} sent to them{}\n",
        harmless(&status.program),
        status.pid,
        harmless(&status.user),
        duration(status.uptime),
        harmless(&status.state_dir),
        status.packages,
        bytes(status.bytes),
        bytes(status.bytes_max),
        bytes(origin),
        bytes(near),
        bytes(far),
        bytes(store),
        status.peers,
        bytes(sent),
        status.port.map_or_else(String::new, |port| format!(", who reach this host on port {port}")),
    );
    match status.upload_limit {
        Some(0) => text.push_str("giving    nothing at present, by its service's word or the time of day\n"),
        Some(limit) => text.push_str(&format!("giving    at most {} a second\n", bytes(limit))),
        None => {}
    }
    // Writing into a string does not fail.
    let _ = seeds(&mut text, status)
        .and_then(|()| status.last_install.iter().try_for_each(|last| last_install(&mut text, last)))
        .and_then(|()| doings(&mut text, status));
    text
}

fn seeds(text: &mut String, status: &AgentStatus) -> std::fmt::Result {
    if status.seeds.is_empty() {
        return Ok(());
    }
    writeln!(text, "sharing   {} bundles", status.seeds.len())?;
    for seed in status.seeds.iter().take(NAMED_MAX) {
        let until = if seed.gives { duration(seed.until) } else { "no time, for now".into() };
        let (packages, of, peers) = (seed.packages, seed.of, seed.peers);
        writeln!(text, "  {}  {packages} of {of} packages, {peers} peers, for {until}", seed.info_hash)?;
    }
    more(text, status.seeds.len())
}

fn last_install(text: &mut String, last: &InstallReport) -> std::fmt::Result {
    let Ledger { origin, near, far, store, .. } = last.bytes;
    writeln!(
        text,
        "last      install {}: {} of {} packages in {}.{} s, {} ago: {} from peers, {} from the origin, {} were there",
        last.number,
        last.placed,
        last.packages,
        last.took / 1000,
        last.took % 1000 / 100,
        duration(last.ended_ago.into()),
        bytes(near.saturating_add(far)),
        bytes(origin),
        bytes(store),
    )
}

fn doings(text: &mut String, status: &AgentStatus) -> std::fmt::Result {
    if status.downloads.is_empty() && status.waiting == 0 {
        return writeln!(text, "idle      ends in {} unless somebody asks", duration(status.ends_in));
    }
    writeln!(text, "fetching  {} packages for {} commands", status.downloads.len(), status.waiting)?;
    for install in &status.installs {
        one_install(text, install)?;
    }
    for download in status.downloads.iter().take(NAMED_MAX) {
        let done = u128::from(download.done) * 100 / u128::from(download.size.max(1));
        writeln!(text, "  {done:>3} %  {:>9}  {}", bytes(download.size), harmless(&download.name))?;
    }
    more(text, status.downloads.len())
}

fn one_install(text: &mut String, install: &InstallStatus) -> std::fmt::Result {
    let Ledger { origin, near, far, .. } = install.rates;
    writeln!(
        text,
        "  {} of {} packages after {}: {}/s from the origin, {}/s from hosts of this site, {}/s from other sites",
        install.placed,
        install.packages,
        duration(install.took / 1000),
        bytes(origin),
        bytes(near),
        bytes(far),
    )?;
    install.peers.iter().try_for_each(|peer| {
        writeln!(text, "    {:>9}/s  {:>9}  {}", bytes(peer.rate), bytes(peer.bytes), harmless(&peer.address))
    })
}

fn more(text: &mut String, count: usize) -> std::fmt::Result {
    if count > NAMED_MAX { writeln!(text, "  and {} more", count - NAMED_MAX) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use pkgtorrent_protocol::socket::{BundleStatus, DownloadStatus, PeerStatus};

    use super::*;

    #[test]
    fn a_download_is_shown_with_its_share_and_its_sources() {
        let download = DownloadStatus { name: "bash\u{1b}[2J".into(), size: 200, done: 50 };
        let peer = PeerStatus { address: "10.0.0.1:7071".into(), rate: 5000, ..PeerStatus::default() };
        let rates = Ledger { near: 5000, ..Ledger::default() };
        let install = InstallStatus { packages: 3, rates, peers: vec![peer], ..InstallStatus::default() };
        let status = AgentStatus {
            downloads: vec![download; NAMED_MAX + 1],
            installs: vec![install],
            waiting: 1,
            ..AgentStatus::default()
        };
        let text = describe(&status);
        assert!(text.contains(" 25 %") && text.contains("bash?[2J") && !text.contains("ends in"), "{text}");
        assert!(text.contains("5.0 kB/s from hosts of this site") && text.contains("and 1 more"), "{text}");
        assert!(text.contains("    5.0 kB/s        0 B  10.0.0.1:7071"), "{text}");
    }

    #[test]
    fn what_is_shared_and_what_was_last_is_shown() {
        let info_hash = pkgtorrent_protocol::InfoHash([7; 20]);
        let seed = BundleStatus { info_hash, packages: 2, of: 9, peers: 4, until: 61, gives: true };
        let last =
            InstallReport { number: 3, took: 1234, packages: 5, placed: 4, ..InstallReport::default() };
        let status = AgentStatus { seeds: vec![seed], last_install: Some(last), ..AgentStatus::default() };
        let text = describe(&status);
        assert!(text.contains("2 of 9 packages, 4 peers, for 1 min 1 s"), "{text}");
        assert!(text.contains("install 3: 4 of 5 packages in 1.2 s"), "{text}");
    }
}
