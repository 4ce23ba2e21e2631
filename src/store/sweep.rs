//! What crashes and cancelled uploads leave behind: found on occasion, and deleted when it is old
//! enough to be nobody's.

use crate::model::{Result, UploadId};
use crate::store::{
    Store, attributes::attributes, directory::Directory, durable::Scratch, folder::Folder, layout,
};
use rustix::fs::Stat;
use std::{
    path::Path,
    time::{Duration, SystemTime},
};

/// From what age on a thing without an owner is a leftover. Making anything takes far less.
pub(super) const LEFTOVER_AGE_MIN: Duration = Duration::from_secs(60 * 60);

/// Deletes what lies in the trash, and what was being made longer than `age_min` ago.
pub(super) fn sweep_scratch(scratch: &Scratch, age_min: Duration) -> Result<()> {
    sweep_folder(scratch.trash(), |_| true)?;
    // By the time of change: a link in the making may have been given any time of modification.
    sweep_folder(scratch.tmp(), |stat| is_older(attributes(stat).changed_at, age_min))
}

fn sweep_folder(folder: &Folder, is_leftover: impl Fn(&Stat) -> bool) -> Result<()> {
    let mut directory = Directory::of(folder)?;
    while let Some(entry) = directory.next()? {
        if folder.stat(&entry.name)?.is_some_and(|stat| is_leftover(&stat))
            && let Err(error) = folder.remove_all(Path::new(&entry.name))
        {
            log::warn!("a leftover stays behind: {error}");
        }
    }
    Ok(())
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

fn is_older(time: SystemTime, age_min: Duration) -> bool {
    time.elapsed().is_ok_and(|age| age >= age_min)
}
