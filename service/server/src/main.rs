//! The `pkgtorrent-service` program.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use pkgtorrent_server::RunError;
use pkgtorrent_server::args::{Args, Command};
use pkgtorrent_server::reload::Reloading;
use pkgtorrent_server::settings::{Keys, Settings};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// What is logged unless `RUST_LOG` says otherwise. actix-http reports each client that sends nonsense or goes away as an
/// error, and so lets anyone fill the log.
const DEFAULT_LOG: &str = "info,actix_server=warn,actix_http=off";

/// The exit status for a wrong command line or configuration, as clap has it: starting again will not help.
const MISCONFIGURED: u8 = 2;

fn main() -> ExitCode {
    pkgtorrent_settings::start_log(DEFAULT_LOG, std::io::stderr);
    let args = Args::parse();
    match args.command {
        Some(Command::Config { json }) => show(&args, json),
        Some(Command::Check { json }) => check(&args, json),
        None => serve(args),
    }
}

/// Shows what counts and where it is from, even if no service could run with it: this is how that is looked into.
fn show(args: &Args, is_json: bool) -> ExitCode {
    let text = match args.configuration() {
        Ok(configuration) if is_json => format!("{:#}\n", configuration.json()),
        Ok(configuration) => configuration.listing(),
        Err(error) => {
            eprintln!("pkgtorrent-service: {error}");
            return ExitCode::from(MISCONFIGURED);
        }
    };
    say(&text)
}

fn say(text: &str) -> ExitCode {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn check(args: &Args, is_json: bool) -> ExitCode {
    let problems = match args.configuration().and_then(|found| found.settle(Keys::settle)) {
        Ok(settings) => pkgtorrent_server::check(&settings),
        Err(error) => vec![error.to_string()],
    };
    let text = match problems.as_slice() {
        problems if is_json => format!("{:#}\n", serde_json::json!(problems)),
        [] => "no problems found\n".to_owned(),
        problems => {
            problems.iter().for_each(|problem| eprintln!("pkgtorrent-service: {problem}"));
            String::new()
        }
    };
    let said = say(&text);
    if problems.is_empty() { said } else { ExitCode::FAILURE }
}

fn serve(args: Args) -> ExitCode {
    let found = args.configuration().and_then(|found| Ok((found.settle(Keys::settle)?, found)));
    let (settings, configuration) = match found {
        Ok(found) => found,
        Err(error) => {
            tracing::error!("{error}");
            return ExitCode::from(MISCONFIGURED);
        }
    };
    let reloading = Reloading { args, configuration };
    match actix_web::rt::System::new().block_on(run(settings, reloading)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Each error's text has its cause in it.
            tracing::error!("{error}");
            if error.is_configuration() { ExitCode::from(MISCONFIGURED) } else { ExitCode::FAILURE }
        }
    }
}

async fn run(settings: Settings, reloading: Reloading) -> Result<(), RunError> {
    // Before anything else: until then it would end the service.
    let hangup = signal(SignalKind::hangup())?;
    let (reloads_sender, reloads) = mpsc::channel(1);
    let reloading = tokio::spawn(reloading.at_each(hangup, reloads_sender));
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let shutdown = async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    let served = pkgtorrent_server::run(settings, reloads, shutdown, |addresses| {
        // Whoever started us on port 0 reads here which one it became; a closed output is no reason to end.
        let mut out = std::io::stdout().lock();
        for address in &addresses.admin {
            let _ = writeln!(out, "watched at http://{address}/pkgtorrent/");
        }
        for address in &addresses.public {
            let _ = writeln!(out, "listening on http://{address}/");
        }
        let _ = out.flush();
    })
    .await;
    reloading.abort();
    served
}
