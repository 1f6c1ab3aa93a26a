//! Walking the root: finding repositories, reading what changed, and looking at every listed file.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::loose::{self, LooseFile, LooseReader};
use super::primary;
use super::repomd::{self, MetadataError, PrimaryFile, REPOMD_LEN_MAX};
use super::{Catalog, ListedPackage, Metadata, Repository, listing};
use crate::fingerprint::Fingerprint;
use crate::metering;
use crate::root::Root;
use crate::state::{Record, State, Table};

/// While createrepo_c puts new metadata in place there is a moment without any. A repository is given up only when its
/// metadata stays away for this long.
const METADATA_GRACE: Duration = Duration::from_secs(10);

/// A repository's metadata, below its directory.
const REPOMD: &str = "repodata/repomd.xml";

/// How deep directories are walked. Distributions' trees have ten levels.
const DEPTH_MAX: usize = 32;

/// Sees the root change from scan to scan.
pub(crate) struct Scanner {
    root: Arc<Root>,
    state: Arc<State>,
    loose: LooseReader,
    known: HashMap<PathBuf, Arc<Repository>>,
    /// Repositories whose metadata could not be used in the last scan.
    failing: HashMap<PathBuf, Failing>,
    root_gone_since: Option<Instant>,
    generation: u64,
}

/// A repository whose metadata cannot be used.
struct Failing {
    /// Since when that has been so, in this way.
    since: Instant,
    /// Whether it has none at all; otherwise it is damaged or not complete.
    is_away: bool,
}

/// What one scan found.
pub(crate) struct Scan {
    /// The new catalog; none when nothing has changed.
    pub(crate) catalog: Option<Catalog>,
    /// Whether something was in motion, so that another look soon is worth it.
    pub(crate) unsettled: bool,
    /// How long it read packages without metadata, which has to be done once and is no part of looking.
    pub(crate) reading: Duration,
}

/// Whether there is a root to look at.
enum Looked {
    There,
    /// Not now, but it was a moment ago.
    Awaited,
    Gone,
}

/// What one walk over the directories saw.
#[derive(Default)]
struct Walk {
    /// Directories that have, or lately had, metadata.
    repositories: Vec<PathBuf>,
    /// Packages outside of repositories, by directory.
    loose: Vec<LooseFile>,
}

impl Scanner {
    pub(crate) fn new(root: Arc<Root>, state: Arc<State>, threads: usize) -> Self {
        let loose = LooseReader::new(Arc::clone(&root), Arc::clone(&state), threads);
        Self {
            root,
            state,
            loose,
            known: HashMap::new(),
            failing: HashMap::new(),
            root_gone_since: None,
            generation: 0,
        }
    }

    /// Looks at everything. `on_directory` is told of each directory before its entries are read, so that a watch set
    /// there misses nothing.
    pub(crate) fn scan(&mut self, mut on_directory: impl FnMut(&Path)) -> Scan {
        let mut unsettled = match self.refresh_root() {
            Looked::There => false,
            Looked::Awaited => return Scan { catalog: None, unsettled: true, reading: Duration::ZERO },
            Looked::Gone => true,
        };
        self.root.turns_in().into_iter().for_each(&mut on_directory);
        let mut walk = Walk::default();
        self.walk(Path::new(""), 0, &mut walk, &mut on_directory);
        let mut repositories = Vec::new();
        self.failing.retain(|directory, _| walk.repositories.contains(directory));
        for directory in walk.repositories {
            let (repository, settled) = self.repository(directory);
            unsettled |= !settled;
            repositories.extend(repository);
        }
        // The first scan is what the service waits for: it reads everything.
        let deadline = (self.generation > 0).then(|| Instant::now() + loose::READING_MAX);
        let loose = self.loose.list(&walk.loose, deadline);
        unsettled |= loose.unsettled;
        let reading = loose.reading;
        repositories.extend(self.loose_repository(loose.listed));

        let same = repositories.len() == self.known.len()
            && repositories
                .iter()
                .all(|new| self.known.get(&key_of(new)).is_some_and(|known| Arc::ptr_eq(known, new)));
        self.known = repositories.iter().map(|r| (key_of(r), Arc::clone(r))).collect();
        // The first scan yields a catalog even of an empty root: it is what the service waits for.
        let catalog = (!same || self.generation == 0).then(|| {
            self.generation += 1;
            Catalog::new(repositories, self.generation)
        });
        Scan { catalog, unsettled, reading }
    }

    /// A root that is away for a moment, as when another is put in its place, changes nothing yet.
    fn refresh_root(&mut self) -> Looked {
        match self.root.refresh() {
            Ok(is_other) => {
                if is_other {
                    tracing::info!("{}: another root has taken its place", self.root.path().display());
                }
                self.root_gone_since = None;
                Looked::There
            }
            Err(error) => {
                let since = *self.root_gone_since.get_or_insert_with(|| {
                    tracing::error!("the root is gone: {}: {error}", self.root.path().display());
                    Instant::now()
                });
                if since.elapsed() < METADATA_GRACE { Looked::Awaited } else { Looked::Gone }
            }
        }
    }

    fn walk(&self, directory: &Path, depth: usize, walk: &mut Walk, on_directory: &mut impl FnMut(&Path)) {
        let absolute = self.root.path().join(directory);
        on_directory(&absolute);
        let entries = match std::fs::read_dir(&absolute) {
            Ok(entries) => entries,
            // It was there a moment ago; the next scan will know.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => return tracing::warn!("{}: {error}", absolute.display()),
        };
        let (mut below, mut packages) = (Vec::new(), Vec::new());
        // A repository's own packages are those that it lists, wherever below it they lie. It begins with its metadata
        // and not with the directory for it, and ends when they have been away for long: its packages are then known
        // by their own digests.
        let is_repository =
            self.root.fingerprint(&directory.join(REPOMD)).is_ok() || self.is_awaited(directory);
        for entry in entries.flatten() {
            let name = entry.file_name();
            let is_hidden = name.as_encoded_bytes().starts_with(b".");
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && !is_hidden => below.push(directory.join(name)),
                Ok(kind) if !kind.is_dir() && loose::is_package(&name) => packages.push(directory.join(name)),
                _ => {}
            }
        }
        if is_repository {
            walk.repositories.push(directory.to_owned());
        } else {
            if self.is_known_repository(directory) {
                metering::REPOSITORY_ERRORS.add(1);
                tracing::warn!("{}: given up as a repository: its metadata is gone", shown(directory));
            }
            let look = |path: PathBuf| {
                let fingerprint = self.root.fingerprint(&path).ok()?;
                Some(LooseFile { path, fingerprint })
            };
            walk.loose.extend(packages.into_iter().filter_map(look));
        }
        if depth >= DEPTH_MAX {
            return tracing::warn!("{}: nested too deeply, not looked into", absolute.display());
        }
        let loose_before = walk.loose.len();
        below.sort();
        for directory in below {
            self.walk(&directory, depth + 1, walk, on_directory);
        }
        if is_repository {
            // Below a repository, whatever it does not list is nobody's.
            walk.loose.truncate(loose_before);
        }
    }

    fn is_known_repository(&self, directory: &Path) -> bool {
        self.known.get(directory).is_some_and(|repository| repository.metadata.is_some())
    }

    /// Whether this is a repository whose metadata may come back in a moment.
    fn is_awaited(&self, directory: &Path) -> bool {
        let is_fresh = |failing: &Failing| !failing.is_away || failing.since.elapsed() < METADATA_GRACE;
        self.is_known_repository(directory) && self.failing.get(directory).is_none_or(is_fresh)
    }

    /// The repository in `directory` as it is now, and whether it is at rest.
    fn repository(&mut self, directory: PathBuf) -> (Option<Arc<Repository>>, bool) {
        let known = self.known.get(&directory).filter(|r| r.metadata.is_some()).cloned();
        match self.read(&directory, known.as_deref()) {
            Ok((metadata, listed)) => {
                self.failing.remove(&directory);
                let (files, of_another_size) = self.look_at_files(&directory, &listed);
                let new = Repository { directory, metadata: Some(metadata), listed, files };
                // An unchanged repository stays the same value, so that the catalog need not change either.
                if let Some(known) = known.filter(|known| **known == new) {
                    return (Some(known), true);
                }
                if let [first, ..] = of_another_size.as_slice() {
                    tracing::error!(
                        "{}: {} listed packages have a file of another size, the first is {}",
                        shown(&new.directory),
                        of_another_size.len(),
                        new.listed[*first].path
                    );
                }
                (Some(Arc::new(new)), true)
            }
            Err(error) => {
                // What stays damaged is mended by a change that is seen: it need not be looked at all the time.
                let failing_for = self.note_failure(&directory, &error);
                (known, failing_for >= METADATA_GRACE)
            }
        }
    }

    /// A repository whose metadata cannot be read stays as it was: for a while when it is gone, for good when it is
    /// damaged. How long that has been so.
    fn note_failure(&mut self, directory: &Path, error: &MetadataError) -> Duration {
        let is_away = self.root.fingerprint(&directory.join(REPOMD)).is_err();
        let failing = self.failing.entry(directory.to_owned());
        let failing = failing.or_insert_with(|| Failing { since: Instant::now(), is_away });
        if failing.is_away != is_away {
            *failing = Failing { since: Instant::now(), is_away };
        }
        let failing_for = failing.since.elapsed();
        let gone =
            matches!(error, MetadataError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound);
        if gone && failing_for < METADATA_GRACE {
            tracing::debug!("{}: the metadata is away: {error}", shown(directory));
        } else {
            metering::REPOSITORY_ERRORS.add(1);
            tracing::error!("{}: the metadata cannot be used: {error}", shown(directory));
        }
        failing_for
    }

    /// The listing of the repository in `directory`: that of `known` while `repomd.xml` is the same.
    fn read(
        &self,
        directory: &Path,
        known: Option<&Repository>,
    ) -> Result<(Metadata, Arc<[ListedPackage]>), MetadataError> {
        let repomd = directory.join(REPOMD);
        let (file, fingerprint) = self.open(&repomd)?;
        let read = known.and_then(|known| known.metadata.zip(Some(&known.listed)));
        if let Some((metadata, listed)) = read.filter(|(metadata, _)| metadata.repomd == fingerprint) {
            return Ok((metadata, Arc::clone(listed)));
        }
        let mut text = Vec::new();
        (&file)
            .take(REPOMD_LEN_MAX)
            .read_to_end(&mut text)
            .map_err(|source| MetadataError::Io { path: repomd.display().to_string(), source })?;
        let primary = repomd::parse(&text)?;
        let metadata = Metadata { repomd: fingerprint, primary: primary.digest };
        let key = listing::digest_key(&primary.digest);
        let stored = self.state.get(Table::Listings, &key);
        if let Some(listed) = stored.as_deref().and_then(listing::decode) {
            return Ok((metadata, listed));
        }
        let listed = self.parse(directory, &primary)?;
        let value = Some(listing::encode(&listed));
        let mut records = vec![Record { table: Table::Listings, key, value }];
        records.extend(read.and_then(|(replaced, _)| self.outdated(directory, &replaced)));
        self.state.save_later(records);
        Ok((metadata, listed))
    }

    /// The stored listing that a new one replaces, unless a copy of the repository still uses it: with a createrepo_c
    /// run every hour, they would soon be larger than everything else.
    fn outdated(&self, directory: &Path, replaced: &Metadata) -> Option<Record> {
        let uses =
            |repository: &Repository| repository.metadata.is_some_and(|m| m.primary == replaced.primary);
        let is_used = self.known.iter().any(|(other, known)| other != directory && uses(known));
        let key = listing::digest_key(&replaced.primary);
        (!is_used).then_some(Record { table: Table::Listings, key, value: None })
    }

    fn parse(&self, directory: &Path, file: &PrimaryFile) -> Result<Arc<[ListedPackage]>, MetadataError> {
        let started = Instant::now();
        let (opened, _) = self.open(&directory.join(&file.path))?;
        let primary = primary::read(opened, &file.path, &file.digest)?;
        for problem in &primary.problems {
            tracing::warn!("{}: {problem}", directory.join(&file.path).display());
        }
        tracing::info!(
            "{}: {} packages read in {:.1} s, {} lie elsewhere",
            directory.join(&file.path).display(),
            primary.listed.len(),
            started.elapsed().as_secs_f64(),
            primary.elsewhere
        );
        Ok(listing::sorted(primary.listed))
    }

    fn open(&self, path: &Path) -> Result<(File, Fingerprint), MetadataError> {
        let opened = self.root.open_file(path);
        opened
            .map(|(file, look)| (file, look.fingerprint))
            .map_err(|source| MetadataError::Io { path: path.display().to_string(), source })
    }

    /// What the listed files look like, none where there is no such file, and the indices of those of another size.
    fn look_at_files(
        &self,
        directory: &Path,
        listed: &[ListedPackage],
    ) -> (Vec<Option<Fingerprint>>, Vec<usize>) {
        let mut of_another_size = Vec::new();
        let look = |(index, package): (usize, &ListedPackage)| {
            let fingerprint = self.root.fingerprint(&directory.join(&*package.path)).ok()?;
            if fingerprint.size() != package.size {
                of_another_size.push(index);
                return None;
            }
            Some(fingerprint)
        };
        let files = listed.iter().enumerate().map(look).collect();
        (files, of_another_size)
    }

    /// All packages without metadata, as one repository in the root.
    fn loose_repository(&self, mut found: Vec<(ListedPackage, Fingerprint)>) -> Option<Arc<Repository>> {
        if found.is_empty() {
            return None;
        }
        found.sort_unstable_by(|(a, _), (b, _)| (a.digest, &a.path).cmp(&(b.digest, &b.path)));
        let (listed, files): (Vec<_>, Vec<_>) = found.into_iter().map(|(l, f)| (l, Some(f))).unzip();
        let new = Repository { directory: PathBuf::new(), metadata: None, listed: listed.into(), files };
        match self.known.get(Path::new(LOOSE_KEY)) {
            Some(known) if **known == new => Some(Arc::clone(known)),
            _ => Some(Arc::new(new)),
        }
    }
}

/// A directory below the root as messages name it.
fn shown(directory: &Path) -> std::path::Display<'_> {
    if directory.as_os_str().is_empty() { Path::new(".").display() } else { directory.display() }
}

/// The packages without metadata are kept beside the repositories under a name that no directory has.
const LOOSE_KEY: &str = "*.rpm/";

fn key_of(repository: &Repository) -> PathBuf {
    if repository.metadata.is_some() { repository.directory.clone() } else { PathBuf::from(LOOSE_KEY) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scanner(root: &Path, state: &Path) -> Scanner {
        let root = Arc::new(Root::open(root).expect("opens"));
        Scanner::new(root, Arc::new(State::open(state).expect("opens")), 1)
    }

    fn write_metadata(directory: &Path, packages: &str) {
        use crate::digesting::RunningDigest;
        let primary = format!("<metadata>{packages}</metadata>");
        let mut sum = RunningDigest::new(pkgtorrent_protocol::Algorithm::Sha256);
        sum.update(primary.as_bytes());
        let sum = sum.finish().to_string().replace("sha256:", "");
        std::fs::write(directory.join("repodata/primary.xml"), primary).expect("written");
        let repomd = format!(
            "<repomd><data type=\"primary\"><checksum type=\"sha256\">{sum}</checksum>\
             <location href=\"repodata/primary.xml\"/></data></repomd>"
        );
        std::fs::write(directory.join(REPOMD), repomd).expect("written");
    }

    #[test]
    fn metadata_that_is_mended_after_long_may_be_away_for_its_moment() {
        let (root, state) =
            (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("another"));
        std::fs::create_dir(root.path().join("repodata")).expect("made");
        std::fs::write(root.path().join("a.rpm"), "bytes").expect("written");
        let sum = "a".repeat(64);
        write_metadata(
            root.path(),
            &format!(
                "<package><checksum type=\"sha256\">{sum}</checksum><size package=\"5\"/>\
                 <location href=\"a.rpm\"/></package>"
            ),
        );
        let mut scanner = scanner(root.path(), state.path());
        let packages = |scan: Scan| scan.catalog.map(|catalog| catalog.packages());
        assert_eq!(packages(scanner.scan(|_| ())), Some(1));

        std::fs::write(root.path().join(REPOMD), "damaged").expect("written");
        let scan = scanner.scan(|_| ());
        assert!(scan.unsettled && scan.catalog.is_none());
        for failing in scanner.failing.values_mut() {
            failing.since -= METADATA_GRACE;
        }
        let scan = scanner.scan(|_| ());
        assert!(
            !scan.unsettled && scan.catalog.is_none(),
            "what stays damaged is not looked at all the time"
        );

        std::fs::remove_file(root.path().join(REPOMD)).expect("removed");
        let scan = scanner.scan(|_| ());
        assert!(scan.unsettled && scan.catalog.is_none(), "it may come back in a moment");
        for failing in scanner.failing.values_mut() {
            failing.since -= METADATA_GRACE;
        }
        assert_eq!(packages(scanner.scan(|_| ())), Some(0), "it is given up after the grace");
    }
}
