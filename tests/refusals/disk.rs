//! Small disks of their own beneath a store: full, over a quota, or failed.
#![allow(dead_code, reason = "two programs of tests use it, each its own part")]

use crate::common::{eventually, is_mounted, run_in, scratch};
use rustix::mount::{UnmountFlags, unmount};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// An image in a file, and where it is mounted. Goes with the test.
pub(crate) struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    /// A disk of `size`, as truncate(1) takes it, with the file system that `make` makes.
    pub(crate) fn new(size: &str, make: &str) -> Self {
        let disk = Self { folder: scratch() };
        let file =
            format!("mkdir disk && truncate -s {size} image && {make} image > /dev/null 2>&1");
        run_in(disk.folder.path(), &file);
        disk.mount();
        disk
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    /// Mounts it, as after a restart.
    pub(crate) fn mount(&self) {
        run_in(self.folder.path(), "mount -o loop image disk");
    }

    /// Unmounts it, and waits until the kernel has let go of it: a file system that is still there
    /// would be mounted again as it is.
    pub(crate) fn unmount(&self) {
        run_in(self.folder.path(), "umount disk");
        eventually(Duration::from_secs(20), "the disk is let go of", || {
            run_in(self.folder.path(), "losetup -j image").is_empty()
        });
    }

    /// Fails as a disk does that is pulled out: from now on everything that asks it ends with EIO,
    /// and what it has not written yet is lost.
    pub(crate) fn fail(&self) {
        // FS_IOC_SHUTDOWN, and not to write the journal out before.
        const PROGRAM: &str = "import fcntl, os, struct; \
            fcntl.ioctl(os.open('disk', os.O_RDONLY), 0x8004587d, struct.pack('I', 2))";
        run_in(self.folder.path(), &format!("python3 -c \"{PROGRAM}\""));
    }
}

impl AsRef<Path> for Disk {
    fn as_ref(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let path = self.path();
        if is_mounted(&path) {
            unmount(&path, UnmountFlags::DETACH).ok();
        }
    }
}
