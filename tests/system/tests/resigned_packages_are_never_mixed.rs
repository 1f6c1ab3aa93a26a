//! A package that is signed once more is another package under the same name. Whoever asks gets one or the other, and
//! never some of both.

use std::fs::{self, File};
use std::io::Write;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use pkgtorrent_protocol::Sha256Digest;
use pkgtorrent_system_tests::load::{seed, under_load};
use pkgtorrent_system_tests::{
    Lab, assert_web_seed_is_right, get_range, is_known, mirror, sha256, wait_until_known, wait_until_unknown,
    web_seed,
};
use pkgtorrent_test_support::http::{self, Connection, Request};
use pkgtorrent_test_support::process::wait_for;
use pkgtorrent_test_support::{Package, Repository, Rpm, Service};
use rand_core::Rng;
use rand_pcg::Pcg64Mcg;

/// How long packages keep being signed.
const SIGNING_LASTS: Duration = Duration::from_secs(14);

const HOSTS: u64 = 10;

/// How many old versions hosts still ask for.
const REMEMBERED: usize = 3;

/// How a file's bytes are replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// By another file of the same name.
    Rename,
    /// In the same file, as `rpmsign` does on some systems.
    InPlace,
    /// In the same file, with its time put back as `touch -r` or a restoring backup would.
    InPlaceWithOldTime,
}

impl Way {
    const ALL: [Self; 3] = [Self::Rename, Self::InPlace, Self::InPlaceWithOldTime];

    fn replace(self, old: &Package, bytes: &[u8]) -> Package {
        assert_eq!(bytes.len() as u64, old.size, "a package signed once more has the same size");
        if self == Self::Rename {
            return Package::write(&old.path, bytes.to_vec());
        }
        let mut file = File::options().write(true).open(&old.path).expect("a package opens");
        let before = file.metadata().and_then(|m| m.modified()).expect("a time");
        // In pieces, so that a reader can come in between.
        for part in bytes.chunks(32 << 10) {
            file.write_all(part).expect("a package is rewritten");
        }
        if self == Self::InPlaceWithOldTime {
            file.set_modified(before).expect("the old time");
        }
        drop(file);
        // What is there now, as a value; the file stays as it was rewritten.
        let elsewhere = tempfile::tempdir().expect("a directory");
        let mut package = Package::write(&elsewhere.path().join(old.file_name()), bytes.to_vec());
        package.path.clone_from(&old.path);
        package
    }
}

/// One file and all versions of it.
struct Slot {
    rpm: Rpm,
    way: Way,
    versions: Mutex<Vec<Package>>,
}

impl Slot {
    fn some_version(&self, random: &mut Pcg64Mcg) -> Package {
        let versions = self.versions.lock().expect("no panic before");
        let back = random.next_u64() as usize % REMEMBERED.min(versions.len());
        versions[versions.len() - 1 - back].clone()
    }

    fn has(&self, identity: Sha256Digest) -> bool {
        self.versions.lock().expect("no panic before").iter().any(|version| version.identity == identity)
    }
}

#[test]
fn nobody_gets_a_mix_under_load() {
    let seed = seed();
    let lab = Lab::new();
    let repository = Repository::create(lab.path("repository"));
    let mut slots = Vec::new();
    for n in 0..6 {
        let rpm = Rpm::new(&format!("signed-{n}")).seed(n).payload_len(400_000);
        let versions = Mutex::new(vec![repository.add(&rpm)]);
        slots.push(Slot { rpm, way: Way::ALL[n as usize % 3], versions });
    }
    repository.index();
    let service = lab.start();
    let (addr, root) = (service.addr(), lab.root());
    let (whole, halves) = (Mutex::new(0_u64), Mutex::new(0_u64));

    let visits = under_load(
        seed,
        HOSTS,
        |random| {
            let slot = &slots[random.next_u64() as usize % slots.len()];
            let version = slot.some_version(random);
            match random.next_u64() % 4 {
                0 => drop(is_known(addr, version.identity)),
                1 => *whole.lock().expect("no panic before") += u64::from(fetch_by_digest(addr, &version)),
                2 => *halves.lock().expect("no panic before") += u64::from(fetch_halves(addr, &version)),
                // A file that is rewritten in place has no version in between, and no digest in its URL.
                _ if slot.way == Way::Rename => fetch_from_mirror(addr, &mirror(&root, &version), slot),
                _ => {}
            }
        },
        || {
            let until = Instant::now() + SIGNING_LASTS;
            let mut rounds = 0;
            while Instant::now() < until {
                sign_all(&repository, &slots, &service);
                rounds += 1;
            }
            assert!(rounds > 2, "only {rounds} rounds of signing in {SIGNING_LASTS:?}");
        },
    );
    let (whole, halves) = (whole.into_inner().expect("no panic"), halves.into_inner().expect("no panic"));
    eprintln!("{visits} visits, {whole} whole packages and {halves} from two halves");
    assert!(whole > HOSTS && halves > HOSTS, "too little was fetched to prove anything");
}

/// Signs every package once more, runs createrepo_c, and waits until the new ones are known.
fn sign_all(repository: &Repository, slots: &[Slot], service: &Service) {
    for slot in slots {
        let old = slot.versions.lock().expect("no panic before").last().cloned().expect("a version");
        let mut rpm = slot.rpm.clone();
        for _ in 0..slot.versions.lock().expect("no panic before").len() {
            rpm = rpm.rebuilt();
        }
        // Known to the checks before anybody can get it.
        let bytes = rpm.build();
        let mut versions = slot.versions.lock().expect("no panic before");
        versions.push(slot.way.replace(&old, &bytes));
    }
    repository.index();
    for slot in slots {
        let new = slot.versions.lock().expect("no panic before").last().cloned().expect("a version");
        wait_until_known(service.addr(), &new);
    }
}

/// Whether the package came whole; it may be gone, or be cut off.
fn fetch_by_digest(addr: std::net::SocketAddr, version: &Package) -> bool {
    let mut connection = Connection::open(addr).expect("a connection");
    match connection.send(&Request::get(&web_seed(version))) {
        Err(_) => false,
        Ok(response) if response.status == 404 => false,
        Ok(response) => {
            let body = response.expect_status(200).body;
            assert_eq!(sha256(&body), version.identity, "other bytes under a digest's URL");
            true
        }
    }
}

fn fetch_halves(addr: std::net::SocketAddr, version: &Package) -> bool {
    let mut connection = Connection::open(addr).expect("a connection");
    let (target, half) = (web_seed(version), version.bytes().len() / 2);
    let Ok(first) = get_range(&mut connection, &target, 0, half - 1, None) else { return false };
    if first.status == 404 {
        return false;
    }
    let first = first.expect_status(206);
    let tag = first.header("etag").expect("an entity tag").to_owned();
    assert_eq!(tag, format!("\"{}\"", version.identity));
    let last = version.bytes().len() - 1;
    let Ok(second) = get_range(&mut connection, &target, half, last, Some(&tag)) else { return false };
    if second.status == 404 {
        return false;
    }
    let all = [first.body, second.expect_status(206).body].concat();
    assert_eq!(sha256(&all), version.identity, "two halves of a digest's URL do not fit");
    true
}

fn fetch_from_mirror(addr: std::net::SocketAddr, target: &str, slot: &Slot) {
    let mut connection = Connection::open(addr).expect("a connection");
    let half = slot.versions.lock().expect("no panic before")[0].bytes().len() / 2;
    let first = get_range(&mut connection, target, 0, half - 1, None).expect("an answer").expect_status(206);
    let tag = first.header("etag").expect("an entity tag").to_owned();
    let second = get_range(&mut connection, target, half, 1 << 30, Some(&tag)).expect("an answer");
    let all = if second.status == 206 { [first.body, second.body].concat() } else { second.body };
    // By rename a version is in place only for a moment before it is noted here.
    wait_for("this version among those that were there", Duration::from_secs(5), || {
        slot.has(sha256(&all)).then_some(())
    });
}

#[test]
fn a_download_that_is_under_way_is_the_old_one_or_cut_off() {
    // Much more than both ends' socket buffers take.
    const SIZE: usize = 32 << 20;
    for way in Way::ALL {
        for by_digest in [true, false] {
            let lab = Lab::new();
            let repository = Repository::create(lab.path("repository"));
            let old = repository.add_blob("large.rpm", SIZE, 1);
            repository.list(std::slice::from_ref(&old));
            let service = lab.start();
            assert!(is_known(service.addr(), old.identity));
            let target = if by_digest { web_seed(&old) } else { mirror(&lab.root(), &old) };
            let counter =
                if by_digest { "pkgtorrent_webseed_bytes_total" } else { "pkgtorrent_mirror_bytes_total" };

            let mut connection = Connection::open(service.addr()).expect("a connection");
            let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
            connection.send_raw(request.as_bytes()).expect("a request");
            wait_for("first bytes", Duration::from_secs(20), || {
                (service.metric(counter) > 0.0).then_some(())
            });
            let bytes: Vec<u8> = old.bytes().iter().map(|byte| byte ^ 0xff).collect();
            let _ = way.replace(&old, &bytes);

            match connection.read_response(false) {
                Ok(response) => {
                    let is_old = response.expect_status(200).body == old.bytes();
                    assert!(is_old, "{way:?}, {target}: the old and the new one are mixed");
                }
                Err(error) => {
                    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof, "{way:?}: {error}");
                    assert_ne!(way, Way::Rename, "the old file is still there for who has it open");
                }
            }
        }
    }
}

#[test]
fn ranges_of_the_mirror_are_joined_only_within_one_version() {
    let lab = Lab::new();
    let repository = Repository::create(lab.path("repository"));
    let old = repository.add_blob("plain.rpm", 100_000, 1);
    let service = lab.start();
    let target = mirror(&lab.root(), &old);
    let mut connection = Connection::open(service.addr()).expect("a connection");
    let mut current = old;
    for (n, way) in Way::ALL.into_iter().enumerate() {
        let first =
            get_range(&mut connection, &target, 0, 49_999, None).expect("an answer").expect_status(206);
        let tag = first.header("etag").expect("an entity tag").to_owned();
        assert!(tag.starts_with('"'), "{tag} is not strong");
        let again = get_range(&mut connection, &target, 50_000, 99_999, Some(&tag)).expect("an answer");
        assert_eq!(again.status, 206, "the same version: the rest is enough");

        let bytes: Vec<u8> = current.bytes().iter().map(|byte| byte ^ (1 + n as u8)).collect();
        current = way.replace(&current, &bytes);
        let whole = get_range(&mut connection, &target, 50_000, 99_999, Some(&tag)).expect("an answer");
        assert_eq!(whole.status, 200, "{way:?}: another version has the same entity tag");
        assert!(whole.body == current.bytes());
        let request = Request::get(&target).header("If-None-Match", &tag);
        assert_eq!(
            connection.send(&request).expect("an answer").status,
            200,
            "{way:?}: a stale copy is confirmed"
        );
    }
}

#[test]
fn a_package_signed_before_createrepo_ran_is_not_served_as_the_old_one() {
    for way in Way::ALL {
        let lab = Lab::new();
        let repository = Repository::create(lab.path("repository"));
        let rpm = Rpm::new("signed").payload_len(60_000);
        let old = repository.add(&rpm);
        let other = repository.add(&Rpm::new("other"));
        repository.index();
        let service = lab.start();
        wait_until_known(service.addr(), &old);

        let new = way.replace(&old, &rpm.rebuilt().build());
        // From this moment on, whether or not the change has been seen.
        let response = http::get(service.addr(), &web_seed(&old));
        assert_eq!(response.status, 404, "{way:?}: the old package is served from the new one's file");
        wait_until_unknown(service.addr(), &old);
        assert!(!is_known(service.addr(), new.identity), "{way:?}: nobody has listed the new one");
        assert_eq!(http::get(service.addr(), &web_seed(&new)).status, 404);
        assert!(is_known(service.addr(), other.identity));

        repository.index();
        wait_until_known(service.addr(), &new);
        assert!(!is_known(service.addr(), old.identity));
        assert_web_seed_is_right(service.addr(), &other);
    }
}

#[test]
fn a_package_that_comes_back_is_known_again() {
    let lab = Lab::new();
    let repository = Repository::create(lab.path("repository"));
    let rpm = Rpm::new("rolled-back").payload_len(60_000);
    let old = repository.add(&rpm);
    repository.index();
    let service = lab.start();
    wait_until_known(service.addr(), &old);
    let new = repository.add(&rpm.clone().rebuilt());
    repository.index();
    wait_until_known(service.addr(), &new);
    fs::remove_file(&new.path).expect("a package is removed");
    let back = repository.add(&rpm);
    assert_eq!(back.identity, old.identity);
    repository.index();
    wait_until_known(service.addr(), &back);
    assert_eq!(http::get(service.addr(), &web_seed(&new)).status, 404);
}
