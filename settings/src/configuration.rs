//! What a program is configured to: its keys' values, each with where it is from.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use serde::Deserialize;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use crate::value::{self, Written, without_passwords};
use crate::{KeyDoc, Keys, Origin, SettingsError, Wrong, files};

/// The values of a program's keys. What is taken later overrides what was taken before, key by key.
#[derive(Debug, Clone)]
pub struct Configuration<K> {
    pub(crate) keys: K,
    pub(crate) given: BTreeMap<&'static str, Given>,
}

/// What was given for a key.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    pub(crate) value: toml::Value,
    pub(crate) origin: Origin,
}

impl<K: Keys> Default for Configuration<K> {
    fn default() -> Self {
        Self { keys: K::default(), given: BTreeMap::new() }
    }
}

impl<K: Keys> Configuration<K> {
    /// Takes a default that depends on where the program runs.
    pub fn take_default(
        &mut self,
        key: &'static str,
        value: impl Into<toml::Value>,
    ) -> Result<(), SettingsError> {
        self.take_written(key, &value.into().to_string(), Origin::Default)
    }

    /// Takes the file that is named, or else the default one if it is there, each with its drop-ins.
    pub fn take_files(&mut self, named: Option<&Path>, default: &Path) -> Result<(), SettingsError> {
        files::read(named, default)?.iter().try_for_each(|(path, text)| self.take_text(path, text))
    }

    /// Takes the text of a file.
    pub fn take_text(&mut self, path: &Path, text: &str) -> Result<(), SettingsError> {
        let at = |place: usize| Origin::File { path: path.to_owned(), line: line_of(text, place) };
        let table = DeTable::parse(text).map_err(|error| SettingsError::At {
            origin: at(error.span().map_or(0, |span| span.start)),
            reason: format!("this is no TOML: {}", error.message()),
        })?;
        let mut entries: Vec<_> = table.into_inner().into_iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        for (name, value) in entries {
            let origin = at(name.span().start);
            let name = name.into_inner();
            let Some(key) = key_named::<K>(&name) else {
                return Err(SettingsError::At { origin, reason: unknown::<K>(&name) });
            };
            self.take(key, value, text, origin, at)?;
        }
        Ok(())
    }

    /// Takes the variables that are named like keys, in capitals behind the prefix. A value is written as in the file; a
    /// text may do without its quotes.
    ///
    /// A variable that is nearly named like a key is refused as a slip of the pen. Others are not ours: clusters set
    /// variables of their own for each of their services, and would begin them in the same way.
    pub fn take_variables(
        &mut self,
        prefix: &str,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<(), SettingsError> {
        let mut ours: Vec<_> = variables
            .into_iter()
            .filter_map(|(name, text)| Some((name.into_string().ok()?, text)))
            .filter(|(name, _)| name.starts_with(prefix))
            .collect();
        ours.sort();
        for (name, text) in ours {
            let origin = Origin::Variable(name.clone());
            let stem = name[prefix.len()..].to_lowercase();
            match value::nearest(&stem, K::DOCS) {
                Some((key, 0)) if name[prefix.len()..] == key.name.to_uppercase() => {
                    let text = text.into_string().map_err(|_| SettingsError::At {
                        origin: origin.clone(),
                        reason: format!("{}: expected UTF-8, found other bytes", key.name),
                    })?;
                    self.take_variable(key.name, &text, origin)?;
                }
                Some((key, distance)) if distance <= stem.len() / 3 => {
                    let right = format!("{prefix}{}", key.name.to_uppercase());
                    return Err(SettingsError::At {
                        origin,
                        reason: format!("is no variable; did you mean {right}?"),
                    });
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn take_variable(&mut self, key: &'static str, text: &str, origin: Origin) -> Result<(), SettingsError> {
        let quoted = toml::Value::from(text).to_string();
        let as_written = self.take_written(key, text, origin.clone());
        as_written.or_else(|refused| {
            // What is no TOML can only be a text; of what is, the first complaint is the better one.
            self.take_written(key, &quoted, origin)
                .map_err(|as_text| if DeValue::parse(text).is_ok() { refused } else { as_text })
        })
    }

    /// Takes the value of an option, if it was given.
    pub fn take_flag(
        &mut self,
        flag: &'static str,
        key: &'static str,
        value: Option<impl Into<toml::Value>>,
    ) -> Result<(), SettingsError> {
        match value {
            Some(value) => self.take_written(key, &value.into().to_string(), Origin::Flag(flag)),
            None => Ok(()),
        }
    }

    fn take_written(&mut self, key: &'static str, text: &str, origin: Origin) -> Result<(), SettingsError> {
        let Some(key) = key_named::<K>(key) else {
            return Err(SettingsError::At { origin, reason: unknown::<K>(key) });
        };
        let value = DeValue::parse(text).map_err(|error| SettingsError::At {
            origin: origin.clone(),
            reason: format!("{}: this is no TOML: {}", key.name, error.message()),
        })?;
        self.take(key, value, text, origin.clone(), |_| origin.clone())
    }

    /// Takes a value. `at` says where a place of the text is, for what is wrong in the middle of a value.
    fn take(
        &mut self,
        key: &'static KeyDoc,
        value: Written<'_>,
        text: &str,
        origin: Origin,
        at: impl Fn(usize) -> Origin,
    ) -> Result<(), SettingsError> {
        let value = value::set(&mut self.keys, key, value, text)
            .map_err(|refused| SettingsError::At { origin: at(refused.place), reason: refused.reason })?;
        self.given.insert(key.name, Given { value, origin });
        Ok(())
    }

    /// The settings that a program makes of its keys. What it refuses gets the place that it is from.
    pub fn settle<S>(&self, settle: impl FnOnce(K) -> Result<S, Wrong>) -> Result<S, SettingsError> {
        settle(self.keys.clone()).map_err(|wrong| SettingsError::At {
            origin: self.origin(wrong.key),
            reason: without_passwords(&wrong.to_string()),
        })
    }

    /// Where a key's value is from.
    pub(crate) fn origin(&self, key: &str) -> Origin {
        self.given.get(key).map_or(Origin::Default, |given| given.origin.clone())
    }

    /// What counts for a key.
    pub(crate) fn value(&self, key: &KeyDoc) -> Option<toml::Value> {
        match self.given.get(key.name) {
            Some(given) => Some(given.value.clone()),
            None => ValueDeserializer::parse(key.default).and_then(Deserialize::deserialize).ok(),
        }
    }

    /// What counts for a key, as it is shown.
    pub(crate) fn shown(&self, key: &KeyDoc) -> String {
        self.value(key).map_or_else(String::new, |value| value::masked(value).to_string())
    }

    /// Every key's value with its origin, as a file that says the same.
    #[must_use]
    pub fn listing(&self) -> String {
        let line =
            |key: &KeyDoc| format!("{} = {}  # {}\n", key.name, self.shown(key), self.origin(key.name));
        K::DOCS.iter().map(line).collect()
    }

    /// Every key's value with its origin, as JSON.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        let entry = |key: &KeyDoc| {
            let value = ValueDeserializer::parse(&self.shown(key))
                .and_then(serde_json::Value::deserialize)
                .unwrap_or_default();
            (
                key.name.to_owned(),
                serde_json::json!({ "value": value, "from": self.origin(key.name).to_string() }),
            )
        };
        K::DOCS.iter().map(entry).collect::<serde_json::Map<_, _>>().into()
    }
}

fn key_named<K: Keys>(name: &str) -> Option<&'static KeyDoc> {
    K::DOCS.iter().find(|key| key.name == name)
}

fn unknown<K: Keys>(name: &str) -> String {
    let name: String = name.chars().take(value::FOUND_LEN_MAX).collect();
    match value::nearest(&name, K::DOCS) {
        Some((key, _)) => format!("there is no key {name:?}; did you mean {}?", key.name),
        None => format!("there is no key {name:?}"),
    }
}

fn line_of(text: &str, place: usize) -> usize {
    text.as_bytes().iter().take(place).filter(|byte| **byte == b'\n').count() + 1
}
