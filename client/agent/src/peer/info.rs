//! Info dictionaries to and from a peer (BEP 9).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pkgtorrent_protocol::InfoHash;
use pkgtorrent_protocol::wire::{AssemblyError, InfoAssembly, METADATA_PIECE_LEN, MetadataMessage};

/// How many pieces are asked for at once. Some clients refuse more than a few dozen; an info dictionary of sixty packages
/// has two or three.
const REQUESTS_MAX: usize = 8;

/// How often one connection is given the same piece: once, and once more if that went astray.
const GIVEN_MAX: u8 = 2;

/// Why a peer's info dictionary is not had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InfoError {
    /// The peer has none, or gives none.
    #[error("the peer gives no info dictionary")]
    NotGiven,
    /// The peer does not answer.
    #[error("the peer takes too long for the info dictionary")]
    TooSlow,
    /// What comes is something else. That is the peer's fault.
    #[error(transparent)]
    Wrong(#[from] AssemblyError),
}

/// Gives an info dictionary to one peer.
#[derive(Debug)]
pub(super) struct InfoServer {
    info: Bytes,
    /// How often each piece was given.
    given: Vec<u8>,
    /// What was asked for and not given yet. Each piece is in it no more often than it may be given.
    waiting: VecDeque<u32>,
}

impl InfoServer {
    pub(super) fn new(info: Bytes) -> Self {
        let given = vec![0; info.len().div_ceil(METADATA_PIECE_LEN as usize)];
        Self { info, given, waiting: VecDeque::new() }
    }

    /// The length of the info dictionary, as the extension handshake says it.
    pub(super) fn len(&self) -> Option<u32> {
        u32::try_from(self.info.len()).ok()
    }

    /// The peer wants this piece. Gives what is to be answered now, if anything: pieces wait for [`Self::next`].
    pub(super) fn asked(&mut self, piece: u32) -> Option<MetadataMessage> {
        match self.given.get_mut(piece as usize) {
            Some(given) if *given < GIVEN_MAX => {
                *given += 1;
                self.waiting.push_back(piece);
                None
            }
            _ => Some(MetadataMessage::Reject(piece)),
        }
    }

    /// The next piece to give.
    pub(super) fn next(&mut self) -> Option<MetadataMessage> {
        MetadataMessage::data_of(&self.info, self.waiting.pop_front()?)
    }
}

/// Takes an info dictionary from one peer.
#[derive(Debug)]
pub(super) struct InfoFetch {
    assembly: InfoAssembly,
    asked: usize,
    patience: Duration,
    deadline: Instant,
}

impl InfoFetch {
    pub(super) fn new(
        info_hash: InfoHash,
        len: usize,
        patience: Duration,
        now: Instant,
    ) -> Result<Self, InfoError> {
        let assembly = InfoAssembly::new(info_hash, len)?;
        Ok(Self { assembly, asked: 0, patience, deadline: now + patience })
    }

    /// When it is given up.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The next piece to ask for now.
    pub(super) fn ask(&mut self) -> Option<MetadataMessage> {
        if self.asked >= REQUESTS_MAX {
            return None;
        }
        let piece = self.assembly.ask()?;
        self.asked += 1;
        Some(MetadataMessage::Request(piece))
    }

    /// A piece has come.
    pub(super) fn put(
        &mut self,
        piece: u32,
        info_len: u32,
        data: &[u8],
        now: Instant,
    ) -> Result<(), InfoError> {
        self.assembly.put(piece, info_len, data)?;
        self.asked -= 1;
        self.deadline = now + self.patience;
        Ok(())
    }

    /// Whether all of it is here.
    pub(super) fn is_whole(&self) -> bool {
        self.assembly.is_whole()
    }

    /// The info dictionary, if that is what came.
    pub(super) fn finish(self) -> Result<Bytes, InfoError> {
        Ok(self.assembly.finish()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_given_twice_and_no_more() {
        let info: Bytes = (0..40_000_u32).map(|at| at as u8).collect();
        let mut server = InfoServer::new(info.clone());
        assert_eq!(server.asked(2), None);
        assert_eq!(server.asked(2), None);
        assert_eq!(server.asked(2), Some(MetadataMessage::Reject(2)));
        assert_eq!(server.asked(3), Some(MetadataMessage::Reject(3)));
        let data = MetadataMessage::Data { piece: 2, info_len: 40_000, data: info.slice(32_768..) };
        assert_eq!(server.next(), Some(data.clone()));
        assert_eq!(server.next(), Some(data));
        assert_eq!(server.next(), None);
    }

    #[test]
    fn all_pieces_are_asked_for_a_few_at_a_time() {
        let info: Bytes = (0..20 * METADATA_PIECE_LEN).map(|at| (at / 7) as u8).collect();
        let (now, mut server) = (Instant::now(), InfoServer::new(info.clone()));
        let mut fetch =
            InfoFetch::new(InfoHash::of(&info), info.len(), Duration::from_secs(1), now).expect("a length");
        let mut most = 0;
        while !fetch.is_whole() {
            let asked: Vec<_> = std::iter::from_fn(|| fetch.ask()).collect();
            most = most.max(asked.len());
            for message in asked {
                let MetadataMessage::Request(piece) = message else { panic!("{message:?}") };
                assert_eq!(server.asked(piece), None);
            }
            let Some(MetadataMessage::Data { piece, info_len, data }) = server.next() else { panic!("data") };
            assert_eq!(fetch.put(piece, info_len, &data, now), Ok(()));
        }
        assert_eq!(most, REQUESTS_MAX);
        assert_eq!(fetch.finish(), Ok(info));
    }
}
