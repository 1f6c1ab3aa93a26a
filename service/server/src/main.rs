//! The `pkgtorrent-service` program.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use pkgtorrent_server::RunError;
use pkgtorrent_server::args::Args;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// What is logged unless `RUST_LOG` says otherwise. actix-http reports each client that sends nonsense or goes away as an
/// error, and so lets anyone fill the log.
const DEFAULT_LOG: &str = "info,actix_server=warn,actix_http=off";

/// The exit status for a wrong command line or configuration, as clap has it: starting again will not help.
const MISCONFIGURED: u8 = 2;

fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_LOG));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
    let settings = match Args::parse().settings() {
        Ok(settings) => settings,
        Err(error) => {
            tracing::error!("{error}");
            return ExitCode::from(MISCONFIGURED);
        }
    };
    match actix_web::rt::System::new().block_on(run(settings)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Each error's text has its cause in it.
            tracing::error!("{error}");
            if error.is_configuration() { ExitCode::from(MISCONFIGURED) } else { ExitCode::FAILURE }
        }
    }
}

async fn run(settings: pkgtorrent_server::settings::Settings) -> Result<(), RunError> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let shutdown = async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    pkgtorrent_server::run(settings, shutdown, |addresses| {
        // Whoever started us on port 0 reads here which one it became; a closed output is no reason to end.
        let mut out = std::io::stdout().lock();
        for address in addresses {
            let _ = writeln!(out, "listening on http://{address}/");
        }
        let _ = out.flush();
    })
    .await
}
