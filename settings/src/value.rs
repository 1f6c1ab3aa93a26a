//! One value: what is wrong with it, in an operator's words.

use toml::de::{DeValue, ValueDeserializer};

use crate::{KeyDoc, Keys};

/// How much of a value an error repeats.
pub(crate) const FOUND_LEN_MAX: usize = 80;

/// What the reader expects, as it says it and as an operator does.
const WORDS: [(&str, &str); 8] = [
    ("u64", "a whole number, 0 or more"),
    ("usize", "a whole number, 0 or more"),
    ("u32", "a whole number from 0 to 4294967295"),
    ("a string", "a text in quotes"),
    ("path string", "a path in quotes"),
    ("a sequence", "a list"),
    ("a map", "a table"),
    ("a tuple of size 2", "a list of two"),
];

/// A value as it is written in some text.
pub(crate) type Written<'a> = toml::Spanned<DeValue<'a>>;

/// A value that is refused: where in its text the error is, and what it is.
pub(crate) struct Refused {
    pub(crate) place: usize,
    pub(crate) reason: String,
}

/// Reads a value of this text into its key, and says what it is.
pub(crate) fn set<K: Keys>(
    keys: &mut K,
    key: &KeyDoc,
    value: Written<'_>,
    text: &str,
) -> Result<toml::Value, Refused> {
    let whole = value.span();
    let refused = |error: toml::de::Error| {
        let span = error.span().unwrap_or(whole.clone());
        let found = shortened(text.get(span.clone()).unwrap_or_default());
        let reason =
            format!("{}: {}; the default is {}", key.name, reason(error.message(), &found), key.default);
        Refused { place: span.start, reason: without_passwords(&reason) }
    };
    keys.set(key.name, ValueDeserializer::from(value.clone())).map_err(refused)?;
    serde::Deserialize::deserialize(ValueDeserializer::from(value)).map_err(refused)
}

/// What is wrong, from what the reader says of it.
fn reason(message: &str, found: &str) -> String {
    if let Some(expected) = expected(message) {
        let plain = WORDS.iter().find(|(word, _)| *word == expected).map_or(expected, |(_, plain)| plain);
        return format!("expected {}, found {found}", plain.replace('`', "\""));
    }
    // Our own types say what they were given; those of others do not.
    if message.contains(found) { message.to_owned() } else { format!("{message}, found {found}") }
}

/// What the reader expects, if that is what it says: `invalid type: string "two", expected u64`.
fn expected(message: &str) -> Option<&str> {
    if message == "wanted string or table" {
        return Some("a string");
    }
    let is_of_reader = message.starts_with("invalid ") || message.starts_with("unknown ");
    let (_, expected) = message.split_once(", expected ").filter(|_| is_of_reader)?;
    // A table that is read into a type of ours is called by that type's name.
    Some(if expected.starts_with("struct ") { "a map" } else { expected })
}

fn shortened(found: &str) -> String {
    let line = found.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(FOUND_LEN_MAX) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

/// The text without what URLs in it have as a password: settings are shown and logged.
pub(crate) fn without_passwords(text: &str) -> String {
    let mut parts = text.split("://");
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        shown.push_str("://");
        // Nothing else ends it: who types a password may type a quote or a space.
        let authority = part.find(['/', '?', '#']).unwrap_or(part.len());
        let secret = part[..authority].rfind('@').and_then(|at| Some((part[..at].find(':')?, at)));
        match secret {
            Some((colon, at)) => shown.extend([&part[..colon], ":***", &part[at..]]),
            None => shown.push_str(part),
        }
    }
    shown
}

/// A value without the passwords in its texts.
pub(crate) fn masked(value: toml::Value) -> toml::Value {
    match value {
        toml::Value::String(text) => without_passwords(&text).into(),
        toml::Value::Array(list) => toml::Value::Array(list.into_iter().map(masked).collect()),
        toml::Value::Table(table) => {
            toml::Value::Table(table.into_iter().map(|(key, value)| (key, masked(value))).collect())
        }
        other => other,
    }
}

/// The key whose name is nearest to a text, and how many letters have to change to get there.
pub(crate) fn nearest<'a>(text: &str, keys: &'a [KeyDoc]) -> Option<(&'a KeyDoc, usize)> {
    keys.iter().map(|key| (key, distance(text, key.name))).min_by_key(|(_, distance)| *distance)
}

/// How many letters have to be added, removed or replaced to make one text the other.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.chars().count()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in other.chars().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_letters() {
        for (one, other, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("listen", "lissten", 1),
            ("seed", "sed_", 2),
            ("abc", "xyz", 3),
        ] {
            assert_eq!(distance(one, other), expected, "{one} {other}");
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        for (text, shown) in [
            ("http://a:b@c/", "http://a:***@c/"),
            ("\"http://a:b@d@c:80\" is no proxy", "\"http://a:***@c:80\" is no proxy"),
            ("http://a:b@c and http://d:e@f/g@h", "http://a:***@c and http://d:***@f/g@h"),
            ("http://a@c/b:d@e", "http://a@c/b:d@e"),
            ("http://a:b \"c'd@e", "http://a:***@e"),
            ("http://c:80/", "http://c:80/"),
            ("a:b@c", "a:b@c"),
        ] {
            assert_eq!(without_passwords(text), shown);
        }
    }
}
