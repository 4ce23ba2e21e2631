//! How far a verification got, kept in the store so that it can go on after an interruption.
//!
//! Blobs are gone through in the order of their paths, and done in no order. What counts is the path
//! up to which everything is done. Links are quick and are always gone through from the beginning:
//! what was said of them earlier need not be true any more.

use crate::model::Result;
use crate::store::{
    Store, last_runs, layout,
    verify::{Counts, Finding},
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

/// How often the state is kept while nobody interrupts: what a crash can cost.
const KEEP_EVERY: Duration = Duration::from_secs(10);
/// More than any state has: some hundred bytes for each finding.
const STATE_BYTES_MAX: u64 = 256 << 20;
/// How many findings a state has. Beyond that the place stays where it is, and going on finds the
/// others again.
const FINDINGS_MAX: usize = 100_000;

/// What is kept of a verification that is under way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// The path up to which all blobs are done, relative to the store.
    pub(super) position: Option<String>,
    /// What was done up to there.
    pub(super) blobs: u64,
    pub(super) bytes: u64,
    /// What was found up to there.
    pub(super) findings: Vec<Finding>,
    /// Only what changed since then is looked at.
    pub(super) since: Option<SystemTime>,
    /// How long it took up to there.
    pub(super) elapsed: Duration,
}

/// The ledger of one run. Its lock is held for an entry only.
pub(super) struct Ledger {
    entries: Mutex<Entries>,
    begun_at: Instant,
}

struct Entries {
    /// How many numbers were given out.
    given: u64,
    /// Everything with a smaller number is done.
    done: u64,
    /// What is done beyond that.
    ahead: BTreeMap<u64, (PathBuf, Counts)>,
    state: State,
    /// What was found beyond the position.
    findings: Vec<Finding>,
    kept_at: Instant,
}

impl Ledger {
    /// Goes on from `state`.
    pub(super) fn new(state: State) -> Self {
        let now = Instant::now();
        let entries = Entries {
            given: 0,
            done: 0,
            ahead: BTreeMap::new(),
            state,
            findings: Vec::new(),
            kept_at: now,
        };
        Self { entries: Mutex::new(entries), begun_at: now }
    }

    /// A number for what is looked at next.
    pub(super) fn begin(&self) -> u64 {
        let mut entries = self.entries.lock();
        entries.given += 1;
        entries.given - 1
    }

    /// What has this number, and lies at `at`, is done.
    pub(super) fn finish(&self, number: u64, at: PathBuf, counts: Counts, found: &[Finding]) {
        let mut entries = self.entries.lock();
        let entries = &mut *entries;
        entries.findings.extend_from_slice(found);
        entries.ahead.insert(number, (at, counts));
        while entries.state.findings.len() < FINDINGS_MAX
            && let Some((at, counts)) = entries.ahead.remove(&entries.done)
        {
            entries.done += 1;
            entries.state.blobs += counts.blobs;
            entries.state.bytes += counts.bytes;
            let Some(position) = at.to_str() else { continue };
            entries.state.position = Some(position.to_owned());
            let is_passed = |finding: &mut Finding| {
                Path::new(&finding.path) <= at.as_path()
                    || Path::new(&finding.path).starts_with(&at)
            };
            entries.state.findings.extend(entries.findings.extract_if(.., is_passed));
        }
    }

    /// What to keep now.
    pub(super) fn state(&self) -> State {
        let state = self.entries.lock().state.clone();
        State { elapsed: state.elapsed + self.begun_at.elapsed(), ..state }
    }

    /// Whether it is time to keep the state once more.
    pub(super) fn is_due(&self) -> bool {
        let mut entries = self.entries.lock();
        let is_due = entries.kept_at.elapsed() >= KEEP_EVERY;
        if is_due {
            entries.kept_at = Instant::now();
        }
        is_due
    }
}

impl State {
    /// The state that an interrupted run has left, if there is one. One that cannot be read is none:
    /// then everything is looked at.
    pub(super) fn read(store: &Store) -> Option<Self> {
        let text = store.root.read(layout::VERIFY_STATE, STATE_BYTES_MAX).ok().flatten()?;
        serde_json::from_slice(&text).ok()
    }

    /// Keeps it in the store.
    pub(super) fn keep(&self, store: &Store) -> Result<()> {
        last_runs::write(store, layout::VERIFY_STATE, self)
    }

    /// Forgets what is kept.
    pub(super) fn forget(store: &Store) -> Result<()> {
        store.root.remove_file(layout::VERIFY_STATE).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::verify::Kind;

    fn finish(ledger: &Ledger, number: u64, at: &str, found: &[Finding]) {
        let counts = Counts { blobs: 1, bytes: 10, ..Counts::default() };
        ledger.finish(number, at.into(), counts, found);
    }

    #[test]
    fn the_position_waits_for_the_slowest() {
        let ledger = Ledger::new(State::default());
        assert_eq!([(); 3].map(|()| ledger.begin()), [0, 1, 2]);
        let found = Finding::file(Kind::BlobDamaged, Path::new("b/data"), "");
        finish(&ledger, 1, "b", std::slice::from_ref(&found));
        assert_eq!(ledger.state().position, None);
        assert!(ledger.state().findings.is_empty());
        finish(&ledger, 0, "a", &[]);
        let state = ledger.state();
        assert_eq!((state.position.as_deref(), state.blobs, state.bytes), (Some("b"), 2, 20));
        assert_eq!(state.findings, [found]);
        finish(&ledger, 2, "c", &[]);
        assert_eq!(ledger.state().position.as_deref(), Some("c"));
    }
}
