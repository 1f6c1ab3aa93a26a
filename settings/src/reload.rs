//! Taking up another configuration in a program that runs.

use crate::{Configuration, Keys, Takes};

/// What a reload comes to.
#[derive(Debug)]
pub struct Reloaded<K> {
    /// What counts from now on.
    pub configuration: Configuration<K>,
    /// What changed, a line each.
    pub changed: Vec<String>,
    /// What would change if the program were started anew, a line each.
    pub deferred: Vec<String>,
}

impl<K> Reloaded<K> {
    /// What it comes to, as a log has it.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let nothing = self.changed.is_empty() && self.deferred.is_empty();
        let nothing = nothing.then(|| "configuration read again: nothing changed".to_owned());
        let changed = self.changed.iter().map(|change| format!("configuration read again: {change}"));
        let deferred = self.deferred.iter().map(|change| format!("only a restart will apply {change}"));
        nothing.into_iter().chain(changed).chain(deferred)
    }
}

impl<K: Keys> Configuration<K> {
    /// This configuration with the other's values of those keys that take no more than a reload.
    #[must_use]
    pub fn reload(&self, other: Self) -> Reloaded<K> {
        let mut configuration = other;
        let (mut changed, mut deferred) = (Vec::new(), Vec::new());
        for key in K::DOCS {
            let (before, after) = (self.value(key), configuration.value(key));
            if before == after {
                continue;
            }
            let (before, after) = (self.shown(key), configuration.shown(key));
            let change = format!("{} = {after}, was {before} ({})", key.name, configuration.origin(key.name));
            match key.takes {
                Takes::Reload => changed.push(change),
                Takes::Restart => {
                    configuration.keep(key.name, self);
                    deferred.push(change);
                }
            }
        }
        Reloaded { configuration, changed, deferred }
    }

    fn keep(&mut self, key: &'static str, of: &Self) {
        self.keys.copy(key, &of.keys);
        match of.given.get(key) {
            Some(given) => self.given.insert(key, given.clone()),
            None => self.given.remove(key),
        };
    }
}
