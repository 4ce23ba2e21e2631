//! Blobs: each is read once, and must hash to the digest under which it lies.
//!
//! A blob that does not is hashed again when somebody may be writing it: docker-registry 2.8 writes
//! manifests in place.

use crate::model::{Digest, Error, Hasher};
use crate::store::{
    attributes::stat,
    blobs::read_fully,
    folder, layout,
    quarantine::Moved,
    verify::{
        Counts, Finding, Kind,
        look::{Look, is_settled},
        run::Run,
        walk::is_symlink,
    },
};
use rustix::fs::{Advice, OFlags, Stat, fadvise};
use std::{collections::HashSet, fs::File, path::Path};

/// How much is read at once: what stays in the processor's cache is hashed twice faster than from
/// memory.
const READ_BYTES: usize = 1 << 17;

/// What hashing a file has given.
pub(super) enum Hashed {
    Digest(Digest),
    /// What is wrong with it, when it has no such digest at all.
    None(String),
    Unreadable(Error),
    /// Somebody ended the run.
    CutOff,
}

impl Run<'_> {
    /// Looks at a blob's file.
    pub(super) fn look_at_blob(&self, digest: &Digest, at: &Path, look: &mut Look) {
        let opened = self.store.root.open_quietly(at, OFlags::RDONLY);
        let opened = opened.and_then(|file| {
            file.map(|file| stat(&file, || at.to_owned()).map(|stat| (file, stat))).transpose()
        });
        let (file, before) = match opened {
            Ok(Some(opened)) => opened,
            // It was removed a moment ago. Whoever needs it is told by its link.
            Ok(None) => return,
            Err(error) if is_symlink(&error) => return self.look_at_foreign(at, look),
            Err(error) => return look.unreadable(at, &error),
        };
        if !folder::is_file(&before) {
            return self.look_at_foreign(at, look);
        }
        if self.is_passed_over(&before) {
            return;
        }
        look.counts.add(&Counts { blobs: 1, bytes: folder::length(&before), ..Counts::default() });
        let reason = match self.hash(&file, digest, at, look.is_first()) {
            Hashed::Digest(computed) if computed == *digest => return,
            Hashed::Digest(computed) => format!("its bytes have the hash {computed}"),
            Hashed::None(reason) => reason,
            Hashed::Unreadable(error) => return look.unreadable(at, &error),
            Hashed::CutOff => {
                look.is_cut_off = true;
                return;
            }
        };
        let reason = if before.st_size == 0 { "it is empty".to_owned() } else { reason };
        match self.store.root.stat(at) {
            Ok(Some(there)) if is_unchanged(&before, &there) && is_settled(&before) => {}
            Ok(None) => return,
            Ok(Some(_)) => {
                look.found(Finding::blob(Kind::BlobDamaged, digest, at, &*reason), true);
                if look.is_in_doubt {
                    return;
                }
                look.findings.pop();
            }
            Err(error) => return look.unreadable(at, &error),
        }
        self.found_damaged(digest, &file, &before, at, reason, look);
    }

    /// A blob is damaged, and nobody is writing it.
    fn found_damaged(
        &self, digest: &Digest, file: &File, before: &Stat, at: &Path, mut reason: String,
        look: &mut Look,
    ) {
        if self.options.quarantine {
            match self.store.quarantine(digest, file, before, &reason) {
                Ok(Moved::Away) => {
                    let to = layout::quarantined(digest);
                    reason = format!("{reason}; it was moved to {}", to.display());
                }
                // What lies there by now is another file, which nobody has looked at yet.
                Ok(Moved::Replaced) => return self.look_at_blob(digest, at, look),
                Err(error) => reason = format!("{reason}; it stays there, because: {error}"),
            }
        }
        if self.is_first_to_find(digest) {
            look.sure(Finding::blob(Kind::BlobDamaged, digest, at, reason));
        }
    }

    /// Hashes a file as `like` is hashed. `counts` says whether the bytes are on the way to the end.
    pub(super) fn hash(&self, file: &File, like: &Digest, at: &Path, counts: bool) -> Hashed {
        // The kernel reads ahead; and what only this reads is the first to leave its memory again, so
        // that what others read there stays.
        for advice in [Advice::Sequential, Advice::NoReuse] {
            if let Err(errno) = fadvise(file, 0, None, advice) {
                log::debug!("{}: {errno}", at.display());
            }
        }
        let mut hasher = Hasher::new(like.algorithm());
        let mut buffer = vec![0; READ_BYTES];
        let mut offset = 0;
        loop {
            if self.is_ended() {
                return Hashed::CutOff;
            }
            let count = match read_fully(file, &mut buffer, offset) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) => {
                    let path = self.store.root.path_of(at);
                    return Hashed::Unreadable(Error::io("read", path)(error));
                }
            };
            hasher.update(&buffer[..count]);
            offset += count as u64;
            if counts {
                self.progress.read(count as u64);
            }
        }
        match hasher.digest() {
            Ok(digest) => Hashed::Digest(digest),
            Err(error) => Hashed::None(error.to_string()),
        }
    }

    /// Whether nobody has said yet that this blob is damaged. Damaged ones are few, so they are all
    /// remembered.
    pub(super) fn is_first_to_find(&self, digest: &Digest) -> bool {
        self.damaged.lock().insert(*digest)
    }

    /// Whether this blob is known to be damaged.
    pub(super) fn is_known_to_be_damaged(&self, digest: &Digest) -> bool {
        self.damaged.lock().contains(digest)
    }
}

/// The blobs that were found to be damaged.
pub(super) type Damaged = HashSet<Digest>;

/// Whether nobody wrote to a file between two looks, or put another one in its place.
fn is_unchanged(before: &Stat, after: &Stat) -> bool {
    let state = |stat: &Stat| (stat.st_size, stat.st_ctime, stat.st_ctime_nsec);
    folder::identity(before) == folder::identity(after) && state(before) == state(after)
}
