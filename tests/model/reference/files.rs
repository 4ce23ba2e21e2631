//! Open files: opening, writing, cutting and closing them.

use super::moves::{Upload, bytes_of, read_all};
use super::names::{Meaning, Node, meaning};
use super::writers::{Draft, LayerWriter};
use super::{CLOSES_BEHIND_MAX, COLOUR, Reference};
use crate::model::outcome::{
    EBADF, EBADMSG, EBUSY, EEXIST, EFBIG, EINVAL, EISDIR, ENOENT, EPERM, Refusal, Result,
};
use crate::model::step::{Access, Slot};
use crate::model::words::Path;
use regfs::model::{
    Area, AttributesChange, Digest, Error, Reference as Name, RepositoryName, UploadName,
};
use regfs::registry::{Layer, Subject, UploadReader};
use std::{ffi::OsStr, sync::Arc};

/// An open file.
pub(super) struct Open {
    access: Access,
    /// What its path led to.
    pub(super) node: Node,
    file: File,
    /// The how manieth file that was opened.
    number: u64,
}

enum File {
    /// A published layer.
    Layer(Arc<dyn Layer>),
    /// A manifest, as it was.
    Pinned(Vec<u8>),
    Upload(Upload),
    Reader(Arc<dyn UploadReader>),
    LayerWriter(LayerWriter),
    Draft(Draft),
}

impl Open {
    /// The repository in which it writes something that a close publishes.
    pub(super) fn writer_of(&self) -> Option<&RepositoryName> {
        match self.file {
            File::LayerWriter(_) | File::Draft(_) => Some(self.node.repository()),
            File::Layer(_) | File::Pinned(_) | File::Upload(_) | File::Reader(_) => None,
        }
    }

    fn is_unpublished(&self) -> bool {
        match &self.file {
            File::LayerWriter(writer) => !writer.is_published(),
            File::Draft(draft) => draft.makes_its_name(),
            File::Layer(_) | File::Pinned(_) | File::Upload(_) | File::Reader(_) => false,
        }
    }

    /// The last close: what was not published goes.
    pub(super) fn drop_unpublished(self) {
        if let File::LayerWriter(writer) = self.file
            && !writer.is_published()
        {
            writer.upload.cancel().unwrap();
        }
    }

    fn layer_writer(&self) -> Option<&LayerWriter> {
        if let File::LayerWriter(writer) = &self.file { Some(writer) } else { None }
    }

    pub(super) fn layer_writer_mut(&mut self) -> Option<&mut LayerWriter> {
        if let File::LayerWriter(writer) = &mut self.file { Some(writer) } else { None }
    }

    fn draft_mut(&mut self) -> Option<&mut Draft> {
        if let File::Draft(draft) = &mut self.file { Some(draft) } else { None }
    }
}

/// An upload that is written after it was finished is told so; one that was removed is written on.
fn after_the_end(error: Error) -> Refusal {
    if let Error::UploadUnknown(_) = error { EPERM } else { error.into() }
}

/// With which attributes files are created.
fn creation() -> AttributesChange {
    let (permissions, uid, gid) = (Some(0o644), Some(0), Some(0));
    AttributesChange { permissions, uid, gid, ..AttributesChange::default() }
}

/// What is kept of a file that is written anew.
pub(super) fn kept(attributes: &regfs::model::Attributes) -> AttributesChange {
    let (modified_at, accessed_at) = (None, None);
    AttributesChange { modified_at, accessed_at, ..AttributesChange::to(attributes) }
}

/// Of files that are open under one name: the youngest.
impl Reference {
    /// The writer of a layer that is not published.
    pub(super) fn layer_writer(&self, node: &Node) -> Option<&LayerWriter> {
        self.open[&self.layer_slot(node)?].layer_writer()
    }

    /// The draft of a manifest.
    pub(super) fn draft(&self, node: &Node) -> Option<&Draft> {
        match &self.open[&self.draft_slot(node)?].file {
            File::Draft(draft) => Some(draft),
            _ => None,
        }
    }

    /// Every writer of a layer that is not published, the oldest first.
    pub(super) fn layer_writers(&self, node: &Node) -> Vec<&LayerWriter> {
        let mut open: Vec<&Open> = self.open.values().filter(|open| open.node == *node).collect();
        open.sort_by_key(|open| open.number);
        let writers = open.into_iter().filter_map(Open::layer_writer);
        writers.filter(|writer| !writer.is_published()).collect()
    }

    /// Every draft of a manifest, the oldest first.
    pub(super) fn drafts_mut(&mut self, node: &Node) -> Vec<&mut Draft> {
        let open = self.open.values_mut().filter(|open| open.node == *node);
        let mut open: Vec<&mut Open> = open.collect();
        open.sort_by_key(|open| open.number);
        open.into_iter().filter_map(Open::draft_mut).collect()
    }

    pub(super) fn draft_mut(&mut self, node: &Node) -> Option<&mut Draft> {
        let slot = self.draft_slot(node)?;
        self.slot(slot).draft_mut()
    }

    fn layer_slot(&self, node: &Node) -> Option<Slot> {
        self.youngest(node, |open| open.layer_writer().is_some_and(|it| !it.is_published()))
    }

    fn draft_slot(&self, node: &Node) -> Option<Slot> {
        self.youngest(node, |open| matches!(open.file, File::Draft(_)))
    }

    fn youngest(&self, node: &Node, is_meant: impl Fn(&Open) -> bool) -> Option<Slot> {
        let open = self.open.iter().filter(|(_, open)| open.node == *node && is_meant(open));
        open.max_by_key(|(_, open)| open.number).map(|(slot, _)| *slot)
    }
}

/// Opening.
impl Reference {
    pub(super) fn open(&mut self, slot: Slot, access: Access, path: &Path) -> Result {
        self.walk(path)?;
        let (node, file) = match self.find(path) {
            Ok(_) if access.create && access.exclusive => return Err(EEXIST),
            Ok(node) => {
                let file = self.open_node(&node, access)?;
                (node, file)
            }
            Err(ENOENT) if access.create => self.create(path)?,
            Err(refusal) => return Err(refusal),
        };
        self.opened += 1;
        self.open.insert(slot, Open { access, node, file, number: self.opened });
        Ok(())
    }

    fn create(&mut self, path: &Path) -> Result<(Node, File)> {
        let node = match meaning(path) {
            Meaning::Nothing => return Err(EINVAL),
            Meaning::Upload(repository, name) => {
                let upload = self.at(&repository).layers().upload(&name, &creation())?;
                self.touch_folder(path);
                return Ok((Node::Upload(repository, upload.uuid()), File::Upload(upload)));
            }
            Meaning::Node(node) => node,
        };
        let file = match &node {
            Node::Layer(name, digest) => self.write_layer(name, digest, &creation())?,
            Node::Manifest(..) => File::Draft(Draft::new(creation())),
            // A file where only repositories are.
            _ => return Err(EPERM),
        };
        Ok((node, file))
    }

    fn open_node(&mut self, node: &Node, access: Access) -> Result<File> {
        match node {
            Node::Upload(name, uuid) if access.write => {
                let upload = self.at(name).layers().resume(uuid)?;
                if access.truncate {
                    upload.truncate(0)?;
                }
                Ok(File::Upload(upload))
            }
            Node::Upload(name, uuid) => Ok(File::Reader(self.at(name).layers().read_upload(uuid)?)),
            Node::Layer(name, digest) => self.open_layer(name, digest, access),
            Node::Manifest(_, Name::Digest(_)) if access.write && !access.truncate => Err(EPERM),
            Node::Manifest(name, reference) => {
                let stored = self.at(name).manifests().get(reference).ok();
                let stored = stored.map(|manifest| manifest.bytes().to_vec());
                match (stored, access.write) {
                    (Some(bytes), false) => Ok(File::Pinned(bytes)),
                    (None, false) => Err(EBUSY),
                    (stored, true) => {
                        let mut draft = match stored {
                            Some(_) if access.truncate => Draft::over(Vec::new()),
                            Some(bytes) => Draft::over(bytes),
                            None => Draft::new(AttributesChange::default()),
                        };
                        if let Some(other) = self.draft(node).filter(|it| it.makes_its_name()) {
                            draft.wanted = other.wanted;
                        }
                        Ok(File::Draft(draft))
                    }
                }
            }
            Node::Repository(_) | Node::Area(..) | Node::Folder(..) => Err(EISDIR),
        }
    }

    /// A layer may be read, or made again from nothing; it is never changed in part.
    fn open_layer(&self, name: &RepositoryName, digest: &Digest, access: Access) -> Result<File> {
        let repository = self.at(name);
        let stored = repository.layers().stat(digest).ok();
        match (stored, access.write) {
            (Some(_), false) => Ok(File::Layer(repository.layers().fetch(digest)?)),
            (None, false) => Err(EBUSY),
            (Some(_), true) if !access.truncate => Err(EPERM),
            (None, true) => {
                let other = self.layer_writer(&Node::Layer(name.clone(), *digest));
                let attributes = other.unwrap().upload.stat()?.attributes;
                self.write_layer(name, digest, &kept(&attributes))
            }
            (Some(stat), true) => {
                let file = self.write_layer(name, digest, &kept(&stat.attributes))?;
                if let File::LayerWriter(writer) = &file {
                    let from = Subject::Layer(*digest);
                    let to = Subject::Upload(writer.upload.uuid());
                    self.copy_extended((name, &from), (name, &to))?;
                }
                Ok(file)
            }
        }
    }

    fn write_layer(
        &self, name: &RepositoryName, digest: &Digest, attributes: &AttributesChange,
    ) -> Result<File> {
        let hidden = UploadName::new(Area::Layers, OsStr::new(&digest.to_string())).unwrap();
        let upload = self.at(name).layers().upload(&hidden, attributes)?;
        Ok(File::LayerWriter(LayerWriter::new(upload)))
    }
}

/// Open files by their slots.
impl Reference {
    pub(super) fn slot(&mut self, slot: Slot) -> &mut Open {
        self.open.get_mut(&slot).unwrap()
    }

    pub(super) fn write(&mut self, slot: Slot, bytes: &[u8], at: u64) -> Result {
        let open = &self.open[&slot];
        if !open.access.write {
            return Err(EBADF);
        }
        let at = if open.access.append { self.end_of(open) } else { at };
        match &mut self.slot(slot).file {
            File::Upload(upload) => upload.write_at(bytes, at).map_err(after_the_end),
            File::LayerWriter(writer) => writer.write(bytes, at),
            File::Draft(draft) => draft.write(bytes, at),
            File::Layer(_) | File::Pinned(_) | File::Reader(_) => Err(EBADF),
        }
    }

    /// Where a file ends, as its name shows it: there the kernel appends.
    fn end_of(&self, open: &Open) -> u64 {
        match &open.file {
            File::Upload(upload) => bytes_of(&**upload).len() as u64,
            _ => self.length_of(&open.node),
        }
    }

    pub(super) fn truncate(&mut self, slot: Slot, length: u64) -> Result {
        let open = self.slot(slot);
        if !open.access.write {
            return Err(EINVAL);
        }
        match &mut open.file {
            File::Upload(upload) => upload.truncate(length).map_err(after_the_end),
            File::LayerWriter(writer) => writer.truncate(length),
            File::Draft(draft) => draft.truncate(length),
            File::Layer(_) | File::Pinned(_) | File::Reader(_) => Err(EBADF),
        }
    }

    pub(super) fn read(&mut self, slot: Slot) -> Result<Vec<u8>> {
        let open = self.slot(slot);
        if !open.access.read {
            return Err(EBADF);
        }
        Ok(match &open.file {
            File::Upload(upload) => bytes_of(&**upload),
            File::Layer(layer) => read_all(|buffer, offset| layer.read_at(buffer, offset)),
            File::Reader(reader) => read_all(|buffer, offset| reader.read_at(buffer, offset)),
            File::Pinned(bytes) => bytes.clone(),
            File::Draft(draft) => draft.bytes.clone(),
            File::LayerWriter(writer) => bytes_of(&*writer.upload),
        })
    }

    /// What cannot be published yet is safe all the same: more is to come.
    pub(super) fn sync(&mut self, slot: Slot) -> Result {
        let is_layer = self.open[&slot].layer_writer().is_some();
        match self.flush(slot) {
            Err(EBADMSG) if is_layer => Ok(()),
            flushed => flushed,
        }
    }

    pub(super) fn flush(&mut self, slot: Slot) -> Result {
        let node = self.open[&slot].node.clone();
        if let (Node::Layer(_, digest), Some(writer)) = (&node, self.slot(slot).layer_writer_mut())
        {
            return writer.flush(digest);
        }
        let (File::Draft(draft), Node::Manifest(name, target)) = (&self.open[&slot].file, &node)
        else {
            return Ok(());
        };
        if draft.is_refused() {
            return Err(EFBIG);
        }
        if !draft.is_dirty() {
            return Ok(());
        }
        if draft.is_mixed() {
            return Err(EINVAL);
        }
        self.put_manifest(name, target, &draft.bytes, &draft.wanted)?;
        if let Some(colour) = &draft.colour {
            let (kept, colour) = (self.at(name), colour.as_ref().map(String::as_bytes));
            kept.attributes().set_extended(&node.subject().unwrap(), COLOUR, colour)?;
        }
        self.slot(slot).draft_mut().unwrap().is_put();
        Ok(())
    }

    pub(super) fn close(&mut self, slot: Slot) -> Result {
        let flushed = self.flush(slot);
        let open = self.open.remove(&slot).unwrap();
        if open.is_unpublished() {
            self.lingers = CLOSES_BEHIND_MAX;
        }
        open.drop_unpublished();
        flushed
    }

    /// truncate(2) of a layer or manifest that somebody writes. `None` when nobody does.
    pub(super) fn truncate_writer(&mut self, node: &Node, length: u64) -> Option<Result> {
        if let Some(slot) = self.layer_slot(node) {
            return Some(self.slot(slot).layer_writer_mut()?.truncate(length));
        }
        let draft = self.draft_mut(node).filter(|draft| draft.is_dirty())?;
        Some(draft.truncate(length))
    }
}
