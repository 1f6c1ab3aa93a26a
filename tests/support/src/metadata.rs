//! Repository metadata written by hand: for files that are no packages, for compressions that the installed
//! createrepo_c does not know, and for lists that lie.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use pkgtorrent_protocol::PackageDigest;
use sha2::{Digest, Sha256};

/// How metadata is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
    /// xz.
    Xz,
}

impl Compression {
    /// Every compression.
    pub const ALL: [Self; 4] = [Self::None, Self::Gzip, Self::Zstd, Self::Xz];

    fn extension(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ".gz",
            Self::Zstd => ".zst",
            Self::Xz => ".xz",
        }
    }

    fn compress(self, bytes: &[u8]) -> Vec<u8> {
        let compressed = match self {
            Self::None => Ok(bytes.to_vec()),
            Self::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(bytes).and_then(|()| encoder.finish())
            }
            Self::Zstd => zstd::encode_all(bytes, 3),
            Self::Xz => {
                let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
                encoder.write_all(bytes).and_then(|()| encoder.finish())
            }
        };
        compressed.expect("compression in memory")
    }
}

/// One line of a list of packages. Nothing of it needs to be true.
#[derive(Debug, Clone)]
pub struct Listed {
    /// The digest, by any algorithm.
    pub digest: PackageDigest,
    /// The size of the file.
    pub size: u64,
    /// Where the file is, relative to the repository; already escaped if that is wanted.
    pub href: String,
    /// An `xml:base` for this package.
    pub base: Option<String>,
}

impl Listed {
    /// A package at `href`.
    #[must_use]
    pub fn new(digest: PackageDigest, size: u64, href: &str) -> Self {
        Self { digest, size, href: href.into(), base: None }
    }
}

/// Writes `repodata/` of the repository in `directory`: a primary list of these packages and the repomd.xml that names
/// it, which is replaced in one step as createrepo_c does.
pub fn write(directory: &Path, listed: &[Listed], compression: Compression) {
    let mut primary = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<metadata xmlns=\"http://linux.duke.edu/metadata/common\" \
         xmlns:rpm=\"http://linux.duke.edu/metadata/rpm\" ",
    );
    primary.push_str(&format!("packages=\"{}\">\n", listed.len()));
    for (number, package) in listed.iter().enumerate() {
        primary.push_str(&entry(number, package));
    }
    primary.push_str("</metadata>\n");
    let _ = write_primary(directory, primary.as_bytes(), compression);
}

/// Compresses the primary list that createrepo_c wrote with gzip once more in another way, and points repomd.xml to it.
pub fn recompress(directory: &Path, compression: Compression) {
    let repodata = directory.join("repodata");
    let old = fs::read_dir(&repodata)
        .unwrap_or_else(|e| panic!("{}: {e}", repodata.display()))
        .map(|entry| entry.expect("an entry of repodata").path())
        .find(|path| path.to_string_lossy().ends_with("primary.xml.gz"))
        .expect("a primary list compressed with gzip");
    let compressed = fs::read(&old).expect("the primary list");
    let mut primary = Vec::new();
    flate2::read::MultiGzDecoder::new(compressed.as_slice()).read_to_end(&mut primary).expect("gzip");
    let new = write_primary(directory, &primary, compression);
    if new != old {
        fs::remove_file(&old).expect("the old primary list goes");
    }
}

fn entry(number: usize, package: &Listed) -> String {
    let text = package.digest.to_string();
    let (algorithm, digits) = text.split_once(':').expect("a digest's text has a colon");
    let base = package.base.as_ref().map_or(String::new(), |base| format!(" xml:base=\"{}\"", escaped(base)));
    format!(
        "<package type=\"rpm\">\n  <name>listed-{number}</name>\n  <arch>noarch</arch>\n  \
         <version epoch=\"0\" ver=\"1\" rel=\"1\"/>\n  <checksum type=\"{algorithm}\" pkgid=\"YES\">{digits}</checksum>\n  \
         <summary>A test's package</summary>\n  <description/>\n  <packager/>\n  <url/>\n  \
         <time file=\"1\" build=\"1\"/>\n  <size package=\"{size}\" installed=\"{size}\" archive=\"{size}\"/>\n  \
         <location{base} href=\"{href}\"/>\n  <format>\n    <rpm:license>MIT</rpm:license>\n    \
         <rpm:header-range start=\"1\" end=\"2\"/>\n  </format>\n</package>\n",
        size = package.size,
        href = escaped(&package.href),
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

/// Returns where the list is.
fn write_primary(directory: &Path, primary: &[u8], compression: Compression) -> PathBuf {
    let repodata = directory.join("repodata");
    fs::create_dir_all(&repodata).unwrap_or_else(|e| panic!("{}: {e}", repodata.display()));
    let compressed = compression.compress(primary);
    let digest = hex(&Sha256::digest(&compressed));
    let name = format!("{digest}-primary.xml{}", compression.extension());
    fs::write(repodata.join(&name), &compressed).expect("a primary list is written");
    let data = format!(
        "  <data type=\"primary\">\n    <checksum type=\"sha256\">{digest}</checksum>\n    \
         <open-checksum type=\"sha256\">{}</open-checksum>\n    <location href=\"repodata/{name}\"/>\n    \
         <timestamp>1700000000</timestamp>\n    <size>{}</size>\n    <open-size>{}</open-size>\n  </data>\n",
        hex(&Sha256::digest(primary)),
        compressed.len(),
        primary.len(),
    );
    let repomd = repodata.join("repomd.xml");
    let text = fs::read_to_string(&repomd).unwrap_or_else(|_| {
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<repomd xmlns=\"http://linux.duke.edu/metadata/repo\">\n  \
         <revision>1700000000</revision>\n</repomd>\n"
            .into()
    });
    let text = match text.split_once("  <data type=\"primary\">") {
        Some((before, rest)) => {
            let (_, after) = rest.split_once("</data>\n").expect("repomd.xml ends its elements");
            format!("{before}{data}{after}")
        }
        None => text.replace("</repomd>", &format!("{data}</repomd>")),
    };
    let new = repodata.join(".repomd.xml.new");
    fs::write(&new, text).expect("a repomd.xml is written");
    fs::rename(&new, &repomd).expect("a repomd.xml is replaced");
    repodata.join(name)
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
