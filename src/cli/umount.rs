//! `regfs umount`: takes a mount away, waits for its daemon, and says who is in the way.

use crate::cli::owner::Owner;
use crate::config::UNMOUNT_WAIT;
use crate::daemon;
use crate::fs::mount::{self, MountError};
use crate::fs::mountinfo::{self, Answer, MountEntry, Place};
use crate::fs::quoted;
use anyhow::{Context, Result, bail};
use rustix::process::Pid;
use serde::Deserialize;
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// How many of the processes that use a mount are named.
const USERS_SHOWN_MAX: usize = 5;
/// How long a mount may take to say whether it lives, before its daemon counts as hanging.
const PROBE_PATIENCE: Duration = Duration::from_secs(5);
/// Unmounts the registry at `mountpoint`.
pub(super) fn run(mountpoint: &Path, lazy: bool) -> Result<()> {
    let (path, entry) = find(mountpoint)?;
    // Before the mount is gone, since afterwards nothing tells.
    let daemon = if lazy { None } else { daemon_of(&path)? };
    match mount::patiently(MountError::is_busy, || mount::unmount(&path, lazy)) {
        Ok(()) => {}
        Err(error) => match Owner::of(&entry).filter(|owner| !owner.is_obeyed()) {
            Some(owner) => bail!(
                "{0} was mounted by {owner}: only {1} can unmount it (regfs umount {0})",
                quoted(&path),
                owner.or_root()
            ),
            None if error.is_busy() => bail!("{}", busy(&path)),
            None => return Err(error.into()),
        },
    }
    if let Some(pid) = daemon.filter(|_| !is_mounted_elsewhere(&entry))
        && !daemon::wait_for_end(pid, UNMOUNT_WAIT)
    {
        bail!(
            "{} is unmounted, but its daemon (pid {}) has not ended within {} s; it may still be \
             writing to {}",
            path.display(),
            pid.as_raw_nonzero(),
            UNMOUNT_WAIT.as_secs(),
            entry.source.display()
        );
    }
    Ok(())
}

/// The regfs mount at `mountpoint`, by its real path.
pub(super) fn find(mountpoint: &Path) -> Result<(PathBuf, MountEntry)> {
    let shown = mountpoint.display();
    let place = Place::find(mountpoint).with_context(|| format!("could not find {shown}"))?;
    // Only what is copied out leaves: a place that is held keeps its mount busy.
    match place.mount()? {
        Some(entry) if entry.is_regfs() => Ok((place.path, entry)),
        Some(entry) => bail!(
            "{shown} is a mount of type {}, not {}: use umount for it",
            entry.kind,
            mountinfo::MOUNT_TYPE
        ),
        None => match place.surrounding()? {
            Some(entry) if entry.is_regfs() => bail!(
                "{shown} is a place in the mount at {0}: name the mount itself, {0}",
                quoted(&entry.mountpoint)
            ),
            Some(_) | None => bail!("nothing is mounted at {shown}: regfs status lists what is"),
        },
    }
}

/// The process that serves the mount at `path`, when that can be known. Errors: the mount hangs.
fn daemon_of(path: &Path) -> Result<Option<Pid>> {
    #[derive(Deserialize)]
    struct Status {
        pid: i32,
    }
    match mountinfo::probe(path, PROBE_PATIENCE) {
        Answer::Alive => {}
        Answer::Stale => return Ok(None),
        Answer::Silent => bail!(
            "the mount at {0} does not answer: take it away with regfs umount --lazy {0}",
            path.display()
        ),
    }
    let status = fs::read(path.join(".regfs/status")).ok();
    let status = status.and_then(|text| serde_json::from_slice::<Status>(&text).ok());
    // Seen from another process namespace the number may be somebody else's.
    Ok(status
        .and_then(|status| Pid::from_raw(status.pid))
        .filter(|pid| process_name(&format!("/proc/{}", pid.as_raw_nonzero())).contains("regf")))
}

/// Whether a bind mount keeps the file system, and so its daemon, alive.
fn is_mounted_elsewhere(gone: &MountEntry) -> bool {
    mountinfo::read().is_ok_and(|entries| entries.iter().any(|entry| entry.device == gone.device))
}

/// Says that `path` is in use, and by whom, as far as this user can see.
fn busy(path: &Path) -> String {
    let users = users(path);
    let mut shown: Vec<_> = users.iter().take(USERS_SHOWN_MAX).cloned().collect();
    if users.len() > shown.len() {
        shown.push(format!("and {} more", users.len() - shown.len()));
    }
    let by = if shown.is_empty() { String::new() } else { format!(" by {}", shown.join(", ")) };
    format!(
        "{0} is in use{by}: end that and try again, or take it away at once with regfs umount --lazy {0}",
        path.display()
    )
}

/// `PID NAME` of each other process with a working folder, a root or an open file in `path`.
fn users(path: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = process.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        if pid == std::process::id() {
            continue;
        }
        let folder = format!("/proc/{pid}");
        let files = fs::read_dir(format!("{folder}/fd")).into_iter().flatten().flatten();
        let links = ["cwd", "root", "exe"].map(|link| PathBuf::from(&folder).join(link));
        let mut links = links.into_iter().chain(files.map(|file| file.path()));
        // The links are read, not followed: nothing is asked of the mount.
        if links.any(|link| fs::read_link(link).is_ok_and(|target| target.starts_with(path))) {
            found.push(format!("{pid} {}", process_name(&folder)));
        }
    }
    found
}

fn process_name(folder: &str) -> String {
    fs::read_to_string(format!("{folder}/comm")).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_mount_of_ours_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let refusal = |path: &Path| run(path, false).unwrap_err().to_string();
        assert!(refusal(dir.path()).contains("nothing is mounted at"));
        assert!(refusal(Path::new("/proc")).contains("of type proc"));
        assert!(refusal(&dir.path().join("no")).contains("could not find"));
    }

    #[test]
    fn who_uses_a_folder_is_named() {
        let dir = tempfile::tempdir().unwrap();
        assert!(users(dir.path()).is_empty());
        let mut sleeper =
            std::process::Command::new("sleep").arg("60").current_dir(dir.path()).spawn().unwrap();
        let _open = fs::File::create(dir.path().join("file")).unwrap();
        let [own, other] = [std::process::id(), sleeper.id()].map(|pid| format!("{pid} "));
        let (users, said) = (users(dir.path()), busy(dir.path()));
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
        assert!(users.iter().any(|user| user.starts_with(&other)), "{users:?}");
        assert!(said.contains(&other) && said.contains("--lazy"), "{said}");
        assert!(!said.contains(&own), "{said}");
    }
}
