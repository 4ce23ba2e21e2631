//! The hash that follows an upload: in the background while bytes come, and the rest of it on
//! demand. Why it is the hash of the bytes is said in `progress.rs`.

use crate::model::{Digest, Hasher, Result};
use crate::store::{
    attributes,
    blobs::read_fully,
    follower::{BUFFER_BYTES, Follow},
    layout, notes,
    progress::{Claim, Keep, Task},
    states,
    upload::{Life, Shared, Work},
};
use std::{
    any::Any,
    sync::{Arc, Weak, atomic::Ordering},
};

/// How many steps a follower takes before it looks after other uploads.
const STEPS_PER_TURN: usize = 16;

impl Shared {
    /// Has a follower look at it, when it is worth it and none is about to.
    pub(super) fn wake(self: &Arc<Self>, work: &Work) {
        if work.progress.has_task() && !self.queued.swap(true, Ordering::AcqRel) {
            let weak: Weak<Self> = Arc::downgrade(self);
            self.store.followers.push(weak);
        }
    }

    /// Hashes everything that is not hashed yet, and gives the digest. With `beside`, which is to
    /// have another hash, everything is read.
    pub(super) fn catch_up(
        &self, work: &mut Work, mut beside: Option<&mut Hasher>,
    ) -> Result<Digest> {
        let length = self.length()?;
        let mut digester = work.progress.digester().clone();
        if digester.length() > length {
            // Somebody cut the file behind our back.
            self.before_change(work, length)?;
            digester = work.progress.digester().clone();
        }
        let mut at = if beside.is_some() { 0 } else { digester.length() };
        let mut buffer = vec![0; part(length - at)];
        while at < length {
            let part = &mut buffer[..part(length - at)];
            if read_fully(&self.data, part, at).map_err(self.io("read"))? < part.len() {
                return Err(self.io("read")(std::io::ErrorKind::UnexpectedEof.into()));
            }
            if let Some(beside) = &mut beside {
                beside.update(part);
            }
            let end = at + part.len() as u64;
            if end > digester.length() {
                let hashed = usize::try_from(digester.length() - at).unwrap_or(0);
                digester.update(&part[hashed..]);
                self.store.counters.hashed((part.len() - hashed) as u64);
            }
            at = end;
        }
        let digest = digester.digest();
        work.progress.caught_up(digester);
        Ok(digest)
    }

    /// One step in the background.
    fn step(&self, buffer: &mut [u8]) -> Result<Step> {
        let task = {
            let mut work = self.work.lock();
            let task = if let Life::Open = work.life { work.progress.task() } else { None };
            // Not later: who pauses just then, and finds that there is something to do after all, leaves
            // something to hold for whoever comes next.
            let Some(task) = task else { return Ok(Step::Nothing(work.let_go())) };
            task
        };
        match task {
            Task::Keep(keep) => {
                let kept = self.keep(&keep);
                self.work.lock().progress.end_keeping();
                kept?;
            }
            Task::Note(note) => self.note(&note)?,
            Task::Hash(mut claim) => {
                let is_all = self.hash(&mut claim, buffer);
                let mut work = self.work.lock();
                work.progress.hand_in(claim);
                if !is_all? {
                    return Ok(Step::Nothing(work.let_go()));
                }
            }
        }
        Ok(Step::Done)
    }

    /// Hashes what is claimed. `false` when somebody has cut the file: what was read is hashed all the same.
    fn hash(&self, claim: &mut Claim, buffer: &mut [u8]) -> Result<bool> {
        let end = claim.digester.length() + claim.length;
        while claim.digester.length() < end {
            let part = &mut buffer[..part(end - claim.digester.length())];
            let count =
                read_fully(&self.data, part, claim.digester.length()).map_err(self.io("read"))?;
            claim.digester.update(&part[..count]);
            self.store.counters.hashed(count as u64);
            if count < part.len() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Notes how far the hash is, for whoever resumes this upload before the next boot.
    fn note(&self, note: &Keep) -> Result<()> {
        let draft = notes::draft(&self.store)?;
        // Under the lock, so that the bytes cannot change just now.
        let mut work = self.work.lock();
        let Life::Open = work.life else { return Ok(()) };
        if work.progress.is_noteworthy(note) {
            let data = attributes::stat(&self.data, || self.path(layout::DATA))?;
            notes::publish(&self.store, draft, self.id, &note.digester, &data)?;
            work.progress.noted(note);
        }
        Ok(())
    }

    /// Keeps a state for whoever resumes this upload.
    fn keep(&self, keep: &Keep) -> Result<()> {
        // 1. The bytes that it stands for.
        self.sync_data()?;
        // 2. The state, under a name that nobody trusts.
        let offset = keep.digester.length();
        let draft = states::draft(self.store.scratch()?, &keep.digester)?;
        // 3. Its name, unless the bytes changed meanwhile; under the lock, so that they cannot just
        //    now.
        {
            let mut work = self.work.lock();
            let Life::Open = work.life else { return Ok(()) };
            if !work.progress.is_current(keep) {
                return Ok(());
            }
            draft.publish(self.repository.place(&states::place(self.id, offset)))?;
            work.progress.kept(keep);
        }
        states::remove_before(&self.repository, self.id, offset)
    }
}

impl Work {
    /// What is held while followers have something to do: to be dropped without the lock, unless another
    /// follower is at work, who does that at the end.
    pub(super) fn let_go(&mut self) -> Vec<Box<dyn Any + Send>> {
        if self.progress.is_followed() { Vec::new() } else { std::mem::take(&mut self.holds) }
    }
}

/// What a step came to.
enum Step {
    /// Something is done, and there may be more.
    Done,
    /// There was nothing to do. This is to be let go of, without a lock.
    Nothing(Vec<Box<dyn Any + Send>>),
}

/// How much is read next when `left` bytes are left.
fn part(left: u64) -> usize {
    usize::try_from(left).map_or(BUFFER_BYTES, |left| left.min(BUFFER_BYTES))
}

impl Follow for Shared {
    fn follow(&self, buffer: &mut [u8]) -> bool {
        // From here on a writer puts it into the queue again; the claim sees to it that no two
        // threads hash the same.
        self.queued.store(false, Ordering::Release);
        for _ in 0..STEPS_PER_TURN {
            let holds = match self.step(buffer) {
                Ok(Step::Done) => continue,
                Ok(Step::Nothing(holds)) => holds,
                // Whoever needs the hash computes it, and meets the same error.
                Err(error) => {
                    log::warn!("upload {} is not hashed in the background: {error}", self.id);
                    self.work.lock().let_go()
                }
            };
            drop(holds);
            return false;
        }
        !self.queued.swap(true, Ordering::AcqRel)
    }
}
