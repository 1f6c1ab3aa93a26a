//! `pkgtorrent status`: what the agent has and does.

use std::io::Write;
use std::path::Path;

use anyhow::bail;
use pkgtorrent_protocol::socket::{AgentStatus, Answer, Request};

use crate::control::client::Connection;
use crate::text::{bytes, duration};

/// Asks the agent and prints what it says.
pub fn run(state_dir: &Path, as_json: bool) -> anyhow::Result<()> {
    let mut connection = Connection::connect(state_dir)?;
    connection.send(&Request::Status)?;
    let status = loop {
        match connection.next()?.0 {
            Answer::Status(status) => break status,
            Answer::Refused { reason } => bail!("the agent refused: {reason}"),
            _ => {}
        }
    };
    let mut out = std::io::stdout().lock();
    if as_json {
        serde_json::to_writer_pretty(&mut out, &status)?;
        writeln!(out)?;
    } else {
        out.write_all(describe(&status).as_bytes())?;
    }
    Ok(())
}

fn describe(status: &AgentStatus) -> String {
    let mut text = format!(
        "agent     {} (pid {}), runs as {}, for {}\n\
         state     {}\n\
         store     {} packages, {} of at most {}\n\
         received  {} from the origin, {} from peers; {} were there\n\
         peers     {} connected, {} sent to them{}\n",
        status.program,
        status.pid,
        status.user,
        duration(status.uptime),
        status.state_dir,
        status.packages,
        bytes(status.bytes),
        bytes(status.bytes_max),
        bytes(status.received.origin),
        bytes(status.received.peers),
        bytes(status.received.store),
        status.peers,
        bytes(status.sent),
        status.port.map_or_else(String::new, |port| format!(", who reach this host on port {port}")),
    );
    match status.upload_limit {
        Some(0) => text.push_str("giving    nothing at present, by its service's word or the time of day\n"),
        Some(limit) => text.push_str(&format!("giving    at most {} a second\n", bytes(limit))),
        None => {}
    }
    if status.downloads.is_empty() && status.waiting == 0 {
        text.push_str(&format!("idle      ends in {} unless somebody asks\n", duration(status.ends_in)));
    } else {
        text.push_str(&format!(
            "fetching  {} packages for {} commands\n",
            status.downloads.len(),
            status.waiting
        ));
    }
    for download in &status.downloads {
        let done = download.done * 100 / download.size.max(1);
        text.push_str(&format!("  {done:>3} %  {:>9}  {}\n", bytes(download.size), download.name));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_download_is_shown_with_its_share() {
        let download =
            pkgtorrent_protocol::socket::DownloadStatus { name: "bash".into(), size: 200, done: 50 };
        let status = AgentStatus { downloads: vec![download], waiting: 1, ..AgentStatus::default() };
        let text = describe(&status);
        assert!(text.contains(" 25 %") && text.contains("bash") && !text.contains("ends in"), "{text}");
    }
}
