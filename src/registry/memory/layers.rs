//! Layers in memory.

use super::MemoryRepository;
use super::folder::{Folder, Link, Marks, Upload};
use super::upload::{MemoryReader, MemoryUpload};
use crate::model::{
    Area, AttributesChange, Digest, Error, RepositoryName, Result, UploadId, UploadName,
};
use crate::registry::{
    Cursor, Layer, LayerService, LayerStat, LayerUpload, UploadReader, UploadStat,
};
use std::{ffi::OsStr, sync::Arc};

impl MemoryRepository {
    pub(super) fn layer_unknown(&self, digest: &Digest) -> Error {
        Error::LayerUnknown(self.name.clone(), *digest)
    }

    /// What `look` finds in the repository's folder.
    fn look<T>(&self, look: impl FnOnce(&Folder) -> Option<T>) -> Option<T> {
        look(self.shared.state.lock().folders.get(&self.name)?)
    }
}

impl LayerService for MemoryRepository {
    fn digests(&self) -> Result<Box<dyn Cursor<Digest>>> {
        Ok(self.listing(|folder| &folder.layers))
    }

    fn stat(&self, digest: &Digest) -> Result<LayerStat> {
        let found = self.look(|folder| {
            let link = folder.layers.get(digest)?;
            Some(LayerStat {
                canonical: link.blob.digest,
                length: link.blob.length(),
                created_at: link.blob.created_at,
                attributes: link.marks.attributes,
            })
        });
        found.ok_or_else(|| self.layer_unknown(digest))
    }

    fn fetch(&self, digest: &Digest) -> Result<Arc<dyn Layer>> {
        let found = self.look(|folder| folder.layers.get(digest).map(|link| link.blob.clone()));
        Ok(found.ok_or_else(|| self.layer_unknown(digest))?)
    }

    fn mount(
        &self, digest: &Digest, from: &RepositoryName, attributes: &AttributesChange,
    ) -> Result<()> {
        let mut state = self.shared.state.lock();
        let source = state.folders.get(from).and_then(|folder| folder.layers.get(digest));
        let blob = match source {
            Some(link) => link.blob.clone(),
            None => return Err(Error::LayerUnknown(from.clone(), *digest)),
        };
        let folder = state.fill(&self.name);
        for name in [&blob.digest, digest] {
            let make = || Link { marks: Marks::of_file(), blob: blob.clone() };
            folder.layers.get_or_insert_with(name, make).marks.change(attributes);
        }
        Ok(())
    }

    fn delete(&self, digest: &Digest) -> Result<()> {
        let mut state = self.shared.state.lock();
        let folder = state.folders.get_mut(&self.name);
        let removed = folder.and_then(|folder| folder.layers.remove(digest));
        removed.map(drop).ok_or_else(|| self.layer_unknown(digest))
    }

    fn upload(
        &self, name: &UploadName, attributes: &AttributesChange,
    ) -> Result<Arc<dyn LayerUpload>> {
        let uuid = UploadId::random();
        let mut upload = Upload::new(name);
        upload.marks.change(attributes);
        let body = upload.body.clone();
        self.shared.state.lock().fill(&self.name).uploads.insert(&uuid, upload);
        Ok(Arc::new(MemoryUpload { shared: self.shared.clone(), uuid, body }))
    }

    fn resume(&self, uuid: &UploadId) -> Result<Arc<dyn LayerUpload>> {
        let found = self.look(|folder| folder.uploads.get(uuid).map(|found| found.body.clone()));
        let body = found.ok_or(Error::UploadUnknown(*uuid))?;
        Ok(Arc::new(MemoryUpload { shared: self.shared.clone(), uuid: *uuid, body }))
    }

    fn read_upload(&self, uuid: &UploadId) -> Result<Arc<dyn UploadReader>> {
        let found = self.look(|folder| folder.uploads.get(uuid).map(|found| found.body.clone()));
        Ok(Arc::new(MemoryReader { body: found.ok_or(Error::UploadUnknown(*uuid))? }))
    }

    fn uploads(&self) -> Result<Vec<UploadStat>> {
        let found = self.look(|folder| {
            let uploads = folder.uploads.after(0);
            Some(uploads.map(|(_, uuid, upload)| upload.stat(*uuid)).collect::<Vec<_>>())
        });
        Ok(found.unwrap_or_default().into_iter().rev().collect())
    }

    fn stat_upload(&self, uuid: &UploadId) -> Result<UploadStat> {
        let found = self.look(|folder| folder.uploads.get(uuid).map(|upload| upload.stat(*uuid)));
        found.ok_or(Error::UploadUnknown(*uuid))
    }

    fn find_upload(&self, name: &UploadName) -> Result<Option<UploadId>> {
        Ok(self.look(|folder| {
            let named = folder.uploads.after(0).filter(|(_, _, upload)| upload.name == *name);
            named.last().map(|(_, uuid, _)| *uuid)
        }))
    }

    fn has_upload_folder(&self, area: Area, folder: &OsStr) -> Result<bool> {
        Ok(self
            .look(|found| {
                let mut names = found.uploads.iter().map(|(_, upload)| &upload.name);
                names
                    .find(|name| name.area() == area && name.folders().any(|it| it == folder))
                    .map(drop)
            })
            .is_some())
    }
}
