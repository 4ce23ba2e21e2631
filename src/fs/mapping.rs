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

/// What the kernel may keep of the content of an inode that was opened before it was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mapping {
    /// Nothing: nobody could map it.
    None,
    /// Pages as they were once.
    Possible,
    /// Pages that a program changed, and may go on changing.
    Written,
}

/// Where written bytes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// write(2).
    Call,
    /// Changed pages of a memory map, in the kernel's own time and in nobody's name.
    Pages,
}

impl RegistryFs {
    /// Writes all of `data`, from whatever source, to an open file.
    pub(super) fn write_from(
        &self, source: Source, handle: u64, offset: u64, data: &[u8],
    ) -> Result<()> {
        if source == Source::Pages
            && let Some(ino) = self.handles.ino(handle)
        {
            self.inodes.mapped(ino, Mapping::Written);
        }
        self.write(handle, offset, data)
    }

    /// How `handle`, which is about to be opened under `ino`, may be read. Published content is kept
    /// apart from what may still be mapped of a time before. Errors: `Stale`, and the kernel, which then
    /// looks the name up again, gets another inode.
    pub(super) fn keep_apart(
        &self, ino: Ino, node: &Node, mode: OpenMode, handle: &Handle, reading: Reading,
    ) -> Result<Reading> {
        let is_fixed = matches!(node, Node::Layer(..) | Node::Revision(..));
        let is_mappable = mode.read && handle.is_unpublished();
        if is_mappable && is_fixed && self.handles.any(ino, |open| !open.is_unpublished()) {
            return Err(self.apart(node));
        }
        if is_mappable {
            self.inodes.mapped(ino, Mapping::Possible);
        }
        if is_mappable || mode.write || !is_fixed {
            return Ok(reading);
        }
        match self.inodes.mapping(ino) {
            Mapping::None => Ok(reading),
            Mapping::Written if self.handles.any(ino, Handle::is_unpublished) => {
                Err(self.apart(node))
            }
            // Where a map may be, the kernel refuses to read the file beneath.
            Mapping::Possible if self.handles.any(ino, Handle::is_unpublished) => {
                Ok(Reading::Direct)
            }
            Mapping::Possible | Mapping::Written => Ok(reading.anew()),
        }
    }

    /// Gives the name another number at the next look-up.
    fn apart(&self, node: &Node) -> Fault {
        self.inodes.detach(node);
        Fault::Stale
    }
}
