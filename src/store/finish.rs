//! How an upload becomes a layer: verified, made a blob, linked; in this order, so that a name under
//! `layers/` never has other bytes than it promises. And how it ends without becoming one.

use crate::model::{Algorithm, Area, Digest, Error, Hasher, Result};
use crate::registry::Layer;
use crate::store::{
    attributes::{Carried, make_plain},
    blobs::LocalLayer,
    durable::Draft,
    folder::Folder,
    gate::Passage,
    layout, links, notes, states, sync,
    upload::{Life, Shared, Work},
    uploads,
};
use rustix::fs::{Advice, fadvise};
use std::{
    io,
    sync::{Arc, atomic::Ordering},
};

/// What is left to do once the data is a blob.
#[derive(Clone)]
pub(super) struct Stored {
    /// The digest that was asked for.
    pub(super) named: Digest,
    /// The digest under which the content lies.
    pub(super) canonical: Digest,
    /// What a person has set on the data, on its way to the link.
    pub(super) carried: Carried,
}

impl Shared {
    /// Ends the upload without making a layer of it.
    pub(super) fn end(&self, after: Life) -> Result<()> {
        let _renaming = self.renaming.lock();
        let mut work = self.work.lock();
        let after = match work.life {
            Life::Open => after,
            Life::Stored(_) => Life::Withdrawn,
            Life::Cancelled | Life::Withdrawn => return Ok(()),
            Life::Finished | Life::Closed => return Err(self.unknown()),
        };
        self.remove_folder()?;
        work.life = after;
        self.ended.store(true, Ordering::Release);
        Ok(())
    }

    /// The canonical digest of everything there is. Errors: `DigestMismatch` unless it is `expected`
    /// too.
    pub(super) fn verify(&self, work: &mut Work, expected: &Digest) -> Result<Digest> {
        let mut beside = match expected.algorithm() {
            Algorithm::Sha256 => None,
            other @ (Algorithm::Sha384 | Algorithm::Sha512 | Algorithm::TarSum(..)) => {
                Some(Hasher::new(other))
            }
        };
        let canonical = self.catch_up(work, beside.as_mut())?;
        let computed = beside.map_or(Ok(canonical), Hasher::digest)?;
        if computed == *expected {
            Ok(canonical)
        } else {
            Err(Error::DigestMismatch { expected: *expected, computed })
        }
    }

    /// What is to be linked once the data, found to be `expected`, is a blob.
    pub(super) fn verified(&self, work: &mut Work, expected: &Digest) -> Result<Stored> {
        // Who syncs in the background may not have come to that yet.
        self.distrust(work);
        let canonical = self.verify(work, expected).map_err(|error| self.cause(error))?;
        // docker-registry's purger may have taken the data away.
        if !uploads::is_still(&self.repository, self.id, &self.data)? {
            return Err(self.unknown());
        }
        let carried = Carried::of(&self.data, &self.path(layout::DATA))?;
        Ok(Stored { named: *expected, canonical, carried })
    }

    /// Begins the links: whatever can fail for want of room does so before anything has changed.
    pub(super) fn begin_links(
        &self, repository: &Folder, stored: &Stored,
    ) -> Result<Vec<(Draft<'_>, Digest)>> {
        let Stored { named, canonical, carried } = stored;
        let mut drafts = Vec::new();
        let second = Some(named).filter(|named| *named != canonical);
        for name in std::iter::once(canonical).chain(second) {
            if self.store.is_pinned(repository, name)? {
                continue;
            }
            if let Some(parent) = layout::layer_link(name).parent() {
                repository.make_folders(parent)?;
            }
            drafts.push((links::begin(self.store.scratch()?, canonical, carried)?, *name));
        }
        // The data is synced next, and what is on its way by then costs little.
        sync::begin(&self.data);
        let files: Vec<_> = drafts.iter().map(|(link, _)| (link.file(), link.path())).collect();
        sync::contents(&files)?;
        Ok(drafts)
    }

    /// Makes the data a blob. No collector removes it until the passage is over.
    pub(super) fn store_blob(&self, work: &mut Work, stored: &Stored) -> Result<Passage> {
        let at = layout::upload_file(self.id, layout::DATA);
        let from = self.repository.place(&at);
        let store = || {
            // 1. The bytes, before any name that promises them, and before others have to wait.
            self.sync_bytes()?;
            self.check_taken(work)?;
            let passage = self.store.pass()?;
            // 2. What a person set on it has no place on what others share.
            make_plain(&self.data, &from.path())?;
            // 3. The name.
            self.store.adopt_blob(from, &stored.canonical, &passage)?;
            Ok(passage)
        };
        store().inspect_err(|_| {
            self.distrust(work);
            // The upload stays as it was, as far as it can.
            if let Err(error) = stored.carried.put_on(&self.data, &from.path()) {
                log::warn!("upload {} lost its attributes: {error}", self.id);
            }
        })
    }

    /// Makes the bytes survive a power cut.
    pub(super) fn sync_data(&self) -> Result<()> {
        self.sync_bytes().inspect_err(|_| self.distrust(&mut self.work.lock()))
    }

    /// One at a time: of several who sync the same open file the kernel tells only one that it failed.
    /// What was synced and has not changed since need not be synced again.
    fn sync_bytes(&self) -> Result<()> {
        let mut synced = self.synced.lock();
        let now = Some((self.edits.load(Ordering::Acquire), self.length()?));
        if *synced == now {
            return Ok(());
        }
        *synced = None;
        let outcome = sync::content(&self.data, || self.path(layout::DATA));
        match &outcome {
            Ok(()) => *synced = now,
            Err(Error::Io { source, .. }) => {
                self.lost.store(source.raw_os_error().unwrap_or(0), Ordering::Relaxed);
                self.failures.fetch_add(1, Ordering::AcqRel);
            }
            Err(_) => {}
        }
        outcome
    }

    /// Refuses bytes that the disk would not take when somebody else synced them.
    fn check_taken(&self, work: &Work) -> Result<()> {
        if self.failures.load(Ordering::Acquire) == work.failures_known {
            return Ok(());
        }
        let source = io::Error::from_raw_os_error(self.lost.load(Ordering::Relaxed));
        Err(Error::io(sync::DOING, self.path(layout::DATA))(source))
    }

    /// Why the content is not what it is to be: the disk may have lost it.
    fn cause(&self, error: Error) -> Error {
        match self.lost.load(Ordering::Relaxed) {
            number if number != 0 && error.is_mismatch() => {
                let source = io::Error::from_raw_os_error(number);
                Error::io(sync::DOING, self.path(layout::DATA))(source)
            }
            _ => error,
        }
    }

    /// After a sync that failed: the disk does not have what was written. The kernel says so once, and
    /// takes the pages that it still has for written from then on; a hash over those would prove
    /// nothing. What counts is what the disk has.
    fn distrust(&self, work: &mut Work) {
        let failures = self.failures.load(Ordering::Acquire);
        if failures == work.failures_known {
            return;
        }
        work.failures_known = failures;
        let forget = |errno| Error::io("forget the pages of", self.path(layout::DATA))(errno);
        let forgotten = fadvise(&self.data, 0, None, Advice::DontNeed).map_err(forget);
        let removed = notes::remove(&self.store, self.id);
        let removed = removed.and(states::remove_beyond(&self.repository, self.id, 0));
        work.progress.forget_note();
        work.progress.forget_kept();
        work.progress.disturb(0);
        if let Err(error) = forgotten.and(removed) {
            log::error!("upload {} may be taken for what the disk does not have: {error}", self.id);
        }
    }

    /// Links what is a blob, and removes what is left of the upload. Gives what now has the name.
    ///
    /// Whoever removes a repository looks whether it is empty, and finds nothing of this layer
    /// between the move of its data and the links. Then we come after, and make the links again.
    pub(super) fn link(
        &self, stored: &Stored, links: Vec<(Draft<'_>, Digest)>,
    ) -> Result<Arc<dyn Layer>> {
        let mut linked = self.publish_links(&self.repository, stored, links);
        if self.store.is_removed(&self.repository)? {
            let open = || self.store.open_repository_for_content(&self.home);
            linked = self.store.in_repository(open, |repository| {
                let links = self.begin_links(&repository, stored)?;
                self.publish_links(&repository, stored, links)
            });
        }
        let layer = linked?;
        // The repository has the layer, whether the upload's folder can be removed or not. Without data
        // that is no upload any more.
        let forgotten = self.repository.remove_file(layout::upload_file(self.id, layout::DATA));
        if let Err(error) = forgotten.and(self.keep_folder()) {
            log::warn!("upload {} is finished, but its folder stays behind: {error}", self.id);
        }
        Ok(Arc::new(layer))
    }

    fn publish_links(
        &self, repository: &Folder, stored: &Stored, links: Vec<(Draft<'_>, Digest)>,
    ) -> Result<LocalLayer> {
        let mut layer = self.store.open_blob(&stored.canonical)?.ok_or_else(|| self.unknown())?;
        for (link, name) in links {
            self.store.publish_link(repository, link, &name)?;
        }
        if stored.named.algorithm().is_tarsum()
            && let Some(link) = links::read(repository, layout::layer_link(&stored.named))?
            && let Some(first) = self.store.open_blob(&link.digest)?
        {
            layer = first;
        }
        self.store.area_changed(repository, Area::Layers);
        Ok(layer)
    }
}
