//! The one directory that the service serves from, and the only way to open a file below it.
//!
//! Nothing outside is ever opened: the kernel refuses `..`, absolute paths and symlinks that leave (`RESOLVE_BENEATH`).
//! An absolute symlink that points back inside, as mirrors made by hand have them, is resolved by us and opened again
//! with no symlinks allowed.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::fingerprint::{Fingerprint, Look};

/// The directory behind `--root`.
#[derive(Debug)]
pub(crate) struct Root {
    /// As it was named: what is there may be replaced.
    named: PathBuf,
    opened: ArcSwap<Opened>,
}

/// The directory that was there when somebody looked.
#[derive(Debug)]
struct Opened {
    /// Its path with all symlinks resolved.
    path: PathBuf,
    directory: OwnedFd,
}

impl Opened {
    fn open(named: &Path) -> io::Result<Self> {
        let path = named.canonicalize()?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(&path, flags, Mode::empty())?;
        Ok(Self { path, directory })
    }

    fn is_same(&self, other: &Self) -> io::Result<bool> {
        let (ours, theirs) = (rustix::fs::fstat(&self.directory)?, rustix::fs::fstat(&other.directory)?);
        Ok(self.path == other.path && (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino))
    }
}

impl Root {
    /// Opens the directory.
    pub(crate) fn open(named: &Path) -> io::Result<Self> {
        Ok(Self { named: named.to_owned(), opened: ArcSwap::from_pointee(Opened::open(named)?) })
    }

    /// Looks whether another directory has taken the place of this, as when a mirror is published by a rename or by
    /// turning a symlink, and serves from that one then. Whether it has.
    pub(crate) fn refresh(&self) -> io::Result<bool> {
        let now = Opened::open(&self.named)?;
        let is_other = !now.is_same(&self.opened.load())?;
        if is_other {
            self.opened.store(Arc::new(now));
        }
        Ok(is_other)
    }

    /// Where it is, all symlinks resolved.
    pub(crate) fn path(&self) -> PathBuf {
        self.opened.load().path.clone()
    }

    /// The directory in which the name of the root may come to mean another one; none when it is no symlink.
    pub(crate) fn turns_in(&self) -> Option<&Path> {
        self.named.is_symlink().then(|| self.named.parent()).flatten()
    }

    /// Opens the regular file at `relative`, which must be a clean relative path.
    ///
    /// Whatever is no regular file below the root is `NotFound`: a client need not know that there is something else.
    pub(crate) fn open_file(&self, relative: &Path) -> io::Result<(File, Look)> {
        if !is_clean(relative) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let file = match self.open_beneath(relative, ResolveFlags::BENEATH) {
            Err(rustix::io::Errno::XDEV | rustix::io::Errno::NOSYS) => self.open_resolved(relative)?,
            other => other.map_err(not_found_if_not_a_path)?,
        };
        let file = File::from(file);
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok((file, Look::of(&metadata)))
    }

    fn open_beneath(&self, relative: &Path, how: ResolveFlags) -> rustix::io::Result<OwnedFd> {
        // A FIFO must not block the opener; regular files do not care.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let how = how | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&self.opened.load().directory, relative, flags, Mode::empty(), how)
    }

    /// For paths over symlinks that the kernel would not follow, and for kernels before 5.6, which cannot check.
    fn open_resolved(&self, relative: &Path) -> io::Result<OwnedFd> {
        let opened = self.opened.load();
        let resolved = opened.path.join(relative).canonicalize()?;
        let inside = resolved.strip_prefix(&opened.path).map_err(|_| io::ErrorKind::NotFound)?;
        match self.open_beneath(inside, ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS) {
            Err(rustix::io::Errno::NOSYS) => {
                let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW;
                Ok(rustix::fs::openat(&opened.directory, inside, flags, Mode::empty())?)
            }
            other => other.map_err(not_found_if_not_a_path),
        }
    }

    /// What the file at `relative` is now, following symlinks; only for noticing changes, never for serving.
    pub(crate) fn fingerprint(&self, relative: &Path) -> io::Result<Fingerprint> {
        let metadata = self.opened.load().path.join(relative).metadata()?;
        if metadata.is_file() { Ok(Fingerprint::of(&metadata)) } else { Err(io::ErrorKind::NotFound.into()) }
    }
}

fn not_found_if_not_a_path(errno: rustix::io::Errno) -> io::Error {
    use rustix::io::Errno;
    match errno {
        Errno::NOTDIR | Errno::LOOP | Errno::XDEV | Errno::NAMETOOLONG | Errno::NXIO | Errno::INVAL => {
            io::ErrorKind::NotFound.into()
        }
        other => other.into(),
    }
}

/// Whether a path has only ordinary components and at least one of them.
pub(crate) fn is_clean(path: &Path) -> bool {
    let mut components = path.components().peekable();
    components.peek().is_some() && components.all(|part| matches!(part, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_regular_files_below_the_root_open() {
        let outside = tempfile::tempdir().expect("a directory");
        std::fs::write(outside.path().join("secret"), "s").expect("written");
        let inside = tempfile::tempdir().expect("a directory");
        let at = |name: &str| inside.path().join(name);
        std::fs::create_dir(at("dir")).expect("made");
        std::fs::write(at("dir/file"), "f").expect("written");
        symlink(outside.path().join("secret"), at("absolute-out")).expect("linked");
        symlink(outside.path(), at("directory-out")).expect("linked");
        symlink("../../../../../../etc/passwd", at("relative-out")).expect("linked");
        symlink("dir/file", at("relative-in")).expect("linked");
        symlink(at("dir"), at("absolute-in")).expect("linked");
        symlink("loop", at("loop")).expect("linked");
        rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), rustix::fs::FileType::Fifo, Mode::RUSR, 0)
            .expect("made");

        let root = Root::open(inside.path()).expect("opens");
        for path in ["dir/file", "relative-in", "absolute-in/file"] {
            assert!(root.open_file(Path::new(path)).is_ok(), "{path}");
        }
        let absolute = at("dir/file").display().to_string();
        for path in [
            "absolute-out",
            "directory-out/secret",
            "relative-out",
            "loop",
            "fifo",
            "dir",
            "",
            ".",
            "dir/../dir/file",
            "../x",
            "dir/file/x",
            "missing",
            absolute.as_str(),
        ] {
            let error = root.open_file(Path::new(path)).expect_err(path);
            assert_eq!(error.kind(), io::ErrorKind::NotFound, "{path}: {error}");
        }
    }
    #[test]
    fn a_root_that_is_replaced_is_noticed() {
        let place = tempfile::tempdir().expect("a directory");
        let at = |name: &str| place.path().join(name);
        for name in ["one", "two"] {
            std::fs::create_dir(at(name)).expect("made");
            std::fs::write(at(name).join(name), name).expect("written");
        }
        let opens = |root: &Root, name: &str| root.open_file(Path::new(name)).is_ok();
        let root = Root::open(&at("one")).expect("opens");
        assert!(!root.refresh().expect("looks"));
        std::fs::rename(at("one"), at("away")).expect("renamed");
        assert!(root.refresh().is_err());
        assert!(opens(&root, "one"), "what was there is served until something else is");
        std::fs::rename(at("two"), at("one")).expect("renamed");
        assert!(root.refresh().expect("looks"));
        assert!(opens(&root, "two") && !opens(&root, "one"));

        symlink(at("one"), at("link")).expect("linked");
        let root = Root::open(&at("link")).expect("opens");
        assert_eq!(root.turns_in(), Some(place.path()));
        symlink(at("away"), at("new-link")).expect("linked");
        std::fs::rename(at("new-link"), at("link")).expect("renamed");
        assert!(root.refresh().expect("looks"));
        assert!(opens(&root, "one"));
    }
}
