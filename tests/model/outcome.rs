//! How a step ends, in the mount and in the model alike.

use super::words::called;
use regfs::fs::errno::{Explanation, explain};
use regfs::model::Error;
use std::fmt;

/// How a step ends.
#[derive(Clone)]
pub(crate) enum Outcome {
    Done,
    Read(Vec<u8>),
    Refused(Refusal),
    /// What a docker-registry says; of the model's refusals it stands for any.
    Answered(u16),
    /// There was nothing to do: no file is open in this slot.
    Nothing,
}

impl PartialEq for Outcome {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Done, Self::Done) | (Self::Nothing, Self::Nothing) => true,
            (Self::Read(one), Self::Read(other)) => one == other,
            (Self::Refused(one), Self::Refused(other)) => one == other,
            (Self::Refused(_), Self::Answered(_)) | (Self::Answered(_), Self::Refused(_)) => true,
            _ => false,
        }
    }
}

/// An error's number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal(pub(crate) i32);

/// The result of a step.
pub(crate) type Result<T = (), E = Refusal> = std::result::Result<T, E>;

pub(crate) const EBADF: Refusal = Refusal(libc::EBADF);
pub(crate) const EBADMSG: Refusal = Refusal(libc::EBADMSG);
pub(crate) const EBUSY: Refusal = Refusal(libc::EBUSY);
pub(crate) const EEXIST: Refusal = Refusal(libc::EEXIST);
pub(crate) const EFBIG: Refusal = Refusal(libc::EFBIG);
pub(crate) const EINVAL: Refusal = Refusal(libc::EINVAL);
pub(crate) const EISDIR: Refusal = Refusal(libc::EISDIR);
pub(crate) const ENODATA: Refusal = Refusal(libc::ENODATA);
pub(crate) const ENOENT: Refusal = Refusal(libc::ENOENT);
pub(crate) const ENOTDIR: Refusal = Refusal(libc::ENOTDIR);
pub(crate) const ENOTEMPTY: Refusal = Refusal(libc::ENOTEMPTY);
pub(crate) const EOPNOTSUPP: Refusal = Refusal(libc::EOPNOTSUPP);
pub(crate) const EPERM: Refusal = Refusal(libc::EPERM);
pub(crate) const EXDEV: Refusal = Refusal(libc::EXDEV);

/// What the registry refuses has the number that `src/fs/errno.rs` chooses, and a test there keeps.
impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self(explain(&error.into()).number)
    }
}

impl From<std::io::Error> for Refusal {
    fn from(error: std::io::Error) -> Self {
        Self(error.raw_os_error().unwrap_or_else(|| panic!("{error}")))
    }
}

impl From<rustix::io::Errno> for Refusal {
    fn from(errno: rustix::io::Errno) -> Self {
        Self(errno.raw_os_error())
    }
}

impl From<Result> for Outcome {
    fn from(result: Result) -> Self {
        match result {
            Ok(()) => Self::Done,
            Err(refusal) => Self::Refused(refusal),
        }
    }
}

impl fmt::Debug for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => formatter.write_str("done"),
            Self::Read(bytes) => write!(formatter, "read {}", called(bytes)),
            Self::Refused(refusal) => write!(formatter, "{refusal:?}"),
            Self::Answered(status) => write!(formatter, "answered {status}"),
            Self::Nothing => formatter.write_str("nothing to do"),
        }
    }
}

impl fmt::Debug for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let explanation = Explanation { number: self.0, remedy: "", is_refusal: false };
        formatter.write_str(&explanation.name())
    }
}
