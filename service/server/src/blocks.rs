//! One pass over a package's file: its digests and the SHA-1 of every piece.

use std::fs::File;
use std::io::{self, Read};

use pkgtorrent_protocol::{Algorithm, PackageDigest, PieceLen, Sha256Digest};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::digesting::RunningDigest;

/// How much is read at once: long enough that system calls do not count, short enough to stay in the cache that the
/// two hashes then read it from. It divides every piece length, or is a multiple of it.
const READ_LEN: usize = 128 << 10;

/// What one pass over a file yields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hashed {
    /// The identity.
    pub(crate) identity: Sha256Digest,
    /// The digest by the algorithm that was asked for.
    pub(crate) listed: PackageDigest,
    /// The SHA-1 of every piece, the last one with its zeros.
    pub(crate) blocks: Vec<u8>,
    /// The bytes that were read.
    pub(crate) size: u64,
}

/// Reads `file` from its start to its end.
pub(crate) fn hash_file(mut file: &File, listed_by: Algorithm, piece_len: PieceLen) -> io::Result<Hashed> {
    let mut buffer = vec![0; READ_LEN];
    let mut identity = Sha256::new();
    // SHA-256 is never computed twice.
    let mut alias = (listed_by != Algorithm::Sha256).then(|| RunningDigest::new(listed_by));
    let mut pieces = PieceHash::new(piece_len);
    let mut size = 0;
    loop {
        let n = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        let bytes = &buffer[..n];
        identity.update(bytes);
        if let Some(alias) = &mut alias {
            alias.update(bytes);
        }
        pieces.update(bytes);
        size += n as u64;
    }
    let identity = Sha256Digest(identity.finalize().into());
    let listed = alias.map_or(identity.into(), RunningDigest::finish);
    Ok(Hashed { identity, listed, blocks: pieces.finish(), size })
}

struct PieceHash {
    piece_len: usize,
    hash: Sha1,
    filled: usize,
    blocks: Vec<u8>,
}

impl PieceHash {
    fn new(piece_len: PieceLen) -> Self {
        Self { piece_len: piece_len.bytes() as usize, hash: Sha1::new(), filled: 0, blocks: Vec::new() }
    }

    fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (now, rest) = bytes.split_at(bytes.len().min(self.piece_len - self.filled));
            self.hash.update(now);
            self.filled += now.len();
            bytes = rest;
            if self.filled == self.piece_len {
                self.blocks.extend_from_slice(&self.hash.finalize_reset());
                self.filled = 0;
            }
        }
    }

    fn finish(mut self) -> Vec<u8> {
        if self.filled > 0 {
            let zeros = vec![0; self.piece_len - self.filled];
            self.update(&zeros);
        }
        self.blocks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, Write};

    #[test]
    fn one_pass_yields_what_separate_ones_would() {
        for size in [1_usize, 32_767, 32_768, 32_769, 300_000] {
            let bytes: Vec<u8> = (0..size).map(|i| (i * 7 + i / 251) as u8).collect();
            let mut file = tempfile::tempfile().expect("a file");
            file.write_all(&bytes).expect("written");
            file.rewind().expect("rewound");
            let hashed = hash_file(&file, Algorithm::Sha512, PieceLen::Small).expect("hashed");
            assert_eq!(hashed.size, size as u64);
            assert_eq!(hashed.identity.0, <[u8; 32]>::from(Sha256::digest(&bytes)));
            assert_eq!(hashed.listed.as_bytes(), &sha2::Sha512::digest(&bytes)[..]);
            let mut padded = bytes.clone();
            padded.resize(size.next_multiple_of(32_768), 0);
            let expected: Vec<u8> = padded.chunks(32_768).flat_map(Sha1::digest).collect();
            assert_eq!(hashed.blocks, expected, "{size}");
        }
    }
}
