//! Inode numbers that a listing has shown.
//!
//! `ls -i` and `find -inum` believe the number that a listing shows, and a plain listing gives
//! nothing out to the kernel. So the number is promised: a node that is looked up later gets the one
//! under which it was listed. The latest promises are kept, as a hash and a number each: a listing
//! that comes again finds its numbers here, also those that the kernel holds, several times as fast
//! as by comparing nodes that lie all over the memory.

use crate::fs::inodes::Ino;
use crate::fs::nodes::Key;
use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

/// How many promises are kept for certain; up to twice as many are. All of them take 4 MiB: this is
/// as much as fits into a map of 131,072 places.
const PROMISES_MIN: usize = 112 << 10;

/// The promised numbers: those made lately, and those made before them.
///
/// A node is known by a hash of 64 bits. Should two ever meet there, then a listing shows one number
/// for both; who gives numbers out looks whether one is taken.
#[derive(Debug, Default)]
pub(super) struct Promises {
    late: Numbers,
    early: Numbers,
}

type Numbers = HashMap<Key, Ino, BuildHasherDefault<AsItIs>>;

/// The hasher of what is a hash already.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0 << 8 | u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Promises {
    /// The number promised for a node; it counts among the latest again.
    pub(super) fn find(&mut self, key: Key) -> Option<Ino> {
        if let Some(ino) = self.late.get(&key) {
            return Some(*ino);
        }
        let ino = self.early.remove(&key)?;
        self.make(key, ino);
        Some(ino)
    }

    /// Promises `ino` for a node that has none.
    pub(super) fn make(&mut self, key: Key, ino: Ino) {
        if self.late.len() == PROMISES_MIN {
            std::mem::swap(&mut self.late, &mut self.early);
            self.late.clear();
        }
        self.late.insert(key, ino);
    }

    /// The number promised for a node, which is promised no longer.
    pub(super) fn take(&mut self, key: Key) -> Option<Ino> {
        self.late.remove(&key).or_else(|| self.early.remove(&key))
    }

    /// Every name may stand for something else by now.
    pub(super) fn clear(&mut self) {
        self.late.clear();
        self.early.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As evenly spread as hashes are.
    fn key(number: usize) -> Key {
        Key((number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    #[test]
    fn a_promise_is_kept_once() {
        let mut promises = Promises::default();
        assert_eq!(promises.find(key(1)), None);
        promises.make(key(1), Ino(7));
        assert_eq!(promises.find(key(1)), Some(Ino(7)));
        assert_eq!(promises.take(key(1)), Some(Ino(7)));
        assert_eq!(promises.take(key(1)), None);
    }

    #[test]
    fn the_latest_promises_are_kept_in_little_memory() {
        let mut promises = Promises::default();
        for number in 0..5 * PROMISES_MIN {
            promises.make(key(number), Ino(number as u64));
        }
        assert!(promises.late.len() + promises.early.len() <= 2 * PROMISES_MIN);
        assert!(promises.late.capacity().max(promises.early.capacity()) <= PROMISES_MIN);
        for number in 4 * PROMISES_MIN..5 * PROMISES_MIN {
            assert_eq!(promises.take(key(number)), Some(Ino(number as u64)));
        }
        assert_eq!(promises.take(key(0)), None);
    }

    #[test]
    fn what_is_listed_again_and_again_keeps_its_number() {
        let mut promises = Promises::default();
        for number in 0..2 * PROMISES_MIN {
            promises.make(key(number), Ino(number as u64));
        }
        for _ in 0..3 {
            for number in PROMISES_MIN..2 * PROMISES_MIN {
                assert_eq!(promises.find(key(number)), Some(Ino(number as u64)));
            }
        }
    }
}
