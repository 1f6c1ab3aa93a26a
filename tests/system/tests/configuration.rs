//! What is configured is what counts: each program shows it and where it is from, says what is wrong with it before it is
//! started, and takes up what has changed while it runs. What is wrong changes nothing.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use pkgtorrent_system_tests::Lab;
use pkgtorrent_system_tests::site::Site;
use pkgtorrent_test_support::agent::{Agent, Ran};
use pkgtorrent_test_support::process::{built, run, wait_for};
use pkgtorrent_test_support::user::{OTHER_USER, as_user};
use rustix::process::{Pid, Signal, kill_process};

/// How long what need not wait for anything may take on a busy machine.
const SOON: Duration = Duration::from_secs(10);

/// `pkgtorrent-service` with this configuration file and these arguments.
fn service(config: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(built("pkgtorrent-service"));
    command.arg("--config").arg(config).args(arguments).env_remove("STATE_DIRECTORY");
    command
}

/// What comes of a command, whichever program it is of.
fn ran(command: Command) -> Ran {
    Agent::new().run_command(command)
}

#[test]
fn each_program_shows_what_counts_and_where_it_is_from() {
    let agent = Agent::with_config("seed_min = 5\nidle_timeout = 6\nproxy = \"http://me:secret@proxy/\"\n");
    fs::create_dir(agent.path("agent.toml.d")).expect("made");
    fs::write(agent.path("agent.toml.d/site.toml"), "\nseed_min = 7\nlisten = \"1\"\n").expect("written");
    let mut command = agent.command(&["config"]);
    command.env("PKGTORRENT_LISTEN", "127.0.0.1:0").env("PKGTORRENT_SERVICE_PORT", "tcp://10.0.0.1:80");
    let shown = agent.run_command(command).succeeded().output;
    let (file, drop_in) = (agent.config(), agent.path("agent.toml.d/site.toml"));
    for line in [
        format!("seed_min = 7  # {}:2", drop_in.display()),
        format!("idle_timeout = 6  # {}:2", file.display()),
        "listen = \"127.0.0.1:0\"  # PKGTORRENT_LISTEN".to_owned(),
        "peer_connections = 200  # default".to_owned(),
        format!("proxy = \"http://me:***@proxy/\"  # {}:3", file.display()),
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line} is not in {shown}");
    }
    let json = agent.run(&["config", "--json"]).succeeded().output;
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(
        json["seed_min"],
        serde_json::json!({ "value": 7, "from": format!("{}:2", drop_in.display()) })
    );

    let config = agent.path("service.toml");
    fs::write(&config, "root = \"/a\"\nmin_rate = 9\n").expect("written");
    let mut command = service(&config, &["--root", "/b", "config"]);
    command
        .env("PKGTORRENT_SERVICE_ORIGIN", "{ max_rate = \"8 Mbit/s\" }")
        .env("PKGTORRENT_LISTEN", "nonsense");
    let shown = ran(command).succeeded().output;
    for line in [
        "root = \"/b\"  # --root".to_owned(),
        format!("min_rate = 9  # {}:2", config.display()),
        "origin = { max_rate = \"8 Mbit/s\" }  # PKGTORRENT_SERVICE_ORIGIN".to_owned(),
        "listen = [\"[::]:7070\"]  # default".to_owned(),
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line} is not in {shown}");
    }
}

#[test]
fn each_program_says_what_is_wrong_before_it_is_started() {
    let agent = Agent::with_config("service = \"http://mirror:7070\"\n");
    assert_eq!(agent.run(&["check"]).succeeded().output, "no problems found\n");
    assert!(!agent.state_dir().exists(), "checking makes nothing");
    for (config, problem) in [
        ("\nsed_min = 3", "agent.toml:2: there is no key \"sed_min\"; did you mean seed_min?"),
        ("allowed_users = [\"nobody-of-this-name\"]", "there is no user \"nobody-of-this-name\""),
        ("ca_file = \"/nowhere/ca.pem\"", "/nowhere/ca.pem"),
        ("listen = \"203.0.113.1:7071\"", "listen: 203.0.113.1: "),
    ] {
        agent.set_config(config);
        let _ = agent.run(&["check"]).failed_with(problem);
    }
    agent.set_config("");
    let mut command = agent.command(&["check"]);
    command.env("PKGTORRENT_SEED_MIN", "long");
    let _ = agent.run_command(command).failed_with("PKGTORRENT_SEED_MIN: seed_min: expected a whole number");
    // Another user may read all of this and write nothing.
    fs::set_permissions(agent.path(""), Permissions::from_mode(0o755)).expect("set");
    fs::copy(built("pkgtorrent"), agent.path("pkgtorrent")).expect("a copy that everybody may run");
    let mut command = as_user(OTHER_USER, &agent.path("pkgtorrent"));
    command.arg("--config").arg(agent.config()).arg("--state-dir").arg(agent.path("a/b")).arg("check");
    let _ = agent.run_command(command).failed_with("may not be written to");
    fs::write(agent.state_dir(), "no directory").expect("written");
    let _ = agent.run(&["check"]).failed_with("is no directory");
    assert_eq!(agent.run(&["check", "--all"]).status, Some(2));

    let (lab, config) = (Lab::new(), agent.path("service.toml"));
    let (root, state) = (lab.root().display().to_string(), lab.state().display().to_string());
    let checked = |config_text: &str, arguments: &[&str]| {
        fs::write(&config, config_text).expect("written");
        ran(service(&config, &[&["check"], arguments].concat()))
    };
    let right = format!("root = {root:?}\nstate = {state:?}\n");
    assert_eq!(checked(&right, &[]).succeeded().output, "no problems found\n");
    let _ =
        checked("root = \"/nowhere\"\n", &["--state", &state]).failed_with("root: /nowhere: No such file");
    let inside = format!("{root}/state");
    let _ = checked(&right, &["--state", &inside]).failed_with("must not lie in each other");
    let _ = checked(&right, &["--listen", "203.0.113.1:1"]).failed_with("listen: 203.0.113.1: ");
    let _ =
        checked("min_rate = \"fast\"", &[]).failed_with("service.toml:1: min_rate: expected a whole number");
    assert_eq!(ran(service(Path::new("/nowhere.toml"), &["check"])).status, Some(1), "a file that was named");
    assert_eq!(checked(&right, &["--all"]).status, Some(2));
    // What is checked is what would be refused.
    let mut refused = service(&config, &["--root", "/nowhere", "--state", &state]);
    assert_eq!(refused.output().expect("it runs").status.code(), Some(2));
}

fn hang_up(pid: Pid) {
    kill_process(pid, Signal::HUP).expect("it is there");
}

#[test]
fn the_service_takes_up_what_has_changed() {
    let mut site = Site::start(&[("a.rpm", 1000)], "public_url = \"http://one\"\n");
    let reload = |site: &Site, line: &str| {
        hang_up(Pid::from_raw(site.service.pid() as i32).expect("a process"));
        wait_for(line, SOON, || site.service.log().contains(line).then_some(()));
    };
    assert!(site.plan().announce.starts_with("http://one/"));
    site.service.set_config("public_url = \"http://two\"\npeer_networks = []\nannounce_interval = 7\n");
    reload(&site, "public_url = \"http://two\", was \"http://one\"");
    assert!(site.service.log().contains("only a restart will apply peer_networks = []"));
    wait_for("another interval", SOON, || {
        let plan = site.plan();
        (plan.announce.starts_with("http://two/") && plan.policy.announce_interval == 7).then_some(())
    });
    site.service.set_config("public_url = \"http://three\"\nworkers = \"many\"\n");
    reload(&site, "the configuration stays as it was: ");
    assert!(site.service.log().contains("workers: expected a whole number"));
    assert!(site.plan().announce.starts_with("http://two/"));
    site.service.set_config("public_url = \"http://three\"\npeer_networks = []\nannounce_interval = 7\n");
    reload(&site, "public_url = \"http://three\", was \"http://two\"");
    assert!(site.service.is_running());
}

#[test]
fn the_agent_takes_up_what_has_changed() {
    let site = Site::start(&[("a.rpm", 300_000), ("b.rpm", 300_000)], "");
    let agent =
        Agent::with_config("store_max_bytes = 900000\nseed_min = 1\nseed_max = 1\nidle_timeout = 600\n");
    // The user that it becomes when root starts it has to find the file again.
    fs::set_permissions(agent.path(""), Permissions::from_mode(0o755)).expect("set");
    let _ = agent.fetch(&site.service.url("/"), &agent.wants(&site.packages)).all_placed();
    let reload = |config: &str, line: &str| {
        agent.set_config(config);
        hang_up(agent.running());
        wait_for(line, SOON, || agent.log().contains(line).then_some(()));
    };
    let limit = || agent.status().expect("it runs").bytes_max;
    assert_eq!((limit(), agent.stored().len()), (900_000, 2));
    reload("store_max_bytes = 400000\nlisten = \"1\"\n", "store_max_bytes = 400000, was 900000");
    assert!(agent.log().contains("only a restart will apply listen = \"1\""));
    wait_for("a smaller store", SOON, || (limit() == 400_000 && agent.stored().len() == 1).then_some(()));
    reload("store_max_bytes = 0\n", "the configuration stays as it was: ");
    assert_eq!(limit(), 400_000);
    reload("ca_file = \"/nowhere/ca.pem\"\n", "/nowhere/ca.pem");
    assert_eq!(limit(), 400_000);
    reload("upload_limit = 5000\n", "upload_limit = 5000, was 0");
    wait_for("a limit", SOON, || (agent.status()?.upload_limit == Some(5000)).then_some(()));
    // A shorter life is one of the things that change.
    agent.set_config("seed_min = 0\nseed_max = 0\nidle_timeout = 1\n");
    hang_up(agent.running());
    agent.wait_until_gone();
}

#[test]
fn a_default_file_need_not_be_there_and_a_named_one_has_to() {
    let agent = Agent::new();
    fs::remove_file(agent.config()).expect("removed");
    let refused = agent.run(&["config"]);
    assert_eq!(refused.status, Some(2), "{refused:?}");
    assert!(refused.errors.contains("agent.toml: No such file"), "{refused:?}");
    for (program, first) in [("pkgtorrent", "service = "), ("pkgtorrent-service", "root = ")] {
        let shown = run(Command::new(built(program)).arg("config"), SOON);
        assert!(shown.starts_with(first), "{shown}");
    }
}
