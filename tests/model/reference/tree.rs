//! Everything that can be seen of the model.

use super::Reference;
use super::moves::read_all;
use super::names::Node;
use crate::model::disk::Expected;
use crate::model::outcome::{EBUSY, ENOENT, Result};
use crate::model::tree::{Entry, Kind, Time, Tree};
use crate::model::words::{MANIFESTS, Path, content, contents, shown};
use regfs::model::{Area, Attributes, Reference as Name, RepositoryName};
use regfs::registry::Registry as _;
use std::{
    collections::BTreeSet,
    time::{SystemTime, UNIX_EPOCH},
};

impl Reference {
    /// Everything that can be seen.
    pub(crate) fn tree(&self) -> Tree {
        let mut tree = Tree::new();
        self.add_children(None, &mut tree);
        tree
    }

    fn add_children(&self, parent: Option<&RepositoryName>, tree: &mut Tree) {
        for component in self.registry.children(parent).unwrap().collect().unwrap() {
            let name = RepositoryName::child(parent, &component).unwrap();
            self.add(&shown(&name), 1, &Node::Repository(name.clone()), tree);
            let stat = self.registry.stat(Some(&name)).unwrap();
            let listed = usize::from(stat.has_content || !stat.has_children);
            for area in Area::ALL {
                let path = format!("{}/{}", shown(&name), area.name());
                self.add(&path, listed, &Node::Area(name.clone(), area), tree);
                self.add_area(&path, &name, area, tree);
            }
            self.add_children(Some(&name), tree);
        }
    }

    /// The files of an area: those that are listed, then those that are found by name.
    fn add_area(&self, path: &str, name: &RepositoryName, area: Area, tree: &mut Tree) {
        let repository = self.at(name);
        let inside = |file: &str| Path::of(&format!("{path}/{file}")).0;
        match area {
            Area::Uploads => {}
            Area::Layers => {
                let listed: Vec<_> = repository.layers().digests().unwrap().collect().unwrap();
                for content in contents() {
                    let digest = content.digest.parse().unwrap();
                    let count = listed.iter().filter(|listed| **listed == digest).count();
                    let node = Node::Layer(name.clone(), digest);
                    self.add(&inside(&content.digest), count, &node, tree);
                }
            }
            Area::Manifests => {
                let tags: Vec<_> = repository.manifests().tags().unwrap().collect().unwrap();
                let drafts = ["v1", "v2"].map(|tag| tag.parse().unwrap());
                for tag in tags.iter().chain(drafts.iter().filter(|tag| !tags.contains(tag))) {
                    let node = Node::Manifest(name.clone(), Name::Tag(tag.clone()));
                    let count = usize::from(tags.contains(tag));
                    self.add(&inside(tag.as_str()), count, &node, tree);
                }
                for manifest in MANIFESTS {
                    let digest = &content(manifest).digest;
                    let node = Node::Manifest(name.clone(), Name::Digest(digest.parse().unwrap()));
                    self.add(&inside(digest), 0, &node, tree);
                }
            }
        }
        self.add_uploads(path, name, area, tree);
    }

    fn add_uploads(&self, path: &str, name: &RepositoryName, area: Area, tree: &mut Tree) {
        let here = self.staging.keys().filter(|(of, in_area, _)| of == name && *in_area == area);
        let mut folders: BTreeSet<String> = here.map(|(.., folder)| folder.clone()).collect();
        for upload in self.at(name).layers().uploads().unwrap() {
            let upload_name = upload.name.unwrap();
            let file = upload_name.file().to_str().unwrap();
            if upload_name.area() != area {
                continue;
            }
            let node = Node::Upload(name.clone(), upload.uuid);
            match upload_name.folder() {
                Some(folder) => {
                    let folder = folder.to_str().unwrap();
                    folders.insert(folder.to_owned());
                    self.add(&Path::of(&format!("{path}/{folder}/{file}")).0, 1, &node, tree);
                }
                // A layer that is being written.
                None if area != Area::Uploads && !file.starts_with('.') => {}
                None => self.add(&Path::of(&format!("{path}/{file}")).0, 1, &node, tree),
            }
        }
        for folder in folders {
            let node = Node::Folder(name.clone(), area, folder.clone());
            self.add(&Path::of(&format!("{path}/{folder}")).0, 1, &node, tree);
        }
    }

    fn add(&self, path: &str, listed: usize, node: &Node, tree: &mut Tree) {
        let Some((attributes, length)) = self.look_at(node) else { return };
        let marks = self.marks(node, &attributes);
        let kind = if node.is_folder() {
            Kind::Folder(marks)
        } else {
            let modified_at = Time::of(seconds(attributes.modified_at));
            Kind::File { marks, length, modified_at, content: self.content(node) }
        };
        tree.insert(path.to_owned(), Entry { listed, kind });
    }

    /// The attributes and length that stat shows; `None` when there is nothing.
    fn look_at(&self, node: &Node) -> Option<(Attributes, u64)> {
        let repository = self.at(node.repository());
        let kept = repository.attributes();
        match node {
            Node::Repository(_) | Node::Area(..) => Some((kept.get(&node.subject()?).unwrap(), 0)),
            Node::Folder(name, area, folder) => {
                let kept = self.staging.get(&(name.clone(), *area, folder.clone()));
                Some((kept.copied().unwrap_or_else(|| own(0o755)), 0))
            }
            Node::Upload(_, uuid) => {
                let stat = repository.layers().stat_upload(uuid).unwrap();
                Some((stat.attributes, stat.length))
            }
            Node::Layer(_, digest) => match repository.layers().stat(digest) {
                Ok(stat) => Some((stat.attributes, stat.length)),
                Err(_) => {
                    let stat = self.layer_writer(node)?.upload.stat().unwrap();
                    Some((stat.attributes, stat.length))
                }
            },
            Node::Manifest(_, reference) => {
                let stored = repository.manifests().stat(reference).ok();
                let draft = self.draft(node).filter(|draft| {
                    draft.is_dirty() || (stored.is_none() && draft.makes_its_name())
                });
                let Some(draft) = draft else {
                    return stored.map(|stat| (stat.attributes, stat.length));
                };
                // What lies under a digest has its length, whoever writes it anew.
                let length = match (&stored, reference) {
                    (Some(stat), Name::Digest(_)) => stat.length,
                    _ => draft.bytes.len() as u64,
                };
                let base = stored.map_or_else(|| own(0o644), |stat| stat.attributes);
                let attributes = Attributes {
                    permissions: draft.wanted.permissions.unwrap_or(base.permissions),
                    uid: draft.wanted.uid.unwrap_or(base.uid),
                    gid: draft.wanted.gid.unwrap_or(base.gid),
                    modified_at: draft.wanted.modified_at.unwrap_or_else(SystemTime::now),
                    ..base
                };
                Some((attributes, length))
            }
        }
    }

    /// How long a file is, as its name shows it.
    pub(super) fn length_of(&self, node: &Node) -> u64 {
        self.look_at(node).map_or(0, |(_, length)| length)
    }

    /// What reading by name gives.
    pub(super) fn content(&self, node: &Node) -> Result<Vec<u8>> {
        let repository = self.at(node.repository());
        match node {
            Node::Upload(_, uuid) => {
                let reader = repository.layers().read_upload(uuid)?;
                Ok(read_all(|buffer, offset| reader.read_at(buffer, offset)))
            }
            Node::Layer(_, digest) => {
                let layer = repository.layers().fetch(digest).map_err(|_| EBUSY)?;
                Ok(read_all(|buffer, offset| layer.read_at(buffer, offset)))
            }
            Node::Manifest(_, reference) => {
                let manifest = repository.manifests().get(reference).map_err(|_| EBUSY)?;
                Ok(manifest.bytes().to_vec())
            }
            Node::Repository(_) | Node::Area(..) | Node::Folder(..) => Err(ENOENT),
        }
    }

    /// Whether an area lists nothing.
    pub(super) fn is_area_empty(&self, name: &RepositoryName, area: Area) -> bool {
        let mut tree = Tree::new();
        self.add_area("it", name, area, &mut tree);
        tree.values().all(|entry| entry.listed == 0)
    }

    /// The tags and layers of every repository, each with its bytes.
    pub(crate) fn links(&self) -> Vec<Expected> {
        let names = self.registry.repositories().unwrap().collect().unwrap();
        names.into_iter().map(|name| self.links_of(name)).collect()
    }

    fn links_of(&self, name: RepositoryName) -> Expected {
        let repository = self.at(&name);
        let tags: Vec<_> = repository.manifests().tags().unwrap().collect().unwrap();
        let layers: Vec<_> = repository.layers().digests().unwrap().collect().unwrap();
        let mut tags: Vec<(String, Vec<u8>)> = tags
            .into_iter()
            .map(|tag| {
                let node = Node::Manifest(name.clone(), Name::Tag(tag.clone()));
                (tag.to_string(), self.content(&node).unwrap())
            })
            .collect();
        let mut layers: Vec<(String, Vec<u8>)> = layers
            .into_iter()
            .map(|digest| {
                let node = Node::Layer(name.clone(), digest);
                (digest.hex(), self.content(&node).unwrap())
            })
            .collect();
        tags.sort();
        layers.sort();
        Expected { repository: name, tags, layers }
    }
}

/// Attributes of what has none that are kept.
pub(super) fn own(permissions: u32) -> Attributes {
    let now = SystemTime::now();
    Attributes { permissions, uid: 0, gid: 0, modified_at: now, accessed_at: now, changed_at: now }
}

fn seconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).unwrap().as_secs().try_into().unwrap()
}
