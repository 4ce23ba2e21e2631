//! A verification put together: the store, and how it is opened. What was found is shown in
//! `cli/verify.rs`.

use crate::config;
use crate::model::Error;
use anyhow::{Result, anyhow};
use std::{io, path::Path};

pub(crate) use crate::store::verify::{
    Counts, Ended, Finding, Outcome, Verification, VerifyOptions,
};

/// Opens the store in the folder `root`.
pub(crate) fn open(root: &Path, options: VerifyOptions) -> Result<Verification> {
    rustix::process::umask(config::DAEMON_UMASK.into());
    super::raise_file_limit();
    Verification::open(root, options).map_err(|error| refused(root, error))
}

/// Why a store could not be opened, and what to do.
fn refused(root: &Path, error: Error) -> anyhow::Error {
    let at = root.display();
    let kind = if let Error::Io { source, .. } = &error { Some(source.kind()) } else { None };
    if let Error::StoreVersion { .. } = &error {
        return anyhow!("{error}: use a newer regfs");
    }
    match kind {
        Some(io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => anyhow!(
            "there is no registry in {at}: name the folder that is given to regfs mount, or to \
             docker-registry as its rootdirectory"
        ),
        Some(io::ErrorKind::PermissionDenied) => {
            anyhow!("{error}; let this user read the store {at}, or run as its owner or as root")
        }
        Some(io::ErrorKind::ReadOnlyFilesystem) => {
            anyhow!("{error}; the disk is read-only: leave --quarantine out")
        }
        Some(_) | None => error.into(),
    }
}
