//! What the adapter holds, and how a request becomes a call.

use crate::fs::RegistryFs;
use crate::fs::backing::Backings;
use crate::fs::counters::Operation;
use crate::fs::fault::Result;
use crate::fs::fuse::call::Call;
use crate::fs::lanes::{Lane, SlowLane};
use crate::fs::turns::Turns;
use fuser::{BackingId, INodeNo, ReplyEmpty, Request};
use std::{
    cell::RefCell,
    ffi::OsStr,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// How many threads wait for the kernel at once: one for each core of a small machine. More make
/// every request slower, see `turns.rs`.
const WAITING_MAX: usize = 2;

thread_local! {
    /// One buffer for the reads that a thread answers.
    pub(super) static READ_BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The file system as fuser calls it.
pub(in crate::fs) struct FuseAdapter {
    pub(super) fs: Arc<RegistryFs>,
    pub(super) slow: SlowLane,
    pub(super) backings: Backings<BackingId>,
    pub(super) turns: Turns,
}

impl FuseAdapter {
    /// Serves `fs` with `threads` threads.
    pub(in crate::fs) fn new(fs: Arc<RegistryFs>, threads: usize) -> Self {
        let (slow, backings) = (SlowLane::default(), Backings::default());
        Self { fs, slow, backings, turns: Turns::new(threads, WAITING_MAX) }
    }

    pub(super) fn call(&self, operation: Operation, request: &Request, ino: INodeNo) -> Call {
        Call::new(&self.fs, operation, request, ino, OsStr::new(""))
    }

    pub(super) fn call_name(
        &self, operation: Operation, request: &Request, parent: INodeNo, name: &OsStr,
    ) -> Call {
        Call::new(&self.fs, operation, request, parent, name)
    }

    /// Runs `job` in its lane.
    pub(super) fn run(&self, lane: Lane, job: impl FnOnce() + Send + 'static) {
        match lane {
            // As the slow lane does it: what is left of panics must not cost a thread.
            Lane::Quick => {
                if catch_unwind(AssertUnwindSafe(job)).is_err() {
                    log::error!("a call panicked");
                }
            }
            Lane::Slow => self.slow.run(job),
        }
    }

    /// Answers a call without result from the slow lane.
    pub(super) fn answer_slowly(
        &self, call: Call, reply: ReplyEmpty,
        act: impl FnOnce(&Call) -> Result<()> + Send + 'static,
    ) {
        self.slow.run(move || call.empty(reply, act));
    }
}
