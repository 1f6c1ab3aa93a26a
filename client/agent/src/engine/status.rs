//! What this agent has and does, for whoever asks.

use std::time::Instant;

use pkgtorrent_protocol::socket::{AgentStatus, Answer, BundleStatus, DownloadStatus};

use super::{Engine, SessionId};

/// How many downloads are named: with them a status of the largest set fits into one line of the socket.
const DOWNLOADS_NAMED_MAX: usize = 10_000;

impl Engine {
    /// What this agent has and does.
    pub(super) fn say_status(&self, id: SessionId) {
        let Some(session) = self.sessions.get(&id) else { return };
        let (now, totals) = (Instant::now(), self.store.totals());
        let downloads = self.downloads.values().take(DOWNLOADS_NAMED_MAX).map(|download| DownloadStatus {
            name: download.name().to_owned(),
            size: download.size(),
            done: download.done(),
        });
        let installs = self.sessions.values().filter_map(|session| session.install.as_ref());
        let status = AgentStatus {
            program: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            user: self.description.user.clone(),
            state_dir: self.description.state_dir.clone(),
            uptime: now.duration_since(self.started).as_secs(),
            packages: totals.packages,
            bytes: totals.bytes,
            bytes_max: totals.bytes_max,
            received: self.ledger.into(),
            sent: self.ledger.sent,
            ledger: self.ledger,
            last_install: self.installs.last(),
            installs: installs.map(super::installs::Install::status).collect(),
            seeds: self.seeds(now),
            messages: self.network.peers.messages(),
            peers: self.peers_connected(),
            port: self.network.port,
            called_ago: self.network.called.map(|at| now.duration_since(at).as_secs()),
            peers_inbound: self.peers_inbound(),
            downloads: downloads.collect(),
            decisions: self.decisions(),
            waiting: self.sessions.values().filter(|session| session.is_waiting()).count(),
            ends_in: self.lifetime.left(now, self.shares_until()).as_secs(),
            upload_limit: self.upload_limit(),
        };
        session.send(Answer::Status(Box::new(status)), None);
    }

    /// The bundles of which others get something, that which is shared longest first.
    fn seeds(&self, now: Instant) -> Vec<BundleStatus> {
        let offered = self.bundles.iter().filter(|(_, bundle)| bundle.offers);
        let mut seeds: Vec<BundleStatus> = offered
            .map(|(id, bundle)| BundleStatus {
                info_hash: bundle.info_hash,
                packages: self.shared_in(*id).count(),
                of: bundle.info.as_ref().map_or(0, |info| info.packages().len()),
                peers: self.network.links_of(*id).count(),
                until: bundle.shared_until.saturating_duration_since(now).as_secs(),
                gives: self.gives(*id),
            })
            .collect();
        seeds.sort_by_key(|seed| (std::cmp::Reverse(seed.until), seed.info_hash));
        seeds
    }
}
