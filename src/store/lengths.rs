//! What was found out about manifests when they were looked at: whether they are payloads of schema 1,
//! and how long the document is that is read of one.
//!
//! `ls -l` of many tags has no time to read, hash and verify each. What is remembered counts as long as
//! the blob is the same file and the folder of its signatures has not changed. A signature's own blob
//! may be changed or collected without that: so whoever reads a document puts right what is remembered.

use crate::model::{Digest, Result};
use crate::store::attributes::attributes;
use lru::LruCache;
use parking_lot::Mutex;
use rustix::fs::Stat;
use std::{num::NonZeroUsize, time::Duration};

/// How many manifests are remembered: 2 MiB of them.
const MANIFESTS_MAX: NonZeroUsize = NonZeroUsize::new(16_384).unwrap();

/// How long ago a folder must have changed whose state is remembered: one that changes again gets
/// another time then.
const SETTLED_AGE: Duration = Duration::from_secs(2);

/// Which state of a file or folder was looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    changed_at: (i64, i64),
}

impl Stamp {
    fn of(stat: &Stat) -> Self {
        Self {
            inode: stat.st_ino,
            changed_at: (stat.st_ctime, i64::try_from(stat.st_ctime_nsec).unwrap_or_default()),
        }
    }
}

/// A manifest's blob as it was looked at, and what is read of it.
#[derive(Clone, Copy)]
struct Known {
    blob: Stamp,
    document: Document,
}

#[derive(Clone, Copy)]
enum Document {
    /// The blob.
    Blob,
    /// Its payload with these signatures, in so many bytes.
    Signed { signatures: Option<Stamp>, length: u64 },
}

/// The manifests that were looked at lately. Its lock is held for one operation.
pub(super) struct DocumentLengths(Mutex<LruCache<Digest, Known>>);

impl Default for DocumentLengths {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(MANIFESTS_MAX)))
    }
}

impl DocumentLengths {
    /// The length of the document of `digest`, where it is known; `Some(None)` when it is the blob's.
    /// `look` looks at the folder of signatures, if that matters.
    pub(super) fn get(
        &self, digest: &Digest, blob: &Stat, look: impl FnOnce() -> Result<Option<Stat>>,
    ) -> Result<Option<Option<u64>>> {
        let known = self.0.lock().get(digest).copied();
        match known.filter(|known| known.blob == Stamp::of(blob)).map(|known| known.document) {
            None => Ok(None),
            Some(Document::Blob) => Ok(Some(None)),
            Some(Document::Signed { signatures, length }) => {
                let same = signatures == look()?.as_ref().map(Stamp::of);
                Ok(same.then_some(Some(length)))
            }
        }
    }

    /// Remembers the length of the document of `digest`, or that it is the blob. The stats were taken
    /// before it was read.
    pub(super) fn set(
        &self, digest: &Digest, blob: &Stat, signatures: Option<&Stat>, length: Option<u64>,
    ) {
        if signatures.is_some_and(|folder| !is_settled(folder)) {
            return;
        }
        let signatures = signatures.map(Stamp::of);
        let document =
            length.map_or(Document::Blob, |length| Document::Signed { signatures, length });
        self.0.lock().put(*digest, Known { blob: Stamp::of(blob), document });
    }

    /// Forgets all of them.
    pub(super) fn forget(&self) {
        self.0.lock().clear();
    }

    /// A document of `digest` was read that has this length: another one is forgotten.
    pub(super) fn was_read(&self, digest: &Digest, read: u64) {
        let mut known = self.0.lock();
        if let Some(Known { document: Document::Signed { length, .. }, .. }) = known.peek(digest)
            && *length != read
        {
            known.pop(digest);
        }
    }
}

fn is_settled(stat: &Stat) -> bool {
    attributes(stat).changed_at.elapsed().is_ok_and(|age| age >= SETTLED_AGE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_length_counts_until_the_signatures_change() {
        let folder = tempfile::tempdir().unwrap();
        let stat = || {
            let mut stat = rustix::fs::stat(folder.path()).unwrap();
            stat.st_ctime -= 10;
            stat
        };
        let (lengths, digest, blob) = (DocumentLengths::default(), Digest::sha256(b""), stat());
        let get = |signatures| lengths.get(&digest, &blob, || Ok(signatures)).unwrap();
        assert_eq!(get(Some(stat())), None);
        lengths.set(&digest, &blob, Some(&stat()), Some(3));
        assert_eq!(get(Some(stat())), Some(Some(3)));
        assert_eq!(get(None), None);
        // Of what has changed just now nothing is remembered: it may change again at the same time.
        let young = rustix::fs::stat(folder.path()).unwrap();
        lengths.set(&digest, &blob, Some(&young), Some(4));
        assert_eq!(get(Some(young)), None);
        fs::create_dir(folder.path().join("signature")).unwrap();
        assert_eq!(get(Some(stat())), None);
    }

    #[test]
    fn who_reads_a_document_puts_its_length_right() {
        let folder = tempfile::tempdir().unwrap();
        let blob = rustix::fs::stat(folder.path()).unwrap();
        let (lengths, digest) = (DocumentLengths::default(), Digest::sha256(b""));
        let get = || lengths.get(&digest, &blob, || Ok(None)).unwrap();
        lengths.set(&digest, &blob, None, Some(3));
        lengths.was_read(&digest, 3);
        assert_eq!(get(), Some(Some(3)));
        lengths.was_read(&digest, 4);
        assert_eq!(get(), None);
    }

    #[test]
    fn of_what_is_no_payload_no_signatures_are_looked_for() {
        let folder = tempfile::tempdir().unwrap();
        let blob = rustix::fs::stat(folder.path()).unwrap();
        let (lengths, digest) = (DocumentLengths::default(), Digest::sha256(b""));
        lengths.set(&digest, &blob, None, None);
        let known = lengths.get(&digest, &blob, || panic!("somebody looked")).unwrap();
        assert_eq!(known, Some(None));
    }
}
