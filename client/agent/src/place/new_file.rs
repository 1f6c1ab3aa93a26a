//! A file that has no name, or a name that nobody knows, until it is right.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::{PlaceError, make_parent};

/// What the umask and the directory make of this is an ordinary new file's mode.
const FILE_MODE: Mode = Mode::from_raw_mode(0o644);

/// How often a destination is cleared for a file that another program keeps putting there.
const ATTEMPTS_MAX: usize = 5;

/// The names of files that are not right yet, for [`remove_temporaries`].
static TEMPORARIES: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// How a file stays invisible until it is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    /// It has no name at all, so that the kernel removes it whatever becomes of this process.
    Unnamed,
    /// It has a random name beside its destination, for file systems that know no unnamed files.
    Named,
    /// The file system cannot do it.
    #[cfg(test)]
    Unsupported,
}

impl Naming {
    /// The best first, the one that always works last.
    pub(super) const ALL: [Self; 2] = [Self::Unnamed, Self::Named];
}

/// Where a file is to appear.
#[derive(Debug)]
pub(super) struct Destination<'a> {
    path: &'a Path,
    parent: &'a Path,
    directory: OwnedFd,
    name: &'a OsStr,
}

impl<'a> Destination<'a> {
    /// Opens the directory, which is made if it is missing.
    pub(super) fn open(path: &'a Path) -> Result<Self, PlaceError> {
        let parent = make_parent(path)?;
        let name = path.file_name().ok_or_else(|| PlaceError::NotAFile(path.into()))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(parent, flags, Mode::empty())
            .map_err(|errno| PlaceError::destination("open the directory", parent, errno))?;
        Ok(Self { path, parent, directory, name })
    }

    /// Removes the name if an ordinary file or a symbolic link has it. The file's other names keep it as it is.
    pub(super) fn clear(&self) -> Result<(), PlaceError> {
        let status = match rustix::fs::statat(&self.directory, self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(status) => status,
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(PlaceError::destination("look at", self.path, errno)),
        };
        match FileType::from_raw_mode(status.st_mode) {
            FileType::RegularFile | FileType::Symlink => {}
            _ => return Err(PlaceError::NotAFile(self.path.into())),
        }
        match rustix::fs::unlinkat(&self.directory, self.name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(PlaceError::destination("remove the old", self.path, errno)),
        }
    }

    /// Makes an empty file on the destination's file system.
    pub(super) fn new_file(&self, naming: Naming) -> Result<NewFile<'_>, PlaceError> {
        let made = match naming {
            Naming::Unnamed => {
                let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
                rustix::fs::openat(&self.directory, ".", flags, FILE_MODE).map(|file| (file, None))
            }
            Naming::Named => self.new_named_file().map(|(file, name)| (file, Some(name))),
            #[cfg(test)]
            Naming::Unsupported => Err(Errno::OPNOTSUPP),
        };
        let (file, temporary) =
            made.map_err(|errno| PlaceError::destination("create a file for", self.path, errno))?;
        Ok(NewFile { destination: self, file: file.into(), temporary })
    }

    fn new_named_file(&self) -> rustix::io::Result<(OwnedFd, TemporaryName)> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::RDWR | OFlags::CLOEXEC;
        let mut attempts = 0..ATTEMPTS_MAX;
        loop {
            // Each new state's keys are random.
            let name = format!(".pkgtorrent-{:016x}", RandomState::new().hash_one(()));
            let temporary = TemporaryName { path: self.parent.join(&name), name: name.into() };
            let mut temporaries = TEMPORARIES.lock().unwrap_or_else(PoisonError::into_inner);
            match rustix::fs::openat(&self.directory, &temporary.name, flags, FILE_MODE) {
                Ok(file) => {
                    temporaries.insert(temporary.path.clone());
                    return Ok((file, temporary));
                }
                Err(Errno::EXIST) if attempts.next().is_some() => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}

/// A file that nobody sees. It is gone when this value is dropped.
#[derive(Debug)]
pub(super) struct NewFile<'a> {
    destination: &'a Destination<'a>,
    file: File,
    temporary: Option<TemporaryName>,
}

/// The name of a file that is not right yet.
#[derive(Debug)]
struct TemporaryName {
    name: OsString,
    path: PathBuf,
}

impl NewFile<'_> {
    /// The file, open for reading and writing.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Gives the file its name.
    pub(super) fn appear(self) -> Result<(), PlaceError> {
        let destination = self.destination;
        let result = match &self.temporary {
            None => self.link(),
            Some(temporary) => {
                // A rename would replace what is not ours to remove, a pipe say. It does nothing at all when both are
                // names of one file, which they are not: the file is new.
                destination.clear()?;
                let directory = &destination.directory;
                rustix::fs::renameat(directory, &temporary.name, directory, destination.name)
            }
        };
        result.map_err(|errno| PlaceError::destination("create", destination.path, errno))
    }

    fn link(&self) -> rustix::io::Result<()> {
        let Destination { directory, name, .. } = self.destination;
        let mut attempts = 0..ATTEMPTS_MAX;
        loop {
            let of_process = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            let linked = rustix::fs::linkat(CWD, of_process, directory, *name, AtFlags::SYMLINK_FOLLOW);
            let linked = match linked {
                // There is no /proc. Root can do without.
                Err(Errno::NOENT) => {
                    rustix::fs::linkat(&self.file, "", directory, *name, AtFlags::EMPTY_PATH)
                }
                other => other,
            };
            match linked {
                Err(Errno::EXIST) if attempts.next().is_some() => {
                    self.destination.clear().map_err(|_| Errno::EXIST)?;
                }
                other => return other,
            }
        }
    }
}

impl Drop for NewFile<'_> {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // When it has appeared, this name is gone already, and nobody else has one like it.
            let _ = rustix::fs::unlinkat(&self.destination.directory, &temporary.name, AtFlags::empty());
            TEMPORARIES.lock().unwrap_or_else(PoisonError::into_inner).remove(&temporary.path);
        }
    }
}

/// Removes the files that are not right yet, for a process that is about to be killed. None is made after this, so
/// whoever tries waits for ever.
pub fn remove_temporaries() {
    let temporaries = TEMPORARIES.lock().unwrap_or_else(PoisonError::into_inner);
    for path in temporaries.iter() {
        let _ = std::fs::remove_file(path);
    }
    std::mem::forget(temporaries);
}
