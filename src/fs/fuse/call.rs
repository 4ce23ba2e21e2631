//! One request under way: it is done, counted, and its error given a number and a line.

use crate::fs::backing::{Choice, Content};
use crate::fs::counters::Operation;
use crate::fs::fault::{Fault, Result};
use crate::fs::fuse::adapter::FuseAdapter;
use crate::fs::fuse::encode::{GENERATION, file_attr};
use crate::fs::handles::{Kept, Opened, Reading};
use crate::fs::open::OpenMode;
use crate::fs::{Busy, Caller, Entry, Ino, RegistryFs};
use crate::registry::Capacity;
use fuser::{
    Errno, FileHandle, FopenFlags, INodeNo, ReplyAttr, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyStatfs, ReplyXattr, Request,
};
use std::{
    ffi::{OsStr, OsString},
    os::fd::AsFd,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// One request under way: what it is, who asks, and about what.
pub(super) struct Call {
    busy: Busy,
    operation: Operation,
    pub(super) caller: Caller,
    pub(super) ino: Ino,
    pub(super) name: OsString,
    /// What is moved, linked or copied there.
    from: Option<(Ino, OsString)>,
}

impl Call {
    pub(super) fn new(
        fs: &Arc<RegistryFs>, operation: Operation, request: &Request, ino: INodeNo, name: &OsStr,
    ) -> Self {
        let caller = Caller { uid: request.uid(), gid: request.gid(), pid: request.pid() };
        let (ino, name) = (Ino(ino.0), name.to_owned());
        Self { busy: Busy::new(fs), operation, caller, ino, name, from: None }
    }

    /// The same, of a call that brings something from `ino`, or from the name in it.
    pub(super) fn from(self, ino: INodeNo, name: &OsStr) -> Self {
        Self { from: Some((Ino(ino.0), name.to_owned())), ..self }
    }

    /// The file system that is asked.
    pub(super) fn fs(&self) -> &RegistryFs {
        self.busy.fs()
    }

    /// Does it, with panics caught, and chooses the number of an error.
    pub(super) fn run<T>(&self, act: impl FnOnce(&Self) -> Result<T>) -> Result<T, Errno> {
        self.fs().began(self.operation);
        let outcome = catch_unwind(AssertUnwindSafe(|| act(self)));
        let result = outcome.unwrap_or_else(|panic| Err(Fault::Panic(panic_text(&*panic))));
        result.map_err(|fault| {
            let place = (self.ino, &*self.name);
            let from = self.from.as_ref().map(|(ino, name)| (*ino, name.as_os_str()));
            let number = self.fs().refuse(self.operation, &self.caller, from, place, &fault);
            Errno::from_i32(number)
        })
    }

    pub(super) fn entry(&self, reply: ReplyEntry, act: impl FnOnce(&Self) -> Result<Entry>) {
        match self.run(act) {
            Ok(entry) => reply.entry(&entry.life, &file_attr(entry.ino, &entry.stat), GENERATION),
            Err(errno) => reply.error(errno),
        }
    }

    pub(super) fn attr(&self, reply: ReplyAttr, act: impl FnOnce(&Self) -> Result<Entry>) {
        match self.run(act) {
            Ok(entry) => reply.attr(&entry.life, &file_attr(entry.ino, &entry.stat)),
            Err(errno) => reply.error(errno),
        }
    }

    pub(super) fn empty(&self, reply: ReplyEmpty, act: impl FnOnce(&Self) -> Result<()>) {
        match self.run(act) {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    pub(super) fn xattr(
        &self, reply: ReplyXattr, size: u32, act: impl FnOnce(&Self) -> Result<Vec<u8>>,
    ) {
        let fits = |value: Vec<u8>| match u32::try_from(value.len()) {
            Ok(length) if size == 0 || length <= size => Ok((length, value)),
            Ok(_) | Err(_) => Err(Fault::BufferTooSmall { length: value.len() }),
        };
        match (self.run(|call| act(call).and_then(fits)), size) {
            (Ok((length, _)), 0) => reply.size(length),
            (Ok((_, value)), _) => reply.data(&value),
            (Err(errno), _) => reply.error(errno),
        }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    let text = text.unwrap_or("a panic without text").to_owned();
    log::error!("a call panicked: {text}");
    text
}

/// Creates and opens a file which reads ask for. What is there by now and is read by passthrough is
/// opened under another inode.
pub(super) fn create_apart(
    adapter: &FuseAdapter, call: &Call, permissions: u32, mode: OpenMode,
) -> Result<(Entry, Opened)> {
    loop {
        let (entry, opened) =
            call.fs().create(&call.caller, call.ino, &call.name, permissions, mode)?;
        let (ino, handle) = (opened.ino, opened.handle);
        match adapter.backings.choose_without(ino, handle, Choice::Direct) {
            Choice::Stale => call.fs().abandon_created(&entry, &opened),
            Choice::Direct | Choice::Cached(_) | Choice::Passthrough(_) => {
                return Ok((entry, opened));
            }
        }
    }
}

/// Answers an open, by passthrough where that is possible.
pub(super) fn reply_opened(adapter: &FuseAdapter, opened: &Opened, reply: ReplyOpen) {
    let handle = FileHandle(opened.handle);
    let mut flags = FopenFlags::empty();
    flags.set(FopenFlags::FOPEN_NOFLUSH, !opened.flush);
    let layer_file = match &opened.reading {
        Reading::Layer(layer, _) => layer.backing_file(),
        Reading::Cached(_) | Reading::Direct => None,
    };
    let content = layer_file.and_then(|file| Some((file, rustix::fs::fstat(file).ok()?)));
    let choice = match content {
        Some((file, stat)) => {
            let make = || reply.open_backing(file.as_fd());
            adapter.backings.choose(opened.ino, opened.handle, Content::of(&stat), make)
        }
        None => {
            let choice = match &opened.reading {
                Reading::Layer(..) | Reading::Cached(_) => Choice::Cached(Kept::Valid),
                Reading::Direct => Choice::Direct,
            };
            adapter.backings.choose_without(opened.ino, opened.handle, choice)
        }
    };
    match choice {
        Choice::Passthrough(backing) => reply.opened_passthrough(handle, flags, &backing),
        Choice::Direct => reply.opened(handle, flags | FopenFlags::FOPEN_DIRECT_IO),
        Choice::Cached(kept) => {
            let keeps = kept == Kept::Valid && opened.reading.keeps();
            flags.set(FopenFlags::FOPEN_KEEP_CACHE, keeps);
            reply.opened(handle, flags);
        }
        Choice::Stale => {
            adapter.fs.abandon(opened);
            reply.error(Errno::ESTALE);
        }
    }
}

/// Longest file name.
const NAME_BYTES_MAX: u32 = 255;
/// The block size that `df` counts in.
const BLOCK_BYTES: u32 = 4096;

/// Answers `df`.
pub(super) fn reply_room(room: &Capacity, reply: ReplyStatfs) {
    let blocks = |bytes: u64| bytes / u64::from(BLOCK_BYTES);
    let (all, free) = (blocks(room.bytes), blocks(room.bytes_free));
    let available = blocks(room.bytes_available);
    let (files, files_free) = (room.files, room.files_free);
    reply.statfs(all, free, available, files, files_free, BLOCK_BYTES, NAME_BYTES_MAX, BLOCK_BYTES);
}
