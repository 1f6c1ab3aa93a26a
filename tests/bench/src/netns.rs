//! Two hosts on this machine with a line of limited rate between them.

use std::fs::File;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, ensure};
use pkgtorrent_test_support::process::installed;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Where `ip netns` keeps its namespaces.
const NAMESPACES: &str = "/run/netns";

/// The addresses of the two ends, out of those that are set aside for measuring networks (RFC 2544).
const SERVER_ADDRESS: &str = "198.18.0.1";
const CLIENT_ADDRESS: &str = "198.18.0.2";

/// How much may leave at once: a packet as large as the kernel hands to a device, with its head.
const BURST: &str = "68kb";

/// How long the line keeps what it cannot send yet: what a small router does.
const LATENCY: &str = "50ms";

/// How many lines this process has made: each has names of its own.
static LINES: AtomicU32 = AtomicU32::new(0);

/// A network of its own, which only its loopback device and one end of a line are in. Dropping it removes it with them.
#[derive(Debug)]
pub(crate) struct Namespace {
    name: String,
}

impl Namespace {
    fn add(name: String) -> anyhow::Result<Self> {
        ip(&["netns", "add", &name])?;
        let namespace = Self { name };
        namespace.ip(&["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    fn ip(&self, arguments: &[&str]) -> anyhow::Result<()> {
        ip(&[&["-n", self.name.as_str()], arguments].concat())
    }

    /// Does this on a thread that is in the namespace: its sockets are, and the programs that it starts.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> anyhow::Result<T> {
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
        if let Err(error) = ip(&["netns", "delete", &self.name]) {
            eprintln!("  the network namespace {} stays: {error:#}", self.name);
        }
    }
}

/// A line and what is at its ends.
#[derive(Debug)]
pub(crate) struct Line {
    /// Where the service is to run.
    pub(crate) server: Namespace,
    /// Where hosts are to run.
    pub(crate) client: Namespace,
}

impl Line {
    /// A line on which so much goes each way, as `tc` writes it.
    pub(crate) fn new(rate: &str) -> anyhow::Result<Self> {
        ensure!(rustix::process::geteuid().is_root(), "only root may make network namespaces");
        let prefix = format!("ptb{}-{}", std::process::id(), LINES.fetch_add(1, Ordering::Relaxed));
        let line = Self {
            server: Namespace::add(format!("{prefix}s"))?,
            client: Namespace::add(format!("{prefix}c"))?,
        };
        // Both ends are made where they stay: no name of a device of the machine is taken.
        let client = line.client.name.as_str();
        line.server.ip(&["link", "add", "line", "type", "veth", "peer", "name", "line", "netns", client])?;
        for (end, address) in [(&line.server, SERVER_ADDRESS), (&line.client, CLIENT_ADDRESS)] {
            end.ip(&["address", "add", &format!("{address}/30"), "dev", "line"])?;
            end.ip(&["link", "set", "line", "up"])?;
            let shape = [
                "-n", &end.name, "qdisc", "add", "dev", "line", "root", "tbf", "rate", rate, "burst", BURST,
                "latency", LATENCY,
            ];
            succeed(Command::new(installed("tc")).args(shape))?;
        }
        Ok(line)
    }

    /// What the service is to listen on.
    pub(crate) fn server_address(&self) -> &'static str {
        SERVER_ADDRESS
    }
}

fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    succeed(Command::new(installed("ip")).args(arguments))
}

fn succeed(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}: {}", output.status, said.trim());
    Ok(())
}
