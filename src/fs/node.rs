//! Everything a path in the mount can name, and the names. Only this file spells what users see.
//!
//! ```text
//! /
//! ├── .regfs/{errors,metrics,status,version}   found by name, never listed
//! └── library/                                 a namespace
//!     └── alpine/                              a repository
//!         ├── layers/sha256:4c…                a blob that the repository links
//!         ├── layers/.NAME                     staging: an upload that is renamed to its digest
//!         ├── manifests/3.19                   a tag
//!         ├── manifests/sha256:9a…             a revision; found by name, not listed
//!         ├── manifests/.NAME                  staging, as in layers
//!         ├── uploads/ANYTHING                 an upload in progress
//!         └── uploads/FOLDER/…                 uploads in folders, as deep as one likes
//! ```
//!
//! A component of a repository's name that equals one of the three folders is shown with a leading
//! `%`, which no component can begin with.

use crate::model::{Area, Component, Digest, RepositoryName, Tag, UploadId};
use std::{
    borrow::Cow,
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    path::Path,
};

/// What a path names. A new kind of file begins with a variant here; the compiler lists the rest.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Node {
    /// The mount point.
    Root,
    /// A namespace or repository.
    Repository(RepositoryName),
    /// One of a repository's three folders.
    Area(RepositoryName, Area),
    /// A blob that the repository links, or that is being written under its digest.
    Layer(RepositoryName, Digest),
    /// A tag, or one that is being written for the first time.
    Tag(RepositoryName, Tag),
    /// A manifest by digest.
    Revision(RepositoryName, Digest),
    /// An upload, wherever it is shown.
    Upload(RepositoryName, UploadId),
    /// A folder among uploads, by its path in the area: below `uploads`, or a dot folder in `layers`
    /// or `manifests` (`rsync --delay-updates` makes one).
    StagingFolder(RepositoryName, Area, OsString),
    /// The control folder.
    Control,
    /// A file of the control folder.
    ControlFile(ControlFile),
}

/// The files of the control folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ControlFile {
    /// The last refused operations.
    Errors,
    /// Counters in Prometheus' text form.
    Metrics,
    /// What `regfs status` shows, as JSON.
    Status,
    /// The program's version.
    Version,
}

impl ControlFile {
    /// Every control file.
    pub const ALL: [Self; 4] = [Self::Errors, Self::Metrics, Self::Status, Self::Version];

    /// The file's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Errors => "errors",
            Self::Metrics => "metrics",
            Self::Status => "status",
            Self::Version => "version",
        }
    }
}

/// The control folder's name, at the root of the mount.
pub const CONTROL_NAME: &str = ".regfs";

/// What a name in a folder stands for, before anybody has looked whether it exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// This node, and no other.
    Node(Node),
    /// A file of an area or staging folder that only the uploads can tell.
    Upload,
    /// Nothing can have this name; why not.
    Impossible {
        /// Which grammar refused it, as in `Error::NameInvalid`.
        kind: &'static str,
        /// The rule it breaks.
        reason: &'static str,
    },
}

impl Node {
    /// What `name` stands for in the folder that this node is.
    pub fn child(&self, name: &OsStr) -> Name {
        let impossible = |kind, reason| Name::Impossible { kind, reason };
        let Some(text) = name.to_str() else {
            return match self {
                Self::Area(_, Area::Uploads) | Self::StagingFolder(..) => Name::Upload,
                Self::Area(..) if name.as_bytes().starts_with(b".") => Name::Upload,
                Self::Root
                | Self::Repository(_)
                | Self::Area(..)
                | Self::Layer(..)
                | Self::Tag(..)
                | Self::Revision(..)
                | Self::Upload(..)
                | Self::Control
                | Self::ControlFile(_) => impossible("name", "it is not UTF-8"),
            };
        };
        match self {
            Self::Root if text == CONTROL_NAME => Name::Node(Self::Control),
            Self::Root => repository(None, text),
            Self::Repository(parent) => match area(text) {
                Some(area) => Name::Node(Self::Area(parent.clone(), area)),
                None => repository(Some(parent), text),
            },
            Self::Area(_, Area::Uploads) | Self::StagingFolder(..) => Name::Upload,
            Self::Area(..) if text.starts_with('.') => Name::Upload,
            Self::Area(repository, Area::Layers) => match text.parse() {
                Ok(digest) => Name::Node(Self::Layer(repository.clone(), digest)),
                Err(_) => impossible("digest", "layers are named sha256: and 64 digits 0-9 a-f"),
            },
            Self::Area(repository, Area::Manifests) => manifest(repository, text),
            Self::Control => ControlFile::ALL.into_iter().find(|file| file.name() == text).map_or(
                impossible("control file", "there are errors, metrics, status, version"),
                |file| Name::Node(Self::ControlFile(file)),
            ),
            Self::Layer(..)
            | Self::Tag(..)
            | Self::Revision(..)
            | Self::Upload(..)
            | Self::ControlFile(_) => impossible("folder", "it is a file"),
        }
    }

    /// The folder in which it is listed; none for the root and for uploads, which may lie anywhere.
    pub fn parent(&self) -> Option<Self> {
        Some(match self {
            Self::Root | Self::Upload(..) => return None,
            Self::Repository(name) => name.parent().map_or(Self::Root, Self::Repository),
            Self::Area(name, _) => Self::Repository(name.clone()),
            Self::Layer(name, _) => Self::Area(name.clone(), Area::Layers),
            Self::Tag(name, _) | Self::Revision(name, _) => {
                Self::Area(name.clone(), Area::Manifests)
            }
            Self::StagingFolder(name, area, path) => match Path::new(path).parent() {
                Some(parent) if !parent.as_os_str().is_empty() => {
                    Self::StagingFolder(name.clone(), *area, parent.as_os_str().to_owned())
                }
                Some(_) | None => Self::Area(name.clone(), *area),
            },
            Self::Control => Self::Root,
            Self::ControlFile(_) => Self::Control,
        })
    }

    /// The repository it belongs to.
    pub fn repository(&self) -> Option<&RepositoryName> {
        match self {
            Self::Root | Self::Control | Self::ControlFile(_) => None,
            Self::Repository(name)
            | Self::Area(name, _)
            | Self::Layer(name, _)
            | Self::Tag(name, _)
            | Self::Revision(name, _)
            | Self::Upload(name, _)
            | Self::StagingFolder(name, ..) => Some(name),
        }
    }

    /// The same node in another repository.
    pub fn moved_to(&self, name: RepositoryName) -> Self {
        match self {
            Self::Root => Self::Root,
            Self::Control => Self::Control,
            Self::ControlFile(file) => Self::ControlFile(*file),
            Self::Repository(_) => Self::Repository(name),
            Self::Area(_, area) => Self::Area(name, *area),
            Self::Layer(_, digest) => Self::Layer(name, *digest),
            Self::Tag(_, tag) => Self::Tag(name, tag.clone()),
            Self::Revision(_, digest) => Self::Revision(name, *digest),
            Self::Upload(_, uuid) => Self::Upload(name, *uuid),
            Self::StagingFolder(_, area, folder) => {
                Self::StagingFolder(name, *area, folder.clone())
            }
        }
    }

    /// Whether it is a folder.
    pub fn is_folder(&self) -> bool {
        match self {
            Self::Root
            | Self::Repository(_)
            | Self::Area(..)
            | Self::StagingFolder(..)
            | Self::Control => true,
            Self::Layer(..)
            | Self::Tag(..)
            | Self::Revision(..)
            | Self::Upload(..)
            | Self::ControlFile(_) => false,
        }
    }

    /// The path below the mount point, for people. Uploads are named by their UUID.
    pub fn path(&self) -> String {
        let in_area = |name: &RepositoryName, area: Area, file: &dyn std::fmt::Display| {
            format!("{}/{}/{file}", shown_path(name), area.name())
        };
        match self {
            Self::Root => String::new(),
            Self::Control => CONTROL_NAME.to_owned(),
            Self::ControlFile(file) => format!("{CONTROL_NAME}/{}", file.name()),
            Self::Repository(name) => shown_path(name),
            Self::Area(name, area) => format!("{}/{}", shown_path(name), area.name()),
            Self::Layer(name, digest) => in_area(name, Area::Layers, digest),
            Self::Tag(name, tag) => in_area(name, Area::Manifests, tag),
            Self::Revision(name, digest) => in_area(name, Area::Manifests, digest),
            Self::Upload(name, uuid) => in_area(name, Area::Uploads, uuid),
            Self::StagingFolder(name, area, folder) => {
                in_area(name, *area, &folder.to_string_lossy())
            }
        }
    }
}

/// How a component is shown: with a leading `%` when it equals the name of an area.
pub fn shown(component: &Component) -> String {
    let text = component.to_string();
    shown_part(&text).into_owned()
}

fn shown_path(name: &RepositoryName) -> String {
    name.components().map(shown_part).collect::<Vec<_>>().join("/")
}

fn shown_part(component: &str) -> Cow<'_, str> {
    match area(component) {
        Some(_) => Cow::Owned(format!("%{component}")),
        None => Cow::Borrowed(component),
    }
}

/// The area that has this name.
fn area(text: &str) -> Option<Area> {
    Area::ALL.into_iter().find(|area| area.name() == text)
}

/// A namespace or repository one level below `parent`; the inverse of [`shown`].
fn repository(parent: Option<&RepositoryName>, text: &str) -> Name {
    let kind = "repository";
    let component = match text.strip_prefix('%') {
        Some(escaped) if area(escaped).is_some() => escaped,
        Some(_) => return Name::Impossible { kind, reason: "% stands before reserved names only" },
        None if area(text).is_some() => {
            return Name::Impossible {
                kind,
                reason: "the name is reserved; write it with a % before",
            };
        }
        None => text,
    };
    let child = component
        .parse()
        .and_then(|component: Component| RepositoryName::child(parent, &component));
    match child {
        Ok(name) => Name::Node(Node::Repository(name)),
        Err(_) => Name::Impossible {
            kind,
            reason: "parts of a repository's name are a-z and 0-9 with . _ __ - between, \
                     and the whole has at most 255 bytes",
        },
    }
}

/// A file of `manifests`: a digest or a tag.
fn manifest(repository: &RepositoryName, text: &str) -> Name {
    if text.contains(':') {
        return match text.parse::<Digest>() {
            // docker-registry names manifests by sha256 only.
            Ok(digest) if digest.algorithm() == crate::model::Algorithm::Sha256 => {
                Name::Node(Node::Revision(repository.clone(), digest))
            }
            Ok(_) | Err(_) => Name::Impossible {
                kind: "digest",
                reason: "manifests are named sha256: and 64 digits 0-9 a-f",
            },
        };
    }
    match text.parse() {
        Ok(tag) => Name::Node(Node::Tag(repository.clone(), tag)),
        Err(_) => Name::Impossible {
            kind: "tag",
            reason: "a tag is a letter, digit or _, then up to 127 of these and . -",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> RepositoryName {
        text.parse().unwrap()
    }

    /// Walks `path` from the root by names alone.
    fn walk(path: &str) -> Option<Node> {
        path.split('/').try_fold(Node::Root, |node, part| match node.child(OsStr::new(part)) {
            Name::Node(node) => Some(node),
            Name::Upload | Name::Impossible { .. } => None,
        })
    }

    #[test]
    fn every_path_names_what_it_shows() {
        let digest = Digest::sha256(b"");
        for (path, node) in [
            (".regfs".to_owned(), Node::Control),
            (".regfs/errors".to_owned(), Node::ControlFile(ControlFile::Errors)),
            ("a".to_owned(), Node::Repository(name("a"))),
            ("a/b".to_owned(), Node::Repository(name("a/b"))),
            ("%layers".to_owned(), Node::Repository(name("layers"))),
            ("a/%manifests/b".to_owned(), Node::Repository(name("a/manifests/b"))),
            ("a/layers".to_owned(), Node::Area(name("a"), Area::Layers)),
            ("%uploads/uploads".to_owned(), Node::Area(name("uploads"), Area::Uploads)),
            (format!("a/layers/{digest}"), Node::Layer(name("a"), digest)),
            ("a/manifests/1.0".to_owned(), Node::Tag(name("a"), "1.0".parse().unwrap())),
            (format!("a/manifests/{digest}"), Node::Revision(name("a"), digest)),
        ] {
            assert_eq!(walk(&path), Some(node.clone()), "{path}");
            assert_eq!(node.path(), path);
            let above = path.rsplit_once('/').map_or(Some(Node::Root), |(above, _)| walk(above));
            assert_eq!(node.parent(), above);
        }
    }

    #[test]
    fn what_cannot_exist_is_nothing() {
        let digest = Digest::sha256(b"");
        for path in ["layers", "A", "a/.regfs", "%a", "a/%layersx", "a/layers/x", "a/manifests/-x"]
        {
            assert_eq!(walk(path), None, "{path}");
        }
        assert_eq!(walk(&format!("a/layers/{digest}/x")), None);
        assert_eq!(walk(&format!("a/manifests/sha512:{}", "a".repeat(128))), None);
    }

    #[test]
    fn dot_files_and_everything_in_uploads_are_uploads() {
        for folder in ["a/uploads", "a/layers", "a/manifests"] {
            let folder = walk(folder).unwrap();
            assert_eq!(folder.child(OsStr::new(".x")), Name::Upload);
            assert_eq!(folder.child(OsStr::from_bytes(b".\xff")), Name::Upload);
        }
        assert_eq!(walk("a/uploads").unwrap().child(OsStr::new("any name")), Name::Upload);
    }
}
