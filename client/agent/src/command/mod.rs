//! The commands of the `pkgtorrent` program.

pub mod agent;
pub mod config;
pub mod doctor;
pub mod explain;
pub mod fetch;
pub mod status;
pub mod store;

use std::path::PathBuf;
use std::process::ExitCode;

use pkgtorrent_settings::{SettingsError, start_log};

use self::store::Form;
use crate::args::{AgentArgs, AgentCommand, Args, Command, ExplainArgs, StoreCommand};
use crate::control::client::{ConnectError, Connection};
use crate::log::Messages;
use crate::reload::Reloading;
use crate::settings::Keys;
use crate::start::{Start, connect_or_start, leave_caller_behind};

/// What is logged unless `RUST_LOG` says otherwise.
const DEFAULT_LOG: &str = "info";

/// Problems were found.
const PROBLEMS: u8 = 1;

/// A wrong command line or configuration, as clap has it: trying again will not help.
const MISCONFIGURED: u8 = 2;

/// Does what the command line says.
#[must_use]
pub fn run(args: &Args) -> ExitCode {
    match &args.command {
        // It has a form of its own in which to say what went wrong.
        Command::Fetch(fetch) => fetch::run(args, fetch),
        Command::Agent(agent @ AgentArgs { command: None, .. }) => run_agent(args, agent),
        Command::Agent(AgentArgs { command: Some(AgentCommand::Stop), .. }) => report(stop(args)),
        Command::Status { json } => {
            report(state_dir(args).and_then(|dir| status::run(&dir, *json)).map(|()| true))
        }
        Command::Explain(explain) => report(run_explain(args, explain).map(|()| true)),
        Command::Config { json } => report(config::show(args, *json)),
        Command::Check { json } => report(config::check(args, *json)),
        Command::Doctor(doctor) => report(doctor::run(args, doctor)),
        Command::Store { command } => report(run_store(args, command)),
    }
}

fn run_agent(args: &Args, agent: &AgentArgs) -> ExitCode {
    if agent.detach
        && let Err(error) = leave_caller_behind()
    {
        eprintln!("pkgtorrent: leaving the caller's session: {error}");
        return ExitCode::from(PROBLEMS);
    }
    start_log(DEFAULT_LOG, Messages::default);
    report(serve(args, agent).map(|()| true))
}

fn serve(args: &Args, agent: &AgentArgs) -> anyhow::Result<()> {
    let configuration = args.configuration()?;
    let settings = configuration.settle(Keys::settle)?;
    let reloading = Reloading { args: args.clone(), configuration };
    agent::run(reloading, settings, &state_dir(args)?, agent.detach)
}

fn run_explain(args: &Args, explain: &ExplainArgs) -> anyhow::Result<()> {
    let state_dir = state_dir(args)?;
    if explain.list {
        explain::list(&state_dir, explain.json)
    } else {
        explain::tell(&state_dir, explain.install.as_ref(), explain.json)
    }
}

fn run_store(args: &Args, command: &StoreCommand) -> anyhow::Result<bool> {
    match command {
        StoreCommand::Add { files, quiet, json } => {
            let form = if *json { Form::Json } else { Form::Text { is_quiet: *quiet } };
            store::add(connect(args)?, files, form)
        }
        StoreCommand::List { json } => store::list(connect(args)?, false, *json),
        StoreCommand::Verify { json } => store::list(connect(args)?, true, *json),
    }
}

/// Connects to the agent that is needed for what the store has, and starts it if there is none.
fn connect(args: &Args) -> anyhow::Result<Connection> {
    let start = Start {
        state_dir: state_dir(args)?,
        is_named: args.state_dir.is_some(),
        config: args.config.clone(),
        listen: None,
        background: args.settings()?.background,
        temporary_parent: PathBuf::new(),
    };
    let nowhere =
        |_, _| Err(std::io::Error::other("there is no store without an agent, and none may be left running"));
    Ok(connect_or_start(&start, nowhere)?)
}

/// Ends the agent and waits until it has ended. It is fine if none runs.
fn stop(args: &Args) -> anyhow::Result<bool> {
    match Connection::connect(&state_dir(args)?) {
        Ok(agent) => agent.stop()?,
        Err(ConnectError::OtherVersion { agent, .. }) => agent.stop()?,
        Err(ConnectError::NoAgent(_)) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(true)
}

fn state_dir(args: &Args) -> anyhow::Result<PathBuf> {
    Ok(args.state_dir()?)
}

/// The exit status of a command that says what went wrong on standard error.
fn report(result: anyhow::Result<bool>) -> ExitCode {
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(PROBLEMS),
        Err(error) => {
            eprintln!("pkgtorrent: {error:#}");
            ExitCode::from(if error.is::<SettingsError>() { MISCONFIGURED } else { PROBLEMS })
        }
    }
}
