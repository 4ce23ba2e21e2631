//! What is done once, when a store is opened: its version is checked, what is missing is made, what
//! crashes have left is deleted, and a lock says that somebody has it open.

use crate::model::{Error, Result};
use crate::store::{
    LocalRegistry, Store, StoreCounters, StoreOptions, collect,
    durable::Scratch,
    folder::Folder,
    follower::Followers,
    gate, layout,
    lengths::DocumentLengths,
    mounts::{self, Mark, Unclean},
    notes, ownership,
    signatures::StoreKey,
    spares::Spares,
    sweep,
    upload_index::UploadIndexes,
    ways::Ways,
};
use rustix::{
    fs::{self, FlockOperation, Mode, OFlags},
    io::Errno,
};
use std::{fs::File, io::Write as _, path::Path, sync::Arc};

/// The newest disk format known here.
const VERSION: u32 = 1;
/// More than any version file has.
const VERSION_BYTES_MAX: u64 = 64;
/// Whoever may read the store may say that it is open.
const LOCK_MODE: Mode = Mode::from_raw_mode(0o644);

impl LocalRegistry {
    /// Opens the store in the folder `root`, and makes it if it is new; the folder that it is made in must
    /// be there. Errors: `StoreVersion`, `StoreSplit`.
    pub fn open(root: &Path, options: &StoreOptions) -> Result<Self> {
        if !options.read_only {
            make_root(root)?;
        }
        let root = Folder::top(root)?;
        // Before anything is made: what a newer program has written is left alone.
        let version = check_version(&root)?;
        let is_new = !root.has_folder(layout::REGISTRY)?;
        if options.read_only && is_new {
            return Err(Error::io("open", root.path_of(layout::REGISTRY))(Errno::NOENT));
        }
        let mut lock = lock(&root, options.read_only)?;
        let scratch = match options.read_only {
            true => None,
            false => Some(make(&root, version)?),
        };
        let is_marked = options.is_mount && !options.read_only;
        let mut unclean = if is_marked { mounts::take_stale(&root)? } else { None };
        if let (Some(scratch), Some(lock)) = (&scratch, &mut lock) {
            let (is_shared, age_min) = (!lock.is_alone, sweep::leftover_age_min(lock.is_alone));
            let (made, removed) = sweep::sweep_scratch(scratch, age_min)?;
            notes::sweep(&root)?;
            lock.share(&root)?;
            unclean = unclean.map(|unclean| Unclean { is_shared, made, removed, ..unclean });
        }
        let store = Store {
            root,
            reference_check: options.reference_check,
            scratch,
            counters: StoreCounters::default(),
            followers: Followers::default(),
            upload_indexes: UploadIndexes::default(),
            spares: Spares::default(),
            ways: Ways::default(),
            signing_key: StoreKey::default(),
            document_lengths: DocumentLengths::default(),
            mark: Mark::default(),
            _lock: lock,
        };
        collect::recover(&store);
        if is_marked {
            store.mark_mounted()?;
        }
        let store = Arc::new(store);
        if let Some(unclean) = &mut unclean {
            unclean.uploads = mounts::count_uploads(&store).unwrap_or_else(|error| {
                log::warn!("uploads could not be counted: {error}");
                None
            });
        }
        Ok(Self { store, is_new, unclean })
    }
}

/// Reads the version file. `None` when there is none: docker-registry makes stores without.
fn check_version(root: &Folder) -> Result<Option<u32>> {
    let Some(text) = root.read(layout::VERSION, VERSION_BYTES_MAX)? else { return Ok(None) };
    let text = String::from_utf8_lossy(&text);
    match text.trim().parse() {
        Ok(version) if version <= VERSION => Ok(Some(version)),
        _ => Err(Error::StoreVersion { found: text.trim().to_owned(), known: VERSION }),
    }
}

/// Makes the folder of a store. Not those above it: when one is missing, the name is mistyped, or a disk
/// is not mounted.
fn make_root(root: &Path) -> Result<()> {
    match std::fs::create_dir(root) {
        Err(_) if root.is_dir() => Ok(()),
        outcome => outcome.map_err(Error::io("make", root)),
    }
}

/// Makes what a store needs, as far as it is missing.
fn make(root: &Folder, version: Option<u32>) -> Result<Scratch> {
    let (registrys, ours) = (
        [layout::BLOBS, layout::REPOSITORIES],
        [layout::NOTES, layout::TMP, layout::TRASH, layout::COLLECTED],
    );
    registrys.iter().try_for_each(|at| root.make_folders(at))?;
    ours.iter().try_for_each(|at| ownership::make_folders(root, at))?;
    // Better said now than at the first change.
    registrys.iter().chain(&ours).try_for_each(|at| root.check_writable(at))?;
    let mode = lock_mode(root)?;
    layout::LOCKS.iter().try_for_each(|at| ownership::make_file(root, at, mode))?;
    let scratch = Scratch::open(root)?;
    if version.is_none() {
        let draft = scratch.draft()?;
        write!(draft.file(), "{VERSION}").map_err(Error::io("write", draft.path()))?;
        ownership::give_file(root, draft.file(), &draft.path())?;
        draft.sync()?;
        draft.publish(root.place(layout::VERSION))?;
    }
    Ok(scratch)
}

/// The mode of lock files that just those share who may write our folder.
fn lock_mode(root: &Folder) -> Result<Mode> {
    let folder = Path::new(layout::GATE).parent().map(|folder| root.stat(folder)).transpose()?;
    let writers = folder.flatten().map_or(0, |stat| stat.st_mode & 0o222);
    Ok(gate::LOCK_MODE | Mode::from_raw_mode(writers | writers << 1))
}

/// Says for as long as it lives that somebody has the store open.
pub(super) struct Lock {
    file: File,
    /// Whether nobody else has it open; who wants to waits for [`Lock::share`].
    pub(super) is_alone: bool,
}

impl Lock {
    /// Lets others open the store, too.
    pub(super) fn share(&mut self, root: &Folder) -> Result<()> {
        self.is_alone = false;
        take(&self.file, FlockOperation::LockShared, root).map(drop)
    }
}

/// Locks the store, alone where that is possible: then what crashes have left is nobody's. Who only
/// reads locks nothing where there is no lock yet.
pub(super) fn lock(root: &Folder, read_only: bool) -> Result<Option<Lock>> {
    if !read_only {
        ownership::make_folders(root, layout::OURS)?;
        ownership::make_file(root, layout::LOCK, LOCK_MODE)?;
    }
    let Some(file) = root.open_file(layout::LOCK, OFlags::RDONLY)? else { return Ok(None) };
    let is_alone = !read_only && take(&file, FlockOperation::NonBlockingLockExclusive, root)?;
    let mut lock = Lock { file, is_alone };
    if !is_alone {
        lock.share(root)?;
    }
    Ok(Some(lock))
}

/// Takes or changes a lock. `false` when others have it who are not to be waited for.
fn take(file: &File, operation: FlockOperation, root: &Folder) -> Result<bool> {
    loop {
        match fs::flock(file, operation) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::io("lock", root.path_of(layout::LOCK))(errno)),
        }
    }
}
