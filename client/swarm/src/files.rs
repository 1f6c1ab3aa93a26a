//! All wanted files, and which of them are incomplete.

use std::collections::BTreeMap;

use crate::file::File;
use crate::identity::{BundleId, FileIndex};
use crate::piece::Pieces;

/// A file of a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileKey {
    pub(crate) bundle: BundleId,
    pub(crate) file: FileIndex,
}

/// All wanted files.
#[derive(Debug, Default)]
pub(crate) struct Files {
    files: BTreeMap<FileKey, File>,
    incomplete: Incomplete,
    /// How many files were ever wanted.
    wanted: u64,
}

/// The files of which something is missing, in the order in which they were wanted.
#[derive(Debug, Default)]
struct Incomplete {
    keys: BTreeMap<u64, FileKey>,
    /// The length of all that is missing of them.
    missing_len: u64,
}

impl Incomplete {
    fn enter(&mut self, key: FileKey, file: &File) {
        if file.is_incomplete() {
            self.keys.insert(file.number, key);
            self.missing_len += file.pieces.missing_len();
        }
    }

    fn leave(&mut self, file: &File) {
        if self.keys.remove(&file.number).is_some() {
            self.missing_len -= file.pieces.missing_len();
        }
    }
}

impl Files {
    pub(crate) fn get(&self, key: FileKey) -> Option<&File> {
        self.files.get(&key)
    }

    pub(crate) fn insert(&mut self, key: FileKey, pieces: Pieces) {
        self.remove(key);
        let file = File::new(self.wanted, pieces);
        self.wanted += 1;
        self.incomplete.enter(key, &file);
        self.files.insert(key, file);
    }

    pub(crate) fn remove(&mut self, key: FileKey) {
        if let Some(file) = self.files.remove(&key) {
            self.incomplete.leave(&file);
        }
    }

    /// Every change of a file is made here, so that it is known at any time what is missing. Also gives the pieces that
    /// changed; all of them if the file is at another stage.
    pub(crate) fn change<R>(
        &mut self,
        key: FileKey,
        change: impl FnOnce(&mut File) -> R,
    ) -> Option<(R, Vec<u32>)> {
        let file = self.files.get_mut(&key)?;
        self.incomplete.leave(file);
        let stage = file.stage;
        let result = change(file);
        self.incomplete.enter(key, file);
        let turned = file.pieces.take_turned();
        let all = file.pieces.whole().range();
        Some((result, if file.stage == stage { turned } else { all.collect() }))
    }

    /// The files of which something is missing, in the order in which they were wanted.
    pub(crate) fn incomplete(&self) -> impl Iterator<Item = (FileKey, &File)> {
        self.incomplete.keys.values().filter_map(|key| Some((*key, self.files.get(key)?)))
    }

    /// The length of all that is missing and nobody was asked for.
    pub(crate) fn missing_len(&self) -> u64 {
        self.incomplete.missing_len
    }

    pub(crate) fn of_bundle(&self, bundle: BundleId) -> Vec<FileKey> {
        self.files.keys().filter(|key| key.bundle == bundle).copied().collect()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (FileKey, &File)> {
        self.files.iter().map(|(key, file)| (*key, file))
    }

    pub(crate) fn keys(&self) -> Vec<FileKey> {
        self.files.keys().copied().collect()
    }

    /// Panics unless exactly the incomplete files are listed.
    pub(crate) fn check_invariants(&self) {
        let incomplete = self.files.values().filter(|file| file.is_incomplete());
        assert_eq!(self.incomplete.keys.len(), incomplete.clone().count(), "a file is listed or it is not");
        assert_eq!(
            self.incomplete.missing_len,
            incomplete.map(|file| file.pieces.missing_len()).sum::<u64>()
        );
        for (number, key) in &self.incomplete.keys {
            assert_eq!(Some(*number), self.files.get(key).map(|file| file.number), "{key:?}");
        }
    }
}
