//! A repository of 100,000 packages that really are what the metadata says, and take no room: a few random bytes before
//! nothing.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context;
use pkgtorrent_protocol::{PackageDigest, Sha256Digest};
use pkgtorrent_test_support::Compression;
use pkgtorrent_test_support::metadata::{self, Listed};
use sha2::{Digest, Sha256};

use super::{Random, made_once};

/// How many packages the repository lists.
pub(crate) const PACKAGES: usize = 100_000;

/// The random bytes that tell one package from the other.
const HEAD_LEN: usize = 32;

/// The root, and the digests of all its packages. They are made when they are not there.
pub(crate) fn open(data: &Path) -> anyhow::Result<(PathBuf, Vec<PackageDigest>)> {
    let directory = made_once(data, "holes-1", make)?;
    let path = directory.join("manifest");
    let manifest = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let digests = manifest.lines().map(|line| Ok(line.parse::<Sha256Digest>()?.into()));
    Ok((directory.join("root"), digests.collect::<anyhow::Result<_>>()?))
}

fn make(directory: &Path) -> anyhow::Result<()> {
    let root = directory.join("root");
    let mut random = Random::new(100_001);
    let (mut listed, mut manifest) = (Vec::new(), String::new());
    for number in 0..PACKAGES {
        // Most are of one piece or two, since all of them are read once in each run.
        let size = random.log_normal(30e3, 1.2) as usize + HEAD_LEN;
        let location = format!("Packages/{:02}/holes-{number:06}-1.0-1.x86_64.rpm", number % 100);
        let mut bytes = vec![0; size];
        random.fill(&mut bytes[..HEAD_LEN]);
        let path = root.join(&location);
        fs::create_dir_all(path.parent().unwrap_or(&root))?;
        let mut file = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
        file.write_all(&bytes[..HEAD_LEN]).with_context(|| format!("writing {}", path.display()))?;
        file.set_len(size as u64).with_context(|| format!("extending {}", path.display()))?;
        let digest = Sha256Digest(Sha256::digest(&bytes).into());
        listed.push(Listed::new(digest.into(), size as u64, &location));
        manifest.push_str(&format!("{digest}\n"));
    }
    metadata::write(&root, &listed, Compression::Zstd);
    fs::write(directory.join("manifest"), manifest).context("writing the manifest")
}
