//! What is in the directories when the store is opened.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use pkgtorrent_protocol::Sha256Digest;

use super::directories::{Area, Directories, Found, UNFINISHED_PREFIX};
use super::evicting::KEPT_MAX;
use super::index::Index;
use super::{Kept, StoreError, aliases};

/// Reads the directories; removes what earlier agents left unfinished, and leaves alone what is not ours.
pub(super) fn scan(
    directories: &Arc<Directories>,
) -> Result<(Index, HashMap<Sha256Digest, Kept>), StoreError> {
    let mut scan =
        Scan { directories, now: SystemTime::now(), index: Index::default(), kept: HashMap::new() };
    // In this order: a partial of a package that is there, and an alias of one that is not, are of no use.
    scan.read(Area::Packages, Scan::package)?;
    scan.read(Area::Partials, Scan::partial)?;
    scan.read(Area::Aliases, Scan::alias)?;
    Ok((scan.index, scan.kept))
}

struct Scan<'a> {
    directories: &'a Directories,
    now: SystemTime,
    index: Index,
    kept: HashMap<Sha256Digest, Kept>,
}

/// What becomes of a file.
enum Verdict {
    Ours,
    Useless,
    Foreign,
}

impl Scan<'_> {
    fn read(&mut self, area: Area, judge: fn(&mut Self, &Found) -> Verdict) -> Result<(), StoreError> {
        let mut foreign: Vec<String> = Vec::new();
        for found in self.directories.entries(area)? {
            let verdict = match found.is_plain {
                true if found.name.starts_with(UNFINISHED_PREFIX) => Verdict::Useless,
                true => judge(self, &found),
                false => Verdict::Foreign,
            };
            match verdict {
                Verdict::Ours => {}
                Verdict::Useless => {
                    if let Err(error) = self.directories.unlink(area, &found.name) {
                        tracing::warn!("{error}");
                    }
                }
                Verdict::Foreign => foreign.push(found.name),
            }
        }
        if let Some(first) = foreign.first() {
            tracing::warn!(
                "{}: {} things that are not the agent's are ignored, {first:?} is one",
                self.directories.path(area, "").display(),
                foreign.len()
            );
        }
        Ok(())
    }

    fn package(&mut self, found: &Found) -> Verdict {
        match identity(&found.name) {
            // No package is empty: this is what a power cut left of one.
            Some(_) if found.size == 0 => Verdict::Useless,
            Some(identity) => {
                // The clock may have been wrong when it was written; nothing was wanted in the future.
                self.index.insert(identity, found.size, found.modified.min(self.now));
                Verdict::Ours
            }
            None => Verdict::Foreign,
        }
    }

    fn partial(&mut self, found: &Found) -> Verdict {
        let Some(identity) = identity(&found.name) else { return Verdict::Foreign };
        let since = found.modified.min(self.now);
        let is_old = self.now.duration_since(since).is_ok_and(|age| age > KEPT_MAX);
        if found.size == 0 || is_old || self.index.size(&identity).is_some() {
            return Verdict::Useless;
        }
        self.kept.insert(identity, Kept { size: found.size, since });
        Verdict::Ours
    }

    fn alias(&mut self, found: &Found) -> Verdict {
        let Some(alias) = aliases::from_file_name(&found.name) else { return Verdict::Foreign };
        match aliases::read(self.directories, &alias) {
            Some(identity) if self.index.add_alias(alias, identity) => Verdict::Ours,
            _ => Verdict::Useless,
        }
    }
}

/// The identity that a file is named by: in lower case only, so that a package has one name.
fn identity(name: &str) -> Option<Sha256Digest> {
    name.parse().ok().filter(|identity: &Sha256Digest| identity.to_string() == name)
}
