//! Under which names uploads are found: remembered per repository, so that making the ten
//! thousandth upload in a folder does not read ten thousand `name` files.
//!
//! Disk is the truth. What this process does is noted at once; what others do is seen at the next
//! look, at most [`LOOK_AGE_MAX`] later; and an upload that is found is looked at before it is told.

use crate::model::{Area, Result, UploadId, UploadName};
use crate::store::{
    Store,
    attributes::{attributes, is_denied},
    directory::Directory,
    folder::{self, Folder},
    layout, lending, sweep,
    uploads::{self, Known},
};
use lru::LruCache;
use parking_lot::Mutex;
use std::{
    collections::{HashMap, HashSet},
    ffi::{OsStr, OsString},
    num::NonZeroUsize,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

/// How old the last look at the disk may be.
const LOOK_AGE_MAX: Duration = Duration::from_secs(1);
/// How many repositories are remembered: those in which somebody uploads just now.
const REPOSITORIES_MAX: NonZeroUsize = NonZeroUsize::new(32).unwrap();
/// How many uploads are remembered of one repository, some 300 bytes each. With more, every question
/// reads the disk.
const UPLOADS_MAX: usize = 16 << 10;

/// A repository's folder, whatever it is called: device and inode number.
pub(super) type Key = (u64, u64);

/// The indexes of the repositories asked for last.
pub(super) struct UploadIndexes {
    /// Held to find or forget an index only.
    repositories: Mutex<LruCache<Key, Arc<Mutex<UploadIndex>>>>,
}

/// The uploads of one repository. Its mutex is held while the disk is read: it guards exactly what
/// was asked for, and spares others to read the same.
#[derive(Default)]
struct UploadIndex {
    looked_at: Option<Instant>,
    uploads: HashMap<UploadId, Indexed>,
    names: HashMap<UploadName, Vec<UploadId>>,
    /// What lies in or below each folder.
    folders: HashMap<(Area, OsString), HashSet<UploadId>>,
}

/// An upload as it was when its folder last changed at `changed_at`.
struct Indexed {
    known: Known,
    changed_at: SystemTime,
}

impl Default for UploadIndexes {
    fn default() -> Self {
        Self { repositories: Mutex::new(LruCache::new(REPOSITORIES_MAX)) }
    }
}

impl UploadIndexes {
    /// The youngest upload called `name` in the repository in `folder`.
    pub(super) fn find(
        &self, store: &Store, folder: &Folder, name: &UploadName,
    ) -> Result<Option<UploadId>> {
        let index = self.index(folder)?;
        let mut index = index.lock();
        index.look(store, folder)?;
        let mut found = index.named(name);
        while let Some(id) = found {
            // Others may have renamed or ended it since.
            if index.check(folder, id)? {
                break;
            }
            found = index.named(name);
        }
        index.limit();
        Ok(found)
    }

    /// Whether an upload lies in or below the folder of `area` with the path `inner`, in the
    /// repository in `folder`.
    pub(super) fn has_folder(
        &self, store: &Store, folder: &Folder, area: Area, inner: &OsStr,
    ) -> Result<bool> {
        let index = self.index(folder)?;
        let mut index = index.lock();
        index.look(store, folder)?;
        let key = (area, inner.to_owned());
        let one = |index: &UploadIndex| index.folders.get(&key)?.iter().next().copied();
        let mut found = one(&index);
        while let Some(id) = found {
            if index.check(folder, id)? {
                break;
            }
            found = one(&index);
        }
        index.limit();
        Ok(found.is_some())
    }

    /// Every upload in the repository in `folder`, as it is now.
    pub(super) fn all(&self, store: &Store, folder: &Folder) -> Result<Vec<(UploadId, Known)>> {
        let index = self.index(folder)?;
        let mut index = index.lock();
        index.looked_at = None;
        index.look(store, folder)?;
        let uploads = index.uploads.iter();
        let all = uploads.map(|(id, indexed)| (*id, indexed.known.clone())).collect();
        index.limit();
        Ok(all)
    }

    /// What is known of an upload of the repository in `folder`, as it is now.
    pub(super) fn known(&self, folder: &Folder, id: UploadId) -> Result<Option<Known>> {
        let index = self.index(folder)?;
        let mut index = index.lock();
        index.check(folder, id)?;
        let known = index.uploads.get(&id).map(|indexed| indexed.known.clone());
        index.limit();
        Ok(known)
    }

    /// Notes that this process made or renamed an upload.
    pub(super) fn note(&self, folder: &Folder, key: Key, id: UploadId, known: Known) -> Result<()> {
        let Some(index) = self.repositories.lock().get(&key).cloned() else { return Ok(()) };
        let mut index = index.lock();
        if let Some(stat) = folder.glance(layout::upload(id))? {
            index.insert(id, Indexed { known, changed_at: attributes(&stat).changed_at });
            index.limit();
        }
        Ok(())
    }

    /// Notes that this process ended an upload.
    pub(super) fn forget(&self, key: Key, id: UploadId) {
        let index = self.repositories.lock().get(&key).cloned();
        if let Some(index) = index {
            index.lock().remove(id);
        }
    }

    fn index(&self, folder: &Folder) -> Result<Arc<Mutex<UploadIndex>>> {
        let key = folder::identity(&folder.stat_self()?);
        Ok(Arc::clone(self.repositories.lock().get_or_insert(key, Arc::default)))
    }
}

impl UploadIndex {
    /// Looks at the disk, unless the last look is fresh. Reads only what changed.
    fn look(&mut self, store: &Store, folder: &Folder) -> Result<()> {
        if self.looked_at.is_some_and(|then| then.elapsed() < LOOK_AGE_MAX) {
            return Ok(());
        }
        // Before the look, so that what happens during it is seen at the next one.
        let now = Instant::now();
        let mut before = std::mem::take(&mut self.uploads);
        self.names.clear();
        self.folders.clear();
        self.looked_at = None;
        let open = || {
            let uploads = folder.open_folder(layout::UPLOADS)?;
            uploads.map(|uploads| Directory::of(&uploads)).transpose()
        };
        let opened = match open() {
            // Names lie in the uploads: to find one, all are looked at, where a disk looks at none.
            Err(error) if is_denied(&error) => {
                lending::to_owner(folder.place(layout::UPLOADS), open)?
            }
            opened => opened?,
        };
        let Some(mut directory) = opened else { return Ok(()) };
        while let Some(entry) = directory.next()? {
            let Some(id) = layout::parse_upload(&entry.name) else { continue };
            let Some(stat) = folder.stat(layout::upload(id))? else { continue };
            let changed_at = attributes(&stat).changed_at;
            let same = before.remove(&id).filter(|indexed| indexed.changed_at == changed_at);
            let known = match same {
                Some(indexed) => Some(indexed.known),
                None => uploads::read_known(folder, id)?,
            };
            match known {
                Some(known) if sweep::sweep_abandoned(store, folder, id, &known) => {}
                Some(known) => self.insert(id, Indexed { known, changed_at }),
                None => sweep::sweep_upload(store, folder, id, &stat)?,
            }
        }
        self.looked_at = Some(now);
        Ok(())
    }

    /// Looks whether an upload is as we know it. If not, it is known better afterwards.
    fn check(&mut self, folder: &Folder, id: UploadId) -> Result<bool> {
        let Some(stat) = folder.glance(layout::upload(id))? else {
            self.remove(id);
            return Ok(false);
        };
        let changed_at = attributes(&stat).changed_at;
        let indexed = self.uploads.get(&id);
        if indexed.is_some_and(|indexed| indexed.changed_at == changed_at) {
            return Ok(true);
        }
        let before = indexed.map(|indexed| indexed.known.clone());
        match uploads::read_known(folder, id)? {
            Some(known) => {
                let same = before.as_ref() == Some(&known);
                self.insert(id, Indexed { known, changed_at });
                Ok(same)
            }
            None => {
                self.remove(id);
                Ok(false)
            }
        }
    }

    /// The youngest upload called `name`.
    fn named(&self, name: &UploadName) -> Option<UploadId> {
        let youth = |id: &&UploadId| self.uploads.get(id).map(|upload| upload.known.youth(**id));
        self.names.get(name)?.iter().max_by_key(youth).copied()
    }

    fn insert(&mut self, id: UploadId, indexed: Indexed) {
        self.remove(id);
        if let Some(name) = &indexed.known.name {
            self.names.entry(name.clone()).or_default().push(id);
            for folder in folders_of(name) {
                self.folders.entry(folder).or_default().insert(id);
            }
        }
        self.uploads.insert(id, indexed);
    }

    fn remove(&mut self, id: UploadId) {
        let Some(name) = self.uploads.remove(&id).and_then(|indexed| indexed.known.name) else {
            return;
        };
        if let Some(ids) = self.names.get_mut(&name) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.names.remove(&name);
            }
        }
        for folder in folders_of(&name) {
            if let Some(ids) = self.folders.get_mut(&folder) {
                ids.remove(&id);
                if ids.is_empty() {
                    self.folders.remove(&folder);
                }
            }
        }
    }

    /// Forgets everything when it is too much.
    fn limit(&mut self) {
        if self.uploads.len() > UPLOADS_MAX {
            *self = Self::default();
        }
    }
}

/// The folders in or below which an upload of that name lies.
fn folders_of(name: &UploadName) -> impl Iterator<Item = (Area, OsString)> {
    name.folders().map(|folder| (name.area(), folder.to_owned()))
}
