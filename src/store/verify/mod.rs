//! Verification of a whole store: every blob against its digest, every link against its path and its
//! target, every manifest against what it refers to.
//!
//! Mounts and a docker-registry may push and remove at the same time. What looks wrong is therefore
//! looked at again before anything is said of it, as long as somebody may be at work on it
//! (`look.rs`). Nothing is held in memory that grows with the store, but what is wrong with it; the
//! one exception is said in `manifests.rs`. Nothing is printed here: findings go into a channel.
//!
//! Blobs come first, in the order of their paths, so that an interrupted run can go on (`ledger.rs`).

mod blobs;
mod finding;
mod ledger;
mod links;
mod look;
mod manifests;
mod progress;
mod queue;
mod run;
mod walk;

pub use finding::{Finding, Kind, Severity};
pub use progress::{Counts, Progress};

use crate::model::{Error, Result};
use crate::store::{LastVerify, LocalRegistry, Store, StoreOptions, folder::Folder, layout};
use ledger::State;
use run::Run;
use rustix::io::Errno;
use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicUsize, mpsc::SyncSender},
    time::{Duration, Instant, SystemTime},
};

/// How a store is verified.
#[derive(Clone, Debug)]
pub struct VerifyOptions {
    /// Whether damaged blobs are moved out of the way.
    pub quarantine: bool,
    /// Only files that changed since then are looked at.
    pub since: Option<SystemTime>,
    /// From what age on an upload that nobody writes to is worth a note.
    pub uploads_older_than: Duration,
    /// Whether to go on where an interrupted run stopped.
    pub resume: bool,
    /// How many threads read and hash.
    pub threads: usize,
    /// Whether to count ahead how much is to be read.
    pub measure: bool,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything was looked at.
    Whole,
    /// A signal came first.
    Interrupted {
        /// Its number.
        signal: usize,
        /// The path of the last blob up to which everything was looked at, relative to the store.
        position: Option<String>,
    },
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How it ended.
    pub ended: Ended,
    /// What was looked at and found, by the interrupted runs before it, too.
    pub counts: Counts,
    /// How long it took.
    pub elapsed: Duration,
    /// Why the result, or how far it got, is not kept in the store, if so.
    pub unkept: Option<String>,
}

/// A store that is to be verified.
pub struct Verification {
    store: Arc<Store>,
    options: VerifyOptions,
    progress: Progress,
    /// Why nothing can be written there, if so.
    unwritable: Option<Error>,
    state: Option<State>,
}

impl Verification {
    /// Opens the store at `root`, which exists. Errors: `StoreVersion`; with `quarantine` also that it
    /// cannot be written.
    pub fn open(root: &Path, mut options: VerifyOptions) -> Result<Self> {
        let top = Folder::top(root)?;
        if !top.has_folder(layout::REGISTRY)? {
            return Err(Error::io("open", top.path_of(layout::REGISTRY))(Errno::NOENT));
        }
        let open = |read_only| {
            LocalRegistry::open(root, &StoreOptions { read_only, ..StoreOptions::default() })
        };
        let (registry, unwritable) = match open(false) {
            Ok(registry) => (registry, None),
            Err(error @ Error::StoreVersion { .. }) => return Err(error),
            Err(error) if options.quarantine => return Err(error),
            Err(error) => (open(true)?, Some(error)),
        };
        let store = registry.store;
        let state = if options.resume { State::read(&store) } else { None };
        if let Some(state) = &state {
            options.since = state.since;
        }
        Ok(Self { store, options, progress: Progress::default(), unwritable, state })
    }

    /// Where the run goes on, relative to the store; `None` when there is nothing to go on with.
    pub fn resumes_after(&self) -> Option<&str> {
        self.state.as_ref().and_then(|state| state.position.as_deref())
    }

    /// How far it is.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Verifies the store until it is done or `stop` has the number of a signal. Findings go to
    /// `findings` as they come.
    pub fn run(&self, stop: &AtomicUsize, findings: SyncSender<Finding>) -> Outcome {
        let begun_at = Instant::now();
        let state = self.state.clone().unwrap_or_default();
        let (after, earlier) = (state.position.clone().map(PathBuf::from), state.findings.clone());
        let again = earlier.iter().filter(|one| one.kind == Kind::BlobDamaged).count() as u64;
        let blobs = state.blobs.saturating_sub(again);
        self.progress.add(&Counts { blobs, bytes: state.bytes, ..Counts::default() });
        let before = state.elapsed;

        let (options, progress) = (&self.options, &self.progress);
        let run = Run::new(&self.store, options, progress, stop, findings, state);
        let ended = run.go(after, earlier);

        let elapsed = before + begun_at.elapsed();
        let counts = self.progress.counts();
        let unkept = match (&self.unwritable, &ended) {
            (Some(error), _) => Some(error.to_string()),
            (None, Ended::Whole) => {
                let kept = self.keep_last(&counts, elapsed);
                kept.and(State::forget(&self.store)).err().map(|error| error.to_string())
            }
            (None, Ended::Interrupted { .. }) => {
                run.state().keep(&self.store).err().map(|error| error.to_string())
            }
        };
        Outcome { ended, counts, elapsed, unkept }
    }

    fn keep_last(&self, counts: &Counts, elapsed: Duration) -> Result<()> {
        let last = LastVerify {
            finished_at: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            seconds: elapsed.as_secs(),
            clean: counts.damage == 0,
            whole: self.options.since.is_none(),
            counts: *counts,
        };
        last.keep(&self.store)
    }
}
