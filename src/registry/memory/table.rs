//! A map that remembers in which order its entries came, so that listings can be taken up again.
//!
//! An entry gets its number when it is made and keeps it until it goes, whatever becomes of its
//! value. A listing goes by number and remembers only the last one: what was there all the time is
//! met exactly once, and a number is never given out twice.

use crate::model::Result;
use crate::registry::{Cursor, Position};
use std::collections::BTreeMap;

/// The map.
pub(super) struct Table<K, V> {
    /// The last number given out; the first is 1, so that 0 stands before all.
    last: u64,
    entries: BTreeMap<K, (u64, V)>,
    order: BTreeMap<u64, K>,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { last: 0, entries: BTreeMap::new(), order: BTreeMap::new() }
    }
}

impl<K: Ord + Clone, V> Table<K, V> {
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|(_, value)| value)
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.entries.get_mut(key).map(|(_, value)| value)
    }

    pub(super) fn contains(&self, key: &K) -> bool {
        self.entries.contains_key(key)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entry, made if it is missing.
    pub(super) fn get_or_insert_with(&mut self, key: &K, make: impl FnOnce() -> V) -> &mut V {
        let (last, order) = (&mut self.last, &mut self.order);
        let (_, value) = self.entries.entry(key.clone()).or_insert_with(|| {
            *last += 1;
            order.insert(*last, key.clone());
            (*last, make())
        });
        value
    }

    /// Sets the value of an entry. One that is there already keeps its number.
    pub(super) fn insert(&mut self, key: &K, value: V) {
        match self.entries.get_mut(key) {
            Some((_, old)) => *old = value,
            None => {
                self.get_or_insert_with(key, || value);
            }
        }
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let (number, value) = self.entries.remove(key)?;
        self.order.remove(&number);
        Some(value)
    }

    /// Keeps the entries for which `keep` says so.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&K, &V) -> bool) {
        let order = &mut self.order;
        self.entries.retain(|key, (number, value)| {
            let kept = keep(key, value);
            if !kept {
                order.remove(number);
            }
            kept
        });
    }

    /// Every entry, in the order of the keys.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().map(|(key, (_, value))| (key, value))
    }

    /// Every value, in the order of the keys.
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.entries.values_mut().map(|(_, value)| value)
    }

    /// The entries behind `number`, in the order in which they came.
    pub(super) fn after(&self, number: u64) -> impl Iterator<Item = (u64, &K, &V)> {
        let behind = self.order.range(number.saturating_add(1)..);
        behind.filter_map(|(number, key)| Some((*number, key, self.get(key)?)))
    }
}

/// A listing: a number, and how to find the entry behind it.
pub(super) struct Listing<F> {
    number: u64,
    find_after: F,
}

impl<F> Listing<F> {
    /// From the beginning. `find_after` gives the entry behind a number, and that entry's number.
    pub(super) fn new(find_after: F) -> Self {
        Self { number: 0, find_after }
    }
}

impl<T, F: Fn(u64) -> Option<(u64, T)> + Send> Cursor<T> for Listing<F> {
    fn seek(&mut self, position: Position) -> Result<()> {
        self.number = position.offset;
        Ok(())
    }

    fn next(&mut self) -> Result<Option<(T, Position)>> {
        let Some((number, entry)) = (self.find_after)(self.number) else {
            return Ok(None);
        };
        self.number = number;
        Ok(Some((entry, Position { segment: 0, offset: number })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_keeps_its_number_until_it_goes() {
        let mut table = Table::default();
        for key in ["a", "b", "c"] {
            table.insert(&key, 1);
        }
        table.insert(&"a", 2);
        table.remove(&"b");
        table.insert(&"b", 3);
        table.retain(|key, _| *key != "c");
        assert_eq!(table.after(0).collect::<Vec<_>>(), [(1, &"a", &2), (4, &"b", &3)]);
        assert_eq!(table.after(1).count(), 1);
        assert_eq!(table.after(u64::MAX).count(), 0);
    }
}
