//! Canonical bencoding, checked before anything is decoded.
//!
//! The decoder behind [`crate::metainfo`] believes the lengths that it reads and takes dictionaries in any order. This
//! check runs first: it allocates nothing, bounds the depth, and lets only the one encoding of a value through, so that
//! an info dictionary that was decoded and encoded again has the hash that it came with.

/// A value that is no canonical bencoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not canonical bencoding at byte {at}: {what}")]
pub struct NotCanonical {
    /// The offset at which it was seen.
    pub at: usize,
    /// What is wrong.
    pub what: &'static str,
}

/// How deep values may be nested. A `.torrent` needs five: metainfo, info, files, file, path.
pub const DEPTH_MAX: usize = 8;

/// Checks that `bytes` are exactly one canonical value.
pub fn check(bytes: &[u8]) -> Result<(), NotCanonical> {
    let mut scan = Scan { bytes, at: 0, order: Order::Ascending };
    scan.value(0)?;
    if scan.at == bytes.len() { Ok(()) } else { scan.refuse("something follows the value") }
}

/// The length of the value at the front of `bytes`, whose dictionaries may have their keys in any order. For what peers of
/// other makes say: it is decoded, but never encoded again and compared.
pub fn value_len(bytes: &[u8]) -> Result<usize, NotCanonical> {
    let mut scan = Scan { bytes, at: 0, order: Order::Any };
    scan.value(0)?;
    Ok(scan.at)
}

/// The bytes of the value under `key` in the dictionary `bytes`, which must be canonical.
#[must_use]
pub fn raw_value<'a>(bytes: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let mut scan = Scan { bytes, at: 1, order: Order::Ascending };
    if bytes.first() != Some(&b'd') {
        return None;
    }
    while scan.peek() != Some(b'e') {
        let found = scan.string().ok()? == key;
        let start = scan.at;
        scan.value(1).ok()?;
        if found {
            return bytes.get(start..scan.at);
        }
    }
    None
}

struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
    order: Order,
}

/// How the keys of dictionaries must follow one another.
#[derive(PartialEq, Eq)]
enum Order {
    Ascending,
    Any,
}

impl<'a> Scan<'a> {
    fn refuse<T>(&self, what: &'static str) -> Result<T, NotCanonical> {
        Err(NotCanonical { at: self.at, what })
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn value(&mut self, depth: usize) -> Result<(), NotCanonical> {
        if depth >= DEPTH_MAX {
            return self.refuse("nested too deeply");
        }
        match self.peek() {
            Some(b'i') => self.integer(),
            Some(b'0'..=b'9') => self.string().map(drop),
            Some(b'l') => self.list(depth),
            Some(b'd') => self.dictionary(depth),
            Some(_) => self.refuse("no value starts like this"),
            None => self.refuse("the value is cut off"),
        }
    }

    fn list(&mut self, depth: usize) -> Result<(), NotCanonical> {
        self.at += 1;
        while self.peek() != Some(b'e') {
            self.value(depth + 1)?;
        }
        self.at += 1;
        Ok(())
    }

    fn dictionary(&mut self, depth: usize) -> Result<(), NotCanonical> {
        self.at += 1;
        let mut last: Option<&[u8]> = None;
        while self.peek() != Some(b'e') {
            let key = self.string()?;
            if self.order == Order::Ascending && last.is_some_and(|last| last >= key) {
                return self.refuse("keys are not ascending");
            }
            last = Some(key);
            self.value(depth + 1)?;
        }
        self.at += 1;
        Ok(())
    }

    fn integer(&mut self) -> Result<(), NotCanonical> {
        self.at += 1;
        let negative = self.peek() == Some(b'-');
        self.at += usize::from(negative);
        let value = self.digits()?;
        if negative && value == 0 {
            return self.refuse("minus zero");
        }
        if self.peek() != Some(b'e') {
            return self.refuse("an integer does not end");
        }
        self.at += 1;
        Ok(())
    }

    fn string(&mut self) -> Result<&'a [u8], NotCanonical> {
        let len = self.digits()?;
        if self.peek() != Some(b':') {
            return self.refuse("a string has no colon");
        }
        let start = self.at + 1;
        let string = usize::try_from(len)
            .ok()
            .and_then(|len| start.checked_add(len))
            .and_then(|end| self.bytes.get(start..end));
        match string {
            Some(string) => {
                self.at = start + string.len();
                Ok(string)
            }
            None => self.refuse("a string is longer than what is there"),
        }
    }

    fn digits(&mut self) -> Result<u64, NotCanonical> {
        let start = self.at;
        let mut value = 0_u64;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            let next = value.checked_mul(10).and_then(|v| v.checked_add(u64::from(digit - b'0')));
            // Integers are signed 64 bit for every client that exists.
            value = match next {
                Some(next) if next <= i64::MAX as u64 => next,
                _ => return self.refuse("a number is too large"),
            };
            self.at += 1;
        }
        match self.bytes.get(start..self.at) {
            None | Some([]) => self.refuse("a number is missing"),
            Some([b'0', _, ..]) => self.refuse("a number has a leading zero"),
            Some(_) => Ok(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_values_pass() {
        for text in ["i0e", "i-5e", "0:", "4:spam", "le", "de", "d1:ali1ei2ee1:b0:e"] {
            assert_eq!(check(text.as_bytes()), Ok(()), "{text}");
        }
    }

    #[test]
    fn every_other_encoding_is_refused() {
        for text in [
            "",
            "i",
            "ie",
            "i-0e",
            "i01e",
            "i-e",
            "i1",
            "5:spam",
            "04:spam",
            "4spam",
            "l",
            "d",
            "d1:ae",
            "x",
            "d1:bi1e1:ai1ee",
            "d1:ai1e1:ai1ee",
            "di1ei1ee",
            "i1ei2e",
            "i9223372036854775808e",
            "99999999999999999999:a",
            "18446744073709551615:",
        ] {
            assert!(check(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_value_s_length_is_known_whatever_follows_and_however_its_keys_are_ordered() {
        for (text, len) in [("d1:bi1e1:ai1eeXYZ", 14), ("i1ei2e", 3), ("0:", 2)] {
            assert_eq!(value_len(text.as_bytes()), Ok(len), "{text}");
        }
        for text in ["", "d1:bi1e1:ai1e", "d1:b5:xe", "i01e"] {
            assert!(value_len(text.as_bytes()).is_err(), "{text}");
        }
        assert!(value_len("l".repeat(1_000_000).as_bytes()).is_err());
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |n: usize| format!("{}{}", "l".repeat(n), "e".repeat(n));
        assert_eq!(check(nested(DEPTH_MAX).as_bytes()), Ok(()));
        assert!(check(nested(DEPTH_MAX + 1).as_bytes()).is_err());
        assert!(check("l".repeat(1_000_000).as_bytes()).is_err());
    }

    #[test]
    fn a_value_is_found_as_it_stands() {
        assert_eq!(raw_value(b"d1:a3:xyz4:infod1:ki7eee", b"info"), Some(&b"d1:ki7ee"[..]));
        assert_eq!(raw_value(b"d1:a3:xyze", b"info"), None);
    }
}
