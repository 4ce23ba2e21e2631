//! An upload in progress: written from anywhere, hashed on the way, finished or cancelled once.
//!
//! Life: open → its data is a blob → its link is there, finished. The middle state lasts for one
//! rename; when that fails, `finish` can be called again, and nobody can write any more.
//!
//! Who has an upload open holds an exclusive lock on its data file, so there is one writer among all
//! processes. Everything is reached from the repository's folder, which is held open, so that a
//! repository can be renamed under its uploads.

use crate::model::{
    Area, AttributesChange, Digest, Error, RepositoryName, Result, UploadId, UploadName,
};
use crate::registry::{Allocation, Layer, LayerUpload, UploadStat};
use crate::store::{
    Store, attributes,
    blobs::read_fully,
    durable::Scratch,
    finish::Stored,
    folder::{self, Folder, Place},
    folder_time, layout, notes,
    progress::Progress,
    repository::LocalRepository,
    states,
    upload_index::Key,
    uploads::{self, Known},
};
use parking_lot::{Mutex, MutexGuard};
use rustix::fs::{self, FallocateFlags, FlockOperation};
use std::{
    any::Any,
    fs::File,
    io::Write as _,
    ops::Range,
    os::{
        fd::{AsFd as _, BorrowedFd},
        unix::fs::FileExt as _,
    },
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering},
    },
};

/// An upload, open. To drop it is to close it.
pub(super) struct LocalUpload {
    shared: Arc<Shared>,
}

/// What the upload and the threads that follow it share.
pub(super) struct Shared {
    pub(super) store: Arc<Store>,
    pub(super) repository: Folder,
    /// What the repository was called when the upload was taken up.
    pub(super) home: RepositoryName,
    /// The repository's folder as the indexes know it.
    pub(super) key: Key,
    pub(super) id: UploadId,
    /// Held to read or change the value only, not while it is written to disk.
    known: Mutex<Known>,
    pub(super) data: File,
    /// Taken for a change of name from beginning to end.
    pub(super) renaming: Mutex<()>,
    /// Life, and how far it is written and hashed. Held while bytes change, see `progress.rs`; and
    /// by `finish`, so that what was verified is what is published. Never held by `stat`.
    pub(super) work: Mutex<Work>,
    /// Finished or cancelled, for those who do not take `work`.
    pub(super) ended: AtomicBool,
    /// How often the upload got another name.
    pub(super) renames: AtomicU64,
    /// The names on the way to the data that are known to survive a power cut: how often the upload
    /// had been renamed, and where its repository lay. Held to read or change the value only.
    pub(super) names_synced: Mutex<Option<(u64, PathBuf)>>,
    /// The number with which the disk refused bytes that were written, or 0. Until all is written
    /// anew, that is why the content is another.
    pub(super) lost: AtomicI32,
    /// Held by who syncs the data, see `finish.rs`: after how many edits that was done last, and how
    /// long the data was.
    pub(super) synced: Mutex<Option<(u64, u64)>>,
    /// How many edits there were.
    pub(super) edits: AtomicU64,
    /// How often that failed.
    pub(super) failures: AtomicU64,
    /// Waits for a follower already.
    pub(super) queued: AtomicBool,
}

/// What `work` guards.
pub(super) struct Work {
    pub(super) life: Life,
    pub(super) progress: Progress,
    /// How many failures to sync `progress` takes into account.
    pub(super) failures_known: u64,
    /// What is let go when followers have nothing more to do. Never dropped under the lock: it may
    /// be the upload itself.
    pub(super) holds: Vec<Box<dyn Any + Send>>,
}

/// Where in its life an upload is.
pub(super) enum Life {
    /// Bytes may come.
    Open,
    /// The data has become a blob, and the links are yet to come.
    Stored(Box<Stored>),
    /// It is a layer.
    Finished,
    /// It is gone. Its data goes with the last who has it open, and is nobody else's.
    Cancelled,
    /// It is gone, and its data is a blob, or was put as a manifest.
    Withdrawn,
    /// Nobody has it open, and somebody else may take it up.
    Closed,
}

impl LocalUpload {
    /// Begins an upload in a repository.
    pub(super) fn begin(
        home: &LocalRepository, repository: Folder, name: &UploadName, change: &AttributesChange,
    ) -> Result<Self> {
        let id = UploadId::random();
        let (data, known) = uploads::make(&home.store, &repository, id, name, change)?;
        let upload = Self::new(home, repository, id, data, known.clone(), Progress::default())?;
        let shared = &upload.shared;
        shared.store.upload_indexes.note(&shared.repository, shared.key, id, known)?;
        Ok(upload)
    }

    /// Takes up an upload. Errors: `UploadUnknown`, `UploadBusy`.
    pub(super) fn resume(home: &LocalRepository, repository: Folder, id: UploadId) -> Result<Self> {
        let (data, known) =
            uploads::open(&home.store, &repository, id)?.ok_or(Error::UploadUnknown(id))?;
        let path = || repository.path_of(layout::upload_file(id, layout::DATA));
        let stat = attributes::stat(&data, path)?;
        let kept = states::take_up(&repository, id, &stat)?;
        let noted = notes::take_up(&home.store, id, &stat)?;
        let length = folder::length(&stat);
        let progress = Progress::resumed(kept, noted, length);
        let hashed = progress.digester().length();
        log::info!("upload {id} resumes: {hashed} of {length} bytes are hashed already");
        let upload = Self::new(home, repository, id, data, known, progress)?;
        upload.shared.wake(&upload.shared.work.lock());
        Ok(upload)
    }

    fn new(
        home: &LocalRepository, repository: Folder, id: UploadId, data: File, known: Known,
        progress: Progress,
    ) -> Result<Self> {
        let key = folder::identity(&repository.stat_self()?);
        let shared = Arc::new(Shared {
            store: Arc::clone(&home.store),
            repository,
            home: home.name.clone(),
            key,
            id,
            known: Mutex::new(known),
            data,
            renaming: Mutex::new(()),
            work: Mutex::new(Work {
                life: Life::Open,
                progress,
                failures_known: 0,
                holds: Vec::new(),
            }),
            ended: AtomicBool::new(false),
            lost: AtomicI32::new(0),
            renames: AtomicU64::new(0),
            names_synced: Mutex::new(None),
            synced: Mutex::new(None),
            edits: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            queued: AtomicBool::new(false),
        });
        Ok(Self { shared })
    }
}

#[cfg(test)]
impl LocalUpload {
    /// Whether a sync would find nothing to do about names.
    pub(super) fn has_synced_names(&self) -> bool {
        *self.shared.names_synced.lock() == self.shared.names()
    }
}

impl Drop for LocalUpload {
    fn drop(&mut self) {
        let mut work = self.shared.work.lock();
        if let Life::Open = work.life {
            work.life = Life::Closed;
        }
        // A follower may hold the file for a moment longer, and the lock would last with it.
        if let Err(errno) = fs::flock(&self.shared.data, FlockOperation::Unlock) {
            log::warn!("upload {} stays locked for a moment: {errno}", self.shared.id);
        }
    }
}

impl Shared {
    pub(super) fn path(&self, file: &str) -> PathBuf {
        self.repository.path_of(layout::upload_file(self.id, file))
    }

    pub(super) fn unknown(&self) -> Error {
        Error::UploadUnknown(self.id)
    }

    /// Refuses an upload that has ended.
    fn check(&self) -> Result<()> {
        if self.ended.load(Ordering::Acquire) { Err(self.unknown()) } else { Ok(()) }
    }

    /// The work on an upload that can still be written.
    fn open_work(&self) -> Result<MutexGuard<'_, Work>> {
        let work = self.work.lock();
        if let Life::Open = work.life { Ok(work) } else { Err(self.unknown()) }
    }

    pub(super) fn length(&self) -> Result<u64> {
        attributes::stat(&self.data, || self.path(layout::DATA)).map(|stat| folder::length(&stat))
    }

    pub(super) fn io(&self, doing: &'static str) -> impl FnOnce(std::io::Error) -> Error {
        Error::io(doing, self.path(layout::DATA))
    }

    /// Removes the upload's folder, at once.
    pub(super) fn remove_folder(&self) -> Result<()> {
        self.forget_folder(|scratch, place| scratch.delete(place, layout::STARTED_AT))
    }

    /// Removes the upload's folder, in which there is no data any more, at once.
    pub(super) fn keep_folder(&self) -> Result<()> {
        self.forget_folder(|scratch, place| self.store.spares.keep(scratch, place))
    }

    fn forget_folder(
        &self, remove: impl FnOnce(&Scratch, Place<'_>) -> Result<bool>,
    ) -> Result<()> {
        let at = layout::upload(self.id);
        let name = self.known.lock().name.clone();
        let remove = || remove(self.store.scratch()?, self.repository.place(&at));
        self.store.in_area(&self.repository, area_of(name.as_ref()), remove)?;
        self.store.upload_indexes.forget(self.key, self.id);
        folder_time::forget(&self.repository, name.as_ref());
        notes::remove(&self.store, self.id)
    }
}

/// Where people see an upload; those of other programs have no name.
fn area_of(name: Option<&UploadName>) -> Area {
    name.map_or(Area::Uploads, UploadName::area)
}

impl LayerUpload for LocalUpload {
    fn uuid(&self) -> UploadId {
        self.shared.id
    }

    fn stat(&self) -> Result<UploadStat> {
        let shared = &self.shared;
        shared.check()?;
        let stat = attributes::stat(&shared.data, || shared.path(layout::DATA))?;
        let known = shared.known.lock().clone();
        Ok(UploadStat {
            uuid: shared.id,
            name: known.name,
            started_at: known.started_at,
            length: folder::length(&stat),
            attributes: attributes::attributes(&stat),
        })
    }

    fn write_at(&self, data: &[u8], offset: u64) -> Result<()> {
        if data.is_empty() {
            return self.shared.edit("write", u64::MAX, |_| Ok(()), |_| {});
        }
        let end = offset.saturating_add(data.len() as u64);
        self.shared.edit(
            "write",
            offset,
            |file| file.write_all_at(data, offset),
            |progress| progress.wrote(offset, end),
        )
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        read_fully(&self.shared.data, buffer, offset).map_err(self.shared.io("read"))
    }

    fn truncate(&self, length: u64) -> Result<()> {
        let cut = |progress: &mut Progress| progress.cut(length);
        self.shared.edit("cut", length, |file| file.set_len(length), cut)?;
        if length == 0 {
            self.shared.lost.store(0, Ordering::Relaxed);
        }
        Ok(())
    }

    fn allocate(&self, range: Range<u64>, kind: Allocation) -> Result<()> {
        let (flags, doing, changed_from) = match kind {
            Allocation::Extend => (FallocateFlags::empty(), "reserve room for", u64::MAX),
            Allocation::Reserve => (FallocateFlags::KEEP_SIZE, "reserve room for", u64::MAX),
            Allocation::Punch => (
                FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
                "punch a hole into",
                range.start,
            ),
        };
        let length = range.end.saturating_sub(range.start);
        let allocate = |file: &File| Ok(fs::fallocate(file, flags, range.start, length)?);
        // Zeros that nobody wrote are hashed at finish, as those of any hole are.
        self.shared.edit(doing, changed_from, allocate, |_| {})
    }

    fn rename(&self, name: &UploadName) -> Result<()> {
        let shared = &self.shared;
        let _renaming = shared.renaming.lock();
        shared.check()?;
        let draft = shared.store.scratch()?.draft()?;
        draft
            .file()
            .write_all(&uploads::name_text(shared.id, name))
            .map_err(shared.io("rename"))?;
        draft.sync()?;
        let at = layout::upload_file(shared.id, layout::NAME);
        if shared.repository.stat(layout::upload(shared.id))?.is_none() {
            return Err(shared.unknown());
        }
        draft.publish(shared.repository.place(&at))?;
        shared.renames.fetch_add(1, Ordering::AcqRel);
        let (before, known) = {
            let mut known = shared.known.lock();
            (known.name.replace(name.clone()), known.clone())
        };
        folder_time::forget(&shared.repository, before.as_ref());
        folder_time::forget(&shared.repository, Some(name));
        for area in [area_of(before.as_ref()), name.area()] {
            shared.store.area_changed(&shared.repository, area);
        }
        shared.store.upload_indexes.note(&shared.repository, shared.key, shared.id, known)
    }

    fn digest(&self) -> Result<Digest> {
        let mut work = self.shared.open_work()?;
        self.shared.catch_up(&mut work, None)
    }

    fn sync(&self) -> Result<()> {
        let shared = &self.shared;
        shared.check()?;
        shared.sync()
    }

    fn settle(&self, hold: Box<dyn Any + Send>) {
        let mut work = self.shared.work.lock();
        work.progress.settle();
        // A follower that finds nothing more to do lets go, see `hashing.rs`.
        if work.progress.has_task() {
            work.holds.push(hold);
            self.shared.wake(&work);
        }
    }

    fn finish(&self, digest: &Digest) -> Result<Arc<dyn Layer>> {
        let shared = &self.shared;
        let _renaming = shared.renaming.lock();
        let mut work = shared.work.lock();
        let passage;
        let (stored, links) = match &work.life {
            Life::Open => {
                let stored = shared.verified(&mut work, digest)?;
                let links = shared.begin_links(&shared.repository, &stored)?;
                passage = shared.store_blob(&mut work, &stored)?;
                work.life = Life::Stored(Box::new(stored.clone()));
                (stored, links)
            }
            Life::Stored(stored) if [stored.named, stored.canonical].contains(digest) => {
                passage = shared.store.pass()?;
                shared.store.renew(&stored.canonical, &passage)?;
                ((**stored).clone(), shared.begin_links(&shared.repository, stored)?)
            }
            Life::Stored(stored) => {
                let computed = stored.canonical;
                return Err(Error::DigestMismatch { expected: *digest, computed });
            }
            Life::Finished | Life::Cancelled | Life::Withdrawn | Life::Closed => {
                return Err(shared.unknown());
            }
        };
        let layer = shared.link(&stored, links)?;
        drop(passage);
        work.life = Life::Finished;
        shared.ended.store(true, Ordering::Release);
        Ok(layer)
    }

    fn cancel(&self) -> Result<()> {
        self.shared.end(Life::Cancelled)
    }

    fn withdraw(&self) -> Result<()> {
        self.shared.end(Life::Withdrawn)
    }

    fn backing_file(&self) -> Option<BorrowedFd<'_>> {
        Some(self.shared.data.as_fd())
    }
}
