//! The daemon is killed at each step of everything that changes a store, and a collection at each of
//! its own: afterwards nothing wrong is seen, what was acknowledged is there, and nothing is left
//! behind.
//!
//! A step is a system call that changes the store, or answers the kernel. strace(1) kills the daemon
//! when it is about to make that call. REGFS_CRASH_POINTS says at how many steps, of some hundreds.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![allow(clippy::print_stderr, reason = "what was tried is to be seen")]

#[path = "crash_points/collecting.rs"]
mod collecting;
mod common;
#[path = "crash_points/judge.rs"]
mod judge;
#[path = "crash_points/load.rs"]
mod load;
#[path = "crash_points/operations.rs"]
mod operations;
#[path = "crash_points/state.rs"]
mod state;

use common::{Mount, Strace, effort, is_running, needs, reliability_row};
use operations::{Point, Scene, run_on, scenes, try_each};
use std::time::Duration;

/// How many steps are tried in a run of all tests.
const POINTS_DEFAULT: u64 = 40;

/// Kills the daemon at `point`, if it comes there, and looks at what is left. `None` when it did not.
fn kill_at(scene: &Scene, point: &Point) -> Option<Result<(), String>> {
    let mut mount = scene.mount();
    let Point { call, when } = point;
    let kill = ["-e".to_owned(), format!("inject={call}:signal=KILL:when={when}")];
    let strace = Strace::attach(mount.pid(), &kill, &mount.beside().join("trace"));
    let (code, _) = run_on(&mount, scene.operation.run);
    if code == Some(0) {
        // It may yet come there, in the background.
        std::thread::sleep(Duration::from_millis(100));
    }
    if is_running(mount.pid()) && code == Some(0) {
        strace.detach();
        return None;
    }
    mount.kill_daemon();
    mount.mount(&[]);
    let outcome = examine(scene, &mount, code == Some(0));
    // Sooner than by unmounting.
    mount.kill_daemon();
    Some(outcome)
}

/// What is wrong with a store whose daemon was killed, and is mounted again.
fn examine(scene: &Scene, mount: &Mount, was_acknowledged: bool) -> Result<(), String> {
    let seen = judge::examine(mount, &scene.before, &scene.after)?;
    judge::leftovers(mount)?;
    if was_acknowledged && seen != scene.after {
        return Err(format!("what was acknowledged is not there:\n{}", state::names(&seen)));
    }
    scene.finish(mount)?;
    state::verify(mount.store())
}

#[test]
fn a_daemon_that_is_killed_at_any_step_loses_nothing_and_shows_nothing_wrong() {
    needs!("fuse", "root", "strace");
    let scenes = scenes();
    let points = scenes.iter().flat_map(|scene| scene.points.iter().map(move |p| (scene, p)));
    let points: Vec<(&Scene, &Point)> = points.collect();
    let kills = try_each(
        points,
        effort("REGFS_CRASH_POINTS", POINTS_DEFAULT),
        |(scene, point)| format!("{}, {} number {}", scene.operation.name, point.call, point.when),
        |(scene, point)| kill_at(scene, point),
    );
    reliability_row(
        "SIGKILL of the daemon at a step of publishing, putting, tagging, linking, cancelling, removing",
        kills,
        "nothing wrong seen, nothing acknowledged lost, nothing left behind, done again with success",
        "REGFS_CRASH_POINTS=100000 cargo test --release --test crash_points",
    );
}
