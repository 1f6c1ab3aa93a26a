//! A program and a running agent of different versions get on, or part cleanly; whatever else answers or does not answer
//! on the agent's socket costs a bounded time.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use pkgtorrent_system_tests::site::Site;
use pkgtorrent_system_tests::wire::open_files;
use pkgtorrent_test_support::agent::{Agent, assert_placed};
use pkgtorrent_test_support::fake_agent::FakeAgent;
use pkgtorrent_test_support::process::wait_for;
use pkgtorrent_test_support::proxy::{self, Part};
use rustix::process::{Signal, kill_process};

/// How long an agent may be silent before it counts as hung, and what a busy machine adds.
const HUNG: Duration = Duration::from_secs(10);
const SLACK: Duration = Duration::from_secs(4);

/// How long what need not wait for anything may take on a busy machine.
const SOON: Duration = Duration::from_secs(5);

const HELLO: &str = "{\"type\":\"hello\",\"version\":1,\"oldest\":1}\n";

fn site() -> Site {
    Site::start(&[("a.rpm", 300_000)], "")
}

#[test]
fn an_older_agent_is_replaced() {
    let site = site();
    let agent = Agent::new();
    let old = FakeAgent::saying(
        agent.state_dir(),
        "{\"type\":\"hello\",\"version\":0,\"oldest\":0,\"program\":\"0.0.1\"}\n",
    );
    let fetched = agent.fetch(&site.service.url("/"), &agent.wants(&site.packages)).all_placed();
    assert_placed(&site.packages[0], agent.path("cache/a.rpm"));
    assert_eq!(old.asked(), ["hello", "stop"], "{fetched:?}");
    assert_eq!(agent.status().expect("the new one runs").packages, 1);
}

fn an_older_agent_that_does_not_end_is_no_reason_to_wait_long() {
    let site = site();
    let agent = Agent::new();
    let _old = FakeAgent::start(agent.state_dir(), |mut conversation| {
        while let Some(request) = conversation.next_request() {
            if request["type"] == "hello" {
                conversation.say("{\"type\":\"hello\",\"version\":0,\"oldest\":0,\"program\":\"0.0.1\"}\n");
            }
        }
    });
    let fetched = agent.fetch(&site.service.url("/"), &agent.wants(&site.packages));
    assert!(fetched.duration < HUNG + SLACK, "{fetched:?}");
    let _ = fetched.failed_with(0, "has not answered");
}

#[test]
fn other_commands_say_what_is_wrong_with_an_agents_version() {
    let agent = Agent::new();
    for (hello, reason) in [
        ("{\"type\":\"hello\",\"version\":0,\"oldest\":0,\"program\":\"0.0.1\"}\n", "(0.0.1) is too old"),
        ("{\"type\":\"hello\",\"version\":9,\"oldest\":8,\"program\":\"9.1\"}\n", "(9.1) is too new"),
    ] {
        let _ = fs::remove_file(agent.state_dir().join("agent.sock"));
        let fake = FakeAgent::saying(agent.state_dir(), hello);
        let _ = agent.run(&["status"]).failed_with(reason);
        assert_eq!(fake.asked(), ["hello"]);
        let _ = agent.run(&["agent", "stop"]).succeeded();
        assert_eq!(fake.asked(), ["hello", "hello", "stop"]);
        assert_eq!(agent.status(), None);
    }
}

#[test]
fn a_newer_agent_that_does_not_know_us_is_left_alone() {
    let site = site();
    let agent = Agent::new();
    let new = FakeAgent::saying(
        agent.state_dir(),
        "{\"type\":\"hello\",\"version\":9,\"oldest\":2,\"program\":\"9.1\",\"more\":{\"of\":[1]}}\n",
    );
    let fetched = agent.fetch(&site.service.url("/"), &agent.wants(&site.packages));
    assert!(fetched.duration < SOON, "{fetched:?}");
    let _ = fetched.failed_with(0, "the running agent (9.1) is too new for this program");
    assert_eq!(new.asked(), ["hello"], "it is not stopped");
    assert!(!agent.path("cache/a.rpm").exists());
}

#[test]
fn a_newer_agent_that_knows_us_is_understood() {
    let site = site();
    let agent = Agent::new();
    let path = site.packages[0].path.clone();
    let new = FakeAgent::start(agent.state_dir(), move |mut conversation| {
        while let Some(request) = conversation.next_request() {
            match request["type"].as_str() {
                Some("hello") => conversation.say(
                    "{\"type\":\"hello\",\"version\":9,\"oldest\":1,\"program\":\"9.1\",\"motd\":\"hi\"}\n",
                ),
                Some("fetch") => {
                    conversation.say("{\"type\":\"alive\",\"load\":3}\n");
                    conversation
                        .say("{\"type\":\"waiting\",\"index\":0,\"reason\":\"a lease\",\"until\":7}\n");
                    conversation.say("{\"type\":\"progress\",\"index\":0,\"done\":5,\"rate\":1.5}\n");
                    let file = fs::File::open(&path).expect("the package");
                    let from = "{\"peers\":300000,\"origin\":0,\"store\":0,\"neighbours\":1}";
                    let line =
                        format!("{{\"type\":\"whole\",\"index\":0,\"from\":{from},\"via\":\"lan\"}}\n");
                    conversation.pass(&line, &file);
                }
                Some("taken") => conversation.say("{\"type\":\"end\",\"seeding\":true}\n"),
                _ => {}
            }
        }
    });
    let fetched = agent.fetch(&site.service.url("/"), &agent.wants(&site.packages)).all_placed();
    assert_eq!((fetched.bytes().peers, fetched.events.len()), (300_000, 4), "{fetched:?}");
    assert_placed(&site.packages[0], agent.path("cache/a.rpm"));
    assert_eq!(new.asked(), ["hello", "fetch", "taken"]);
}

#[test]
fn what_is_no_agent_is_left_alone() {
    let site = site();
    for (says, reason) in [
        ("SSH-2.0-OpenSSH_9.2\r\n", "answer is wrong"),
        ("{\"type\":\"goodbye\"}\n", "answer is wrong"),
        ("{\"type\":\"end\"}\n", "does not belong here"),
        ("{\"type\":\"hello\"}\n", "answer is wrong"),
        ("\u{0}\u{0}\u{0}\n", "answer is wrong"),
        ("{\"type\":\"refused\",\"reason\":\"it is Sunday\"}\n", "it is Sunday"),
    ] {
        let agent = Agent::new();
        let _fake = FakeAgent::saying(agent.state_dir(), says);
        let fetched = agent.fetch(&site.service.url("/"), &agent.wants(&site.packages));
        assert!(fetched.duration < SOON, "{says:?}: {fetched:?}");
        let _ = fetched.failed_with(0, reason);
        assert_eq!(agent.processes(), [], "{says:?}");
    }
}

fn what_says_nothing_but_is_there_is_given_up() {
    let site = site();
    let agent = Agent::new();
    let _fake = FakeAgent::start(
        agent.state_dir(),
        |mut conversation| while conversation.next_request().is_some() {},
    );
    let fetched = agent.fetch(&site.service.url("/"), &agent.wants(&site.packages));
    assert!(fetched.duration < HUNG + SLACK, "{fetched:?}");
    let _ = fetched.failed_with(0, "has not answered for 10 seconds");
}

#[test]
fn whoever_does_not_answer_is_given_up() {
    // All of it is waiting, so it is done at once.
    std::thread::scope(|scope| {
        scope.spawn(an_older_agent_that_does_not_end_is_no_reason_to_wait_long);
        scope.spawn(what_says_nothing_but_is_there_is_given_up);
        scope.spawn(an_agent_that_hangs_is_given_up_and_may_come_back);
    });
}

fn an_agent_that_hangs_is_given_up_and_may_come_back() {
    let site = Site::start(&[("a.rpm", 4_000_000), ("b.rpm", 300_000)], "");
    let slow = proxy::before(site.service.addr(), |request, answer| match Part::of(request) {
        Part::Package => answer.slow(16 << 10, Duration::from_millis(20)),
        _ => answer,
    });
    let agent = Agent::new();
    let mut within = agent.start_fetch(&slow.url("/"), &agent.wants_in("within", &site.packages[..1]));
    within.wait_for_progress(1);
    let pid = agent.running();
    kill_process(pid, Signal::STOP).expect("it is stopped");
    let since = std::time::Instant::now();
    // One in the middle of a download, one that has just come, and other commands.
    let fresh = agent.start_fetch(&slow.url("/"), &agent.wants_in("fresh", &site.packages[1..]));
    std::thread::scope(|scope| {
        for command in [&["status"][..], &["agent", "stop"], &["store", "list"]] {
            let agent = &agent;
            scope.spawn(move || {
                let ran = agent.run(command).failed_with("has not answered for 10 seconds");
                assert!(ran.duration < HUNG + SLACK, "{ran:?}");
            });
        }
    });
    for fetching in [within, fresh] {
        let _ = fetching.wait().failed_with(0, "has not answered for 10 seconds");
        assert!(since.elapsed() < HUNG + SLACK);
    }
    assert!(!agent.path("within/a.rpm").exists() && !agent.path("fresh/b.rpm").exists());
    kill_process(pid, Signal::CONT).expect("it goes on");
    let _ = agent.fetch(&site.service.url("/"), &agent.wants(&site.packages)).all_placed();
    assert_eq!(agent.running(), pid);
}

#[test]
fn garbage_on_its_socket_does_not_hurt_the_agent() {
    let site = site();
    let agent = Agent::new();
    let _ = agent.run(&["store", "list"]).succeeded();
    let pid = agent.running();
    let number = pid.as_raw_nonzero().get() as u32;
    let before = open_files(number);
    let fetch = |wants: &str, rest: &str| {
        format!(
            "{HELLO}{{\"type\":\"fetch\",\"services\":[\"http://127.0.0.1:9/\"],\"wants\":[{wants}]}}\n{rest}"
        )
    };
    let digest = format!("\"sha256:{}\"", "0".repeat(64));
    let odd_service = format!("{{\"digest\":{digest},\"size\":1,\"service\":18446744073709551615}}");
    let absurd = format!("{{\"digest\":{digest},\"size\":18446744073709551615,\"service\":0}}");
    let long = format!("{HELLO}{{\"type\":\"status\",\"x\":\"{}", "y".repeat(40 << 20));
    let sent: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"\n\n\n".to_vec(),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        (0..=255_u8).cycle().take(100_000).collect(),
        b"{\"type\":\"status\"}\n".to_vec(),
        b"{\"type\":\"hello\",\"version\":-1}\n".to_vec(),
        HELLO.repeat(1000).into_bytes(),
        format!("{HELLO}{{\"type\":\"dance\"}}\n").into_bytes(),
        format!("{HELLO}{{\"type\":\"add\",\"index\":0}}\n").into_bytes(),
        format!("{HELLO}{{\"type\":\"taken\",\"index\":7}}\n{{\"type\":\"rejected\",\"index\":7}}\n")
            .into_bytes(),
        fetch("", "").into_bytes(),
        fetch(&odd_service, "").into_bytes(),
        fetch(&absurd, "{\"type\":\"taken\",\"index\":0}\n{\"type\":\"rejected\",\"index\":0}\n")
            .into_bytes(),
        fetch(&absurd, &fetch(&absurd, "")).into_bytes(),
        fetch("1,2,3", "").into_bytes(),
        fetch(
            &format!("{{\"digest\":{digest},\"size\":5,\"service\":0}}"),
            "{\"type\":\"rejected\",\"index\":0}\n",
        )
        .into_bytes(),
        format!("{HELLO}{}\n", "[".repeat(1_000_000)).into_bytes(),
        format!(
            "{HELLO}{}",
            "{\"type\":\"list\"}\n{\"type\":\"verify\"}\n{\"type\":\"status\"}\n".repeat(3000)
        )
        .into_bytes(),
        long.into_bytes(),
        b"\xff\xfe{\"type\":\"hello\"".to_vec(),
    ];
    for bytes in &sent {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(100)]).into_owned();
        let mut stream = UnixStream::connect(agent.state_dir().join("agent.sock")).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        stream.set_write_timeout(Some(SOON)).unwrap();
        // It may close in the middle, and need not answer.
        let _ = stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write));
        let _ = stream.read(&mut [0; 1000]);
        drop(stream);
        assert_eq!(agent.pid(), Some(pid), "after {shown:?}");
    }
    // Half a line, and nothing more: these stay.
    let silent: Vec<UnixStream> = (0..20)
        .map(|_| {
            let mut stream = UnixStream::connect(agent.state_dir().join("agent.sock")).unwrap();
            stream.write_all(b"{\"type\":\"hel").unwrap();
            stream
        })
        .collect();
    let fetched = agent.fetch(&site.service.url("/"), &agent.wants(&site.packages)).all_placed();
    assert!(fetched.duration < SOON, "{fetched:?}");
    assert_eq!(agent.running(), pid);
    drop(silent);
    wait_for("end of all connections", SOON, || (open_files(number) <= before + 3).then_some(()));
    let most = resident_bytes_at_most(number);
    assert!(most < 40 << 20, "{most} bytes of memory");
    assert_eq!(agent.status().expect("it runs").waiting, 0);
}

/// The most memory that a process ever had resident, in bytes.
fn resident_bytes_at_most(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a number");
    let kib = line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok());
    kib.expect("a number") << 10
}

#[test]
fn files_that_nobody_asked_for_are_closed() {
    let agent = Agent::new();
    let _ = agent.run(&["store", "list"]).succeeded();
    let number = agent.running().as_raw_nonzero().get() as u32;
    let before = open_files(number);
    for _ in 0..20 {
        let stream = UnixStream::connect(agent.state_dir().join("agent.sock")).unwrap();
        pass_many(&stream, HELLO);
        pass_many(&stream, "{\"type\":\"status\"}\n");
        pass_many(&stream, "{\"type\":\"nothing of this kind\"}\n");
    }
    wait_for("end of all files", SOON, || (open_files(number) <= before).then_some(()));
    assert!(agent.status().is_some());
}

/// Sends bytes one by one, with a file each.
fn pass_many(stream: &UnixStream, bytes: &str) {
    use std::os::fd::AsFd;
    let null = fs::File::open("/dev/null").expect("/dev/null");
    for byte in bytes.as_bytes().chunks(1) {
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = rustix::net::SendAncillaryBuffer::new(&mut space);
        let files = [null.as_fd()];
        assert!(control.push(rustix::net::SendAncillaryMessage::ScmRights(&files)));
        let line = [std::io::IoSlice::new(byte)];
        // It may have had enough already.
        let _ = rustix::net::sendmsg(stream, &line, &mut control, rustix::net::SendFlags::NOSIGNAL);
    }
}
