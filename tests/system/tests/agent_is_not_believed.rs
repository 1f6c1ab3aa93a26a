//! Whatever an agent passes and says, `fetch` places nothing that does not match its digest, and ends.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use pkgtorrent_system_tests::site::Site;
use pkgtorrent_test_support::agent::{Agent, assert_placed};
use pkgtorrent_test_support::fake_agent::{Conversation, FakeAgent};
use pkgtorrent_test_support::process::{installed, run};

/// How long what need not wait for anything may take on a busy machine.
const SOON: Duration = Duration::from_secs(5);

const HELLO: &str = "{\"type\":\"hello\",\"version\":1,\"oldest\":1,\"program\":\"0.1.0\"}\n";
const FROM: &str = "{\"peers\":0,\"origin\":0,\"store\":300000}";

fn site() -> Site {
    Site::start(&[("a.rpm", 300_000)], "")
}

fn whole(index: usize) -> String {
    format!("{{\"type\":\"whole\",\"index\":{index},\"from\":{FROM}}}\n")
}

/// An agent that greets, and does as `lie` says when it is asked for packages and when what it passed was rejected.
fn liar(agent: &Agent, lie: impl Fn(&mut Conversation) + Send + Sync + 'static) -> FakeAgent {
    FakeAgent::start(agent.state_dir(), move |mut conversation| {
        while let Some(request) = conversation.next_request() {
            match request["type"].as_str() {
                Some("hello") => conversation.say(HELLO),
                Some("fetch" | "rejected") => lie(&mut conversation),
                Some("taken") => conversation.say("{\"type\":\"end\"}\n"),
                _ => {}
            }
        }
    })
}

/// Fetches the site's package from a liar and expects it not to be placed, for this reason.
fn assert_not_placed(
    site: &Site,
    what: &str,
    reason: &str,
    lie: impl Fn(&mut Conversation) + Send + Sync + 'static,
) {
    let agent = Agent::new();
    let _liar = liar(&agent, lie);
    let fetched = agent.fetch(&site.service.url("/"), &agent.wants(&site.packages));
    assert!(fetched.duration < SOON, "{what}: {fetched:?}");
    let found = fetched.failure(0);
    assert!(found.is_some_and(|found| found.contains(reason)), "{what}, {reason:?}: {fetched:?}");
    let left = fs::read_dir(agent.path("cache")).map_or(0, Iterator::count);
    assert_eq!(left, 0, "{what}: files are left behind");
}

#[test]
fn other_files_are_rejected() {
    let site = site();
    let directory = tempfile::tempdir().unwrap();
    let right = site.packages[0].bytes();
    let write = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let mut evil = right.to_vec();
    evil[299_999] ^= 1;
    let fifo = directory.path().join("fifo");
    run(std::process::Command::new(installed("mkfifo")).arg(&fifo), SOON);
    for path in [
        write("evil", &evil),
        write("short", &right[..299_999]),
        write("long", &[right, b"more"].concat()),
        write("empty", b""),
        fifo,
        directory.path().to_owned(),
        "/dev/zero".into(),
    ] {
        let shown = path.display().to_string();
        // Each time it is asked it passes the same, and says at last that this is all.
        let passed = std::sync::atomic::AtomicU32::new(0);
        assert_not_placed(&site, &shown, "no more of it", move |conversation| {
            let is_dir = path.is_dir();
            if passed.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < 2 {
                let file = File::options().read(true).write(!is_dir).open(&path).expect("a file to pass");
                conversation.pass(&whole(0), &file);
            } else {
                conversation.say(
                    "{\"type\":\"failed\",\"index\":0,\"reason\":\"no more of it\"}\n{\"type\":\"end\"}\n",
                );
            }
        });
    }
    let path = write("unreadable", right);
    let passed = std::sync::atomic::AtomicU32::new(0);
    assert_not_placed(&site, "unreadable", "no more of it", move |conversation| {
        if passed.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < 1 {
            conversation.pass(&whole(0), &File::options().write(true).open(&path).expect("a file to pass"));
        } else {
            conversation
                .say("{\"type\":\"failed\",\"index\":0,\"reason\":\"no more of it\"}\n{\"type\":\"end\"}\n");
        }
    });
}

#[test]
fn what_makes_no_sense_is_the_end() {
    let site = site();
    for (says, reason) in [
        ("{\"type\":\"end\"}\n".to_owned(), "the agent forgot it"),
        (whole(0), "answer is wrong"),
        ("{\"type\":\"progress\",\"index\":1,\"done\":1}\n".into(), "package 1"),
        ("{\"type\":\"failed\",\"index\":99,\"reason\":\"x\"}\n".into(), "package 99"),
        ("{\"type\":\"failed\",\"index\":-1,\"reason\":\"x\"}\n".into(), "answer is wrong"),
        ("{\"type\":\"refused\",\"reason\":\"go away\"}\n".into(), "go away"),
        ("}{\n".into(), "answer is wrong"),
        (
            format!("{{\"type\":\"failed\",\"index\":0,\"reason\":\"{}", "x".repeat(9 << 20)),
            "answer is wrong",
        ),
    ] {
        let shown = says.chars().take(100).collect::<String>();
        assert_not_placed(&site, &shown, reason, move |conversation| conversation.say(&says));
    }
    let package = site.packages[0].path.clone();
    assert_not_placed(&site, "a package that was not asked for", "package 1", move |conversation| {
        conversation.pass(&whole(1), &File::open(&package).expect("the package"));
    });
}

#[test]
fn a_package_is_placed_once_whatever_is_said_afterwards() {
    let site = site();
    let agent = Agent::new();
    let package = site.packages[0].path.clone();
    let _liar = liar(&agent, move |conversation| {
        let file = File::open(&package).expect("the package");
        for done in 1..4 {
            conversation.pass(&whole(0), &file);
            conversation.say(format!("{{\"type\":\"progress\",\"index\":0,\"done\":{done}}}\n"));
        }
    });
    let fetched = agent.fetch(&site.service.url("/"), &agent.wants(&site.packages)).all_placed();
    assert_eq!(fetched.done().0, 1);
    assert_placed(&site.packages[0], agent.path("cache/a.rpm"));
}

#[test]
fn what_is_placed_shares_nothing_with_the_agents_file() {
    let site = site();
    let agent = Agent::new();
    let package = &site.packages[0];
    let evil = agent.path("evil");
    fs::write(&evil, package.bytes()).unwrap();
    // What librepo believes: a checksum that somebody wrote into an attribute.
    let attribute = "user.Zif.MdChecksum[1700000000]";
    rustix::fs::setxattr(&evil, attribute, b"0123", rustix::fs::XattrFlags::empty()).expect("an attribute");
    let passed = evil.clone();
    let _liar = liar(&agent, move |conversation| {
        let file = File::options().read(true).write(true).open(&passed).expect("the package");
        conversation.pass(&whole(0), &file);
    });
    let _ = agent.fetch(&site.service.url("/"), &agent.wants(&site.packages)).all_placed();
    let dest = agent.path("cache/a.rpm");
    assert_placed(package, &dest);
    // The agent's user can still write its own file.
    File::options().write(true).open(&evil).unwrap().write_all_at(&[0; 4096], 0).unwrap();
    assert_placed(package, &dest);
}

#[test]
fn a_damaged_package_of_the_store_is_fetched_again() {
    let site = Site::start(&[("a.rpm", 300_000), ("b.rpm", 5_000_000)], "");
    let agent = Agent::new();
    let service = site.service.url("/");
    let _ = agent.fetch(&service, &agent.wants(&site.packages)).all_placed();
    let stored = |nth: usize| agent.state_dir().join("store").join(site.packages[nth].identity.to_string());
    let damage = |path: &Path| {
        let file = File::options().write(true).open(path).expect("a stored package");
        file.write_all_at(b"damage", 200_000).expect("damage is done");
    };
    damage(&stored(0));
    let fetched = agent.fetch(&service, &agent.wants_in("second", &site.packages)).all_placed();
    assert_eq!((fetched.bytes().origin, fetched.bytes().store), (300_000, 5_000_000));
    assert_placed(&site.packages[0], agent.path("second/a.rpm"));
    assert_placed(&site.packages[1], agent.path("second/b.rpm"));
    assert_eq!(agent.verify().len(), 2);

    // Cut short or gone, it is not even passed.
    File::options().write(true).open(stored(0)).unwrap().set_len(1000).unwrap();
    fs::remove_file(stored(1)).unwrap();
    let fetched = agent.fetch(&service, &agent.wants_in("third", &site.packages)).all_placed();
    assert_eq!(fetched.bytes().origin, 5_300_000);
    for (package, name) in site.packages.iter().zip(["third/a.rpm", "third/b.rpm"]) {
        assert_placed(package, agent.path(name));
    }
}

#[test]
fn a_damaged_package_that_cannot_be_fetched_again_is_left() {
    let site = site();
    let agent = Agent::new();
    let _ = agent.fetch(&site.service.url("/"), &agent.wants(&site.packages)).all_placed();
    let stored = agent.state_dir().join("store").join(site.packages[0].identity.to_string());
    for damaged in [true, false] {
        match damaged {
            true => fs::write(&stored, vec![0; 300_000]).unwrap(),
            false => assert!(!stored.exists(), "what is damaged does not stay"),
        }
        let wants = agent.wants_in("again", &site.packages);
        // Nothing answers there.
        let fetched = agent.fetch("http://127.0.0.1:9/", &wants).failed_with(0, "refused");
        assert!(!agent.path("again/a.rpm").exists(), "{fetched:?}");
    }
}
