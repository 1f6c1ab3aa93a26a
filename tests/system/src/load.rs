//! Many hosts at once.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rand_core::SeedableRng;
use rand_pcg::Pcg64Mcg;

/// Where each test's randomness starts; a test prints its seed, so that a failure can be had again with
/// `PKGTORRENT_TEST_SEED`.
#[must_use]
pub fn seed() -> u64 {
    let from_environment = std::env::var("PKGTORRENT_TEST_SEED").ok();
    let seed = match from_environment {
        Some(text) => text.parse().expect("PKGTORRENT_TEST_SEED is a number"),
        None => {
            let now = std::time::UNIX_EPOCH.elapsed().expect("a time after 1970");
            u64::from(now.subsec_nanos())
        }
    };
    eprintln!("PKGTORRENT_TEST_SEED={seed}");
    seed
}

/// Lets `hosts` threads make visit after visit until `meanwhile` is done, and returns how many visits there were.
/// A visit that panics fails the test.
pub fn under_load(
    seed: u64,
    hosts: u64,
    visit: impl Fn(&mut Pcg64Mcg) + Sync,
    meanwhile: impl FnOnce(),
) -> u64 {
    let (end, visits) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for host in 0..hosts {
            let (end, visits, visit) = (&end, &visits, &visit);
            scope.spawn(move || {
                let mut random = Pcg64Mcg::seed_from_u64(seed.wrapping_add(host));
                while !end.load(Ordering::Relaxed) {
                    visit(&mut random);
                    visits.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // Set also when `meanwhile` panics: the scope waits for its threads.
        let _end = EndAtDrop(&end);
        meanwhile();
    });
    visits.into_inner()
}

struct EndAtDrop<'a>(&'a AtomicBool);

impl Drop for EndAtDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
