//! The setuid program `fusermount3`: how a user who is not root mounts and unmounts.
//!
//! It opens `/dev/fuse`, mounts it, and hands the descriptor back over a socket whose number it
//! finds in `_FUSE_COMMFD`.

use crate::fs::mount::MountError;
use rustix::{
    io::{Errno, FdFlags},
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags,
        SocketType,
    },
};
use std::{
    ffi::{OsStr, OsString},
    io::{self, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::Path,
    process::{Command, Output, Stdio},
};

/// Where it is, when `PATH` does not lead to it: `mount` and `systemd` may run with a bare one.
const PROGRAMS: [&str; 3] = ["fusermount3", "/usr/bin/fusermount3", "/bin/fusermount3"];

/// How it begins what it says; whoever reads that knows from us who speaks.
const PREFIX: &str = "fusermount3: ";

/// Mounts at `mountpoint` and gives the descriptor on which requests arrive.
pub(super) fn mount(
    mountpoint: &Path, source: &OsStr, options: &[&str],
) -> Result<OwnedFd, MountError> {
    let failed = MountError::io("make a socket for", mountpoint);
    let (ours, theirs) = sockets().map_err(failed)?;
    let output = run(|command| {
        command
            .arg("-o")
            .arg(option_list(source, options))
            .arg("--")
            .arg(mountpoint)
            .env("_FUSE_COMMFD", theirs.as_raw_fd().to_string());
    })?;
    // With the last copy of their end closed, receiving ends when there is nothing to receive.
    drop(theirs);
    if !output.status.success() {
        return Err(refusal(mountpoint, &output));
    }
    receive(&ours).map_err(MountError::io("receive /dev/fuse from fusermount3 for", mountpoint))
}

/// Unmounts `mountpoint`; with `lazily`, also when it is busy or its daemon is gone.
pub(super) fn unmount(mountpoint: &Path, lazily: bool) -> Result<(), MountError> {
    let output = run(|command| {
        command.arg("-u").args(lazily.then_some("-z")).arg("--").arg(mountpoint);
    })?;
    if output.status.success() { Ok(()) } else { Err(refusal(mountpoint, &output)) }
}

/// Our end, which children do not get, and theirs, which they do.
fn sockets() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::empty(),
        None,
    )?;
    rustix::io::fcntl_setfd(&ours, FdFlags::CLOEXEC)?;
    Ok((ours, theirs))
}

fn run(arguments: impl Fn(&mut Command)) -> Result<Output, MountError> {
    for program in PROGRAMS {
        let mut command = Command::new(program);
        arguments(&mut command);
        match command.stdin(Stdio::null()).output() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            outcome => return outcome.map_err(MountError::io("run", program)),
        }
    }
    Err(MountError::HelperMissing)
}

fn refusal(mountpoint: &Path, output: &Output) -> MountError {
    let said = String::from_utf8_lossy(&output.stderr);
    let lines = said.lines().map(|line| line.strip_prefix(PREFIX).unwrap_or(line).trim());
    let said = lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
    let said = if said.is_empty() { output.status.to_string() } else { said };
    MountError::Helper { mountpoint: mountpoint.to_owned(), said }
}

/// `fsname=` may hold any byte, as long as what would end the option is escaped.
fn option_list(source: &OsStr, options: &[&str]) -> OsString {
    let mut list = options.join(",").into_bytes();
    list.extend_from_slice(b",subtype=regfs,fsname=");
    for byte in source.as_bytes() {
        if matches!(byte, b',' | b'\\') {
            list.push(b'\\');
        }
        list.push(*byte);
    }
    OsString::from_vec(list)
}

fn receive(socket: &OwnedFd) -> io::Result<OwnedFd> {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    loop {
        let mut buffers = [IoSliceMut::new(&mut byte)];
        match rustix::net::recvmsg(socket, &mut buffers, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(_) => break,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut descriptors) = message
            && let Some(device) = descriptors.next()
        {
            return Ok(device);
        }
    }
    Err(io::Error::other("it sent none"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_cannot_bring_options_of_its_own() {
        let list = option_list(OsStr::new(r"/srv/a,allow_other\"), &["nodev", "ro"]);
        assert_eq!(list, OsStr::new(r"nodev,ro,subtype=regfs,fsname=/srv/a\,allow_other\\"));
    }
}
