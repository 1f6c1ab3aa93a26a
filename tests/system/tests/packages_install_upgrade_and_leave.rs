//! The packages that `scripts/pack` makes: dnf and apt install them, upgrade them without a loss, and remove them without a
//! trace, each on a copy of this machine. What is installed is what hosts fetch with.
//!
//! Of a distribution of RPMs there is only dnf here. One package of the test's stands for what such a distribution has:
//! it provides the names that [`DISTRIBUTION`] lists, and every version of libraries that is asked for.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use pkgtorrent_test_support::http::{Connection, Request};
use pkgtorrent_test_support::process::{self, Program, built, free_port, installed, wait_for};
use pkgtorrent_test_support::{Machine, Mirror, Repository, Rpm, Server};
use tempfile::TempDir;

/// How long packing may take: most of it is compressing programs that are not optimised.
const PACK_LIMIT: Duration = Duration::from_secs(300);

/// How long a program may take that only looks at something.
const LOOK_LIMIT: Duration = Duration::from_secs(30);

/// How long the service may take until it is ready.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// How exposed `systemd-analyze security` may call a unit, in tenths.
const EXPOSURE_MAX: u32 = 30;

const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// What the RPMs ask of a distribution by name.
const DISTRIBUTION: [&str; 5] =
    ["/bin/sh", "firewalld-filesystem", "python3-dnf", "rtld(GNU_HASH)", "systemd"];

/// Where the plugin is for one of the distributions' Pythons.
const PLUGINS: &str = "/usr/lib/python3.9/site-packages/dnf-plugins";

/// Packs the programs in this directory.
fn pack(programs: &Path, out: &Path, release: &str) {
    let mut command = Command::new(Path::new(WORKSPACE).join("scripts/pack"));
    process::run(command.arg(programs).arg(out).arg(release), PACK_LIMIT);
}

/// Programs that are as small as programs get, for what does not depend on what they do.
fn small_programs(directory: &Path) -> PathBuf {
    let programs = directory.join("programs");
    fs::create_dir(&programs).expect("a directory for programs");
    for name in ["pkgtorrent", "pkgtorrent-service"] {
        fs::copy(installed("true"), programs.join(name)).expect("a program is copied");
    }
    programs
}

/// Packages of two releases: `old/` of small programs, `new/` of the real ones.
fn packed() -> &'static Path {
    static PACKED: OnceLock<TempDir> = OnceLock::new();
    let directory = PACKED.get_or_init(|| {
        let directory = tempfile::tempdir().expect("a directory");
        pack(&small_programs(directory.path()), &directory.path().join("old"), "1");
        let program = built("pkgtorrent");
        pack(program.parent().expect("a directory of programs"), &directory.path().join("new"), "2");
        directory
    });
    directory.path()
}

/// The files of one release whose names end so, sorted.
fn packages(release: &str, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(packed().join(release)).expect("packages");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a package").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|it| it == extension));
    paths.sort();
    paths
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// What stands for the distribution.
fn distribution(rpms: &[PathBuf]) -> Rpm {
    let mut command = Command::new(installed("rpm"));
    let wanted = process::run(command.args(["-qp", "--requires"]).args(rpms), LOOK_LIMIT);
    let libraries = wanted.lines().map(str::trim).filter(|name| name.contains(".so."));
    let package = DISTRIBUTION.iter().fold(Rpm::new("distribution"), |package, name| package.provides(name));
    libraries.collect::<BTreeSet<_>>().into_iter().fold(package, Rpm::provides)
}

/// A user of the machine, as `stat` and `passwd` name it, owns a directory.
fn assert_owned(machine: &Machine, directory: &str, expected: &str) {
    assert_eq!(machine.run("stat", &["--format=%U:%G %a", directory]).trim(), expected, "{directory}");
}

/// Tells the service of a machine its root, as its administrator would, and runs it as its unit does. Returns its address.
fn serve(machine: &Machine, output: &Path) -> (Program, String) {
    let address = format!("127.0.0.1:{}", free_port());
    machine.write(
        "/etc/pkgtorrent/service.toml.d/mirror.toml",
        &format!("root = \"/srv/mirror\"\nlisten = [\"{address}\"]\n"),
    );
    let mut command = machine.command("setpriv");
    command.args(["--reuid=pkgtorrent-service", "--regid=pkgtorrent-service", "--clear-groups"]);
    command.args(["pkgtorrent-service", "--state", "/var/lib/pkgtorrent-service"]);
    let mut program = Program::start(&mut command, output);
    wait_for("200 from the installed service's /healthz", READY_LIMIT, || {
        assert!(program.ended().is_none(), "the service ended at its start");
        let mut connection = Connection::open(address.parse().expect("an address")).ok()?;
        let response = connection.send(&Request::get("/healthz")).ok()?;
        (response.status == 200).then_some(())
    });
    (program, address)
}

/// What is left of the packages on a machine, without the service's state and without what the test installed with them.
fn left_behind(machine: &Machine) -> BTreeSet<String> {
    const EXPECTED: [&str; 3] = ["/srv/", "/usr/share/pkgtorrent-test/", "/var/lib/pkgtorrent-service/"];
    let mut left = machine.changed("pkgtorrent");
    left.extend(machine.changed("/dnf-plugins"));
    left.retain(|path| !EXPECTED.iter().any(|place| path.starts_with(place)));
    left
}

/// Units name programs and users that are there.
fn assert_units_fit(machine: &Machine) {
    for unit in ["pkgtorrent-agent.socket", "pkgtorrent-agent.service", "pkgtorrent-service.service"] {
        let said = machine.run("systemd-analyze", &["verify", "--man=no", unit]);
        assert!(!said.contains("pkgtorrent"), "{said}");
    }
}

#[test]
fn dnf_installs_upgrades_and_removes_the_rpms() {
    let Some(machine) = Machine::copy() else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let ours = Repository::create(directory.path().join("ours"));
    let mirror = Repository::create(machine.path("/srv/mirror/repo"));
    let [app, lib, data] = Mirror::rpms().map(|rpm| mirror.add(&rpm));
    // Its database would be opened by a path that leads elsewhere here.
    mirror.index_with(&["--no-database"]);
    let plain = Server::files(&machine.path("/srv/mirror"));
    let publish = |release| {
        for rpm in packages(release, "rpm") {
            let name = rpm.file_name().expect("a package's name");
            fs::copy(&rpm, ours.directory().join(name)).expect("a package is copied");
        }
        ours.index();
    };
    ours.add(&distribution(&[packages("old", "rpm"), packages("new", "rpm")].concat()));
    publish("old");
    let source = Server::files(directory.path());
    machine.write(
        "/etc/dnf/dnf.conf",
        &format!("[main]\ngpgcheck = 0\nmodule_platform_id = platform:test\npluginpath = {PLUGINS}\n"),
    );
    let repositories = [("ours", source.url("/ours/")), ("mirror", plain.url("/repo/"))];
    for (id, url) in repositories {
        machine.write(
            &format!("/etc/yum.repos.d/{id}.repo"),
            &format!("[{id}]\nname = {id}\nbaseurl = {url}\n"),
        );
    }
    // This machine's Python is not the one in whose directory the plugin is, and is not to leave anything there.
    let dnf = |arguments: &[&str]| {
        machine
            .run("env", &[&["PYTHONDONTWRITEBYTECODE=1", "dnf", "-y", "--releasever=1"], arguments].concat())
    };
    let installed = || -> BTreeSet<String> {
        let listed = machine.run("rpm", &["-qa", "--qf", "%{name} %{release}\n", "*pkgtorrent*"]);
        listed.lines().map(str::to_owned).collect()
    };

    // The agent brings the plugin of the dnf that is there.
    dnf(&["install", "pkgtorrent", "pkgtorrent-service"]);
    assert_eq!(
        installed(),
        names(&["pkgtorrent 1", "pkgtorrent-service 1", "python3-dnf-plugin-pkgtorrent 1"])
    );
    assert_owned(&machine, "/var/lib/pkgtorrent", "pkgtorrent:pkgtorrent 711");
    assert_owned(&machine, "/var/lib/pkgtorrent-service", "pkgtorrent-service:pkgtorrent-service 750");
    // Everything is as its package says, as to owners and permissions too.
    machine.run("rpm", &["-V", "pkgtorrent", "pkgtorrent-service", "python3-dnf-plugin-pkgtorrent"]);
    for name in ["dnf-plugin-pkgtorrent", "yum-plugin-pkgtorrent", "pkgtorrentservice"] {
        machine.run("rpm", &["-q", "--whatprovides", name]);
    }

    machine.append("/etc/pkgtorrent/agent.toml", "seed_min = 1");
    machine.append("/etc/pkgtorrent/service.toml", "rescan_interval = 60");
    publish("new");
    dnf(&["upgrade", "--refresh"]);
    assert_eq!(
        installed(),
        names(&["pkgtorrent 2", "pkgtorrent-service 2", "python3-dnf-plugin-pkgtorrent 2"])
    );
    assert!(machine.read("/etc/pkgtorrent/agent.toml").ends_with("seed_min = 1\n"));
    assert!(machine.read("/etc/pkgtorrent/service.toml").ends_with("rescan_interval = 60\n"));
    assert_units_fit(&machine);

    let (service, address) = serve(&machine, &directory.path().join("service.log"));
    let conf = machine.read("/etc/dnf/plugins/pkgtorrent.conf");
    assert!(conf.contains("\nservice =\n"), "the plugin is off until it is told a service:\n{conf}");
    let conf = conf.replace("\nservice =\n", &format!("\nservice = http://{address}\n"));
    machine.write("/etc/dnf/plugins/pkgtorrent.conf", &conf);
    let _ = plain.take_packages();
    let output = dnf(&["install", "app"]);
    assert!(output.contains("pkgtorrent: 3 of 3 packages"), "{output}");
    assert_eq!(plain.take_packages(), [] as [String; 0], "dnf downloads none of {app:?}, {lib:?}, {data:?}");
    drop(service);

    // That one would leave this.
    machine.write(&format!("{PLUGINS}/__pycache__/pkgtorrent.cpython-39.pyc"), "");
    dnf(&["remove", "pkgtorrent", "pkgtorrent-service"]);
    assert_eq!(installed(), names(&[]));
    assert_eq!(
        left_behind(&machine),
        names(&[
            "/etc/dnf/plugins/pkgtorrent.conf.rpmsave",
            "/etc/pkgtorrent/agent.toml.rpmsave",
            "/etc/pkgtorrent/service.toml.d/mirror.toml",
            "/etc/pkgtorrent/service.toml.rpmsave",
        ])
    );
}

#[test]
fn apt_installs_upgrades_and_purges_the_debs() {
    if !Path::new("/usr/bin/apt-get").exists() {
        eprintln!("SKIPPED with apt, which this machine's distribution does not have");
        return;
    }
    let Some(machine) = Machine::copy() else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let apt_get = |arguments: &[&str]| machine.run("apt-get", &[&["-y", "-q"], arguments].concat());
    let install = |release: &str| {
        let mut arguments = vec!["install".to_owned()];
        for deb in packages(release, "deb") {
            let name = deb.file_name().expect("a package's name").to_string_lossy().into_owned();
            fs::copy(&deb, machine.path("/srv").join(&name)).expect("a package is copied");
            arguments.push(format!("/srv/{name}"));
        }
        apt_get(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    };
    let installed = || -> BTreeSet<String> {
        let listed = machine
            .run("dpkg-query", &["-W", "-f", "${Package} ${Version} ${db:Status-Status}\n", "pkgtorrent*"]);
        listed.lines().map(str::to_owned).collect()
    };
    let version = env!("CARGO_PKG_VERSION");
    let of_release = |release: u32| {
        names(
            &["pkgtorrent", "pkgtorrent-service"]
                .map(|name| format!("{name} {version}-{release} installed"))
                .each_ref()
                .map(String::as_str),
        )
    };

    install("old");
    assert_eq!(installed(), of_release(1));
    assert_owned(&machine, "/var/lib/pkgtorrent", "pkgtorrent:pkgtorrent 711");
    assert_owned(&machine, "/var/lib/pkgtorrent-service", "pkgtorrent-service:pkgtorrent-service 750");

    machine.append("/etc/pkgtorrent/agent.toml", "seed_min = 1");
    install("new");
    assert_eq!(installed(), of_release(2));
    assert!(machine.read("/etc/pkgtorrent/agent.toml").ends_with("seed_min = 1\n"));

    assert!(machine.run("pkgtorrent", &["--version"]).contains(version));
    fs::create_dir_all(machine.path("/srv/mirror")).expect("a mirror");
    let (service, _) = serve(&machine, &directory.path().join("service.log"));
    drop(service);

    apt_get(&["remove", "pkgtorrent", "pkgtorrent-service"]);
    assert!(machine.read("/etc/pkgtorrent/agent.toml").ends_with("seed_min = 1\n"), "configuration stays");
    apt_get(&["purge", "pkgtorrent", "pkgtorrent-service"]);
    assert!(!machine.path("/var/lib/pkgtorrent-service").exists());
    assert_eq!(left_behind(&machine), names(&["/etc/pkgtorrent/service.toml.d/mirror.toml"]));
}

#[test]
fn the_same_programs_give_the_same_packages() {
    let directory = tempfile::tempdir().expect("a directory");
    let programs = small_programs(directory.path());
    let read = |out: &Path| -> Vec<(PathBuf, Vec<u8>)> {
        let entries = fs::read_dir(out).expect("packages").map(|entry| entry.expect("a package"));
        let mut packages: Vec<_> = entries
            .map(|entry| (entry.file_name().into(), fs::read(entry.path()).expect("a package is read")))
            .collect();
        packages.sort();
        packages
    };
    let outs = ["first", "second"].map(|name| directory.path().join(name));
    for out in &outs {
        pack(&programs, out, "1");
        // Archives tell times to the second.
        std::thread::sleep(Duration::from_millis(1_100));
    }
    let [first, second] = outs.map(|out| read(&out));
    assert_eq!(first.len(), 5, "three RPMs and two .debs");
    for ((name, one), (other_name, other)) in first.iter().zip(&second) {
        assert_eq!(name, other_name);
        assert!(one == other, "{} has other bytes when it is packed again", name.display());
    }
}

#[test]
fn units_are_hardened() {
    for unit in ["pkgtorrent-agent.service", "pkgtorrent-service.service"] {
        let path = Path::new(WORKSPACE).join("packaging/usr/lib/systemd/system").join(unit);
        let mut command = Command::new(installed("systemd-analyze"));
        command.args(["security", "--offline=yes", &format!("--threshold={EXPOSURE_MAX}")]).arg(path);
        process::run(&mut command, LOOK_LIMIT);
    }
}
