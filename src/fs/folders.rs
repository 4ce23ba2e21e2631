//! Folders: making, removing and listing them.

use crate::fs::attr::{Entry, FileStat};
use crate::fs::entries;
use crate::fs::fault::{Fault, Result};
use crate::fs::handles::Handle;
use crate::fs::inodes::Ino;
use crate::fs::listing::{Listed, Listing, Target};
use crate::fs::mapping::Mapping;
use crate::fs::node::{Name, Node};
use crate::fs::{Caller, RegistryFs};
use crate::model::{Area, Error, RepositoryName};
use crate::registry::{Capacity, Subject};
use parking_lot::Mutex;
use std::{
    ffi::{OsStr, OsString},
    time::Duration,
};

/// How many staging folders may exist that no upload names. rsync makes one for a folder that it
/// copies into, and removes it.
const STAGING_FOLDERS_MAX: usize = 4096;

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
    /// Makes the folder `name` in the folder `parent`: a repository, or a staging folder.
    pub(super) fn mkdir(
        &self, caller: &Caller, parent: Ino, name: &OsStr, permissions: u32,
    ) -> Result<Entry> {
        let folder = self.node(parent)?;
        match (folder.child(name), &*folder) {
            (Name::Node(Node::Repository(repository)), _) => {
                self.registry.create(&repository)?;
                let attributes = self.creation(caller, permissions);
                let kept = self.repository(&repository);
                kept.attributes().change(&Subject::Repository, &attributes)?;
                self.entry(Node::Repository(repository))
            }
            (Name::Node(node), _) if self.stat(&node).is_ok() => Err(Fault::exists(name)),
            (Name::Upload, Node::Area(repository, area @ (Area::Layers | Area::Manifests))) => {
                if self.find(&folder, name).is_ok() {
                    return Err(Fault::exists(name));
                }
                let key = (repository.clone(), *area, name.to_owned());
                self.make_staging(key)?;
                self.entry(Node::StagingFolder(repository.clone(), *area, name.to_owned()))
            }
            (Name::Node(_) | Name::Upload, _) => {
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
                self.forget_staging(repository);
                self.inodes.detach_repository(repository);
            }
            Node::Area(..) => {
                if self.listing(&node, parent)?.has_more()? {
                    return Err(Fault::FolderNotEmpty);
                }
            }
            Node::StagingFolder(repository, area, file) => {
                if self.listing(&node, parent)?.has_more()? {
                    return Err(Fault::FolderNotEmpty);
                }
                self.staging.lock().remove(&(repository.clone(), *area, file.clone()));
                self.inodes.detach(&node);
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

    fn make_staging(&self, key: (RepositoryName, Area, OsString)) -> Result<()> {
        let mut staging = self.staging.lock();
        if staging.len() >= STAGING_FOLDERS_MAX {
            let limit = STAGING_FOLDERS_MAX;
            return Err(Error::TooMany { what: "staging folders", limit }.into());
        }
        staging.insert(key);
        Ok(())
    }

    fn forget_staging(&self, repository: &RepositoryName) {
        self.staging.lock().retain(|(name, ..)| !name.is_within(repository));
    }

    /// Opens the folder `ino` for listing.
    pub(super) fn opendir(&self, ino: Ino) -> Result<u64> {
        let node = self.node(ino)?;
        let listing = self.listing(&node, ino)?;
        Ok(self.handles.insert(ino, Handle::Folder(Mutex::new(listing)), Mapping::None))
    }

    fn listing(&self, node: &Node, ino: Ino) -> Result<Listing> {
        let mut staging = Vec::new();
        if let Node::Area(repository, area) = node {
            let made = self.staging.lock();
            let here = made.iter().filter(|(name, of, _)| name == repository && of == area);
            staging.extend(here.map(|(.., folder)| folder.clone()));
        }
        entries::listing(&*self.registry, node, ino, &staging)
    }

    /// Lists entries of an open folder from `offset` on, until `add` says that the reply is full.
    /// With `attributes`, each entry but `.` and `..` is given out to the kernel.
    pub(super) fn readdir(
        &self, handle: u64, offset: u64, attributes: bool, add: &mut dyn FnMut(Row<'_>) -> bool,
    ) -> Result<()> {
        let handle = self.handles.get(handle)?;
        let Handle::Folder(listing) = &*handle else { return Err(Fault::NotADirectory) };
        let mut listing = listing.lock();
        listing.seek(offset)?;
        let mut before = offset;
        while let Some((listed, offset)) = listing.next()? {
            let full = match attributes {
                true => self.add_with_attributes(&listed, offset, add)?,
                false => self.add_name(&listed, offset, add),
            };
            if full {
                listing.hold(listed, offset, before);
                return Ok(());
            }
            before = offset;
        }
        Ok(())
    }

    fn add_name(&self, listed: &Listed, offset: u64, add: &mut dyn FnMut(Row<'_>) -> bool) -> bool {
        let (ino, is_folder) = match &listed.target {
            Target::Folder(ino) => (*ino, true),
            Target::Node(node) => {
                (self.inodes.number(node).unwrap_or(Ino::UNKNOWN), node.is_folder())
            }
        };
        add(Row { name: &listed.name, ino, is_folder, offset, stat: None })
    }

    fn add_with_attributes(
        &self, listed: &Listed, offset: u64, add: &mut dyn FnMut(Row<'_>) -> bool,
    ) -> Result<bool> {
        let name = &listed.name;
        let node = match &listed.target {
            Target::Folder(ino) => {
                let entry = self.getattr(*ino)?;
                let stat = Some((entry.stat, entry.life));
                return Ok(add(Row { name, ino: *ino, is_folder: true, offset, stat }));
            }
            Target::Node(node) => node,
        };
        let entry = match self.entry(node.clone()) {
            Ok(entry) => entry,
            // It went while the folder was being listed.
            Err(Fault::NoEntry) => return Ok(false),
            // One that cannot be looked at must not hide the others.
            Err(fault) => {
                log::warn!("cannot list {}: {fault}", node.path());
                return Ok(false);
            }
        };
        let stat = Some((entry.stat, entry.life));
        let is_folder = entry.stat.is_folder;
        let full = add(Row { name, ino: entry.ino, is_folder, offset, stat });
        if full {
            self.inodes.forget(entry.ino, 1);
        }
        Ok(full)
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
            match listed.target {
                Target::Folder(_) => {}
                Target::Node(_) => return Ok(true),
            }
        }
        Ok(false)
    }
}
