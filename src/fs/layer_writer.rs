//! Writing a layer directly under its digest: `cp blob layers/sha256:…`.
//!
//! Each open file has an upload of its own, so that any number of processes may copy the same blob
//! at once. What is written becomes the layer when it is flushed and hashes to the name; until
//! then nobody can read it, and after the last close nothing is left of what did not.

use crate::fs::fault::{Fault, Result};
use crate::fs::rename::copy_extended;
use crate::model::{Area, AttributesChange, Digest, Error, RepositoryName, UploadName};
use crate::registry::{LayerUpload, Repository, Subject, UploadStat};
use parking_lot::Mutex;
use std::{ffi::OsStr, fmt, sync::Arc};

/// A layer being written under its digest.
pub(super) struct LayerWriter {
    repository: Arc<dyn Repository>,
    digest: Digest,
    upload: Arc<dyn LayerUpload>,
    /// Lock 3 (ARCHITECTURE, "Locks"): one publisher at a time. Held across I/O on this upload.
    publishing: Mutex<()>,
    progress: Mutex<Progress>,
}

/// How far the writer has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Nothing was written yet.
    Empty,
    /// Something was written that no flush has published.
    Dirty,
    /// The layer is there.
    Published,
}

impl LayerWriter {
    /// Begins to write `digest`. The upload's name is the layer's, which no listing shows.
    pub(super) fn begin(
        repository: Arc<dyn Repository>, digest: Digest, attributes: &AttributesChange,
    ) -> Result<Self> {
        let name = UploadName::new(Area::Layers, OsStr::new(&digest.to_string()))?;
        let upload = repository.layers().upload(&name, attributes)?;
        Ok(Self {
            repository,
            digest,
            upload,
            publishing: Mutex::new(()),
            progress: Mutex::new(Progress::Empty),
        })
    }

    /// Writes; refused once the layer is published.
    pub(super) fn write_at(&self, data: &[u8], offset: u64) -> Result<()> {
        self.begin_change()?;
        self.upload.write_at(data, offset).map_err(|error| self.after_the_end(error))
    }

    /// Cuts or lengthens. A tool that sets the length which the file has, as `rsync --inplace` does
    /// at the end, changes nothing.
    pub(super) fn truncate(&self, length: u64) -> Result<()> {
        if self.stat()?.length == length {
            return Ok(());
        }
        self.begin_change()?;
        self.upload.truncate(length).map_err(|error| self.after_the_end(error))
    }

    /// Publishes what was written since the last time. With nothing written this is a no-op, unless
    /// nothing is just what the digest names. A refusal comes again with every flush until
    /// something more is written that makes it right.
    pub(super) fn flush(&self) -> Result<()> {
        let _publishing = self.publishing.lock();
        let progress = *self.progress.lock();
        match progress {
            Progress::Published => return Ok(()),
            Progress::Empty if !self.is_right_when_empty() => return Ok(()),
            Progress::Empty | Progress::Dirty => {}
        }
        // The layer is fetched when somebody opens it, not kept here.
        drop(self.upload.finish(&self.digest)?);
        *self.progress.lock() = Progress::Published;
        Ok(())
    }

    /// Makes it the layer of that name in `from`, without copying: for `cp` between repositories.
    /// Says whether that was possible; it is not once something was written.
    pub(super) fn mount(&self, from: &RepositoryName) -> Result<bool> {
        let _publishing = self.publishing.lock();
        let progress = *self.progress.lock();
        match progress {
            Progress::Dirty => Ok(false),
            Progress::Published => Ok(true),
            Progress::Empty => {
                let attributes = AttributesChange {
                    modified_at: None,
                    accessed_at: None,
                    ..AttributesChange::to(&self.stat()?.attributes)
                };
                self.repository.layers().mount(&self.digest, from, &attributes)?;
                *self.progress.lock() = Progress::Published;
                self.upload.cancel()?;
                Ok(true)
            }
        }
    }

    /// Makes what was written, and not published yet, survive a power cut.
    pub(super) fn sync(&self) -> Result<()> {
        Ok(self.upload.sync()?)
    }

    /// What is known of the unpublished file.
    pub(super) fn stat(&self) -> Result<UploadStat> {
        Ok(self.upload.stat()?)
    }

    /// Changes the attributes that the layer will have; `false` when there is nothing here that is to
    /// become one, and the change belongs to what is published. Times on a new file in which nothing
    /// was written (`touch`) are refused, because that would look as if a layer had been made.
    pub(super) fn change(&self, change: &AttributesChange) -> Result<bool> {
        let progress = *self.progress.lock();
        match progress {
            Progress::Published => return Ok(false),
            Progress::Empty if self.repository.layers().exists(&self.digest)? => return Ok(false),
            Progress::Empty if change.modified_at.is_some() && !self.is_right_when_empty() => {
                let computed = Digest::sha256(b"");
                return Err(Error::DigestMismatch { expected: self.digest, computed }.into());
            }
            Progress::Empty | Progress::Dirty => {}
        }
        let subject = Subject::Upload(self.upload.uuid());
        match self.repository.attributes().change(&subject, change) {
            Ok(_) => Ok(true),
            // It was published a moment ago.
            Err(Error::UploadUnknown(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether nothing is just what the digest names.
    fn is_right_when_empty(&self) -> bool {
        self.digest == Digest::sha256(b"")
    }

    /// Gives it the extended attributes of `from`.
    pub(super) fn take_extended(&self, from: &Subject) -> Result<()> {
        let to = Subject::Upload(self.upload.uuid());
        Ok(copy_extended(&*self.repository, from, &to)?)
    }

    /// Whether this is the layer's name.
    pub(super) fn names(&self, digest: &Digest) -> bool {
        self.digest == *digest
    }

    /// Whether the layer is there by now.
    pub(super) fn is_published(&self) -> bool {
        *self.progress.lock() == Progress::Published
    }

    fn begin_change(&self) -> Result<()> {
        let mut progress = self.progress.lock();
        match *progress {
            Progress::Published => Err(Error::LayerImmutable(self.digest).into()),
            Progress::Empty | Progress::Dirty => {
                *progress = Progress::Dirty;
                Ok(())
            }
        }
    }

    /// A change that came while a flush was publishing met an upload that had just ended.
    fn after_the_end(&self, error: Error) -> Fault {
        let ended = matches!(error, Error::UploadUnknown(_));
        if ended { Error::LayerImmutable(self.digest).into() } else { error.into() }
    }
}

impl fmt::Display for LayerWriter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "layer {}", self.digest)
    }
}

impl Drop for LayerWriter {
    /// The last close: what was not published goes. Nobody can be told of an error here.
    fn drop(&mut self) {
        if !self.is_published()
            && let Err(error) = self.upload.cancel()
        {
            log::warn!("could not remove the unpublished {}: {error}", self.digest);
        }
    }
}
