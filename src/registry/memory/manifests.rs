//! Manifests in memory.

use super::MemoryRepository;
use super::folder::{Folder, Marks, Revision, Tagged};
use crate::model::{AttributesChange, Digest, Error, Manifest, Reference, Result, Tag};
use crate::registry::{Cursor, ManifestService, ManifestStat, PutAs, Retag, check_put, check_tag};

impl MemoryRepository {
    fn tag_unknown(&self, tag: &Tag) -> Error {
        Error::TagUnknown(self.name.clone(), tag.clone())
    }

    pub(super) fn reference_unknown(&self, reference: &Reference) -> Error {
        match reference {
            Reference::Tag(tag) => self.tag_unknown(tag),
            Reference::Digest(digest) => Error::ManifestUnknown(self.name.clone(), *digest),
        }
    }

    /// What `look` finds for the reference's digest and marks.
    fn look_up<T>(
        &self, reference: &Reference, look: impl FnOnce(&Folder, &Digest, &Marks) -> Option<T>,
    ) -> Result<T> {
        let state = self.shared.state.lock();
        let found = state.folders.get(&self.name).and_then(|folder| match reference {
            Reference::Tag(tag) => {
                let tagged = folder.tags.get(tag)?;
                look(folder, &tagged.digest, &tagged.marks)
            }
            Reference::Digest(digest) => look(folder, digest, &folder.revisions.get(digest)?.marks),
        });
        found.ok_or_else(|| self.reference_unknown(reference))
    }
}

/// `kept`, with what the signatures on `manifest`, of the same digest, add to its own; as written anew.
fn with_signatures_of(manifest: &Manifest, kept: &Manifest) -> Result<Manifest> {
    let (Some(new), Some(old)) = (manifest.signed(), kept.signed()) else {
        return Ok(kept.clone());
    };
    let mut signed = old.clone();
    if let Some(added) = old.added(new)? {
        signed.merge(&added);
    }
    Manifest::parse(&signed.document())
}

impl ManifestService for MemoryRepository {
    fn tags(&self) -> Result<Box<dyn Cursor<Tag>>> {
        Ok(self.listing(|folder| &folder.tags))
    }

    fn revisions(&self) -> Result<Box<dyn Cursor<Digest>>> {
        Ok(self.listing(|folder| &folder.revisions))
    }

    fn stat(&self, reference: &Reference) -> Result<ManifestStat> {
        self.look_up(reference, Folder::manifest_stat)
    }

    fn get(&self, reference: &Reference) -> Result<Manifest> {
        self.look_up(reference, |folder, digest, _| {
            folder.revisions.get(digest).map(|revision| revision.manifest.clone())
        })
    }

    fn put(
        &self, manifest: &Manifest, put_as: &PutAs, attributes: &AttributesChange,
    ) -> Result<Digest> {
        let tag = check_put(self, manifest, put_as, self.shared.check)?;
        let digest = *manifest.digest();
        let mut state = self.shared.state.lock();
        let folder = state.fill(&self.name);
        let make = || {
            let mut marks = Marks::of_file();
            // It belongs to who has put it; all else is for the tag, or follows below.
            let AttributesChange { uid, gid, .. } = *attributes;
            marks.change(&AttributesChange { uid, gid, ..AttributesChange::default() });
            Revision { marks, manifest: manifest.clone() }
        };
        let revision = folder.revisions.get_or_insert_with(&digest, make);
        revision.manifest = with_signatures_of(manifest, &revision.manifest)?;
        match tag {
            Some(tag) => folder.point(&tag, digest, attributes),
            None => {
                revision.marks.touch();
                revision.marks.change(attributes);
            }
        }
        Ok(digest)
    }

    fn tag(&self, digest: &Digest, tag: &Tag, attributes: &AttributesChange) -> Result<()> {
        check_tag(self, &self.get(&(*digest).into())?, tag)?;
        let mut state = self.shared.state.lock();
        let folder = state.folders.get_mut(&self.name);
        let folder = folder
            .filter(|folder| folder.revisions.contains(digest))
            .ok_or_else(|| Error::ManifestUnknown(self.name.clone(), *digest))?;
        folder.point(tag, *digest, attributes);
        Ok(())
    }

    fn retag(&self, from: &Tag, to: &Tag, retag: Retag) -> Result<()> {
        check_tag(self, &self.get(&from.clone().into())?, to)?;
        if retag == Retag::Exchange {
            check_tag(self, &self.get(&to.clone().into())?, from)?;
        }
        let mut state = self.shared.state.lock();
        let tags = match state.folders.get_mut(&self.name) {
            Some(folder) if folder.tags.contains(from) => &mut folder.tags,
            _ => return Err(self.tag_unknown(from)),
        };
        match retag {
            Retag::KeepExisting if tags.contains(to) => return Err(Error::Exists(to.to_string())),
            Retag::Exchange if !tags.contains(to) => return Err(self.tag_unknown(to)),
            // The old name goes, which must not happen to a tag that keeps its name.
            _ if from == to => return Ok(()),
            Retag::KeepExisting | Retag::Exchange | Retag::Replace => {}
        }
        let copy = |tagged: &Tagged| Tagged { marks: tagged.marks.clone(), digest: tagged.digest };
        let (moved, replaced) = (tags.get(from).map(copy), tags.get(to).map(copy));
        if let Some(moved) = moved {
            tags.insert(to, moved);
        }
        match (retag, replaced) {
            (Retag::Exchange, Some(replaced)) => tags.insert(from, replaced),
            _ => {
                tags.remove(from);
            }
        }
        Ok(())
    }

    fn untag(&self, tag: &Tag, digest: &Digest) -> Result<()> {
        let mut state = self.shared.state.lock();
        if let Some(folder) = state.folders.get_mut(&self.name)
            && folder.tags.get(tag).is_some_and(|tagged| tagged.digest == *digest)
        {
            folder.tags.remove(tag);
        }
        Ok(())
    }

    fn delete(&self, reference: &Reference) -> Result<()> {
        let mut state = self.shared.state.lock();
        let folder = state.folders.get_mut(&self.name);
        let is_removed = folder.is_some_and(|folder| match reference {
            Reference::Tag(tag) => folder.tags.remove(tag).is_some(),
            Reference::Digest(digest) => {
                folder.tags.retain(|_, tagged| tagged.digest != *digest);
                folder.revisions.remove(digest).is_some()
            }
        });
        is_removed.then_some(()).ok_or_else(|| self.reference_unknown(reference))
    }
}
