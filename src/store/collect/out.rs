//! Blobs that the collector has taken out of `blobs/`: each lies in `regfs/collected`, in a folder named
//! by its hash, until it is deleted or brought back. Whatever ends a collection in the midst of it, what
//! is out then is brought back: at once, or by whoever opens the store next.

use crate::model::{Algorithm, Digest, Error, Hasher, Result};
use crate::store::{
    Store, attributes,
    blobs::read_fully,
    collect::{Garbage, check_is_to_go_on},
    directory::Directory,
    durable,
    folder::{self, Folder},
    gate, layout,
};
use rustix::{
    fs::{FlockOperation, OFlags},
    io::Errno,
};
use std::{
    fs::File,
    io::{ErrorKind, Read as _},
    path::Path,
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

/// How much is read at once.
const READ_BYTES: usize = 1 << 17;
/// How many blobs are deleted at the same time: more would be in the way of whoever uses the store.
const DELETERS_MAX: usize = 4;
/// For how many blobs a thread is worth it.
const DELETIONS_MIN: usize = 64;
/// What a registry puts that nobody has pushed is not longer: an empty archive, packed or not.
const MADE_UP_BYTES_MAX: u64 = 1024;
/// How much of a blob shows what it is.
const HEAD_BYTES: usize = 64;

/// The blobs that are out; only the collector that runs has this.
pub(super) struct Out<'a> {
    store: &'a Store,
    /// Where they lie.
    folder: Folder,
    is_ended: bool,
    _collector: File,
}

/// What became of a blob that was to be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// It is deleted.
    Deleted,
    /// Somebody has brought it back.
    BroughtBack,
    /// It is still out, since it may be put by its content.
    NotYet,
}

/// What became of a blob that was to be taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is out.
    Out,
    /// It is not there any more, or another is out.
    No,
    /// This user may not do it.
    Denied,
    /// There is no room for the names of more that are out.
    Full,
}

impl<'a> Out<'a> {
    /// Begins a collection, and brings back what another did not end. Errors: `StoreBusy` while that
    /// goes on.
    pub(super) fn begin(store: &'a Store) -> Result<Self> {
        let collector = lock(&store.root)?;
        let collector = collector.ok_or(Error::StoreBusy("somebody else is collecting garbage"))?;
        bring_back_all(store)?;
        let missing = || Error::io("open", store.root.path_of(layout::COLLECTED))(Errno::NOENT);
        let folder = store.root.open_folder(layout::COLLECTED)?.ok_or_else(missing)?;
        Ok(Self { store, folder, is_ended: false, _collector: collector })
    }

    /// Takes a blob out.
    pub(super) fn take(&self, digest: &Digest) -> Result<Taken> {
        let (blob, out) = (layout::blob_folder(digest), digest.hex());
        match durable::move_new(self.store.root.place(&blob), self.folder.place(&out)) {
            Ok(true) => Ok(Taken::Out),
            Ok(false) => Ok(Taken::No),
            Err(error) if attributes::is_denied(&error) => Ok(Taken::Denied),
            Err(Error::Io { source, .. }) if durable::is_full(&source) => Ok(Taken::Full),
            Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(Taken::No),
            Err(error) => Err(error),
        }
    }

    /// Deletes a blob that is out.
    fn delete(&self, garbage: &Garbage, is_soon: bool) -> Result<Ended> {
        let out = garbage.digest.hex();
        if is_soon && self.may_be_put(garbage, &out) {
            return Ok(Ended::NotYet);
        }
        // By one rename, so that nobody brings back what is being deleted.
        let Some(removed) = self.store.scratch()?.remove(self.folder.place(&out))? else {
            return Ok(Ended::BroughtBack);
        };
        removed.delete_with(layout::DATA);
        Ok(Ended::Deleted)
    }

    /// Whether a registry may find this blob by its content, which it was given: a manifest, or what it
    /// makes up itself. A manifest is an object in JSON. What cannot be read might be one.
    fn may_be_put(&self, garbage: &Garbage, out: &str) -> bool {
        if garbage.bytes <= MADE_UP_BYTES_MAX {
            return true;
        }
        let at = Path::new(out).join(layout::DATA);
        let Ok(Some(file)) = self.folder.open_quietly(&at, OFlags::RDONLY) else { return true };
        let mut head = [0; HEAD_BYTES];
        let Ok(length) = read_fully(&file, &mut head, 0) else { return true };
        head[..length].trim_ascii_start().first().is_none_or(|first| *first == b'{')
    }

    /// Deletes blobs that are out, several at a time, since each waits for the disk; not those that may be
    /// put by their content when `is_soon`. Calls `each` with one and what became of it. Ends with the
    /// first error.
    pub(super) fn delete_all<'b>(
        &self, garbage: &'b [Garbage], is_soon: bool, stop: &AtomicUsize,
        mut each: impl FnMut(&'b Garbage, Ended),
    ) -> Result<()> {
        let next = AtomicUsize::new(0);
        let (sender, outcomes) = mpsc::channel();
        let delete = |sender: mpsc::Sender<_>| {
            while let Some(garbage) = garbage.get(next.fetch_add(1, Ordering::Relaxed)) {
                let deleted = check_is_to_go_on(stop).and_then(|()| self.delete(garbage, is_soon));
                if deleted.is_err() {
                    next.store(usize::MAX / 2, Ordering::Relaxed);
                }
                if sender.send((garbage, deleted)).is_err() {
                    return;
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..(garbage.len() / DELETIONS_MIN).clamp(1, DELETERS_MAX) {
                let (delete, sender) = (&delete, sender.clone());
                scope.spawn(move || delete(sender));
            }
            drop(sender);
            let mut outcome = Ok(());
            for (garbage, deleted) in outcomes {
                match deleted {
                    Ok(deleted) => each(garbage, deleted),
                    Err(error) => outcome = Err(error),
                }
            }
            outcome
        })
    }

    /// Brings back a blob that is out.
    pub(super) fn bring_back(&self, digest: &Digest) -> Result<()> {
        put_back(self.store, digest)
    }

    /// Brings back all that are still out.
    pub(super) fn end(mut self) -> Result<()> {
        self.is_ended = true;
        bring_back_all(self.store)
    }
}

impl Drop for Out<'_> {
    /// After a panic.
    fn drop(&mut self) {
        if !self.is_ended
            && let Err(error) = bring_back_all(self.store)
        {
            log::error!("blobs stay in {} until the next mount: {error}", layout::COLLECTED);
        }
    }
}

/// Brings back a blob that somebody misses, if it is out. Whether it was.
pub(in crate::store) fn bring_back(store: &Store, digest: &Digest) -> Result<bool> {
    if store.scratch.is_none() || digest.algorithm() != Algorithm::Sha256 {
        return Ok(false);
    }
    let (blob, out) = (layout::blob_folder(digest), layout::collected(digest));
    match durable::move_new(store.root.place(&out), store.root.place(&blob)) {
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(false),
        moved => moved,
    }
}

/// When a store is opened: brings back what a collector that was killed had taken out. It keeps nobody
/// from the rest when that fails.
pub(in crate::store) fn recover(store: &Store) {
    let recover = || {
        if store.scratch.is_none() {
            return Ok(());
        }
        match lock(&store.root)? {
            Some(_collector) => bring_back_all(store),
            None => Ok(()),
        }
    };
    if let Err(error) = recover() {
        log::error!("blobs that a collector has taken out may be missing: {error}");
    }
}

/// Takes the lock of the collector that runs. `None` when another has it.
fn lock(root: &Folder) -> Result<Option<File>> {
    gate::lock(root, layout::COLLECTOR, FlockOperation::NonBlockingLockExclusive)
}

/// Brings back all that are out. Errors: the last, when all were tried.
fn bring_back_all(store: &Store) -> Result<()> {
    let Some(folder) = store.root.open_folder(layout::COLLECTED)? else { return Ok(()) };
    let mut entries = Directory::of(&folder)?;
    let mut outcome = Ok(());
    while let Some(entry) = entries.next()? {
        let Some(digest) = layout::parse_digest(Algorithm::Sha256, &entry.name) else { continue };
        if let Err(error) = put_back(store, &digest) {
            log::warn!("{digest} is not brought back: {error}");
            outcome = Err(error);
        }
    }
    outcome
}

fn put_back(store: &Store, digest: &Digest) -> Result<()> {
    let root = &store.root;
    let (blob, out) = (layout::blob_folder(digest), layout::collected(digest));
    let (there, data) = (layout::blob(digest), out.join(layout::DATA));
    if root.stat(&data)?.is_none() {
        // Somebody was ended while deleting it.
        return root.remove_folder(&out).map(drop);
    }
    if let Some(parent) = blob.parent() {
        root.make_folders(parent)?;
    }
    if durable::move_new(root.place(&out), root.place(&blob))? {
        log::info!("brought back {digest}, which is in use again");
        return Ok(());
    }
    // Something lies there. It may be the same, pushed again; or a mere folder, as who begins to push it
    // makes one first.
    if !is_right(root, &there, digest)? {
        durable::move_over(root.place(&data), root.place(&there))?;
    }
    root.remove_all(out)
}

/// Whether the file `at` has the content that `digest` names.
fn is_right(root: &Folder, at: &Path, digest: &Digest) -> Result<bool> {
    if !root.stat(at)?.is_some_and(|stat| folder::is_file(&stat)) {
        return Ok(false);
    }
    let Some(mut file) = root.open_quietly(at, OFlags::RDONLY)? else { return Ok(false) };
    let mut hasher = Hasher::new(digest.algorithm());
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hasher.digest()? == *digest),
            Ok(count) => hasher.update(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io("read", root.path_of(at))(error)),
        }
    }
}
