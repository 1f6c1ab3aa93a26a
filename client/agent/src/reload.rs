//! Reading the configuration again in an agent that runs.

use pkgtorrent_settings::Configuration;
use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, watch};

use crate::args::Args;
use crate::engine::Event;
use crate::origin::Http;
use crate::settings::{Keys, Settings};
use crate::user::Callers;

/// What the agent goes by, and where that was read.
pub struct Reloading {
    /// How the agent was called.
    pub args: Args,
    /// What counts.
    pub configuration: Configuration<Keys>,
}

/// Who is told of other settings.
pub struct Told {
    /// The engine.
    pub events: mpsc::Sender<Event>,
    /// The agent's socket.
    pub callers: watch::Sender<Callers>,
}

impl Reloading {
    /// Reads the configuration again at each hangup, for as long as it is polled. One that is wrong changes nothing.
    pub async fn at_each(mut self, mut hangup: Signal, told: Told) {
        while hangup.recv().await.is_some() {
            if let Err(error) = self.reload(&told).await {
                tracing::error!("the configuration stays as it was: {error:#}");
            }
        }
    }

    async fn reload(&mut self, told: &Told) -> anyhow::Result<()> {
        let found = self.args.configuration()?;
        // What takes a restart counts for this: the next start would fail of it.
        found.settle(Keys::settle)?;
        let reloaded = self.configuration.reload(found);
        let settings: Settings = reloaded.configuration.settle(Keys::settle)?;
        let (http, callers) = (Http::new(&settings.origin)?, Callers::new(&settings.allowed_users, None)?);
        told.callers.send_replace(callers);
        // Without an engine the agent is about to end.
        let _ = told.events.send(Event::Reloaded { settings: Box::new(settings), http }).await;
        for line in reloaded.lines() {
            tracing::info!("{line}");
        }
        self.configuration = reloaded.configuration;
        Ok(())
    }
}
