//! Whatever lies in the store's directories, the store opens; it finds only what is there under its right name, and
//! nothing of anybody else's is touched.
//!
//! The input is records `<area><name>=<content>;`, where the area is `p` for packages, `h` for half packages and `a` for
//! aliases.
#![no_main]

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use pkgtorrent_agent::files::StateDir;
use pkgtorrent_agent::settings::StoreLimits;
use pkgtorrent_agent::store::Store;
use pkgtorrent_protocol::{Algorithm, PackageDigest, Sha256Digest};

/// A few packages of a few bytes, so that some have to leave.
const LIMITS: StoreLimits = StoreLimits { max_bytes: 100, free_space_min: Some(0) };

/// What the agent calls its unfinished files.
const UNFINISHED_PREFIX: &str = "new-";

const DIRECTORIES: [&str; 3] = ["store", "partial", "alias"];

fuzz_target!(|bytes: &[u8]| {
    // In memory, where there is such a place.
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let state = Arc::new(StateDir::temporary(&parent).expect("a directory"));
    let files = write(state.path(), bytes);
    let list = check(&state, &files);
    assert_eq!(check(&state, &files), list, "opened again, it is another");
});

/// Writes what the input says, and gives each file with its content.
fn write(state: &Path, bytes: &[u8]) -> BTreeMap<PathBuf, Vec<u8>> {
    for directory in DIRECTORIES {
        DirBuilder::new().mode(0o700).create(state.join(directory)).expect("made");
    }
    let mut files = BTreeMap::new();
    for record in bytes.split(|byte| *byte == b';') {
        let Some((area, record)) = record.split_first() else { continue };
        let directory = match area {
            b'p' => "store",
            b'h' => "partial",
            b'a' => "alias",
            _ => continue,
        };
        let Some(end) = record.iter().position(|byte| *byte == b'=') else { continue };
        let Ok(name) = std::str::from_utf8(&record[..end]) else { continue };
        if name.is_empty() || name.len() > 255 || name.contains(['/', '\0']) || matches!(name, "." | "..") {
            continue;
        }
        let path = state.join(directory).join(name);
        let content = record[end + 1..].to_vec();
        std::fs::write(&path, &content).expect("written");
        files.insert(path, content);
    }
    files
}

/// Opens the store and compares it with what is there; gives the packages that it has.
fn check(state: &Arc<StateDir>, files: &BTreeMap<PathBuf, Vec<u8>>) -> Vec<(Sha256Digest, u64)> {
    let store = Store::open(Arc::clone(state), LIMITS).expect("a store");
    let totals = store.totals();
    assert!(totals.bytes <= totals.bytes_max, "nothing is in use, and all may leave");
    let list: Vec<_> = store.list().into_iter().map(|(identity, size, _)| (identity, size)).collect();
    assert_eq!(totals.packages, list.len() as u64);
    for (identity, size) in &list {
        let path = state.path().join("store").join(identity.to_string());
        let content = files.get(&path).expect("written");
        assert!(*size > 0 && *size == content.len() as u64, "{identity}");
        assert!(path.exists(), "{identity}");
        assert_eq!(store.find(&(*identity).into()), Some(*identity));
    }
    for (path, content) in files {
        let directory = path.parent().and_then(Path::file_name).and_then(|name| name.to_str()).expect("one");
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        if name.starts_with(UNFINISHED_PREFIX) {
            assert!(!path.exists(), "{name} is unfinished");
        } else if directory == "alias" {
            check_alias(&store, path, name, content);
        } else if !is_identity(name) {
            assert_eq!(std::fs::read(path).ok().as_ref(), Some(content), "{name} is not the agent's");
        }
    }
    list
}

fn check_alias(store: &Store, path: &Path, name: &str, content: &[u8]) {
    let alias = name.replacen('-', ":", 1).parse::<PackageDigest>();
    // A name that is read but not written so is a foreign one.
    let alias = alias.ok().filter(|alias| {
        alias.algorithm() != Algorithm::Sha256 && alias.to_string().replacen(':', "-", 1) == name
    });
    let Some(alias) = alias else {
        assert_eq!(std::fs::read(path).ok().as_deref(), Some(content), "{name} is not the agent's");
        return;
    };
    match store.find(&alias) {
        Some(identity) => {
            assert!(content.eq_ignore_ascii_case(format!("{identity}\n").as_bytes()), "{name}");
            assert!(store.size(&identity).is_some() && path.exists(), "{name}");
        }
        None => assert!(!path.exists(), "{name} stands for nothing"),
    }
}

fn is_identity(name: &str) -> bool {
    name.parse::<Sha256Digest>().is_ok_and(|identity| identity.to_string() == name)
}
