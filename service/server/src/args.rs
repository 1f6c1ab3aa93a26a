//! The command line.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Parser;
use pkgtorrent_settings::SettingsError;

use crate::settings::{DEFAULT_CONFIG, Keys, Settings};

/// Turns a directory of RPM repositories into torrents: answers sets of package digests with plans, serves every byte
/// of them as a web seed, introduces peers to each other, and is a complete mirror for dnf.
#[derive(Debug, Parser)]
#[command(name = "pkgtorrent-service", version, max_term_width = 100)]
pub struct Args {
    /// The directory whose repositories are served
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,

    /// An address to listen on, with a port [default: [::]:7070]
    #[arg(long, value_name = "ADDR")]
    pub listen: Vec<SocketAddr>,

    /// The directory for what is remembered between runs [default: /var/lib/pkgtorrent-service for root]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,

    /// The configuration file [default: /etc/pkgtorrent/service.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl Args {
    /// The settings: what the command line says, then what the configuration says, then the defaults.
    pub fn settings(self) -> Result<Settings, SettingsError> {
        let from_file = Keys::read(self.config.as_deref(), Path::new(DEFAULT_CONFIG))?;
        let from_line = Keys {
            root: self.root,
            listen: (!self.listen.is_empty()).then_some(self.listen),
            state: self.state,
            ..Keys::default()
        };
        from_line.or(from_file).settle()
    }
}
