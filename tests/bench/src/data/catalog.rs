//! The metadata of a distribution of 100,000 packages, over files that have their sizes and no contents.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context;
use flate2::write::GzEncoder;
use pkgtorrent_protocol::Sha256Digest;
use pkgtorrent_test_support::{Compression, metadata};

use super::{Random, made_once};

/// How many packages the repository lists.
pub(crate) const PACKAGES: usize = 100_000;

/// The root with a repository of [`PACKAGES`] packages, made when it is not there.
///
/// The numbers of dependencies and files make the document as long as those of the large distributions are per
/// package: nearly 4 kB, which is 380 MB in all, and 45 to 50 MB compressed.
pub(crate) fn root(data: &Path, compression: Compression) -> anyhow::Result<PathBuf> {
    let name = format!("catalog-{compression:?}-1").to_lowercase();
    made_once(data, &name, |root| make(root, compression))
}

const SYLLABLES: [&str; 32] = [
    "ka", "li", "mon", "tex", "per", "gno", "qt", "lib", "dev", "ser", "net", "py", "ru", "go", "zen", "fon",
    "dia", "cor", "vim", "sys", "log", "xml", "gra", "mat", "pol", "sec", "aud", "vid", "kit", "tor", "ber",
    "nix",
];

fn word(random: &mut Random, syllables: usize) -> String {
    (0..syllables).map(|_| *random.pick(&SYLLABLES)).collect()
}

fn prose(random: &mut Random, words: usize) -> String {
    let words: Vec<String> = (0..words).map(|_| word(random, 2)).collect();
    words.join(" ")
}

/// The names that packages depend on: few enough that they repeat, as they do in a distribution.
fn dependency_names(random: &mut Random) -> Vec<String> {
    let names = (0..8000).map(|number: u64| match number % 4 {
        0 => format!("lib{}.so.{}()(64bit)", word(random, 3), random.below(9)),
        1 => format!("lib{}.so.6(GLIBC_2.{})(64bit)", word(random, 2), random.below(40)),
        2 => format!("pkgconfig({})", word(random, 3)),
        _ => format!("{}-{}", word(random, 2), word(random, 2)),
    });
    names.collect()
}

fn make(root: &Path, compression: Compression) -> anyhow::Result<()> {
    // The same seed for every compression: the documents differ in nothing else.
    let mut random = Random::new(100_000);
    let dependencies = dependency_names(&mut random);
    fs::create_dir_all(root.join("repodata"))?;
    for letter in 'a'..='z' {
        fs::create_dir_all(root.join(format!("Packages/{letter}")))?;
    }
    let draft = root.join("repodata/primary.xml.gz");
    let file = File::create(&draft).with_context(|| format!("creating {}", draft.display()))?;
    let mut primary = GzEncoder::new(file, flate2::Compression::fast());
    writeln!(
        primary,
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<metadata xmlns=\"http://linux.duke.edu/metadata/common\" \
         xmlns:rpm=\"http://linux.duke.edu/metadata/rpm\" packages=\"{PACKAGES}\">"
    )?;
    for number in 0..PACKAGES {
        let entry = Entry::draw(&mut random, number);
        primary.write_all(entry.to_xml(&mut random, &dependencies)?.as_bytes())?;
        let path = root.join(&entry.location);
        // Sparse: a length and no blocks.
        let file = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
        file.set_len(entry.size).with_context(|| format!("extending {}", path.display()))?;
    }
    writeln!(primary, "</metadata>")?;
    primary.finish()?;
    metadata::recompress(root, compression);
    if draft.exists() {
        fs::remove_file(&draft).context("removing the draft of the primary document")?;
    }
    Ok(())
}

struct Entry {
    name: String,
    version: String,
    digest: Sha256Digest,
    size: u64,
    location: String,
}

impl Entry {
    fn draw(random: &mut Random, number: usize) -> Self {
        let name = format!("{}-{}{number}", word(random, 3), word(random, 2));
        let version = format!("{}.{}.{}", random.below(30), random.below(20), random.below(10));
        let location = format!("Packages/{}/{name}-{version}-1.x86_64.rpm", &name[..1]);
        let size = random.log_normal(60e3, 1.8) as u64 + 5000;
        let mut digest = [0; 32];
        random.fill(&mut digest);
        Self { name, version, digest: Sha256Digest(digest), size, location }
    }

    /// The package as createrepo_c lists it, line for line.
    fn to_xml(&self, random: &mut Random, dependencies: &[String]) -> Result<String, std::fmt::Error> {
        let Self { name, version, digest, size, location } = self;
        let (summary, description) = (prose(random, 6), prose(random, 40));
        let installed = size * 3;
        let mut xml = format!(
            "<package type=\"rpm\">\n  <name>{name}</name>\n  <arch>x86_64</arch>\n  \
             <version epoch=\"0\" ver=\"{version}\" rel=\"1\"/>\n  \
             <checksum type=\"sha256\" pkgid=\"YES\">{digest}</checksum>\n  \
             <summary>{summary}</summary>\n  <description>{description}</description>\n  \
             <packager>Packager</packager>\n  <url>https://{name}.example/</url>\n  \
             <time file=\"1700000000\" build=\"1690000000\"/>\n  \
             <size package=\"{size}\" installed=\"{installed}\" archive=\"{installed}\"/>\n  \
             <location href=\"{location}\"/>\n  <format>\n    <rpm:license>Apache-2.0</rpm:license>\n    \
             <rpm:vendor>Vendor</rpm:vendor>\n    <rpm:group>Unspecified</rpm:group>\n    \
             <rpm:buildhost>builder.example</rpm:buildhost>\n    \
             <rpm:sourcerpm>{name}-{version}-1.src.rpm</rpm:sourcerpm>\n    \
             <rpm:header-range start=\"4504\" end=\"20480\"/>\n"
        );
        let (provides, requires) = (2 + random.below(8), 10 + random.below(24));
        for (list, count) in [("provides", provides), ("requires", requires)] {
            writeln!(xml, "    <rpm:{list}>")?;
            for _ in 0..count {
                let name = random.pick(dependencies);
                writeln!(
                    xml,
                    "      <rpm:entry name=\"{name}\" flags=\"GE\" epoch=\"0\" ver=\"{version}\" rel=\"1\"/>"
                )?;
            }
            writeln!(xml, "    </rpm:{list}>")?;
        }
        for _ in 0..random.below(4) {
            writeln!(xml, "    <file>/usr/bin/{}</file>", word(random, 3))?;
        }
        xml.push_str("  </format>\n</package>\n");
        Ok(xml)
    }
}
