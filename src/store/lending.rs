//! Rights that a mode takes from the owner, lent for one call.
//!
//! A person may take the right to write a file, or to enter a folder, from everybody: `rsync -a` does
//! with what is read-only. Root is not bound by that; a daemon of that person's own is, and must all
//! the same be able to finish such an upload, or to follow when the right is given back. As on any
//! disk, the owner may always give it, so it is given for the moment, and taken again.

use crate::model::{Error, Result};
use crate::store::{
    attributes,
    folder::{self, Place},
};
use rustix::fs::{Mode, Stat};
use std::{fs::File, os::fd::AsRawFd as _};

/// What an owner needs to do everything with a file, and with a folder.
const FILE_RIGHTS: u32 = 0o600;
const FOLDER_RIGHTS: u32 = 0o700;

/// Calls `act`, which was refused for want of rights, with those that the owner of the file or folder
/// at `place` can have. Errors: those of `act`.
pub(super) fn to_owner<T>(place: Place<'_>, act: impl FnOnce() -> Result<T>) -> Result<T> {
    let Some(file) = place.folder.open_place(place.at)? else { return act() };
    let before = attributes::stat(&file, || place.path())?;
    let rights = if folder::is_folder(&before) { FOLDER_RIGHTS } else { FILE_RIGHTS };
    let lent = before.st_mode | rights;
    // Not ours, or it is not for want of these rights: then the refusal stands.
    if lent == before.st_mode || set_mode(&file, lent, place).is_err() {
        return act();
    }
    let outcome = act();
    take_back(&file, &before, place);
    outcome
}

fn take_back(file: &File, before: &Stat, place: Place<'_>) {
    if let Err(error) = set_mode(file, before.st_mode, place) {
        log::warn!("the owner keeps rights: {error}");
    }
}

/// The system changes nothing through a descriptor that was opened without rights; but it has a name.
fn set_mode(file: &File, mode: u32, place: Place<'_>) -> Result<()> {
    let name = format!("/proc/self/fd/{}", file.as_raw_fd());
    rustix::fs::chmod(name, Mode::from_raw_mode(mode & 0o7777))
        .map_err(Error::io("chmod", place.path()))
}
