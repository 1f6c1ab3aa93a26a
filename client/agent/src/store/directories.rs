//! The store's three directories, and the few things that are done in them.

use std::ffi::CStr;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::StoreError;
use crate::files::{self, StateDir};

/// What files are called that are not what they will be yet. None of them outlives its agent: they are removed when
/// the store is opened.
pub(super) const UNFINISHED_PREFIX: &str = "new-";

/// How many names are tried for such a file. More than one is taken only if an earlier agent's cannot be removed.
const NAMES_TRIED_MAX: usize = 100;

/// One of the directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Area {
    Packages,
    Partials,
    Aliases,
}

impl Area {
    const fn name(self) -> &'static str {
        match self {
            Self::Packages => files::PACKAGES,
            Self::Partials => files::PARTIALS,
            Self::Aliases => files::ALIASES,
        }
    }
}

/// The open directories.
#[derive(Debug)]
pub(super) struct Directories {
    state: Arc<StateDir>,
    packages: OwnedFd,
    partials: OwnedFd,
    aliases: OwnedFd,
    unfinished: AtomicU64,
}

/// What was found under a name.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) name: String,
    pub(super) is_plain: bool,
    pub(super) size: u64,
    pub(super) modified: SystemTime,
}

impl Directories {
    pub(super) fn open(state: Arc<StateDir>) -> Result<Self, StoreError> {
        Ok(Self {
            packages: state.subdirectory(Area::Packages.name())?,
            partials: state.subdirectory(Area::Partials.name())?,
            aliases: state.subdirectory(Area::Aliases.name())?,
            unfinished: AtomicU64::new(0),
            state,
        })
    }

    pub(super) fn root(&self) -> PathBuf {
        self.state.path().to_owned()
    }

    pub(super) fn fd(&self, area: Area) -> BorrowedFd<'_> {
        match area {
            Area::Packages => self.packages.as_fd(),
            Area::Partials => self.partials.as_fd(),
            Area::Aliases => self.aliases.as_fd(),
        }
    }

    /// For messages.
    pub(super) fn path(&self, area: Area, name: &str) -> PathBuf {
        self.state.path().join(area.name()).join(name)
    }

    pub(super) fn error(
        &self,
        action: &'static str,
        area: Area,
        name: &str,
        source: impl Into<io::Error>,
    ) -> StoreError {
        StoreError::Io { action, path: self.path(area, name), source: source.into() }
    }

    /// Opens a plain file of ours; `None` when there is none of that name, whatever else there is.
    pub(super) fn open_file(
        &self,
        area: Area,
        name: &str,
        access: OFlags,
    ) -> io::Result<Option<(File, Metadata)>> {
        let file = match rustix::fs::openat(self.fd(area), name, access | files::INSIDE, Mode::empty()) {
            Ok(file) => File::from(file),
            // A symbolic link, a directory, a socket or a pipe that nobody reads.
            Err(Errno::NOENT | Errno::LOOP | Errno::ISDIR | Errno::NXIO) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let status = file.metadata()?;
        let is_plain = status.is_file() && status.uid() == geteuid().as_raw() && status.nlink() == 1;
        Ok(is_plain.then_some((file, status)))
    }

    /// Makes a file that must not be there yet.
    pub(super) fn create(&self, area: Area, name: &str) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | files::INSIDE;
        Ok(File::from(rustix::fs::openat(self.fd(area), name, flags, Mode::RUSR | Mode::WUSR)?))
    }

    /// Makes a file under a name that nobody has.
    pub(super) fn create_unfinished(self: &Arc<Self>, area: Area) -> Result<Unfinished, StoreError> {
        let mut tried = 0;
        loop {
            let number = self.unfinished.fetch_add(1, Ordering::Relaxed);
            let name = format!("{UNFINISHED_PREFIX}{}-{number}", std::process::id());
            match self.create(area, &name) {
                Ok(file) => {
                    return Ok(Unfinished { file, directories: Arc::clone(self), area, name });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && tried < NAMES_TRIED_MAX => {
                    tried += 1;
                }
                Err(error) => return Err(self.error("create", area, &name, error)),
            }
        }
    }

    /// Removes a file; that it is gone already is as good.
    pub(super) fn unlink(&self, area: Area, name: &str) -> Result<(), StoreError> {
        match rustix::fs::unlinkat(self.fd(area), name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(self.error("remove", area, name, errno)),
        }
    }

    pub(super) fn rename(&self, from: (Area, &str), to: (Area, &str)) -> io::Result<()> {
        Ok(rustix::fs::renameat(self.fd(from.0), from.1, self.fd(to.0), to.1)?)
    }

    /// Everything in a directory, in no order.
    pub(super) fn entries(&self, area: Area) -> Result<Vec<Found>, StoreError> {
        let read = || {
            let mut found = Vec::new();
            for entry in rustix::fs::Dir::read_from(self.fd(area))? {
                let entry = entry?;
                if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                    found.extend(self.found(area, entry.file_name())?);
                }
            }
            Ok(found)
        };
        read().map_err(|errno: Errno| self.error("list", area, "", errno))
    }

    fn found(&self, area: Area, name: &CStr) -> Result<Option<Found>, Errno> {
        let status = match rustix::fs::statat(self.fd(area), name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(status) => status,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(errno),
        };
        let is_plain = FileType::from_raw_mode(status.st_mode).is_file()
            && status.st_uid == geteuid().as_raw()
            && status.st_nlink == 1;
        Ok(Some(Found {
            name: name.to_string_lossy().into_owned(),
            is_plain,
            size: u64::try_from(status.st_size).unwrap_or_default(),
            // Their types differ between architectures.
            modified: time(status.st_mtime as i64, status.st_mtime_nsec as u32),
        }))
    }
}

/// A file that disappears unless it becomes what it was made for.
#[derive(Debug)]
pub(super) struct Unfinished {
    pub(super) file: File,
    pub(super) directories: Arc<Directories>,
    area: Area,
    name: String,
}

impl Unfinished {
    pub(super) fn error(&self, action: &'static str, source: impl Into<io::Error>) -> StoreError {
        self.directories.error(action, self.area, &self.name, source)
    }

    /// Gives the file its name.
    pub(super) fn finish(self, area: Area, name: &str) -> Result<(), StoreError> {
        self.directories
            .rename((self.area, &self.name), (area, name))
            .map_err(|source| self.directories.error("rename a file to", area, name, source))
        // The name that `drop` then looks for is gone, if this went well.
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Err(error) = self.directories.unlink(self.area, &self.name) {
            tracing::warn!("{error}");
        }
    }
}

fn time(seconds: i64, nanoseconds: u32) -> SystemTime {
    let since = Duration::new(u64::try_from(seconds).unwrap_or_default(), nanoseconds);
    SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Notes when a file was last wanted, where the next agent finds it: in its modification time, which nothing else needs.
pub(super) fn set_modified(file: &File, modified: SystemTime) -> io::Result<()> {
    let since = modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let time = Timespec {
        tv_sec: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: since.subsec_nanos().into(),
    };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(rustix::fs::futimens(file, &times)?)
}
