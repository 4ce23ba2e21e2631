//! Attributes in memory: each thing carries its own.

use super::MemoryRepository;
use super::folder::{FOLDER_PERMISSIONS, Folder, Marks};
use crate::model::{Attributes, AttributesChange, Error, Reference, Result};
use crate::registry::{AttributeService, Subject};

impl MemoryRepository {
    fn subject_unknown(&self, subject: &Subject) -> Error {
        match subject {
            Subject::Repository | Subject::Area(_) => Error::RepositoryUnknown(self.name.clone()),
            Subject::Layer(digest) => self.layer_unknown(digest),
            Subject::Tag(tag) => self.reference_unknown(&Reference::Tag(tag.clone())),
            Subject::Revision(digest) => self.reference_unknown(&Reference::Digest(*digest)),
            Subject::Upload(uuid) => Error::UploadUnknown(*uuid),
        }
    }

    /// A copy of the subject's marks. Folders that are yet to be made have those that they would be
    /// made with.
    fn marks(&self, subject: &Subject) -> Result<Marks> {
        let mut state = self.shared.state.lock();
        let folder = state.folders.get_mut(&self.name);
        match (folder, subject) {
            (None, Subject::Area(_)) => Ok(Marks::new(FOLDER_PERMISSIONS)),
            (Some(folder), Subject::Area(area)) => {
                Ok(folder.areas.get(area).cloned().unwrap_or_else(|| folder.marks_of_new_area()))
            }
            (folder, _) => folder
                .and_then(|folder| folder.marks_of(subject).cloned())
                .ok_or_else(|| self.subject_unknown(subject)),
        }
    }

    /// What `change` makes of the subject's marks.
    fn with_mut<T>(&self, subject: &Subject, change: impl FnOnce(&mut Marks) -> T) -> Result<T> {
        let mut state = self.shared.state.lock();
        let folder = state.folders.get_mut(&self.name);
        let marks = folder.and_then(|folder| folder.marks_of(subject));
        marks.map(change).ok_or_else(|| self.subject_unknown(subject))
    }
}

impl Folder {
    fn marks_of(&mut self, subject: &Subject) -> Option<&mut Marks> {
        match subject {
            Subject::Repository => Some(&mut self.marks),
            Subject::Area(area) => {
                self.make_areas();
                self.areas.get_mut(area)
            }
            Subject::Layer(digest) => self.layers.get_mut(digest).map(|link| &mut link.marks),
            Subject::Tag(tag) => self.tags.get_mut(tag).map(|tagged| &mut tagged.marks),
            Subject::Revision(digest) => {
                self.revisions.get_mut(digest).map(|revision| &mut revision.marks)
            }
            Subject::Upload(uuid) => self.uploads.get_mut(uuid).map(|upload| &mut upload.marks),
        }
    }
}

impl AttributeService for MemoryRepository {
    fn get(&self, subject: &Subject) -> Result<Attributes> {
        self.marks(subject).map(|marks| marks.attributes)
    }

    fn change(&self, subject: &Subject, change: &AttributesChange) -> Result<Attributes> {
        self.with_mut(subject, |marks| {
            marks.change(change);
            marks.attributes
        })
    }

    fn extended(&self, subject: &Subject, name: &str) -> Result<Option<Vec<u8>>> {
        self.marks(subject).map(|marks| marks.extended.get(name).cloned())
    }

    fn extended_names(&self, subject: &Subject) -> Result<Vec<String>> {
        self.marks(subject).map(|marks| marks.extended.into_keys().collect())
    }

    fn set_extended(&self, subject: &Subject, name: &str, value: Option<&[u8]>) -> Result<()> {
        self.with_mut(subject, |marks| marks.set_extended(name, value))
    }
}
