//! The uploads of a repository as they lie on disk: made whole, read, listed.
//!
//! An upload is a folder with `startedat` and `data`. One without is what a cancelled or finished
//! upload left behind: it is not there for anybody, and swept after a while.

use crate::model::{Area, AttributesChange, Error, Result, UploadId, UploadName};
use crate::registry::{UploadReader, UploadStat};
use crate::store::{
    Store,
    attributes::{self, Carried, attributes},
    blobs::read_fully,
    folder::{self, Folder},
    folder_time, layout, lending, notes,
};
use rustix::{
    fs::{FlockOperation, OFlags},
    io::Errno,
};
use std::{
    cmp::Reverse,
    fs::File,
    io,
    os::unix::{ffi::OsStrExt as _, fs::FileExt as _},
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// More than any `startedat` file has.
const STARTED_AT_BYTES_MAX: u64 = 64;
/// More than any `name` file has: names up to a block, then one that may have the path of a folder.
const NAME_BYTES_MAX: u64 = 16 << 10;

/// What stands behind an upload's name, and behind its id, in the `name` file; no name has it. A name
/// alone, without any of it, counts as well: so it was written before folders were used again.
pub(super) const NAME_END: u8 = 0;

/// What does not change while an upload lasts, and its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) name: Option<UploadName>,
    /// In whole seconds, as the registry writes it.
    pub(super) started_at: SystemTime,
    /// The same as precisely as the system keeps it, to tell which of two is younger.
    pub(super) begun_at: SystemTime,
}

impl Known {
    /// Which of two is younger: the greater one. No two are equal.
    pub(super) fn youth(&self, id: UploadId) -> (SystemTime, UploadId) {
        (self.begun_at, id)
    }

    /// Whether it is hidden from people: a layer or manifest that is being written under its own
    /// name is an upload only until that file is closed. Dot files are there to be renamed later.
    pub(super) fn ends_with_its_writer(&self) -> bool {
        self.name.as_ref().is_some_and(|name| {
            name.area() != Area::Uploads
                && name.folder().is_none()
                && !name.file().as_bytes().starts_with(b".")
        })
    }
}

/// Makes an upload; gives its data file, locked for us.
pub(super) fn make(
    store: &Store, repository: &Folder, id: UploadId, name: &UploadName, change: &AttributesChange,
) -> Result<(File, Known)> {
    let now = SystemTime::now();
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let started_at = UNIX_EPOCH + Duration::from_secs(seconds);
    let at = layout::upload(id);
    let place = repository.place(&at);
    // Made whole elsewhere: nobody sees an upload without its parts, or one that nobody has locked.
    let draft = store.spares.take(store.scratch()?)?;
    let started = humantime::format_rfc3339_seconds(started_at).to_string();
    let of = |file: &str| Error::io("write", place.path().join(file));
    draft.started_at.write_all_at(started.as_bytes(), 0).map_err(of(layout::STARTED_AT))?;
    // Finer than the clock by which the system would set it: it tells which upload is younger.
    let time = AttributesChange { modified_at: Some(now), ..AttributesChange::default() };
    attributes::change(&draft.started_at, &time, &place.path())?;
    let end = draft.name.metadata().map_err(of(layout::NAME))?.len();
    draft.name.write_all_at(&name_text(id, name), end).map_err(of(layout::NAME))?;
    let data = draft.folder.create_file(layout::DATA)?;
    Carried::default().but(change).put_on(&data, &place.path())?;
    lock(&data, id)?;
    store.in_area(repository, name.area(), || draft.folder.publish(place))?;
    folder_time::forget(repository, Some(name));
    Ok((data, Known { name: Some(name.clone()), started_at, begun_at: now }))
}

/// What the `name` file of the upload `id` holds, perhaps beside the same of others.
pub(super) fn name_text(id: UploadId, name: &UploadName) -> Vec<u8> {
    [&name.to_bytes()[..], &[NAME_END], id.to_string().as_bytes(), &[NAME_END]].concat()
}

/// What a `name` file says.
enum NameText {
    /// Where people find the upload.
    Name(UploadName),
    /// Nothing: another program's upload has no name, and a damaged name is none.
    Nothing,
    /// The names of other uploads, which had the file before.
    Others,
}

impl NameText {
    /// Reads the `name` file of the upload `id`.
    fn read(repository: &Folder, id: UploadId) -> Result<Self> {
        let text = repository.read(layout::upload_file(id, layout::NAME), NAME_BYTES_MAX)?;
        let Some(text) = text else { return Ok(Self::Nothing) };
        let parts: Vec<&[u8]> = text.split(|byte| *byte == NAME_END).collect();
        // What was written and did not reach the disk may be zeros, so pairs are not counted off.
        let own = parts.windows(2).rfind(|pair| pair[1] == id.to_string().as_bytes());
        match (own, &parts[..]) {
            (Some([name, _]), _) | (None, [name]) => {
                Ok(UploadName::from_bytes(name).map_or(Self::Nothing, Self::Name))
            }
            (_, _) => Ok(Self::Others),
        }
    }
}

/// Takes the lock that a writer holds. Errors: `UploadBusy`.
pub(super) fn lock(data: &File, id: UploadId) -> Result<()> {
    let operation = FlockOperation::NonBlockingLockExclusive;
    rustix::fs::flock(data, operation).map_err(|errno| match errno {
        Errno::WOULDBLOCK => Error::UploadBusy(id),
        other => Error::io("lock", layout::upload_file(id, layout::DATA))(other),
    })
}

/// Opens an upload to go on with it; its data file is locked for us. Errors: `UploadBusy`.
pub(super) fn open(
    store: &Store, repository: &Folder, id: UploadId,
) -> Result<Option<(File, Known)>> {
    let at = layout::upload_file(id, layout::DATA);
    let Some(known) = store.upload_indexes.known(repository, id)? else { return Ok(None) };
    let Some(data) = open_data(store, repository, id)? else { return Ok(None) };
    let stat = attributes::stat(&data, || repository.path_of(&at))?;
    if !folder::is_file(&stat) {
        return Ok(None);
    }
    lock(&data, id)?;
    // Who had it locked before may have finished or cancelled it.
    if !is_still(repository, id, &data)? {
        return Ok(None);
    }
    let is_shared = attributes::stat(&data, || repository.path_of(&at))?.st_nlink > 1;
    let data = if is_shared { unshare(store, repository, id, &data)? } else { data };
    Ok(Some((data, known)))
}

/// Gives an upload data of its own, locked for us. A crash while it was being finished has left it with
/// the file that is a blob already, which nobody may write any more.
fn unshare(store: &Store, repository: &Folder, id: UploadId, shared: &File) -> Result<File> {
    let at = layout::upload_file(id, layout::DATA);
    let draft = store.scratch()?.draft()?;
    io::copy(&mut &*shared, &mut draft.file())
        .map_err(Error::io("copy", repository.path_of(&at)))?;
    Carried::of(shared, &repository.path_of(&at))?.put_on(draft.file(), &draft.path())?;
    lock(draft.file(), id)?;
    draft.sync()?;
    let data = draft.file().try_clone().map_err(Error::io("copy", draft.path()))?;
    draft.publish(repository.place(&at))?;
    Ok(data)
}

/// Opens the data to write it, also when a person has made it read-only: whoever may finish it is
/// decided by the folders that it leaves and enters.
fn open_data(store: &Store, repository: &Folder, id: UploadId) -> Result<Option<File>> {
    let at = layout::upload_file(id, layout::DATA);
    let open = || repository.open_quietly(&at, OFlags::RDWR);
    match open() {
        Err(error) if attributes::is_denied(&error) => {
            let Some(data) = repository.open_quietly(&at, OFlags::RDONLY)? else { return Ok(None) };
            let lend = || lending::to_owner(repository.place(&at), open);
            notes::keep_over(store, id, &data, lend)
        }
        opened => opened,
    }
}

/// An upload's data, for who does not write it.
pub(super) struct LocalReader {
    data: File,
    path: PathBuf,
}

/// Opens an upload to look at its content only: without its lock.
pub(super) fn open_to_read(
    store: &Store, repository: &Folder, id: UploadId,
) -> Result<Option<LocalReader>> {
    let at = layout::upload_file(id, layout::DATA);
    if store.upload_indexes.known(repository, id)?.is_none() {
        return Ok(None);
    }
    let data = repository.open_quietly(&at, OFlags::RDONLY)?;
    Ok(data.map(|data| LocalReader { data, path: repository.path_of(&at) }))
}

impl UploadReader for LocalReader {
    fn length(&self) -> Result<u64> {
        attributes::stat(&self.data, || self.path.clone()).map(|stat| folder::length(&stat))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        read_fully(&self.data, buffer, offset).map_err(Error::io("read", &self.path))
    }
}

/// Whether `data` is the data file of the upload `id`.
pub(super) fn is_still(repository: &Folder, id: UploadId, data: &File) -> Result<bool> {
    let at = layout::upload_file(id, layout::DATA);
    let open = attributes::stat(data, || repository.path_of(&at))?;
    let there = repository.glance(&at)?;
    Ok(there.is_some_and(|there| folder::identity(&there) == folder::identity(&open)))
}

/// What is known of an upload; `None` when it has no readable `startedat`, or no data any more, or the
/// name of another one.
pub(super) fn read_known(repository: &Folder, id: UploadId) -> Result<Option<Known>> {
    let started = layout::upload_file(id, layout::STARTED_AT);
    let (Some(text), Some(stat)) =
        (repository.read(&started, STARTED_AT_BYTES_MAX)?, repository.stat(&started)?)
    else {
        return Ok(None);
    };
    let started_at = std::str::from_utf8(&text).ok().and_then(|text| {
        // docker-registry writes the same form.
        humantime::parse_rfc3339(text).ok()
    });
    let Some(started_at) = started_at else { return Ok(None) };
    if !repository.stat(layout::upload_file(id, layout::DATA))?.is_some_and(|s| folder::is_file(&s))
    {
        return Ok(None);
    }
    let name = match NameText::read(repository, id)? {
        NameText::Name(name) => Some(name),
        NameText::Nothing => None,
        NameText::Others => return Ok(None),
    };
    Ok(Some(Known { name, started_at, begun_at: attributes(&stat).modified_at }))
}

/// What `stat` tells of an upload that is known; `None` when it has no data any more.
pub(super) fn stat_known(
    repository: &Folder, id: UploadId, known: Known,
) -> Result<Option<UploadStat>> {
    let stat = repository.stat(layout::upload_file(id, layout::DATA))?;
    Ok(stat.filter(folder::is_file).map(|stat| UploadStat {
        uuid: id,
        name: known.name,
        started_at: known.started_at,
        length: folder::length(&stat),
        attributes: attributes(&stat),
    }))
}

impl Store {
    /// What is known of an upload of the repository in `folder`.
    pub(super) fn stat_upload(&self, folder: &Folder, id: UploadId) -> Result<Option<UploadStat>> {
        match self.upload_indexes.known(folder, id)? {
            Some(known) => stat_known(folder, id, known),
            None => Ok(None),
        }
    }

    /// Every upload of the repository in `folder`, the youngest first.
    pub(super) fn scan_uploads(&self, folder: &Folder) -> Result<Vec<UploadStat>> {
        let mut uploads = Vec::new();
        let mut found = self.upload_indexes.all(self, folder)?;
        found.sort_by_key(|(id, known)| Reverse(known.youth(*id)));
        for (id, known) in found {
            uploads.extend(stat_known(folder, id, known)?);
        }
        Ok(uploads)
    }

    /// The youngest upload of the repository in `folder` that is called `name`.
    pub(super) fn find_upload(
        &self, folder: &Folder, name: &UploadName,
    ) -> Result<Option<UploadId>> {
        self.upload_indexes.find(self, folder, name)
    }
}
