//! Names of files inside a bundle, which foreign clients turn into paths on their disks.

use std::fmt;

/// The longest file name that the file systems of hosts take, in bytes.
pub const FILE_NAME_LEN_MAX: usize = 255;

/// One path component that cannot leave its directory: not empty, not `.` or `..`, no `/`, no NUL, no other control
/// character, at most [`FILE_NAME_LEN_MAX`] bytes of UTF-8.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileName(Box<str>);

/// Why a text is no file name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FileNameError {
    /// Nothing, or a name that stands for a directory.
    #[error("a file name is empty, `.` or `..`")]
    NotAFile,
    /// Longer than [`FILE_NAME_LEN_MAX`].
    #[error("a file name has {0} bytes, at most {FILE_NAME_LEN_MAX} are allowed")]
    TooLong(usize),
    /// A separator or a control character.
    #[error("a file name contains {0:?}")]
    Forbidden(char),
}

impl FileName {
    /// Checks `name`.
    pub fn new(name: &str) -> Result<Self, FileNameError> {
        if matches!(name, "" | "." | "..") {
            return Err(FileNameError::NotAFile);
        }
        if name.len() > FILE_NAME_LEN_MAX {
            return Err(FileNameError::TooLong(name.len()));
        }
        // The backslash separates directories for clients on other systems.
        match name.chars().find(|&c| c == '/' || c == '\\' || c.is_control()) {
            Some(c) => Err(FileNameError::Forbidden(c)),
            None => Ok(Self(name.into())),
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_could_leave_its_directory_is_refused() {
        for name in ["", ".", "..", "a/b", "/etc/passwd", "..\\x", "a\0b", "a\nb", "\u{7f}"] {
            assert!(FileName::new(name).is_err(), "{name:?}");
        }
        assert!(FileName::new(&"x".repeat(256)).is_err());
    }

    #[test]
    fn the_names_that_packages_have_are_fine() {
        for name in ["libstdc++-1.0~rc1^git.x86_64.rpm", "ünïcode-1-1.noarch.rpm", "...", "a b%20c.rpm"] {
            assert_eq!(FileName::new(name).expect(name).as_str(), name);
        }
    }
}
