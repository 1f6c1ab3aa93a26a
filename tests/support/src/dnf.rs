//! The real dnf or dnf5 on a host of its own: an installroot with its cache and configuration, with the shim or without.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::fs::{XattrFlags, setxattr};
use rustix::process::{Pid, Signal};
use tempfile::TempDir;

use crate::agent::Agent;
use crate::manager::Manager;
pub use crate::manager::as_root;
use crate::process::{self, Program};
use crate::repository::Package;

/// How long one run of dnf may take; it needs about a second.
const RUN_LIMIT: Duration = Duration::from_secs(120);

/// One host. All of it lies in one directory; dropping it ends its agent and removes it.
#[derive(Debug)]
pub struct Host {
    // Before the directory, in which the agent keeps its state.
    agent: Agent,
    directory: TempDir,
    manager: Manager,
}

/// What came of a run of dnf.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The exit status; none if a signal ended it.
    pub status: Option<i32>,
    /// All that it printed.
    pub output: String,
    /// How long it took.
    pub duration: Duration,
    /// What rpm finds installed afterwards, as `name-version-release`.
    pub installed: BTreeSet<String>,
}

impl Outcome {
    /// This outcome, after a panic unless dnf succeeded.
    #[must_use]
    pub fn succeeded(self) -> Self {
        assert_eq!(self.status, Some(0), "dnf failed:\n{}", self.output);
        self
    }

    /// This outcome, after a panic unless status and installed packages are those of a host without the shim.
    #[must_use]
    pub fn same_as(self, without_shim: &Self) -> Self {
        assert_eq!(
            (self.status, &self.installed),
            (without_shim.status, &without_shim.installed),
            "with the shim:\n{}\nwithout it:\n{}",
            self.output,
            without_shim.output
        );
        self
    }
}

impl Host {
    /// A host with dnf 4 on which nothing is installed, no repository configured, and no shim.
    #[must_use]
    pub fn new() -> Self {
        Self::new_in(&std::env::temp_dir())
    }

    /// As [`Self::new`], with everything of the host below this directory.
    #[must_use]
    pub fn new_in(parent: &Path) -> Self {
        Self::make(Manager::Dnf4, parent)
    }

    /// As [`Self::new`], with this package manager.
    #[must_use]
    pub fn of(manager: Manager) -> Self {
        Self::make(manager, &std::env::temp_dir())
    }

    fn make(manager: Manager, parent: &Path) -> Self {
        let directory = tempfile::tempdir_in(parent).expect("a directory for a host");
        // In another root directory than the machine's an agent ends with what it was started for, unless it is told this.
        let agent =
            Agent::with_config(if manager == Manager::Dnf5 { "background = \"always\"\n" } else { "" });
        let agent = agent.in_dir(directory.path().join("agent"));
        let host = Self { agent, directory, manager };
        for name in ["etc/repos", "etc/plugins", "etc/vars", "plugins", "log", "root"] {
            fs::create_dir_all(host.path(name)).expect("a host's directories");
        }
        if manager == Manager::Dnf4 {
            let download = dnf_plugins().join("download.py");
            fs::copy(&download, host.path("plugins/download.py"))
                .unwrap_or_else(|e| panic!("{download:?}: {e}"));
        }
        host.write("etc/dnf.conf", "[main]\ngpgcheck = 0\nretries = 1\nmodule_platform_id = platform:test\n");
        host
    }

    /// A path below the host's directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file below the host's directory.
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap_or_else(|e| panic!("{name}: {e}"));
    }

    /// With a repository at this URL.
    #[must_use]
    pub fn repository(self, id: &str, base_url: &str) -> Self {
        self.repository_with(id, &format!("baseurl = {base_url}\n"))
    }

    /// With a repository that has these options, one a line.
    #[must_use]
    pub fn repository_with(self, id: &str, options: &str) -> Self {
        self.write(&format!("etc/repos/{id}.repo"), &format!("[{id}]\nname = {id}\n{options}\n"));
        self
    }

    /// With the shim, and these lines in its configuration.
    #[must_use]
    pub fn shim(self, options: &str) -> Self {
        let (shim, name) = self.manager.shim();
        fs::copy(&shim, self.path("plugins").join(name)).unwrap_or_else(|e| panic!("{shim:?}: {e}"));
        // dnf 4 knows a plugin by its file and ignores the name.
        let usual = "[main]\nname = pkgtorrent\nenabled = 1\n";
        self.write("etc/plugins/pkgtorrent.conf", &format!("{usual}{options}\n"));
        self
    }

    /// With the shim, this host's own agent and this service.
    #[must_use]
    pub fn agent(self, service: &str) -> Self {
        let command = self.agent_command();
        self.shim(&format!("service = {service}\ncommand = {command}\n"))
    }

    /// This host's own agent, which the shim's helper starts.
    #[must_use]
    pub fn its_agent(&self) -> &Agent {
        &self.agent
    }

    /// How `pkgtorrent` is called for this host's own agent.
    #[must_use]
    pub fn agent_command(&self) -> String {
        let (program, config) = (process::built("pkgtorrent"), self.agent.config());
        let state_dir = self.agent.state_dir().display();
        format!("{} --config {} --state-dir {state_dir}", program.display(), config.display())
    }

    /// dnf for this host, to which arguments can be added. It asks nothing.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = self.asking_command();
        command.arg("-y");
        command
    }

    /// dnf for this host, which asks before it does anything.
    #[must_use]
    pub fn asking_command(&self) -> Command {
        let program = if self.manager == Manager::Dnf4 { "dnf" } else { "dnf5" };
        let mut command = self.manager.program(program, self.directory.path());
        command.arg("--releasever=1");
        command.arg(format!("--config={}", self.path("etc/dnf.conf").display()));
        command.arg(format!("--installroot={}", self.path("root").display()));
        for (option, path) in self.directories() {
            command.arg(format!("--setopt={option}={}", path.display()));
        }
        // The plugin's source is a copy: its compiled form would be left in the host's directory and read from there.
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    /// Dnf's options that name directories, and where those are on this host.
    fn directories(&self) -> impl Iterator<Item = (&'static str, PathBuf)> {
        let of_manager = match self.manager {
            Manager::Dnf4 => ("persistdir", "persist"),
            Manager::Dnf5 => ("system_cachedir", "cache"),
        };
        let named = [
            ("reposdir", "etc/repos"),
            ("varsdir", "etc/vars"),
            ("pluginconfpath", "etc/plugins"),
            ("pluginpath", "plugins"),
            ("cachedir", "cache"),
            ("logdir", "log"),
            of_manager,
        ];
        named.into_iter().map(|(option, name)| (option, self.path(name)))
    }

    /// What the command line would be told, as a section of a configuration file for those who have none.
    #[must_use]
    pub fn section(&self, name: &str) -> String {
        let mut text = format!("[{name}]\ngpgcheck = 0\nmodule_platform_id = platform:test\n");
        for (option, path) in self.directories() {
            text.push_str(&format!("{option} = {}\n", path.display()));
        }
        text
    }

    fn rpm(&self) -> Command {
        let mut command = self.manager.program("rpm", self.directory.path());
        command.arg("--root").arg(self.path("root"));
        command
    }

    /// Starts dnf with these arguments in a process group of its own, as a shell does.
    #[must_use]
    pub fn start(&self, arguments: &[&str]) -> Program {
        use std::os::unix::process::CommandExt;
        let output = self.path("output");
        let _ = fs::remove_file(&output);
        Program::start(self.command().args(arguments).process_group(0), &output)
    }

    /// Waits for a dnf that was started.
    #[must_use]
    pub fn wait(&self, mut program: Program, since: Instant) -> Outcome {
        let status = program.wait(RUN_LIMIT).code();
        let duration = since.elapsed();
        Outcome { status, output: program.output(), duration, installed: self.installed() }
    }

    /// Runs dnf with these arguments to its end.
    #[must_use]
    pub fn dnf(&self, arguments: &[&str]) -> Outcome {
        let since = Instant::now();
        self.wait(self.start(arguments), since)
    }

    /// What rpm finds installed, as `name-version-release`.
    #[must_use]
    pub fn installed(&self) -> BTreeSet<String> {
        let mut command = self.rpm();
        command.args(["-qa", "--qf", "%{name}-%{version}-%{release}\n"]);
        process::run(&mut command, RUN_LIMIT).lines().map(str::to_owned).collect()
    }

    /// How often an installed package was [rebuilt](crate::Rpm::rebuilt).
    #[must_use]
    pub fn rebuilds_of(&self, package: &str) -> u32 {
        let mut command = self.rpm();
        command.args(["-q", "--qf", "%{cookie}", package]);
        let cookie = process::run(&mut command, RUN_LIMIT);
        cookie.parse().unwrap_or_else(|e| panic!("{package}: {cookie:?}: {e}"))
    }

    /// The directory in which dnf looks for the packages of a repository whose metadata it has.
    #[must_use]
    pub fn package_cache(&self, repository: &str) -> PathBuf {
        self.find_package_cache(repository).unwrap_or_else(|| panic!("dnf has no cache of {repository}"))
    }

    fn find_package_cache(&self, repository: &str) -> Option<PathBuf> {
        let mut entries = fs::read_dir(self.path("cache")).ok()?.filter_map(Result::ok).map(|it| it.path());
        let directory = entries.find(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            path.is_dir() && name.rsplit_once('-').is_some_and(|(id, _)| id == repository)
        });
        Some(directory?.join("packages"))
    }

    /// The names in the directory in which dnf looks for a repository's packages, sorted; none while it is not there.
    #[must_use]
    pub fn cached_files(&self, repository: &str) -> Vec<String> {
        let directory = self.find_package_cache(repository).and_then(|path| fs::read_dir(path).ok());
        let entries = directory.into_iter().flatten().filter_map(Result::ok);
        let mut names: Vec<String> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Makes dnf read the metadata, then puts a file where it will look for a package. Returns its path.
    #[must_use]
    pub fn plant(&self, repository: &str, file_name: &str, bytes: &[u8]) -> PathBuf {
        let _ = self.dnf(&["makecache"]).succeeded();
        let directory = self.package_cache(repository);
        fs::create_dir_all(&directory).expect("dnf's directory for packages");
        let path = directory.join(file_name);
        fs::write(&path, bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        path
    }
}

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

/// Sends a signal to all processes of a program that [`Host::start`] started, as the terminal does for Ctrl-C.
pub fn signal_group(program: &Program, signal: Signal) {
    let pid = i32::try_from(program.pid()).ok().and_then(Pid::from_raw).expect("a process id");
    rustix::process::kill_process_group(pid, signal).expect("the group is there");
}

/// Writes the extended attributes that dnf's library would have written after it had found a file to be this package. It
/// believes them while the modification time that stands beside the checksum fits.
pub fn forge_checksum(path: &Path, package: &Package) {
    let status = fs::metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let nanoseconds = i128::from(status.mtime()) * 1_000_000_000 + i128::from(status.mtime_nsec());
    let digest = package.identity.to_string();
    // Every version of the library has its own names.
    for (name, value) in [
        ("user.Librepo.checksum.mtime", nanoseconds.to_string()),
        ("user.Librepo.checksum.sha256", digest.clone()),
        ("user.librepo.checksum.mtime", nanoseconds.to_string()),
        ("user.librepo.checksum.sha256", digest.clone()),
        (&format!("user.Zif.MdChecksum[{}]", status.mtime()), digest.clone()),
    ] {
        let written = setxattr(path, name, value.as_bytes(), XattrFlags::empty());
        written.expect("a file system with attributes");
    }
}

/// Where the distribution keeps dnf's own plugins.
pub(crate) fn dnf_plugins() -> PathBuf {
    let entries = fs::read_dir("/usr/lib").expect("/usr/lib is there").filter_map(Result::ok);
    let pythons = entries
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("python3")));
    pythons
        .flat_map(|python| {
            [python.join("dist-packages/dnf-plugins"), python.join("site-packages/dnf-plugins")]
        })
        .find(|directory| directory.join("download.py").is_file())
        .unwrap_or_else(|| panic!("dnf-plugins-core is not installed: run `scripts/install-deps test`"))
}
