//! Requests to the web seed.

use pkgtorrent_swarm::{Event, Outcome, RequestId};

use crate::happening::Happening;
use crate::origin::{CHUNK_LEN, Fetch, HEAD_LEN};
use crate::wire::WINDOW;
use crate::world::World;

impl World {
    pub(crate) fn begin_fetch(
        &mut self,
        host: u32,
        request: RequestId,
        bundle: u32,
        first_piece: u32,
        pieces: u32,
    ) {
        let pieces_end = first_piece + pieces;
        let left =
            (first_piece..pieces_end).map(|piece| self.bundles[bundle as usize].piece_len(piece)).sum();
        let fetch = self.origin.fetches.len() as u32;
        self.origin.fetches.push(Fetch {
            host,
            request,
            bundle,
            piece: first_piece,
            piece_came: 0,
            pieces_end,
            left,
            under_way: 0,
            is_queued: false,
            is_cancelled: false,
        });
        self.host(host).fetches.insert(request, fetch);
        self.put_after(self.latency, Happening::Fetch { fetch });
    }

    pub(crate) fn cancel_fetch(&mut self, host: u32, request: RequestId) {
        if let Some(fetch) = self.host(host).fetches.remove(&request) {
            self.origin.fetches[fetch as usize].is_cancelled = true;
        }
    }

    pub(crate) fn fetch(&mut self, fetch: u32) {
        if self.origin.is_dead {
            let outcome = Outcome::Unreachable;
            return self.put_after(self.latency, Happening::FetchFailed { fetch, outcome });
        }
        self.requests += 1;
        self.head_len += HEAD_LEN;
        self.origin.line.message(HEAD_LEN);
        self.queue_fetch(fetch);
        self.send_chunk();
    }

    fn queue_fetch(&mut self, fetch: u32) {
        let it = &mut self.origin.fetches[fetch as usize];
        if it.is_queued || it.is_cancelled || it.left == 0 || it.under_way >= WINDOW || self.origin.is_dead {
            return;
        }
        it.is_queued = true;
        self.origin.line.ready.push_back(fetch);
    }

    /// Sends the next chunk, if none is being sent.
    fn send_chunk(&mut self) {
        if !self.origin.line.is_idle() {
            return;
        }
        while let Some(fetch) = self.origin.line.ready.pop_front() {
            let it = &mut self.origin.fetches[fetch as usize];
            it.is_queued = false;
            if it.is_cancelled {
                continue;
            }
            let len = it.left.min(CHUNK_LEN);
            it.left -= len;
            it.under_way += len;
            let left_at = self.origin.line.begin(fetch, len, u64::from(len), self.now);
            return self.queue.put(left_at, Happening::ChunkLeft);
        }
    }

    pub(crate) fn chunk_left(&mut self) {
        let Some((fetch, len, since)) = self.origin.line.end() else { return };
        let (now, latency) = (self.now, self.latency);
        self.origin_len += u64::from(len);
        self.timeline.origin(now, u64::from(len));
        self.service.origin_sent(u64::from(len), now);
        let host = self.origin.fetches[fetch as usize].host;
        if self.hosts[host as usize].is_far {
            let crossed_at = self.link.cross(true, u64::from(len), since + latency, now + latency);
            self.queue.put(crossed_at, Happening::ChunkCrossed { fetch, len });
        } else {
            let came_at = self.host(host).down.receive(u64::from(len), since + latency, now + latency);
            self.queue.put(came_at, Happening::ChunkCame { fetch, len });
        }
        self.queue_fetch(fetch);
        self.send_chunk();
    }

    pub(crate) fn chunk_crossed(&mut self, fetch: u32, len: u32) {
        let (now, host) = (self.now, self.origin.fetches[fetch as usize].host);
        let came_at = self.host(host).down.receive(u64::from(len), now, now);
        self.queue.put(came_at, Happening::ChunkCame { fetch, len });
    }

    pub(crate) fn chunk_came(&mut self, fetch: u32, len: u32) {
        let it = &mut self.origin.fetches[fetch as usize];
        let host = it.host;
        if self.hosts[host as usize].is_gone {
            return;
        }
        it.under_way -= len;
        it.piece_came += len;
        self.queue_fetch(fetch);
        self.send_chunk();
        self.host(host).from_origin += u64::from(len);
        while let Some(piece) = self.next_piece(fetch) {
            let Fetch { request, bundle, .. } = self.origin.fetches[fetch as usize];
            self.piece_here(host, bundle, piece);
            self.tell(host, Event::Verified { request, piece });
        }
        let it = &self.origin.fetches[fetch as usize];
        let request = it.request;
        if !it.is_cancelled && it.piece == it.pieces_end {
            self.host(host).fetches.remove(&request);
            self.tell(host, Event::Ended { request, outcome: Outcome::Complete });
        }
    }

    /// The next piece that is all here.
    fn next_piece(&mut self, fetch: u32) -> Option<u32> {
        let it = &mut self.origin.fetches[fetch as usize];
        if it.is_cancelled || it.piece == it.pieces_end {
            return None;
        }
        let (piece, len) = (it.piece, self.bundles[it.bundle as usize].piece_len(it.piece));
        let is_here = it.piece_came >= len;
        if is_here {
            it.piece_came -= len;
            it.piece += 1;
        }
        is_here.then_some(piece)
    }

    pub(crate) fn fetch_failed(&mut self, fetch: u32, outcome: Outcome) {
        let it = &mut self.origin.fetches[fetch as usize];
        let (host, request) = (it.host, it.request);
        if !std::mem::replace(&mut it.is_cancelled, true) && !self.is_gone(host) {
            self.host(host).fetches.remove(&request);
            self.tell(host, Event::Ended { request, outcome });
        }
    }

    pub(crate) fn origin_dies(&mut self) {
        self.origin.is_dead = true;
        self.origin.line.ready.clear();
        for fetch in 0..self.origin.fetches.len() as u32 {
            let it = &self.origin.fetches[fetch as usize];
            if !it.is_cancelled && it.piece < it.pieces_end {
                self.put_after(self.latency, Happening::FetchFailed { fetch, outcome: Outcome::Broken });
            }
        }
    }
}
