//! A bounded cache that forgets its oldest entries first.

use std::borrow::Borrow;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// Keeps values by key up to a total cost; the entries that came first leave first.
///
/// The unit of a cost is the caller's: 1 for each entry bounds their number, others are bytes or
/// tokens. Looking a value up does not keep it longer, so what is in the cache depends only on what
/// was inserted, in which order. That makes runs repeatable where several threads look values up.
///
/// ```
/// use visrl_core::FifoCache;
///
/// let mut cache = FifoCache::new(10);
/// cache.insert("a", 1.5, 4);
/// cache.insert("b", 2.5, 4);
/// cache.insert("c", 3.5, 4);
/// assert_eq!(cache.get("a"), None);
/// assert_eq!(cache.get("c"), Some(&3.5));
/// assert_eq!((cache.len(), cache.cost()), (2, 8));
/// ```
#[derive(Clone, Debug)]
pub struct FifoCache<K, V> {
    capacity: usize,
    cost: usize,
    entries: HashMap<K, Entry<V>>,
    /// The keys of all entries, the oldest first.
    order: VecDeque<K>,
}

#[derive(Clone, Debug)]
struct Entry<V> {
    value: V,
    cost: usize,
}

impl<K, V> FifoCache<K, V> {
    /// An empty cache for entries of at most this cost in all; with 0 it keeps nothing that costs
    /// something.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            cost: 0,
            entries: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// The largest total cost.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The cost of all entries, at most [`capacity`](Self::capacity).
    pub fn cost(&self) -> usize {
        self.cost
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets all entries.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.order.clear();
        self.cost = 0;
    }
}

impl<K: Clone + Eq + Hash, V> FifoCache<K, V> {
    /// The value that is kept for a key.
    pub fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.entries.get(key).map(|entry| &entry.value)
    }

    /// Whether a value is kept for a key.
    pub fn contains_key<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.entries.contains_key(key)
    }

    /// Keeps a value as the newest and forgets the oldest entries until all fit; says whether the
    /// value is kept.
    ///
    /// One that costs more than the whole capacity is not, and the other entries stay. What was
    /// kept for this key before is forgotten in any case.
    pub fn insert(&mut self, key: K, value: V, cost: usize) -> bool {
        self.remove(&key);
        if cost > self.capacity {
            return false;
        }
        // Compared by what is left, which cannot overflow.
        while self.cost > self.capacity - cost
            && let Some(oldest) = self.order.pop_front()
        {
            self.forget(&oldest);
        }
        self.cost += cost;
        self.order.push_back(key.clone());
        self.entries.insert(key, Entry { value, cost });
        true
    }

    /// Forgets the entry of a key and returns its value. Takes time with the number of entries.
    pub fn remove<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let value = self.forget(key)?;
        self.order.retain(|other| other.borrow() != key);
        Some(value)
    }

    fn forget<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let entry = self.entries.remove(key)?;
        self.cost -= entry.cost;
        Some(entry.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(cache: &FifoCache<u32, &'static str>) -> Vec<u32> {
        assert_eq!(cache.order.len(), cache.len());
        assert!(cache.order.iter().all(|key| cache.contains_key(key)));
        let costs = cache.entries.values().map(|entry| entry.cost);
        assert_eq!(costs.sum::<usize>(), cache.cost());
        assert!(cache.cost() <= cache.capacity());
        cache.order.iter().copied().collect()
    }

    #[test]
    fn the_oldest_leave_first_however_often_they_are_read() {
        let mut cache = FifoCache::new(3);
        for key in 0..3 {
            assert!(cache.insert(key, "kept", 1));
            assert_eq!(cache.get(&0), Some(&"kept"));
        }
        assert!(cache.insert(3, "new", 1));
        assert_eq!(keys(&cache), [1, 2, 3]);
        assert_eq!(cache.get(&0), None);
    }

    #[test]
    fn as_many_leave_as_the_new_cost_asks_for() {
        let mut cache = FifoCache::new(10);
        for (key, cost) in [(1, 4), (2, 3), (3, 3)] {
            cache.insert(key, "kept", cost);
        }
        assert_eq!((keys(&cache), cache.cost()), (vec![1, 2, 3], 10));
        cache.insert(4, "five", 5);
        assert_eq!((keys(&cache), cache.cost()), (vec![3, 4], 8));
        cache.insert(5, "all", 10);
        assert_eq!(keys(&cache), [5]);
    }

    #[test]
    fn what_costs_too_much_is_not_kept_and_drives_nothing_out() {
        let mut cache = FifoCache::new(5);
        cache.insert(1, "kept", 2);
        for cost in [6, usize::MAX] {
            assert!(!cache.insert(2, "too much", cost));
            assert_eq!(keys(&cache), [1]);
        }
        assert!(!cache.insert(1, "now too much", 6));
        assert_eq!((cache.get(&1), cache.is_empty()), (None, true));
        let mut none = FifoCache::new(0);
        assert!(!none.insert(1, "costs", 1));
        assert!(none.insert(2, "is free", 0));
        assert_eq!(keys(&none), [2]);
    }

    #[test]
    fn a_replaced_entry_counts_once_and_is_the_newest() {
        let mut cache = FifoCache::new(5);
        for (key, value, cost) in [(1, "old", 3), (2, "other", 1), (1, "new", 2)] {
            cache.insert(key, value, cost);
        }
        assert_eq!((cache.get(&1), cache.cost()), (Some(&"new"), 3));
        assert_eq!(keys(&cache), [2, 1]);
        cache.insert(3, "last", 3);
        assert_eq!(keys(&cache), [1, 3]);
    }

    #[test]
    fn entries_can_be_taken_out_and_forgotten() {
        let mut cache = FifoCache::new(usize::MAX);
        cache.insert(1, "a", usize::MAX - 1);
        cache.insert(2, "b", 1);
        assert_eq!(cache.remove(&1), Some("a"));
        assert_eq!(cache.remove(&1), None);
        assert_eq!(keys(&cache), [2]);
        cache.clear();
        assert_eq!((keys(&cache), cache.cost()), (vec![], 0));
    }
}
