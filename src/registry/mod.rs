//! The interfaces of a registry: what a body of one must do, whatever it stands on.
//!
//! They are those of docker/distribution's `registry.go` of February 2015 with its TODO list built
//! in: get by tag and by digest, a put that can read its tag from the manifest, an explicit
//! `tag(digest, tag)`, listings that can be taken up again, enumeration of all revisions and of
//! all repositories. Names are parsed before they arrive. Offsets stand in place of a cursor, since
//! a file handle in FUSE has none.
//!
//! Every method may block on I/O; none holds a lock of its own while it does, except one that
//! guards the very thing that is asked for.

mod attributes;
mod cursor;
mod layers;
mod manifests;
mod references;

pub mod memory;

pub use attributes::{AttributeService, Subject};
pub use cursor::{Cursor, Position};
pub use layers::{
    Allocation, Layer, LayerService, LayerStat, LayerUpload, UploadReader, UploadStat,
};
pub use manifests::{ManifestService, ManifestStat, PutAs, Retag};
pub use references::{ReferenceCheck, check_put};

use crate::model::{Attributes, AttributesChange, Component, RepositoryName, Result};
use std::sync::Arc;

/// A registry: repositories by name.
pub trait Registry: Send + Sync {
    /// A handle; no I/O. The repository need not exist: content that is put makes it.
    fn repository(&self, name: &RepositoryName) -> Arc<dyn Repository>;

    /// What is at `name`, or at the root for `None`. Errors: `RepositoryUnknown`.
    fn stat(&self, name: Option<&RepositoryName>) -> Result<RepositoryStat>;

    /// The components one level below `name`, or the root, that lead to repositories. A name that
    /// does not exist has none.
    fn children(&self, name: Option<&RepositoryName>) -> Result<Box<dyn Cursor<Component>>>;

    /// Every repository that has content or once had, in no particular order.
    fn repositories(&self) -> Result<Box<dyn Cursor<RepositoryName>>>;

    /// Makes an empty repository, and the namespaces above it. Errors: `Exists`.
    fn create(&self, name: &RepositoryName) -> Result<()>;

    /// Removes a repository that has no tags, layers, uploads and no repositories below it;
    /// untagged revisions go with it. Errors: `RepositoryUnknown`, `NotEmpty`.
    fn remove(&self, name: &RepositoryName) -> Result<()>;

    /// Gives `from`, and everything below it, the name `to`, at once. An empty repository `to` is
    /// replaced. Errors: `RepositoryUnknown`, `NotEmpty` for `to`, `Unsupported` when one lies
    /// within the other.
    fn rename(&self, from: &RepositoryName, to: &RepositoryName) -> Result<()>;

    /// Changes attributes of the root's folder.
    fn change(&self, change: &AttributesChange) -> Result<()>;

    /// The value of an extended attribute of the root's folder; this and the next two are as in
    /// [`AttributeService`].
    fn extended(&self, name: &str) -> Result<Option<Vec<u8>>>;

    /// The names of the extended attributes of the root's folder.
    fn extended_names(&self) -> Result<Vec<String>>;

    /// Sets an extended attribute of the root's folder, or removes it for `None`.
    fn set_extended(&self, name: &str, value: Option<&[u8]>) -> Result<()>;

    /// Makes everything that was published before, names included, survive a power cut.
    fn sync(&self) -> Result<()>;

    /// How much room there is.
    fn capacity(&self) -> Result<Capacity>;
}

/// What `stat` tells of a repository or namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RepositoryStat {
    /// Attributes of its folder.
    pub attributes: Attributes,
    /// Whether it has, or once had, content of its own: layers, manifests or uploads.
    pub has_content: bool,
    /// Whether there is a component below it.
    pub has_children: bool,
}

/// Room in a registry, as `df` shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    /// Bytes there are.
    pub bytes: u64,
    /// Bytes that are free.
    pub bytes_free: u64,
    /// Bytes that are free to users other than root.
    pub bytes_available: u64,
    /// Files there can be.
    pub files: u64,
    /// Files there still can be.
    pub files_free: u64,
}

/// A repository: manifests and layers under one name.
pub trait Repository: Send + Sync {
    /// Its name.
    fn name(&self) -> &RepositoryName;
    /// Its manifests and tags.
    fn manifests(&self) -> &dyn ManifestService;
    /// Its layers and uploads.
    fn layers(&self) -> &dyn LayerService;
    /// Attributes of its folders, tags, revisions, layers and uploads.
    fn attributes(&self) -> &dyn AttributeService;
}
