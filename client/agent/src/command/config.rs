//! `pkgtorrent config` and `pkgtorrent check`: what is configured, and whether an agent could run with it.

use std::io::Write;
use std::net::TcpListener;

use pkgtorrent_settings::check_directory;

use crate::args::Args;
use crate::origin::Http;
use crate::settings::{Keys, Settings};
use crate::user::{self, Callers};

/// Shows what counts and where it is from, even if no agent could run with it: this is how that is looked into.
pub fn show(args: &Args, is_json: bool) -> anyhow::Result<bool> {
    let configuration = args.configuration()?;
    let text = if is_json { format!("{:#}\n", configuration.json()) } else { configuration.listing() };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(true)
}

/// Says each problem that there is; whether there is none.
pub fn check(args: &Args, is_json: bool) -> anyhow::Result<bool> {
    let problems = match args.configuration().and_then(|found| found.settle(Keys::settle)) {
        Ok(settings) => problems(args, &settings),
        Err(error) => vec![error.to_string()],
    };
    if is_json {
        writeln!(std::io::stdout(), "{:#}", serde_json::json!(problems))?;
        return Ok(problems.is_empty());
    }
    for problem in &problems {
        eprintln!("pkgtorrent: {problem}");
    }
    if problems.is_empty() {
        writeln!(std::io::stdout(), "no problems found")?;
    }
    Ok(problems.is_empty())
}

/// What an agent with these settings would stumble over.
pub(super) fn problems(args: &Args, settings: &Settings) -> Vec<String> {
    let listen = settings.listen.ip();
    let state = args.state_dir().map_err(|error| error.to_string());
    let looks = [
        user::target_owner(&settings.user).map(drop).map_err(|error| format!("user: {error}")),
        Callers::new(&settings.allowed_users, None).map(drop).map_err(|error| error.to_string()),
        Http::new(&settings.origin).map(drop).map_err(|error| error.to_string()),
        // Whether the address is this host's, not whether the port is free: the agent that runs has it.
        TcpListener::bind((listen, 0)).map(drop).map_err(|error| format!("listen: {listen}: {error}")),
        state.and_then(|path| check_directory(&path)),
        settings.metrics_listen.map_or(Ok(()), |listen| {
            let bound = TcpListener::bind((listen.ip(), 0)).map(drop);
            bound.map_err(|error| format!("metrics_listen: {}: {error}", listen.ip()))
        }),
    ];
    looks.into_iter().filter_map(Result::err).collect()
}
