//! What is in use: every link below `repositories/`, and everything that looks like a digest in the
//! manifests they lead to.
//!
//! Nothing is asked that could be answered wrongly. A folder is walked whether or not its name is one
//! that a repository may have; a manifest of a format that nobody knows is read like any other. What
//! cannot be read, or followed, ends the collection before anything is removed.

use crate::model::{Algorithm, Digest, Error, Result};
use crate::store::{
    Store, attributes,
    collect::{
        CollectEvent, Tell, check_is_to_go_on, interrupted,
        marks::{Mark, Marks},
    },
    directory::Directory,
    folder::{self, Folder},
    layout, links,
};
use parking_lot::Mutex;
use rustix::fs::Stat;
use std::{
    collections::HashSet,
    ffi::OsStr,
    num::NonZeroUsize,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, SystemTime},
};

/// How deep folders may lie in one another: a repository's name has at most 255 characters, so half as
/// many components, and a few folders of ours below.
pub(super) const DEPTH_MAX: usize = 160;
/// How many threads follow links at most: beyond that, whoever uses the store would notice.
const THREADS_MAX: usize = 4;
/// How many folders may wait for a thread, each of them open.
const FOLDERS_MAX: usize = 64;
/// How often is told how far it is.
const TELL_PAUSE: Duration = Duration::from_millis(50);

/// Which links are followed.
#[derive(Clone, Copy)]
pub(super) enum Scope {
    /// All.
    Everything,
    /// Those that have changed since.
    Since(SystemTime),
}

/// What lies in a folder.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Namespaces, and what belongs to a repository.
    Repositories,
    /// Layers' links.
    Layers,
    /// The folders of tags and of revisions.
    Manifests,
    /// Tags.
    Tags,
    /// Links to manifests, and to the signatures on them.
    Revisions,
}

impl Place {
    /// What lies in its folder `name`; `None` for what refers to nothing.
    fn inner(self, name: &OsStr) -> Option<Self> {
        match self {
            Self::Repositories if name == layout::UPLOADS => None,
            Self::Repositories if name == layout::LAYERS => Some(Self::Layers),
            Self::Repositories if name == layout::MANIFESTS => Some(Self::Manifests),
            Self::Manifests if Path::new(layout::TAGS).ends_with(name) => Some(Self::Tags),
            Self::Manifests => Some(Self::Revisions),
            Self::Repositories | Self::Layers | Self::Tags | Self::Revisions => Some(self),
        }
    }
}

/// What is to be followed, by several threads.
pub(super) struct Marker<'a> {
    pub(super) store: &'a Store,
    pub(super) scope: Scope,
    /// Links of layers that have not changed since do not count.
    pub(super) layers_since: Option<SystemTime>,
    pub(super) stop: &'a AtomicUsize,
    /// How many links were followed.
    pub(super) links: AtomicU64,
    /// Whether there is nothing to find any more, since something cannot be followed.
    pub(super) has_failed: AtomicBool,
    /// The manifests that somebody has begun to look at.
    pub(super) begun: Mutex<HashSet<Mark>>,
}

impl Marker<'_> {
    /// Marks what all repositories use.
    pub(super) fn run(&self, tell: &mut Tell<'_>) -> Result<Marks> {
        let Some(top) = self.store.root.open_folder(layout::REPOSITORIES)? else {
            return Ok(Marks::default());
        };
        let (give, take) = mpsc::sync_channel(FOLDERS_MAX);
        // The last who takes closes the way, so that nobody waits for one that is gone.
        let take = Arc::new(Mutex::new(take));
        let (done, ends) = mpsc::channel();
        let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        thread::scope(|scope| {
            for _ in 0..threads.min(THREADS_MAX) {
                let (take, done) = (Arc::clone(&take), done.clone());
                scope.spawn(move || done.send(self.follow(&take)));
            }
            drop(take);
            let walk = move || {
                let mut walk = Walk { task: self, marks: Marks::default(), give: Some(give) };
                walk.folder(&top, Place::Repositories, 0).map(|()| walk.marks)
            };
            scope.spawn(move || done.send(walk()));
            self.gather(&ends, tell)
        })
    }

    /// Follows what lies in the folders that others find, until there are no more.
    fn follow(&self, folders: &Mutex<mpsc::Receiver<Found>>) -> Result<Marks> {
        let mut walk = Walk { task: self, marks: Marks::default(), give: None };
        let mut outcome = Ok(());
        loop {
            let next = folders.lock().recv();
            let Ok((folder, place, depth)) = next else { return outcome.map(|()| walk.marks) };
            // After an error the rest is taken and not looked at, so that nobody waits for that.
            outcome = outcome.and_then(|()| walk.folder(&folder, place, depth));
            self.has_failed.fetch_or(outcome.is_err(), Ordering::Relaxed);
        }
    }

    /// Puts together what the threads have marked, and tells how far they are.
    fn gather(&self, ends: &mpsc::Receiver<Result<Marks>>, tell: &mut Tell<'_>) -> Result<Marks> {
        let mut outcome = Ok(Marks::default());
        loop {
            match ends.recv_timeout(TELL_PAUSE) {
                Ok(marks) => {
                    outcome = outcome.and_then(|mut all: Marks| {
                        all.extend(marks?);
                        Ok(all)
                    });
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return outcome,
            }
            tell(CollectEvent::Marking(self.links.load(Ordering::Relaxed)));
        }
    }
}

/// A folder that one thread has found and another follows, what lies in it, and how deep it lies.
type Found = (Folder, Place, usize);

/// A thread on its way through folders.
struct Walk<'a> {
    task: &'a Marker<'a>,
    marks: Marks,
    /// Who follows links in what is found; nobody else does when there is none.
    give: Option<mpsc::SyncSender<Found>>,
}

impl Walk<'_> {
    /// Marks what is used in a folder.
    fn folder(&mut self, folder: &Folder, place: Place, depth: usize) -> Result<()> {
        match (&self.give, place) {
            (Some(give), Place::Layers | Place::Manifests | Place::Tags | Place::Revisions) => {
                let copied = (folder.clone(), place, depth);
                give.send(copied).map_err(|_| interrupted())
            }
            (_, Place::Tags) => self.tags(folder),
            (_, _) => self.walk(folder, place, depth),
        }
    }

    fn walk(&mut self, folder: &Folder, place: Place, depth: usize) -> Result<()> {
        if depth > DEPTH_MAX {
            return Err(unclear(folder, OsStr::new(""), "folders lie too deep in one another"));
        }
        if self.has_nothing_new(folder, place)? {
            return Ok(());
        }
        let Some(mut directory) = Directory::open(folder)? else {
            // It was removed just now, and what lay in it.
            self.note_change(&folder.stat_self()?);
            return Ok(());
        };
        while let Some(entry) = directory.next()? {
            check_is_to_go_on(self.task.stop)?;
            if self.give.is_some() && self.task.has_failed.load(Ordering::Relaxed) {
                return Ok(());
            }
            let name = entry.name.as_os_str();
            let is_digest = layout::parse_digest(Algorithm::Sha256, name).is_some();
            if place == Place::Layers && is_digest {
                // By far the most folders: not worth opening for what lies in them.
                self.link(folder, &Path::new(name).join(layout::LINK), name, place)?;
            } else if place == Place::Revisions && is_digest && entry.is_folder {
                self.revision(folder, name, depth)?;
            } else if entry.is_folder {
                let Some(inner_place) = place.inner(name) else { continue };
                let Some(inner) = folder.open_folder(name)? else { continue };
                self.folder(&inner, inner_place, depth + 1)?;
            } else if name == layout::LINK {
                let path = folder.path_of("");
                let named = path.file_name().unwrap_or_default();
                self.link(folder, Path::new(name), named, place)?;
            } else {
                check_is_no_symlink(folder, name)?;
            }
        }
        // Not before it was read: what is missing in it was removed by then.
        self.note_change(&directory.folder().stat_self()?);
        Ok(())
    }

    /// Whether a folder of layers has no link that was made since. One that is made anew has a new folder
    /// there; in an old one it would say what its folder's name says, which is marked already.
    fn has_nothing_new(&self, folder: &Folder, place: Place) -> Result<bool> {
        let Scope::Since(since) = self.task.scope else { return Ok(false) };
        let canonical = Path::new(layout::LAYERS).join(Algorithm::Sha256.name());
        if place != Place::Layers
            || self.task.layers_since.is_some()
            || !folder.path_of("").ends_with(canonical)
        {
            return Ok(false);
        }
        Ok(is_older(&folder.stat_self()?, since))
    }

    /// The links of a manifest's folder, which has a name for each of them: it need not be read.
    fn revision(&mut self, folder: &Folder, name: &OsStr, depth: usize) -> Result<()> {
        let at = Path::new(name).join(layout::LINK);
        match folder.glance(&at)? {
            Some(_) => self.link(folder, &at, name, Place::Revisions)?,
            // docker-registry removes the link and leaves its folder.
            None => {
                folder.glance(name)?.iter().for_each(|stat| self.note_change(stat));
            }
        }
        let signatures = Path::new(name).join(layout::SIGNATURES);
        if folder.glance(&signatures)?.is_none() {
            return Ok(());
        }
        match folder.open_folder(&signatures)? {
            Some(inner) => self.folder(&inner, Place::Revisions, depth + 2),
            None => Ok(()),
        }
    }

    fn note_change(&mut self, stat: &Stat) {
        self.marks.note_change(attributes::attributes(stat).changed_at);
    }

    /// What tags name now. What they ever named is of interest only where that is damaged.
    fn tags(&mut self, folder: &Folder) -> Result<()> {
        let Some(mut directory) = Directory::open(folder)? else { return Ok(()) };
        while let Some(entry) = directory.next()? {
            if !entry.is_folder {
                check_is_no_symlink(folder, &entry.name)?;
                continue;
            }
            self.count_link()?;
            let at = Path::new(&entry.name).join(layout::TAG_LINK);
            if !self.counts(folder, &at)? {
                continue;
            }
            match links::read_digest(folder, &at) {
                Ok(Some(digest)) => self.manifest(&digest)?,
                Ok(None) => {}
                Err(Error::LinkDamaged { .. }) => {
                    let index = Path::new(&entry.name).join(layout::INDEX);
                    if let Some(index) = folder.open_folder(index)? {
                        self.walk(&index, Place::Revisions, 0)?;
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The link `at`, in a folder that is named by a digest, too: of a damaged link that says what it was.
    fn link(&mut self, folder: &Folder, at: &Path, named: &OsStr, place: Place) -> Result<()> {
        self.count_link()?;
        if !self.counts(folder, at)? {
            return Ok(());
        }
        let named = named.to_str();
        let digest = match self.task.layers_since.filter(|_| place == Place::Layers) {
            None => links::read_digest(folder, at),
            Some(since) => match links::read(folder, at) {
                // Old, it says nothing but its name, under which a manifest finds it without its link.
                Ok(Some(link))
                    if is_older(&link.stat, since) && named == Some(&link.digest.hex()) =>
                {
                    return Ok(());
                }
                read => read.map(|link| link.map(|link| link.digest)),
            },
        };
        let digest = match digest {
            Ok(digest) => digest,
            Err(Error::LinkDamaged { .. }) => {
                named.and_then(|hex| Digest::from_hex(Algorithm::Sha256, hex).ok())
            }
            Err(error) => return Err(error),
        };
        named.iter().for_each(|hex| self.marks.add(hex));
        match digest {
            Some(digest) if place == Place::Revisions => self.manifest(&digest),
            Some(digest) => {
                self.marks.add(&digest.hex());
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Marks a manifest and what it refers to. Errors: `Damaged`, since then nobody knows what that is.
    fn manifest(&mut self, digest: &Digest) -> Result<()> {
        if self.marks.add_manifest(digest, &self.task.begun) {
            return Ok(());
        }
        let bytes = match self.task.store.read_manifest(digest) {
            // Signatures lie among revisions, and are as short.
            Err(Error::ManifestTooLarge { .. }) => {
                let reason = "it is longer than a manifest, and a manifest by its link".to_owned();
                return Err(Error::Damaged { digest: *digest, reason });
            }
            read => read?,
        };
        self.marks.add_references(digest, bytes.as_deref());
        Ok(())
    }

    /// Whether the link `at` has changed since such a time that it counts.
    fn counts(&self, folder: &Folder, at: &Path) -> Result<bool> {
        let Scope::Since(since) = self.task.scope else { return Ok(true) };
        Ok(folder.glance(at)?.is_some_and(|stat| !is_older(&stat, since)))
    }

    fn count_link(&mut self) -> Result<()> {
        self.marks.count_link();
        self.task.links.fetch_add(1, Ordering::Relaxed);
        check_is_to_go_on(self.task.stop)
    }
}

fn is_older(stat: &Stat, since: SystemTime) -> bool {
    attributes::attributes(stat).changed_at < since
}

/// Behind a symbolic link there may be whole repositories, for a docker-registry that follows it.
fn check_is_no_symlink(folder: &Folder, name: &OsStr) -> Result<()> {
    match folder.stat(name)? {
        Some(stat) if folder::is_symlink(&stat) => Err(unclear(
            folder,
            name,
            "it is a symbolic link, and what lies behind it is not known",
        )),
        Some(_) | None => Ok(()),
    }
}

fn unclear(folder: &Folder, name: &OsStr, reason: &'static str) -> Error {
    Error::Unclear { path: folder.path_of(name), reason }
}
