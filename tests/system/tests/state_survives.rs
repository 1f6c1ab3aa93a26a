//! What the service remembers survives a restart and kill -9 at any moment; a file that does not read well costs one
//! log line and the reading of the packages, never a wrong answer.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use pkgtorrent_protocol::plan::Plan;
use pkgtorrent_protocol::{InfoHash, PackageDigest};
use pkgtorrent_system_tests::load::seed;
use pkgtorrent_system_tests::{Lab, assert_web_seed_is_right, digests};
use pkgtorrent_test_support::http::Connection;
use pkgtorrent_test_support::process::Program;
use pkgtorrent_test_support::{Launch, Package, Repository, Service, ask};
use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;
use redb::{Database, TableDefinition};

/// How often the service is killed.
const KILLS: usize = 20;

/// Packages that nobody has asked for before a round.
const NEW_PER_ROUND: usize = 6;

/// The most packages of a set: so few cannot touch so many homes that these are merged, as they may be.
const FEW: usize = 8;

/// The longest that a round's builds go on before the kill.
const KILLED_WITHIN: u64 = 150;

/// How long a service that cannot run may take to say so.
const REFUSAL_LIMIT: Duration = Duration::from_secs(20);

fn repository(lab: &Lab, count: usize) -> Vec<Package> {
    let repository = Repository::create(lab.path("repository"));
    let size = |n: usize| if n % 30 == 29 { 3 << 20 } else { 9_000 + 11_000 * (n % 9) };
    let add = |n: usize| repository.add_blob(&format!("package-{n}.rpm"), size(n), n as u64);
    let packages: Vec<Package> = (0..count).map(add).collect();
    repository.list(&packages);
    packages
}

/// In which bundles a set's packages are, and which file each is there.
type Homes = Vec<(InfoHash, Vec<(u32, u32)>)>;

fn homes(plan: &Plan) -> Homes {
    let mut homes: Homes = plan.bundles.iter().map(|b| (b.info_hash, b.files.clone())).collect();
    homes.sort();
    homes
}

#[test]
fn nothing_that_was_answered_is_lost_by_kill_9() {
    let mut random = Pcg64Mcg::seed_from_u64(seed());
    let lab = Lab::new();
    let packages = repository(&lab, KILLS * NEW_PER_ROUND);
    let mut service = lab.start();
    let mut answered: Vec<(Vec<PackageDigest>, Homes)> = Vec::new();
    let mut rounds_with_answers = 0;
    for round in 0..KILLS {
        let known = &packages[..(round + 1) * NEW_PER_ROUND];
        let seeds = [random.next_u64(), random.next_u64(), random.next_u64()];
        let delay = Duration::from_millis(random.next_u64() % KILLED_WITHIN);
        let (addr, new) = (service.addr(), Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            let new = &new;
            for seed in seeds {
                scope.spawn(move || ask_until_it_is_gone(addr, known, Pcg64Mcg::seed_from_u64(seed), new));
            }
            std::thread::sleep(delay);
            service.kill9();
        });
        let new = new.into_inner().expect("no panic");
        rounds_with_answers += usize::from(!new.is_empty());
        answered.extend(new);

        service.restart();
        for (set, homes_before) in &answered {
            let plan = ask::post_set(service.addr(), set);
            assert_eq!(plan.unknown, [], "round {round}");
            assert_eq!(&homes(&plan), homes_before, "round {round}: a package has moved");
        }
        let read_again = service.metric("pkgtorrent_packages_hashed_total");
        assert_eq!(read_again, 0.0, "round {round}: packages that were in a plan are read again");
        assert_web_seed_is_right(service.addr(), &packages[round * NEW_PER_ROUND]);
        answered.truncate(200);
    }
    assert!(
        rounds_with_answers > KILLS / 4,
        "{rounds_with_answers} rounds had answers: the kills come too early"
    );
    assert!(service.log().lines().all(|line| !line.contains("set aside")), "the state did not survive");
}

/// Hosts already wait for each other in a bundle that was answered: whoever asks after the restart is sent there, too.
#[test]
fn a_home_that_was_answered_stays_one() {
    const ROUNDS: usize = 8;
    let lab = Lab::new();
    let packages = repository(&lab, 3 * ROUNDS);
    let mut service = lab.start();
    for round in packages.chunks(3) {
        let before = ask::post_set(service.addr(), &digests(&round[..2]));
        service.kill9();
        service.restart();
        let after = ask::post_set(service.addr(), &digests(&round[1..]));
        let shared = after.bundles.iter().find(|bundle| bundle.info_hash == before.bundles[0].info_hash);
        assert!(shared.is_some_and(|bundle| bundle.files.len() == 1), "the shared package has moved");
    }
}

/// Asks for sets, many of them with packages that nobody has asked for before, until no more answers come.
fn ask_until_it_is_gone(
    service: SocketAddr,
    known: &[Package],
    mut random: Pcg64Mcg,
    answered: &Mutex<Vec<(Vec<PackageDigest>, Homes)>>,
) {
    let Ok(mut connection) = Connection::open(service) else { return };
    loop {
        let from = random.next_u64() as usize % known.len();
        let to = from + 1 + random.next_u64() as usize % (known.len() - from).min(FEW);
        let set = digests(&known[from..to]);
        let Ok(response) = connection.send(&ask::set_request(&set, None)) else { return };
        let plan = ask::plan_of(response);
        assert_eq!(plan.unknown, []);
        answered.lock().expect("no panic before").push((set, homes(&plan)));
    }
}

fn state_file(lab: &Lab) -> PathBuf {
    let files: Vec<PathBuf> = fs::read_dir(lab.state())
        .expect("a state directory")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| !path.to_string_lossy().contains("corrupt"))
        .collect();
    let [file] = files.as_slice() else { panic!("not one state file: {files:?}") };
    file.clone()
}

/// Damages the state in this way, starts the service, and checks that it answers as before. Returns how many lines say
/// that the file was set aside.
fn answers_after(
    service: &mut Service,
    lab: &Lab,
    packages: &[Package],
    damage: impl FnOnce(&Path),
) -> usize {
    assert!(service.stop());
    damage(&state_file(lab));
    let log_len = service.log().len();
    service.restart();
    let plan = ask::post_set(service.addr(), &digests(packages));
    assert_eq!(plan.unknown, []);
    for bundle in &plan.bundles {
        let info = ask::bundle_info(service.addr(), bundle.info_hash);
        assert_eq!(InfoHash::of(&info), bundle.info_hash);
    }
    packages.iter().for_each(|package| assert_web_seed_is_right(service.addr(), package));
    let log = service.log().split_off(log_len);
    let problems: Vec<&str> =
        log.lines().filter(|line| line.contains("ERROR") || line.contains("panicked")).collect();
    assert!(problems.len() <= 1, "more than one line: {problems:#?}");
    problems.iter().filter(|line| line.contains("set aside")).count()
}

#[test]
fn a_state_that_does_not_read_well_is_set_aside() {
    let mut random = Pcg64Mcg::seed_from_u64(seed());
    let lab = Lab::new();
    let packages = repository(&lab, 8);
    let mut service = lab.start();
    assert_eq!(ask::post_set(service.addr(), &digests(&packages)).unknown, []);
    assert_eq!(answers_after(&mut service, &lab, &packages, |_| ()), 0, "a good state is kept");
    assert_eq!(service.metric("pkgtorrent_packages_hashed_total"), 0.0);

    let garbage = |path: &Path| fs::write(path, b"garbage ".repeat(4000)).expect("written");
    assert_eq!(answers_after(&mut service, &lab, &packages, garbage), 1);
    let truncate = |path: &Path, len: u64| {
        let file = fs::File::options().write(true).open(path).expect("opens");
        file.set_len(len).expect("truncated");
    };
    let to_its_header = |path: &Path| truncate(path, 1000);
    assert_eq!(answers_after(&mut service, &lab, &packages, to_its_header), 1);
    // What is behind the half may be unused space.
    let to_the_half = |path: &Path| truncate(path, path.metadata().expect("metadata").len() / 2);
    assert!(answers_after(&mut service, &lab, &packages, to_the_half) <= 1);
    let another_version = |path: &Path| {
        fs::remove_file(path).expect("removed");
        let database = Database::create(path).expect("a database");
        let table: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("version");
        let transaction = database.begin_write().expect("a transaction");
        let mut versions = transaction.open_table(table).expect("a table");
        versions.insert(&b"version"[..], &[250][..]).expect("inserted");
        drop(versions);
        transaction.commit().expect("committed");
    };
    assert_eq!(answers_after(&mut service, &lab, &packages, another_version), 1);
    // An empty file is what is left when the disk was full at the very first start: there is nothing to set aside.
    let empty = |path: &Path| fs::write(path, b"").expect("written");
    assert!(answers_after(&mut service, &lab, &packages, empty) <= 1);

    let mut set_aside = 0;
    for _ in 0..10 {
        let (at, bits) = (random.next_u64(), random.next_u64() as u8 | 1);
        set_aside += answers_after(&mut service, &lab, &packages, |path| {
            let mut bytes = fs::read(path).expect("read");
            // The first half holds what was written first; a flip of unused space is no damage.
            let at = at as usize % (bytes.len() / 2);
            bytes[at..].iter_mut().take(64).for_each(|byte| *byte ^= bits);
            fs::write(path, bytes).expect("written");
        });
    }
    eprintln!("{set_aside} of 10 flips were in use");
}

/// The output of a service that has to refuse to run.
fn refusal(launch: &Launch) -> String {
    let directory = tempfile::tempdir().expect("a directory");
    let mut command = launch.clone().listen("127.0.0.1:0").command(directory.path());
    let mut program = Program::start(&mut command, &directory.path().join("log"));
    let status = program.wait(REFUSAL_LIMIT);
    assert!(!status.success(), "it ends as if all were well");
    let output = program.output();
    let errors = output.lines().filter(|line| line.contains("ERROR")).count();
    assert!(errors == 1 && !output.contains("panicked"), "not one clear error: {output}");
    output
}

#[test]
fn a_state_in_use_is_refused() {
    let lab = Lab::new();
    let packages = repository(&lab, 2);
    let service = lab.start();
    assert!(refusal(&lab.launch()).contains("in use by another pkgtorrent-service"));
    assert_eq!(ask::post_set(service.addr(), &digests(&packages)).unknown, []);
}

#[test]
fn a_state_that_would_be_served_is_refused() {
    let lab = Lab::new();
    let (root, state) = (lab.root(), lab.state());
    fs::create_dir(&state).expect("a directory");
    std::os::unix::fs::symlink(root.join("hidden"), state.join("link")).expect("a symlink");
    fs::create_dir(root.join("hidden")).expect("a directory");
    let around = root.parent().expect("a directory around the root").to_owned();
    for state in [root.join("state"), root.clone(), state.join("link"), around] {
        let output = refusal(&Launch::new(&root, &state));
        assert!(output.contains("must not lie in each other"), "{}: {output}", state.display());
    }
}
