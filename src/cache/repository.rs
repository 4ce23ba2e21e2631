//! A repository whose answers are remembered. Each method that changes something holds a guard
//! while it does; what the guard covers is forgotten and not remembered meanwhile.

use super::remembered::Remembered;
use super::upload::CachedUpload;
use crate::model::{
    Area, Attributes, AttributesChange, Digest, Error, Manifest, Reference, RepositoryName, Result,
    Tag, UploadId, UploadName,
};
use crate::registry::{
    AttributeService, Cursor, Layer, LayerService, LayerStat, LayerUpload, ManifestService,
    ManifestStat, PutAs, Repository, Retag, Subject, UploadReader, UploadStat,
};
use std::{ffi::OsStr, sync::Arc};

pub(super) struct CachedRepository {
    pub(super) inner: Arc<dyn Repository>,
    pub(super) remembered: Arc<Remembered>,
}

impl Repository for CachedRepository {
    fn name(&self) -> &RepositoryName {
        self.inner.name()
    }

    fn manifests(&self) -> &dyn ManifestService {
        self
    }

    fn layers(&self) -> &dyn LayerService {
        self
    }

    fn attributes(&self) -> &dyn AttributeService {
        self
    }
}

impl ManifestService for CachedRepository {
    fn tags(&self) -> Result<Box<dyn Cursor<Tag>>> {
        self.inner.manifests().tags()
    }

    fn revisions(&self) -> Result<Box<dyn Cursor<Digest>>> {
        self.inner.manifests().revisions()
    }

    fn stat(&self, reference: &Reference) -> Result<ManifestStat> {
        let read = || self.inner.manifests().stat(reference);
        self.remembered.manifest_stat(self.name(), reference, read)
    }

    fn get(&self, reference: &Reference) -> Result<Manifest> {
        // The repository's name for it comes first: bytes that are remembered may be another's.
        let digest = ManifestService::stat(self, reference)?.digest;
        let read = || self.inner.manifests().get(reference);
        self.heard(&Subject::from(reference), self.remembered.manifest(&digest, read))
    }

    fn put(
        &self, manifest: &Manifest, put_as: &PutAs, attributes: &AttributesChange,
    ) -> Result<Digest> {
        let _change = self.remembered.change_manifests(self.name());
        let put = self.inner.manifests().put(manifest, put_as, attributes);
        // Under the same digest there was something damaged, perhaps.
        self.remembered.forget_content(manifest.digest());
        put
    }

    fn tag(&self, digest: &Digest, tag: &Tag, attributes: &AttributesChange) -> Result<()> {
        let _change = self.remembered.change_manifests(self.name());
        self.inner.manifests().tag(digest, tag, attributes)
    }

    fn retag(&self, from: &Tag, to: &Tag, retag: Retag) -> Result<()> {
        let _change = self.remembered.change_manifests(self.name());
        self.inner.manifests().retag(from, to, retag)
    }

    fn untag(&self, tag: &Tag, digest: &Digest) -> Result<()> {
        let _change = self.remembered.change_manifests(self.name());
        self.inner.manifests().untag(tag, digest)
    }

    fn delete(&self, reference: &Reference) -> Result<()> {
        let _change = self.remembered.change_manifests(self.name());
        self.inner.manifests().delete(reference)
    }
}

impl LayerService for CachedRepository {
    fn digests(&self) -> Result<Box<dyn Cursor<Digest>>> {
        self.inner.layers().digests()
    }

    fn stat(&self, digest: &Digest) -> Result<LayerStat> {
        let read = || self.inner.layers().stat(digest);
        self.remembered.layer_stat(self.name(), digest, read)
    }

    fn fetch(&self, digest: &Digest) -> Result<Arc<dyn Layer>> {
        // The link is what gives a repository a blob; an open layer may be another's.
        let stat = LayerService::stat(self, digest)?;
        let open = || self.inner.layers().fetch(digest);
        self.heard(&Subject::Layer(*digest), self.remembered.layer(&stat, open))
    }

    fn mount(
        &self, digest: &Digest, from: &RepositoryName, attributes: &AttributesChange,
    ) -> Result<()> {
        let _change = self.remembered.change_layers(self.name());
        self.inner.layers().mount(digest, from, attributes)
    }

    fn delete(&self, digest: &Digest) -> Result<()> {
        // The name may be a second one. A delete of what is not there fails for itself.
        let canonical = LayerService::stat(self, digest).map_or(*digest, |stat| stat.canonical);
        let _change = self.remembered.change_layers(self.name());
        let deleted = self.inner.layers().delete(digest);
        // An open file would keep the room of content that nobody links any more.
        self.remembered.forget_content(&canonical);
        deleted
    }

    fn upload(
        &self, name: &UploadName, attributes: &AttributesChange,
    ) -> Result<Arc<dyn LayerUpload>> {
        let upload = self.inner.layers().upload(name, attributes)?;
        Ok(CachedUpload::around(upload, self.name(), &self.remembered))
    }

    fn resume(&self, uuid: &UploadId) -> Result<Arc<dyn LayerUpload>> {
        let upload = self.inner.layers().resume(uuid)?;
        Ok(CachedUpload::around(upload, self.name(), &self.remembered))
    }

    fn read_upload(&self, uuid: &UploadId) -> Result<Arc<dyn UploadReader>> {
        self.inner.layers().read_upload(uuid)
    }

    fn uploads(&self) -> Result<Vec<UploadStat>> {
        self.inner.layers().uploads()
    }

    fn stat_upload(&self, uuid: &UploadId) -> Result<UploadStat> {
        self.inner.layers().stat_upload(uuid)
    }

    fn find_upload(&self, name: &UploadName) -> Result<Option<UploadId>> {
        self.inner.layers().find_upload(name)
    }

    fn has_upload_folder(&self, area: Area, folder: &OsStr) -> Result<bool> {
        self.inner.layers().has_upload_folder(area, folder)
    }
}

impl CachedRepository {
    /// Calls `change` while what is remembered of the subject is forgotten.
    fn changing<T>(&self, subject: &Subject, change: impl FnOnce() -> T) -> T {
        let _change = match subject {
            Subject::Tag(_) | Subject::Revision(_) => {
                Some(self.remembered.change_manifests(self.name()))
            }
            Subject::Layer(_) => Some(self.remembered.change_layers(self.name())),
            // Nothing is remembered of these.
            Subject::Repository | Subject::Area(_) | Subject::Upload(_) => None,
        };
        change()
    }

    /// Forgets what is remembered of the subject, and of others like it in the repository, when the registry
    /// has never heard of it: somebody else has removed it, and who asks again is not to be told
    /// otherwise.
    fn heard<T>(&self, subject: &Subject, answer: Result<T>) -> Result<T> {
        if answer.as_ref().is_err_and(Error::is_unknown) {
            self.changing(subject, || ());
        }
        answer
    }
}

impl AttributeService for CachedRepository {
    fn get(&self, subject: &Subject) -> Result<Attributes> {
        self.heard(subject, self.inner.attributes().get(subject))
    }

    fn change(&self, subject: &Subject, change: &AttributesChange) -> Result<Attributes> {
        self.changing(subject, || self.inner.attributes().change(subject, change))
    }

    fn extended(&self, subject: &Subject, name: &str) -> Result<Option<Vec<u8>>> {
        self.heard(subject, self.inner.attributes().extended(subject, name))
    }

    fn extended_names(&self, subject: &Subject) -> Result<Vec<String>> {
        self.heard(subject, self.inner.attributes().extended_names(subject))
    }

    /// Changes an attribute that is remembered, too: the time of the last change.
    fn set_extended(&self, subject: &Subject, name: &str, value: Option<&[u8]>) -> Result<()> {
        self.changing(subject, || self.inner.attributes().set_extended(subject, name, value))
    }
}
