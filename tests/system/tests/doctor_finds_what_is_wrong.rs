//! `pkgtorrent doctor` finds each thing that keeps a host from fetching and sharing, in a line of its own with what to do,
//! and takes no longer where something hangs.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use pkgtorrent_system_tests::site::Site;
use pkgtorrent_test_support::agent::{Agent, Ran};
use pkgtorrent_test_support::blackhole::Blackhole;
use pkgtorrent_test_support::fake_agent::FakeAgent;
use pkgtorrent_test_support::process::{built, wait_for};
use pkgtorrent_test_support::server::{Answer, Server};
use pkgtorrent_test_support::user::{OTHER_USER, as_user};
use pkgtorrent_test_support::{Disk, Machine};
use serde_json::Value;

/// What a command takes beside the two seconds that it has, on a machine that is busy with other tests.
const SLACK: Duration = Duration::from_secs(8);

/// What is said of what hangs.
const LATE: &str = "not found out within 1.8 s";

/// How long the machine may be so busy that nothing is in time.
const BUSY_LIMIT: Duration = Duration::from_secs(60);

/// What the doctor says of a host, as JSON.
#[derive(Debug)]
struct Report {
    findings: Vec<Value>,
    ran: Ran,
}

impl Report {
    fn of(ran: Ran) -> Self {
        let findings = serde_json::from_str(&ran.output).unwrap_or_else(|e| panic!("{e}: {ran:?}"));
        Self { findings, ran }
    }

    fn line(&self, check: &str) -> &Value {
        let is_it = |finding: &&Value| finding["check"] == check;
        self.findings.iter().find(is_it).unwrap_or_else(|| panic!("no {check}: {self:?}"))
    }

    fn state(&self, check: &str) -> &str {
        self.line(check)["state"].as_str().expect("a state")
    }

    /// Panics unless this check has this state and says this, and says what to do.
    fn has(&self, check: &str, state: &str, found: &str) {
        let line = self.line(check);
        assert_eq!(line["state"], state, "{line}");
        assert!(
            line["found"].as_str().is_some_and(|text| text.contains(found)),
            "{found:?} is not in {line}"
        );
        assert!(line["advice"].is_string(), "{line}");
        assert_eq!(self.ran.status == Some(1), self.has_problem(), "{self:?}");
    }

    fn has_problem(&self) -> bool {
        self.findings.iter().any(|finding| finding["state"] == "problem")
    }
}

/// What it finds when nothing hangs, but on a machine that is busy with other tests may be late.
fn doctor(agent: &Agent, service: &str) -> Report {
    let look = || {
        let report = Report::of(agent.run(&["doctor", "--json", "--service", service]));
        Some(report).filter(|report| !report.ran.output.contains(LATE))
    };
    wait_for("doctor that is in time", BUSY_LIMIT, look)
}

/// A service that answers everything so.
fn answering(answer: Answer) -> Server {
    Server::start(move |_| answer.clone())
}

fn unknown_set() -> Answer {
    Answer::new(412, "this set is not known\n")
}

#[test]
fn a_host_that_is_well_has_no_problem() {
    let site = Site::start(&[("a.rpm", 100_000)], "");
    let agent = Agent::with_config("listen = \"127.0.0.1:0\"\n");
    let report = doctor(&agent, &site.service.url("/"));
    assert!(!report.has_problem(), "{report:?}");
    assert_eq!(report.ran.status, Some(0));
    for check in ["configuration", "service", "plan", "clock", "agent", "port", "state directory"] {
        assert_eq!(report.state(check), "ok", "{report:?}");
    }
    let version = env!("CARGO_PKG_VERSION");
    let service = report.line("service")["found"].as_str().expect("a text");
    assert!(service.contains(&format!("is version {version}")), "{service}");
    assert_eq!(agent.status(), None, "no agent was started");
    assert!(!agent.state_dir().exists(), "nothing was made");

    let _ = agent.fetch(&site.service.url("/"), &agent.wants(&site.packages)).all_placed();
    let report = doctor(&agent, &site.service.url("/"));
    assert!(!report.has_problem(), "{report:?}");
    let running = report.line("agent")["found"].as_str().expect("a text");
    assert!(running.contains(&format!("version {version} runs")), "{running}");
    assert_eq!((report.state("port"), report.state("peers")), ("ok", "unknown"));
    let text = agent.run(&["doctor", "--service", &site.service.url("/")]).succeeded().output;
    assert!(text.lines().any(|line| line.starts_with("ok       agent ")), "{text}");
}

#[test]
fn a_service_that_is_down_or_silent_costs_no_time() {
    let agent = Agent::new();
    let refusing = TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("an address");
    let report = doctor(&agent, &format!("http://{refusing}/"));
    report.has("service", "problem", "efused");
    assert_eq!((report.state("plan"), report.state("clock")), ("unknown", "unknown"));

    let blackhole = Blackhole::open();
    let report = doctor(&agent, &format!("http://{}/", blackhole.addr()));
    report.has("service", "problem", "no answer within 1.2 s");
    assert!(report.ran.duration < Duration::from_secs(2) + SLACK, "{report:?}");

    let hanging = answering(Answer::Hang);
    doctor(&agent, &hanging.url("/")).has("service", "problem", "no answer within 1.2 s");
    doctor(&agent, "http://no-such-host.invalid/").has("service", "problem", "no-such-host.invalid");
    doctor(&agent, "").has("service", "problem", "none is configured");
}

#[test]
fn what_answers_and_is_no_service_of_ours_is_told() {
    let agent = Agent::new();
    let other = answering(unknown_set().header("pkgtorrent-service", "9.0.0; protocol=2"));
    let report = doctor(&agent, &other.url("/"));
    report.has("service", "problem", "is version 9.0.0 and speaks protocol 2");
    assert_eq!(report.state("plan"), "ok");

    let late = answering(unknown_set().header("Date", "Sat, 01 Jan 2000 00:00:00 GMT"));
    let report = doctor(&agent, &late.url("/"));
    report.has("clock", "warning", "ahead of the service's");
    assert_eq!((report.state("service"), report.ran.status), ("ok", Some(0)));

    for (answer, advice) in [
        (Answer::new(404, "nothing here\n"), "no pkgtorrent-service"),
        (Answer::new(421, "not this host\n"), "allowed_hosts"),
        (Answer::new(200, "<html>welcome</html>"), "something else"),
        (Answer::new(503, "later\u{1b}[2J\n"), "log"),
    ] {
        let server = answering(answer);
        let report = doctor(&agent, &server.url("/"));
        let line = report.line("plan");
        assert_eq!(line["state"], "problem", "{line}");
        assert!(line["advice"].as_str().is_some_and(|text| text.contains(advice)), "{line}");
        let text = agent.run(&["doctor", "--service", &server.url("/")]).output;
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }
}

#[test]
fn an_agent_of_another_version_and_one_that_hangs_are_told() {
    let agent = Agent::new();
    let old = FakeAgent::saying(
        agent.state_dir(),
        "{\"type\":\"hello\",\"version\":0,\"oldest\":0,\"program\":\"0.0.1\"}\n",
    );
    doctor(&agent, "auto").has("agent", "problem", "(0.0.1) is too old");
    assert_eq!(old.asked(), ["hello"], "it is left as it is");

    let agent = Agent::new();
    let _hanging = FakeAgent::start(
        agent.state_dir(),
        |mut conversation| {
            while conversation.next_request().is_some() {}
        },
    );
    let report = Report::of(agent.run(&["doctor", "--json", "--service", "auto"]));
    report.has("agent", "problem", LATE);
    assert!(report.ran.duration < Duration::from_secs(2) + SLACK, "{report:?}");
    assert_eq!(report.state("configuration"), "ok", "the others are not held up");
}

#[test]
fn a_port_that_another_program_has_is_told() {
    let other = TcpListener::bind("127.0.0.1:0").expect("bound");
    let port = other.local_addr().expect("an address").port();
    let agent = Agent::with_config(&format!("listen = \"127.0.0.1:{port}\"\n"));
    doctor(&agent, "auto").has("port", "warning", "taken by another program");

    let site = Site::start(&[("a.rpm", 100_000)], "");
    let _ = agent.fetch(&site.service.url("/"), &agent.wants(&site.packages)).all_placed();
    doctor(&agent, "auto").has("port", "warning", &format!("because {port} was taken"));
}

#[test]
fn a_configuration_that_makes_no_sense_is_told_and_the_rest_is_looked_at() {
    let agent = Agent::with_config("sed_min = 3\n");
    let report = doctor(&agent, "auto");
    report.has("configuration", "problem", "did you mean seed_min?");
    assert_eq!(report.state("agent"), "ok");
}

#[test]
fn a_full_disk_is_told() {
    let disk = Disk::new(8 << 20);
    let agent = Agent::with_config("free_space_min = 1000000\n").in_dir(disk.path().join("state"));
    assert_eq!(doctor(&agent, "auto").state("store room"), "ok");
    let _ = disk.fill_but(100_000);
    doctor(&agent, "auto").has("store room", "problem", "are free in");
}

#[test]
fn another_users_agent_and_directory_are_told() {
    let agent = Agent::new();
    std::fs::set_permissions(agent.path(""), PermissionsExt::from_mode(0o755)).expect("others may pass");
    let _ = agent.run(&["store", "list"]).succeeded();
    let mut command = as_user(OTHER_USER, &built("pkgtorrent"));
    command.args(agent.command(&["doctor", "--json", "--service", "auto"]).get_args());
    let report = Report::of(agent.run_command(command));
    report.has("agent", "problem", "may not ask this agent");
    report.has("state directory", "problem", "belongs to user");
    agent.stop();
    std::fs::set_permissions(agent.state_dir(), PermissionsExt::from_mode(0o777)).expect("changed");
    doctor(&agent, "auto").has("state directory", "problem", "may be written by others");
}

#[test]
fn a_plugin_that_is_not_loaded_is_told() {
    let Some(machine) = Machine::copy() else { return };
    let report = || {
        let mut command = machine.command(built("pkgtorrent").to_str().expect("a path"));
        Report::of(Agent::new().run_command({
            command.args(["doctor", "--json", "--service", "auto"]);
            command
        }))
    };
    let shim = concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugin-shim/dnf4/");
    let read = |name: &str| std::fs::read_to_string(format!("{shim}{name}")).expect("the plugin");
    report().has("dnf plugin", "warning", "not installed");
    machine.write("/usr/lib/python3/dist-packages/dnf-plugins/pkgtorrent.py", &read("pkgtorrent.py"));
    report().has("dnf plugin", "problem", "/etc/dnf/plugins/pkgtorrent.conf is missing");
    let conf = read("pkgtorrent.conf").replace("/usr/bin/pkgtorrent\n", "/usr/bin/true\n");
    let write = |conf: &str| machine.write("/etc/dnf/plugins/pkgtorrent.conf", conf);
    write(&conf);
    report().has("dnf plugin", "problem", "no service to ask");
    write(&conf.replace("enabled = 1", "enabled = 0"));
    report().has("dnf plugin", "problem", "disabled");
    write(&conf.replace("service =", "service = http://127.0.0.1:9/"));
    assert_eq!(report().state("dnf plugin"), "ok");
    // What the plugin asks is what is looked at.
    let mut command = machine.command(built("pkgtorrent").to_str().expect("a path"));
    command.args(["doctor", "--json"]);
    Report::of(Agent::new().run_command(command)).has("service", "problem", "http://127.0.0.1:9/");
}
