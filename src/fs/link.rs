//! What a second name means: Tag for manifests, Mount for layers.

use crate::fs::RegistryFs;
use crate::fs::attr::Entry;
use crate::fs::fault::{Fault, Result};
use crate::fs::inodes::Ino;
use crate::fs::manifest_writer;
use crate::fs::node::{Name, Node};
use crate::model::{Digest, Error, Reference, RepositoryName, Tag};
use crate::registry::{Repository, Subject};
use std::ffi::OsStr;

impl RegistryFs {
    /// Gives the file `ino` a second name: Tag for manifests, Mount for layers.
    pub fn link(&self, ino: Ino, new_parent: Ino, new_name: &OsStr) -> Result<Entry> {
        let (node, folder) = (self.current(ino)?, self.node(new_parent)?);
        let to = match folder.child(new_name) {
            Name::Node(node) => node,
            Name::Upload => {
                self.check_published(&node)?;
                return self.link_to_staging(&node, &folder, new_name);
            }
            Name::Impossible { kind, reason } => {
                return Err(Fault::impossible(kind, new_name, reason));
            }
        };
        if self.stat(&to).is_ok() {
            return Err(Fault::exists(new_name));
        }
        self.check_published(&node)?;
        match (&node, &to) {
            (Node::Layer(from, digest), Node::Layer(to, new)) if digest == new => {
                let (source, target) = (self.repository(from), self.repository(to));
                self.mount_alike((&*source, from), &*target, digest)?;
            }
            (Node::Layer(_, computed), Node::Layer(_, expected)) => {
                let (expected, computed) = (*expected, *computed);
                return Err(Error::DigestMismatch { expected, computed }.into());
            }
            (Node::Tag(from, tag), Node::Tag(to, new)) => {
                self.tag(from, &Reference::Tag(tag.clone()), to, new)?;
            }
            (Node::Revision(from, digest), Node::Tag(to, new)) => {
                self.tag(from, &Reference::Digest(*digest), to, new)?;
            }
            _ => return Err(Error::Unsupported("this cannot be linked there").into()),
        }
        self.entry(to)
    }

    /// Tags a manifest. In another repository this is a put, which checks what it refers to. The new
    /// tag has the attributes of what it is a second name of, as a hard link has.
    pub(super) fn tag(
        &self, from: &RepositoryName, reference: &Reference, to: &RepositoryName, tag: &Tag,
    ) -> Result<()> {
        let (source, target) = (self.repository(from), self.repository(to));
        let stat = source.manifests().stat(reference)?;
        let attributes = self.as_linked(&stat.attributes);
        if from == to {
            source.manifests().tag(&stat.digest, tag, &attributes)?;
        } else {
            let manifest = source.manifests().get(reference)?;
            let reference = Reference::Tag(tag.clone());
            manifest_writer::put(&*target, manifest.bytes(), &reference, &attributes)?;
        }
        self.copy_extended(
            (&*source, &Subject::from(reference)),
            (&*target, &Subject::Tag(tag.clone())),
        );
        Ok(())
    }

    /// Gives a layer to another repository, with the attributes that it has.
    pub(super) fn mount_alike(
        &self, (source, from): (&dyn Repository, &RepositoryName), target: &dyn Repository,
        digest: &Digest,
    ) -> Result<()> {
        let attributes = self.as_linked(&source.layers().stat(digest)?.attributes);
        target.layers().mount(digest, from, &attributes)?;
        let subject = Subject::Layer(*digest);
        self.copy_extended((source, &subject), (target, &subject));
        Ok(())
    }
}

/// Gives `to` the extended attributes of `from`.
pub(super) fn copy_extended(
    repository: &dyn Repository, from: &Subject, to: &Subject,
) -> Result<(), Error> {
    let kept = repository.attributes();
    for name in kept.extended_names(from)? {
        let value = kept.extended(from, &name)?;
        kept.set_extended(to, &name, value.as_deref())?;
    }
    Ok(())
}
