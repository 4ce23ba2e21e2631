//! An rsync daemon on 127.0.0.1, with a configuration of its own.

use crate::common::{Background, eventually, group_is_running, scratch};
use rustix::process::{Pid, Signal, kill_process_group};
use std::{
    fs,
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// A running daemon. Ends with the test.
pub(crate) struct Daemon {
    port: u16,
    child: Background,
    _folder: tempfile::TempDir,
}

/// How long it may take until it answers, and until it has ended.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often another port is tried when somebody else took the free one in between.
const TRIES_MAX: usize = 5;

impl Daemon {
    /// Serves `folder` as the module `registry`, for reading and writing.
    pub(crate) fn serve(folder: &Path) -> Self {
        // Why it ended at once, on every port, is in its log above.
        (0..TRIES_MAX).find_map(|_| Self::try_serve(folder)).unwrap()
    }

    /// What a client calls the module.
    pub(crate) fn address(&self) -> String {
        format!("rsync://127.0.0.1:{}/registry/", self.port)
    }

    /// Kills it, and every process that serves a client, at once.
    #[allow(dead_code, reason = "not every program of tests kills one")]
    pub(crate) fn kill(self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        let leader = self.child.0.id();
        let group = Pid::from_raw(i32::try_from(leader).unwrap()).unwrap();
        kill_process_group(group, signal).ok();
        eventually(PATIENCE, "rsync --daemon ends", || !group_is_running(leader));
    }

    fn try_serve(module: &Path) -> Option<Self> {
        let folder = scratch();
        let port =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let (config, log) = (folder.path().join("config"), folder.path().join("log"));
        let text = format!(
            "use chroot = no\nuid = root\ngid = root\naddress = 127.0.0.1\nport = {port}\n\
             log file = {}\n[registry]\npath = {}\nread only = no\n",
            log.display(),
            module.display()
        );
        fs::write(&config, text).unwrap();
        let mut rsync = Command::new("rsync");
        rsync
            .args(["--daemon", "--no-detach", "--config"])
            .arg(&config)
            .stdin(Stdio::null())
            .process_group(0);
        let mut child = Background::start(&mut rsync);
        let start = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if child.0.try_wait().unwrap().is_some() {
                eprintln!("{}", fs::read_to_string(log).unwrap_or_default());
                return None;
            }
            assert!(start.elapsed() < PATIENCE, "rsync --daemon does not answer");
            thread::sleep(Duration::from_millis(10));
        }
        Some(Self { port, child, _folder: folder })
    }
}

impl Drop for Daemon {
    /// Those who serve a client would keep a mount busy.
    fn drop(&mut self) {
        let group = Pid::from_raw(i32::try_from(self.child.0.id()).unwrap()).unwrap();
        kill_process_group(group, Signal::KILL).ok();
    }
}
