//! Reading a file and what overrides it.

use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::SettingsError;

/// Reads a file and its drop-ins, `FILE.d/*` with the file's own extension, of which the last in the order of names
/// counts most. `over` gives the first one's keys, and those of the second that the first has not set.
pub fn read_with_drop_ins<K: DeserializeOwned>(
    path: &Path,
    over: impl Fn(K, K) -> K,
) -> Result<K, SettingsError> {
    let keys = read_one(path)?;
    override_by(drop_ins(path)?, keys, over)
}

/// Does the same for a file that need not be there. Its drop-ins count without it too: a site that only ever adds a
/// file of its own need not ship the one that is all comments.
pub fn read_if_there<K: DeserializeOwned + Default>(
    path: &Path,
    over: impl Fn(K, K) -> K,
) -> Result<K, SettingsError> {
    let keys = match read_one(path) {
        Err(SettingsError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => K::default(),
        other => other?,
    };
    override_by(drop_ins(path)?, keys, over)
}

fn override_by<K: DeserializeOwned>(
    drop_ins: Vec<PathBuf>,
    mut keys: K,
    over: impl Fn(K, K) -> K,
) -> Result<K, SettingsError> {
    for drop_in in drop_ins {
        keys = over(read_one(&drop_in)?, keys);
    }
    Ok(keys)
}

fn drop_ins(path: &Path) -> Result<Vec<PathBuf>, SettingsError> {
    let mut directory = path.as_os_str().to_owned();
    directory.push(".d");
    let directory = PathBuf::from(directory);
    let failed = |source| SettingsError::Io { path: directory.clone(), source };
    let entries = match std::fs::read_dir(&directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(failed)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        // Editors leave hidden files with the right extension behind.
        if !name.as_bytes().starts_with(b".") && Path::new(&name).extension() == path.extension() {
            found.push(directory.join(name));
        }
    }
    found.sort();
    Ok(found)
}

fn read_one<K: DeserializeOwned>(path: &Path) -> Result<K, SettingsError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| SettingsError::Io { path: path.to_owned(), source })?;
    toml::from_str(&text)
        .map_err(|source| SettingsError::Syntax { path: path.to_owned(), source: Box::new(source) })
}
