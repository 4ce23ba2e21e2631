//! An open folder, and everything that can be reached from it: the only file that opens, makes and
//! removes files.
//!
//! A folder is held by its descriptor, so it stays the same folder when it is renamed meanwhile.
//! Nothing done here follows a symbolic link or leaves the folder, whatever was planted on the way:
//! root may serve a store that belongs to somebody else. A fifo in the place of a file does not
//! block. What is not there is `None`, not an error.

use crate::model::{Error, Result};
use rustix::{
    fs::{self, Access, AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat},
    io::Errno,
};
use std::{
    fs::File,
    io::Read as _,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
};

/// An open folder.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    descriptor: Arc<OwnedFd>,
    /// What it was called when it was opened: for messages only.
    path: Arc<Path>,
}

/// A name in a folder; nothing need lie there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) folder: &'a Folder,
    pub(super) at: &'a Path,
}

impl Place<'_> {
    /// The whole path, for messages.
    pub(super) fn path(&self) -> PathBuf {
        self.folder.path_of(self.at)
    }
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// Anything as a mere place, a symbolic link too.
const PLACE: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// A folder as one, on the way to what lies in it.
const WAY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
const FILE: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);
const FOLDER_MODE: Mode = Mode::from_raw_mode(0o777);
/// How often something is opened that is moved away each time.
const OPENS_MAX: usize = 16;

impl Folder {
    /// Opens a folder anywhere: the one from which all others are reached.
    pub(super) fn top(path: &Path) -> Result<Self> {
        let descriptor = fs::open(path, FOLDER, Mode::empty()).map_err(Error::io("open", path))?;
        Ok(Self { descriptor: Arc::new(descriptor), path: path.into() })
    }

    /// What `at` is called in messages.
    pub(super) fn path_of(&self, at: impl AsRef<Path>) -> PathBuf {
        self.path.join(at)
    }

    /// The name `at` in this folder.
    pub(super) fn place<'a>(&'a self, at: &'a (impl AsRef<Path> + ?Sized)) -> Place<'a> {
        Place { folder: self, at: at.as_ref() }
    }

    /// Opens a folder below this one.
    pub(super) fn open_folder(&self, at: impl AsRef<Path>) -> Result<Option<Self>> {
        let at = at.as_ref();
        let descriptor = self.open(at, FOLDER, Mode::empty())?;
        let path = || self.path_of(at).into();
        Ok(descriptor.map(|descriptor| Self { descriptor: Arc::new(descriptor), path: path() }))
    }

    /// Opens this folder once more, with a place of its own to list it from; quietly, as
    /// [`Folder::open_quietly`] says. `None` when it was removed.
    pub(super) fn reopen(&self) -> Result<Option<Self>> {
        let descriptor = self.open_without_atime(Path::new("."), FOLDER)?;
        let path = || Arc::clone(&self.path);
        Ok(descriptor.map(|descriptor| Self { descriptor: Arc::new(descriptor), path: path() }))
    }

    /// Opens the folder in which this one lies now, wherever that is.
    pub(super) fn open_parent(&self) -> Result<Self> {
        let descriptor = fs::openat(&self.descriptor, "..", FOLDER, Mode::empty())
            .map_err(Error::io("open", self.path_of("..")))?;
        Ok(Self { descriptor: Arc::new(descriptor), path: self.path_of("..").into() })
    }

    /// Where this folder lies now; `None` where the system does not tell.
    pub(super) fn path_now(&self) -> Option<PathBuf> {
        let link = format!("/proc/self/fd/{}", self.descriptor.as_raw_fd());
        std::fs::read_link(link).ok()
    }

    /// Opens what lies below this folder; `access` is `RDONLY` or `RDWR`.
    pub(super) fn open_file(&self, at: impl AsRef<Path>, access: OFlags) -> Result<Option<File>> {
        Ok(self.open(at.as_ref(), FILE | access, Mode::empty())?.map(File::from))
    }

    /// Opens what lies below this folder as a mere place: nothing can be read or written, and no mode
    /// stands in the way.
    pub(super) fn open_place(&self, at: impl AsRef<Path>) -> Result<Option<File>> {
        Ok(self.open(at.as_ref(), PLACE, Mode::empty())?.map(File::from))
    }

    /// Opens a file so that reading it does not change its time of access, as far as the system
    /// lets us: to stat or hash a thing is not what a person calls reading it.
    pub(super) fn open_quietly(
        &self, at: impl AsRef<Path>, access: OFlags,
    ) -> Result<Option<File>> {
        Ok(self.open_without_atime(at.as_ref(), FILE | access)?.map(File::from))
    }

    /// Makes a file for reading and writing that was not there.
    pub(super) fn create_file(&self, at: impl AsRef<Path>) -> Result<File> {
        let at = at.as_ref();
        let flags = FILE | OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOATIME;
        self.open_raw(at, flags, Mode::from_raw_mode(0o644))
            .map(File::from)
            .map_err(Error::io("create", self.path_of(at)))
    }

    /// Makes an empty file; `None` when something lies there.
    pub(super) fn make_file(&self, at: impl AsRef<Path>, mode: Mode) -> Result<Option<File>> {
        let at = at.as_ref();
        match self.open_raw(at, FILE | OFlags::RDONLY | OFlags::CREATE | OFlags::EXCL, mode) {
            Ok(file) => Ok(Some(file.into())),
            Err(Errno::EXIST) => Ok(None),
            Err(errno) => Err(Error::io("create", self.path_of(at))(errno)),
        }
    }

    /// Opens a file to read it, or makes an empty one.
    pub(super) fn open_or_create_file(&self, at: impl AsRef<Path>, mode: Mode) -> Result<File> {
        let at = at.as_ref();
        self.open_raw(at, FILE | OFlags::RDONLY | OFlags::CREATE, mode)
            .map(File::from)
            .map_err(Error::io("create", self.path_of(at)))
    }

    fn open(&self, at: &Path, flags: OFlags, mode: Mode) -> Result<Option<OwnedFd>> {
        self.found("open", at, self.open_raw(at, flags, mode))
    }

    fn open_without_atime(&self, at: &Path, flags: OFlags) -> Result<Option<OwnedFd>> {
        match self.open_raw(at, flags | OFlags::NOATIME, Mode::empty()) {
            // Only the owner may ask for it.
            Err(Errno::PERM) => self.open(at, flags, Mode::empty()),
            opened => self.found("open", at, opened),
        }
    }

    fn open_raw(&self, at: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let open = |_| fs::openat2(&self.descriptor, at, flags, mode, resolve);
        // What is moved away meanwhile does not lie below any more when the kernel looks at it last.
        let is_found = |opened: &_| !matches!(opened, Err(Errno::XDEV));
        (0..OPENS_MAX).map(open).find(is_found).unwrap_or(Err(Errno::XDEV))
    }

    /// Calls `act` with the folder that `at` lies in and its name there, which may be a symbolic link:
    /// the system's calls that take a path would follow those on the way to it, too.
    pub(super) fn within<T>(
        &self, at: &Path, act: impl FnOnce(BorrowedFd<'_>, &Path) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        match (at.parent(), at.file_name()) {
            (Some(way), Some(name)) if !way.as_os_str().is_empty() => {
                let folder = self.open_raw(way, WAY, Mode::empty())?;
                act(folder.as_fd(), Path::new(name))
            }
            _ => act(self.as_fd(), at),
        }
    }

    fn found<T>(
        &self, doing: &'static str, at: &Path, found: Result<T, Errno>,
    ) -> Result<Option<T>> {
        match found {
            Ok(found) => Ok(Some(found)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(errno) => Err(Error::io(doing, self.path_of(at))(errno)),
        }
    }

    /// Reads a file that has at most `bytes_max` bytes; of a longer one only so many.
    pub(super) fn read(&self, at: impl AsRef<Path>, bytes_max: u64) -> Result<Option<Vec<u8>>> {
        let at = at.as_ref();
        let Some(file) = self.open_quietly(at, OFlags::RDONLY)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.take(bytes_max)
            .read_to_end(&mut bytes)
            .map_err(Error::io("read", self.path_of(at)))?;
        Ok(Some(bytes))
    }

    /// What the system knows of `at`; a symbolic link there is not followed.
    pub(super) fn stat(&self, at: impl AsRef<Path>) -> Result<Option<Stat>> {
        let at = at.as_ref();
        self.found("stat", at, self.stat_raw(at))
    }

    /// Of what lies deeper it is cheaper to open it as a mere place than the folder that it lies in.
    fn stat_raw(&self, at: &Path) -> Result<Stat, Errno> {
        if at.components().nth(1).is_none() {
            return fs::statat(&self.descriptor, at, AtFlags::SYMLINK_NOFOLLOW);
        }
        fs::fstat(self.open_raw(at, PLACE, Mode::empty())?)
    }

    /// Whether anything lies at `at`, as far as [`Folder::glance`] sees.
    pub(super) fn has(&self, at: impl AsRef<Path>) -> Result<bool> {
        Ok(self.glance(at)?.is_some())
    }

    /// As [`Folder::stat`], but that a symbolic link on the way is followed, because it is asked for every
    /// entry of a folder, or many times for one file: no more may come of the answer than of whether
    /// something of this name, and how old, lies behind it, or whether that is what we have open.
    pub(super) fn glance(&self, at: impl AsRef<Path>) -> Result<Option<Stat>> {
        let at = at.as_ref();
        let stat = fs::statat(&self.descriptor, at, AtFlags::SYMLINK_NOFOLLOW);
        self.found("stat", at, stat)
    }

    /// What the system knows of the folder itself.
    pub(super) fn stat_self(&self) -> Result<Stat> {
        fs::fstat(&self.descriptor).map_err(Error::io("stat", &*self.path))
    }

    /// What the system knows of the folder in which this one lies now, wherever that is.
    pub(super) fn stat_parent(&self) -> Result<Stat> {
        fs::statat(&self.descriptor, "..", AtFlags::empty())
            .map_err(Error::io("stat", self.path_of("..")))
    }

    /// Whether a folder lies at `at`.
    pub(super) fn has_folder(&self, at: impl AsRef<Path>) -> Result<bool> {
        Ok(self.stat(at)?.is_some_and(|stat| is_folder(&stat)))
    }

    /// Fails unless this process may make and remove things in the folder `at`.
    pub(super) fn check_writable(&self, at: impl AsRef<Path>) -> Result<()> {
        let at = at.as_ref();
        let access = Access::WRITE_OK | Access::EXEC_OK;
        self.open_raw(at, WAY, Mode::empty())
            .and_then(|folder| fs::accessat(folder, ".", access, AtFlags::EACCESS))
            .map_err(Error::io("write to", self.path_of(at)))
    }

    /// Makes a folder. `false` when something lies there.
    pub(super) fn make_folder(&self, at: impl AsRef<Path>) -> Result<bool> {
        let at = at.as_ref();
        match self.make_raw(at) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(errno) => Err(Error::io("make", self.path_of(at))(errno)),
        }
    }

    /// Makes a folder and those above it, as far as they are missing.
    pub(super) fn make_folders(&self, at: impl AsRef<Path>) -> Result<()> {
        let at = at.as_ref();
        match self.make_raw(at) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(Errno::NOENT) if at.parent().is_some_and(|up| !up.as_os_str().is_empty()) => {
                self.make_folders(at.parent().unwrap_or(at))?;
                self.make_folder(at).map(drop)
            }
            Err(errno) => Err(Error::io("make", self.path_of(at))(errno)),
        }
    }

    fn make_raw(&self, at: &Path) -> Result<(), Errno> {
        self.within(at, |folder, at| fs::mkdirat(folder, at, FOLDER_MODE))
    }

    /// Removes a file. `false` when nothing lay there.
    pub(super) fn remove_file(&self, at: impl AsRef<Path>) -> Result<bool> {
        self.remove(at.as_ref(), AtFlags::empty())
    }

    /// Removes a folder if it is empty. `false` when it was not, or was not there.
    pub(super) fn remove_folder(&self, at: impl AsRef<Path>) -> Result<bool> {
        match self.remove(at.as_ref(), AtFlags::REMOVEDIR) {
            Err(Error::Io { source, .. })
                if source.raw_os_error() == Some(Errno::NOTEMPTY.raw_os_error()) =>
            {
                Ok(false)
            }
            removed => removed,
        }
    }

    /// Opens a folder in this one, which messages go on calling by this one's name.
    pub(super) fn step(&self, name: impl AsRef<Path>) -> Result<Option<Self>> {
        let descriptor = self.open(name.as_ref(), FOLDER, Mode::empty())?;
        let path = || Arc::clone(&self.path);
        Ok(descriptor.map(|descriptor| Self { descriptor: Arc::new(descriptor), path: path() }))
    }

    /// Opens the folder in which this one lies now; messages go on calling it by this one's name.
    pub(super) fn step_up(&self) -> Result<Self> {
        Ok(Self { path: Arc::clone(&self.path), ..self.open_parent()? })
    }

    fn remove(&self, at: &Path, flags: AtFlags) -> Result<bool> {
        match self.within(at, |folder, at| fs::unlinkat(folder, at, flags)) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
            Err(errno) => Err(Error::io("remove", self.path_of(at))(errno)),
        }
    }
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Whether it is a folder.
pub(super) fn is_folder(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode).is_dir()
}

/// Whether it is a symbolic link.
pub(super) fn is_symlink(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode).is_symlink()
}

/// Whether it is a regular file.
pub(super) fn is_file(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode).is_file()
}

/// The length of a file. The system gives no negative ones.
pub(super) fn length(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// What tells one file from every other while it exists.
pub(super) fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}
