//! A mirror of packages that every host of a crowd wants.

use std::path::Path;

use pkgtorrent_fleet::Wanted;
use pkgtorrent_test_support::{Repository, Rpm};

/// Makes packages of these sizes below this directory.
pub(crate) fn packages(directory: &Path, sizes: &[u64]) -> Wanted {
    let root = directory.join("root");
    let repository = Repository::create(root.join("repository"));
    for (number, size) in (1_u64..).zip(sizes) {
        repository.add(&Rpm::new(&format!("package-{number}")).size(*size).seed(number));
    }
    repository.index();
    let wanted = Wanted::open(&root, "repository").expect("packages");
    assert_eq!(wanted.bytes(), sizes.iter().sum::<u64>());
    wanted
}
