//! The tree on disk, gone through from its root name by name: what lies at a place, and what does not
//! belong there. The names are those of `layout.rs`.

use crate::model::{Algorithm, Digest, RepositoryName, Tag, UploadId};
use crate::store::layout;
use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

/// A folder with folders of digests in it, below those of their algorithms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Branch {
    /// All content.
    Blobs,
    /// A repository's layer links.
    Layers,
    /// A repository's manifests.
    Revisions,
    /// The signatures on this manifest.
    Signatures(Digest),
    /// What this tag ever named.
    Index(Tag),
}

/// A link file of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LinkName {
    Layer(Digest),
    Revision(Digest),
    Signature { manifest: Digest, signature: Digest },
    Tag(Tag),
    Index(Tag, Digest),
}

/// What a file or folder of a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The store's own folder, or one on the way from there to the registry's: what is left of it.
    Way(PathBuf),
    /// The registry's folder.
    Registry,
    /// A folder of repositories, which may be one itself; the registry's of all when it has no name.
    Repository(Option<RepositoryName>),
    /// What a repository has of manifests.
    Manifests,
    /// A repository's tags.
    Tags,
    /// A repository's uploads.
    Uploads,
    /// A folder on the way to those of algorithms, and the way that leads to it.
    Algorithms(Branch, PathBuf),
    /// The folder of an algorithm.
    Digests(Branch, Algorithm),
    /// The blobs whose digests begin with these two digits.
    Shard(Algorithm, String),
    /// The folder of one digest.
    Digest(Branch, Digest),
    /// A tag's folder.
    Tag(Tag),
    /// The folder with what a tag names now.
    Current(Tag),
    /// An upload's folder.
    Upload(UploadId),
    /// A blob's file.
    Blob(Digest),
    /// A link's file.
    Link(LinkName),
    /// It belongs here, and nothing in it is looked at.
    Known,
}

impl Part {
    /// The store's own folder.
    pub(super) fn store() -> Self {
        Self::Way(layout::REGISTRY.into())
    }

    /// The folder of all blobs.
    pub(super) fn blobs() -> Self {
        Self::Algorithms(Branch::Blobs, PathBuf::new())
    }

    /// What lies at `path` of a store, the last name of which is a folder's or a file's.
    pub(super) fn at(path: &Path, is_folder: bool) -> Option<Self> {
        let mut names = path.iter().peekable();
        let mut part = Self::store();
        while let Some(name) = names.next() {
            part = part.child(name, is_folder || names.peek().is_some())?;
        }
        Some(part)
    }

    /// What the entry `name` of this folder is; `None` when nothing of a registry is called so.
    pub(super) fn child(&self, name: &OsStr, is_folder: bool) -> Option<Self> {
        if is_folder { self.folder(name) } else { self.file(name) }
    }

    fn folder(&self, name: &OsStr) -> Option<Self> {
        let is = |known: &str| name == known;
        let no_way = PathBuf::new;
        match self {
            Self::Way(rest) => {
                let first = rest.components().next()?;
                if name == first.as_os_str() {
                    let rest = rest.strip_prefix(first).ok()?;
                    let is_registry = rest.as_os_str().is_empty();
                    return Some(match is_registry {
                        true => Self::Registry,
                        false => Self::Way(rest.into()),
                    });
                }
                self.beside(name)
            }
            Self::Registry if Path::new(layout::ALL_BLOBS).ends_with(name) => Some(Self::blobs()),
            Self::Registry => {
                Path::new(layout::REPOSITORIES).ends_with(name).then_some(Self::Repository(None))
            }
            Self::Repository(Some(_)) if is(layout::LAYERS) => {
                Some(Self::Algorithms(Branch::Layers, no_way()))
            }
            Self::Repository(Some(_)) if is(layout::MANIFESTS) => Some(Self::Manifests),
            Self::Repository(Some(_)) if is(layout::UPLOADS) => Some(Self::Uploads),
            Self::Repository(parent) => {
                let component = layout::parse_component(name)?;
                RepositoryName::child(parent.as_ref(), &component)
                    .ok()
                    .map(|name| Self::Repository(Some(name)))
            }
            Self::Manifests if Path::new(layout::TAGS).ends_with(name) => Some(Self::Tags),
            Self::Manifests => Path::new(layout::REVISIONS)
                .ends_with(name)
                .then(|| Self::Algorithms(Branch::Revisions, no_way())),
            Self::Tags => layout::parse_tag(name).map(Self::Tag),
            Self::Uploads => layout::parse_upload(name).map(Self::Upload),
            Self::Algorithms(branch, way) => algorithms(branch, &way.join(name)),
            Self::Digests(Branch::Blobs, algorithm) => {
                let digits = name.to_str().filter(|digits| is_shard(digits))?;
                Some(Self::Shard(*algorithm, digits.to_owned()))
            }
            Self::Digests(branch, algorithm) => {
                let digest = layout::parse_digest(*algorithm, name)?;
                Some(Self::Digest(branch.clone(), digest))
            }
            Self::Shard(algorithm, digits) => {
                let digest = layout::parse_digest(*algorithm, name)?;
                let is_here = name.to_str()?.starts_with(digits.as_str());
                is_here.then_some(Self::Digest(Branch::Blobs, digest))
            }
            Self::Digest(Branch::Revisions, digest) if is(layout::SIGNATURES) => {
                Some(Self::Algorithms(Branch::Signatures(*digest), no_way()))
            }
            Self::Tag(tag) if is(layout::CURRENT) => Some(Self::Current(tag.clone())),
            Self::Tag(tag) if is(layout::INDEX) => {
                Some(Self::Algorithms(Branch::Index(tag.clone()), no_way()))
            }
            Self::Upload(_) => Path::new(layout::STATES).starts_with(name).then_some(Self::Known),
            Self::Digest(..) | Self::Tag(_) | Self::Current(_) => None,
            Self::Blob(_) | Self::Link(_) | Self::Known => None,
        }
    }

    fn file(&self, name: &OsStr) -> Option<Self> {
        let link = |link: LinkName| (name == layout::LINK).then_some(Self::Link(link));
        match self {
            Self::Way(_) => self.beside(name),
            Self::Digest(Branch::Blobs, digest) => {
                (name == layout::DATA).then_some(Self::Blob(*digest))
            }
            Self::Digest(Branch::Layers, digest) => link(LinkName::Layer(*digest)),
            Self::Digest(Branch::Revisions, digest) => link(LinkName::Revision(*digest)),
            Self::Digest(Branch::Signatures(manifest), signature) => {
                link(LinkName::Signature { manifest: *manifest, signature: *signature })
            }
            Self::Digest(Branch::Index(tag), digest) => link(LinkName::Index(tag.clone(), *digest)),
            Self::Current(tag) => link(LinkName::Tag(tag.clone())),
            Self::Upload(_) => {
                let known = [layout::DATA, layout::STARTED_AT, layout::NAME];
                known.iter().any(|known| name == *known).then_some(Self::Known)
            }
            Self::Registry | Self::Repository(_) | Self::Manifests | Self::Tags => None,
            Self::Uploads | Self::Algorithms(..) | Self::Digests(..) | Self::Shard(..) => None,
            Self::Tag(_) | Self::Blob(_) | Self::Link(_) | Self::Known => None,
        }
    }

    /// What may lie beside the registry, in the store's own folder.
    fn beside(&self, name: &OsStr) -> Option<Self> {
        let is_known = layout::BESIDE.iter().any(|known| name == *known);
        (*self == Self::store() && is_known).then_some(Self::Known)
    }

    /// Whether it is a folder that has what belongs to one thing, and is looked at in one go.
    pub(super) fn is_one_thing(&self) -> bool {
        matches!(self, Self::Digest(..) | Self::Tag(_) | Self::Upload(_))
    }
}

/// The folder that lies `way` below those of a branch.
fn algorithms(branch: &Branch, way: &Path) -> Option<Part> {
    let paths = Algorithm::ALL.map(|algorithm| (layout::algorithm_path(algorithm), algorithm));
    if let Some((_, algorithm)) = paths.iter().find(|(path, _)| way == Path::new(path)) {
        return Some(Part::Digests(branch.clone(), *algorithm));
    }
    let leads_on = paths.iter().any(|(path, _)| Path::new(path).starts_with(way));
    leads_on.then(|| Part::Algorithms(branch.clone(), way.into()))
}

fn is_shard(digits: &str) -> bool {
    digits.len() == 2 && digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_the_layout_is_known_for_what_it_is() {
        let hex = "ab".repeat(32);
        let (tag, app): (Tag, RepositoryName) = ("v1".parse().unwrap(), "a/b".parse().unwrap());
        let within = |inner: PathBuf| layout::repository(&app).join(inner);
        for algorithm in Algorithm::ALL {
            let hex = "ab".repeat(algorithm.length());
            let digest = Digest::from_hex(algorithm, &hex).unwrap();
            for (path, expected) in [
                (layout::blob(&digest), Part::Blob(digest)),
                (within(layout::layer_link(&digest)), Part::Link(LinkName::Layer(digest))),
                (within(layout::revision_link(&digest)), Part::Link(LinkName::Revision(digest))),
                (
                    within(layout::tag_index_link(&tag, &digest)),
                    Part::Link(LinkName::Index(tag.clone(), digest)),
                ),
            ] {
                assert_eq!(Part::at(&path, false), Some(expected), "{}", path.display());
            }
        }
        let manifest = Digest::from_hex(Algorithm::Sha256, &hex).unwrap();
        let link = LinkName::Signature { manifest, signature: manifest };
        let path = within(layout::signature_link(&manifest, &manifest));
        assert_eq!(Part::at(&path, false), Some(Part::Link(link)));
        let path = within(layout::tag_link(&tag));
        assert_eq!(Part::at(&path, false), Some(Part::Link(LinkName::Tag(tag))));
        for path in [layout::VERSION, layout::TMP, layout::BESIDE[1]] {
            let first = Path::new(path).iter().next().unwrap();
            assert_eq!(Part::at(Path::new(first), true), Some(Part::Known));
        }
    }

    #[test]
    fn what_does_not_belong_is_nothing() {
        let hex = "ab".repeat(32);
        for (path, is_folder) in [
            ("README".to_owned(), false),
            ("docker/regfs".to_owned(), true),
            ("docker/registry/v2/x".to_owned(), true),
            ("docker/registry/v2/blobs/md5".to_owned(), true),
            ("docker/registry/v2/blobs/sha256/0g".to_owned(), true),
            (format!("docker/registry/v2/blobs/sha256/00/{hex}"), true),
            (format!("docker/registry/v2/blobs/sha256/ab/{hex}/x"), false),
            ("docker/registry/v2/repositories/_layers".to_owned(), true),
            ("docker/registry/v2/repositories/UPPER".to_owned(), true),
            ("docker/registry/v2/repositories/a/file".to_owned(), false),
            ("docker/registry/v2/repositories/a/_layers/sha256/link".to_owned(), false),
            ("docker/registry/v2/repositories/a/_uploads/x".to_owned(), true),
        ] {
            assert_eq!(Part::at(Path::new(&path), is_folder), None, "{path}");
        }
    }
}
