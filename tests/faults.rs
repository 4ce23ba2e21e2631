//! Everything that changes a store, on a disk that refuses: ENOSPC, EDQUOT or EIO at each call that
//! writes, names, removes or syncs. The tool is told; nothing that was there is harmed; and the same
//! goes through once the disk takes it again.
//!
//! The refusals are strace's (`-e inject`), so that each comes exactly once, where it is to come; real
//! disks are in `refusals.rs` and `closing.rs`. REGFS_FAULTS says how many are tried, of more than a
//! thousand.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![allow(clippy::print_stderr, reason = "what was tried is to be seen")]

mod common;
#[path = "refusals/disk.rs"]
mod disk;
#[path = "faults/full.rs"]
mod full;
#[path = "crash_points/judge.rs"]
mod judge;
#[path = "faults/limits.rs"]
mod limits;
#[path = "crash_points/operations.rs"]
mod operations;
#[path = "crash_points/state.rs"]
mod state;

use common::{Strace, effort, is_running, needs, reliability_row};
use operations::{Point, Scene, run_on, scenes, try_each};
use std::{fs, time::Duration};

/// How many refusals are tried in a run of all tests.
const FAULTS_DEFAULT: u64 = 40;

/// What a disk says, and what the user reads then.
const ERRORS: [(&str, &str); 3] = [
    ("ENOSPC", "No space left on device"),
    ("EDQUOT", "Disk quota exceeded"),
    ("EIO", "Input/output error"),
];

/// A refusal at a point of an operation.
struct Fault<'a> {
    scene: &'a Scene,
    point: &'a Point,
    error: (&'static str, &'static str),
}

impl Fault<'_> {
    /// Does the operation with the fault; `None` when it did not come to it, else what is wrong.
    fn try_out(&self) -> Option<Result<(), String>> {
        let mut mount = self.scene.mount();
        let Point { call, when } = self.point;
        let inject = format!("inject={call}:error={}:when={when}", self.error.0);
        let trace = mount.beside().join("trace");
        let strace = Strace::attach(mount.pid(), &["-e".to_owned(), inject], &trace);
        let (code, text) = run_on(&mount, self.scene.operation.run);
        // It may come in the background.
        std::thread::sleep(Duration::from_millis(50));
        let is_alive = is_running(mount.pid());
        strace.detach();
        if !fs::read_to_string(&trace).unwrap().contains("(INJECTED)") {
            return None;
        }
        let outcome = match is_alive {
            true => self.judge(&mut mount, code == Some(0), &text),
            false => Err("the daemon has ended".to_owned()),
        };
        // Sooner than by unmounting.
        mount.kill_daemon();
        Some(outcome)
    }

    fn judge(&self, mount: &mut common::Mount, was_done: bool, text: &str) -> Result<(), String> {
        if !was_done && !text.contains(self.error.1) {
            return Err(format!("the user reads {text:?}"));
        }
        let seen = judge::examine(mount, &self.scene.before, &self.scene.after)?;
        if was_done && seen != self.scene.after {
            return Err(format!("it was said to be done:\n{}", state::names(&seen)));
        }
        self.scene.finish(mount)?;
        mount.kill_daemon();
        mount.mount(&[]);
        judge::leftovers(mount)?;
        state::verify(mount.store())
    }
}

#[test]
fn a_disk_that_refuses_at_any_step_is_told_of_and_harms_nothing() {
    needs!("fuse", "root", "strace");
    let scenes = scenes();
    // What answers the kernel is no disk.
    let points = scenes.iter().flat_map(|scene| scene.points.iter().map(move |p| (scene, p)));
    let points = points.filter(|(_, point)| point.call != "writev");
    let faults: Vec<Fault<'_>> = points
        .flat_map(|(scene, point)| ERRORS.map(|error| Fault { scene, point, error }))
        .collect();
    let tried = try_each(
        faults,
        effort("REGFS_FAULTS", FAULTS_DEFAULT),
        |Fault { scene, point, error }| {
            let (name, Point { call, when }) = (&scene.operation.name, point);
            format!("{name}, {} at {call} number {when}", error.0)
        },
        Fault::try_out,
    );
    reliability_row(
        "ENOSPC, EDQUOT or EIO at a call of publishing, putting, tagging, linking, cancelling, removing",
        tried,
        "told to the user, nothing harmed, done again with success",
        "REGFS_FAULTS=100000 cargo test --release --test faults",
    );
}
