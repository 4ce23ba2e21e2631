//! What each folder lists.

use crate::fs::fault::{Fault, Result};
use crate::fs::inodes::Ino;
use crate::fs::listing::{Entries, Listed, Listing, Mapped, Target};
use crate::fs::node::{Node, shown};
use crate::model::{Area, Digest, Error, RepositoryName, Tag};
use crate::registry::{Registry, UploadStat};
use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
};

/// The listing of the folder `node`, which has the number `ino`. `staging` are the staging folders
/// made in it.
pub(super) fn listing(
    registry: &dyn Registry, node: &Node, ino: Ino, staging: &[OsString],
) -> Result<Listing> {
    let mut first = vec![folder(".", ino), folder("..", ino)];
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
            first.extend(area_files(registry, name, *area, staging)?);
            area_rest(registry, name, *area)?
        }
        Node::StagingFolder(name, area, folder) => {
            for upload in uploads(registry, name)? {
                if let Some(upload_name) = &upload.name
                    && upload_name.area() == *area
                    && upload_name.folder() == Some(folder)
                {
                    first.push(upload_entry(upload_name.file(), name, &upload));
                }
            }
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

/// The files of an area that are uploads, and its staging folders.
fn area_files(
    registry: &dyn Registry, name: &RepositoryName, area: Area, staging: &[OsString],
) -> Result<Vec<Listed>> {
    let mut files = Vec::new();
    let mut folders: BTreeSet<OsString> = staging.iter().cloned().collect();
    let mut taken = BTreeSet::new();
    // The youngest come first, and of several with one name that is found under it.
    for upload in &uploads(registry, name)? {
        match &upload.name {
            // Begun by another program.
            None if area == Area::Uploads => {
                let uuid = upload.uuid.to_string();
                files.push(upload_entry(OsStr::new(&uuid), name, upload));
            }
            Some(upload_name) if upload_name.area() == area => {
                let file = upload_name.file();
                match upload_name.folder() {
                    Some(folder) => drop(folders.insert(folder.to_owned())),
                    // A layer that is being written under its digest is not listed.
                    None if area != Area::Uploads && !file.as_bytes().starts_with(b".") => {}
                    None if taken.insert(file.to_owned()) => {
                        files.push(upload_entry(file, name, upload));
                    }
                    None => {}
                }
            }
            None | Some(_) => {}
        }
    }
    files.extend(
        folders
            .into_iter()
            .map(|folder| listed(folder.clone(), Node::StagingFolder(name.clone(), area, folder))),
    );
    Ok(files)
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
            let entry = move |tag: Tag| Some(listed(tag.to_string(), Node::Tag(name.clone(), tag)));
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
