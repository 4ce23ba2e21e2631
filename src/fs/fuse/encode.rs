//! Values of the mount as FUSE writes them, and FUSE's flags as the mount reads them.

use crate::fs::fault::{Fault, Result};
use crate::fs::open::OpenMode;
use crate::fs::rename::RenameMode;
use crate::fs::{FileStat, Ino};
use crate::model::Error;
use crate::registry::Allocation;
use fuser::{
    FileAttr, FileType, Generation, INodeNo, InitFlags, KernelConfig, OpenAccMode, OpenFlags,
    RenameFlags, TimeOrNow,
};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Longest request the kernel may send, in bytes: what its page limit allows.
const REQUEST_BYTES_MAX: u32 = 1 << 20;
/// How many reads ahead and direct writes the kernel may have under way.
const BACKGROUND_MAX: u16 = 64;
/// What is asked of the kernel, where it offers it.
const WANTED: [InitFlags; 9] = [
    InitFlags::FUSE_ATOMIC_O_TRUNC,
    InitFlags::FUSE_PARALLEL_DIROPS,
    InitFlags::FUSE_DO_READDIRPLUS,
    InitFlags::FUSE_READDIRPLUS_AUTO,
    InitFlags::FUSE_ASYNC_DIO,
    // Without it the kernel asks for security.capability before every write.
    InitFlags::FUSE_HANDLE_KILLPRIV_V2,
    // Uploads are direct; programs may still map them.
    InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP,
    InitFlags::FUSE_AUTO_INVAL_DATA,
    InitFlags::FUSE_PASSTHROUGH,
];

/// Numbers are never used again, so generations say nothing.
pub(super) const GENERATION: Generation = Generation(0);

pub(super) fn open_mode(flags: OpenFlags) -> OpenMode {
    OpenMode {
        read: flags.acc_mode() != OpenAccMode::O_WRONLY,
        write: flags.acc_mode() != OpenAccMode::O_RDONLY,
        truncate: flags.0 & libc::O_TRUNC != 0,
        exclusive: flags.0 & libc::O_EXCL != 0,
    }
}

/// Whether mknod(2) is asked for a file, and not for a device, a pipe or a socket.
pub(super) fn check_regular(mode: u32) -> Result<()> {
    match mode & libc::S_IFMT {
        0 | libc::S_IFREG => Ok(()),
        _ => Err(Error::Unsupported("a registry has no devices, pipes or sockets").into()),
    }
}

pub(super) fn rename_mode(flags: RenameFlags) -> Result<RenameMode> {
    match flags {
        _ if flags.is_empty() => Ok(RenameMode::Replace),
        RenameFlags::RENAME_NOREPLACE => Ok(RenameMode::KeepExisting),
        RenameFlags::RENAME_EXCHANGE => Ok(RenameMode::Exchange),
        _ => Err(Error::Unsupported("a rename of this kind").into()),
    }
}

/// What a call of fallocate(2) asks for, one after the other.
pub(super) fn allocations(mode: i32) -> Result<&'static [Allocation]> {
    const PUNCH: i32 = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    const ZERO: i32 = libc::FALLOC_FL_ZERO_RANGE;
    const ZERO_WITHIN: i32 = ZERO | libc::FALLOC_FL_KEEP_SIZE;
    match mode {
        0 => Ok(&[Allocation::Extend]),
        libc::FALLOC_FL_KEEP_SIZE => Ok(&[Allocation::Reserve]),
        PUNCH => Ok(&[Allocation::Punch]),
        ZERO => Ok(&[Allocation::Punch, Allocation::Extend]),
        ZERO_WITHIN => Ok(&[Allocation::Punch, Allocation::Reserve]),
        _ => Err(Fault::NotKept("reservations of this kind")),
    }
}

pub(super) fn time(wanted: TimeOrNow) -> SystemTime {
    match wanted {
        TimeOrNow::SpecificTime(at) => time_as_sent(at),
        TimeOrNow::Now => SystemTime::now(),
    }
}

/// The kernel counts the nanoseconds of a second forwards. fuser 0.18 counts those of a second
/// before 1970 backwards when it reads a time, though not when it writes one.
fn time_as_sent(read: SystemTime) -> SystemTime {
    match UNIX_EPOCH.duration_since(read) {
        Ok(before) => {
            let nanoseconds = Duration::from_nanos(before.subsec_nanos().into());
            UNIX_EPOCH - Duration::from_secs(before.as_secs()) + nanoseconds
        }
        Err(_) => read,
    }
}

pub(super) fn file_type(is_folder: bool) -> FileType {
    if is_folder { FileType::Directory } else { FileType::RegularFile }
}

/// What a file takes at least on the disk of the store, so that du tells what du there would.
const DISK_BLOCK_BYTES: u64 = 4096;

pub(super) fn file_attr(ino: Ino, stat: &FileStat) -> FileAttr {
    let FileStat { attributes, length, .. } = *stat;
    FileAttr {
        ino: INodeNo(ino.0),
        size: length,
        blocks: length.div_ceil(DISK_BLOCK_BYTES) * (DISK_BLOCK_BYTES / 512),
        atime: attributes.accessed_at,
        mtime: attributes.modified_at,
        ctime: attributes.changed_at,
        crtime: attributes.changed_at,
        kind: file_type(stat.is_folder),
        // Permission bits fit into 12 bits.
        perm: u16::try_from(attributes.permissions & 0o7777).unwrap_or_default(),
        nlink: stat.link_count,
        uid: attributes.uid,
        gid: attributes.gid,
        rdev: 0,
        blksize: stat.block_bytes,
        flags: 0,
    }
}

/// Asks the kernel for what makes the mount fast and right. Says whether it can read layers by
/// itself.
pub(super) fn configure(config: &mut KernelConfig) -> bool {
    for flag in WANTED {
        if config.add_capabilities(flag).is_err() {
            log::debug!("the kernel does not offer {flag:?}");
        }
    }
    let settled = config.set_max_write(REQUEST_BYTES_MAX).is_ok()
        && config.set_max_background(BACKGROUND_MAX).is_ok();
    log::debug!("request sizes as asked for: {settled}");
    // One file system may lie beneath a backing file.
    config.set_max_stack_depth(1).is_ok()
}
