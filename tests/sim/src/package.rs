//! The packages, and the bundles in which they are shared.

use std::ops::Index;
use std::sync::Arc;

use pkgtorrent_protocol::{BundleLayout, InfoHash, PieceLen, Sha256Digest};
use pkgtorrent_tracker::{Bundler, HomePackage};
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

/// How far sizes of a real repository are from their median: so many times, for a third of them even more.
const REAL_SIGMA: f64 = 1.2;

/// So many sizes as a repository has them: log-normal, around this median.
#[must_use]
pub fn real_sizes(seed: u64, packages: usize, median: u64) -> Vec<u64> {
    let mut random = seeded(seed, 5);
    let mut size = || {
        // Box and Muller's transform. The logarithm of nothing would be infinite.
        let radius = (-2.0 * unit(&mut random).max(f64::EPSILON).ln()).sqrt();
        let normal = radius * (std::f64::consts::TAU * unit(&mut random)).cos();
        (median as f64 * (REAL_SIGMA * normal).exp()).max(1.0) as u64
    };
    (0..packages).map(|_| size()).collect()
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

/// Puts things into random order.
pub(crate) fn shuffle<T>(things: &mut [T], random: &mut Pcg64Mcg) {
    for index in (1..things.len()).rev() {
        things.swap(index, below(random, index + 1));
    }
}

/// A bundle.
pub(crate) struct Bundle {
    pub(crate) info_hash: InfoHash,
    pub(crate) layout: Arc<BundleLayout>,
    pub(crate) info_len: u32,
    /// For each of its files, which package it is; in ascending order.
    pub(crate) packages: Vec<u32>,
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

/// The packages, and the bundles that were formed of them.
pub(crate) struct Bundles {
    sizes: Vec<u64>,
    formed: Vec<Bundle>,
}

impl Bundles {
    pub(crate) fn new(sizes: Vec<u64>) -> Self {
        Self { sizes, formed: Vec::new() }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.formed.len()
    }

    /// The number of a bundle.
    pub(crate) fn number(&self, info_hash: &InfoHash) -> Option<u32> {
        self.formed.iter().position(|bundle| bundle.info_hash == *info_hash).map(|number| number as u32)
    }

    /// A package as the tracker knows it.
    pub(crate) fn home_package(&self, package: u32) -> HomePackage {
        let size = self.sizes[package as usize];
        let piece_len = PieceLen::for_package(size);
        // No scenario has a package of that many pieces.
        HomePackage { identity: identity(package), piece_len, pieces: piece_len.pieces(size) as u32 }
    }
}

impl Index<usize> for Bundles {
    type Output = Bundle;

    fn index(&self, number: usize) -> &Bundle {
        &self.formed[number]
    }
}

impl Bundler for Bundles {
    /// The repository keeps everything.
    fn can_move(&mut self, _: &Sha256Digest, _: PieceLen) -> bool {
        true
    }

    fn form(&mut self, piece_len: PieceLen, members: &[Sha256Digest]) -> InfoHash {
        let packages: Vec<u32> = members.iter().map(package_of).collect();
        let info_hash = InfoHash::of(format!("{piece_len:?} {packages:?}").as_bytes());
        if self.number(&info_hash).is_none() {
            let sizes = packages.iter().map(|package| self.sizes[*package as usize]);
            let layout = BundleLayout::new(piece_len, sizes).expect("the tracker's groups fit a bundle");
            let info_len = layout.pieces() * 20 + packages.len() as u32 * INFO_LEN_PER_PACKAGE;
            self.formed.push(Bundle { info_hash, layout: Arc::new(layout), info_len, packages });
        }
        info_hash
    }
}

/// An identity that says which package it is, in the same order.
pub(crate) fn identity(package: u32) -> Sha256Digest {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&package.to_be_bytes());
    Sha256Digest(bytes)
}

/// The package of an identity.
pub(crate) fn package_of(identity: &Sha256Digest) -> u32 {
    identity.0.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}
