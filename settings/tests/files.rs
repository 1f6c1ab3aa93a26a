//! What a program reads from its file and the drop-ins beside it.

use std::fs;
use std::path::Path;

pkgtorrent_settings::keys! {
    /// Counted.
    apples: u64 = "1",
    /// Counted as well.
    pears: u64 = "2",
}

fn written(directory: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = directory.join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(path, text).expect("written");
    }
}

fn read(path: &Path) -> Result<(Option<u64>, Option<u64>), String> {
    let keys = Keys::read(Some(path), Path::new("/nowhere")).map_err(|error| error.to_string())?;
    Ok((keys.apples, keys.pears))
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
    assert!(Keys::read(None, &absent).expect("reads").apples.is_none());
    let error = read(&absent).expect_err("refused");
    assert!(error.starts_with(&absent.display().to_string()), "{error}");
    written(directory.path(), &[("a.toml.d/10.toml", "apples = 2")]);
    assert_eq!(Keys::read(None, &absent).expect("reads").apples, Some(2));
    written(directory.path(), &[("a.toml", "apples = \"many\"")]);
    assert!(Keys::read(None, &absent).is_err(), "a default file that says nonsense is not absent");
    assert!(Keys::read(None, directory.path()).is_err(), "nor is one that cannot be read");
}

#[test]
fn an_error_says_the_file_the_line_and_the_key() {
    let directory = tempfile::tempdir().expect("a directory");
    for (text, line, key) in [
        ("apples = 1\nplums = 2", "line 2", "plums"),
        ("\n\npears = \"two\"", "line 3", "pears"),
        ("apples = -1", "line 1", "apples"),
    ] {
        written(directory.path(), &[("a.toml", ""), ("a.toml.d/site.toml", text)]);
        let error = read(&directory.path().join("a.toml")).expect_err(text);
        for expected in ["a.toml.d/site.toml", line, key] {
            assert!(error.contains(expected), "{expected} is not in: {error}");
        }
    }
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
