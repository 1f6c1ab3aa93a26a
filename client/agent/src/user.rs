//! Who the agent runs as, and who may ask it.

use std::io;

use nix::unistd::{Gid, Group, Uid, User};

/// Who the agent runs as when the configured user does not exist: a user that owns nothing else of worth.
const FALLBACK_USER: &str = "nobody";

/// Why the agent cannot be the user that it should be, or does not know who may ask it.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// Neither the configured user nor the usual one without rights is there.
    #[error("there is neither a user {0:?} nor {FALLBACK_USER:?}")]
    NoSuchUser(String),
    /// A user that may ask does not exist.
    #[error("allowed_users: there is no user {0:?}")]
    NotAllowed(String),
    /// The configured user has root's rights.
    #[error("user {0:?} is root: the agent never runs as root")]
    IsRoot(String),
    /// Users cannot be looked up.
    #[error("looking up user {name:?}: {source}")]
    Lookup {
        /// The user.
        name: String,
        /// What happened.
        source: io::Error,
    },
    /// Root cannot be left.
    #[error("becoming user {name:?}: {source}")]
    Leave {
        /// The user.
        name: String,
        /// What happened.
        source: io::Error,
    },
    /// Root can be had back.
    #[error("root's rights are still there after becoming user {0:?}")]
    StillRoot(String),
}

/// Who may ask the agent: root, the user that it runs as, and those that are allowed.
#[derive(Debug, Clone)]
pub struct Callers {
    allowed: Vec<u32>,
}

impl Callers {
    /// `owner` is the user that the agent will run as, when it is not who it is now.
    pub fn new(allowed_users: &[String], owner: Option<(u32, u32)>) -> Result<Self, UserError> {
        let own = owner.map_or_else(|| Uid::current().as_raw(), |(uid, _)| uid);
        let mut allowed = vec![0, own];
        for name in allowed_users {
            let user = look_up(name)?.ok_or_else(|| UserError::NotAllowed(name.clone()))?;
            allowed.push(user.uid.as_raw());
        }
        Ok(Self { allowed })
    }

    /// Whether this user may.
    #[must_use]
    pub fn may_ask(&self, uid: u32) -> bool {
        self.allowed.contains(&uid)
    }
}

/// The user and group that the agent will run as, when root starts it; `None` when it stays who it is.
pub fn target_owner(name: &str) -> Result<Option<(u32, u32)>, UserError> {
    if !Uid::effective().is_root() {
        return Ok(None);
    }
    target(name).map(|user| Some((user.uid.as_raw(), user.gid.as_raw())))
}

/// Gives up root's rights for good; anyone else stays who they are. Rights belong to threads, so this must come before
/// there is a second one.
pub fn drop_root(name: &str) -> Result<(), UserError> {
    if !Uid::effective().is_root() {
        return Ok(());
    }
    let user = target(name)?;
    let name = user.name.clone();
    let leave = || -> nix::Result<()> {
        // The user's own groups, none of root's.
        nix::unistd::setgroups(&[user.gid])?;
        nix::unistd::setresgid(user.gid, user.gid, user.gid)?;
        nix::unistd::setresuid(user.uid, user.uid, user.uid)
    };
    leave().map_err(|errno| UserError::Leave { name: name.clone(), source: errno.into() })?;
    // No program that it might ever start gets rights back by its file's bits.
    rustix::thread::set_no_new_privs(true)
        .map_err(|errno| UserError::Leave { name: name.clone(), source: errno.into() })?;
    let root_again =
        nix::unistd::setuid(Uid::from_raw(0)).is_ok() || nix::unistd::setgid(Gid::from_raw(0)).is_ok();
    if root_again || Uid::effective().is_root() {
        return Err(UserError::StillRoot(name));
    }
    Ok(())
}

/// The name of the user that this process runs as, or the number of one that has none.
#[must_use]
pub fn current_name() -> String {
    let uid = Uid::effective();
    User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name)
}

fn target(name: &str) -> Result<User, UserError> {
    let user = match look_up(name)? {
        Some(user) => user,
        None => nobody()?.ok_or_else(|| UserError::NoSuchUser(name.to_owned()))?,
    };
    if user.uid.is_root() || user.gid.as_raw() == 0 {
        return Err(UserError::IsRoot(user.name));
    }
    Ok(user)
}

fn nobody() -> Result<Option<User>, UserError> {
    let Some(mut user) = look_up(FALLBACK_USER)? else { return Ok(None) };
    // Its group has the same name on RPM distributions and another on Debian; what matters is that it is not root's.
    if let Ok(Some(group)) = Group::from_name(FALLBACK_USER) {
        user.gid = group.gid;
    }
    Ok(Some(user))
}

fn look_up(name: &str) -> Result<Option<User>, UserError> {
    User::from_name(name).map_err(|errno| UserError::Lookup { name: name.to_owned(), source: errno.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_and_the_agents_own_user_may_ask_and_others_only_when_allowed() {
        let callers = Callers::new(&[], Some((77, 77))).unwrap();
        assert!(callers.may_ask(0) && callers.may_ask(77));
        assert!(!callers.may_ask(Uid::current().as_raw() + 1));
        let callers = Callers::new(&["nobody".into()], Some((77, 77))).unwrap();
        let nobody = look_up("nobody").unwrap().expect("nobody is everywhere").uid.as_raw();
        assert!(callers.may_ask(nobody));
        let refused = Callers::new(&["no-such-user".into()], None);
        assert!(matches!(refused, Err(UserError::NotAllowed(name)) if name == "no-such-user"));
    }

    #[test]
    fn the_agent_never_becomes_root() {
        assert!(matches!(target("root"), Err(UserError::IsRoot(_))));
        let fallback = target("no-such-user").unwrap();
        assert_eq!(fallback.name, "nobody");
        assert!(!fallback.uid.is_root());
    }
}
