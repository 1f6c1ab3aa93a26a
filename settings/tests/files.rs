//! What a program reads from its file and the drop-ins beside it.

use std::fs;
use std::path::Path;

use pkgtorrent_settings::Configuration;

pkgtorrent_settings::keys! {
    /// Counted.
    apples: u64 = "1" => Reload,
    /// Counted as well.
    pears: u64 = "2" => Reload,
}

fn written(directory: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = directory.join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(path, text).expect("written");
    }
}

fn read_of(named: Option<&Path>, default: &Path) -> Result<(Option<u64>, Option<u64>), String> {
    let mut configuration = Configuration::<Keys>::default();
    configuration.take_files(named, default).map_err(|error| error.to_string())?;
    Ok(configuration.settle(|keys| Ok((keys.apples, keys.pears))).expect("settles"))
}

fn read(path: &Path) -> Result<(Option<u64>, Option<u64>), String> {
    read_of(Some(path), Path::new("/nowhere"))
}

#[test]
fn drop_ins_override_in_the_order_of_their_names() {
    let directory = tempfile::tempdir().expect("a directory");
    let files = [
        ("a.toml", "apples = 1\npears = 5"),
        ("a.toml.d/20.toml", "apples = 3"),
        ("a.toml.d/10.toml", "apples = 2\npears = 6"),
    ];
    written(directory.path(), &files);
    assert_eq!(read(&directory.path().join("a.toml")), Ok((Some(3), Some(6))));
}

#[test]
fn drop_ins_have_the_file_s_own_extension_and_are_not_hidden() {
    let directory = tempfile::tempdir().expect("a directory");
    let others = ["10.txt", "10", "10.toml~", ".#10.toml"].map(|name| format!("a.toml.d/{name}"));
    for other in &others {
        written(directory.path(), &[(other, "apples = 9")]);
    }
    written(directory.path(), &[("a.toml", ""), ("a.toml.d/10.conf", "apples = 9")]);
    written(directory.path(), &[("a.conf", ""), ("a.conf.d/10.conf", "apples = 4")]);
    written(directory.path(), &[("bare", ""), ("bare.d/10.conf", "apples = 9"), ("bare.d/10", "apples = 7")]);
    let apples = |file: &str| read(&directory.path().join(file)).expect("reads").0;
    assert_eq!(["a.toml", "a.conf", "bare"].map(apples), [None, Some(4), Some(7)]);
}

#[test]
fn the_default_file_may_be_absent_and_a_named_one_may_not() {
    let directory = tempfile::tempdir().expect("a directory");
    let absent = directory.path().join("a.toml");
    assert_eq!(read_of(None, &absent), Ok((None, None)));
    let error = read(&absent).expect_err("refused");
    assert!(error.starts_with(&absent.display().to_string()), "{error}");
    written(directory.path(), &[("a.toml.d/10.toml", "apples = 2")]);
    assert_eq!(read_of(None, &absent), Ok((Some(2), None)));
    written(directory.path(), &[("a.toml", "apples = \"many\"")]);
    assert!(read_of(None, &absent).is_err(), "a default file that says nonsense is not absent");
    assert!(read_of(None, directory.path()).is_err(), "nor is one that cannot be read");
}

#[test]
fn what_cannot_be_read_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    written(directory.path(), &[("a.toml", ""), ("a.toml.d", "a file where a directory should be")]);
    let error = read(&directory.path().join("a.toml")).expect_err("refused");
    assert!(error.contains("a.toml.d: "), "{error}");
    written(directory.path(), &[("b.toml", ""), ("b.toml.d/10.toml/x", "")]);
    let error = read(&directory.path().join("b.toml")).expect_err("refused");
    assert!(error.contains("b.toml.d/10.toml: "), "{error}");
}

#[test]
fn every_key_is_documented_in_its_order() {
    let docs: Vec<_> = KEY_DOCS.iter().map(|key| (key.name, key.default, key.doc)).collect();
    assert_eq!(docs, [("apples", "1", " Counted.\n"), ("pears", "2", " Counted as well.\n")]);
}
