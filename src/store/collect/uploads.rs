//! Uploads that nobody goes on with.

use crate::model::{Area, RepositoryName, Result, UploadId};
use crate::registry::Cursor as _;
use crate::store::{
    attributes::{attributes, is_denied},
    collect::{CollectEvent, Run, check_is_to_go_on},
    directory::Directory,
    folder::{self, Folder},
    layout, sweep, uploads,
    walk::Walk,
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

impl Run<'_> {
    /// Cancels the uploads that nobody has written to for long.
    pub(super) fn uploads(&mut self, now: SystemTime) -> Result<()> {
        let mut repositories = Walk::new(Arc::clone(self.store))?;
        while let Some((name, _)) = repositories.next()? {
            check_is_to_go_on(self.stop)?;
            match self.uploads_of(&name, now) {
                Err(error) if is_denied(&error) => {
                    log::warn!("the uploads of {name} are left alone: {error}");
                }
                outcome => outcome?,
            }
        }
        Ok(())
    }

    fn uploads_of(&mut self, name: &RepositoryName, now: SystemTime) -> Result<()> {
        let Some(repository) = self.store.open_repository(name)? else { return Ok(()) };
        let Some(folder) = repository.open_folder(layout::UPLOADS)? else { return Ok(()) };
        let Some(mut directory) = Directory::open(&folder)? else { return Ok(()) };
        while let Some(entry) = directory.next()? {
            if let Some(id) = layout::parse_upload(&entry.name) {
                self.upload(name, &repository, id, now)?;
            }
        }
        Ok(())
    }

    fn upload(
        &mut self, name: &RepositoryName, repository: &Folder, id: UploadId, now: SystemTime,
    ) -> Result<()> {
        let at = layout::upload_file(id, layout::DATA);
        let Some(stat) = repository.stat(&at)?.filter(folder::is_file) else { return Ok(()) };
        let (bytes, changed_at) = (folder::length(&stat), attributes(&stat).changed_at);
        if !now.duration_since(changed_at).is_ok_and(|age| age >= self.options.uploads_age) {
            return Ok(());
        }
        let path = Path::new(name.as_str()).join(seen_at(repository, id)?);
        let cancel = || {
            if self.options.dry_run {
                return Ok(true);
            }
            let Some(_data) = sweep::lock_unused(repository, id)? else { return Ok(false) };
            // Somebody may have gone on with it a moment ago.
            let is_same = repository.stat(&at)?.map(|stat| attributes(&stat).changed_at);
            Ok(is_same == Some(changed_at) && sweep::cancel(self.store, repository, id)?)
        };
        match cancel() {
            Ok(true) => {
                self.collected.uploads.add(bytes);
                (self.tell)(CollectEvent::Upload { path, bytes, changed_at });
            }
            Ok(false) => {}
            Err(error) if is_denied(&error) => self.denied(&path.display().to_string(), bytes),
            Err(error) => return Err(error),
        }
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
