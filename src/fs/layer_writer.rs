//! Writing a layer directly under its digest: `cp blob layers/sha256:…`.
//!
//! Each open file has an upload of its own, so that any number of processes may copy the same blob
//! at once. What is written becomes the layer when it is flushed and hashes to the name; until
//! then nobody can read it, and after the last close nothing is left of what did not.

use crate::fs::fault::{Fault, Result};
use crate::fs::link::copy_extended;
use crate::model::{Area, AttributesChange, Digest, Error, Hasher, RepositoryName, UploadName};
use crate::registry::{Allocation, LayerUpload, Repository, Subject, UploadStat};
use parking_lot::Mutex;
use std::{
    fmt, io,
    ops::Range,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// A layer being written under its digest.
pub(super) struct LayerWriter {
    repository: Arc<dyn Repository>,
    digest: Digest,
    upload: Arc<dyn LayerUpload>,
    /// Lock 3 (ARCHITECTURE, "Locks"): one publisher at a time. Held across I/O on this upload.
    publishing: Mutex<()>,
    progress: Mutex<Progress>,
    /// Whether a tool was told that what is here now is not published.
    told: AtomicBool,
    /// The last write that the disk refused, as long as nothing was written in its place.
    failed: Mutex<Option<FailedWrite>>,
}

/// A write that the disk refused: that is why the content is not what is named, and what a close has
/// to say. Some tools print only what close says.
struct FailedWrite {
    offset: u64,
    doing: &'static str,
    path: PathBuf,
    number: Option<i32>,
}

impl FailedWrite {
    fn error(&self) -> Error {
        let number = self.number;
        let source =
            number.map_or_else(|| io::ErrorKind::Other.into(), io::Error::from_raw_os_error);
        Error::Io { doing: self.doing, path: self.path.clone(), source }
    }
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
        let name = UploadName::unlisted(Area::Layers, &digest);
        let upload = repository.layers().upload(&name, attributes)?;
        Ok(Self {
            repository,
            digest,
            upload,
            publishing: Mutex::new(()),
            progress: Mutex::new(Progress::Empty),
            told: AtomicBool::new(false),
            failed: Mutex::new(None),
        })
    }

    /// Reads what was written so far: for who writes it, and nobody else.
    pub(super) fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, Error> {
        self.upload.read_at(buffer, offset)
    }

    /// Writes; refused once the layer is published.
    pub(super) fn write_at(&self, data: &[u8], offset: u64) -> Result<()> {
        self.begin_change()?;
        let written = self.upload.write_at(data, offset);
        let end = offset.saturating_add(data.len() as u64);
        match &written {
            Ok(()) => self.mend(|failed| (offset..end).contains(&failed.offset)),
            Err(Error::Io { doing, path, source }) => {
                let number = source.raw_os_error();
                let failed = FailedWrite { offset, doing, path: path.clone(), number };
                *self.failed.lock() = Some(failed);
            }
            Err(_) => {}
        }
        written.map_err(|error| self.after_the_end(error))
    }

    /// Forgets the write that failed, if what `mends` says is true of it.
    fn mend(&self, mends: impl FnOnce(&FailedWrite) -> bool) {
        let mut failed = self.failed.lock();
        if failed.as_ref().is_some_and(mends) {
            *failed = None;
        }
    }

    /// Cuts or lengthens. A tool that sets the length which the file has, as `rsync --inplace` does
    /// at the end, changes nothing.
    pub(super) fn truncate(&self, length: u64) -> Result<()> {
        if self.length().ok() == Some(length) {
            return Ok(());
        }
        self.begin_change()?;
        self.upload.truncate(length).map_err(|error| self.after_the_end(error))?;
        self.mend(|failed| length <= failed.offset);
        Ok(())
    }

    /// How long it is, published or not.
    pub(super) fn length(&self) -> Result<u64> {
        if self.is_published() {
            return Ok(self.repository.layers().stat(&self.digest)?.length);
        }
        Ok(self.stat()?.length)
    }

    /// A descriptor is closed: as [`Self::flush`], and what goes wrong is told.
    pub(super) fn close(&self) -> Result<()> {
        self.flush().inspect_err(|_| self.told.store(true, Ordering::Relaxed))
    }

    /// After the last close: what is lost and nobody was told of.
    pub(super) fn loss(&self) -> Option<Fault> {
        if self.told.load(Ordering::Relaxed) {
            return None;
        }
        match *self.progress.lock() {
            Progress::Published => None,
            Progress::Empty => Some(Fault::NothingWritten),
            Progress::Dirty => Some(Fault::LateWrite),
        }
    }

    /// Reserves room, or gives it back. Room alone is no content: nothing has to be published for it.
    pub(super) fn allocate(&self, range: Range<u64>, kind: Allocation) -> Result<()> {
        match kind {
            Allocation::Extend if range.end > self.stat()?.length => self.begin_change()?,
            Allocation::Punch => self.begin_change()?,
            Allocation::Extend | Allocation::Reserve => {}
        }
        self.upload.allocate(range, kind).map_err(|error| self.after_the_end(error))
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
        match (self.upload.finish(&self.digest), &*self.failed.lock()) {
            (Err(error), Some(failed)) if error.is_mismatch() => return Err(failed.error().into()),
            (finished, _) => drop(finished?),
        }
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

    /// Changes the attributes that the layer will have. Says whether that is all: where it is there
    /// already, written over or published, the change is for that one as well. Times on a new file in
    /// which nothing was written (`touch`) are refused, because that would look as if a layer had been
    /// made.
    pub(super) fn change(&self, change: &AttributesChange) -> Result<bool> {
        let exists = || self.repository.layers().exists(&self.digest);
        let progress = *self.progress.lock();
        match progress {
            Progress::Published => return Ok(false),
            Progress::Empty
                if change.modified_at.is_some() && !self.is_right_when_empty() && !exists()? =>
            {
                let computed = Digest::sha256(b"");
                self.told.store(true, Ordering::Relaxed);
                return Err(Error::DigestMismatch { expected: self.digest, computed }.into());
            }
            Progress::Empty | Progress::Dirty => {}
        }
        match self.repository.attributes().change(&self.subject(), change) {
            // It has become the layer, or is just becoming it.
            Err(error) if error.is_unknown() => {}
            outcome => drop(outcome?),
        }
        Ok(!exists()?)
    }

    /// Whether nothing is just what the digest names.
    fn is_right_when_empty(&self) -> bool {
        Hasher::new(self.digest.algorithm()).digest().is_ok_and(|empty| empty == self.digest)
    }

    /// What has the attributes until the layer is published.
    pub(super) fn subject(&self) -> Subject {
        Subject::Upload(self.upload.uuid())
    }

    /// Gives it the extended attributes of `from`.
    pub(super) fn take_extended(&self, from: &Subject) -> Result<()> {
        let to = self.subject();
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
                self.told.store(false, Ordering::Relaxed);
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
