//! The package managers that a test's host may have.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;

use crate::process::installed;

/// The system with dnf5 that `scripts/dnf5-chroot` makes.
const DNF5_ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/dnf5");

/// Where this source tree and what is built from it lie.
const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// A package manager with a shim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    /// dnf 4, of this system.
    Dnf4,
    /// dnf5, in a system of its own that sees the same files.
    Dnf5,
}

impl Manager {
    /// Those that are here. A missing dnf5 is said once.
    #[must_use]
    pub fn all() -> Vec<Self> {
        static SAID: Once = Once::new();
        if Self::Dnf5.is_here() {
            return vec![Self::Dnf4, Self::Dnf5];
        }
        SAID.call_once(|| eprintln!("SKIPPED with dnf5, which is not here: scripts/dnf5-chroot says why"));
        vec![Self::Dnf4]
    }

    /// What its users call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Dnf4 => "dnf",
            Self::Dnf5 => "dnf5",
        }
    }

    /// Whether it can be run.
    #[must_use]
    pub fn is_here(self) -> bool {
        self == Self::Dnf4 || Path::new(DNF5_ROOT).join("usr/bin/dnf5").is_file()
    }

    /// A program of the system that it belongs to, to be run as root. It sees temporary files and what was built under the
    /// paths that they have here.
    #[must_use]
    pub fn program(self, name: &str, directory: &Path) -> Command {
        let mut command = match self {
            Self::Dnf4 => as_root(&installed(name)),
            Self::Dnf5 => in_dnf5_root(name, directory),
        };
        command.current_dir(directory);
        command
    }

    /// The file of its shim, and the name that it goes by on a host.
    pub(crate) fn shim(self) -> (PathBuf, &'static str) {
        match self {
            Self::Dnf4 => (Path::new(WORKSPACE).join("plugin-shim/dnf4/pkgtorrent.py"), "pkgtorrent.py"),
            Self::Dnf5 => (Path::new(DNF5_ROOT).join("usr/lib/pkgtorrent.so"), "pkgtorrent.so"),
        }
    }

    /// The configuration that its shim is packaged with.
    #[must_use]
    pub fn packaged_configuration(self) -> PathBuf {
        let directory = if self == Self::Dnf4 { "dnf4" } else { "dnf5" };
        Path::new(WORKSPACE).join("plugin-shim").join(directory).join("pkgtorrent.conf")
    }
}

/// dnf and rpm change the root directory, which an ordinary user may do in a namespace of their own.
#[must_use]
pub fn as_root(program: &Path) -> Command {
    if rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new(installed("unshare"));
    command.args(["--user", "--map-root-user"]).arg(program);
    command
}

/// Mounts are the command's own, so that nothing of them is left, and every step becomes the next, so that a signal reaches
/// the last.
fn in_dnf5_root(name: &str, directory: &Path) -> Command {
    const ENTER: &str = r#"
        set -e
        root=$1 directory=$2
        shift 2
        for shared in /proc "$TEMPORARY" "$WORKSPACE"; do
            mkdir -p "$root$shared"
            mount --bind "$shared" "$root$shared"
        done
        exec chroot "$root" env -C "$directory" "$@"
    "#;
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut command = Command::new(installed("unshare"));
    command
        .args(["--mount", "sh", "-c", ENTER, "sh"])
        .args([&real(Path::new(DNF5_ROOT)), directory])
        .arg(name)
        .env("TEMPORARY", real(&std::env::temp_dir()))
        .env("WORKSPACE", real(Path::new(WORKSPACE)));
    command
}
