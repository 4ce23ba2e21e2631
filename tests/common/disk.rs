//! A file system of its own, of a kind that a test chooses, for a store to lie on.

use super::{process::run_in, scratch};
use rustix::mount::{UnmountFlags, unmount};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A mounted file system, in memory or in an image file. It goes with the test.
pub(crate) struct Disk {
    /// Removed after the file system was unmounted.
    _folder: tempfile::TempDir,
    path: PathBuf,
}

/// Room in an image file, which takes no more than is written.
const IMAGE_BYTES: u64 = 4 << 30;

impl Disk {
    /// A file system of the kind `tmpfs`, `ext4`, `xfs` or `btrfs`. Needs root; all but the first
    /// need a loop device and their `mkfs`.
    pub(crate) fn new(kind: &str) -> Self {
        let folder = scratch();
        let path = folder.path().join("disk");
        fs::create_dir(&path).unwrap();
        let make = match kind {
            "tmpfs" => "mount -t tmpfs -o size=75%,nr_inodes=0 tmpfs disk".to_owned(),
            kind => {
                let image = fs::File::create(folder.path().join("image")).unwrap();
                image.set_len(IMAGE_BYTES).unwrap();
                // Nobody will need what a power cut leaves of it.
                let options = if kind == "ext4" { "-O ^has_journal -N 400000" } else { "" };
                format!("mkfs.{kind} -q {options} image 2>&1 && mount -o loop,noatime image disk")
            }
        };
        run_in(folder.path(), &make);
        Self { _folder: folder, path }
    }

    /// A folder in it, for a store.
    pub(crate) fn store(&self) -> PathBuf {
        let store = self.path.join("store");
        fs::create_dir_all(&store).unwrap();
        store
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What a test left open keeps it for as long as that is open, and no longer.
        unmount(&self.path, UnmountFlags::DETACH).ok();
    }
}
