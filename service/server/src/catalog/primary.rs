//! `primary.xml`: the packages that a repository lists, read as a stream.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;

use pkgtorrent_protocol::PackageDigest;
use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;

use super::listing::ListedPackage;
use super::repomd::{MetadataError, attribute};
use crate::digesting::RunningDigest;

/// The most packages that one repository may list; the largest distributions have about 100,000.
const PACKAGES_MAX: usize = 1_000_000;

/// The longest primary metadata, uncompressed: twenty times the largest that distributions have.
const PRIMARY_LEN_MAX: u64 = 8 << 30;

/// The longest single tag or text. Descriptions and changelogs have kilobytes; this keeps a bomb out of memory.
const EVENT_LEN_MAX: usize = 16 << 20;

const BUFFER_LEN: usize = 128 << 10;

/// What primary metadata lists.
#[derive(Debug, Default)]
pub(crate) struct Primary {
    pub(crate) listed: Vec<ListedPackage>,
    /// Packages that lie elsewhere (`xml:base`) and are therefore not ours to serve.
    pub(crate) elsewhere: usize,
    /// Why entries were left out, the first few.
    pub(crate) problems: Vec<String>,
}

/// How many problems of one listing are told apart.
const PROBLEMS_MAX: usize = 5;

/// Reads compressed primary metadata, which must have this digest.
pub(crate) fn read(file: impl Read, name: &str, expected: &PackageDigest) -> Result<Primary, MetadataError> {
    let digest = Rc::new(Cell::new(None));
    let running = Some(RunningDigest::new(expected.algorithm()));
    let summed = Summed { inner: file, running, digest: Rc::clone(&digest) };
    let mut plain = decompressed(BufReader::with_capacity(BUFFER_LEN, summed), name)?;
    let primary = parse(&mut plain, name)?;
    // Whatever follows the document belongs to the file's digest too.
    let io = |source| MetadataError::Io { path: name.to_owned(), source };
    io::copy(&mut plain, &mut io::sink()).map_err(io)?;
    match digest.take() {
        Some(found) if found == *expected => Ok(primary),
        found => Err(MetadataError::Content(format!(
            "{name} does not match its checksum: expected {expected}, found {}",
            found.map_or("no end".to_owned(), |found| found.to_string())
        ))),
    }
}

fn decompressed<'a>(file: impl BufRead + 'a, name: &str) -> Result<Box<dyn Read + 'a>, MetadataError> {
    let io = |source| MetadataError::Io { path: name.to_owned(), source };
    let extension = name.rsplit('.').next().unwrap_or_default();
    Ok(match extension {
        "gz" => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
        "zst" => Box::new(zstd::stream::read::Decoder::with_buffer(file).map_err(io)?),
        "xz" => Box::new(liblzma::bufread::XzDecoder::new_multi_decoder(file)),
        "xml" => Box::new(file),
        _ => {
            let what = format!("{name}: compression {extension:?} is not supported, use gz, zst or xz");
            return Err(MetadataError::Content(what));
        }
    })
}

/// Reads uncompressed primary metadata.
pub(crate) fn parse(plain: impl Read, name: &str) -> Result<Primary, MetadataError> {
    let event_len = Rc::new(Cell::new(0));
    let bounded = Bounded { inner: plain.take(PRIMARY_LEN_MAX), event_len: Rc::clone(&event_len) };
    let mut reader = Reader::from_reader(BufReader::with_capacity(BUFFER_LEN, bounded));
    let mut buffer = Vec::new();
    let mut primary = Primary::default();
    let mut entry = Entry::default();
    let (mut depth, mut in_checksum, mut complete) = (0_usize, false, false);
    loop {
        match reader.read_event_into(&mut buffer)? {
            Event::Eof => break,
            Event::Start(tag) => {
                depth += 1;
                if depth == 3 {
                    in_checksum = entry.take_tag(&tag)?;
                }
            }
            Event::Empty(tag) if depth == 2 => drop(entry.take_tag(&tag)?),
            Event::Text(text) if in_checksum => entry.checksum.push_str(text.xml10_content().trim()),
            Event::End(_) => {
                in_checksum = false;
                if depth == 2 {
                    std::mem::take(&mut entry).finish(&mut primary)?;
                }
                depth = depth.saturating_sub(1);
                complete |= depth == 0;
            }
            _ => {}
        }
        buffer.clear();
        event_len.set(0);
    }
    if complete {
        Ok(primary)
    } else {
        Err(MetadataError::Content(format!("{name} ends before its last package")))
    }
}

/// One `<package>` while it is being read.
#[derive(Default)]
struct Entry {
    checksum_by: Option<String>,
    checksum: String,
    size: Option<String>,
    path: Option<String>,
    elsewhere: bool,
}

impl Entry {
    /// Takes what a child tag says; whether its text is the checksum.
    fn take_tag(&mut self, tag: &BytesStart<'_>) -> Result<bool, MetadataError> {
        match tag.name().as_ref() {
            "checksum" => {
                self.checksum_by = attribute(tag, "type")?;
                return Ok(true);
            }
            "size" => self.size = attribute(tag, "package")?,
            "location" => {
                self.path = attribute(tag, "href")?;
                self.elsewhere = attribute(tag, "xml:base")?.is_some();
            }
            _ => {}
        }
        Ok(false)
    }

    fn finish(self, primary: &mut Primary) -> Result<(), MetadataError> {
        if primary.listed.len() >= PACKAGES_MAX {
            return Err(MetadataError::Content(format!("it lists more than {PACKAGES_MAX} packages")));
        }
        if self.elsewhere {
            primary.elsewhere += 1;
            return Ok(());
        }
        match self.listed() {
            Ok(listed) => primary.listed.push(listed),
            Err(problem) if primary.problems.len() < PROBLEMS_MAX => primary.problems.push(problem),
            Err(_) => {}
        }
        Ok(())
    }

    fn listed(self) -> Result<ListedPackage, String> {
        let path = self.path.ok_or("a package has no location")?;
        let digest = PackageDigest::from_parts(&self.checksum_by.unwrap_or_default(), &self.checksum)
            .map_err(|e| format!("{path:?}: {e}"))?;
        let size = self.size.as_deref().and_then(|size| size.parse().ok()).filter(|&size| size > 0);
        let size = size.ok_or_else(|| format!("{path:?} has no size"))?;
        if !crate::root::is_clean(std::path::Path::new(&path)) {
            return Err(format!("{path:?} leaves the repository"));
        }
        Ok(ListedPackage { digest, size, path: path.into() })
    }
}

/// A reader that fails when one event becomes too long, or the whole does.
struct Bounded<R> {
    inner: io::Take<R>,
    event_len: Rc<Cell<usize>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.event_len.set(self.event_len.get() + n);
        if self.event_len.get() > EVENT_LEN_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a single tag or text is too long"));
        }
        if n == 0 && self.inner.limit() == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "primary metadata is too long"));
        }
        Ok(n)
    }
}

/// A reader that computes the digest of what passes and leaves it where its maker finds it.
struct Summed<R> {
    inner: R,
    running: Option<RunningDigest>,
    digest: Rc<Cell<Option<PackageDigest>>>,
}

impl<R: Read> Read for Summed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        if n > 0 {
            if let Some(running) = &mut self.running {
                running.update(&buffer[..n]);
            }
        } else if let Some(running) = self.running.take() {
            self.digest.set(Some(running.finish()));
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(sum: &str, href: &str) -> String {
        format!(
            r#"<package type="rpm"><name>a</name><checksum type="sha256" pkgid="YES">{sum}</checksum>
            <size package="77" installed="9" archive="8"/><location {href}/>
            <format><rpm:requires><rpm:entry name="x"/></rpm:requires><size package="1"/></format></package>"#
        )
    }

    fn metadata(packages: &str) -> String {
        format!(r#"<?xml version="1.0"?><metadata packages="1">{packages}</metadata>"#)
    }

    #[test]
    fn packages_are_listed_with_digest_size_and_path() {
        let sum = "a".repeat(64);
        let text = metadata(&package(&sum, r#"href="Packages/a/a&amp;b-1.0~rc+1^x.rpm""#));
        let primary = parse(text.as_bytes(), "primary.xml").expect("parses");
        let [listed] = primary.listed.as_slice() else { panic!("{primary:?}") };
        assert_eq!(listed.digest.to_string(), format!("sha256:{sum}"));
        assert_eq!((listed.size, &*listed.path), (77, "Packages/a/a&b-1.0~rc+1^x.rpm"));
    }

    #[test]
    fn what_is_elsewhere_or_wrong_is_left_out_and_counted() {
        let sum = "a".repeat(64);
        let text = metadata(
            &[
                package(&sum, r#"xml:base="http://x/" href="a.rpm""#),
                package(&sum, r#"href="../../etc/passwd""#),
                package(&sum, r#"href="/etc/passwd""#),
                package("zz", r#"href="b.rpm""#),
                package(&sum, r#"href="good.rpm""#),
            ]
            .concat(),
        );
        let primary = parse(text.as_bytes(), "primary.xml").expect("parses");
        assert_eq!(primary.listed.len(), 1);
        assert_eq!(primary.elsewhere, 1);
        assert_eq!(primary.problems.len(), 3, "{:?}", primary.problems);
    }

    #[test]
    fn what_is_cut_off_is_refused() {
        let text = metadata(&package(&"a".repeat(64), r#"href="a.rpm""#));
        for len in 0..text.len() - 1 {
            assert!(parse(&text.as_bytes()[..len], "primary.xml").is_err(), "{len}");
        }
    }

    #[test]
    fn a_bomb_is_refused_before_it_fills_memory() {
        let bomb = io::repeat(b'x');
        assert!(parse(b"<metadata><package a='".chain(bomb), "primary.xml").is_err());
    }

    #[test]
    fn compressed_metadata_must_match_its_checksum() {
        let text = metadata(&package(&"a".repeat(64), r#"href="a.rpm""#));
        let packed = zstd::encode_all(text.as_bytes(), 3).expect("packs");
        let mut sum = RunningDigest::new(pkgtorrent_protocol::Algorithm::Sha256);
        sum.update(&packed);
        let sum = sum.finish();
        assert_eq!(read(packed.as_slice(), "p.xml.zst", &sum).expect("reads").listed.len(), 1);
        let other = PackageDigest::from(pkgtorrent_protocol::Sha256Digest([0; 32]));
        assert!(read(packed.as_slice(), "p.xml.zst", &other).is_err());
        assert!(read(&packed[..packed.len() - 3], "p.xml.zst", &sum).is_err());
        assert!(read(packed.as_slice(), "p.xml.bz2", &sum).is_err());
    }
}
