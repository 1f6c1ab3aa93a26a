//! A bundle as the service keeps it: which packages it holds, and how it was written down.

use pkgtorrent_protocol::announce::PieceRange;
use pkgtorrent_protocol::layout::BUNDLE_PIECES_MAX;
use pkgtorrent_protocol::metainfo::{BundleInfo, BundlePackage, MetainfoError};
use pkgtorrent_protocol::{FileName, InfoHash, PieceLen, Sha256Digest};

use crate::packages::{Package, Packages, stored_blocks};

/// Where a package is in a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BundledFile {
    /// The index of its file in the info dictionary, in which padding counts.
    pub(crate) file: u32,
    /// Its pieces.
    pub(crate) pieces: PieceRange,
}

/// A bundle that plans may name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bundle {
    pub(crate) info_hash: InfoHash,
    pub(crate) info_len: u32,
    pub(crate) piece_len: PieceLen,
    /// How many pieces it has.
    pub(crate) pieces: u32,
    /// Whether it is the home of its packages, and no set made into one torrent for a foreign client.
    pub(crate) is_home: bool,
    /// When it was formed, as a number that grows: the last one formed is a package's home.
    pub(crate) formed: u64,
    pub(crate) packages: Vec<BundlePackage>,
}

impl Bundle {
    /// Forms a bundle, and returns its info dictionary with it.
    pub(crate) fn form(
        piece_len: PieceLen,
        packages: &[&Package],
        is_home: bool,
        formed: u64,
    ) -> Result<(Self, Vec<u8>), MetainfoError> {
        let members = packages.iter().map(|package| BundlePackage {
            identity: package.identity,
            name: package.name.clone(),
            size: package.size,
        });
        let blocks = packages.iter().flat_map(|package| package.blocks.iter().copied()).collect();
        let info = BundleInfo::new(piece_len, members.collect(), blocks)?;
        let bytes = info.encode()?;
        let bundle = Self {
            info_hash: InfoHash::of(&bytes),
            info_len: u32::try_from(bytes.len()).map_err(|_| MetainfoError::TooLong(bytes.len()))?,
            piece_len,
            pieces: info.layout().pieces(),
            is_home,
            formed,
            packages: info.packages().to_vec(),
        };
        Ok((bundle, bytes))
    }

    /// The info dictionary, put together again from stored block lists; `None` when one is lost.
    pub(crate) fn info(&self, packages: &Packages) -> Option<Vec<u8>> {
        let (stored, mut blocks) = (packages.snapshot(), Vec::new());
        for package in &self.packages {
            blocks.extend_from_slice(&stored_blocks(&stored, &package.identity, self.piece_len)?);
        }
        let info = BundleInfo::new(self.piece_len, self.packages.clone(), blocks).ok()?;
        info.encode().ok().filter(|bytes| InfoHash::of(bytes) == self.info_hash)
    }

    /// Where each package is.
    pub(crate) fn files(&self) -> impl Iterator<Item = (Sha256Digest, BundledFile)> + '_ {
        let (mut file, mut first_piece) = (0, 0);
        self.packages.iter().map(move |package| {
            let bundled = BundledFile { file, pieces: (first_piece, pieces_of(package, self.piece_len)) };
            file += 1 + u32::from(self.piece_len.padding(package.size) > 0);
            first_piece += bundled.pieces.1;
            (package.identity, bundled)
        })
    }

    /// The stored form.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32 + self.packages.len() * 96);
        out.extend_from_slice(&self.piece_len.bytes().to_le_bytes());
        out.extend_from_slice(&self.info_len.to_le_bytes());
        out.extend_from_slice(&self.formed.to_le_bytes());
        out.push(self.is_home.into());
        for package in &self.packages {
            out.extend_from_slice(&package.identity.0);
            out.extend_from_slice(&package.size.to_le_bytes());
            // A file name has at most 255 bytes.
            out.push(package.name.as_str().len() as u8);
            out.extend_from_slice(package.name.as_str().as_bytes());
        }
        out
    }

    /// Reads the stored form; `None` when it is not one.
    pub(crate) fn from_bytes(info_hash: InfoHash, mut bytes: &[u8]) -> Option<Self> {
        let piece_len = u32::from_le_bytes(bytes.split_off(..4)?.try_into().ok()?);
        let info_len = u32::from_le_bytes(bytes.split_off(..4)?.try_into().ok()?);
        let formed = u64::from_le_bytes(bytes.split_off(..8)?.try_into().ok()?);
        let is_home = *bytes.split_off_first()? == 1;
        let mut packages = Vec::new();
        while !bytes.is_empty() {
            let identity = Sha256Digest(bytes.split_off(..32)?.try_into().ok()?);
            let size = u64::from_le_bytes(bytes.split_off(..8)?.try_into().ok()?);
            let len = usize::from(*bytes.split_off_first()?);
            let name = FileName::new(std::str::from_utf8(bytes.split_off(..len)?).ok()?).ok()?;
            packages.push(BundlePackage { identity, name, size });
        }
        let piece_len = PieceLen::from_bytes(piece_len.into())?;
        let all: u64 = packages.iter().map(|package| piece_len.pieces(package.size)).sum();
        let pieces = u32::try_from(all).ok().filter(|&pieces| pieces <= BUNDLE_PIECES_MAX)?;
        Some(Self { info_hash, info_len, piece_len, pieces, is_home, formed, packages })
    }
}

/// Within the pieces of a bundle, of which there are few.
fn pieces_of(package: &BundlePackage, piece_len: PieceLen) -> u32 {
    piece_len.pieces(package.size) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use pkgtorrent_protocol::layout::Extent;

    fn package(n: u8, size: u64) -> Package {
        let blocks = vec![n; PieceLen::Small.pieces(size) as usize * 20].into();
        let name = FileName::new(&format!("p{n}.rpm")).expect("a name");
        Package { identity: Sha256Digest([n; 32]), name, size, piece_len: PieceLen::Small, blocks }
    }

    #[test]
    fn a_bundle_survives_its_stored_form_and_knows_its_files() {
        let packages = [package(1, 32_768), package(2, 5), package(3, 40_000)];
        let packages: Vec<&Package> = packages.iter().collect();
        let (bundle, info) = Bundle::form(PieceLen::Small, &packages, true, 9).expect("forms");
        assert_eq!(Bundle::from_bytes(bundle.info_hash, &bundle.to_bytes()).as_ref(), Some(&bundle));
        let parsed = BundleInfo::parse(&info).expect("parses");
        let places = |e: &Extent| BundledFile { file: e.file, pieces: (e.first_piece, e.pieces) };
        let files: Vec<BundledFile> = bundle.files().map(|(_, file)| file).collect();
        assert_eq!(files, parsed.layout().extents().iter().map(places).collect::<Vec<_>>());
        assert_eq!(bundle.pieces, parsed.layout().pieces());
    }
}
