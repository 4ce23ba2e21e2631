//! What is written under the name that it will have: a layer under its digest, a manifest.

use super::moves::{Upload, bytes_of};
use crate::model::outcome::{EFBIG, EINVAL, EPERM, Result};
use regfs::model::{AttributesChange, Digest, MANIFEST_BYTES_MAX};

/// A layer that is written under its digest: an upload of its own.
pub(super) struct LayerWriter {
    pub(super) upload: Upload,
    progress: Progress,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// Nothing was written.
    Empty,
    Written,
    Published,
}

impl LayerWriter {
    pub(super) fn new(upload: Upload) -> Self {
        Self { upload, progress: Progress::Empty }
    }

    /// Whether nothing was written to it.
    pub(super) fn is_empty(&self) -> bool {
        self.progress == Progress::Empty
    }

    pub(super) fn is_published(&self) -> bool {
        self.progress == Progress::Published
    }

    /// What it was to be has been linked from another repository.
    pub(super) fn is_linked(&mut self) -> Result {
        self.progress = Progress::Published;
        Ok(self.upload.cancel()?)
    }

    pub(super) fn write(&mut self, bytes: &[u8], at: u64) -> Result {
        self.begin_change()?;
        Ok(self.upload.write_at(bytes, at)?)
    }

    /// To the length that it has is no change.
    pub(super) fn truncate(&mut self, length: u64) -> Result {
        if bytes_of(&*self.upload).len() as u64 == length {
            return Ok(());
        }
        self.begin_change()?;
        Ok(self.upload.truncate(length)?)
    }

    /// What was written becomes the layer, if it is that.
    pub(super) fn flush(&mut self, digest: &Digest) -> Result {
        match self.progress {
            Progress::Published => return Ok(()),
            Progress::Empty if *digest != Digest::sha256(b"") => return Ok(()),
            Progress::Empty | Progress::Written => {}
        }
        self.upload.finish(digest)?;
        self.progress = Progress::Published;
        Ok(())
    }

    fn begin_change(&mut self) -> Result {
        if self.progress == Progress::Published {
            return Err(EPERM);
        }
        self.progress = Progress::Written;
        Ok(())
    }
}

/// A manifest that is written: bytes in memory.
pub(super) struct Draft {
    pub(super) bytes: Vec<u8>,
    /// Something was written that no close has put.
    is_dirty: bool,
    /// What it began with, or has put, is stored.
    is_stored: bool,
    /// It was to become too long, and is not what its writer meant.
    is_refused: bool,
    /// The attributes that it will be put with.
    pub(super) wanted: AttributesChange,
    /// The colour that it will be put with, `Some(None)` for none; `None` leaves what is stored.
    pub(super) colour: Option<Option<String>>,
    /// Which bytes are those that were there, or those that it was cut or lengthened to.
    old: Vec<bool>,
    /// Whether any of what was there was changed.
    is_changed: bool,
}

impl Draft {
    /// Begins with these bytes, or with none when they are to be written over.
    pub(super) fn over(stored: Vec<u8>) -> Self {
        let old = vec![true; stored.len()];
        Self {
            bytes: stored,
            is_dirty: false,
            is_stored: true,
            is_refused: false,
            wanted: AttributesChange::default(),
            colour: None,
            old,
            is_changed: false,
        }
    }

    /// Begins where nothing is.
    pub(super) fn new(wanted: AttributesChange) -> Self {
        Self { is_stored: false, wanted, ..Self::over(Vec::new()) }
    }

    pub(super) fn is_dirty(&self) -> bool {
        self.is_dirty
    }

    pub(super) fn is_refused(&self) -> bool {
        self.is_refused
    }

    /// Whether its name would be there without anything being stored.
    pub(super) fn makes_its_name(&self) -> bool {
        self.is_dirty || !self.is_stored
    }

    pub(super) fn write(&mut self, bytes: &[u8], at: u64) -> Result {
        let end = self.within_limit(at + bytes.len() as u64)?;
        let start = end - bytes.len();
        let length = self.bytes.len().max(end);
        self.bytes.resize(length, 0);
        let is_over_old = start < self.old.len();
        self.is_changed |= is_over_old && self.bytes[start..end] != *bytes;
        self.old.iter_mut().take(end).skip(start).for_each(|old| *old = false);
        self.bytes[start..end].copy_from_slice(bytes);
        self.touch();
        Ok(())
    }

    /// To the length that it has is no change, but says that it is meant as it is.
    pub(super) fn truncate(&mut self, length: u64) -> Result {
        let length = self.within_limit(length)?;
        self.is_refused = false;
        (self.old, self.is_changed) = (vec![true; length], false);
        if self.bytes.len() != length {
            self.bytes.resize(length, 0);
            self.touch();
        }
        Ok(())
    }

    pub(super) fn is_put(&mut self) {
        self.is_dirty = false;
        self.is_stored = true;
        self.colour = None;
        (self.old, self.is_changed) = (vec![true; self.bytes.len()], false);
    }

    /// Whether it is a mixture of what was there and what was written over a part of that, which
    /// nobody has meant.
    pub(super) fn is_mixed(&self) -> bool {
        self.is_changed && self.old.contains(&true)
    }

    /// Changes the attributes that it will be put with. Says whether it will be put at all, or the
    /// change is for what is stored.
    pub(super) fn change(&mut self, change: &AttributesChange, stored: bool) -> Result<bool> {
        if !self.is_dirty && (self.is_stored || stored) {
            return Ok(false);
        }
        if !self.is_dirty && change.modified_at.is_some() {
            return Err(EINVAL);
        }
        let wanted = &mut self.wanted;
        wanted.permissions = change.permissions.or(wanted.permissions);
        wanted.uid = change.uid.or(wanted.uid);
        wanted.gid = change.gid.or(wanted.gid);
        wanted.modified_at = change.modified_at.or(wanted.modified_at);
        Ok(true)
    }

    fn within_limit(&mut self, length: u64) -> Result<usize> {
        if length > MANIFEST_BYTES_MAX {
            self.is_refused = true;
            return Err(EFBIG);
        }
        Ok(usize::try_from(length).unwrap())
    }

    fn touch(&mut self) {
        self.is_dirty = true;
        self.wanted.modified_at = None;
    }
}
