//! Plain HTTP: what package managers do.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use pkgtorrent_test_support::process::installed;

use super::{Completion, Foreign};
use crate::client::Download;
use crate::origin::Origin;
use crate::wanted::{Wanted, WantedPackage};

/// How many connections one host has at once. dnf has three by default, and our agents so many.
const CONNECTIONS: usize = 6;

/// Starts a host's download.
pub(crate) fn start(origin: &Origin, wanted: &Wanted, directory: &Path) -> anyhow::Result<Box<dyn Download>> {
    fs::create_dir_all(directory).with_context(|| format!("creating {}", directory.display()))?;
    let mut list = String::new();
    for package in wanted.packages() {
        let url = format!("http://{}/{}", origin.address(), package.path.display());
        let output = directory.join(file_of(package));
        writeln!(list, "url = \"{url}\"\noutput = \"{}\"", output.display())?;
    }
    let config = directory.with_extension("curl");
    fs::write(&config, list).with_context(|| format!("writing {}", config.display()))?;
    let mut command = Command::new(installed("curl"));
    command.args(["--no-progress-meter", "--show-error", "--fail", "--parallel", "--parallel-max"]);
    command.arg(CONNECTIONS.to_string()).arg("--config").arg(&config);
    Ok(Foreign::start(&mut command, directory.to_owned(), Completion::End, file_of))
}

fn file_of(package: &WantedPackage) -> PathBuf {
    package.file_name.clone().into()
}
