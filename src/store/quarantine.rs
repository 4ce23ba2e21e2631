//! Content that was found damaged, put where no registry looks: `regfs/quarantine`, a folder for each
//! digest with the reason and the bytes.
//!
//! Who asks for such content is told why it is not there, until good bytes are pushed: they lie where
//! blobs lie, and nobody looks into the quarantine any more.

use crate::model::{Digest, Error, Result};
use crate::store::{Store, durable, folder, layout, ownership, sync};
use rustix::fs::{Stat, fstat};
use std::{
    fs::File,
    io::{self, Write as _},
    path::PathBuf,
    time::SystemTime,
};

/// More than any reason has.
const REASON_BYTES_MAX: u64 = 1024;
/// How often one digest is put into quarantine. Beyond that its bytes stay where they are.
const COPIES_MAX: u32 = 100;

/// What became of a blob that was to go into quarantine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moved {
    /// It lies there.
    Away,
    /// Somebody else was faster: what lies under the digest is another file, or none.
    Replaced,
}

impl Store {
    /// Refuses content that is in quarantine. To be called when there is no such blob. Errors:
    /// `Damaged`.
    pub(super) fn check_quarantine(&self, digest: &Digest) -> Result<()> {
        match self.quarantine_reason(digest)? {
            Some(reason) => Err(Error::Damaged { digest: *digest, reason }),
            None => Ok(()),
        }
    }

    /// Why a blob that is not there is in quarantine, if it is.
    pub(super) fn quarantine_reason(&self, digest: &Digest) -> Result<Option<String>> {
        let at = layout::quarantine_reason(digest);
        let Some(text) = self.root.read(at, REASON_BYTES_MAX)? else { return Ok(None) };
        let text = String::from_utf8_lossy(&text).trim().to_owned();
        Ok(Some(format!("regfs verify moved it to {}: {text}", layout::QUARANTINE)))
    }

    /// Forgets why a blob was in quarantine that lies where it should again. The bytes stay there,
    /// for who wants to know what had happened to them.
    pub(super) fn leave_quarantine(&self, digest: &Digest) {
        let forgotten = self.root.remove_file(layout::quarantine_reason(digest));
        let removed = match &forgotten {
            Ok(true) => self.root.remove_folder(layout::quarantined(digest)),
            Ok(false) | Err(_) => Ok(false),
        };
        // It does not matter as long as the blob is there.
        if let Err(error) = forgotten.and(removed) {
            log::warn!("the quarantine of {digest} is not forgotten: {error}");
        }
    }

    /// Moves the blob `digest`, open as `file` and found damaged, into quarantine. `before` is what
    /// the system knew of it before it was hashed.
    pub(super) fn quarantine(
        &self, digest: &Digest, file: &File, before: &Stat, reason: &str,
    ) -> Result<Moved> {
        // 1. Why, before the bytes are away: from then on it is asked for.
        ownership::make_folders(&self.root, layout::quarantined(digest))?;
        let draft = self.scratch()?.draft()?;
        let now = humantime::format_rfc3339_seconds(SystemTime::now());
        writeln!(draft.file(), "{now}: {reason}").map_err(Error::io("write", draft.path()))?;
        ownership::give_file(&self.root, draft.file(), &draft.path())?;
        draft.sync()?;
        draft.publish(self.root.place(&layout::quarantine_reason(digest)))?;
        // 2. The bytes, unless good ones lie there by now.
        let moved = self.move_damaged(digest, file, before);
        if !matches!(moved, Ok(Moved::Away)) {
            self.leave_quarantine(digest);
            return moved;
        }
        // 3. Both names survive a power cut.
        sync::folders(self.root.place(&layout::quarantined(digest)))?;
        if let Some(folder) = layout::blob(digest).parent() {
            sync::folder(self.root.place(folder))?;
        }
        moved
    }

    fn move_damaged(&self, digest: &Digest, file: &File, before: &Stat) -> Result<Moved> {
        let at = layout::blob(digest);
        let is_same = |there: Stat| folder::identity(&there) == folder::identity(before);
        if !self.root.stat(&at)?.is_some_and(is_same) {
            return Ok(Moved::Replaced);
        }
        let Some(to) = self.move_away(digest)? else { return Ok(Moved::Replaced) };
        // Somebody may have replaced them just before the rename, or have written to the file, of
        // which a rename changes no time but the one that nobody can set.
        let content = |stat: &Stat| (stat.st_size, stat.st_mtime, stat.st_mtime_nsec);
        let open = fstat(file).map_err(Error::io("stat", self.root.path_of(&to)))?;
        if self.root.stat(&to)?.is_some_and(is_same) && content(&open) == content(before) {
            return Ok(Moved::Away);
        }
        // What lies under the digest by now came later still, and then nothing is lost.
        if !durable::move_new(self.root.place(&to), self.root.place(&at))? {
            log::warn!("{} came too late to be put back", self.root.path_of(&to).display());
        }
        Ok(Moved::Replaced)
    }

    /// Moves a blob to the first name in its folder of the quarantine that is free.
    fn move_away(&self, digest: &Digest) -> Result<Option<PathBuf>> {
        let at = layout::blob(digest);
        for number in 1..=COPIES_MAX {
            let to = layout::quarantine_data(digest, number);
            match durable::move_new(self.root.place(&at), self.root.place(&to)) {
                Ok(true) => return Ok(Some(to)),
                Ok(false) => {}
                Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
        let path = self.root.path_of(layout::quarantined(digest));
        Err(Error::io("add to", path)(io::Error::from(io::ErrorKind::StorageFull)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{LocalRegistry, StoreOptions, attributes::stat};
    use rustix::fs::OFlags;
    use std::{sync::Barrier, thread};

    /// A store with a damaged blob, and the blob as a verification has it open.
    fn damaged(good: &[u8]) -> (tempfile::TempDir, LocalRegistry, Digest, File, Stat) {
        let folder = tempfile::tempdir().unwrap();
        let registry = LocalRegistry::open(folder.path(), &StoreOptions::default()).unwrap();
        let digest = Digest::sha256(good);
        let root = &registry.store.root;
        root.make_folders(layout::blob(&digest).parent().unwrap()).unwrap();
        std::fs::write(root.path_of(layout::blob(&digest)), "damaged").unwrap();
        let file = root.open_file(layout::blob(&digest), OFlags::RDONLY).unwrap().unwrap();
        let before = stat(&file, PathBuf::new).unwrap();
        (folder, registry, digest, file, before)
    }

    #[test]
    fn a_damaged_blob_goes_and_its_reason_stays() {
        let (_folder, registry, digest, file, before) = damaged(b"good");
        let store = &registry.store;
        assert_eq!(store.quarantine(&digest, &file, &before, "why").unwrap(), Moved::Away);
        let error = store.stat_blob(&digest).unwrap_err();
        assert!(matches!(&error, Error::Damaged { reason, .. } if reason.ends_with(": why")));
        assert!(matches!(store.open_blob(&digest), Err(Error::Damaged { .. })));
        store.write_blob(&digest, b"good", &store.pass().unwrap()).unwrap();
        assert!(store.stat_blob(&digest).unwrap().is_some());
        assert_eq!(store.quarantine_reason(&digest).unwrap(), None);
        assert!(store.root.stat(layout::quarantine_data(&digest, 1)).unwrap().is_some());
    }

    #[test]
    fn what_was_written_to_after_the_look_is_put_back() {
        let (_folder, registry, digest, file, before) = damaged(b"good");
        let store = &registry.store;
        std::fs::write(store.root.path_of(layout::blob(&digest)), "good").unwrap();
        assert_eq!(store.quarantine(&digest, &file, &before, "why").unwrap(), Moved::Replaced);
        assert_eq!(store.read_manifest(&digest).unwrap().as_deref(), Some(&b"good"[..]));
        assert_eq!(store.quarantine_reason(&digest).unwrap(), None);
    }

    #[test]
    fn a_blob_that_is_healed_meanwhile_is_never_lost() {
        const ROUNDS: usize = 300;
        for _ in 0..ROUNDS {
            let (_folder, registry, digest, file, before) = damaged(b"good");
            let (store, together) = (&registry.store, Barrier::new(2));
            thread::scope(|scope| {
                scope.spawn(|| {
                    together.wait();
                    store.write_blob(&digest, b"good", &store.pass().unwrap()).unwrap();
                });
                together.wait();
                store.quarantine(&digest, &file, &before, "why").unwrap();
            });
            assert_eq!(store.read_manifest(&digest).unwrap().as_deref(), Some(&b"good"[..]));
        }
    }
}
