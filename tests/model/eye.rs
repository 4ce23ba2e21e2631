//! What can be seen of a real mount, by system calls.

use super::outcome::Result;
use super::real::{close, open, read};
use super::reference::COLOUR;
use super::step::Access;
use super::tree::{Entry, Kind, Marks, Time, Tree, area_of};
use super::words::{MANIFESTS, Path, content, contents};
use regfs::model::Area;
use rustix::{
    fs::{self as sys, Dir, FileType, Mode, OFlags, Stat},
    io::Errno,
};
use std::collections::{BTreeMap, BTreeSet};

/// How far to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Everywhere, and into every file.
    Everything,
    /// In these areas, `a/layers`: at what is listed there and into files that have changed, and at
    /// what is not listed if it is expected.
    Areas(BTreeSet<String>),
}

impl Scope {
    /// What of a tree is in the scope.
    pub(crate) fn of(&self, tree: Tree) -> Tree {
        let Self::Areas(areas) = self else { return tree };
        let is_within = |path: &str| area_of(path).is_some_and(|area| areas.contains(area));
        let is_inside = |path: &str| is_within(path) && !areas.contains(path);
        tree.into_iter().filter(|(path, _)| is_inside(path)).collect()
    }
}

/// Who looks at a mount. It remembers what was in files that have not changed.
pub(crate) struct Eye {
    known: BTreeMap<String, Known>,
    /// A repository that others fill meanwhile.
    passed_over: Option<&'static str>,
}

/// What was in a file when it had this stamp.
struct Known {
    stamp: Stamp,
    colour: Option<String>,
    content: Result<Vec<u8>>,
}

/// Inode number, length, times of modification and of change.
type Stamp = (u64, i64, [i64; 2], [u64; 2]);

/// One look.
struct Look<'a> {
    root: &'a std::path::Path,
    known: &'a mut BTreeMap<String, Known>,
    passed_over: Option<&'static str>,
    tree: Tree,
}

impl Eye {
    pub(crate) fn new() -> Self {
        Self { known: BTreeMap::new(), passed_over: None }
    }

    /// From now on it does not look into this repository, and what is below.
    pub(crate) fn passes_over(&mut self, repository: Option<&'static str>) {
        self.passed_over = repository;
    }

    /// What can be seen in the mount at `root`, where `expected` is expected.
    pub(crate) fn look(&mut self, root: &std::path::Path, scope: &Scope, expected: &Tree) -> Tree {
        let (known, passed_over) = (&mut self.known, self.passed_over);
        let mut look = Look { root, known, passed_over, tree: Tree::new() };
        match scope {
            Scope::Everything => {
                look.known.clear();
                look.add_children("");
            }
            Scope::Areas(areas) => {
                for area in areas.iter().filter(|area| root.join(area).exists()) {
                    let unlisted = expected.iter().filter(|(_, entry)| entry.listed == 0);
                    let inside = unlisted.filter_map(|(path, _)| {
                        let name = path.strip_prefix(area)?.strip_prefix('/')?;
                        Some(Path::from(name).spelled().to_str().unwrap().to_owned())
                    });
                    look.add_area(area, inside.collect());
                }
            }
        }
        look.tree
    }
}

impl Look<'_> {
    /// Everything below a namespace, or the root.
    fn add_children(&mut self, parent: &str) {
        for (name, listed) in self.list(parent) {
            let is_area = !parent.is_empty() && Area::ALL.iter().any(|area| area.name() == name);
            let path = if parent.is_empty() { name } else { format!("{parent}/{name}") };
            let is_passed_over = self.passed_over == Some(&path);
            if !is_area && !is_passed_over && self.add(&path, listed) == Some(true) {
                self.add_areas(&path);
                self.add_children(&path);
            }
        }
    }

    /// The areas of a repository: those that are listed, and those that are not, which can be
    /// reached all the same.
    fn add_areas(&mut self, repository: &str) {
        let names = self.list(repository);
        for area in Area::ALL {
            let path = format!("{repository}/{}", area.name());
            let listed = names.get(area.name()).copied().unwrap_or(0);
            if self.add(&path, listed).is_some() {
                self.add_area(&path, hidden_in(area));
            }
        }
    }

    /// The files of an area: those that are listed, and those that are found by name only.
    fn add_area(&mut self, path: &str, hidden: Vec<String>) {
        let mut names = self.list(path);
        for name in hidden {
            names.entry(name).or_insert(0);
        }
        for (name, listed) in names {
            let path = format!("{path}/{name}");
            if self.add(&path, listed) == Some(true) {
                for (name, listed) in self.list(&path) {
                    self.add(&format!("{path}/{name}"), listed);
                }
            }
        }
    }

    /// How often each name is listed in a folder.
    fn list(&mut self, path: &str) -> BTreeMap<String, usize> {
        let mut names = BTreeMap::new();
        let mut read = || -> Result<(), Errno> {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let folder = sys::open(self.root.join(path), flags, Mode::empty())?;
            for entry in Dir::new(folder)? {
                let name = entry?.file_name().to_str().unwrap().to_owned();
                if name != "." && name != ".." {
                    *names.entry(name).or_insert(0) += 1;
                }
            }
            Ok(())
        };
        if let Err(errno) = read() {
            let kind = Kind::Refused(errno.into());
            self.tree
                .insert(format!("{} (as a listing)", Path::of(path)), Entry { listed: 1, kind });
        }
        names
    }

    /// Adds what is at `path`. Says whether it is a folder; `None` when there is nothing.
    fn add(&mut self, path: &str, listed: usize) -> Option<bool> {
        let at = self.root.join(path);
        let kind = match sys::lstat(&at) {
            Ok(stat) => self.kind_of(path, &at, &stat),
            Err(Errno::NOENT) if listed == 0 => return None,
            Err(errno) => Kind::Refused(errno.into()),
        };
        let is_folder = matches!(kind, Kind::Folder(_));
        self.tree.insert(Path::of(path).0, Entry { listed, kind });
        Some(is_folder)
    }

    fn kind_of(&mut self, path: &str, at: &std::path::Path, stat: &Stat) -> Kind {
        let stamp = stamp_of(stat);
        let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let is_known = self.known.get(path).is_some_and(|known| known.stamp == stamp);
        if !is_known {
            let colour = match colour(at) {
                Ok(colour) => colour,
                Err(errno) => return Kind::Refused(errno.into()),
            };
            let content = if is_folder { Ok(Vec::new()) } else { content_of(at) };
            self.known.insert(path.to_owned(), Known { stamp, colour, content });
        }
        let known = &self.known[path];
        let marks = Marks {
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            colour: known.colour.clone(),
        };
        if is_folder {
            return Kind::Folder(marks);
        }
        let length = u64::try_from(stat.st_size).unwrap();
        let (modified_at, content) = (Time::of(stat.st_mtime), known.content.clone());
        Kind::File { marks, length, modified_at, content }
    }
}

/// The names by which something may be found in an area that does not list it.
fn hidden_in(area: Area) -> Vec<String> {
    match area {
        Area::Layers => contents().iter().map(|content| content.digest.clone()).collect(),
        Area::Manifests => {
            let digests = MANIFESTS.map(|name| content(name).digest.clone());
            digests.into_iter().chain(["v1".to_owned(), "v2".to_owned()]).collect()
        }
        Area::Uploads => Vec::new(),
    }
}

fn stamp_of(stat: &Stat) -> Stamp {
    let (seconds, parts) =
        ([stat.st_mtime, stat.st_ctime], [stat.st_mtime_nsec, stat.st_ctime_nsec]);
    (stat.st_ino, stat.st_size, seconds, parts)
}

fn content_of(at: &std::path::Path) -> Result<Vec<u8>> {
    let file = open(at, Access::of("r"))?;
    let bytes = read(&file)?;
    close(file).map(|()| bytes)
}

fn colour(at: &std::path::Path) -> Result<Option<String>, Errno> {
    let mut value = [0; 64];
    match sys::lgetxattr(at, COLOUR, &mut value[..]) {
        Ok(length) => Ok(Some(String::from_utf8_lossy(&value[..length]).into_owned())),
        Err(Errno::NODATA) => Ok(None),
        Err(errno) => Err(errno),
    }
}
