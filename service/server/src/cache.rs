//! A cache with a limit on the weight of what it holds; what came first leaves first.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

/// Values by key, behind a lock that is held for a lookup only.
pub(crate) struct Cache<K, V> {
    inner: Mutex<Inner<K, V>>,
    weight_max: usize,
}

struct Inner<K, V> {
    values: HashMap<K, (V, usize)>,
    order: VecDeque<K>,
    weight: usize,
}

impl<K: Hash + Eq + Clone, V: Clone> Cache<K, V> {
    pub(crate) fn new(weight_max: usize) -> Self {
        let inner = Inner { values: HashMap::new(), order: VecDeque::new(), weight: 0 };
        Self { inner: Mutex::new(inner), weight_max }
    }

    pub(crate) fn get(&self, key: &K) -> Option<V> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.values.get(key).map(|(value, _)| value.clone())
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        *inner = Inner { values: HashMap::new(), order: VecDeque::new(), weight: 0 };
    }

    /// Keeps a value. One heavier than the limit stays until the next one comes.
    pub(crate) fn put(&self, key: K, value: V, weight: usize) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        match inner.values.insert(key.clone(), (value, weight)) {
            Some((_, old)) => inner.weight -= old,
            None => inner.order.push_back(key),
        }
        inner.weight += weight;
        while inner.weight > self.weight_max && inner.order.len() > 1 {
            let Some(oldest) = inner.order.pop_front() else {
                break;
            };
            if let Some((_, weight)) = inner.values.remove(&oldest) {
                inner.weight -= weight;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_leave_when_it_becomes_too_heavy() {
        let cache = Cache::new(10);
        cache.put("a", 1, 4);
        cache.put("b", 2, 4);
        cache.put("a", 3, 5);
        assert_eq!((cache.get(&"a"), cache.get(&"b")), (Some(3), Some(2)));
        cache.put("c", 4, 3);
        assert_eq!((cache.get(&"a"), cache.get(&"b"), cache.get(&"c")), (None, Some(2), Some(4)));
        cache.put("huge", 5, 99);
        assert_eq!((cache.get(&"c"), cache.get(&"huge")), (None, Some(5)));
        cache.clear();
        assert_eq!(cache.get(&"huge"), None);
        cache.put("a", 1, 9);
        assert_eq!(cache.get(&"a"), Some(1), "nothing weighs any more");
    }
}
