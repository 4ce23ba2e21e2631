//! Steps on a real mount, by system calls.
#![expect(clippy::disallowed_methods, reason = "the rename is the user's, not the store's")]

use super::outcome::{EISDIR, Outcome, Refusal, Result};
use super::reference::COLOUR;
use super::step::{Access, Bytes, Replacing, Slot, Step};
use super::words::Path;
use rustix::{
    fs::{
        self as sys, AtFlags, CWD, FileType, Gid, Mode, OFlags, RenameFlags, Timespec, Timestamps,
        Uid, XattrFlags,
    },
    io::Errno,
};
use std::{
    collections::BTreeMap,
    fs::File,
    io::Write as _,
    os::{fd::IntoRawFd as _, unix::fs::FileExt as _},
};

/// The files that a program has open.
pub(crate) type Slots = BTreeMap<Slot, File>;

/// Does a step in the mount at `root`. Those that are about the mount itself are done elsewhere.
pub(crate) fn apply(root: &std::path::Path, slots: &mut Slots, step: &Step) -> Outcome {
    let at = |path: &Path| root.join(path.spelled());
    match step {
        Step::Mkdir(path) => sys::mkdir(at(path), Mode::from(0o777)).into_outcome(),
        Step::Rmdir(path) => sys::rmdir(at(path)).into_outcome(),
        Step::Unlink(path) => sys::unlink(at(path)).into_outcome(),
        Step::Rename(from, to, replacing) => {
            let flags = match replacing {
                Replacing::Yes => RenameFlags::empty(),
                Replacing::No => RenameFlags::NOREPLACE,
                Replacing::Exchange => RenameFlags::EXCHANGE,
            };
            sys::renameat_with(CWD, at(from), CWD, at(to), flags).into_outcome()
        }
        Step::Link(from, to) => sys::link(at(from), at(to)).into_outcome(),
        Step::Copy(from, to) if from == to => Outcome::Nothing,
        Step::Copy(from, to) => copy(&at(from), &at(to)).into(),
        Step::Put(bytes, path) => put(*bytes, &at(path), Access::of("wct")).into(),
        Step::Append(bytes, path) => put(*bytes, &at(path), Access::of("wca")).into(),
        Step::Chmod(mode, path) => sys::chmod(at(path), Mode::from(*mode)).into_outcome(),
        Step::Chown(owner, path) => {
            let (uid, gid) = (Uid::from_raw(*owner), Gid::from_raw(*owner));
            sys::chown(at(path), Some(uid), Some(gid)).into_outcome()
        }
        Step::Touch(seconds, path) => {
            let time = Timespec { tv_sec: *seconds, tv_nsec: 0 };
            let times = Timestamps { last_access: time, last_modification: time };
            sys::utimensat(CWD, at(path), &times, AtFlags::empty()).into_outcome()
        }
        Step::Setxattr(value, path) => {
            sys::setxattr(at(path), COLOUR, value.as_bytes(), XattrFlags::empty()).into_outcome()
        }
        Step::Removexattr(path) => sys::removexattr(at(path), COLOUR).into_outcome(),
        Step::Resize(length, path) => resize(&at(path), *length).into(),
        Step::Open(slot, access, path) => {
            if slots.contains_key(slot) {
                return Outcome::Nothing;
            }
            let opened = open(&at(path), *access).map(|file| drop(slots.insert(*slot, file)));
            opened.into()
        }
        Step::Write(slot, bytes, offset) => {
            in_slot(slots, *slot, |file| write(file, bytes.get(), *offset).into())
        }
        Step::Truncate(slot, length) => {
            in_slot(slots, *slot, |file| sys::ftruncate(file, *length).into_outcome())
        }
        Step::Read(slot) => in_slot(slots, *slot, |file| match read(file) {
            Ok(bytes) => Outcome::Read(bytes),
            Err(refusal) => Outcome::Refused(refusal),
        }),
        Step::Sync(slot) => in_slot(slots, *slot, |file| sys::fsync(file).into_outcome()),
        Step::Flush(slot) => in_slot(slots, *slot, |file| close(file.try_clone().unwrap()).into()),
        Step::Close(slot) => slots.remove(slot).map_or(Outcome::Nothing, |file| close(file).into()),
        Step::Remount
        | Step::Kill
        | Step::PushBlob(..)
        | Step::PushManifest(..)
        | Step::DeleteBlob(..)
        | Step::DeleteManifest(..)
        | Step::On(_) => panic!("{step} is for the world"),
    }
}

trait IntoOutcome {
    fn into_outcome(self) -> Outcome;
}

impl IntoOutcome for Result<(), Errno> {
    fn into_outcome(self) -> Outcome {
        self.map_err(Refusal::from).into()
    }
}

fn in_slot(slots: &mut Slots, slot: Slot, act: impl FnOnce(&File) -> Outcome) -> Outcome {
    slots.get(&slot).map_or(Outcome::Nothing, act)
}

pub(super) fn open(path: &std::path::Path, access: Access) -> Result<File> {
    let mut flags = match (access.read, access.write) {
        (true, true) => OFlags::RDWR,
        (_, true) => OFlags::WRONLY,
        (_, false) => OFlags::RDONLY,
    };
    flags.set(OFlags::CREATE, access.create);
    flags.set(OFlags::EXCL, access.exclusive);
    flags.set(OFlags::TRUNC, access.truncate);
    flags.set(OFlags::APPEND, access.append);
    let file = File::from(sys::open(path, flags | OFlags::CLOEXEC, Mode::from(0o666))?);
    let is_folder = FileType::from_raw_mode(sys::fstat(&file)?.st_mode) == FileType::Directory;
    // A folder can be opened, but to read it as a file is what is meant here.
    if is_folder { Err(EISDIR) } else { Ok(file) }
}

fn write(mut file: &File, bytes: &[u8], offset: u64) -> Result {
    let is_appending = sys::fcntl_getfl(file)?.contains(OFlags::APPEND);
    match is_appending {
        true => file.write_all(bytes)?,
        false => file.write_all_at(bytes, offset)?,
    }
    Ok(())
}

pub(super) fn read(file: &File) -> Result<Vec<u8>> {
    const STEP_BYTES: usize = 128 << 10;
    let mut bytes = Vec::new();
    loop {
        let start = bytes.len();
        bytes.resize(start + STEP_BYTES, 0);
        let count = file.read_at(&mut bytes[start..], start as u64)?;
        bytes.truncate(start + count);
        if count == 0 {
            return Ok(bytes);
        }
    }
}

/// Closes, and says what close(2) says.
#[expect(unsafe_code, reason = "the standard library passes over what close says")]
pub(super) fn close(file: File) -> Result {
    // SAFETY: the descriptor is ours, and nobody uses it any more.
    match unsafe { libc::close(file.into_raw_fd()) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error().into()),
    }
}

fn put(bytes: Bytes, path: &std::path::Path, access: Access) -> Result {
    let file = open(path, access)?;
    let written = write(&file, bytes.get(), 0);
    written.and(close(file))
}

fn copy(from: &std::path::Path, to: &std::path::Path) -> Result {
    let source = open(from, Access::of("r"))?;
    let target = match open(to, Access::of("wct")) {
        Ok(target) => target,
        Err(refusal) => {
            close(source)?;
            return Err(refusal);
        }
    };
    let copied = loop {
        match sys::copy_file_range(&source, None, &target, None, 1 << 30) {
            Ok(0) => break Ok(()),
            Ok(_) => {}
            Err(errno) => break Err(errno.into()),
        }
    };
    close(source)?;
    copied.and(close(target))
}

/// truncate(2): by name, with no file open.
#[expect(unsafe_code, reason = "truncate has no safe wrapper")]
fn resize(path: &std::path::Path, length: u64) -> Result {
    use std::os::unix::ffi::OsStrExt as _;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: the path is a string with a NUL behind it, and lives longer than the call.
    match unsafe { libc::truncate(path.as_ptr(), length.try_into().unwrap()) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error().into()),
    }
}
