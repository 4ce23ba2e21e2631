//! Uploads that nobody goes on with.

use crate::model::{Area, Error, Result, UploadId};
use crate::store::{
    attributes::attributes,
    collect::{CollectEvent, Run, read},
    folder::{self, Folder},
    layout, notes, uploads,
};
use rustix::fs::OFlags;
use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

impl Run<'_> {
    /// Cancels the uploads that nobody has written to for long.
    pub(super) fn uploads(&mut self, now: SystemTime) -> Result<()> {
        match self.store.root.open_folder(layout::REPOSITORIES)? {
            Some(folder) => self.uploads_below(&folder, Path::new(""), now),
            None => Ok(()),
        }
    }

    fn uploads_below(&mut self, folder: &Folder, path: &Path, now: SystemTime) -> Result<()> {
        let Some(mut directory) = read(folder)? else { return Ok(()) };
        while let Some(entry) = directory.next()? {
            let inner = entry.name.as_os_str();
            if inner == layout::UPLOADS {
                self.uploads_of(folder, path, now)?;
            } else if entry.is_folder
                && layout::parse_component(inner).is_some()
                && let Some(below) = folder.open_folder(inner)?
            {
                self.uploads_below(&below, &path.join(inner), now)?;
            }
        }
        Ok(())
    }

    fn uploads_of(&mut self, repository: &Folder, path: &Path, now: SystemTime) -> Result<()> {
        let Some(folder) = repository.open_folder(layout::UPLOADS)? else { return Ok(()) };
        let Some(mut directory) = read(&folder)? else { return Ok(()) };
        while let Some(entry) = directory.next()? {
            if let Some(id) = layout::parse_upload(&entry.name) {
                self.upload(repository, id, path, now)?;
            }
        }
        Ok(())
    }

    fn upload(
        &mut self, repository: &Folder, id: UploadId, path: &Path, now: SystemTime,
    ) -> Result<()> {
        let at = layout::upload_file(id, layout::DATA);
        let Some(stat) = repository.stat(&at)?.filter(folder::is_file) else { return Ok(()) };
        let (bytes, changed_at) = (folder::length(&stat), attributes(&stat).changed_at);
        if !now.duration_since(changed_at).is_ok_and(|age| age >= self.options.uploads_age) {
            return Ok(());
        }
        let Some(data) = repository.open_quietly(&at, OFlags::RDONLY)? else { return Ok(()) };
        match uploads::lock(&data, id) {
            // Somebody has it open.
            Err(Error::UploadBusy(_)) => return Ok(()),
            locked => locked?,
        }
        // Somebody may have finished it before it was locked.
        if !uploads::is_still(repository, id, &data)? {
            return Ok(());
        }
        let path = path.join(seen_at(repository, id)?);
        if !self.options.dry_run {
            let scratch = self.store.scratch()?;
            if !scratch.delete(repository.place(&layout::upload(id)), layout::STARTED_AT)? {
                return Ok(());
            }
            notes::remove(self.store, id)?;
        }
        self.collected.uploads.add(bytes);
        (self.watch.0)(CollectEvent::Upload { path, bytes, changed_at });
        Ok(())
    }
}

/// Where people see an upload, relative to its repository.
fn seen_at(repository: &Folder, id: UploadId) -> Result<PathBuf> {
    let known = uploads::read_known(repository, id)?;
    let Some(name) = known.and_then(|known| known.name) else {
        return Ok(Path::new(Area::Uploads.name()).join(id.to_string()));
    };
    let folder = Path::new(name.area().name()).join(name.folder().unwrap_or_default());
    Ok(folder.join(name.file()))
}
