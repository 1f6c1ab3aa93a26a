//! What a file looks like from outside: enough to notice that its bytes may have changed since they were read.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The length of a fingerprint's stored form.
pub(crate) const FINGERPRINT_LEN: usize = 32;

/// A file's inode, size and times. The device is left out: its number changes with a reboot, the file does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint {
    inode: u64,
    size: u64,
    modified_ns: i64,
    changed_ns: i64,
}

/// What one look at a file showed. Fingerprint and links are from the same moment: between two looks another file may
/// have been put in its place, and who took the links from the second would never see that they have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) fingerprint: Fingerprint,
    /// How many names it has.
    links: u64,
}

impl Look {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self { fingerprint: Fingerprint::of(metadata), links: metadata.nlink() }
    }

    /// Whether the file held the same bytes at an earlier look. A file that gains or loses a name, as one does that
    /// another is put in place of, has the same bytes. Whatever else changed its status may have been a rewrite whose
    /// time was put back.
    pub(crate) fn has_bytes_of(&self, earlier: &Self) -> bool {
        let is_renamed = self.links != earlier.links && self.fingerprint.same_content(&earlier.fingerprint);
        self.fingerprint == earlier.fingerprint || is_renamed
    }
}

/// Two changes within one tick of the kernel's clock leave the same times. A file that was changed less than this ago
/// may yet change unseen; ticks are 1 to 10 ms.
pub(crate) const SETTLED_AFTER: Duration = Duration::from_millis(50);

impl Fingerprint {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        let ns = |seconds: i64, ns: i64| seconds.saturating_mul(1_000_000_000).saturating_add(ns);
        Self {
            inode: metadata.ino(),
            size: metadata.size(),
            modified_ns: ns(metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: ns(metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// When the content was changed last.
    pub(crate) fn modified(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_nanos(u64::try_from(self.modified_ns).unwrap_or(0))
    }

    /// How long ago the file was changed. Its times may lie ahead of our clock: then the time of change counts, which
    /// nobody can set, and without either there is nothing to wait for.
    pub(crate) fn age(&self, now: SystemTime) -> Option<Duration> {
        let age = |changed| now.duration_since(changed).ok();
        age(self.modified()).or_else(|| age(self.changed()))
    }

    fn changed(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_nanos(u64::try_from(self.changed_ns).unwrap_or(0))
    }

    /// How long to wait until a further change would show.
    pub(crate) fn unsettled_for(&self, now: SystemTime) -> Option<Duration> {
        let age = now.duration_since(self.changed()).unwrap_or_default();
        SETTLED_AFTER.checked_sub(age).filter(|left| !left.is_zero())
    }

    /// Whether the content seems the same. A rewrite whose time was put back does so, too: only the time of change,
    /// which nobody can set, tells it from a change of links or modes.
    fn same_content(&self, other: &Self) -> bool {
        (self.inode, self.size, self.modified_ns) == (other.inode, other.size, other.modified_ns)
    }

    /// A strong validator for files that are known by no digest.
    pub(crate) fn etag(&self) -> String {
        format!("\"{:x}-{:x}-{:x}-{:x}\"", self.changed_ns, self.modified_ns, self.size, self.inode)
    }

    pub(crate) fn to_bytes(self) -> [u8; FINGERPRINT_LEN] {
        let mut bytes = [0; FINGERPRINT_LEN];
        bytes[..8].copy_from_slice(&self.inode.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.size.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.modified_ns.to_le_bytes());
        bytes[24..].copy_from_slice(&self.changed_ns.to_le_bytes());
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8; FINGERPRINT_LEN]) -> Self {
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at..at + 8]);
            word
        };
        Self {
            inode: u64::from_le_bytes(word(0)),
            size: u64::from_le_bytes(word(8)),
            modified_ns: i64::from_le_bytes(word(16)),
            changed_ns: i64::from_le_bytes(word(24)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_from_the_future_is_as_old_as_its_last_change() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let now = SystemTime::now();
        file.as_file().set_modified(now + Duration::from_secs(1000)).expect("set");
        let fingerprint = Fingerprint::of(&file.path().metadata().expect("metadata"));
        let age = fingerprint.age(now + Duration::from_secs(9)).expect("an age");
        assert!(age > Duration::from_secs(7) && age < Duration::from_secs(10), "{age:?}");
        assert_eq!(fingerprint.age(UNIX_EPOCH), None);
    }

    #[test]
    fn a_fingerprint_survives_its_bytes_and_sees_a_rewrite() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let look = || Fingerprint::of(&file.path().metadata().expect("metadata"));
        std::fs::write(file.path(), "one").expect("written");
        let before = look();
        assert_eq!(Fingerprint::from_bytes(&before.to_bytes()), before);
        assert_eq!(before.unsettled_for(SystemTime::now() + SETTLED_AFTER), None);
        std::thread::sleep(SETTLED_AFTER);
        std::fs::write(file.path(), "two").expect("written");
        assert!(!look().same_content(&before));
        assert!(look().unsettled_for(SystemTime::now()).is_some());
    }
}
