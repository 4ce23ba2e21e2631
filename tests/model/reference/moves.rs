//! What moving, linking and removing mean.

use super::names::{Meaning, Node, meaning, path_of};
use super::tree::own;
use super::{COLOUR, Reference, TAGS_BEHIND_MAX};
use crate::model::outcome::{
    EBADMSG, EBUSY, EEXIST, EFBIG, EINVAL, EISDIR, ENOENT, ENOTDIR, ENOTEMPTY, EPERM, EXDEV,
    Refusal, Result,
};
use crate::model::step::Replacing;
use crate::model::words::Path;
use regfs::model::{
    AttributesChange, Digest, Error, MANIFEST_BYTES_MAX, Manifest, Reference as Name,
    RepositoryName, Tag, UploadId, UploadName,
};
use regfs::registry::{LayerUpload, PutAs, Registry as _, Retag, Subject};
use std::sync::Arc;

impl Reference {
    pub(super) fn rename(&mut self, from: &Path, to: &Path, replacing: Replacing) -> Result {
        self.walk(from)?;
        self.walk(to)?;
        let (source, target) = (self.find(from)?, self.find(to).ok());
        check_names(from, to, &source, target.as_ref(), replacing)?;
        if from == to {
            return Ok(());
        }
        let meaning = meaning(to);
        if let Meaning::Nothing = meaning {
            return Err(EINVAL);
        }
        self.check_published(&source)?;
        self.rename_node(&source, meaning, replacing)?;
        self.touch_folder(from);
        self.touch_folder(to);
        Ok(())
    }

    fn rename_node(&mut self, source: &Node, meaning: Meaning, replacing: Replacing) -> Result {
        match (source, meaning) {
            (_, Meaning::Nothing) => Err(EINVAL),
            (
                Node::Manifest(a, Name::Tag(tag)),
                Meaning::Node(Node::Manifest(b, Name::Tag(new))),
            ) if *a == b => {
                let retag = match replacing {
                    Replacing::Yes => Retag::Replace,
                    Replacing::No => Retag::KeepExisting,
                    Replacing::Exchange => Retag::Exchange,
                };
                Ok(self.at(a).manifests().retag(tag, &new, retag)?)
            }
            _ if replacing == Replacing::Exchange => Err(EPERM),
            (Node::Upload(name, uuid), Meaning::Node(to)) => self.publish(name, uuid, &to),
            (Node::Upload(name, uuid), Meaning::Upload(other, new)) => {
                if *name != other {
                    return Err(EXDEV);
                }
                let layers = self.at(name);
                let replaced = layers.layers().find_upload(&new)?;
                layers.layers().resume(uuid)?.rename(&new)?;
                if let Some(replaced) = replaced {
                    layers.layers().resume(&replaced)?.cancel()?;
                }
                Ok(())
            }
            (Node::Layer(a, digest), Meaning::Node(Node::Layer(b, new))) => {
                self.move_layer(a, digest, &b, &new)
            }
            (Node::Folder(..), Meaning::Upload(other, new)) => {
                self.rename_folder(source, other, &new)
            }
            (
                Node::Manifest(a, name @ Name::Digest(_)),
                Meaning::Node(Node::Manifest(b, Name::Tag(tag))),
            ) if *a == b => self.tag(a, name, a, &tag),
            (
                Node::Manifest(a, name @ Name::Tag(_)),
                Meaning::Node(Node::Manifest(b, Name::Digest(new))),
            ) if *a == b => {
                let repository = self.at(a);
                let is_named = repository.manifests().stat(name)?.digest == new;
                if is_named { Ok(repository.manifests().delete(name)?) } else { Err(EBADMSG) }
            }
            (Node::Manifest(a, name @ Name::Tag(_)), Meaning::Upload(b, new)) if *a == b => {
                self.unpublish(a, name, &new)
            }
            (Node::Layer(..) | Node::Manifest(..), _) => Err(EXDEV),
            (Node::Repository(a), Meaning::Node(Node::Repository(b))) => {
                self.rename_repository(a, &b)
            }
            (Node::Repository(_) | Node::Area(..) | Node::Folder(..), _) => Err(EPERM),
        }
    }

    /// Only an empty folder among uploads gets another name, in its repository.
    fn rename_folder(&mut self, from: &Node, other: RepositoryName, new: &UploadName) -> Result {
        let Node::Folder(name, area, folder) = from else { return Err(EPERM) };
        if let Ok(Node::Folder(name, area, folder)) = self.find_upload(&other, new)
            && !self.is_folder_empty(&name, area, &folder)?
        {
            return Err(ENOTEMPTY);
        }
        if other != *name || !self.is_folder_empty(name, *area, folder)? {
            return Err(EXDEV);
        }
        let kept = self.staging.remove(&(name.clone(), *area, folder.clone()));
        let kept = kept.unwrap_or_else(|| own(0o755));
        self.staging.insert((other, new.area(), path_of(new)), kept);
        Ok(())
    }

    /// A tag becomes an upload.
    fn unpublish(&mut self, name: &RepositoryName, tag: &Name, new: &UploadName) -> Result {
        let repository = self.at(name);
        let replaced = repository.layers().find_upload(new)?;
        self.copy_to_upload(&Node::Manifest(name.clone(), tag.clone()), name, new)?;
        if let Some(replaced) = replaced {
            repository.layers().resume(&replaced)?.cancel()?;
        }
        Ok(repository.manifests().delete(tag)?)
    }

    /// Makes an upload with the content and the attributes of something published.
    fn copy_to_upload(&self, from: &Node, to: &RepositoryName, new: &UploadName) -> Result {
        let (source, target) = (self.at(from.repository()), self.at(to));
        let subject = from.subject().unwrap();
        let change = AttributesChange::to(&source.attributes().get(&subject)?);
        let upload = target.layers().upload(new, &change)?;
        upload.write_at(&self.content(from)?, 0)?;
        let own = Subject::Upload(upload.uuid());
        target.attributes().change(&own, &change)?;
        self.copy_extended((from.repository(), &subject), (to, &own))
    }

    /// What is being written for the first time is not there yet for others.
    pub(super) fn check_published(&self, node: &Node) -> Result {
        let is_published = match node {
            Node::Layer(name, digest) => self.at(name).layers().exists(digest)?,
            Node::Manifest(name, reference) => self.at(name).manifests().exists(reference)?,
            Node::Repository(_) | Node::Area(..) | Node::Folder(..) | Node::Upload(..) => true,
        };
        if is_published { Ok(()) } else { Err(EBUSY) }
    }

    /// An upload becomes a layer or a manifest.
    fn publish(&mut self, name: &RepositoryName, uuid: &UploadId, to: &Node) -> Result {
        if to.repository() != name {
            return Err(EXDEV);
        }
        let repository = self.at(name);
        let upload = repository.layers().resume(uuid)?;
        match to {
            Node::Layer(_, digest) => Ok(upload.finish(digest).map(drop)?),
            Node::Manifest(_, target) => {
                let stat = upload.stat()?;
                if stat.length > MANIFEST_BYTES_MAX {
                    return Err(EFBIG);
                }
                let change = AttributesChange::to(&stat.attributes);
                self.put_manifest(name, target, &bytes_of(&*upload), &change)?;
                let (from, to) = (Subject::Upload(*uuid), to.subject().unwrap());
                self.copy_extended((name, &from), (name, &to))?;
                Ok(upload.withdraw()?)
            }
            Node::Repository(_) | Node::Area(..) | Node::Folder(..) | Node::Upload(..) => {
                Err(EISDIR)
            }
        }
    }

    /// Puts bytes as a manifest.
    pub(super) fn put_manifest(
        &self, name: &RepositoryName, target: &Name, bytes: &[u8], change: &AttributesChange,
    ) -> Result {
        let manifest = Manifest::parse(bytes)?;
        let put_as = match target {
            Name::Tag(tag) => PutAs::Tag(tag.clone()),
            Name::Digest(digest) if digest == manifest.digest() => PutAs::Untagged,
            Name::Digest(_) => return Err(EBADMSG),
        };
        Ok(self.at(name).manifests().put(&manifest, &put_as, change).map(drop)?)
    }

    /// Gives the one what the other has, and nothing else.
    pub(super) fn copy_extended(
        &self, from: (&RepositoryName, &Subject), to: (&RepositoryName, &Subject),
    ) -> Result {
        let (source, target) = (self.at(from.0), self.at(to.0));
        let value = source.attributes().extended(from.1, COLOUR)?;
        Ok(target.attributes().set_extended(to.1, COLOUR, value.as_deref())?)
    }

    /// To another repository, as itself, with everything that people have set on it.
    fn move_layer(
        &mut self, from: &RepositoryName, digest: &Digest, to: &RepositoryName, new: &Digest,
    ) -> Result {
        if digest != new {
            return Err(EBADMSG);
        }
        self.mount_alike(from, digest, to)?;
        Ok(self.at(from).layers().delete(digest)?)
    }

    fn rename_repository(&mut self, from: &RepositoryName, to: &RepositoryName) -> Result {
        let is_busy = self.open.values().any(|open| {
            open.writer_of().is_some_and(|name| name.is_within(from) || name.is_within(to))
        });
        if is_busy {
            return Err(EBUSY);
        }
        self.registry.rename(from, to)?;
        let staging = std::mem::take(&mut self.staging);
        let moved = staging.into_iter().filter(|((name, ..), _)| !name.is_within(to));
        self.staging = moved
            .map(|((name, area, folder), kept)| {
                let name = name.rebased(from, to).unwrap_or(name);
                ((name, area, folder), kept)
            })
            .collect();
        Ok(())
    }

    pub(super) fn link(&mut self, from: &Path, to: &Path) -> Result {
        let source = self.find(from)?;
        self.walk(to)?;
        if self.find(to).is_ok() {
            return Err(EEXIST);
        }
        if source.is_folder() {
            return Err(EPERM);
        }
        let meaning = meaning(to);
        if let Meaning::Nothing = meaning {
            return Err(EINVAL);
        }
        self.check_published(&source)?;
        match (&source, meaning) {
            (Node::Layer(a, digest), Meaning::Node(Node::Layer(b, new))) => {
                if *digest == new {
                    self.mount_alike(a, digest, &b)
                } else {
                    Err(EBADMSG)
                }
            }
            (Node::Manifest(a, name), Meaning::Node(Node::Manifest(b, Name::Tag(tag)))) => {
                self.tag(a, name, &b, &tag)
            }
            // Under a hidden name it is a copy.
            (Node::Layer(..) | Node::Manifest(..), Meaning::Upload(b, new))
                if new.file().to_str().unwrap().starts_with('.') =>
            {
                self.copy_to_upload(&source, &b, &new)?;
                self.touch_folder(to);
                Ok(())
            }
            _ => Err(EPERM),
        }
    }

    /// Gives a layer to another repository, with everything that people have set on it.
    fn mount_alike(&self, from: &RepositoryName, digest: &Digest, to: &RepositoryName) -> Result {
        let subject = Subject::Layer(*digest);
        let change = AttributesChange::to(&self.at(from).attributes().get(&subject)?);
        self.at(to).layers().mount(digest, from, &change)?;
        self.copy_extended((from, &subject), (to, &subject))
    }

    /// Tags a manifest with what people have set on the name that it has.
    fn tag(&self, from: &RepositoryName, name: &Name, to: &RepositoryName, tag: &Tag) -> Result {
        let manifests = self.at(from);
        let stat = manifests.manifests().stat(name)?;
        let change = AttributesChange::to(&stat.attributes);
        if from == to {
            manifests.manifests().tag(&stat.digest, tag, &change)?;
        } else {
            let manifest = manifests.manifests().get(name)?;
            self.put_manifest(to, &Name::Tag(tag.clone()), manifest.bytes(), &change)?;
        }
        let subject = Node::Manifest(from.clone(), name.clone()).subject().unwrap();
        self.copy_extended((from, &subject), (to, &Subject::Tag(tag.clone())))
    }

    /// Untag, delete or cancel.
    pub(super) fn remove(&mut self, node: &Node) -> Result {
        let repository = self.at(node.repository());
        match node {
            Node::Layer(_, digest) => repository.layers().delete(digest),
            Node::Manifest(_, name) => {
                if let Name::Digest(_) = name {
                    self.lingers = TAGS_BEHIND_MAX;
                }
                repository.manifests().delete(name)
            }
            Node::Upload(_, uuid) => repository.layers().resume(uuid).and_then(|it| it.cancel()),
            Node::Repository(_) | Node::Area(..) | Node::Folder(..) => return Err(EISDIR),
        }
        .map_err(Refusal::from)
    }
}

/// What the kernel says before it asks anybody.
fn check_names(
    from: &Path, to: &Path, source: &Node, target: Option<&Node>, replacing: Replacing,
) -> Result {
    match (replacing, target) {
        (Replacing::No, Some(_)) => return Err(EEXIST),
        (Replacing::Exchange, None) => return Err(ENOENT),
        _ => {}
    }
    if to.0.starts_with(&format!("{}/", from.0)) {
        return Err(EINVAL);
    }
    if from.0.starts_with(&format!("{}/", to.0)) {
        return Err(if replacing == Replacing::Exchange { EINVAL } else { ENOTEMPTY });
    }
    match target {
        Some(target) if replacing == Replacing::Yes && from != to => {
            match (source.is_folder(), target.is_folder()) {
                (true, false) => Err(ENOTDIR),
                (false, true) => Err(EISDIR),
                _ => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

/// Everything that an upload has.
pub(super) fn bytes_of(upload: &dyn LayerUpload) -> Vec<u8> {
    read_all(|buffer, offset| upload.read_at(buffer, offset))
}

/// Reads to the end.
pub(super) fn read_all(read_at: impl Fn(&mut [u8], u64) -> Result<usize, Error>) -> Vec<u8> {
    const STEP_BYTES: usize = 1 << 20;
    let mut bytes = Vec::new();
    let mut buffer = vec![0; STEP_BYTES];
    loop {
        let count = read_at(&mut buffer, bytes.len() as u64).unwrap();
        bytes.extend_from_slice(&buffer[..count]);
        if count == 0 {
            return bytes;
        }
    }
}

/// An upload that is open in several slots is one.
pub(super) type Upload = Arc<dyn LayerUpload>;
