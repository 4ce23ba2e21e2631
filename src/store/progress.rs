//! How far an upload is written and hashed: plain data, without I/O and without a lock of its own.
//!
//! One mutex per upload guards this and the bytes of the data file together (`upload.rs`). That is
//! what makes hashing behind the writers' backs right:
//!
//! - A writer holds the mutex from before [`Progress::disturb`] until its bytes are in the file.
//! - A follower takes a [`Claim`] under the mutex, reads and hashes without it, and hands the claim
//!   in under the mutex. It may have read bytes that a writer was changing. But that writer found
//!   the claim and began a new epoch, because its bytes lay before the end of the claim; and a claim
//!   of a past epoch is thrown away. A writer whose bytes lie behind the claim changes nothing that
//!   the follower reads. A claim taken after a write sees all of it.
//! - Claims cover only the prefix that has been written without a gap. So appending, which is what
//!   nearly everybody does, never disturbs one.

use crate::model::Digester;
use std::collections::BTreeMap;

/// How much is hashed between two looks at the mutex. Large enough to cost nothing, small enough
/// that what a disturbed claim throws away is less than a millisecond of work.
const STEP_BYTES: u64 = 1 << 20;
/// How far the hash runs between two states that are kept: what a power cut costs at most, 0.1 s.
const KEEP_BYTES: u64 = 128 << 20;
/// A pause is worth a kept state from so much on: to hash less is faster than to sync it.
const KEEP_BYTES_MIN: u64 = 4 << 20;
/// How far the hash runs between two notes: what a kill costs at most, 0.01 s.
const NOTE_BYTES: u64 = 16 << 20;
/// How many pieces written ahead of the prefix are remembered. What is beyond is hashed at finish.
const ISLANDS_MAX: usize = 1024;

/// How far an upload is written and hashed.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The hash of the first `digester.length()` bytes, as they are now.
    digester: Digester,
    /// The state that is on disk; never ahead of `digester`. No state beyond it is on disk.
    kept: Digester,
    /// How much of the hash is noted (`notes.rs`); never ahead of `digester`.
    noted: u64,
    /// All bytes before here have been written.
    prefix: u64,
    /// Pieces behind the prefix that have been written: beginning and end.
    islands: BTreeMap<u64, u64>,
    /// The end of what is being hashed.
    claimed: Option<u64>,
    /// Counts the times that hashed bytes were about to change.
    epoch: u64,
    /// Hashed bytes were changed; following begins again when the writer goes on or pauses. Else
    /// one who writes here and there would have everything hashed each time.
    resting: bool,
    /// The writer paused, and the state is to be kept once it has caught up.
    settled: bool,
    /// A state is being written.
    keeping: bool,
    /// Where a state was to be kept last, well or not: it is not tried again at once.
    tried: u64,
}

/// A part of the data to be hashed.
pub(super) struct Claim {
    /// Hashed up to where the part begins.
    pub(super) digester: Digester,
    /// Length of the part.
    pub(super) length: u64,
    epoch: u64,
}

/// A state to be kept.
pub(super) struct Keep {
    pub(super) digester: Digester,
    epoch: u64,
}

/// What there is to do in the background.
pub(super) enum Task {
    Hash(Claim),
    /// A state is to be kept.
    Keep(Keep),
    /// It is to be noted.
    Note(Keep),
}

impl Progress {
    /// Of an upload of `length` bytes whose state on disk is `kept`, and of whose hash `noted` is
    /// noted.
    pub(super) fn resumed(kept: Digester, noted: Option<Digester>, length: u64) -> Self {
        let length_noted = noted.as_ref().map_or(0, Digester::length);
        let further = noted.filter(|noted| noted.length() > kept.length());
        let digester = further.unwrap_or_else(|| kept.clone());
        Self { digester, kept, noted: length_noted, prefix: length, ..Self::default() }
    }

    /// Whether the note covers bytes from `offset` on. It must be removed before they change.
    pub(super) fn is_noted_beyond(&self, offset: u64) -> bool {
        self.noted > offset
    }

    /// The note is removed.
    pub(super) fn forget_note(&mut self) {
        self.noted = 0;
    }

    /// The hash is noted as far as `keep` has it.
    pub(super) fn noted(&mut self, keep: &Keep) {
        self.noted = keep.digester.length();
    }

    /// Whether every byte that the note would cover is as it was hashed, and it says something new.
    pub(super) fn is_noteworthy(&self, keep: &Keep) -> bool {
        keep.epoch == self.epoch && keep.digester.length() > self.noted
    }

    /// How much is hashed.
    pub(super) fn digester(&self) -> &Digester {
        &self.digester
    }

    /// Whether a state on disk covers bytes from `offset` on. It must be removed before they change.
    pub(super) fn is_kept_beyond(&self, offset: u64) -> bool {
        self.kept.length() > offset
    }

    /// The state on disk is removed.
    pub(super) fn forget_kept(&mut self) {
        self.kept = Digester::default();
    }

    /// Bytes from `offset` on are about to change.
    pub(super) fn disturb(&mut self, offset: u64) {
        debug_assert!(!self.is_kept_beyond(offset) && !self.is_noted_beyond(offset));
        if offset < self.digester.length().max(self.claimed.unwrap_or(0)) {
            self.epoch += 1;
            self.claimed = None;
            self.resting = true;
            if offset < self.digester.length() {
                self.digester = self.kept.clone();
                self.tried = self.kept.length();
            }
        }
    }

    /// Bytes from `offset` to `end` have been written.
    pub(super) fn wrote(&mut self, offset: u64, end: u64) {
        self.settled = false;
        if offset > self.prefix {
            self.add_island(offset, end);
            return;
        }
        if end > self.prefix {
            self.prefix = end;
            self.resting = false;
        }
        while let Some(island) = self.islands.first_entry()
            && *island.key() <= self.prefix
        {
            self.prefix = self.prefix.max(island.remove());
        }
    }

    fn add_island(&mut self, offset: u64, end: u64) {
        let (mut offset, mut end) = (offset, end);
        // Those that touch it become one with it.
        while let Some((&start, &stop)) = self.islands.range(..=end).next_back()
            && stop >= offset
        {
            self.islands.remove(&start);
            (offset, end) = (offset.min(start), end.max(stop));
        }
        if self.islands.len() < ISLANDS_MAX {
            self.islands.insert(offset, end);
        }
    }

    /// The data was cut or lengthened to `length` bytes.
    pub(super) fn cut(&mut self, length: u64) {
        self.prefix = self.prefix.min(length);
        self.islands.split_off(&length);
        if let Some(mut last) = self.islands.last_entry() {
            let end = length.min(*last.get());
            last.insert(end);
        }
    }

    /// The writer pauses.
    pub(super) fn settle(&mut self) {
        self.settled = true;
        self.resting = false;
    }

    /// Whether it is worth to wake a follower.
    pub(super) fn has_task(&self) -> bool {
        let unhashed = self.prefix.saturating_sub(self.digester.length());
        let unkept = self.prefix.saturating_sub(self.kept.length());
        !self.resting && (unhashed >= STEP_BYTES || (self.settled && unkept >= KEEP_BYTES_MIN))
    }

    /// Whether somebody does something in the background.
    pub(super) fn is_followed(&self) -> bool {
        self.claimed.is_some() || self.keeping
    }

    /// What to do next in the background.
    pub(super) fn task(&mut self) -> Option<Task> {
        let unhashed = self.prefix.saturating_sub(self.digester.length());
        let unnoted = self.digester.length().saturating_sub(self.noted);
        if unnoted >= NOTE_BYTES || (unhashed == 0 && self.settled && unnoted >= KEEP_BYTES_MIN) {
            return Some(Task::Note(Keep { digester: self.digester.clone(), epoch: self.epoch }));
        }
        let tried = self.tried.max(self.kept.length());
        let unkept = self.digester.length().saturating_sub(tried);
        let is_caught_up = unhashed == 0 && self.settled && unkept >= KEEP_BYTES_MIN;
        if !self.keeping && (unkept >= KEEP_BYTES || is_caught_up) {
            self.keeping = true;
            self.tried = self.digester.length();
            return Some(Task::Keep(Keep { digester: self.digester.clone(), epoch: self.epoch }));
        }
        if self.claimed.is_some() || !self.has_task() || unhashed == 0 {
            return None;
        }
        let length = unhashed.min(STEP_BYTES);
        self.claimed = Some(self.digester.length() + length);
        Some(Task::Hash(Claim { digester: self.digester.clone(), length, epoch: self.epoch }))
    }

    /// A claim is hashed, or could not be read when its length has not grown.
    pub(super) fn hand_in(&mut self, claim: Claim) {
        if claim.epoch == self.epoch {
            self.claimed = None;
            self.digester = claim.digester;
        }
    }

    /// Whether the state may still be put on disk: every byte it covers is as it was hashed.
    pub(super) fn is_current(&self, keep: &Keep) -> bool {
        keep.epoch == self.epoch && keep.digester.length() > self.kept.length()
    }

    /// The state is on disk.
    pub(super) fn kept(&mut self, keep: &Keep) {
        self.kept = keep.digester.clone();
        if self.kept.length() >= self.prefix {
            self.settled = false;
        }
    }

    /// Writing a state is over, well or not.
    pub(super) fn end_keeping(&mut self) {
        self.keeping = false;
    }

    /// Everything there is has been hashed by the holder of the mutex. What a follower may have
    /// under way is thrown away.
    pub(super) fn caught_up(&mut self, digester: Digester) {
        self.epoch += 1;
        self.claimed = None;
        self.prefix = self.prefix.max(digester.length());
        self.digester = digester;
        // What was behind the prefix is hashed, gaps as the zeros they read as.
        let prefix = self.prefix;
        self.islands.retain(|_, end| *end > prefix);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn claim(progress: &mut Progress) -> Claim {
        match progress.task() {
            Some(Task::Hash(claim)) => claim,
            Some(Task::Keep(_) | Task::Note(_)) | None => panic!("nothing to hash"),
        }
    }

    fn hashed(mut claim: Claim) -> Claim {
        claim.digester.update(&vec![0; usize::try_from(claim.length).unwrap()]);
        claim
    }

    #[test]
    fn appending_disturbs_no_claim_and_overwriting_does() {
        let mut progress = Progress::default();
        progress.wrote(0, STEP_BYTES);
        let first = claim(&mut progress);
        progress.disturb(STEP_BYTES);
        progress.wrote(STEP_BYTES, 3 * STEP_BYTES);
        progress.hand_in(hashed(first));
        assert_eq!(progress.digester().length(), STEP_BYTES);
        let second = claim(&mut progress);
        progress.disturb(2 * STEP_BYTES - 1);
        progress.hand_in(hashed(second));
        assert_eq!(progress.digester().length(), STEP_BYTES, "what was hashed before is good");
        progress.disturb(0);
        assert_eq!(progress.digester().length(), 0);
    }

    #[test]
    fn pieces_out_of_order_join_the_prefix() {
        let mut progress = Progress::default();
        for (offset, end) in [(4, 6), (8, 9), (6, 8), (1, 2)] {
            progress.wrote(offset, end);
        }
        assert_eq!((progress.prefix, progress.islands.len()), (0, 2));
        progress.wrote(0, 1);
        assert_eq!(progress.prefix, 2);
        progress.wrote(2, 4);
        assert_eq!((progress.prefix, progress.islands.len()), (9, 0));
    }

    proptest! {
        /// Against a map of which bytes are written.
        #[test]
        fn the_prefix_is_what_is_written_without_a_gap(
            steps in prop::collection::vec((0u64..40, 0u64..12, any::<bool>()), 1..40),
        ) {
            let mut progress = Progress::default();
            let mut written = [false; 64];
            for (offset, length, cut) in steps {
                if cut {
                    progress.cut(offset);
                    written[usize::try_from(offset).unwrap()..].fill(false);
                } else {
                    let range = usize::try_from(offset).unwrap()..usize::try_from(offset + length).unwrap();
                    if length > 0 {
                        progress.wrote(offset, offset + length);
                    }
                    written[range].fill(true);
                }
                let prefix = written.iter().take_while(|written| **written).count();
                prop_assert_eq!(progress.prefix, prefix as u64);
            }
        }
    }
}
