//! Making files appear whole or not at all: the only file that renames.
//!
//! What is made is made in `regfs/tmp` and renamed into place; what is deleted is renamed to
//! `regfs/trash` and deleted there. So nobody ever sees half of anything, and what a crash leaves
//! lies where no registry looks. Bytes are on disk before a name promises them. Names themselves
//! are not synced one by one: a power cut may take back the last renames, which loses the newest
//! changes and breaks nothing; `sync.rs` has more for callers that were asked for it.

use crate::model::{Error, Result};
use crate::store::{
    folder::{Folder, Place},
    layout, sync,
};
use rustix::{
    fs::{self, AtFlags, RenameFlags},
    io::Errno,
};
use std::{fs::File, path::PathBuf};
use uuid::Uuid;

/// How often a rename is tried whose folder somebody removes as soon as we have made it.
const RENAMES_MAX: usize = 8;

/// The folders for what is being made and what is being deleted. Who has none cannot write.
#[derive(Debug)]
pub(super) struct Scratch {
    tmp: Folder,
    trash: Folder,
}

impl Scratch {
    /// Opens both folders of the store, which exist. Errors: `StoreSplit`.
    pub(super) fn open(root: &Folder) -> Result<Self> {
        let open = |at: &str| {
            let missing = || Error::io("open", root.path_of(at))(Errno::NOENT);
            root.open_folder(at)?.ok_or_else(missing)
        };
        let scratch = Self { tmp: open(layout::TMP)?, trash: open(layout::TRASH)? };
        let device = scratch.tmp.stat_self()?.st_dev;
        for at in [layout::TRASH, layout::NOTES, layout::BLOBS, layout::REPOSITORIES] {
            if open(at)?.stat_self()?.st_dev != device {
                let (one, other) = (root.path_of(layout::TMP), root.path_of(at));
                return Err(Error::StoreSplit { one, other });
            }
        }
        Ok(scratch)
    }

    /// What is being made; `sweep` looks for leftovers here.
    pub(super) fn tmp(&self) -> &Folder {
        &self.tmp
    }

    /// Puts a folder among what is being made, at once for everybody, and gives its name there. `None`
    /// when it is not there.
    pub(super) fn set_aside(&self, from: Place<'_>) -> Result<Option<PathBuf>> {
        let name = unique();
        match rename(from, self.tmp.place(&name), RenameFlags::NOREPLACE) {
            Ok(()) => Ok(Some(name)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(errno) => Err(refused("remove", from, self.tmp.place(&name))(errno)),
        }
    }

    /// Makes something else of a folder that was set aside.
    pub(super) fn take_up(&self, name: PathBuf) -> DraftFolder<'_> {
        DraftFolder { tmp: &self.tmp, name, published: false }
    }

    /// What is being deleted.
    pub(super) fn trash(&self) -> &Folder {
        &self.trash
    }

    /// Begins a file.
    pub(super) fn draft(&self) -> Result<Draft<'_>> {
        let name = unique();
        let file = self.tmp.create_file(&name)?;
        Ok(Draft { tmp: &self.tmp, name, file, published: false })
    }

    /// Begins a folder.
    pub(super) fn draft_folder(&self) -> Result<DraftFolder<'_>> {
        let name = unique();
        self.tmp.make_folder(&name)?;
        Ok(DraftFolder { tmp: &self.tmp, name, published: false })
    }

    /// Removes a file or folder at once for everybody. `None` when it is not there; otherwise it
    /// lies in the trash, to be put back or deleted.
    pub(super) fn remove(&self, from: Place<'_>) -> Result<Option<Removed<'_>>> {
        let name = unique();
        match rename(from, self.trash.place(&name), RenameFlags::NOREPLACE) {
            Ok(()) => Ok(Some(Removed { trash: &self.trash, name })),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(errno) => Err(refused("remove", from, self.trash.place(&name))(errno)),
        }
    }

    /// Makes the file `from` appear as `to` as well, whole, in place of what lies there; it was synced
    /// before. Where a file can have one name only it is moved.
    pub(super) fn publish_also(&self, from: Place<'_>, to: Place<'_>) -> Result<()> {
        make_way(to)?;
        if link(from, to).is_ok() {
            return Ok(());
        }
        // Something lies there, or the folders were removed again. Whatever else it is comes again.
        let name = unique();
        match link(from, self.tmp.place(&name)) {
            Ok(()) => {}
            Err(Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK) => {
                return move_over(from, to);
            }
            Err(errno) => return Err(refused("write", to, from)(errno)),
        }
        move_over(self.tmp.place(&name), to).inspect_err(|_| {
            if let Err(error) = self.tmp.remove_file(&name) {
                log::warn!("a temporary file stays behind: {error}");
            }
        })
    }

    /// Removes a folder for good. `false` when it is not there. A disk may have no room left even for
    /// a rename, as btrfs has beyond its quota: then the file `first` goes first, without which the
    /// folder is nothing.
    pub(super) fn delete(&self, from: Place<'_>, first: &str) -> Result<bool> {
        match self.remove(from) {
            Ok(Some(removed)) => {
                removed.delete();
                Ok(true)
            }
            Ok(None) => Ok(false),
            Err(Error::Io { source, .. }) if is_full(&source) => {
                from.folder.remove_file(from.at.join(first))?;
                from.folder.remove_all(from.at)?;
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }
}

/// Whether there is no room, or none for this user.
pub(super) fn is_full(error: &std::io::Error) -> bool {
    [Errno::NOSPC, Errno::DQUOT]
        .map(|errno| Some(errno.raw_os_error()))
        .contains(&error.raw_os_error())
}

/// A name that nobody else uses.
fn unique() -> PathBuf {
    Uuid::new_v4().to_string().into()
}

/// A file in the making; it vanishes unless it is published.
pub(super) struct Draft<'a> {
    tmp: &'a Folder,
    name: PathBuf,
    file: File,
    published: bool,
}

impl Draft<'_> {
    /// The file, to be written.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// What it is called in messages.
    pub(super) fn path(&self) -> PathBuf {
        self.tmp.path_of(&self.name)
    }

    /// Makes the content survive a power cut, ahead of `publish`.
    pub(super) fn sync(&self) -> Result<()> {
        sync::content(&self.file, || self.path())
    }

    /// Puts the file at `to` whole, in place of what lies there. It was synced before.
    pub(super) fn publish(mut self, to: Place<'_>) -> Result<()> {
        move_over(self.tmp.place(&self.name), to)?;
        self.published = true;
        Ok(())
    }

    /// Puts the file at `to` whole, in place of what lies there. `false` when its folder is not there. It
    /// was synced before.
    pub(super) fn publish_into(mut self, to: Place<'_>) -> Result<bool> {
        let from = self.tmp.place(&self.name);
        match rename(from, to, RenameFlags::empty()) {
            Ok(()) => self.published = true,
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(refused("write", to, from)(errno)),
        }
        Ok(self.published)
    }

    /// Puts the file at `to` whole, unless something lies there: then it is given back. It was synced
    /// before.
    pub(super) fn publish_new(mut self, to: Place<'_>) -> Result<Option<Self>> {
        make_way(to)?;
        self.published = move_new(self.tmp.place(&self.name), to)?;
        Ok(Some(self).filter(|draft| !draft.published))
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if !self.published
            && let Err(error) = self.tmp.remove_file(&self.name)
        {
            log::warn!("a temporary file stays behind: {error}");
        }
    }
}

/// A folder in the making; it vanishes unless it is published.
pub(super) struct DraftFolder<'a> {
    tmp: &'a Folder,
    name: PathBuf,
    published: bool,
}

impl DraftFolder<'_> {
    /// Makes a file in it.
    pub(super) fn create_file(&self, name: &str) -> Result<File> {
        self.tmp.create_file(self.name.join(name))
    }

    /// Opens the folder.
    pub(super) fn open(&self) -> Result<Option<Folder>> {
        self.tmp.open_folder(&self.name)
    }

    /// Puts the folder at `to`, where nothing lies.
    pub(super) fn publish(mut self, to: Place<'_>) -> Result<()> {
        let from = self.tmp.place(&self.name);
        rename(from, to, RenameFlags::NOREPLACE).map_err(refused("create", to, from))?;
        self.published = true;
        Ok(())
    }

    /// Puts the folder at `to`. `false` when something lies there: then it vanishes.
    pub(super) fn publish_new(mut self, to: Place<'_>) -> Result<bool> {
        make_way(to)?;
        self.published = move_new(self.tmp.place(&self.name), to)?;
        Ok(self.published)
    }
}

impl Drop for DraftFolder<'_> {
    fn drop(&mut self) {
        if !self.published
            && let Err(error) = self.tmp.remove_all(&self.name)
        {
            log::warn!("a temporary folder stays behind: {error}");
        }
    }
}

/// What was removed and lies in the trash.
#[must_use = "it is to be deleted or put back"]
pub(super) struct Removed<'a> {
    trash: &'a Folder,
    name: PathBuf,
}

impl Removed<'_> {
    /// Opens the folder that was removed.
    pub(super) fn open_folder(&self) -> Result<Option<Folder>> {
        self.trash.open_folder(&self.name)
    }

    /// As [`Removed::delete`], of a folder that has this file and most likely nothing else.
    pub(super) fn delete_with(self, file: &str) {
        let removed = self.trash.remove_file(self.name.join(file));
        if !matches!(removed.and(self.trash.remove_folder(&self.name)), Ok(true)) {
            self.delete();
        }
    }

    /// Deletes it. That this fails concerns nobody but the next sweep.
    pub(super) fn delete(self) {
        if let Err(error) = self.trash.remove_all(&self.name) {
            log::warn!("the trash is not empty: {error}");
        }
    }

    /// Puts it back where nothing lies meanwhile. `false` when something does.
    pub(super) fn put_back(&self, to: Place<'_>) -> Result<bool> {
        move_new(self.trash.place(&self.name), to)
    }
}

/// Makes the folders in which `to` is to lie.
fn make_way(to: Place<'_>) -> Result<()> {
    match to.at.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => to.folder.make_folders(parent),
        Some(_) | None => Ok(()),
    }
}

/// Makes `from` appear as `to` whole, in place of what lies there; `from` was synced before.
pub(super) fn move_over(from: Place<'_>, to: Place<'_>) -> Result<()> {
    let mut renames = 0;
    loop {
        renames += 1;
        match rename(from, to, RenameFlags::empty()) {
            Ok(()) => return Ok(()),
            // The folders on the way are missing, or somebody has removed them again: they were empty.
            Err(Errno::NOENT) if renames < RENAMES_MAX && from.folder.stat(from.at)?.is_some() => {
                make_way(to)?;
            }
            Err(errno) => return Err(refused("write", to, from)(errno)),
        }
    }
}

/// Moves `from` to `to`, where nothing lies and whose folder exists. `false` when something does.
pub(super) fn move_new(from: Place<'_>, to: Place<'_>) -> Result<bool> {
    match rename(from, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(errno) => Err(refused("rename", from, to)(errno)),
    }
}

/// Makes two things change places at once. `false` when one is not there.
pub(super) fn exchange(one: Place<'_>, other: Place<'_>) -> Result<bool> {
    match rename(one, other, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
        Err(errno) => Err(refused("rename", one, other)(errno)),
    }
}

/// Makes a file appear under another name as well, where nothing lies.
fn link(from: Place<'_>, to: Place<'_>) -> Result<(), Errno> {
    from.folder.within(from.at, |one, from| {
        to.folder.within(to.at, |other, to| fs::linkat(one, from, other, to, AtFlags::empty()))
    })
}

#[expect(clippy::disallowed_methods, reason = "this is the one place")]
fn rename(from: Place<'_>, to: Place<'_>, flags: RenameFlags) -> Result<(), Errno> {
    from.folder.within(from.at, |one, from| {
        to.folder.within(to.at, |other, to| fs::renameat_with(one, from, other, to, flags))
    })
}

/// What a refused rename means, that was to do something with `what`. Between file systems nothing
/// can be renamed: that says nothing about what the caller asked for, but about the store.
fn refused<'a>(
    doing: &'static str, what: Place<'a>, other: Place<'a>,
) -> impl FnOnce(Errno) -> Error + 'a {
    move |errno| match errno {
        Errno::XDEV => Error::StoreSplit { one: what.path(), other: other.path() },
        errno => Error::io(doing, what.path())(errno),
    }
}
