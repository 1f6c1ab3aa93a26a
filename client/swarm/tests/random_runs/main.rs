//! Whatever happens, in whatever order: the state agrees with itself, the limits hold, every wanted file comes to an
//! end, and the same events lead to the same actions.

mod world;

use std::time::Duration;

use pkgtorrent_swarm::{Event, Outcome, RequestId};
use proptest::prelude::*;

use crate::world::{Stage, World};

const OUTCOMES: [Outcome; 6] = [
    Outcome::Complete,
    Outcome::NoRanges,
    Outcome::Missing,
    Outcome::Unreachable,
    Outcome::Refused,
    Outcome::Broken,
];

/// No run of the sizes below needs nearly as many answers; one that does goes on for ever.
const ANSWERS_MAX: usize = 20_000;

/// One thing that happens: which, to whom, and how.
type Step = (u8, u16, u16);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec((0_u8..24, any::<u16>(), any::<u16>()), 0..250)
}

fn bundles() -> impl Strategy<Value = Vec<Vec<u8>>> {
    proptest::collection::vec(proptest::collection::vec(1_u8..30, 1..6), 1..4)
}

fn happen(world: &mut World, (what, whom, how): Step) {
    let (whom, how) = (usize::from(whom), u32::from(how));
    let files = world.all_files();
    let key = files[whom % files.len()];
    let request = world.under_way.keys().nth(whom % world.under_way.len().max(1)).copied();
    match (what, request) {
        (0, _) => world.join(how % world.bundles()),
        (1, _) => {
            let bundles: Vec<u32> = (0..world.bundles()).filter(|bundle| how >> bundle & 1 == 1).collect();
            world.source(whom as u32 % 4, &bundles, how / 16 % 3);
        }
        (2 | 3, _) => world.want(key, &[]),
        (4, _) => world.want(key, &[how % 40, how / 7 % 40, how / 3 % 40]),
        (5, _) if how % 3 == 0 => world.unwant(key),
        (6, _) if how % 9 == 0 => world.leave(key.0),
        (7, _) if how % 4 == 0 => world.source_gone(whom as u32 % 4),
        (8, _) => world.digest_mismatch(key),
        (9, _) => world.sleep(Duration::from_millis(u64::from(how) / 8)),
        (10, _) => {
            let wake_at = world.swarm.wake_at().unwrap_or(world.now);
            world.sleep(wake_at - world.now);
        }
        (11, _) => world.bring_late(whom, how, how % 5 > 0),
        (12, _) => world.tell(Event::Ended { request: RequestId(u64::MAX), outcome: Outcome::Broken }),
        (13, Some(request)) => world.tell(Event::Verified { request: RequestId(request), piece: u32::MAX }),
        (14, Some(request)) => world.bring(request, false),
        (15 | 16, Some(request)) => world.end(request, OUTCOMES[how as usize % OUTCOMES.len()]),
        (_, Some(request)) => bring_some(world, request, how % 8),
        _ => {}
    }
}

/// Some of the pieces of a request come; it ends if those were all.
fn bring_some(world: &mut World, request: u64, pieces: u32) {
    for _ in 0..pieces {
        world.bring(request, true);
    }
    world.end(request, Outcome::Complete);
}

/// Everything is answered, well or badly, until nothing happens any more. Of sixteen answers so many are good.
fn answer_everything(world: &mut World, good: usize) {
    for _ in 0..ANSWERS_MAX {
        let requests: Vec<u64> = world.under_way.keys().copied().collect();
        if requests.is_empty() {
            let Some(wake_at) = world.swarm.wake_at() else { return };
            world.sleep(wake_at - world.now);
            continue;
        }
        let request = requests[world.below(requests.len())];
        let time = world.below(9000) as u64;
        world.now += Duration::from_millis(time);
        let is_good = world.below(16) < good;
        let pieces = if is_good { u32::MAX } else { world.below(30) as u32 };
        for _ in 0..pieces.min(world.under_way[&request].pieces) {
            let is_right = is_good || world.below(4) > 0;
            world.bring(request, is_right);
        }
        // One that brought everything may still end in any way; one that did not does not end as complete.
        let outcome = OUTCOMES[if is_good { 0 } else { world.below(OUTCOMES.len()) }];
        world.end(request, outcome);
        world.end(request, Outcome::Broken);
        let whole: Vec<_> =
            world.files.iter().filter(|(_, file)| file.stage == Stage::Whole).map(|(key, _)| *key).collect();
        for key in whole {
            match world.below(8) {
                0 if !is_good => world.digest_mismatch(key),
                1 => world.unwant(key),
                _ => {}
            }
        }
    }
    panic!("after {ANSWERS_MAX} answers there is still no end");
}

fn run(bundles: &[Vec<u8>], connections: usize, seed: u64, steps: &[Step], good: usize) -> World {
    let mut world = World::new(bundles, connections, seed);
    for bundle in 0..world.bundles() {
        world.join(bundle);
        world.source(bundle % 2, &[bundle], 1);
        world.source(2, &[bundle], 2);
    }
    for step in steps {
        happen(&mut world, *step);
    }
    answer_everything(&mut world, good);
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_wanted_file_ends_as_whole_or_given_up(
        bundles in bundles(),
        connections in 1_usize..8,
        seed: u64,
        steps in steps(),
        good in 0_usize..17,
    ) {
        let world = run(&bundles, connections, seed, &steps, good);
        for (key, file) in &world.files {
            prop_assert!(file.stage != Stage::Fetching, "{:?} is still waited for", key);
        }
    }

    #[test]
    fn the_same_seed_and_events_give_the_same_actions(
        bundles in bundles(),
        connections in 1_usize..8,
        seed: u64,
        steps in steps(),
    ) {
        let first = run(&bundles, connections, seed, &steps, 8);
        let second = run(&bundles, connections, seed, &steps, 8);
        prop_assert_eq!(first.history, second.history);
    }

    #[test]
    fn without_faults_each_byte_is_asked_for_once(
        bundles in bundles(),
        connections in 1_usize..8,
        seed: u64,
        sources in 1_u32..4,
    ) {
        let mut world = World::new(&bundles, connections, seed);
        for bundle in 0..world.bundles() {
            world.join(bundle);
        }
        let all: Vec<u32> = (0..world.bundles()).collect();
        (0..sources).for_each(|source| world.source(source, &all, source));
        let mut files = world.all_files();
        while !files.is_empty() {
            let next = world.below(files.len());
            world.want(files.swap_remove(next), &[]);
            if world.below(2) == 0 && let Some(request) = world.under_way.keys().next().copied() {
                bring_some(&mut world, request, 3);
            }
        }
        while !world.under_way.is_empty() {
            let requests: Vec<u64> = world.under_way.keys().copied().collect();
            let request = requests[world.below(requests.len())];
            bring_some(&mut world, request, 5);
        }
        prop_assert!(world.files.values().all(|file| file.stage == Stage::Whole));
        prop_assert!(world.times_asked.values().all(|times| *times == 1));
        let pieces: usize = bundles.iter().flatten().map(|pieces| usize::from(*pieces)).sum();
        prop_assert_eq!(world.times_asked.len(), pieces);
        prop_assert_eq!(world.swarm.wake_at(), None);
    }
}

#[test]
fn another_seed_gives_other_back_offs() {
    let history = |seed| {
        let mut world = World::new(&[vec![1]], 1, seed);
        world.join(0);
        world.source(0, &[0], 0);
        world.want((0, 0), &[]);
        world.end(0, Outcome::Broken);
        world.history
    };
    assert_eq!(history(1), history(1));
    assert_ne!(history(1), history(2));
}
