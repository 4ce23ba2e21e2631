//! A folder being listed: entries with the offsets that the kernel gives back to go on from.
//!
//! A listing begins with a few entries that are known when it is opened (`.`, `..`, areas, staging
//! files) and goes on with a cursor over what may be millions. Offsets of the first kind are small
//! numbers; those of the second are the cursor's own positions, moved up by [`RESERVED`], so that
//! no list is kept and seekdir works. Positions that do not fit this are kept in a table and get a
//! small number too.

use crate::fs::fault::Result;
use crate::fs::inodes::Ino;
use crate::fs::node::Node;
use crate::model::Error;
use crate::registry::{Cursor, Position};
use std::ffi::OsString;

/// Offsets below this are entries known at the beginning, and positions in the table.
const RESERVED: u64 = 1 << 20;

/// One entry of a folder.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    /// The name.
    pub name: OsString,
    /// What it is; for `.` and `..` the folder.
    pub target: Target,
}

/// What a listed name stands for.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// A node, not given out to the kernel yet.
    Node(Node),
    /// `.` or `..`: a folder whose number the kernel has.
    Folder(Ino),
}

/// A cursor over entries of any kind.
pub(super) type Entries = Box<dyn Cursor<Listed>>;

/// A cursor whose entries are made into listed ones on the way; `None` leaves an entry out.
pub(super) struct Mapped<T, F> {
    cursor: Box<dyn Cursor<T>>,
    map: F,
}

impl<T, F: FnMut(T) -> Option<Listed> + Send> Mapped<T, F> {
    /// Lists what `map` makes of the entries of `cursor`.
    pub(super) fn new(cursor: Box<dyn Cursor<T>>, map: F) -> Self {
        Self { cursor, map }
    }
}

impl<T, F: FnMut(T) -> Option<Listed> + Send> Cursor<Listed> for Mapped<T, F> {
    fn seek(&mut self, position: Position) -> Result<(), Error> {
        self.cursor.seek(position)
    }

    fn next(&mut self) -> Result<Option<(Listed, Position)>, Error> {
        while let Some((entry, position)) = self.cursor.next()? {
            if let Some(listed) = (self.map)(entry) {
                return Ok(Some((listed, position)));
            }
        }
        Ok(None)
    }
}

/// A folder being listed.
pub(super) struct Listing {
    first: Vec<Listed>,
    rest: Option<Entries>,
    /// Positions whose offset is `first.len() + 1 +` their index.
    table: Vec<Position>,
    /// The offset that comes next when the kernel just goes on.
    at: u64,
    /// An entry that did not fit into the last reply, with the offset behind it.
    held: Option<(Listed, u64)>,
}

impl Listing {
    /// A listing of `first`, then of `rest`.
    pub(super) fn new(first: Vec<Listed>, rest: Option<Entries>) -> Self {
        Self { first, rest, table: Vec::new(), at: 0, held: None }
    }

    /// Goes to `offset`, 0 or one that was given out.
    pub(super) fn seek(&mut self, offset: u64) -> Result<()> {
        if offset == self.at {
            return Ok(());
        }
        self.held = None;
        self.at = offset;
        let first = self.first.len() as u64;
        if let Some(rest) = &mut self.rest {
            let position = if offset <= first {
                Position::default()
            } else if offset < RESERVED {
                let index = usize::try_from(offset - first - 1).unwrap_or(usize::MAX);
                self.table.get(index).copied().unwrap_or_default()
            } else {
                Position { segment: 0, offset: offset - RESERVED }
            };
            rest.seek(position)?;
        }
        Ok(())
    }

    /// The next entry and the offset behind it; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<(Listed, u64)>> {
        if let Some((listed, offset)) = self.held.take() {
            self.at = offset;
            return Ok(Some((listed, offset)));
        }
        let first = self.first.len() as u64;
        if self.at < first {
            let listed = self.first[usize::try_from(self.at).unwrap_or_default()].clone();
            self.at += 1;
            return Ok(Some((listed, self.at)));
        }
        let Some((listed, position)) = (match &mut self.rest {
            Some(rest) => rest.next()?,
            None => None,
        }) else {
            return Ok(None);
        };
        self.at = self.offset(position)?;
        Ok(Some((listed, self.at)))
    }

    /// Gives back an entry that did not fit: it comes again when the kernel goes on from `before`.
    pub(super) fn hold(&mut self, listed: Listed, offset: u64, before: u64) {
        self.held = Some((listed, offset));
        self.at = before;
    }

    /// The offset for a position of the cursor.
    fn offset(&mut self, position: Position) -> Result<u64> {
        let regular =
            position.offset.checked_add(RESERVED).filter(|offset| *offset <= i64::MAX as u64);
        if let (0, Some(offset)) = (position.segment, regular) {
            return Ok(offset);
        }
        self.table.push(position);
        let offset = (self.first.len() + self.table.len()) as u64;
        if offset < RESERVED {
            return Ok(offset);
        }
        let limit = usize::try_from(RESERVED).unwrap_or(usize::MAX);
        Err(Error::TooMany { what: "entries of a second kind in a folder", limit }.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries at positions that a file system may give out: huge ones, and of a second part.
    struct Positions(Vec<Position>, usize);

    impl Cursor<Listed> for Positions {
        fn seek(&mut self, position: Position) -> Result<(), Error> {
            let found = self.0.iter().position(|known| *known == position);
            self.1 = found.map_or(0, |index| index + 1);
            Ok(())
        }

        fn next(&mut self) -> Result<Option<(Listed, Position)>, Error> {
            let Some(position) = self.0.get(self.1) else { return Ok(None) };
            self.1 += 1;
            Ok(Some((listed(&self.1.to_string()), *position)))
        }
    }

    fn listed(name: &str) -> Listed {
        Listed { name: name.into(), target: Target::Folder(Ino::ROOT) }
    }

    fn listing() -> Listing {
        let part = |segment, offset| Position { segment, offset };
        let last = i64::MAX as u64;
        let positions =
            vec![part(0, 1), part(0, last - 1), part(0, last), part(1, 1), part(1, last)];
        Listing::new(vec![listed("."), listed("..")], Some(Box::new(Positions(positions, 0))))
    }

    fn names(listing: &mut Listing) -> Vec<(String, u64)> {
        let mut names = Vec::new();
        while let Some((listed, offset)) = listing.next().unwrap() {
            names.push((listed.name.into_string().unwrap(), offset));
        }
        names
    }

    #[test]
    fn a_listing_can_go_on_from_every_offset_it_gave_out() {
        let mut listing = listing();
        let all = names(&mut listing);
        assert_eq!(all.iter().map(|(name, _)| &**name).collect::<String>(), "...12345");
        assert!(all.iter().all(|(_, offset)| *offset <= i64::MAX as u64));
        for (index, (_, offset)) in all.iter().enumerate() {
            listing.seek(*offset).unwrap();
            let rest: Vec<String> = names(&mut listing).into_iter().map(|(name, _)| name).collect();
            let expected: Vec<String> =
                all[index + 1..].iter().map(|(name, _)| name.clone()).collect();
            assert_eq!(rest, expected);
        }
        listing.seek(0).unwrap();
        assert_eq!(names(&mut listing).len(), all.len());
    }

    #[test]
    fn what_did_not_fit_comes_again() {
        let mut listing = listing();
        let mut before = 0;
        let mut seen = String::new();
        for round in 0..20 {
            listing.seek(before).unwrap();
            let Some((listed, offset)) = listing.next().unwrap() else { break };
            if round % 2 == 0 {
                listing.hold(listed, offset, before);
            } else {
                seen += &listed.name.into_string().unwrap();
                before = offset;
            }
        }
        assert_eq!(seen, "...12345");
    }
}
