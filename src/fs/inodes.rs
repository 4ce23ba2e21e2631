//! Inode numbers: which node each names, and how often the kernel holds it.
//!
//! A number stands for one thing and never for another while the daemon lives. A node keeps its
//! number as long as the kernel knows it. A node that was removed is detached: its number still answers for
//! open files, and the name gets a new one when it is made again. A node that was only listed keeps
//! the number that was shown for it, too, as long as `promises.rs` remembers it.

use crate::fs::node::Node;
use crate::fs::nodes::{Inode, Key, Nodes};
use crate::fs::promises::Promises;
use crate::model::{Area, RepositoryName};
use parking_lot::RwLock;
use std::collections::HashMap;

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
    nodes: Nodes,
    promises: Promises,
}

/// What an inode number stands for.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// The node.
    pub node: Node,
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
        let mut nodes = Nodes::default();
        nodes.insert(Ino::ROOT, nodes.key(&Node::Root), Node::Root);
        let table = Table { next: Ino::ROOT.0 + 1, nodes, promises: Promises::default() };
        Self { table: RwLock::new(table) }
    }
}

impl Inodes {
    /// What `ino` stands for. `None` only when the kernel asks for what it has forgotten.
    pub(super) fn get(&self, ino: Ino) -> Option<Known> {
        let table = self.table.read();
        let inode = table.nodes.get(ino)?;
        Some(Known { node: inode.node(), detached: inode.detached() })
    }

    /// The number of `node`, given out to the kernel once more.
    pub(super) fn look_up(&self, node: Node) -> Ino {
        let mut table = self.table.write();
        let key = table.nodes.key(&node);
        if let Some(inode) = table.nodes.find_mut(key, &node) {
            inode.lookup_count += 1;
            return inode.ino();
        }
        let ino = table.number_to_give(key, &node);
        table.nodes.insert(ino, key, node);
        ino
    }

    /// Whether a program may have mapped `ino` before its content was published.
    pub(super) fn was_mapped(&self, ino: Ino) -> bool {
        self.table.read().nodes.get(ino).is_some_and(|inode| inode.was_mapped)
    }

    /// A program may map `ino` from now on, before its content is published.
    pub(super) fn mapped(&self, ino: Ino) {
        if let Some(inode) = self.table.write().nodes.get_mut(ino) {
            inode.was_mapped = true;
        }
    }

    /// The number of `node` if the kernel knows it; nothing is given out.
    pub(super) fn number(&self, node: &Node) -> Option<Ino> {
        self.table.read().number(node)
    }

    /// The numbers of `nodes` to show in a listing; nothing is given out, but it will be these numbers.
    /// Many at once, because the memory is asked for many at once then.
    pub(super) fn show(&self, nodes: &[&Node]) -> Vec<Ino> {
        let mut table = self.table.write();
        let keys: Vec<Key> = nodes.iter().map(|node| table.nodes.key(node)).collect();
        let shown = keys.into_iter().zip(nodes);
        shown.map(|(key, node)| table.promised(key, node)).collect()
    }

    /// The kernel gives back `count` of what it was given.
    pub(super) fn forget(&self, ino: Ino, count: u64) -> Forgotten {
        if ino == Ino::ROOT {
            return Forgotten::default();
        }
        let mut table = self.table.write();
        let Some(inode) = table.nodes.get_mut(ino) else { return Forgotten::default() };
        inode.lookup_count = inode.lookup_count.saturating_sub(count);
        if inode.lookup_count > 0 {
            return Forgotten::default();
        }
        if let Some(gone) = table.nodes.remove(ino)
            && !gone.detached()
        {
            table.promises.take(gone.key());
        }
        Forgotten { is_gone: true, many_are_gone: table.nodes.shrink() }
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
        if let Some(ino) = table.detach(from) {
            table.nodes.attach(ino, to);
        }
    }

    /// Two nodes have swapped names.
    pub(super) fn exchange(&self, one: &Node, other: &Node) {
        let mut table = self.table.write();
        let numbers = (table.detach(one), table.detach(other));
        if let Some(ino) = numbers.0 {
            table.nodes.attach(ino, other.clone());
        }
        if let Some(ino) = numbers.1 {
            table.nodes.attach(ino, one.clone());
        }
    }

    /// The repository `from`, with everything in and below it, is `to` from now on. Nodes whose new
    /// name would be too long are detached.
    pub(super) fn rename_repository(&self, from: &RepositoryName, to: &RepositoryName) {
        let mut table = self.table.write();
        table.detach_within(to);
        table.promises.clear();
        // What lies in one repository shares its name.
        let mut names: HashMap<RepositoryName, Option<RepositoryName>> = HashMap::new();
        for node in table.within(from) {
            let ino = table.detach(&node);
            let Some(name) = node.repository() else { continue };
            let moved = names.entry(name.clone()).or_insert_with(|| name.rebased(from, to));
            if let (Some(ino), Some(name)) = (ino, moved) {
                table.nodes.attach(ino, node.moved_to(name.clone()));
            }
        }
    }

    /// The repository `name`, with everything in and below it, was removed.
    pub(super) fn detach_repository(&self, name: &RepositoryName) {
        self.table.write().detach_within(name);
    }

    /// How many numbers the kernel holds.
    pub(super) fn count(&self) -> usize {
        self.table.read().nodes.len()
    }
}

/// How many numbers a repository's folder takes: its own and those of its areas.
const REPOSITORY_NUMBERS: u64 = 1 + Area::ALL.len() as u64;

impl Table {
    /// A number for `node`, which has none. Those of a repository's areas follow its own in the
    /// order of mirroring: cp copies a folder in the order of inode numbers, and must copy layers
    /// before the manifests that refer to them.
    fn fresh(&mut self, node: &Node) -> Ino {
        if let Node::Area(name, area) = node
            && let Some(repository) = self.number(&Node::Repository(name.clone()))
            && let Some(index) = Area::ALL.iter().position(|known| known == area)
        {
            let ino = Ino(repository.0 + 1 + index as u64);
            if self.nodes.get(ino).is_none() {
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
        let known = self.nodes.find(key, node).map(Inode::ino);
        let ino = known.unwrap_or_else(|| self.fresh(node));
        self.promises.make(key, ino);
        ino
    }

    /// The number under which `node`, which the kernel does not hold, is given out: the one that was
    /// promised, unless another node has that, whose hash is the same.
    fn number_to_give(&mut self, key: Key, node: &Node) -> Ino {
        match self.promises.find(key) {
            Some(ino) if self.nodes.get(ino).is_none() => ino,
            Some(_) | None => {
                self.promises.take(key);
                self.fresh(node)
            }
        }
    }

    /// The number of `node` if the kernel knows it.
    fn number(&self, node: &Node) -> Option<Ino> {
        self.nodes.find(self.nodes.key(node), node).map(Inode::ino)
    }

    /// Takes its name from `node`, and gives the number that it had.
    fn detach(&mut self, node: &Node) -> Option<Ino> {
        let key = self.nodes.key(node);
        self.promises.take(key);
        self.nodes.detach(key, node)
    }

    /// Everything that lies in or below the repository `name`.
    fn within(&self, name: &RepositoryName) -> Vec<Node> {
        let named = self.nodes.named();
        let within =
            named.filter(|inode| inode.repository().is_some_and(|other| other.is_within(name)));
        within.map(Inode::node).collect()
    }

    fn detach_within(&mut self, name: &RepositoryName) {
        self.promises.clear();
        for node in self.within(name) {
            self.detach(&node);
        }
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
    fn who_forgets_is_told_once_that_much_is_forgotten() {
        let inodes = Inodes::default();
        let numbers: Vec<Ino> =
            (0..10_000).map(|number| inodes.look_up(repository(&format!("r{number}")))).collect();
        let forgotten: Vec<Forgotten> =
            numbers.into_iter().map(|ino| inodes.forget(ino, 1)).collect();
        assert!(forgotten.iter().all(|forgotten| forgotten.is_gone));
        let times = forgotten.iter().filter(|forgotten| forgotten.many_are_gone).count();
        assert!((1..4).contains(&times), "{times}");
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
        assert_eq!(inodes.get(child).unwrap().node, repository("x/c"));
        assert_eq!(inodes.get(other).unwrap().node, repository("ab"));
        assert!(inodes.get(replaced).unwrap().detached);
    }

    #[test]
    fn what_lies_in_a_renamed_repository_shares_its_name() {
        let inodes = Inodes::default();
        let name: RepositoryName = "a".parse().unwrap();
        let layers = [b"1", b"2"].map(|content| {
            inodes.look_up(Node::Layer(name.clone(), crate::model::Digest::sha256(content)))
        });
        inodes.rename_repository(&name, &"b".parse().unwrap());
        let nodes = layers.map(|ino| inodes.get(ino).unwrap().node);
        let [one, other] = nodes.each_ref().map(|node| node.repository().unwrap().as_str());
        assert_eq!((one, one.as_ptr()), ("b", other.as_ptr()));
    }
}
