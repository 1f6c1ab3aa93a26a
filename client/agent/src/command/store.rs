//! `pkgtorrent store`: adding files to the store, listing it, verifying it.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::{bail, ensure};
use pkgtorrent_protocol::Sha256Digest;
use pkgtorrent_protocol::socket::{Answer, Request, StoredPackage};
use rustix::fs::{Mode, OFlags};
use serde_json::json;

use crate::control::client::Connection;
use crate::text::{bytes, duration, harmless};

/// How many files are passed before the agent has said of the first what became of it: half of what it takes.
const PASSED_MAX: usize = 32;

/// How what was added is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A line for each file; when it is quiet, only for those that failed.
    Text {
        /// Whether it is.
        is_quiet: bool,
    },
    /// An object a line.
    Json,
}

/// Gives files to the agent, which copies them. True if all of them are in the store.
pub fn add(mut connection: Connection, files: &[PathBuf], form: Form) -> anyhow::Result<bool> {
    let (mut next, mut done, mut failed) = (0, 0, 0);
    while done < files.len() {
        while next < files.len() && next - done < PASSED_MAX {
            if let Err(error) = pass(&connection, next, &files[next]) {
                say_failed(form, &files[next], &format!("{:#}", error))?;
                failed += 1;
                done += 1;
            }
            next += 1;
        }
        if done == files.len() {
            break;
        }
        match connection.next()?.0 {
            Answer::Added { index, identity, size } => {
                done += 1;
                say_added(form, named(files, index), &identity, size)?;
            }
            Answer::Failed { index, reason } => {
                done += 1;
                failed += 1;
                say_failed(form, named(files, index), &reason)?;
            }
            Answer::Refused { reason } => bail!("the agent refused: {reason}"),
            _ => {}
        }
    }
    Ok(failed == 0)
}

fn say_added(form: Form, file: &Path, identity: &Sha256Digest, size: u64) -> io::Result<()> {
    let file = file.display();
    match form {
        Form::Text { is_quiet: true } => Ok(()),
        Form::Text { is_quiet: false } => writeln!(io::stdout(), "{identity}  {}  {file}", bytes(size)),
        Form::Json => {
            let said = json!({"file": file.to_string(), "identity": identity, "size": size});
            writeln!(io::stdout(), "{said}")
        }
    }
}

fn say_failed(form: Form, file: &Path, reason: &str) -> io::Result<()> {
    let file = file.display();
    if form == Form::Json {
        return writeln!(io::stdout(), "{}", json!({"file": file.to_string(), "error": reason}));
    }
    eprintln!("pkgtorrent: {file}: {}", harmless(reason));
    Ok(())
}

fn pass(connection: &Connection, index: usize, path: &Path) -> anyhow::Result<()> {
    let file = open(path)?;
    connection.send_with(&Request::Add { index, digest: None }, file.as_fd())?;
    Ok(())
}

/// Opens a plain file. Anything else is not even opened: a pipe would be waited for, and a device might begin to work.
fn open(path: &Path) -> anyhow::Result<File> {
    ensure!(path.metadata()?.is_file(), "not a plain file");
    // What has become something else since is refused by the agent.
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?.into())
}

fn named(files: &[PathBuf], index: usize) -> &Path {
    files.get(index).map_or(Path::new(""), PathBuf::as_path)
}

/// Prints what the store has; with `is_verifying` after reading all of it again. True if nothing is damaged.
pub fn list(mut connection: Connection, is_verifying: bool, as_json: bool) -> anyhow::Result<bool> {
    connection.send(if is_verifying { &Request::Verify } else { &Request::List })?;
    let mut out = std::io::stdout().lock();
    let mut is_right = true;
    loop {
        match connection.next()?.0 {
            Answer::Stored(package) => {
                is_right &= package.damage.is_none();
                if as_json {
                    serde_json::to_writer(&mut out, &package)?;
                    writeln!(out)?;
                } else {
                    writeln!(out, "{}", line(&package, is_verifying))?;
                }
            }
            Answer::End => return Ok(is_right),
            Answer::Refused { reason } => bail!("the agent refused: {reason}"),
            _ => {}
        }
    }
}

fn line(package: &StoredPackage, is_verifying: bool) -> String {
    let StoredPackage { identity, size, wanted_ago, damage } = package;
    match damage {
        Some(damage) => format!("{identity}  {}  dropped: {damage}", bytes(*size)),
        None if is_verifying => format!("{identity}  {}  right", bytes(*size)),
        None => format!("{identity}  {}  wanted {} ago", bytes(*size), duration(*wanted_ago)),
    }
}
