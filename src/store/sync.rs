//! Making bytes and names survive a power cut: the only file that syncs.

use crate::model::{Error, Result};
use crate::store::{
    folder::{self, Folder, Place},
    layout,
};
use rustix::{fs, io::Errno};
use std::{
    borrow::Borrow,
    fs::File,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
};

/// What was being done when the bytes of a file could not be synced.
pub(super) const DOING: &str = "sync the bytes of";

/// Makes the bytes and the length of a file survive a power cut. `path` is for the message.
pub(super) fn content(file: &File, path: impl FnOnce() -> PathBuf) -> Result<()> {
    fs::fdatasync(file).map_err(|errno| Error::io(DOING, path())(errno))
}

/// As [`content`], of several files, in their order; each with its path for the message. All are begun
/// before the first is waited for: then a journalling file system, which would commit its journal
/// for each, does so for all of them at once.
pub(super) fn contents<F: Borrow<File>>(files: &[(F, PathBuf)]) -> Result<()> {
    files.iter().for_each(|(file, _)| begin(file.borrow()));
    files.iter().try_for_each(|(file, path)| content(file.borrow(), || path.clone()))
}

/// Begins to write what is not on disk yet. That it fails is said by who waits for it.
#[expect(unsafe_code, reason = "sync_file_range has no safe wrapper")]
pub(super) fn begin(file: &File) {
    // SAFETY: it takes numbers, the first of which is an open descriptor.
    unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE) };
}

/// Makes the names in the folder `at` survive a power cut.
pub(super) fn folder(place: Place<'_>) -> Result<()> {
    let Some(folder) = place.folder.open_folder(place.at)? else { return Ok(()) };
    fs::fsync(&folder).map_err(Error::io("sync", place.path()))
}

/// Makes the names on the way down to `place` survive a power cut, its own folder's included.
pub(super) fn folders(place: Place<'_>) -> Result<()> {
    // The innermost first: a name is worth something only when what it leads to is there.
    for at in place.at.ancestors() {
        let at = if at.as_os_str().is_empty() { Path::new(".") } else { at };
        folder(place.folder.place(at))?;
    }
    Ok(())
}

/// Makes the names survive a power cut by which a repository's open folder is found now, wherever it
/// was when it was opened.
pub(super) fn way_up(repository: &Folder, root: &Folder) -> Result<()> {
    let path = || root.path_of(layout::REPOSITORIES);
    let top =
        root.stat(layout::REPOSITORIES)?.ok_or_else(|| Error::io("stat", path())(Errno::NOENT))?;
    let outside = folder::identity(&root.stat_self()?);
    let mut folder = repository.clone();
    loop {
        fs::fsync(&folder).map_err(Error::io("sync", folder.path_of("")))?;
        let here = folder::identity(&folder.stat_self()?);
        if here == folder::identity(&top) {
            return folders(root.place(layout::REPOSITORIES));
        }
        let parent = folder.open_parent()?;
        if here == outside || folder::identity(&parent.stat_self()?) == here {
            // It lies in the trash.
            return store(root);
        }
        folder = parent;
    }
}

/// Makes everything in the store survive a power cut: for callers that do not know which names they
/// mean. One call of the whole file system is cheaper than a look at every folder.
pub(super) fn store(root: &Folder) -> Result<()> {
    fs::syncfs(root).map_err(Error::io("sync", root.path_of("")))
}
