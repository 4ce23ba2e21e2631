//! What an operation on the mount can end with: the registry's errors, and the few that only a file
//! system knows. Numbers are chosen in `errno.rs`.

use crate::model::Error;
use std::ffi::OsStr;

/// The result of an operation on the mount.
pub type Result<T, F = Fault> = std::result::Result<T, F>;

/// Why an operation did not happen.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The registry says why.
    #[error(transparent)]
    Registry(#[from] Error),
    /// The name was removed or given to something else since it was looked up. The kernel then looks
    /// it up again.
    #[error("the name stands for something else by now")]
    Stale,
    /// The name names nothing.
    #[error("there is nothing of this name")]
    NoEntry,
    /// The extended attribute is not set.
    #[error("the attribute is not set")]
    NoAttribute,
    /// The value does not fit into the buffer that the caller gave.
    #[error("the value has {length} bytes, more than the caller asked for")]
    BufferTooSmall {
        /// Length of the value.
        length: usize,
    },
    /// The file system has no such thing; tools ask for it all the time, and go on without it.
    #[error("{0} are not kept here")]
    NotKept(&'static str),
    /// The file system has no such thing, and who asked wanted it.
    #[error("{0} are not kept here")]
    Unkept(&'static str),
    /// A rename or link that would have to copy data; tools copy and remove instead.
    #[error("moving this would copy data; copy it, then remove the original")]
    CrossDevice,
    /// The upload that is open became something that does not change any more.
    #[error("the upload is finished: it is {0} now, and cannot change")]
    Finished(String),
    /// The upload that is open was cancelled.
    #[error("the upload was removed while it was open")]
    Cancelled,
    /// A file was opened anew, and closed with nothing in it.
    #[error("nothing was written to it, and nothing was published")]
    NothingWritten,
    /// Something came through a memory map after the last close, which alone publishes.
    #[error(
        "this was written through a memory map after the file was closed, and is not published"
    )]
    LateWrite,
    /// The open file was opened for something else.
    #[error("the file was not opened for this")]
    BadHandle,
    /// A file was used as a folder.
    #[error("this is not a folder")]
    NotADirectory,
    /// A folder was used as a file.
    #[error("this is a folder")]
    IsADirectory,
    /// A staging folder or area still has files.
    #[error("the folder still has files in it")]
    FolderNotEmpty,
    /// A place in a folder that the listing has not given out, or too long ago.
    #[error("the listing does not know this place, or no longer")]
    PositionUnknown,
    /// A virtual attribute has one value, and it was to be given another.
    #[error("{name} is {value}, because the content decides it")]
    AttributeFixed {
        /// The attribute's name.
        name: &'static str,
        /// The value that it has.
        value: String,
    },
    /// A write at an offset that no file can have.
    #[error("the file would be longer than a file can be")]
    TooLong,
    /// The program has an error; the panic is in the log.
    #[error("regfs has an error here: {0}")]
    Panic(String),
}

impl Fault {
    /// Nothing can be called `name`, for this reason of the grammar `kind`.
    pub(super) fn impossible(kind: &'static str, name: &OsStr, reason: &'static str) -> Self {
        Error::name_invalid(kind, &name.to_string_lossy(), reason).into()
    }

    /// Whether what was asked for is simply not there.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self, Self::NoEntry) || matches!(self, Self::Registry(error) if error.is_unknown())
    }

    /// `name` was to be new, and is taken.
    pub(super) fn exists(name: &OsStr) -> Self {
        Error::Exists(name.to_string_lossy().into_owned()).into()
    }
}
