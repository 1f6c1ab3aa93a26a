//! The packages, and the bundles in which they are shared.

use std::collections::BTreeMap;
use std::sync::Arc;

use pkgtorrent_protocol::{BundleLayout, InfoHash, PieceLen};
use rand_core::Rng;
use rand_pcg::Pcg64Mcg;

/// The largest package is so many times as large as the smallest, in powers of two.
const SIZES_SPAN: f64 = 5.0;

/// What an info dictionary has for each package beside its hashes: path, lengths, padding.
const INFO_LEN_PER_PACKAGE: u32 = 250;

/// So many sizes of that sum, small ones more often than large ones.
#[must_use]
pub fn random_sizes(seed: u64, packages: usize, sum: u64) -> Vec<u64> {
    let mut random = seeded(seed, 1);
    let weights: Vec<f64> = (0..packages).map(|_| unit(&mut random) * SIZES_SPAN).map(f64::exp2).collect();
    let scale = sum as f64 / weights.iter().sum::<f64>();
    weights.iter().map(|weight| (weight * scale).max(1.0) as u64).collect()
}

/// A generator for a seed. The generator's own state drops the lowest bits of what it is given, and neighbours resemble
/// each other at first: so the seed is spread over all of it.
pub(crate) fn seeded(seed: u64, purpose: u64) -> Pcg64Mcg {
    const SPREAD: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;
    let state = (u128::from(seed) + 1).wrapping_mul(SPREAD) ^ (u128::from(purpose) << 32);
    let mut random = Pcg64Mcg::new(state.rotate_left(61).wrapping_mul(SPREAD));
    random.next_u64();
    random
}

/// A random number from 0 to 1.
pub(crate) fn unit(random: &mut Pcg64Mcg) -> f64 {
    f64::from(random.next_u32()) / f64::from(u32::MAX)
}

/// A random number below this one.
pub(crate) fn below(random: &mut Pcg64Mcg, end: usize) -> usize {
    ((u64::from(random.next_u32()) * end as u64) >> 32) as usize
}

/// A bundle.
pub(crate) struct Bundle {
    pub(crate) info_hash: InfoHash,
    pub(crate) layout: Arc<BundleLayout>,
    pub(crate) info_len: u32,
    /// For each of its files, which package it is.
    pub(crate) packages: Vec<usize>,
}

impl Bundle {
    /// The length of a piece without padding.
    pub(crate) fn piece_len(&self, piece: u32) -> u32 {
        let extents = self.layout.extents();
        let extent = extents[extents.partition_point(|extent| extent.first_piece <= piece) - 1];
        let whole = self.layout.piece_len().bytes();
        if piece + 1 == extent.first_piece + extent.pieces { whole - extent.padding } else { whole }
    }
}

/// One bundle for each class of packages that there is.
pub(crate) fn bundles(sizes: &[u64]) -> Vec<Bundle> {
    let mut classes: BTreeMap<PieceLen, Vec<usize>> = BTreeMap::new();
    for (index, size) in sizes.iter().enumerate() {
        classes.entry(PieceLen::for_package(*size)).or_default().push(index);
    }
    let bundle = |(piece_len, packages): (PieceLen, Vec<usize>)| {
        let layout = BundleLayout::new(piece_len, packages.iter().map(|package| sizes[*package]))
            .expect("a scenario's packages fit a bundle");
        let info_len = layout.pieces() * 20 + packages.len() as u32 * INFO_LEN_PER_PACKAGE;
        let info_hash = InfoHash::of(format!("{piece_len:?} {packages:?}").as_bytes());
        Bundle { info_hash, layout: Arc::new(layout), info_len, packages }
    };
    classes.into_iter().map(bundle).collect()
}
