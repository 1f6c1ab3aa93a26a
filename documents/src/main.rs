//! Writes what is made from command lines, keys and metrics: manual pages, default files, completions of shells, tables.
//!
//! What a page says of an option or a key is its doc comment; what else there is to say stands here, beside the page that
//! says it.

mod command_page;
mod conf_page;
mod metrics_page;
mod plugin;

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Command, CommandFactory};
use clap_complete::Shell;
use pkgtorrent_agent::{args as agent, settings as agent_settings};
use pkgtorrent_server::{args as service, settings as service_settings};

/// The day of the manual pages: it moves when what they say does.
const DATE: &str = "2026-11-22";

fn main() -> anyhow::Result<()> {
    let target: PathBuf = std::env::args_os().nth(1).context("usage: pkgtorrent-documents DIR")?.into();
    let (agent, service) = (agent::Args::command(), service::Args::command());
    let man = target.join("man");
    write(&man.join("pkgtorrent.1"), &command_page::page(agent.clone(), "1", command_page::AGENT)?)?;
    write(
        &man.join("pkgtorrent-service.8"),
        &command_page::page(service.clone(), "8", command_page::SERVICE)?,
    )?;
    write(&man.join("pkgtorrent.conf.5"), &conf_page::agent())?;
    write(&man.join("pkgtorrent-service.conf.5"), &conf_page::service())?;
    write(&man.join("yum-torrent.conf.5"), &plugin::conf_page()?)?;
    write(&target.join("docs/metrics.md"), &metrics_page::page())?;
    let packaging = target.join("packaging");
    let installed = |path: &str| packaging.join(path.trim_start_matches('/'));
    write(&installed(agent_settings::DEFAULT_CONFIG), &agent_settings::default_file())?;
    write(&installed(service_settings::DEFAULT_CONFIG), &service_settings::default_file())?;
    for command in [agent, service] {
        let name = command.get_name().to_owned();
        let share = "/usr/share";
        let places = [
            (Shell::Bash, format!("{share}/bash-completion/completions/{name}")),
            (Shell::Zsh, format!("{share}/zsh/site-functions/_{name}")),
            (Shell::Fish, format!("{share}/fish/vendor_completions.d/{name}.fish")),
        ];
        for (shell, place) in places {
            write(&installed(&place), &completion(shell, command.clone(), &name)?)?;
        }
    }
    Ok(())
}

fn completion(shell: Shell, mut command: Command, name: &str) -> anyhow::Result<String> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    let script = String::from_utf8(script)?;
    // For bash a name with a dash comes out in two spellings, and the commands below it would have no options.
    Ok(script.replace(&name.replace('-', "__subcmd__"), &name.replace('-', "__")))
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let directory = path.parent().context("a path without a directory")?;
    std::fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    std::fs::write(path, text).with_context(|| path.display().to_string())
}
