//! A new file's content: shared, else copied; and its digest.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use pkgtorrent_protocol::{Algorithm, PackageDigest};
use rustix::fs::{FallocateFlags, Mode, OFlags};
use rustix::io::Errno;
use sha1::Sha1;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

use super::{PlaceError, is_no_space};

/// How much is read at once: few system calls, and it stays in a core's cache.
const BUFFER_LEN: usize = 256 << 10;

/// How much the kernel is told to copy at once. It can be killed in between.
const RANGE_LEN: u64 = 64 << 20;

/// How content comes into a new file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Copying {
    /// The file system lets both files have the same blocks, until one of them is written to.
    Share,
    /// The kernel copies.
    Range,
    /// This program copies.
    Buffer,
}

impl Copying {
    /// The best first, the one that always works last.
    pub(super) const ALL: [Self; 3] = [Self::Share, Self::Range, Self::Buffer];
}

/// Fills an empty file by the first of `copyings` that works. True if blocks are shared.
pub(super) fn fill(
    source: &File,
    new: &File,
    dest: &Path,
    size: u64,
    copyings: &[Copying],
) -> Result<bool, PlaceError> {
    let mut done = 0;
    for copying in copyings {
        match copying {
            Copying::Share => {
                if share(source, new, |new, source| rustix::fs::ioctl_ficlone(new, source)) {
                    return Ok(true);
                }
                reserve(new, dest, size)?;
            }
            Copying::Range => done = copy_range(source, new, dest, size)?,
            Copying::Buffer => done = copy(source, new, dest, done, size)?,
        }
        if done == size {
            break;
        }
    }
    match done == size {
        true => Ok(false),
        false => Err(PlaceError::SourceSize { found: done, expected: size }),
    }
}

/// Gives an empty file the blocks of another, by `clone`; false where that is not possible.
///
/// Kernels before 5.19 refuse it between files of one file system that were opened through different mounts. The agent's
/// file is such a one when the agent has a mount namespace of its own, as under systemd: then the file is opened here
/// once more.
fn share(source: &File, new: &File, clone: impl Fn(&File, &File) -> rustix::io::Result<()>) -> bool {
    match clone(new, source) {
        Ok(()) => true,
        Err(Errno::XDEV) if are_on_one_device(source, new) => {
            reopened(source).is_some_and(|source| clone(new, &source).is_ok())
        }
        Err(_) => false,
    }
}

fn are_on_one_device(one: &File, other: &File) -> bool {
    let device = |file: &File| file.metadata().map(|status| status.dev()).ok();
    device(one).is_some_and(|device_of_one| device(other) == Some(device_of_one))
}

/// The same file through the mounts that this process sees. Opening what `/proc` has for the descriptor would keep the
/// mount that it was opened through; what helps is the path that is written there.
fn reopened(file: &File) -> Option<File> {
    let path = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
    open_same(&path, file)
}

/// Opens what is at a path if it is this file. The path may mean another file here, and who owns its directories may
/// have put anything there: nothing is really opened before it is known what it is.
fn open_same(path: &Path, file: &File) -> Option<File> {
    let found = rustix::fs::open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
    let found = File::from(found.ok()?);
    let (status, expected) = (found.metadata().ok()?, file.metadata().ok()?);
    let is_same = status.dev() == expected.dev() && status.ino() == expected.ino();
    is_same.then(|| File::open(format!("/proc/self/fd/{}", found.as_raw_fd())).ok()).flatten()
}

/// Takes the room for the whole file at once, where that is possible.
fn reserve(new: &File, dest: &Path, size: u64) -> Result<(), PlaceError> {
    if size == 0 {
        return Ok(());
    }
    match rustix::fs::fallocate(new, FallocateFlags::empty(), 0, size) {
        Err(errno) if is_no_space(errno) => Err(PlaceError::destination("reserve space for", dest, errno)),
        // Whatever else is the matter will be seen when it is written to.
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Copies as far as the kernel can do it, and says how far that is.
fn copy_range(source: &File, new: &File, dest: &Path, size: u64) -> Result<u64, PlaceError> {
    let mut done = 0;
    while done < size {
        let (mut from, mut to) = (done, done);
        let length = (size - done).min(RANGE_LEN) as usize;
        match rustix::fs::copy_file_range(source, Some(&mut from), new, Some(&mut to), length) {
            Ok(0) => break,
            Ok(more) => done += more as u64,
            Err(Errno::INTR) => {}
            Err(errno) if is_no_space(errno) => {
                return Err(PlaceError::destination("write", dest, errno));
            }
            // The file systems cannot do it, or one of them failed: reading and writing tells which.
            Err(_) => break,
        }
    }
    Ok(done)
}

/// Copies from an offset to the end by reading and writing.
fn copy(source: &File, new: &File, dest: &Path, from: u64, size: u64) -> Result<u64, PlaceError> {
    let mut buffer = vec![0; BUFFER_LEN];
    let mut done = from;
    while done < size {
        let room = buffer.len().min(usize::try_from(size - done).unwrap_or(usize::MAX));
        let length = match source.read_at(&mut buffer[..room], done) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(PlaceError::SourceRead(error)),
        };
        new.write_all_at(&buffer[..length], done)
            .map_err(|error| PlaceError::destination("write", dest, error))?;
        done += length as u64;
    }
    Ok(done)
}

/// The digest of a whole file.
pub(super) fn digest_of(file: &File, algorithm: Algorithm) -> io::Result<PackageDigest> {
    match algorithm {
        Algorithm::Sha1 => hashed::<Sha1>(file, algorithm),
        Algorithm::Sha224 => hashed::<Sha224>(file, algorithm),
        Algorithm::Sha256 => hashed::<Sha256>(file, algorithm),
        Algorithm::Sha384 => hashed::<Sha384>(file, algorithm),
        Algorithm::Sha512 => hashed::<Sha512>(file, algorithm),
    }
}

fn hashed<D: Digest>(file: &File, algorithm: Algorithm) -> io::Result<PackageDigest> {
    let mut hash = D::new();
    let mut buffer = vec![0; BUFFER_LEN];
    let mut offset = 0;
    loop {
        match file.read_at(&mut buffer, offset) {
            Ok(0) => break,
            Ok(length) => {
                hash.update(&buffer[..length]);
                offset += length as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    PackageDigest::new(algorithm, &hash.finalize()).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io::{BufRead, BufReader, Write};
    use std::process::{Command, Stdio};

    use rustix::fs::{AtFlags, StatxFlags};

    use super::*;

    fn inode(file: &File) -> (u64, u64) {
        let status = file.metadata().unwrap();
        (status.dev(), status.ino())
    }

    #[test]
    fn a_file_is_opened_again_wherever_it_is_now() {
        let directory = tempfile::tempdir().unwrap();
        let (path, moved) = (directory.path().join("a"), directory.path().join("b"));
        std::fs::write(&path, "content").unwrap();
        let file = File::open(&path).unwrap();
        assert_eq!(reopened(&file).as_ref().map(inode), Some(inode(&file)));
        std::fs::rename(&path, &moved).unwrap();
        assert_eq!(reopened(&file).as_ref().map(inode), Some(inode(&file)));
        std::fs::remove_file(&moved).unwrap();
        assert!(reopened(&file).is_none());
    }

    #[test]
    fn another_file_at_its_path_is_not_taken_for_it() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("file"), "content").unwrap();
        std::fs::write(at("same content"), "content").unwrap();
        std::os::unix::fs::symlink("file", at("symbolic link")).unwrap();
        // Whoever opens it waits for a writer.
        let made = Command::new("mkfifo").arg(at("pipe")).status().unwrap();
        assert!(made.success());
        let file = File::open(at("file")).unwrap();
        assert!(open_same(&at("file"), &file).is_some());
        for name in ["same content", "symbolic link", "pipe", "nothing", "."] {
            assert!(open_same(&at(name), &file).is_none(), "{name}");
        }
        // The first inodes of these two file systems have the same number.
        let (one, other) = (File::open("/proc").unwrap(), File::open("/sys").unwrap());
        assert_eq!(inode(&one).1, inode(&other).1);
        assert!(
            open_same(Path::new("/proc"), &one).is_some() && open_same(Path::new("/sys"), &one).is_none()
        );
    }

    #[test]
    fn only_what_is_refused_for_its_mount_is_tried_once_more() {
        let source = tempfile::NamedTempFile::new().unwrap();
        let new = tempfile::tempfile().unwrap();
        let elsewhere = File::open("/proc/version").unwrap();
        let tries = |source: &File, errno, refusals| {
            let times = Cell::new(0);
            let shares = share(source, &new, |_, asked| {
                times.set(times.get() + 1);
                let is_again = times.get() > 1;
                assert_eq!(inode(asked), inode(source));
                assert_eq!(asked.as_raw_fd() != source.as_raw_fd(), is_again);
                if times.get() <= refusals { Err(errno) } else { Ok(()) }
            });
            (shares, times.get())
        };
        assert_eq!(tries(source.as_file(), Errno::XDEV, 0), (true, 1));
        assert_eq!(tries(source.as_file(), Errno::XDEV, 1), (true, 2));
        assert_eq!(tries(source.as_file(), Errno::XDEV, 2), (false, 2));
        assert_eq!(tries(source.as_file(), Errno::OPNOTSUPP, 1), (false, 1));
        assert_eq!(tries(&elsewhere, Errno::XDEV, 1), (false, 1));
    }

    /// Which mount a file was opened through.
    fn mount(file: &File) -> u64 {
        rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).unwrap().stx_mnt_id
    }

    #[test]
    fn a_file_from_another_mount_namespace_is_opened_through_a_mount_of_this_one() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("not tested: this needs root");
            return;
        }
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let mut other = Command::new("unshare")
            .args(["--mount", "sh", "-c", "exec 3<\"$1\" && echo open && read end", "sh"])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(other.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "open\n");
        // What is opened so has the mount of the other process, as if it had been passed.
        let passed = File::open(format!("/proc/{}/fd/3", other.id())).unwrap();
        let here = File::open(&path).unwrap();
        assert_ne!(mount(&passed), mount(&here));
        let again = reopened(&passed).expect("the same file");
        assert_eq!((inode(&again), mount(&again)), (inode(&passed), mount(&here)));
        other.stdin.take().unwrap().write_all(b"\n").unwrap();
        assert!(other.wait().unwrap().success());
    }
}
