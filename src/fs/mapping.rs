//! Memory maps: that no page of a writer is ever read as published content.
//!
//! The kernel keeps what programs map with the inode, one copy for all that have it open, and writes
//! changed pages back when it likes. An inode keeps its number when what was written becomes a layer, so
//! its pages may be older than the layer, or changed since by a program that still maps them.

use crate::fs::RegistryFs;
use crate::fs::fault::{Fault, Result};
use crate::fs::handles::{Handle, Reading};
use crate::fs::inodes::Ino;
use crate::fs::node::Node;
use crate::fs::open::OpenMode;

/// What a program may do with a map of what it opened before that was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mapping {
    /// It cannot map it.
    None,
    /// The map has the content of its time.
    Read,
    /// The map may be changed at any time, as long as it is there.
    Write,
}

impl Mapping {
    /// For a `handle` that is opened in `mode`. Only what can be read can be mapped.
    pub(super) fn of(handle: &Handle, mode: OpenMode) -> Self {
        match (handle.is_unpublished() && mode.read, mode.write) {
            (false, _) => Self::None,
            (true, false) => Self::Read,
            (true, true) => Self::Write,
        }
    }
}

impl RegistryFs {
    /// How a file of `node`, which is about to be opened under `ino`, may be read. Published content
    /// is kept apart from what may still be mapped of a time before. Errors: `Stale`, and the kernel,
    /// which then looks the name up again, gets another inode.
    pub(super) fn keep_apart(
        &self, ino: Ino, node: &Node, mapping: Mapping, reading: Reading,
    ) -> Result<Reading> {
        let is_fixed = matches!(node, Node::Layer(..) | Node::Revision(..));
        if mapping != Mapping::None {
            if is_fixed && self.handles.has_reader(ino) {
                return Err(self.apart(node));
            }
            self.inodes.mapped(ino);
            return Ok(reading);
        }
        if !is_fixed || !self.inodes.was_mapped(ino) || matches!(reading, Reading::Direct) {
            return Ok(reading);
        }
        match self.handles.mapping(ino) {
            Mapping::None => Ok(reading.anew()),
            // Where a map may be, the kernel refuses to read the file beneath.
            Mapping::Read => Ok(Reading::Direct),
            // Reading would first write back what is changed there, and fail when that does.
            Mapping::Write => Err(self.apart(node)),
        }
    }

    /// Gives the name another number at the next look-up.
    fn apart(&self, node: &Node) -> Fault {
        self.inodes.detach(node);
        Fault::Stale
    }
}
