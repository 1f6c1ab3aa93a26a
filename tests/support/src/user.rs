//! Other users of this machine.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::process::{installed, run};

/// A user without rights who is on every system.
pub const OTHER_USER: &str = "daemon";

/// Whom an agent becomes that root starts, on a machine without a user `pkgtorrent`.
pub const NOBODY: &str = "nobody";

const LOOKUP_LIMIT: Duration = Duration::from_secs(10);

/// The user id and group id of a user.
#[must_use]
pub fn ids_of(user: &str) -> (u32, u32) {
    let line = run(Command::new(installed("getent")).args(["passwd", user]), LOOKUP_LIMIT);
    let mut fields = line.split(':').skip(2).map(|field| field.parse().expect("a number"));
    (fields.next().expect("a user id"), fields.next().expect("a group id"))
}

/// Whom an agent becomes that root starts without a configuration.
#[must_use]
pub fn agent_user() -> &'static str {
    let known = Command::new(installed("getent")).args(["passwd", "pkgtorrent"]).output();
    if known.expect("getent runs").status.success() { "pkgtorrent" } else { NOBODY }
}

/// `program` as another user, without any rights of root's. Only root may do that.
#[must_use]
pub fn as_user(user: &str, program: &Path) -> Command {
    let (uid, gid) = ids_of(user);
    let mut command = Command::new(installed("setpriv"));
    command.args([&format!("--reuid={uid}"), &format!("--regid={gid}"), "--clear-groups", "--"]).arg(program);
    command
}
