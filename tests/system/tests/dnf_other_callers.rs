//! Programs that use dnf without its command line get their packages through the service too: dnf-automatic, users of the
//! API, Ansible.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use pkgtorrent_test_support::dnf::{Host, as_root};
use pkgtorrent_test_support::process::{installed, run};
use pkgtorrent_test_support::{Repository, Rpm, Server, Service};
use tempfile::TempDir;

/// How long such a program may take; Ansible needs some seconds.
const LIMIT: Duration = Duration::from_secs(120);

/// What dnf's API asks of a user who installs `tool`, without a command line.
const API_USER: &str = r#"
import sys, dnf
base = dnf.Base()
base.conf.read(sys.argv[1])
base.conf.installroot = sys.argv[2]
base.conf.substitutions["releasever"] = "1"
base.init_plugins()
base.pre_configure_plugins()
base.read_all_repos()
base.configure_plugins()
base.fill_sack()
base.install("tool")
base.resolve()
base.download_packages(list(base.transaction.install_set))
base.do_transaction()
base.close()
"#;

/// dnf-automatic without its timer. On a machine that is no RPM distribution nothing tells it the release.
const AUTOMATIC: &str = r#"
import sys, dnf.rpm, dnf.automatic.main
dnf.rpm.detect_releasever = lambda installroot: "1"
sys.exit(dnf.automatic.main.main([sys.argv[1], "--installupdates"]))
"#;

/// Two versions of `tool` on a mirror with a service beside it, and a host.
struct Lab {
    host: Host,
    service: Service,
    mirror: Server,
    size: u64,
    _directory: TempDir,
}

impl Lab {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let repository = Repository::create(directory.path().join("root/repo"));
        repository.add(&Rpm::new("tool").version("1.0").payload_len(100_000).seed(1));
        let new = repository.add(&Rpm::new("tool").version("2.0").payload_len(300_000).seed(2));
        repository.index();
        let root = directory.path().join("root");
        let (service, mirror) =
            (Service::start(&root, &directory.path().join("state")), Server::files(&root));
        let host = Host::new().repository("repo", &mirror.url("/repo/")).agent(&service.url("/"));
        Self { host, service, mirror, size: new.size, _directory: directory }
    }

    fn python(&self, script: &str, arguments: &[&str]) {
        let mut command = as_root(Path::new("/usr/bin/python3"));
        command.env("PYTHONDONTWRITEBYTECODE", "1").arg("-c").arg(script).args(arguments);
        run(&mut command, LIMIT);
    }

    /// The newer `tool` is installed, it came through the service, and dnf itself downloaded nothing.
    fn assert_installed_through_the_service(&self, before: u64) {
        let installed: Vec<String> = self.host.installed().into_iter().collect();
        assert_eq!(installed, ["tool-2.0-1"]);
        assert_eq!(self.mirror.take_packages(), [] as [String; 0]);
        assert_eq!(self.sent_by_web_seed() - before, self.size);
    }

    fn sent_by_web_seed(&self) -> u64 {
        self.service.metric("pkgtorrent_webseed_bytes_total") as u64
    }
}

#[test]
fn a_user_of_the_api_without_a_command_line() {
    let lab = Lab::new();
    lab.host.write("api.conf", &lab.host.section("main"));
    let (conf, root) = (lab.host.path("api.conf"), lab.host.path("root"));
    lab.python(API_USER, &[&conf.to_string_lossy(), &root.to_string_lossy()]);
    lab.assert_installed_through_the_service(0);
}

#[test]
fn dnf_automatic() {
    let lab = Lab::new();
    let _ = lab.host.dnf(&["install", "tool-1.0"]).succeeded().placed(1);
    let before = lab.sent_by_web_seed();
    let root = lab.host.path("root");
    let conf = format!(
        "[commands]\nupgrade_type = default\ndownload_updates = yes\napply_updates = yes\nnetwork_online_timeout = 0\n\
         [emitters]\nemit_via = stdio\n{}installroot = {}\n",
        lab.host.section("base"),
        root.display()
    );
    lab.host.write("automatic.conf", &conf);
    lab.python(AUTOMATIC, &[&lab.host.path("automatic.conf").to_string_lossy()]);
    lab.assert_installed_through_the_service(before);
}

#[test]
fn ansible() {
    let lab = Lab::new();
    lab.host.write("ansible.conf", &lab.host.section("main"));
    let home = lab.host.path("home");
    std::fs::create_dir_all(&home).expect("a home");
    let task = format!(
        "name=tool state=present installroot={} conf_file={} disable_gpg_check=true releasever=1",
        lab.host.path("root").display(),
        lab.host.path("ansible.conf").display()
    );
    let mut command = Command::new(installed("ansible"));
    command
        .args(["localhost", "--connection=local", "--module-name=ansible.builtin.dnf", "--args", &task])
        // HOME stays: on some distributions rpm's database lies below it.
        .env("ANSIBLE_HOME", &home)
        .env("ANSIBLE_REMOTE_TEMP", home.join("tmp"))
        .env("ANSIBLE_PYTHON_INTERPRETER", "/usr/bin/python3")
        .env("ANSIBLE_LOCALHOST_WARNING", "False");
    let output = run(&mut command, LIMIT);
    assert!(output.contains("CHANGED"), "{output}");
    lab.assert_installed_through_the_service(0);
}
