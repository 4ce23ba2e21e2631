//! The gate between those who publish and the collector, across all processes that use a store.
//!
//! Who publishes makes sure of a blob first and links it then; between the two, nothing but its age says
//! that somebody wants it. So publishers pass a gate, and the collector removes blobs while it is
//! closed. A publisher who finds a blob there renews the time of its last change ([`Store::renew`]),
//! which the collector looks at again behind the closed gate: what changed since it began stays.
//!
//! Two locks, because the system lets new sharers of one in while somebody waits to have it alone:
//! publishers go through a turnstile, which the collector stops.
//!
//! docker-registry knows nothing of this: see `collect/mod.rs` for what protects it.

use crate::model::{Digest, Error, Result};
use crate::store::{Store, blobs::created_at, folder::Folder, layout};
use rustix::{
    fs::{
        self, AtFlags, FlockOperation, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT,
    },
    io::Errno,
};
use std::{fs::File, time::SystemTime};

/// Only who may write the store may take these locks: they keep others waiting.
pub(super) const LOCK_MODE: Mode = Mode::from_raw_mode(0o660);

/// As long as somebody has this, the collector removes nothing.
#[must_use = "the gate is passed as long as this is held"]
pub(super) struct Passage {
    gate: File,
}

/// As long as somebody has this, nobody publishes.
#[must_use = "the gate is closed as long as this is held"]
pub(super) struct Closed {
    gate: File,
    _turnstile: File,
}

impl Closed {
    /// How often repositories were renamed so far, in a way: it is another time after each.
    pub(super) fn renamed_at(&self) -> Result<SystemTime> {
        let stat = fs::fstat(&self.gate).map_err(Error::io("stat", layout::GATE))?;
        Ok(created_at(&stat))
    }
}

impl Store {
    /// Waits until no collector removes anything, and keeps it from doing so. Not for who has passed
    /// already: a collector that waits meanwhile would let neither through.
    pub(super) fn pass(&self) -> Result<Passage> {
        let turnstile = lock(&self.root, layout::TURNSTILE, FlockOperation::LockShared)?;
        let gate = lock(&self.root, layout::GATE, FlockOperation::LockShared)?;
        drop(turnstile);
        Ok(Passage { gate })
    }

    /// Waits until nobody is publishing, and lets nobody begin.
    pub(super) fn close_gate(&self) -> Result<Closed> {
        let turnstile = lock(&self.root, layout::TURNSTILE, FlockOperation::LockExclusive)?;
        let gate = lock(&self.root, layout::GATE, FlockOperation::LockExclusive)?;
        Ok(Closed { gate, _turnstile: turnstile })
    }

    /// Says that links are about to move from one place to another, which whoever follows them from
    /// folder to folder may miss.
    pub(super) fn note_rename(&self, passage: &Passage) -> Result<()> {
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let times = Timestamps { last_access: now, last_modification: now };
        fs::futimens(&passage.gate, &times).map_err(Error::io("change", layout::GATE))
    }

    /// Renews the time of the blob's last change, before it is linked. `false` when there is none, or
    /// it is another user's: then it has to be written again.
    pub(super) fn renew(&self, digest: &Digest, _passage: &Passage) -> Result<bool> {
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
            last_modification: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        };
        let at = layout::blob(digest);
        match fs::utimensat(&self.root, &at, &times, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::PERM | Errno::ACCESS) => Ok(false),
            Err(errno) => Err(Error::io("renew", self.root.path_of(at))(errno)),
        }
    }
}

/// Takes a lock on one of our files, made if it is new. It is given back when the file is closed.
pub(super) fn lock(root: &Folder, at: &str, operation: FlockOperation) -> Result<File> {
    let file = match root.open_file(at, OFlags::RDONLY)? {
        Some(file) => file,
        None => root.open_or_create_file(at, LOCK_MODE)?,
    };
    loop {
        match fs::flock(&file, operation) {
            Ok(()) => return Ok(file),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::io("lock", root.path_of(at))(errno)),
        }
    }
}
