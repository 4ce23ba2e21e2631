//! Opening, creating and closing files.

use crate::fs::attr::Entry;
use crate::fs::counters::Operation;
use crate::fs::fault::{Fault, Result};
use crate::fs::handles::{Handle, Kept, OpenFile, Opened, Reading, Writer};
use crate::fs::inodes::{Ino, Known};
use crate::fs::layer_writer::LayerWriter;
use crate::fs::lookup::upload_name;
use crate::fs::manifest_writer::{ManifestWriter, Start};
use crate::fs::mapping::Mapping;
use crate::fs::node::{Name, Node};
use crate::fs::{Caller, RegistryFs};
use crate::model::{AttributesChange, Digest, Error, Reference, RepositoryName};
use crate::registry::{Layer, Subject};
use std::{ffi::OsStr, sync::Arc};

/// How a file is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenMode {
    /// For reading.
    pub read: bool,
    /// For writing.
    pub write: bool,
    /// Emptied first.
    pub truncate: bool,
    /// Only if it did not exist.
    pub exclusive: bool,
}

impl RegistryFs {
    /// Opens the file `ino`. Errors: `Stale` when it is gone: the kernel may believe in a name for a
    /// while after somebody else has removed it, and then looks it up again. Who creates files would
    /// be told otherwise that there is none.
    pub(super) fn open(&self, ino: Ino, mode: OpenMode) -> Result<Opened> {
        self.open_known(ino, mode)
            .map_err(|fault| if fault.is_gone() { Fault::Stale } else { fault })
    }

    fn open_known(&self, ino: Ino, mode: OpenMode) -> Result<Opened> {
        let node = self.current(ino)?;
        let (handle, reading) = match &node {
            Node::Layer(name, digest) if !mode.write => {
                let layer = self.fetch(&node, name, digest)?;
                let reading = if self.awaited.has(&node) {
                    Reading::Direct
                } else {
                    Reading::Layer(Arc::clone(&layer), Kept::Valid)
                };
                (Handle::Layer(name.clone(), layer), reading)
            }
            // A published layer may be made again from nothing, and not be changed in part.
            Node::Layer(name, digest) => {
                if !mode.truncate && self.repository(name).layers().exists(digest)? {
                    return Err(Error::LayerImmutable(*digest).into());
                }
                (self.rewrite_layer(&node, name, digest)?, Reading::Direct)
            }
            Node::Tag(name, tag) => {
                let reference = Reference::Tag(tag.clone());
                self.open_manifest(&node, name, reference, mode)?
            }
            Node::Revision(name, digest) => {
                if mode.write && !mode.truncate {
                    return Err(Error::LayerImmutable(*digest).into());
                }
                let reference = Reference::Digest(*digest);
                self.open_manifest(&node, name, reference, mode)?
            }
            Node::Upload(name, uuid) if !mode.write => {
                // Who only reads does not keep others from writing, longer than it stays open anyway.
                let open = self.uploads.get(uuid).filter(|_| !self.lingering.has(uuid));
                let handle = match open {
                    Some(upload) => Handle::Upload(upload),
                    None => Handle::UploadReader(self.repository(name).layers().read_upload(uuid)?),
                };
                (handle, Reading::Direct)
            }
            Node::Upload(name, uuid) => {
                let upload = self.uploads.take_up(&*self.registry, name, uuid)?;
                if mode.truncate {
                    upload.truncate(0)?;
                }
                (Handle::Upload(upload), Reading::Direct)
            }
            Node::ControlFile(_) if mode.write => {
                return Err(Error::Unsupported("control files cannot be written").into());
            }
            Node::ControlFile(file) => {
                (Handle::Pinned(self.control_text(*file).into_bytes().into()), Reading::Direct)
            }
            Node::Root
            | Node::Repository(_)
            | Node::Area(..)
            | Node::StagingFolder(..)
            | Node::Control => return Err(Fault::IsADirectory),
        };
        let mapping = Mapping::of(&handle, mode);
        let reading = self.keep_apart(ino, &node, mapping, reading)?;
        let handle = self.handles.insert(ino, handle, mapping);
        Ok(Opened { handle, reading, flush: mode.write, ino })
    }

    /// Creates and opens the file `name` in the folder `parent`. What exists by now is opened,
    /// unless the mode is exclusive.
    pub(super) fn create(
        &self, caller: &Caller, parent: Ino, name: &OsStr, permissions: u32, mode: OpenMode,
    ) -> Result<(Entry, Opened)> {
        let folder = self.node(parent)?;
        match self.find(&folder, name).and_then(|node| self.entry(node)) {
            Ok(entry) => return self.open_existing(entry, mode),
            Err(Fault::NoEntry) => {}
            Err(fault) => return Err(fault),
        }
        let attributes = self.creation(caller, &folder, permissions)?;
        let (node, handle) = match folder.child(name) {
            Name::Upload => self.create_upload(&folder, name, &attributes)?,
            Name::Impossible { kind, reason } => {
                return Err(Fault::impossible(kind, name, reason));
            }
            Name::Node(node) => match &node {
                Node::Layer(repository, digest) => {
                    let handle = self.write_layer(&node, repository, digest, attributes)?;
                    (node, handle)
                }
                Node::Tag(repository, tag) => {
                    let reference = Reference::Tag(tag.clone());
                    let handle =
                        self.write_manifest(&node, repository, reference, Start::New, attributes)?;
                    (node, handle)
                }
                Node::Revision(repository, digest) => {
                    let reference = Reference::Digest(*digest);
                    let handle =
                        self.write_manifest(&node, repository, reference, Start::New, attributes)?;
                    (node, handle)
                }
                Node::Root
                | Node::Repository(_)
                | Node::Area(..)
                | Node::Upload(..)
                | Node::StagingFolder(..)
                | Node::Control
                | Node::ControlFile(_) => {
                    let reason = "only folders can be made here; files belong into layers, manifests \
                                  and uploads of a repository";
                    return Err(Error::Unsupported(reason).into());
                }
            },
        };
        let entry = self.entry(node.clone())?;
        let (ino, mapping) = (entry.ino, Mapping::of(&handle, mode));
        let reading = self.keep_apart(ino, &node, mapping, Reading::Direct).inspect_err(|_| {
            self.inodes.forget(ino, 1);
        })?;
        let handle = self.handles.insert(ino, handle, mapping);
        Ok((entry, Opened { handle, reading, flush: true, ino }))
    }

    /// Makes the empty file `name` in the folder `parent` without opening it, as `tar --xattrs` begins.
    /// Only an upload can be there before it is written.
    pub(super) fn make_file(
        &self, caller: &Caller, parent: Ino, name: &OsStr, permissions: u32,
    ) -> Result<Entry> {
        let folder = self.node(parent)?;
        if self.find(&folder, name).is_ok_and(|node| self.stat(&node).is_ok()) {
            return Err(Fault::exists(name));
        }
        match folder.child(name) {
            Name::Upload => {
                let attributes = self.creation(caller, &folder, permissions)?;
                let (node, _closed) = self.create_upload(&folder, name, &attributes)?;
                self.entry(node)
            }
            Name::Impossible { kind, reason } => Err(Fault::impossible(kind, name, reason)),
            Name::Node(_) => {
                let reason = "layers and manifests are made and written in one go, not with mknod: \
                              extract without --xattrs, or into uploads";
                Err(Error::Unsupported(reason).into())
            }
        }
    }

    fn open_existing(&self, entry: Entry, mode: OpenMode) -> Result<(Entry, Opened)> {
        let opened = if mode.exclusive {
            Err(Error::Exists("a file of this name".to_owned()).into())
        } else {
            self.open(entry.ino, mode)
        };
        match opened {
            Ok(opened) => Ok((entry, opened)),
            Err(fault) => {
                // The kernel is told of the error only, so it will not forget the entry.
                self.inodes.forget(entry.ino, 1);
                Err(fault)
            }
        }
    }

    fn create_upload(
        &self, folder: &Node, name: &OsStr, attributes: &AttributesChange,
    ) -> Result<(Node, Handle)> {
        let (upload_name, repository) = upload_name(folder, name)?.ok_or(Fault::NotADirectory)?;
        let upload = self.repository(repository).layers().upload(&upload_name, attributes)?;
        self.uploads.insert(repository, &upload);
        self.touch_folder(folder);
        Ok((Node::Upload(repository.clone(), upload.uuid()), Handle::Upload(upload)))
    }

    fn fetch(&self, node: &Node, name: &RepositoryName, digest: &Digest) -> Result<Arc<dyn Layer>> {
        match self.repository(name).layers().fetch(digest) {
            Ok(layer) => Ok(layer),
            Err(Error::LayerUnknown(..)) if self.writers.has(node) => {
                Err(Error::Busy(digest.to_string()).into())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn write_layer(
        &self, node: &Node, name: &RepositoryName, digest: &Digest, attributes: AttributesChange,
    ) -> Result<Handle> {
        let writer = Arc::new(LayerWriter::begin(self.repository(name), *digest, &attributes)?);
        self.writers.insert(node, &Writer::Layer(Arc::clone(&writer)))?;
        Ok(Handle::LayerWriter(writer))
    }

    /// Writes a layer anew that may be there: like a file that is written over, it keeps its mode,
    /// owner and extended attributes.
    fn rewrite_layer(&self, node: &Node, name: &RepositoryName, digest: &Digest) -> Result<Handle> {
        let repository = self.repository(name);
        let stat = match repository.layers().stat(digest) {
            Ok(stat) => stat,
            Err(error) => {
                let like = if error.is_unknown() {
                    // Somebody else writes it for the first time: it is to be like theirs.
                    Some(self.writer_stat(node)?.attributes)
                } else {
                    // Whatever is wrong with it, it is to be replaced; its link may be good.
                    repository.attributes().get(&Subject::Layer(*digest)).ok()
                };
                let attributes = like.map(|like| self.as_linked(&like)).unwrap_or_default();
                let attributes =
                    AttributesChange { modified_at: None, accessed_at: None, ..attributes };
                return self.write_layer(node, name, digest, attributes);
            }
        };
        let attributes = AttributesChange {
            modified_at: None,
            accessed_at: None,
            ..self.as_linked(&stat.attributes)
        };
        let handle = self.write_layer(node, name, digest, attributes)?;
        if let Handle::LayerWriter(writer) = &handle {
            writer.take_extended(&Subject::Layer(*digest))?;
        }
        Ok(handle)
    }

    fn write_manifest(
        &self, node: &Node, name: &RepositoryName, reference: Reference, start: Start,
        attributes: AttributesChange,
    ) -> Result<Handle> {
        let repository = self.repository(name);
        let writer = Arc::new(ManifestWriter::begin(repository, reference, start, attributes));
        self.writers.insert(node, &Writer::Manifest(Arc::clone(&writer)))?;
        Ok(Handle::ManifestWriter(writer))
    }

    /// A manifest pinned for reading, or a writer that begins with what is there.
    fn open_manifest(
        &self, node: &Node, name: &RepositoryName, reference: Reference, mode: OpenMode,
    ) -> Result<(Handle, Reading)> {
        let start = match self.repository(name).manifests().get(&reference) {
            Err(error) if error.is_unknown() && (mode.truncate || self.writers.has(node)) => {
                Start::New
            }
            // Whatever is wrong with it, it is to be replaced.
            _ if mode.truncate => Start::Emptied,
            Ok(manifest) => Start::Stored(manifest),
            Err(error) => return Err(error.into()),
        };
        if mode.write {
            let attributes = match self.writers.get(node) {
                Some(Writer::Manifest(writer)) => writer.stat().map(|draft| draft.attributes),
                Some(Writer::Layer(_)) | None => None,
            };
            let attributes = attributes.unwrap_or_default();
            let handle = self.write_manifest(node, name, reference, start, attributes)?;
            return Ok((handle, Reading::Direct));
        }
        match start {
            Start::Stored(manifest) => {
                let handle = Handle::Pinned(Arc::clone(manifest.bytes()));
                // Tags move, and signatures come to what is signed.
                let is_fixed =
                    matches!(reference, Reference::Digest(_)) && manifest.signed().is_none();
                let cached = Reading::Cached(Kept::Valid);
                Ok((handle, if is_fixed { cached } else { Reading::Direct }))
            }
            Start::New | Start::Emptied => Err(Error::Busy(reference.to_string()).into()),
        }
    }

    /// Publishes what was written through `handle`: called for every close(2) of every descriptor,
    /// and the last chance to tell a tool that something is wrong.
    pub fn flush(&self, caller: &Caller, handle: u64) -> Result<()> {
        match &*self.handles.closed_by(handle, caller.pid)? {
            Handle::LayerWriter(writer) => writer.close(),
            Handle::ManifestWriter(writer) => writer.close(),
            Handle::Upload(upload) => {
                upload.settle(Box::new(Arc::clone(upload)));
                Ok(())
            }
            Handle::Layer(..) | Handle::UploadReader(_) | Handle::Pinned(_) | Handle::Folder(_) => {
                Ok(())
            }
        }
    }

    /// Makes what was written through `handle` survive a power cut, under the name that it has. A
    /// manifest lies in memory until it is put, so this puts it.
    pub fn sync(&self, handle: u64) -> Result<()> {
        match &*self.handles.get(handle)? {
            Handle::Upload(upload) => match upload.sync() {
                // It became a layer or manifest meanwhile.
                Err(Error::UploadUnknown(_)) => Ok(self.registry.sync()?),
                result => Ok(result?),
            },
            Handle::LayerWriter(writer) => match writer.flush() {
                Ok(()) => Ok(self.registry.sync()?),
                // More is to come; what is there is safe.
                Err(Fault::Registry(error)) if error.is_mismatch() => writer.sync(),
                Err(fault) => Err(fault),
            },
            Handle::ManifestWriter(writer) => {
                writer.flush()?;
                Ok(self.registry.sync()?)
            }
            Handle::Layer(..) | Handle::UploadReader(_) | Handle::Pinned(_) | Handle::Folder(_) => {
                Ok(self.registry.sync()?)
            }
        }
    }

    /// Takes back an open that the kernel would refuse beside others of this inode. The name gets
    /// another number, and the kernel, which is told that this one is stale, opens that; so nothing
    /// is lost that nobody was told of. Another, too, than the one it has got meanwhile, if this one
    /// was not its own any more: who reads under that may be in the way as well.
    pub(super) fn abandon(&self, opened: &Opened) {
        if let Some(Known { node, .. }) = self.inodes.get(opened.ino) {
            // First, or somebody could open the other number before.
            self.awaited.insert(node.clone());
            self.inodes.detach(&node);
        }
        drop(self.begin_release(opened.handle));
    }

    /// As [`Self::abandon`], of what the kernel will not hear.
    pub(super) fn abandon_created(&self, entry: &Entry, opened: &Opened) {
        self.abandon(opened);
        self.inodes.forget(entry.ino, 1);
    }

    /// The last close of `handle`. Nobody is told of errors any more, so nothing that a user could
    /// miss happens here. What was never published gets its line in `.regfs/errors`.
    pub fn release(&self, handle: u64) {
        self.end_release(self.begin_release(handle));
    }

    /// From here on the file is not open any more.
    pub(super) fn begin_release(&self, handle: u64) -> Option<OpenFile> {
        self.handles.remove(handle)
    }

    /// Lets go of it, which may take long.
    pub(super) fn end_release(&self, file: Option<OpenFile>) {
        let Some(OpenFile { ino, handle, closer, .. }) = file else { return };
        if let Some(fault) = handle.loss() {
            let caller = Caller { pid: closer.into_inner(), ..Caller::default() };
            self.refuse(Operation::Flush, &caller, None, (ino, OsStr::new("")), &fault);
        }
        if let Handle::Upload(upload) = &*handle {
            self.lingering.keep(Arc::clone(upload));
        }
    }
}
