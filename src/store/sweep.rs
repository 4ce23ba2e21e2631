//! What crashes and cancelled uploads leave behind: found on occasion, and deleted when it is old
//! enough to be nobody's.

use crate::model::{Error, Result, UploadId};
use crate::store::{
    Store,
    attributes::attributes,
    directory::Directory,
    durable::Scratch,
    folder::Folder,
    layout, notes,
    uploads::{self, Known},
};
use rustix::fs::{OFlags, Stat};
use std::{
    fs::File,
    path::Path,
    time::{Duration, SystemTime},
};

/// From what age on a thing without an owner is a leftover. Making anything takes far less.
const LEFTOVER_AGE_MIN: Duration = Duration::from_secs(60 * 60);

/// From what age on that is so for who opens the store. What lies in it while nobody has it open can
/// have no owner.
pub(super) fn leftover_age_min(is_alone: bool) -> Duration {
    if is_alone { Duration::ZERO } else { LEFTOVER_AGE_MIN }
}

/// Deletes what was being made, or was removed, longer than `age_min` ago. What was removed just now
/// another process may be about to put back. Gives how many of either it was.
pub(super) fn sweep_scratch(scratch: &Scratch, age_min: Duration) -> Result<(u64, u64)> {
    Ok((sweep_folder(scratch.tmp(), age_min)?, sweep_folder(scratch.trash(), age_min)?))
}

/// By the time of change (ctime), which a rename sets: a link in the making may have been given any
/// time of modification.
fn sweep_folder(folder: &Folder, age_min: Duration) -> Result<u64> {
    let mut swept = 0;
    let mut directory = Directory::of(folder)?;
    while let Some(entry) = directory.next()? {
        let stat = folder.stat(&entry.name)?;
        if !stat.is_some_and(|stat| is_older(attributes(&stat).changed_at, age_min)) {
            continue;
        }
        match folder.remove_all(Path::new(&entry.name)) {
            Ok(()) => swept += 1,
            Err(error) => log::warn!("a leftover stays behind: {error}"),
        }
    }
    Ok(swept)
}

/// Deletes a folder in `_uploads` that is no upload, when it is old. docker-registry leaves one
/// behind for each cancelled upload, and its own purger never finds it.
pub(super) fn sweep_upload(
    store: &Store, repository: &Folder, id: UploadId, stat: &Stat,
) -> Result<()> {
    let Some(scratch) = &store.scratch else { return Ok(()) };
    if !is_older(attributes(stat).modified_at, LEFTOVER_AGE_MIN) {
        return Ok(());
    }
    if let Some(removed) = scratch.remove(repository.place(&layout::upload(id)))? {
        log::info!("swept what a cancelled upload left behind: {id}");
        removed.delete();
    }
    Ok(())
}

/// Cancels an upload that nobody can see or go on with any more, and says whether it did: one whose
/// name is a layer's or a manifest's own, for it lasts as long as the file is open, and whose writer
/// is gone, which its lock tells.
pub(super) fn sweep_abandoned(
    store: &Store, repository: &Folder, id: UploadId, known: &Known,
) -> bool {
    cancel_abandoned(store, repository, id, known).unwrap_or_else(|error| {
        log::warn!("upload {id} may be abandoned, and stays: {error}");
        false
    })
}

fn cancel_abandoned(
    store: &Store, repository: &Folder, id: UploadId, known: &Known,
) -> Result<bool> {
    if store.scratch.is_none() || !known.ends_with_its_writer() {
        return Ok(false);
    }
    let Some(_data) = lock_unused(repository, id)? else { return Ok(false) };
    // Somebody may have given it another name before.
    if uploads::read_known(repository, id)?.as_ref() != Some(known) {
        return Ok(false);
    }
    let is_cancelled = cancel(store, repository, id)?;
    if is_cancelled {
        log::info!("cancelled upload {id}, whose writer ended without finishing it");
    }
    Ok(is_cancelled)
}

/// The data of an upload, locked, so that nobody else takes it up. `None` when somebody has it open, or
/// it is not there.
pub(super) fn lock_unused(repository: &Folder, id: UploadId) -> Result<Option<File>> {
    let at = layout::upload_file(id, layout::DATA);
    let Some(data) = repository.open_quietly(&at, OFlags::RDONLY)? else { return Ok(None) };
    match uploads::lock(&data, id) {
        Ok(()) => {}
        Err(Error::UploadBusy(_)) => return Ok(None),
        Err(error) => return Err(error),
    }
    // Somebody may have finished it before it was locked.
    Ok(uploads::is_still(repository, id, &data)?.then_some(data))
}

/// Removes an upload that is locked. `false` when it is not there.
pub(super) fn cancel(store: &Store, repository: &Folder, id: UploadId) -> Result<bool> {
    if !store.scratch()?.delete(repository.place(&layout::upload(id)), layout::STARTED_AT)? {
        return Ok(false);
    }
    notes::remove(store, id)?;
    Ok(true)
}

fn is_older(time: SystemTime, age_min: Duration) -> bool {
    time.elapsed().is_ok_and(|age| age >= age_min)
}
