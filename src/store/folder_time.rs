//! The time that a person gave the folder of uploads.
//!
//! Its own time changes with every upload, and those are uploads as well that people see in
//! `layers` and `manifests`, or do not see at all. rsync, which sets the time of `uploads` while it
//! still writes to the other two, would have to set it again each time. So the time that was set is
//! kept beside, and holds until something changes that people see in `uploads`.

use crate::model::{Area, Attributes, Error, Result, UploadName};
use crate::store::{
    attributes::{self as of_files, stat, time, timespec},
    folder::Folder,
    layout,
};
use rustix::{
    fs::{self, OFlags, XattrFlags},
    io::Errno,
};
use std::{
    fs::File,
    os::fd::AsFd,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// More than any time has in decimal.
const TEXT_BYTES_MAX: usize = 64;

/// The attributes of the folder `file`, with the time that is kept where there is one.
pub(super) fn attributes(file: &File, path: PathBuf) -> Result<Attributes> {
    let own = of_files::attributes(&stat(file, || path)?);
    Ok(Attributes { modified_at: read(file).unwrap_or(own.modified_at), ..own })
}

/// Gives a new folder of `repository` its first time.
pub(super) fn begin(repository: &Folder, at: &str, time: SystemTime) -> Result<()> {
    let Some(folder) = repository.open_folder(at)? else { return Ok(()) };
    of_files::set_modified_at(&folder, time)?;
    if at == layout::UPLOADS { keep(&folder, time, &repository.path_of(at)) } else { Ok(()) }
}

fn read(file: &File) -> Option<SystemTime> {
    let mut text = [0; TEXT_BYTES_MAX];
    let length = fs::fgetxattr(file, layout::TIME, &mut text[..]).ok()?;
    let text = std::str::from_utf8(&text[..length]).ok()?;
    let (seconds, nanoseconds) = text.split_once('.')?;
    Some(time(seconds.parse::<i64>().ok()?, nanoseconds.parse::<u64>().ok()?))
}

/// Keeps the time of the folder `file`. Where the file system keeps no attributes, its own time is
/// all there is.
pub(super) fn keep(file: impl AsFd, time: SystemTime, path: &Path) -> Result<()> {
    let since = timespec(Some(time));
    let text = format!("{}.{:09}", since.tv_sec, since.tv_nsec);
    match fs::fsetxattr(file, layout::TIME, text.as_bytes(), XattrFlags::empty()) {
        Ok(()) | Err(Errno::NOTSUP) => Ok(()),
        Err(errno) => Err(Error::io("set the times of", path)(errno)),
    }
}

/// Forgets the time of the uploads in `repository`, when one of this name came, went or changed
/// its name. That it stays is nothing worth an error.
pub(super) fn forget(repository: &Folder, name: Option<&UploadName>) {
    // One without a name was begun by another program, and is seen in `uploads`.
    if name.is_some_and(|name| name.area() != Area::Uploads || name.folder().is_some()) {
        return;
    }
    let Ok(Some(folder)) = repository.open_file(layout::UPLOADS, OFlags::RDONLY) else { return };
    match fs::fremovexattr(&folder, layout::TIME) {
        Ok(()) | Err(Errno::NODATA | Errno::NOTSUP) => {}
        Err(errno) => log::debug!("the time of a folder of uploads stays as it was: {errno}"),
    }
}
