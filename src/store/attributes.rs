//! Attributes of files and folders: read, changed, and carried from one file to another; and the
//! `AttributeService` of a repository, which is these on the files of `layout.rs`.
//!
//! The attributes of a layer are those of this repository's link to it, not of the blob, which
//! others share. Extended attributes are those of the name space `user.`.

use crate::model::{Area, Attributes, AttributesChange, Error, Result};
use crate::registry::{AttributeService, Subject};
use crate::store::{
    folder::{self, Folder, Place},
    folder_time, layout, notes,
    repository::LocalRepository,
};
use rustix::{
    fs::{self, Gid, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags},
    io::Errno,
};
use std::{
    ffi::{CStr, CString},
    fs::File,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The name space of extended attributes that everybody may use.
const USER: &str = "user.";
/// The longest value and the longest list of names that Linux knows (`XATTR_SIZE_MAX`).
const EXTENDED_BYTES_MAX: usize = 64 << 10;
/// What a folder gets unless somebody says otherwise.
const FOLDER_PERMISSIONS: u32 = 0o755;
/// What new folders in a folder inherit, with its group.
const SET_GROUP_ID: u32 = 0o2000;
/// What a file gets unless somebody says otherwise: docker-registry, running as somebody else,
/// must be able to read it.
const FILE_PERMISSIONS: u32 = 0o644;

/// The attributes that a file or folder has.
pub(super) fn attributes(stat: &Stat) -> Attributes {
    Attributes {
        permissions: permissions(stat),
        uid: stat.st_uid,
        gid: stat.st_gid,
        modified_at: time(stat.st_mtime, stat.st_mtime_nsec),
        accessed_at: time(stat.st_atime, stat.st_atime_nsec),
        changed_at: time(stat.st_ctime, stat.st_ctime_nsec),
    }
}

/// Who may read what: a read bit, and the bit that marks it as not wanted.
const READ_MARKS: [(u32, u32); 3] = [(0o400, 0o4000), (0o040, 0o2000), (0o004, 0o1000)];

/// The permission bits that a file or folder has for those who see it through us.
///
/// docker-registry may run as another user, and answers everybody with an error when it cannot read
/// a link. So files are readable for all on disk, whatever a person wants for the mount; that it
/// was not wanted is marked by the bits that mean nothing on such files: set-user-ID, set-group-ID
/// and sticky.
fn permissions(stat: &Stat) -> u32 {
    let mode = stat.st_mode & 0o7777;
    if !folder::is_file(stat) {
        return mode;
    }
    let unwanted = READ_MARKS.iter().filter(|(_, mark)| mode & mark != 0);
    mode & 0o777 & !unwanted.map(|(read, _)| read).sum::<u32>()
}

/// The mode on disk of a file that is to have `permissions`; the inverse of [`permissions`].
fn kept(permissions: u32) -> u32 {
    let unwanted = READ_MARKS.iter().filter(|(read, _)| permissions & read == 0);
    permissions & 0o777 | unwanted.map(|(read, mark)| read | mark).sum::<u32>()
}

/// A time as the system gives it. The numbers have other types on other processors.
pub(super) fn time(seconds: impl Into<i64>, nanoseconds: impl Into<u64>) -> SystemTime {
    let (seconds, nanoseconds) = (seconds.into(), nanoseconds.into());
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let base = if seconds < 0 { UNIX_EPOCH - whole } else { UNIX_EPOCH + whole };
    base + Duration::from_nanos(nanoseconds)
}

/// A time as the system takes it; `None` leaves it as it is.
pub(super) fn timespec(time: Option<SystemTime>) -> Timespec {
    let Some(time) = time else { return Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT } };
    let (seconds, nanoseconds) = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => (i64::try_from(after.as_secs()).unwrap_or(i64::MAX), after.subsec_nanos()),
        Err(error) => {
            // The system counts nanoseconds forwards, from a whole second before.
            let before = error.duration();
            let seconds = -i64::try_from(before.as_secs()).unwrap_or(i64::MAX);
            match before.subsec_nanos() {
                0 => (seconds, 0),
                nanoseconds => (seconds - 1, 1_000_000_000 - nanoseconds),
            }
        }
    };
    Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() }
}

/// Changes the attributes of an open file or folder.
pub(super) fn change(file: &File, change: &AttributesChange, path: &Path) -> Result<()> {
    let before = stat(file, || path.to_owned())?;
    let changes_owner = change.uid.is_some() || change.gid.is_some();
    if changes_owner {
        let (uid, gid) = (change.uid.map(Uid::from_raw), change.gid.map(Gid::from_raw));
        fs::fchown(file, uid, gid).map_err(Error::io("chown", path))?;
    }
    // A change of owner takes marks away, so they are set again behind it.
    if let Some(wanted) = change.permissions.or(changes_owner.then(|| permissions(&before))) {
        let mode = if folder::is_file(&before) { kept(wanted) } else { wanted & 0o7777 };
        fs::fchmod(file, Mode::from_raw_mode(mode)).map_err(Error::io("chmod", path))?;
    }
    if change.modified_at.is_some() || change.accessed_at.is_some() {
        let times = Timestamps {
            last_access: timespec(change.accessed_at),
            last_modification: timespec(change.modified_at),
        };
        fs::futimens(file, &times).map_err(Error::io("set the times of", path))?;
    }
    Ok(())
}

/// Sets the time of modification of a folder.
pub(super) fn set_modified_at(folder: &Folder, time: SystemTime) -> Result<()> {
    let times = Timestamps { last_access: timespec(None), last_modification: timespec(Some(time)) };
    fs::futimens(folder, &times).map_err(Error::io("set the times of", folder.path_of("")))
}

/// What the system knows of an open file.
pub(super) fn stat(file: &File, path: impl FnOnce() -> PathBuf) -> Result<Stat> {
    fs::fstat(file).map_err(|errno| Error::io("stat", path())(errno))
}

/// Everything that a person may have set on a file, on its way to another one.
#[derive(Clone, Debug, Default)]
pub(super) struct Carried {
    change: AttributesChange,
    extended: Vec<(CString, Vec<u8>)>,
}

impl Carried {
    /// What `file` has, times included.
    pub(super) fn of(file: &File, path: &Path) -> Result<Self> {
        let change = AttributesChange::to(&attributes(&stat(file, || path.to_owned())?));
        let mut extended = Vec::new();
        for name in extended_names(file, path)? {
            // Somebody may remove it meanwhile.
            if let Some(value) = extended_value(file, &name, path)? {
                extended.push((name, value));
            }
        }
        Ok(Self { change, extended })
    }

    /// What the file at `place` has; nothing when it is not there.
    pub(super) fn at(place: Place<'_>) -> Result<Option<Self>> {
        let file = place.folder.open_file(place.at, OFlags::RDONLY)?;
        file.map(|file| Self::of(&file, &place.path())).transpose()
    }

    /// The same but for the times.
    pub(super) fn without_times(mut self) -> Self {
        self.change.modified_at = None;
        self.change.accessed_at = None;
        self
    }

    /// The same but for what `change` says otherwise.
    pub(super) fn but(mut self, change: &AttributesChange) -> Self {
        let own = self.change;
        self.change = AttributesChange {
            permissions: change.permissions.or(own.permissions),
            uid: change.uid.or(own.uid),
            gid: change.gid.or(own.gid),
            modified_at: change.modified_at.or(own.modified_at),
            accessed_at: change.accessed_at.or(own.accessed_at),
        };
        self
    }

    /// Gives it to a file that is new, and so belongs to us and has no extended attributes.
    pub(super) fn put_on(&self, file: &File, path: &Path) -> Result<()> {
        for (name, value) in &self.extended {
            fs::fsetxattr(file, name, value, XattrFlags::empty())
                .map_err(Error::io("set an attribute of", path))?;
        }
        let own = stat(file, || path.to_owned())?;
        let wanted = AttributesChange {
            // Whatever the umask is.
            permissions: self.change.permissions.or(Some(FILE_PERMISSIONS)),
            // Who may not change owners may still say what is so.
            uid: self.change.uid.filter(|uid| *uid != own.st_uid),
            gid: self.change.gid.filter(|gid| *gid != own.st_gid),
            ..self.change
        };
        change(file, &wanted, path)
    }
}

/// Takes away from a file what a person may have set on it, so that it can become a blob.
pub(super) fn make_plain(file: &File, path: &Path) -> Result<()> {
    for name in extended_names(file, path)? {
        remove_extended(file, &name, path)?;
    }
    let own = stat(file, || path.to_owned())?;
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    let plain = AttributesChange {
        permissions: Some(FILE_PERMISSIONS),
        uid: Some(uid.as_raw()).filter(|uid| *uid != own.st_uid),
        gid: Some(gid.as_raw()).filter(|gid| *gid != own.st_gid),
        // A blob's time is when it was stored.
        modified_at: Some(SystemTime::now()),
        accessed_at: None,
    };
    change(file, &plain, path)
}

fn extended_names(file: &File, path: &Path) -> Result<Vec<CString>> {
    let mut list = vec![0; EXTENDED_BYTES_MAX];
    let length = match fs::flistxattr(file, &mut list[..]) {
        Ok(length) => length,
        // The file system has none.
        Err(Errno::NOTSUP) => 0,
        Err(errno) => return Err(Error::io("list the attributes of", path)(errno)),
    };
    let names = list[..length].split_inclusive(|byte| *byte == 0);
    Ok(names
        .filter(|name| name.starts_with(USER.as_bytes()))
        .filter_map(|name| CStr::from_bytes_with_nul(name).ok())
        .filter(|name| name.to_bytes() != layout::TIME.as_bytes())
        .map(CStr::to_owned)
        .collect())
}

fn extended_value(file: &File, name: &CStr, path: &Path) -> Result<Option<Vec<u8>>> {
    let mut value = vec![0; EXTENDED_BYTES_MAX];
    match fs::fgetxattr(file, name, &mut value[..]) {
        Ok(length) => {
            value.truncate(length);
            Ok(Some(value))
        }
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(None),
        Err(errno) => Err(Error::io("read an attribute of", path)(errno)),
    }
}

fn remove_extended(file: &File, name: &CStr, path: &Path) -> Result<()> {
    match fs::fremovexattr(file, name) {
        Ok(()) | Err(Errno::NODATA | Errno::NOTSUP) => Ok(()),
        Err(errno) => Err(Error::io("remove an attribute of", path)(errno)),
    }
}

/// The whole name as the system takes it; `None` outside the name space `user.`.
fn user_name(name: &str) -> Option<CString> {
    name.starts_with(USER).then(|| CString::new(name).ok())?
}

impl LocalRepository {
    /// Where the attributes of `subject` are, relative to the store.
    fn subject(&self, subject: &Subject) -> PathBuf {
        match subject {
            Subject::Repository => layout::repository(&self.name),
            Subject::Area(area) => self.at(layout::area(*area)),
            Subject::Layer(digest) => self.at(layout::layer_link(digest)),
            Subject::Tag(tag) => self.at(layout::tag_link(tag)),
            Subject::Revision(digest) => self.at(layout::revision_link(digest)),
            Subject::Upload(id) => self.at(layout::upload_file(*id, layout::DATA)),
        }
    }

    /// That `subject` is not there.
    fn unknown(&self, subject: &Subject) -> Error {
        let name = self.name.clone();
        match subject {
            Subject::Repository | Subject::Area(_) => Error::RepositoryUnknown(name),
            Subject::Layer(digest) => Error::LayerUnknown(name, *digest),
            Subject::Tag(tag) => Error::TagUnknown(name, tag.clone()),
            Subject::Revision(digest) => Error::ManifestUnknown(name, *digest),
            Subject::Upload(id) => Error::UploadUnknown(*id),
        }
    }

    /// Opens what carries the attributes of `subject`.
    fn open_subject(&self, subject: &Subject) -> Result<(File, PathBuf)> {
        let at = self.subject(subject);
        let file = self.store.root.open_file(&at, OFlags::RDONLY)?;
        let path = self.store.root.path_of(&at);
        file.map(|file| (file, path)).ok_or_else(|| self.unknown(subject))
    }

    /// The same to change it: the folders of a repository without content are made for that.
    fn open_to_change(&self, subject: &Subject) -> Result<(File, PathBuf)> {
        self.store.scratch()?;
        if let Subject::Area(_) = subject {
            let at = layout::repository(&self.name);
            let folder = self.store.root.open_folder(at)?;
            self.store.make_content_folders(&folder.ok_or_else(|| self.unknown(subject))?)?;
        }
        self.open_subject(subject)
    }

    /// Calls `change`. If that is of an upload, it need not be hashed again for it.
    fn keep_note<T>(
        &self, subject: &Subject, file: &File, change: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        if let Subject::Upload(id) = subject {
            notes::keep_over(&self.store, *id, file, change)
        } else {
            change()
        }
    }

    /// What a folder has that will be made when it is needed.
    fn future(&self, area: Area) -> Result<Attributes> {
        let repository = layout::repository(&self.name);
        let stat = match self.store.root.stat(repository)? {
            Some(stat) => stat,
            None => self.store.root.stat(layout::REPOSITORIES)?.ok_or_else(|| {
                let path = self.store.root.path_of(self.at(layout::area(area)));
                Error::io("stat", path)(Errno::NOENT)
            })?,
        };
        // Set-group-ID: the system will give it the bit and the group of the folder above.
        let inherited = stat.st_mode & SET_GROUP_ID;
        let gid = match inherited {
            0 => rustix::process::getegid().as_raw(),
            _ => stat.st_gid,
        };
        Ok(Attributes {
            permissions: FOLDER_PERMISSIONS | inherited,
            uid: rustix::process::geteuid().as_raw(),
            gid,
            ..attributes(&stat)
        })
    }
}

impl AttributeService for LocalRepository {
    fn get(&self, subject: &Subject) -> Result<Attributes> {
        match (self.store.root.stat(self.subject(subject))?, subject) {
            (Some(_), Subject::Area(Area::Uploads)) => {
                let (folder, path) = self.open_subject(subject)?;
                folder_time::attributes(&folder, path)
            }
            (Some(stat), _) => Ok(attributes(&stat)),
            (None, Subject::Area(area)) => self.future(*area),
            (None, _) => Err(self.unknown(subject)),
        }
    }

    fn change(&self, subject: &Subject, wanted: &AttributesChange) -> Result<Attributes> {
        let (file, path) = self.open_to_change(subject)?;
        self.keep_note(subject, &file, || change(&file, wanted, &path))?;
        if let Subject::Area(Area::Uploads) = subject {
            if let Some(time) = wanted.modified_at {
                folder_time::keep(&file, time, &path)?;
            }
            return folder_time::attributes(&file, path);
        }
        Ok(attributes(&stat(&file, || path)?))
    }

    fn extended(&self, subject: &Subject, name: &str) -> Result<Option<Vec<u8>>> {
        match (self.open_subject(subject), user_name(name)) {
            (Ok((file, path)), Some(name)) => extended_value(&file, &name, &path),
            (Ok(_), None) => Ok(None),
            // A folder that is yet to be made has none.
            (Err(error), _) if matches!(subject, Subject::Area(_)) && error.is_unknown() => {
                Ok(None)
            }
            (Err(error), _) => Err(error),
        }
    }

    fn extended_names(&self, subject: &Subject) -> Result<Vec<String>> {
        let (file, path) = match self.open_subject(subject) {
            Err(error) if matches!(subject, Subject::Area(_)) && error.is_unknown() => {
                return Ok(Vec::new());
            }
            opened => opened?,
        };
        let names = extended_names(&file, &path)?;
        Ok(names.into_iter().filter_map(|name| name.into_string().ok()).collect())
    }

    fn set_extended(&self, subject: &Subject, name: &str, value: Option<&[u8]>) -> Result<()> {
        let (file, path) = self.open_to_change(subject)?;
        let name = user_name(name)
            .ok_or(Error::Unsupported("only extended attributes called user.… are kept"))?;
        self.keep_note(subject, &file, || match value {
            None => remove_extended(&file, &name, &path),
            Some(value) => fs::fsetxattr(&file, &name, value, XattrFlags::empty())
                .map_err(Error::io("set an attribute of", &path)),
        })
    }
}
