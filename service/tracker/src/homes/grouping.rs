//! How packages are made bundles.

use pkgtorrent_protocol::PieceLen;
use pkgtorrent_protocol::layout::BUNDLE_PIECES_MAX;

use super::HomePackage;

/// The most packages of one bundle: its info dictionary, some 250 bytes a package beside the hashes, stays around a
/// megabyte, and a bundle of a distribution's whole update is rarely more than one or two.
pub const BUNDLE_PACKAGES_MAX: usize = 4096;

/// Packages as bundles: by class, in the order of their identities, as many as fit.
pub(super) fn grouped(mut packages: Vec<HomePackage>) -> Vec<(PieceLen, Vec<HomePackage>)> {
    packages.sort_unstable_by_key(|package| (package.piece_len, package.identity));
    packages.dedup_by_key(|package| package.identity);
    let mut groups: Vec<(PieceLen, Vec<HomePackage>)> = Vec::new();
    let mut pieces = 0;
    for package in packages {
        match groups.last_mut() {
            Some((piece_len, group))
                if *piece_len == package.piece_len
                    && group.len() < BUNDLE_PACKAGES_MAX
                    && pieces + package.pieces <= BUNDLE_PIECES_MAX =>
            {
                group.push(package);
                pieces += package.pieces;
            }
            _ => {
                groups.push((package.piece_len, vec![package]));
                pieces = package.pieces;
            }
        }
    }
    groups
}
