//! A link under a hidden name: how a tool gives to something else a name that is taken. `rsync -H`
//! links beside it, and renames over it.

use crate::fs::RegistryFs;
use crate::fs::attr::Entry;
use crate::fs::fault::{Fault, Result};
use crate::fs::lookup::upload_name;
use crate::fs::node::Node;
use crate::model::{AttributesChange, Digest, Error, Reference, RepositoryName, UploadName};
use crate::registry::{LayerUpload, Repository, Subject};
use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _, sync::Arc};

/// Bytes copied at once.
const COPY_STEP_BYTES: usize = 1 << 20;

impl RegistryFs {
    /// Makes the hidden file `name` of `folder` what `node` is: an upload with a copy of it, since a
    /// name of that kind leads to no content that could be linked.
    pub(super) fn link_to_staging(
        &self, node: &Node, folder: &Node, name: &OsStr,
    ) -> Result<Entry> {
        let (upload_name, repository) = upload_name(folder, name)?.ok_or(Fault::NotADirectory)?;
        let Some((from, subject)) = linkable(node).filter(|_| name.as_bytes().starts_with(b"."))
        else {
            return Err(Error::Unsupported("an upload has one name; copy it instead").into());
        };
        match self.find(folder, name) {
            Err(Fault::NoEntry) => {}
            Err(fault) => return Err(fault),
            Ok(_) => return Err(Fault::exists(name)),
        }
        let (source, target) = (self.repository(from), self.repository(repository));
        let attributes = self.as_linked(&source.attributes().get(&subject)?);
        let hidden = UploadName::unlisted(upload_name.area(), &digest(&*source, &subject)?);
        let upload = target.layers().upload(&hidden, &attributes)?;
        let copied = copy_content(&*source, &subject, &*upload)
            .and_then(|()| copy_attributes(&*source, &subject, &*target, &*upload, &attributes))
            // A link is there at once: it has its name when it is whole.
            .and_then(|()| upload.rename(&upload_name));
        if let Err(error) = copied {
            upload.cancel()?;
            return Err(error.into());
        }
        // It is renamed next, and need not be hashed again then.
        upload.settle(Box::new(Arc::clone(&upload)));
        self.uploads.insert(repository, &upload);
        self.touch_folder(folder);
        self.entry(Node::Upload(repository.clone(), upload.uuid()))
    }
}

/// Of what a link can be made: content that has a name.
fn linkable(node: &Node) -> Option<(&RepositoryName, Subject)> {
    match node {
        Node::Layer(name, digest) => Some((name, Subject::Layer(*digest))),
        Node::Tag(name, tag) => Some((name, Subject::Tag(tag.clone()))),
        Node::Revision(name, digest) => Some((name, Subject::Revision(*digest))),
        Node::Root
        | Node::Repository(_)
        | Node::Area(..)
        | Node::Upload(..)
        | Node::StagingFolder(..)
        | Node::Control
        | Node::ControlFile(_) => None,
    }
}

/// What the content is called.
fn digest(source: &dyn Repository, subject: &Subject) -> Result<Digest, Error> {
    match subject {
        Subject::Layer(digest) | Subject::Revision(digest) => Ok(*digest),
        Subject::Tag(tag) => Ok(source.manifests().stat(&Reference::Tag(tag.clone()))?.digest),
        Subject::Repository | Subject::Area(_) | Subject::Upload(_) => {
            Err(Error::Unsupported("only content that has a name can be linked"))
        }
    }
}

fn copy_content(
    source: &dyn Repository, subject: &Subject, upload: &dyn LayerUpload,
) -> Result<(), Error> {
    let reference = match subject {
        Subject::Tag(tag) => Reference::Tag(tag.clone()),
        Subject::Revision(digest) => Reference::Digest(*digest),
        Subject::Layer(digest) => {
            let layer = source.layers().fetch(digest)?;
            let mut buffer = vec![0; COPY_STEP_BYTES];
            let mut offset = 0;
            loop {
                let count = layer.read_at(&mut buffer, offset)?;
                if count == 0 {
                    return Ok(());
                }
                upload.write_at(&buffer[..count], offset)?;
                offset += count as u64;
            }
        }
        Subject::Repository | Subject::Area(_) | Subject::Upload(_) => return Ok(()),
    };
    upload.write_at(source.manifests().get(&reference)?.bytes(), 0)
}

/// As a link has them. Writing has changed the time.
fn copy_attributes(
    source: &dyn Repository, from: &Subject, target: &dyn Repository, upload: &dyn LayerUpload,
    attributes: &AttributesChange,
) -> Result<(), Error> {
    let to = Subject::Upload(upload.uuid());
    for name in source.attributes().extended_names(from)? {
        let value = source.attributes().extended(from, &name)?;
        target.attributes().set_extended(&to, &name, value.as_deref())?;
    }
    target.attributes().change(&to, attributes).map(drop)
}
