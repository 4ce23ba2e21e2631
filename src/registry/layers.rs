//! The interface to layers and uploads: content named by its digest, and content on its way there.

use crate::model::{
    Area, Attributes, AttributesChange, Digest, RepositoryName, Result, UploadId, UploadName,
};
use crate::registry::Cursor;
use std::{any::Any, ffi::OsStr, ops::Range, os::fd::BorrowedFd, sync::Arc, time::SystemTime};

/// What `stat` tells of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerStat {
    /// The digest under which the content lies; differs from the one asked for when that is a second
    /// name. It is a sha256, but for layers that a registry of 2015 has stored under their TarSum.
    pub canonical: Digest,
    /// Length in bytes.
    pub length: u64,
    /// When the content was stored; another time when it was replaced since, equal or not.
    pub created_at: SystemTime,
    /// Attributes of this repository's link.
    pub attributes: Attributes,
}

/// What `stat` tells of an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadStat {
    /// Its identity.
    pub uuid: UploadId,
    /// Where it is found; `None` for one that another program began.
    pub name: Option<UploadName>,
    /// When it was begun, in whole seconds.
    pub started_at: SystemTime,
    /// Length in bytes.
    pub length: u64,
    /// Its attributes.
    pub attributes: Attributes,
}

/// The layers and uploads of one repository.
pub trait LayerService: Send + Sync {
    /// The digests under which this repository links content, in no particular order.
    fn digests(&self) -> Result<Box<dyn Cursor<Digest>>>;

    /// Whether this repository links the layer and its content is there.
    fn exists(&self, digest: &Digest) -> Result<bool> {
        match self.stat(digest) {
            Ok(_) => Ok(true),
            Err(error) if error.is_unknown() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What is known of a layer without opening it. Errors: `LayerUnknown`.
    fn stat(&self, digest: &Digest) -> Result<LayerStat>;

    /// Opens a layer that this repository links. The link is what gives a repository a blob:
    /// content that only others have is unknown here, though it lies on the same disk. Errors:
    /// `LayerUnknown`.
    fn fetch(&self, digest: &Digest) -> Result<Arc<dyn Layer>>;

    /// Links the layer `digest` of the repository `from` here as well, without copying content.
    /// What `attributes` leaves open stays or gets its default. Errors: `LayerUnknown`.
    fn mount(
        &self, digest: &Digest, from: &RepositoryName, attributes: &AttributesChange,
    ) -> Result<()>;

    /// Unlinks a layer from this repository; content that nobody links stays until collected.
    /// Errors: `LayerUnknown`.
    fn delete(&self, digest: &Digest) -> Result<()>;

    /// Begins an upload. The name need not be unique; `find_upload` finds the youngest.
    fn upload(
        &self, name: &UploadName, attributes: &AttributesChange,
    ) -> Result<Arc<dyn LayerUpload>>;

    /// Takes up an upload begun earlier, perhaps by another process that has ended. Errors:
    /// `UploadUnknown`, `UploadBusy`.
    fn resume(&self, uuid: &UploadId) -> Result<Arc<dyn LayerUpload>>;

    /// Opens an upload to look at its content only: nobody is kept from writing it, and nobody who
    /// writes it stands in the way. Errors: `UploadUnknown`.
    fn read_upload(&self, uuid: &UploadId) -> Result<Arc<dyn UploadReader>>;

    /// Every upload in progress, whoever began it; the youngest first. That is the order by which
    /// `find_upload` goes, finer than `started_at`: of those with one name, it finds the first.
    fn uploads(&self) -> Result<Vec<UploadStat>>;

    /// What is known of an upload, without taking it up. Errors: `UploadUnknown`.
    fn stat_upload(&self, uuid: &UploadId) -> Result<UploadStat>;

    /// The upload that is found under `name`: the youngest when there are several.
    fn find_upload(&self, name: &UploadName) -> Result<Option<UploadId>>;

    /// Whether an upload lies in or below the folder of `area` with the path `folder`.
    fn has_upload_folder(&self, area: Area, folder: &OsStr) -> Result<bool>;
}

/// Content that never changes.
pub trait Layer: Send + Sync {
    /// The sha256 digest under which the content lies.
    fn digest(&self) -> &Digest;
    /// Length in bytes.
    fn length(&self) -> u64;
    /// When the content was stored.
    fn created_at(&self) -> SystemTime;
    /// Fills `buffer` from `offset`; short only at the end. Gives the number of bytes.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize>;
    /// The open file with exactly the content, for bodies that have one: the kernel can then read
    /// it without asking.
    fn backing_file(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// The content of an upload as it is at each moment, for who does not write it. When the upload
/// ends, what is open reads on.
pub trait UploadReader: Send + Sync {
    /// Length in bytes, now.
    fn length(&self) -> Result<u64>;
    /// Fills `buffer` from `offset`; short only at the end. Gives the number of bytes.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize>;
}

/// What is to become of the room for a part of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allocation {
    /// It is reserved, and a shorter upload becomes as long, with zeros.
    Extend,
    /// It is reserved, and the length stays.
    Reserve,
    /// It is given back: what lies there reads as zeros, and the length stays.
    Punch,
}

/// Content on its way: bytes may come in any order, by several threads.
///
/// The seed's Seek, ReadFrom and Close are gone: writes carry their offset, and to drop an upload
/// is to close it; its data stays for `resume`. Handles of a file system share one upload, so
/// `finish` and `cancel` cannot consume it. Instead, once one of them has succeeded, every other
/// call gives `UploadUnknown`, except reading, which goes on. After `cancel` the content can be
/// changed as well, as that of an unlinked file: only who has it open ever sees it.
pub trait LayerUpload: Send + Sync {
    /// The upload's identity.
    fn uuid(&self) -> UploadId;

    /// What is known of it now; never waits for a writer.
    fn stat(&self) -> Result<UploadStat>;

    /// Writes all of `data` at `offset`. A gap that is left reads as zeros.
    fn write_at(&self, data: &[u8], offset: u64) -> Result<()>;

    /// Fills `buffer` from `offset`; short only at the end. Gives the number of bytes.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize>;

    /// Cuts or lengthens (with zeros) to `length` bytes.
    fn truncate(&self, length: u64) -> Result<()>;

    /// Reserves room for a part of the content, or gives it back. Bodies whose disk cannot do that say
    /// so, and nothing has changed.
    fn allocate(&self, range: Range<u64>, kind: Allocation) -> Result<()>;

    /// Gives the upload another name.
    fn rename(&self, name: &UploadName) -> Result<()>;

    /// The sha256 of everything there is now.
    fn digest(&self) -> Result<Digest>;

    /// Makes everything written so far survive a power cut.
    fn sync(&self) -> Result<()>;

    /// Says that the writer pauses (a close): whatever helps to resume later may be kept now, in
    /// the background. `hold` is dropped when that is done: a caller gives a reference to the upload
    /// itself, so that it stays taken up until then.
    fn settle(&self, hold: Box<dyn Any + Send>);

    /// Checks the content against `digest` and makes it a layer of this repository, with the
    /// upload's attributes; an equal or damaged blob that lies there already is replaced. Equal
    /// TarSums do not mean equal bytes: a TarSum that names a layer here goes on naming that one, and
    /// the content is a layer under its sha256. Errors: `DigestMismatch`, and for a TarSum
    /// `TarInvalid` and `GzipInvalid`; then the upload stays as it was.
    fn finish(&self, digest: &Digest) -> Result<Arc<dyn Layer>>;

    /// Ends the upload and removes its data. Twice is fine.
    fn cancel(&self) -> Result<()>;

    /// Ends the upload, because what was written is kept under another name by now, and removes its
    /// data: as `cancel`, but nothing can be changed any more, so that who still writes is told.
    fn withdraw(&self) -> Result<()>;

    /// The open file with the content so far, for bodies that have one.
    fn backing_file(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
