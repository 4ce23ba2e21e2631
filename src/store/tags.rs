//! Tags: how they come to be there, move and go, each at once.
//!
//! A tag is a folder with two links: `current/link`, what it names now, and one in `index` for
//! everything that it ever named, which is there before. A new one is made whole elsewhere. A folder
//! without `current/link` is a tag that a docker-registry is making or removing, or was killed over.

use crate::model::{Digest, Error, Result, Tag};
use crate::registry::Cursor as _;
use crate::store::{
    Store,
    attributes::Carried,
    directory::Listing,
    durable::Removed,
    folder::{Folder, is_folder},
    layout,
    links::{self, Link},
    sync,
};
use rustix::io::Errno;
use std::{io::ErrorKind, path::Path};

/// How often a tag is made that others remove as fast as we make it.
const MOVES_MAX: usize = 8;

/// The tags in a folder of tags, wherever they lead, those that are damaged included. To look at the link
/// of each would take several times as long as to list them.
pub(super) fn tags(folder: Option<Folder>) -> Result<Listing<Tag>> {
    Listing::new(vec![(
        folder,
        Box::new(|_, entry| Ok(layout::parse_tag(&entry.name).filter(|_| entry.is_folder))),
    )])
}

/// Whether there is a tag in the repository, wherever it leads.
pub(super) fn has_tag(repository: &Folder) -> Result<bool> {
    Ok(tags(repository.open_folder(layout::TAGS)?)?.next()?.is_some())
}

/// What a tag names now. Errors: `LinkDamaged`, also when there is half a tag of which nobody is making
/// the rest: it is to be seen, so that somebody can remove it or put it again.
pub(super) fn link(repository: &Folder, tag: &Tag) -> Result<Option<Link>> {
    let at = layout::tag_link(tag);
    if let Some(link) = links::read(repository, &at)? {
        return Ok(Some(link));
    }
    let Some(outer) = repository.stat(layout::tag(tag))?.filter(is_folder) else {
        return Ok(None);
    };
    // Whoever makes or removes it changes one of the two.
    let inner = repository.stat(layout::tag_current(tag))?;
    if links::is_changing(&outer) || inner.is_some_and(|inner| links::is_changing(&inner)) {
        return Ok(None);
    }
    // It may have come since the first look.
    let link = links::read(repository, &at)?;
    link.map(Some).ok_or_else(|| Error::LinkDamaged { path: repository.path_of(at) })
}

impl Store {
    /// Makes `tag` name `digest`, at once, with the attributes `carried`.
    pub(super) fn move_tag(
        &self, folder: &Folder, tag: &Tag, digest: &Digest, carried: &Carried,
    ) -> Result<()> {
        let at = layout::tag_link(tag);
        let mut is_written = false;
        for _ in 0..MOVES_MAX {
            if folder.stat(layout::tag(tag))?.is_none() {
                if self.make_tag(folder, tag, digest, carried)? {
                    return Ok(());
                }
            } else if self.note_in_index(folder, tag, digest)?
                && self.write_inside(folder, tag, layout::TAG_LINK.as_ref(), (digest, carried))?
            {
                // Somebody may have removed the tag just when the link was on its way into its
                // folder, and then it went along to the trash. We come after them.
                if folder.stat(&at)?.is_some() {
                    return Ok(());
                }
                is_written = true;
            }
        }
        if is_written { Ok(()) } else { Err(Error::io("write", folder.path_of(at))(Errno::NOENT)) }
    }

    /// Makes a tag that is not there whole, by one rename: a registry lists a folder without a link as a
    /// tag, which nobody can get. `false` when somebody has made it meanwhile.
    fn make_tag(
        &self, folder: &Folder, tag: &Tag, digest: &Digest, carried: &Carried,
    ) -> Result<bool> {
        let draft = self.scratch()?.draft_folder()?;
        let Some(inside) = draft.open()? else { return Ok(false) };
        let index = layout::index_link(digest);
        let noted = links::create(inside.place(&index), digest, &Carried::default())?;
        let current = links::create(inside.place(layout::TAG_LINK), digest, carried)?;
        let path = |at: &Path| inside.path_of(at);
        sync::contents(&[(&noted, path(&index)), (&current, path(layout::TAG_LINK.as_ref()))])?;
        draft.publish_new(folder.place(&layout::tag(tag)))
    }

    /// Notes that `tag` names, or is about to name, `digest`: docker-registry's collector goes by it.
    /// `false` when the tag is not there.
    pub(super) fn note_in_index(
        &self, folder: &Folder, tag: &Tag, digest: &Digest,
    ) -> Result<bool> {
        let at = layout::tag_index_link(tag, digest);
        if let Ok(Some(link)) = links::read(folder, &at)
            && link.digest == *digest
        {
            return Ok(true);
        }
        self.write_inside(folder, tag, &layout::index_link(digest), (digest, &Carried::default()))
    }

    /// Writes a link of a tag that is there; `false` when it is not. Its folder is not made for that: it
    /// would be half a tag.
    fn write_inside(
        &self, folder: &Folder, tag: &Tag, inner: &Path, (digest, carried): (&Digest, &Carried),
    ) -> Result<bool> {
        let link = links::draft(self.scratch()?, digest, carried)?;
        let mut at = layout::tag(tag);
        for name in inner.parent().into_iter().flatten() {
            at.push(name);
            match folder.make_folder(&at) {
                Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                    return Ok(false);
                }
                made => drop(made?),
            }
        }
        link.publish_into(folder.place(&layout::tag(tag).join(inner)))
    }

    /// Removes a tag, at once. `false` when it is not there.
    pub(super) fn remove_tag(&self, folder: &Folder, tag: &Tag) -> Result<bool> {
        self.scratch()?.delete(folder.place(&layout::tag(tag)), layout::TAG_LINK)
    }

    /// Removes a tag that names `digest`, unless it moved on since the caller looked.
    pub(super) fn remove_tag_of(&self, folder: &Folder, tag: &Tag, digest: &Digest) -> Result<()> {
        let at = layout::tag(tag);
        let Some(removed) = self.scratch()?.remove(folder.place(&at))? else { return Ok(()) };
        // Nobody can move it any more, so this look decides.
        let named = removed_link(&removed).map(|link| link.map(|link| link.digest));
        if matches!(named, Ok(None)) || matches!(named, Ok(Some(named)) if named == *digest) {
            removed.delete();
            return Ok(());
        }
        // What lies there meanwhile is newer.
        if !removed.put_back(folder.place(&at))? {
            removed.delete();
        }
        named.map(drop)
    }

    /// Removes every tag that names `digest`.
    pub(super) fn remove_tags_of(&self, folder: &Folder, digest: &Digest) -> Result<()> {
        let mut tags = tags(folder.open_folder(layout::TAGS)?)?;
        while let Some((tag, _)) = tags.next()? {
            match links::read(folder, layout::tag_link(&tag)) {
                Ok(Some(link)) if link.digest == *digest => {
                    self.remove_tag_of(folder, &tag, digest)?;
                }
                // A damaged tag names nothing.
                Ok(_) | Err(Error::LinkDamaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// What a tag that was removed named last.
pub(super) fn removed_link(removed: &Removed<'_>) -> Result<Option<Link>> {
    match removed.open_folder()? {
        Some(folder) => links::read(&folder, layout::TAG_LINK),
        None => Ok(None),
    }
}
