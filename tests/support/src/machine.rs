//! A copy of this machine that is thrown away: what is installed there changes nothing here.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::process::{self, Program, installed, wait_for};

/// How long a program may take there; package managers need some seconds.
const RUN_LIMIT: Duration = Duration::from_secs(180);

/// How long mounting may take.
const MOUNT_LIMIT: Duration = Duration::from_secs(30);

/// Lays a layer over the machine's files. The mounts are this process's own, and last as long as it does.
const HOLD: &str = r#"
    set -e
    cd "$1"
    mount -t tmpfs -o mode=755 layer .
    cd "$1"
    mkdir changes work root
    mount -t overlay -o lowerdir=/,upperdir=changes,workdir=work machine root
    mount --rbind /proc root/proc
    mount --rbind /dev root/dev
    echo mounted
    exec sleep infinity
"#;

/// The copy. Dropping it ends it; programs that were started there have to be ended before.
#[derive(Debug)]
pub struct Machine {
    // Before the directory in which it mounts.
    holder: Program,
    directory: TempDir,
}

impl Machine {
    /// A copy of this machine as it is, without its mounts; none if this is not root, who alone can make one.
    #[must_use]
    pub fn copy() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED on a copy of this machine: only root can make one");
            return None;
        }
        let directory = tempfile::tempdir().expect("a directory for a machine");
        let output = directory.path().with_extension("mounts");
        let mut command = Command::new(installed("unshare"));
        command.args(["--mount", "sh", "-c", HOLD, "sh"]).arg(directory.path());
        let mut holder = Program::start(&mut command, &output);
        wait_for("copy of this machine", MOUNT_LIMIT, || {
            assert!(holder.ended().is_none(), "this machine cannot be copied");
            holder.output().contains("mounted").then_some(())
        });
        let _ = fs::remove_file(output);
        Some(Self { holder, directory })
    }

    /// Where a file of the copy can be reached from here.
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        self.layer().join("root").join(path.trim_start_matches('/'))
    }

    fn layer(&self) -> PathBuf {
        let mounts = Path::new("/proc").join(self.holder.pid().to_string()).join("root");
        mounts.join(self.directory.path().strip_prefix("/").expect("an absolute path"))
    }

    /// A program of the copy, as root of it.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(installed("nsenter"));
        command.args([&format!("--target={}", self.holder.pid()), "--mount", "chroot"]);
        command.arg(self.directory.path().join("root")).arg(program);
        command
    }

    /// Runs a program of the copy and returns its output; panics when it fails.
    pub fn run(&self, program: &str, arguments: &[&str]) -> String {
        process::run(self.command(program).args(arguments), RUN_LIMIT)
    }

    /// Writes a file of the copy.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        let directory = path.parent().expect("a file lies in a directory");
        fs::create_dir_all(directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
        fs::write(&path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }

    /// Adds a line to a file of the copy.
    pub fn append(&self, path: &str, line: &str) {
        let text = self.read(path);
        self.write(path, &format!("{text}{line}\n"));
    }

    /// What a file of the copy says.
    #[must_use]
    pub fn read(&self, path: &str) -> String {
        let path = self.path(path);
        fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    /// The files and empty directories that are there, are not so on this machine, and have this in their path.
    #[must_use]
    pub fn changed(&self, name: &str) -> BTreeSet<String> {
        let changes = self.layer().join("changes");
        let mut found = BTreeSet::new();
        let mut directories = vec![changes.clone()];
        while let Some(directory) = directories.pop() {
            let entries = fs::read_dir(&directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
            let mut is_empty = true;
            for entry in entries.map(|entry| entry.expect("an entry of a directory")) {
                is_empty = false;
                if entry.file_type().expect("a file's type").is_dir() {
                    directories.push(entry.path());
                } else {
                    found.insert(entry.path());
                }
            }
            if is_empty {
                found.insert(directory);
            }
        }
        let below = found.iter().map(|path| path.strip_prefix(&changes).expect("a path of the layer"));
        below.map(|path| format!("/{}", path.display())).filter(|path| path.contains(name)).collect()
    }
}
