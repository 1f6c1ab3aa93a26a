//! What was decided lately, in words that a person can do something with.

use pkgtorrent_protocol::socket::Decision;
use pkgtorrent_swarm::{BundleId, Happening, LinkId, Note, SourceId};

use super::Engine;

/// A status names so many decisions at most: with the rest of it they fit in one line of the socket.
const DECISIONS_MAX: usize = 200;

impl Engine {
    /// The latest decisions, the oldest first.
    pub(super) fn decisions(&self) -> Vec<Decision> {
        let now = self.now();
        let mut latest: Vec<Decision> = self
            .swarm
            .notes()
            .rev()
            .take(DECISIONS_MAX)
            .map(|note| {
                // No agent runs for so long that this would not fit.
                let ago = now.saturating_sub(note.at).as_millis() as u64;
                Decision { ago, what: self.in_words(note) }
            })
            .collect();
        latest.reverse();
        latest
    }

    pub(super) fn in_words(&self, note: &Note) -> String {
        let (bundle, link) = (|id| self.bundle_name(id), |id| self.link_name(id));
        match note.what {
            Happening::Leased { bundle: id, pieces } => {
                format!("{}: first copies of {pieces} pieces are this host's to fetch", bundle(id))
            }
            Happening::HeldBack { bundle: id } => {
                format!("{}: the mirror's lid is reached, more is asked for later", bundle(id))
            }
            Happening::Unguided { bundle: id } => {
                format!("{}: the tracker does not guide, first copies are fetched unasked", bundle(id))
            }
            Happening::Starved { bundle: id, helps_itself: true } => {
                format!("{}: peers bring too little, the origin is asked", bundle(id))
            }
            Happening::Starved { bundle: id, helps_itself: false } => {
                format!("{}: peers bring too little, the tracker is asked for a lease", bundle(id))
            }
            Happening::Fetched { bundle: id, source, first_piece, pieces } => {
                let (id, source) = (bundle(id), self.source_name(source));
                format!("{id}: pieces {first_piece} to {} asked of {source}", first_piece + pieces - 1)
            }
            Happening::Linked { link: id, bundle: of } => {
                format!("{}: connected with {}", bundle(of), link(id))
            }
            Happening::Unlinked { link: id } => format!("{} has gone", link(id)),
            Happening::Silent { link: id, blocks } => {
                format!("{} owes {blocks} blocks for too long, others are asked", link(id))
            }
            Happening::Banned { link: id, piece } => {
                format!("{} sent piece {piece} wrong and is banned", link(id))
            }
            Happening::Mixed { bundle: id, piece } => {
                format!(
                    "{}: piece {piece} came wrong from several hosts and is fetched again from one",
                    bundle(id)
                )
            }
            Happening::GaveUp { bundle: id, file } => {
                format!("{}: package {} is left to the package manager", bundle(id), file.0)
            }
        }
    }

    fn bundle_name(&self, id: BundleId) -> String {
        self.bundles.get(&id).map_or_else(|| "a bundle that was left".into(), |it| it.info_hash.to_string())
    }

    fn link_name(&self, id: LinkId) -> String {
        if self.network.address_of(id).is_some() {
            self.network.name_of(id)
        } else {
            format!("a host ({id})")
        }
    }

    fn source_name(&self, id: SourceId) -> String {
        let known = self.web_seeds.iter().find(|seed| seed.source == id);
        known.map_or_else(|| id.to_string(), |seed| seed.url.to_string())
    }
}
