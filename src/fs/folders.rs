//! Folders: making, removing and listing them.

use crate::fs::attr::{Entry, FileStat};
use crate::fs::entries;
use crate::fs::fault::{Fault, Result};
use crate::fs::handles::Handle;
use crate::fs::inodes::Ino;
use crate::fs::listing::{Listed, Listing, Target};
use crate::fs::mapping::Mapping;
use crate::fs::node::{Name, Node};
use crate::fs::staging::{changed, folder_in, place};
use crate::fs::{Caller, RegistryFs};
use crate::model::{AttributesChange, Error};
use crate::registry::{Capacity, Subject};
use parking_lot::Mutex;
use std::{
    ffi::OsStr,
    time::{Duration, SystemTime},
};

/// An entry of a listing, as the adapter encodes it.
pub(super) struct Row<'a> {
    /// The name.
    pub name: &'a OsStr,
    /// The number to show; for a listing with attributes, given out to the kernel.
    pub ino: Ino,
    /// Whether it is a folder.
    pub is_folder: bool,
    /// The offset behind it.
    pub offset: u64,
    /// What stat shows and for how long, in a listing with attributes.
    pub stat: Option<(FileStat, Duration)>,
}

impl RegistryFs {
    /// Makes the folder `name` in the folder `parent`: a repository, or a folder for uploads.
    pub(super) fn mkdir(
        &self, caller: &Caller, parent: Ino, name: &OsStr, permissions: u32,
    ) -> Result<Entry> {
        let folder = self.node(parent)?;
        match (folder.child(name), &folder) {
            (Name::Node(Node::Repository(repository)), _) => {
                let attributes = self.creation_of_folder(caller, &folder, permissions)?;
                self.registry.create(&repository)?;
                let kept = self.repository(&repository);
                kept.attributes().change(&Subject::Repository, &attributes)?;
                self.entry(Node::Repository(repository))
            }
            (Name::Node(node), _) if self.stat(&node).is_ok() => Err(Fault::exists(name)),
            (Name::Upload, _) => {
                let key = folder_in(&folder, name).ok_or(Fault::NotADirectory)?;
                match self.find(&folder, name) {
                    Ok(_) => return Err(Fault::exists(name)),
                    Err(Fault::NoEntry) => {}
                    Err(fault) => return Err(fault),
                }
                let now = Some(SystemTime::now());
                let new = AttributesChange {
                    modified_at: now,
                    accessed_at: now,
                    ..self.creation_of_folder(caller, &folder, permissions)?
                };
                self.staging.make(key.clone(), changed(self.folder_attributes(), &new))?;
                self.touch_folder(&folder);
                self.entry(Node::StagingFolder(key.0, key.1, key.2))
            }
            (Name::Node(_), _) => {
                let reason = "there are no folders here, only files";
                Err(Error::Unsupported(reason).into())
            }
            (Name::Impossible { kind, reason }, _) => Err(Fault::impossible(kind, name, reason)),
        }
    }

    /// Removes the empty folder `name` of the folder `parent`. The three folders of a repository
    /// are always there; removing an empty one is fine and changes nothing, so that `rm -r` of a
    /// repository goes through.
    pub(super) fn rmdir(&self, parent: Ino, name: &OsStr) -> Result<()> {
        let folder = self.node(parent)?;
        let node = self.find(&folder, name)?;
        match &node {
            Node::Repository(repository) => {
                self.registry.remove(repository)?;
                self.staging.forget_repository(repository);
                self.inodes.detach_repository(repository);
            }
            Node::Area(..) => {
                if !self.is_empty(&node)? {
                    return Err(Fault::FolderNotEmpty);
                }
                // The kernel lists nothing any more in what was removed, under whatever name.
                self.inodes.detach(&node);
            }
            Node::StagingFolder(repository, area, file) => {
                if !self.is_empty(&node)? {
                    return Err(Fault::FolderNotEmpty);
                }
                self.staging.remove(&(repository.clone(), *area, file.clone()));
                self.inodes.detach(&node);
                self.touch_folder(&folder);
            }
            Node::Control => return Err(Error::Unsupported("the control folder stays").into()),
            Node::Root
            | Node::Layer(..)
            | Node::Tag(..)
            | Node::Revision(..)
            | Node::Upload(..)
            | Node::ControlFile(_) => return Err(Fault::NotADirectory),
        }
        Ok(())
    }

    /// Opens the folder `ino` for listing.
    pub(super) fn opendir(&self, ino: Ino) -> Result<u64> {
        let node = self.node(ino)?;
        let listing = self.listing(&node, ino)?;
        Ok(self.handles.insert(ino, Handle::Folder(Mutex::new(listing)), Mapping::None))
    }

    /// Whether there is anything in a folder.
    pub(super) fn is_empty(&self, folder: &Node) -> Result<bool> {
        // Its number is not looked at.
        Ok(!self.listing(folder, Ino::ROOT)?.has_more()?)
    }

    fn listing(&self, node: &Node, ino: Ino) -> Result<Listing> {
        let made = place(node).map(|(name, area, path)| self.staging.inside(name, area, path));
        // The kernel holds the folders above the one it lists. The root's is the root.
        let parent = node.parent().and_then(|parent| self.inodes.number(&parent));
        let parent = parent.unwrap_or(ino);
        entries::listing(&*self.registry, node, ino, parent, made.unwrap_or_default())
    }

    /// Lists entries of the open folder `ino` from `offset` on, until `add` says that the reply is
    /// full. With `attributes`, each entry but `.` and `..` is given out to the kernel.
    pub(super) fn readdir(
        &self, (ino, handle): (Ino, u64), offset: u64, attributes: bool,
        add: &mut dyn FnMut(Row<'_>) -> bool,
    ) -> Result<()> {
        let handle = self.handles.get(handle)?;
        let Handle::Folder(listing) = &*handle else { return Err(Fault::NotADirectory) };
        let mut listing = listing.lock();
        if offset == 0 && !listing.is_new() {
            // rewinddir(3): what has come and gone since is seen. A removed folder has nothing.
            let known = self.known(ino)?;
            if known.detached {
                return Err(Fault::NoEntry);
            }
            listing.renew(self.listing(&known.node, ino)?);
        }
        listing.seek(offset)?;
        if !attributes {
            return self.add_names(&mut listing, add);
        }
        while let Some((listed, offset)) = listing.ahead()?.front() {
            if self.add_with_attributes(listed, *offset, add) {
                break;
            }
            listing.take();
        }
        Ok(())
    }

    fn add_names(&self, listing: &mut Listing, add: &mut dyn FnMut(Row<'_>) -> bool) -> Result<()> {
        loop {
            let ahead = listing.ahead()?;
            let count = ahead.len();
            let nodes: Vec<&Node> = ahead.iter().filter_map(|(listed, _)| listed.node()).collect();
            let mut numbers = self.inodes.show(&nodes).into_iter();
            let rows = ahead.iter().map_while(|(listed, offset)| {
                let (ino, is_folder) = match &listed.target {
                    Target::Folder(ino) => (*ino, true),
                    Target::Node(node) => (numbers.next()?, node.is_folder()),
                };
                Some(Row { name: &listed.name, ino, is_folder, offset: *offset, stat: None })
            });
            let added = rows.map(&mut *add).take_while(|is_full| !is_full).count();
            (0..added).for_each(|_| drop(listing.take()));
            if count == 0 || added < count {
                return Ok(());
            }
        }
    }

    fn add_with_attributes(
        &self, listed: &Listed, offset: u64, add: &mut dyn FnMut(Row<'_>) -> bool,
    ) -> bool {
        let name = &listed.name;
        let node = match &listed.target {
            Target::Folder(ino) => {
                // The kernel looks at nothing but the number.
                let stat = Some((self.unknown_folder(), Duration::ZERO));
                return add(Row { name, ino: *ino, is_folder: true, offset, stat });
            }
            Target::Node(node) => node,
        };
        let entry = match self.entry(node.clone()) {
            Ok(entry) => entry,
            // It went while the folder was being listed.
            Err(Fault::NoEntry) => return false,
            // One that cannot be looked at is there all the same, and whoever looks at it is told
            // why not: the kernel asks again at once.
            Err(fault) => {
                log::debug!("cannot look at {}: {fault}", node.path());
                self.unknown_entry(node)
            }
        };
        let stat = Some((entry.stat, entry.life));
        let is_folder = entry.stat.is_folder;
        let full = add(Row { name, ino: entry.ino, is_folder, offset, stat });
        if full {
            self.inodes.forget(entry.ino, 1);
        }
        full
    }

    /// How much room there is.
    pub(super) fn statfs(&self) -> Result<Capacity> {
        Ok(self.registry.capacity()?)
    }
}

impl Listing {
    /// Whether there is anything beside `.` and `..`.
    fn has_more(mut self) -> Result<bool> {
        while let Some((listed, _)) = self.next()? {
            if listed.node().is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
