//! Whatever a web seed does, each package ends as placed or as failed with a reason, in a bounded time; the others go on,
//! and nothing wrong is ever placed.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pkgtorrent_system_tests::site::Site;
use pkgtorrent_test_support::agent::{Agent, Fetched, assert_placed};
use pkgtorrent_test_support::process::free_port;
use pkgtorrent_test_support::proxy::{self, Part};
use pkgtorrent_test_support::server::{Answer, Received, Server, Then};

/// A host that has patience for a second.
const IMPATIENT: &str = "stall_timeout = 1\nconnect_timeout = 1\n";

/// The service's configuration: no two hosts know of each other, since this is about what each has of its origin.
const ALONE: &str = "peer_networks = ['192.0.2.0/24']\n";

/// Four attempts of little more than a second, pauses of up to four seconds between them, and a busy machine.
const BOUND: Duration = Duration::from_secs(45);

/// How an answer goes wrong. It gets the right one.
type Fault = fn(Answer) -> Answer;

/// Answers a package manager must survive, and what is said of a web seed that gives no other.
const FAULTS: [(&str, Fault, &str); 22] = [
    ("no answer", |_| Answer::Hang, "no answer within"),
    ("a stall in the head", |right| right.cut_to(50, Then::Hang), "no answer within"),
    ("a stall in the middle", |right| right.cut(20_000, Then::Hang), "nothing came for"),
    ("a trickle of bytes", |right| right.slow(100, Duration::from_millis(200)), "too few"),
    ("a trickle of the head", |right| right.slow(1, Duration::from_millis(400)), "no answer within"),
    ("an early end", |right| right.cut(20_000, Then::Close), "closed early"),
    ("an end at once", |_| Answer::Raw(Vec::new()), ""),
    ("garbage", |_| Answer::Raw(vec![7; 100_000]), ""),
    (
        "endless heads",
        |_| Answer::Raw([&b"HTTP/1.1 200 -\r\n"[..], &b"A: b\r\n".repeat(1 << 18)].concat()),
        "",
    ),
    ("500", |_| Answer::new(500, "out of order"), "out of order"),
    ("503", |_| Answer::new(503, ""), "503"),
    ("429", |_| Answer::new(429, "later"), "429"),
    ("404", |_| Answer::new(404, ""), "404"),
    ("403", |_| Answer::new(403, "not you"), "not you"),
    ("204", |_| Answer::Raw(b"HTTP/1.1 204 -\r\n\r\n".to_vec()), "204"),
    ("a redirect in circles", |_| Answer::new(302, "").header("Location", "#again"), "not redirected"),
    ("gzip", |right| right.header("Content-Encoding", "gzip"), "gzip"),
    (
        "other bytes",
        |right| changed(right, |body| body.iter_mut().for_each(|byte| *byte ^= 1)),
        "match its hash",
    ),
    ("too few bytes", |right| changed(right, |body| body.truncate(body.len() - 1)), "bytes and not"),
    ("too many bytes", |right| changed(right, |body| body.push(0)), "bytes and not"),
    ("nothing", |right| changed(right, Vec::clear), "bytes and not"),
    ("a web page", |_| Answer::new(200, "<html>Sign in</html>"), "bytes and not"),
];

fn changed(answer: Answer, change: impl Fn(&mut Vec<u8>)) -> Answer {
    match answer {
        Answer::Response { status, headers, mut body } => {
            change(&mut body);
            Answer::Response { status, headers, body }
        }
        other => other,
    }
}

/// A service with a package of each kind; `b.rpm` is the one that things go wrong with.
fn site() -> Site {
    Site::start(&[("a.rpm", 200_000), ("b.rpm", 500_000), ("c.rpm", 4_000_000), ("d.rpm", 20_000)], ALONE)
}

fn is_victim(request: &Received) -> bool {
    Part::of(request) == Part::Package && request.target.ends_with("/b.rpm")
}

/// Fetches everything and checks that nothing but the victim may have failed.
fn fetch(what: &str, site: &Site, service: &Server, config: &str) -> (Agent, Fetched) {
    let agent = Agent::with_config(&format!("{IMPATIENT}{config}"));
    let wants = agent.wants(&site.packages);
    let fetched = agent.fetch(&service.url("/"), &wants);
    assert!(fetched.duration < BOUND, "{what}: {fetched:?}");
    for (index, (package, want)) in site.packages.iter().zip(&wants).enumerate() {
        match fetched.placed(index) {
            Some(_) => assert_placed(package, &want.dest),
            None => {
                assert!(!Path::new(&want.dest).exists(), "{what}: {fetched:?}");
                assert_eq!(package.file_name(), "b.rpm", "{what}: {fetched:?}");
            }
        }
    }
    (agent, fetched)
}

#[test]
fn a_web_seed_that_is_broken_for_one_package_brings_the_others() {
    let site = site();
    // Nearly all of it is waiting, so it is done at once.
    std::thread::scope(|scope| {
        for (what, fault, reason) in FAULTS {
            let site = &site;
            scope.spawn(move || {
                let proxy = proxy::before(site.service.addr(), move |request, answer| {
                    if is_victim(request) { fault(answer) } else { answer }
                });
                let (_agent, fetched) = fetch(what, site, &proxy, "");
                let found = fetched.failure(1);
                assert!(found.is_some_and(|found| found.contains(reason)), "{what}, {reason:?}: {fetched:?}");
            });
        }
    });
}

#[test]
fn a_web_seed_that_is_broken_for_a_moment_brings_everything() {
    /// What another attempt does not help against: it would bring the same, so nothing is asked twice.
    const FINAL: [&str; 9] = [
        "404",
        "403",
        "204",
        "a redirect in circles",
        "gzip",
        "too few bytes",
        "too many bytes",
        "nothing",
        "a web page",
    ];
    let site = site();
    std::thread::scope(|scope| {
        for (what, fault, _) in FAULTS.into_iter().filter(|(what, ..)| !FINAL.contains(what)) {
            let site = &site;
            scope.spawn(move || {
                // Who is wrong about the same bytes twice is not believed a third time.
                let faults_max = if what == "other bytes" { 1 } else { 2 };
                let faults = AtomicUsize::new(0);
                let proxy = proxy::before(site.service.addr(), move |request, answer| {
                    let is_fault = is_victim(request) && faults.fetch_add(1, Ordering::Relaxed) < faults_max;
                    if is_fault { fault(answer) } else { answer }
                });
                let (_agent, fetched) = fetch(what, site, &proxy, "");
                assert_eq!(fetched.status, Some(0), "{what}: {fetched:?}");
            });
        }
    });
}

#[test]
fn a_redirect_elsewhere_is_not_followed() {
    let site = site();
    let elsewhere = Server::start(|_| Answer::new(200, "come in"));
    let target = elsewhere.url("/b.rpm");
    let proxy = proxy::before(site.service.addr(), move |request, answer| {
        if is_victim(request) { Answer::new(302, "").header("Location", &target) } else { answer }
    });
    let (_agent, fetched) = fetch("a redirect", &site, &proxy, "");
    let _ = fetched.failed_with(1, "not redirected");
    assert_eq!(elsewhere.take_requests(), []);
}

#[test]
fn a_server_without_ranges_will_do() {
    let site =
        Site::start(&[("a.rpm", 200_000), ("b.rpm", 500_000), ("c.rpm", 14_000_000), ("d.rpm", 1)], ALONE);
    let service = site.service.addr();
    // It knows files, and nothing of their parts.
    let proxy = proxy::before(service, move |request, answer| match Part::of(request) {
        Part::Package => {
            let mut whole = request.clone();
            whole.headers.retain(|(name, _)| name != "range");
            proxy::pass_on(service, &whole)
        }
        _ => answer,
    });
    let (_agent, fetched) = fetch("no ranges", &site, &proxy, "");
    assert_eq!(fetched.all_placed().bytes().origin, 14_700_001);
}

#[test]
fn the_next_web_seed_is_asked() {
    let site = site();
    std::thread::scope(|scope| {
        for (what, fault, _) in FAULTS {
            let site = &site;
            scope.spawn(move || {
                // The first is broken for everything.
                let bad =
                    proxy::before(site.service.addr(), move |request, answer| match Part::of(request) {
                        Part::Package => fault(answer),
                        _ => answer,
                    });
                assert_next_is_asked(what, site, &bad.url(""));
            });
        }
        // Nobody listens there.
        scope.spawn(|| assert_next_is_asked("nobody", &site, &format!("http://127.0.0.1:{}", free_port())));
    });
}

/// Fetches by a plan whose first web seed is `bad`, and expects everything from the second.
fn assert_next_is_asked(what: &str, site: &Site, bad: &str) {
    let first = bad.to_owned();
    let proxy = proxy::before_with_plan(site.service.addr(), move |plan| {
        let good = plan.web_seeds[0].clone();
        let path = good.find("/pkgtorrent/").map_or("/", |at| &good[at..]);
        plan.web_seeds.insert(0, format!("{first}{path}"));
    });
    let host = bad.trim_start_matches("http://");
    let (_agent, fetched) = fetch(what, site, &proxy, &format!("origin_hosts = [\"{host}\"]\n"));
    assert_eq!(fetched.status, Some(0), "{what}: {fetched:?}");
}

/// Many packages of which every fourth is one that something is wrong with.
fn many() -> (Vec<String>, impl Fn(&str) -> bool + Clone + Send + Sync) {
    let names = (0..40).map(|n| format!("package-{n}.rpm")).collect();
    let is_bad = |name: &str| {
        let number =
            name.trim_end_matches(".rpm").rsplit('-').next().and_then(|number| number.parse::<u32>().ok());
        number.is_some_and(|number| number.is_multiple_of(4))
    };
    (names, is_bad)
}

#[test]
fn many_packages_that_cannot_be_had_do_not_keep_the_others() {
    let (names, is_bad) = many();
    let files: Vec<(&str, usize)> = names.iter().map(|name| (name.as_str(), 60_000)).collect();
    let site = Site::start(&files, ALONE);
    std::thread::scope(|scope| {
        for (what, fault, reason) in FAULTS {
            let (site, is_bad) = (&site, is_bad.clone());
            scope.spawn(move || {
                let is_bad_too = is_bad.clone();
                let proxy = proxy::before(site.service.addr(), move |request, answer| {
                    let name = request.target.rsplit('/').next().unwrap_or_default();
                    if Part::of(request) == Part::Package && is_bad_too(name) {
                        fault(answer)
                    } else {
                        answer
                    }
                });
                let agent = Agent::with_config(IMPATIENT);
                let fetched = agent.fetch(&proxy.url("/"), &agent.wants(&site.packages));
                assert!(fetched.duration < BOUND, "{what}: {fetched:?}");
                for (index, package) in site.packages.iter().enumerate() {
                    match fetched.failure(index) {
                        None => assert_placed(package, agent.path("cache").join(package.file_name())),
                        Some(found) => {
                            assert!(
                                is_bad(package.file_name()),
                                "{what}, {}: {fetched:?}",
                                package.file_name()
                            );
                            assert!(found.contains(reason), "{what}, {reason:?}: {found:?}");
                        }
                    }
                }
                assert_eq!(fetched.done().1, 10, "{what}: {fetched:?}");
            });
        }
    });
}
