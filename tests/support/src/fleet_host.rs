//! A host of a fleet, for tools that use dnf as they find it: a copy of this machine dressed as one of an RPM distribution,
//! with dnf's and rpm's own paths and the plugin where packages put it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::dnf::dnf_plugins;
use crate::machine::Machine;
use crate::manager::Manager;
use crate::package::Rpm;
use crate::process::{self, built};

/// How long rpm or the end of an agent may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// Traces of this machine: its own repositories, packages, plugins and logs, and what names it as another distribution.
const FOREIGN: [&str; 9] = [
    "/etc/debian_version",
    "/etc/dnf",
    "/etc/pkgtorrent",
    "/etc/yum.repos.d",
    "/var/cache/dnf",
    "/var/lib/dnf",
    "/var/lib/pkgtorrent",
    "/var/lib/rpm",
    "/var/log/dnf.log",
];

/// The distribution that the host is of: one with dnf 4.
const OS_RELEASE: &str = r#"NAME="AlmaLinux"
VERSION="9.4 (Seafoam Ocelot)"
ID="almalinux"
ID_LIKE="rhel centos fedora"
VERSION_ID="9.4"
PLATFORM_ID="platform:el9"
PRETTY_NAME="AlmaLinux 9.4 (Seafoam Ocelot)"
"#;

/// The host. Dropping it ends its agent and removes it.
#[derive(Debug)]
pub struct FleetHost {
    machine: Machine,
}

impl FleetHost {
    /// A host with one repository, on which little more is installed than what names its release, and with the plugin as it
    /// is packaged, which does nothing yet; none where machines cannot be copied.
    #[must_use]
    pub fn new(base_url: &str) -> Option<Self> {
        let host = Self { machine: Machine::copy()? };
        host.dress(base_url);
        host.set_up_plugin();
        // Two, because Puppet takes the list of a single package for something else.
        for name in ["redhat-release", "setup"] {
            host.install(&Rpm::new(name).version("9"));
        }
        Some(host)
    }

    fn dress(&self, base_url: &str) {
        for name in FOREIGN {
            self.remove(name);
        }
        self.write("/usr/lib/os-release", OS_RELEASE);
        self.write("/etc/redhat-release", "AlmaLinux release 9.4 (Seafoam Ocelot)\n");
        // Debian keeps it in a home directory.
        self.write("/etc/rpm/macros", "%_dbpath /var/lib/rpm\n");
        self.write("/etc/dnf/dnf.conf", "[main]\nretries = 1\n");
        let repository = format!("[repo]\nname = repo\nbaseurl = {base_url}\ngpgcheck = 0\n");
        self.write("/etc/yum.repos.d/repo.repo", &repository);
        // It counts as another root directory, where no agent would stay.
        self.write("/etc/pkgtorrent/agent.toml", "background = \"always\"\n");
    }

    /// The plugin, and no other: Debian's fail without their configuration.
    fn set_up_plugin(&self) {
        let plugins = dnf_plugins();
        let plugins = plugins.to_str().expect("a path that is UTF-8");
        self.remove(plugins);
        let (plugin, name) = Manager::Dnf4.shim();
        let read =
            |path: &Path| fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        self.write(&format!("{plugins}/{name}"), &read(&plugin));
        let configuration = read(&Manager::Dnf4.packaged_configuration());
        self.write("/etc/dnf/plugins/pkgtorrent.conf", &configuration);
        self.remove("/usr/bin/pkgtorrent");
        symlink(built("pkgtorrent"), self.machine.path("/usr/bin/pkgtorrent"))
            .expect("a link to the program");
    }

    fn remove(&self, path: &str) {
        let path = self.machine.path(path);
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        assert!(removed.is_ok() || !path.exists(), "{} stays: {removed:?}", path.display());
    }

    /// Writes a file there.
    pub fn write(&self, path: &str, text: &str) {
        self.machine.write(path, text);
    }

    /// A program there, with the environment that a service has. This source tree is where it is here.
    #[must_use]
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = self.machine.command("env");
        command.args(["--ignore-environment", "--chdir=/", "HOME=/root", "LC_ALL=C.UTF-8"]);
        command.arg("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.arg(program.as_ref());
        command
    }

    /// Installs a package from a file, with rpm.
    pub fn install(&self, rpm: &Rpm) {
        let path = format!("/root/{}", rpm.file_name());
        fs::write(self.machine.path(&path), rpm.build()).unwrap_or_else(|e| panic!("{path}: {e}"));
        process::run(self.command("rpm").args(["--install", &path]), COMMAND_LIMIT);
    }

    /// What rpm finds installed, as `name-version-release`.
    #[must_use]
    pub fn installed(&self) -> BTreeSet<String> {
        let mut command = self.command("rpm");
        command.args(["-qa", "--qf", "%{name}-%{version}-%{release}\n"]);
        process::run(&mut command, COMMAND_LIMIT).lines().map(str::to_owned).collect()
    }

    /// What the plugin has told dnf's log for its readers, a line for each transaction.
    #[must_use]
    pub fn plugin_said(&self) -> Vec<String> {
        let log = fs::read_to_string(self.machine.path("/var/log/dnf.log")).unwrap_or_default();
        let said = log.lines().filter_map(|line| line.split_once(" INFO pkgtorrent: "));
        said.map(|(_, said)| said.to_owned()).collect()
    }
}

impl Drop for FleetHost {
    fn drop(&mut self) {
        // There may be none, and a test that fails is not to fail once more here.
        let _ = self.command("pkgtorrent").args(["agent", "stop"]).output();
    }
}
