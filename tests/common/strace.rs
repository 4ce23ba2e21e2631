//! strace(1) on a running daemon: what it asks of the system, and what the system is to answer.

use super::eventually;
use super::process::{Background, wait};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

/// How long strace may take to begin and to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// System calls by which a store changes, and those by which it is synced. `openat2` only where it
/// makes a file.
pub(crate) const CHANGING: [&str; 21] = [
    "openat2",
    "mkdirat",
    "renameat2",
    "renameat",
    "linkat",
    "unlinkat",
    "write",
    "pwrite64",
    "pwritev",
    "pwritev2",
    "writev",
    "copy_file_range",
    "ftruncate",
    "fallocate",
    "fchmod",
    "utimensat",
    "fsetxattr",
    "fremovexattr",
    "fdatasync",
    "fsync",
    "syncfs",
];

/// A strace that runs. It is killed when it is dropped, and what it traced goes on.
pub(crate) struct Strace {
    process: Background,
}

impl Strace {
    /// Attaches to every thread of the process `pid`, with `arguments`; what it sees goes to the file
    /// `output`.
    pub(crate) fn attach(pid: u32, arguments: &[String], output: &Path) -> Self {
        let mut strace = Command::new("strace");
        strace
            .args(["-f", "-e", "quiet=all", "-o"])
            .arg(output)
            .args(arguments)
            .args(["-p", &pid.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let process = Background::start(&mut strace);
        let tracer = process.0.id();
        eventually(PATIENCE, "strace sees every thread", || is_traced(pid, tracer));
        Self { process }
    }

    /// Lets go of the daemon, which goes on, and waits until that is done. Not for one that was killed:
    /// strace may wait for that for ever.
    pub(crate) fn detach(mut self) {
        let pid = Pid::from_raw(i32::try_from(self.process.0.id()).unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        assert!(wait(&mut self.process.0, PATIENCE).is_some(), "strace does not end");
    }
}

fn is_traced(pid: u32, tracer: u32) -> bool {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let line = format!("TracerPid:\t{tracer}\n");
    tasks.filter_map(Result::ok).all(|task| {
        fs::read_to_string(task.path().join("status")).is_ok_and(|status| status.contains(&line))
    })
}
