//! Bundles as BEP 3 metainfo: the info dictionary, and the `.torrent` around it.
//!
//! A bundle is always multi-file and private. A package's path is `<sha256>/<file name>`, so that a package has one web
//! seed URL whichever bundle it is fetched through, and a re-signed package has another. Padding (BEP 47) is
//! `.pad/<length>_<n>` with `n` unique in the bundle for clients that would write it to disk.
//!
//! What comes from outside is taken only when it is byte for byte what this module would have written.

use serde::{Deserialize, Serialize};
use serde_bytes::{ByteBuf, Bytes};

use crate::bencode;
use crate::digest::Sha256Digest;
use crate::identity::InfoHash;
use crate::layout::{BLOCK_HASH_LEN, BundleLayout, LayoutError, PieceLen};
use crate::path::FileName;

/// The directory that every bundle unpacks to. It is the same for all, so that a package's web seed URL is too.
pub const BUNDLE_NAME: &str = "pkgtorrent";

/// The first path component of padding.
pub const PADDING_DIRECTORY: &str = ".pad";

/// The longest info dictionary that is read: what the most packages with the longest names and the most pieces take.
pub const INFO_LEN_MAX: usize = 32 << 20;

/// One package of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundlePackage {
    /// Its identity.
    pub identity: Sha256Digest,
    /// Its file name in the repository.
    pub name: FileName,
    /// Its size in bytes.
    pub size: u64,
}

/// What an info dictionary says: which packages lie where, and every piece's hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleInfo {
    packages: Vec<BundlePackage>,
    layout: BundleLayout,
    block_hashes: Vec<u8>,
}

/// Why bytes or parts are no bundle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetainfoError {
    /// More than [`INFO_LEN_MAX`].
    #[error("the info dictionary has {0} bytes, at most {INFO_LEN_MAX} are allowed")]
    TooLong(usize),
    /// Not the one encoding of a value.
    #[error(transparent)]
    NotCanonical(#[from] bencode::NotCanonical),
    /// Not an info dictionary at all.
    #[error("no info dictionary: {0}")]
    NotInfo(String),
    /// It does not fit one bundle.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// An info dictionary, but not one of a bundle.
    #[error("not a bundle: {0}")]
    NotABundle(&'static str),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct InfoDict {
    files: Vec<FileDict>,
    name: String,
    #[serde(rename = "piece length")]
    piece_length: u64,
    pieces: ByteBuf,
    private: u8,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileDict {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attr: Option<String>,
    length: u64,
    path: Vec<String>,
}

impl BundleInfo {
    /// A bundle of these packages in this order; `block_hashes` are all pieces' SHA-1, one after the other.
    pub fn new(
        piece_len: PieceLen,
        packages: Vec<BundlePackage>,
        block_hashes: Vec<u8>,
    ) -> Result<Self, MetainfoError> {
        let layout = BundleLayout::new(piece_len, packages.iter().map(|package| package.size))?;
        if packages.is_empty() {
            return Err(MetainfoError::NotABundle("it has no packages"));
        }
        if block_hashes.len() != layout.pieces() as usize * BLOCK_HASH_LEN {
            return Err(MetainfoError::NotABundle("the number of piece hashes does not fit the files"));
        }
        Ok(Self { packages, layout, block_hashes })
    }

    /// The packages, in order.
    #[must_use]
    pub fn packages(&self) -> &[BundlePackage] {
        &self.packages
    }

    /// Where they lie.
    #[must_use]
    pub fn layout(&self) -> &BundleLayout {
        &self.layout
    }

    /// The SHA-1 of every piece, one after the other.
    #[must_use]
    pub fn block_hashes(&self) -> &[u8] {
        &self.block_hashes
    }

    /// The info dictionary.
    pub fn encode(&self) -> Result<Vec<u8>, MetainfoError> {
        let mut files = Vec::with_capacity(self.packages.len() * 2);
        for (package, extent) in self.packages.iter().zip(self.layout.extents()) {
            files.push(FileDict {
                attr: None,
                length: package.size,
                path: vec![package.identity.to_string(), package.name.as_str().to_owned()],
            });
            if extent.padding > 0 {
                let name = padding_name(extent.padding, extent.file);
                files.push(FileDict {
                    attr: Some("p".into()),
                    length: extent.padding.into(),
                    path: vec![PADDING_DIRECTORY.into(), name],
                });
            }
        }
        let info = InfoDict {
            files,
            name: BUNDLE_NAME.into(),
            piece_length: self.layout.piece_len().bytes().into(),
            pieces: ByteBuf::from(self.block_hashes.as_slice()),
            private: 1,
        };
        let bytes = serde_bencode::to_bytes(&info).map_err(|e| MetainfoError::NotInfo(e.to_string()))?;
        if bytes.len() > INFO_LEN_MAX { Err(MetainfoError::TooLong(bytes.len())) } else { Ok(bytes) }
    }

    /// Reads an info dictionary: exactly what [`Self::encode`] writes, and nothing else.
    pub fn parse(bytes: &[u8]) -> Result<Self, MetainfoError> {
        if bytes.len() > INFO_LEN_MAX {
            return Err(MetainfoError::TooLong(bytes.len()));
        }
        bencode::check(bytes)?;
        let info: InfoDict =
            serde_bencode::from_bytes(bytes).map_err(|e| MetainfoError::NotInfo(e.to_string()))?;
        let piece_len = PieceLen::from_bytes(info.piece_length)
            .ok_or(MetainfoError::NotABundle("its piece length is none of the classes"))?;
        let packages = info
            .files
            .iter()
            .filter(|file| file.attr.is_none())
            .map(package_of)
            .collect::<Result<Vec<_>, _>>()?;
        let bundle = Self::new(piece_len, packages, info.pieces.into_vec())?;
        // Padding, names and order follow from the packages, so one comparison checks all of them.
        if bundle.encode()? == bytes {
            Ok(bundle)
        } else {
            Err(MetainfoError::NotABundle("its files or fields are not laid out as a bundle's are"))
        }
    }
}

fn package_of(file: &FileDict) -> Result<BundlePackage, MetainfoError> {
    let [identity, name] = file.path.as_slice() else {
        return Err(MetainfoError::NotABundle("a package's path is not `<sha256>/<file name>`"));
    };
    Ok(BundlePackage {
        identity: identity
            .parse()
            .map_err(|_| MetainfoError::NotABundle("a package's directory is not its sha256"))?,
        name: FileName::new(name)
            .map_err(|_| MetainfoError::NotABundle("a package's file name is not allowed"))?,
        size: file.length,
    })
}

/// The name of the padding of `len` zeros that follows the file with this index.
fn padding_name(len: u32, file: u32) -> String {
    format!("{len}_{file}")
}

/// How many zeros a padding file of this name has; `None` when no bundle has such padding.
#[must_use]
pub fn padding_len(name: &str) -> Option<u32> {
    let (len, file) = name.split_once('_')?;
    let (len, file): (u32, u32) = (len.parse().ok()?, file.parse().ok()?);
    // Only the name as it is written: no signs, no leading zeros, so that one file has one URL.
    (padding_name(len, file) == name && (1..PieceLen::BYTES_MAX).contains(&len)).then_some(len)
}

/// A `.torrent`: an info dictionary and where to find trackers and web seeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metainfo {
    /// The encoded info dictionary.
    pub info: Vec<u8>,
    /// Tiers of announce URLs (BEP 12).
    pub trackers: Vec<Vec<String>>,
    /// Web seeds (BEP 19), each ending in a slash.
    pub web_seeds: Vec<String>,
}

/// The longest `.torrent` that is read: an info dictionary and a little for URLs.
pub const METAINFO_LEN_MAX: usize = INFO_LEN_MAX + (64 << 10);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Outer {
    #[serde(default)]
    announce: Option<String>,
    #[serde(rename = "announce-list", default)]
    announce_list: Vec<Vec<String>>,
    #[serde(rename = "info")]
    _info: serde::de::IgnoredAny,
    #[serde(rename = "url-list", default)]
    url_list: Vec<String>,
}

impl Metainfo {
    /// The swarm's name.
    #[must_use]
    pub fn info_hash(&self) -> InfoHash {
        InfoHash::of(&self.info)
    }

    /// The `.torrent`.
    pub fn encode(&self) -> Result<Vec<u8>, MetainfoError> {
        let mut out = Vec::with_capacity(self.info.len() + 1024);
        out.push(b'd');
        let mut entry = |key: &str, value: &[u8]| {
            out.extend_from_slice(format!("{}:{key}", key.len()).as_bytes());
            out.extend_from_slice(value);
        };
        if let Some(first) = self.trackers.first().and_then(|tier| tier.first()) {
            entry("announce", &bencoded(&Bytes::new(first.as_bytes()))?);
            entry("announce-list", &bencoded(&self.trackers)?);
        }
        // The info dictionary goes in as it is: its bytes are its identity.
        entry("info", &self.info);
        if !self.web_seeds.is_empty() {
            entry("url-list", &bencoded(&self.web_seeds)?);
        }
        out.push(b'e');
        Ok(out)
    }

    /// Reads a `.torrent` that [`Self::encode`] could have written, and the bundle in it.
    pub fn parse(bytes: &[u8]) -> Result<(Self, BundleInfo), MetainfoError> {
        if bytes.len() > METAINFO_LEN_MAX {
            return Err(MetainfoError::TooLong(bytes.len()));
        }
        bencode::check(bytes)?;
        let outer: Outer =
            serde_bencode::from_bytes(bytes).map_err(|e| MetainfoError::NotInfo(e.to_string()))?;
        let info = bencode::raw_value(bytes, b"info")
            .ok_or(MetainfoError::NotABundle("there is no info dictionary"))?;
        let bundle = BundleInfo::parse(info)?;
        let metainfo = Self { info: info.to_vec(), trackers: outer.announce_list, web_seeds: outer.url_list };
        if metainfo.trackers.first().and_then(|tier| tier.first()) == outer.announce.as_ref() {
            Ok((metainfo, bundle))
        } else {
            Err(MetainfoError::NotABundle("announce is not the first of announce-list"))
        }
    }
}

fn bencoded<T: Serialize>(value: &T) -> Result<Vec<u8>, MetainfoError> {
    serde_bencode::to_bytes(value).map_err(|e| MetainfoError::NotInfo(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bundles() -> impl Strategy<Value = BundleInfo> {
        let package = ("[a-zü][a-z0-9+~^._-]{0,30}\\.rpm", 1_u64..200_000, any::<[u8; 32]>());
        (proptest::collection::vec(package, 1..12), any::<u8>()).prop_map(|(parts, fill)| {
            let packages: Vec<_> = parts
                .into_iter()
                .map(|(name, size, digest)| BundlePackage {
                    identity: Sha256Digest(digest),
                    name: FileName::new(&name).expect("a file name"),
                    size,
                })
                .collect();
            let pieces: u64 = packages.iter().map(|p| PieceLen::Small.pieces(p.size)).sum();
            BundleInfo::new(PieceLen::Small, packages, vec![fill; pieces as usize * BLOCK_HASH_LEN])
                .expect("a bundle")
        })
    }

    proptest! {
        #[test]
        fn a_bundle_survives_its_encoding(bundle in bundles()) {
            let bytes = bundle.encode().expect("encodes");
            prop_assert_eq!(BundleInfo::parse(&bytes).expect("parses"), bundle);
        }

        #[test]
        fn a_torrent_survives_its_encoding(bundle in bundles(), trackers in proptest::collection::vec(proptest::collection::vec("http://[a-z]{1,9}/announce", 1..3), 0..3)) {
            let metainfo = Metainfo {
                info: bundle.encode().expect("encodes"),
                trackers,
                web_seeds: vec!["http://mirror.example/pkgtorrent/v1/webseed/".into()],
            };
            let bytes = metainfo.encode().expect("encodes");
            prop_assert_eq!(Metainfo::parse(&bytes).expect("parses"), (metainfo, bundle));
        }

        #[test]
        fn one_changed_byte_is_another_bundle_or_none(bundle in bundles(), at in any::<prop::sample::Index>(), xor in 1_u8..) {
            let mut bytes = bundle.encode().expect("encodes");
            let at = at.index(bytes.len());
            bytes[at] ^= xor;
            if let Ok(other) = BundleInfo::parse(&bytes) {
                prop_assert_ne!(other, bundle);
            }
        }
    }

    fn one_file(path: &str, name: &str) -> Vec<u8> {
        let pieces = "x".repeat(20);
        format!(
            "d5:filesld6:lengthi32768e4:path{path}ee4:name{}:{name}12:piece lengthi32768e6:pieces20:{pieces}7:privatei1ee",
            name.len()
        )
        .into_bytes()
    }

    #[test]
    fn no_path_leaves_its_directory() {
        let digest = "a".repeat(64);
        assert!(BundleInfo::parse(&one_file(&format!("l64:{digest}5:x.rpme"), "pkgtorrent")).is_ok());
        for (path, name) in [
            (format!("l64:{digest}2:..e"), "pkgtorrent"),
            (format!("l64:{digest}9:../../etce"), "pkgtorrent"),
            (format!("l64:{digest}0:e"), "pkgtorrent"),
            ("l2:..5:x.rpme".to_owned(), "pkgtorrent"),
            (format!("l64:{digest}e"), "pkgtorrent"),
            (format!("l64:{digest}5:x.rpm1:ye"), "pkgtorrent"),
            (format!("l64:{digest}5:x.rpme"), "../../tmp"),
            (format!("l64:{}5:x.rpme", digest.to_uppercase()), "pkgtorrent"),
        ] {
            assert!(BundleInfo::parse(&one_file(&path, name)).is_err(), "{path} {name}");
        }
    }

    #[test]
    fn unknown_keys_are_refused() {
        let bytes = one_file(&format!("l64:{}5:x.rpme", "a".repeat(64)), "pkgtorrent");
        let mut more = bytes[..bytes.len() - 1].to_vec();
        more.extend_from_slice(b"6:source1:xe");
        assert!(bencode::check(&more).is_ok());
        assert!(BundleInfo::parse(&more).is_err());
    }

    #[test]
    fn padding_names_are_read_back_and_no_others() {
        assert_eq!(padding_len(&padding_name(77, 3)), Some(77));
        for name in ["0_1", "077_1", "+7_1", "7", "7_", "_7", "7_x", "1048576_1", "99999999999_1"] {
            assert_eq!(padding_len(name), None, "{name}");
        }
    }
}
