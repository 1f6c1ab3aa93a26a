//! Disks: room for the store and in the package manager's cache, and whether the two can share blocks.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Patient;
use super::finding::Finding;
use crate::store::floor;
use crate::text::bytes;

/// Where dnf 4 and dnf5 keep packages, for root.
const CACHES: [&str; 2] = ["/var/cache/dnf", "/var/cache/libdnf5"];

/// Less room than this for packages is none: the update of a distribution has some hundred megabytes.
const CACHE_FREE_MIN: u64 = 256 << 20;

/// One block of any file system, so that sharing is tried on a block and not on bytes kept beside the inode.
const PROBE_LEN: usize = 64 << 10;

const STORE: &str = "store room";
const CACHE: &str = "cache room";
const REFLINKS: &str = "reflinks";

pub(super) const CHECKS: &[&str] = &[STORE, CACHE, REFLINKS];

struct Facts {
    store: Result<Place, String>,
    /// What must stay free beside the store; none for the default.
    free_space_min: Option<u64>,
    store_max: u64,
    /// None where no package manager's cache is.
    cache: Option<Result<Place, String>>,
    reflinks: Sharing,
}

/// A directory's file system.
struct Place {
    path: PathBuf,
    free: u64,
    total: u64,
}

enum Sharing {
    Works,
    /// Not what these file systems can do.
    Refused,
    OtherFileSystem,
    /// It could not be tried.
    NotTried(String),
}

pub(super) fn check(patient: &Patient) -> Vec<Finding> {
    judge(&gather(patient))
}

fn gather(patient: &Patient) -> Facts {
    let state_dir = patient.state_dir.clone();
    let cache = CACHES.into_iter().map(Path::new).find(|path| path.is_dir());
    let reflinks = match (&state_dir, cache) {
        (Ok(state_dir), Some(cache)) => try_to_share(nearest(state_dir), cache),
        _ => Sharing::NotTried("there is no package manager's cache".into()),
    };
    Facts {
        store: state_dir.and_then(|path| place(nearest(&path))),
        free_space_min: patient.settings.store.free_space_min,
        store_max: patient.settings.store.max_bytes,
        cache: cache.map(place),
        reflinks,
    }
}

/// The directory, or the one above it in which it would be made.
fn nearest(path: &Path) -> &Path {
    path.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/"))
}

fn place(path: &Path) -> Result<Place, String> {
    let found = rustix::fs::statvfs(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Ok(Place { path: path.into(), free: bytes(found.f_bavail), total: bytes(found.f_blocks) })
}

/// Lets a small file of one directory share its blocks with one of another.
fn try_to_share(from: &Path, to: &Path) -> Sharing {
    let tried = || -> io::Result<Sharing> {
        let source = file_in(from)?;
        let copy = file_in(to)?;
        (&source).write_all(&[1; PROBE_LEN])?;
        if rustix::fs::ioctl_ficlone(&copy, &source).is_ok() {
            return Ok(Sharing::Works);
        }
        let is_one = source.metadata()?.dev() == copy.metadata()?.dev();
        Ok(if is_one { Sharing::Refused } else { Sharing::OtherFileSystem })
    };
    tried().unwrap_or_else(|error| Sharing::NotTried(error.to_string()))
}

/// A file without a name, so that nothing is left behind.
fn file_in(directory: &Path) -> io::Result<File> {
    let error = |error| io::Error::other(format!("{}: {error}", directory.display()));
    tempfile::tempfile_in(directory).map_err(error)
}

fn judge(facts: &Facts) -> Vec<Finding> {
    vec![store(facts), cache(facts.cache.as_ref()), reflinks(&facts.reflinks)]
}

fn store(facts: &Facts) -> Finding {
    let place = match &facts.store {
        Ok(place) => place,
        Err(reason) => return Finding::unknown(STORE, reason),
    };
    let floor = floor(facts.free_space_min, place.total);
    let (free, path) = (bytes(place.free), place.path.display());
    if place.free < floor {
        return Finding::problem(
            STORE,
            format!("{free} are free in {path}, and {} have to stay so: nothing is kept there", bytes(floor)),
            "make room, set a smaller free_space_min, or give the agent another state directory",
        );
    }
    Finding::ok(STORE, format!("{free} are free in {path}; it takes {} at most", bytes(facts.store_max)))
}

fn cache(place: Option<&Result<Place, String>>) -> Finding {
    match place {
        None => Finding::unknown(CACHE, format!("neither {} is here", CACHES.join(" nor "))),
        Some(Err(reason)) => Finding::unknown(CACHE, reason),
        Some(Ok(place)) => {
            let found = format!("{} are free in {}", bytes(place.free), place.path.display());
            match place.free < CACHE_FREE_MIN {
                true => Finding::warning(CACHE, found, "make room, for example by `dnf clean packages`"),
                false => Finding::ok(CACHE, found),
            }
        }
    }
}

fn reflinks(sharing: &Sharing) -> Finding {
    let copies = "each package is copied, which takes its size once more";
    match sharing {
        Sharing::Works => Finding::ok(REFLINKS, "placing a package takes no space"),
        Sharing::Refused => Finding::ok(REFLINKS, format!("not on this file system: {copies}")),
        Sharing::OtherFileSystem => {
            Finding::ok(REFLINKS, format!("store and cache are on different file systems: {copies}"))
        }
        Sharing::NotTried(reason) => Finding::unknown(REFLINKS, format!("not tried: {reason}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;

    fn place_with(free: u64) -> Place {
        Place { path: "/x".into(), free, total: 100 << 30 }
    }

    fn facts(free: u64, free_space_min: Option<u64>) -> Facts {
        Facts {
            store: Ok(place_with(free)),
            free_space_min,
            store_max: 10 << 30,
            cache: None,
            reflinks: Sharing::Works,
        }
    }

    #[test]
    fn what_has_to_stay_free_is_no_room() {
        for (free, min, state) in [
            (1 << 30, None, State::Ok),
            ((1 << 30) - 1, None, State::Problem),
            (1000, Some(1000), State::Ok),
            (999, Some(1000), State::Problem),
        ] {
            assert_eq!(store(&facts(free, min)).state, state, "{free}");
        }
    }

    #[test]
    fn a_cache_without_room_is_told_from_none() {
        assert_eq!(cache(None).state, State::Unknown);
        assert_eq!(cache(Some(&Ok(place_with(CACHE_FREE_MIN)))).state, State::Ok);
        assert_eq!(cache(Some(&Ok(place_with(CACHE_FREE_MIN - 1)))).state, State::Warning);
    }

    #[test]
    fn sharing_is_tried_with_real_files_that_leave_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let tried = try_to_share(directory.path(), directory.path());
        assert!(matches!(tried, Sharing::Works | Sharing::Refused), "one file system");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        let tried = try_to_share(directory.path(), Path::new("/proc/self"));
        assert!(matches!(tried, Sharing::NotTried(reason) if reason.contains("/proc/self")));
        if let Ok(in_memory) = tempfile::tempdir_in("/dev/shm") {
            let tried = try_to_share(directory.path(), in_memory.path());
            assert!(matches!(tried, Sharing::OtherFileSystem | Sharing::Refused));
        }
    }
}
