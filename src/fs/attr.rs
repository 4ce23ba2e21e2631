//! What stat shows of a node, and how long the kernel may believe it.

use crate::fs::fault::{Fault, Result};
use crate::fs::handles::Writer;
use crate::fs::inodes::{Ino, Known};
use crate::fs::manifest_writer::DraftStat;
use crate::fs::node::Node;
use crate::fs::{FsOptions, RegistryFs};
use crate::model::{Attributes, Error, Reference, RepositoryName, UploadId};
use crate::registry::Subject;
use std::time::{Duration, SystemTime};

/// How long the kernel may believe in a published layer. It never changes, but somebody else may
/// unlink it, and a tool that believes in it for long would not copy it again.
pub(super) const LAYER_LIFE: Duration = Duration::from_secs(5);
/// How long the kernel may believe anything that somebody else may change. The cache before the
/// store believes it for as long, and nobody may be told anything that is older than a second.
const CHANGING_LIFE: Duration = Duration::from_millis(500);
/// How long the kernel may believe in a file that a flush may change at any time.
const UNPUBLISHED_LIFE: Duration = Duration::ZERO;

/// Permissions of what has none of its own: control files.
const CONTROL_PERMISSIONS: u32 = 0o444;
/// Permissions of what is damaged.
const DAMAGED_PERMISSIONS: u32 = 0o600;
/// Permissions of a manifest that is being written, unless somebody says otherwise.
const DRAFT_PERMISSIONS: u32 = 0o644;
/// Permissions of the root, staging folders and the control folder.
const FOLDER_PERMISSIONS: u32 = 0o755;

/// What stat shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStat {
    /// Whether it is a folder; everything else is a regular file.
    pub is_folder: bool,
    /// Length in bytes.
    pub length: u64,
    /// Number of names: 1, or 0 for what was removed while open.
    pub link_count: u32,
    /// Mode, owner and times.
    pub attributes: Attributes,
    /// The length in bytes in which tools had best read and write it.
    pub block_bytes: u32,
}

/// A node as the kernel is told of it.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its number.
    pub ino: Ino,
    /// What stat shows.
    pub stat: FileStat,
    /// How long the kernel may believe name and stat.
    pub life: Duration,
}

impl RegistryFs {
    /// What stat shows of a known inode. Errors: `Stale` when it is gone though nobody has removed its
    /// name here: the kernel then looks the name up again, which it may believe in for longer.
    pub fn getattr(&self, ino: Ino) -> Result<Entry> {
        let known = self.known(ino)?;
        let (stat, life) = match self.stat(&known.node) {
            Ok((stat, life)) if !known.detached => (stat, life),
            Ok((stat, _)) => (FileStat { link_count: 0, ..stat }, UNPUBLISHED_LIFE),
            // An open file whose name is gone: nothing more is known of it.
            Err(fault) if fault.is_gone() && known.detached => {
                (self.removed(ino, &known), UNPUBLISHED_LIFE)
            }
            Err(fault) if fault.is_gone() => return Err(Fault::Stale),
            Err(fault) => return Err(fault),
        };
        Ok(Entry { ino, stat, life })
    }

    /// What stat shows of a node, and for how long. Errors: that it does not exist.
    pub(super) fn stat(&self, node: &Node) -> Result<(FileStat, Duration)> {
        let (stat, life) = match node {
            Node::Root => {
                let attributes = self.registry.stat(None)?.attributes;
                (folder(attributes), CHANGING_LIFE)
            }
            Node::Repository(name) => {
                let attributes = self.registry.stat(Some(name))?.attributes;
                (folder(attributes), CHANGING_LIFE)
            }
            Node::Area(name, area) => {
                let attributes = self.repository(name).attributes().get(&Subject::Area(*area))?;
                (folder(attributes), CHANGING_LIFE)
            }
            Node::StagingFolder(name, area, path) => {
                let known = self.staging.attributes(&(name.clone(), *area, path.clone()));
                (folder(known.unwrap_or_else(|| self.folder_attributes())), CHANGING_LIFE)
            }
            Node::Control => (folder(self.folder_attributes()), CHANGING_LIFE),
            Node::ControlFile(control) => {
                let length = self.control_text(*control).len() as u64;
                (file(length, self.own_attributes(CONTROL_PERMISSIONS)), UNPUBLISHED_LIFE)
            }
            Node::Layer(name, digest) => match self.repository(name).layers().stat(digest) {
                // A layer that is written anew gets another time, and perhaps other attributes.
                Ok(stat) if self.writers.has(node) => {
                    (file(stat.length, stat.attributes), UNPUBLISHED_LIFE)
                }
                Ok(stat) => (file(stat.length, stat.attributes), LAYER_LIFE),
                Err(Error::LayerUnknown(..)) => (self.writer_stat(node)?, UNPUBLISHED_LIFE),
                Err(Error::LinkDamaged { .. } | Error::Damaged { .. }) => self.damaged(),
                Err(error) => return Err(error.into()),
            },
            Node::Tag(name, tag) => self.manifest_stat(node, name, &Reference::Tag(tag.clone()))?,
            Node::Revision(name, digest) => {
                self.manifest_stat(node, name, &Reference::Digest(*digest))?
            }
            Node::Upload(name, uuid) => (self.upload_stat(name, uuid)?, CHANGING_LIFE),
        };
        Ok((FileStat { attributes: self.options.shown(stat.attributes), ..stat }, life))
    }

    /// A manifest as stored, unless somebody is writing it: then with the writer's attributes, and a
    /// tag with the writer's length, because the kernel appends at the length it is told. What lies
    /// under a digest has its length: the kernel would cut what others read there to another.
    fn manifest_stat(
        &self, node: &Node, name: &RepositoryName, reference: &Reference,
    ) -> Result<(FileStat, Duration)> {
        let stored = self.repository(name).manifests().stat(reference);
        if let Some(Writer::Manifest(writer)) = self.writers.get(node)
            && writer.is_dirty()
            && let Some(draft) = writer.stat()
        {
            let own = self.own_attributes(DRAFT_PERMISSIONS);
            let (base, length) = match (stored, reference) {
                (Ok(stat), Reference::Digest(_)) => (stat.attributes, stat.length),
                (Ok(stat), Reference::Tag(_)) => (stat.attributes, draft.length),
                (Err(_), _) => (own, draft.length),
            };
            return Ok((file(length, draft.attributes_over(base)), UNPUBLISHED_LIFE));
        }
        match stored {
            Ok(stat) => Ok((file(stat.length, stat.attributes), CHANGING_LIFE)),
            Err(error) if error.is_unknown() => Ok((self.writer_stat(node)?, UNPUBLISHED_LIFE)),
            Err(Error::LinkDamaged { .. } | Error::LinkDangling { .. } | Error::Damaged { .. }) => {
                Ok(self.damaged())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// What stat shows of something that is damaged: enough that it can be removed or put again.
    /// Reading it says what is wrong.
    fn damaged(&self) -> (FileStat, Duration) {
        (file(0, self.own_attributes(DAMAGED_PERMISSIONS)), UNPUBLISHED_LIFE)
    }

    /// An entry of which nothing is known but that it is listed; good for no time at all.
    pub(super) fn unknown_entry(&self, node: &Node) -> Entry {
        let (stat, life) = if node.is_folder() {
            (self.unknown_folder(), UNPUBLISHED_LIFE)
        } else {
            self.damaged()
        };
        Entry { ino: self.inodes.look_up(node.clone()), stat, life }
    }

    /// A folder of which nothing is known.
    pub(super) fn unknown_folder(&self) -> FileStat {
        folder(self.own_attributes(FOLDER_PERMISSIONS))
    }

    /// What the youngest writer of `node` has so far. Errors: `NoEntry` when nobody writes it.
    pub(super) fn writer_stat(&self, node: &Node) -> Result<FileStat> {
        match self.writers.get(node) {
            Some(Writer::Layer(writer)) if !writer.is_published() => {
                let stat = writer.stat()?;
                Ok(growing(stat.length, stat.attributes))
            }
            Some(Writer::Manifest(writer)) => {
                let draft = writer.stat().ok_or(Fault::NoEntry)?;
                let own = self.own_attributes(DRAFT_PERMISSIONS);
                Ok(file(draft.length, draft.attributes_over(own)))
            }
            Some(Writer::Layer(_)) | None => Err(Fault::NoEntry),
        }
    }

    fn upload_stat(&self, name: &RepositoryName, uuid: &UploadId) -> Result<FileStat> {
        let stat = match self.uploads.get(uuid) {
            Some(upload) => upload.stat()?,
            None => self.repository(name).layers().stat_upload(uuid)?,
        };
        Ok(growing(stat.length, stat.attributes))
    }

    /// A file whose name is gone: who has it open reads on, and must be told how long it is.
    fn removed(&self, ino: Ino, known: &Known) -> FileStat {
        let attributes = self.options.shown(self.own_attributes(0));
        let stat = if known.node.is_folder() {
            folder(attributes)
        } else {
            file(self.handles.of(ino).map_or(0, |handle| handle.length()), attributes)
        };
        FileStat { link_count: 0, ..stat }
    }

    /// Attributes of what exists in the mount only.
    fn own_attributes(&self, permissions: u32) -> Attributes {
        let at = self.started_at;
        Attributes {
            permissions,
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
            modified_at: at,
            accessed_at: at,
            changed_at: at,
        }
    }

    /// Attributes of a folder that exists in the mount only, and of which nobody said anything.
    pub(super) fn folder_attributes(&self) -> Attributes {
        self.own_attributes(FOLDER_PERMISSIONS)
    }
}

impl DraftStat {
    /// What is shown of a draft that is to replace something with the attributes `base`.
    fn attributes_over(&self, base: Attributes) -> Attributes {
        Attributes {
            permissions: self.attributes.permissions.unwrap_or(base.permissions),
            uid: self.attributes.uid.unwrap_or(base.uid),
            gid: self.attributes.gid.unwrap_or(base.gid),
            modified_at: self.modified_at,
            accessed_at: self.attributes.accessed_at.unwrap_or(self.modified_at),
            changed_at: SystemTime::now(),
        }
    }
}

impl FsOptions {
    /// The attributes as the mount's options show them.
    fn shown(&self, kept: Attributes) -> Attributes {
        Attributes {
            uid: self.uid.unwrap_or(kept.uid),
            gid: self.gid.unwrap_or(kept.gid),
            permissions: kept.permissions & !self.umask.unwrap_or(0),
            ..kept
        }
    }
}

/// What tools take for small files and folders.
const BLOCK_BYTES_SMALL: u32 = 4096;
/// What cp takes for big files: fewer and longer requests, each as long as the kernel sends them.
const BLOCK_BYTES_BIG: u32 = 1 << 20;

fn folder(attributes: Attributes) -> FileStat {
    let block_bytes = BLOCK_BYTES_SMALL;
    FileStat { is_folder: true, length: 0, link_count: 1, attributes, block_bytes }
}

/// A file that has its length; small ones are not worth a big buffer.
fn file(length: u64, attributes: Attributes) -> FileStat {
    let big = length >= u64::from(BLOCK_BYTES_BIG);
    let block_bytes = if big { BLOCK_BYTES_BIG } else { BLOCK_BYTES_SMALL };
    FileStat { is_folder: false, length, link_count: 1, attributes, block_bytes }
}

/// A file that is being written: nobody knows how long it gets.
fn growing(length: u64, attributes: Attributes) -> FileStat {
    FileStat { block_bytes: BLOCK_BYTES_BIG, ..file(length, attributes) }
}
