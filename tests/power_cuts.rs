//! Power cuts while layers are published, on a real disk: its image is copied at once while everything goes
//! on, which is what a disk has when the power fails. The copies are mounted as after a restart.
//!
//! What a disk may lose beyond that is in `crash_images.rs`. REGFS_POWER_CUT_BLOBS says how many layers are
//! published, REGFS_POWER_CUTS how often the power fails.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![allow(clippy::print_stderr, reason = "what was seen is of interest")]

mod common;

use common::{
    Mount, digest_of, effort, eventually, needs, noise, reliability_row, run_in, run_within, try_in,
};
use parking_lot::Mutex;
use rustix::mount::{UnmountFlags, unmount};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

const BLOBS_DEFAULT: u64 = 400;
const CUTS_DEFAULT: u64 = 6;
/// Of so many layers one is synced, with its name.
const SYNC_EACH: u64 = 32;
/// What a small layer takes on the disk, with its link, the folders of both and their inodes.
const BLOB_DISK_BYTES: u64 = 24 << 10;
/// How long somebody else waits who syncs something on the same disk.
const OTHERS_PAUSE: Duration = Duration::from_millis(2);
/// As long as one step may take at length.
const PATIENCE: Duration = Duration::from_secs(60 * 60);

/// A disk in a file, of which others can be made at once that share what is on it.
struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new(make: &str, blobs: u64) -> Self {
        let bench = Self { folder: common::scratch() };
        let bytes = (512 << 20) + blobs * BLOB_DISK_BYTES;
        let inodes = if make.contains("ext4") {
            format!("-N {}", 8 * blobs + 65_536)
        } else {
            String::new()
        };
        run_in(
            bench.folder.path(),
            &format!(
                "mkdir all now then && truncate -s {} outer && mkfs.xfs -q -m reflink=1 outer &&
                 mount -o loop outer all && truncate -s {bytes} all/disk &&
                 {make} {inodes} all/disk && mount -o loop all/disk now",
                8 * bytes + (1 << 30)
            ),
        );
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Unmounts a disk. A daemon that has just ended may keep it for a moment.
    fn unmount(&self, name: &str) {
        eventually(PATIENCE, "the disk is let go of", || {
            try_in(self.folder.path(), &[], &format!("umount {name}")).0 == Some(0)
        });
    }

    /// The power fails now; everything goes on on another disk.
    fn cut(&self, number: usize) {
        run_in(self.folder.path(), &format!("cp --reflink=always all/disk all/cut{number}"));
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        for folder in ["then", "now", "all"] {
            if common::is_mounted(&self.path(folder)) {
                unmount(self.path(folder), UnmountFlags::DETACH).ok();
            }
        }
    }
}

/// The name of the file through which a layer is published; some are longer than the next ones by far.
fn upload_name(number: u64) -> String {
    format!("{number}{}", "-and-so-on".repeat(usize::try_from(number % 7 * 3).unwrap()))
}

/// What somebody was promised: the digest of what was synced under which names of the repository.
type Promise = (String, Vec<String>);

/// Publishes a layer in one of the ways people have, and what was promised then.
fn publish(repository: &Path, number: u64) -> Option<Promise> {
    let bytes = noise(number, usize::try_from(1 + number * 7919 % 6000).unwrap());
    let digest = digest_of(&bytes);
    let layer = format!("layers/{digest}");
    let through = match number % 3 {
        0 => layer.clone(),
        1 => format!("uploads/{}", upload_name(number)),
        _ => format!("layers/.{digest}.tmp"),
    };
    let mut file = File::create_new(repository.join(&through)).unwrap();
    file.write_all(&bytes).unwrap();
    // As `rsync --fsync` does; of a layer under its own name it is not there yet.
    let is_synced = number % SYNC_EACH < 8 && through != layer;
    if is_synced {
        file.sync_all().unwrap();
    }
    drop(file);
    if through != layer {
        rustix::fs::rename(repository.join(&through), repository.join(&layer)).unwrap();
    }
    if number.is_multiple_of(SYNC_EACH) {
        File::open(repository.join(&layer)).unwrap().sync_all().unwrap();
        File::open(repository.join("layers")).unwrap().sync_all().unwrap();
        return Some((digest, vec![layer]));
    }
    is_synced.then_some((digest, vec![layer, through]))
}

/// Publishes layers on a disk of the kind that `make` makes, while the power fails. `options` are those that
/// a copy of such a disk is mounted with.
fn publish_through_cuts(make: &str, options: &str) -> (u64, u64) {
    let blobs = effort("REGFS_POWER_CUT_BLOBS", BLOBS_DEFAULT);
    let cuts = effort("REGFS_POWER_CUTS", CUTS_DEFAULT);
    let bench = Bench::new(make, blobs);
    run_in(&bench.path("now"), "mkdir store");
    let mount = Mount::of_store(&bench.path("now/store"));
    run_in(mount.path(), "mkdir app && ls app > /dev/null");
    let repository = mount.path().join("app");
    let (published, promises) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let other = File::create(bench.path("now/other")).unwrap();
    let promised = thread::scope(|scope| {
        // Somebody else has names written, ours among them, though nobody has synced what they promise.
        scope.spawn(|| {
            while published.load(Ordering::Relaxed) < blobs {
                (&other).write_all(b"x").unwrap();
                other.sync_all().unwrap();
                thread::sleep(OTHERS_PAUSE);
            }
        });
        scope.spawn(|| {
            for number in 0..blobs {
                promises.lock().extend(publish(&repository, number));
                published.store(number + 1, Ordering::Relaxed);
            }
        });
        // At random moments, but spread over all of them.
        let random = noise(cuts, 8 * usize::try_from(cuts).unwrap());
        let promised = |(number, random): (usize, &[u8])| {
            let part = u64::from_le_bytes(random.try_into().unwrap()) % 1000;
            let at = (number as u64 * 1000 + part) * blobs / (cuts * 1000);
            while published.load(Ordering::Relaxed) < at {
                thread::sleep(Duration::from_micros(200));
            }
            let before = promises.lock().len();
            bench.cut(number);
            before
        };
        random.chunks(8).enumerate().map(promised).collect::<Vec<usize>>()
    });
    drop((mount, other));
    bench.unmount("now");
    let promises = promises.into_inner();
    for (number, promised) in promised.into_iter().enumerate() {
        let seen = after_the_cut(&bench, (number, options), blobs, &promises[..promised]);
        eprintln!("{make}, cut {number}: {seen} layers, {promised} promises");
    }
    (blobs, cuts)
}

#[test]
fn after_a_power_cut_nothing_wrong_is_served_and_what_was_synced_is_there() {
    needs!("fuse", "root", "loop", "mkfs.xfs", "mkfs.ext4");
    let (blobs, cuts) = publish_through_cuts("mkfs.ext4 -q -m 0", "loop");
    // All copies have one UUID, and the kernel may take a moment to let go of the last.
    publish_through_cuts("mkfs.xfs -q", "loop,nouuid");
    reliability_row(
        &format!(
            "power cuts while {} layers are published, on a real disk with ext4 and one with xfs",
            2 * blobs
        ),
        2 * cuts,
        "verify finds nothing, what was synced is there",
        &format!(
            "REGFS_POWER_CUT_BLOBS={blobs} REGFS_POWER_CUTS={cuts} cargo test --release --test power_cuts"
        ),
    );
}

/// What is there after a power cut: the number of layers.
fn after_the_cut(
    bench: &Bench, (number, options): (usize, &str), blobs: u64, promises: &[Promise],
) -> usize {
    let folder = bench.folder.path();
    run_within(PATIENCE, folder, &format!("mount -o {options} all/cut{number} then"));
    let mount = Mount::of_store(&bench.path("then/store"));
    let layers = run_within(PATIENCE, mount.path(), "ls app/layers 2> /dev/null || true");
    let layers: BTreeSet<&str> = layers.lines().collect();
    for (digest, names) in promises {
        let has = |name: &String| match fs::read(mount.path().join("app").join(name)) {
            Ok(bytes) => digest_of(&bytes) == *digest,
            Err(_) => false,
        };
        assert!(
            layers.contains(digest.as_str()) || names.iter().any(has),
            "cut {number}: {names:?}"
        );
    }
    let given: BTreeSet<String> = (0..blobs).map(upload_name).collect();
    for upload in run_in(mount.path(), "ls app/uploads 2> /dev/null || true").lines() {
        assert!(given.contains(upload), "cut {number}: nobody has made uploads/{upload}");
    }
    // Nothing else is linked than what verify looks at; a few are read as people do.
    for digest in
        layers.iter().step_by(1 + layers.len() / 16).filter(|name| name.starts_with("sha"))
    {
        let bytes = fs::read(mount.path().join("app/layers").join(digest)).unwrap();
        assert_eq!(digest_of(&bytes), **digest, "cut {number}");
    }
    run_within(PATIENCE, mount.store(), "regfs verify .");
    let count = layers.len();
    drop(mount);
    bench.unmount("then");
    run_in(folder, &format!("rm all/cut{number}"));
    count
}
