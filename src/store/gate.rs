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
//! Before it, and in the same way, a second gate: who moves links from one place to another, where whoever
//! follows them from folder to folder may miss them, says so ([`Store::note_move`]), and the collector
//! begins anew. When that happens again and again, it closes the way to moves while it follows links.
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
/// How long who moves links waits for a collector that follows them: it may do so for long, and the kernel
/// lets nobody look names up meanwhile in the folder where something is to be renamed or removed.
const PATIENCE_TO_MOVE: Duration = Duration::from_secs(5);
/// How long the collector keeps others from publishing while it waits for those who do.
const DRAIN_MAX: Duration = Duration::from_secs(2);
/// How long it lets others publish before it tries again.
const DRAIN_PAUSE: Duration = Duration::from_millis(500);
/// Between two tries of a lock: from the first to the last of these, doubled each time.
const TRY_PAUSES: (Duration, Duration) = (Duration::from_micros(100), Duration::from_millis(2));
/// How long the collector leaves the gate open at least, so that whoever has waited tries.
pub(super) const OPEN_PAUSE: Duration = Duration::from_millis(4);

/// A lock that many share and one has alone, and the turnstile before it.
#[derive(Clone, Copy)]
struct Gate {
    turnstile: &'static str,
    gate: &'static str,
    /// How long those who share it wait.
    patience: Duration,
}

const PUBLISHING: Gate =
    Gate { turnstile: layout::TURNSTILE, gate: layout::GATE, patience: PATIENCE };
const MOVING: Gate =
    Gate { turnstile: layout::MOVES_TURNSTILE, gate: layout::MOVES, patience: PATIENCE_TO_MOVE };

/// As long as somebody has this, no collector needs links to stay where they are.
#[must_use = "links may be moved as long as this is held"]
pub(super) struct Moving {
    _moves: File,
}

/// As long as somebody has this, links stay where they are.
#[must_use = "links stay where they are as long as this is held"]
pub(super) struct Still {
    _moves: File,
    _turnstile: File,
}

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
        let gate = self.go_through(PUBLISHING)?;
        let gate = gate.ok_or(Error::StoreBusy("its collector has stopped others for a minute"))?;
        Ok(Passage { gate })
    }

    /// Waits until no collector needs links to stay where they are, and keeps it from that. For who is
    /// about to move some, before they pass. Errors: `StoreBusy`.
    pub(super) fn begin_move(&self) -> Result<Moving> {
        let busy = "its collector follows links, which have to stay where they are meanwhile";
        let moves = self.go_through(MOVING)?.ok_or(Error::StoreBusy(busy))?;
        Ok(Moving { _moves: moves })
    }

    /// Shares a gate, as soon as nobody has it alone. `None` when that takes too long.
    fn go_through(&self, Gate { turnstile, gate, patience }: Gate) -> Result<Option<File>> {
        let operation = FlockOperation::NonBlockingLockShared;
        let lock = |at| self.lock_within(at, operation, patience, &|| Ok(()));
        let Some(_turnstile) = lock(turnstile)? else { return Ok(None) };
        lock(gate)
    }

    /// Waits until nobody is publishing, and lets nobody begin; as long as `go_on` has no reason not to.
    /// Errors: `StoreBusy`.
    pub(super) fn close_gate(&self, go_on: &dyn Fn() -> Result<()>) -> Result<Closed> {
        let (gate, turnstile) = self.close(PUBLISHING, go_on)?.ok_or(Error::StoreBusy(
            "somebody has been publishing for a minute, or was stopped while doing so",
        ))?;
        Ok(Closed { gate, _turnstile: turnstile })
    }

    /// Waits until nobody is moving links, and lets nobody begin. Not for who has closed the other gate:
    /// who moves may wait there. Errors: `StoreBusy`.
    pub(super) fn hold_still(&self, go_on: &dyn Fn() -> Result<()>) -> Result<Still> {
        let (moves, turnstile) = self.close(MOVING, go_on)?.ok_or(Error::StoreBusy(
            "somebody has been renaming a repository for a minute, or was stopped while doing so",
        ))?;
        Ok(Still { _moves: moves, _turnstile: turnstile })
    }

    /// Takes a gate and its turnstile alone; `None` when others do not let it for long.
    fn close(
        &self, Gate { turnstile, gate, .. }: Gate, go_on: &dyn Fn() -> Result<()>,
    ) -> Result<Option<(File, File)>> {
        let operation = FlockOperation::NonBlockingLockExclusive;
        let lock = |at, patience| self.lock_within(at, operation, patience, go_on);
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Some(turnstile) = lock(turnstile, PATIENCE)? {
                if let Some(gate) = lock(gate, DRAIN_MAX)? {
                    return Ok(Some((gate, turnstile)));
                }
                drop(turnstile);
                thread::sleep(DRAIN_PAUSE);
            }
        }
        Ok(None)
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
    pub(super) fn note_move(&self, _moving: &Moving, passage: &Passage) -> Result<()> {
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
