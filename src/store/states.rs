//! Kept states of an upload's running hash, so that resuming it does not read again what was
//! hashed: `hashstates/sha256/OFFSET`, as docker-registry writes them too.
//!
//! docker-registry trusts a state blindly whose offset is the length of the data. So does, in
//! effect, everyone: that a state fits the bytes before its offset cannot be seen from it. What
//! keeps it true:
//!
//! 1. A state is written after the data it covers was synced, so a power cut cannot leave a state
//!    with other bytes.
//! 2. Before a byte that a state covers changes, the state is removed, and the removal is synced,
//!    so a power cut cannot bring it back. (docker-registry only ever appends.)
//! 3. Who writes neither through this program nor through docker-registry is noticed where that is
//!    possible: a state for exactly the length of the data is trusted only when the data did not
//!    change after it. What counts is the system's own time of change (ctime), which nobody can set
//!    back; the cost is that a `chmod` or `touch` in between has everything hashed again. When the
//!    data is longer than the state, a change after it is what appending looks like (a killed
//!    writer, the normal case), and it is trusted.
//!
//! A state beyond the end of the data (docker-registry writes it before the data) covers bytes that
//! are yet to come, perhaps others: it is removed at once.

use crate::model::{Digester, Error, Result, STATE_LENGTH, UploadId};
use crate::store::{
    directory::Directory,
    durable::{Draft, Scratch},
    folder::{self, Folder},
    layout, sync,
};
use rustix::fs::Stat;
use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

/// The newest kept state that fits the data, `stat` being what the system knows of that; all others
/// are removed. Nothing hashed when there is none.
pub(super) fn take_up(repository: &Folder, id: UploadId, stat: &Stat) -> Result<Digester> {
    let at = layout::upload_file(id, layout::STATES);
    let Some(states) = repository.open_folder(&at)? else { return Ok(Digester::default()) };
    let mut offsets = list(&states)?;
    offsets.sort_unstable();
    let mut found = None;
    for offset in offsets.into_iter().rev() {
        if found.is_none() {
            found = read(&states, offset, stat)?;
            if found.is_some() {
                continue;
            }
        }
        states.remove_file(layout::state(offset))?;
    }
    sync::folder(repository.place(&at))?;
    Ok(found.unwrap_or_default())
}

/// The state for `offset` if it is to be trusted.
fn read(states: &Folder, offset: u64, data: &Stat) -> Result<Option<Digester>> {
    let at = layout::state(offset);
    let (Some(bytes), Some(state)) =
        (states.read(&at, STATE_LENGTH as u64 + 1)?, states.stat(&at)?)
    else {
        return Ok(None);
    };
    let changed = |stat: &Stat| (stat.st_ctime, stat.st_ctime_nsec);
    let length = folder::length(data);
    let is_fresh = offset < length || (offset == length && changed(data) < changed(&state));
    let digester = Digester::from_state(&bytes).filter(|digester| digester.length() == offset);
    Ok(digester.filter(|_| is_fresh))
}

/// A state ready to be kept.
pub(super) fn draft<'a>(scratch: &'a Scratch, digester: &Digester) -> Result<Draft<'a>> {
    let draft = scratch.draft()?;
    draft.file().write_all(&digester.state()).map_err(Error::io("write", draft.path()))?;
    draft.sync()?;
    Ok(draft)
}

/// Where the state for `offset` lies, relative to the repository's folder.
pub(super) fn place(id: UploadId, offset: u64) -> PathBuf {
    layout::upload_file(id, layout::STATES).join(layout::state(offset))
}

/// Removes every state that covers bytes from `offset` on, for good: they are about to change.
pub(super) fn remove_beyond(repository: &Folder, id: UploadId, offset: u64) -> Result<()> {
    remove(repository, id, |kept| kept > offset)?;
    sync::folder(repository.place(Path::new(&layout::upload_file(id, layout::STATES))))
}

/// Removes the states before that for `offset`: nobody needs them any more.
pub(super) fn remove_before(repository: &Folder, id: UploadId, offset: u64) -> Result<()> {
    remove(repository, id, |kept| kept < offset)
}

fn remove(repository: &Folder, id: UploadId, which: impl Fn(u64) -> bool) -> Result<()> {
    let at = layout::upload_file(id, layout::STATES);
    let Some(states) = repository.open_folder(at)? else { return Ok(()) };
    for offset in list(&states)?.into_iter().filter(|offset| which(*offset)) {
        states.remove_file(layout::state(offset))?;
    }
    Ok(())
}

/// The offsets of all states: docker-registry keeps one for each request.
fn list(states: &Folder) -> Result<Vec<u64>> {
    let mut directory = Directory::of(states)?;
    let mut offsets = Vec::new();
    while let Some(entry) = directory.next()? {
        offsets.extend(layout::parse_state(&entry.name));
    }
    Ok(offsets)
}
