//! A mount of its own for each test, made by the real program.

use super::process::{finish, is_running, run_in, shell};
use super::{Image, eventually, fixture, scratch};
use rustix::{
    mount::{UnmountFlags, unmount},
    process::{Pid, Signal, kill_process},
};
use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// A store and where it is mounted. When the test ends, also by a panic, the mount goes, and its
/// daemon with it.
pub(crate) struct Mount {
    folder: Option<tempfile::TempDir>,
    store: PathBuf,
    path: PathBuf,
    pid: Option<u32>,
}

/// How long mounting, unmounting and ending may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// The layers of `tests/fixtures/schema1`.
const SIGNED_LAYERS: [&str; 2] = [
    "d8fabc8c9378e87a3befe970bfa5fd61d6f7c0d50edaf325208f6451e51ba336",
    "f91f4583261079e856ea3c35591b0645486a23d2a4acbcdf650acf704b568fa3",
];
/// The repository that [`Mount::with_image`] fills.
const REPOSITORY: &str = "library/busybox";

impl Mount {
    /// A new store, mounted.
    pub(crate) fn empty() -> Self {
        Self::with_options(&[])
    }

    /// A new store, mounted with `-o OPTION` for each of `options`.
    pub(crate) fn with_options(options: &[&str]) -> Self {
        let mut mount = Self::unmounted();
        mount.mount(options);
        mount
    }

    /// A new store and a mountpoint, not mounted yet.
    pub(crate) fn unmounted() -> Self {
        let folder = scratch();
        let store = folder.path().join("store");
        let path = folder.path().join("mnt");
        fs::create_dir(&store).unwrap();
        fs::create_dir(&path).unwrap();
        Self { folder: Some(folder), store, path, pid: None }
    }

    /// Another mountpoint of a store that is mounted, or served, elsewhere.
    pub(crate) fn of_store(store: &Path) -> Self {
        let mut mount = Self::unmounted();
        mount.store = store.to_owned();
        mount.mount(&[]);
        mount
    }

    /// A mount with `image` as `library/busybox:1.35`, pushed with cp.
    pub(crate) fn with_image(image: &Image) -> Self {
        let mount = Self::empty();
        mount.push_image(image, REPOSITORY, "1.35");
        mount
    }

    /// Pushes `image` with cp.
    pub(crate) fn push_image(&self, image: &Image, repository: &str, tag: &str) {
        let folder = self.path.join(repository);
        fs::create_dir_all(&folder).unwrap();
        for digest in image.layers.iter().chain([&image.config]) {
            let blob = image.blob(digest).display().to_string();
            run_in(&folder, &format!("cp {blob} layers/{digest}"));
        }
        let manifest = image.blob(&image.manifest).display().to_string();
        run_in(&folder, &format!("cp {manifest} manifests/{tag}"));
    }

    /// Pushes the two layers that the signed manifests in `tests/fixtures/schema1` refer to.
    pub(crate) fn push_signed_layers(&self, repository: &str) {
        run_in(&self.path, &format!("mkdir -p {repository}"));
        for layer in SIGNED_LAYERS {
            let from = fixture("schema1").join(layer);
            let from = from.display();
            run_in(&self.path, &format!("cp {from} {repository}/layers/sha256:{layer}"));
        }
    }

    /// Pushes `bytes` as a layer; gives its digest.
    pub(crate) fn push_layer(&self, repository: &str, bytes: &[u8]) -> String {
        let digest = super::digest_of(bytes);
        let folder = self.path.join(repository);
        fs::create_dir_all(&folder).unwrap();
        let file = tempfile::NamedTempFile::new_in(self.beside()).unwrap();
        fs::write(&file, bytes).unwrap();
        run_in(&folder, &format!("cp {} layers/{digest}", file.path().display()));
        digest
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The store beneath.
    pub(crate) fn store(&self) -> &Path {
        &self.store
    }

    /// A folder beside both, for files of the test.
    pub(crate) fn beside(&self) -> &Path {
        self.folder.as_ref().unwrap().path()
    }

    /// The process that serves the mount.
    pub(crate) fn pid(&self) -> u32 {
        self.pid.expect("it is mounted")
    }

    /// The file in the store that holds a blob.
    pub(crate) fn blob_file(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").unwrap();
        let blobs = self.store.join("docker/registry/v2/blobs/sha256");
        blobs.join(&hex[..2]).join(hex).join("data")
    }

    /// Mounts the store with `-o OPTION` for each of `options`.
    pub(crate) fn mount(&mut self, options: &[&str]) {
        self.mount_by("regfs mount", options);
    }

    /// As [`Self::mount`], by another command than `regfs mount`.
    pub(crate) fn mount_by(&mut self, program: &str, options: &[&str]) {
        let mut command = format!("{program} --log \"$LOG\" \"$STORE\" \"$MOUNTPOINT\"");
        for option in options {
            write!(command, " -o {option}").unwrap();
        }
        let mut shell = shell(&command);
        shell.env("STORE", &self.store).env("MOUNTPOINT", &self.path).env("LOG", self.log_file());
        let (status, text) = finish(&mut shell, PATIENCE);
        assert!(status.success(), "{command}: {status}\n{text}");
        // What follows would otherwise pass, or fail oddly, on the plain folder beneath.
        assert!(is_mounted(&self.path), "{command} ended, and nothing is mounted\n{text}");
        self.pid = Some(self.read_pid());
    }

    /// Unmounts as a user does, and waits until the daemon has ended.
    pub(crate) fn unmount(&mut self) {
        run_in(self.beside(), "regfs umount mnt");
        let pid = self.pid.take().unwrap();
        eventually(PATIENCE, "the daemon ends after umount", || !is_running(pid));
    }

    /// Unmounts and mounts again.
    pub(crate) fn remount(&mut self) {
        self.remount_with(&[]);
    }

    /// Unmounts and mounts again, with other options.
    pub(crate) fn remount_with(&mut self, options: &[&str]) {
        self.unmount();
        self.mount(options);
    }

    /// Kills the daemon as a crash would, and leaves the mount stale.
    pub(crate) fn kill_daemon(&mut self) {
        let pid = self.pid.take().unwrap();
        signal(pid, Signal::KILL);
        // Its first thread may end before others, which still have its files open.
        let threads = || fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
        eventually(PATIENCE, "the killed daemon is gone", || !is_running(pid) && threads() <= 1);
    }

    /// Sends SIGTERM to the daemon and waits until it has ended.
    pub(crate) fn terminate_daemon(&mut self) {
        let pid = self.pid.take().unwrap();
        signal(pid, Signal::TERM);
        eventually(PATIENCE, "the daemon ends after SIGTERM", || !is_running(pid));
    }

    /// The refusals in `.regfs/errors`, without the lines above them that are the same for all.
    pub(crate) fn errors(&self) -> String {
        let text = run_in(&self.path, "cat .regfs/errors");
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .fold(String::new(), |text, line| text + line + "\n")
    }

    /// Fails unless a line of `.regfs/errors` has all of `parts` in it.
    #[track_caller]
    pub(crate) fn assert_error(&self, parts: &[&str]) {
        let errors = self.errors();
        let found = errors.lines().any(|line| parts.iter().all(|part| line.contains(part)));
        assert!(found, "no line of .regfs/errors has {parts:?}:\n{errors}");
    }

    /// What the daemon has logged, over all mounts of this one.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap()
    }

    fn log_file(&self) -> PathBuf {
        self.beside().join("daemon.log")
    }

    /// The value of a metric, summed over its labels. One that is not there is a mistake, not 0.
    #[track_caller]
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let metrics = run_in(&self.path, "cat .regfs/metrics");
        let values: Vec<f64> = metrics
            .lines()
            .filter_map(|line| {
                let rest = line.strip_prefix(name).filter(|rest| rest.starts_with([' ', '{']))?;
                rest.rsplit(' ').next()?.parse().ok()
            })
            .collect();
        assert!(!values.is_empty(), "no metric {name} in\n{metrics}");
        values.iter().sum()
    }

    /// Reads the daemon's pid, and makes sure that it is one: signals are sent to it later.
    fn read_pid(&self) -> u32 {
        let status = run_in(&self.path, "cat .regfs/status");
        let status: serde_json::Value =
            serde_json::from_str(&status).unwrap_or_else(|error| panic!("{error}: {status}"));
        let pid = status["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
        let pid = pid.unwrap_or_else(|| panic!("no pid in {status}"));
        assert!(is_daemon(pid), "process {pid} is no regfs");
        pid
    }

    /// What may explain a failure.
    fn explain(&self) {
        let mut cat = Command::new("timeout");
        cat.args(["5", "tail", "-n", "20"]).arg(self.path.join(".regfs/errors"));
        let (_, text) = finish(&mut cat, PATIENCE);
        eprintln!("--- the end of .regfs/errors ---\n{text}");
    }
}

impl AsRef<Path> for Mount {
    fn as_ref(&self) -> &Path {
        &self.path
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let is_alive = self.pid.is_some_and(is_daemon);
        if std::thread::panicking() && is_alive && is_mounted(&self.path) {
            self.explain();
        }
        // Layers of mounts may lie here: a stale one with a new one over it.
        for _ in 0..8 {
            if !is_mounted(&self.path) || unmount(&self.path, UnmountFlags::DETACH).is_err() {
                break;
            }
        }
        if let Some(pid) = self.pid.take()
            && !ends_within(pid, Duration::from_secs(5))
        {
            signal(pid, Signal::KILL);
        }
        let Some(folder) = self.folder.take() else { return };
        if is_mounted(&self.path) {
            // To remove the folder now would be to remove what is mounted.
            eprintln!("left behind: {}", folder.keep().display());
        }
    }
}

/// Whether a process runs, and is one of ours: its number may have gone to another by now.
fn is_daemon(pid: u32) -> bool {
    let program = Path::new(env!("CARGO_BIN_EXE_regfs")).canonicalize().unwrap();
    is_running(pid) && fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == program)
}

fn ends_within(pid: u32, patience: Duration) -> bool {
    let start = std::time::Instant::now();
    while is_daemon(pid) {
        if start.elapsed() > patience {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, signal).ok();
}

/// Whether something is mounted exactly at `path`; never touches it, since it may hang.
pub(crate) fn is_mounted(path: &Path) -> bool {
    let path = path.to_str().unwrap();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    mounts.lines().any(|line| line.split(' ').nth(4) == Some(path))
}
