//! An upload whose end is noticed. Everything else passes through.

use super::remembered::Remembered;
use crate::model::{Digest, RepositoryName, Result, UploadId, UploadName};
use crate::registry::{Allocation, Layer, LayerUpload, UploadStat};
use std::{any::Any, ops::Range, os::fd::BorrowedFd, sync::Arc};

pub(super) struct CachedUpload {
    inner: Arc<dyn LayerUpload>,
    /// Where it was begun or resumed. Should the repository be renamed before the upload ends, then
    /// a link that it replaces may be remembered under the new name for as long as links are.
    repository: RepositoryName,
    remembered: Arc<Remembered>,
}

impl CachedUpload {
    pub(super) fn around(
        inner: Arc<dyn LayerUpload>, repository: &RepositoryName, remembered: &Arc<Remembered>,
    ) -> Arc<dyn LayerUpload> {
        let (repository, remembered) = (repository.clone(), remembered.clone());
        Arc::new(Self { inner, repository, remembered })
    }
}

impl LayerUpload for CachedUpload {
    fn uuid(&self) -> UploadId {
        self.inner.uuid()
    }

    fn stat(&self) -> Result<UploadStat> {
        self.inner.stat()
    }

    fn write_at(&self, data: &[u8], offset: u64) -> Result<()> {
        self.inner.write_at(data, offset)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        self.inner.read_at(buffer, offset)
    }

    fn truncate(&self, length: u64) -> Result<()> {
        self.inner.truncate(length)
    }

    fn allocate(&self, range: Range<u64>, kind: Allocation) -> Result<()> {
        self.inner.allocate(range, kind)
    }

    fn rename(&self, name: &UploadName) -> Result<()> {
        self.inner.rename(name)
    }

    fn digest(&self) -> Result<Digest> {
        self.inner.digest()
    }

    fn sync(&self) -> Result<()> {
        self.inner.sync()
    }

    fn settle(&self, hold: Box<dyn Any + Send>) {
        self.inner.settle(hold);
    }

    /// What finish stores may heal a damaged blob, also when it fails afterwards: then the layer
    /// that is kept open is the damaged one.
    fn finish(&self, digest: &Digest) -> Result<Arc<dyn Layer>> {
        let _change = self.remembered.change_layers(&self.repository);
        let finished = self.inner.finish(digest);
        self.remembered.forget_content(digest);
        if let Ok(layer) = &finished {
            self.remembered.forget_content(layer.digest());
        }
        finished
    }

    fn cancel(&self) -> Result<()> {
        self.inner.cancel()
    }

    fn backing_file(&self) -> Option<BorrowedFd<'_>> {
        self.inner.backing_file()
    }
}
