//! One run: a thread that walks, threads that look, and the order in which things are done.

use crate::model::RepositoryName;
use crate::store::{
    Store, folder, layout,
    parts::Part,
    verify::{
        Counts, Ended, Finding, Kind, Progress, Severity, VerifyOptions,
        blobs::Damaged,
        ledger::{Ledger, State},
        look::{LOOKS_MAX, Look, SETTLED_AGE, Task},
        manifests::Reached,
        queue::Queue,
        walk::{Met, Walk},
    },
};
use parking_lot::Mutex;
use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc::SyncSender,
    },
    thread,
    time::{Duration, Instant},
};

/// How many things may wait for another look before the walk waits for them.
const SUSPECTS_MAX: usize = 4096;
/// How long to sleep at once while waiting, so that a signal is noticed.
const PAUSE: Duration = Duration::from_millis(20);

/// Something to be looked at again.
struct Suspect {
    task: Task,
    not_before: Instant,
}

/// A run. Its locks are held for an entry only, and nothing is taken under them.
pub(super) struct Run<'a> {
    pub(super) store: &'a Store,
    pub(super) options: &'a VerifyOptions,
    pub(super) progress: &'a Progress,
    /// The number of the signal that ends it, once there was one.
    stop: &'a AtomicUsize,
    findings: SyncSender<Finding>,
    queue: Queue<Task>,
    suspects: Mutex<Vec<Suspect>>,
    ledger: Ledger,
    pub(super) damaged: Mutex<Damaged>,
    pub(super) reached: Mutex<Option<Arc<Reached>>>,
}

impl<'a> Run<'a> {
    /// A run that goes on from `state`.
    pub(super) fn new(
        store: &'a Store, options: &'a VerifyOptions, progress: &'a Progress,
        stop: &'a AtomicUsize, findings: SyncSender<Finding>, state: State,
    ) -> Self {
        Self {
            store,
            options,
            progress,
            stop,
            findings,
            queue: Queue::new(),
            suspects: Mutex::default(),
            ledger: Ledger::new(state),
            damaged: Mutex::default(),
            reached: Mutex::default(),
        }
    }

    /// Goes through the store from where an earlier run stopped, which had found `earlier`.
    pub(super) fn go(&self, after: Option<PathBuf>, earlier: Vec<Finding>) -> Ended {
        let after = after.as_deref();
        thread::scope(|scope| {
            for _ in 0..self.options.threads.max(1) {
                scope.spawn(|| self.work());
            }
            if self.options.measure {
                scope.spawn(|| self.measure(after));
            }
            // The channel to the workers is closed also when this panics.
            let _closing = Closing(&self.queue);
            if self.feed_all(earlier, after).is_continue() {
                self.settle();
            }
        });
        match self.stop.load(Relaxed) {
            0 => Ended::Whole,
            signal => Ended::Interrupted { signal, position: self.ledger.state().position },
        }
    }

    /// What to keep for a run that goes on later.
    pub(super) fn state(&self) -> State {
        State { since: self.options.since, ..self.ledger.state() }
    }

    /// Whether somebody wants it to end.
    pub(super) fn is_ended(&self) -> bool {
        self.stop.load(Relaxed) != 0
    }

    fn feed_all(&self, earlier: Vec<Finding>, after: Option<&Path>) -> ControlFlow<()> {
        self.repeat(earlier)?;
        self.feed(&Part::blobs(), layout::ALL_BLOBS.as_ref(), after)?;
        // Who moves blobs away wants to know of every link and manifest that needs them. Otherwise
        // links are looked at while the last big blobs are still being read.
        if self.options.quarantine {
            self.settle();
        }
        self.feed(&Part::store(), Path::new(""), None)
    }

    /// What an earlier run found: notes are said again, and what was damaged is looked at again.
    fn repeat(&self, earlier: Vec<Finding>) -> ControlFlow<()> {
        for finding in earlier {
            if finding.kind.severity() == Severity::Note {
                self.tell(vec![finding]);
                continue;
            }
            let at = Path::new(&finding.path);
            let at = if at.ends_with(layout::DATA) { at.parent().unwrap_or(at) } else { at };
            let Some(part) = Part::at(at, true) else { continue };
            let part = Some(part);
            self.push(Task { part, at: at.into(), repository: None, number: None, looks: 0 })?;
        }
        ControlFlow::Continue(())
    }

    /// Walks through a part of the store.
    fn feed(&self, part: &Part, at: &Path, after: Option<&Path>) -> ControlFlow<()> {
        let is_of_blobs = *part == Part::blobs();
        let walk = Walk { root: &self.store.root, without_blobs: !is_of_blobs, after };
        walk.go(part, at, None, &mut |met| {
            let number = || is_of_blobs.then(|| self.ledger.begin());
            let task = |part, at, repository: Option<&RepositoryName>| {
                let repository = repository.cloned();
                Task { part, at, repository, number: number(), looks: 0 }
            };
            let task = match met {
                Met::Thing(part, at, repository) => task(Some(part), at, repository),
                Met::Foreign(at) => task(None, at, None),
                Met::Repository => {
                    self.progress.add(&Counts { repositories: 1, ..Counts::default() });
                    return ControlFlow::Continue(());
                }
                Met::Unreadable(at, error) => {
                    let found = vec![Finding::file(Kind::Unreadable, &at, error.to_string())];
                    if let Some(number) = number() {
                        self.ledger.finish(number, at, Counts::default(), &found);
                    }
                    self.tell(found);
                    return ControlFlow::Continue(());
                }
            };
            self.keep_state();
            if self.suspects.lock().len() >= SUSPECTS_MAX {
                self.look_again()?;
            }
            self.push(task)
        })
    }

    fn push(&self, task: Task) -> ControlFlow<()> {
        match !self.is_ended() && self.queue.push(task) {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    }

    /// Looks again until nothing is in doubt any more.
    fn settle(&self) {
        loop {
            self.queue.wait_until_empty();
            self.keep_state();
            if self.suspects.lock().is_empty() || self.look_again().is_break() {
                return;
            }
        }
    }

    /// Has everything looked at again that is in doubt, when it is time.
    fn look_again(&self) -> ControlFlow<()> {
        let suspects = std::mem::take(&mut *self.suspects.lock());
        for Suspect { task, not_before } in suspects {
            while Instant::now() < not_before {
                if self.is_ended() {
                    return ControlFlow::Break(());
                }
                thread::sleep(PAUSE);
            }
            self.push(Task { looks: task.looks + 1, ..task })?;
        }
        ControlFlow::Continue(())
    }

    /// Looks at one thing after another.
    fn work(&self) {
        while let Some(task) = self.queue.take() {
            let _done = Done(&self.queue);
            if self.is_ended() {
                continue;
            }
            let look = self.look_at(&task);
            if look.is_cut_off {
                continue;
            }
            if look.is_in_doubt && task.looks + 1 < LOOKS_MAX {
                let not_before = Instant::now() + SETTLED_AGE;
                self.suspects.lock().push(Suspect { task, not_before });
                continue;
            }
            self.conclude(task, look);
        }
    }

    fn conclude(&self, task: Task, look: Look) {
        self.progress.add(&look.counts);
        if let Some(number) = task.number {
            self.ledger.finish(number, task.at, look.counts, &look.findings);
        }
        self.tell(look.findings);
    }

    fn tell(&self, findings: Vec<Finding>) {
        for finding in findings {
            let counts = match finding.kind.severity() {
                Severity::Damage => Counts { damage: 1, ..Counts::default() },
                Severity::Note => Counts { notes: 1, ..Counts::default() },
            };
            self.progress.add(&counts);
            // Nobody listens any more: then it counts all the same.
            self.findings.send(finding).ok();
        }
    }

    /// Keeps the state now and then.
    fn keep_state(&self) {
        if self.store.scratch.is_some()
            && self.ledger.is_due()
            && let Err(error) = self.state().keep(self.store)
        {
            log::warn!("the state is not kept: {error}");
        }
    }

    /// Counts the bytes that are to be read, ahead of who reads them.
    fn measure(&self, after: Option<&Path>) {
        let walk = Walk { root: &self.store.root, without_blobs: false, after };
        let counted = walk.go(&Part::blobs(), layout::ALL_BLOBS.as_ref(), None, &mut |met| {
            if let Met::Thing(_, at, _) = met
                && let Ok(Some(stat)) = self.store.root.stat(at.join(layout::DATA))
                && folder::is_file(&stat)
                && !self.is_passed_over(&stat)
            {
                self.progress.to_read(folder::length(&stat));
            }
            if self.is_ended() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if counted.is_continue() {
            self.progress.measured();
        }
    }
}

/// Closes the queue however its owner ends.
struct Closing<'a>(&'a Queue<Task>);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Reports a task as done however it ends.
struct Done<'a>(&'a Queue<Task>);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.done();
    }
}
