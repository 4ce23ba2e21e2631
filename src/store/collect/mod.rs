//! The collector: removes what nobody refers to any more, while uploads, puts and a docker-registry go
//! on.
//!
//! 1. Behind the closed gate the time is noted: everybody who publishes from now on leaves a mark of it
//!    on the blob (`gate.rs`).
//! 2. What links and manifests refer to is marked (`marks.rs`).
//! 3. Blobs that are not marked and older than the grace period are taken out of `blobs/`, a few at a
//!    time behind the closed gate, where each is looked at again.
//! 4. docker-registry passes no gate. It may have found a blob there just before it was taken out, and
//!    have linked it since. So, a moment later, the links that have changed are read, and what they
//!    refer to is brought back. Only then the rest is deleted.
//!
//! What a collector that was killed leaves in `regfs/collected` the next one brings back, and whoever
//! opens the store.

mod marks;
mod uploads;

use crate::model::{Algorithm, Digest, Error, Result};
use crate::store::{
    LocalRegistry, Store,
    attributes::attributes,
    directory::Directory,
    durable,
    folder::{self, Folder},
    gate, layout, opening,
};
use marks::{Marker, Marks, Scope};
use rustix::{fs::FlockOperation, io::Errno};
use std::{
    fs::File,
    path::{Path, PathBuf},
    thread,
    time::{Duration, SystemTime},
};

/// How many blobs are taken out while publishers wait.
const BATCH: usize = 64;
/// How long docker-registry may take between finding a blob and linking it. Besides, what is younger
/// than the grace period is not touched at all.
const SETTLE: Duration = Duration::from_secs(2);
/// By how much the clock that files get their time from may be behind.
const CLOCK_SLACK: Duration = Duration::from_secs(1);
/// How often everything is marked again because a repository was renamed meanwhile.
const MARKS_MAX: usize = 8;

/// What is to be collected.
#[derive(Clone, Copy, Debug)]
pub struct CollectOptions {
    /// Nothing is removed, only counted.
    pub dry_run: bool,
    /// What has changed more lately stays.
    pub grace: Duration,
    /// Uploads that nobody has written to for longer are cancelled.
    pub uploads_age: Duration,
}

/// How many things, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Tally {
    fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }
}

/// What a collection has found and done. In a dry run, what it would have done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Links that were followed.
    pub links: u64,
    /// Manifests that were read.
    pub manifests: u64,
    /// Blobs that are in use.
    pub used: Tally,
    /// Blobs that are not in use, and too young to be removed.
    pub young: Tally,
    /// Blobs that were removed.
    pub removed: Tally,
    /// Blobs that somebody began to use while they were being removed.
    pub brought_back: Tally,
    /// Uploads that were cancelled.
    pub uploads: Tally,
}

/// What goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CollectEvent {
    /// So many links were followed.
    Marking(u64),
    /// So many of 256 folders of blobs were looked through.
    Sweeping(u64),
    /// A blob is removed, or would be.
    Blob {
        /// Its digest.
        digest: Digest,
        /// Its length.
        bytes: u64,
        /// When it was used last.
        changed_at: SystemTime,
    },
    /// An upload is cancelled, or would be.
    Upload {
        /// Where people see it, from the root of a mount.
        path: PathBuf,
        /// Its length.
        bytes: u64,
        /// When it was written last.
        changed_at: SystemTime,
    },
}

/// Who is told what goes on.
pub(super) struct Watch<'a>(pub(super) &'a mut dyn FnMut(CollectEvent));

impl Watch<'_> {
    fn marked(&mut self, links: u64) {
        (self.0)(CollectEvent::Marking(links));
    }
}

/// A blob that is not in use.
struct Garbage {
    digest: Digest,
    bytes: u64,
    changed_at: SystemTime,
}

impl Garbage {
    fn event(&self) -> CollectEvent {
        let Self { digest, bytes, changed_at } = *self;
        CollectEvent::Blob { digest, bytes, changed_at }
    }
}

impl LocalRegistry {
    /// Removes what nobody refers to. Errors: `CollectorBusy`; `Unclear`, `Damaged` and `Io` when
    /// something cannot be read that may refer to a blob: then nothing is removed.
    pub fn collect(
        &self, options: &CollectOptions, tell: &mut dyn FnMut(CollectEvent),
    ) -> Result<Collected> {
        let store = &self.store;
        let run = Run { store, options, watch: Watch(tell), collected: Collected::default() };
        if options.dry_run {
            return run.count();
        }
        store.scratch()?;
        let _collector = lock_collector(&store.root)?.ok_or(Error::CollectorBusy)?;
        store.root.make_folders(layout::COLLECTED)?;
        // Who collects as root must not keep the store's owner out.
        opening::give_to_owner(store)?;
        bring_back_all(store)?;
        run.collect()
    }
}

/// A collection under way.
struct Run<'a> {
    store: &'a Store,
    options: &'a CollectOptions,
    watch: Watch<'a>,
    collected: Collected,
}

impl Run<'_> {
    /// What would be removed.
    fn count(mut self) -> Result<Collected> {
        let start = SystemTime::now();
        let marks = self.mark(Scope::Everything)?;
        for garbage in self.garbage(&marks, start)? {
            self.collected.removed.add(garbage.bytes);
            (self.watch.0)(garbage.event());
        }
        self.uploads(start)?;
        Ok(self.collected)
    }

    fn collect(mut self) -> Result<Collected> {
        let (start, renamed_at, marks) = self.mark_all()?;
        let garbage = self.garbage(&marks, start)?;
        drop(marks);
        let mut taken = Vec::new();
        for batch in garbage.chunks(BATCH) {
            let closed = self.store.close_gate()?;
            if closed.renamed_at()? != renamed_at {
                // Links may be where nobody has looked. The next run looks.
                log::info!("a repository was renamed: what is left is for the next collection");
                break;
            }
            for garbage in batch {
                if self.take_out(garbage, start)? {
                    taken.push(garbage);
                }
            }
        }
        if !taken.is_empty() {
            thread::sleep(SETTLE);
            let again = self.mark(Scope::Since(start - CLOCK_SLACK))?;
            for garbage in &taken {
                self.end(garbage, &again)?;
            }
        }
        self.uploads(start)?;
        Ok(self.collected)
    }

    /// Marks what is in use at the time that is given back, or is published later.
    fn mark_all(&mut self) -> Result<(SystemTime, SystemTime, Marks)> {
        for _ in 0..MARKS_MAX {
            let (start, renamed_at) = {
                let closed = self.store.close_gate()?;
                (SystemTime::now(), closed.renamed_at()?)
            };
            let marks = self.mark(Scope::Everything)?;
            if self.store.close_gate()?.renamed_at()? == renamed_at {
                return Ok((start, renamed_at, marks));
            }
        }
        Err(Error::Busy("some repository, which is renamed again and again,".to_owned()))
    }

    fn mark(&mut self, scope: Scope) -> Result<Marks> {
        let mut marks = Marks::default();
        let mut watch = Watch(&mut *self.watch.0);
        let mut marker = Marker { store: self.store, scope, marks: &mut marks, watch: &mut watch };
        marker.run()?;
        if matches!(scope, Scope::Everything) {
            (self.collected.links, self.collected.manifests) = (marks.links(), marks.manifests());
        }
        Ok(marks)
    }

    /// The blobs that are not marked, and old enough.
    fn garbage(&mut self, marks: &Marks, start: SystemTime) -> Result<Vec<Garbage>> {
        let mut garbage = Vec::new();
        let Some(blobs) = self.store.root.open_folder(layout::BLOBS)? else { return Ok(garbage) };
        let mut folders = Directory::of(&blobs)?;
        let mut done = 0;
        while let Some(entry) = folders.next()? {
            if entry.is_folder
                && let Some(folder) = blobs.open_folder(&entry.name)?
            {
                self.garbage_in(&folder, marks, start, &mut garbage)?;
            }
            done += 1;
            (self.watch.0)(CollectEvent::Sweeping(done));
        }
        Ok(garbage)
    }

    fn garbage_in(
        &mut self, folder: &Folder, marks: &Marks, start: SystemTime, garbage: &mut Vec<Garbage>,
    ) -> Result<()> {
        let Some(mut blobs) = read(folder)? else { return Ok(()) };
        while let Some(entry) = blobs.next()? {
            let digest = layout::parse_digest(Algorithm::Sha256, &entry.name);
            let Some(digest) = digest.filter(|_| entry.is_folder) else { continue };
            let hex = digest.hex();
            let data = folder.stat(Path::new(&hex).join(layout::DATA))?;
            let Some(data) = data.filter(folder::is_file) else { continue };
            let (bytes, changed_at) = (folder::length(&data), attributes(&data).changed_at);
            if marks.has(&hex) {
                self.collected.used.add(bytes);
            } else if !self.is_old(changed_at, start) {
                self.collected.young.add(bytes);
            } else {
                garbage.push(Garbage { digest, bytes, changed_at });
            }
        }
        Ok(())
    }

    /// Whether it was changed before `start` and the grace period before now.
    fn is_old(&self, changed_at: SystemTime, start: SystemTime) -> bool {
        let grace = self.options.grace.max(CLOCK_SLACK);
        start.duration_since(changed_at).is_ok_and(|age| age >= grace)
    }

    /// Takes a blob out of `blobs/`, unless it was published again since. The gate is closed.
    fn take_out(&mut self, garbage: &Garbage, start: SystemTime) -> Result<bool> {
        let (from, to) = places(&garbage.digest.hex());
        let data = self.store.root.stat(from.join(layout::DATA))?;
        if !data.is_some_and(|data| self.is_old(attributes(&data).changed_at, start)) {
            return Ok(false);
        }
        let root = &self.store.root;
        durable::move_new(root.place(&from), root.place(&to))
    }

    /// Deletes what was taken out, or brings it back when somebody refers to it by now.
    fn end(&mut self, garbage: &Garbage, again: &Marks) -> Result<()> {
        let hex = garbage.digest.hex();
        if again.has(&hex) {
            self.collected.brought_back.add(garbage.bytes);
            return bring_back(self.store, &hex);
        }
        self.store.root.remove_all(places(&hex).1)?;
        self.collected.removed.add(garbage.bytes);
        (self.watch.0)(garbage.event());
        Ok(())
    }
}

/// Where a blob's folder lies, and where when it was taken out.
fn places(hex: &str) -> (PathBuf, PathBuf) {
    (layout::blob_folder(hex), Path::new(layout::COLLECTED).join(hex))
}

fn bring_back(store: &Store, hex: &str) -> Result<()> {
    let (blob, out) = places(hex);
    if let Some(parent) = blob.parent() {
        store.root.make_folders(parent)?;
    }
    match durable::move_new(store.root.place(&out), store.root.place(&blob)) {
        Ok(true) => log::info!("brought back sha256:{hex}, which is in use again"),
        // Somebody has pushed it again.
        Ok(false) => store.root.remove_all(out)?,
        Err(Error::Io { source, .. })
            if source.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Reads a folder that others may remove at any time.
fn read(folder: &Folder) -> Result<Option<Directory>> {
    match Directory::of(folder) {
        Ok(directory) => Ok(Some(directory)),
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Takes the lock of the collector that runs. `None` when another has it.
fn lock_collector(root: &Folder) -> Result<Option<File>> {
    match gate::lock(root, layout::COLLECTOR, FlockOperation::NonBlockingLockExclusive) {
        Ok(lock) => Ok(Some(lock)),
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::WouldBlock => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Brings back what a collector that was killed had taken out.
fn bring_back_all(store: &Store) -> Result<()> {
    let Some(folder) = store.root.open_folder(layout::COLLECTED)? else { return Ok(()) };
    let mut entries = Directory::of(&folder)?;
    while let Some(entry) = entries.next()? {
        if let Some(hex) = entry.name.to_str() {
            bring_back(store, hex)?;
        }
    }
    Ok(())
}

/// When a store is opened: as [`bring_back_all`], unless a collector is running.
pub(super) fn recover(store: &Store) -> Result<()> {
    if store.scratch.is_none() || !store.root.has_folder(layout::COLLECTED)? {
        return Ok(());
    }
    match lock_collector(&store.root)? {
        Some(_collector) => bring_back_all(store),
        None => Ok(()),
    }
}
