//! The end of what is out: how long it waits for a docker-registry, which passes no gate.
//!
//! A docker-registry may have found a blob just before it was taken out, and link it a moment later. It
//! does so in three ways (`registry/storage` of 2.1 to 3.0), each with a trace or a mark of its own:
//!
//! - A layer is pushed (`blobwriter.go`). Its upload has a folder in `_uploads` until it is linked. Where
//!   there is none after blobs were taken out, nobody is going to link one of them in this way.
//! - Something is put by its content (`blobStore.Put`). That leaves no trace; but such contents are
//!   manifests, hence objects in JSON, and an empty layer for clients of long ago.
//! - It has a link (`linkedBlobStore.mount`, `verifyManifest`). What is out had none when links were
//!   followed. If it lost its last one before, its folder, or one above, was changed then.
//!
//! So all wait when there is an upload; otherwise what may be put by its content does, and the rest until
//! the last change of folders lies as far back.

use crate::model::Result;
use crate::store::{
    collect::{
        CLOCK_SLACK, Garbage, Marked, Run, Start, check_is_to_go_on,
        marker::{DEPTH_MAX, Scope},
        out::{Ended, Out},
    },
    directory::Directory,
    folder::Folder,
    layout,
};
use std::{
    thread,
    time::{Duration, Instant},
};

/// How long docker-registry may take between finding a blob and linking it. Besides, what is younger
/// than the grace period is not touched at all.
const SETTLE: Duration = Duration::from_secs(5);
/// How often is looked meanwhile whether to stop.
const SETTLE_STEP: Duration = Duration::from_millis(100);

impl Run<'_> {
    /// Deletes what is out, but for what is used again.
    pub(super) fn end(
        &mut self, taken: Vec<Garbage>, marked: &Marked, out: &Out<'_>,
    ) -> Result<()> {
        let late = Instant::now() + SETTLE;
        let soon = self.settled_at(marked, late)?;
        self.settle(soon)?;
        let rest = self.end_settled(taken, marked, out, soon < late)?;
        if rest.is_empty() {
            return Ok(());
        }
        self.settle(late)?;
        self.end_settled(rest, marked, out, false).map(drop)
    }

    /// When nobody is going to link what is out any more, unless it is put by its content; `late` when
    /// that is not known.
    fn settled_at(&self, marked: &Marked, late: Instant) -> Result<Instant> {
        // With this, what has a link may be out.
        if self.options.unreferenced_layers {
            return Ok(late);
        }
        let Some(repositories) = self.store.root.open_folder(layout::REPOSITORIES)? else {
            return Ok(late);
        };
        if self.has_uploads(&repositories, 0)? {
            return Ok(late);
        }
        let closed = self.close_gate()?;
        let (now, changed_at) = (Start::of(&closed)?, marked.marks.changed_at());
        // An upload may have been where nobody has looked; and a clock that was set tells nothing.
        let is_known = closed.moves()? == marked.moves && marked.start.is_in_step_with(now);
        let Some(changed_at) = changed_at.filter(|_| is_known) else { return Ok(late) };
        let passed = now.at.duration_since(changed_at).unwrap_or_default();
        Ok((Instant::now() + SETTLE.saturating_sub(passed)).min(late))
    }

    /// Whether there is an upload in any repository below a folder.
    fn has_uploads(&self, folder: &Folder, depth: usize) -> Result<bool> {
        let Some(mut directory) = Directory::open(folder)? else { return Ok(false) };
        while let Some(entry) = directory.next()? {
            check_is_to_go_on(self.stop)?;
            let is_other = [layout::LAYERS, layout::MANIFESTS].map(Some);
            if !entry.is_folder || is_other.contains(&entry.name.to_str()) {
                continue;
            }
            let Some(inner) = folder.open_folder(&entry.name)? else { continue };
            let has_uploads = match entry.name == layout::UPLOADS {
                true => Directory::open(&inner)?.map_or(Ok(None), |mut it| it.next())?.is_some(),
                false => depth >= DEPTH_MAX || self.has_uploads(&inner, depth + 1)?,
            };
            if has_uploads {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn settle(&self, until: Instant) -> Result<()> {
        while let Some(rest) = until.checked_duration_since(Instant::now()) {
            check_is_to_go_on(self.stop)?;
            thread::sleep(rest.min(SETTLE_STEP));
        }
        Ok(())
    }

    /// Brings back what is used again, and deletes the rest; not what may be put by its content when
    /// `is_soon`: that is given back.
    fn end_settled(
        &mut self, taken: Vec<Garbage>, marked: &Marked, out: &Out<'_>, is_soon: bool,
    ) -> Result<Vec<Garbage>> {
        let since = marked.start.at - CLOCK_SLACK;
        let Marked { marks, start, still, .. } = self.mark_steadily(Scope::Since(since))?;
        drop(still);
        self.check_clock(marked.start, start)?;
        let (used, unused): (Vec<_>, Vec<_>) =
            taken.into_iter().partition(|garbage| marks.has(&garbage.digest.hex()));
        // First of all what somebody may be waiting for.
        for garbage in used {
            out.bring_back(&garbage.digest)?;
            self.collected.brought_back.add(garbage.bytes);
        }
        let mut rest = Vec::new();
        out.delete_all(&unused, is_soon, self.stop, |garbage, ended| match ended {
            Ended::Deleted => self.removed(garbage),
            Ended::BroughtBack => self.collected.brought_back.add(garbage.bytes),
            Ended::NotYet => rest.push(*garbage),
        })?;
        Ok(rest)
    }
}
