//! The nodes that the kernel holds, found by number and by name. Each is kept once, in few bytes.
//!
//! After `find` over a large registry there are millions of them, and a moment later none. So they lie
//! beside one another in one piece of memory, which grows and shrinks as a whole, and two tables say
//! where. Were each in a piece of its own, then whatever else was allocated between them would keep
//! most of that memory when they are gone.

use crate::fs::inodes::Ino;
use crate::fs::node::Node;
use crate::model::{Digest, RepositoryName, Tag};
use hashbrown::HashTable;
use std::{collections::hash_map::RandomState, hash::BuildHasher as _};

/// The nodes.
///
/// An inode is in `by_key` as long as it has its name: as long as it is not detached.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    inodes: Vec<Inode>,
    by_number: HashTable<Place>,
    by_key: HashTable<Place>,
    hasher: RandomState,
}

/// Where an inode lies among the others. There is no memory for more of them than fit in here.
type Place = u32;

/// The hash of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key(pub(super) u64);

/// A number that the kernel holds.
#[derive(Debug)]
pub(super) struct Inode {
    ino: Ino,
    key: Key,
    node: Packed,
    pub(super) lookup_count: u64,
    detached: bool,
    /// Whether a program may have mapped it before its content was published.
    pub(super) was_mapped: bool,
}

impl Inode {
    /// What it is found by, as long as it has its name.
    pub(super) fn key(&self) -> Key {
        self.key
    }

    /// Its number.
    pub(super) fn ino(&self) -> Ino {
        self.ino
    }

    /// What it stands for.
    pub(super) fn node(&self) -> Node {
        self.node.unpack()
    }

    /// The repository it belongs to.
    pub(super) fn repository(&self) -> Option<&RepositoryName> {
        match &self.node {
            Packed::Layer(name, _) | Packed::Tag(name, _) => Some(name),
            Packed::Other(node) => node.repository(),
        }
    }

    /// Whether its name was removed or replaced since.
    pub(super) fn detached(&self) -> bool {
        self.detached
    }

    fn is(&self, key: Key, node: &Node) -> bool {
        self.key == key && self.node.is(node)
    }
}

/// A node in fewer bytes, if it is one of those of which there are many. A digest has room for the
/// longest hash, and nearly all are of the shortest.
#[derive(Debug)]
enum Packed {
    /// A layer under its sha256.
    Layer(RepositoryName, [u8; 32]),
    Tag(RepositoryName, Tag),
    Other(Box<Node>),
}

impl Packed {
    fn new(node: Node) -> Self {
        match node {
            Node::Tag(name, tag) => Self::Tag(name, tag),
            Node::Layer(name, digest) => match digest.as_sha256() {
                Some(hash) => Self::Layer(name, *hash),
                None => Self::Other(Box::new(Node::Layer(name, digest))),
            },
            Node::Root
            | Node::Repository(_)
            | Node::Area(..)
            | Node::Revision(..)
            | Node::Upload(..)
            | Node::StagingFolder(..)
            | Node::Control
            | Node::ControlFile(_) => Self::Other(Box::new(node)),
        }
    }

    fn unpack(&self) -> Node {
        match self {
            Self::Layer(name, hash) => Node::Layer(name.clone(), Digest::of_sha256(hash)),
            Self::Tag(name, tag) => Node::Tag(name.clone(), tag.clone()),
            Self::Other(node) => Node::clone(node),
        }
    }

    fn is(&self, node: &Node) -> bool {
        match (self, node) {
            (Self::Layer(name, hash), Node::Layer(other, digest)) => {
                digest.as_sha256() == Some(hash) && name == other
            }
            (Self::Tag(name, tag), Node::Tag(other, of_other)) => tag == of_other && name == other,
            (Self::Layer(..) | Self::Tag(..), _) => false,
            (Self::Other(known), _) => **known == *node,
        }
    }
}

/// Nodes fewer than this are never shrunk: it would cost more than it frees.
const SHRINK_CAPACITY_MIN: usize = 4096;

impl Nodes {
    /// What `node` is found by.
    pub(super) fn key(&self, node: &Node) -> Key {
        Key(self.hasher.hash_one(node))
    }

    /// What the kernel holds as `ino`.
    pub(super) fn get(&self, ino: Ino) -> Option<&Inode> {
        self.inodes.get(self.place(ino)?)
    }

    /// As [`Self::get`], to change it.
    pub(super) fn get_mut(&mut self, ino: Ino) -> Option<&mut Inode> {
        let place = self.place(ino)?;
        self.inodes.get_mut(place)
    }

    /// What the kernel holds under the name of `node`, whose key is `key`.
    pub(super) fn find(&self, key: Key, node: &Node) -> Option<&Inode> {
        self.inodes.get(self.place_of(key, node)?)
    }

    /// As [`Self::find`], to change it.
    pub(super) fn find_mut(&mut self, key: Key, node: &Node) -> Option<&mut Inode> {
        let place = self.place_of(key, node)?;
        self.inodes.get_mut(place)
    }

    fn place(&self, ino: Ino) -> Option<usize> {
        let is_it = |place: &Place| at(&self.inodes, *place).ino == ino;
        self.by_number.find(self.hasher.hash_one(ino), is_it).map(|place| *place as usize)
    }

    fn place_of(&self, key: Key, node: &Node) -> Option<usize> {
        let is_it = |place: &Place| at(&self.inodes, *place).is(key, node);
        self.by_key.find(key.0, is_it).map(|place| *place as usize)
    }

    /// Adds `node`, which is not there, under a number that nothing has, as looked up once.
    pub(super) fn insert(&mut self, ino: Ino, key: Key, node: Node) {
        let (place, node) = (self.inodes.len() as Place, Packed::new(node));
        let new = Inode { ino, key, node, lookup_count: 1, detached: false, was_mapped: false };
        self.inodes.push(new);
        let (inodes, hasher) = (&self.inodes, &self.hasher);
        let by_number = |place: &Place| hasher.hash_one(at(inodes, *place).ino);
        self.by_number.insert_unique(hasher.hash_one(ino), place, by_number);
        self.by_key.insert_unique(key.0, place, |place| at(inodes, *place).key.0);
    }

    /// Takes out what the kernel holds no longer.
    pub(super) fn remove(&mut self, ino: Ino) -> Option<Inode> {
        let (inodes, hash) = (&self.inodes, self.hasher.hash_one(ino));
        let entry = self.by_number.find_entry(hash, |place| at(inodes, *place).ino == ino).ok()?;
        let (place, _) = entry.remove();
        let gone = self.inodes.swap_remove(place as usize);
        if let Ok(entry) = self.by_key.find_entry(gone.key.0, |known| *known == place) {
            entry.remove();
        }
        // The last one has taken its place.
        let last = self.inodes.len() as Place;
        if let Some(moved) = self.inodes.get(place as usize) {
            let hash = self.hasher.hash_one(moved.ino);
            let by_number = self.by_number.find_mut(hash, |known| *known == last);
            let by_key = self.by_key.find_mut(moved.key.0, |known| *known == last);
            by_number.into_iter().chain(by_key).for_each(|known| *known = place);
        }
        Some(gone)
    }

    /// Takes its name from `node`, whose key is `key`. Gives the number, which is detached.
    pub(super) fn detach(&mut self, key: Key, node: &Node) -> Option<Ino> {
        let inodes = &self.inodes;
        let entry = self.by_key.find_entry(key.0, |place| at(inodes, *place).is(key, node)).ok()?;
        let (place, _) = entry.remove();
        let inode = self.inodes.get_mut(place as usize)?;
        inode.detached = true;
        Some(inode.ino)
    }

    /// Makes a detached number stand for `node`, which has none.
    pub(super) fn attach(&mut self, ino: Ino, node: Node) {
        let (key, place) = (self.key(&node), self.place(ino));
        let Some(place) = place else { return };
        let inode = &mut self.inodes[place];
        (inode.key, inode.node, inode.detached) = (key, Packed::new(node), false);
        let inodes = &self.inodes;
        let key_at = |place: &Place| at(inodes, *place).key.0;
        self.by_key.insert_unique(key.0, place as Place, key_at);
    }

    /// Those that have their names.
    pub(super) fn named(&self) -> impl Iterator<Item = &Inode> {
        self.inodes.iter().filter(|inode| !inode.detached)
    }

    /// How many there are, detached ones included.
    pub(super) fn len(&self) -> usize {
        self.inodes.len()
    }

    /// Gives memory back once a walk over a big registry has been forgotten. Says whether it did.
    pub(super) fn shrink(&mut self) -> bool {
        let (capacity, enough) = (self.inodes.capacity(), self.inodes.len() * 2);
        let is_empty = capacity > SHRINK_CAPACITY_MIN && self.inodes.len() * 8 < capacity;
        if is_empty {
            self.inodes.shrink_to(enough);
            let (inodes, hasher) = (&self.inodes, &self.hasher);
            self.by_number.shrink_to(enough, |place| hasher.hash_one(at(inodes, *place).ino));
            self.by_key.shrink_to(enough, |place| at(inodes, *place).key.0);
        }
        is_empty
    }
}

fn at(inodes: &[Inode], place: Place) -> &Inode {
    &inodes[place as usize]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Algorithm, Area, UploadId};
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn layer(content: &str) -> Node {
        Node::Layer("group/app".parse().unwrap(), Digest::sha256(content.as_bytes()))
    }

    fn add(nodes: &mut Nodes, ino: u64, node: &Node) {
        nodes.insert(Ino(ino), nodes.key(node), node.clone());
    }

    fn number(nodes: &Nodes, node: &Node) -> Option<u64> {
        nodes.find(nodes.key(node), node).map(|inode| inode.ino().0)
    }

    #[test]
    fn a_node_is_the_same_when_it_is_unpacked() {
        let name: RepositoryName = "a".parse().unwrap();
        let long = Digest::new(Algorithm::Sha512, &[7; 64]).unwrap();
        let all = [
            Node::Root,
            Node::Repository(name.clone()),
            Node::Area(name.clone(), Area::Layers),
            Node::Layer(name.clone(), Digest::sha256(b"")),
            Node::Layer(name.clone(), long),
            Node::Revision(name.clone(), Digest::sha256(b"")),
            Node::Tag(name.clone(), "1.0".parse().unwrap()),
            Node::Tag("b".parse().unwrap(), "1.0".parse().unwrap()),
            Node::Upload(name.clone(), UploadId::random()),
            Node::StagingFolder(name, Area::Uploads, "x".into()),
        ];
        for one in &all {
            let packed = Packed::new(one.clone());
            assert_eq!(packed.unpack(), *one);
            for other in &all {
                assert_eq!(packed.is(other), one == other, "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn a_layer_or_a_tag_takes_a_hundred_bytes() {
        // Five bytes in each table, which are full by half or more.
        assert!(size_of::<Inode>() + 4 * (size_of::<Place>() + 1) <= 112);
        let tag = Node::Tag("a".parse().unwrap(), "latest".parse().unwrap());
        for node in [layer("x"), tag] {
            assert!(!matches!(Packed::new(node), Packed::Other(_)));
        }
    }

    #[test]
    fn nodes_with_one_key_are_told_apart() {
        let (mut nodes, key) = (Nodes::default(), Key(1));
        let all = ["a", "b", "c"].map(layer);
        for (ino, node) in (2..).zip(&all) {
            nodes.insert(Ino(ino), key, node.clone());
        }
        nodes.remove(Ino(2));
        let found = all.each_ref().map(|node| nodes.find(key, node).map(|inode| inode.ino().0));
        assert_eq!(found, [None, Some(3), Some(4)]);
    }

    #[test]
    fn memory_is_given_back_when_most_is_forgotten() {
        let mut nodes = Nodes::default();
        let all: Vec<Node> = (0..10_000).map(|number| layer(&number.to_string())).collect();
        (0..).zip(&all).for_each(|(ino, node)| add(&mut nodes, ino, node));
        let mut times = 0;
        for ino in 0..9_990 {
            nodes.remove(Ino(ino));
            times += usize::from(nodes.shrink());
        }
        assert!((1..4).contains(&times), "{times}");
        let capacities =
            [nodes.inodes.capacity(), nodes.by_number.capacity(), nodes.by_key.capacity()];
        assert!(capacities.iter().all(|each| *each <= 2 * SHRINK_CAPACITY_MIN), "{capacities:?}");
        assert!((9_990..).zip(&all[9_990..]).all(|(ino, node)| number(&nodes, node) == Some(ino)));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u8),
        Remove(u8),
        Detach(u8),
        Move(u8, u8),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let names = || 0..12_u8;
        let step = prop_oneof![
            names().prop_map(Step::Insert),
            names().prop_map(Step::Remove),
            names().prop_map(Step::Detach),
            (names(), names()).prop_map(|(from, to)| Step::Move(from, to)),
        ];
        prop::collection::vec(step, 0..200)
    }

    proptest! {
        /// The model: the numbers of all names, and all numbers.
        #[test]
        fn they_are_found_as_in_two_maps(steps in steps()) {
            let (mut nodes, mut next) = (Nodes::default(), 1);
            let mut names: HashMap<u8, u64> = HashMap::new();
            let mut numbers: Vec<u64> = Vec::new();
            let node = |name: u8| layer(&name.to_string());
            let detach = |nodes: &mut Nodes, name| {
                nodes.detach(nodes.key(&node(name)), &node(name)).map(|ino| ino.0)
            };
            for step in steps {
                match step {
                    Step::Insert(name) if !names.contains_key(&name) => {
                        add(&mut nodes, next, &node(name));
                        names.insert(name, next);
                        numbers.push(next);
                        next += 1;
                    }
                    Step::Insert(_) => {}
                    Step::Remove(index) => {
                        if numbers.is_empty() { continue }
                        let ino = numbers.swap_remove(usize::from(index) % numbers.len());
                        prop_assert_eq!(nodes.remove(Ino(ino)).map(|gone| gone.ino()), Some(Ino(ino)));
                        names.retain(|_, number| *number != ino);
                    }
                    Step::Detach(name) => {
                        prop_assert_eq!(detach(&mut nodes, name), names.remove(&name));
                    }
                    Step::Move(from, to) => {
                        prop_assert_eq!(detach(&mut nodes, to), names.remove(&to));
                        let moved = detach(&mut nodes, from);
                        prop_assert_eq!(moved, names.remove(&from));
                        if let Some(ino) = moved {
                            nodes.attach(Ino(ino), node(to));
                            names.insert(to, ino);
                        }
                    }
                }
                for name in 0..12 {
                    prop_assert_eq!(number(&nodes, &node(name)), names.get(&name).copied());
                }
                prop_assert_eq!(nodes.len(), numbers.len());
                prop_assert_eq!(nodes.named().count(), names.len());
                for ino in &numbers {
                    let inode = nodes.get(Ino(*ino)).unwrap();
                    prop_assert_eq!(inode.detached(), !names.values().any(|named| named == ino));
                }
            }
        }
    }
}
