//! SELinux: whether it is enforcing, and whether it knows this program's files.

use std::fs;
use std::path::Path;

use super::Patient;
use super::finding::Finding;

const SELINUX: &str = "selinux";

pub(super) const CHECKS: &[&str] = &[SELINUX];

/// Where the kernel says whether it enforces; nothing is there where SELinux is not in use.
const ENFORCE: &str = "/sys/fs/selinux/enforce";

/// The attribute with a file's context.
const CONTEXT: &str = "security.selinux";

/// The longest context that is read.
const CONTEXT_LEN_MAX: usize = 256;

/// The types that the module of `packaging/selinux` gives to the program and to the agent's state.
const PROGRAM_TYPE: &str = "pkgtorrent_exec_t";
const STATE_TYPE: &str = "pkgtorrent_var_lib_t";

#[derive(Debug, Clone, Default)]
struct Facts {
    /// Whether it enforces; none where it is not in use.
    enforces: Option<bool>,
    program: Option<String>,
    /// None as long as the directory is not there.
    state: Option<String>,
}

pub(super) fn check(patient: &Patient) -> Vec<Finding> {
    let enforces = fs::read_to_string(ENFORCE).ok().map(|text| text.trim() == "1");
    let context = |path: &Path| enforces.and_then(|_| context(path));
    let program = std::env::current_exe().ok().and_then(|path| context(&path));
    let state = patient.state_dir.as_ref().ok().and_then(|path| context(path));
    vec![judge(&Facts { enforces, program, state })]
}

fn context(path: &Path) -> Option<String> {
    let mut context = [0; CONTEXT_LEN_MAX];
    let len = rustix::fs::getxattr(path, CONTEXT, &mut context).ok()?;
    Some(String::from_utf8_lossy(&context[..len]).trim_end_matches('\0').to_owned())
}

fn judge(facts: &Facts) -> Finding {
    let Some(enforces) = facts.enforces else { return Finding::ok(SELINUX, "not in use") };
    let mode = if enforces { "enforcing" } else { "permissive" };
    let Some(program) = &facts.program else {
        return Finding::unknown(SELINUX, format!("{mode}; the program's context cannot be read"));
    };
    if !has_type(program, PROGRAM_TYPE) {
        let found = format!("{mode}, and does not know the program, which is {program}");
        let advice =
            "dnf install pkgtorrent-selinux && restorecon -R /usr/bin/pkgtorrent /var/lib/pkgtorrent";
        return match enforces {
            true => Finding::warning(SELINUX, found, advice),
            false => Finding::ok(SELINUX, found),
        };
    }
    match &facts.state {
        Some(state) if enforces && !has_type(state, STATE_TYPE) => Finding::problem(
            SELINUX,
            format!("{mode}, and the state directory is {state}, not {STATE_TYPE}"),
            "restorecon -R on it, or for a directory of your own: semanage fcontext",
        ),
        _ => Finding::ok(SELINUX, format!("{mode}, and knows the program")),
    }
}

/// Contexts are `user:role:type:level`.
fn has_type(context: &str, name: &str) -> bool {
    context.split(':').nth(2) == Some(name)
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;

    fn state(enforces: Option<bool>, program: &str, state: &str) -> State {
        let context = |name: &str| Some(format!("system_u:object_r:{name}:s0")).filter(|_| !name.is_empty());
        judge(&Facts { enforces, program: context(program), state: context(state) }).state
    }

    #[test]
    fn what_it_does_not_know_counts_where_it_enforces() {
        assert_eq!(state(None, "", ""), State::Ok);
        assert_eq!(state(Some(true), PROGRAM_TYPE, STATE_TYPE), State::Ok);
        assert_eq!(state(Some(true), PROGRAM_TYPE, ""), State::Ok, "there is no state yet");
        assert_eq!(state(Some(true), PROGRAM_TYPE, "var_lib_t"), State::Problem);
        assert_eq!(state(Some(false), PROGRAM_TYPE, "var_lib_t"), State::Ok);
        assert_eq!(state(Some(true), "bin_t", "var_lib_t"), State::Warning);
        assert_eq!(state(Some(false), "bin_t", ""), State::Ok);
        assert_eq!(state(Some(true), "", ""), State::Unknown);
    }
}
