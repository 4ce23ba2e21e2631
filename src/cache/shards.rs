//! An LRU map cut into pieces with a lock each, so that threads seldom meet.

use super::lru::Lru;
use parking_lot::Mutex;
use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hash},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// Pieces at most: more than a machine of today has threads that meet in one of them often.
const SHARD_COUNT_MAX: u64 = 16;

pub(super) struct Shards<K, V> {
    /// Each is held for a moment of arithmetic only, and never while taking another lock.
    shards: Box<[Mutex<Lru<K, V>>]>,
    hasher: RandomState,
    evictions: AtomicU64,
}

impl<K: Hash + Eq, V> Shards<K, V> {
    /// A map of `weight_max` in all, in so few pieces that each has room for an entry of
    /// `entry_weight_max`.
    pub(super) fn new(weight_max: u64, entry_weight_max: u64) -> Self {
        let count = (weight_max / entry_weight_max.max(1)).clamp(1, SHARD_COUNT_MAX);
        let shards = (0..count).map(|_| Mutex::new(Lru::new(weight_max / count))).collect();
        Self { shards, hasher: RandomState::new(), evictions: AtomicU64::new(0) }
    }

    fn shard(&self, key: &K) -> &Mutex<Lru<K, V>> {
        let count = self.shards.len() as u64;
        // Below the number of shards, so it fits.
        &self.shards[(self.hasher.hash_one(key) % count) as usize]
    }

    /// A copy of the value.
    pub(super) fn get(&self, key: &K) -> Option<V>
    where
        V: Clone,
    {
        self.shard(key).lock().get(key).cloned()
    }

    /// Puts a value in if `is_current` says so. It is asked under the lock that `remove` takes:
    /// what is removed after a change cannot be put in again by somebody who looked before it.
    pub(super) fn insert(&self, key: K, value: V, weight: u64, is_current: impl FnOnce() -> bool) {
        let mut shard = self.shard(&key).lock();
        if !is_current() {
            return;
        }
        let displaced = shard.insert(key, value, weight);
        // What goes may close a file, which need not keep others waiting.
        drop(shard);
        self.evictions.fetch_add(displaced.evicted.len() as u64, Relaxed);
        drop(displaced);
    }

    pub(super) fn remove(&self, key: &K) {
        let removed = self.shard(key).lock().remove(key);
        drop(removed);
    }

    /// Removes everything, one piece after the other.
    pub(super) fn clear(&self) {
        for shard in &self.shards {
            let cleared = shard.lock().clear();
            drop(cleared);
        }
    }

    /// The weight of all entries.
    pub(super) fn weight(&self) -> u64 {
        self.shards.iter().map(|shard| shard.lock().weight()).sum()
    }

    /// How many entries had to make room.
    pub(super) fn evictions(&self) -> u64 {
        self.evictions.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_pieces_together_keep_to_the_limit() {
        for weight_max in [0, 1, 5, 100] {
            let shards = Shards::new(weight_max, 1);
            for key in 0..1_000 {
                shards.insert(key, (), 1, || true);
            }
            assert!(shards.weight() <= weight_max);
            assert_eq!(shards.weight() + shards.evictions(), 1_000);
        }
    }

    #[test]
    fn the_heaviest_entry_fits_into_one_piece() {
        let shards = Shards::new(100, 30);
        shards.insert(1, (), 30, || true);
        assert_eq!(shards.get(&1), Some(()));
    }

    #[test]
    fn what_is_no_longer_current_is_not_put_in() {
        let shards = Shards::new(1, 1);
        shards.insert(1, (), 1, || false);
        assert_eq!(shards.get(&1), None);
    }
}
