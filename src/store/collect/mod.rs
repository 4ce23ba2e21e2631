//! The collector: removes what nobody refers to any more, while uploads, puts and a docker-registry go
//! on.
//!
//! 1. Behind the closed gate the time is noted: everybody who publishes from now on leaves a mark of it
//!    on the blob (`gate.rs`).
//! 2. What links and manifests refer to is marked (`marker.rs`). When links are moved meanwhile everything
//!    is marked again; after a few times nobody may move any until blobs were taken out.
//! 3. Blobs that are not marked and older than the grace period are taken out of `blobs/`, a few at a
//!    time behind the closed gate, where each is looked at again.
//! 4. docker-registry passes no gate. It may have found a blob there just before it was taken out, and
//!    link it a moment later. So, when that can be no more (`settle.rs`), the links that have changed are
//!    read, and what they refer to is brought back. Only then the rest is deleted.
//!
//! What is out when a collection ends in the midst of it is brought back (`out.rs`).

mod collected;
mod marker;
mod marks;
mod out;
mod settle;
mod uploads;

use crate::model::{Algorithm, Digest, Error, Result};
use crate::store::{
    LocalRegistry, Store,
    attributes::attributes,
    directory::Directory,
    folder::{self, Folder},
    gate::{self, Closed, Still},
    last_runs::LastCollection,
    layout,
};
use marker::{Marker, Scope};
use marks::Marks;
use out::{Out, Taken};
use parking_lot::Mutex;
use rustix::io::Errno;
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

pub use collected::{CollectEvent, CollectOptions, Collected, Tally};
pub(super) use out::{bring_back, recover};

/// How many blobs are taken out while publishers wait.
const BATCH: usize = 256;
/// For how long at most: a slow disk does fewer in that time.
const BATCH_MAX: Duration = Duration::from_millis(50);
/// From how many blobs on they are removed before more are looked for: a few MiB of memory.
const ROUND_MIN: usize = 1 << 16;
/// More than one tick of the clock that files get their times from.
const CLOCK_SLACK: Duration = Duration::from_secs(1);
/// A clock that is being corrected runs slower by less than one part in so many.
const CLOCK_DRIFT: u32 = 1000;
/// After how many marks that moved links have spoilt nobody may move any.
const SPOILT_MAX: usize = 2;
/// How often everything is marked again because links were moved meanwhile, by who knows no lock.
const MARKS_MAX: usize = 8;

/// Who is told what goes on.
type Tell<'a> = dyn FnMut(CollectEvent) + 'a;

/// A blob that is not in use.
#[derive(Clone, Copy)]
struct Garbage {
    digest: Digest,
    bytes: u64,
    changed_at: SystemTime,
}

/// When a collection began, by the clock that files get their times from.
#[derive(Clone, Copy)]
struct Start {
    at: SystemTime,
    counted_from: Instant,
}

impl Start {
    fn of(closed: &Closed) -> Result<Self> {
        Ok(Self { at: closed.now()?, counted_from: Instant::now() })
    }

    /// Whether what has changed between the two has a later time than what had before. Not so when
    /// somebody has set the clock back.
    fn is_before(self, later: Self) -> bool {
        let (passed, shown, slack) = self.until(later);
        shown + slack >= passed
    }

    /// Whether the clock has gone no further since than time has passed. Not so when somebody has set it
    /// forward, or the system has slept.
    fn is_in_step_with(self, later: Self) -> bool {
        let (passed, shown, slack) = self.until(later);
        shown <= passed + slack
    }

    /// How much time has passed, how much the clock shows, and by how much they may differ.
    fn until(self, later: Self) -> (Duration, Duration, Duration) {
        let passed = later.counted_from.duration_since(self.counted_from);
        let shown = later.at.duration_since(self.at).unwrap_or_default();
        (passed, shown, CLOCK_SLACK + passed / CLOCK_DRIFT)
    }
}

/// What was in use at a time, and everything that was published since has changed later than that.
struct Marked {
    marks: Marks,
    start: Start,
    /// How often links had been moved by then.
    moves: u64,
    /// Keeps links where they are.
    still: Option<Still>,
}

impl LocalRegistry {
    /// Removes what nobody refers to, until `stop` is not zero. Errors: `StoreBusy`; `Unclear`, `Damaged`
    /// and `Io` when something cannot be read that may refer to a blob: then nothing is removed. After
    /// any error all is where it was, but for what `tell` has heard of.
    pub fn collect(
        &self, options: &CollectOptions, stop: &AtomicUsize, tell: &mut Tell<'_>,
    ) -> Result<Collected> {
        let store = &self.store;
        let collected = Collected::default();
        let mut run = Run { store, options, stop, tell, collected, spoilt: 0 };
        if options.dry_run {
            let start = Start { at: SystemTime::now(), counted_from: Instant::now() };
            let marks = run.mark(Scope::Everything, start)?;
            run.sweep(Marked { marks, start, moves: 0, still: None }, None)?;
            run.uploads(start.at)?;
            return Ok(run.collected);
        }
        store.scratch()?;
        let out = Out::begin(store)?;
        let outcome = run.collect(&out);
        match (outcome, out.end()) {
            (outcome, Ok(())) => outcome,
            (Ok(_), Err(error)) => Err(error),
            (Err(cause), Err(error)) => {
                log::error!("{cause}");
                Err(error)
            }
        }
    }
}

/// A collection under way.
struct Run<'a> {
    store: &'a Arc<Store>,
    options: &'a CollectOptions,
    stop: &'a AtomicUsize,
    tell: &'a mut Tell<'a>,
    collected: Collected,
    /// How many marks were of no use because links were moved.
    spoilt: usize,
}

impl Run<'_> {
    fn collect(mut self, out: &Out<'_>) -> Result<Collected> {
        let marked = self.mark_steadily(Scope::Everything)?;
        let Start { at, counted_from } = marked.start;
        self.sweep(marked, Some(out))?;
        self.uploads(at)?;
        let last = LastCollection::new(at, counted_from.elapsed(), &self.collected);
        if let Err(error) = last.keep(self.store) {
            log::warn!("what was collected is not noted in the store: {error}");
        }
        Ok(self.collected)
    }

    fn close_gate(&self) -> Result<Closed> {
        self.store.close_gate(&|| check_is_to_go_on(self.stop))
    }

    /// Marks what is in use, while links stay where they are: by themselves, or because they have to when
    /// they did not too often.
    fn mark_steadily(&mut self, scope: Scope) -> Result<Marked> {
        for _ in 0..MARKS_MAX {
            let go_on = || check_is_to_go_on(self.stop);
            let hold_still = || self.store.hold_still(&go_on);
            let still = (self.spoilt >= SPOILT_MAX).then(hold_still).transpose()?;
            let (start, moves) = {
                let closed = self.close_gate()?;
                (Start::of(&closed)?, closed.moves()?)
            };
            let marks = self.mark(scope, start)?;
            if self.close_gate()?.moves()? == moves {
                return Ok(Marked { marks, start, moves, still });
            }
            self.spoilt += 1;
        }
        Err(Error::StoreBusy("repositories are renamed again and again"))
    }

    fn mark(&mut self, scope: Scope, start: Start) -> Result<Marks> {
        let layers_since = match self.options.unreferenced_layers {
            true => start.at.checked_sub(self.options.grace),
            false => None,
        };
        let (links, has_failed) = (AtomicU64::new(0), AtomicBool::new(false));
        let (store, stop, begun) = (self.store, self.stop, Mutex::default());
        let marks =
            Marker { store, scope, layers_since, stop, links, has_failed, begun }.run(self.tell)?;
        if matches!(scope, Scope::Everything) {
            (self.collected.links, self.collected.manifests) = (marks.links(), marks.manifests());
        }
        Ok(marks)
    }

    /// Goes through all blobs, and removes those that are not in use; without `out` they are only
    /// counted.
    fn sweep(&mut self, mut marked: Marked, out: Option<&Out<'_>>) -> Result<()> {
        let Some(blobs) = self.store.root.open_folder(layout::BLOBS)? else { return Ok(()) };
        let (mut folders, mut garbage, mut done) = (Directory::of(&blobs)?, Vec::new(), 0);
        while let Some(entry) = folders.next()? {
            if entry.is_folder
                && let Some(folder) = blobs.open_folder(&entry.name)?
            {
                self.garbage_in(&folder, &marked, &mut garbage)?;
            }
            if garbage.len() >= ROUND_MIN {
                self.end_all(&mut garbage, &mut marked, out)?;
                if self.collected.is_cut_short {
                    return Ok(());
                }
            }
            done += 1;
            (self.tell)(CollectEvent::Sweeping(done));
        }
        self.end_all(&mut garbage, &mut marked, out)
    }

    fn garbage_in(
        &mut self, folder: &Folder, marked: &Marked, garbage: &mut Vec<Garbage>,
    ) -> Result<()> {
        check_is_to_go_on(self.stop)?;
        let Some(mut blobs) = Directory::open(folder)? else { return Ok(()) };
        while let Some(entry) = blobs.next()? {
            let digest = layout::parse_digest(Algorithm::Sha256, &entry.name);
            let Some(digest) = digest.filter(|_| entry.is_folder) else { continue };
            let data = folder.glance(Path::new(&entry.name).join(layout::DATA))?;
            let Some(data) = data.filter(folder::is_file) else { continue };
            let (bytes, changed_at) = (folder::length(&data), attributes(&data).changed_at);
            if marked.marks.has(&digest.hex()) {
                self.collected.used.add(bytes);
            } else if !self.is_old(changed_at, marked.start) {
                self.collected.young.add(bytes);
            } else {
                garbage.push(Garbage { digest, bytes, changed_at });
            }
        }
        if !garbage.is_empty() && marked.marks.links() == 0 && !self.options.all {
            let path = self.store.root.path_of(layout::REPOSITORIES);
            let reason =
                "no repository has anything, and all blobs would go; --all if that is meant";
            return Err(Error::Unclear { path, reason });
        }
        Ok(())
    }

    /// Whether it was changed before `start` and the grace period before now.
    fn is_old(&self, changed_at: SystemTime, start: Start) -> bool {
        let grace = self.options.grace.max(CLOCK_SLACK);
        start.at.duration_since(changed_at).is_ok_and(|age| age >= grace)
    }

    /// Removes what is not in use, and is not used again meanwhile.
    fn end_all(
        &mut self, garbage: &mut Vec<Garbage>, marked: &mut Marked, out: Option<&Out<'_>>,
    ) -> Result<()> {
        let mut garbage = std::mem::take(garbage);
        let Some(out) = out else {
            garbage.iter().for_each(|garbage| self.removed(garbage));
            return Ok(());
        };
        // Once only, unless the disk is full or links are moved.
        while !garbage.is_empty() {
            let taken = self.take_out(&mut garbage, marked, out)?;
            // Who moves links has waited long enough.
            marked.still = None;
            if !taken.is_empty() {
                self.end(taken, marked, out)?;
                self.spoilt = self.spoilt.min(SPOILT_MAX);
            }
            if !garbage.is_empty() && self.close_gate()?.moves()? != marked.moves {
                self.spoilt += 1;
                if self.spoilt >= MARKS_MAX {
                    self.collected.is_cut_short = true;
                    return Ok(());
                }
                *marked = self.mark_steadily(Scope::Everything)?;
                garbage.retain(|garbage| self.is_unused(garbage, marked));
            }
        }
        Ok(())
    }

    /// Whether it is still not in use.
    fn is_unused(&mut self, garbage: &Garbage, marked: &Marked) -> bool {
        let is_used = marked.marks.has(&garbage.digest.hex());
        if is_used {
            self.collected.used.add(garbage.bytes);
        }
        !is_used
    }

    /// Takes out what was not published again since it was marked; a few at a time, so that nobody waits
    /// long. What there is no room for stays in `garbage`, and what is left when links were moved.
    fn take_out(
        &mut self, garbage: &mut Vec<Garbage>, marked: &Marked, out: &Out<'_>,
    ) -> Result<Vec<Garbage>> {
        let mut taken = Vec::new();
        while !garbage.is_empty() {
            check_is_to_go_on(self.stop)?;
            thread::sleep(gate::OPEN_PAUSE);
            let closed = self.close_gate()?;
            self.check_clock(marked.start, Start::of(&closed)?)?;
            if closed.moves()? != marked.moves {
                // Links may be where nobody has looked.
                return Ok(taken);
            }
            let until = Instant::now() + BATCH_MAX;
            for _ in (0..BATCH).take_while(|_| Instant::now() < until) {
                let Some(next) = garbage.pop() else { break };
                let data = self.store.root.stat(layout::blob(&next.digest))?;
                let changed_at = data.map(|data| attributes(&data).changed_at);
                if !changed_at.is_some_and(|at| self.is_old(at, marked.start)) {
                    continue;
                }
                match out.take(&next.digest)? {
                    Taken::Out => taken.push(next),
                    Taken::No => {}
                    Taken::Denied => self.denied(&next.digest.to_string(), next.bytes),
                    Taken::Full if taken.is_empty() => {
                        return Err(Error::io("take out blobs in", layout::COLLECTED)(
                            Errno::NOSPC,
                        ));
                    }
                    Taken::Full => {
                        garbage.push(next);
                        return Ok(taken);
                    }
                }
            }
        }
        Ok(taken)
    }

    fn check_clock(&self, start: Start, now: Start) -> Result<()> {
        if start.is_before(now) {
            return Ok(());
        }
        let reason = "the clock was set back meanwhile, so nobody knows what is new in it";
        Err(Error::Unclear { path: self.store.root.path_of(""), reason })
    }

    fn removed(&mut self, garbage: &Garbage) {
        let Garbage { digest, bytes, changed_at } = *garbage;
        self.collected.removed.add(bytes);
        (self.tell)(CollectEvent::Blob { digest, bytes, changed_at });
    }

    fn denied(&mut self, what: &str, bytes: u64) {
        log::warn!("{what} is not in use, and this user may not remove it");
        self.collected.denied.add(bytes);
    }
}

/// Errors: `Io`, as of a call that a signal has interrupted.
fn check_is_to_go_on(stop: &AtomicUsize) -> Result<()> {
    if stop.load(Ordering::Relaxed) == 0 { Ok(()) } else { Err(interrupted()) }
}

fn interrupted() -> Error {
    Error::io("go on with", layout::COLLECTED)(Errno::INTR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_is_noticed() {
        let start = Start { at: SystemTime::now(), counted_from: Instant::now() };
        let passed = Duration::from_secs(100);
        let counted_from = start.counted_from + passed;
        let later = |at| Start { at, counted_from };
        assert!(start.is_before(start));
        assert!(start.is_before(later(start.at + passed)));
        assert!(!start.is_before(later(start.at + passed / 2)));
        assert!(!start.is_before(later(start.at - passed)));
        assert!(start.is_in_step_with(later(start.at + passed)));
        assert!(!start.is_in_step_with(later(start.at + 2 * passed)));
    }
}
