//! The slow lane: threads for calls that may take long, so that the threads which answer the kernel
//! stay free for reads and look-ups.
//!
//! Finishing an upload hashes and syncs; a put syncs several files; a copy moves megabytes. They run
//! here. Threads come when there is work and none is idle, and go after a while without.

use parking_lot::{Condvar, Mutex};
use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
    time::Duration,
};

/// How many slow calls may run at once; further ones wait for a thread. Each holds a stack and
/// mostly waits for the disk.
const THREADS_MAX: usize = 32;
/// How long a thread waits for work before it goes.
const IDLE_LIFE: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce() + Send>;

/// Where a call runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// On the thread that got it: it takes one look at the disk.
    Quick,
    /// On a thread for calls that hash, sync or copy.
    Slow,
}

/// A pool of threads that grows and shrinks.
#[derive(Clone, Default)]
pub(super) struct SlowLane {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

impl SlowLane {
    /// Runs `job` as soon as a thread is free. When no thread can be had at all, the caller's is
    /// used.
    pub(super) fn run(&self, job: impl FnOnce() + Send + 'static) {
        let mut state = self.shared.state.lock();
        state.jobs.push_back(Box::new(job));
        if state.idle >= state.jobs.len() || state.threads >= THREADS_MAX {
            drop(state);
            self.shared.work.notify_one();
            return;
        }
        state.threads += 1;
        drop(state);
        let shared = Arc::clone(&self.shared);
        let spawned = thread::Builder::new()
            .name("regfs-slow".to_owned())
            .spawn(move || shared.work_until_idle());
        if let Err(error) = spawned {
            log::warn!("could not start a thread for slow calls: {error}");
            let job = {
                let mut state = self.shared.state.lock();
                state.threads -= 1;
                if state.threads > 0 { None } else { state.jobs.pop_back() }
            };
            if let Some(job) = job {
                job();
            }
        }
    }
}

impl Shared {
    fn work_until_idle(&self) {
        let mut state = self.state.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                // Calls catch their own panics; what is left must not cost a thread for good.
                if catch_unwind(AssertUnwindSafe(job)).is_err() {
                    log::error!("a slow call panicked");
                }
                state = self.state.lock();
                continue;
            }
            state.idle += 1;
            let timed_out = self.work.wait_for(&mut state, IDLE_LIFE).timed_out();
            state.idle -= 1;
            if timed_out && state.jobs.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_call_that_hangs_does_not_keep_others_waiting() {
        let lane = SlowLane::default();
        let (release, hang) = mpsc::channel::<()>();
        lane.run(move || hang.recv().unwrap());
        let (done, wait) = mpsc::channel();
        for number in 0..100 {
            let done = done.clone();
            lane.run(move || done.send(number).unwrap());
        }
        let mut seen: Vec<i32> =
            (0..100).map(|_| wait.recv_timeout(Duration::from_secs(10)).unwrap()).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
        release.send(()).unwrap();
    }

    #[test]
    fn more_calls_than_threads_all_get_their_turn() {
        let lane = SlowLane::default();
        let (done, wait) = mpsc::channel();
        for _ in 0..THREADS_MAX * 4 {
            let done = done.clone();
            lane.run(move || {
                thread::sleep(Duration::from_millis(1));
                done.send(()).unwrap();
            });
        }
        for _ in 0..THREADS_MAX * 4 {
            wait.recv_timeout(Duration::from_secs(10)).unwrap();
        }
        assert!(lane.shared.state.lock().threads <= THREADS_MAX);
    }
}
