//! Reading, writing and copying through open files.

use crate::fs::RegistryFs;
use crate::fs::fault::{Fault, Result};
use crate::fs::handles::Handle;
use crate::fs::layer_writer::LayerWriter;
use crate::fs::node::Node;
use crate::model::{Error, RepositoryName};
use crate::registry::Allocation;
use std::ops::Range;

/// Bytes copied by one call at most: a long copy is many calls, so that it can be interrupted.
const COPY_BYTES_MAX: u64 = 64 << 20;
/// Bytes in memory while copying.
const COPY_STEP_BYTES: usize = 1 << 20;

impl RegistryFs {
    /// Reads from an open file into `buffer` what there is at `offset`, at most `length` bytes.
    pub fn read(
        &self, handle: u64, offset: u64, length: usize, buffer: &mut Vec<u8>,
    ) -> Result<()> {
        self.read_handle(&*self.handles.get(handle)?, offset, length, buffer)?;
        self.counters.read(buffer.len());
        Ok(())
    }

    fn read_handle(
        &self, handle: &Handle, offset: u64, length: usize, buffer: &mut Vec<u8>,
    ) -> Result<()> {
        match handle {
            Handle::Layer(_, layer) => {
                fill(buffer, length, |buffer| layer.read_at(buffer, offset))?;
            }
            Handle::Upload(upload) => {
                fill(buffer, length, |buffer| upload.read_at(buffer, offset))?;
            }
            Handle::UploadReader(reader) => {
                fill(buffer, length, |buffer| reader.read_at(buffer, offset))?;
            }
            Handle::Pinned(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                let end = start.saturating_add(length).min(bytes.len());
                buffer.clear();
                buffer.extend_from_slice(&bytes[start..end]);
            }
            Handle::ManifestWriter(writer) => *buffer = writer.read_at(offset, length),
            Handle::LayerWriter(writer) => {
                fill(buffer, length, |buffer| writer.read_at(buffer, offset))?;
            }
            Handle::Folder(_) => return Err(Fault::IsADirectory),
        }
        Ok(())
    }

    /// Writes all of `data` to an open file.
    pub fn write(&self, handle: u64, offset: u64, data: &[u8]) -> Result<()> {
        let written = self.write_handle(&*self.handles.get(handle)?, offset, data);
        written.map_err(|fault| self.after_the_end(handle, fault))?;
        self.counters.wrote(data.len());
        Ok(())
    }

    /// A change that came through `handle` when its upload had ended: how it ended.
    pub(super) fn after_the_end(&self, handle: u64, fault: Fault) -> Fault {
        let Fault::Registry(Error::UploadUnknown(_)) = fault else { return fault };
        let known = self.handles.ino(handle).and_then(|ino| self.inodes.get(ino));
        match known.as_ref().map(|known| &known.node) {
            Some(node @ (Node::Layer(..) | Node::Tag(..) | Node::Revision(..))) => {
                Fault::Finished(node.path())
            }
            Some(_) | None => Fault::Cancelled,
        }
    }

    fn write_handle(&self, handle: &Handle, offset: u64, data: &[u8]) -> Result<()> {
        if offset.checked_add(data.len() as u64).is_none_or(|end| end > i64::MAX as u64) {
            return Err(Fault::TooLong);
        }
        match handle {
            Handle::Upload(upload) => Ok(upload.write_at(data, offset)?),
            Handle::LayerWriter(writer) => writer.write_at(data, offset),
            Handle::ManifestWriter(writer) => writer.write_at(data, offset),
            Handle::Layer(..) | Handle::UploadReader(_) | Handle::Pinned(_) | Handle::Folder(_) => {
                Err(Fault::BadHandle)
            }
        }
    }

    /// Reserves room for `length` bytes of an open file from `offset` on, or gives it back.
    pub(super) fn allocate(
        &self, handle: u64, offset: u64, length: u64, kinds: &[Allocation],
    ) -> Result<()> {
        let end = offset.checked_add(length).filter(|end| *end <= i64::MAX as u64);
        let range = offset..end.ok_or(Fault::TooLong)?;
        let open = self.handles.get(handle)?;
        let allocated = kinds.iter().try_for_each(|kind| allocate(&open, range.clone(), *kind));
        allocated.map_err(|fault| self.after_the_end(handle, fault))
    }

    /// Copies at most `length` bytes from one open file to another, and gives how many. A layer
    /// copied whole to its own digest in another repository is linked there: no byte moves.
    pub fn copy(&self, from: (u64, u64), to: (u64, u64), length: u64) -> Result<u64> {
        let (source, target) = (self.handles.get(from.0)?, self.handles.get(to.0)?);
        let (from, (to_handle, to)) = (from.1, to);
        if let (Handle::Layer(repository, layer), Handle::LayerWriter(writer)) =
            (&*source, &*target)
            && from == to
            && writer.names(layer.digest())
            && self.mount_whole(writer, repository)?
        {
            return Ok(length.min(layer.length().saturating_sub(from)));
        }
        let mut buffer = Vec::new();
        let mut copied = 0;
        let limit = length.min(COPY_BYTES_MAX);
        while copied < limit {
            let step = usize::try_from(limit - copied).unwrap_or(usize::MAX).min(COPY_STEP_BYTES);
            let moved = self
                .read_handle(&source, from + copied, step, &mut buffer)
                .and_then(|()| self.write_handle(&target, to + copied, &buffer))
                .map_err(|fault| self.after_the_end(to_handle, fault));
            match moved {
                Ok(()) if buffer.is_empty() => break,
                Ok(()) => copied += buffer.len() as u64,
                // What was copied counts; the next call meets the error.
                Err(_) if copied > 0 => break,
                Err(fault) => return Err(fault),
            }
        }
        self.counters.copied(copied);
        Ok(copied)
    }

    /// Links the layer that `writer` writes from `repository`. Says whether that was possible: the
    /// link there may be gone though the file is still open.
    fn mount_whole(&self, writer: &LayerWriter, repository: &RepositoryName) -> Result<bool> {
        match writer.mount(repository) {
            Err(Fault::Registry(error)) if error.is_unknown() => Ok(false),
            mounted => mounted,
        }
    }
}

fn allocate(handle: &Handle, range: Range<u64>, kind: Allocation) -> Result<()> {
    match handle {
        Handle::Upload(upload) => Ok(upload.allocate(range, kind)?),
        Handle::LayerWriter(writer) => writer.allocate(range, kind),
        // It lies in memory.
        Handle::ManifestWriter(_) => Err(Fault::NotKept("reservations in manifests")),
        Handle::Layer(..) | Handle::UploadReader(_) | Handle::Pinned(_) | Handle::Folder(_) => {
            Err(Fault::BadHandle)
        }
    }
}

/// Makes `buffer` what `read` puts into it, at most `length` bytes.
fn fill(
    buffer: &mut Vec<u8>, length: usize, read: impl FnOnce(&mut [u8]) -> Result<usize, Error>,
) -> Result<(), Error> {
    buffer.resize(length, 0);
    let count = read(buffer)?;
    buffer.truncate(count);
    Ok(())
}
