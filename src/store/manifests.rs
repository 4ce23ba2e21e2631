//! Manifests: revisions, which a repository links by digest, and tags, which move.
//!
//! Order of writing: blob, revision link, and the tag last (`tags.rs`), so that whatever a name leads
//! to is there before the name. Order of deleting: tags first, then the revision.

use crate::model::{Algorithm, AttributesChange, Digest, Error, Manifest, Reference, Result, Tag};
use crate::registry::{Cursor, ManifestService, ManifestStat, PutAs, Retag, check_put, check_tag};
use crate::store::{
    Store,
    attributes::{Carried, attributes},
    durable,
    folder::{self, Folder},
    gate::{Moving, Passage},
    layout,
    links::{self, Link},
    repository::LocalRepository,
    tags::{self, removed_link},
};
use rustix::fs::Stat;
use std::mem;

/// How often a tag is followed that moves as fast as we read.
const RESOLVES_MAX: usize = 8;

/// Where a name leads.
pub(super) struct Found {
    /// The link that was asked for: a tag's or a revision's.
    link: Link,
    /// The digest under which the content lies.
    digest: Digest,
    blob: Stat,
}

impl Store {
    /// Where a tag of the repository in `folder` leads; `None` when it is not there. Errors:
    /// `LinkDangling`.
    fn resolve_tag(&self, folder: &Folder, tag: &Tag) -> Result<Option<Found>> {
        let at = layout::tag_link(tag);
        let mut before = None;
        for _ in 0..RESOLVES_MAX {
            let Some(link) = tags::link(folder, tag)? else { return Ok(None) };
            if before == Some(link.digest) {
                break;
            }
            // Stores written by docker-registry 2.1 link tagged manifests as layers.
            for at in [layout::revision_link(&link.digest), layout::layer_link(&link.digest)] {
                if let Some(target) = links::read(folder, at)?
                    && let Some(blob) = self.stat_blob(&target.digest)?
                {
                    return Ok(Some(Found { link, digest: target.digest, blob }));
                }
            }
            // It may have moved on meanwhile, and what it named before may have been deleted.
            before = Some(link.digest);
        }
        let dangling = |digest| Error::LinkDangling { path: folder.path_of(&at), digest };
        before.map_or(Ok(None), |digest| Err(dangling(digest)))
    }

    /// Where a revision of the repository in `folder` leads.
    fn resolve_revision(&self, folder: &Folder, digest: &Digest) -> Result<Option<Found>> {
        let link = links::read(folder, layout::revision_link(digest))?;
        let Some(link) = link else { return Ok(None) };
        let blob = self.stat_blob(&link.digest)?;
        Ok(blob.map(|blob| Found { link, digest: link.digest, blob }))
    }

    /// Removes a revision, with the signatures on it, at once. `false` when it is not there.
    fn remove_revision(&self, folder: &Folder, digest: &Digest) -> Result<bool> {
        self.let_age(links::read(folder, layout::revision_link(digest)));
        self.scratch()?.delete(folder.place(&layout::revision(digest)), layout::LINK)
    }
}

impl LocalRepository {
    fn manifest_unknown(&self, reference: &Reference) -> Error {
        match reference {
            Reference::Tag(tag) => Error::TagUnknown(self.name.clone(), tag.clone()),
            Reference::Digest(digest) => Error::ManifestUnknown(self.name.clone(), *digest),
        }
    }

    /// The repository's folder. Errors: the `…Unknown` of `reference`.
    fn folder_with(&self, reference: &Reference) -> Result<Folder> {
        let folder = self.store.open_repository(&self.name)?;
        folder.ok_or_else(|| self.manifest_unknown(reference))
    }

    fn resolve(&self, folder: &Folder, reference: &Reference) -> Result<Found> {
        let found = match reference {
            Reference::Tag(tag) => self.store.resolve_tag(folder, tag)?,
            Reference::Digest(digest) => self.store.resolve_revision(folder, digest)?,
        };
        found.ok_or_else(|| self.manifest_unknown(reference))
    }

    /// Links a revision. The wish `change` is for what the manifest is put as: of a tagged one only
    /// the owner concerns the revision, and only when it is new.
    fn link_revision(
        &self, folder: &Folder, digest: &Digest, tag: Option<&Tag>, change: &AttributesChange,
    ) -> Result<()> {
        let at = layout::revision_link(digest);
        let carried = match tag {
            None => self.store.carried(folder, &at, change)?,
            Some(_) => {
                if let Ok(Some(link)) = links::read(folder, &at)
                    && link.digest == *digest
                {
                    return Ok(());
                }
                let AttributesChange { uid, gid, .. } = *change;
                Carried::default().but(&AttributesChange { uid, gid, ..Default::default() })
            }
        };
        links::write(self.store.scratch()?, folder.place(&at), digest, &carried)
    }

    /// Passes the gate, to give another name to tags of these manifests.
    fn pass_to_retag(
        &self, folder: &Folder, digests: &[Digest],
    ) -> Result<(Passage, Option<Moving>)> {
        let are_linked = || -> Result<bool> {
            let mut links = digests.iter().map(layout::revision_link);
            links.try_fold(true, |all, link| Ok(all && folder.stat(link)?.is_some()))
        };
        if are_linked()? {
            let passage = self.store.pass()?;
            // Somebody may have removed a revision meanwhile.
            if are_linked()? {
                return Ok((passage, None));
            }
        }
        // Nothing but the tag leads there, as in a store of docker-registry 2.1.
        let moving = self.store.begin_move()?;
        let passage = self.store.pass()?;
        self.store.note_move(&moving, &passage)?;
        Ok((passage, Some(moving)))
    }

    /// Gives the tag `from` the name `to`, which is taken by a tag that goes.
    fn replace_tag(&self, folder: &Folder, from: &Tag, to: &Tag, found: &Found) -> Result<()> {
        let carried = Carried::at(folder.place(&layout::tag_link(from)))?;
        let carried = carried.ok_or_else(|| self.manifest_unknown(&from.clone().into()))?;
        self.store.move_tag(folder, to, &found.link.digest, &carried)?;
        self.end_replaced(folder, from, to, &found.link.digest)
    }

    /// Removes the tag `from`, after `to` was made to name what `from` named, `digest`.
    fn end_replaced(&self, folder: &Folder, from: &Tag, to: &Tag, digest: &Digest) -> Result<()> {
        let at = layout::tag(from);
        let Some(removed) = self.store.scratch()?.remove(folder.place(&at))? else { return Ok(()) };
        // Nobody can move it any more. If somebody did since we looked, that is as if it had been
        // before all this: then it is what the new name is for.
        let moved = removed_link(&removed).and_then(|link| match link {
            Some(link) if link.digest != *digest => {
                let inner = removed.open_folder()?;
                let carried = inner.map(|inner| Carried::at(inner.place(layout::TAG_LINK)));
                let carried = carried.transpose()?.flatten().unwrap_or_default();
                self.store.move_tag(folder, to, &link.digest, &carried)
            }
            Some(_) | None => Ok(()),
        });
        // What cannot be moved stays where it was, unless something newer lies there.
        if moved.is_ok() || !removed.put_back(folder.place(&at))? {
            removed.delete();
        }
        moved
    }

    /// The manifest `digest`, which `reference` was found to name.
    fn read(&self, folder: &Folder, digest: &Digest, reference: &Reference) -> Result<Manifest> {
        let bytes = self.document(folder, digest)?;
        Manifest::parse(&bytes.ok_or_else(|| self.manifest_unknown(reference))?)
    }

    /// Checks that what `reference` was found to name may be named `tag`. What is damaged may have any
    /// name.
    fn check_name(
        &self, folder: &Folder, found: &Found, reference: &Reference, tag: &Tag,
    ) -> Result<()> {
        match self.read(folder, &found.digest, reference) {
            Ok(manifest) => check_tag(self, &manifest, tag),
            Err(
                Error::Damaged { .. } | Error::ManifestInvalid(_) | Error::ManifestTooLarge { .. },
            ) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Makes the tags `one` and `other` change names.
    fn exchange_tags(&self, folder: &Folder, one: &Tag, other: &Tag) -> Result<()> {
        let digests = [one, other]
            .map(|tag| self.resolve(folder, &tag.clone().into()).map(|found| found.link.digest));
        let [mine, theirs] = digests;
        let (here, there) = (layout::tag_current(one), layout::tag_current(other));
        let is_done = self.store.note_in_index(folder, one, &theirs?)?
            && self.store.note_in_index(folder, other, &mine?)?
            && durable::exchange(folder.place(&here), folder.place(&there))?;
        if is_done { Ok(()) } else { Err(self.manifest_unknown(&one.clone().into())) }
    }
}

impl ManifestService for LocalRepository {
    fn tags(&self) -> Result<Box<dyn Cursor<Tag>>> {
        let folder = self.store.root.open_folder(self.at(layout::TAGS))?;
        Ok(Box::new(tags::tags(folder)?))
    }

    fn revisions(&self) -> Result<Box<dyn Cursor<Digest>>> {
        let folder = self.store.open_repository(&self.name)?;
        Ok(Box::new(self.store.digests(
            folder.as_ref(),
            &Algorithm::OF_BYTES,
            layout::revisions,
        )?))
    }

    fn stat(&self, reference: &Reference) -> Result<ManifestStat> {
        let folder = self.folder_with(reference)?;
        let found = self.resolve(&folder, reference)?;
        let length = self.document_length(&folder, &found.digest, &found.blob)?;
        Ok(ManifestStat {
            digest: found.digest,
            length: length.unwrap_or(folder::length(&found.blob)),
            attributes: attributes(&found.link.stat),
        })
    }

    fn get(&self, reference: &Reference) -> Result<Manifest> {
        let folder = self.folder_with(reference)?;
        let found = self.resolve(&folder, reference)?;
        self.read(&folder, &found.digest, reference)
    }

    fn put(
        &self, manifest: &Manifest, put_as: &PutAs, change: &AttributesChange,
    ) -> Result<Digest> {
        self.store.scratch()?;
        let digest = *manifest.digest();
        let check = || check_put(self, manifest, put_as, self.store.reference_check);
        // Before a folder is made for it; what it refers to stays from here on.
        let passage = self.store.pass()?;
        let tag = check()?;
        let mut is_again = false;
        let put = |folder: Folder| {
            // The repository is another one by then.
            if mem::replace(&mut is_again, true) {
                check()?;
            }
            // 1. Who says that it is good, and the content.
            match manifest.signed() {
                None => self.store.write_blob(&digest, manifest.bytes(), &passage)?,
                Some(signed) => {
                    self.keep_signatures(&folder, &digest, signed, &passage)?;
                    self.store.write_blob(&digest, signed.payload(), &passage)?;
                }
            }
            // 2. What gives it to this repository.
            self.link_revision(&folder, &digest, tag.as_ref(), change)?;
            // 3. The name that a person sees, last.
            if let Some(tag) = &tag {
                let carried = self.store.carried(&folder, &layout::tag_link(tag), change)?;
                self.store.move_tag(&folder, tag, &digest, &carried)?;
            }
            Ok(digest)
        };
        self.store.in_repository(|| self.store.open_repository_for_content(&self.name), put)
    }

    fn tag(&self, digest: &Digest, tag: &Tag, change: &AttributesChange) -> Result<()> {
        self.store.scratch()?;
        let reference = Reference::Digest(*digest);
        let passage = self.store.pass()?;
        let tag = |folder: Folder| {
            let found = self.resolve(&folder, &reference)?;
            self.store.renew(&found.digest, &passage)?;
            self.check_name(&folder, &found, &reference, tag)?;
            let carried = self.store.carried(&folder, &layout::tag_link(tag), change)?;
            self.store.move_tag(&folder, tag, digest, &carried)
        };
        self.store.in_repository(|| self.folder_with(&reference), tag)
    }

    fn retag(&self, from: &Tag, to: &Tag, retag: Retag) -> Result<()> {
        self.store.scratch()?;
        let reference = Reference::Tag(from.clone());
        let folder = self.folder_with(&reference)?;
        let found = self.resolve(&folder, &reference)?;
        if from == to {
            return match retag {
                Retag::Replace | Retag::Exchange => Ok(()),
                Retag::KeepExisting => Err(Error::Exists(format!("tag {to}"))),
            };
        }
        self.check_name(&folder, &found, &reference, to)?;
        let other = Reference::Tag(to.clone());
        let mut moved = vec![found.digest];
        if retag == Retag::Exchange {
            moved.push(self.resolve(&folder, &other)?.digest);
        }
        let _passed = self.pass_to_retag(&folder, &moved)?;
        if retag == Retag::Exchange {
            self.check_name(&folder, &self.resolve(&folder, &other)?, &other, from)?;
            return self.exchange_tags(&folder, from, to);
        }
        // A new name takes the tag's whole folder along, at once.
        let (here, there) = (layout::tag(from), layout::tag(to));
        if durable::move_new(folder.place(&here), folder.place(&there))? {
            return Ok(());
        }
        // What lies there may be a folder without a link: then it is no tag that could stay.
        if retag == Retag::KeepExisting && folder.stat(layout::tag_link(to))?.is_some() {
            return Err(Error::Exists(format!("tag {to}")));
        }
        self.replace_tag(&folder, from, to, &found)
    }

    fn untag(&self, tag: &Tag, digest: &Digest) -> Result<()> {
        self.store.scratch()?;
        let Some(folder) = self.store.open_repository(&self.name)? else { return Ok(()) };
        match self.store.resolve_tag(&folder, tag)? {
            Some(found) if found.digest == *digest => {
                self.store.remove_tag_of(&folder, tag, &found.link.digest)
            }
            Some(_) | None => Ok(()),
        }
    }

    fn delete(&self, reference: &Reference) -> Result<()> {
        self.store.scratch()?;
        let folder = self.folder_with(reference)?;
        let removed = match reference {
            Reference::Tag(tag) => self.store.remove_tag(&folder, tag)?,
            Reference::Digest(digest) => {
                if folder.stat(layout::revision_link(digest))?.is_some() {
                    self.store.remove_tags_of(&folder, digest)?;
                    self.store.remove_revision(&folder, digest)?
                } else {
                    false
                }
            }
        };
        if removed { Ok(()) } else { Err(self.manifest_unknown(reference)) }
    }
}
