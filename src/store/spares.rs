//! Folders of uploads that are finished, kept to be those of the next ones.
//!
//! A file system that has lost many files a moment ago is slow to make new ones: ext4 gives no inode
//! out again within a minute, and passes by all of those whenever it looks for one. An upload has a
//! folder and two small files beside its data; ten thousand small layers would make and delete
//! thirty thousand of them. So what a finished upload leaves is put into `regfs/tmp` as it is, and
//! filled anew.
//!
//! A power cut may take back that a folder was put away, or leave it with its next name but without
//! what was written into it. Neither may make an upload of what is none, or hide one that somebody has
//! synced. So no `name` file is ever cut or written over: it holds a name for each upload that had
//! the folder, with the upload's id (`uploads.rs`). The time of its beginning is written over, and
//! may be that of the next one then.

use crate::model::Result;
use crate::store::{
    attributes::{attributes, stat},
    directory::Directory,
    durable::{DraftFolder, Scratch},
    folder::{self, Folder, Place},
    layout,
    uploads::NAME_END,
};
use parking_lot::Mutex;
use rustix::fs::{OFlags, Stat};
use std::{fs::File, os::unix::fs::FileExt as _, path::PathBuf, time::Duration};

/// How many are kept: as many as uploads end at the same time.
const SPARES_MAX: usize = 32;
/// How long one is kept: far shorter than what lies in `regfs/tmp` is left alone by whoever looks for
/// leftovers.
const SPARE_AGE_MAX: Duration = Duration::from_secs(60);
/// How long a `name` file may be: a block, with which it takes no more room than with one name.
const NAMES_BYTES_MAX: u64 = 4096;

/// What every upload has beside its data.
const FILES: [&str; 2] = [layout::STARTED_AT, layout::NAME];

/// The folders that are kept. The lock is held for an operation of the list.
#[derive(Default)]
pub(super) struct Spares {
    /// Their names in `regfs/tmp`.
    folders: Mutex<Vec<PathBuf>>,
}

/// The folder of an upload in the making, and what is in it; they may say anything still.
pub(super) struct UploadDraft<'a> {
    pub(super) folder: DraftFolder<'a>,
    pub(super) started_at: File,
    pub(super) name: File,
}

impl Spares {
    /// Removes the folder of an upload whose data is gone, at once; `false` when it is not there.
    pub(super) fn keep(&self, scratch: &Scratch, from: Place<'_>) -> Result<bool> {
        if self.folders.lock().len() >= SPARES_MAX {
            return scratch.delete(from, layout::STARTED_AT);
        }
        let name = match scratch.set_aside(from) {
            Ok(Some(name)) => name,
            Ok(None) => return Ok(false),
            Err(error) => {
                log::debug!("the folder of an upload is not kept: {error}");
                return scratch.delete(from, layout::STARTED_AT);
            }
        };
        self.folders.lock().push(name);
        Ok(true)
    }

    /// A folder in which an upload can be begun: one that is kept, if any is fit for that.
    pub(super) fn take<'a>(&self, scratch: &'a Scratch) -> Result<UploadDraft<'a>> {
        let newest = || self.folders.lock().pop();
        while let Some(spare) = newest() {
            // What is not used vanishes when it is dropped.
            let folder = scratch.take_up(spare);
            if let Ok(Some([started_at, name])) = files_alone(&folder) {
                return Ok(UploadDraft { folder, started_at, name });
            }
        }
        let folder = scratch.draft_folder()?;
        let [started_at, name] = FILES.map(|name| folder.create_file(name));
        Ok(UploadDraft { started_at: started_at?, name: name?, folder })
    }

    /// Deletes all.
    pub(super) fn clear(&self, scratch: &Scratch) {
        let spares = std::mem::take(&mut *self.folders.lock());
        spares.into_iter().for_each(|spare| drop(scratch.take_up(spare)));
    }
}

/// The files of a folder that has those of an upload and nothing else. They are going to be written, so
/// they must be nobody else's: the store's owner may have put a link to any file there.
fn files_alone(draft: &DraftFolder<'_>) -> Result<Option<[File; 2]>> {
    let Some(folder) = draft.open()? else { return Ok(None) };
    let stat = folder.stat_self()?;
    let age = attributes(&stat).changed_at.elapsed();
    if !is_ours_alone(&stat) || !age.is_ok_and(|age| age < SPARE_AGE_MAX) {
        return Ok(None);
    }
    let mut directory = Directory::of(&folder)?;
    while let Some(entry) = directory.next()? {
        if !FILES.iter().any(|name| entry.name == *name) {
            return Ok(None);
        }
    }
    let [started_at, name] = FILES.map(|name| file_alone(&folder, name));
    let name = name?.filter(has_whole_names);
    Ok(started_at?.zip(name).map(Into::into))
}

/// Whether another name can be written behind those in a `name` file. One without an id, or of which a
/// power cut has left a part, would be taken for the beginning of it.
fn has_whole_names(file: &File) -> bool {
    let mut end = [0];
    let last = file.metadata().ok().and_then(|file| file.len().checked_sub(1));
    last.is_some_and(|last| file.read_exact_at(&mut end, last).is_ok()) && end == [NAME_END]
}

fn file_alone(folder: &Folder, name: &str) -> Result<Option<File>> {
    let Some(file) = folder.open_quietly(name, OFlags::RDWR)? else { return Ok(None) };
    let stat = stat(&file, || folder.path_of(name))?;
    let is_short = folder::length(&stat) < NAMES_BYTES_MAX;
    let is_one = folder::is_file(&stat) && stat.st_nlink == 1;
    Ok(Some(file).filter(|_| is_short && is_one && is_ours_alone(&stat)))
}

/// Whether it belongs to us, and nobody else may write it whom we could be made to harm.
fn is_ours_alone(stat: &Stat) -> bool {
    let user = rustix::process::geteuid();
    stat.st_uid == user.as_raw() && (!user.is_root() || stat.st_mode & 0o022 == 0)
}
