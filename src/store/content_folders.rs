//! The folders that every repository with content has: how they come to be there, and whose they are.

use crate::model::{Area, Attributes, AttributesChange, Error, RepositoryName, Result};
use crate::store::{
    Store,
    attributes::{self, attributes},
    folder::{Folder, is_folder},
    folder_time, layout,
};
use rustix::{fs::OFlags, io::Errno};
use std::{path::Path, time::SystemTime};

/// How often making a folder is tried when others remove folders above it.
const MAKES_MAX: usize = 8;

impl Store {
    /// Opens the folder of a repository that is about to get content, and makes it if need be.
    pub(super) fn open_repository_for_content(&self, name: &RepositoryName) -> Result<Folder> {
        self.scratch()?;
        let at = layout::repository(name);
        let mut makes = 0;
        loop {
            // Somebody may remove what we make, as long as it is empty.
            let made = self.open_or_make(&at).and_then(|folder| {
                self.make_content_folders(&folder)?;
                Ok(folder)
            });
            makes += 1;
            match made {
                Err(Error::Io { source, .. })
                    if source.kind() == std::io::ErrorKind::NotFound && makes < MAKES_MAX => {}
                made => return made,
            }
        }
    }

    fn open_or_make(&self, at: &Path) -> Result<Folder> {
        if let Some(folder) = self.root.open_folder(at)? {
            return Ok(folder);
        }
        self.root.make_folders(at)?;
        let missing = || Error::io("open", self.root.path_of(at))(Errno::NOENT);
        self.root.open_folder(at)?.ok_or_else(missing)
    }

    /// Makes the folders that every repository with content has. People see them whether or not they
    /// are made, so making them does not change the time of the repository's folder.
    pub(super) fn make_content_folders(&self, repository: &Folder) -> Result<()> {
        let mut missing = Vec::new();
        for folder in layout::CONTENT_FOLDERS {
            // What is made is made without following a link.
            if !repository.glance(folder)?.is_some_and(|stat| is_folder(&stat)) {
                missing.push(folder);
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let like = attributes(&repository.stat_self()?);
        for folder in missing {
            self.make_content_folder(repository, Path::new(folder), &like)?;
            // The time under which people have seen it.
            folder_time::begin(repository, folder, like.modified_at)?;
        }
        if let Err(error) = attributes::set_modified_at(repository, like.modified_at) {
            log::debug!("a folder's time has changed though nothing in it has: {error}");
        }
        Ok(())
    }

    /// Makes a folder that belongs to whom the repository belongs, with the same mode: it is there
    /// for people as soon as they have made the repository.
    fn make_content_folder(&self, repository: &Folder, at: &Path, like: &Attributes) -> Result<()> {
        if let Some(parent) = at.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            repository.make_folders(parent)?;
        }
        if !repository.make_folder(at)? {
            return Ok(());
        }
        let path = repository.path_of(at);
        let Some(folder) = repository.open_file(at, OFlags::RDONLY)? else { return Ok(()) };
        let own = attributes(&attributes::stat(&folder, || path.clone())?);
        let wanted = AttributesChange {
            permissions: Some(like.permissions),
            uid: Some(like.uid).filter(|uid| *uid != own.uid),
            gid: Some(like.gid).filter(|gid| *gid != own.gid),
            ..AttributesChange::default()
        };
        match attributes::change(&folder, &wanted, &path) {
            // Another's repository in a store that both may write.
            Err(error) if attributes::is_denied(&error) => {
                log::debug!("the owner stays: {error}");
                Ok(())
            }
            outcome => outcome,
        }
    }

    /// Whether a repository's folder has, or once had, content of its own.
    pub(super) fn has_content(&self, repository: &Path) -> Result<bool> {
        for mark in layout::CONTENT_MARKS {
            if self.root.has_folder(repository.join(mark))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The folder that people see of `area` has an entry more, or one less: its own time says so. What
    /// it shows lies further below or in another folder, so the disk does not do it.
    pub(super) fn area_changed(&self, repository: &Folder, area: Area) {
        set_time(repository, area, SystemTime::now());
    }

    /// Calls `act`, which makes or removes an upload that people see in `area`. On disk all uploads lie
    /// in one folder, whose time would tell of those that are seen elsewhere.
    pub(super) fn in_area<T>(
        &self, repository: &Folder, area: Area, act: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        if area == Area::Uploads {
            return act();
        }
        let before = repository.stat(layout::area(Area::Uploads))?;
        let outcome = act();
        if let Some(before) = before {
            set_time(repository, Area::Uploads, attributes(&before).modified_at);
        }
        self.area_changed(repository, area);
        outcome
    }
}

fn set_time(repository: &Folder, area: Area, time: SystemTime) {
    let folder = layout::area(area);
    if let Err(error) = attributes::set_modified_at_in(repository.place(&folder), time) {
        log::debug!("a folder's time is not right: {error}");
    }
}
