//! The mount itself: getting the kernel to send requests here, serving them, and taking the mount
//! away again.
//!
//! fuser speaks the protocol; mounting and unmounting are done here. Its own way gives mounts the
//! type `fuse` instead of `fuse.regfs`, lets a comma in the source become a mount option, refuses to
//! unmount while files are open, and after a `umount` by somebody else takes away whatever lies
//! underneath. Here a mount is known by its number and its device, and only that one is touched.

use crate::fs::RegistryFs;
use crate::fs::fuse::FuseAdapter;
use crate::fs::fusermount;
use crate::fs::mount_error::DEVICE;
pub use crate::fs::mount_error::MountError;
use crate::fs::mountinfo::{self, Answer, MOUNT_TYPE, MountEntry, Place};
use rustix::{
    fs::{FileType, Mode, OFlags},
    io::Errno,
    mount::{MountFlags, UnmountFlags},
};
use std::{
    ffi::{CString, OsString},
    fs, io,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// How long a mount that is in the way may take to answer before it counts as hanging.
const PROBE_PATIENCE: Duration = Duration::from_secs(5);
/// How long what passes by itself may take. The kernel ends a killed daemon bit by bit; `regfs status`,
/// file managers and indexers open something in a mount and are gone at once.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long to wait between two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// Mount options that are flags to the kernel, by the names that mount(8) has for them.
pub const FLAGS: &[(&str, MountFlags)] = &[
    ("ro", MountFlags::RDONLY),
    ("nodev", MountFlags::NODEV),
    ("nosuid", MountFlags::NOSUID),
    ("noexec", MountFlags::NOEXEC),
    ("noatime", MountFlags::NOATIME),
    ("nodiratime", MountFlags::NODIRATIME),
    ("relatime", MountFlags::RELATIME),
    ("strictatime", MountFlags::STRICTATIME),
    ("lazytime", MountFlags::LAZYTIME),
    ("sync", MountFlags::SYNCHRONOUS),
    ("dirsync", MountFlags::DIRSYNC),
    ("nosymfollow", MountFlags::NOSYMFOLLOW),
];

/// How to mount.
#[derive(Clone, Debug)]
pub struct MountSettings {
    /// Where.
    pub mountpoint: PathBuf,
    /// What `/proc/mounts` shows as the source.
    pub source: OsString,
    /// Flags to the kernel. `nodev` and `nosuid` are added: a registry holds neither.
    pub flags: MountFlags,
    /// Whether users other than the one who mounts may enter.
    pub allow_other: bool,
    /// How many threads serve requests.
    pub threads: usize,
    /// How far the kernel reads ahead; only root can set it.
    pub read_ahead_kib: u32,
}

/// A mount that the kernel knows and whose first request, INIT, has been answered. Dropping it
/// takes it away.
pub struct Mount {
    session: Box<dyn FnOnce() -> io::Result<()> + Send>,
    backstop: Backstop,
}

impl Mount {
    /// Serves requests until the mount is gone, whoever takes it away.
    pub fn run(self) -> io::Result<()> {
        let Self { session, mut backstop } = self;
        let outcome = session();
        backstop.unmounter.ended.store(true, Ordering::Release);
        backstop.disconnected = outcome.is_ok();
        outcome
    }

    /// What takes this mount away, from any thread.
    pub fn unmounter(&self) -> Unmounter {
        self.backstop.unmounter.clone()
    }
}

/// Mounts `fs` as `settings` say. A mount of ours that a killed daemon left there is cleared.
pub fn mount(fs: Arc<RegistryFs>, settings: &MountSettings) -> Result<Mount, MountError> {
    let mount = mount_any(FuseAdapter::new(Arc::clone(&fs), settings.threads), settings)?;
    let Unmounter { id, device, .. } = &mount.backstop.unmounter;
    fs.mounted.is(*id, device);
    Ok(mount)
}

fn mount_any<F>(filesystem: F, settings: &MountSettings) -> Result<Mount, MountError>
where
    F: fuser::Filesystem + Send + Sync + 'static,
{
    let mountpoint = prepare(&settings.mountpoint)?;
    let device = attach(&mountpoint, settings)?;
    let backstop = Backstop { unmounter: Unmounter::of(&mountpoint)?, disconnected: false };

    let mut config = fuser::Config::default();
    config.n_threads = Some(settings.threads);
    // Each thread reads from a descriptor of its own, so that they do not wait for each other.
    config.clone_fd = true;
    // The kernel keeps other users out unless it is told `allow_other`. fuser's own check would
    // also refuse requests that the kernel sends in nobody's name.
    let everybody = fuser::SessionACL::All;
    let session = fuser::Session::from_fd(filesystem, device, everybody, config)
        .map_err(MountError::io("begin to serve", &mountpoint))?;

    raise_read_ahead(&backstop.unmounter.device, settings.read_ahead_kib);
    Ok(Mount { session: Box::new(move || session.run()), backstop })
}

/// Checks that `mountpoint` can be mounted on, clears a stale mount of ours, gives its real path.
///
/// A daemon that was killed a moment ago still answers, and its mount may go at any time: so what is
/// in the way is waited for a little before it is said.
pub fn prepare(mountpoint: &Path) -> Result<PathBuf, MountError> {
    patiently(MountError::may_pass, || {
        loop {
            if let Some(path) = try_prepare(mountpoint)? {
                return Ok(path);
            }
        }
    })
}

/// Calls `attempt` again, for a moment, while it fails for a reason that may pass.
pub fn patiently<T>(
    may_pass: impl Fn(&MountError) -> bool, mut attempt: impl FnMut() -> Result<T, MountError>,
) -> Result<T, MountError> {
    let start = Instant::now();
    loop {
        match attempt() {
            Err(error) if may_pass(&error) && start.elapsed() < PATIENCE => thread::sleep(PAUSE),
            outcome => return outcome,
        }
    }
}

/// One look, which gives the path when nothing is in the way, and `None` when a stale mount was
/// cleared: another may lie below.
fn try_prepare(mountpoint: &Path) -> Result<Option<PathBuf>, MountError> {
    let place = Place::find(mountpoint).map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            MountError::Missing(mountpoint.to_owned())
        } else {
            MountError::io("find", mountpoint)(error)
        }
    })?;
    let entry = place.mount().map_err(MountError::io("look for mounts at", mountpoint))?;
    let Some(entry) = entry.filter(MountEntry::is_regfs) else {
        let stat =
            rustix::fs::fstat(&place.handle).map_err(MountError::io("look at", mountpoint))?;
        return if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            Ok(Some(place.path))
        } else {
            Err(MountError::NotDirectory(mountpoint.to_owned()))
        };
    };
    match mountinfo::probe(&place.path, PROBE_PATIENCE) {
        Answer::Alive => {
            Err(MountError::InUse { mountpoint: mountpoint.to_owned(), shown: entry.source })
        }
        Answer::Silent => Err(MountError::Silent(mountpoint.to_owned())),
        Answer::Stale => {
            let at = place.path.display();
            log::warn!("clearing the mount that a dead daemon left at {at}");
            unmount(&place.path, true).map(|()| None)
        }
    }
}

/// Gets the kernel to send what happens at `mountpoint` to the descriptor that this gives.
fn attach(mountpoint: &Path, settings: &MountSettings) -> Result<OwnedFd, MountError> {
    let flags = settings.flags | MountFlags::NODEV | MountFlags::NOSUID;
    match attach_as_root(mountpoint, settings, flags) {
        Err(MountError::Io { source, .. }) if source.raw_os_error() == Some(libc::EPERM) => {
            let names =
                FLAGS.iter().filter(|(_, flag)| flags.contains(*flag)).map(|(name, _)| *name);
            let other = settings.allow_other.then_some("allow_other");
            let options: Vec<_> = names.chain(["default_permissions"]).chain(other).collect();
            fusermount::mount(mountpoint, &settings.source, &options)
        }
        outcome => outcome,
    }
}

fn attach_as_root(
    mountpoint: &Path, settings: &MountSettings, flags: MountFlags,
) -> Result<OwnedFd, MountError> {
    let device = rustix::fs::open(DEVICE, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| MountError::Device(error.into()))?;
    let other = if settings.allow_other { ",allow_other" } else { "" };
    let options = format!(
        "fd={},rootmode={:o},user_id={},group_id={},default_permissions{other}",
        device.as_raw_fd(),
        FileType::Directory.as_raw_mode(),
        rustix::process::getuid().as_raw(),
        rustix::process::getgid().as_raw(),
    );
    let failed = MountError::io("mount on", mountpoint);
    let options = CString::new(options).map_err(io::Error::other);
    let mounted = options.and_then(|options| {
        let source = settings.source.as_os_str();
        Ok(rustix::mount::mount(source, mountpoint, MOUNT_TYPE, flags, options.as_c_str())?)
    });
    mounted.map_err(failed)?;
    Ok(device)
}

/// Gives the mount at `mountpoint` other flags: read-only, for one. Only root may.
pub fn remount(mountpoint: &Path, flags: MountFlags) -> Result<(), MountError> {
    let flags = flags | MountFlags::NODEV | MountFlags::NOSUID;
    rustix::mount::mount_remount(mountpoint, flags, c"")
        .map_err(MountError::io("remount", mountpoint))
}

/// The kernel begins with 128 KiB, which makes reading a layer in order a third slower.
fn raise_read_ahead(device: &str, kib: u32) {
    let path = format!("/sys/class/bdi/{device}/read_ahead_kb");
    if let Err(error) = fs::write(&path, kib.to_string()) {
        log::debug!("read-ahead stays as it is: could not write {path}: {error}");
    }
}

/// Takes away the topmost mount at `path`, whatever it is: the caller has looked. With `lazily`,
/// also when files on it are open.
pub fn unmount(path: &Path, lazily: bool) -> Result<(), MountError> {
    let how = if lazily { UnmountFlags::DETACH } else { UnmountFlags::empty() };
    match rustix::mount::unmount(path, how | UnmountFlags::NOFOLLOW) {
        Ok(()) => Ok(()),
        Err(Errno::PERM) => fusermount::unmount(path, lazily),
        Err(error) => Err(MountError::io("unmount", path)(error)),
    }
}

/// Takes one mount away, from any thread.
#[derive(Clone, Debug)]
pub struct Unmounter {
    id: u64,
    device: String,
    mountpoint: PathBuf,
    /// Set when nobody serves the mount any more.
    ended: Arc<AtomicBool>,
}

impl Unmounter {
    /// For the mount of ours at `mountpoint`.
    fn of(mountpoint: &Path) -> Result<Self, MountError> {
        let place = Place::find(mountpoint).map_err(MountError::io("find", mountpoint))?;
        let entry = place.mount().map_err(MountError::io("look for mounts at", mountpoint))?;
        let entry = entry.filter(MountEntry::is_regfs).ok_or_else(|| {
            MountError::io("find our mount at", mountpoint)(io::Error::other(
                "it is covered or gone",
            ))
        })?;
        let MountEntry { id, device, mountpoint, .. } = entry;
        Ok(Self { id, device, mountpoint, ended: Arc::default() })
    }

    /// Takes the mount away, with every copy of it that `mount --bind` made here. Who has files
    /// open keeps them. Nothing happens once the session has ended: by then the numbers of the
    /// mount may be another's.
    pub fn unmount(&self) -> Result<(), MountError> {
        if self.ended.load(Ordering::Acquire) {
            return Ok(());
        }
        self.detach(|entry| entry.device == self.device)
    }

    /// Detaches the mounts that `is_ours` picks, the newest first.
    fn detach(&self, is_ours: impl Fn(&MountEntry) -> bool) -> Result<(), MountError> {
        let entries = mountinfo::read()
            .map_err(MountError::io("look for mounts in", "/proc/self/mountinfo"))?;
        let mut outcome = Ok(());
        for entry in entries.iter().rev().filter(|entry| entry.is_regfs() && is_ours(entry)) {
            let one = self.detach_one(entry);
            outcome = outcome.and(one);
        }
        outcome
    }

    fn detach_one(&self, entry: &MountEntry) -> Result<(), MountError> {
        // umount(2) takes a path, and takes the topmost mount there.
        let place = Place::find(&entry.mountpoint)
            .map_err(MountError::io("find the mount at", &entry.mountpoint))?;
        if place.mount_id != entry.id {
            return Err(MountError::Covered(entry.mountpoint.clone()));
        }
        log::info!("unmounting {}", entry.mountpoint.display());
        unmount(&entry.mountpoint, true)
    }
}

/// Sees to it that no mount is left behind, however the session ends.
struct Backstop {
    unmounter: Unmounter,
    /// The session ended because the kernel said that it is over.
    disconnected: bool,
}

impl Drop for Backstop {
    fn drop(&mut self) {
        let Unmounter { id, device, mountpoint, ended } = &self.unmounter;
        let outcome = if ended.load(Ordering::Acquire) {
            // Usually the mount is gone, and its numbers may be another's already, even one that is
            // dead: so its place is asked for, too. Left are those of a connection that was aborted,
            // and of a session that gave up: nobody answers there.
            self.unmounter.detach(|entry| {
                entry.id == *id
                    && entry.device == *device
                    && entry.mountpoint == *mountpoint
                    && match mountinfo::probe(&entry.mountpoint, PROBE_PATIENCE) {
                        Answer::Alive => false,
                        Answer::Stale => true,
                        Answer::Silent => !self.disconnected,
                    }
            })
        } else {
            self.unmounter.unmount()
        };
        if let Err(error) = outcome {
            log::error!("the mount stays behind: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        process::Command,
        thread::{self, JoinHandle},
        time::Instant,
    };

    /// An empty directory.
    struct Empty;

    impl fuser::Filesystem for Empty {
        fn getattr(
            &self, _request: &fuser::Request, ino: fuser::INodeNo,
            _handle: Option<fuser::FileHandle>, reply: fuser::ReplyAttr,
        ) {
            let epoch = std::time::UNIX_EPOCH;
            let attr = fuser::FileAttr {
                ino,
                size: 0,
                blocks: 0,
                atime: epoch,
                mtime: epoch,
                ctime: epoch,
                crtime: epoch,
                kind: fuser::FileType::Directory,
                perm: 0o755,
                nlink: 2,
                uid: 0,
                gid: 0,
                rdev: 0,
                blksize: 4096,
                flags: 0,
            };
            reply.attr(&Duration::ZERO, &attr);
        }
    }

    /// A mountpoint that nothing is mounted on once the test is over, also when it fails.
    struct Point(tempfile::TempDir);

    impl Point {
        /// `None` where this user cannot mount.
        fn new() -> Option<Self> {
            let may = rustix::process::geteuid().is_root() && Path::new(DEVICE).exists();
            if !may {
                skipped();
            }
            may.then(|| Self(tempfile::tempdir().unwrap()))
        }

        fn path(&self) -> &Path {
            self.0.path()
        }

        /// Types and sources of the mounts here, the lowest first.
        fn mounts(&self) -> Vec<(String, OsString)> {
            let entries = mountinfo::read().unwrap().into_iter();
            let here = entries.filter(|entry| entry.mountpoint == self.path());
            here.map(|entry| (entry.kind, entry.source)).collect()
        }

        fn kinds(&self) -> Vec<String> {
            self.mounts().into_iter().map(|(kind, _)| kind).collect()
        }

        fn mount(&self) -> Served {
            let mount = mount_any(Empty, &settings(self.path())).unwrap();
            let unmounter = mount.unmounter();
            Served { unmounter, session: thread::spawn(move || mount.run()) }
        }

        fn tmpfs(&self) {
            let data = None::<&std::ffi::CStr>;
            rustix::mount::mount("over", self.path(), "tmpfs", MountFlags::empty(), data).unwrap();
        }

        fn umount(&self) {
            assert!(Command::new("umount").arg(self.path()).status().unwrap().success());
        }
    }

    impl Drop for Point {
        fn drop(&mut self) {
            while rustix::mount::unmount(self.path(), UnmountFlags::DETACH).is_ok() {}
        }
    }

    /// Says so where `scripts/test` collects what did not run.
    fn skipped() {
        let name = thread::current().name().unwrap_or("a test").to_owned();
        let line = format!("SKIPPED: {name}: mounting needs root and {DEVICE}\n");
        eprint!("{line}");
        if let Some(log) = std::env::var_os("REGFS_SKIP_LOG") {
            let mut log = fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
            std::io::Write::write_all(&mut log, line.as_bytes()).unwrap();
        }
    }

    struct Served {
        unmounter: Unmounter,
        session: JoinHandle<io::Result<()>>,
    }

    impl Served {
        fn ends(self) {
            let deadline = Instant::now() + Duration::from_secs(10);
            while !self.session.is_finished() {
                assert!(Instant::now() < deadline, "the session goes on");
                thread::sleep(Duration::from_millis(10));
            }
            self.session.join().unwrap().unwrap();
        }
    }

    fn settings(mountpoint: &Path) -> MountSettings {
        MountSettings {
            mountpoint: mountpoint.to_owned(),
            source: r"/srv/a,allow_other\ b".into(),
            flags: MountFlags::NOEXEC,
            allow_other: false,
            threads: 2,
            read_ahead_kib: 1024,
        }
    }

    #[test]
    fn a_mount_shows_its_type_and_source_and_goes_when_told() {
        let Some(point) = Point::new() else { return };
        let served = point.mount();
        assert_eq!(point.mounts(), [(MOUNT_TYPE.into(), r"/srv/a,allow_other\ b".into())]);
        let entry = Place::find(point.path()).unwrap().mount().unwrap().unwrap();
        for option in ["nodev", "nosuid", "noexec", "default_permissions"] {
            assert!(entry.options.iter().any(|one| one == option), "{option} in {entry:?}");
        }
        assert!(!entry.options.iter().any(|one| one == "allow_other"), "{entry:?}");
        let bdi = format!("/sys/class/bdi/{}/read_ahead_kb", entry.device);
        assert_eq!(fs::read_to_string(bdi).unwrap().trim(), "1024");

        let again = mount_any(Empty, &settings(point.path())).err().unwrap();
        assert!(matches!(again, MountError::InUse { .. }), "{again}");

        served.unmounter.unmount().unwrap();
        assert_eq!(point.mounts(), []);
        served.ends();
    }

    #[test]
    fn a_busy_mount_goes_and_what_is_open_ends_it() {
        let Some(point) = Point::new() else { return };
        let served = point.mount();
        let open = fs::File::open(point.path()).unwrap();
        served.unmounter.unmount().unwrap();
        assert_eq!(point.mounts(), []);
        assert!(!served.session.is_finished());
        drop(open);
        served.ends();
    }

    #[test]
    fn umount_by_somebody_else_leaves_what_lies_beneath() {
        let Some(point) = Point::new() else { return };
        point.tmpfs();
        let served = point.mount();
        assert_eq!(point.kinds(), ["tmpfs", MOUNT_TYPE]);
        point.umount();
        let unmounter = served.unmounter.clone();
        served.ends();
        unmounter.unmount().unwrap();
        assert_eq!(point.kinds(), ["tmpfs"]);
    }

    #[test]
    fn what_covers_a_mount_is_not_taken() {
        let Some(point) = Point::new() else { return };
        let served = point.mount();
        point.tmpfs();
        let refused = served.unmounter.unmount().unwrap_err();
        assert!(matches!(refused, MountError::Covered(_)), "{refused}");
        assert_eq!(point.kinds(), [MOUNT_TYPE, "tmpfs"]);
        point.umount();
        served.unmounter.unmount().unwrap();
        served.ends();
    }

    #[test]
    fn a_mount_that_was_never_served_is_taken_away() {
        let Some(point) = Point::new() else { return };
        drop(mount_any(Empty, &settings(point.path())).unwrap());
        assert_eq!(point.mounts(), []);
    }

    #[test]
    fn a_stale_mount_is_cleared() {
        let Some(point) = Point::new() else { return };
        drop(attach(point.path(), &settings(point.path())).unwrap());
        assert_eq!(fs::metadata(point.path()).unwrap_err().raw_os_error(), Some(libc::ENOTCONN));
        let served = point.mount();
        assert_eq!(point.kinds(), [MOUNT_TYPE]);
        served.unmounter.unmount().unwrap();
        served.ends();
    }

    #[test]
    fn an_aborted_connection_leaves_no_mount() {
        let Some(point) = Point::new() else { return };
        let served = point.mount();
        let control = tempfile::tempdir().unwrap();
        let data = None::<&std::ffi::CStr>;
        let flags = MountFlags::empty();
        if rustix::mount::mount("none", control.path(), "fusectl", flags, data).is_err() {
            return served.unmounter.unmount().unwrap();
        }
        let (_, minor) = served.unmounter.device.split_once(':').unwrap();
        fs::write(control.path().join(minor).join("abort"), "1").unwrap();
        rustix::mount::unmount(control.path(), UnmountFlags::empty()).unwrap();
        served.ends();
        assert_eq!(point.mounts(), []);
    }

    #[test]
    fn the_helper_mounts_and_unmounts_too() {
        let Some(point) = Point::new() else { return };
        let settings = settings(point.path());
        let options = ["nodev", "nosuid", "noexec", "default_permissions"];
        let device = match fusermount::mount(point.path(), &settings.source, &options) {
            Err(MountError::HelperMissing) => return,
            outcome => outcome.unwrap(),
        };
        assert_eq!(point.mounts(), [(MOUNT_TYPE.into(), settings.source.clone())]);
        let everybody = fuser::SessionACL::All;
        let session =
            fuser::Session::from_fd(Empty, device, everybody, fuser::Config::default()).unwrap();
        let serving = thread::spawn(move || session.run());
        let busy = fs::File::open(point.path()).unwrap();
        assert!(fusermount::unmount(point.path(), false).unwrap_err().is_busy());
        drop(busy);
        fusermount::unmount(point.path(), false).unwrap();
        assert_eq!(point.mounts(), []);
        serving.join().unwrap().unwrap();
    }

    #[test]
    fn a_place_that_cannot_be_mounted_on_is_named_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let missing = prepare(&dir.path().join("no")).unwrap_err().to_string();
        assert!(missing.contains("mkdir -p"), "{missing}");
        fs::write(dir.path().join("file"), "").unwrap();
        let file = prepare(&dir.path().join("file")).unwrap_err();
        assert!(matches!(file, MountError::NotDirectory(_)), "{file}");
        assert_eq!(prepare(dir.path()).unwrap(), dir.path());
    }
}
