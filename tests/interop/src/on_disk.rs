//! A bundle as clients keep it on disk: `pkgtorrent/<sha256>/<file name>` and, for clients that do not know what
//! padding is, `pkgtorrent/.pad/<length>_<n>`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use pkgtorrent_protocol::metainfo::{BUNDLE_NAME, BundleInfo, PADDING_DIRECTORY, padding_len};
use pkgtorrent_test_support::Package;

/// What a client does with padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// It writes every padding file.
    Written,
    /// It knows padding and keeps it off the disk.
    LeftOut,
}

/// Panics unless `directory` holds exactly these packages, byte by byte, and the bundle's padding or none of it.
pub fn assert_holds(directory: &Path, bundle: &BundleInfo, packages: &[Package], padding: Padding) {
    let mut found = files_below(&directory.join(BUNDLE_NAME));
    for package in packages {
        let path = package.bundle_path();
        let bytes = found.remove(&path).unwrap_or_else(|| panic!("{} is missing", path.display()));
        assert!(bytes == package.bytes(), "{} has other bytes than the mirror's", path.display());
    }
    let mut lengths = Vec::new();
    for (path, bytes) in found {
        let name = path.strip_prefix(PADDING_DIRECTORY).ok().and_then(Path::to_str);
        let len = name.and_then(padding_len);
        let len = len.unwrap_or_else(|| panic!("{} is neither a package nor padding", path.display()));
        assert_eq!(bytes.len(), len as usize, "{}", path.display());
        assert!(bytes.iter().all(|&byte| byte == 0), "{} is not all zeros", path.display());
        lengths.push(len);
    }
    lengths.sort_unstable();
    let expected = match padding {
        Padding::Written => padding_lengths(bundle),
        Padding::LeftOut => Vec::new(),
    };
    assert_eq!(lengths, expected, "the lengths of the padding on disk");
}

/// The lengths of a bundle's padding files, ascending.
fn padding_lengths(bundle: &BundleInfo) -> Vec<u32> {
    let mut lengths: Vec<u32> =
        bundle.layout().extents().iter().map(|extent| extent.padding).filter(|&len| len > 0).collect();
    lengths.sort_unstable();
    assert!(!lengths.is_empty(), "a set without padding would prove nothing about it");
    lengths
}

/// Lays the packages and the padding out as a client would that has downloaded them, so that it can seed.
pub fn lay_out(directory: &Path, bundle: &BundleInfo, packages: &[Package]) {
    let top = directory.join(BUNDLE_NAME);
    fs::create_dir_all(top.join(PADDING_DIRECTORY)).expect("a directory for padding");
    for (planned, extent) in bundle.packages().iter().zip(bundle.layout().extents()) {
        let package = packages.iter().find(|package| package.identity == planned.identity);
        let package = package.expect("the bundle holds only packages of the mirror");
        let path = top.join(package.bundle_path());
        fs::create_dir_all(path.parent().expect("a package's directory")).expect("a package's directory");
        fs::write(&path, package.bytes()).expect("a package");
        if extent.padding > 0 {
            // The name is `<length>_<index of the file before it>`.
            let name = format!("{}_{}", extent.padding, extent.file);
            assert_eq!(padding_len(&name), Some(extent.padding));
            fs::write(top.join(PADDING_DIRECTORY).join(name), vec![0; extent.padding as usize])
                .expect("padding");
        }
    }
}

fn files_below(top: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut directories = vec![top.to_owned()];
    while let Some(directory) = directories.pop() {
        let entries = fs::read_dir(&directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
        for entry in entries {
            let path = entry.expect("a directory's entry").path();
            if path.is_dir() {
                directories.push(path);
            } else {
                let bytes = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
                files.insert(path.strip_prefix(top).expect("it is below").to_owned(), bytes);
            }
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use pkgtorrent_protocol::layout::BLOCK_HASH_LEN;
    use pkgtorrent_protocol::metainfo::BundlePackage;
    use pkgtorrent_protocol::{FileName, PieceLen};
    use tempfile::TempDir;

    /// Two packages on disk as a client leaves them; the second fills its piece.
    fn downloaded() -> (TempDir, BundleInfo, Vec<Package>) {
        let directory = tempfile::tempdir().expect("a directory");
        let write = |name: &str, bytes| Package::write(&directory.path().join("mirror").join(name), bytes);
        let packages = vec![write("a.rpm", vec![7; 100]), write("b.rpm", vec![8; 32 << 10])];
        let planned = packages
            .iter()
            .map(|package| BundlePackage {
                identity: package.identity,
                name: FileName::new(package.file_name()).expect("a file name"),
                size: package.size,
            })
            .collect();
        let bundle =
            BundleInfo::new(PieceLen::Small, planned, vec![0; 2 * BLOCK_HASH_LEN]).expect("a bundle");
        let to = directory.path().join("client");
        lay_out(&to, &bundle, &packages);
        (directory, bundle, packages)
    }

    fn judged(spoil: impl FnOnce(&Path, &[Package])) -> std::thread::Result<()> {
        let (directory, bundle, packages) = downloaded();
        let client = directory.path().join("client");
        spoil(&client.join(BUNDLE_NAME), &packages);
        std::panic::catch_unwind(|| assert_holds(&client, &bundle, &packages, Padding::Written))
    }

    #[test]
    fn what_is_right_passes_and_whatever_is_wrong_does_not() {
        assert!(judged(|_, _| {}).is_ok());
        let padding = format!(".pad/{}_0", (32 << 10) - 100);
        let write = |path: PathBuf, bytes: Vec<u8>| fs::write(path, bytes).expect("a file is spoilt");
        assert!(judged(|top, p| write(top.join(p[0].bundle_path()), vec![9; 100])).is_err());
        assert!(judged(|top, p| write(top.join(p[1].bundle_path()), vec![8; (32 << 10) - 1])).is_err());
        assert!(judged(|top, p| fs::remove_file(top.join(p[1].bundle_path())).expect("it goes")).is_err());
        assert!(judged(|top, _| write(top.join("more"), Vec::new())).is_err());
        assert!(judged(|top, _| write(top.join(&padding), vec![1; (32 << 10) - 100])).is_err());
        assert!(judged(|top, _| write(top.join(&padding), vec![0; 99])).is_err());
        assert!(judged(|top, _| fs::remove_file(top.join(&padding)).expect("it goes")).is_err());
    }
}
