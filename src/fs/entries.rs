//! What each folder lists.

use crate::fs::fault::{Fault, Result};
use crate::fs::inodes::Ino;
use crate::fs::listing::{Entries, Listed, Listing, Mapped, Target};
use crate::fs::node::{Node, shown};
use crate::model::{Area, Digest, Error, RepositoryName, Tag, UploadName};
use crate::registry::{Registry, UploadStat};
use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    path::Path,
};

/// The listing of the folder `node`, which has the number `ino` and lies in the folder `parent`. `made`
/// are folders in it that no upload has to name.
pub(super) fn listing(
    registry: &dyn Registry, node: &Node, ino: Ino, parent: Ino, made: Vec<OsString>,
) -> Result<Listing> {
    let mut first = vec![folder(".", ino), folder("..", parent)];
    let rest = match node {
        Node::Root => Some(children(registry, None)?),
        Node::Repository(name) => {
            let stat = registry.stat(Some(name))?;
            if stat.has_content || !stat.has_children {
                first.extend(Area::ALL.map(|area| area_entry(name, area)));
            }
            Some(children(registry, Some(name))?)
        }
        Node::Area(name, area) => {
            first.extend(staged(registry, (name, *area, OsStr::new("")), made)?);
            area_rest(registry, name, *area)?
        }
        Node::StagingFolder(name, area, path) => {
            first.extend(staged(registry, (name, *area, path), made)?);
            None
        }
        Node::Control => {
            let files = crate::fs::node::ControlFile::ALL;
            first.extend(files.map(|file| listed(file.name(), Node::ControlFile(file))));
            None
        }
        Node::Layer(..)
        | Node::Tag(..)
        | Node::Revision(..)
        | Node::Upload(..)
        | Node::ControlFile(_) => return Err(Fault::NotADirectory),
    };
    Ok(Listing::new(first, rest))
}

/// The repositories and namespaces one level down.
fn children(registry: &dyn Registry, parent: Option<&RepositoryName>) -> Result<Entries> {
    let of = parent.cloned();
    let cursor = registry.children(parent)?;
    Ok(Box::new(Mapped::new(cursor, move |component| {
        // A name that would be too long cannot be reached, so it is not shown.
        let name = RepositoryName::child(of.as_ref(), &component).ok()?;
        Some(listed(shown(&component), Node::Repository(name)))
    })))
}

/// The uploads and folders in the folder at `path` of an area, which is empty for the area itself.
fn staged(
    registry: &dyn Registry, (name, area, path): (&RepositoryName, Area, &OsStr),
    made: Vec<OsString>,
) -> Result<Vec<Listed>> {
    let mut files = Vec::new();
    let mut folders: BTreeSet<OsString> = made.into_iter().collect();
    let mut taken = BTreeSet::new();
    let mut nameless = Vec::new();
    let is_area = path.is_empty();
    // The youngest come first, and of several with one name that is found under it.
    for upload in &uploads(registry, name)? {
        match &upload.name {
            None if is_area && area == Area::Uploads => nameless.push(upload.uuid),
            Some(upload_name) if upload_name.area() == area => {
                let file = upload_name.file();
                match way_from(path, upload_name) {
                    None => {}
                    Some(Some(folder)) => drop(folders.insert(folder.to_owned())),
                    // A layer that is being written under its digest is not listed.
                    Some(None)
                        if is_area
                            && area != Area::Uploads
                            && !file.as_bytes().starts_with(b".") => {}
                    Some(None) if taken.insert(file.to_owned()) => {
                        files.push(upload_entry(file, name, upload));
                    }
                    Some(None) => {}
                }
            }
            None | Some(_) => {}
        }
    }
    // Those of other programs are found by their UUID, unless somebody took that for a name.
    for uuid in nameless {
        let file = OsString::from(uuid.to_string());
        if !taken.contains(&file) {
            files.push(listed(file, Node::Upload(name.clone(), uuid)));
        }
    }
    files.extend(folders.into_iter().map(|folder| {
        let inner = Path::new(path).join(&folder).into_os_string();
        listed(folder, Node::StagingFolder(name.clone(), area, inner))
    }));
    Ok(files)
}

/// How an upload is reached from the folder at `path` of its area: by which folder there, or
/// directly. `None` when it lies elsewhere.
fn way_from<'a>(path: &OsStr, upload: &'a UploadName) -> Option<Option<&'a OsStr>> {
    let folder = Path::new(upload.folder().unwrap_or_default());
    let mut way = folder.strip_prefix(path).ok()?.components();
    Some(way.next().map(|folder| folder.as_os_str()))
}

/// The layers or tags of a repository.
fn area_rest(
    registry: &dyn Registry, name: &RepositoryName, area: Area,
) -> Result<Option<Entries>> {
    let repository = registry.repository(name);
    let name = name.clone();
    Ok(match area {
        Area::Uploads => None,
        Area::Layers => {
            let entry = move |digest: Digest| {
                Some(listed(digest.to_string(), Node::Layer(name.clone(), digest)))
            };
            Some(Box::new(Mapped::new(repository.layers().digests()?, entry)))
        }
        Area::Manifests => {
            let entry = move |tag: Tag| {
                let file = tag.as_str().to_owned();
                Some(listed(file, Node::Tag(name.clone(), tag)))
            };
            Some(Box::new(Mapped::new(repository.manifests().tags()?, entry)))
        }
    })
}

fn uploads(registry: &dyn Registry, name: &RepositoryName) -> Result<Vec<UploadStat>, Error> {
    registry.repository(name).layers().uploads()
}

fn folder(name: &str, ino: Ino) -> Listed {
    Listed { name: name.into(), target: Target::Folder(ino) }
}

fn area_entry(name: &RepositoryName, area: Area) -> Listed {
    listed(area.name(), Node::Area(name.clone(), area))
}

fn upload_entry(file: &OsStr, name: &RepositoryName, upload: &UploadStat) -> Listed {
    listed(file, Node::Upload(name.clone(), upload.uuid))
}

fn listed(name: impl Into<OsString>, node: Node) -> Listed {
    Listed { name: name.into(), target: Target::Node(node) }
}
