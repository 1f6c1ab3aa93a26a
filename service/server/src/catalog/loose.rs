//! Directories of packages without metadata: the service reads the files itself and lists them by its own digests.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use pkgtorrent_protocol::{Algorithm, PieceLen, Sha256Digest};

use super::listing::ListedPackage;
use crate::blocks::hash_file;
use crate::fingerprint::Fingerprint;
use crate::packages::{self, Verified};
use crate::root::Root;
use crate::state::{Snapshot, State, Table};

/// A file that was changed less than this ago may still be being copied: it is looked at again later.
const SETTLED_AFTER: Duration = Duration::from_secs(2);

/// The longest head of a package: rpm itself takes headers up to 256 MiB.
const HEAD_LEN_MAX: u64 = 512 << 20;

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

/// Reads packages without metadata, and remembers which files are none.
pub(super) struct LooseReader {
    root: Arc<Root>,
    state: Arc<State>,
    threads: usize,
    /// Files that are no packages, as they looked when that was found out and said.
    rejected: Mutex<HashMap<PathBuf, Fingerprint>>,
}

impl LooseReader {
    pub(super) fn new(root: Arc<Root>, state: Arc<State>, threads: usize) -> Self {
        Self { root, state, threads, rejected: Mutex::default() }
    }

    /// Lists `files`, reading on all threads those that were not read before, until `deadline` if there is one.
    pub(super) fn list(&self, files: &[LooseFile], deadline: Option<Instant>) -> LooseFiles {
        let there: HashSet<&PathBuf> = files.iter().map(|file| &file.path).collect();
        self.rejected().retain(|path, _| there.contains(path));
        let (next, read) = (AtomicUsize::new(0), AtomicBool::new(false));
        let stored = self.state.snapshot(&[Table::Files]);
        let result = Mutex::new(LooseFiles::default());
        let work = || {
            while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                if self.rejected().get(&file.path) == Some(&file.fingerprint) {
                    continue;
                }
                let outcome = self.look_at(file, &stored, deadline, &read);
                let mut result = result.lock().unwrap_or_else(PoisonError::into_inner);
                match outcome {
                    Ok(Some(listed)) => result.listed.push((listed, file.fingerprint)),
                    Ok(None) => result.unsettled = true,
                    Err(problem) => {
                        tracing::warn!("{}: {problem}", file.path.display());
                        self.rejected().insert(file.path.clone(), file.fingerprint);
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..self.threads.clamp(1, files.len().max(1)) {
                scope.spawn(work);
            }
        });
        if read.into_inner() {
            // Whoever asks for a package that is listed finds what was read, and need not have it read again.
            self.state.flush();
        }
        result.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn rejected(&self) -> MutexGuard<'_, HashMap<PathBuf, Fingerprint>> {
        self.rejected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file's entry; none when it must be looked at again later. `read` is set when it was read to its end.
    fn look_at(
        &self,
        file: &LooseFile,
        stored: &Snapshot,
        deadline: Option<Instant>,
        read: &AtomicBool,
    ) -> Result<Option<ListedPackage>, String> {
        let Self { root, state, .. } = self;
        let path = file.path.to_str().ok_or("its name is not UTF-8, it is not shared")?;
        let listed = |identity: Sha256Digest| ListedPackage {
            digest: identity.into(),
            size: file.fingerprint.size(),
            path: path.into(),
        };
        if let Some(identity) = packages::stored_identity(stored, &file.path, &file.fingerprint) {
            return Ok(Some(listed(identity)));
        }
        let age = SystemTime::now().duration_since(file.fingerprint.modified()).unwrap_or_default();
        if age < SETTLED_AFTER || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Ok(None);
        }
        let (opened, before) = root.open_file(&file.path).map_err(|e| e.to_string())?;
        check_is_package(&opened)?;
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
}

/// Whether a file begins as a package does. The parser trusts the offsets that it reads and panics on wrong ones: a
/// broken file must not end the scan.
fn check_is_package(file: &File) -> Result<(), String> {
    let head = BufReader::new(file.take(HEAD_LEN_MAX));
    let mut head = std::panic::AssertUnwindSafe(head);
    match std::panic::catch_unwind(move || rpm::PackageMetadata::parse(&mut *head).map(drop)) {
        Ok(Ok(())) => Ok(()),
        // The parser's own words repeat what it read, which may be anything.
        Ok(Err(_)) | Err(_) => Err("it is no package, or a damaged one".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// A head whose one entry points far beyond its data.
    fn broken_head() -> Vec<u8> {
        let mut bytes = vec![0; 96];
        bytes[..4].copy_from_slice(&[0xed, 0xab, 0xee, 0xdb]);
        bytes[4] = 3;
        bytes[79] = 5;
        bytes.extend([0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0]);
        for number in [1_u32, 4, 1000, 6, 0x7fff_ffff, 1] {
            bytes.extend(number.to_be_bytes());
        }
        bytes.extend([0; 4]);
        bytes
    }

    #[test]
    fn a_file_that_breaks_the_parser_is_no_package_and_no_more() {
        for bytes in [broken_head(), vec![], b"text".to_vec(), broken_head()[..100].to_vec()] {
            let mut file = tempfile::tempfile().expect("a file");
            file.write_all(&bytes).expect("written");
            file.rewind().expect("rewound");
            assert!(check_is_package(&file).is_err());
        }
    }
}
