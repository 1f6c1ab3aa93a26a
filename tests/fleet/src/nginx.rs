//! nginx over the same files: what the web seed is measured beside, and what a crowd without a swarm downloads from.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use pkgtorrent_test_support::http::Connection;
use pkgtorrent_test_support::process::{self, Program};
use tempfile::TempDir;

/// How long it may take to listen.
const LISTEN_LIMIT: Duration = Duration::from_secs(10);

/// A running nginx. Dropping it ends it and its workers.
#[derive(Debug)]
pub struct Nginx {
    program: Program,
    addr: SocketAddr,
    _directory: TempDir,
}

impl Nginx {
    /// Serves the files below `root` on this address with sendfile, by as many workers as there are cores.
    pub fn start(root: &Path, addr: SocketAddr) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir().context("a directory for nginx")?;
        let configuration = directory.path().join("nginx.conf");
        fs::write(&configuration, self::configuration(root, addr)).context("writing nginx.conf")?;
        let mut command = Command::new(process::installed("nginx"));
        command.arg("-p").arg(directory.path()).arg("-c").arg(&configuration).args(["-e", "error.log"]);
        let program = Program::start(&mut command, &directory.path().join("output"));
        process::wait_for("nginx's listening", LISTEN_LIMIT, || Connection::open(addr).ok());
        Ok(Self { program, addr, _directory: directory })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The process id of the master, whose children are the workers.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.program.pid()
    }
}

/// Its defaults with sendfile, and without what a benchmark would measure instead: the access log and the end of a
/// connection after a thousand requests. Of a hundred connections on one full line some wait longer than the minute
/// after which they would be reset, and what they had would have to come again. tcp_nopush stays off, as it is by
/// default: on loopback it costs nginx a fifth of its ranges, and the comparison is to be with nginx at its best.
fn configuration(root: &Path, addr: SocketAddr) -> String {
    // Workers of a root master become another user, who may not reach the files.
    let user = if rustix::process::geteuid().is_root() { "user root;\n" } else { "" };
    format!(
        "{user}daemon off;\nworker_processes 2;\npid nginx.pid;\nerror_log error.log;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\n  access_log off;\n  sendfile on;\n  keepalive_requests 1000000000;\n  \
         keepalive_timeout 300s;\n  send_timeout 600s;\n  client_body_temp_path body;\n  proxy_temp_path proxy;\n  \
         fastcgi_temp_path fastcgi;\n  uwsgi_temp_path uwsgi;\n  scgi_temp_path scgi;\n  \
         server {{ listen {addr}; root {}; }}\n}}\n",
        root.display()
    )
}
