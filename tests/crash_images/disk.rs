//! A disk in memory: names and bytes, which of them were synced, and what a crash may leave of them.

use super::recording::Op;
use std::{
    collections::{BTreeMap, hash_map::DefaultHasher},
    fs,
    hash::{Hash as _, Hasher as _},
    path::Path,
    rc::Rc,
};

/// Every name with the number of its file; folders have none.
type Names = BTreeMap<String, Option<usize>>;

/// The bytes of a file, now and as they were when they were last synced.
#[derive(Clone, Default)]
struct Bytes {
    now: Rc<Vec<u8>>,
    synced: Rc<Vec<u8>>,
    /// How often they were changed, and how often when they were synced.
    changes: (u32, u32),
}

impl Bytes {
    fn change(&mut self) -> &mut Vec<u8> {
        self.changes.0 += 1;
        Rc::make_mut(&mut self.now)
    }

    fn sync(&mut self) {
        self.synced = Rc::clone(&self.now);
        self.changes.1 = self.changes.0;
    }
}

/// The disk.
#[derive(Default)]
pub(crate) struct Disk {
    names: Names,
    files: Vec<Bytes>,
    /// The names after each change since they were last synced, and before the first.
    history: Vec<Names>,
}

/// What is left of a disk.
pub(crate) struct Image {
    /// What kind of crash it was.
    pub(crate) kind: Kind,
    /// Two images with the same are the same.
    pub(crate) key: u64,
    entries: BTreeMap<String, Option<Rc<Vec<u8>>>>,
}

/// What a crash takes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing: only the process ended.
    Kill,
    /// Bytes that were not synced.
    Bytes,
    /// The second half of them.
    HalfBytes,
    /// All of them, but not their length.
    BytesToZeros,
    /// Names that were not synced, though later bytes are there.
    Names,
    /// Some of those names, the last ones.
    SomeNames,
    /// Everything that was not synced.
    Both,
}

impl Disk {
    /// Does an operation.
    pub(crate) fn apply(&mut self, op: &Op) {
        let before = matches!(
            op,
            Op::Folder(_)
                | Op::Create(_)
                | Op::Rename(..)
                | Op::Exchange(..)
                | Op::Link(..)
                | Op::Remove(_)
        )
        .then(|| self.names.clone());
        match op {
            Op::Folder(name) => _ = self.names.insert(name.clone(), None),
            Op::Create(name) => {
                if !self.names.contains_key(name) {
                    self.names.insert(name.clone(), Some(self.files.len()));
                    self.files.push(Bytes::default());
                }
            }
            Op::Write(name, place, data) => self.write(name, *place, data),
            Op::Copy(from, to, count) => {
                let (from, start) = (self.now(from), self.now(to).len());
                self.write(to, None, &from[start..start + count]);
            }
            Op::Cut(name, length) => {
                self.file(name).change().resize(*length, 0);
            }
            Op::Rename(from, to) => {
                let moved = self.take(from);
                assert!(!moved.is_empty(), "{from} is not there");
                // What lay there goes, and so does what lay in a folder there.
                drop(self.take(to));
                self.put(moved, from, to);
            }
            Op::Exchange(one, other) => {
                let (first, second) = (self.take(one), self.take(other));
                self.put(first, one, other);
                self.put(second, other, one);
            }
            Op::Link(from, to) => _ = self.names.insert(to.clone(), self.names[from]),
            Op::Remove(name) => assert!(self.names.remove(name).is_some(), "{name} is not there"),
            Op::Sync(name) => self.sync(name),
            Op::SyncAll => {
                self.history.clear();
                self.files.iter_mut().for_each(Bytes::sync);
            }
            Op::Mark(_) => {}
        }
        if let Some(before) = before {
            self.history.push(before);
        }
    }

    fn write(&mut self, name: &str, place: Option<usize>, data: &[u8]) {
        let now = self.file(name).change();
        let start = place.unwrap_or(now.len());
        now.resize(now.len().max(start + data.len()), 0);
        now[start..start + data.len()].copy_from_slice(data);
    }

    fn file(&mut self, name: &str) -> &mut Bytes {
        let number = self.names.get(name).unwrap_or_else(|| panic!("{name} is not there"));
        &mut self.files[number.unwrap()]
    }

    fn now(&mut self, name: &str) -> Rc<Vec<u8>> {
        Rc::clone(&self.file(name).now)
    }

    /// A folder's sync is worth all names so far, as on a disk with a journal; a file's is worth its
    /// bytes, and the name need not have come with them.
    fn sync(&mut self, name: &str) {
        if name.is_empty() || self.names.get(name).is_some_and(Option::is_none) {
            self.history.clear();
        } else {
            self.file(name).sync();
        }
    }

    /// Takes a name away, and all names below it.
    fn take(&mut self, name: &str) -> Names {
        let below = format!("{name}/");
        let is_within = |other: &str| other == name || other.starts_with(&below);
        let (taken, rest) =
            std::mem::take(&mut self.names).into_iter().partition(|(other, _)| is_within(other));
        self.names = rest;
        taken
    }

    fn put(&mut self, taken: Names, from: &str, to: &str) {
        let renamed =
            taken.into_iter().map(|(name, file)| (to.to_owned() + &name[from.len()..], file));
        self.names.extend(renamed);
    }

    /// What a crash may leave now. Of names that were not synced, any number of the last may be lost: all
    /// numbers are tried when it `is_thorough`, else none, half and all.
    pub(crate) fn images(&self, is_thorough: bool) -> Vec<Image> {
        let oldest = self.history.first().unwrap_or(&self.names);
        let mut images = vec![
            self.image(Kind::Kill, &self.names),
            self.image(Kind::Bytes, &self.names),
            self.image(Kind::HalfBytes, &self.names),
            self.image(Kind::BytesToZeros, &self.names),
            self.image(Kind::Names, oldest),
            self.image(Kind::Both, oldest),
        ];
        let (start, step) =
            if is_thorough { (1, 1) } else { (self.history.len() / 2, self.history.len() + 1) };
        let some = self.history.iter().skip(start).step_by(step);
        images.extend(some.map(|names| self.image(Kind::SomeNames, names)));
        images
    }

    fn image(&self, kind: Kind, names: &Names) -> Image {
        let mut hasher = DefaultHasher::new();
        let mut entries = BTreeMap::new();
        for (name, number) in names {
            (name, number).hash(&mut hasher);
            let file = number.map(|number| &self.files[number]);
            entries.insert(name.clone(), file.map(|file| kind.left(file, &mut hasher)));
        }
        Image { kind, key: hasher.finish(), entries }
    }
}

impl Kind {
    /// What is left of the bytes of a file.
    fn left(self, file: &Bytes, hasher: &mut DefaultHasher) -> Rc<Vec<u8>> {
        let (now, synced) = (&file.now, &file.synced);
        file.changes.hash(hasher);
        if file.changes.0 == file.changes.1 {
            return Rc::clone(now);
        }
        let kept = synced.len().min(now.len());
        match self {
            Self::Kill | Self::Names | Self::SomeNames => Rc::clone(now),
            Self::Bytes | Self::Both => {
                1.hash(hasher);
                Rc::clone(synced)
            }
            Self::HalfBytes => {
                2.hash(hasher);
                Rc::new(now[..kept + (now.len() - kept) / 2].to_vec())
            }
            Self::BytesToZeros => {
                3.hash(hasher);
                let mut bytes = synced.as_ref().clone();
                bytes.resize(now.len(), 0);
                Rc::new(bytes)
            }
        }
    }
}

impl Image {
    /// Writes it into the empty folder `to`. Names of one file become files of their own, but for an
    /// upload that is a blob already. Kept states come last: what is younger than the data is believed.
    pub(crate) fn write(&self, to: &Path) {
        let mut written: Vec<(&Rc<Vec<u8>>, &str)> = Vec::new();
        let is_late = |name: &str| name.contains("/hashstates/");
        for late in [false, true] {
            for (name, bytes) in self.entries.iter().filter(|(name, _)| is_late(name) == late) {
                let path = to.join(name);
                let Some(bytes) = bytes else {
                    fs::create_dir(path).unwrap();
                    continue;
                };
                let is_data = name.ends_with("/data");
                let same = written.iter().find(|(other, _)| is_data && Rc::ptr_eq(other, bytes));
                match same {
                    Some((_, first)) => fs::hard_link(to.join(first), path).unwrap(),
                    None => fs::write(path, bytes.as_slice()).unwrap(),
                }
                if is_data {
                    written.push((bytes, name));
                }
            }
        }
    }
}
