//! Placing: a verified file appears where the package manager looks for it.
//!
//! What the package manager will read is a new inode that belongs to whoever calls `fetch`: it shares blocks with the
//! agent's file where the file system can do that, else it is a copy. Its digest is computed on it, not on the agent's
//! file, before it has a name. So nothing that the agent's user does to the store, then or later, and no extended
//! attribute that somebody planted there, reaches the package manager.
//!
//! What stood at the destination is unlinked, never written to: it may be another name of a file that somebody keeps.

mod content;
mod new_file;

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use pkgtorrent_protocol::PackageDigest;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::geteuid;

use content::{Copying, digest_of, fill};
use new_file::{Destination, Naming};

pub use new_file::remove_temporaries;

/// A directory of packages is made like the package manager would.
const DIRECTORY_MODE: u32 = 0o755;

/// What came of placing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Whether the file shares its blocks with the agent's.
    pub shares_blocks: bool,
}

/// Why a package is not in place.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// What the agent passed is a pipe, a device or a directory.
    #[error("what the agent passed is no ordinary file")]
    SourceNotAFile,
    /// What the agent passed has another size.
    #[error("what the agent passed has {found} bytes instead of {expected}")]
    SourceSize {
        /// Its size.
        found: u64,
        /// The size that the package has.
        expected: u64,
    },
    /// What the agent passed has another content.
    #[error("what the agent passed does not match {0}")]
    SourceDigest(PackageDigest),
    /// What the agent passed cannot be read.
    #[error("what the agent passed cannot be read: {0}")]
    SourceRead(io::Error),
    /// The destination is taken by something that is not ours to remove.
    #[error("{} is there and is no ordinary file", .0.display())]
    NotAFile(PathBuf),
    /// The destination cannot be written.
    #[error("cannot {action} {}: {source}", path.display())]
    Destination {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl PlaceError {
    /// Whether another copy of the package could be placed.
    #[must_use]
    pub fn is_the_sources(&self) -> bool {
        match self {
            Self::SourceNotAFile | Self::SourceSize { .. } | Self::SourceDigest(_) | Self::SourceRead(_) => {
                true
            }
            Self::NotAFile(_) | Self::Destination { .. } => false,
        }
    }

    /// What it is, for those who are not to know the place.
    #[must_use]
    pub fn without_place(&self) -> String {
        match self {
            Self::NotAFile(_) => "something that is no ordinary file is in its place".to_owned(),
            Self::Destination { action, source, .. } => format!("cannot {action} it: {source}"),
            of_source => of_source.to_string(),
        }
    }

    fn destination(action: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Destination { action, path: path.into(), source: source.into() }
    }
}

/// Makes the content of `source` appear at `dest`, if it has this size and digest. Whatever else happens, no other name
/// is left behind.
pub fn place(source: &File, dest: &Path, digest: &PackageDigest, size: u64) -> Result<Placed, PlaceError> {
    place_by(source, dest, digest, size, &Naming::ALL, &Copying::ALL)
}

fn place_by(
    source: &File,
    dest: &Path,
    digest: &PackageDigest,
    size: u64,
    namings: &[Naming],
    copyings: &[Copying],
) -> Result<Placed, PlaceError> {
    let status = source.metadata().map_err(PlaceError::SourceRead)?;
    if !status.is_file() {
        return Err(PlaceError::SourceNotAFile);
    }
    if status.len() != size {
        return Err(PlaceError::SourceSize { found: status.len(), expected: size });
    }
    let destination = Destination::open(dest)?;
    // Before the copy is made, so that it may have the room of what was there.
    destination.clear()?;
    let mut last = None;
    for naming in namings {
        match destination.new_file(*naming) {
            Ok(new) => {
                let shares_blocks = fill(source, new.file(), dest, size, copyings)?;
                check(new.file(), dest, digest, size)?;
                match new.appear() {
                    Ok(()) => return Ok(Placed { shares_blocks }),
                    Err(error) => last = Some(error),
                }
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| PlaceError::destination("create", dest, io::ErrorKind::Unsupported)))
}

/// Looks at the inode that the package manager will read.
fn check(new: &File, dest: &Path, digest: &PackageDigest, size: u64) -> Result<(), PlaceError> {
    let cannot_read = |error: io::Error| PlaceError::destination("read what was copied to", dest, error);
    let found = new.metadata().map_err(cannot_read)?.len();
    if found != size {
        return Err(PlaceError::SourceSize { found, expected: size });
    }
    if digest_of(new, digest.algorithm()).map_err(cannot_read)? != *digest {
        return Err(PlaceError::SourceDigest(*digest));
    }
    Ok(())
}

/// Whether the package is in place already, in a file that nobody but its owner, who calls this, could have changed
/// since or can change later. Anything else there is to be replaced.
#[must_use]
pub fn already_there(dest: &Path, digest: &PackageDigest, size: u64) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::open(dest, flags, Mode::empty()).map(File::from) else { return false };
    let Ok(status) = file.metadata() else { return false };
    status.is_file()
        && status.len() == size
        && status.uid() == geteuid().as_raw()
        && status.nlink() == 1
        && status.mode() & 0o022 == 0
        && digest_of(&file, digest.algorithm()).is_ok_and(|found| found == *digest)
}

/// Makes the directory of a destination if it is missing, and gives its path.
fn make_parent(dest: &Path) -> Result<&Path, PlaceError> {
    let parent = match dest.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Err(PlaceError::NotAFile(dest.into())),
    };
    DirBuilder::new()
        .recursive(true)
        .mode(DIRECTORY_MODE)
        .create(parent)
        .map_err(|error| PlaceError::destination("create the directory", parent, error))?;
    Ok(parent)
}

/// What says that the file system is full, or that the user may have no more of it.
fn is_no_space(errno: Errno) -> bool {
    matches!(errno, Errno::NOSPC | Errno::DQUOT | Errno::FBIG)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    use sha2::{Digest, Sha256};

    use super::*;

    fn digest(content: &[u8]) -> PackageDigest {
        PackageDigest::new(pkgtorrent_protocol::Algorithm::Sha256, &Sha256::digest(content)).unwrap()
    }

    fn source(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file
    }

    fn content() -> Vec<u8> {
        (0..700_001_u32).map(|n| (n * 7 / 3) as u8).collect()
    }

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn every_way_of_naming_and_of_copying_gives_the_same_file() {
        let content = content();
        for naming in Naming::ALL {
            for copying in [Copying::Range, Copying::Buffer] {
                let directory = tempfile::tempdir().unwrap();
                let dest = directory.path().join("new/deep/a.rpm");
                let placed = place_by(
                    &source(&content),
                    &dest,
                    &digest(&content),
                    content.len() as u64,
                    &[naming],
                    &[copying],
                );
                assert!(!placed.unwrap().shares_blocks, "{naming:?} {copying:?}");
                assert_eq!(std::fs::read(&dest).unwrap(), content, "{naming:?} {copying:?}");
                assert_eq!(names(dest.parent().unwrap()), ["a.rpm"], "{naming:?} {copying:?}");
                let status = dest.metadata().unwrap();
                assert_eq!((status.mode() & 0o7777, status.nlink()), (0o644, 1), "{naming:?} {copying:?}");
                assert!(already_there(&dest, &digest(&content), content.len() as u64));
            }
        }
    }

    #[test]
    fn a_file_system_without_unnamed_files_gets_a_named_one() {
        let content = content();
        let directory = tempfile::tempdir().unwrap();
        let dest = directory.path().join("a.rpm");
        let namings = [Naming::Unsupported, Naming::Named];
        place_by(&source(&content), &dest, &digest(&content), content.len() as u64, &namings, &Copying::ALL)
            .unwrap();
        assert_eq!(std::fs::read(&dest).unwrap(), content);
    }

    #[test]
    fn a_wrong_source_leaves_nothing_and_is_told_from_a_wrong_destination() {
        let content = content();
        let size = content.len() as u64;
        let mut wrong = content.clone();
        wrong[650_000] ^= 1;
        for naming in Naming::ALL {
            let directory = tempfile::tempdir().unwrap();
            let dest = directory.path().join("a.rpm");
            let try_it = |source: &File, size| {
                let copyings = [Copying::Buffer];
                let error = place_by(source, &dest, &digest(&content), size, &[naming], &copyings);
                assert_eq!(names(directory.path()), [""; 0]);
                error.expect_err("wrong")
            };
            let error = try_it(&source(&wrong), size);
            assert!(matches!(error, PlaceError::SourceDigest(_)) && error.is_the_sources(), "{error}");
            let error = try_it(&source(&content[1..]), size);
            assert!(matches!(error, PlaceError::SourceSize { .. }) && error.is_the_sources(), "{error}");
            let error = try_it(&File::open(directory.path()).unwrap(), size);
            assert!(matches!(error, PlaceError::SourceNotAFile) && error.is_the_sources(), "{error}");
            let unreadable = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(unreadable.path(), &content).unwrap();
            let unreadable = File::options().write(true).open(unreadable.path()).unwrap();
            let error = try_it(&unreadable, size);
            assert!(matches!(error, PlaceError::SourceRead(_)) && error.is_the_sources(), "{error}");
            std::fs::create_dir(&dest).unwrap();
            let error = place_by(&source(&content), &dest, &digest(&content), size, &[naming], &Copying::ALL)
                .expect_err("a directory");
            assert!(matches!(error, PlaceError::NotAFile(_)) && !error.is_the_sources(), "{error}");
        }
    }

    #[test]
    fn every_algorithm_of_metadata_is_checked() {
        let content = b"content";
        for algorithm in pkgtorrent_protocol::Algorithm::ALL {
            let directory = tempfile::tempdir().unwrap();
            let dest = directory.path().join("a.rpm");
            let right = digest_of(&source(content), algorithm).unwrap();
            assert_eq!(right.algorithm(), algorithm);
            place(&source(content), &dest, &right, 7).unwrap();
            let refused = place(&source(b"CONTENT"), &dest, &right, 7);
            assert!(matches!(refused, Err(PlaceError::SourceDigest(_))), "{algorithm:?}");
        }
        let sha1 = digest_of(&source(b"abc"), pkgtorrent_protocol::Algorithm::Sha1).unwrap();
        assert_eq!(sha1.to_string(), "sha1:a9993e364706816aba3e25717850c26c9cd0d89d");
    }

    #[test]
    fn only_a_file_that_nobody_else_could_change_is_already_there() {
        let directory = tempfile::tempdir().unwrap();
        let dest = directory.path().join("a.rpm");
        let right = digest(b"content");
        assert!(!already_there(&dest, &right, 7), "nothing is there");
        place(&source(b"content"), &dest, &right, 7).unwrap();
        assert!(already_there(&dest, &right, 7));
        assert!(!already_there(&dest, &digest(b"other"), 7));
        assert!(!already_there(&dest, &right, 8));
        for mode in [0o664, 0o646] {
            std::fs::set_permissions(&dest, std::fs::Permissions::from_mode(mode)).unwrap();
            assert!(!already_there(&dest, &right, 7), "{mode:o}");
        }
        std::fs::set_permissions(&dest, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(already_there(&dest, &right, 7));
        let other = directory.path().join("b.rpm");
        std::fs::hard_link(&dest, &other).unwrap();
        assert!(!already_there(&dest, &right, 7), "another name could be written to");
        std::fs::remove_file(&dest).unwrap();
        std::os::unix::fs::symlink(&other, &dest).unwrap();
        assert!(!already_there(&dest, &right, 7), "a link could be changed");
    }
}
