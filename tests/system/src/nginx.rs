//! A real nginx with one of the example configurations.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use pkgtorrent_test_support::http::{Connection, Request};
use pkgtorrent_test_support::process::{self, Program, wait_for};

/// How long nginx may take until it answers.
const START_LIMIT: Duration = Duration::from_secs(10);

/// A running nginx. Dropping it ends it.
#[derive(Debug)]
pub struct Nginx {
    program: Program,
    address: SocketAddr,
    directory: PathBuf,
}

impl Nginx {
    /// Starts nginx with `packaging/nginx/<example>`, of whose defaults the given ones are replaced, below `directory`.
    ///
    /// Every default must be in the example: a test of another file than the one that operators copy proves nothing.
    #[must_use]
    pub fn start(example: &str, replaced: &[(&str, &str)], directory: &Path) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/nginx").join(example);
        let mut site = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let port = process::free_port();
        let (listen, listen6) = (format!("listen 127.0.0.1:{port};"), format!("listen [::1]:{port};"));
        let listening = [("listen 80;", listen.as_str()), ("listen [::]:80;", listen6.as_str())];
        for (default, value) in listening.iter().chain(replaced) {
            assert!(site.contains(default), "{example} does not say {default:?}");
            site = site.replace(default, value);
        }
        fs::create_dir_all(directory).expect("a directory for nginx");
        fs::write(directory.join("site.conf"), site).expect("a configuration is written");
        fs::write(directory.join("nginx.conf"), main_configuration(directory))
            .expect("a configuration is written");
        let mut command = Command::new(process::installed("nginx"));
        // What it says before it has read the configuration belongs to the test's output as well.
        command.args(["-e", "stderr", "-c"]).arg(directory.join("nginx.conf")).arg("-p").arg(directory);
        let program = Program::start(&mut command, &directory.join("log"));
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut nginx = Self { program, address, directory: directory.to_owned() };
        wait_for("answer from nginx", START_LIMIT, || {
            assert!(nginx.program.ended().is_none(), "nginx ended at its start");
            let response = Connection::open(address).and_then(|mut c| c.send(&Request::get("/healthz")));
            response.is_ok_and(|response| response.status == 200).then_some(())
        });
        nginx
    }

    /// Where it listens on IPv4.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// The same port on ::1.
    #[must_use]
    pub fn addr6(&self) -> SocketAddr {
        SocketAddr::new("::1".parse().expect("an address"), self.address.port())
    }

    /// The requests that it has answered, one line each: upstream status or `-`, its own status, and the request line.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        let text = fs::read_to_string(self.directory.join("access.log")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

/// What stands around the site's file in a distribution's nginx, with every path below `directory`.
fn main_configuration(directory: &Path) -> String {
    let user = if rustix::process::geteuid().is_root() {
        // The test's own directories are root's alone.
        "user root;"
    } else {
        ""
    };
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("    {kind}_temp_path {}/{kind};\n", directory.display()))
        .collect();
    format!(
        "{user}\ndaemon off;\nworker_processes 1;\npid {directory}/pid;\nerror_log stderr info;\n\
         events {{ worker_connections 512; }}\nhttp {{\n{temporary}\
         \x20   log_format short '$upstream_status $status $request';\n\
         \x20   access_log {directory}/access.log short;\n    include {directory}/site.conf;\n}}\n",
        directory = directory.display()
    )
}
