//! Every command of both programs ends with 0 where all is well, 1 where there are problems and 2 where it was used
//! wrongly, and what it says for people it says as JSON too. At a terminal `fetch` shows bars, elsewhere its events.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use pkgtorrent_protocol::control::{FetchRequest, VERSION};
use pkgtorrent_system_tests::site::Site;
use pkgtorrent_test_support::agent::Agent;
use pkgtorrent_test_support::process::{built, installed};
use serde_json::Value;

/// The exit status of a command and what it says to standard output.
fn ended(mut command: Command) -> (Option<i32>, String) {
    let output = command.output().expect("it runs");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn the_exit_status_says_how_it_went() {
    let agent = Agent::with_config("service = \"http://127.0.0.1:1\"\nlisten = \"127.0.0.1:0\"\n");
    fs::write(agent.path("wrong.toml"), "sed_min = 1\n").expect("written");
    let wrong = agent.path("wrong.toml");
    let wrong = wrong.to_str().expect("a path");
    fs::write(agent.path("a.rpm"), "a package").expect("written");
    let (file, missing) = (agent.path("a.rpm"), agent.path("b.rpm"));
    let (file, missing) = (file.to_str().expect("a path"), missing.to_str().expect("a path"));
    let table: [(&[&str], i32); 24] = [
        (&["status"], 1),
        (&["status", "--json"], 1),
        (&["agent", "stop"], 0),
        (&["check"], 0),
        (&["check", "--json"], 0),
        (&["config"], 0),
        (&["config", "--json"], 0),
        (&["store", "list"], 0),
        (&["status"], 0),
        (&["store", "list", "--json"], 0),
        (&["store", "add", file], 0),
        (&["store", "add", "--json", missing], 1),
        (&["store", "verify", "--json"], 0),
        (&["doctor", "--service", "http://127.0.0.1:1/"], 1),
        (&["doctor", "--service", "nonsense"], 2),
        (&["doctor", "--no-such-flag"], 2),
        (&["fetch", "--service", "nonsense"], 2),
        (&["store", "add", "--json", "--quiet", file], 2),
        (&["store"], 2),
        (&["agent", "stop"], 0),
        (&["--config", wrong, "config"], 2),
        (&["--config", wrong, "check"], 1),
        (&["--config", wrong, "check", "--json"], 1),
        (&["--config", wrong, "agent"], 2),
    ];
    for (arguments, expected) in table {
        let mut command = Command::new(built("pkgtorrent"));
        // The last file that is named counts.
        command.arg("--state-dir").arg(agent.state_dir());
        if arguments[0] != "--config" {
            command.arg("--config").arg(agent.config());
        }
        let (status, output) = ended({
            command.args(arguments);
            command
        });
        assert_eq!(status, Some(expected), "pkgtorrent {arguments:?}: {output}");
    }
    fs::create_dir(agent.path("root")).expect("made");
    let service = |arguments: &[&str]| {
        let mut command = Command::new(built("pkgtorrent-service"));
        command
            .arg("--root")
            .arg(agent.path("root"))
            .arg("--state")
            .arg(agent.path("service"))
            .args(arguments);
        command.env_remove("STATE_DIRECTORY");
        ended(command)
    };
    for (arguments, expected) in [
        (&["--listen", "127.0.0.1:0", "check"][..], 0),
        (&["--listen", "127.0.0.1:0", "check", "--json"], 0),
        (&["--listen", "192.0.2.1:1", "check"], 1),
        (&["config", "--json"], 0),
        (&["--config", wrong, "config"], 2),
        (&["--config", wrong, "check", "--json"], 1),
        (&["--config", wrong], 2),
        (&["--no-such-flag"], 2),
    ] {
        let (status, output) = service(arguments);
        assert_eq!(status, Some(expected), "pkgtorrent-service {arguments:?}: {output}");
    }
    let (_, problems) = service(&["--config", wrong, "check", "--json"]);
    let problems: Vec<String> = serde_json::from_str(&problems).expect("a list");
    assert!(problems.len() == 1 && problems[0].contains("sed_min"), "{problems:?}");
}

#[test]
fn what_is_said_for_people_is_said_as_json_too() {
    let agent = Agent::with_config("listen = \"127.0.0.1:0\"\n");
    fs::write(agent.path("a.rpm"), "a package").expect("written");
    let (file, missing) = (agent.path("a.rpm"), agent.path("b.rpm"));
    let (file, missing) = (file.to_str().expect("a path"), missing.to_str().expect("a path"));
    let ran = agent.run(&["store", "add", "--json", file, missing]);
    assert_eq!((ran.status, ran.errors.as_str()), (Some(1), ""));
    let mut lines: Vec<Value> =
        ran.output.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect();
    lines.sort_by_key(|line| line["file"].to_string());
    assert_eq!((&lines[0]["file"], &lines[0]["size"]), (&file.into(), &9.into()), "{lines:?}");
    assert_eq!(lines[0]["identity"].as_str().map(str::len), Some(64), "{lines:?}");
    assert!(lines[1]["error"].as_str().is_some_and(|text| text.contains("No such file")), "{lines:?}");
    assert_eq!(agent.run(&["check", "--json"]).succeeded().output, "[]\n");
    agent.set_config("seed_min = \"x\"\n");
    let problems = agent.run(&["check", "--json"]);
    let list: Vec<String> = serde_json::from_str(&problems.output).expect("a list");
    assert!(list.len() == 1 && list[0].contains("seed_min") && problems.errors.is_empty(), "{problems:?}");
}

#[test]
fn a_terminal_gets_bars_and_a_log_gets_a_line_for_each_install() {
    let site = Site::start(&[("a.rpm", 300_000), ("c.rpm", 5_000_000)], "");
    let agent = Agent::new();
    let mut packages = agent.wants(&site.packages);
    packages[0].name = "a\u{1b}[2Jb".into();
    let request = FetchRequest { version: VERSION, packages, reserve: None };
    let input = agent.path("in");
    fs::write(&input, serde_json::to_vec(&request).expect("encodes")).expect("written");
    let command = agent.command(&["fetch", "--service", &site.service.url("/")]);
    let words: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
    let words: Vec<_> = words.iter().map(|word| word.to_str().expect("text")).collect();
    let line = format!("{} < {}", words.join(" "), input.display());
    let mut command = Command::new(installed("script"));
    command.args(["--quiet", "--return", "--command", &line, "/dev/null"]).env("TERM", "xterm");
    let (status, shown) = ended(command);
    assert_eq!(status, Some(0), "{shown}");
    for part in ["c.rpm: 5.0 MB from the mirror", "2 of 2 packages: 5.3 MB from the mirror", "/s"] {
        assert!(shown.contains(part), "{part:?} is not in {shown:?}");
    }
    assert!(!shown.contains("\"event\"") && !shown.contains("\u{1b}[2Jb"), "{shown:?}");
    agent.stop();
    let log = agent.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("packages placed")).collect();
    assert_eq!(lines.len(), 1, "{log}");
    for part in [" INFO ", "set ", "2 of 2 packages placed in ", "5.3 MB from the origin", " a second"] {
        assert!(lines[0].contains(part), "{part:?} is not in {}", lines[0]);
    }
}

#[test]
fn the_journal_gets_levels_and_other_files_get_times() {
    let agent = Agent::new();
    fs::write(agent.path("wrong.toml"), "sed_min = 1\n").expect("written");
    let messages = |file: &str, journal: &str| {
        let stderr = |name: &str| fs::File::create(agent.path(name)).expect("a file");
        let journal = stderr(journal).metadata().expect("its number");
        let mut command = Command::new(built("pkgtorrent-service"));
        command.arg("--config").arg(agent.path("wrong.toml")).env_remove("RUST_LOG");
        command.env("JOURNAL_STREAM", format!("{}:{}", journal.dev(), journal.ino()));
        let append = fs::File::options().append(true).create(true).open(agent.path(file));
        let status = command.stderr(append.expect("a file")).status().expect("it runs");
        assert_eq!(status.code(), Some(2));
        fs::read_to_string(agent.path(file)).expect("the messages")
    };
    let of_journal = messages("journal", "journal");
    assert!(of_journal.starts_with("<3>") && of_journal.contains("sed_min"), "{of_journal:?}");
    let of_file = messages("file", "journal");
    assert!(!of_file.contains("<3>") && of_file.contains(" ERROR "), "{of_file:?}");
}
