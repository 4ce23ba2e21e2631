//! Why a mount could not be made or taken away, and what to do about it.

use std::{ffi::OsString, io, path::PathBuf};

/// What requests arrive on.
pub(in crate::fs) const DEVICE: &str = "/dev/fuse";

/// Why a mount could not be made or taken away.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// Nothing is at the mountpoint.
    #[error("there is no directory {at}: make it first (mkdir -p {at})", at = .0.display())]
    Missing(PathBuf),
    /// Something else is at the mountpoint.
    #[error("{} is not a directory: mount on a directory", .0.display())]
    NotDirectory(PathBuf),
    /// Another registry is mounted there.
    #[error(
        "{at} is in use: {source_shown} is mounted there; unmount it first (regfs umount {at}), or \
         choose another directory", at = .mountpoint.display(), source_shown = .shown.display()
    )]
    InUse {
        /// Where.
        mountpoint: PathBuf,
        /// Its source.
        shown: OsString,
    },
    /// Another registry is mounted there and does not answer.
    #[error(
        "the regfs mount at {at} does not answer: take it away (regfs umount --lazy {at}) and try \
         again", at = .0.display()
    )]
    Silent(PathBuf),
    /// Something was mounted over ours.
    #[error("{at} is covered by another mount: unmount that first (umount {at})", at = .0.display())]
    Covered(PathBuf),
    /// The kernel has no FUSE, or the container was not given it.
    #[error("could not open {DEVICE}: {0}; {remedy}", remedy = device_remedy(.0))]
    Device(io::Error),
    /// Only root may mount without help.
    #[error("mounting needs root or the program fusermount3: install it (apt install fuse3)")]
    HelperMissing,
    /// The helper program refused.
    #[error("fusermount3 refused {}: {said}{}", .mountpoint.display(), helper_remedy(.said))]
    Helper {
        /// Where.
        mountpoint: PathBuf,
        /// What it printed.
        said: String,
    },
    /// What the mount was made with cannot be changed while it is there.
    #[error("{what} cannot change while it is mounted: unmount {at} (regfs umount {at}), and mount it \
        anew", at = .mountpoint.display())]
    Fixed {
        /// What.
        what: &'static str,
        /// Where.
        mountpoint: PathBuf,
    },
    /// The system refused.
    #[error("could not {doing} {}: {source}", .path.display())]
    Io {
        /// What was being done, as a verb.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl MountError {
    /// For `map_err`: the system's refusal, with what was being done to what.
    pub(in crate::fs) fn io<E: Into<io::Error>>(
        doing: &'static str, path: impl Into<PathBuf>,
    ) -> impl FnOnce(E) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source: source.into() }
    }

    /// Whether a moment later it may be otherwise: somebody else is mounted there, who may be about
    /// to end; or what was in the way has gone since it was looked for.
    pub(in crate::fs) fn may_pass(&self) -> bool {
        match self {
            Self::InUse { .. } => true,
            Self::Io { source, .. } => {
                matches!(source.raw_os_error(), Some(libc::EINVAL | libc::ENOTCONN))
            }
            Self::Helper { said, .. } => said.contains("not found in"),
            Self::Missing(_)
            | Self::NotDirectory(_)
            | Self::Silent(_)
            | Self::Covered(_)
            | Self::Device(_)
            | Self::Fixed { .. }
            | Self::HelperMissing => false,
        }
    }

    /// Whether it is that somebody still uses the mount.
    pub fn is_busy(&self) -> bool {
        match self {
            Self::Io { source, .. } => source.raw_os_error() == Some(libc::EBUSY),
            Self::Helper { said, .. } => said.contains("busy"),
            Self::Missing(_)
            | Self::NotDirectory(_)
            | Self::InUse { .. }
            | Self::Silent(_)
            | Self::Covered(_)
            | Self::Device(_)
            | Self::Fixed { .. }
            | Self::HelperMissing => false,
        }
    }
}

fn device_remedy(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::PermissionDenied {
        "let this user open it (chmod 666 /dev/fuse), or mount as root"
    } else {
        "load the module (modprobe fuse), or start the container with --device /dev/fuse \
         --cap-add SYS_ADMIN"
    }
}

/// What to do about a refusal of fusermount3, as far as it does not say so itself.
fn helper_remedy(said: &str) -> &'static str {
    if said.contains("user_allow_other") {
        "; ask who runs this machine to put that word on a line of its own there, or leave \
         allow_other out"
    } else if said.contains("write access to mountpoint") || said.contains("not owned by") {
        "; take a directory that is yours, or mount as root"
    } else if said.contains("too many FUSE filesystems") {
        "; unmount some, or raise mount_max in /etc/fuse.conf"
    } else {
        ""
    }
}
