//! The agent's state directory and the unit by which systemd starts it.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::Patient;
use super::finding::Finding;
use crate::settings::SYSTEM_STATE_DIR;
use crate::start::{SOCKET_UNIT, UNIT_DIRS};
use crate::user;

const DIRECTORY: &str = "state directory";
const UNIT: &str = "socket unit";

pub(super) const CHECKS: &[&str] = &[DIRECTORY, UNIT];

/// Where systemd notes what is enabled.
const ENABLED: &str = "/etc/systemd/system/sockets.target.wants";

/// Who has the state directory.
struct Owner {
    is_directory: bool,
    uid: u32,
    mode: u32,
}

/// What systemd knows of the agent's socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    /// systemd does not run here, or this is no directory of its agent's.
    NotUsed,
    Missing,
    Masked,
    Disabled,
    Enabled,
}

pub(super) fn check(patient: &Patient) -> Vec<Finding> {
    let (directory, unit) = match &patient.state_dir {
        Ok(path) => (judge_directory(path, owner(path), expected(patient)), unit(path)),
        Err(reason) => (Finding::problem(DIRECTORY, reason, "name one: --state-dir DIR"), Unit::NotUsed),
    };
    vec![directory, judge_unit(unit)]
}

fn owner(path: &Path) -> io::Result<Option<Owner>> {
    let of = |metadata: Metadata| Owner {
        is_directory: metadata.is_dir(),
        uid: metadata.uid(),
        mode: metadata.mode(),
    };
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        metadata => metadata.map(of).map(Some),
    }
}

/// Whose it has to be: the user's that an agent would run as which is started by who calls this.
fn expected(patient: &Patient) -> Option<u32> {
    match user::target_owner(&patient.settings.user) {
        Ok(Some((uid, _))) => Some(uid),
        Ok(None) => Some(rustix::process::geteuid().as_raw()),
        // That there is no such user is a problem of the configuration.
        Err(_) => None,
    }
}

fn judge_directory(path: &Path, owner: io::Result<Option<Owner>>, expected: Option<u32>) -> Finding {
    let path = path.display();
    let owner = match owner {
        Ok(Some(owner)) => owner,
        Ok(None) => {
            return Finding::ok(DIRECTORY, format!("{path} is not there yet: the first agent makes it"));
        }
        Err(error) => return Finding::unknown(DIRECTORY, format!("{path}: {error}")),
    };
    let Owner { is_directory, uid, mode } = owner;
    if !is_directory {
        return Finding::problem(DIRECTORY, format!("{path} is no directory"), "remove it, or name another");
    }
    match expected {
        Some(expected) if uid != expected => Finding::problem(
            DIRECTORY,
            format!("{path} belongs to user {uid}, and an agent started by you would be user {expected}"),
            format!("call this as root or as user {uid}, or: chown -R {expected} {path}"),
        ),
        _ if mode & 0o022 != 0 => Finding::problem(
            DIRECTORY,
            format!("{path} may be written by others than its owner (mode {:03o})", mode & 0o777),
            format!("chmod go-w {path}"),
        ),
        _ => Finding::ok(DIRECTORY, format!("{path} belongs to user {uid}")),
    }
}

fn unit(state_dir: &Path) -> Unit {
    if state_dir != Path::new(SYSTEM_STATE_DIR) || !Path::new("/run/systemd/system").is_dir() {
        return Unit::NotUsed;
    }
    let Some(path) = UNIT_DIRS
        .iter()
        .map(|dir| Path::new(dir).join(SOCKET_UNIT))
        .find(|at| at.is_symlink() || at.exists())
    else {
        return Unit::Missing;
    };
    if fs::read_link(path).is_ok_and(|target| target == Path::new("/dev/null")) {
        return Unit::Masked;
    }
    let link = Path::new(ENABLED).join(SOCKET_UNIT);
    if link.is_symlink() { Unit::Enabled } else { Unit::Disabled }
}

fn judge_unit(unit: Unit) -> Finding {
    match unit {
        Unit::NotUsed => Finding::ok(UNIT, "not used here: a fetch starts the agent itself"),
        Unit::Missing => Finding::ok(UNIT, "not installed: a fetch starts the agent itself"),
        Unit::Enabled => Finding::ok(UNIT, "enabled"),
        Unit::Disabled => {
            Finding::ok(UNIT, "not enabled: the first fetch after a start of the host starts it")
        }
        Unit::Masked => Finding::problem(
            UNIT,
            format!("{SOCKET_UNIT} is masked: systemd will not start the agent"),
            format!("systemctl unmask {SOCKET_UNIT}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;

    fn state(owner: io::Result<Option<Owner>>) -> State {
        judge_directory(Path::new("/x"), owner, Some(7)).state
    }

    #[test]
    fn a_directory_has_to_be_its_agents_own() {
        let owner = |is_directory, uid, mode| Ok(Some(Owner { is_directory, uid, mode }));
        assert_eq!(state(Ok(None)), State::Ok);
        assert_eq!(state(owner(true, 7, 0o40711)), State::Ok);
        assert_eq!(state(owner(true, 8, 0o40711)), State::Problem);
        assert_eq!(state(owner(true, 7, 0o40731)), State::Problem);
        assert_eq!(state(owner(false, 7, 0o100644)), State::Problem);
        assert_eq!(state(Err(io::ErrorKind::PermissionDenied.into())), State::Unknown);
    }

    #[test]
    fn only_a_masked_unit_is_in_the_way() {
        for unit in [Unit::NotUsed, Unit::Missing, Unit::Disabled, Unit::Enabled] {
            assert_eq!(judge_unit(unit).state, State::Ok, "{unit:?}");
        }
        assert_eq!(judge_unit(Unit::Masked).state, State::Problem);
    }
}
