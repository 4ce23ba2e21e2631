//! `mount -o remount`: other flags for a mount that is there. The daemon does not notice; what it was
//! started with stays, and what it cannot become is refused.

use crate::cli::{status, umount};
use crate::config::MountOptions;
use crate::fs::mount::{self, MountError};
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::{fs, path::Path};

/// Gives the mount at `mountpoint` the flags of `wanted`.
pub(super) fn run(mountpoint: &Path, wanted: &MountOptions) -> Result<()> {
    #[derive(Deserialize)]
    struct Status {
        mounted_with: String,
    }
    if !rustix::process::geteuid().is_root() {
        bail!("only root can remount: unmount it, and mount it with the other options");
    }
    let (path, entry) = umount::find(mountpoint)?;
    status::check_alive(&path, &entry)?;
    let file = path.join(".regfs/status");
    let text = fs::read(&file).with_context(|| format!("could not read {}", file.display()))?;
    let status: Status =
        serde_json::from_slice(&text).with_context(|| format!("{} is not JSON", file.display()))?;
    let made = MountOptions::parse(&[status.mounted_with], true)?;
    if let Some(what) = wanted.fixed_since(&made) {
        return Err(MountError::Fixed { what, mountpoint: path }.into());
    }
    match mount::remount(&path, wanted.flags) {
        Err(error) if error.is_busy() => bail!(
            "something on {} is open for writing: close it (fuser -vm {0} shows by whom), and try \
             again",
            path.display()
        ),
        outcome => Ok(outcome?),
    }
}
