//! Every transaction of dnf5 gets its packages through the service, where nobody is asked; where somebody is, only if that is
//! wanted, and then a no leaves nothing behind.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use pkgtorrent_test_support::dnf::{Host, Outcome};
use pkgtorrent_test_support::process::run;
use pkgtorrent_test_support::{Manager, Package, Repository, Rpm, Server, Service};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(120);

/// What Ansible's module does with libdnf5: it resolves, downloads and runs, without a command line.
const API_USER: &str = r#"
import sys, libdnf5
base = libdnf5.base.Base()
config = base.get_config()
config.installroot = sys.argv[1]
for option, directory in (("reposdir", "etc/repos"), ("varsdir", "etc/vars"), ("pluginconfpath", "etc/plugins"),
                          ("pluginpath", "plugins"), ("cachedir", "cache"), ("system_cachedir", "cache"),
                          ("logdir", "log")):
    value = sys.argv[2] + "/" + directory
    setattr(config, option, (value,) if option in ("reposdir", "varsdir") else value)
config.pkg_gpgcheck = False
base.setup()
base.get_vars().set("releasever", "1")
sack = base.get_repo_sack()
sack.create_repos_from_system_configuration()
sack.load_repos()
goal = libdnf5.base.Goal(base)
goal.add_install("tool")
transaction = goal.resolve()
assert not transaction.get_problems(), list(transaction.get_resolve_logs_as_strings())
transaction.download()
assert transaction.run() == libdnf5.base.Transaction.TransactionRunResult_SUCCESS
print("and nothing else is said")
"#;

/// `tool` in two versions and the `lib` that it needs, on a mirror with a service beside it.
struct Lab {
    service: Service,
    mirror: Server,
    tools: [Package; 2],
    lib: Package,
    directory: TempDir,
}

impl Lab {
    /// Nothing where there is no dnf5.
    fn new() -> Option<Self> {
        Manager::all().contains(&Manager::Dnf5).then(Self::with_dnf5)
    }

    fn with_dnf5() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let repository = Repository::create(directory.path().join("root/repo"));
        let tool = |version: &str, seed| {
            repository.add(&Rpm::new("tool").version(version).requires("lib").payload_len(400_000).seed(seed))
        };
        let tools = [tool("1.0", 1), tool("2.0", 2)];
        let lib = repository.add(&Rpm::new("lib").payload_len(1_500_000).seed(3));
        repository.index();
        let root = directory.path().join("root");
        let (mirror, service) =
            (Server::files(&root), Service::start(&root, &directory.path().join("state")));
        Self { service, mirror, tools, lib, directory }
    }

    fn bare(&self) -> Host {
        Host::of(Manager::Dnf5).repository("repo", &self.mirror.url("/repo/"))
    }

    fn host(&self) -> Host {
        self.bare().agent(&self.service.url("/"))
    }

    /// A host whose shim has this line in its configuration.
    fn host_with(&self, option: &str) -> Host {
        let host = self.bare();
        let command = host.agent_command();
        host.shim(&format!("service = {}\ncommand = {command}\n{option}\n", self.service.url("/")))
    }

    /// dnf5 itself has downloaded so many packages since this was last asked.
    fn expect_downloads(&self, count: usize, output: &str) {
        assert_eq!(self.mirror.take_packages().len(), count, "{output}");
    }

    fn sent_by_web_seed(&self) -> u64 {
        self.service.metric("pkgtorrent_webseed_bytes_total") as u64
    }
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Runs dnf5 without `-y` and answers its question. On a terminal, if wanted, as a user would.
fn answer(host: &Host, arguments: &[&str], answer: &str, is_terminal: bool) -> String {
    const ON_TERMINAL: &str = "import pty, sys; pty.spawn(sys.argv[1:])";
    let mut dnf = host.asking_command();
    dnf.args(arguments);
    let mut command = if is_terminal {
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-c", ON_TERMINAL]).arg(dnf.get_program()).args(dnf.get_args());
        command.envs(dnf.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command
    } else {
        dnf
    };
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("dnf5 starts");
    let mut input = child.stdin.take().expect("its input");
    input.write_all(format!("{answer}\n").as_bytes()).expect("written");
    let output = child.wait_with_output().expect("dnf5 ends");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn install_upgrade_downgrade_and_reinstall() {
    let Some(lab) = Lab::new() else { return };
    let host = lab.host();
    let run = |arguments: &[&str], placed: usize, installed: &[&str]| {
        let outcome = host.dnf(arguments).succeeded();
        expect_placed(&outcome, placed);
        assert_eq!(outcome.installed, names(installed));
        lab.expect_downloads(0, &outcome.output);
        assert_eq!(
            host.cached_files("repo"),
            [] as [String; 0],
            "dnf5 keeps no packages, whoever brought them"
        );
        outcome
    };
    run(&["install", "tool-1.0"], 2, &["tool-1.0-1", "lib-1.0-1"]);
    assert_eq!(lab.sent_by_web_seed(), lab.tools[0].size + lab.lib.size);
    run(&["upgrade"], 1, &["tool-2.0-1", "lib-1.0-1"]);
    // What was fetched once is in the store from now on.
    let outcome = run(&["downgrade", "tool"], 1, &["tool-1.0-1", "lib-1.0-1"]);
    assert!(outcome.output.contains("0 B from the mirror"), "{}", outcome.output);
    run(&["reinstall", "tool", "lib"], 2, &["tool-1.0-1", "lib-1.0-1"]);
    assert_eq!(lab.sent_by_web_seed(), lab.tools[0].size + lab.tools[1].size + lab.lib.size);
}

/// The shim said that it placed so many packages.
fn expect_placed(outcome: &Outcome, count: usize) {
    let expected = format!("pkgtorrent: {count} of {count} packages");
    assert!(outcome.output.contains(&expected), "{expected:?}:\n{}", outcome.output);
}

#[test]
fn what_is_only_downloaded_is_placed_and_stays() {
    let Some(lab) = Lab::new() else { return };
    let host = lab.host();
    let outcome = host.dnf(&["install", "--downloadonly", "tool"]).succeeded();
    expect_placed(&outcome, 2);
    lab.expect_downloads(0, &outcome.output);
    let before = lab.sent_by_web_seed();
    let outcome = host.dnf(&["install", "tool"]).succeeded();
    assert_eq!(outcome.installed, names(&["tool-2.0-1", "lib-1.0-1"]));
    lab.expect_downloads(0, &outcome.output);
    assert_eq!(lab.sent_by_web_seed(), before);

    let host = lab.host();
    let directory = lab.directory.path().join("downloads");
    let destination = format!("--destdir={}", directory.display());
    let outcome = host.dnf(&["download", "--resolve", &destination, "tool"]).succeeded();
    expect_placed(&outcome, 2);
    lab.expect_downloads(0, &outcome.output);
    for package in [&lab.tools[1], &lab.lib] {
        let placed = fs::read(directory.join(package.file_name())).expect("it was downloaded");
        assert!(placed == package.bytes(), "{}", package.file_name());
    }
}

#[test]
fn a_transaction_that_is_stored_for_the_next_start_has_its_packages() {
    let Some(lab) = Lab::new() else { return };
    let host = lab.host();
    let outcome = host.dnf(&["install", "--offline", "tool"]).succeeded();
    expect_placed(&outcome, 2);
    assert_eq!(outcome.installed, names(&[]));
    lab.expect_downloads(0, &outcome.output);
}

#[test]
fn nothing_is_fetched_for_who_wants_nothing() {
    let Some(lab) = Lab::new() else { return };
    let host = lab.host();
    for arguments in [&["install", "--assumeno", "tool"][..], &["install", "nothing-of-this-name"]] {
        let mut command = host.asking_command();
        let output = command.args(arguments).stdin(Stdio::null()).output().expect("dnf5 runs");
        let output = String::from_utf8_lossy(&output.stdout);
        assert!(!output.contains("pkgtorrent"), "{arguments:?}: {output}");
    }
    assert_eq!(lab.sent_by_web_seed(), 0);
    lab.expect_downloads(0, "");
}

#[test]
fn on_a_terminal_nothing_happens_before_the_question_unless_that_is_wanted() {
    let Some(lab) = Lab::new() else { return };
    let host = lab.host();
    let output = answer(&host, &["install", "tool"], "y", true);
    assert!(!output.contains("pkgtorrent"), "{output}");
    assert_eq!(host.installed(), names(&["tool-2.0-1", "lib-1.0-1"]), "{output}");
    lab.expect_downloads(2, &output);

    let host = lab.host_with("interactive = prefetch");
    let output = answer(&host, &["install", "tool"], "y", true);
    assert!(output.contains("pkgtorrent: 2 of 2 packages"), "{output}");
    assert_eq!(host.installed(), names(&["tool-2.0-1", "lib-1.0-1"]), "{output}");
    lab.expect_downloads(0, &output);
    assert_eq!(host.cached_files("repo"), [] as [String; 0]);
}

#[test]
fn a_prefetch_that_is_declined_leaves_nothing_behind() {
    let Some(lab) = Lab::new() else { return };
    for (option, is_terminal) in [("interactive = prefetch", true), ("interactive = skip", false)] {
        let host = lab.host_with(option);
        let output = answer(&host, &["install", "tool"], "n", is_terminal);
        assert!(output.contains("pkgtorrent: 2 of 2 packages"), "{option}: {output}");
        assert_eq!(host.installed(), names(&[]), "{option}: {output}");
        assert_eq!(host.cached_files("repo"), [] as [String; 0], "{option}");
        lab.expect_downloads(0, &output);
    }
}

#[test]
fn users_of_the_api_get_their_packages_and_no_word_in_their_output() {
    let Some(lab) = Lab::new() else { return };
    let host = lab.host();
    let root = host.path("root");
    let directory = root.parent().expect("a host's directory");
    let mut command = Manager::Dnf5.program("python3", directory);
    let output = run(command.arg("-c").arg(API_USER).args([&root, directory]), LIMIT);
    assert!(output.ends_with("and nothing else is said\n") && !output.contains("pkgtorrent"), "{output}");
    assert_eq!(host.installed(), names(&["tool-2.0-1", "lib-1.0-1"]));
    lab.expect_downloads(0, &output);
    assert_eq!(lab.sent_by_web_seed(), lab.tools[1].size + lab.lib.size);
}

#[test]
fn ansible() {
    let Some(lab) = Lab::new() else { return };
    let host = lab.host();
    let home = host.path("home");
    fs::create_dir_all(&home).expect("a home");
    // The module takes no path of plugins or repositories: they are in the configuration file.
    host.write("ansible.conf", &host.section("main"));
    let task = format!(
        "name=tool state=present installroot={} conf_file={} disable_gpg_check=true releasever=1",
        host.path("root").display(),
        host.path("ansible.conf").display()
    );
    let mut command = Manager::Dnf5.program("ansible", Path::new("/tmp"));
    command
        .args(["localhost", "--connection=local", "--module-name=ansible.builtin.dnf5", "--args", &task])
        .env("ANSIBLE_HOME", &home)
        .env("ANSIBLE_REMOTE_TEMP", home.join("tmp"))
        .env("ANSIBLE_PYTHON_INTERPRETER", "/usr/bin/python3")
        .env("LC_ALL", "C.UTF-8")
        .env("ANSIBLE_LOCALHOST_WARNING", "False");
    let output = run(&mut command, LIMIT);
    assert!(output.contains("CHANGED"), "{output}");
    assert_eq!(host.installed(), names(&["tool-2.0-1", "lib-1.0-1"]));
    lab.expect_downloads(0, &output);
}

#[test]
fn a_host_without_the_shim_is_what_these_tests_tell_from_one_with_it() {
    let Some(lab) = Lab::new() else { return };
    let outcome = lab.bare().dnf(&["install", "tool"]).succeeded();
    assert_eq!(outcome.installed, names(&["tool-2.0-1", "lib-1.0-1"]));
    lab.expect_downloads(2, &outcome.output);
    assert_eq!(lab.sent_by_web_seed(), 0);
}
