//! What paths lead to, and the folders: making and removing them.

use super::Reference;
use super::tree::own;
use super::writers::Draft;
use crate::model::outcome::{EEXIST, EINVAL, EISDIR, ENOENT, ENOTDIR, ENOTEMPTY, EPERM, Result};
use crate::model::words::{Path, Spot};
use regfs::model::{
    Area, AttributesChange, Digest, Reference as Name, RepositoryName, Tag, UploadId, UploadName,
};
use regfs::registry::{Registry as _, Subject};
use std::ffi::OsStr;

/// Something in the mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Repository(RepositoryName),
    Area(RepositoryName, Area),
    /// A staging folder.
    Folder(RepositoryName, Area, String),
    Layer(RepositoryName, Digest),
    Manifest(RepositoryName, Name),
    Upload(RepositoryName, UploadId),
}

/// What a path would be, whether or not something is there.
pub(super) enum Meaning {
    Node(Node),
    /// An upload or staging folder in this repository.
    Upload(RepositoryName, UploadName),
    /// Nothing can have the name.
    Nothing,
}

impl Node {
    pub(super) fn repository(&self) -> &RepositoryName {
        match self {
            Self::Repository(name)
            | Self::Area(name, _)
            | Self::Folder(name, ..)
            | Self::Layer(name, _)
            | Self::Manifest(name, _)
            | Self::Upload(name, _) => name,
        }
    }

    pub(super) fn is_folder(&self) -> bool {
        matches!(self, Self::Repository(_) | Self::Area(..) | Self::Folder(..))
    }

    /// What keeps its attributes.
    pub(super) fn subject(&self) -> Option<Subject> {
        Some(match self {
            Self::Repository(_) => Subject::Repository,
            Self::Area(_, area) => Subject::Area(*area),
            Self::Folder(..) => return None,
            Self::Layer(_, digest) => Subject::Layer(*digest),
            Self::Manifest(_, Name::Tag(tag)) => Subject::Tag(tag.clone()),
            Self::Manifest(_, Name::Digest(digest)) => Subject::Revision(*digest),
            Self::Upload(_, uuid) => Subject::Upload(*uuid),
        })
    }
}

/// What a path would be, by its words alone.
pub(super) fn meaning(path: &Path) -> Meaning {
    let (repository, area, folder, file) = match path.spot() {
        Spot::Repository(name) => return Meaning::Node(Node::Repository(name)),
        Spot::NoRepository(_) => return Meaning::Nothing,
        Spot::Area(name, area) => return Meaning::Node(Node::Area(name, area)),
        Spot::File { repository, area, folder, file } => (repository, area, folder, file),
    };
    let name = OsStr::new(&file);
    if let Some(folder) = folder {
        let name = UploadName::in_folder(area, OsStr::new(&folder), name).unwrap();
        return Meaning::Upload(repository, name);
    }
    match area {
        Area::Layers | Area::Manifests if file.starts_with('.') => {}
        Area::Uploads => {}
        Area::Layers => {
            return file
                .parse()
                .map_or(Meaning::Nothing, |digest| Meaning::Node(Node::Layer(repository, digest)));
        }
        Area::Manifests => {
            let digest = file.parse::<Digest>().map(Name::Digest);
            let name = digest.or_else(|_| file.parse::<Tag>().map(Name::Tag));
            return name
                .map_or(Meaning::Nothing, |name| Meaning::Node(Node::Manifest(repository, name)));
        }
    }
    Meaning::Upload(repository, UploadName::new(area, name).unwrap())
}

/// The path of an upload or folder among uploads, in its area.
pub(super) fn path_of(name: &UploadName) -> String {
    let parts = name.folder().into_iter().chain([name.file()]);
    parts.map(|part| part.to_str().unwrap()).collect::<Vec<_>>().join("/")
}

impl Reference {
    /// Walks to the folder in which `path` is.
    pub(super) fn walk(&self, path: &Path) -> Result {
        match path.spot() {
            Spot::Repository(name) => name.parent().map_or(Ok(()), |parent| self.has(&parent)),
            Spot::NoRepository(parent) => parent.map_or(Ok(()), |parent| self.has(&parent)),
            Spot::Area(name, _) => self.has(&name),
            Spot::File { repository, folder: None, .. } => self.has(&repository),
            Spot::File { repository, area, folder: Some(folder), .. } => {
                self.has(&repository)?;
                let folder = UploadName::new(area, OsStr::new(&folder)).unwrap();
                match self.find_upload(&repository, &folder)? {
                    Node::Folder(..) => Ok(()),
                    _ => Err(ENOTDIR),
                }
            }
        }
    }

    /// What is at `path`.
    pub(super) fn find(&self, path: &Path) -> Result<Node> {
        self.walk(path)?;
        match meaning(path) {
            Meaning::Node(node) => self.exists(&node).map(|()| node),
            Meaning::Upload(repository, name) => self.find_upload(&repository, &name),
            Meaning::Nothing => Err(ENOENT),
        }
    }

    /// Whether a node of a name that leads nowhere else is there: stored, or being written.
    fn exists(&self, node: &Node) -> Result {
        let exists = match node {
            Node::Repository(name) => return self.has(name),
            Node::Area(..) => true,
            Node::Layer(name, digest) => {
                self.at(name).layers().exists(digest)? || self.layer_writer(node).is_some()
            }
            Node::Manifest(name, reference) => {
                self.at(name).manifests().exists(reference)?
                    || self.draft(node).is_some_and(Draft::makes_its_name)
            }
            Node::Folder(..) | Node::Upload(..) => true,
        };
        if exists { Ok(()) } else { Err(ENOENT) }
    }

    /// The upload or staging folder of that name.
    pub(super) fn find_upload(
        &self, repository: &RepositoryName, name: &UploadName,
    ) -> Result<Node> {
        let found = self.at(repository);
        if let Some(uuid) = found.layers().find_upload(name)? {
            return Ok(Node::Upload(repository.clone(), uuid));
        }
        let key = (repository.clone(), name.area(), path_of(name));
        let is_folder = self.staging.contains_key(&key)
            || found.layers().has_upload_folder(key.1, OsStr::new(&key.2))?;
        if is_folder { Ok(Node::Folder(key.0, key.1, key.2)) } else { Err(ENOENT) }
    }

    /// Something at `path` has come or gone. A folder among uploads stays from then on, also when it
    /// is empty.
    pub(super) fn touch_folder(&mut self, path: &Path) {
        if let Spot::File { repository, area, folder: Some(folder), .. } = path.spot() {
            self.staging.entry((repository, area, folder)).or_insert_with(|| own(0o755));
        }
    }

    /// Whether nothing is in a folder among uploads.
    pub(super) fn is_folder_empty(
        &self, name: &RepositoryName, area: Area, folder: &str,
    ) -> Result<bool> {
        let below = format!("{folder}/");
        let mut folders = self.staging.keys();
        let has_folder = folders
            .any(|(of, in_area, path)| of == name && *in_area == area && path.starts_with(&below));
        Ok(!has_folder && !self.at(name).layers().has_upload_folder(area, OsStr::new(folder))?)
    }

    pub(super) fn mkdir(&mut self, path: &Path) -> Result {
        self.walk(path)?;
        if self.find(path).is_ok() {
            return Err(EEXIST);
        }
        match meaning(path) {
            Meaning::Node(Node::Repository(name)) => {
                self.registry.create(&name)?;
                let change = AttributesChange {
                    permissions: Some(0o755),
                    uid: Some(0),
                    gid: Some(0),
                    ..AttributesChange::default()
                };
                self.at(&name).attributes().change(&Subject::Repository, &change)?;
                Ok(())
            }
            Meaning::Upload(repository, name) => {
                self.staging.insert((repository, name.area(), path_of(&name)), own(0o755));
                self.touch_folder(path);
                Ok(())
            }
            // There are only files here.
            Meaning::Node(_) => Err(EPERM),
            Meaning::Nothing => Err(EINVAL),
        }
    }

    pub(super) fn rmdir(&mut self, path: &Path) -> Result {
        match self.find(path)? {
            Node::Repository(name) => {
                self.registry.remove(&name)?;
                self.staging.retain(|(repository, ..), _| !repository.is_within(&name));
                Ok(())
            }
            // They are always there: to remove an empty one is fine, and changes nothing.
            Node::Area(name, area) => {
                if self.is_area_empty(&name, area) {
                    Ok(())
                } else {
                    Err(ENOTEMPTY)
                }
            }
            Node::Folder(name, area, folder) => {
                if !self.is_folder_empty(&name, area, &folder)? {
                    return Err(ENOTEMPTY);
                }
                self.staging.remove(&(name, area, folder));
                self.touch_folder(path);
                Ok(())
            }
            Node::Layer(..) | Node::Manifest(..) | Node::Upload(..) => Err(ENOTDIR),
        }
    }

    pub(super) fn unlink(&mut self, path: &Path) -> Result {
        let node = self.find(path)?;
        if node.is_folder() {
            return Err(EISDIR);
        }
        self.check_published(&node)?;
        self.remove(&node)?;
        if let Node::Upload(..) = node {
            self.touch_folder(path);
        }
        Ok(())
    }
}
