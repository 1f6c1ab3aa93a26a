//! Nothing of a fleet stays: neither after its end, nor after a panic, nor the hosts that were lost on the way.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pkgtorrent_fleet::{Client, Crowd, Lines, Network, Rate, Wanted};
use pkgtorrent_test_support::{Repository, Rpm};

/// The namespaces that this process has.
fn namespaces() -> BTreeSet<String> {
    let prefix = format!("pkgtorrent-{}-", std::process::id());
    let entries = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with(&prefix)).collect()
}

/// The processes in any of a network's namespaces, by the kernel's names for these.
fn processes_in(namespaces: &BTreeSet<String>) -> usize {
    let links = fs::read_dir("/proc").expect("/proc").flatten();
    let links = links.filter_map(|process| fs::read_link(process.path().join("ns/net")).ok());
    links.filter(|link| namespaces.contains(&*link.to_string_lossy())).count()
}

fn kernel_names(network: &Network) -> BTreeSet<String> {
    let name = || fs::read_link("/proc/thread-self/ns/net").expect("this thread's namespace");
    let stations = network.hosts().iter().chain([network.origin()]);
    let names = stations.map(|station| station.inside(name).expect("a namespace"));
    names.map(|name| name.to_string_lossy().into_owned()).collect()
}

// One test, since all of a process's tests share what is counted.
#[test]
fn nothing_of_a_fleet_stays() {
    let lines = Lines::even(4, Rate::mbit(20.0));
    let panic = catch_unwind(AssertUnwindSafe(|| {
        let _network = Network::new(&lines).expect("a network");
        assert_eq!(namespaces().len(), 6, "four hosts, the origin, the router");
        panic!("on purpose");
    }));
    assert!(panic.is_err());
    assert_eq!(namespaces(), BTreeSet::new());

    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path().join("root");
    let repository = Repository::create(root.join("repository"));
    repository.add(&Rpm::new("package").size(2_000_000));
    repository.index();
    let wanted = Wanted::open(&root, "repository").expect("a package");
    let network = Network::new(&lines).expect("a network");
    let crowd = Crowd::new(&network, &wanted, directory.path()).lose(1);
    let outcome = crowd.run(Client::Pkgtorrent).expect("three hosts get it");
    let took: Vec<bool> = outcome.hosts.iter().map(|host| host.took.is_some()).collect();
    assert_eq!(took, [true, true, true, false], "{outcome:?}");
    assert!(outcome.hosts[3].traffic.received < wanted.bytes(), "it was lost half-way: {outcome:?}");
    let names = kernel_names(&network);
    assert_eq!((names.len(), processes_in(&names)), (5, 0), "every process has ended");
    drop(network);
    assert_eq!(namespaces(), BTreeSet::new());
}
