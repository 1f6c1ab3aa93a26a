//! Networks of their own on this machine.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use pkgtorrent_test_support::process::installed;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Where `ip netns` keeps its namespaces.
const NAMESPACES: &str = "/run/netns";

/// What the names of this crate's namespaces start with. The id of the process that made them follows.
const PREFIX: &str = "pkgtorrent-";

/// A network of its own, which only its loopback device is in until more is put there. Dropping it removes it.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// A new one. `name` tells it from others of this process.
    pub(crate) fn add(name: &str) -> anyhow::Result<Self> {
        ensure!(rustix::process::geteuid().is_root(), "only root may make network namespaces");
        let name = format!("{PREFIX}{}-{name}", std::process::id());
        succeed(Command::new(installed("ip")).args(["netns", "add", &name]))?;
        let namespace = Self { name };
        namespace.ip(&["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// Its name, as `ip -n` takes it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip` on it.
    pub(crate) fn ip(&self, arguments: &[&str]) -> anyhow::Result<()> {
        succeed(Command::new(installed("ip")).args(["-n", &self.name]).args(arguments)).map(drop)
    }

    /// Runs `tc` on it and returns what it prints.
    pub(crate) fn tc(&self, arguments: &[&str]) -> anyhow::Result<Vec<u8>> {
        succeed(Command::new(installed("tc")).args(["-n", &self.name]).args(arguments))
    }

    /// Does this on a thread that is in the namespace: its sockets are, and the programs that it starts.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> anyhow::Result<T> {
        let path = format!("{NAMESPACES}/{}", self.name);
        let file = File::open(&path).with_context(|| format!("opening {path}"))?;
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                    .with_context(|| format!("moving into the namespace {}", self.name))
                    .map(|()| work())
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = delete(&self.name) {
            eprintln!("  the network namespace {} stays: {error:#}", self.name);
        }
    }
}

/// Removes the namespaces of processes that were killed before they could do so.
pub(crate) fn sweep() -> anyhow::Result<()> {
    // Before the first namespace there is no such directory.
    let Ok(entries) = fs::read_dir(NAMESPACES) else { return Ok(()) };
    for entry in entries {
        let name = entry.context("listing network namespaces")?.file_name();
        let Some(name) = name.to_str() else { continue };
        if maker(name).is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            delete(name)?;
        }
    }
    Ok(())
}

/// The process that made a namespace of this name, if it is one of ours.
fn maker(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok()
}

fn delete(name: &str) -> anyhow::Result<()> {
    succeed(Command::new(installed("ip")).args(["netns", "delete", name])).map(drop)
}

fn succeed(command: &mut Command) -> anyhow::Result<Vec<u8>> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}: {}", output.status, said.trim());
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_ours_say_who_made_them() {
        assert_eq!(maker("pkgtorrent-17-0-router"), Some(17));
        assert_eq!(maker("pkgtorrent-x-0-router"), None);
        assert_eq!(maker("somebody-17-0"), None);
    }
}
