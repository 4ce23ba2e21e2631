//! From names to entries, and changes of attributes.

use crate::fs::RegistryFs;
use crate::fs::attr::Entry;
use crate::fs::fault::{Fault, Result};
use crate::fs::handles::{Handle, Writer};
use crate::fs::inodes::Ino;
use crate::fs::manifest_writer;
use crate::fs::node::{Name, Node};
use crate::fs::staging::{FolderKey, folder_in};
use crate::model::{Area, AttributesChange, Error, Reference, RepositoryName, UploadName};
use crate::registry::Subject;
use std::ffi::OsStr;

impl RegistryFs {
    /// The entry `name` of the folder `parent`, given out to the kernel. Errors: `NoEntry`.
    pub fn lookup(&self, parent: Ino, name: &OsStr) -> Result<Entry> {
        let folder = self.node(parent)?;
        let node = self.find(&folder, name)?;
        self.entry(node)
    }

    /// The node `name` of `folder`, if there is one; a name that cannot exist does not.
    pub(super) fn find(&self, folder: &Node, name: &OsStr) -> Result<Node> {
        match folder.child(name) {
            Name::Node(node) => Ok(node),
            Name::Impossible { .. } => Err(Fault::NoEntry),
            Name::Upload => self.find_upload(folder, name)?.ok_or(Fault::NoEntry),
        }
    }

    /// Gives `node` out to the kernel, if it exists.
    pub(super) fn entry(&self, node: Node) -> Result<Entry> {
        let (stat, life) = match self.stat(&node) {
            Ok(stat) => stat,
            Err(Fault::Registry(error)) if error.is_unknown() => return Err(Fault::NoEntry),
            Err(fault) => return Err(fault),
        };
        Ok(Entry { ino: self.inodes.look_up(node), stat, life })
    }

    /// The upload of that name, or the folder for uploads.
    fn find_upload(&self, folder: &Node, name: &OsStr) -> Result<Option<Node>> {
        let Some((upload_name, repository)) = upload_name(folder, name)? else { return Ok(None) };
        let layers = self.repository(repository);
        let layers = layers.layers();
        if let Some(uuid) = layers.find_upload(&upload_name)? {
            return Ok(Some(Node::Upload(repository.clone(), uuid)));
        }
        if let Some(key) = folder_in(folder, name)
            && self.has_staging_folder(&key)?
        {
            return Ok(Some(Node::StagingFolder(key.0, key.1, key.2)));
        }
        // Uploads of other programs have no name but their UUID.
        let Node::Area(_, Area::Uploads) = folder else { return Ok(None) };
        let Some(uuid) = name.to_str().and_then(|name| name.parse().ok()) else {
            return Ok(None);
        };
        match layers.stat_upload(&uuid) {
            Ok(_) => Ok(Some(Node::Upload(repository.clone(), uuid))),
            Err(Error::UploadUnknown(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether there is a folder for uploads: one that is remembered, or that an upload names.
    fn has_staging_folder(&self, key: &FolderKey) -> Result<bool> {
        if self.staging.attributes(key).is_some() {
            return Ok(true);
        }
        let (repository, area, path) = key;
        Ok(self.repository(repository).layers().has_upload_folder(*area, path)?)
    }

    /// Something in `folder` came or went. Of an area's own folder the store keeps the time.
    pub(super) fn touch_folder(&self, folder: &Node) {
        if let Node::StagingFolder(name, area, path) = folder {
            let key = (name.clone(), *area, path.clone());
            self.staging.touch(&key, self.folder_attributes());
        }
    }

    /// The kernel gives back `count` look-ups of `ino`. Says whether its number is gone.
    pub fn forget(&self, ino: Ino, count: u64) -> bool {
        let forgotten = self.inodes.forget(ino, count);
        if forgotten.many_are_gone
            && let Some(say_so) = &self.options.many_are_forgotten
        {
            say_so();
        }
        forgotten.is_gone
    }

    /// Changes attributes, and the length when `length` is given, through the open file `handle`
    /// where there is one.
    pub fn setattr(
        &self, ino: Ino, handle: Option<u64>, length: Option<u64>, change: &AttributesChange,
    ) -> Result<Entry> {
        let known = self.known(ino)?;
        if let Some(length) = length {
            match handle {
                Some(handle) => self
                    .truncate_handle(&*self.handles.get(handle)?, length)
                    .map_err(|fault| self.after_the_end(handle, fault))?,
                None => self.truncate_node(&known.node, length)?,
            }
        }
        if !change.is_empty() && !known.detached {
            self.change_node(&known.node, change)?;
        }
        self.getattr(ino)
    }

    fn truncate_handle(&self, handle: &Handle, length: u64) -> Result<()> {
        match handle {
            Handle::Upload(upload) => Ok(upload.truncate(length)?),
            Handle::LayerWriter(writer) => writer.truncate(length),
            Handle::ManifestWriter(writer) => writer.truncate(length),
            Handle::Layer(_, layer) => Err(Error::LayerImmutable(*layer.digest()).into()),
            Handle::UploadReader(_) | Handle::Pinned(_) | Handle::Folder(_) => {
                Err(Fault::BadHandle)
            }
        }
    }

    /// truncate(2) by path: on an upload as through an open file; on a manifest a whole put.
    fn truncate_node(&self, node: &Node, length: u64) -> Result<()> {
        match self.writers.get(node) {
            Some(Writer::Layer(writer)) if !writer.is_published() => {
                return writer.truncate(length);
            }
            Some(Writer::Manifest(writer)) if writer.is_dirty() => return writer.truncate(length),
            Some(_) | None => {}
        }
        match node {
            Node::Upload(name, uuid) => {
                let upload = self.uploads.take_up(&*self.registry, name, uuid)?;
                Ok(upload.truncate(length)?)
            }
            Node::Layer(name, digest) => {
                let stat = self.repository(name).layers().stat(digest)?;
                if stat.length == length {
                    Ok(())
                } else {
                    Err(Error::LayerImmutable(*digest).into())
                }
            }
            Node::Tag(name, tag) => {
                let reference = Reference::Tag(tag.clone());
                let repository = self.repository(name);
                let mut bytes = repository.manifests().get(&reference)?.bytes().to_vec();
                if bytes.len() as u64 != length {
                    bytes.resize(usize::try_from(length).map_err(|_| Fault::TooLong)?, 0);
                    let attributes = AttributesChange::default();
                    manifest_writer::put(&*repository, &bytes, &reference, &attributes)?;
                }
                Ok(())
            }
            Node::Revision(_, digest) => Err(Error::LayerImmutable(*digest).into()),
            Node::ControlFile(_) => {
                Err(Error::Unsupported("control files cannot be written").into())
            }
            Node::Root
            | Node::Repository(_)
            | Node::Area(..)
            | Node::StagingFolder(..)
            | Node::Control => Err(Fault::IsADirectory),
        }
    }

    fn change_node(&self, node: &Node, change: &AttributesChange) -> Result<()> {
        if self.change_writers(node, change)? {
            return Ok(());
        }
        match (node, self.subject(node)) {
            (_, Some((name, subject))) => {
                self.repository(name).attributes().change(&subject, change)?;
                Ok(())
            }
            (Node::Root, None) => Ok(self.registry.change(change)?),
            (Node::StagingFolder(name, area, path), None) => {
                let key = (name.clone(), *area, path.clone());
                self.staging.change(&key, self.folder_attributes(), change);
                Ok(())
            }
            (_, None) => {
                Err(Error::Unsupported("this has no attributes of its own to change").into())
            }
        }
    }

    /// Changes what is being written to `node` and not published yet; says whether there is any.
    /// Whoever writes it has the same inode open, so what one of them sets is set for all.
    fn change_writers(&self, node: &Node, change: &AttributesChange) -> Result<bool> {
        let mut changed = false;
        for writer in self.writers.all(node) {
            changed |= match writer {
                Writer::Manifest(writer) => writer.change(change)?,
                Writer::Layer(writer) => writer.change(change)?,
            };
        }
        Ok(changed)
    }

    /// The repository and subject that keep the attributes of a node.
    pub(super) fn subject<'a>(&self, node: &'a Node) -> Option<(&'a RepositoryName, Subject)> {
        match node {
            Node::Root | Node::Control | Node::ControlFile(_) | Node::StagingFolder(..) => None,
            Node::Repository(name) => Some((name, Subject::Repository)),
            Node::Area(name, area) => Some((name, Subject::Area(*area))),
            Node::Layer(name, digest) => Some((name, Subject::Layer(*digest))),
            Node::Tag(name, tag) => Some((name, Subject::Tag(tag.clone()))),
            Node::Revision(name, digest) => Some((name, Subject::Revision(*digest))),
            Node::Upload(name, uuid) => Some((name, Subject::Upload(*uuid))),
        }
    }
}

/// The name that an upload called `file` in `folder` has, with its repository. `None` where uploads
/// cannot be.
pub(super) fn upload_name<'a>(
    folder: &'a Node, file: &OsStr,
) -> Result<Option<(UploadName, &'a RepositoryName)>> {
    Ok(match folder {
        Node::Area(repository, area) => Some((UploadName::new(*area, file)?, repository)),
        Node::StagingFolder(repository, area, folder) => {
            Some((UploadName::in_folder(*area, folder, file)?, repository))
        }
        Node::Root
        | Node::Repository(_)
        | Node::Layer(..)
        | Node::Tag(..)
        | Node::Revision(..)
        | Node::Upload(..)
        | Node::Control
        | Node::ControlFile(_) => None,
    })
}
