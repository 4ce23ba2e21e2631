//! What is to be looked at: filled by one thread that walks through the store, emptied by many. It is
//! short, so that a store of any size takes little memory.

use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;

/// How many tasks wait at once: enough that nobody waits for the walk.
const TASKS_MAX: usize = 256;

/// The queue. Its lock is held for a push or a pop only.
#[derive(Debug)]
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<T> {
    tasks: VecDeque<T>,
    /// Tasks that were taken and are not done.
    under_way: usize,
    is_closed: bool,
}

impl<T> Queue<T> {
    pub(super) fn new() -> Self {
        let state = State { tasks: VecDeque::new(), under_way: 0, is_closed: false };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Adds a task, when there is room. `false` when the queue was closed.
    pub(super) fn push(&self, task: T) -> bool {
        let mut state = self.state.lock();
        while state.tasks.len() >= TASKS_MAX && !state.is_closed {
            self.changed.wait(&mut state);
        }
        if !state.is_closed {
            state.tasks.push_back(task);
            self.changed.notify_all();
        }
        !state.is_closed
    }

    /// Takes the next task, which is to be reported as done; `None` at the end.
    pub(super) fn take(&self) -> Option<T> {
        let mut state = self.state.lock();
        loop {
            if let Some(task) = state.tasks.pop_front() {
                state.under_way += 1;
                self.changed.notify_all();
                return Some(task);
            }
            if state.is_closed {
                return None;
            }
            self.changed.wait(&mut state);
        }
    }

    /// A task that was taken is done.
    pub(super) fn done(&self) {
        self.state.lock().under_way -= 1;
        self.changed.notify_all();
    }

    /// Waits until nothing is left to do.
    pub(super) fn wait_until_empty(&self) {
        let mut state = self.state.lock();
        while !state.is_closed && (state.under_way > 0 || !state.tasks.is_empty()) {
            self.changed.wait(&mut state);
        }
    }

    /// Nothing more is given out, and nobody waits any more.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.is_closed = true;
        state.tasks.clear();
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        sync::atomic::{AtomicU64, Ordering},
        thread,
    };

    #[test]
    fn everything_that_is_put_in_is_done_once() {
        let (queue, sum) = (Queue::new(), AtomicU64::new(0));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while let Some(number) = queue.take() {
                        sum.fetch_add(number, Ordering::Relaxed);
                        queue.done();
                    }
                });
            }
            assert!((1..=10_000).all(|number| queue.push(number)));
            queue.wait_until_empty();
            assert_eq!(sum.load(Ordering::Relaxed), 50_005_000);
            queue.close();
            assert!(!queue.push(1));
        });
    }
}
