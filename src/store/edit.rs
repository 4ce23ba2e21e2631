//! How the bytes of an upload change: never while a hash, a note or a kept state covers them.

use crate::model::Result;
use crate::store::{
    notes,
    progress::Progress,
    states,
    upload::{Life, Shared, Work},
};
use std::{
    fs::File,
    io,
    sync::{Arc, atomic::Ordering},
};

impl Shared {
    /// Changes the data from `offset` on by `edit`, and notes that by `note`. Who has a cancelled
    /// upload open goes on with it, as with a file that was unlinked.
    pub(super) fn edit(
        self: &Arc<Self>, doing: &'static str, offset: u64,
        edit: impl FnOnce(&File) -> io::Result<()>, note: impl FnOnce(&mut Progress),
    ) -> Result<()> {
        let mut work = self.work.lock();
        match work.life {
            Life::Open => self.before_change(&mut work, offset)?,
            // Nobody will ask for its hash.
            Life::Cancelled => {}
            Life::Stored(_) | Life::Finished | Life::Withdrawn | Life::Closed => {
                return Err(self.unknown());
            }
        }
        let edited = edit(&self.data);
        // Behind it: who syncs just now may have come before the bytes.
        self.edits.fetch_add(1, Ordering::AcqRel);
        edited.map_err(self.io(doing))?;
        note(&mut work.progress);
        self.wake(&work);
        Ok(())
    }

    /// Makes ready for bytes from `offset` on to change: nobody shall take the old hash for theirs.
    pub(super) fn before_change(&self, work: &mut Work, offset: u64) -> Result<()> {
        if work.progress.is_noted_beyond(offset) {
            notes::remove(&self.store, self.id)?;
            work.progress.forget_note();
        }
        if work.progress.is_kept_beyond(offset) {
            states::remove_beyond(&self.repository, self.id, offset)?;
            work.progress.forget_kept();
        }
        work.progress.disturb(offset);
        Ok(())
    }
}
