//! Which entry goes next: a map of bounded weight that gives up what was longest not asked for.
//!
//! Plain data: no lock, no I/O. What goes is handed back, so that whoever holds a lock around this
//! can drop it outside.

use lru::LruCache;
use std::hash::Hash;

/// The map. The weights of its entries never add up to more than its limit.
pub(super) struct Lru<K, V> {
    entries: LruCache<K, (V, u64)>,
    weight: u64,
    weight_max: u64,
}

/// What an insert has displaced.
#[must_use = "drop it outside the lock"]
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Displaced<V> {
    /// The value that the key had before.
    pub(super) replaced: Option<V>,
    /// Values that had to make room, the oldest first. The new value itself, alone, when it is too
    /// heavy for the whole map.
    pub(super) evicted: Vec<V>,
}

impl<K: Hash + Eq, V> Lru<K, V> {
    pub(super) fn new(weight_max: u64) -> Self {
        Self { entries: LruCache::unbounded(), weight: 0, weight_max }
    }

    /// The value, which is now the one asked for last.
    pub(super) fn get(&mut self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|(value, _)| value)
    }

    /// Puts a value in and makes room for it.
    pub(super) fn insert(&mut self, key: K, value: V, weight: u64) -> Displaced<V> {
        let replaced = self.remove(&key);
        if weight > self.weight_max {
            return Displaced { replaced, evicted: vec![value] };
        }
        let mut evicted = Vec::new();
        while self.weight > self.weight_max - weight {
            let Some((_, (value, weight))) = self.entries.pop_lru() else { break };
            self.weight -= weight;
            evicted.push(value);
        }
        self.weight += weight;
        self.entries.put(key, (value, weight));
        Displaced { replaced, evicted }
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let (value, weight) = self.entries.pop(key)?;
        self.weight -= weight;
        Some(value)
    }

    /// Takes everything out, and the room that it took.
    #[must_use = "drop it outside the lock"]
    pub(super) fn clear(&mut self) -> impl Sized + use<K, V> {
        self.weight = 0;
        std::mem::replace(&mut self.entries, LruCache::unbounded())
    }

    /// The weight of all entries together.
    pub(super) fn weight(&self) -> u64 {
        self.weight
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn displaced(replaced: Option<u8>, evicted: &[u8]) -> Displaced<u8> {
        Displaced { replaced, evicted: evicted.to_vec() }
    }

    #[test]
    fn what_was_longest_not_asked_for_goes_first() {
        let mut lru = Lru::new(3);
        for key in 1..=3 {
            assert_eq!(lru.insert(key, key, 1), displaced(None, &[]));
        }
        assert_eq!(lru.get(&1), Some(&1));
        assert_eq!(lru.insert(4, 4, 2), displaced(None, &[2, 3]));
        assert_eq!(lru.get(&1), Some(&1));
        assert_eq!(lru.get(&2), None);
        assert_eq!(lru.weight(), 3);
    }

    #[test]
    fn a_new_value_replaces_the_old_one_with_its_weight() {
        let mut lru = Lru::new(3);
        assert_eq!(lru.insert(1, 10, 3), displaced(None, &[]));
        assert_eq!(lru.insert(1, 11, 1), displaced(Some(10), &[]));
        assert_eq!(lru.weight(), 1);
        assert_eq!(lru.remove(&1), Some(11));
        assert_eq!(lru.remove(&1), None);
        assert_eq!(lru.weight(), 0);
    }

    #[test]
    fn what_is_too_heavy_for_all_goes_at_once_and_displaces_no_other() {
        let mut lru = Lru::new(3);
        assert_eq!(lru.insert(1, 10, 1), displaced(None, &[]));
        assert_eq!(lru.insert(2, 20, 4), displaced(None, &[20]));
        assert_eq!(lru.insert(1, 11, u64::MAX), displaced(Some(10), &[11]));
        assert_eq!(lru.get(&1), None);
        assert_eq!(lru.get(&2), None);
        assert_eq!(lru.weight(), 0);
    }

    #[test]
    fn a_map_without_room_keeps_only_what_weighs_nothing() {
        let mut lru = Lru::new(0);
        assert_eq!(lru.insert(1, 10, 1), displaced(None, &[10]));
        assert_eq!(lru.insert(1, 10, 0), displaced(None, &[]));
        assert_eq!(lru.get(&1), Some(&10));
    }

    #[test]
    fn what_is_cleared_has_its_room_again() {
        let mut lru = Lru::new(3);
        assert_eq!(lru.insert(1, 10, 3), displaced(None, &[]));
        drop(lru.clear());
        assert_eq!(lru.get(&1), None);
        assert_eq!(lru.weight(), 0);
        assert_eq!(lru.insert(2, 20, 3), displaced(None, &[]));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Get(u8),
        Insert(u8, u64),
        Remove(u8),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0..8_u8).prop_map(Step::Get),
            ((0..8_u8), (0..6_u64)).prop_map(|(key, weight)| Step::Insert(key, weight)),
            (0..8_u8).prop_map(Step::Remove),
        ];
        prop::collection::vec(step, 0..200)
    }

    /// The same as a list, the oldest first: key, value, weight.
    type Model = Vec<(u8, usize, u64)>;

    fn take(model: &mut Model, key: u8) -> Option<(u8, usize, u64)> {
        let index = model.iter().position(|entry| entry.0 == key)?;
        Some(model.remove(index))
    }

    fn insert(model: &mut Model, entry: (u8, usize, u64), weight_max: u64) -> Displaced<usize> {
        let replaced = take(model, entry.0).map(|old| old.1);
        let mut evicted = Vec::new();
        if entry.2 > weight_max {
            evicted.push(entry.1);
        } else {
            model.push(entry);
            while model.iter().map(|entry| entry.2).sum::<u64>() > weight_max {
                evicted.push(model.remove(0).1);
            }
        }
        Displaced { replaced, evicted }
    }

    proptest! {
        #[test]
        fn it_does_what_a_list_would_do(weight_max in 0..12_u64, steps in steps()) {
            let (mut lru, mut model) = (Lru::new(weight_max), Model::new());
            for (value, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Get(key) => {
                        let found = take(&mut model, key);
                        model.extend(found);
                        prop_assert_eq!(lru.get(&key).copied(), found.map(|entry| entry.1));
                    }
                    Step::Insert(key, weight) => {
                        let expected = insert(&mut model, (key, value, weight), weight_max);
                        prop_assert_eq!(lru.insert(key, value, weight), expected);
                    }
                    Step::Remove(key) => {
                        let expected = take(&mut model, key).map(|entry| entry.1);
                        prop_assert_eq!(lru.remove(&key), expected);
                    }
                }
                let weight: u64 = model.iter().map(|entry| entry.2).sum();
                prop_assert_eq!(lru.weight(), weight);
                prop_assert!(weight <= weight_max);
            }
        }
    }
}
