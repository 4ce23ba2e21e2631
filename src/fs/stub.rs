//! STUB until `fs/mod.rs` and `fs/fuse.rs` are there: an empty directory with a control file.
#![allow(missing_docs, reason = "it goes away")]

use crate::registry::Registry;
use fuser::*;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[derive(Default)]
pub struct FsOptions {
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub umask: Option<u32>,
    pub gives_files_away: bool,
    pub options: String,
    pub metrics: Vec<()>,
    pub source: String,
    pub mountpoint: PathBuf,
}

pub struct RegistryFs(FsOptions);

impl RegistryFs {
    pub fn new(_registry: Arc<dyn Registry>, options: FsOptions) -> Self {
        Self(options)
    }

    fn content(&self, ino: u64) -> Option<String> {
        let (source, at) = (&self.0.source, self.0.mountpoint.display());
        match ino {
            3 => Some(format!(
                "{{\"pid\":{},\"version\":\"stub\",\"source\":\"{source}\",\"mountpoint\":\"{at}\",\
                 \"inodes\":{{\"known\":4,\"max\":1000}},\"handles\":[]}}\n",
                std::process::id()
            )),
            4 => Some("2026-01-01T00:00:00Z pid 1 create a/b: EINVAL: refused\n".to_owned()),
            _ => None,
        }
    }
}

pub(super) struct FuseAdapter(Arc<RegistryFs>);

impl FuseAdapter {
    pub(super) fn new(fs: Arc<RegistryFs>) -> Self {
        Self(fs)
    }

    fn attr(&self, ino: u64) -> FileAttr {
        let content = self.0.content(ino);
        let now: SystemTime = UNIX_EPOCH;
        FileAttr {
            ino: INodeNo(ino),
            size: content.as_ref().map_or(0, |c| c.len() as u64),
            blocks: 0,
            atime: now,
            mtime: now,
            ctime: now,
            crtime: now,
            kind: if content.is_some() { FileType::RegularFile } else { FileType::Directory },
            perm: if content.is_some() { 0o444 } else { 0o755 },
            nlink: 1,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }
}

impl Filesystem for FuseAdapter {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let ino = match (parent.0, name.to_str()) {
            (1, Some(".regfs")) => 2,
            (2, Some("status")) => 3,
            (2, Some("errors")) => 4,
            _ => return reply.error(Errno::ENOENT),
        };
        reply.entry(&Duration::ZERO, &self.attr(ino), Generation(0));
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&Duration::ZERO, &self.attr(ino.0));
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        _: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let content = self.0.content(ino.0).unwrap_or_default();
        reply.data(content.as_bytes().get(offset as usize..).unwrap_or_default());
    }

    fn readdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: u64, reply: ReplyDirectory) {
        reply.ok();
    }
}
