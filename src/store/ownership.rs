//! Whose it is what root makes for a store: whoever has looked at somebody's store as root must not
//! keep them out of it.
//!
//! The store's owner may put anything in the place of what we make, a hard link to a file of root's,
//! say. So a thing is given away through the descriptor that made it, or not at all; a folder, which
//! cannot be made and opened at once, only as long as nothing is in it.

use crate::model::{Error, Result};
use crate::store::{
    attributes::stat,
    directory::Directory,
    folder::{self, Folder},
};
use rustix::fs::{Gid, Mode, Uid, fchmod, fchown};
use std::{fs::File, os::fd::AsFd, path::Path};

/// Makes folders of ours as far as they are missing.
pub(super) fn make_folders(root: &Folder, at: impl AsRef<Path>) -> Result<()> {
    let mut missing: Vec<&Path> =
        at.as_ref().ancestors().filter(|at| !at.as_os_str().is_empty()).collect();
    missing.reverse();
    for at in missing {
        if root.make_folder(at)? {
            give_folder(root, at)?;
        }
    }
    Ok(())
}

/// Makes an empty file of ours that has this mode whatever the umask is, unless something lies there.
pub(super) fn make_file(root: &Folder, at: &str, mode: Mode) -> Result<()> {
    if let Some(file) = root.make_file(at, mode)? {
        fchmod(&file, mode).map_err(Error::io("make", root.path_of(at)))?;
        give_file(root, &file, &root.path_of(at))?;
    }
    Ok(())
}

/// Gives away a folder that was just made.
fn give_folder(root: &Folder, at: impl AsRef<Path>) -> Result<()> {
    let Some(made) = root.open_folder(&at)? else { return Ok(()) };
    let is_roots = made.stat_self()?.st_uid == 0;
    if is_roots && Directory::of(&made)?.next()?.is_none() {
        give(root, &made, &root.path_of(at))?;
    }
    Ok(())
}

/// Gives away the file that this descriptor has made.
pub(super) fn give_file(root: &Folder, made: &File, path: &Path) -> Result<()> {
    let found = stat(made, || path.to_owned())?;
    if folder::is_file(&found) && found.st_nlink == 1 && found.st_uid == 0 {
        give(root, made, path)?;
    }
    Ok(())
}

fn give(root: &Folder, made: &impl AsFd, path: &Path) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let owner = root.stat_self()?;
    let (uid, gid) = (Uid::from_raw(owner.st_uid), Gid::from_raw(owner.st_gid));
    if let Err(errno) = fchown(made, Some(uid), Some(gid)) {
        log::debug!("{} stays with root: {errno}", path.display());
    }
    Ok(())
}
