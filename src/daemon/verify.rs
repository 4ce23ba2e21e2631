//! A verification put together: the store, how it is opened, and the signals that end it. What was
//! found is shown in `cli/verify.rs`.

use crate::config;
use crate::model::Error;
use anyhow::{Context, Result, anyhow};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
};
use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize},
    },
};

pub(crate) use crate::store::verify::{
    Counts, Ended, Finding, Outcome, Verification, VerifyOptions,
};

/// What ends a verification, which can go on later.
const ENDING_SIGNALS: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];
/// What a shell adds to the number of a signal.
const SIGNALLED: i32 = 128;

/// Opens the store in the folder `root`.
pub(crate) fn open(root: &Path, options: VerifyOptions) -> Result<Verification> {
    rustix::process::umask(config::DAEMON_UMASK.into());
    super::raise_file_limit();
    Verification::open(root, options).map_err(|error| refused(root, error))
}

/// Gets the number of the signal that asks for the end. A second one ends the program at once.
pub(crate) fn watch_signals() -> Result<Arc<AtomicUsize>> {
    let (stop, is_second) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    for signal in ENDING_SIGNALS {
        let number = usize::try_from(signal).unwrap_or_default();
        flag::register_conditional_shutdown(signal, SIGNALLED + signal, Arc::clone(&is_second))
            .and_then(|_| flag::register(signal, Arc::clone(&is_second)))
            .and_then(|_| flag::register_usize(signal, Arc::clone(&stop), number))
            .context("could not watch for signals")?;
    }
    Ok(stop)
}

/// Why a store could not be opened, and what to do.
fn refused(root: &Path, error: Error) -> anyhow::Error {
    let at = root.display();
    let kind = if let Error::Io { source, .. } = &error { Some(source.kind()) } else { None };
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
