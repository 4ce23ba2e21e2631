//! Many threads may answer the kernel, and few of them wait for it at once.
//!
//! A request that hangs (a disk that does not come) holds its thread, so there must be more threads
//! than requests that may hang. But the kernel wakes waiting threads in turn, and a request that is
//! answered by a thread that ran a moment ago is answered several times faster than one that goes
//! round many. So a thread that has answered rests here while enough others wait, and goes back
//! when none does.

use parking_lot::{Condvar, Mutex};
use std::time::Duration;

/// How long a thread rests at most. fuser's threads see the end of the mount only while they wait
/// for the kernel, so none may rest forever.
const REST_MAX: Duration = Duration::from_millis(500);

/// Who waits for the kernel, and who rests.
pub(super) struct Turns {
    state: Mutex<State>,
    needed: Condvar,
    waiting_max: usize,
}

struct State {
    /// Threads that wait for the kernel, or are about to.
    waiting: usize,
    /// Threads that rest.
    resting: usize,
    /// How many of those were told to go back and have not woken yet.
    called: usize,
}

impl Turns {
    /// For `threads` threads, all of which wait for the kernel at first, and of which `waiting_max`
    /// are to wait later.
    pub(super) fn new(threads: usize, waiting_max: usize) -> Self {
        let state = Mutex::new(State { waiting: threads, resting: 0, called: 0 });
        Self { state, needed: Condvar::new(), waiting_max }
    }

    /// The calling thread has got a request. It waits again, or rests, when the turn is dropped.
    pub(super) fn take(&self) -> Turn<'_> {
        let mut state = self.state.lock();
        state.waiting = state.waiting.saturating_sub(1);
        if state.waiting == 0 && state.resting > state.called {
            state.called += 1;
            state.waiting += 1;
            drop(state);
            self.needed.notify_one();
        }
        Turn { turns: self }
    }
}

/// A request being answered.
pub(super) struct Turn<'a> {
    turns: &'a Turns,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.turns.state.lock();
        if state.waiting < self.turns.waiting_max {
            state.waiting += 1;
            return;
        }
        state.resting += 1;
        // Whether it was called or has rested long enough: it goes back. Who called has counted one
        // as waiting already, and it does not matter which.
        self.turns.needed.wait_for(&mut state, REST_MAX);
        state.resting -= 1;
        match state.called {
            0 => state.waiting += 1,
            _ => state.called -= 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
            mpsc,
        },
        thread,
    };

    #[test]
    fn as_many_requests_may_hang_as_there_are_threads_but_one() {
        const THREADS: usize = 16;
        let turns = Arc::new(Turns::new(THREADS, 2));
        // Stands for the kernel: threads take requests from here, in whatever order.
        let (kernel, requests) = mpsc::channel::<mpsc::Receiver<()>>();
        let requests = Arc::new(Mutex::new(requests));
        let answered = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let (turns, requests, answered) =
                    (Arc::clone(&turns), Arc::clone(&requests), Arc::clone(&answered));
                thread::spawn(move || {
                    loop {
                        let Ok(request) = requests.lock().recv() else { return };
                        let _turn = turns.take();
                        request.recv().ok();
                        answered.fetch_add(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        let quick = |count: usize| {
            let before = answered.load(Ordering::SeqCst);
            for done in 0..count {
                let (answer, request) = mpsc::channel();
                kernel.send(request).unwrap();
                drop(answer);
                while answered.load(Ordering::SeqCst) <= before + done {
                    thread::sleep(Duration::from_micros(50));
                }
            }
        };
        quick(100);
        let mut hanging = Vec::new();
        for _ in 0..THREADS - 1 {
            let (answer, request) = mpsc::channel();
            kernel.send(request).unwrap();
            hanging.push(answer);
            quick(3);
        }
        drop(hanging);
        quick(100);
        drop(kernel);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }

    #[test]
    fn few_threads_wait_while_there_is_work() {
        let turns = Turns::new(3, 1);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| drop(turns.take()));
            }
        });
        let state = turns.state.lock();
        assert_eq!((state.waiting, state.resting, state.called), (3, 0, 0));
    }
}
