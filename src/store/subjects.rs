//! Who has attributes in a store: the `AttributeService` of a repository, and the root's extended
//! attributes, on the files of `layout.rs`.
//!
//! The attributes of a layer are those of this repository's link to it, not of the blob, which
//! others share. A folder of a repository that is yet to be made looks like the repository's own.

use crate::model::{Area, Attributes, AttributesChange, Error, Result};
use crate::registry::{AttributeService, Subject};
use crate::store::{
    Store,
    attributes::{
        USER, attributes, change, extended_names, extended_value, is_denied, remove_extended,
        set_extended, stat,
    },
    folder::Folder,
    folder_time, layout, lending, notes,
    repository::LocalRepository,
};
use rustix::{fs::OFlags, io::Errno};
use std::{
    ffi::CString,
    fs::File,
    path::{Path, PathBuf},
};

/// What a folder gets when there is no repository yet that it could take after.
const FOLDER_PERMISSIONS: u32 = 0o755;

/// A name of an attribute as the system takes it; `None` outside the name space `user.`.
fn user_name(name: &str) -> Option<CString> {
    name.starts_with(USER).then(|| CString::new(name).ok())?
}

impl LocalRepository {
    /// Where the attributes of `subject` are, relative to the store.
    fn subject(&self, subject: &Subject) -> PathBuf {
        match subject {
            Subject::Repository => layout::repository(&self.name),
            Subject::Area(area) => self.at(layout::area(*area)),
            Subject::Layer(digest) => self.at(layout::layer_link(digest)),
            Subject::Tag(tag) => self.at(layout::tag_link(tag)),
            Subject::Revision(digest) => self.at(layout::revision_link(digest)),
            Subject::Upload(id) => self.at(layout::upload_file(*id, layout::DATA)),
        }
    }

    /// That `subject` is not there.
    fn unknown(&self, subject: &Subject) -> Error {
        let name = self.name.clone();
        match subject {
            Subject::Repository | Subject::Area(_) => Error::RepositoryUnknown(name),
            Subject::Layer(digest) => Error::LayerUnknown(name, *digest),
            Subject::Tag(tag) => Error::TagUnknown(name, tag.clone()),
            Subject::Revision(digest) => Error::ManifestUnknown(name, *digest),
            Subject::Upload(id) => Error::UploadUnknown(*id),
        }
    }

    /// Opens what carries the attributes of `subject`.
    fn open_subject(&self, subject: &Subject) -> Result<(File, PathBuf)> {
        let at = self.subject(subject);
        let file = self.store.root.open_file(&at, OFlags::RDONLY)?;
        let path = self.store.root.path_of(&at);
        file.map(|file| (file, path)).ok_or_else(|| self.unknown(subject))
    }

    /// The same to change it: the folders of a repository without content are made for that.
    fn open_to_change(&self, subject: &Subject) -> Result<(File, PathBuf)> {
        self.store.scratch()?;
        if let Subject::Area(_) = subject {
            let at = layout::repository(&self.name);
            let folder = self.store.root.open_folder(at)?;
            self.store.make_content_folders(&folder.ok_or_else(|| self.unknown(subject))?)?;
        }
        match self.open_subject(subject) {
            // It may be the mode that is to be changed that keeps us from opening it.
            Err(error) if is_denied(&error) => {
                let at = self.subject(subject);
                lending::to_owner(self.store.root.place(&at), || self.open_subject(subject))
            }
            opened => opened,
        }
    }

    /// Calls `change`. If that is of an upload, it need not be hashed again for it.
    fn keep_note<T>(
        &self, subject: &Subject, file: &File, change: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        if let Subject::Upload(id) = subject {
            notes::keep_over(&self.store, *id, file, change)
        } else {
            change()
        }
    }

    /// What a folder has that will be made when it is needed.
    fn future(&self, area: Area) -> Result<Attributes> {
        if let Some(repository) = self.store.root.stat(layout::repository(&self.name))? {
            return Ok(attributes(&repository));
        }
        let root = self.store.root.stat(layout::REPOSITORIES)?.ok_or_else(|| {
            let path = self.store.root.path_of(self.at(layout::area(area)));
            Error::io("stat", path)(Errno::NOENT)
        })?;
        Ok(Attributes {
            permissions: FOLDER_PERMISSIONS,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            ..attributes(&root)
        })
    }
}

impl AttributeService for LocalRepository {
    fn get(&self, subject: &Subject) -> Result<Attributes> {
        match (self.store.root.stat(self.subject(subject))?, subject) {
            (Some(stat), Subject::Area(Area::Uploads)) => match self.open_subject(subject) {
                Ok((folder, path)) => folder_time::attributes(&folder, path),
                // Its mode keeps even its owner from opening it.
                Err(error) if is_denied(&error) => Ok(attributes(&stat)),
                Err(error) => Err(error),
            },
            (Some(stat), _) => Ok(attributes(&stat)),
            (None, Subject::Area(area)) => self.future(*area),
            (None, _) => Err(self.unknown(subject)),
        }
    }

    fn change(&self, subject: &Subject, wanted: &AttributesChange) -> Result<Attributes> {
        let (file, path) = self.open_to_change(subject)?;
        self.keep_note(subject, &file, || change(&file, wanted, &path))?;
        if let Subject::Area(Area::Uploads) = subject {
            if let Some(time) = wanted.modified_at {
                folder_time::keep(&file, time, &path)?;
            }
            return folder_time::attributes(&file, path);
        }
        Ok(attributes(&stat(&file, || path)?))
    }

    fn extended(&self, subject: &Subject, name: &str) -> Result<Option<Vec<u8>>> {
        match (self.open_subject(subject), user_name(name)) {
            (Ok((file, path)), Some(name)) => extended_value(&file, &name, &path),
            (Ok(_), None) => Ok(None),
            // A folder that is yet to be made has none.
            (Err(error), _) if matches!(subject, Subject::Area(_)) && error.is_unknown() => {
                Ok(None)
            }
            (Err(error), _) => Err(error),
        }
    }

    fn extended_names(&self, subject: &Subject) -> Result<Vec<String>> {
        let (file, path) = match self.open_subject(subject) {
            Err(error) if matches!(subject, Subject::Area(_)) && error.is_unknown() => {
                return Ok(Vec::new());
            }
            opened => opened?,
        };
        Ok(texts(extended_names(&file, &path)?))
    }

    fn set_extended(&self, subject: &Subject, name: &str, value: Option<&[u8]>) -> Result<()> {
        let (file, path) = self.open_to_change(subject)?;
        let at = self.subject(subject);
        let set = || set_or_remove(&self.store.root, &at, (&file, &path), name, value);
        self.keep_note(subject, &file, set)
    }
}

impl Store {
    /// The folder that stands for the root.
    fn open_root(&self) -> Result<(File, PathBuf)> {
        let path = self.root.path_of(layout::REPOSITORIES);
        let folder = self.root.open_file(layout::REPOSITORIES, OFlags::RDONLY)?;
        let folder = folder.ok_or_else(|| Error::io("open", &path)(Errno::NOENT))?;
        Ok((folder, path))
    }

    /// Changes attributes of the root.
    pub(super) fn change_root(&self, wanted: &AttributesChange) -> Result<()> {
        let open = || self.open_root();
        let (folder, path) = match open() {
            Err(error) if is_denied(&error) => {
                lending::to_owner(self.root.place(layout::REPOSITORIES), open)?
            }
            opened => opened?,
        };
        change(&folder, wanted, &path)
    }

    /// An extended attribute of the root.
    pub(super) fn extended_of_root(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let (folder, path) = self.open_root()?;
        user_name(name).map_or(Ok(None), |name| extended_value(&folder, &name, &path))
    }

    /// The names of the root's extended attributes.
    pub(super) fn extended_names_of_root(&self) -> Result<Vec<String>> {
        let (folder, path) = self.open_root()?;
        Ok(texts(extended_names(&folder, &path)?))
    }

    /// Sets an extended attribute of the root, or removes it.
    pub(super) fn set_extended_of_root(&self, name: &str, value: Option<&[u8]>) -> Result<()> {
        let (folder, path) = self.open_root()?;
        let at = Path::new(layout::REPOSITORIES);
        set_or_remove(&self.root, at, (&folder, &path), name, value)
    }
}

/// Sets an extended attribute of what lies open at `at`, or removes it for `None`.
fn set_or_remove(
    root: &Folder, at: &Path, (file, path): (&File, &Path), name: &str, value: Option<&[u8]>,
) -> Result<()> {
    let name = user_name(name)
        .ok_or(Error::Unsupported("only extended attributes called user.… are kept"))?;
    let act = || match value {
        None => remove_extended(file, &name, path),
        Some(value) => set_extended(file, &name, value, path),
    };
    match act() {
        Err(error) if is_denied(&error) => lending::to_owner(root.place(at), act),
        outcome => outcome,
    }
}

fn texts(names: Vec<CString>) -> Vec<String> {
    names.into_iter().filter_map(|name| name.into_string().ok()).collect()
}
