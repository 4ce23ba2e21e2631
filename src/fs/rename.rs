//! What moving and removing mean: Finish, Put, Retag, Untag, Cancel.

use crate::fs::RegistryFs;
use crate::fs::fault::{Fault, Result};
use crate::fs::inodes::Ino;
use crate::fs::link::copy_extended;
use crate::fs::lookup::upload_name;
use crate::fs::manifest_writer;
use crate::fs::node::{Name, Node};
use crate::fs::staging::folder_in;
use crate::model::{
    Area, Digest, Error, MANIFEST_BYTES_MAX, Reference, RepositoryName, Tag, UploadId, UploadName,
};
use crate::registry::{LayerUpload, Retag, Subject};
use std::{ffi::OsStr, sync::Arc};

/// What becomes of a file that has the new name already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenameMode {
    /// It is replaced.
    Replace,
    /// It stays, and the call is refused (`RENAME_NOREPLACE`).
    KeepExisting,
    /// The two swap names (`RENAME_EXCHANGE`).
    Exchange,
}

impl RegistryFs {
    /// Renames `name` in the folder `parent` to `new_name` in the folder `new_parent`.
    pub fn rename(
        &self, (parent, name): (Ino, &OsStr), (new_parent, new_name): (Ino, &OsStr),
        mode: RenameMode,
    ) -> Result<()> {
        let (from_folder, to_folder) = (self.node(parent)?, self.node(new_parent)?);
        let from = self.find(&from_folder, name)?;
        let to = match to_folder.child(new_name) {
            Name::Node(node) => Some(node),
            Name::Upload => None,
            Name::Impossible { kind, reason } => {
                return Err(Fault::impossible(kind, new_name, reason));
            }
        };
        if mode == RenameMode::KeepExisting {
            let existing = to.clone().map_or_else(|| self.find(&to_folder, new_name), Ok);
            if existing.is_ok_and(|node| self.stat(&node).is_ok()) {
                return Err(Fault::exists(new_name));
            }
        }
        self.check_published(&from)?;
        self.rename_node(&from, to, (&to_folder, new_name), mode)?;
        self.touch_folder(&from_folder);
        self.touch_folder(&to_folder);
        Ok(())
    }

    /// Renames `from` to `to`, which is nothing that a name alone tells in folders of uploads.
    fn rename_node(
        &self, from: &Node, to: Option<Node>, (to_folder, new_name): (&Node, &OsStr),
        mode: RenameMode,
    ) -> Result<()> {
        match (from, to) {
            (Node::Tag(a, tag), Some(Node::Tag(b, new_tag))) if *a == b => {
                self.retag(a, tag, &new_tag, mode)
            }
            (_, _) if mode == RenameMode::Exchange => {
                Err(Error::Unsupported("only tags of one repository can be exchanged").into())
            }
            (Node::Upload(repository, uuid), Some(to)) => {
                self.rename_upload_to_content(repository, uuid, from, to)
            }
            (Node::Upload(repository, uuid), None) => {
                self.rename_upload(repository, uuid, to_folder, new_name)
            }
            (Node::Layer(a, digest), Some(Node::Layer(b, to))) => {
                self.move_layer(a, digest, &b, &to)
            }
            (Node::StagingFolder(..), None) => self.rename_folder(from, to_folder, new_name),
            (Node::Revision(a, digest), Some(Node::Tag(b, tag))) if *a == b => {
                self.rename_revision(a, digest, &tag)
            }
            (Node::Tag(a, tag), Some(Node::Revision(b, digest))) if *a == b => {
                self.rename_tag_to_digest(a, tag, &digest)
            }
            (Node::Tag(name, tag), None) if to_folder.repository() == Some(name) => {
                self.rename_tag_to_upload(name, tag, to_folder, new_name)
            }
            (Node::Repository(a), Some(Node::Repository(b))) => self.rename_repository(a, &b),
            (Node::Layer(..) | Node::Tag(..) | Node::Revision(..), _) => Err(Fault::CrossDevice),
            (
                Node::Root
                | Node::Repository(_)
                | Node::Area(..)
                | Node::StagingFolder(..)
                | Node::Control
                | Node::ControlFile(_),
                _,
            ) => Err(Error::Unsupported("this folder or file cannot be moved there").into()),
        }
    }

    /// What is being written under a tag or digest for the first time is not there yet for others.
    pub(super) fn check_published(&self, node: &Node) -> Result<()> {
        if !self.writers.has(node) {
            return Ok(());
        }
        let published = match node {
            Node::Layer(name, digest) => self.repository(name).layers().stat(digest).map(drop),
            Node::Tag(name, tag) => {
                let reference = Reference::Tag(tag.clone());
                self.repository(name).manifests().stat(&reference).map(drop)
            }
            Node::Revision(name, digest) => {
                let reference = Reference::Digest(*digest);
                self.repository(name).manifests().stat(&reference).map(drop)
            }
            Node::Root
            | Node::Repository(_)
            | Node::Area(..)
            | Node::Upload(..)
            | Node::StagingFolder(..)
            | Node::Control
            | Node::ControlFile(_) => Ok(()),
        };
        match published {
            Err(error) if error.is_unknown() => Err(Error::Busy(node.path()).into()),
            // What else is wrong is said by what comes next.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn retag(&self, name: &RepositoryName, from: &Tag, to: &Tag, mode: RenameMode) -> Result<()> {
        let (old, new) =
            (Node::Tag(name.clone(), from.clone()), Node::Tag(name.clone(), to.clone()));
        let repository = self.repository(name);
        let retag = match mode {
            RenameMode::Replace => Retag::Replace,
            RenameMode::KeepExisting => Retag::KeepExisting,
            RenameMode::Exchange => Retag::Exchange,
        };
        repository.manifests().retag(from, to, retag)?;
        match mode {
            RenameMode::Replace | RenameMode::KeepExisting => self.inodes.rebind(&old, new),
            RenameMode::Exchange => self.inodes.exchange(&old, &new),
        }
        Ok(())
    }

    /// A manifest gets a tag in place of its digest. It stays under that, too, as all that is tagged:
    /// to copy it and remove it by its digest, as mv would, would take the new tag away.
    fn rename_revision(&self, name: &RepositoryName, digest: &Digest, tag: &Tag) -> Result<()> {
        self.tag(name, &Reference::Digest(*digest), name, tag)?;
        let (old, new) =
            (Node::Revision(name.clone(), *digest), Node::Tag(name.clone(), tag.clone()));
        self.inodes.rebind(&old, new);
        Ok(())
    }

    /// A tag is given up for the digest of its manifest, which has that name already.
    fn rename_tag_to_digest(&self, name: &RepositoryName, tag: &Tag, to: &Digest) -> Result<()> {
        let repository = self.repository(name);
        let reference = Reference::Tag(tag.clone());
        let computed = repository.manifests().stat(&reference)?.digest;
        if computed != *to {
            return Err(Error::DigestMismatch { expected: *to, computed }.into());
        }
        repository.manifests().untag(tag, to)?;
        let (old, new) = (Node::Tag(name.clone(), tag.clone()), Node::Revision(name.clone(), *to));
        self.inodes.rebind(&old, new);
        Ok(())
    }

    /// An upload becomes a layer (Finish) or a manifest (Put).
    fn rename_upload_to_content(
        &self, name: &RepositoryName, uuid: &UploadId, from: &Node, to: Node,
    ) -> Result<()> {
        // Content of another repository is copied by the tool, under a new upload.
        if to.repository() != Some(name) {
            return Err(Fault::CrossDevice);
        }
        let upload = self.uploads.take_up(&*self.registry, name, uuid)?;
        match &to {
            Node::Layer(_, digest) => drop(upload.finish(digest)?),
            Node::Tag(_, tag) => self.put_upload(name, &*upload, &Reference::Tag(tag.clone()))?,
            Node::Revision(_, digest) => {
                self.put_upload(name, &*upload, &Reference::Digest(*digest))?;
            }
            Node::Root
            | Node::Repository(_)
            | Node::Area(..)
            | Node::Upload(..)
            | Node::StagingFolder(..)
            | Node::Control
            | Node::ControlFile(_) => return Err(Fault::IsADirectory),
        }
        self.lingering.forget(uuid);
        self.inodes.rebind(from, to);
        Ok(())
    }

    /// Puts the content of an upload as a manifest, with its attributes, and ends the upload.
    fn put_upload(
        &self, name: &RepositoryName, upload: &dyn LayerUpload, target: &Reference,
    ) -> Result<()> {
        let stat = upload.stat()?;
        if stat.length > MANIFEST_BYTES_MAX {
            let limit = MANIFEST_BYTES_MAX;
            return Err(Error::ManifestTooLarge { length: stat.length, limit }.into());
        }
        let mut bytes = vec![0; usize::try_from(stat.length).map_err(|_| Fault::TooLong)?];
        let count = upload.read_at(&mut bytes, 0)?;
        bytes.truncate(count);
        let attributes = self.as_linked(&stat.attributes);
        let repository = self.repository(name);
        manifest_writer::put(&*repository, &bytes, target, &attributes)?;
        let (from, to) = (Subject::Upload(stat.uuid), Subject::from(target));
        self.copy_extended((&*repository, &from), (&*repository, &to));
        upload.withdraw()?;
        Ok(())
    }

    /// An upload gets another name, and an upload that has that name already is cancelled.
    fn rename_upload(
        &self, name: &RepositoryName, uuid: &UploadId, folder: &Node, file: &OsStr,
    ) -> Result<()> {
        let (new_name, repository) = upload_name(folder, file)?.ok_or(Fault::NotADirectory)?;
        if repository != name {
            return Err(Fault::CrossDevice);
        }
        if let Ok(Node::StagingFolder(..)) = self.find(folder, file) {
            return Err(Fault::IsADirectory);
        }
        let replaced = self.repository(name).layers().find_upload(&new_name)?;
        if replaced == Some(*uuid) {
            return Ok(());
        }
        self.uploads.take_up(&*self.registry, name, uuid)?.rename(&new_name)?;
        if let Some(replaced) = replaced {
            self.cancel(name, &replaced)?;
        }
        Ok(())
    }

    /// An empty folder among uploads gets another name. What lies in a full one would have to be
    /// renamed one by one, so that is left to the tool.
    fn rename_folder(&self, from: &Node, to_folder: &Node, new_name: &OsStr) -> Result<()> {
        let (Some(new), Node::StagingFolder(name, area, path)) =
            (folder_in(to_folder, new_name), from)
        else {
            return Err(Fault::NotADirectory);
        };
        let to = Node::StagingFolder(new.0.clone(), new.1, new.2.clone());
        match self.find(to_folder, new_name) {
            Ok(existing) if existing == *from => return Ok(()),
            Ok(existing @ Node::StagingFolder(..)) if !self.is_empty(&existing)? => {
                return Err(Fault::FolderNotEmpty);
            }
            Ok(Node::StagingFolder(..)) | Err(Fault::NoEntry) => {}
            Ok(_) => return Err(Fault::NotADirectory),
            Err(fault) => return Err(fault),
        }
        if new.0 != *name || !self.is_empty(from)? {
            return Err(Fault::CrossDevice);
        }
        let old = (name.clone(), *area, path.clone());
        self.staging.rename(&old, new, self.folder_attributes());
        self.inodes.rebind(from, to);
        Ok(())
    }

    /// A tag becomes an upload: the way back from `mv uploads/x manifests/T`. `sed -i manifests/.x`
    /// goes it, because what sed writes to has the name of a tag.
    fn rename_tag_to_upload(
        &self, name: &RepositoryName, tag: &Tag, folder: &Node, file: &OsStr,
    ) -> Result<()> {
        let (new_name, _) = upload_name(folder, file)?.ok_or(Fault::NotADirectory)?;
        let (repository, reference) = (self.repository(name), Reference::Tag(tag.clone()));
        let manifest = repository.manifests().get(&reference)?;
        let stat = repository.manifests().stat(&reference)?;
        let replaced = repository.layers().find_upload(&new_name)?;
        let attributes = self.as_linked(&stat.attributes);
        // Until it is whole it has a name that no listing shows.
        let hidden = UploadName::unlisted(Area::Manifests, manifest.digest());
        let upload = repository.layers().upload(&hidden, &attributes)?;
        let to = Subject::Upload(upload.uuid());
        let moved = upload
            .write_at(manifest.bytes(), 0)
            .and_then(|()| repository.attributes().change(&to, &attributes))
            .and_then(|_| copy_extended(&*repository, &Subject::Tag(tag.clone()), &to))
            .and_then(|()| upload.rename(&new_name))
            .and_then(|()| repository.manifests().untag(tag, manifest.digest()));
        if let Err(error) = moved {
            upload.cancel()?;
            return Err(error.into());
        }
        self.uploads.insert(name, &upload);
        let node = Node::Upload(name.clone(), upload.uuid());
        self.inodes.rebind(&Node::Tag(name.clone(), tag.clone()), node);
        match replaced {
            Some(replaced) => self.cancel(name, &replaced),
            None => Ok(()),
        }
    }

    /// A layer moves to another repository, and only as itself.
    fn move_layer(
        &self, from: &RepositoryName, digest: &Digest, to: &RepositoryName, new: &Digest,
    ) -> Result<()> {
        if digest != new {
            return Err(Error::DigestMismatch { expected: *new, computed: *digest }.into());
        }
        if from == to {
            return Ok(());
        }
        let (source, target) = (self.repository(from), self.repository(to));
        self.mount_alike((&*source, from), &*target, digest)?;
        source.layers().delete(digest)?;
        self.inodes.rebind(&Node::Layer(from.clone(), *digest), Node::Layer(to.clone(), *digest));
        Ok(())
    }

    /// A repository gets another name. What is being written under a tag or digest would be published
    /// under the old one, so that has to be closed first; uploads go with the repository.
    fn rename_repository(&self, from: &RepositoryName, to: &RepositoryName) -> Result<()> {
        if let Some(busy) = [from, to].into_iter().find(|name| self.writers.is_within(name)) {
            return Err(Error::Busy(format!("something in {busy}")).into());
        }
        self.registry.rename(from, to)?;
        self.inodes.rename_repository(from, to);
        self.staging.forget_repository(to);
        self.staging.rename_repository(from, to);
        Ok(())
    }

    /// Removes the file `name` of the folder `parent`: Untag, Delete or Cancel.
    pub fn unlink(&self, parent: Ino, name: &OsStr) -> Result<()> {
        let folder = self.node(parent)?;
        let node = self.find(&folder, name)?;
        self.check_published(&node)?;
        let removed = match &node {
            Node::Tag(repository, tag) => {
                self.repository(repository).manifests().delete(&Reference::Tag(tag.clone()))
            }
            Node::Revision(repository, digest) => {
                self.repository(repository).manifests().delete(&Reference::Digest(*digest))
            }
            Node::Layer(repository, digest) => self.repository(repository).layers().delete(digest),
            Node::Upload(repository, uuid) => {
                self.cancel(repository, uuid)?;
                self.touch_folder(&folder);
                return Ok(());
            }
            Node::ControlFile(_) => {
                return Err(Error::Unsupported("control files cannot be removed").into());
            }
            Node::Root
            | Node::Repository(_)
            | Node::Area(..)
            | Node::StagingFolder(..)
            | Node::Control => return Err(Fault::IsADirectory),
        };
        removed?;
        self.inodes.detach(&node);
        Ok(())
    }

    fn cancel(&self, name: &RepositoryName, uuid: &UploadId) -> Result<()> {
        let upload: Arc<dyn LayerUpload> = self.uploads.take_up(&*self.registry, name, uuid)?;
        upload.cancel()?;
        self.lingering.forget(uuid);
        self.inodes.detach(&Node::Upload(name.clone(), *uuid));
        Ok(())
    }
}
