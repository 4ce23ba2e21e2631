//! Reading folders entry by entry, from any place and in little memory.
//!
//! The places are the system's own cookies (`d_off`), good for `lseek`: they stay right while
//! entries come and go, which counting would not.

use crate::model::{Error, Result};
use crate::registry::{Cursor, Position};
use crate::store::folder::Folder;
use rustix::{
    fs::{self, FileType, RawDir, SeekFrom},
    io::Errno,
};
use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    mem::MaybeUninit,
    os::{fd::AsFd as _, unix::ffi::OsStrExt as _},
};

/// Bytes of entries that one system call brings: some hundred entries.
const BATCH_BYTES: usize = 16 << 10;

/// One entry of a folder.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) name: OsString,
    pub(super) is_folder: bool,
    /// The place behind it.
    pub(super) cookie: u64,
}

/// A folder being read. It has its own descriptor, hence its own place.
#[derive(Debug)]
pub(super) struct Directory {
    folder: Folder,
    /// What the last system call brought and nobody has taken yet.
    batch: VecDeque<Entry>,
    /// The place behind the entry taken last.
    place: u64,
}

impl Directory {
    /// Reads `folder` from its beginning. Fails when it was removed meanwhile.
    pub(super) fn of(folder: &Folder) -> Result<Self> {
        let missing = || Error::io("open", folder.path_of(""))(Errno::NOENT);
        Self::open(folder)?.ok_or_else(missing)
    }

    /// Reads `folder` from its beginning. `None` when it was removed meanwhile.
    pub(super) fn open(folder: &Folder) -> Result<Option<Self>> {
        let own = folder.reopen()?;
        Ok(own.map(|folder| Self { folder, batch: VecDeque::new(), place: 0 }))
    }

    /// The folder that is read.
    pub(super) fn folder(&self) -> &Folder {
        &self.folder
    }

    /// The place behind the entry taken last.
    pub(super) fn place(&self) -> u64 {
        self.place
    }

    /// Goes to a place that an entry had as its cookie, or to the beginning for 0.
    pub(super) fn seek(&mut self, place: u64) -> Result<()> {
        if place != self.place {
            fs::seek(self.folder.as_fd(), SeekFrom::Start(place))
                .map_err(Error::io("seek", self.folder.path_of("")))?;
            self.batch.clear();
            self.place = place;
        }
        Ok(())
    }

    /// The next entry, in the system's order; `.` and `..` are left out.
    pub(super) fn next(&mut self) -> Result<Option<Entry>> {
        loop {
            if self.batch.is_empty() && !self.fill()? {
                return Ok(None);
            }
            let Some(entry) = self.batch.pop_front() else { continue };
            self.place = entry.cookie;
            if entry.name != "." && entry.name != ".." {
                return Ok(Some(entry));
            }
        }
    }

    /// Brings the next entries. `false` at the end.
    fn fill(&mut self) -> Result<bool> {
        let mut buffer = [MaybeUninit::uninit(); BATCH_BYTES];
        let mut raw = RawDir::new(self.folder.as_fd(), &mut buffer);
        while let Some(entry) = raw.next() {
            let entry = match entry {
                Ok(entry) => entry,
                // The folder itself was removed: it has no entries any more.
                Err(Errno::NOENT) => return Ok(false),
                Err(errno) => return Err(Error::io("list", self.folder.path_of(""))(errno)),
            };
            let name = OsStr::from_bytes(entry.file_name().to_bytes()).to_owned();
            // Some file systems do not say. What cannot be looked at must not hide the others.
            let is_folder = if entry.file_type() == FileType::Unknown {
                self.folder.has_folder(&name).unwrap_or(true)
            } else {
                entry.file_type().is_dir()
            };
            let cookie = entry.next_entry_cookie();
            self.batch.push_back(Entry { name, is_folder, cookie });
            if raw.is_buffer_empty() {
                break;
            }
        }
        Ok(!self.batch.is_empty())
    }
}

/// What an entry of a folder stands for; `None` for entries that are not to be seen.
pub(super) type Reading<T> = Box<dyn Fn(&Folder, &Entry) -> Result<Option<T>> + Send>;

/// A listing over folders, one after another: a segment each, the one with most entries first.
pub(super) struct Listing<T> {
    /// `None` for a folder that is not there.
    segments: Vec<(Option<Directory>, Reading<T>)>,
    current: usize,
}

impl<T> Listing<T> {
    /// Lists `folders`, which are opened now.
    pub(super) fn new(folders: Vec<(Option<Folder>, Reading<T>)>) -> Result<Self> {
        let mut segments = Vec::with_capacity(folders.len());
        for (folder, reading) in folders {
            segments.push((folder.as_ref().map(Directory::of).transpose()?, reading));
        }
        Ok(Self { segments, current: 0 })
    }
}

impl<T> Cursor<T> for Listing<T> {
    fn seek(&mut self, position: Position) -> Result<()> {
        let segment = position.segment as usize;
        for (number, (directory, _)) in self.segments.iter_mut().enumerate() {
            let place = if number == segment { position.offset } else { 0 };
            if let Some(directory) = directory
                && number >= segment
            {
                directory.seek(place)?;
            }
        }
        self.current = segment;
        Ok(())
    }

    fn next(&mut self) -> Result<Option<(T, Position)>> {
        while let Some((directory, reading)) = self.segments.get_mut(self.current) {
            if let Some(directory) = directory {
                while let Some(entry) = directory.next()? {
                    if let Some(found) = reading(directory.folder(), &entry)? {
                        let segment = u32::try_from(self.current).unwrap_or(u32::MAX);
                        return Ok(Some((found, Position { segment, offset: entry.cookie })));
                    }
                }
            }
            self.current += 1;
        }
        Ok(None)
    }
}
