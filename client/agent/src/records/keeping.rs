//! The files in which installs are kept.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use super::{Record, VERSION};
use crate::files::{INSIDE, StateDir, StateDirError};
use crate::store::floor;

/// How many installs are kept: a host's last weeks, or the last hour of a script that installs packages one by one.
pub const RECORDS_MAX: usize = 50;

/// The longest record: some hundred decisions, packages and peers.
pub const RECORD_LEN_MAX: usize = 256 << 10;

/// The directory in the state directory.
const INSTALLS: &str = "installs";

/// What a record is called until all of it is written.
const UNFINISHED: &str = "new";

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(INSIDE);

/// Why records cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {}: {source}", path.display())]
pub struct RecordsError {
    path: PathBuf,
    source: io::Error,
}

/// Where an agent keeps the installs that ended.
#[derive(Debug)]
pub struct Records {
    // The lock keeps one thread from removing what another writes.
    directory: Mutex<OwnedFd>,
    last: u64,
    free_space_min: Option<u64>,
}

impl Records {
    /// Opens the directory, or makes it. Nothing is written that leaves less of the disk free than the store does.
    pub fn open(files: &StateDir, free_space_min: Option<u64>) -> Result<Self, StateDirError> {
        let directory = files.subdirectory(INSTALLS)?;
        // What cannot be listed is seen when something is to be kept.
        let last = numbered(&directory).unwrap_or_default().last().map_or(0, |(number, _)| *number);
        Ok(Self { directory: Mutex::new(directory), last, free_space_min })
    }

    /// The number of the last install that was here when it was opened.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Keeps a record, in the place of the oldest if there are too many.
    pub fn keep(&self, mut record: Record) -> io::Result<()> {
        let text = loop {
            let text = serde_json::to_vec(&record)?;
            if text.len() <= RECORD_LEN_MAX {
                break text;
            }
            record.thin_out();
        };
        let directory = self.directory.lock().unwrap_or_else(PoisonError::into_inner);
        // One that a killed agent left.
        remove(&directory, UNFINISHED)?;
        let disk = rustix::fs::fstatvfs(&*directory)?;
        let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
        let len = (text.len() as u64).next_multiple_of(disk.f_frsize.max(1));
        if bytes(disk.f_bavail) < floor(self.free_space_min, bytes(disk.f_blocks)).saturating_add(len) {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "what is free is to stay free"));
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | INSIDE;
        let file = rustix::fs::openat(&*directory, UNFINISHED, flags, Mode::from_raw_mode(0o600))?;
        File::from(file).write_all(&text)?;
        let name = format!("{:08}-{}.json", record.number, record.began);
        rustix::fs::renameat(&*directory, UNFINISHED, &*directory, name)?;
        let kept = numbered(&directory)?;
        for (_, name) in &kept[..kept.len().saturating_sub(RECORDS_MAX)] {
            remove(&directory, name)?;
        }
        Ok(())
    }
}

impl Record {
    /// Leaves out half of what there may be most of.
    fn thin_out(&mut self) {
        let kept = self.decisions.len() / 2;
        let lost = self.decisions.len() - kept;
        self.decisions.drain(kept / 2..kept / 2 + lost);
        self.decisions_left_out += lost as u64;
        self.slowest.truncate(self.slowest.len() / 2);
        self.peers.iter_mut().for_each(|peer| peer.timeline.clear());
    }
}

/// The records of a state directory, the oldest first, whether an agent runs or not. One that does not read well is passed
/// over.
pub fn read_all(state_dir: &Path) -> Result<Vec<Record>, RecordsError> {
    let path = state_dir.join(INSTALLS);
    let read = || {
        let state = rustix::fs::openat(
            CWD,
            state_dir,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let directory = rustix::fs::openat(&state, INSTALLS, DIRECTORY, Mode::empty())?;
        numbered(&directory).map(|names| (directory, names))
    };
    let (directory, names) = match read() {
        Ok(found) => found,
        Err(Errno::NOENT) => return Ok(Vec::new()),
        Err(errno) => return Err(RecordsError { path, source: errno.into() }),
    };
    let latest = &names[names.len().saturating_sub(RECORDS_MAX)..];
    Ok(latest.iter().filter_map(|(_, name)| read_one(&directory, name).ok().flatten()).collect())
}

fn read_one(directory: &OwnedFd, name: &str) -> io::Result<Option<Record>> {
    let file = File::from(rustix::fs::openat(directory, name, OFlags::RDONLY | INSIDE, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Ok(None);
    }
    let mut text = Vec::new();
    file.take(RECORD_LEN_MAX as u64 + 1).read_to_end(&mut text)?;
    let record: Record = serde_json::from_slice(&text)?;
    Ok((record.version == VERSION && text.len() <= RECORD_LEN_MAX).then_some(record))
}

/// The names of all records with their numbers, in order.
fn numbered(directory: &OwnedFd) -> rustix::io::Result<Vec<(u64, String)>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(directory)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else { continue };
        let number =
            name.strip_suffix(".json").and_then(|name| name.split_once('-')).map(|(number, _)| number);
        if let Some(number) = number.and_then(|number| number.parse().ok()) {
            names.push((number, name.to_owned()));
        }
    }
    names.sort();
    Ok(names)
}

fn remove(directory: &OwnedFd, name: &str) -> rustix::io::Result<()> {
    match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{DecisionRecord, PackageRecord, PeerRecord};

    fn directory() -> (tempfile::TempDir, StateDir) {
        let directory = tempfile::tempdir().unwrap();
        let files = StateDir::open(&directory.path().join("state"), None).unwrap();
        (directory, files)
    }

    fn record(number: u64) -> Record {
        Record { version: VERSION, number, ..Record::default() }
    }

    #[test]
    fn the_latest_are_kept_and_counted_on() {
        let (_directory, files) = directory();
        let records = Records::open(&files, Some(0)).unwrap();
        assert_eq!((records.last(), read_all(files.path()).unwrap()), (0, vec![]));
        for number in 1..=RECORDS_MAX as u64 + 3 {
            records.keep(record(number)).unwrap();
        }
        let kept = read_all(files.path()).unwrap();
        assert_eq!((kept.len(), kept[0].number), (RECORDS_MAX, 4));
        assert_eq!(Records::open(&files, Some(0)).unwrap().last(), RECORDS_MAX as u64 + 3);
        assert_eq!(std::fs::read_dir(files.path().join(INSTALLS)).unwrap().count(), RECORDS_MAX);
    }

    #[test]
    fn a_record_that_is_too_long_loses_its_middle() {
        let (_directory, files) = directory();
        let decision = |at| DecisionRecord { at, what: "x".repeat(200) };
        let package = PackageRecord { name: "y".repeat(200), ..PackageRecord::default() };
        let peer = PeerRecord { timeline: vec![u64::MAX; 300], ..PeerRecord::default() };
        let long = Record {
            decisions: (0..1000).map(decision).collect(),
            slowest: vec![package; 200],
            peers: vec![peer; 40],
            ..record(1)
        };
        Records::open(&files, Some(0)).unwrap().keep(long).unwrap();
        let kept = &read_all(files.path()).unwrap()[0];
        assert_eq!((kept.decisions[0].at, kept.decisions.last().unwrap().at), (0, 999));
        assert_eq!(kept.decisions.len() as u64 + kept.decisions_left_out, 1000);
        let len = std::fs::metadata(files.path().join("installs/00000001-0.json")).unwrap().len();
        assert!(len <= RECORD_LEN_MAX as u64 && kept.peers.len() == 40, "{len}");
    }

    #[test]
    fn what_is_no_record_is_passed_over() {
        let (_directory, files) = directory();
        Records::open(&files, Some(0)).unwrap().keep(record(7)).unwrap();
        let path = |name: &str| files.path().join(INSTALLS).join(name);
        std::fs::write(path("00000008-0.json"), "{\"version\":1,").unwrap();
        std::fs::write(path("00000009-0.json"), "{\"version\":2}").unwrap();
        std::fs::write(path("00000010-0.json"), " ".repeat(RECORD_LEN_MAX) + "{\"version\":1}").unwrap();
        std::fs::write(path("notes.txt"), "").unwrap();
        std::os::unix::fs::symlink(path("00000007-0.json"), path("00000011-0.json")).unwrap();
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(CWD, path("00000012-0.json"), fifo, Mode::RWXU, 0).unwrap();
        let numbers: Vec<u64> = read_all(files.path()).unwrap().iter().map(|record| record.number).collect();
        assert_eq!(numbers, [7]);
    }
}
