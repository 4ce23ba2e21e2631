//! How an upload is synced: its bytes, and every name that leads to them.
//!
//! Of a folder of uploads is remembered that the names survive a power cut that lead there, so that
//! who syncs many uploads, one after the other, does not sync the same ten folders each time. A way
//! is known by where it led and which folder was there: one of the same number that was made anew
//! has another time of birth. A system that tells no such time has everything synced each time.

use crate::model::Result;
use crate::store::{folder::Folder, layout, sync, upload::Shared};
use lru::LruCache;
use parking_lot::Mutex;
use rustix::fs::{AtFlags, OFlags, StatxFlags, statx};
use std::{fs::File, num::NonZeroUsize, path::PathBuf, sync::atomic::Ordering};

/// How many are known: repositories in which somebody uploads just now.
const WAYS_MAX: NonZeroUsize = NonZeroUsize::new(64).unwrap();

/// The ways that are known. The lock is held for an operation of the table.
pub(super) struct Ways {
    known: Mutex<LruCache<PathBuf, Birth>>,
}

/// What tells a folder from every other, also from those that are no more.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Birth {
    device: (u32, u32),
    number: u64,
    seconds: i64,
    nanoseconds: u32,
}

impl Default for Ways {
    fn default() -> Self {
        Self { known: Mutex::new(LruCache::new(WAYS_MAX)) }
    }
}

impl Ways {
    /// Makes the names survive a power cut that lead to the folder `uploads` of `repository`.
    pub(super) fn sync(&self, uploads: &Folder, repository: &Folder, root: &Folder) -> Result<()> {
        if self.knows(uploads) {
            return Ok(());
        }
        let way = uploads.path_now().zip(Birth::of(uploads));
        sync::way_up(repository, root)?;
        // What was renamed meanwhile is for the next time.
        if let Some((path, birth)) =
            way.filter(|(path, _)| uploads.path_now().as_ref() == Some(path))
        {
            self.known.lock().put(path, birth);
        }
        Ok(())
    }

    /// Whether the way to this folder is known.
    pub(super) fn knows(&self, uploads: &Folder) -> bool {
        let way = uploads.path_now().zip(Birth::of(uploads));
        way.is_some_and(|(path, birth)| self.known.lock().get(&path) == Some(&birth))
    }

    /// Forgets all: something was renamed, and may be named as before again.
    pub(super) fn forget(&self) {
        self.known.lock().clear();
    }
}

impl Shared {
    /// Makes the bytes, and the names by which they are found, survive a power cut.
    pub(super) fn sync(&self) -> Result<()> {
        // As they are before: what is renamed meanwhile is for the next time.
        let names = self.names();
        if names.is_some() && *self.names_synced.lock() == names {
            return self.sync_data();
        }
        let files = self.files_beside()?;
        files.iter().for_each(|(file, _)| sync::begin(file));
        self.sync_data()?;
        sync::contents(&files)?;
        let uploads = self.repository.open_folder(layout::UPLOADS)?;
        let uploads = uploads.ok_or_else(|| self.unknown())?;
        sync::folder(self.repository.place(&layout::upload(self.id)))?;
        sync::folder(uploads.place("."))?;
        self.store.ways.sync(&uploads, &self.repository, &self.store.root)?;
        *self.names_synced.lock() = names;
        Ok(())
    }

    /// The names on the way to the data; `None` where the system does not tell.
    pub(super) fn names(&self) -> Option<(u64, PathBuf)> {
        Some((self.renames.load(Ordering::Acquire), self.repository.path_now()?))
    }

    /// What lies in the upload's folder beside the data, each with its path.
    fn files_beside(&self) -> Result<Vec<(File, PathBuf)>> {
        let mut files = Vec::new();
        for name in [layout::STARTED_AT, layout::NAME] {
            let at = layout::upload_file(self.id, name);
            let file = self.repository.open_file(&at, OFlags::RDONLY)?;
            files.extend(file.map(|file| (file, self.repository.path_of(&at))));
        }
        Ok(files)
    }
}

impl Birth {
    fn of(folder: &Folder) -> Option<Self> {
        let wanted = StatxFlags::INO | StatxFlags::BTIME;
        let stat = statx(folder, c"", AtFlags::EMPTY_PATH, wanted).ok()?;
        StatxFlags::from_bits_retain(stat.stx_mask).contains(wanted).then_some(Self {
            device: (stat.stx_dev_major, stat.stx_dev_minor),
            number: stat.stx_ino,
            seconds: stat.stx_btime.tv_sec,
            nanoseconds: stat.stx_btime.tv_nsec,
        })
    }
}
