//! What stands behind the question mark: checked, so that who asks for something odd hears what is odd about it.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use actix_web::web::Query;

use crate::http::error::HttpError;

/// The most bytes of a text that is searched for: longer than any file name.
const TEXT_LEN_MAX: usize = 256;

/// The most rows of one answer. More than that nobody reads, and a browser is slow to lay out.
pub(crate) const ROWS_MAX: usize = 100;

/// How far a list can be leafed through: more than the service has of anything.
const OFFSET_MAX: usize = 10_000_000;

/// A query's parameters by their names.
pub(crate) struct Parameters(Vec<(String, String)>);

/// Which rows of a list are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Paging {
    pub(crate) offset: usize,
    pub(crate) limit: usize,
}

impl Parameters {
    /// Reads a query of which only these parameters are known here, each at most once.
    pub(crate) fn read(query: &str, known: &[&str]) -> Result<Self, HttpError> {
        let bad = |why: String| HttpError::BadRequest(why);
        let pairs = Query::<Vec<(String, String)>>::from_query(query)
            .map_err(|error| bad(format!("the query: {error}")))?
            .into_inner();
        for (index, (name, _)) in pairs.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                return Err(bad(format!("{name:?} is no parameter here; known: {known}")));
            }
            if pairs[..index].iter().any(|(earlier, _)| earlier == name) {
                return Err(bad(format!("{name} is there twice")));
            }
        }
        Ok(Self(pairs))
    }

    /// A parameter as it was written.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A number within bounds.
    pub(crate) fn number<N>(&self, name: &str, default: N, bounds: RangeInclusive<N>) -> Result<N, HttpError>
    where
        N: FromStr + PartialOrd + Display,
    {
        let Some(text) = self.get(name) else { return Ok(default) };
        let number = text.parse().ok().filter(|number| bounds.contains(number));
        number.ok_or_else(|| {
            let (least, most) = bounds.into_inner();
            HttpError::BadRequest(format!("{name}: {text:?} is no number from {least} to {most}"))
        })
    }

    /// A text to search for, in lower case and without blanks around it.
    pub(crate) fn text(&self, name: &str) -> Result<String, HttpError> {
        let text = self.get(name).unwrap_or_default();
        if text.len() > TEXT_LEN_MAX {
            let why =
                format!("{name}: {} bytes are too long, at most {TEXT_LEN_MAX} are allowed", text.len());
            return Err(HttpError::BadRequest(why));
        }
        Ok(text.trim().to_ascii_lowercase())
    }

    /// One of some words; the first of them if none is named.
    pub(crate) fn choice<T: Copy>(&self, name: &str, choices: &[(&str, T)]) -> Result<T, HttpError> {
        let named = self.get(name).unwrap_or(choices[0].0);
        let chosen = choices.iter().find(|(word, _)| *word == named);
        chosen.map(|(_, choice)| *choice).ok_or_else(|| {
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            HttpError::BadRequest(format!("{name}: {named:?} is none of {}", words.join(", ")))
        })
    }

    /// `offset` and `limit`, with so many rows if no limit is named.
    pub(crate) fn paging(&self, rows: usize) -> Result<Paging, HttpError> {
        Ok(Paging {
            offset: self.number("offset", 0, 0..=OFFSET_MAX)?,
            limit: self.number("limit", rows, 1..=ROWS_MAX)?,
        })
    }
}

impl Paging {
    /// The rows that were asked for.
    pub(crate) fn of<T>(self, rows: impl IntoIterator<Item = T>) -> Vec<T> {
        rows.into_iter().skip(self.offset).take(self.limit).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<(String, Paging, u8), HttpError> {
        let parameters = Parameters::read(query, &["q", "offset", "limit", "order"])?;
        let order = parameters.choice("order", &[("peers", 1), ("size", 2)])?;
        Ok((parameters.text("q")?, parameters.paging(ROWS_MAX)?, order))
    }

    #[test]
    fn what_is_asked_for_is_read() {
        let paging = |offset, limit| Paging { offset, limit };
        assert_eq!(read(""), Ok((String::new(), paging(0, 100), 1)));
        assert_eq!(
            read("q=%20Kernel+6&offset=7&limit=2&order=size"),
            Ok(("kernel 6".into(), paging(7, 2), 2))
        );
        assert_eq!(paging(1, 2).of([1, 2, 3, 4]), [2, 3]);
    }

    #[test]
    fn what_is_odd_is_named() {
        let long = format!("q={}", "x".repeat(TEXT_LEN_MAX + 1));
        for (query, why) in [
            ("limit=0", r#"limit: "0" is no number from 1 to 100"#),
            ("limit=101", r#"limit: "101" is no number from 1 to 100"#),
            ("limit=ten", r#"limit: "ten" is no number from 1 to 100"#),
            ("offset=-1", r#"offset: "-1" is no number from 0 to 10000000"#),
            ("order=up", r#"order: "up" is none of peers, size"#),
            ("what=1", r#""what" is no parameter here; known: q, offset, limit, order"#),
            ("q=a&q=b", "q is there twice"),
            (&long, "q: 257 bytes are too long, at most 256 are allowed"),
        ] {
            assert_eq!(read(query), Err(HttpError::BadRequest(why.into())), "{query}");
        }
    }
}
