//! Marks of those who have the store mounted, `regfs/mounts/UUID`: a mark is locked by its process for
//! as long as that lives, and taken away by it at its end. One that nobody has locked is of a mount that
//! did not end cleanly: its process was killed, or the machine went down, which the boot that is noted in
//! it tells.

use crate::model::{Error, Result};
use crate::registry::Cursor as _;
use crate::store::{
    Store, directory::Directory, folder::Folder, layout, notes, ownership, walk::Walk,
};
use parking_lot::Mutex;
use rustix::{
    fs::{FlockOperation, OFlags, flock},
    io::Errno,
};
use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};
use uuid::Uuid;

/// How long uploads are counted at most.
const COUNT_MAX: Duration = Duration::from_millis(50);

/// What an end that was not clean has left, and what was done about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unclean {
    /// Whether the machine went down meanwhile.
    pub machine_went_down: bool,
    /// Whether others have the store open: what they may be at was left alone.
    pub is_shared: bool,
    /// Things in the making that were removed.
    pub made: u64,
    /// Removed things that were deleted.
    pub removed: u64,
    /// Uploads that can be gone on with; `None` where it takes long to count them.
    pub uploads: Option<u64>,
}

/// The mark of this process, while it is there.
#[derive(Default)]
pub(super) struct Mark(Mutex<Option<(PathBuf, File)>>);

impl Store {
    /// Marks the store as mounted.
    pub(super) fn mark_mounted(&self) -> Result<()> {
        ownership::make_folders(&self.root, layout::MOUNTS)?;
        let at = Path::new(layout::MOUNTS).join(Uuid::new_v4().to_string());
        let draft = self.scratch()?.draft()?;
        let path = draft.path();
        draft
            .file()
            .write_all(notes::boot().unwrap_or_default())
            .map_err(Error::io("write", &path))?;
        let file = draft.file().try_clone().map_err(Error::io("write", &path))?;
        // Before anybody sees it.
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(Error::io("lock", &path))?;
        draft.publish(self.root.place(&at))?;
        *self.mark.0.lock() = Some((at, file));
        Ok(())
    }

    /// Takes the mark away: this is a clean end.
    pub(super) fn unmark(&self) -> Result<()> {
        let mark = self.mark.0.lock().take();
        mark.map_or(Ok(()), |(at, _locked)| self.root.remove_file(at).map(drop))
    }
}

/// Takes away the marks of mounts that did not end cleanly; `None` when all did.
pub(super) fn take_stale(root: &Folder) -> Result<Option<Unclean>> {
    let Some(mounts) = root.open_folder(layout::MOUNTS)? else { return Ok(None) };
    let mut unclean: Option<Unclean> = None;
    let mut directory = Directory::of(&mounts)?;
    while let Some(entry) = directory.next()? {
        match stale_boot(&mounts, Path::new(&entry.name)) {
            Ok(Some(boot)) => {
                let found = unclean.get_or_insert_default();
                found.machine_went_down |= Some(&*boot) != notes::boot();
            }
            Ok(None) => {}
            // Whatever it is, it is no mark of ours.
            Err(error) => log::warn!("passed over: {error}"),
        }
    }
    Ok(unclean)
}

/// Takes away the mark `name` if it is stale; gives under which boot it was made.
fn stale_boot(mounts: &Folder, name: &Path) -> Result<Option<Vec<u8>>> {
    let Some(file) = mounts.open_file(name, OFlags::RDONLY)? else { return Ok(None) };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Ok(None),
        Err(errno) => return Err(Error::io("lock", mounts.path_of(name))(errno)),
    }
    let boot = mounts.read(name, notes::BOOT_ID_LENGTH as u64)?;
    mounts.remove_file(name)?;
    Ok(boot)
}

/// How many uploads there are, in all repositories; `None` where it takes long to look: nobody is to wait
/// for a mount.
pub(super) fn count_uploads(store: &Arc<Store>) -> Result<Option<u64>> {
    let start = Instant::now();
    let mut count = 0;
    let mut walk = Walk::new(Arc::clone(store))?;
    while let Some((name, _)) = walk.next()? {
        if start.elapsed() > COUNT_MAX {
            return Ok(None);
        }
        let at = layout::repository(&name).join(layout::UPLOADS);
        let Some(uploads) = store.root.open_folder(at)? else { continue };
        let mut directory = Directory::of(&uploads)?;
        while let Some(entry) = directory.next()? {
            let id = layout::parse_upload(&entry.name);
            // One without is what is left of a cancelled one.
            if let Some(started) = id.map(|_| Path::new(&entry.name).join(layout::STARTED_AT))
                && uploads.stat(started)?.is_some()
            {
                count += 1;
            }
        }
    }
    Ok(Some(count))
}
