//! `regfs gc` is killed at each step. A collection waits a few seconds by itself, so these are few in a
//! run of all tests: as many as REGFS_CRASH_COLLECTIONS says.

use super::{
    common::{self, CHANGING, Mount, effort, needs, reliability_row, run_in, scratch, try_in},
    judge::{examine, leftovers},
    operations::{Point, points, run_on, spread, write_files},
    state::{State, look, verify},
};
use std::{fs, path::PathBuf, thread, time::Duration};

/// How many steps are tried in a run of all tests.
const POINTS_DEFAULT: u64 = 4;
/// What changed within the last second is never collected.
const GRACE: Duration = Duration::from_millis(1100);
/// All of it, and nothing to wait for.
const GC: &str = "regfs gc --grace 0s --uploads-older-than 0s store";

/// A layer and a tag that stay, a layer and manifests that nobody refers to, and an upload that nobody
/// goes on with.
const SET_UP: &str = "mkdir a && cp ../base a/layers/$BASE && cp ../spare a/layers/$SPARE &&
    cp ../old.json a/manifests/old && cp ../other.json a/manifests/other &&
    cp ../new a/layers/$NEW && head -c 5000 ../new > a/uploads/up && sync . &&
    rm a/layers/$SPARE a/layers/$NEW a/manifests/$OTHER";

struct Garbage {
    template: PathBuf,
    before: State,
    _folder: tempfile::TempDir,
}

impl Garbage {
    fn new() -> Self {
        let folder = scratch();
        let mut mount = Mount::empty();
        write_files(mount.beside());
        let (code, text) = run_on(&mount, SET_UP);
        assert_eq!(code, Some(0), "{text}");
        let before = look(mount.path());
        mount.unmount();
        run_in(folder.path(), &format!("cp -a {} store", mount.store().display()));
        Self { template: folder.path().join("store"), before, _folder: folder }
    }

    /// A store to collect in.
    fn store(&self) -> Mount {
        let mount = Mount::unmounted();
        let (from, to) = (self.template.display(), mount.store().display());
        run_in(mount.beside(), &format!("rmdir {to} && cp -a {from} {to}"));
        // The copy is new to the system.
        thread::sleep(GRACE);
        mount
    }
}

/// Collects under strace, with `arguments`; gives what came of it.
fn collect(mount: &Mount, arguments: &str) -> (Option<i32>, String) {
    try_in(mount.beside(), &[], &format!("strace -f -e quiet=all -o trace {arguments} {GC}"))
}

/// What is wrong after a collection that was killed, or was not.
fn judge(mount: &mut Mount, garbage: &Garbage, after: &State) -> Result<(), String> {
    mount.mount(&[]);
    examine(mount, &garbage.before, after)?;
    leftovers(mount)?;
    let collected = run_in(mount.store(), "find regfs/collected -mindepth 1 2> /dev/null || true");
    if !collected.is_empty() {
        return Err(format!("blobs are neither here nor gone:\n{collected}"));
    }
    mount.unmount();
    thread::sleep(GRACE);
    let again = try_in(mount.beside(), &[], GC);
    mount.mount(&[]);
    let now = look(mount.path());
    if again.0 != Some(0) || now != *after {
        return Err(format!("collected again: {again:?}\n{}", super::state::names(&now)));
    }
    verify(mount.store())
}

#[test]
fn a_collection_that_is_killed_at_any_step_loses_nothing() {
    needs!("fuse", "root", "strace");
    let garbage = Garbage::new();
    let mut mount = garbage.store();
    let (code, text) = collect(&mount, &format!("-e trace={}", CHANGING.join(",")));
    assert_eq!(code, Some(0), "{text}");
    let steps = points(&fs::read_to_string(mount.beside().join("trace")).unwrap());
    mount.mount(&[]);
    let after = look(mount.path());
    assert!(!after.contains_key("a/uploads/up"), "it collects");
    let (all, mut kills) = (steps.len(), 0);
    for Point { call, when } in spread(steps, effort("REGFS_CRASH_COLLECTIONS", POINTS_DEFAULT)) {
        let mut mount = garbage.store();
        let (code, _) = collect(&mount, &format!("-e inject={call}:signal=KILL:when={when}"));
        kills += u64::from(code != Some(0));
        let outcome = judge(&mut mount, &garbage, &after);
        assert!(outcome.is_ok(), "{call} number {when}: {}", outcome.unwrap_err());
    }
    eprintln!("a collection was killed at {kills} of {all} steps");
    assert!(kills > 0, "no collection was ever killed");
    reliability_row(
        "SIGKILL of `regfs gc` at one of its steps",
        kills,
        "nothing lost that anybody refers to, nothing left behind, collected again with success",
        "REGFS_CRASH_COLLECTIONS=100000 cargo test --release --test crash_points collection",
    );
}
