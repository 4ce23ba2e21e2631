//! fsx: random operations on one file, every read compared with what must be there.

use crate::common::{self, Mount, needs, run_within};
use crate::{assert_publishes, seed};
use std::{fmt::Write as _, fs, time::Duration};

/// How long one run may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(600);
/// How many operations a run has. fsx keeps everything mapped that it has mapped, and so gets slower
/// and slower; what takes longer than this is several runs on the same file, each with its seed.
const RUN_OPERATIONS: u64 = 10_000;

/// Every operation has a byte at least: to reserve none is refused everywhere, and fsx takes that for
/// a file system that cannot reserve (seed 285146894).
const SIZES: &str = "[opsize]\nmin = 1\n";

/// What nearly every program does; an upload can do all of it.
const READ_AND_WRITE: &[(&str, f64)] = &[
    ("read", 10.0),
    ("write", 10.0),
    ("truncate", 10.0),
    ("sendfile", 5.0),
    ("copy_file_range", 5.0),
    ("posix_fadvise", 1.0),
];
const MAP: &[(&str, f64)] = &[("mapread", 10.0), ("mapwrite", 10.0), ("invalidate", 1.0)];
const RESERVE: &[(&str, f64)] = &[("posix_fallocate", 5.0), ("punch_hole", 5.0)];
/// Seldom: to sync takes a hundred times as long as all else.
const CLOSE_AND_SYNC: &[(&str, f64)] = &[("close_open", 1.0), ("fsync", 0.05), ("fdatasync", 0.05)];

/// How many operations a test has: 100,000, or REGFS_TEST_FSX_OPERATIONS.
fn operations() -> u64 {
    std::env::var_os("REGFS_TEST_FSX_OPERATIONS")
        .map_or(100_000, |text| text.to_str().unwrap().parse().unwrap())
}

#[test]
fn an_upload_is_read_as_it_was_written() {
    needs!("fuse", "fsx", "getfattr");
    let mount = Mount::empty();
    fsx(&mount, "uploads", operations(), SIZES, &[READ_AND_WRITE, RESERVE, CLOSE_AND_SYNC]);
    assert_publishes(&mount, "fsx");
}

#[test]
fn a_mapped_upload_is_read_as_it_was_written() {
    needs!("fuse", "fsx", "getfattr");
    let mount = Mount::empty();
    fsx(&mount, "uploads", operations(), SIZES, &[READ_AND_WRITE, MAP, RESERVE, CLOSE_AND_SYNC]);
    assert_publishes(&mount, "fsx");
}

/// Long enough for the hash to run behind the writer, to be noted and kept, and to be thrown away.
#[test]
fn the_hash_follows_whatever_is_done_to_a_long_upload() {
    needs!("fuse", "fsx", "getfattr");
    let mount = Mount::empty();
    let sizes = "flen = 50331648\n[opsize]\nmin = 1\nmax = 1048576\n";
    let close: &[(&str, f64)] = &[("close_open", 5.0)];
    fsx(&mount, "uploads", operations() / 50, sizes, &[READ_AND_WRITE, MAP, RESERVE, close]);
    assert_publishes(&mount, "fsx");
}

/// A manifest lies in memory until it is closed or synced, and what fsx writes is none.
#[test]
fn a_manifest_is_read_as_it_was_written_until_it_is_closed() {
    needs!("fuse", "fsx");
    let mount = Mount::empty();
    fsx(&mount, "manifests", operations() / 10, SIZES, &[READ_AND_WRITE]);
    common::session(
        &mount,
        "
        $ ls -A a/manifests a/uploads
        a/manifests:
        a/uploads:
    ",
    );
    mount.assert_error(&["EINVAL", "a/manifests/fsx", "not a manifest"]);
}

/// Runs fsx on the file `fsx` of an area of the repository `a`.
#[track_caller]
fn fsx(mount: &Mount, area: &str, operations: u64, sizes: &str, weights: &[&[(&str, f64)]]) {
    // Those that are not named have a weight of their own.
    let mut config = format!("{sizes}[weights]\n");
    for name in ["mapread", "mapwrite"] {
        if !weights.concat().iter().any(|(known, _)| *known == name) {
            writeln!(config, "{name} = 0").unwrap();
        }
    }
    for (name, weight) in weights.concat() {
        writeln!(config, "{name} = {weight}").unwrap();
    }
    let folder = mount.beside();
    fs::write(folder.join("fsx.toml"), config).unwrap();
    fs::create_dir(mount.path().join("a")).unwrap();
    for run in 0..operations.div_ceil(RUN_OPERATIONS) {
        let count = RUN_OPERATIONS.min(operations - run * RUN_OPERATIONS);
        let seed = seed() + run;
        let command = format!("fsx -f fsx.toml -P . -N {count} -S {seed} mnt/a/{area}/fsx");
        let text = run_within(PATIENCE, folder, &command);
        assert!(text.ends_with("All operations completed A-OK!\n"), "{command}\n{text}");
    }
}
