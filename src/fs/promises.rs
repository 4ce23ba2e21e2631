//! Inode numbers that a listing has shown and the kernel does not hold yet.
//!
//! `ls -i` and `find -inum` believe the number that a listing shows, and a plain listing gives
//! nothing out to the kernel. So the number is promised: a node that is looked up later gets the one
//! under which it was listed. The latest promises are kept, as a hash and a number each.

use crate::fs::inodes::Ino;
use crate::fs::node::Node;
use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher as _,
};

/// How many promises are kept for certain; up to twice as many are. All of them take 2 MiB: this is
/// as much as fits into a map of 65,536 places.
const PROMISES_MIN: usize = 56 << 10;

/// The promised numbers: those made lately, and those made before them.
///
/// A node is known by a hash of 64 bits. Should two ever meet there, then a listing shows one number
/// for both; a promise is kept only once, so the kernel never gets one number for two nodes.
#[derive(Debug, Default)]
pub(super) struct Promises {
    late: HashMap<u64, Ino>,
    early: HashMap<u64, Ino>,
    hasher: RandomState,
}

impl Promises {
    /// The number promised for `node`; it counts among the latest again.
    pub(super) fn find(&mut self, node: &Node) -> Option<Ino> {
        let key = self.hasher.hash_one(node);
        if let Some(ino) = self.late.get(&key) {
            return Some(*ino);
        }
        let ino = self.early.remove(&key)?;
        self.insert(key, ino);
        Some(ino)
    }

    /// Promises a number for `node`, which has none.
    pub(super) fn make(&mut self, node: &Node, ino: Ino) {
        self.insert(self.hasher.hash_one(node), ino);
    }

    fn insert(&mut self, key: u64, ino: Ino) {
        if self.late.len() == PROMISES_MIN {
            std::mem::swap(&mut self.late, &mut self.early);
            self.late.clear();
        }
        self.late.insert(key, ino);
    }

    /// The number promised for `node`, which is promised no longer.
    pub(super) fn take(&mut self, node: &Node) -> Option<Ino> {
        let key = self.hasher.hash_one(node);
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

    fn node(number: usize) -> Node {
        Node::Repository(format!("r{number}").parse().unwrap())
    }

    #[test]
    fn a_promise_is_kept_once() {
        let mut promises = Promises::default();
        assert_eq!(promises.find(&node(1)), None);
        promises.make(&node(1), Ino(7));
        assert_eq!(promises.find(&node(1)), Some(Ino(7)));
        assert_eq!(promises.take(&node(1)), Some(Ino(7)));
        assert_eq!(promises.take(&node(1)), None);
    }

    #[test]
    fn the_latest_promises_are_kept_in_little_memory() {
        let mut promises = Promises::default();
        for number in 0..5 * PROMISES_MIN {
            promises.make(&node(number), Ino(number as u64));
        }
        assert!(promises.late.len() + promises.early.len() <= 2 * PROMISES_MIN);
        assert!(promises.late.capacity().max(promises.early.capacity()) <= PROMISES_MIN);
        for number in 4 * PROMISES_MIN..5 * PROMISES_MIN {
            assert_eq!(promises.take(&node(number)), Some(Ino(number as u64)));
        }
        assert_eq!(promises.take(&node(0)), None);
    }

    #[test]
    fn what_is_listed_again_and_again_keeps_its_number() {
        let mut promises = Promises::default();
        for number in 0..2 * PROMISES_MIN {
            promises.make(&node(number), Ino(number as u64));
        }
        for _ in 0..3 {
            for number in PROMISES_MIN..2 * PROMISES_MIN {
                assert_eq!(promises.find(&node(number)), Some(Ino(number as u64)));
            }
        }
    }
}
