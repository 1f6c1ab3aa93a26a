//! What can be seen of a directory without touching it.

use std::path::Path;

use rustix::fs::Access;

/// Whether we may keep files in this directory, or make it.
pub fn check_directory(path: &Path) -> Result<(), String> {
    let there = path.ancestors().find(|above| !above.as_os_str().is_empty() && above.exists());
    let Some(there) = there else { return Err(format!("{}: there is no such place", path.display())) };
    if !there.is_dir() {
        return Err(format!("{}: {} is no directory", path.display(), there.display()));
    }
    let allowed = rustix::fs::access(there, Access::WRITE_OK | Access::EXEC_OK);
    allowed.map_err(|error| format!("{}: {} may not be written to: {error}", path.display(), there.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_there_or_can_be_made() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("file");
        std::fs::write(&file, "").expect("written");
        assert_eq!(check_directory(directory.path()), Ok(()));
        assert_eq!(check_directory(&directory.path().join("a/b")), Ok(()));
        let below = check_directory(&file.join("a")).expect_err("a file");
        assert!(below.ends_with("/file is no directory"), "{below}");
    }
}
