//! The mount: every operation of a file system, on plain values, over the interfaces of a registry.
//!
//! [`RegistryFs`] can be called without a kernel. `fuse/` decodes requests for it and encodes its
//! answers, `mount.rs` mounts; they are the only files that know fuser. Numbers of errors are chosen
//! in `errno.rs`.

pub mod errno;
pub mod fault;
pub mod node;
mod nodes;

mod attr;
mod awaited;
mod backing;
mod control;
mod counters;
mod entries;
mod folders;
mod fuse;
mod fusermount;
mod handles;
mod inodes;
mod keeper;
mod lanes;
mod layer_writer;
mod lingering;
mod link;
mod listing;
mod lookup;
mod manifest_writer;
mod mapping;
pub mod mount;
mod mount_error;
mod mounted;
pub mod mountinfo;
mod open;
mod promises;
mod refusals;
mod rename;
mod staged_link;
mod staging;
mod transfer;
mod turns;
mod xattr;

pub use attr::{Entry, FileStat};
pub use control::{Metric, MetricSource, StatusSource, errors_file, quoted};
pub use inodes::Ino;
pub use open::OpenMode;
pub use rename::RenameMode;

#[cfg(test)]
mod tests;

use crate::fs::awaited::Awaited;
use crate::fs::counters::{Counters, Operation};
use crate::fs::fault::{Fault, Result};
use crate::fs::handles::{Handles, Uploads, Writers};
use crate::fs::inodes::{Inodes, Known};
use crate::fs::lingering::Lingering;
use crate::fs::mounted::Mounted;
use crate::fs::node::Node;
use crate::fs::refusals::Refusals;
use crate::fs::staging::StagingFolders;
use crate::model::{Attributes, AttributesChange, RepositoryName};
use crate::registry::{Registry, Repository};
use std::{
    ffi::OsStr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::SystemTime,
};

/// How a registry is shown.
#[derive(Default)]
pub struct FsOptions {
    /// Shown as the owner of everything, in place of the owner that is kept.
    pub uid: Option<u32>,
    /// Shown as the group of everything, in place of the group that is kept.
    pub gid: Option<u32>,
    /// Permission bits that are never shown.
    pub umask: Option<u32>,
    /// Whether files that a user creates are given to that user; only root can.
    pub gives_files_away: bool,
    /// The groups that files can be given to all the same: those of who mounts.
    pub groups: Vec<u32>,
    /// What is mounted, as `regfs status` shows it.
    pub source: String,
    /// Where it is mounted, as `regfs status` shows it.
    pub mountpoint: PathBuf,
    /// The options it was mounted with, as `regfs status` shows them.
    pub options: String,
    /// Whether the store is open for reading only.
    pub read_only: bool,
    /// Counters of other parts, for `.regfs/metrics`.
    pub metrics: Vec<MetricSource>,
    /// What other parts say in `.regfs/status`.
    pub status: Vec<StatusSource>,
    /// Called when the kernel has let go of most inodes that it held: what they took can soon be
    /// given back to the system. It must not take long.
    pub many_are_forgotten: Option<Box<dyn Fn() + Send + Sync>>,
}

/// The bit of a folder that gives its group to what is made in it.
const SET_GROUP_ID: u32 = 0o2000;

/// Who asks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Caller {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The process.
    pub pid: u32,
}

/// What a call is about: a name in a folder, or what the number stands for when the name is empty.
type Place<'a> = (Ino, &'a OsStr);

/// A registry as a file system.
pub struct RegistryFs {
    registry: Arc<dyn Registry>,
    options: FsOptions,
    inodes: Inodes,
    handles: Handles,
    awaited: Awaited,
    writers: Writers,
    uploads: Uploads,
    lingering: Lingering,
    staging: StagingFolders,
    refusals: Refusals,
    counters: Counters,
    mounted: Mounted,
    /// Calls that are under way, and files whose last close is.
    busy: AtomicUsize,
    started_at: SystemTime,
}

/// Something under way, for as long as this lives.
struct Busy(Arc<RegistryFs>);

impl Busy {
    fn new(fs: &Arc<RegistryFs>) -> Self {
        fs.busy.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(fs))
    }

    fn fs(&self) -> &RegistryFs {
        &self.0
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::AcqRel);
    }
}

impl RegistryFs {
    /// A file system over `registry`.
    pub fn new(registry: Arc<dyn Registry>, options: FsOptions) -> Self {
        Self {
            registry,
            options,
            inodes: Inodes::default(),
            handles: Handles::default(),
            awaited: Awaited::default(),
            writers: Writers::default(),
            uploads: Uploads::default(),
            lingering: Lingering::default(),
            staging: StagingFolders::default(),
            refusals: Refusals::default(),
            counters: Counters::default(),
            mounted: Mounted::default(),
            busy: AtomicUsize::new(0),
            started_at: SystemTime::now(),
        }
    }

    /// An operation is asked for.
    fn began(&self, operation: Operation) {
        self.counters.began(operation);
    }

    /// Whether a call is under way, or the last close of a file.
    pub fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Acquire) > 0
    }

    /// Whether nobody has a file open and no call is under way.
    pub fn is_idle(&self) -> bool {
        self.handles.count() == 0 && !self.is_busy()
    }

    /// What `ino` stands for.
    fn known(&self, ino: Ino) -> Result<Known> {
        self.inodes.get(ino).ok_or(Fault::NoEntry)
    }

    /// The node that `ino` stands for, when its name is still there.
    fn node(&self, ino: Ino) -> Result<Node> {
        let known = self.known(ino)?;
        if known.detached { Err(Fault::Stale) } else { Ok(known.node) }
    }

    /// The node that `ino` stands for; content that was replaced since it was looked up is taken as it
    /// is by now. The kernel looks a stale number up again, and once only, which is not enough where
    /// many rename files over one name.
    fn current(&self, ino: Ino) -> Result<Node> {
        let known = self.known(ino)?;
        let is_content = matches!(known.node, Node::Layer(..) | Node::Tag(..) | Node::Revision(..));
        if known.detached && !(is_content && self.stat(&known.node).is_ok()) {
            return Err(Fault::Stale);
        }
        Ok(known.node)
    }

    fn repository(&self, name: &RepositoryName) -> Arc<dyn Repository> {
        self.registry.repository(name)
    }

    /// The attributes with which `caller` creates a file or folder in `parent`. A folder with the
    /// set-group-ID bit gives its group to what is made in it.
    fn creation(
        &self, caller: &Caller, parent: &Node, permissions: u32,
    ) -> Result<AttributesChange> {
        let folder = self.stat(parent)?.0.attributes;
        let inherited = (folder.permissions & SET_GROUP_ID != 0).then_some(folder.gid);
        let given = self.options.gives_files_away;
        let uid = given.then_some(caller.uid);
        let gid = match inherited {
            Some(gid) => (given || self.options.groups.contains(&gid)).then_some(gid),
            None => given.then_some(caller.gid),
        };
        Ok(AttributesChange {
            permissions: Some(permissions & 0o7777),
            uid: uid.filter(|_| self.options.uid.is_none()),
            gid: gid.filter(|_| self.options.gid.is_none()),
            ..AttributesChange::default()
        })
    }

    /// The same for a folder, which passes the bit on to what is made in it in turn.
    fn creation_of_folder(
        &self, caller: &Caller, parent: &Node, permissions: u32,
    ) -> Result<AttributesChange> {
        let passed_on = self.stat(parent)?.0.attributes.permissions & SET_GROUP_ID;
        self.creation(caller, parent, permissions | passed_on)
    }

    /// The change that gives a second name the attributes of the first. Owners are only given by who
    /// can.
    fn as_linked(&self, attributes: &Attributes) -> AttributesChange {
        let given = self.options.gives_files_away;
        AttributesChange {
            uid: given.then_some(attributes.uid),
            gid: given.then_some(attributes.gid),
            ..AttributesChange::to(attributes)
        }
    }

    /// Chooses the number for a fault, and keeps its line for `.regfs/errors`. `from` is what was to
    /// be moved, linked or copied to `place`.
    fn refuse(
        &self, operation: Operation, caller: &Caller, from: Option<Place<'_>>, place: Place<'_>,
        fault: &Fault,
    ) -> i32 {
        let path = || match from {
            Some(from) => format!("{} -> {}", self.place(from), self.place(place)),
            None => self.place(place),
        };
        self.counters.failed(operation);
        self.refusals.note(operation.name(), caller.pid, path, fault)
    }

    /// The path of a place below the mount point, for people.
    fn place(&self, (ino, name): Place<'_>) -> String {
        let known = self.inodes.get(ino);
        let folder = known.map_or_else(|| format!("inode {}", ino.0), |it| self.path(&it.node));
        match (folder.is_empty(), name.is_empty()) {
            (true, true) => ".".to_owned(),
            (true, false) => name.to_string_lossy().into_owned(),
            (false, true) => folder,
            (false, false) => format!("{folder}/{}", name.to_string_lossy()),
        }
    }

    /// The path of a node below the mount point, for people.
    fn path(&self, node: &Node) -> String {
        let Node::Upload(name, uuid) = node else { return node.path() };
        let stat = match self.uploads.get(uuid) {
            Some(upload) => upload.stat(),
            None => self.repository(name).layers().stat_upload(uuid),
        };
        let Some(upload_name) = stat.ok().and_then(|stat| stat.name) else { return node.path() };
        let repository = Node::Repository(name.clone()).path();
        format!("{repository}/{}", String::from_utf8_lossy(&upload_name.to_bytes()))
    }
}
