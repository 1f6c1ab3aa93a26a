//! The state directory: whose it is, who may have it, and that nothing outside is touched.

use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use pkgtorrent_agent::files::{StateDir, StateDirError};
use pkgtorrent_agent::store::{Store, StoreError};

use crate::support::{Disk, Lab, MIB, Package, alone, is_root, unlimited};

/// `nobody`, and the group without members, on every system that these tests run on.
const NOBODY: (u32, u32) = (65_534, 65_534);

fn open(path: &Path) -> Result<StateDir, StateDirError> {
    StateDir::open(path, None)
}

#[test]
fn a_missing_directory_is_made_and_opened_again() {
    let lab = Lab::new();
    let path = lab.path.join("some/where");
    drop(open(&path).expect("made"));
    assert_eq!(fs::read_to_string(path.join("version")).expect("a version"), "pkgtorrent 1\n");
    assert_eq!(fs::metadata(&path).expect("metadata").mode() & 0o777, 0o711);
    open(&path).expect("opened");
}

#[test]
fn a_directory_with_other_files_is_refused_and_left_alone() {
    let lab = Lab::new();
    fs::create_dir(&lab.path).expect("a directory");
    fs::write(lab.file("thesis"), "years").expect("a file");
    assert!(matches!(open(&lab.path), Err(StateDirError::NotAStateDirectory { .. })));
    fs::write(lab.file("version"), "3.1\n").expect("a file");
    assert!(matches!(open(&lab.path), Err(StateDirError::NotAStateDirectory { .. })));
    // One that is empty is what a killed agent leaves, but not beside other files.
    fs::write(lab.file("version"), "").expect("a file");
    assert!(matches!(open(&lab.path), Err(StateDirError::NotAStateDirectory { .. })));
    assert_eq!(lab.names("."), ["thesis", "version"]);
    fs::remove_file(lab.file("thesis")).expect("removed");
    fs::write(lab.file("version"), "3.1\n").expect("a file");
    assert!(matches!(open(&lab.path), Err(StateDirError::NotAStateDirectory { .. })), "another program's");
    fs::write(lab.file("version"), "").expect("a file");
    open(&lab.path).expect("opened");
}

#[test]
fn what_a_file_system_or_systemd_put_there_does_not_count() {
    let lab = Lab::new();
    fs::create_dir_all(lab.file("lost+found")).expect("a directory");
    drop(std::os::unix::net::UnixListener::bind(lab.file("agent.sock")).expect("a socket"));
    open(&lab.path).expect("opened");
}

#[test]
fn another_version_is_refused_by_its_number() {
    let lab = Lab::new();
    drop(lab.open(unlimited()));
    fs::write(lab.file("version"), "pkgtorrent 2\n").expect("written");
    let error = open(&lab.path).expect_err("refused");
    assert!(matches!(error, StateDirError::OtherVersion { found: 2, .. }));
    let text = error.to_string();
    assert!(text.contains("version 2") && text.contains(&lab.path.display().to_string()), "{text}");
}

#[test]
fn a_directory_that_others_may_write_is_refused_once_it_is_used() {
    let lab = Lab::new();
    fs::create_dir(&lab.path).expect("a directory");
    fs::set_permissions(&lab.path, Permissions::from_mode(0o777)).expect("chmod");
    // An empty one is made right.
    drop(lab.open(unlimited()));
    assert_eq!(fs::metadata(&lab.path).expect("metadata").mode() & 0o777, 0o711);
    for name in ["", "store", "partial", "alias"] {
        let mode = fs::metadata(lab.file(name)).expect("metadata").permissions();
        fs::set_permissions(lab.file(name), Permissions::from_mode(0o770)).expect("chmod");
        let error = lab.try_open(unlimited()).expect_err("refused");
        assert!(matches!(error, StoreError::StateDir(StateDirError::OthersMayWrite { .. })), "{error}");
        fs::set_permissions(lab.file(name), mode).expect("chmod");
    }
    lab.open(unlimited());
}

#[test]
fn links_inside_are_not_followed() {
    let lab = Lab::new();
    let outside = tempfile::tempdir().expect("a directory");
    for name in ["store", "partial", "alias"] {
        drop(open(&lab.path).expect("opened"));
        symlink(outside.path(), lab.file(name)).expect("a link");
        let error = lab.try_open(unlimited()).expect_err("refused").to_string();
        assert!(error.contains(name), "{error}");
        fs::remove_file(lab.file(name)).expect("removed");
    }
    let state = open(&lab.path).expect("opened");
    let precious = outside.path().join("precious");
    fs::write(&precious, "gold").expect("written");
    for name in ["agent.lock", "agent.log", "agent.pid", "agent.pid.new", "agent.sock", "agent.sock.new"] {
        symlink(&precious, lab.file(name)).expect("a link");
    }
    state.lock().expect_err("a link is no lock");
    state.open_log().expect_err("a link is no log");
    // These are replaced, not written through.
    state.write_pid().expect("written");
    drop(state.bind_socket().expect("bound"));
    state.remove_pid_and_socket();
    for name in ["agent.lock", "agent.log"] {
        fs::remove_file(lab.file(name)).expect("removed");
        fs::hard_link(&precious, lab.file(name)).expect("a link");
    }
    state.lock().expect_err("a file with other names is no lock");
    state.open_log().expect_err("a file with other names is no log");
    assert_eq!(fs::read_to_string(&precious).expect("read"), "gold");
    assert_eq!(fs::read_dir(outside.path()).expect("listed").count(), 1);
    // The directory itself may be reached through a link: that is its owner's choice of a disk.
    let link = outside.path().join("link");
    symlink(&lab.path, &link).expect("a link");
    open(&link).expect("opened");
}

#[test]
fn one_agent_at_a_time() {
    let lab = Lab::new();
    let (first, second) = (open(&lab.path).expect("opened"), open(&lab.path).expect("opened"));
    let lock = first.lock().expect("locked");
    let error = second.lock().expect_err("locked twice");
    assert!(matches!(error, StateDirError::AlreadyRunning { .. }), "{error}");
    drop(lock);
    second.lock().expect("locked");
}

#[test]
fn a_socket_in_a_very_deep_directory_takes_the_place_of_a_stale_one() {
    let lab = Lab::new();
    let path = lab.path.join("d".repeat(120)).join("e".repeat(120));
    let state = open(&path).expect("opened");
    drop(state.bind_socket().expect("bound"));
    assert!(state.path().join("agent.sock").exists(), "a killed agent leaves its socket");
    let listener = state.bind_socket().expect("bound again");
    assert_eq!(fs::metadata(StateDir::socket_path(&path)).expect("metadata").mode() & 0o777, 0o666);
    let directory = File::open(&path).expect("opened");
    let short = format!("/proc/self/fd/{}/agent.sock", std::os::fd::AsRawFd::as_raw_fd(&directory));
    let mut client = UnixStream::connect(short).expect("connected");
    client.write_all(b"hello").expect("sent");
    drop(client);
    let mut said = String::new();
    listener.accept().expect("accepted").0.read_to_string(&mut said).expect("read");
    assert_eq!(said, "hello");
    state.write_pid().expect("written");
    let pid = fs::read_to_string(path.join("agent.pid")).expect("read");
    assert_eq!(pid.trim(), std::process::id().to_string());
    state.remove_pid_and_socket();
    assert!(!path.join("agent.sock").exists() && !path.join("agent.pid").exists());
    state.remove_pid_and_socket();
}

#[test]
fn a_socket_that_somebody_else_made_stays() {
    let lab = Lab::new();
    let state = open(&lab.path).expect("opened");
    let systemds = std::os::unix::net::UnixListener::bind(lab.file("agent.sock")).expect("bound");
    state.write_pid().expect("written");
    state.remove_pid_and_socket();
    assert!(lab.file("agent.sock").exists() && !lab.file("agent.pid").exists());
    drop(systemds);
}

#[test]
fn a_long_log_is_put_aside() {
    let lab = Lab::new();
    let state = open(&lab.path).expect("opened");
    writeln!(state.open_log().expect("a log"), "one").expect("written");
    writeln!(state.open_log().expect("a log"), "two").expect("written");
    assert_eq!(fs::read_to_string(lab.file("agent.log")).expect("read"), "one\ntwo\n");
    state.open_log().expect("a log").set_len(MIB + 1).expect("long");
    writeln!(state.open_log().expect("a log"), "three").expect("written");
    assert_eq!(fs::read_to_string(lab.file("agent.log")).expect("read"), "three\n");
    assert_eq!(fs::metadata(lab.file("agent.log.1")).expect("metadata").len(), MIB + 1);
}

#[test]
fn a_read_only_file_system_is_refused_with_its_path() {
    let Some(disk) = Disk::tmpfs(4 * MIB) else { return };
    let lab = Lab::on(&disk);
    drop(lab.open(unlimited()));
    disk.remount_read_only();
    let state = open(&lab.path).expect("nothing is written to open it");
    for error in
        [state.lock().expect_err("no lock").to_string(), state.write_pid().expect_err("no pid").to_string()]
    {
        assert!(error.contains("Read-only") && error.contains("agent."), "{error}");
    }
    let error = lab.try_open(unlimited()).expect_err("refused").to_string();
    assert!(error.contains("Read-only") && error.contains("partial"), "{error}");
    let error = open(&disk.path().join("other")).expect_err("refused").to_string();
    assert!(error.contains("Read-only") && error.contains("other"), "{error}");
}

#[test]
fn root_gives_a_new_or_an_empty_directory_to_the_agents_user() {
    if !is_root() {
        return;
    }
    let lab = Lab::new();
    fs::create_dir(&lab.path).expect("a directory");
    let (new, empty) = (lab.path.join("new"), lab.path.join("empty"));
    fs::create_dir(&empty).expect("a directory");
    for path in [new, empty] {
        let state = StateDir::open(&path, Some(NOBODY)).expect("opened");
        let _lock = state.lock().expect("locked");
        drop(state.open_log().expect("a log"));
        drop(Store::open(Arc::new(state), unlimited()).expect("a store"));
        for name in ["", "version", "agent.lock", "agent.log", "store", "partial", "alias"] {
            let status = fs::metadata(path.join(name)).expect("metadata");
            assert_eq!((status.uid(), status.gid()), NOBODY, "{name}");
        }
        let error = open(&path).expect_err("it is not root's any more");
        assert!(matches!(error, StateDirError::OtherOwner { found: 65_534, expected: 0, .. }), "{error}");
        StateDir::open(&path, Some(NOBODY)).expect("opened again");
    }
}

#[test]
fn a_directory_of_another_user_is_refused_even_when_it_is_empty() {
    if !is_root() {
        return;
    }
    let lab = Lab::new();
    fs::create_dir(&lab.path).expect("a directory");
    chown(&lab.path, Some(1234), None).expect("chown");
    for owner in [None, Some(NOBODY)] {
        let error = StateDir::open(&lab.path, owner).expect_err("refused");
        assert!(matches!(error, StateDirError::OtherOwner { found: 1234, .. }), "{error}");
    }
    assert_eq!(lab.names("."), [""; 0]);
    chown(&lab.path, Some(0), None).expect("chown");
    drop(lab.open(unlimited()));
    chown(lab.file("store"), Some(1234), None).expect("chown");
    let error = lab.try_open(unlimited()).expect_err("refused").to_string();
    assert!(error.contains("store belongs to user 1234"), "{error}");
}

/// The agent opens its directory as root and then drops root: from then on only the open directory leads there.
#[test]
fn the_agents_user_needs_no_path_to_its_directory() {
    if !is_root() {
        return;
    }
    let (lab, _alone) = (Lab::new(), alone());
    fs::create_dir(&lab.path).expect("a directory");
    fs::set_permissions(&lab.path, Permissions::from_mode(0o700)).expect("chmod");
    let test = std::env::current_exe().expect("this program");
    let status = Command::new(test)
        .args(["--exact", "directory::as_an_agent_that_drops_root", "--ignored", "--nocapture"])
        .env("STATE_OF_THE_TEST", lab.path.join("state"))
        .status()
        .expect("started");
    assert!(status.success());
    let state = lab.path.join("state");
    let stored = Package::new(1, 100_000).identity.to_string();
    for name in ["version", "agent.lock", "agent.log", "agent.pid", "store", &format!("store/{stored}")] {
        assert_eq!(fs::metadata(state.join(name)).expect(name).uid(), NOBODY.0, "{name}");
    }
    assert!(state.join("agent.sock").exists());
}

#[test]
#[ignore = "the other half of the test above, in a process of its own"]
fn as_an_agent_that_drops_root() {
    let path = std::env::var_os("STATE_OF_THE_TEST").expect("a path");
    let state = StateDir::open(Path::new(&path), Some(NOBODY)).expect("opened");
    let _lock = state.lock().expect("locked");
    let _listener = state.bind_socket().expect("bound");
    drop(state.open_log().expect("a log"));
    nix::unistd::setgid(NOBODY.1.into()).expect("setgid");
    nix::unistd::setuid(NOBODY.0.into()).expect("setuid");
    fs::metadata(&path).expect_err("the path is closed");
    state.write_pid().expect("written");
    writeln!(state.open_log().expect("a log"), "started").expect("written");
    drop(state.bind_socket().expect("bound again"));
    let mut store = Store::open(Arc::new(state), unlimited()).expect("a store");
    let package = Package::new(1, 100_000);
    package.put(&mut store).expect("put");
    assert!(package.is_in(&mut store));
}

#[test]
fn a_temporary_directory_is_gone_when_it_is_dropped() {
    let parent = tempfile::tempdir().expect("a directory");
    let bystander = parent.path().join("pkgtorrent-mine");
    fs::create_dir(&bystander).expect("a directory");
    fs::write(bystander.join("file"), "mine").expect("a file");
    let state = Arc::new(StateDir::temporary(parent.path()).expect("a directory"));
    let _lock = state.lock().expect("the agent in it locks it");
    let mut store = Store::open(Arc::clone(&state), unlimited()).expect("a store");
    Package::new(1, 100_000).put(&mut store).expect("put");
    assert_eq!(fs::metadata(state.path()).expect("metadata").mode() & 0o777, 0o700);
    // Another command at the same time leaves it alone.
    drop(StateDir::temporary(parent.path()).expect("a second one"));
    assert!(Package::new(1, 100_000).is_in(&mut store));
    drop((store, state));
    let left: Vec<_> = fs::read_dir(parent.path()).expect("listed").flatten().map(|e| e.path()).collect();
    assert_eq!(left, [bystander]);
}

#[test]
fn what_a_killed_process_left_of_its_temporary_directory_is_removed_by_the_next() {
    let parent = tempfile::tempdir().expect("a directory");
    let dead = parent.path().join("pkgtorrent-dead");
    drop(open(&dead).expect("made"));
    fs::write(dead.join("agent.lock"), "").expect("a lock that nobody holds");
    drop(StateDir::temporary(parent.path()).expect("a directory"));
    assert!(!dead.exists());
    StateDir::temporary(&parent.path().join("missing")).expect_err("there is no such parent");
}
