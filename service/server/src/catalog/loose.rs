//! Directories of packages without metadata: the service reads the files itself and lists them by its own digests.

use std::ffi::OsStr;
use std::io::{BufReader, Seek};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use pkgtorrent_protocol::{Algorithm, PieceLen, Sha256Digest};

use super::listing::ListedPackage;
use crate::blocks::hash_file;
use crate::fingerprint::Fingerprint;
use crate::packages::{self, Verified};
use crate::root::Root;
use crate::state::State;

/// A file that was changed less than this ago may still be being copied: it is looked at again later.
const SETTLED_AFTER: Duration = Duration::from_secs(2);

/// One `.rpm` file that a scan found.
#[derive(Debug, Clone)]
pub(super) struct LooseFile {
    pub(super) path: PathBuf,
    pub(super) fingerprint: Fingerprint,
}

/// How long a scan reads files that are new to it. The others wait for the next one, so that a terabyte of them does not
/// hide what happens elsewhere.
pub(super) const READING_MAX: Duration = Duration::from_secs(3);

/// What became of the files of one scan.
#[derive(Debug, Default)]
pub(super) struct LooseFiles {
    /// The packages, each with its fingerprint; paths are those below the root.
    pub(super) listed: Vec<(ListedPackage, Fingerprint)>,
    /// Whether some were too new to be read, or too many.
    pub(super) unsettled: bool,
}

/// Whether a file is a package by its name.
pub(super) fn is_package(name: &OsStr) -> bool {
    Path::new(name).extension() == Some(OsStr::new("rpm"))
}

/// Lists `files`, reading on all of `threads` those that were not read before, until `deadline` if there is one.
pub(super) fn list(
    root: &Root,
    state: &State,
    files: &[LooseFile],
    threads: usize,
    deadline: Option<Instant>,
) -> LooseFiles {
    let (next, read) = (AtomicUsize::new(0), AtomicBool::new(false));
    let result = Mutex::new(LooseFiles::default());
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, files.len().max(1)) {
            scope.spawn(|| {
                while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = look_at(root, state, file, deadline, &read);
                    let mut result = result.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    match outcome {
                        Ok(Some(listed)) => result.listed.push((listed, file.fingerprint)),
                        Ok(None) => result.unsettled = true,
                        Err(problem) => tracing::warn!("{}: {problem}", file.path.display()),
                    }
                }
            });
        }
    });
    if read.into_inner() {
        // Whoever asks for a package that is listed finds what was read, and need not have it read again.
        state.flush();
    }
    result.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The file's entry; none when it must be looked at again later. `read` is set when it was read to its end.
fn look_at(
    root: &Root,
    state: &State,
    file: &LooseFile,
    deadline: Option<Instant>,
    read: &AtomicBool,
) -> Result<Option<ListedPackage>, String> {
    let path = file.path.to_str().ok_or("its name is not UTF-8, it is not shared")?;
    let listed = |identity: Sha256Digest| ListedPackage {
        digest: identity.into(),
        size: file.fingerprint.size(),
        path: path.into(),
    };
    if let Some(identity) = packages::stored_identity(state, &file.path, &file.fingerprint) {
        return Ok(Some(listed(identity)));
    }
    let age = SystemTime::now().duration_since(file.fingerprint.modified()).unwrap_or_default();
    if age < SETTLED_AFTER || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
        return Ok(None);
    }
    let (opened, before) = root.open_file(&file.path).map_err(|e| e.to_string())?;
    rpm::PackageMetadata::parse(&mut BufReader::new(&opened)).map_err(|e| format!("not a package: {e}"))?;
    (&opened).rewind().map_err(|e| e.to_string())?;
    let piece_len = PieceLen::for_package(before.size());
    let hashed = hash_file(&opened, Algorithm::Sha256, piece_len).map_err(|e| e.to_string())?;
    let after = Fingerprint::of(&opened.metadata().map_err(|e| e.to_string())?);
    if before != file.fingerprint || after != before || hashed.size != before.size() {
        return Ok(None);
    }
    metrics::counter!("pkgtorrent_packages_hashed_total").increment(1);
    metrics::counter!("pkgtorrent_bytes_hashed_total").increment(hashed.size);
    let verified = Verified {
        identity: hashed.identity,
        size: hashed.size,
        path: file.path.clone(),
        fingerprint: after,
    };
    state.save_then(packages::records(&verified, &hashed.listed, piece_len, &hashed.blocks), || ());
    read.store(true, Ordering::Relaxed);
    Ok(Some(listed(hashed.identity)))
}
