//! The command line. Its help texts are the manual page's too.

use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};
use pkgtorrent_settings::{Configuration, SettingsError};

use crate::settings::{DEFAULT_CONFIG, Keys, VARIABLES_PREFIX, default_state};

/// What the exit status says.
pub const EXIT_STATUS: &str = "Exit status: 0 when all is well, 1 when there were problems, 2 for a wrong command line \
                               or configuration.";

/// Turns a directory of RPM repositories into torrents: answers sets of package digests with plans, serves every byte
/// of them as a web seed, introduces peers to each other, and is a complete mirror for dnf.
#[derive(Debug, Clone, Parser)]
#[command(name = "pkgtorrent-service", version, max_term_width = 100, after_help = EXIT_STATUS)]
pub struct Args {
    /// The directory whose repositories are served [default: as configured, else /srv/mirror]
    #[arg(long, value_name = "DIR", global = true)]
    pub root: Option<String>,

    /// An address to listen on, with a port; can be given several times [default: as configured, else [::]:7070]
    #[arg(long, value_name = "ADDR", global = true)]
    pub listen: Vec<String>,

    /// The directory for what is remembered between runs [default: as configured, else /var/lib/pkgtorrent-service for
    /// root]
    #[arg(long, value_name = "DIR", global = true)]
    pub state: Option<String>,

    /// The configuration file [default: /etc/pkgtorrent/service.toml, if it is there]
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,

    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do instead of serving.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum Command {
    /// Shows the settings that count, and where each is from
    ///
    /// What is written is a configuration file that says the same. Passwords in URLs are not shown.
    #[command(after_help = EXIT_STATUS)]
    Config {
        /// Write JSON
        #[arg(long)]
        json: bool,
    },

    /// Looks for what is wrong with the configuration, and starts nothing
    ///
    /// Problems, for which the exit status is 1, are settings that make no sense, and directories and addresses that they
    /// name and that cannot be used. Call it as the user that the service runs as.
    #[command(after_help = EXIT_STATUS)]
    Check {
        /// Write JSON: a list of problems
        #[arg(long)]
        json: bool,
    },
}

impl Args {
    /// What is configured: by files, over them by the environment, and over that by the command line.
    pub fn configuration(&self) -> Result<Configuration<Keys>, SettingsError> {
        let mut configuration = Configuration::default();
        configuration.take_default("state", default_state().to_string_lossy().into_owned())?;
        configuration.take_files(self.config.as_deref(), Path::new(DEFAULT_CONFIG))?;
        configuration.take_variables(VARIABLES_PREFIX, std::env::vars_os())?;
        configuration.take_flag("--root", "root", self.root.as_deref())?;
        let listen = (!self.listen.is_empty()).then(|| self.listen.clone());
        configuration.take_flag("--listen", "listen", listen)?;
        configuration.take_flag("--state", "state", self.state.as_deref())?;
        Ok(configuration)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_command_line_counts_more_than_the_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("service.toml");
        std::fs::write(&file, "root = \"/file\"\nlisten = [\"[::1]:1\"]\nmin_rate = 7\n").expect("written");
        let settled = |line: &str| {
            let mut args = Args::try_parse_from(std::iter::once("it").chain(line.split(' '))).expect(line);
            args.config = Some(file.clone());
            args.configuration()
                .and_then(|found| found.settle(Keys::settle))
                .map_err(|error| error.to_string())
        };
        let settings =
            settled("--root /line --listen 127.0.0.1:2 --listen [::1]:3 --state /s").expect("settles");
        assert_eq!((settings.root, settings.state, settings.min_rate), ("/line".into(), "/s".into(), 7));
        assert_eq!(settings.listen, ["127.0.0.1:2", "[::1]:3"].map(|it| it.parse().expect("an address")));
        let settings = settled("check --state /s").expect("settles");
        assert_eq!(settings.root, Path::new("/file"));
        let refused = settled("--listen host:1").expect_err("no address");
        assert!(
            refused.starts_with("--listen: listen: invalid socket address syntax, found \"host:1\""),
            "{refused}"
        );
    }
}
