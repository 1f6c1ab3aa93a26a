//! The command line of `pkgtorrent`. Its help texts are the manual page's too.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Parser, Subcommand};
use pkgtorrent_settings::{Configuration, Origin, SettingsError};

use crate::records::Record;
use crate::settings::{DEFAULT_CONFIG, Keys, Settings, VARIABLES_PREFIX, default_state_dir};

/// What the exit status of `fetch` says.
pub const FETCH_EXIT_STATUS: &str = "Exit status: 0 when every package is in place, 3 when some are left to the \
                                     package manager, 2 for bad input, a wrong command line or configuration.";

/// What the exit status of the other commands says.
pub const EXIT_STATUS: &str = "Exit status: 0 when all is well, 1 when there were problems, 2 for a wrong command line \
                               or configuration.";

/// Fetches the packages of a transaction before the package manager downloads them, keeps them, and shares them with
/// the other hosts.
///
/// A package manager's plugin calls `pkgtorrent fetch`. It asks an agent, which is started when none runs, and puts
/// what the agent has into the package manager's cache. Whatever goes wrong is left to the package manager, which
/// then downloads as it always did.
#[derive(Debug, Clone, Parser)]
#[command(name = "pkgtorrent", version, max_term_width = 100, after_help = EXIT_STATUS)]
pub struct Args {
    /// The configuration file [default: /etc/pkgtorrent/agent.toml, if it is there]
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,

    /// The directory that holds all of one agent's state: store, socket, log [default: /var/lib/pkgtorrent for root,
    /// else pkgtorrent in $XDG_STATE_HOME or in ~/.local/state]
    ///
    /// Each state directory has an agent of its own, so that several run on one machine. An agent that systemd starts
    /// takes the directory in $STATE_DIRECTORY.
    #[arg(long, value_name = "DIR", global = true)]
    pub state_dir: Option<PathBuf>,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Puts a transaction's packages where the package manager looks for them
    ///
    /// Reads one request from standard input, as JSON, and writes an event a line to standard output. A package appears
    /// at its destination only after its whole digest matched. If no agent runs, one is started, which keeps sharing
    /// after this command has ended; in a chroot, a container or an image build nothing is left running.
    #[command(after_help = FETCH_EXIT_STATUS)]
    Fetch(FetchArgs),

    /// Runs the agent, in the foreground, until it is asked to end or nobody needs it any longer
    ///
    /// `fetch` starts an agent when it needs one, so this is for systemd's unit and for looking at what it does. When
    /// root calls it, it gives up root's rights for those of the configured user first.
    #[command(after_help = EXIT_STATUS)]
    Agent(AgentArgs),

    /// Says what the agent has and does
    ///
    /// Problems, for which the exit status is 1, are that no agent runs or that it does not answer.
    #[command(after_help = EXIT_STATUS)]
    Status {
        /// Write JSON
        #[arg(long)]
        json: bool,
    },

    /// Explains why an install of this host took as long as it did
    ///
    /// Says where each byte came from and when, what was waited for and why, which hosts were slow, what was left to the
    /// package manager, and what the same would have cost without other hosts. The last fifty installs are kept in the
    /// state directory, which its owner and root may read; no agent has to run. A problem, for which the exit status is
    /// 1, is that there is no such install.
    #[command(after_help = EXIT_STATUS)]
    Explain(ExplainArgs),

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
    /// Problems, for which the exit status is 1, are settings that make no sense, and users, files and addresses that
    /// they name and that are not there. Call it as the user that the agent is started by.
    #[command(after_help = EXIT_STATUS)]
    Check {
        /// Write JSON: a list of problems
        #[arg(long)]
        json: bool,
    },

    /// Looks for what keeps this host from fetching and sharing, and says what to do about it
    ///
    /// Each line is a check: `ok`, `warning` for what works less well than it could, `problem` for what keeps it from
    /// doing what it is there for, and `unknown` for what cannot be told from here; some of it only root can tell. It takes
    /// less than two seconds, whatever hangs. The exit status is 1 if there is a problem; warnings do not count.
    #[command(after_help = EXIT_STATUS)]
    Doctor(DoctorArgs),

    /// Puts packages into the agent's store, lists or checks them
    #[command(after_help = EXIT_STATUS)]
    Store {
        /// What to do with the store.
        #[command(subcommand)]
        command: StoreCommand,
    },
}

/// How to fetch.
#[derive(Debug, Clone, clap::Args)]
pub struct FetchArgs {
    /// The service to ask, or `auto` for the hosts of the packages' own URLs [default: as configured]
    ///
    /// A URL without a path means the service's default prefix. If it is empty nothing is asked.
    #[arg(long, value_name = "URL")]
    pub service: Option<String>,

    /// The address for other hosts of an agent that is started for this [default: [::]:7071]
    ///
    /// A port alone means all addresses of this host.
    ///
    /// When the port is busy, any free one is taken instead. An agent that runs already keeps its own.
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,

    /// Start no agent: download within this command and leave nothing running
    #[arg(long)]
    pub in_process: bool,

    /// Fetch and place nothing, start nothing: say of each package where it would come from
    ///
    /// It is in place, in the store, in a bundle that so many hosts have all or some of, or unknown to the service,
    /// which looks for the packages as for any other set. What is in the store only root and the agent's user can see.
    #[arg(long)]
    pub dry_run: bool,

    /// How events are written to standard output [default: json; on a terminal there are bars instead]
    #[arg(long, value_name = "FORM")]
    pub events: Option<EventForm>,
}

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum EventForm {
    /// A JSON object a line
    Json,
    /// An event a line: its name, the package's number and what else there is, between tabs
    Lines,
}

/// What to explain.
#[derive(Debug, Clone, clap::Args)]
pub struct ExplainArgs {
    /// The install: its number, or how the digest of its set begins [default: the last one]
    #[arg(value_name = "SET")]
    pub install: Option<InstallName>,

    /// The last install, which is the default
    #[arg(long, conflicts_with_all = ["install", "list"])]
    pub last: bool,

    /// List the installs that can be explained, the oldest first
    #[arg(long, conflicts_with = "install")]
    pub list: bool,

    /// Write JSON; with `--list` an object a line
    #[arg(long)]
    pub json: bool,
}

/// What names an install: its number, or how its set's digest begins. The latest of those that it fits is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstallName(String);

impl InstallName {
    /// Whether it names this install.
    #[must_use]
    pub fn names(&self, record: &Record) -> bool {
        let is_set = record.set.is_some_and(|set| set.to_string().starts_with(&self.0));
        is_set || self.0.parse() == Ok(record.number)
    }
}

impl FromStr for InstallName {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let is_digest = !name.is_empty() && name.len() <= 64 && name.bytes().all(|it| it.is_ascii_hexdigit());
        is_digest
            .then(|| Self(name.to_ascii_lowercase()))
            .ok_or("it is neither a number nor the beginning of a digest")
    }
}

impl fmt::Display for InstallName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How to run the agent.
#[derive(Debug, Clone, clap::Args)]
pub struct AgentArgs {
    /// The address for other hosts [default: [::]:7071]
    ///
    /// A port alone means all addresses of this host.
    ///
    /// When the port is busy, any free one is taken instead.
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,

    /// Leave the terminal, and say `ready` on standard output once the socket can be asked: how `fetch` starts it
    #[arg(long, hide = true)]
    pub detach: bool,

    /// What to do with an agent that runs; none runs one.
    #[command(subcommand)]
    pub command: Option<AgentCommand>,
}

/// What to look at.
#[derive(Debug, Clone, clap::Args)]
pub struct DoctorArgs {
    /// The service to look at [default: as configured in the package manager's plugin, else in the agent's file]
    #[arg(long, value_name = "URL")]
    pub service: Option<String>,

    /// Write JSON: a list of `check`, `state`, `found` and `advice`
    #[arg(long)]
    pub json: bool,
}

/// What to do with an agent that runs.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum AgentCommand {
    /// Ends the agent that runs and waits until it has ended
    ///
    /// It is fine if none runs.
    #[command(after_help = EXIT_STATUS)]
    Stop,
}

/// What to do with the store.
#[derive(Debug, Clone, Subcommand)]
pub enum StoreCommand {
    /// Copies package files into the store, so that they are shared
    ///
    /// This is for what the package manager had to download itself. The files stay as they are.
    #[command(after_help = EXIT_STATUS)]
    Add {
        /// The package files
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,

        /// Write nothing but errors
        #[arg(long)]
        quiet: bool,

        /// Write JSON, an object a line: `file`, and either `identity` and `size` or `error`
        #[arg(long, conflicts_with = "quiet")]
        json: bool,
    },

    /// Lists the store's packages: digest, size, and when each was last wanted
    #[command(after_help = EXIT_STATUS)]
    List {
        /// Write JSON, an object a line
        #[arg(long)]
        json: bool,
    },

    /// Reads every package again and drops those that do not match their digest
    ///
    /// A package that had to be dropped is a problem, for which the exit status is 1.
    #[command(after_help = EXIT_STATUS)]
    Verify {
        /// Write JSON, an object a line
        #[arg(long)]
        json: bool,
    },
}

impl Args {
    /// What is configured: by files, over them by the environment, and over that by the command line.
    pub fn configuration(&self) -> Result<Configuration<Keys>, SettingsError> {
        let (service, listen) = match &self.command {
            Command::Fetch(fetch) => (fetch.service.as_deref(), fetch.listen.as_deref()),
            Command::Agent(agent) => (None, agent.listen.as_deref()),
            _ => (None, None),
        };
        let mut configuration = Configuration::default();
        configuration.take_files(self.config.as_deref(), Path::new(DEFAULT_CONFIG))?;
        configuration.take_variables(VARIABLES_PREFIX, std::env::vars_os())?;
        configuration.take_flag("--service", "service", service)?;
        configuration.take_flag("--listen", "listen", listen)?;
        Ok(configuration)
    }

    /// The settings that follow from what is configured.
    pub fn settings(&self) -> Result<Settings, SettingsError> {
        self.configuration()?.settle(Keys::settle)
    }

    /// The state directory, as an absolute path: an agent leaves the directory that it was started in.
    pub fn state_dir(&self) -> Result<PathBuf, SettingsError> {
        // What is checked is what the agent would have.
        let is_service =
            matches!(&self.command, Command::Agent(AgentArgs { command: None, .. }) | Command::Check { .. });
        let Some(named) = &self.state_dir else { return default_state_dir(is_service) };
        std::path::absolute(named).map_err(|error| SettingsError::At {
            origin: Origin::Flag("--state-dir"),
            reason: format!("{}: {error}", named.display()),
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;
    use crate::settings::Service;

    fn parsed(line: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(std::iter::once("pkgtorrent").chain(line.split_whitespace()))
    }

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn global_options_stand_anywhere() {
        let lines = [
            "--config c --state-dir /d agent stop",
            "agent --config c --state-dir /d stop",
            "agent stop --config c --state-dir /d",
            "--config c store --state-dir /d list",
            "fetch --state-dir=/d --in-process --config=c",
        ];
        for line in lines {
            let args = parsed(line).expect(line);
            assert_eq!(args.config.as_deref(), Some(Path::new("c")), "{line}");
            assert_eq!(args.state_dir().expect(line), Path::new("/d"), "{line}");
        }
    }

    #[test]
    fn what_is_no_command_is_a_usage_error() {
        for line in [
            "",
            "store",
            "store add",
            "agent start",
            "status extra",
            "stats",
            "explain x",
            "explain --last --list",
        ] {
            let error = parsed(line).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
        assert_eq!(parsed("--help").expect_err("help").kind(), ErrorKind::DisplayHelp);
    }

    #[test]
    fn the_command_line_counts_more_than_the_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("agent.toml");
        std::fs::write(&file, "service = \"http://file/\"\nlisten = \"127.0.0.1:1\"\nseed_min = 4")
            .expect("written");
        let settings = |line: &str| {
            let mut args = parsed(line).expect(line);
            args.config = Some(file.clone());
            let settings = args.settings().expect(line);
            assert_eq!(settings.seeding.min.as_secs(), 4, "{line}");
            let service = match settings.service {
                Service::Url(url) => url,
                other => format!("{other:?}"),
            };
            (service, settings.listen.port())
        };
        let from_file = "http://file/pkgtorrent/v1/".to_owned();
        assert_eq!(settings("status"), (from_file.clone(), 1));
        assert_eq!(
            settings("fetch --service http://line --listen [::1]:2"),
            ("http://line/pkgtorrent/v1/".into(), 2)
        );
        assert_eq!(settings("fetch --service auto"), ("Auto".into(), 1));
        assert_eq!(settings("fetch --service="), ("None".into(), 1));
        assert_eq!(settings("agent --listen 0.0.0.0:3"), (from_file.clone(), 3));
        assert_eq!(settings("agent --listen 4"), (from_file, 4));
    }

    #[test]
    fn an_option_that_makes_no_sense_is_refused_by_its_name() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("agent.toml");
        std::fs::write(&file, "").expect("written");
        for (line, reason) in [
            ("fetch --service mirror", "--service: service: \"mirror\" is no http or https URL"),
            ("fetch --listen host:1", "--listen: listen: \"host:1\" is no address to listen on"),
            ("agent --listen 70710", "--listen: listen: \"70710\" is no address to listen on"),
        ] {
            let mut args = parsed(line).expect(line);
            args.config = Some(file.clone());
            let refused = args.settings().expect_err(line).to_string();
            assert!(refused.starts_with(reason), "{refused}");
        }
    }

    #[test]
    fn a_relative_state_directory_becomes_absolute() {
        let here = std::env::current_dir().expect("a directory");
        assert_eq!(
            parsed("--state-dir d status").expect("parses").state_dir().expect("absolute"),
            here.join("d")
        );
        assert!(parsed("--state-dir= status").is_err_and(|error| error.exit_code() == 2));
    }

    #[test]
    fn what_fetch_passes_to_an_agent_stays_hidden() {
        let args = parsed("agent --detach").expect("parses");
        assert!(matches!(args.command, Command::Agent(AgentArgs { detach: true, command: None, .. })));
        let mut command = Args::command();
        command.build();
        let agent = command.find_subcommand_mut("agent").expect("there");
        assert!(!agent.render_long_help().to_string().contains("--detach"));
    }
}
