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
use crate::fingerprint::{Fingerprint, Look};
use crate::metering;
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
    /// How long files were read, if any were.
    pub(super) reading: Duration,
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
    /// Files that are not shared, as they looked when that was found out and said.
    rejected: Mutex<HashMap<PathBuf, (Fingerprint, Rejection)>>,
}

/// Why a file is not shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rejection {
    /// It holds no package, or its name cannot be sent.
    ForGood,
    /// It cannot be read, which may pass although it will look the same: each scan tries.
    ForNow,
}

impl LooseReader {
    pub(super) fn new(root: Arc<Root>, state: Arc<State>, threads: usize) -> Self {
        Self { root, state, threads, rejected: Mutex::default() }
    }

    /// Lists `files`, reading on all threads those that were not read before, until `deadline` if there is one.
    pub(super) fn list(&self, files: &[LooseFile], deadline: Option<Instant>) -> LooseFiles {
        let there: HashSet<&PathBuf> = files.iter().map(|file| &file.path).collect();
        self.rejected().retain(|path, _| there.contains(path));
        let (next, read, started) = (AtomicUsize::new(0), AtomicBool::new(false), Instant::now());
        let stored = self.state.snapshot(&[Table::Files]);
        let result = Mutex::new(LooseFiles::default());
        let work = || {
            while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                let former = self.rejected().get(&file.path).copied();
                if former == Some((file.fingerprint, Rejection::ForGood)) {
                    continue;
                }
                let outcome = self.look_at(file, &stored, deadline, &read);
                let mut result = result.lock().unwrap_or_else(PoisonError::into_inner);
                match outcome {
                    Ok(Some(listed)) => result.listed.push((listed, file.fingerprint)),
                    Ok(None) => result.unsettled = true,
                    Err((rejection, problem)) => {
                        let rejected = (file.fingerprint, rejection);
                        if former != Some(rejected) {
                            tracing::warn!("{}: {problem}", file.path.display());
                            self.rejected().insert(file.path.clone(), rejected);
                        }
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..self.threads.clamp(1, files.len().max(1)) {
                scope.spawn(work);
            }
        });
        let mut result = result.into_inner().unwrap_or_else(PoisonError::into_inner);
        if read.into_inner() {
            result.reading = started.elapsed();
            // Whoever asks for a package that is listed finds what was read, and need not have it read again.
            self.state.flush();
        }
        result
    }

    fn rejected(&self) -> MutexGuard<'_, HashMap<PathBuf, (Fingerprint, Rejection)>> {
        self.rejected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file's entry; none when it must be looked at again later. `read` is set when it was read to its end.
    fn look_at(
        &self,
        file: &LooseFile,
        stored: &Snapshot,
        deadline: Option<Instant>,
        read: &AtomicBool,
    ) -> Result<Option<ListedPackage>, (Rejection, String)> {
        let Self { root, state, .. } = self;
        let for_good = |problem: &str| (Rejection::ForGood, problem.to_owned());
        let for_now = |error: std::io::Error| (Rejection::ForNow, error.to_string());
        let path = file.path.to_str().ok_or_else(|| for_good("its name is not UTF-8, it is not shared"))?;
        let listed = |identity: Sha256Digest| ListedPackage {
            digest: identity.into(),
            size: file.fingerprint.size(),
            path: path.into(),
        };
        if let Some(identity) = packages::stored_identity(stored, &file.path, &file.fingerprint) {
            return Ok(Some(listed(identity)));
        }
        let now = SystemTime::now();
        let is_young = file.fingerprint.age(now).is_some_and(|age| age < SETTLED_AFTER);
        if is_young || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Ok(None);
        }
        // A copy that keeps the times looks old at once, but a further change to it must still show.
        std::thread::sleep(file.fingerprint.unsettled_for(now).unwrap_or_default());
        let (opened, Look { fingerprint: before, .. }) = root.open_file(&file.path).map_err(for_now)?;
        let is_package = is_package_head(&opened).map_err(for_now)?;
        (&opened).rewind().map_err(for_now)?;
        let piece_len = PieceLen::for_package(before.size());
        if !is_package {
            // The parser's own words repeat what it read, which may be anything.
            return Err(for_good("it is no package, or a damaged one"));
        }
        let hashed = hash_file(&opened, Algorithm::Sha256, piece_len).map_err(for_now)?;
        let after = Fingerprint::of(&opened.metadata().map_err(for_now)?);
        if before != file.fingerprint || after != before || hashed.size != before.size() {
            return Ok(None);
        }
        metering::PACKAGES_HASHED.add(1);
        metering::BYTES_HASHED.add(hashed.size);
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
fn is_package_head(file: &File) -> std::io::Result<bool> {
    let head = BufReader::new(file.take(HEAD_LEN_MAX));
    let mut head = std::panic::AssertUnwindSafe(head);
    match std::panic::catch_unwind(move || rpm::PackageMetadata::parse(&mut *head).map(drop)) {
        Ok(Ok(())) => Ok(true),
        // The file's end, and what is no number or text, are its own fault and have no number of the system's.
        Ok(Err(rpm::Error::Io(error))) if error.raw_os_error().is_some() => Err(error),
        Ok(Err(_)) | Err(_) => Ok(false),
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
            assert!(!is_package_head(&file).expect("read"));
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_tried_again_and_one_that_is_no_package_is_not() {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("a.rpm"), "no package").expect("written");
        let root = Arc::new(Root::open(directory.path()).expect("opens"));
        let state = tempfile::tempdir().expect("a directory");
        let state = Arc::new(State::open(state.path()).expect("opens"));
        let reader = LooseReader::new(Arc::clone(&root), state, 1);
        let old = std::time::UNIX_EPOCH;
        let file = File::options().write(true).open(directory.path().join("a.rpm")).expect("opens");
        file.set_modified(old).expect("set");
        std::thread::sleep(crate::fingerprint::SETTLED_AFTER);
        let fingerprint = root.fingerprint(Path::new("a.rpm")).expect("there");
        let files = ["a.rpm", "gone.rpm"].map(|path| LooseFile { path: path.into(), fingerprint });
        for _ in 0..2 {
            let found = reader.list(&files, None);
            assert!(found.listed.is_empty() && !found.unsettled);
            let rejected = |path: &str| reader.rejected().get(Path::new(path)).map(|(_, why)| *why);
            assert_eq!(rejected("a.rpm"), Some(Rejection::ForGood));
            assert_eq!(rejected("gone.rpm"), Some(Rejection::ForNow));
        }
    }
}
