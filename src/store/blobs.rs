//! Blobs: content under its digest, shared by all repositories.

use crate::model::{Digest, Error, Hasher, MANIFEST_BYTES_MAX, Result};
use crate::registry::Layer;
use crate::store::{
    Store,
    attributes::{attributes, is_denied, make_plain, stat},
    collect,
    folder::{self, Folder, Place},
    gate::Passage,
    layout, links,
};
use rustix::{
    fs::{OFlags, Stat},
    io::Errno,
};
use std::{
    fs::File,
    io::Write as _,
    os::{
        fd::{AsFd as _, BorrowedFd},
        unix::fs::FileExt as _,
    },
    path::Path,
    thread,
    time::{Duration, SystemTime},
};

/// How often a manifest is read that does not hash to its digest: docker-registry 2.8 writes
/// manifests in place.
const READS_MAX: u32 = 6;
/// How long to wait between two such reads.
const READ_PAUSE: Duration = Duration::from_millis(10);

impl Store {
    /// What the system knows of a blob. Errors: `Damaged` when it is not a file, or in quarantine.
    pub(super) fn stat_blob(&self, digest: &Digest) -> Result<Option<Stat>> {
        let stat = || self.root.stat(layout::blob(digest));
        let stat = match stat()? {
            None if self.is_brought_back(digest)? => stat()?,
            stat => stat,
        };
        match stat {
            Some(stat) if !folder::is_file(&stat) => Err(not_a_file(digest)),
            stat => Ok(stat),
        }
    }

    /// Whether a blob that is not there is there again: the collector may have just taken it out. Errors:
    /// `Damaged` when it is in quarantine.
    fn is_brought_back(&self, digest: &Digest) -> Result<bool> {
        Ok(collect::bring_back(self, digest)? || self.check_quarantine(digest).map(|()| false)?)
    }

    /// Opens a blob. Errors: `Damaged` when it is not a file, or in quarantine.
    pub(super) fn open_blob(&self, digest: &Digest) -> Result<Option<LocalLayer>> {
        let at = layout::blob(digest);
        let open = || match self.root.open_quietly(&at, OFlags::RDONLY) {
            Err(Error::Io { source, .. }) if is_symlink(&source) => Err(not_a_file(digest)),
            opened => opened,
        };
        let file = match open()? {
            None if self.is_brought_back(digest)? => open()?,
            file => file,
        };
        file.map(|file| LocalLayer::new(*digest, file, &self.root.path_of(&at))).transpose()
    }

    /// The bytes of a manifest's blob, which hash to `digest`. Errors: `ManifestTooLarge`,
    /// `Damaged`.
    pub(super) fn read_manifest(&self, digest: &Digest) -> Result<Option<Vec<u8>>> {
        self.read_short(digest, MANIFEST_BYTES_MAX)
    }

    /// The bytes of a blob of at most `limit` bytes, which hash to `digest`. Errors:
    /// `ManifestTooLarge`, `Damaged`.
    pub(super) fn read_short(&self, digest: &Digest, limit: u64) -> Result<Option<Vec<u8>>> {
        let mut reads = 0;
        loop {
            let Some(layer) = self.open_blob(digest)? else { return Ok(None) };
            if layer.length > limit {
                return Err(Error::ManifestTooLarge { length: layer.length, limit });
            }
            // As many as there were: had somebody added to them, they would have another hash.
            let mut bytes = vec![0; usize::try_from(layer.length).unwrap_or(usize::MAX)];
            let length = read_fully(&layer.file, &mut bytes, 0)
                .map_err(Error::io("read", self.root.path_of(layout::blob(digest))))?;
            bytes.truncate(length);
            if hash(digest, &bytes)? == *digest {
                return Ok(Some(bytes));
            }
            reads += 1;
            if reads == READS_MAX {
                let reason = "its bytes have another hash".to_owned();
                return Err(Error::Damaged { digest: *digest, reason });
            }
            thread::sleep(READ_PAUSE);
        }
    }

    /// Makes `bytes` the blob `digest`, unless exactly they are that already. Errors:
    /// `DigestMismatch`.
    pub(super) fn write_blob(
        &self, digest: &Digest, bytes: &[u8], passage: &Passage,
    ) -> Result<()> {
        let scratch = self.scratch()?;
        // Whatever a format calls its name: under a digest lies what hashes to it.
        let computed = hash(digest, bytes)?;
        if computed != *digest {
            return Err(Error::DigestMismatch { expected: *digest, computed });
        }
        let there = self.stat_blob(digest).ok().flatten();
        let same_length = there.is_some_and(|stat| folder::length(&stat) == bytes.len() as u64);
        let is_there = same_length && matches!(self.read_manifest(digest), Ok(Some(_)));
        if is_there && self.renew(digest, passage)? {
            return Ok(());
        }
        let draft = scratch.draft()?;
        let path = draft.path();
        draft.file().write_all(bytes).map_err(Error::io("write", &path))?;
        make_plain(draft.file(), &path)?;
        draft.sync()?;
        match draft.publish(self.root.place(&layout::blob(digest))) {
            // It is another user's. The link that comes next is new, and for its sake a collector
            // brings back what it has taken out.
            Err(error) if is_there && is_denied(&error) => return Ok(()),
            published => published?,
        }
        self.leave_quarantine(digest);
        Ok(())
    }

    /// Makes the file `from`, which was found to hash to `digest` and synced since, that blob. One that
    /// lies there already is replaced: it may be damaged, and this one is not. The upload keeps its
    /// data until the blob is linked, so that a crash in between loses neither.
    pub(super) fn adopt_blob(
        &self, from: Place<'_>, digest: &Digest, _passage: &Passage,
    ) -> Result<()> {
        self.scratch()?.publish_also(from, self.root.place(&layout::blob(digest)))?;
        self.leave_quarantine(digest);
        Ok(())
    }

    /// Whether the entry `link` of a folder of links leads to content, or to content in quarantine,
    /// which people are to see, so that they remove it or put it again. `named` is the digest that the
    /// entry's name says, which nearly always is where the content lies.
    pub(super) fn is_live(&self, folder: &Folder, link: &Path, named: &Digest) -> Result<bool> {
        if !folder.has(link)? {
            return Ok(false);
        }
        if self.root.has(layout::blob(named))? {
            return Ok(true);
        }
        match links::read(folder, link) {
            Ok(Some(link)) => Ok(self.root.has(layout::blob(&link.digest))?
                || self.quarantine_reason(&link.digest)?.is_some()),
            Ok(None) => Ok(false),
            // It is to be seen, so that somebody removes it.
            Err(Error::LinkDamaged { .. }) => Ok(true),
            Err(error) => Err(error),
        }
    }
}

/// The digest of `bytes`, hashed as `like` is.
fn hash(like: &Digest, bytes: &[u8]) -> Result<Digest> {
    let mut hasher = Hasher::new(like.algorithm());
    hasher.update(bytes);
    hasher.digest()
}

/// When a blob was stored; what replaces it has another time.
pub(super) fn created_at(stat: &Stat) -> SystemTime {
    attributes(stat).modified_at
}

fn is_symlink(error: &std::io::Error) -> bool {
    error.raw_os_error() == Some(Errno::LOOP.raw_os_error())
}

fn not_a_file(digest: &Digest) -> Error {
    Error::Damaged { digest: *digest, reason: "it is not a regular file".to_owned() }
}

/// An open blob.
#[derive(Debug)]
pub(super) struct LocalLayer {
    digest: Digest,
    length: u64,
    created_at: SystemTime,
    file: File,
}

impl LocalLayer {
    fn new(digest: Digest, file: File, path: &Path) -> Result<Self> {
        let stat = stat(&file, || path.to_owned())?;
        if !folder::is_file(&stat) {
            return Err(not_a_file(&digest));
        }
        let (length, created_at) = (folder::length(&stat), created_at(&stat));
        Ok(Self { digest, length, created_at, file })
    }
}

impl Layer for LocalLayer {
    fn digest(&self) -> &Digest {
        &self.digest
    }

    fn length(&self) -> u64 {
        self.length
    }

    fn created_at(&self) -> SystemTime {
        self.created_at
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        read_fully(&self.file, buffer, offset)
            .map_err(Error::io("read", layout::blob(&self.digest)))
    }

    fn backing_file(&self) -> Option<BorrowedFd<'_>> {
        Some(self.file.as_fd())
    }
}

/// Fills `buffer` from `offset`; short only at the end of the file.
pub(super) fn read_fully(file: &File, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
    // The system refuses offsets beyond what any file can have; there is nothing to read there.
    if i64::try_from(offset).is_err() {
        return Ok(0);
    }
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
