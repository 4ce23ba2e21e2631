//! The way through the store, folder by folder and in little memory. What belongs to one blob, one
//! link or one tag is left to who looks at it.

use crate::model::{Error, RepositoryName, Result};
use crate::store::{
    directory::{Directory, Entry},
    folder::Folder,
    parts::{Branch, Part},
};
use rustix::io::Errno;
use std::{
    io,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

/// What the walk comes to.
pub(super) enum Met<'a> {
    /// A folder with what belongs to one thing.
    Thing(Part, PathBuf, Option<&'a RepositoryName>),
    /// The folder of a repository that has content.
    Repository,
    /// What belongs to nobody.
    Foreign(PathBuf),
    /// A folder that could not be listed.
    Unreadable(PathBuf, Error),
}

/// Who is told of all that the walk comes to; whether to go on.
pub(super) type Each<'a> = dyn FnMut(Met<'_>) -> ControlFlow<()> + 'a;

/// A walk through a part of the store.
pub(super) struct Walk<'a> {
    pub(super) root: &'a Folder,
    /// Whether to leave the blobs out.
    pub(super) without_blobs: bool,
    /// Where a walk through the blobs stopped that goes on now.
    pub(super) after: Option<&'a Path>,
}

impl Walk<'_> {
    /// Goes through the folder `at`, which is `part`.
    pub(super) fn go(
        &self, part: &Part, at: &Path, repository: Option<&RepositoryName>, each: &mut Each<'_>,
    ) -> ControlFlow<()> {
        let here = if at.as_os_str().is_empty() { Path::new(".") } else { at };
        let folder = match self.root.open_folder(here) {
            Ok(Some(folder)) => folder,
            // It went a moment ago.
            Ok(None) => return ControlFlow::Continue(()),
            Err(error) if is_symlink(&error) => return each(Met::Foreign(at.into())),
            Err(error) => return each(Met::Unreadable(at.into(), error)),
        };
        if let Part::Algorithms(Branch::Layers, way) = part
            && way.as_os_str().is_empty()
        {
            each(Met::Repository)?;
        }
        let mut entries = match Entries::of(&folder, is_sorted(part)) {
            Ok(entries) => entries,
            Err(error) if is_gone(&error) => return ControlFlow::Continue(()),
            Err(error) => return each(Met::Unreadable(at.into(), error)),
        };
        loop {
            match entries.next() {
                Ok(Some(entry)) => self.meet(part, &entry, at, repository, each)?,
                Ok(None) => return ControlFlow::Continue(()),
                Err(error) => return each(Met::Unreadable(at.into(), error)),
            }
        }
    }

    fn meet(
        &self, part: &Part, entry: &Entry, at: &Path, repository: Option<&RepositoryName>,
        each: &mut Each<'_>,
    ) -> ControlFlow<()> {
        let inner = at.join(&entry.name);
        if self.was_before(&inner) {
            return ControlFlow::Continue(());
        }
        match part.child(&entry.name, entry.is_folder) {
            None => each(Met::Foreign(inner)),
            Some(Part::Known) => ControlFlow::Continue(()),
            Some(child) if child == Part::blobs() && self.without_blobs => {
                ControlFlow::Continue(())
            }
            Some(child) if child.is_one_thing() => each(Met::Thing(child, inner, repository)),
            Some(Part::Repository(Some(name))) => {
                let child = Part::Repository(Some(name.clone()));
                self.go(&child, &inner, Some(&name), each)
            }
            Some(child) => self.go(&child, &inner, repository, each),
        }
    }

    /// Whether the walk that stopped had gone through all of it.
    fn was_before(&self, at: &Path) -> bool {
        self.after.is_some_and(|after| at == after || at < after && !after.starts_with(at))
    }
}

/// What cannot be opened because it is a symbolic link.
pub(super) fn is_symlink(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. }
        if source.raw_os_error() == Some(Errno::LOOP.raw_os_error()))
}

/// What went between two looks.
pub(super) fn is_gone(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
}

/// Blobs are gone through in order, so that one path says how far somebody got. Of their folders a
/// 256th is in memory at once.
fn is_sorted(part: &Part) -> bool {
    matches!(
        part,
        Part::Algorithms(Branch::Blobs, _) | Part::Digests(Branch::Blobs, _) | Part::Shard(..)
    )
}

/// The entries of a folder, as they come or in order.
enum Entries {
    Streamed(Directory),
    Sorted(std::vec::IntoIter<Entry>),
}

impl Entries {
    fn of(folder: &Folder, is_sorted: bool) -> Result<Self> {
        let Some(mut directory) = Directory::open(folder)? else {
            return Ok(Self::Sorted(Vec::new().into_iter()));
        };
        if !is_sorted {
            return Ok(Self::Streamed(directory));
        }
        let mut entries = Vec::new();
        while let Some(entry) = directory.next()? {
            entries.push(entry);
        }
        entries.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Ok(Self::Sorted(entries.into_iter()))
    }

    fn next(&mut self) -> Result<Option<Entry>> {
        match self {
            Self::Streamed(directory) => directory.next(),
            Self::Sorted(entries) => Ok(entries.next()),
        }
    }
}
