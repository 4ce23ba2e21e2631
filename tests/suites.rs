//! Suites that nobody here wrote, each on a real mount: fsx and fio on one upload, pjdfstest and the
//! file system class of stress-ng in a folder of uploads.
//!
//! `scripts/test` installs them. What is random is the same in each run, and another with another
//! REGFS_TEST_SEED; a failure shows the seed.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

#[path = "suites/fio.rs"]
mod fio;
#[path = "suites/fsx.rs"]
mod fsx;
#[path = "suites/pjdfstest.rs"]
mod pjdfstest;
#[path = "suites/stress.rs"]
mod stress;

use common::{Mount, digest_of_file, run_in, session_with};

/// The seed of this run.
fn seed() -> u64 {
    std::env::var_os("REGFS_TEST_SEED").map_or(1, |text| text.to_str().unwrap().parse().unwrap())
}

/// What must be true of every upload, whatever was done to it: its running digest is that of what
/// is read, and under that name it is published.
#[track_caller]
fn assert_publishes(mount: &Mount, upload: &str) {
    let file = mount.path().join("a/uploads").join(upload);
    let digest = digest_of_file(&file);
    let hex = digest.strip_prefix("sha256:").unwrap();
    let running = run_in(
        mount.path(),
        &format!("getfattr --only-values -n user.regfs.digest a/uploads/{upload}"),
    );
    assert_eq!(running, digest, "the running digest of {upload}, and what is read");
    session_with(
        mount,
        &[("UPLOAD", upload), ("DIGEST", &digest), ("HEX", hex)],
        "
        $ cd a
        $ mv uploads/$UPLOAD layers/$DIGEST
        $ sha256sum layers/$DIGEST
        $HEX  layers/$DIGEST
        $ ls uploads
        ",
    );
    assert_eq!(digest_of_file(&mount.blob_file(&digest)), digest);
}
