//! An upload in progress: written from anywhere, hashed on the way, finished or cancelled once.
//!
//! Life: open → its data is a blob → its link is there, finished. The middle state lasts for one
//! rename; when that fails, `finish` can be called again, and nobody can write any more.
//!
//! Who has an upload open holds an exclusive lock on its data file, so there is one writer among all
//! processes. Everything is reached from the repository's folder, which is held open, so that a
//! repository can be renamed under its uploads.

use crate::model::{
    Algorithm, AttributesChange, Digest, Error, Hasher, Result, UploadId, UploadName,
};
use crate::registry::{Layer, LayerUpload, UploadStat};
use crate::store::{
    Store,
    attributes::{self, Carried},
    blobs::read_fully,
    durable::{self, Draft},
    folder::{self, Folder},
    follower::Follow,
    layout, links,
    progress::{Keep, Progress, STEP_BYTES, Task},
    repository::LocalRepository,
    states,
    upload_index::Key,
    uploads::{self, Known},
};
use parking_lot::{Mutex, MutexGuard};
use rustix::fs::{self, FlockOperation};
use std::{
    fs::File,
    io::Write as _,
    os::{
        fd::{AsFd as _, BorrowedFd},
        unix::fs::FileExt as _,
    },
    path::PathBuf,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

/// How many steps a follower takes before it looks after other uploads.
const STEPS_PER_TURN: usize = 16;

/// An upload, open. To drop it is to close it.
pub(super) struct LocalUpload {
    shared: Arc<Shared>,
}

/// What the upload and the threads that follow it share.
struct Shared {
    store: Arc<Store>,
    /// Where the repository lay when the upload was opened.
    home: PathBuf,
    repository: Folder,
    /// The repository's folder as the indexes know it.
    key: Key,
    id: UploadId,
    /// Held to read or change the value only, not while it is written to disk.
    known: Mutex<Known>,
    data: File,
    /// Taken for a change of name from beginning to end.
    renaming: Mutex<()>,
    /// Life, and how far it is written and hashed. Held while bytes change, see `progress.rs`; and
    /// by `finish`, so that what was verified is what is published. Never held by `stat`.
    work: Mutex<Work>,
    /// Finished or cancelled, for those who do not take `work`.
    ended: AtomicBool,
    /// The names on the way to the data are known to survive a power cut.
    names_synced: AtomicBool,
    /// Waits for a follower already.
    queued: AtomicBool,
}

struct Work {
    life: Life,
    progress: Progress,
}

enum Life {
    /// Bytes may come.
    Open,
    /// The data has become a blob, and the links are yet to come.
    Stored(Box<Stored>),
    /// It is a layer.
    Finished,
    /// It is gone.
    Cancelled,
    /// Nobody has it open, and somebody else may take it up.
    Closed,
}

/// What is left to do once the data is a blob.
#[derive(Clone)]
struct Stored {
    /// The digest that was asked for.
    named: Digest,
    canonical: Digest,
    carried: Carried,
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
        let (data, known) = uploads::open(&repository, id)?.ok_or(Error::UploadUnknown(id))?;
        let path = || repository.path_of(layout::upload_file(id, layout::DATA));
        let stat = attributes::stat(&data, path)?;
        let kept = states::take_up(&repository, id, &stat)?;
        let length = folder::length(&stat);
        log::info!("upload {id} resumes: {} of {length} bytes are hashed already", kept.length());
        let progress = Progress::resumed(kept, length);
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
            home: layout::repository(&home.name),
            repository,
            key,
            id,
            known: Mutex::new(known),
            data,
            renaming: Mutex::new(()),
            work: Mutex::new(Work { life: Life::Open, progress }),
            ended: AtomicBool::new(false),
            names_synced: AtomicBool::new(false),
            queued: AtomicBool::new(false),
        });
        Ok(Self { shared })
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
    fn path(&self, file: &str) -> PathBuf {
        self.repository.path_of(layout::upload_file(self.id, file))
    }

    fn unknown(&self) -> Error {
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

    fn length(&self) -> Result<u64> {
        attributes::stat(&self.data, || self.path(layout::DATA)).map(|stat| folder::length(&stat))
    }

    /// Makes ready for bytes from `offset` on to change: nobody shall take the old hash for theirs.
    fn before_change(&self, work: &mut Work, offset: u64) -> Result<()> {
        if work.progress.is_kept_beyond(offset) {
            states::remove_beyond(&self.repository, self.id, offset)?;
            work.progress.forget_kept();
        }
        work.progress.disturb(offset);
        Ok(())
    }

    /// Has a follower look at it, when it is worth it and none is about to.
    fn wake(self: &Arc<Self>, work: &Work) {
        if work.progress.has_task() && !self.queued.swap(true, Ordering::AcqRel) {
            let weak: Weak<Self> = Arc::downgrade(self);
            self.store.followers.push(weak);
        }
    }

    /// Hashes everything that is not hashed yet, and gives the digest. With `beside`, which is to
    /// have another hash, everything is read.
    fn catch_up(&self, work: &mut Work, mut beside: Option<&mut Hasher>) -> Result<Digest> {
        let length = self.length()?;
        let mut digester = work.progress.digester().clone();
        if digester.length() > length {
            // Somebody cut the file behind our back.
            self.before_change(work, length)?;
            digester = work.progress.digester().clone();
        }
        let mut at = if beside.is_some() { 0 } else { digester.length() };
        let mut buffer = vec![0; step(length - at)];
        while at < length {
            let part = &mut buffer[..step(length - at)];
            if read_fully(&self.data, part, at).map_err(self.io("read"))? < part.len() {
                return Err(self.io("read")(std::io::ErrorKind::UnexpectedEof.into()));
            }
            if let Some(beside) = &mut beside {
                beside.update(part);
            }
            let end = at + part.len() as u64;
            if end > digester.length() {
                let hashed = usize::try_from(digester.length() - at).unwrap_or(0);
                digester.update(&part[hashed..]);
                self.store.counters.hashed((part.len() - hashed) as u64);
            }
            at = end;
        }
        let digest = digester.digest();
        work.progress.caught_up(digester);
        Ok(digest)
    }

    fn io(&self, doing: &'static str) -> impl FnOnce(std::io::Error) -> Error {
        Error::io(doing, self.path(layout::DATA))
    }

    /// The canonical digest of everything there is. Errors: `DigestMismatch` unless it is `expected`
    /// too.
    fn verify(&self, work: &mut Work, expected: &Digest) -> Result<Digest> {
        let mut beside = match expected.algorithm() {
            Algorithm::Sha256 => None,
            other => Some(Hasher::new(other)),
        };
        let canonical = self.catch_up(work, beside.as_mut())?;
        let computed = beside.map_or(canonical, Hasher::digest);
        if computed == *expected {
            Ok(canonical)
        } else {
            Err(Error::DigestMismatch { expected: *expected, computed })
        }
    }

    /// What is to be linked once the data, found to be `expected`, is a blob.
    fn verified(&self, work: &mut Work, expected: &Digest) -> Result<Stored> {
        let canonical = self.verify(work, expected)?;
        // docker-registry's purger may have taken the data away.
        if !uploads::is_still(&self.repository, self.id, &self.data)? {
            return Err(self.unknown());
        }
        let carried = Carried::of(&self.data, &self.path(layout::DATA))?;
        Ok(Stored { named: *expected, canonical, carried })
    }

    /// Begins the links: whatever can fail for want of room does so before anything has changed.
    fn begin_links(&self, stored: &Stored) -> Result<Vec<(Draft<'_>, PathBuf)>> {
        let Stored { named, canonical, carried } = stored;
        let mut drafts = Vec::new();
        for name in [canonical, named] {
            let at = layout::layer_link(name);
            if drafts.last().is_some_and(|(_, before)| *before == at) {
                continue;
            }
            if let Some(parent) = at.parent() {
                self.repository.make_folders(parent)?;
            }
            drafts.push((links::draft(self.store.scratch()?, canonical, carried)?, at));
        }
        Ok(drafts)
    }

    /// Makes the data a blob.
    fn store_blob(&self, stored: &Stored) -> Result<()> {
        let at = layout::upload_file(self.id, layout::DATA);
        let from = self.repository.place(&at);
        self.store.adopt_blob(from, &self.data, &stored.canonical).inspect_err(|_| {
            // The upload stays as it was, as far as it can.
            if let Err(error) = stored.carried.put_on(&self.data, &from.path()) {
                log::warn!("upload {} lost its attributes: {error}", self.id);
            }
        })
    }

    /// Links what is a blob, and removes what is left of the upload.
    fn link(&self, stored: &Stored, links: Vec<(Draft<'_>, PathBuf)>) -> Result<Arc<dyn Layer>> {
        let layer = self.store.open_blob(&stored.canonical)?.ok_or_else(|| self.unknown())?;
        for (link, at) in links {
            link.publish(self.repository.place(&at))?;
        }
        // The repository has the layer, whether the upload's folder can be removed or not.
        if let Err(error) = self.remove_folder() {
            log::warn!("upload {} is finished, but its folder stays behind: {error}", self.id);
        }
        Ok(Arc::new(layer))
    }

    /// Removes the upload's folder, at once.
    fn remove_folder(&self) -> Result<()> {
        let at = layout::upload(self.id);
        let removed = self.store.scratch()?.remove(self.repository.place(&at))?;
        self.store.upload_indexes.forget(self.key, self.id);
        if let Some(removed) = removed {
            removed.delete();
        }
        Ok(())
    }

    /// One step in the background. `false` when there is nothing to do.
    fn step(&self, buffer: &mut [u8]) -> Result<bool> {
        let task = {
            let mut work = self.work.lock();
            let Life::Open = work.life else { return Ok(false) };
            work.progress.task()
        };
        match task {
            Task::Rest => Ok(false),
            Task::Keep(keep) => {
                let kept = self.keep(&keep);
                self.work.lock().progress.end_keeping();
                kept.map(|()| true)
            }
            Task::Hash(mut claim) => {
                let part = &mut buffer[..step(claim.length)];
                let count = read_fully(&self.data, part, claim.digester.length());
                // Less when somebody cuts the file; what was read was hashed all the same.
                if let Ok(count) = count {
                    claim.digester.update(&part[..count]);
                    self.store.counters.hashed(count as u64);
                }
                self.work.lock().progress.hand_in(claim);
                count.map(|count| count == part.len()).map_err(self.io("read"))
            }
        }
    }

    /// Keeps a state for whoever resumes this upload.
    fn keep(&self, keep: &Keep) -> Result<()> {
        // 1. The bytes that it stands for.
        durable::sync_content(&self.data, || self.path(layout::DATA))?;
        // 2. The state, under a name that nobody trusts.
        let offset = keep.digester.length();
        let draft = states::draft(self.store.scratch()?, &keep.digester)?;
        // 3. Its name, unless the bytes changed meanwhile; under the lock, so that they cannot just
        //    now.
        {
            let mut work = self.work.lock();
            let Life::Open = work.life else { return Ok(()) };
            if !work.progress.is_current(keep) {
                return Ok(());
            }
            draft.publish(self.repository.place(&states::place(self.id, offset)))?;
            work.progress.kept(keep);
        }
        states::remove_before(&self.repository, self.id, offset)
    }
}

/// The length of the next step when `left` bytes are left.
fn step(left: u64) -> usize {
    usize::try_from(left.min(STEP_BYTES)).unwrap_or(usize::MAX)
}

impl Follow for Shared {
    fn follow(&self, buffer: &mut [u8]) -> bool {
        // From here on a writer puts it into the queue again; the claim sees to it that no two
        // threads hash the same.
        self.queued.store(false, Ordering::Release);
        for _ in 0..STEPS_PER_TURN {
            match self.step(buffer) {
                Ok(true) => {}
                Ok(false) => return false,
                Err(error) => {
                    // Whoever needs the hash computes it, and meets the same error.
                    log::warn!("upload {} is not hashed in the background: {error}", self.id);
                    return false;
                }
            }
        }
        !self.queued.swap(true, Ordering::AcqRel)
    }
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
        let shared = &self.shared;
        let mut work = shared.open_work()?;
        if data.is_empty() {
            return Ok(());
        }
        shared.before_change(&mut work, offset)?;
        shared.data.write_all_at(data, offset).map_err(shared.io("write"))?;
        work.progress.wrote(offset, offset.saturating_add(data.len() as u64));
        shared.wake(&work);
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        read_fully(&self.shared.data, buffer, offset).map_err(self.shared.io("read"))
    }

    fn truncate(&self, length: u64) -> Result<()> {
        let shared = &self.shared;
        let mut work = shared.open_work()?;
        shared.before_change(&mut work, length)?;
        shared.data.set_len(length).map_err(shared.io("cut"))?;
        work.progress.cut(length);
        Ok(())
    }

    fn rename(&self, name: &UploadName) -> Result<()> {
        let shared = &self.shared;
        let _renaming = shared.renaming.lock();
        shared.check()?;
        let draft = shared.store.scratch()?.draft()?;
        draft.file().write_all(&name.to_bytes()).map_err(shared.io("rename"))?;
        draft.sync()?;
        let at = layout::upload_file(shared.id, layout::NAME);
        if shared.repository.stat(layout::upload(shared.id))?.is_none() {
            return Err(shared.unknown());
        }
        draft.publish(shared.repository.place(&at))?;
        let known = {
            let mut known = shared.known.lock();
            known.name = Some(name.clone());
            known.clone()
        };
        shared.store.upload_indexes.note(&shared.repository, shared.key, shared.id, known)
    }

    fn digest(&self) -> Result<Digest> {
        let mut work = self.shared.open_work()?;
        self.shared.catch_up(&mut work, None)
    }

    fn sync(&self) -> Result<()> {
        let shared = &self.shared;
        shared.check()?;
        durable::sync_content(&shared.data, || shared.path(layout::DATA))?;
        if shared.names_synced.load(Ordering::Acquire) {
            return Ok(());
        }
        for file in [layout::STARTED_AT, layout::NAME] {
            let at = layout::upload_file(shared.id, file);
            if let Some(file) = shared.repository.open_quietly(&at)? {
                durable::sync_content(&file, || shared.repository.path_of(&at))?;
            }
        }
        durable::sync_folders(shared.repository.place(&layout::upload(shared.id)))?;
        durable::sync_folders(shared.store.root.place(&shared.home))?;
        shared.names_synced.store(true, Ordering::Release);
        Ok(())
    }

    fn settle(&self) {
        let mut work = self.shared.work.lock();
        work.progress.settle();
        self.shared.wake(&work);
    }

    fn finish(&self, digest: &Digest) -> Result<Arc<dyn Layer>> {
        let shared = &self.shared;
        let _renaming = shared.renaming.lock();
        let mut work = shared.work.lock();
        let (stored, links) = match &work.life {
            Life::Open => {
                let stored = shared.verified(&mut work, digest)?;
                let links = shared.begin_links(&stored)?;
                shared.store_blob(&stored)?;
                work.life = Life::Stored(Box::new(stored.clone()));
                (stored, links)
            }
            Life::Stored(stored) if [stored.named, stored.canonical].contains(digest) => {
                ((**stored).clone(), shared.begin_links(stored)?)
            }
            Life::Stored(stored) => {
                let computed = stored.canonical;
                return Err(Error::DigestMismatch { expected: *digest, computed });
            }
            Life::Finished | Life::Cancelled | Life::Closed => return Err(shared.unknown()),
        };
        let layer = shared.link(&stored, links)?;
        work.life = Life::Finished;
        shared.ended.store(true, Ordering::Release);
        Ok(layer)
    }

    fn cancel(&self) -> Result<()> {
        let shared = &self.shared;
        let _renaming = shared.renaming.lock();
        let mut work = shared.work.lock();
        match work.life {
            Life::Open | Life::Stored(_) => shared.remove_folder()?,
            Life::Cancelled => return Ok(()),
            Life::Finished | Life::Closed => return Err(shared.unknown()),
        }
        work.life = Life::Cancelled;
        shared.ended.store(true, Ordering::Release);
        Ok(())
    }

    fn backing_file(&self) -> Option<BorrowedFd<'_>> {
        Some(self.shared.data.as_fd())
    }
}
