//! Finding a file and its drop-ins.

use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::SettingsError;

/// The texts of the file that is named, or else of the default one if it is there, and of its drop-ins, `FILE.d/*` with
/// the file's own extension, in the order of their names. Drop-ins count without the default file too: a site that only
/// ever adds a file of its own need not ship the one that is all comments.
pub(crate) fn read(named: Option<&Path>, default: &Path) -> Result<Vec<(PathBuf, String)>, SettingsError> {
    let path = named.unwrap_or(default);
    let mut texts = Vec::new();
    match text(path.to_owned()) {
        Err(SettingsError::Io { source, .. }) if named.is_none() && source.kind() == ErrorKind::NotFound => {}
        read => texts.push(read?),
    }
    for drop_in in drop_ins(path)? {
        texts.push(text(drop_in)?);
    }
    Ok(texts)
}

fn text(path: PathBuf) -> Result<(PathBuf, String), SettingsError> {
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok((path, text)),
        Err(source) => Err(SettingsError::Io { path, source }),
    }
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
