//! Hashing of pieces and of whole packages.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use pkgtorrent_protocol::layout::BLOCK_HASH_LEN;
use pkgtorrent_protocol::{Algorithm, PackageDigest, PieceLen, Sha256Digest};
use sha1::Sha1;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

/// How much of a file is read at once: it stays in a core's cache between reading and hashing.
pub(super) const READ_LEN: usize = 128 << 10;

static ZEROS: [u8; 4096] = [0; 4096];

/// A file's digests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digests {
    /// Its SHA-256.
    pub identity: Sha256Digest,
    /// Its digests by the other algorithms that were asked for.
    pub aliases: Vec<PackageDigest>,
}

/// Whether a package's piece, without the zeros behind the package's end, has this SHA-1.
#[must_use]
pub fn piece_matches(piece_len: PieceLen, bytes: &[u8], hash: &[u8]) -> bool {
    let Some(mut padding) = (piece_len.bytes() as usize).checked_sub(bytes.len()) else { return false };
    let mut sha1 = Sha1::new_with_prefix(bytes);
    while padding > 0 {
        let len = padding.min(ZEROS.len());
        sha1.update(&ZEROS[..len]);
        padding -= len;
    }
    hash.len() == BLOCK_HASH_LEN && sha1.finalize()[..] == *hash
}

enum AliasHash {
    Sha1(Sha1),
    Sha224(Sha224),
    Sha384(Sha384),
    Sha512(Sha512),
}

impl AliasHash {
    /// `None` for SHA-256, which is no alias.
    fn new(algorithm: Algorithm) -> Option<Self> {
        match algorithm {
            Algorithm::Sha1 => Some(Self::Sha1(Sha1::new())),
            Algorithm::Sha224 => Some(Self::Sha224(Sha224::new())),
            Algorithm::Sha256 => None,
            Algorithm::Sha384 => Some(Self::Sha384(Sha384::new())),
            Algorithm::Sha512 => Some(Self::Sha512(Sha512::new())),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha1(hash) => hash.update(bytes),
            Self::Sha224(hash) => hash.update(bytes),
            Self::Sha384(hash) => hash.update(bytes),
            Self::Sha512(hash) => hash.update(bytes),
        }
    }

    fn finish(self) -> Option<PackageDigest> {
        match self {
            Self::Sha1(hash) => PackageDigest::new(Algorithm::Sha1, &hash.finalize()),
            Self::Sha224(hash) => PackageDigest::new(Algorithm::Sha224, &hash.finalize()),
            Self::Sha384(hash) => PackageDigest::new(Algorithm::Sha384, &hash.finalize()),
            Self::Sha512(hash) => PackageDigest::new(Algorithm::Sha512, &hash.finalize()),
        }
    }
}

/// How much of what was written earlier is read at once after a gap was closed: whoever wrote the piece in the gap is not
/// to be kept for long.
const CATCH_UP_LEN: u64 = 4 << 20;

/// The SHA-256 of a file's beginning, as far as there is no gap: what is hashed while pieces come need not be hashed at
/// the end, when somebody waits for it.
#[derive(Debug, Clone, Default)]
pub(super) struct Beginning {
    sha256: Sha256,
    len: u64,
    /// What was written behind a gap, from where to where.
    behind: BTreeMap<u64, u64>,
}

impl Beginning {
    /// Takes in what was written, and of what lies behind it as much as there is time for. What was written over makes all
    /// that was taken in worthless.
    pub(super) fn extend(&mut self, file: &File, start: u64, bytes: &[u8]) {
        if start == self.len {
            self.sha256.update(bytes);
            self.len += bytes.len() as u64;
        } else {
            self.note(start, bytes.len());
        }
        self.catch_up(file);
    }

    /// Something was written that is to be read later.
    pub(super) fn note(&mut self, start: u64, len: usize) {
        if start < self.len {
            *self = Self::default();
        }
        self.behind.insert(start, start + len as u64);
    }

    fn catch_up(&mut self, file: &File) {
        let until = self.len.saturating_add(CATCH_UP_LEN);
        let mut buffer = Vec::new();
        while self.len < until
            && let Some(end) = self.behind.remove(&self.len)
        {
            buffer.resize((end - self.len) as usize, 0);
            // Left to be read at the end, where an error counts.
            if file.read_exact_at(&mut buffer, self.len).is_err() {
                return;
            }
            self.sha256.update(&buffer);
            self.len = end;
        }
    }
}

/// Reads a whole file once for all of its digests, and says how long it was.
pub(super) fn digests_of(file: &File, aliases: &[Algorithm]) -> io::Result<(Digests, u64)> {
    let mut others: Vec<AliasHash> =
        aliases.iter().filter_map(|algorithm| AliasHash::new(*algorithm)).collect();
    let beginning = Beginning::default();
    let (identity, len) = read_on(file, beginning, |bytes| {
        for hash in &mut others {
            hash.update(bytes);
        }
    })?;
    let aliases = others.into_iter().filter_map(AliasHash::finish).collect();
    Ok((Digests { identity, aliases }, len))
}

/// Reads a file from where its beginning ends, shows that to `visit`, and gives the SHA-256 and the length of the whole.
pub(super) fn read_on(
    file: &File,
    beginning: Beginning,
    mut visit: impl FnMut(&[u8]),
) -> io::Result<(Sha256Digest, u64)> {
    let Beginning { mut sha256, mut len, .. } = beginning;
    let mut buffer = vec![0; READ_LEN];
    loop {
        let read = match file.read_at(&mut buffer, len) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        sha256.update(&buffer[..read]);
        visit(&buffer[..read]);
        len += read as u64;
    }
    Ok((Sha256Digest(sha256.finalize().into()), len))
}

/// A package that is to be read again.
#[derive(Debug)]
pub struct Checking {
    pub(super) file: File,
    pub(super) identity: Sha256Digest,
}

impl Checking {
    /// Whether it still has its digest. Blocks for as long as reading takes.
    pub fn is_right(&self) -> io::Result<bool> {
        Ok(digests_of(&self.file, &[])?.0.identity == self.identity)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_piece_is_hashed_with_the_zeros_of_its_padding() {
        let mut padded = vec![7; 40_000];
        padded.resize(131_072, 0);
        let hash = Sha1::digest(&padded);
        assert!(piece_matches(PieceLen::Medium, &[7; 40_000], &hash));
        assert!(piece_matches(PieceLen::Medium, &padded, &hash));
        assert!(!piece_matches(PieceLen::Medium, &[7; 39_999], &hash));
        assert!(!piece_matches(PieceLen::Large, &[7; 40_000], &hash));
        assert!(!piece_matches(PieceLen::Small, &padded, &hash), "longer than a piece");
        assert!(!piece_matches(PieceLen::Medium, &[7; 40_000], &hash[..19]));
    }

    #[test]
    fn in_whatever_order_it_is_written_the_digest_is_the_files() {
        let content: Vec<u8> = (0..400_u32).map(|n| (n * 7 / 3) as u8).collect();
        let file = tempfile::tempfile().expect("a file");
        // Pieces of a hundred bytes; in the last of these, one that is written twice is another at first.
        for (order, in_order) in [
            (&[0, 1, 2, 3][..], 400),
            (&[0, 2, 1, 3], 400),
            (&[3, 2, 1, 0], 400),
            (&[1, 2, 3, 0], 400),
            (&[2, 1, 3], 0),
            (&[0, 2, 3], 100),
            // What was written before it was written over is not known to be right.
            (&[0, 1, 2, 0, 3], 100),
            (&[0, 1, 2, 1, 3], 0),
            (&[0, 3, 3, 1, 2], 400),
        ] {
            let mut beginning = Beginning::default();
            file.set_len(0).expect("empty");
            if !order.contains(&0) || !order.contains(&1) {
                file.write_all_at(&content, 0).expect("written");
            }
            for (nth, &piece) in order.iter().enumerate() {
                let mut bytes = content[piece * 100..][..100].to_vec();
                if order[nth + 1..].contains(&piece) {
                    bytes.fill(9);
                }
                file.write_all_at(&bytes, piece as u64 * 100).expect("written");
                beginning.extend(&file, piece as u64 * 100, &bytes);
            }
            assert_eq!(beginning.len, in_order, "{order:?}");
            let mut read = 0;
            let whole = read_on(&file, beginning, |bytes| read += bytes.len()).expect("read");
            assert_eq!(whole, (Sha256Digest(Sha256::digest(&content).into()), 400), "{order:?}");
            assert_eq!(read as u64, 400 - in_order, "{order:?}");
        }
    }

    /// The vectors are those of `printf abc | sha1sum` and its siblings.
    #[test]
    fn one_pass_gives_all_digests() {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(b"abc").expect("written");
        let (digests, len) = digests_of(&file, &Algorithm::ALL).expect("digests");
        assert_eq!(len, 3);
        assert!(digests.identity.to_string().starts_with("ba7816bf8f01cfea"));
        let starts: Vec<String> =
            digests.aliases.iter().map(|alias| alias.to_string()[..20].to_owned()).collect();
        assert_eq!(
            starts,
            ["sha1:a9993e364706816", "sha224:23097d223405d", "sha384:cb00753f45a35", "sha512:ddaf35a193617"]
        );
    }
}
