//! What the tests share: a mount of its own for each, a shell session as a test, a real image and
//! the registry that others run.
#![allow(
    dead_code,
    unused_imports,
    reason = "every file of tests is a program of its own and uses its own part of this"
)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]
#![allow(clippy::print_stderr, reason = "what was skipped must be seen")]

mod crowd;
mod disk;
mod document;
mod household;
mod image;
mod mount;
mod process;
mod registry;
mod reliability;
mod session;
mod sides;
mod strace;

pub(crate) use crowd::Crowd;
pub(crate) use disk::Disk;
pub(crate) use document::{invented_name, keep_document};
pub(crate) use household::Household;
pub(crate) use image::{Image, image};
pub(crate) use mount::{Mount, is_mounted};
pub(crate) use process::{
    Background, group_is_running, is_running, run, run_in, run_within, try_in, writer,
};
pub(crate) use registry::Registry;
pub(crate) use reliability::{effort, reliability_row};
pub(crate) use session::{session, session_with};
pub(crate) use sides::{Sides, Table};
pub(crate) use strace::{CHANGING, Strace};

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

/// Ends the test as skipped, and says so, when something that it stands on is not here: `"fuse"`,
/// `"root"`, `"loop"` (devices), or the name of a program.
macro_rules! needs {
    ($($thing:literal),+ $(,)?) => {
        if let Some(lack) = common::lack_of(&[$($thing),+]) {
            common::skip(&lack);
            return;
        }
    };
}
pub(crate) use needs;

/// Says that a test did not run. The file named by REGFS_SKIP_LOG collects these lines, so that
/// whoever runs the tests can refuse a run that skipped something.
pub(crate) fn skip(reason: &str) {
    let test = thread::current().name().unwrap_or("a test").to_owned();
    let line = format!("SKIPPED: {test}: {reason}\n");
    // Around the capture of the test harness: a skip that nobody sees is a lie.
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    if let Some(log) = std::env::var_os("REGFS_SKIP_LOG") {
        let mut log = fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        log.write_all(line.as_bytes()).unwrap();
    }
}

/// The first of `things` that is not here, in words.
pub(crate) fn lack_of(things: &[&str]) -> Option<String> {
    things.iter().find_map(|thing| match *thing {
        "fuse" => fuse_lack(),
        "root" => (!is_root()).then(|| "this needs root".to_owned()),
        "loop" => (!Path::new("/dev/loop-control").exists())
            .then(|| "there are no loop devices".to_owned()),
        "docker-registry" => (find_program(&registry::program()).is_none())
            .then(|| "docker-registry is not installed".to_owned()),
        program => find_program(Path::new(program))
            .is_none()
            .then(|| format!("{program} is not installed")),
    })
}

fn fuse_lack() -> Option<String> {
    if let Err(error) = fs::OpenOptions::new().read(true).write(true).open("/dev/fuse") {
        return Some(format!("/dev/fuse cannot be opened: {error}"));
    }
    (!is_root() && find_program(Path::new("fusermount3")).is_none())
        .then(|| "mounting needs root or fusermount3".to_owned())
}

/// Whether these tests run as root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Where on PATH a program is.
pub(crate) fn find_program(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return program.exists().then(|| program.to_owned());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.exists())
}

/// A scratch folder on the disk that cargo builds on, removed when dropped. Tests have users who must
/// get there: what is built in a home that is closed to others, as root's is, has it in `/var/tmp`.
pub(crate) fn scratch() -> tempfile::TempDir {
    let built = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let lets_others_in = |folder: &Path| {
        fs::metadata(folder).is_ok_and(|found| found.permissions().mode() & 0o001 != 0)
    };
    let is_open = built.ancestors().all(lets_others_in);
    let folder = if is_open { built } else { Path::new("/var/tmp") };
    tempfile::Builder::new().prefix("t").tempdir_in(folder).unwrap()
}

/// What lies in `tests/fixtures`.
pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// Waits until `check` is true, and fails with `what` when that takes longer than `patience`.
#[track_caller]
pub(crate) fn eventually(patience: Duration, what: &str, mut check: impl FnMut() -> bool) {
    let start = Instant::now();
    while !check() {
        assert!(start.elapsed() < patience, "not within {patience:?}: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// The digest of `bytes`, as a name.
pub(crate) fn digest_of(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    use std::fmt::Write as _;
    sha2::Sha256::digest(bytes).iter().fold("sha256:".to_owned(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// The digest of a file, as a name; `sha256sum` reads it, so it may be large.
pub(crate) fn digest_of_file(file: &Path) -> String {
    let line = run(Command::new("sha256sum").arg(file));
    format!("sha256:{}", line.split_whitespace().next().unwrap())
}

/// `length` bytes that do not compress and differ for every `seed`: xorshift64*.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// How long a big blob is: 64 MiB, or REGFS_TEST_BIG_BYTES.
pub(crate) fn big_bytes() -> usize {
    std::env::var_os("REGFS_TEST_BIG_BYTES")
        .map_or(64 << 20, |text| text.to_str().unwrap().parse().unwrap())
}

/// A manifest of one config and some layers, each with its length, as docker and podman write it.
pub(crate) fn manifest_of(config: (&str, usize), layers: &[(&str, usize)]) -> String {
    let layers: Vec<String> = layers
        .iter()
        .map(|(digest, size)| {
            format!(
                r#"{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{digest}","size":{size}}}"#
            )
        })
        .collect();
    format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":{}}},"layers":[{}]}}"#,
        config.0,
        config.1,
        layers.join(",")
    )
}
