//! What was done and how often: the numbers behind `.regfs/metrics`.

use std::sync::atomic::{AtomicU64, Ordering};

/// The operations of the mount, as logs and metrics name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Lookup,
    Getattr,
    Setattr,
    Mkdir,
    Mknod,
    Symlink,
    Unlink,
    Rmdir,
    Rename,
    Link,
    Open,
    Create,
    Read,
    Write,
    Flush,
    Fsync,
    Fallocate,
    Copy,
    Opendir,
    Readdir,
    ReaddirPlus,
    Statfs,
    Getxattr,
    Setxattr,
    Listxattr,
    Removexattr,
}

impl Operation {
    /// Every operation, in the order of the enum.
    pub(super) const ALL: [Self; 26] = [
        Self::Lookup,
        Self::Getattr,
        Self::Setattr,
        Self::Mkdir,
        Self::Mknod,
        Self::Symlink,
        Self::Unlink,
        Self::Rmdir,
        Self::Rename,
        Self::Link,
        Self::Open,
        Self::Create,
        Self::Read,
        Self::Write,
        Self::Flush,
        Self::Fsync,
        Self::Fallocate,
        Self::Copy,
        Self::Opendir,
        Self::Readdir,
        Self::ReaddirPlus,
        Self::Statfs,
        Self::Getxattr,
        Self::Setxattr,
        Self::Listxattr,
        Self::Removexattr,
    ];

    /// The name in logs, metrics and `.regfs/errors`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Lookup => "lookup",
            Self::Getattr => "getattr",
            Self::Setattr => "setattr",
            Self::Mkdir => "mkdir",
            Self::Mknod => "mknod",
            Self::Symlink => "symlink",
            Self::Unlink => "unlink",
            Self::Rmdir => "rmdir",
            Self::Rename => "rename",
            Self::Link => "link",
            Self::Open => "open",
            Self::Create => "create",
            Self::Read => "read",
            Self::Write => "write",
            Self::Flush => "close",
            Self::Fsync => "fsync",
            Self::Fallocate => "fallocate",
            Self::Copy => "copy_file_range",
            Self::Opendir => "opendir",
            Self::Readdir => "readdir",
            Self::ReaddirPlus => "readdirplus",
            Self::Statfs => "statfs",
            Self::Getxattr => "getxattr",
            Self::Setxattr => "setxattr",
            Self::Listxattr => "listxattr",
            Self::Removexattr => "removexattr",
        }
    }
}

/// Counts since the mount began. Each is exact; together they are not of one moment.
#[derive(Debug, Default)]
pub(super) struct Counters {
    done: [AtomicU64; Operation::ALL.len()],
    failed: [AtomicU64; Operation::ALL.len()],
    bytes_read: AtomicU64,
    bytes_written: AtomicU64,
    bytes_copied: AtomicU64,
}

impl Counters {
    /// An operation was asked for.
    pub(super) fn began(&self, operation: Operation) {
        self.done[operation as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// An operation ended with an error, of whatever kind.
    pub(super) fn failed(&self, operation: Operation) {
        self.failed[operation as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Bytes went to a reader. What the kernel reads by passthrough is not seen here.
    pub(super) fn read(&self, count: usize) {
        self.bytes_read.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// Bytes came from a writer.
    pub(super) fn wrote(&self, count: usize) {
        self.bytes_written.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// Bytes were copied between open files.
    pub(super) fn copied(&self, count: u64) {
        self.bytes_copied.fetch_add(count, Ordering::Relaxed);
    }

    /// How often each operation was asked for, and how often it failed.
    pub(super) fn operations(&self) -> impl Iterator<Item = (Operation, u64, u64)> {
        Operation::ALL.into_iter().map(|operation| {
            let index = operation as usize;
            let load = |counts: &[AtomicU64]| counts[index].load(Ordering::Relaxed);
            (operation, load(&self.done), load(&self.failed))
        })
    }

    /// Bytes read, written and copied.
    pub(super) fn bytes(&self) -> (u64, u64, u64) {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (load(&self.bytes_read), load(&self.bytes_written), load(&self.bytes_copied))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_counts_for_itself() {
        let counters = Counters::default();
        for (index, operation) in Operation::ALL.into_iter().enumerate() {
            assert_eq!(operation as usize, index);
            counters.began(operation);
        }
        assert!(counters.operations().all(|(_, done, failed)| (done, failed) == (1, 0)));
    }
}
