//! Reading the configuration again in a service that runs.

use pkgtorrent_settings::{Configuration, SettingsError};
use tokio::signal::unix::Signal;
use tokio::sync::mpsc;

use crate::args::Args;
use crate::settings::{Keys, Settings};

/// What the service goes by, and where that was read.
pub struct Reloading {
    /// How the service was called.
    pub args: Args,
    /// What counts.
    pub configuration: Configuration<Keys>,
}

impl Reloading {
    /// Reads the configuration again at each hangup, for as long as it is polled, and hands on what it comes to. One
    /// that is wrong changes nothing.
    pub async fn at_each(mut self, mut hangup: Signal, reloads: mpsc::Sender<Settings>) {
        while hangup.recv().await.is_some() {
            match self.reload() {
                Ok(settings) => {
                    if reloads.send(settings).await.is_err() {
                        return;
                    }
                }
                Err(error) => tracing::error!("the configuration stays as it was: {error}"),
            }
        }
    }

    fn reload(&mut self) -> Result<Settings, SettingsError> {
        let found = self.args.configuration()?;
        // What takes a restart counts for this: the next start would fail of it.
        found.settle(Keys::settle)?;
        let reloaded = self.configuration.reload(found);
        let settings = reloaded.configuration.settle(Keys::settle)?;
        for line in reloaded.lines() {
            tracing::info!("{line}");
        }
        self.configuration = reloaded.configuration;
        Ok(settings)
    }
}
