//! Aliases on disk: a file `<algorithm>-<hex>` whose content is the identity that the digest stands for.

use std::io::{Read, Write};
use std::sync::Arc;

use pkgtorrent_protocol::{Algorithm, PackageDigest, Sha256Digest};
use rustix::fs::OFlags;

use super::StoreError;
use super::directories::{Area, Directories};

/// An identity in hexadecimal and the end of the line.
pub(super) const CONTENT_LEN: u64 = 65;

pub(super) fn file_name(alias: &PackageDigest) -> String {
    alias.to_string().replacen(':', "-", 1)
}

/// The alias that a file of this name would be.
pub(super) fn from_file_name(name: &str) -> Option<PackageDigest> {
    let (algorithm, digits) = name.split_once('-')?;
    let alias = PackageDigest::from_parts(algorithm, digits).ok()?;
    (alias.algorithm() != Algorithm::Sha256 && file_name(&alias) == name).then_some(alias)
}

/// Writes an alias, so that it is there whole or not at all.
pub(super) fn write(
    directories: &Arc<Directories>,
    alias: &PackageDigest,
    identity: &Sha256Digest,
) -> Result<(), StoreError> {
    let mut unfinished = directories.create_unfinished(Area::Aliases)?;
    writeln!(unfinished.file, "{identity}").map_err(|source| unfinished.error("write", source))?;
    unfinished.finish(Area::Aliases, &file_name(alias))
}

/// What an alias stands for; `None` when its file says nothing of the kind.
pub(super) fn read(directories: &Directories, alias: &PackageDigest) -> Option<Sha256Digest> {
    let (file, _) = directories.open_file(Area::Aliases, &file_name(alias), OFlags::RDONLY).ok()??;
    let mut text = String::new();
    file.take(CONTENT_LEN + 1).read_to_string(&mut text).ok()?;
    text.strip_suffix('\n')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_is_read_back_and_no_other() {
        let alias = PackageDigest::new(Algorithm::Sha512, &[0xab; 64]).expect("a digest");
        assert_eq!(from_file_name(&file_name(&alias)), Some(alias));
        let digits = "ab".repeat(20);
        assert!(from_file_name(&format!("sha1-{digits}")).is_some());
        for name in [
            format!("sha1:{digits}"),
            format!("sha-{digits}"),
            format!("sha1-{}", digits.to_uppercase()),
            format!("sha1-{digits}0"),
            format!("sha256-{}", "ab".repeat(32)),
            String::new(),
        ] {
            assert_eq!(from_file_name(&name), None, "{name}");
        }
    }
}
