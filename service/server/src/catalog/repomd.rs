//! `repodata/repomd.xml`: where a repository's primary metadata is.

use pkgtorrent_protocol::PackageDigest;
use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;

/// The longest `repomd.xml` that is read. Real ones have a few kilobytes.
pub(crate) const REPOMD_LEN_MAX: u64 = 4 << 20;

/// The primary metadata's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PrimaryFile {
    /// Its path below the repository's directory.
    pub(crate) path: String,
    /// Its digest as it lies there, compressed.
    pub(crate) digest: PackageDigest,
}

/// Why metadata cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MetadataError {
    #[error("{path}: {source}")]
    Io { path: String, source: std::io::Error },
    #[error("not well-formed: {0}")]
    Xml(#[from] quick_xml::Error),
    #[error("an attribute is not well-formed: {0}")]
    Attribute(#[from] quick_xml::events::attributes::AttrError),
    #[error("{0}")]
    Digest(#[from] pkgtorrent_protocol::DigestError),
    #[error("{0}")]
    Content(String),
}

/// Reads `repomd.xml`.
pub(crate) fn parse(text: &[u8]) -> Result<PrimaryFile, MetadataError> {
    let mut reader = Reader::from_reader(text);
    reader.config_mut().trim_text(true);
    let mut buffer = Vec::new();
    let (mut in_primary, mut checksum_by, mut path, mut digest) = (false, None, None, None);
    loop {
        match reader.read_event_into(&mut buffer)? {
            Event::Eof => break,
            Event::Start(tag) | Event::Empty(tag) => match tag.local_name().as_ref() {
                "data" => in_primary = attribute(&tag, "type")?.as_deref() == Some("primary"),
                "checksum" if in_primary => checksum_by = attribute(&tag, "type")?,
                "location" if in_primary => path = attribute(&tag, "href")?,
                _ => {}
            },
            Event::Text(text) => {
                if let Some(algorithm) = checksum_by.take() {
                    digest = Some(PackageDigest::from_parts(&algorithm, text.xml10_content().trim())?);
                }
            }
            Event::End(tag) if tag.local_name().as_ref() == "data" => in_primary = false,
            _ => {}
        }
        buffer.clear();
    }
    match (path, digest) {
        (Some(path), Some(digest)) => Ok(PrimaryFile { path, digest }),
        (None, _) => Err(MetadataError::Content("it names no primary metadata".into())),
        (_, None) => Err(MetadataError::Content("its primary metadata has no checksum".into())),
    }
}

/// An attribute's value, its entities resolved.
pub(crate) fn attribute(tag: &BytesStart<'_>, name: &str) -> Result<Option<String>, MetadataError> {
    match tag.try_get_attribute(name)? {
        Some(attribute) => Ok(Some(attribute.normalized_value(XmlVersion::Implicit1_0)?.into_owned())),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_primary_file_is_found_among_the_others() {
        let sum = "a".repeat(64);
        let text = format!(
            r#"<?xml version="1.0"?><repomd xmlns="http://linux.duke.edu/metadata/repo"><revision>1</revision>
            <data type="filelists"><checksum type="sha256">{}</checksum><location href="repodata/f.xml.gz"/></data>
            <data type="primary"><checksum type="sha256">{sum}</checksum><open-checksum type="sha256">{}</open-checksum>
            <location href="repodata/a&amp;b-primary.xml.gz"/></data></repomd>"#,
            "b".repeat(64),
            "c".repeat(64)
        );
        let primary = parse(text.as_bytes()).expect("parses");
        assert_eq!(primary.path, "repodata/a&b-primary.xml.gz");
        assert_eq!(primary.digest.to_string(), format!("sha256:{sum}"));
    }

    #[test]
    fn what_is_no_repomd_is_refused() {
        for text in ["", "<html>404</html>", "<repomd><data type=\"primary\"></repomd>", "\0\u{1}", "<repomd"]
        {
            assert!(parse(text.as_bytes()).is_err(), "{text:?}");
        }
    }
}
