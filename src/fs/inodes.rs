//! Inode numbers: which node each names, and how often the kernel holds it.
//!
//! A number stands for one thing and never for another while the daemon lives. A node keeps its
//! number as long as the kernel knows it. A node that was removed is detached: its number still answers for
//! open files, and the name gets a new one when it is made again. A node that was only listed keeps
//! the number that was shown for it, too, as long as `promises.rs` remembers it.

use crate::fs::node::Node;
use crate::fs::promises::{Key, Promises};
use crate::model::{Area, RepositoryName};
use parking_lot::RwLock;
use std::{collections::HashMap, sync::Arc};

/// An inode number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ino(pub u64);

impl Ino {
    /// The root's number, fixed by FUSE.
    pub const ROOT: Self = Self(1);
}

/// The table of inode numbers.
///
/// Its lock is lock 1 (ARCHITECTURE, "Locks"): held for a look-up or a change of the maps, never
/// while anything else is called.
#[derive(Debug)]
pub(super) struct Inodes {
    table: RwLock<Table>,
}

#[derive(Debug)]
struct Table {
    next: u64,
    inodes: HashMap<Ino, Inode>,
    numbers: HashMap<Arc<Node>, Ino>,
    promises: Promises,
}

#[derive(Debug)]
struct Inode {
    node: Arc<Node>,
    lookup_count: u64,
    detached: bool,
    /// Whether a program may have mapped it before its content was published.
    was_mapped: bool,
}

impl Inode {
    /// A number that is given out for the first time.
    fn new(node: Arc<Node>) -> Self {
        Self { node, lookup_count: 1, detached: false, was_mapped: false }
    }
}

/// What an inode number stands for.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// The node.
    pub node: Arc<Node>,
    /// Whether its name was removed or replaced since.
    pub detached: bool,
}

/// What became of a number that the kernel gave back.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Forgotten {
    /// The kernel does not hold it any more.
    pub is_gone: bool,
    /// Nor most of what it held before: much memory is free again.
    pub many_are_gone: bool,
}

impl Default for Inodes {
    fn default() -> Self {
        let root = Arc::new(Node::Root);
        let inode = Inode::new(Arc::clone(&root));
        let table = Table {
            next: Ino::ROOT.0 + 1,
            inodes: HashMap::from([(Ino::ROOT, inode)]),
            numbers: HashMap::from([(root, Ino::ROOT)]),
            promises: Promises::default(),
        };
        Self { table: RwLock::new(table) }
    }
}

impl Inodes {
    /// What `ino` stands for. `None` only when the kernel asks for what it has forgotten.
    pub(super) fn get(&self, ino: Ino) -> Option<Known> {
        let table = self.table.read();
        let inode = table.inodes.get(&ino)?;
        Some(Known { node: Arc::clone(&inode.node), detached: inode.detached })
    }

    /// The number of `node`, given out to the kernel once more.
    pub(super) fn look_up(&self, node: Node) -> Ino {
        let mut table = self.table.write();
        if let Some(&ino) = table.numbers.get(&node) {
            if let Some(inode) = table.inodes.get_mut(&ino) {
                inode.lookup_count += 1;
            }
            return ino;
        }
        let ino = table.number_to_give(&node);
        let node = Arc::new(node);
        table.numbers.insert(Arc::clone(&node), ino);
        table.inodes.insert(ino, Inode::new(node));
        ino
    }

    /// Whether a program may have mapped `ino` before its content was published.
    pub(super) fn was_mapped(&self, ino: Ino) -> bool {
        self.table.read().inodes.get(&ino).is_some_and(|inode| inode.was_mapped)
    }

    /// A program may map `ino` from now on, before its content is published.
    pub(super) fn mapped(&self, ino: Ino) {
        if let Some(inode) = self.table.write().inodes.get_mut(&ino) {
            inode.was_mapped = true;
        }
    }

    /// The number of `node` if the kernel knows it; nothing is given out.
    pub(super) fn number(&self, node: &Node) -> Option<Ino> {
        self.table.read().numbers.get(node).copied()
    }

    /// The numbers of `nodes` to show in a listing; nothing is given out, but it will be these numbers.
    /// Many at once, because the memory is asked for many at once then.
    pub(super) fn show(&self, nodes: &[&Node]) -> Vec<Ino> {
        let mut table = self.table.write();
        let keys: Vec<Key> = nodes.iter().map(|node| table.promises.key(node)).collect();
        let shown = keys.into_iter().zip(nodes);
        shown.map(|(key, node)| table.promised(key, node)).collect()
    }

    /// The kernel gives back `count` of what it was given.
    pub(super) fn forget(&self, ino: Ino, count: u64) -> Forgotten {
        if ino == Ino::ROOT {
            return Forgotten::default();
        }
        let mut table = self.table.write();
        let Some(inode) = table.inodes.get_mut(&ino) else { return Forgotten::default() };
        inode.lookup_count = inode.lookup_count.saturating_sub(count);
        if inode.lookup_count > 0 {
            return Forgotten::default();
        }
        if let Some(inode) = table.inodes.remove(&ino)
            && !inode.detached
        {
            table.numbers.remove(&inode.node);
            table.promises.take(&inode.node);
        }
        Forgotten { is_gone: true, many_are_gone: table.shrink() }
    }

    /// `node` was removed: its number no longer answers to the name.
    pub(super) fn detach(&self, node: &Node) {
        self.table.write().detach(node);
    }

    /// What was `from` is `to` from now on, under the same number. What was `to` is detached.
    pub(super) fn rebind(&self, from: &Node, to: Node) {
        let mut table = self.table.write();
        if *from == to {
            return;
        }
        table.detach(&to);
        table.promises.take(from);
        if let Some(ino) = table.numbers.remove(from) {
            table.bind(ino, to);
        }
    }

    /// Two nodes have swapped names.
    pub(super) fn exchange(&self, one: &Node, other: &Node) {
        let mut table = self.table.write();
        table.promises.take(one);
        table.promises.take(other);
        let numbers = (table.numbers.remove(one), table.numbers.remove(other));
        if let Some(ino) = numbers.0 {
            table.bind(ino, other.clone());
        }
        if let Some(ino) = numbers.1 {
            table.bind(ino, one.clone());
        }
    }

    /// The repository `from`, with everything in and below it, is `to` from now on. Nodes whose new
    /// name would be too long are detached.
    pub(super) fn rename_repository(&self, from: &RepositoryName, to: &RepositoryName) {
        let mut table = self.table.write();
        table.detach_within(to);
        table.promises.clear();
        for (node, ino) in table.within(from) {
            let moved = node.repository().and_then(|name| name.rebased(from, to));
            match moved {
                Some(name) => {
                    table.numbers.remove(&node);
                    table.bind(ino, node.moved_to(name));
                }
                None => table.detach(&node),
            }
        }
    }

    /// The repository `name`, with everything in and below it, was removed.
    pub(super) fn detach_repository(&self, name: &RepositoryName) {
        self.table.write().detach_within(name);
    }

    /// How many numbers the kernel holds.
    pub(super) fn count(&self) -> usize {
        self.table.read().inodes.len()
    }
}

/// Maps smaller than this are never shrunk: it would cost more than it frees.
const SHRINK_CAPACITY_MIN: usize = 4096;

/// How many numbers a repository's folder takes: its own and those of its areas.
const REPOSITORY_NUMBERS: u64 = 1 + Area::ALL.len() as u64;

impl Table {
    /// A number for `node`, which has none. Those of a repository's areas follow its own in the
    /// order of mirroring: cp copies a folder in the order of inode numbers, and must copy layers
    /// before the manifests that refer to them.
    fn fresh(&mut self, node: &Node) -> Ino {
        if let Node::Area(name, area) = node
            && let Some(repository) = self.numbers.get(&Node::Repository(name.clone()))
            && let Some(index) = Area::ALL.iter().position(|known| known == area)
        {
            let ino = Ino(repository.0 + 1 + index as u64);
            if !self.inodes.contains_key(&ino) {
                return ino;
            }
        }
        let ino = Ino(self.next);
        self.next += match node {
            Node::Repository(_) => REPOSITORY_NUMBERS,
            Node::Root
            | Node::Area(..)
            | Node::Layer(..)
            | Node::Tag(..)
            | Node::Revision(..)
            | Node::Upload(..)
            | Node::StagingFolder(..)
            | Node::Control
            | Node::ControlFile(_) => 1,
        };
        ino
    }

    fn promised(&mut self, key: Key, node: &Node) -> Ino {
        if let Some(ino) = self.promises.find(key) {
            return ino;
        }
        let known = self.numbers.get(node).copied();
        let ino = known.unwrap_or_else(|| self.fresh(node));
        self.promises.make(key, ino);
        ino
    }

    /// The number under which `node`, which the kernel does not hold, is given out: the one that was
    /// promised, unless another node has that, whose hash is the same.
    fn number_to_give(&mut self, node: &Node) -> Ino {
        match self.promises.find(self.promises.key(node)) {
            Some(ino) if !self.inodes.contains_key(&ino) => ino,
            Some(_) | None => {
                self.promises.take(node);
                self.fresh(node)
            }
        }
    }

    fn detach(&mut self, node: &Node) {
        self.promises.take(node);
        if let Some(ino) = self.numbers.remove(node)
            && let Some(inode) = self.inodes.get_mut(&ino)
        {
            inode.detached = true;
        }
    }

    /// Everything that lies in or below the repository `name`.
    fn within(&self, name: &RepositoryName) -> Vec<(Arc<Node>, Ino)> {
        let is_within = |node: &Node| node.repository().is_some_and(|it| it.is_within(name));
        let nodes = self.numbers.iter().filter(|(node, _)| is_within(node));
        nodes.map(|(node, ino)| (Arc::clone(node), *ino)).collect()
    }

    fn detach_within(&mut self, name: &RepositoryName) {
        self.promises.clear();
        for (node, _) in self.within(name) {
            self.detach(&node);
        }
    }

    fn bind(&mut self, ino: Ino, node: Node) {
        let node = Arc::new(node);
        if let Some(inode) = self.inodes.get_mut(&ino) {
            inode.node = Arc::clone(&node);
            inode.detached = false;
            self.numbers.insert(node, ino);
        }
    }

    /// Gives memory back once a walk over a big registry has been forgotten. Says whether it did.
    fn shrink(&mut self) -> bool {
        let is_empty = self.inodes.capacity() > SHRINK_CAPACITY_MIN
            && self.inodes.len() * 8 < self.inodes.capacity();
        if is_empty {
            self.inodes.shrink_to(self.inodes.len() * 2);
            self.numbers.shrink_to(self.numbers.len() * 2);
        }
        is_empty
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::UploadId;

    fn repository(name: &str) -> Node {
        Node::Repository(name.parse().unwrap())
    }

    #[test]
    fn a_number_is_never_given_out_twice() {
        let inodes = Inodes::default();
        let first = inodes.look_up(repository("a"));
        assert_eq!(inodes.look_up(repository("a")), first);
        assert!(!inodes.forget(first, 1).is_gone);
        assert!(inodes.forget(first, 1).is_gone);
        assert!(inodes.get(first).is_none());
        assert_ne!(inodes.look_up(repository("a")), first);
    }

    #[test]
    fn a_number_that_a_listing_showed_is_given_out_later() {
        let inodes = Inodes::default();
        let [a, b] = ["a", "b"].map(repository);
        let show = |node: &Node| inodes.show(&[node])[0];
        let shown = show(&a);
        assert_eq!(show(&a), shown);
        assert_ne!(show(&b), shown);
        assert!(inodes.get(shown).is_none());
        assert_eq!(inodes.look_up(a.clone()), shown);
        assert_eq!(show(&a), shown);
        // What is made under the name later is something else.
        inodes.detach(&a);
        inodes.forget(shown, 1);
        let next = show(&a);
        assert_ne!(next, shown);
        inodes.detach(&a);
        assert_ne!(inodes.look_up(a.clone()), next);
        inodes.detach(&a);
        // Nor is a number shown any more that the kernel gave back.
        let again = inodes.look_up(a.clone());
        assert_eq!(show(&a), again);
        inodes.forget(again, 1);
        assert_ne!(show(&a), again);
        inodes.rename_repository(&"b".parse().unwrap(), &"c".parse().unwrap());
        assert_ne!(show(&repository("c")), show(&b));
    }

    #[test]
    fn memory_is_given_back_when_most_is_forgotten() {
        let inodes = Inodes::default();
        let numbers: Vec<Ino> =
            (0..10_000).map(|number| inodes.look_up(repository(&format!("r{number}")))).collect();
        let forgotten: Vec<Forgotten> =
            numbers.into_iter().map(|ino| inodes.forget(ino, 1)).collect();
        assert!(forgotten.iter().all(|forgotten| forgotten.is_gone));
        let times = forgotten.iter().filter(|forgotten| forgotten.many_are_gone).count();
        assert!((1..4).contains(&times), "{times}");
        assert!(inodes.table.read().inodes.capacity() <= SHRINK_CAPACITY_MIN);
    }

    #[test]
    fn cp_meets_layers_before_the_manifests_that_refer_to_them() {
        let inodes = Inodes::default();
        let name: RepositoryName = "a".parse().unwrap();
        inodes.look_up(repository("a"));
        let [uploads, manifests, layers] = [Area::Uploads, Area::Manifests, Area::Layers]
            .map(|area| inodes.look_up(Node::Area(name.clone(), area)));
        assert!(layers < manifests && manifests < uploads);
        assert!(inodes.look_up(repository("b")) > uploads);
    }

    #[test]
    fn a_removed_node_answers_under_its_old_number_only() {
        let inodes = Inodes::default();
        let old = inodes.look_up(repository("a"));
        inodes.detach(&repository("a"));
        assert!(inodes.get(old).unwrap().detached);
        let new = inodes.look_up(repository("a"));
        assert_ne!(old, new);
        assert!(inodes.forget(old, 1).is_gone);
        assert_eq!(inodes.number(&repository("a")), Some(new));
    }

    #[test]
    fn a_finished_upload_keeps_its_number_as_a_layer() {
        let inodes = Inodes::default();
        let name: RepositoryName = "a".parse().unwrap();
        let upload = Node::Upload(name.clone(), UploadId::random());
        let layer = Node::Layer(name, crate::model::Digest::sha256(b""));
        let before = inodes.look_up(layer.clone());
        let ino = inodes.look_up(upload.clone());
        inodes.rebind(&upload, layer.clone());
        assert_eq!(inodes.number(&layer), Some(ino));
        assert!(inodes.get(before).unwrap().detached);
    }

    #[test]
    fn a_renamed_repository_takes_everything_below_with_it() {
        let inodes = Inodes::default();
        let child = inodes.look_up(repository("a/b/c"));
        let other = inodes.look_up(repository("ab"));
        let replaced = inodes.look_up(repository("x"));
        inodes.rename_repository(&"a/b".parse().unwrap(), &"x".parse().unwrap());
        assert_eq!(*inodes.get(child).unwrap().node, repository("x/c"));
        assert_eq!(*inodes.get(other).unwrap().node, repository("ab"));
        assert!(inodes.get(replaced).unwrap().detached);
    }
}
