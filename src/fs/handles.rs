//! Open files and folders, and the writers and uploads behind them.

use crate::fs::fault::{Fault, Result};
use crate::fs::inodes::Ino;
use crate::fs::lanes::Lane;
use crate::fs::layer_writer::LayerWriter;
use crate::fs::listing::Listing;
use crate::fs::manifest_writer::ManifestWriter;
use crate::fs::mapping::Mapping;
use crate::fs::node::Node;
use crate::model::{Error, RepositoryName, UploadId};
use crate::registry::{Layer, LayerUpload, Registry, UploadReader};
use parking_lot::{Mutex, RwLock};
use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

/// A file of this length is removed within a millisecond.
const QUICK_BYTES_MAX: u64 = 1 << 20;

/// What an open file or folder is.
pub(super) enum Handle {
    /// A published layer, open for reading.
    Layer(RepositoryName, Arc<dyn Layer>),
    /// Bytes as they were when the file was opened: a manifest or a control file.
    Pinned(Arc<[u8]>),
    /// An upload.
    Upload(Arc<dyn LayerUpload>),
    /// An upload that is only read, whoever writes it.
    UploadReader(Arc<dyn UploadReader>),
    /// A layer being written under its digest.
    LayerWriter(Arc<LayerWriter>),
    /// A manifest being written.
    ManifestWriter(Arc<ManifestWriter>),
    /// A folder; its lock is held while one listing call goes on.
    Folder(Mutex<Listing>),
}

impl Handle {
    /// Whether it has content that was not published when it was opened.
    pub(super) fn is_unpublished(&self) -> bool {
        match self {
            Self::Upload(_)
            | Self::UploadReader(_)
            | Self::LayerWriter(_)
            | Self::ManifestWriter(_) => true,
            Self::Layer(..) | Self::Pinned(_) | Self::Folder(_) => false,
        }
    }

    /// Where it is let go of, after the last close: what has no name any more is removed from the disk,
    /// which takes long for a long file.
    pub(super) fn lane(&self) -> Lane {
        match self {
            Self::Layer(_, layer) if layer.length() > QUICK_BYTES_MAX => Lane::Slow,
            Self::Layer(..) | Self::Pinned(_) | Self::Folder(_) => Lane::Quick,
            Self::Upload(_)
            | Self::UploadReader(_)
            | Self::LayerWriter(_)
            | Self::ManifestWriter(_) => Lane::Slow,
        }
    }

    /// After the last close: what is lost and nobody was told of.
    pub(super) fn loss(&self) -> Option<Fault> {
        match self {
            Self::LayerWriter(writer) => writer.loss(),
            Self::ManifestWriter(writer) => writer.loss(),
            Self::Layer(..)
            | Self::Pinned(_)
            | Self::Upload(_)
            | Self::UploadReader(_)
            | Self::Folder(_) => None,
        }
    }

    /// How long the file is, whether or not it still has a name.
    pub(super) fn length(&self) -> u64 {
        match self {
            Self::Layer(_, layer) => layer.length(),
            Self::Pinned(bytes) => bytes.len() as u64,
            Self::Upload(upload) => match (upload.stat(), upload.backing_file()) {
                (Ok(stat), _) => stat.length,
                (Err(_), Some(file)) => {
                    let stat = rustix::fs::fstat(file);
                    stat.map_or(0, |stat| u64::try_from(stat.st_size).unwrap_or(0))
                }
                (Err(_), None) => 0,
            },
            Self::UploadReader(reader) => reader.length().unwrap_or(0),
            Self::LayerWriter(writer) => writer.length().unwrap_or(0),
            Self::ManifestWriter(writer) => writer.length(),
            Self::Folder(_) => 0,
        }
    }
}

/// The table of open files. Lock 1 (ARCHITECTURE, "Locks"): held for one map operation.
#[derive(Default)]
pub(super) struct Handles {
    next: AtomicU64,
    table: RwLock<HashMap<u64, OpenFile>>,
}

/// A file or folder that is open.
pub(super) struct OpenFile {
    pub(super) ino: Ino,
    pub(super) handle: Arc<Handle>,
    mapping: Mapping,
    /// The process that closed a descriptor of it last: the kernel does not say who was the last
    /// of all.
    pub(super) closer: AtomicU32,
}

impl Handles {
    /// Keeps an open `handle` of `ino` and gives its number, which is never given out again.
    pub(super) fn insert(&self, ino: Ino, handle: Handle, mapping: Mapping) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let file = OpenFile { ino, handle: Arc::new(handle), mapping, closer: AtomicU32::new(0) };
        self.table.write().insert(number, file);
        number
    }

    /// Some open handle of `ino`. This looks at all; it is for files whose name is gone.
    pub(super) fn of(&self, ino: Ino) -> Option<Arc<Handle>> {
        let table = self.table.read();
        table.values().find(|file| file.ino == ino).map(|file| Arc::clone(&file.handle))
    }

    /// The inode that the handle was opened by.
    pub(super) fn ino(&self, number: u64) -> Option<Ino> {
        self.table.read().get(&number).map(|file| file.ino)
    }

    /// Whether published content is open under `ino`. This looks at all.
    pub(super) fn has_reader(&self, ino: Ino) -> bool {
        self.table.read().values().any(|file| file.ino == ino && !file.handle.is_unpublished())
    }

    /// What programs may do with maps of what is open under `ino`, at most. This looks at all.
    pub(super) fn mapping(&self, ino: Ino) -> Mapping {
        let table = self.table.read();
        let open = table.values().filter(|file| file.ino == ino);
        open.map(|file| file.mapping).max().unwrap_or(Mapping::None)
    }

    /// The handle of this number.
    pub(super) fn get(&self, number: u64) -> Result<Arc<Handle>> {
        let table = self.table.read();
        table.get(&number).map(|file| Arc::clone(&file.handle)).ok_or(Fault::BadHandle)
    }

    /// The handle of this number, of which the process `pid` closes a descriptor.
    pub(super) fn closed_by(&self, number: u64, pid: u32) -> Result<Arc<Handle>> {
        let table = self.table.read();
        let file = table.get(&number).ok_or(Fault::BadHandle)?;
        file.closer.store(pid, Ordering::Relaxed);
        Ok(Arc::clone(&file.handle))
    }

    /// Takes the file out. It goes when the last call on it is over.
    pub(super) fn remove(&self, number: u64) -> Option<OpenFile> {
        self.table.write().remove(&number)
    }

    /// How many files and folders are open.
    pub(super) fn count(&self) -> usize {
        self.table.read().len()
    }
}

/// A file that is being written where nothing, or something else, is published.
#[derive(Clone)]
pub(super) enum Writer {
    /// Under a digest in `layers`.
    Layer(Arc<LayerWriter>),
    /// In `manifests`.
    Manifest(Arc<ManifestWriter>),
}

enum WeakWriter {
    Layer(Weak<LayerWriter>),
    Manifest(Weak<ManifestWriter>),
}

impl WeakWriter {
    /// Whether somebody has it open. An upgrade could make this the last one to hold it, and to close
    /// a writer takes a look at the disk.
    fn is_open(&self) -> bool {
        match self {
            Self::Layer(writer) => writer.strong_count() > 0,
            Self::Manifest(writer) => writer.strong_count() > 0,
        }
    }

    fn upgrade(&self) -> Option<Writer> {
        match self {
            Self::Layer(writer) => writer.upgrade().map(Writer::Layer),
            Self::Manifest(writer) => writer.upgrade().map(Writer::Manifest),
        }
    }
}

/// How many manifests may be written at once. Each takes up to 8 MiB of memory: 4 of the manifest, and
/// as much to know what of an older one was written over.
pub(super) const MANIFEST_WRITERS_MAX: usize = 64;

/// How many layers may be written under their digests at once. Each holds a few open files.
pub(super) const LAYER_WRITERS_MAX: usize = 4096;

/// The writers, by what they will become. Its lock is held for one map operation.
#[derive(Default)]
pub(super) struct Writers {
    table: Mutex<HashMap<Node, Vec<WeakWriter>>>,
}

impl Writers {
    /// Keeps a writer of `node`, the youngest for now. Errors: `TooMany`.
    pub(super) fn insert(&self, node: &Node, writer: &Writer) -> Result<()> {
        let mut table = self.table.lock();
        table.retain(|_, writers| {
            writers.retain(WeakWriter::is_open);
            !writers.is_empty()
        });
        let is_manifest = |writer: &&WeakWriter| matches!(writer, WeakWriter::Manifest(_));
        let weak = match writer {
            Writer::Layer(writer) => {
                if table.values().map(Vec::len).sum::<usize>() >= LAYER_WRITERS_MAX {
                    let what = "layers being written under their digests";
                    return Err(Error::TooMany { what, limit: LAYER_WRITERS_MAX }.into());
                }
                WeakWriter::Layer(Arc::downgrade(writer))
            }
            Writer::Manifest(writer) => {
                if table.values().flatten().filter(is_manifest).count() >= MANIFEST_WRITERS_MAX {
                    let what = "manifests being written";
                    return Err(Error::TooMany { what, limit: MANIFEST_WRITERS_MAX }.into());
                }
                WeakWriter::Manifest(Arc::downgrade(writer))
            }
        };
        table.entry(node.clone()).or_default().push(weak);
        Ok(())
    }

    /// Whether anything in or below the repository `name` is being written.
    pub(super) fn is_within(&self, name: &RepositoryName) -> bool {
        let table = self.table.lock();
        table.iter().any(|(node, writers)| {
            node.repository().is_some_and(|it| it.is_within(name))
                && writers.iter().any(WeakWriter::is_open)
        })
    }

    /// Every writer of `node` that is still open, the oldest first.
    pub(super) fn all(&self, node: &Node) -> Vec<Writer> {
        let table = self.table.lock();
        table.get(node).into_iter().flatten().filter_map(WeakWriter::upgrade).collect()
    }

    /// The youngest writer of `node` that is still open; one that has published its layer, and so has
    /// nothing to say any more, only when there is no other.
    pub(super) fn get(&self, node: &Node) -> Option<Writer> {
        let open = self.all(node);
        let is_at_work = |writer: &&Writer| match writer {
            Writer::Layer(writer) => !writer.is_published(),
            Writer::Manifest(_) => true,
        };
        open.iter().rev().find(is_at_work).or(open.last()).cloned()
    }

    /// Whether somebody writes `node`.
    pub(super) fn has(&self, node: &Node) -> bool {
        let table = self.table.lock();
        table.get(node).is_some_and(|writers| writers.iter().any(WeakWriter::is_open))
    }
}

/// The uploads that are open, so that every open file of one shares it. Its lock is held for one
/// map operation.
#[derive(Default)]
pub(super) struct Uploads {
    table: Mutex<HashMap<UploadId, OpenUpload>>,
}

/// An upload, and the repository that it was begun or taken up in.
type OpenUpload = (RepositoryName, Weak<dyn LayerUpload>);

/// How often, and after which pause, taking up an upload is tried again: the file may just have
/// been closed, and stays open for a moment then (`lingering.rs`), or another thread may have taken it up
/// a moment ago.
const TAKE_UP_TRIES: u32 = 60;
const TAKE_UP_PAUSE: Duration = Duration::from_millis(5);

impl Uploads {
    /// Keeps an upload that has just begun.
    pub(super) fn insert(&self, name: &RepositoryName, upload: &Arc<dyn LayerUpload>) {
        let mut table = self.table.lock();
        table.retain(|_, (_, upload)| upload.strong_count() > 0);
        table.insert(upload.uuid(), (name.clone(), Arc::downgrade(upload)));
    }

    /// The upload if some file of it is open.
    pub(super) fn get(&self, uuid: &UploadId) -> Option<Arc<dyn LayerUpload>> {
        self.table.lock().get(uuid)?.1.upgrade()
    }

    /// The upload, taken up again if no file of it is open. Errors: `UploadUnknown`, `UploadBusy`.
    pub(super) fn take_up(
        &self, registry: &dyn Registry, name: &RepositoryName, uuid: &UploadId,
    ) -> Result<Arc<dyn LayerUpload>> {
        let mut tries = 0;
        loop {
            if let Some(upload) = self.get(uuid) {
                return Ok(upload);
            }
            match registry.repository(name).layers().resume(uuid) {
                Ok(upload) => {
                    self.insert(name, &upload);
                    return Ok(upload);
                }
                Err(Error::UploadBusy(_)) if tries < TAKE_UP_TRIES => {
                    tries += 1;
                    thread::sleep(TAKE_UP_PAUSE);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// How many uploads are open.
    pub(super) fn count(&self) -> usize {
        self.table.lock().values().filter(|(_, upload)| upload.strong_count() > 0).count()
    }

    /// At most `count` of those that are open.
    pub(super) fn some(&self, count: usize) -> Vec<(RepositoryName, Arc<dyn LayerUpload>)> {
        let table = self.table.lock();
        let open = table.values().filter_map(|(name, it)| Some((name.clone(), it.upgrade()?)));
        open.take(count).collect()
    }
}

/// What the adapter must know of a file that was opened.
pub(super) struct Opened {
    /// The handle's number.
    pub handle: u64,
    /// How the kernel may read it.
    pub reading: Reading,
    /// Whether a close must be told: only files that can be written have something to say then.
    pub flush: bool,
    /// Which inode it is.
    pub ino: Ino,
}

/// How the kernel may read an open file.
pub(super) enum Reading {
    /// Content that never changes: from the layer's own file where there is one, or cached.
    Layer(Arc<dyn Layer>, Kept),
    /// Content that never changes: cached.
    Cached(Kept),
    /// Content that may change: every read asks.
    Direct,
}

/// What the kernel has of the content already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// It may go on with that.
    Valid,
    /// It may be of a time before the content was published, and has to be asked for anew.
    Old,
}

impl Reading {
    /// Whether the kernel may go on with what it has.
    pub(super) fn keeps(&self) -> bool {
        match self {
            Self::Layer(_, kept) | Self::Cached(kept) => *kept == Kept::Valid,
            Self::Direct => false,
        }
    }

    /// The same, with nothing that the kernel kept.
    pub(super) fn anew(self) -> Self {
        match self {
            Self::Layer(layer, _) => Self::Layer(layer, Kept::Old),
            Self::Cached(_) => Self::Cached(Kept::Old),
            Self::Direct => Self::Direct,
        }
    }
}
