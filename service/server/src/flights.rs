//! One flight for any number of passengers: whoever asks for what is being made already waits for that.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

/// What is being made, and who waits for it: one flight for a file or a set, never one for a request.
pub(crate) struct Flights<K, V> {
    waiting: Mutex<HashMap<K, Vec<oneshot::Sender<V>>>>,
}

/// The duty to make it. Dropped without landing, it lets all who wait know that nothing will come.
pub(crate) struct Flight<K: Hash + Eq, V> {
    flights: Arc<Flights<K, V>>,
    key: Option<K>,
}

impl<K: Hash + Eq + Clone, V: Clone> Flights<K, V> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { waiting: Mutex::new(HashMap::new()) })
    }

    /// A seat, and for the first to come the duty to make what all wait for.
    pub(crate) fn join(self: &Arc<Self>, key: K) -> (oneshot::Receiver<V>, Option<Flight<K, V>>) {
        let (seat, result) = oneshot::channel();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seats) = waiting.get_mut(&key) {
            // Who went away need not be kept: a host that asks again and again takes a few seats at most. Looking at
            // all seats only when their number has doubled keeps a fleet that asks at once from looking at each other.
            if seats.len() == seats.capacity() {
                seats.retain(|seat| !seat.is_closed());
                seats.reserve(seats.len().max(1));
            }
            seats.push(seat);
            return (result, None);
        }
        waiting.insert(key.clone(), vec![seat]);
        (result, Some(Flight { flights: Arc::clone(self), key: Some(key) }))
    }

    /// How many are under way.
    pub(crate) fn len(&self) -> usize {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl<K: Hash + Eq, V: Clone> Flight<K, V> {
    /// Gives everyone who waits the result.
    pub(crate) fn land(mut self, value: V) {
        for seat in self.seats() {
            // Who went away meanwhile misses nothing.
            let _ = seat.send(value.clone());
        }
    }
}

impl<K: Hash + Eq, V> Flight<K, V> {
    fn seats(&mut self) -> Vec<oneshot::Sender<V>> {
        let Some(key) = self.key.take() else {
            return Vec::new();
        };
        let mut waiting = self.flights.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.remove(&key).unwrap_or_default()
    }
}

impl<K: Hash + Eq, V> Drop for Flight<K, V> {
    fn drop(&mut self) {
        drop(self.seats());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_passengers_share_one_flight() {
        let flights = Flights::<&str, u32>::new();
        let (first, flight) = flights.join("a");
        let flight = flight.expect("the first has the duty");
        let mut others: Vec<_> = (0..999)
            .map(|_| {
                let (seat, duty) = flights.join("a");
                assert!(duty.is_none());
                seat
            })
            .collect();
        assert!(flights.join("b").1.is_some());
        others.push(first);
        flight.land(7);
        assert!(others.into_iter().all(|seat| seat.blocking_recv() == Ok(7)));
        assert!(flights.join("a").1.is_some(), "the next flight is another");
    }

    #[test]
    fn who_went_away_does_not_keep_a_seat() {
        let flights = Flights::<&str, u32>::new();
        let (_first, _flight) = flights.join("a");
        for _ in 0..100_000 {
            drop(flights.join("a"));
        }
        assert!(flights.waiting.lock().expect("locks")["a"].len() < 16);
    }

    #[test]
    fn a_flight_that_never_lands_strands_nobody() {
        let flights = Flights::<&str, u32>::new();
        let (seat, flight) = flights.join("a");
        drop(flight);
        assert!(seat.blocking_recv().is_err());
        assert_eq!(flights.len(), 0);
    }
}
