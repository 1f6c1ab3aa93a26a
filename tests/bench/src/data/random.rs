//! Randomness that is the same in every run.

use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// A stream of random values that follows from its seed.
#[derive(Debug, Clone)]
pub(crate) struct Random(Pcg64Mcg);

impl Random {
    /// The stream of this seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(Pcg64Mcg::seed_from_u64(seed))
    }

    /// Fills `bytes`.
    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    /// A number below `end`. The modulo's bias is far below anything that is measured.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0.next_u64() % end
    }

    /// One of `choices`.
    pub(crate) fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len() as u64) as usize]
    }

    /// A number from 0 (exclusive) to 1.
    fn unit(&mut self) -> f64 {
        ((self.0.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// A log-normal value around `median` (Box and Muller's transform): how package sizes are distributed.
    pub(crate) fn log_normal(&mut self, median: f64, sigma: f64) -> f64 {
        let normal = (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos();
        median * (sigma * normal).exp()
    }

    /// `count` different indices below `end`, in random order.
    pub(crate) fn distinct(&mut self, count: usize, end: usize) -> Vec<usize> {
        let mut indices: Vec<usize> = (0..end).collect();
        for chosen in 0..count.min(end) {
            let other = chosen + self.below((end - chosen) as u64) as usize;
            indices.swap(chosen, other);
        }
        indices.truncate(count);
        indices
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distinct_indices_are_distinct_and_follow_from_the_seed() {
        let draw = || Random::new(7).distinct(300, 2000);
        let mut indices = draw();
        assert_eq!(indices, draw());
        indices.sort_unstable();
        indices.dedup();
        assert_eq!(indices.len(), 300);
        assert!(indices.iter().all(|&i| i < 2000));
    }
}
