//! The state directory: the one place that knows every file name in it.
//!
//! *Participants*: the agent, which owns the directory and everything in it; whoever starts the agent, who may be root
//! and then opens the directory on behalf of the agent's user.
//!
//! *Goals*: everything is reached through the directory's open descriptor, so that it works although the agent's user
//! may not search its parents, and nothing outside is ever touched: no name inside is followed when it is a symbolic
//! link. What is not certainly ours is refused with its path and the reason, not repaired. Root trusts no name in a
//! directory that belongs to another user: it writes only to files that it has just made or that have one name and the
//! right owner.
//! *Non-goals*: what packages are; see [`crate::store`].

use std::ffi::OsString;
use std::fs::{DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::geteuid;
use tempfile::TempDir;

/// The version of the directory's layout.
pub const VERSION: u32 = 1;

const VERSION_FILE: &str = "version";
const LOCK: &str = "agent.lock";
const PID: &str = "agent.pid";
const SOCKET: &str = "agent.sock";
const LOG: &str = "agent.log";
const OLD_LOG: &str = "agent.log.1";

/// Whole packages, each named by its identity.
pub(crate) const PACKAGES: &str = "store";
/// Packages that are being downloaded or added.
pub(crate) const PARTIALS: &str = "partial";
/// Which identity a digest by another algorithm stands for.
pub(crate) const ALIASES: &str = "alias";

/// What stands before the version in its file, so that no other program's file of that name is taken for ours.
const VERSION_PREFIX: &str = "pkgtorrent ";

/// The longest version file that is read: the prefix and any 32-bit number, with room to see that there is more.
const VERSION_LEN_MAX: u64 = 32;

/// A log longer than this is put aside: some ten thousand lines, which is enough to see what went wrong yesterday. Two of
/// them are the most that there ever are.
pub(crate) const LOG_LEN_MAX: u64 = 1 << 20;

/// Others pass through to the socket and see nothing else.
const DIRECTORY_MODE: u32 = 0o711;

/// What `agent stop` and an operator may read.
const PUBLIC: u32 = 0o644;

/// A lock that others can open is one that they can take.
const PRIVATE: u32 = 0o600;

/// What a temporary state directory's name starts with.
const TEMPORARY_PREFIX: &str = "pkgtorrent-";

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// Every file inside is opened so: a symbolic link is an error, a pipe that somebody planted does not block.
pub(crate) const INSIDE: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// Why a directory cannot be the agent's.
#[derive(Debug, thiserror::Error)]
pub enum StateDirError {
    /// The system refused something.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something else is there already.
    #[error("{} is not a state directory: it has files, but none named `version` of ours", path.display())]
    NotAStateDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// A newer or older program's.
    #[error("{} is a state directory of version {found}, this program knows {VERSION}", path.display())]
    OtherVersion {
        /// The directory.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// It belongs to somebody else.
    #[error("{} belongs to user {found}, not to {expected}", path.display())]
    OtherOwner {
        /// The directory.
        path: PathBuf,
        /// The user id that has it.
        found: u32,
        /// The user id that should.
        expected: u32,
    },
    /// Other users could exchange what is in it.
    #[error("{} may be written by others than its owner (mode {mode:03o})", path.display())]
    OthersMayWrite {
        /// The directory.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A part of it lies elsewhere, so that nothing can be renamed into it.
    #[error("{} is on another file system than the state directory", path.display())]
    OtherFileSystem {
        /// The part.
        path: PathBuf,
    },
    /// Another agent has it.
    #[error("an agent is already running in {}", path.display())]
    AlreadyRunning {
        /// The directory.
        path: PathBuf,
    },
}

/// The agent's directory, opened and checked.
#[derive(Debug)]
pub struct StateDir {
    directory: OwnedFd,
    path: PathBuf,
    // Only then is the socket ours to remove: under systemd it is not.
    has_bound: AtomicBool,
    temporary: Option<Temporary>,
}

/// Keeps a temporary directory, and its lock until it is gone: fields are dropped in their order.
#[derive(Debug)]
struct Temporary {
    _directory: TempDir,
    lock: Lock,
}

/// The right to be the one agent of a directory, until it is dropped.
#[derive(Debug)]
pub struct Lock {
    file: OwnedFd,
}

impl StateDir {
    /// Opens the directory, or makes it.
    ///
    /// As root with an `owner` (user and group id), a directory that is new or empty is given to that user.
    pub fn open(path: &Path, owner: Option<(u32, u32)>) -> Result<Self, StateDirError> {
        let opened = match rustix::fs::open(path, DIRECTORY, Mode::empty()) {
            Err(Errno::NOENT) => {
                let made = DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path);
                made.map_err(|source| StateDirError::Io { action: "create", path: path.into(), source })?;
                rustix::fs::open(path, DIRECTORY, Mode::empty())
            }
            other => other,
        };
        let directory = opened.map_err(|errno| StateDirError::Io {
            action: "open",
            path: path.into(),
            source: errno.into(),
        })?;
        let state = Self { directory, path: path.into(), has_bound: AtomicBool::new(false), temporary: None };
        state.check(owner)?;
        Ok(state)
    }

    /// A new directory below `parent` that is removed when this value is dropped.
    ///
    /// What earlier processes left behind when they were killed is removed first.
    pub fn temporary(parent: &Path) -> Result<Self, StateDirError> {
        remove_abandoned(parent);
        let made = tempfile::Builder::new()
            .prefix(TEMPORARY_PREFIX)
            .permissions(std::fs::Permissions::from_mode(0o700))
            .tempdir_in(parent)
            .map_err(|source| StateDirError::Io {
                action: "create a directory in",
                path: parent.into(),
                source,
            })?;
        let error = |errno: Errno| StateDirError::Io {
            action: "open",
            path: made.path().into(),
            source: errno.into(),
        };
        let directory = rustix::fs::open(made.path(), DIRECTORY, Mode::empty()).map_err(error)?;
        let mut state =
            Self { directory, path: made.path().into(), has_bound: AtomicBool::new(false), temporary: None };
        // Locked before it has its version: what has a version and no lock is abandoned.
        let lock = state.lock()?;
        drop(state.write_version()?);
        state.temporary = Some(Temporary { _directory: made, lock });
        Ok(state)
    }

    /// Where it was opened: for messages only.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open directory.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Where the agent of a state directory listens: for its clients.
    #[must_use]
    pub fn socket_path(path: &Path) -> PathBuf {
        path.join(SOCKET)
    }

    /// Becomes the directory's one agent, or says at once that another is.
    pub fn lock(&self) -> Result<Lock, StateDirError> {
        if let Some(temporary) = &self.temporary {
            let file = temporary.lock.file.try_clone();
            return Ok(Lock { file: file.map_err(|source| self.error("lock", LOCK, source))? });
        }
        let file =
            self.open_own(LOCK, OFlags::RDWR, PRIVATE).map_err(|error| self.error("open", LOCK, error))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Lock { file }),
            Err(Errno::WOULDBLOCK) => Err(StateDirError::AlreadyRunning { path: self.path.clone() }),
            Err(errno) => Err(self.error("lock", LOCK, errno.into())),
        }
    }

    /// Says in `agent.pid` which process this is.
    pub fn write_pid(&self) -> io::Result<()> {
        let write = || {
            let new = format!("{PID}.new");
            self.unlink(&new)?;
            let mut file = File::from(self.create(&new, OFlags::WRONLY, PUBLIC)?);
            writeln!(file, "{}", std::process::id())?;
            Ok(rustix::fs::renameat(&self.directory, &new, &self.directory, PID)?)
        };
        write().map_err(|error| at(&self.path.join(PID), &error))
    }

    /// Removes what says that an agent is here. A socket that somebody else made, as systemd does, stays.
    pub fn remove_pid_and_socket(&self) {
        let has_bound = self.has_bound.load(Ordering::Relaxed);
        for name in [Some(PID), has_bound.then_some(SOCKET)].into_iter().flatten() {
            if let Err(error) = self.unlink(name) {
                tracing::warn!("cannot remove {}: {error}", self.path.join(name).display());
            }
        }
    }

    /// Listens on `agent.sock`, in the place of any socket that an agent left there. Call it with the lock held.
    ///
    /// Everybody may connect; who may ask for something is for the listener to check.
    pub fn bind_socket(&self) -> io::Result<UnixListener> {
        let bind = || {
            let new = format!("{SOCKET}.new");
            self.unlink(&new)?;
            // A socket's address has room for 108 bytes; through the open directory any directory's does.
            let listener = UnixListener::bind(format!("{}/{new}", self.proc_path(self.fd())))?;
            // Between bind and here the directory's owner, whom root need not trust, may have put something else there.
            let socket = rustix::fs::openat(&self.directory, &new, OFlags::PATH | INSIDE, Mode::empty())?;
            let status = File::from(socket.try_clone()?).metadata()?;
            if !status.file_type().is_socket() || status.nlink() != 1 {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "somebody exchanged the new socket"));
            }
            std::fs::set_permissions(self.proc_path(socket.as_fd()), std::fs::Permissions::from_mode(0o666))?;
            // Renamed when it already listens: a client that finds it can connect.
            rustix::fs::renameat(&self.directory, &new, &self.directory, SOCKET)?;
            self.has_bound.store(true, Ordering::Relaxed);
            Ok(listener)
        };
        bind().map_err(|error| at(&self.path.join(SOCKET), &error))
    }

    /// The agent's log, for appending. One that has become long is put aside as `agent.log.1`.
    pub fn open_log(&self) -> io::Result<File> {
        let open = || {
            let log = File::from(self.open_own(LOG, OFlags::WRONLY | OFlags::APPEND, PRIVATE)?);
            if log.metadata()?.len() <= LOG_LEN_MAX {
                return Ok(log);
            }
            rustix::fs::renameat(&self.directory, LOG, &self.directory, OLD_LOG)?;
            Ok(File::from(self.open_own(LOG, OFlags::WRONLY | OFlags::APPEND, PRIVATE)?))
        };
        open().map_err(|error| at(&self.path.join(LOG), &error))
    }

    /// Opens one of the directories inside, or makes it.
    pub(crate) fn subdirectory(&self, name: &'static str) -> Result<OwnedFd, StateDirError> {
        let error = |action, errno: Errno| self.error(action, name, errno.into());
        match rustix::fs::mkdirat(&self.directory, name, Mode::RWXU) {
            Ok(()) => {
                let owner = self.status()?;
                if owner.uid() != geteuid().as_raw() {
                    let made = rustix::fs::openat(&self.directory, name, DIRECTORY | INSIDE, Mode::empty());
                    give(&made.map_err(|errno| error("open", errno))?, owner.uid(), owner.gid())
                        .map_err(|source| self.error("change the owner of", name, source))?;
                }
            }
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(error("create", errno)),
        }
        let opened = rustix::fs::openat(&self.directory, name, DIRECTORY | INSIDE, Mode::empty())
            .map_err(|errno| error("open", errno))?;
        let status = metadata(&opened).map_err(|source| self.error("open", name, source))?;
        let whole = self.status()?;
        let path = self.path.join(name);
        if status.dev() != whole.dev() {
            return Err(StateDirError::OtherFileSystem { path });
        }
        check_owner(&path, &status, whole.uid())?;
        Ok(opened)
    }

    fn check(&self, owner: Option<(u32, u32)>) -> Result<(), StateDirError> {
        let expected = owner.map_or(geteuid().as_raw(), |(user, _)| user);
        // The names before the version: another process that makes the directory its own writes the version first.
        let is_fresh = self.is_fresh()?;
        let version = self.read_version()?;
        match parse_version(&version) {
            Some(VERSION) => check_owner(&self.path, &self.status()?, expected),
            Some(found) => Err(StateDirError::OtherVersion { path: self.path.clone(), found }),
            None if version.is_empty() && is_fresh => self.take_over(expected, owner),
            None => Err(StateDirError::NotAStateDirectory { path: self.path.clone() }),
        }
    }

    /// Makes an empty directory an agent's.
    fn take_over(&self, expected: u32, owner: Option<(u32, u32)>) -> Result<(), StateDirError> {
        let found = self.status()?.uid();
        if found != expected && found != geteuid().as_raw() {
            return Err(StateDirError::OtherOwner { path: self.path.clone(), found, expected });
        }
        if let Some((user, group)) = owner.filter(|(user, _)| *user != found) {
            give(&self.directory, user, group).map_err(|source| StateDirError::Io {
                action: "change the owner of",
                path: self.path.clone(),
                source,
            })?;
        }
        rustix::fs::fchmod(&self.directory, Mode::from_raw_mode(DIRECTORY_MODE)).map_err(|errno| {
            StateDirError::Io { action: "set the mode of", path: self.path.clone(), source: errno.into() }
        })?;
        // Once in the directory's life: a power cut that left this file empty would make it nobody's.
        let version = self.write_version()?;
        version.sync_all().map_err(|source| self.error("write", VERSION_FILE, source))
    }

    /// Whether nobody has used the directory yet. A file system's own directory does not count, nor does a socket that
    /// systemd made ahead of us, nor a version that a killed process did not come to write.
    fn is_fresh(&self) -> Result<bool, StateDirError> {
        let read = || {
            for entry in rustix::fs::Dir::read_from(&self.directory)? {
                let name = OsString::from_vec(entry?.file_name().to_bytes().to_vec());
                if ![".", "..", "lost+found", VERSION_FILE, SOCKET].iter().any(|known| name == *known) {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        read().map_err(|errno: Errno| StateDirError::Io {
            action: "list",
            path: self.path.clone(),
            source: errno.into(),
        })
    }

    fn read_version(&self) -> Result<Vec<u8>, StateDirError> {
        let read = || {
            let file = match rustix::fs::openat(
                &self.directory,
                VERSION_FILE,
                OFlags::RDONLY | INSIDE,
                Mode::empty(),
            ) {
                Ok(file) => File::from(file),
                Err(Errno::NOENT) => return Ok(Vec::new()),
                Err(errno) => return Err(errno.into()),
            };
            let mut text = Vec::new();
            file.take(VERSION_LEN_MAX).read_to_end(&mut text)?;
            Ok(text)
        };
        read().map_err(|source| self.error("read", VERSION_FILE, source))
    }

    fn write_version(&self) -> Result<File, StateDirError> {
        let write = || {
            let mut file = File::from(self.open_own(VERSION_FILE, OFlags::WRONLY, PUBLIC)?);
            file.write_all(format!("{VERSION_PREFIX}{VERSION}\n").as_bytes())?;
            Ok(file)
        };
        write().map_err(|source| self.error("write", VERSION_FILE, source))
    }

    /// Opens a file of ours, or makes it and gives it to the directory's owner.
    fn open_own(&self, name: &str, access: OFlags, mode: u32) -> io::Result<OwnedFd> {
        loop {
            match rustix::fs::openat(&self.directory, name, access | INSIDE, Mode::empty()) {
                Ok(file) => {
                    let status = metadata(&file)?;
                    let owner = self.directory_metadata()?.uid();
                    let is_ours = status.uid() == owner || status.uid() == geteuid().as_raw();
                    if status.is_file() && status.nlink() == 1 && is_ours {
                        return Ok(file);
                    }
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "it is no plain file of the directory's owner",
                    ));
                }
                Err(Errno::NOENT) => match self.create(name, access, mode) {
                    // Another process has just made it.
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    other => return other,
                },
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Makes a file that must not be there yet, and gives it to the directory's owner.
    fn create(&self, name: &str, access: OFlags, mode: u32) -> io::Result<OwnedFd> {
        let flags = access | INSIDE | OFlags::CREATE | OFlags::EXCL;
        let file = rustix::fs::openat(&self.directory, name, flags, Mode::from_raw_mode(mode))?;
        let owner = self.directory_metadata()?;
        if owner.uid() != geteuid().as_raw() {
            give(&file, owner.uid(), owner.gid())?;
        }
        Ok(file)
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.directory, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn proc_path(&self, fd: BorrowedFd<'_>) -> String {
        format!("/proc/self/fd/{}", fd.as_raw_fd())
    }

    fn directory_metadata(&self) -> io::Result<std::fs::Metadata> {
        metadata(&self.directory)
    }

    fn status(&self) -> Result<std::fs::Metadata, StateDirError> {
        self.directory_metadata().map_err(|source| StateDirError::Io {
            action: "open",
            path: self.path.clone(),
            source,
        })
    }

    fn error(&self, action: &'static str, name: &str, source: io::Error) -> StateDirError {
        StateDirError::Io { action, path: self.path.join(name), source }
    }
}

/// The same error with the path in its text.
pub(crate) fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// What the system knows about an open file.
pub(crate) fn metadata(fd: &OwnedFd) -> io::Result<std::fs::Metadata> {
    File::from(fd.try_clone()?).metadata()
}

fn parse_version(text: &[u8]) -> Option<u32> {
    std::str::from_utf8(text).ok()?.strip_prefix(VERSION_PREFIX)?.strip_suffix('\n')?.parse().ok()
}

fn check_owner(path: &Path, status: &std::fs::Metadata, expected: u32) -> Result<(), StateDirError> {
    let (found, mode) = (status.uid(), status.mode() & 0o777);
    if found != expected {
        return Err(StateDirError::OtherOwner { path: path.into(), found, expected });
    }
    if mode & 0o022 != 0 {
        return Err(StateDirError::OthersMayWrite { path: path.into(), mode });
    }
    Ok(())
}

fn give(fd: &OwnedFd, user: u32, group: u32) -> io::Result<()> {
    let (user, group) = (rustix::fs::Uid::from_raw(user), rustix::fs::Gid::from_raw(group));
    Ok(rustix::fs::fchown(fd, Some(user), Some(group))?)
}

/// Removes temporary state directories of ours below `parent` whose process is gone.
fn remove_abandoned(parent: &Path) {
    let Ok(entries) = std::fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY_PREFIX)
            && let Some(_lock) = abandoned(&entry.path())
            && let Err(error) = std::fs::remove_dir_all(entry.path())
        {
            tracing::warn!("cannot remove {}: {error}", entry.path().display());
        }
    }
}

/// The lock of a state directory that nobody else holds: proof that it was abandoned.
fn abandoned(path: &Path) -> Option<Lock> {
    let directory = rustix::fs::open(path, DIRECTORY | INSIDE, Mode::empty()).ok()?;
    let state = StateDir { directory, path: path.into(), has_bound: AtomicBool::new(false), temporary: None };
    let is_ours = parse_version(&state.read_version().ok()?).is_some()
        && check_owner(path, &state.status().ok()?, geteuid().as_raw()).is_ok();
    if is_ours { state.lock().ok() } else { None }
}
