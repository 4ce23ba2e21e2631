//! Everything that changes a store, on a disk that is really full: ext4, to the last block.

use super::{
    common::{self, Mount, needs, reliability_row, run_in},
    disk::Disk,
    judge::{examine, leftovers},
    operations::{Scene, run_on, scenes, write_files},
    state::{names, verify},
};

/// Leaves no block free.
const FILL: &str = "for size in 1M 4k 1k; do
        dd if=/dev/zero of=disk/filler.$size bs=$size status=none 2> /dev/null; sync -f disk
    done; true";

/// Does an operation on the full disk, and again once there is room; says what is wrong.
fn try_out(scene: &Scene, disk: &Disk) -> Result<bool, String> {
    let store = disk.path().join("store");
    run_in(disk.as_ref(), "rm -rf disk/store");
    scene.copy_store(&store);
    let mut mount = Mount::of_store(&store);
    write_files(mount.beside());
    run_in(disk.as_ref(), FILL);
    let (code, text) = run_on(&mount, scene.operation.run);
    let was_done = code == Some(0);
    if !was_done && !text.contains("No space left on device") {
        return Err(format!("the user reads {text:?}"));
    }
    let seen = examine(&mount, &scene.before, &scene.after)?;
    if was_done && seen != scene.after {
        return Err(format!("it was said to be done:\n{}", names(&seen)));
    }
    run_in(disk.as_ref(), "rm disk/filler.*");
    scene.finish(&mount)?;
    // Sooner than by unmounting.
    mount.kill_daemon();
    mount.mount(&[]);
    leftovers(&mount)?;
    verify(mount.store())?;
    mount.kill_daemon();
    Ok(was_done)
}

#[test]
fn a_full_disk_is_told_of_and_what_was_refused_goes_through_when_there_is_room() {
    needs!("fuse", "root", "/dev/loop-control", "mkfs.ext4", "strace", "python3");
    let disk = Disk::new("8M", "mkfs.ext4 -q -m 0");
    let (mut done, mut failures, scenes) = (Vec::new(), Vec::new(), scenes());
    for scene in &scenes {
        match try_out(scene, &disk) {
            Ok(true) => done.push(scene.operation.name),
            Ok(false) => {}
            Err(text) => failures.push(format!("{}:\n{text}", scene.operation.name)),
        }
    }
    eprintln!("done for all that: {done:?}");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(done.len() < scenes.len() / 2, "the disk is not full");
    reliability_row(
        "publishing, putting, tagging, linking, cancelling, removing on ext4 without a free block",
        scenes.len() as u64,
        "refused with ENOSPC or done, nothing harmed, done again with success when there was room",
        "cargo test --release --test faults full_disk",
    );
}
