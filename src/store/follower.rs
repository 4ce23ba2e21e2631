//! Threads that hash what others write: a few for the whole store, started when there is work, ended
//! with the store.

use parking_lot::{Condvar, Mutex};
use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
    thread,
};

/// Something that can be followed.
pub(super) trait Follow: Send + Sync {
    /// Does a part of the work. `true` when there is more.
    fn follow(&self, buffer: &mut [u8]) -> bool;
}

/// Bytes that a thread reads at once: what stays in the processor's cache is hashed twice faster than from
/// memory.
pub(super) const BUFFER_BYTES: usize = 1 << 17;

/// The threads and what waits for them.
#[derive(Default)]
pub(super) struct Followers {
    queue: Arc<Queue>,
}

#[derive(Default)]
struct Queue {
    /// Held for a push or a pop only.
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    /// Weak, so that what is dropped meanwhile is not kept alive to be hashed.
    waiting: VecDeque<Weak<dyn Follow>>,
    threads: usize,
    idle: usize,
    closed: bool,
}

impl Followers {
    /// Puts work at the end of the queue. Nobody need follow: who needs the hash computes the rest.
    pub(super) fn push(&self, work: Weak<dyn Follow>) {
        let mut state = self.queue.state.lock();
        state.waiting.push_back(work);
        // One that was woken counts as idle until it has taken something.
        if state.waiting.len() > state.idle && state.threads < threads_max() {
            let queue = Arc::clone(&self.queue);
            let thread = thread::Builder::new().name("regfs-hash".to_owned());
            match thread.spawn(move || queue.run()) {
                Ok(_) => state.threads += 1,
                Err(error) => log::warn!("no thread to hash uploads in the background: {error}"),
            }
        }
        self.queue.wake.notify_one();
    }
}

impl Drop for Followers {
    fn drop(&mut self) {
        // Not joined: the last one to hold the store may be one of the threads.
        let mut state = self.queue.state.lock();
        state.closed = true;
        state.waiting.clear();
        self.queue.wake.notify_all();
    }
}

/// One thread for two cores: the other half is for those who write. And one that waits for the disk, which
/// has to have the bytes before a state of the hash is kept.
fn threads_max() -> usize {
    thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2) + 1)
}

impl Queue {
    fn run(&self) {
        let mut buffer = vec![0; BUFFER_BYTES];
        while let Some(work) = self.pop() {
            let Some(work) = work.upgrade() else { continue };
            if work.follow(&mut buffer) {
                // At the end, so that one upload does not keep others waiting.
                self.state.lock().waiting.push_back(Arc::downgrade(&work));
            }
        }
    }

    /// Waits for work. `None` when the store is gone.
    fn pop(&self) -> Option<Weak<dyn Follow>> {
        let mut state = self.state.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(work) = state.waiting.pop_front() {
                return Some(work);
            }
            state.idle += 1;
            self.wake.wait(&mut state);
            state.idle -= 1;
        }
    }
}
