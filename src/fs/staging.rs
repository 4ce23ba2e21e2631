//! Folders among uploads that somebody made, and what chmod, chown and touch said of them.
//!
//! A store knows uploads and their names, and no folders. So a folder is there while the name of an
//! upload says so, or while it is remembered here: from mkdir, or a change, to rmdir, and no longer
//! than the mount lasts.

use crate::fs::fault::Result;
use crate::fs::node::Node;
use crate::model::{Area, Attributes, AttributesChange, Error, RepositoryName};
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    path::Path,
    time::SystemTime,
};

/// How many folders are remembered, some 200 bytes each: more than a big tree of files has.
const FOLDERS_MAX: usize = 16 << 10;

/// A folder among uploads: its repository, area and path there, as in `Node::StagingFolder`.
pub(super) type FolderKey = (RepositoryName, Area, OsString);

/// The place of a folder in which uploads can be: its path is empty for an area's own.
pub(super) fn place(folder: &Node) -> Option<(&RepositoryName, Area, &OsStr)> {
    match folder {
        Node::Area(repository, area) => Some((repository, *area, OsStr::new(""))),
        Node::StagingFolder(repository, area, path) => Some((repository, *area, path)),
        Node::Root
        | Node::Repository(_)
        | Node::Layer(..)
        | Node::Tag(..)
        | Node::Revision(..)
        | Node::Upload(..)
        | Node::Control
        | Node::ControlFile(_) => None,
    }
}

/// The folder `name` in `folder`, if uploads can be there.
pub(super) fn folder_in(folder: &Node, name: &OsStr) -> Option<FolderKey> {
    let (repository, area, path) = place(folder)?;
    Some((repository.clone(), area, Path::new(path).join(name).into_os_string()))
}

/// The remembered folders. The lock is held for an operation of the map.
#[derive(Default)]
pub(super) struct StagingFolders {
    table: Mutex<BTreeMap<FolderKey, Attributes>>,
}

impl StagingFolders {
    /// Remembers a new folder. Errors: `TooMany`.
    pub(super) fn make(&self, key: FolderKey, attributes: Attributes) -> Result<()> {
        let mut table = self.table.lock();
        if table.len() >= FOLDERS_MAX {
            let (what, limit) = ("folders among uploads", FOLDERS_MAX);
            return Err(Error::TooMany { what, limit }.into());
        }
        table.insert(key, attributes);
        Ok(())
    }

    /// What is remembered of a folder.
    pub(super) fn attributes(&self, key: &FolderKey) -> Option<Attributes> {
        self.table.lock().get(key).copied()
    }

    /// Changes the attributes of a folder, which were `before` unless they are remembered.
    pub(super) fn change(&self, key: &FolderKey, before: Attributes, change: &AttributesChange) {
        let mut table = self.table.lock();
        remember(&mut table, key, before);
        if let Some(known) = table.get_mut(key) {
            *known = changed(*known, change);
        }
    }

    /// Something in a folder came or went. It stays from now on, also when it is empty.
    pub(super) fn touch(&self, key: &FolderKey, before: Attributes) {
        let now = Some(SystemTime::now());
        self.change(key, before, &AttributesChange { modified_at: now, ..Default::default() });
    }

    /// The folder is gone.
    pub(super) fn remove(&self, key: &FolderKey) {
        self.table.lock().remove(key);
    }

    /// An empty folder has another name.
    pub(super) fn rename(&self, from: &FolderKey, to: FolderKey, before: Attributes) {
        let mut table = self.table.lock();
        let kept = table.remove(from).unwrap_or(before);
        table.insert(to, changed(kept, &AttributesChange::default()));
    }

    /// The names of the remembered folders directly in the folder with the path `at`, or in the area.
    pub(super) fn inside(
        &self, repository: &RepositoryName, area: Area, at: &OsStr,
    ) -> Vec<OsString> {
        let table = self.table.lock();
        let begin = (repository.clone(), area, at.to_owned());
        table
            .range(begin..)
            .map(|(key, _)| key)
            .take_while(|(of, in_area, _)| of == repository && *in_area == area)
            .map(|(.., path)| Path::new(path))
            .filter(|path| path.parent() == Some(Path::new(at)))
            .filter_map(|path| path.file_name().map(OsStr::to_owned))
            .collect()
    }

    /// A repository was removed, with everything below it.
    pub(super) fn forget_repository(&self, name: &RepositoryName) {
        self.table.lock().retain(|(of, ..), _| !of.is_within(name));
    }

    /// A repository has another name, with everything below it.
    pub(super) fn rename_repository(&self, from: &RepositoryName, to: &RepositoryName) {
        let mut table = self.table.lock();
        let (moved, kept): (BTreeMap<_, _>, _) =
            std::mem::take(&mut *table).into_iter().partition(|((of, ..), _)| of.is_within(from));
        *table = kept;
        for ((name, area, path), attributes) in moved {
            if let Some(name) = name.rebased(from, to) {
                table.insert((name, area, path), attributes);
            }
        }
    }
}

/// Makes sure that a folder and those around it are remembered, if there is room.
fn remember(
    table: &mut BTreeMap<FolderKey, Attributes>, (repository, area, path): &FolderKey,
    attributes: Attributes,
) {
    let around = Path::new(path).ancestors().filter(|path| !path.as_os_str().is_empty());
    for path in around.take(FOLDERS_MAX.saturating_sub(table.len())) {
        let key = (repository.clone(), *area, path.as_os_str().to_owned());
        table.entry(key).or_insert(attributes);
    }
}

/// The attributes after a change, which happens now.
pub(super) fn changed(before: Attributes, change: &AttributesChange) -> Attributes {
    Attributes {
        permissions: change.permissions.unwrap_or(before.permissions),
        uid: change.uid.unwrap_or(before.uid),
        gid: change.gid.unwrap_or(before.gid),
        modified_at: change.modified_at.unwrap_or(before.modified_at),
        accessed_at: change.accessed_at.unwrap_or(before.accessed_at),
        changed_at: SystemTime::now(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: Attributes = Attributes {
        permissions: 0o755,
        uid: 0,
        gid: 0,
        modified_at: SystemTime::UNIX_EPOCH,
        accessed_at: SystemTime::UNIX_EPOCH,
        changed_at: SystemTime::UNIX_EPOCH,
    };

    fn key(repository: &str, path: &str) -> FolderKey {
        (repository.parse().unwrap(), Area::Uploads, path.into())
    }

    fn inside(folders: &StagingFolders, repository: &str, at: &str) -> Vec<OsString> {
        folders.inside(&repository.parse().unwrap(), Area::Uploads, OsStr::new(at))
    }

    #[test]
    fn what_changes_is_remembered_with_the_folders_around_it() {
        let folders = StagingFolders::default();
        folders.touch(&key("r", "a/b/c"), EPOCH);
        folders.make(key("r", "a.b"), EPOCH).unwrap();
        assert_eq!(inside(&folders, "r", ""), ["a", "a.b"]);
        assert_eq!(inside(&folders, "r", "a"), ["b"]);
        assert_eq!(inside(&folders, "r", "a/b"), ["c"]);
        assert_eq!(inside(&folders, "other", ""), Vec::<OsString>::new());
        assert_eq!(folders.attributes(&key("r", "a/b")), Some(EPOCH));
        assert!(folders.attributes(&key("r", "a/b/c")).unwrap().modified_at > EPOCH.modified_at);
    }

    #[test]
    fn folders_go_with_their_repository() {
        let folders = StagingFolders::default();
        for repository in ["r", "r/below", "rx"] {
            folders.make(key(repository, "a"), EPOCH).unwrap();
        }
        folders.rename_repository(&"r".parse().unwrap(), &"s".parse().unwrap());
        assert_eq!(inside(&folders, "s/below", ""), ["a"]);
        folders.forget_repository(&"s".parse().unwrap());
        let left: Vec<_> = ["r", "s", "s/below", "rx"]
            .into_iter()
            .filter(|repository| !inside(&folders, repository, "").is_empty())
            .collect();
        assert_eq!(left, ["rx"]);
    }

    #[test]
    fn no_more_are_remembered_than_there_is_room_for() {
        let folders = StagingFolders::default();
        for number in 0..FOLDERS_MAX {
            folders.make(key("r", &number.to_string()), EPOCH).unwrap();
        }
        assert!(folders.make(key("r", "more"), EPOCH).is_err());
        folders.touch(&key("r", "more/and/more"), EPOCH);
        assert_eq!(folders.table.lock().len(), FOLDERS_MAX);
    }
}
