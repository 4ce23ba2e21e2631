//! An upload in memory. Its handles find it by its identity, so it may move with its repository.

use super::folder::{Blob, Body, Folder, Link, Upload, copy_at};
use super::{Shared, State};
use crate::model::{Algorithm, Digest, Error, Hasher, Result, UploadId, UploadName};
use crate::registry::{Allocation, Layer, LayerUpload, UploadReader, UploadStat};
use parking_lot::Mutex;
use std::{any::Any, ops::Range, sync::Arc, time::SystemTime};

/// Longest upload: a slip in an offset must not take the whole memory of the machine.
const UPLOAD_BYTES_MAX: u64 = 1 << 30;

pub(super) struct MemoryUpload {
    pub(super) shared: Arc<Shared>,
    pub(super) uuid: UploadId,
    /// What `Upload::body` is, taken under the state's lock or alone.
    pub(super) body: Arc<Mutex<Body>>,
}

impl State {
    /// The folder in which the upload is now.
    fn folder_of(&mut self, uuid: UploadId) -> Result<&mut Folder> {
        let mut folders = self.folders.values_mut();
        folders.find(|folder| folder.uploads.contains(&uuid)).ok_or(Error::UploadUnknown(uuid))
    }

    fn upload_mut(&mut self, uuid: UploadId) -> Result<&mut Upload> {
        self.folder_of(uuid)?.uploads.get_mut(&uuid).ok_or(Error::UploadUnknown(uuid))
    }
}

impl MemoryUpload {
    /// Changes the content of an upload that has not ended, or that was cancelled.
    fn edit(&self, edit: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<()> {
        let mut state = self.shared.state.lock();
        let mut body = self.body.lock();
        match state.upload_mut(self.uuid) {
            Ok(upload) => {
                edit(&mut body.bytes)?;
                upload.marks.touch();
                Ok(())
            }
            Err(_) if body.is_cancelled => edit(&mut body.bytes),
            Err(error) => Err(error),
        }
    }
}

impl LayerUpload for MemoryUpload {
    fn uuid(&self) -> UploadId {
        self.uuid
    }

    fn stat(&self) -> Result<UploadStat> {
        Ok(self.shared.state.lock().upload_mut(self.uuid)?.stat(self.uuid))
    }

    fn write_at(&self, data: &[u8], offset: u64) -> Result<()> {
        self.edit(|bytes| {
            if data.is_empty() {
                return Ok(());
            }
            let end = checked_length(offset.saturating_add(data.len() as u64))?;
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[end - data.len()..end].copy_from_slice(data);
            Ok(())
        })
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        Ok(copy_at(&self.body.lock().bytes, buffer, offset))
    }

    fn truncate(&self, length: u64) -> Result<()> {
        self.edit(|bytes| {
            bytes.resize(checked_length(length)?, 0);
            Ok(())
        })
    }

    /// Memory has no room to reserve: only what can be seen of it happens.
    fn allocate(&self, range: Range<u64>, kind: Allocation) -> Result<()> {
        self.edit(|bytes| {
            let length = bytes.len();
            match kind {
                Allocation::Extend => bytes.resize(checked_length(range.end)?.max(length), 0),
                Allocation::Reserve => {}
                Allocation::Punch => {
                    let cut = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(length);
                    bytes[cut(range.start)..cut(range.end)].fill(0);
                }
            }
            Ok(())
        })
    }

    fn rename(&self, name: &UploadName) -> Result<()> {
        self.shared.state.lock().upload_mut(self.uuid)?.name = name.clone();
        Ok(())
    }

    fn digest(&self) -> Result<Digest> {
        let mut state = self.shared.state.lock();
        state.upload_mut(self.uuid)?;
        Ok(Digest::sha256(&self.body.lock().bytes))
    }

    fn sync(&self) -> Result<()> {
        self.shared.state.lock().upload_mut(self.uuid).map(drop)
    }

    fn settle(&self, hold: Box<dyn Any + Send>) {
        drop(hold);
    }

    fn finish(&self, digest: &Digest) -> Result<Arc<dyn Layer>> {
        let mut state = self.shared.state.lock();
        let folder = state.folder_of(self.uuid)?;
        let bytes = self.body.lock().bytes.clone();
        let computed = hash(digest.algorithm(), &bytes)?;
        if computed != *digest {
            return Err(Error::DigestMismatch { expected: *digest, computed });
        }
        let upload = folder.uploads.remove(&self.uuid).ok_or(Error::UploadUnknown(self.uuid))?;
        let canonical = Digest::sha256(&bytes);
        let blob = Arc::new(Blob { digest: canonical, bytes, created_at: SystemTime::now() });
        for name in [&canonical, digest] {
            // Of those with one TarSum the first has the name.
            if name.algorithm().is_tarsum() && folder.layers.get(name).is_some() {
                continue;
            }
            folder.layers.insert(name, Link { marks: upload.marks.clone(), blob: blob.clone() });
        }
        Ok(folder.layers.get(digest).map_or(blob, |link| link.blob.clone()))
    }

    fn cancel(&self) -> Result<()> {
        let mut state = self.shared.state.lock();
        let mut body = self.body.lock();
        match state.folder_of(self.uuid) {
            Ok(folder) => {
                folder.uploads.remove(&self.uuid);
                body.is_cancelled = true;
                Ok(())
            }
            Err(_) if body.is_cancelled => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn withdraw(&self) -> Result<()> {
        let mut state = self.shared.state.lock();
        state.folder_of(self.uuid)?.uploads.remove(&self.uuid);
        Ok(())
    }
}

/// An upload's content, for who does not write it.
pub(super) struct MemoryReader {
    pub(super) body: Arc<Mutex<Body>>,
}

impl UploadReader for MemoryReader {
    fn length(&self) -> Result<u64> {
        Ok(self.body.lock().bytes.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        Ok(copy_at(&self.body.lock().bytes, buffer, offset))
    }
}

fn checked_length(length: u64) -> Result<usize> {
    let refused = Error::Unsupported("an upload in memory has at most 1 GiB");
    if length > UPLOAD_BYTES_MAX {
        return Err(refused);
    }
    usize::try_from(length).map_err(|_| refused)
}

fn hash(algorithm: Algorithm, bytes: &[u8]) -> Result<Digest> {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(bytes);
    hasher.digest()
}
