//! Attributes of files and folders: read, changed, and carried from one file to another. Whose they
//! are is known in `subjects.rs`.
//!
//! Extended attributes are those of the name space `user.`.

use crate::model::{Attributes, AttributesChange, Error, Result};
use crate::store::{
    folder::{self, Folder, Place},
    layout,
};
use rustix::{
    fs::{
        self, AtFlags, Gid, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags,
    },
    io::Errno,
};
use std::{
    ffi::{CStr, CString},
    fs::File,
    io,
    os::fd::BorrowedFd,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The name space of extended attributes that everybody may use.
pub(super) const USER: &str = "user.";
/// The longest value and the longest list of names that Linux knows (`XATTR_SIZE_MAX`).
const EXTENDED_BYTES_MAX: usize = 64 << 10;
/// More than nearly any has.
const EXTENDED_BYTES_FEW: usize = 256;
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
    fs::futimens(folder, &modification(time))
        .map_err(Error::io("set the times of", folder.path_of("")))
}

/// As [`set_modified_at`], of what lies in a folder.
pub(super) fn set_modified_at_in(place: Place<'_>, time: SystemTime) -> Result<()> {
    let set = |folder: BorrowedFd<'_>, at: &Path| {
        fs::utimensat(folder, at, &modification(time), AtFlags::SYMLINK_NOFOLLOW)
    };
    place.folder.within(place.at, set).map_err(Error::io("set the times of", place.path()))
}

fn modification(time: SystemTime) -> Timestamps {
    Timestamps { last_access: timespec(None), last_modification: timespec(Some(time)) }
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
            set_extended(file, name, value, path)?;
        }
        let own = stat(file, || path.to_owned())?;
        let owner = AttributesChange {
            // Who may not change owners may still say what is so.
            uid: self.change.uid.filter(|uid| *uid != own.st_uid),
            gid: self.change.gid.filter(|gid| *gid != own.st_gid),
            ..AttributesChange::default()
        };
        match change(file, &owner, path) {
            // As with an editor that writes a file anew: it belongs to who made it.
            Err(error) if is_denied(&error) => log::debug!("the owner stays: {error}"),
            outcome => outcome?,
        }
        let rest = AttributesChange {
            // Whatever the umask is.
            permissions: self.change.permissions.or(Some(FILE_PERMISSIONS)),
            uid: None,
            gid: None,
            ..self.change
        };
        change(file, &rest, path)
    }
}

/// Takes away from a file what a person may have set on it, so that it can become a blob.
pub(super) fn make_plain(file: &File, path: &Path) -> Result<()> {
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
    // First, since a mode may keep its owner from changing the rest.
    change(file, &plain, path)?;
    for name in extended_names(file, path)? {
        remove_extended(file, &name, path)?;
    }
    Ok(())
}

/// Whether it is that this user may not do it.
pub(super) fn is_denied(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
}

/// What `read` writes into its buffer: a short one first, in which nearly everything has room.
fn read_extended(read: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut short = [0; EXTENDED_BYTES_FEW];
    match read(&mut short) {
        Err(Errno::RANGE) => {}
        length => return length.map(|length| short[..length].to_vec()),
    }
    let mut long = vec![0; EXTENDED_BYTES_MAX];
    let length = read(&mut long)?;
    long.truncate(length);
    Ok(long)
}

pub(super) fn extended_names(file: &File, path: &Path) -> Result<Vec<CString>> {
    let list = match read_extended(|buffer| fs::flistxattr(file, buffer)) {
        Ok(list) => list,
        // The file system has none.
        Err(Errno::NOTSUP) => Vec::new(),
        Err(errno) => return Err(Error::io("list the attributes of", path)(errno)),
    };
    let names = list.split_inclusive(|byte| *byte == 0);
    Ok(names
        .filter(|name| name.starts_with(USER.as_bytes()))
        .filter_map(|name| CStr::from_bytes_with_nul(name).ok())
        .filter(|name| name.to_bytes() != layout::TIME.as_bytes())
        .map(CStr::to_owned)
        .collect())
}

pub(super) fn extended_value(file: &File, name: &CStr, path: &Path) -> Result<Option<Vec<u8>>> {
    match read_extended(|buffer| fs::fgetxattr(file, name, buffer)) {
        Ok(value) => Ok(Some(value)),
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(None),
        Err(errno) => Err(Error::io("read an attribute of", path)(errno)),
    }
}

pub(super) fn set_extended(file: &File, name: &CStr, value: &[u8], path: &Path) -> Result<()> {
    fs::fsetxattr(file, name, value, XattrFlags::empty()).map_err(|errno| match errno {
        // They lie in one block of the file system; E2BIG is of those that have no such limit.
        Errno::NOSPC | Errno::TOOBIG => Error::AttributesFull { path: path.to_owned() },
        errno => Error::io("set an attribute of", path)(errno),
    })
}

pub(super) fn remove_extended(file: &File, name: &CStr, path: &Path) -> Result<()> {
    match fs::fremovexattr(file, name) {
        Ok(()) | Err(Errno::NODATA | Errno::NOTSUP) => Ok(()),
        Err(errno) => Err(Error::io("remove an attribute of", path)(errno)),
    }
}
