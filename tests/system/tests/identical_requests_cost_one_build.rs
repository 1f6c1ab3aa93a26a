//! A thousand hosts that ask at once cost one reading of each package and one build, and a restart costs none.

use std::sync::Barrier;

use pkgtorrent_protocol::PackageDigest;
use pkgtorrent_protocol::plan::Plan;
use pkgtorrent_system_tests::load::seed;
use pkgtorrent_system_tests::{Lab, digests};
use pkgtorrent_test_support::http::Connection;
use pkgtorrent_test_support::{Package, Repository, Service, ask};
use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

const PACKAGES: usize = 40;

/// A host's thread does nothing deep.
const STACK_LEN: usize = 128 << 10;

fn repository(lab: &Lab) -> Vec<Package> {
    let repository = Repository::create(lab.path("repository"));
    let add = |n: usize| repository.add_blob(&format!("package-{n}.rpm"), 10_000 + n * 20_000, n as u64);
    let packages: Vec<Package> = (0..PACKAGES).map(add).collect();
    repository.list(&packages);
    packages
}

/// Every set is asked for at the same moment, each by a host with its own connection.
fn ask_at_once(service: &Service, sets: &[Vec<PackageDigest>]) -> Vec<Plan> {
    let (addr, barrier) = (service.addr(), &Barrier::new(sets.len()));
    std::thread::scope(|scope| {
        let ask = |set: &'_ Vec<PackageDigest>| {
            let request = ask::set_request(set, None);
            let host = move || {
                let connection = Connection::open(addr);
                barrier.wait();
                let answer = connection.and_then(|mut connection| connection.send(&request));
                ask::plan_of(answer.expect("an answer"))
            };
            std::thread::Builder::new().stack_size(STACK_LEN).spawn_scoped(scope, host).expect("a thread")
        };
        let hosts: Vec<_> = sets.iter().map(ask).collect();
        hosts.into_iter().map(|host| host.join().expect("a plan")).collect()
    })
}

#[test]
fn a_thousand_identical_questions_cost_one_build() {
    let lab = Lab::new();
    let packages = repository(&lab);
    let mut service = lab.start();
    let set = digests(&packages);
    let plans = ask_at_once(&service, &vec![set.clone(); 1000]);
    let first = &plans[0];
    assert_eq!(first.unknown, []);
    assert!(plans.iter().all(|plan| plan == first), "not everyone got the same plan");
    let metric = |service: &Service, name: &str| service.metric(&format!("pkgtorrent_{name}_total"));
    assert_eq!(metric(&service, "plans"), 1000.0);
    assert_eq!(metric(&service, "packages_hashed"), PACKAGES as f64);
    assert_eq!(metric(&service, "sets_planned"), 1.0);
    assert_eq!(metric(&service, "bundles_built"), first.bundles.len() as f64);

    let digest = ask::set_digest(&set);
    let infos: Vec<Vec<u8>> =
        first.bundles.iter().map(|bundle| ask::bundle_info(service.addr(), bundle.info_hash)).collect();
    assert!(service.stop(), "it ends when it is asked to");
    service.restart();
    let again = ask::get_set(service.addr(), digest).expect("a set is known after a restart");
    assert_eq!(&again, first);
    for (bundle, info) in again.bundles.iter().zip(infos) {
        assert!(ask::bundle_info(service.addr(), bundle.info_hash) == info);
    }
    assert_eq!(&ask::post_set(service.addr(), &set), first);
    assert_eq!(metric(&service, "packages_hashed"), 0.0);
    assert_eq!(metric(&service, "bundles_built"), 0.0);
    assert_eq!(ask::get_set(service.addr(), ask::set_digest(&set[1..])), None);
}

#[test]
fn different_sets_read_what_they_share_once() {
    let seed = seed();
    let lab = Lab::new();
    let packages = repository(&lab);
    let service = lab.start();
    let mut random = Pcg64Mcg::seed_from_u64(seed);
    let all = digests(&packages);
    let mut some = || {
        let mask = random.next_u64() | 1;
        let chosen = all.iter().enumerate().filter(|(n, _)| mask >> n & 1 == 1);
        chosen.map(|(_, digest)| *digest).collect()
    };
    let mut sets: Vec<Vec<PackageDigest>> = (0..99).map(|_| some()).collect();
    sets.push(all.clone());
    let plans = ask_at_once(&service, &sets);
    assert!(plans.iter().all(|plan| plan.unknown.is_empty()));
    assert_eq!(service.metric("pkgtorrent_packages_hashed_total"), PACKAGES as f64);
}
