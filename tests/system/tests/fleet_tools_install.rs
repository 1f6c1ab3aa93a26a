//! What drives fleets installs through the service when it is set up as `docs/fleets` says, each host from the one before,
//! and as ever when the service is dead: Ansible, dnf-automatic, Puppet, Salt, and Chef's own sequence of questions and
//! commands. The tools are the real ones but Chef, run as they come on a copy of this machine; what they are told is the
//! documentation's examples.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use pkgtorrent_test_support::process::Program;
use pkgtorrent_test_support::{FleetHost, Mirror, Rpm};

/// When a tool counts as stuck. The slowest needs five seconds of a processor, which it may have to share with many.
const LIMIT: Duration = Duration::from_secs(300);

/// Where Debian's python is, for which dnf is there.
const PYTHON: &str = "/usr/bin/python3";

/// A tool, and how it is told to install `app` with this service.
struct Tool {
    prepare: fn(&FleetHost, &str),
    command: fn(&FleetHost, &str) -> Command,
    /// Its exit status when it has changed something.
    success: i32,
}

/// What is prepared for tools that set up everything themselves.
fn nothing(_: &FleetHost, _: &str) {}

/// Something of this source tree, under the path that it has on hosts too.
fn workspace(path: &str) -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    workspace.canonicalize().expect("the workspace").join(path)
}

/// One of the documentation's examples.
fn example(path: &str) -> PathBuf {
    workspace("docs/fleets").join(path)
}

/// What a host is told instead of the examples' own values.
fn values(service: &str) -> String {
    format!(r#"{{"packages": ["app"], "pkgtorrent_service": "{service}"}}"#)
}

/// Three packages, `app` needs the others, and what the examples roll out, whose files the hosts have already.
fn mirror() -> Mirror {
    let mirror = Mirror::new();
    for name in ["pkgtorrent", "python3-dnf-plugin-pkgtorrent"] {
        mirror.repository.add(&Rpm::new(name));
    }
    mirror.repository.index();
    mirror
}

/// Runs the tool on a host. Returns what it printed.
fn run(tool: &Tool, host: &FleetHost, service: &str) -> String {
    (tool.prepare)(host, service);
    let output = tempfile::NamedTempFile::new().expect("a file for a tool's output");
    let mut program = Program::start(&mut (tool.command)(host, service), output.path());
    let status = program.wait(LIMIT);
    assert_eq!(status.code(), Some(tool.success), "{}", program.output());
    program.output()
}

/// Panics unless all is installed, and the plugin says that it placed so many packages and dnf downloaded the others.
fn expect_installed(host: &FleetHost, placed: usize, mirror: &Mirror, output: &str) {
    let installed = host.installed();
    for package in ["app-1.0-1", "data-1.0-1", "lib-1.0-1"] {
        assert!(installed.contains(package), "{package} is not among {installed:?}\n{output}");
    }
    let said = host.plugin_said();
    assert_eq!(said.len(), 1, "{said:?}\n{output}");
    assert!(said[0].starts_with(&format!("{placed} of 3 packages")), "{said:?}\n{output}");
    let downloaded = mirror.server.take_packages();
    let by_dnf = mirror.file_names().iter().filter(|name| downloaded.contains(name)).count();
    assert_eq!(by_dnf, 3 - placed, "dnf itself has downloaded {downloaded:?}");
}

fn keeps_its_promise(tool: &Tool) {
    let mirror = mirror();
    let mut service = mirror.service();
    let url = service.url("/");
    let hosts: Option<Vec<_>> = (0..3).map(|_| FleetHost::new(&mirror.server.url("/repo/"))).collect();
    let Some([first, second, third]) = hosts.as_deref() else { return };
    for host in [first, second] {
        let output = run(tool, host, &url);
        expect_installed(host, 3, &mirror, &output);
    }
    let size: u64 = mirror.packages.iter().map(|package| package.size).sum();
    let sent = service.metric("pkgtorrent_webseed_bytes_total") as u64;
    // A machine that stands still for seconds makes a host ask the origin, as it should.
    let little = size / 20;
    assert!(
        (size..=size + little).contains(&sent),
        "two hosts took {sent} bytes from the service, not {size}"
    );

    service.kill9();
    let output = run(tool, third, &url);
    expect_installed(third, 0, &mirror, &output);
    assert_eq!(third.installed(), first.installed());
}

#[test]
fn ansible() {
    keeps_its_promise(&Tool {
        prepare: nothing,
        command: |host, service| {
            let mut command = host.command("ansible-playbook");
            command.args(["--inventory=localhost,", "--connection=local"]);
            command.arg("--extra-vars").arg(values(service)).arg(example("ansible/site.yml"));
            command
        },
        success: 0,
    });
}

#[test]
fn dnf_automatic() {
    /// What `/usr/bin/dnf-automatic` is where it is packaged as a command.
    const COMMAND: &str = "import sys, dnf.automatic.main; sys.exit(dnf.automatic.main.main(sys.argv[1:]))";
    keeps_its_promise(&Tool {
        // It only ever updates.
        prepare: |host, service| {
            host.install(&Rpm::new("app").version("0.9"));
            let read = |name| std::fs::read_to_string(example(name)).expect("an example");
            let plugin = read("dnf-automatic/pkgtorrent.conf");
            let plugin = plugin.replace("http://mirror.example.com:7070", service);
            host.write("/etc/dnf/plugins/pkgtorrent.conf", &plugin);
            host.write("/etc/dnf/automatic.conf", &read("dnf-automatic/automatic.conf"));
        },
        command: |host, _| {
            let mut command = host.command(PYTHON);
            command.args(["-c", COMMAND, "/etc/dnf/automatic.conf", "--timer"]);
            command
        },
        success: 0,
    });
}

#[test]
fn puppet() {
    keeps_its_promise(&Tool {
        prepare: nothing,
        command: |host, service| {
            let class = format!("class {{ 'pkgtorrent': service => '{service}', packages => ['app'] }}");
            let mut command = host.command("puppet");
            command.args(["apply", "--detailed-exitcodes", "--modulepath"]).arg(example("puppet/modules"));
            command.arg("--execute").arg(class);
            command
        },
        success: 2,
    });
}

#[test]
fn salt() {
    const SALT_CALL: &str = "target/fleet-tools/bin/salt-call";
    if !workspace(SALT_CALL).is_file() {
        eprintln!("SKIPPED with Salt, which is not here: scripts/fleet-tools says why");
        return;
    }
    keeps_its_promise(&Tool {
        prepare: nothing,
        command: |host, service| {
            let mut command = host.command(workspace(SALT_CALL));
            command.args(["--local", "--retcode-passthrough", "--file-root"]).arg(example("salt"));
            command.args(["state.apply", "pkgtorrent"]).arg(format!("pillar={}", values(service)));
            command
        },
        success: 0,
    });
}

#[test]
fn chef() {
    keeps_its_promise(&Tool {
        prepare: nothing,
        command: |host, service| {
            let mut command = host.command("ruby");
            command.arg(workspace("tests/system/tests/chef/replay.rb"));
            command.arg(example("chef/default.rb")).arg(values(service));
            command
        },
        success: 0,
    });
}
