//! Distinct random indices without memory: a random start and a random stride that is coprime to the length.
//!
//! A window of neighbours would be as cheap, but peers that joined together would only know each other, and such a
//! lattice has a diameter of hundreds. With a random stride each answer is another subset of the whole swarm.

use rand_core::Rng;
use rand_pcg::Pcg64Mcg;

/// A random number below the bound, zero for a bound of zero. The bias is under `bound / 2^64`.
pub(crate) fn below(random: &mut Pcg64Mcg, bound: u64) -> u64 {
    ((u128::from(random.next_u64()) * u128::from(bound)) >> 64) as u64
}

/// Visits every index below a length once, and can be left and taken up again.
pub(crate) struct Walk {
    position: usize,
    stride: usize,
    len: usize,
    left: usize,
}

impl Walk {
    pub(crate) fn new(len: usize, random: &mut Pcg64Mcg) -> Self {
        let bound = len as u64;
        let position = below(random, bound) as usize;
        let mut stride = 1;
        if len > 2 {
            // More than half of all strides fit on average, and a fifth for the worst length below a million.
            loop {
                stride = 1 + below(random, bound - 1);
                if are_coprime(stride, bound) {
                    break;
                }
            }
        }
        Self { position, stride: stride as usize, len, left: len }
    }
}

impl Iterator for Walk {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        let visited = self.position;
        self.position += self.stride;
        if self.position >= self.len {
            self.position -= self.len;
        }
        Some(visited)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Walk {}

/// Euclid by shifts: the lengths change from one announce to the next, so nothing can be kept, and division is slow.
fn are_coprime(a: u64, b: u64) -> bool {
    if (a | b) & 1 == 0 {
        return false;
    }
    let (mut a, mut b) = (a >> a.trailing_zeros(), b >> b.trailing_zeros());
    while a != b {
        if a < b {
            std::mem::swap(&mut a, &mut b);
        }
        a -= b;
        a >>= a.trailing_zeros();
    }
    a == 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_walk_visits_every_index_once() {
        let mut random = Pcg64Mcg::new(3);
        for len in 0..500 {
            let visited: Vec<usize> = Walk::new(len, &mut random).collect();
            assert_eq!(visited.len(), len);
            assert_eq!(visited.into_iter().collect::<BTreeSet<_>>(), (0..len).collect());
        }
    }

    #[test]
    fn strides_are_random_and_not_only_neighbours() {
        let mut random = Pcg64Mcg::new(4);
        let strides: BTreeSet<usize> = (0..1000).map(|_| Walk::new(1000, &mut random).stride).collect();
        // 400 numbers below 1000 are coprime to it; each is missed with a probability of e^-2.5.
        assert!(strides.len() > 300, "{}", strides.len());
        assert!(strides.iter().all(|stride| stride % 2 == 1 && stride % 5 != 0));
    }

    #[test]
    fn random_numbers_stay_below_their_bound_and_reach_it() {
        let mut random = Pcg64Mcg::new(5);
        let drawn: BTreeSet<u64> = (0..200).map(|_| below(&mut random, 7)).collect();
        assert_eq!(drawn, (0..7).collect());
        assert_eq!(below(&mut random, 0), 0);
    }
}
