//! How accounts are written down: numbers of as many bytes as they need, since most of them are small or nothing.

/// A record of the state's table; without a value it goes away.
pub(crate) type Change = (Vec<u8>, Option<Vec<u8>>);

/// The form of every record. One of another form is dropped.
pub(super) const VERSION: u8 = 1;

/// What a record is: the first byte of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// An hour (four bytes) and a site's name -> what was counted.
    Hour = b'h',
    /// A day (four bytes) -> its slowest installs.
    Slowest = b'd',
    /// A number (eight bytes) that grows -> an install with fallbacks.
    Fallback = b'f',
    /// A day (four bytes) and a package -> in how many installs it was, by hour.
    Spread = b's',
    /// A part of the hosts -> their totals.
    Hosts = b'p',
}

impl Kind {
    /// The kind of a record, and the rest of its key.
    pub(super) fn of(key: &[u8]) -> Option<(Self, &[u8])> {
        let (first, rest) = key.split_first()?;
        let all = [Self::Hour, Self::Slowest, Self::Fallback, Self::Spread, Self::Hosts];
        Some((all.into_iter().find(|kind| *kind as u8 == *first)?, rest))
    }

    /// A record's key, sorted as its parts are.
    pub(super) fn key(self, parts: &[&[u8]]) -> Vec<u8> {
        [&[self as u8][..], &parts.concat()].concat()
    }
}

/// Appends a number, seven bits a byte.
pub(super) fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Takes a number from the front; `None` where there is none.
pub(super) fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.split_off_first()?;
        number |= u64::from(byte & 0x7f).checked_mul(1 << shift)?;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

/// Takes the form from the front, if it is ours.
pub(super) fn take_version(bytes: &mut &[u8]) -> Option<()> {
    (*bytes.split_off_first()? == VERSION).then_some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_survive(numbers in proptest::collection::vec(any::<u64>(), 0..9)) {
            let mut out = Vec::new();
            numbers.iter().for_each(|&number| put(&mut out, number));
            let mut rest = out.as_slice();
            let read: Vec<u64> = std::iter::from_fn(|| take(&mut rest)).collect();
            prop_assert_eq!(read, numbers);
        }
    }

    #[test]
    fn what_is_no_number_is_none() {
        for bytes in
            [&[][..], &[0x80], &[0xff; 9], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]]
        {
            assert_eq!(take(&mut &bytes[..]), None, "{bytes:?}");
        }
    }
}
