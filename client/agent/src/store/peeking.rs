//! Looking into a state directory whose agent does not run, and changing nothing there.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use pkgtorrent_protocol::{PackageDigest, Sha256Digest};

use super::aliases::{self, CONTENT_LEN};
use crate::files::{ALIASES, PACKAGES};

/// The size of a package that a state directory's store has under this digest. Who may not look there finds nothing.
#[must_use]
pub fn peek(state_dir: &Path, digest: &PackageDigest) -> Option<u64> {
    let identity = digest.identity().or_else(|| alias(state_dir, digest))?;
    let found = fs::symlink_metadata(state_dir.join(PACKAGES).join(identity.to_string())).ok()?;
    found.is_file().then_some(found.len())
}

fn alias(state_dir: &Path, digest: &PackageDigest) -> Option<Sha256Digest> {
    let path = state_dir.join(ALIASES).join(aliases::file_name(digest));
    // Only who may write there could have put anything else than a file there.
    if !fs::symlink_metadata(&path).ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    File::open(path).ok()?.take(CONTENT_LEN + 1).read_to_string(&mut text).ok()?;
    text.strip_suffix('\n')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use pkgtorrent_protocol::Algorithm;

    use super::*;

    #[test]
    fn a_package_is_found_by_its_identity_and_by_an_alias() {
        let directory = tempfile::tempdir().unwrap();
        let (store, named) = (directory.path().join(PACKAGES), directory.path().join(ALIASES));
        fs::create_dir(&store).unwrap();
        fs::create_dir(&named).unwrap();
        let identity = Sha256Digest([7; 32]);
        let alias = PackageDigest::new(Algorithm::Sha512, &[9; 64]).unwrap();
        let peek = |digest: &PackageDigest| peek(directory.path(), digest);
        assert_eq!((peek(&identity.into()), peek(&alias)), (None, None));
        fs::write(store.join(identity.to_string()), "12345").unwrap();
        assert_eq!((peek(&identity.into()), peek(&alias)), (Some(5), None));
        fs::write(named.join(aliases::file_name(&alias)), format!("{identity}\n")).unwrap();
        assert_eq!(peek(&alias), Some(5));
    }
}
