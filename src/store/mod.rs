//! A registry on the local disk, in exactly docker/distribution's layout: a stock docker-registry
//! may serve the same folder at the same time, and a folder that it has written can be opened.
//!
//! Disk is the truth: nothing is remembered here but what an open upload has hashed and under which
//! names uploads are found. Start reading with `layout.rs` (the tree), then `durable.rs` (how
//! anything comes to be there).

mod attributes;
mod blobs;
mod collect;
mod content_folders;
mod directory;
mod durable;
mod edit;
mod finish;
mod folder;
mod folder_time;
mod follower;
mod gate;
mod hashing;
mod last_runs;
mod layout;
mod lending;
mod lengths;
mod links;
mod manifests;
mod mounts;
mod notes;
mod opening;
mod ownership;
mod parts;
mod progress;
mod quarantine;
mod removal;
mod repository;
mod signatures;
mod spares;
mod states;
mod subjects;
mod sweep;
mod sync;
mod tags;
mod upload;
mod upload_index;
mod uploads;
pub mod verify;
mod walk;
mod ways;

pub use collect::{CollectEvent, CollectOptions, Collected, Tally};
pub use last_runs::{LastCollection, LastVerify};
pub use mounts::Unclean;

use crate::model::{AttributesChange, Component, Error, RepositoryName, Result};
use crate::registry::{Capacity, Cursor, ReferenceCheck, Registry, Repository, RepositoryStat};
use attributes::{Carried, attributes};
use directory::Listing;
use durable::Scratch;
use folder::{Folder, is_folder};
use follower::Followers;
use repository::LocalRepository;
use rustix::{
    fs::{self, StatVfs},
    io::Errno,
};
use spares::Spares;
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use upload_index::UploadIndexes;
use walk::Walk;
use ways::Ways;

/// How often making a folder is tried when others remove folders above it.
const MAKES_MAX: usize = 8;

/// How a store is opened.
#[derive(Clone, Copy, Debug, Default)]
pub struct StoreOptions {
    /// Whether a put looks for what the manifest refers to.
    pub reference_check: ReferenceCheck,
    /// Nothing is written, not even what opening would make; every change gives `ReadOnly`.
    pub read_only: bool,
    /// It is opened to be mounted: until [`LocalRegistry::close`] a mark in it says so.
    pub is_mount: bool,
}

/// What a store has done since it was opened.
#[derive(Debug, Default)]
pub struct StoreCounters {
    bytes_hashed: AtomicU64,
}

impl StoreCounters {
    /// Bytes of uploads that were hashed, again or for the first time.
    pub fn bytes_hashed(&self) -> u64 {
        self.bytes_hashed.load(Ordering::Relaxed)
    }

    fn hashed(&self, bytes: u64) {
        self.bytes_hashed.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// A registry on the local disk.
pub struct LocalRegistry {
    store: Arc<Store>,
    is_new: bool,
    unclean: Option<Unclean>,
}

/// What every part of an open store needs. It lives as long as anything opened through it.
struct Store {
    root: Folder,
    reference_check: ReferenceCheck,
    /// `None` when the store is open for reading only: who cannot begin a file cannot write one.
    scratch: Option<Scratch>,
    counters: StoreCounters,
    followers: Followers,
    upload_indexes: UploadIndexes,
    spares: Spares,
    ways: Ways,
    signing_key: signatures::StoreKey,
    document_lengths: lengths::DocumentLengths,
    mark: mounts::Mark,
    /// Says that somebody has the store open.
    _lock: Option<opening::Lock>,
}

impl LocalRegistry {
    /// Ends what was opened to be mounted, cleanly.
    pub fn close(&self) -> Result<()> {
        if let Some(scratch) = &self.store.scratch {
            self.store.spares.clear(scratch);
        }
        self.store.unmark()
    }

    /// What a mount has left that did not end cleanly, if one did not.
    pub fn unclean(&self) -> Option<Unclean> {
        self.unclean
    }

    /// How the last verification ended, if there was one.
    pub fn last_verify(&self) -> Option<LastVerify> {
        LastVerify::read(&self.store.root)
    }

    /// How the last collection ended, if there was one.
    pub fn last_collection(&self) -> Option<LastCollection> {
        LastCollection::read(&self.store.root)
    }

    /// Forgets what need not be remembered.
    pub fn forget(&self) {
        self.store.document_lengths.forget();
    }

    /// Whether there was no registry before it was opened.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// Whether a store lies in the folder `root`.
    pub fn exists(root: &Path) -> bool {
        root.join(layout::REGISTRY).is_dir()
    }

    /// What the store has done since it was opened.
    pub fn counters(&self) -> &StoreCounters {
        &self.store.counters
    }

    fn local(&self, name: &RepositoryName) -> LocalRepository {
        LocalRepository { store: Arc::clone(&self.store), name: name.clone() }
    }
}

impl Store {
    /// What is needed to write. Errors: `ReadOnly`.
    fn scratch(&self) -> Result<&Scratch> {
        self.scratch.as_ref().ok_or(Error::ReadOnly)
    }

    /// Opens a repository's folder.
    fn open_repository(&self, name: &RepositoryName) -> Result<Option<Folder>> {
        self.root.open_folder(layout::repository(name))
    }

    /// A listing of the components below a name, or below the root.
    fn components(&self, name: Option<&RepositoryName>) -> Result<Listing<Component>> {
        let folder = self.root.open_folder(layout::namespace(name))?;
        Listing::new(vec![(
            folder,
            Box::new(|_, entry| {
                Ok(entry.is_folder.then(|| layout::parse_component(&entry.name)).flatten())
            }),
        )])
    }

    /// Begins a file like the one at `at` in `repository`, or like a new one.
    fn carried(
        &self, repository: &Folder, at: &Path, change: &AttributesChange,
    ) -> Result<Carried> {
        let old = Carried::at(repository.place(at))?.unwrap_or_default();
        Ok(old.without_times().but(change))
    }
}

impl Registry for LocalRegistry {
    fn repository(&self, name: &RepositoryName) -> Arc<dyn Repository> {
        Arc::new(self.local(name))
    }

    fn stat(&self, name: Option<&RepositoryName>) -> Result<RepositoryStat> {
        let at = layout::namespace(name);
        let stat = self.store.root.stat(&at)?.filter(is_folder);
        let stat = stat.ok_or_else(|| match name {
            Some(name) => Error::RepositoryUnknown(name.clone()),
            None => Error::io("stat", self.store.root.path_of(&at))(Errno::NOENT),
        })?;
        // Who may not look into a folder can still see the folder itself.
        let visible = |outcome: Result<bool>| match outcome {
            Err(error) if attributes::is_denied(&error) => Ok(false),
            outcome => outcome,
        };
        let has_children = || Ok(self.store.components(name)?.next()?.is_some());
        Ok(RepositoryStat {
            attributes: attributes(&stat),
            has_content: name.is_some() && visible(self.store.has_content(&at))?,
            has_children: visible(has_children())?,
        })
    }

    fn children(&self, name: Option<&RepositoryName>) -> Result<Box<dyn Cursor<Component>>> {
        Ok(Box::new(self.store.components(name)?))
    }

    fn repositories(&self) -> Result<Box<dyn Cursor<RepositoryName>>> {
        Ok(Box::new(Walk::new(Arc::clone(&self.store))?))
    }

    fn create(&self, name: &RepositoryName) -> Result<()> {
        self.store.scratch()?;
        let at = layout::repository(name);
        let mut makes = 0;
        loop {
            if let Some(parent) = name.parent() {
                self.store.root.make_folders(layout::repository(&parent))?;
            }
            makes += 1;
            match self.store.root.make_folder(&at) {
                Ok(true) => return Ok(()),
                Ok(false) => return Err(Error::Exists(name.to_string())),
                Err(Error::Io { source, .. })
                    if source.kind() == std::io::ErrorKind::NotFound && makes < MAKES_MAX => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn remove(&self, name: &RepositoryName) -> Result<()> {
        let scratch = self.store.scratch()?;
        let at = layout::repository(name);
        let place = self.store.root.place(&at);
        // What cannot be removed is not to wait for anybody.
        let folder = self.store.open_repository(name)?;
        let folder = folder.ok_or_else(|| Error::RepositoryUnknown(name.clone()))?;
        self.store.check_empty(&folder, name)?;
        // What lies in the trash for a moment is in use all the same, and may have to go back.
        let moving = self.store.begin_move()?;
        let passage = self.store.pass()?;
        self.store.check_empty(&folder, name)?;
        let removed = scratch.remove(place)?;
        self.store.ways.forget();
        let Some(removed) = removed else {
            return Err(Error::RepositoryUnknown(name.clone()));
        };
        // Somebody may have put something there between the look and the rename. Nobody can any more
        // but who is just finishing an upload, and looks afterwards whether the repository is there:
        // so this look decides.
        let folder = removed.open_folder()?;
        let check_empty = |folder| self.store.check_empty(folder, name);
        match folder.as_ref().map_or(Ok(()), check_empty) {
            Ok(()) => {
                drop((passage, moving));
                folder.iter().for_each(|folder| self.store.let_revisions_age(folder));
                removed.delete();
                Ok(())
            }
            Err(error) => {
                // Who followed links meanwhile has not found these.
                let noted = self.store.note_move(&moving, &passage);
                if !matches!(removed.put_back(place), Ok(true)) {
                    log::error!("repository {name} could not be put back and is in the trash");
                }
                self.store.ways.forget();
                noted.and(Err(error))
            }
        }
    }

    fn rename(&self, from: &RepositoryName, to: &RepositoryName) -> Result<()> {
        self.store.scratch()?;
        if !self.store.root.has_folder(layout::repository(from))? {
            return Err(Error::RepositoryUnknown(from.clone()));
        }
        if from == to {
            return Ok(());
        }
        if from.is_within(to) || to.is_within(from) {
            return Err(Error::Unsupported("a repository cannot be moved into or out of itself"));
        }
        match self.remove(to) {
            Ok(()) => {}
            Err(error) if error.is_unknown() => {}
            Err(error) => return Err(error),
        }
        if let Some(parent) = to.parent() {
            self.store.root.make_folders(layout::repository(&parent))?;
        }
        let (from, at) = (layout::repository(from), layout::repository(to));
        let root = &self.store.root;
        let moving = self.store.begin_move()?;
        let passage = self.store.pass()?;
        self.store.note_move(&moving, &passage)?;
        let moved = durable::move_new(root.place(&from), root.place(&at))?;
        self.store.ways.forget();
        match moved {
            true => Ok(()),
            // Somebody made it anew meanwhile.
            false => Err(Error::NotEmpty(to.clone())),
        }
    }

    fn change(&self, change: &AttributesChange) -> Result<()> {
        self.store.scratch()?;
        self.store.change_root(change)
    }

    fn extended(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.store.extended_of_root(name)
    }

    fn extended_names(&self) -> Result<Vec<String>> {
        self.store.extended_names_of_root()
    }

    fn set_extended(&self, name: &str, value: Option<&[u8]>) -> Result<()> {
        self.store.scratch()?;
        self.store.set_extended_of_root(name, value)
    }

    fn sync(&self) -> Result<()> {
        sync::store(&self.store.root)
    }

    fn capacity(&self) -> Result<Capacity> {
        let room: StatVfs = fs::fstatvfs(&self.store.root)
            .map_err(Error::io("ask for the room in", self.store.root.path_of("")))?;
        let bytes = |blocks: u64| blocks.saturating_mul(room.f_frsize);
        Ok(Capacity {
            bytes: bytes(room.f_blocks),
            bytes_free: bytes(room.f_bfree),
            bytes_available: bytes(room.f_bavail),
            files: room.f_files,
            files_free: room.f_ffree,
        })
    }
}

#[cfg(test)]
mod tests;
