//! Going to the background: one process becomes two that talk over a socket until the mount answers.
//!
//! ```text
//! parent                               child (the daemon)
//!   waits          ◄── 0 ───────────   mounted, serving
//!                  ◄── code, text ──   could not, and why
//!   lists the mountpoint
//!   lets go        ─── 0 ──────────►   leaves the terminal behind
//!   (gone)         ─── end ────────►   unmounts: nobody would know of the mount
//! ```
//!
//! The parent is the one to try the mount: a process that waits for its own mount cannot be ended.

use crate::config::{READY_WAIT, UNMOUNT_WAIT};
use anyhow::{Context, Result, anyhow, bail};
use rustix::{
    event::{PollFd, PollFlags, Timespec},
    fs::{Mode, OFlags},
    process::{Pid, PidfdFlags, WaitOptions},
};
use std::{
    fs, io,
    io::{Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::Path,
    sync::mpsc,
    thread,
    time::Duration,
};

/// Which of the two processes this is.
pub(super) enum Side {
    /// The one that the user started.
    Parent(Parent),
    /// The daemon.
    Child(Child),
}

/// The daemon said that it could not, with the exit code it has for that.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(super) struct Refused {
    pub(super) code: u8,
    text: String,
}

/// What the user started.
pub(super) struct Parent {
    child: Pid,
    link: UnixStream,
}

/// The daemon, before it is on its own.
pub(super) struct Child {
    link: UnixStream,
}

/// Closes the descriptors that the caller left open, a lock of its own perhaps: the daemon would
/// hold them for as long as it lives.
#[expect(unsafe_code, reason = "close_range has no safe wrapper")]
pub(super) fn close_inherited() {
    // SAFETY: called before this process has opened anything, so that no object of it owns a
    // descriptor above stderr. It cannot fail in a way that matters: older kernels leave them open.
    unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
}

/// Becomes two processes. Must be called before any thread was started.
#[expect(unsafe_code, reason = "fork has no safe wrapper")]
pub(super) fn split() -> io::Result<Side> {
    let (parents, childs) = UnixStream::pair()?;
    // SAFETY: no other thread exists, so the child's copy of every lock and of the allocator is in
    // a state that its one thread may use.
    let pid = unsafe { libc::fork() };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            drop(parents);
            // A session of its own: no terminal can end the daemon. No folder is kept busy by it.
            rustix::process::setsid()?;
            std::env::set_current_dir("/")?;
            Ok(Side::Child(Child { link: childs }))
        }
        pid => {
            let child =
                Pid::from_raw(pid).ok_or_else(|| io::Error::other("fork gave no number"))?;
            Ok(Side::Parent(Parent { child, link: parents }))
        }
    }
}

impl Parent {
    /// Waits for the daemon's word, tries the mount, lets the daemon go.
    pub(super) fn wait_until_ready(mut self, mountpoint: &Path) -> Result<()> {
        let mut code = [0];
        if self.link.read_exact(&mut code).is_err() {
            bail!("the daemon ended while it was mounting ({})", self.end());
        }
        if code != [0] {
            let mut text = String::new();
            self.link.read_to_string(&mut text)?;
            return Err(Refused { code: code[0], text }.into());
        }
        if let Err(error) = answers(mountpoint) {
            drop(self.link);
            wait_for_end(self.child, UNMOUNT_WAIT);
            return Err(error);
        }
        self.link.write_all(&[0]).context("the daemon ended as soon as it had mounted")
    }

    /// How the daemon ended.
    fn end(&self) -> String {
        match rustix::process::waitpid(Some(self.child), WaitOptions::empty()) {
            Ok(Some((_, status))) => match status.terminating_signal() {
                Some(signal) => format!("signal {signal}"),
                None => format!("exit code {}", status.exit_status().unwrap_or_default()),
            },
            Ok(None) => "it is still there".to_owned(),
            Err(error) => error.to_string(),
        }
    }
}

/// Whether the mount at `path` can be listed.
fn answers(path: &Path) -> Result<()> {
    let (sender, receiver) = mpsc::channel();
    let folder = path.to_owned();
    thread::spawn(move || sender.send(list(&folder)).ok());
    match receiver.recv_timeout(READY_WAIT) {
        Ok(outcome) => {
            outcome.with_context(|| format!("the mount at {} does not work", path.display()))
        }
        Err(_) => Err(anyhow!(
            "the mount at {} gave no answer within {} s, and is taken away again",
            path.display(),
            READY_WAIT.as_secs()
        )),
    }
}

fn list(folder: &Path) -> io::Result<()> {
    let outcome = fs::metadata(folder).and_then(|_| fs::read_dir(folder)?.next().transpose());
    match outcome {
        // An answer, too: `-o uid=` may give the folder to somebody else.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        outcome => outcome.map(|_| ()),
    }
}

impl Child {
    /// Says that the mount is there, waits until it was tried, leaves the terminal behind.
    pub(super) fn announce(mut self) -> Result<()> {
        let mut word = [0];
        self.link.write_all(&[0]).context("nobody waits for the mount any more")?;
        self.link.read_exact(&mut word).context("nobody waits for the mount any more")?;
        let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .context("could not open /dev/null")?;
        rustix::stdio::dup2_stdin(&null)?;
        rustix::stdio::dup2_stdout(&null)?;
        rustix::stdio::dup2_stderr(&null)?;
        Ok(())
    }

    /// Says that there will be no mount, and why.
    pub(super) fn refuse(mut self, code: u8, text: &str) {
        let message = [&[code], text.as_bytes()].concat();
        // When nobody listens any more, nobody wants to know.
        self.link.write_all(&message).and_then(|()| self.link.shutdown(Shutdown::Write)).ok();
    }
}

/// Waits until process `pid` is gone; whether it is.
pub(crate) fn wait_for_end(pid: Pid, patience: Duration) -> bool {
    let Ok(process) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { return true };
    let Ok(timeout) = Timespec::try_from(patience) else { return false };
    let mut waiting = [PollFd::new(&process, PollFlags::IN)];
    rustix::event::poll(&mut waiting, Some(&timeout)).is_ok_and(|ready| ready > 0)
}
