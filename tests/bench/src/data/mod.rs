//! What is measured on: repositories made once, under `target/bench-data`, and used by every later run.
//!
//! Their contents are random bytes and follow from fixed seeds, so that two machines measure the same thing. Only what
//! the real dnf reads ([`rpms`]) is an RPM package on the inside: the service believes the metadata and checks digests,
//! and needs no more.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

pub(crate) mod catalog;
pub(crate) mod holes;
pub(crate) mod packages;
mod random;
pub(crate) mod rpms;

pub(crate) use random::Random;

/// The directory `name` below `data`, made by `make` unless an earlier run has done so.
///
/// It is made under another name and renamed when it is whole: an interrupted run leaves nothing that is taken for data.
fn made_once(
    data: &Path,
    name: &str,
    make: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<PathBuf> {
    let whole = data.join(name);
    if whole.exists() {
        return Ok(whole);
    }
    eprintln!("making {name} (once)");
    let partial = data.join(format!("{name}.partial"));
    if partial.exists() {
        fs::remove_dir_all(&partial).with_context(|| format!("removing {}", partial.display()))?;
    }
    fs::create_dir_all(&partial).with_context(|| format!("creating {}", partial.display()))?;
    make(&partial)?;
    fs::rename(&partial, &whole).with_context(|| format!("renaming {}", partial.display()))?;
    Ok(whole)
}
