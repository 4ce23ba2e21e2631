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
use crate::store::{
    Store,
    attributes::attributes,
    folder::{self, Folder},
    layout,
    links::Link,
};
use rustix::{
    fs::{
        self, AtFlags, FlockOperation, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT,
    },
    io::Errno,
};
use std::{
    fs::File,
    thread,
    time::{Duration, Instant, SystemTime},
};

/// Only who may write the store may take these locks: they keep others waiting. See `opening.rs` for
/// who else that is but the owner.
pub(super) const LOCK_MODE: Mode = Mode::from_raw_mode(0o600);

/// How long somebody waits for others, one of whom may have been stopped.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the collector keeps others from publishing while it waits for those who do.
const DRAIN_MAX: Duration = Duration::from_secs(2);
/// How long it lets others publish before it tries again.
const DRAIN_PAUSE: Duration = Duration::from_millis(500);
/// Between two tries of a lock: from the first to the last of these, doubled each time.
const TRY_PAUSES: (Duration, Duration) = (Duration::from_micros(100), Duration::from_millis(2));
/// How long the collector leaves the gate open at least, so that whoever has waited tries.
pub(super) const OPEN_PAUSE: Duration = Duration::from_millis(4);

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
    /// How often links were moved from one place to another so far: greater after each time.
    pub(super) fn moves(&self) -> Result<u64> {
        moves(&self.gate)
    }

    /// What time it is for the files of the store, which may lie on another machine.
    pub(super) fn now(&self) -> Result<SystemTime> {
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let times = Timestamps { last_access: now, last_modification: now };
        fs::futimens(&self.gate, &times).map_err(Error::io("change", layout::GATE))?;
        let stat = fs::fstat(&self.gate).map_err(Error::io("stat", layout::GATE))?;
        Ok(attributes(&stat).changed_at)
    }
}

/// The length of the gate's file counts them: it takes no room, and a clock may go back.
fn moves(gate: &File) -> Result<u64> {
    fs::fstat(gate).map(|stat| folder::length(&stat)).map_err(Error::io("stat", layout::GATE))
}

impl Store {
    /// Waits until no collector removes anything, and keeps it from doing so. Not for who has passed
    /// already: a collector that waits meanwhile would let neither through. Errors: `StoreBusy`.
    pub(super) fn pass(&self) -> Result<Passage> {
        let operation = FlockOperation::NonBlockingLockShared;
        let lock = |at| self.lock_within(at, operation, PATIENCE, &|| Ok(()));
        let busy = || Error::StoreBusy("its collector has stopped others for a minute");
        let turnstile = lock(layout::TURNSTILE)?.ok_or_else(busy)?;
        let gate = lock(layout::GATE)?.ok_or_else(busy)?;
        drop(turnstile);
        Ok(Passage { gate })
    }

    /// Waits until nobody is publishing, and lets nobody begin; as long as `go_on` has no reason not to.
    /// Errors: `StoreBusy`.
    pub(super) fn close_gate(&self, go_on: &dyn Fn() -> Result<()>) -> Result<Closed> {
        let operation = FlockOperation::NonBlockingLockExclusive;
        let lock = |at, patience| self.lock_within(at, operation, patience, go_on);
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Some(turnstile) = lock(layout::TURNSTILE, PATIENCE)? {
                if let Some(gate) = lock(layout::GATE, DRAIN_MAX)? {
                    return Ok(Closed { gate, _turnstile: turnstile });
                }
                drop(turnstile);
                thread::sleep(DRAIN_PAUSE);
            }
        }
        Err(Error::StoreBusy(
            "somebody has been publishing for a minute, or was stopped while doing so",
        ))
    }

    /// Takes a lock as soon as others let it. `None` when they have not within `patience`.
    fn lock_within(
        &self, at: &str, operation: FlockOperation, patience: Duration,
        go_on: &dyn Fn() -> Result<()>,
    ) -> Result<Option<File>> {
        let (mut pause, pause_max) = TRY_PAUSES;
        let start = Instant::now();
        let file = open(&self.root, at)?;
        while !try_lock(&file, operation).map_err(Error::io("lock", self.root.path_of(at)))? {
            go_on()?;
            if start.elapsed() >= patience {
                return Ok(None);
            }
            thread::sleep(pause);
            pause = (pause * 2).min(pause_max);
        }
        Ok(Some(file))
    }

    /// Says that links are about to move from one place to another, which whoever follows them from
    /// folder to folder may miss.
    pub(super) fn note_move(&self, passage: &Passage) -> Result<()> {
        let failed = || Error::io("change", self.root.path_of(layout::GATE));
        let file = self.root.open_file(layout::GATE, OFlags::RDWR)?;
        let file = file.ok_or(Errno::NOENT).map_err(failed())?;
        // Two at once may count as one: whoever looks has closed the gate, and has not seen either.
        fs::ftruncate(&file, moves(&passage.gate)? + 1).map_err(failed())
    }

    /// Renews the time of the blob's last change, before it is linked. `false` when there is none, or
    /// it is another user's: then it has to be written again.
    pub(super) fn renew(&self, digest: &Digest, _passage: &Passage) -> Result<bool> {
        match self.touch(digest) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::PERM | Errno::ACCESS) => Ok(false),
            Err(errno) => Err(Error::io("renew", self.root.path_of(layout::blob(digest)))(errno)),
        }
    }

    /// Renews the time of what `link` leads to before the link is removed: a collector leaves it alone for
    /// its grace period from now on. Until then it is in use, so no gate is passed; and no link stays for
    /// the sake of this.
    pub(super) fn let_age(&self, link: Result<Option<Link>>) {
        if let Ok(Some(Link { digest, .. })) = link
            && let Err(error) = self.touch(&digest)
        {
            log::debug!("{digest} may be collected before its grace period ends: {error}");
        }
    }

    fn touch(&self, digest: &Digest) -> Result<(), Errno> {
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
            last_modification: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        };
        self.root.within(&layout::blob(digest), |folder, name| {
            fs::utimensat(folder, name, &times, AtFlags::SYMLINK_NOFOLLOW)
        })
    }
}

/// Takes a lock on one of our files, made if it is new. `None` when somebody else has it. It is given
/// back when the file is closed.
pub(super) fn lock(root: &Folder, at: &str, operation: FlockOperation) -> Result<Option<File>> {
    let file = open(root, at)?;
    let locked = try_lock(&file, operation).map_err(Error::io("lock", root.path_of(at)))?;
    Ok(locked.then_some(file))
}

fn open(root: &Folder, at: &str) -> Result<File> {
    match root.open_file(at, OFlags::RDONLY)? {
        Some(file) => Ok(file),
        None => root.open_or_create_file(at, LOCK_MODE),
    }
}

fn try_lock(file: &File, operation: FlockOperation) -> Result<bool, Errno> {
    loop {
        match fs::flock(file, operation) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}
