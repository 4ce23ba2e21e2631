//! What is done once, when a store is opened: its version is checked, what is missing is made, and a
//! lock says that somebody has it open.

use crate::model::{Error, Result};
use crate::store::{Store, durable::Scratch, folder::Folder, gate, layout};
use rustix::{
    fs::{self, FlockOperation, Mode, OFlags},
    io::Errno,
};
use std::{fs::File, io::Write as _, path::Path};

/// The newest disk format known here.
const VERSION: u32 = 1;
/// More than any version file has.
const VERSION_BYTES_MAX: u64 = 64;
/// Whoever may read the store may say that it is open.
const LOCK_MODE: Mode = Mode::from_raw_mode(0o644);

/// Reads the version file. `None` when there is none: docker-registry makes stores without.
pub(super) fn check_version(root: &Folder) -> Result<Option<u32>> {
    let Some(text) = root.read(layout::VERSION, VERSION_BYTES_MAX)? else { return Ok(None) };
    let text = String::from_utf8_lossy(&text);
    match text.trim().parse() {
        Ok(version) if version <= VERSION => Ok(Some(version)),
        _ => Err(Error::StoreVersion { found: text.trim().to_owned(), known: VERSION }),
    }
}

/// Makes the folder of a store. Not those above it: when one is missing, the name is mistyped, or a disk
/// is not mounted.
pub(super) fn make_root(root: &Path) -> Result<()> {
    match std::fs::create_dir(root) {
        Err(_) if root.is_dir() => Ok(()),
        outcome => outcome.map_err(Error::io("make", root)),
    }
}

/// Makes what a store needs, as far as it is missing.
pub(super) fn make(root: &Folder, version: Option<u32>) -> Result<Scratch> {
    for folder in [layout::BLOBS, layout::REPOSITORIES, layout::NOTES, layout::TMP, layout::TRASH] {
        root.make_folders(folder)?;
        // Better said now than at the first change.
        root.check_writable(folder)?;
    }
    [layout::GATE, layout::TURNSTILE, layout::COLLECTOR]
        .iter()
        .try_for_each(|at| make_lock(root, at))?;
    let scratch = Scratch::open(root)?;
    if version.is_none() {
        let draft = scratch.draft()?;
        write!(draft.file(), "{VERSION}").map_err(Error::io("write", draft.path()))?;
        draft.sync()?;
        draft.publish(root.place(layout::VERSION))?;
    }
    Ok(scratch)
}

/// Makes a lock file that just those share who may write our folder, whatever the umask of who makes it.
fn make_lock(root: &Folder, at: &str) -> Result<()> {
    if root.stat(at)?.is_some() {
        return Ok(());
    }
    let folder = Path::new(at).parent().map(|folder| root.stat(folder)).transpose()?.flatten();
    let writers = folder.map_or(0, |stat| stat.st_mode & 0o222);
    let mode = gate::LOCK_MODE | Mode::from_raw_mode(writers | writers << 1);
    let file = root.open_or_create_file(at, mode)?;
    fs::fchmod(&file, mode).map_err(Error::io("make", root.path_of(at)))
}

/// What [`make`], [`lock`] and the collector make of ours, each inside what stands before it.
const OWN: [&str; 10] = [
    "regfs",
    layout::NOTES,
    layout::TMP,
    layout::TRASH,
    layout::VERSION,
    layout::LOCK,
    layout::GATE,
    layout::TURNSTILE,
    layout::COLLECTOR,
    layout::COLLECTED,
];

/// Gives what was just made to whom the store belongs: otherwise they could not mount what root has
/// looked at.
pub(super) fn give_to_owner(store: &Store) -> Result<()> {
    for at in OWN {
        // What another user has made is theirs.
        if let Some(made) = store.root.open_file(at, OFlags::RDONLY)?
            && store.root.stat(at)?.is_some_and(|stat| stat.st_uid == 0)
        {
            store.make_own(&made, &store.root.path_of(at))?;
        }
    }
    Ok(())
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
    let file = match root.open_file(layout::LOCK, OFlags::RDONLY)? {
        Some(file) => file,
        None if read_only => return Ok(None),
        None => {
            root.make_folders(OWN[0])?;
            root.open_or_create_file(layout::LOCK, LOCK_MODE)?
        }
    };
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
