//! Power cuts: what the daemon and a collection do to the disk is recorded, and played again into a
//! folder up to each single operation, without what was not synced by then. Each store that comes of it
//! is opened, looked at and gone on with: nothing wrong is served, nothing that was synced is lost, and
//! after a mere kill nothing that was acknowledged.
//!
//! Names come on the disk in the order in which they were made, as with a journal; bytes come when
//! they are synced, or not at all, or in part. REGFS_CRASH_IMAGES says how many images are looked at, of
//! some thousands.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![allow(clippy::print_stderr, reason = "what was tried is to be seen")]

mod common;
#[path = "crash_images/disk.rs"]
mod disk;
#[path = "crash_images/judge.rs"]
mod judge;
#[path = "crash_images/recording.rs"]
mod recording;
#[path = "crash_images/scenario.rs"]
mod scenario;
#[path = "crash_points/state.rs"]
mod state;

use common::{effort, needs, reliability_row};
use disk::{Disk, Image, Kind};
use judge::Floors;
use recording::Op;
use scenario::{LIFE, LONG, Recording, Step, record};
use state::State;
use std::collections::BTreeSet;

/// How many images are looked at in a run of all tests.
const IMAGES_DEFAULT: u64 = 400;
/// From how many on it is tried which names are lost, too.
const THOROUGH: u64 = 10_000;
/// One in so many is looked at through a mount, too.
const MOUNT_EVERY: u64 = 50;

/// Plays a recording and looks at images of it, at most `limit`; gives how many.
fn play(recording: &Recording, steps: &[Step], limit: u64) -> u64 {
    let folder = common::Disk::new("tmpfs");
    let is_thorough = limit >= THOROUGH;
    let (total, mut failures) = (count(recording, is_thorough), Vec::new());
    let (mut number, mut looked) = (0, 0);
    let mut known = BTreeSet::new();
    let mut disk = Disk::default();
    let mut floors = Floors::new(recording, steps);
    for op in &recording.ops {
        disk.apply(op);
        if let Op::Mark(done) = op {
            floors.pass(*done);
        }
        for image in disk.images(is_thorough) {
            // The same names and bytes may be right after one crash and wrong after another.
            if !known.insert((image.key, image.kind == Kind::Kill, floors.done)) {
                continue;
            }
            number += 1;
            if number * limit / total == (number - 1) * limit / total && limit < total {
                continue;
            }
            looked += 1;
            let outcome = look_at(&image, &folder, looked % MOUNT_EVERY == 0);
            let outcome = outcome.and_then(|seen| floors.compare(&seen, image.kind));
            failures.extend(outcome.err().map(|text| {
                format!("{:?} after step {}, {op:.200?}:\n{text}", image.kind, floors.done)
            }));
        }
    }
    eprintln!("{looked} of {number} images of {} operations", recording.ops.len());
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
    looked
}

/// Opens an image and looks at it, and through a mount too if that is wished.
fn look_at(image: &Image, folder: &common::Disk, is_mounted: bool) -> Result<State, String> {
    let made = || {
        let store = tempfile::tempdir_in(folder.path()).unwrap();
        image.write(store.path());
        store
    };
    let seen = judge::examine(made().path())?;
    if is_mounted {
        let mounted = judge::mounted(made().path());
        if mounted != seen {
            return Err(format!("a mount shows\n{}", state::names(&mounted)));
        }
    }
    Ok(seen)
}

/// How many different images there are.
fn count(recording: &Recording, is_thorough: bool) -> u64 {
    let mut known = BTreeSet::new();
    let (mut disk, mut done) = (Disk::default(), 0);
    for op in &recording.ops {
        disk.apply(op);
        if let Op::Mark(mark) = op {
            done = *mark;
        }
        let images = disk.images(is_thorough);
        known.extend(images.iter().map(|image| (image.key, image.kind == Kind::Kill, done)));
    }
    known.len() as u64
}

#[test]
fn a_power_cut_at_any_operation_leaves_nothing_wrong_and_all_that_was_synced() {
    needs!("fuse", "root", "strace");
    let limit = effort("REGFS_CRASH_IMAGES", IMAGES_DEFAULT);
    let images = play(&record(LIFE), LIFE, limit);
    row(images, "everything that changes a store");
}

#[test]
fn no_hash_of_an_upload_is_believed_that_is_older_than_its_bytes() {
    needs!("fuse", "root", "strace");
    let limit = effort("REGFS_CRASH_IMAGES", IMAGES_DEFAULT / 4);
    let images = play(&record(LONG), LONG, limit);
    row(images, "an upload whose running hash is kept, and that is written over");
}

fn row(images: u64, what: &str) {
    reliability_row(
        &format!("power cut or kill at an operation on the disk: {what}"),
        images,
        "no wrong byte served, all there that was synced, nothing left behind, pushed again with success",
        "REGFS_CRASH_IMAGES=100000 cargo test --release --test crash_images",
    );
}
