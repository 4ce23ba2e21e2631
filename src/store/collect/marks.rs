//! What is in use: every link below `repositories/`, and everything that looks like a digest in the
//! manifests they lead to.
//!
//! Nothing is asked that could be answered wrongly. A folder is walked whether or not its name is one
//! that a repository may have; a manifest of a format that nobody knows is read like any other. What
//! cannot be read, or followed, ends the collection before anything is removed.

use crate::model::{Algorithm, Digest, Error, MANIFEST_BYTES_MAX, Result};
use crate::store::{
    Store, attributes,
    collect::{CollectEvent, Tell, check_is_to_go_on},
    directory::Directory,
    folder::{self, Folder},
    layout,
    links::{self, Link},
};
use rustix::fs::Stat;
use serde_json::Value;
use std::{
    collections::HashSet, ffi::OsStr, path::Path, sync::atomic::AtomicUsize, time::SystemTime,
};

/// How deep folders may lie in one another: a repository's name has at most 255 characters, so half as
/// many components, and a few folders of ours below.
const DEPTH_MAX: usize = 160;
/// What a digest in a text begins with, before its hash.
const ALGORITHM_END: &[u8] = b"sha";

/// The first 8 bytes of a hash: enough to tell blobs apart, and if two ever had the same, both would
/// stay. A million take 16 MiB.
type Mark = u64;

/// The digests that are in use.
#[derive(Default)]
pub(super) struct Marks {
    blobs: HashSet<Mark>,
    scanned: HashSet<Mark>,
    links: u64,
    manifests: u64,
}

/// Which links are followed.
#[derive(Clone, Copy)]
pub(super) enum Scope {
    /// All.
    Everything,
    /// Those that have changed since.
    Since(SystemTime),
}

impl Marks {
    /// Whether the blob with this hash, in hex, is in use. What is no hash is nobody's to remove.
    pub(super) fn has(&self, hex: &str) -> bool {
        mark_of(hex).is_none_or(|mark| self.blobs.contains(&mark))
    }

    /// How many links were read.
    pub(super) fn links(&self) -> u64 {
        self.links
    }

    /// How many manifests were read.
    pub(super) fn manifests(&self) -> u64 {
        self.manifests
    }

    fn add(&mut self, hex: &str) {
        self.blobs.extend(mark_of(hex));
    }

    /// Marks everything that looks like a digest in a manifest.
    fn add_digests_of(&mut self, manifest: &[u8]) {
        self.add_digests_in(manifest);
        // Escapes may hide it.
        if manifest.contains(&b'\\')
            && let Ok(value) = serde_json::from_slice(manifest)
        {
            self.add_digests_below(&value);
        }
    }

    fn add_digests_below(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.add_digests_in(text.as_bytes()),
            Value::Array(values) => values.iter().for_each(|value| self.add_digests_below(value)),
            Value::Object(members) => members.iter().for_each(|(name, value)| {
                self.add_digests_in(name.as_bytes());
                self.add_digests_below(value);
            }),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// Marks everything that looks like a digest in `text`.
    fn add_digests_in(&mut self, text: &[u8]) {
        for (at, _) in text.iter().enumerate().filter(|(_, byte)| **byte == b':') {
            let algorithm = text[..at].trim_ascii_end();
            let digits = algorithm.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
            if !algorithm[..algorithm.len() - digits].ends_with(ALGORITHM_END) {
                continue;
            }
            let hash = &text[at + 1..];
            let length = hash.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
            if let Ok(hex) = str::from_utf8(&hash[..length]) {
                self.add(hex);
            }
        }
    }
}

fn mark_of(hex: &str) -> Option<Mark> {
    hex.get(..16).and_then(|head| Mark::from_str_radix(head, 16).ok())
}

/// What lies in a folder.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Namespaces, and what belongs to a repository.
    Repositories,
    /// Layers' links.
    Layers,
    /// The folders of tags and of revisions.
    Manifests,
    /// Tags.
    Tags,
    /// Links to manifests, and to the signatures on them.
    Revisions,
}

impl Place {
    /// What lies in its folder `name`; `None` for what refers to nothing.
    fn inner(self, name: &OsStr) -> Option<Self> {
        match self {
            Self::Repositories if name == layout::UPLOADS => None,
            Self::Repositories if name == layout::LAYERS => Some(Self::Layers),
            Self::Repositories if name == layout::MANIFESTS => Some(Self::Manifests),
            Self::Manifests if Path::new(layout::TAGS).ends_with(name) => Some(Self::Tags),
            Self::Manifests => Some(Self::Revisions),
            Self::Repositories | Self::Layers | Self::Tags | Self::Revisions => Some(self),
        }
    }
}

/// A walk over everything that may refer to a blob.
pub(super) struct Marker<'a> {
    pub(super) store: &'a Store,
    pub(super) scope: Scope,
    /// Links of layers that have not changed since do not count.
    pub(super) layers_since: Option<SystemTime>,
    pub(super) stop: &'a AtomicUsize,
    pub(super) tell: &'a mut Tell<'a>,
    pub(super) marks: &'a mut Marks,
}

impl Marker<'_> {
    /// Marks what all repositories use.
    pub(super) fn run(&mut self) -> Result<()> {
        let Some(folder) = self.store.root.open_folder(layout::REPOSITORIES)? else {
            return Ok(());
        };
        self.walk(&folder, Place::Repositories, 0)
    }

    fn walk(&mut self, folder: &Folder, place: Place, depth: usize) -> Result<()> {
        if depth > DEPTH_MAX {
            return Err(unclear(folder, OsStr::new(""), "folders lie too deep in one another"));
        }
        let Some(mut directory) = Directory::open(folder)? else { return Ok(()) };
        while let Some(entry) = directory.next()? {
            let name = entry.name.as_os_str();
            if place == Place::Layers && layout::parse_digest(Algorithm::Sha256, name).is_some() {
                // By far the most folders: not worth opening for what lies in them.
                self.link(folder, &Path::new(name).join(layout::LINK), name, place)?;
            } else if entry.is_folder {
                let Some(inner_place) = place.inner(name) else { continue };
                let Some(inner) = folder.open_folder(name)? else { continue };
                match inner_place {
                    Place::Tags => self.tags(&inner)?,
                    Place::Repositories | Place::Layers | Place::Manifests | Place::Revisions => {
                        self.walk(&inner, inner_place, depth + 1)?;
                    }
                }
            } else if name == layout::LINK {
                let path = folder.path_of("");
                let named = path.file_name().unwrap_or_default();
                self.link(folder, Path::new(name), named, place)?;
            } else {
                check_is_no_symlink(folder, name)?;
            }
        }
        Ok(())
    }

    /// What tags name now. What they ever named is of interest only where that is damaged.
    fn tags(&mut self, folder: &Folder) -> Result<()> {
        let Some(mut directory) = Directory::open(folder)? else { return Ok(()) };
        while let Some(entry) = directory.next()? {
            if !entry.is_folder {
                check_is_no_symlink(folder, &entry.name)?;
                continue;
            }
            self.count_link()?;
            let at = Path::new(&entry.name).join(layout::TAG_LINK);
            if !self.counts(folder, &at)? {
                continue;
            }
            match links::read(folder, &at) {
                Ok(Some(link)) => self.manifest(&link.digest)?,
                Ok(None) => {}
                Err(Error::LinkDamaged { .. }) => {
                    let index = Path::new(&entry.name).join(layout::INDEX);
                    if let Some(index) = folder.open_folder(index)? {
                        self.walk(&index, Place::Revisions, 0)?;
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The link `at`, in a folder that is named by a digest, too: of a damaged link that says what it was.
    fn link(&mut self, folder: &Folder, at: &Path, named: &OsStr, place: Place) -> Result<()> {
        self.count_link()?;
        if !self.counts(folder, at)? {
            return Ok(());
        }
        let named = named.to_str();
        let digest = match links::read(folder, at) {
            // Under its own name a manifest finds it without its link.
            Ok(Some(link)) if place == Place::Layers && self.is_stale(&link, named) => {
                return Ok(());
            }
            Ok(link) => link.map(|link| link.digest),
            Err(Error::LinkDamaged { .. }) => {
                named.and_then(|hex| Digest::from_hex(Algorithm::Sha256, hex).ok())
            }
            Err(error) => return Err(error),
        };
        self.marks.blobs.extend(named.and_then(mark_of));
        match digest {
            Some(digest) if place == Place::Revisions => self.manifest(&digest),
            Some(digest) => {
                self.marks.add(&digest.hex());
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Marks a manifest and what it refers to. Errors: `Damaged`, since then nobody knows what that is.
    fn manifest(&mut self, digest: &Digest) -> Result<()> {
        let hex = digest.hex();
        self.marks.add(&hex);
        if mark_of(&hex).is_some_and(|mark| !self.marks.scanned.insert(mark)) {
            return Ok(());
        }
        let blob = self.store.stat_blob(digest)?;
        // Signatures lie among revisions, and are as short.
        if blob.is_some_and(|blob| folder::length(&blob) > MANIFEST_BYTES_MAX) {
            let reason = "it is longer than a manifest, and a manifest by its link".to_owned();
            return Err(Error::Damaged { digest: *digest, reason });
        }
        if let Some(bytes) = self.store.read_manifest(digest)? {
            self.marks.manifests += 1;
            self.marks.add_digests_of(&bytes);
        }
        Ok(())
    }

    /// Whether the link `at` has changed since such a time that it counts.
    fn counts(&self, folder: &Folder, at: &Path) -> Result<bool> {
        let Scope::Since(since) = self.scope else { return Ok(true) };
        Ok(folder.stat(at)?.is_some_and(|stat| !is_older(&stat, since)))
    }

    /// Whether a layer's link counts for nothing: it is old, and says nothing but its name.
    fn is_stale(&self, link: &Link, named: Option<&str>) -> bool {
        let is_old = self.layers_since.is_some_and(|since| is_older(&link.stat, since));
        is_old && named == Some(&link.digest.hex())
    }

    fn count_link(&mut self) -> Result<()> {
        self.marks.links += 1;
        (self.tell)(CollectEvent::Marking(self.marks.links));
        check_is_to_go_on(self.stop)
    }
}

fn is_older(stat: &Stat, since: SystemTime) -> bool {
    attributes::attributes(stat).changed_at < since
}

/// Behind a symbolic link there may be whole repositories, for a docker-registry that follows it.
fn check_is_no_symlink(folder: &Folder, name: &OsStr) -> Result<()> {
    match folder.stat(name)? {
        Some(stat) if folder::is_symlink(&stat) => Err(unclear(
            folder,
            name,
            "it is a symbolic link, and what lies behind it is not known",
        )),
        Some(_) | None => Ok(()),
    }
}

fn unclear(folder: &Folder, name: &OsStr, reason: &'static str) -> Error {
    Error::Unclear { path: folder.path_of(name), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_looks_like_a_digest_is_in_use() {
        let [one, two, three] = [b"1", b"2", b"3"].map(|text| Digest::sha256(text).hex());
        let mut marks = Marks::default();
        let text = format!(
            "{{\"config\":\"sha256:{one}\", \"x\" : \"tarsum.v1+sha256:{two}\", \"y\":\"sha:{three}z\"}}"
        );
        marks.add_digests_in(text.as_bytes());
        assert!(marks.has(&one) && marks.has(&two) && marks.has(&three));
        assert!(!marks.has(&Digest::sha256(b"4").hex()));
        assert!(marks.has("no hash"));
        let hidden = Digest::sha256(b"5").hex();
        marks.add_digests_of(format!("{{\"digest\":[\"sha256\\u003a{hidden}\"]}}").as_bytes());
        assert!(marks.has(&hidden));
    }
}
