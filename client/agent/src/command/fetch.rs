//! `pkgtorrent fetch`: what a package manager's shim calls.
//!
//! It speaks with the shim over standard input and output, with the agent over its socket, and is the only one that
//! touches the package manager's files. Whatever cannot be had is left to the package manager, with a reason.

mod asking;
mod bars;
mod interrupt;
mod placing;
mod planning;
mod report;
mod request;

use std::io;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::JoinHandle;

use pkgtorrent_protocol::control::{FetchPackage, FetchRequest, Sources};

use self::asking::Question;
use self::report::Report;
use crate::args::{Args, FetchArgs};
use crate::files::StateDir;
use crate::place::already_there;
use crate::settings::{Background, Service, Settings};
use crate::start::{Start, connect_or_start};

/// Every package is in place.
const ALL_PLACED: u8 = 0;

/// Bad input, as clap has it too.
const BAD_INPUT: u8 = 2;

/// Some packages are left to the package manager.
const SOME_LEFT: u8 = 3;

/// Fetches what standard input asks for.
pub fn run(args: &Args, fetch: &FetchArgs) -> ExitCode {
    // A bug of ours must not keep a package manager waiting, nor look like its own failure.
    let status = catch_unwind(AssertUnwindSafe(|| fetch_and_place(args, fetch)));
    ExitCode::from(status.unwrap_or(SOME_LEFT))
}

fn fetch_and_place(args: &Args, fetch: &FetchArgs) -> u8 {
    let prepared = args.settings().map_err(anyhow::Error::from).and_then(|settings| {
        let start = start_of(args, fetch, &settings)?;
        Ok((settings, start, request::read(io::stdin().lock())?))
    });
    let (settings, mut start, request) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            eprintln!("pkgtorrent: {error:#}");
            return BAD_INPUT;
        }
    };
    let report = Arc::new(Report::new(&request.packages, fetch.events));
    if fetch.dry_run {
        planning::plan(&request, &settings, &start.state_dir, &report);
        return if report.done() { ALL_PLACED } else { SOME_LEFT };
    }
    skip_what_is_there(&request.packages, &report);
    let question = asking::question(&request, &settings.service, &report);
    if !question.is_empty() {
        start.temporary_parent = request::nearest_directory(request.packages[question.first()].dest.as_ref());
        fetch_missing(&start, settings, &question, &request, &report);
    }
    if report.done() { ALL_PLACED } else { SOME_LEFT }
}

fn start_of(args: &Args, fetch: &FetchArgs, settings: &Settings) -> anyhow::Result<Start> {
    Ok(Start {
        state_dir: args.state_dir()?,
        is_named: args.state_dir.is_some(),
        config: args.config.clone(),
        listen: fetch.listen.as_ref().map(|_| settings.listen),
        background: if fetch.in_process { Background::Never } else { settings.background },
        temporary_parent: PathBuf::new(),
    })
}

/// A destination that is right already costs nothing but a look.
fn skip_what_is_there(packages: &[FetchPackage], report: &Report) {
    for (index, package) in packages.iter().enumerate() {
        if already_there(package.dest.as_ref(), &package.digest, package.size) {
            report.placed(index, Sources { store: package.size, ..Sources::default() });
        }
    }
}

/// Asks the agent for the rest. Without one, all of it is left to the package manager.
fn fetch_missing(
    start: &Start,
    settings: Settings,
    question: &Question,
    request: &FetchRequest,
    report: &Arc<Report>,
) {
    let mut within = None;
    let connected = connect_or_start(start, |connection, files| {
        within = Some(work_within(settings, connection, files)?);
        Ok(())
    });
    match connected {
        Ok(connection) => {
            // Not before an agent was started, which would inherit that the signals are held back.
            if within.is_none() {
                interrupt::clean_up_first(None);
            }
            asking::ask(connection, question, request, report);
        }
        Err(error) => question.fail_all(report, &error.to_string()),
    }
    // Its connection is closed by now, so it ends and takes its temporary directory with it.
    if let Some(within) = within {
        let _ = within.join();
    }
}

/// An agent's work on a thread of this process.
fn work_within(settings: Settings, connection: UnixStream, files: StateDir) -> io::Result<JoinHandle<()>> {
    interrupt::clean_up_first(Some(files.path().to_owned()));
    std::thread::Builder::new().name("agent".into()).spawn(move || {
        if let Err(error) = super::agent::serve_in_process(settings, files, connection) {
            tracing::debug!("working without an agent: {error:#}");
        }
    })
}

/// The services that a request's packages are to be asked from, and which of them each package's is.
fn services(packages: &[FetchPackage], service: &Service) -> (Vec<String>, Vec<Result<usize, String>>) {
    match service {
        Service::None => (Vec::new(), vec![Err("no service is configured".into()); packages.len()]),
        Service::Url(url) => (vec![url.to_string()], vec![Ok(0); packages.len()]),
        Service::Auto => {
            let mut services: Vec<String> = Vec::new();
            let of_packages = packages.iter().map(|package| {
                let service = service_beside(&package.url)?;
                Ok(services.iter().position(|known| *known == service).unwrap_or_else(|| {
                    services.push(service);
                    services.len() - 1
                }))
            });
            let of_packages = of_packages.collect();
            (services, of_packages)
        }
    }
}

/// The service on the host that a package's URL names.
fn service_beside(url: &str) -> Result<String, String> {
    let mut service = reqwest::Url::parse(url).map_err(|error| format!("its URL {url:?}: {error}"))?;
    if !matches!(service.scheme(), "http" | "https") || !service.has_host() {
        return Err(format!("its URL {url:?} names no host to ask over http or https"));
    }
    service.set_path("/");
    service.set_query(None);
    service.set_fragment(None);
    // Neither can fail for a URL with a host; a name and a password are the repository's and not for us.
    let _ = service.set_username("");
    let _ = service.set_password(None);
    Ok(service.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(url: &str) -> FetchPackage {
        FetchPackage {
            name: "a".into(),
            url: url.into(),
            digest: format!("sha256:{}", "0".repeat(64)).parse().unwrap(),
            size: 1,
            dest: "/a".into(),
        }
    }

    #[test]
    fn auto_asks_each_host_once() {
        let packages = [
            package("http://a.example/x/1.rpm"),
            package("http://user:secret@a.example/y/2.rpm?key#z"),
            package("http://a.example:8080/3.rpm"),
            package("https://a.example/4.rpm"),
            package("file:///srv/5.rpm"),
            package("nonsense"),
        ];
        let (services, of_packages) = services(&packages, &Service::Auto);
        assert_eq!(services, ["http://a.example/", "http://a.example:8080/", "https://a.example/"]);
        assert_eq!(of_packages[..4], [Ok(0), Ok(0), Ok(1), Ok(2)]);
        assert!(of_packages[4].is_err() && of_packages[5].is_err());
    }
}
