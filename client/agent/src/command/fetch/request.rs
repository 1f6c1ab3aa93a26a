//! Reading the shim's request.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use pkgtorrent_protocol::control::{FETCH_REQUEST_LEN_MAX, FetchRequest, VERSION};
use pkgtorrent_protocol::set::SET_PACKAGES_MAX;
use serde::Deserialize;

/// Reads and checks a request.
pub(super) fn read(input: impl Read) -> anyhow::Result<FetchRequest> {
    let mut text = Vec::new();
    let len_max = FETCH_REQUEST_LEN_MAX as u64;
    input.take(len_max + 1).read_to_end(&mut text).context("reading the request from standard input")?;
    ensure!(text.len() as u64 <= len_max, "the request is longer than {FETCH_REQUEST_LEN_MAX} bytes");
    parse(&text)
}

fn parse(text: &[u8]) -> anyhow::Result<FetchRequest> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let Versioned { version } = serde_json::from_slice(text).context("the request on standard input")?;
    ensure!(version == VERSION, "the request is of version {version}; this program knows version {VERSION}");
    let request: FetchRequest = serde_json::from_slice(text).context("the request on standard input")?;
    let count = request.packages.len();
    ensure!(
        count <= SET_PACKAGES_MAX,
        "the request has {count} packages, at most {SET_PACKAGES_MAX} are allowed"
    );
    let mut dests = HashMap::new();
    for (index, package) in request.packages.iter().enumerate() {
        let dest = Path::new(&package.dest);
        let named = || format!("package {index} ({:?})", package.name);
        if !dest.is_absolute() || dest.file_name().is_none() {
            bail!("{}: the destination {:?} is no absolute path of a file", named(), package.dest);
        }
        if package.dest.contains('\0') {
            bail!("{}: the destination {:?} cannot be a path", named(), package.dest);
        }
        if let Some(digest) = dests.insert(dest, package.digest)
            && digest != package.digest
        {
            bail!("{}: another package has the same destination {:?}", named(), package.dest);
        }
    }
    Ok(request)
}

/// The nearest directory above a path that is there.
pub(super) fn nearest_directory(path: &Path) -> PathBuf {
    let above = path.ancestors().skip(1).find(|ancestor| ancestor.is_dir());
    above.unwrap_or(Path::new("/")).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(packages: &str) -> String {
        format!(r#"{{"version":1,"packages":[{packages}]}}"#)
    }

    fn package(name: &str, dest: &str, digit: &str) -> String {
        let digest = digit.repeat(64);
        format!(r#"{{"name":"{name}","url":"","digest":"sha256:{digest}","size":1,"dest":"{dest}"}}"#)
    }

    #[test]
    fn what_is_wrong_is_named() {
        let same = format!("{},{}", package("a", "/x/a", "0"), package("b", "/x/a", "1"));
        for (text, expected) in [
            ("", "EOF"),
            ("{}", "version"),
            (r#"{"version":2,"packages":7}"#, "version 2"),
            (r#"{"version":1,"packages":7}"#, "line 1 column"),
            (&request(&package("bash", "a.rpm", "0")), "package 0 (\"bash\"): the destination \"a.rpm\""),
            (&request(&package("bash", "/x/..", "0")), "no absolute path"),
            (&request(&package("bash", "/x\\u0000y", "0")), "cannot be a path"),
            (&request(&package("bash", "/a", "zz")), "hexadecimal"),
            (&request(&same), "package 1 (\"b\"): another package has the same destination"),
        ] {
            let error = format!("{:#}", parse(text.as_bytes()).expect_err(text));
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn one_package_twice_is_fine() {
        let twice = format!("{},{}", package("a", "/x/a", "0"), package("a", "/x/a", "0"));
        assert_eq!(parse(request(&twice).as_bytes()).expect("reads").packages.len(), 2);
        assert_eq!(parse(request("").as_bytes()).expect("reads").packages.len(), 0);
    }

    #[test]
    fn a_directory_above_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let deep = directory.path().join("no/such/file");
        assert_eq!(nearest_directory(&deep), directory.path());
    }
}
