//! While createrepo_c runs again and again and other packages come and go, nobody is ever told that a package which
//! stays is unknown, and every byte of it is right.

use std::fs;
use std::time::{Duration, Instant};

use pkgtorrent_protocol::{Algorithm, PackageDigest};
use pkgtorrent_system_tests::load::{seed, under_load};
use pkgtorrent_system_tests::{
    Lab, SEEN_WITHIN, digests, get_range, mirror, unknown, wait_until_known, wait_until_unknown, web_seed,
};
use pkgtorrent_test_support::http::{Connection, Request, Response};
use pkgtorrent_test_support::process::wait_for;
use pkgtorrent_test_support::{Compression, Package, Repository, Rpm, Service, ask};
use rand_core::Rng;
use rand_pcg::Pcg64Mcg;

/// How long the repositories keep changing.
const CHANGES_LAST: Duration = Duration::from_secs(14);

const HOSTS: u64 = 12;

#[test]
fn packages_that_stay_are_never_unknown() {
    let seed = seed();
    let lab = Lab::new();
    let one = Repository::create(lab.path("one"));
    let two = Repository::create(lab.path("two"));
    let mut stay = vec![one.add(&Rpm::new("large").payload_len(3 << 20))];
    for n in 0..12 {
        let rpm = Rpm::new(&format!("stays-{n}")).seed(n).payload_len(7_000 << (n % 6));
        stay.push(if n % 2 == 0 { one.add(&rpm) } else { two.add_in("Packages/s", &rpm) });
    }
    one.index();
    two.index();
    let by_sha512 = Repository::create(lab.path("by-sha512"));
    let add = |n: u64| by_sha512.add(&Rpm::new(&format!("by-sha512-{n}")).seed(n));
    let listed: Vec<PackageDigest> = (0..3).map(|n| add(n).digest(Algorithm::Sha512)).collect();
    by_sha512.index_with(&["--checksum", "sha512"]);
    let service = lab.start();
    let (addr, root) = (service.addr(), lab.root());

    let visits = under_load(
        seed,
        HOSTS,
        |random| {
            let mut connection = Connection::open(addr).expect("a connection");
            for _ in 0..8 {
                ask_for_some(&mut connection, &stay, random);
                let package = &stay[random.next_u64() as usize % stay.len()];
                fetch(&mut connection, &web_seed(package), package, random);
                fetch(&mut connection, &mirror(&root, package), package, random);
                assert_eq!(unknown(addr, &listed), [], "packages that stay");
            }
        },
        || {
            let until = Instant::now() + CHANGES_LAST;
            let mut rounds = 0;
            while Instant::now() < until {
                change(&lab, rounds, &one, &two, addr);
                take_metadata_away_for_a_moment(&by_sha512, &service);
                rounds += 1;
            }
            assert!(rounds > 2, "only {rounds} rounds of changes in {CHANGES_LAST:?}");
        },
    );
    eprintln!("{visits} visits");
    assert!(visits > 2 * HOSTS, "only {visits} visits");
    assert_eq!(service.metric("pkgtorrent_packages_corrupt_total"), 0.0);
    assert!(!service.log().contains("ERROR"), "the service complains");
}

/// One round: packages come and go in both repositories, and a third repository comes and goes.
fn change(lab: &Lab, round: u64, one: &Repository, two: &Repository, service: std::net::SocketAddr) {
    let rpm = |name: &str| Rpm::new(&format!("{name}-{round}")).seed(round).payload_len(20_000);
    let passing = one.add(&rpm("passing"));
    match round % 3 {
        0 => one.index(),
        1 => one.index_with(&["--update"]),
        _ => one.index_compressed(Compression::Zstd),
    }
    let _ = two.add(&rpm("kept"));
    two.index();
    let third = Repository::create(lab.path("third"));
    let in_third = third.add(&rpm("in-third"));
    third.index();
    wait_until_known(service, &passing);
    wait_until_known(service, &in_third);
    one.remove(&passing);
    one.index();
    fs::remove_dir_all(third.directory()).expect("a repository goes");
    wait_until_unknown(service, &passing);
}

/// As a mirror does that first deletes and then fetches. Without their metadata, nothing says these packages' digests.
fn take_metadata_away_for_a_moment(repository: &Repository, service: &Service) {
    let (repodata, away) = (repository.directory().join("repodata"), repository.directory().join(".away"));
    let scans = || service.metric("pkgtorrent_scans_total");
    let before = scans();
    fs::rename(&repodata, &away).expect("metadata is moved away");
    // One scan may have looked before.
    wait_for("two scans", SEEN_WITHIN, || (scans() >= before + 2.0).then_some(()));
    fs::rename(&away, &repodata).expect("metadata is moved back");
}

fn ask_for_some(connection: &mut Connection, stay: &[Package], random: &mut Pcg64Mcg) {
    let mask = random.next_u64() | 1;
    let some = stay.iter().enumerate().filter(|(n, _)| mask >> n & 1 == 1).map(|(_, package)| package);
    let set: Vec<PackageDigest> = digests(some);
    let plan = ask::plan_of(connection.send(&ask::set_request(&set, None)).expect("an answer"));
    assert_eq!(plan.unknown, [], "packages that stay");
    let planned: usize = plan.bundles.iter().map(|bundle| bundle.files.len()).sum();
    assert_eq!(planned, set.len());
}

fn fetch(connection: &mut Connection, target: &str, package: &Package, random: &mut Pcg64Mcg) {
    let bytes = package.bytes();
    let answered = |result: std::io::Result<Response>| result.unwrap_or_else(|e| panic!("{target}: {e}"));
    if random.next_u64().is_multiple_of(2) {
        let response = answered(connection.send(&Request::get(target))).expect_status(200);
        assert!(response.body == bytes, "{target}: other bytes");
    } else {
        let from = random.next_u64() as usize % bytes.len();
        let to = from + random.next_u64() as usize % (bytes.len() - from);
        let response = answered(get_range(connection, target, from, to, None)).expect_status(206);
        assert!(response.body == bytes[from..=to], "{target}: other bytes at {from}..={to}");
    }
}
