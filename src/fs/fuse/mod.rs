//! The trait of fuser: decode a request, call `RegistryFs`, encode the answer. Nothing is decided here.
//!
//! Calls that may take long answer from the slow lane. A panic in any of them becomes EIO and a
//! line in the log: it must not take a thread of the mount with it.

mod adapter;
mod call;
mod encode;

pub(super) use adapter::FuseAdapter;

use crate::fs::counters::Operation;
use crate::fs::folders::Row;
use crate::fs::fuse::adapter::READ_BUFFER;
use crate::fs::fuse::call::{create_apart, reply_opened, reply_room};
use crate::fs::fuse::encode::{
    GENERATION, allocations, check_regular, configure, file_attr, file_type, open_mode,
    rename_mode, time,
};
use crate::fs::lanes::Lane;
use crate::fs::xattr::{SetCondition, xattr_lane};
use crate::fs::{Busy, Ino};
use crate::model::{AttributesChange, Error};
use fuser::{
    AccessFlags, CopyFileRangeFlags, Errno, FileHandle, FopenFlags, INodeNo, IoctlFlags,
    KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen,
    ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use std::{ffi::OsStr, io, path::Path, time::SystemTime};

impl fuser::Filesystem for FuseAdapter {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        if !configure(config) {
            self.backings.disable();
        }
        Ok(())
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let _turn = self.turns.take();
        let call = self.call_name(Operation::Lookup, request, parent, name);
        call.entry(reply, |call| call.fs().lookup(call.ino, &call.name));
    }

    fn forget(&self, _request: &Request, ino: INodeNo, count: u64) {
        // No turn: many come in one request, and none is answered.
        if self.fs.forget(Ino(ino.0), count) {
            self.backings.forget(Ino(ino.0));
        }
    }

    fn getattr(&self, request: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let _turn = self.turns.take();
        let call = self.call(Operation::Getattr, request, ino);
        call.attr(reply, |call| call.fs().getattr(call.ino));
    }

    fn setattr(
        &self, request: &Request, ino: INodeNo, mode: Option<u32>, uid: Option<u32>,
        gid: Option<u32>, size: Option<u64>, atime: Option<TimeOrNow>, mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>, handle: Option<FileHandle>, _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>, _bkuptime: Option<SystemTime>,
        _flags: Option<fuser::BsdFileFlags>, reply: ReplyAttr,
    ) {
        let change = AttributesChange {
            permissions: mode.map(|mode| mode & 0o7777),
            uid,
            gid,
            modified_at: mtime.map(time),
            accessed_at: atime.map(time),
        };
        let _turn = self.turns.take();
        let call = self.call(Operation::Setattr, request, ino);
        let handle = handle.map(|handle| handle.0);
        // Only cutting a file may have to take up an upload.
        let lane = size.map_or(Lane::Quick, |_| Lane::Slow);
        self.run(lane, move || {
            call.attr(reply, |call| call.fs().setattr(call.ino, handle, size, &change));
        });
    }

    fn mkdir(
        &self, request: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32,
        reply: ReplyEntry,
    ) {
        let _turn = self.turns.take();
        let call = self.call_name(Operation::Mkdir, request, parent, name);
        call.entry(reply, |call| {
            call.fs().mkdir(&call.caller, call.ino, &call.name, mode & !umask)
        });
    }

    fn mknod(
        &self, request: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, _rdev: u32,
        reply: ReplyEntry,
    ) {
        let _turn = self.turns.take();
        let call = self.call_name(Operation::Mknod, request, parent, name);
        call.entry(reply, |call| {
            check_regular(mode)?;
            call.fs().make_file(&call.caller, call.ino, &call.name, mode & !umask)
        });
    }

    fn symlink(
        &self, request: &Request, parent: INodeNo, name: &OsStr, _target: &Path, reply: ReplyEntry,
    ) {
        let _turn = self.turns.take();
        let call = self.call_name(Operation::Symlink, request, parent, name);
        let reason = "a registry has no symbolic links; ln without -s makes a tag";
        call.entry(reply, |_| Err(Error::Unsupported(reason).into()));
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let _turn = self.turns.take();
        let call = self.call_name(Operation::Unlink, request, parent, name);
        self.answer_slowly(call, reply, |call| call.fs().unlink(call.ino, &call.name));
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let _turn = self.turns.take();
        let call = self.call_name(Operation::Rmdir, request, parent, name);
        self.answer_slowly(call, reply, |call| call.fs().rmdir(call.ino, &call.name));
    }

    fn rename(
        &self, request: &Request, parent: INodeNo, name: &OsStr, new_parent: INodeNo,
        new_name: &OsStr, flags: RenameFlags, reply: ReplyEmpty,
    ) {
        let _turn = self.turns.take();
        let call = self.call_name(Operation::Rename, request, new_parent, new_name);
        let call = call.from(parent, name);
        let (parent, name) = (Ino(parent.0), name.to_owned());
        self.answer_slowly(call, reply, move |call| {
            call.fs().rename((parent, &name), (call.ino, &call.name), rename_mode(flags)?)
        });
    }

    fn link(
        &self, request: &Request, ino: INodeNo, new_parent: INodeNo, new_name: &OsStr,
        reply: ReplyEntry,
    ) {
        let _turn = self.turns.take();
        let call = self.call_name(Operation::Link, request, new_parent, new_name);
        let call = call.from(ino, OsStr::new(""));
        self.slow.run(move || {
            call.entry(reply, |call| call.fs().link(Ino(ino.0), call.ino, &call.name));
        });
    }

    fn open(&self, request: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let _turn = self.turns.take();
        let call = self.call(Operation::Open, request, ino);
        match call.run(|call| call.fs().open(call.ino, open_mode(flags))) {
            Ok(opened) => reply_opened(self, &opened, reply),
            Err(errno) => reply.error(errno),
        }
    }

    fn create(
        &self, request: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, flags: i32,
        reply: ReplyCreate,
    ) {
        let _turn = self.turns.take();
        let call = self.call_name(Operation::Create, request, parent, name);
        let open = open_mode(OpenFlags(flags));
        match call.run(|call| create_apart(self, call, mode & !umask, open)) {
            Ok((entry, opened)) => {
                let attr = file_attr(entry.ino, &entry.stat);
                let flags = FopenFlags::FOPEN_DIRECT_IO;
                reply.created(&entry.life, &attr, GENERATION, FileHandle(opened.handle), flags);
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn read(
        &self, request: &Request, ino: INodeNo, handle: FileHandle, offset: u64, size: u32,
        _flags: OpenFlags, _owner: Option<LockOwner>, reply: ReplyData,
    ) {
        let _turn = self.turns.take();
        let call = self.call(Operation::Read, request, ino);
        READ_BUFFER.with_borrow_mut(|buffer| {
            match call.run(|call| call.fs().read(handle.0, offset, size as usize, buffer)) {
                Ok(()) => reply.data(buffer),
                Err(errno) => reply.error(errno),
            }
        });
    }

    fn write(
        &self, request: &Request, ino: INodeNo, handle: FileHandle, offset: u64, data: &[u8],
        _write_flags: WriteFlags, _flags: OpenFlags, _owner: Option<LockOwner>, reply: ReplyWrite,
    ) {
        let _turn = self.turns.take();
        let call = self.call(Operation::Write, request, ino);
        match call.run(|call| call.fs().write(handle.0, offset, data)) {
            // A request is far shorter than 4 GiB.
            Ok(()) => reply.written(u32::try_from(data.len()).unwrap_or(u32::MAX)),
            Err(errno) => reply.error(errno),
        }
    }

    fn flush(
        &self, request: &Request, ino: INodeNo, handle: FileHandle, _owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        let _turn = self.turns.take();
        let call = self.call(Operation::Flush, request, ino);
        self.answer_slowly(call, reply, move |call| call.fs().flush(&call.caller, handle.0));
    }

    fn fsync(
        &self, request: &Request, ino: INodeNo, handle: FileHandle, _data_only: bool,
        reply: ReplyEmpty,
    ) {
        let _turn = self.turns.take();
        let call = self.call(Operation::Fsync, request, ino);
        self.answer_slowly(call, reply, move |call| call.fs().sync(handle.0));
    }

    fn release(
        &self, _request: &Request, _ino: INodeNo, handle: FileHandle, _flags: OpenFlags,
        _owner: Option<LockOwner>, _flush: bool, reply: ReplyEmpty,
    ) {
        let _turn = self.turns.take();
        self.backings.release(handle.0);
        let (busy, released) = (Busy::new(&self.fs), self.fs.begin_release(handle.0));
        // Nobody waits for the answer.
        reply.ok();
        let lane = released.as_ref().map_or(Lane::Quick, |file| file.handle.lane());
        self.run(lane, move || busy.fs().end_release(released));
    }

    fn fallocate(
        &self, request: &Request, ino: INodeNo, handle: FileHandle, offset: u64, length: u64,
        mode: i32, reply: ReplyEmpty,
    ) {
        let _turn = self.turns.take();
        let call = self.call(Operation::Fallocate, request, ino);
        // The disk may have to write zeros.
        self.answer_slowly(call, reply, move |call| {
            call.fs().allocate(handle.0, offset, length, allocations(mode)?)
        });
    }

    fn copy_file_range(
        &self, request: &Request, ino: INodeNo, handle: FileHandle, offset: u64, new_ino: INodeNo,
        new_handle: FileHandle, new_offset: u64, length: u64, _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let _turn = self.turns.take();
        let call = self.call(Operation::Copy, request, new_ino).from(ino, OsStr::new(""));
        let (from, to) = ((handle.0, offset), (new_handle.0, new_offset));
        let length = length.min(u64::from(u32::MAX));
        self.slow.run(move || match call.run(|call| call.fs().copy(from, to, length)) {
            Ok(count) => reply.written(u32::try_from(count).unwrap_or(u32::MAX)),
            Err(errno) => reply.error(errno),
        });
    }

    fn opendir(&self, request: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let _turn = self.turns.take();
        let call = self.call(Operation::Opendir, request, ino);
        match call.run(|call| call.fs().opendir(call.ino)) {
            Ok(handle) => reply.opened(FileHandle(handle), FopenFlags::empty()),
            Err(errno) => reply.error(errno),
        }
    }

    fn readdir(
        &self, request: &Request, ino: INodeNo, handle: FileHandle, offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let _turn = self.turns.take();
        let call = self.call(Operation::Readdir, request, ino);
        let listed = call.run(|call| {
            let folder = (call.ino, handle.0);
            call.fs().readdir(folder, offset, false, &mut |row: Row<'_>| {
                reply.add(INodeNo(row.ino.0), row.offset, file_type(row.is_folder), row.name)
            })
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    fn readdirplus(
        &self, request: &Request, ino: INodeNo, handle: FileHandle, offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let _turn = self.turns.take();
        let call = self.call(Operation::ReaddirPlus, request, ino);
        let listed = call.run(|call| {
            let folder = (call.ino, handle.0);
            call.fs().readdir(folder, offset, true, &mut |row: Row<'_>| {
                row.stat.is_some_and(|(stat, life)| {
                    let attr = file_attr(row.ino, &stat);
                    reply.add(INodeNo(row.ino.0), row.offset, row.name, &life, &attr, GENERATION)
                })
            })
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    fn releasedir(
        &self, _request: &Request, _ino: INodeNo, handle: FileHandle, _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        let _turn = self.turns.take();
        self.fs.release(handle.0);
        reply.ok();
    }

    fn fsyncdir(
        &self, request: &Request, ino: INodeNo, handle: FileHandle, _data_only: bool,
        reply: ReplyEmpty,
    ) {
        let _turn = self.turns.take();
        let call = self.call(Operation::Fsync, request, ino);
        self.answer_slowly(call, reply, move |call| call.fs().sync(handle.0));
    }

    fn statfs(&self, request: &Request, ino: INodeNo, reply: ReplyStatfs) {
        let _turn = self.turns.take();
        let call = self.call(Operation::Statfs, request, ino);
        match call.run(|call| call.fs().statfs()) {
            Ok(room) => reply_room(&room, reply),
            Err(errno) => reply.error(errno),
        }
    }

    fn getxattr(
        &self, request: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr,
    ) {
        let _turn = self.turns.take();
        let call = self.call(Operation::Getxattr, request, ino);
        let name = name.to_owned();
        self.run(xattr_lane(&name), move || {
            call.xattr(reply, size, |call| call.fs().getxattr(call.ino, &name));
        });
    }

    fn listxattr(&self, request: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        let _turn = self.turns.take();
        let call = self.call(Operation::Listxattr, request, ino);
        call.xattr(reply, size, |call| call.fs().listxattr(call.ino));
    }

    fn setxattr(
        &self, request: &Request, ino: INodeNo, name: &OsStr, value: &[u8], flags: i32,
        _position: u32, reply: ReplyEmpty,
    ) {
        let _turn = self.turns.take();
        let call = self.call(Operation::Setxattr, request, ino);
        let (name, value) = (name.to_owned(), value.to_owned());
        self.answer_slowly(call, reply, move |call| {
            let condition = match flags {
                libc::XATTR_CREATE => SetCondition::MustNotExist,
                libc::XATTR_REPLACE => SetCondition::MustExist,
                _ => SetCondition::None,
            };
            call.fs().setxattr(call.ino, &name, Some(&value), condition)
        });
    }

    fn removexattr(&self, request: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let _turn = self.turns.take();
        let call = self.call(Operation::Removexattr, request, ino);
        call.empty(reply, |call| call.fs().setxattr(call.ino, name, None, SetCondition::None));
    }

    /// The kernel checks permissions itself (`default_permissions`).
    fn access(&self, _request: &Request, _ino: INodeNo, _mask: AccessFlags, reply: ReplyEmpty) {
        reply.ok();
    }

    fn ioctl(
        &self, _request: &Request, _ino: INodeNo, _handle: FileHandle, _flags: IoctlFlags,
        _command: u32, _data: &[u8], _size: u32, reply: ReplyIoctl,
    ) {
        reply.error(Errno::ENOTTY);
    }

    /// The kernel's own answer is right: one extent of data. ENOSYS says so for good.
    fn lseek(
        &self, _request: &Request, _ino: INodeNo, _handle: FileHandle, _offset: i64, _whence: i32,
        reply: ReplyLseek,
    ) {
        reply.error(Errno::ENOSYS);
    }
}
