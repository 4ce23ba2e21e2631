//! What is in a folder, to be compared with what is in another.

use super::common::digest_of;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

/// The names of the three folders of a repository. They are always there in a mount, so that they
/// are there says nothing.
const AREAS: [&str; 3] = ["layers", "manifests", "uploads"];

/// Everything in some folders, by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Snapshot(BTreeMap<PathBuf, Found>);

/// A file or folder, as far as it is to be the same on a disk and in a mount.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    kind: Kind,
    mode: u32,
    modified_at: Option<(i64, i64)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Folder,
    /// Its length and digest.
    File(usize, String),
    Other,
    /// It is there and cannot be read.
    Unreadable(String),
}

impl Snapshot {
    /// Adds everything in `folder`, under `name`; files with their times when `times`. `hidden` are
    /// paths in it that may be there without being listed.
    pub(crate) fn add(
        &mut self, name: &str, folder: &Path, times: bool, hidden: &BTreeSet<PathBuf>,
    ) {
        let mut paths = BTreeSet::new();
        list(folder, Path::new(""), &mut paths);
        paths.extend(hidden.iter().filter(|path| folder.join(path).exists()).cloned());
        for path in paths {
            if let Some(found) = Found::at(&folder.join(&path), times) {
                self.0.insert(Path::new(name).join(path), found);
            }
        }
    }

    /// The paths below `name` that a mount would not list: manifests by their digests.
    pub(crate) fn unlisted(&self, name: &str) -> BTreeSet<PathBuf> {
        let below = self.0.keys().filter_map(|path| path.strip_prefix(name).ok());
        below.filter(|path| is_unlisted(path)).map(Path::to_owned).collect()
    }

    /// The digests under which something else lies.
    pub(crate) fn lies(&self) -> Vec<String> {
        let is_lie = |(path, found): &(&PathBuf, &Found)| {
            let name = path.file_name().unwrap().to_str().unwrap_or_default();
            let promises =
                name.starts_with("sha256:") && !path.to_string_lossy().contains("uploads");
            promises && !matches!(&found.kind, Kind::File(_, digest) if digest == name)
        };
        self.0.iter().filter(is_lie).map(|(path, _)| path.display().to_string()).collect()
    }

    /// How many uploads are seen.
    pub(crate) fn uploads(&self) -> usize {
        let is_upload = |path: &Path| {
            let names: Vec<_> = path.iter().map(|name| name.to_string_lossy()).collect();
            match names.as_slice() {
                [disk, ..] if disk == "disk" => false,
                [.., area, _] if area == "uploads" => true,
                [.., area, name] if AREAS.contains(&&**area) => name.starts_with('.'),
                [.., area, folder, _] => AREAS.contains(&&**area) && folder.starts_with('.'),
                _ => false,
            }
        };
        self.0.iter().filter(|(path, found)| found.kind != Kind::Folder && is_upload(path)).count()
    }

    /// Whether everything is as in one of two others.
    pub(crate) fn is_between(&self, one: &Self, other: &Self) -> bool {
        let paths: BTreeSet<_> =
            [self, one, other].into_iter().flat_map(|snapshot| snapshot.0.keys()).collect();
        paths.into_iter().all(|path| {
            let here = self.0.get(path);
            here == one.0.get(path) || here == other.0.get(path)
        })
    }

    /// What is here and not in another.
    pub(crate) fn missing_from(&self, other: &Self) -> Self {
        let missing = self.0.iter().filter(|(path, _)| !other.0.contains_key(*path));
        Self(missing.map(|(path, found)| (path.clone(), found.clone())).collect())
    }

    /// This, with everything of `other`.
    pub(crate) fn with(mut self, other: &Self) -> Self {
        self.0.extend(other.0.clone());
        self
    }

    /// In what two differ, a line for each.
    pub(crate) fn differences(&self, other: &Self) -> String {
        let paths: BTreeSet<_> = self.0.keys().chain(other.0.keys()).collect();
        let differing = paths.into_iter().filter(|path| self.0.get(*path) != other.0.get(*path));
        let show = |found: Option<&Found>| found.map_or("nothing".to_owned(), Found::to_string);
        differing
            .map(|path| {
                let (one, two) = (show(self.0.get(path)), show(other.0.get(path)));
                format!("    {}: {one} | {two}\n", path.display())
            })
            .collect()
    }
}

impl Found {
    fn at(path: &Path, times: bool) -> Option<Self> {
        let stat = fs::symlink_metadata(path).ok()?;
        if stat.is_dir() && AREAS.iter().any(|area| path.ends_with(area)) {
            return None;
        }
        let kind = if stat.is_dir() {
            Kind::Folder
        } else if stat.is_file() {
            match fs::read(path) {
                Ok(bytes) => Kind::File(bytes.len(), digest_of(&bytes)),
                Err(error) => Kind::Unreadable(error.to_string()),
            }
        } else {
            Kind::Other
        };
        let modified_at = (times && stat.is_file()).then(|| (stat.mtime(), stat.mtime_nsec()));
        Some(Self { kind, mode: stat.permissions().mode() & 0o7777, modified_at })
    }
}

impl fmt::Display for Found {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Folder => write!(formatter, "folder")?,
            Kind::File(length, digest) => write!(formatter, "{length} bytes {}", &digest[..15])?,
            Kind::Other => write!(formatter, "no file")?,
            Kind::Unreadable(error) => write!(formatter, "{error}")?,
        }
        write!(formatter, " {:o}", self.mode)?;
        match self.modified_at {
            Some((seconds, nanoseconds)) => write!(formatter, " {seconds}.{nanoseconds:09}"),
            None => Ok(()),
        }
    }
}

/// Puts all paths below `folder` into `paths`.
fn list(folder: &Path, below: &Path, paths: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(folder.join(below)).into_iter().flatten() {
        let entry = entry.unwrap();
        let path = below.join(entry.file_name());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            list(folder, &path, paths);
        }
        paths.insert(path);
    }
}

fn is_unlisted(path: &Path) -> bool {
    let name = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("sha256:"));
    name && path.parent().is_some_and(|folder| folder.ends_with("manifests"))
}
