//! A folder being listed: entries with the offsets that the kernel gives back to go on from.
//!
//! A listing begins with a few entries that are known when it is opened (`.`, `..`, areas, staging
//! files, uploads) and goes on with a cursor over what may be millions. Offsets of the first kind
//! are small numbers; those of the second are the cursor's own positions, moved up by [`RESERVED`],
//! so that no list is kept and seekdir works. The few positions that do not fit there (the end of a
//! folder of ext4 is the greatest number there is) are noted, the last [`NOTED_MAX`] of them.

use crate::fs::fault::{Fault, Result};
use crate::fs::inodes::Ino;
use crate::fs::node::Node;
use crate::model::Error;
use crate::registry::{Cursor, Position};
use std::{
    collections::{HashMap, VecDeque},
    ffi::OsString,
};

/// Offsets below this are entries known at the beginning.
const FIRST_MAX: u64 = 1 << 32;
/// Offsets below this are numbers of positions that were noted: more than any listing uses up.
/// Positions from here to 2^63 are given out as they are: ext4 uses all of these numbers.
const RESERVED: u64 = 1 << 40;
/// How many positions are noted: those that were given out last, to which a reader may still go
/// back. They take 3 MiB at most; whoever just reads on needs the last one only.
const NOTED_MAX: usize = 56 << 10;
/// How many entries are read ahead: what is done for many at once takes a fraction of the time.
const AHEAD: usize = 64;

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

impl Listed {
    /// The node, but of `.` and `..`.
    pub(super) fn node(&self) -> Option<&Node> {
        match &self.target {
            Target::Node(node) => Some(node),
            Target::Folder(_) => None,
        }
    }
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
    /// An entry has its place here for good; `None` for what has gone.
    first: Vec<Option<Listed>>,
    rest: Option<Entries>,
    noted: Box<Noted>,
    /// The offset that comes next when the kernel just goes on.
    at: u64,
    /// Entries that were read and nobody has taken yet, each with the offset behind it.
    ahead: VecDeque<(Listed, u64)>,
    /// Where to read on.
    read_to: u64,
    /// What comes when those that were read have been taken.
    failed: Option<Box<Fault>>,
}

impl Listing {
    /// A listing of `first`, then of `rest`.
    pub(super) fn new(first: Vec<Listed>, rest: Option<Entries>) -> Self {
        let first = first.into_iter().map(Some).collect();
        let (noted, ahead) = (Box::default(), VecDeque::new());
        Self { first, rest, noted, at: 0, ahead, read_to: 0, failed: None }
    }

    /// Begins again with what `now` lists. Offsets that were given out stay good: what was known
    /// from the beginning keeps its place, and what is new takes one that is free.
    pub(super) fn renew(&mut self, now: Self) {
        let mut listed: HashMap<OsString, Listed> = HashMap::new();
        let mut names = Vec::new();
        for entry in now.first.into_iter().flatten() {
            names.push(entry.name.clone());
            listed.insert(entry.name.clone(), entry);
        }
        for place in &mut self.first {
            *place = place.take().and_then(|entry| listed.remove(&entry.name));
        }
        let mut new = names.iter().filter_map(|name| listed.remove(name));
        let free = self.first.iter_mut().filter(|place| place.is_none());
        for (place, entry) in free.zip(&mut new) {
            *place = Some(entry);
        }
        self.first.extend(new.map(Some));
        self.rest = now.rest;
        self.go_to(0);
    }

    /// Whether nothing was given out yet.
    pub(super) fn is_new(&self) -> bool {
        self.at == 0
    }

    /// Goes to `offset`, 0 or one that was given out. Errors: `PositionUnknown`.
    pub(super) fn seek(&mut self, offset: u64) -> Result<()> {
        if offset == self.at {
            return Ok(());
        }
        let position = self.position(offset).ok_or(Fault::PositionUnknown)?;
        // Where it stands when this fails is nowhere that anybody asks for.
        self.go_to(u64::MAX);
        if let Some(rest) = &mut self.rest {
            rest.seek(position)?;
        }
        self.go_to(offset);
        Ok(())
    }

    fn go_to(&mut self, offset: u64) {
        self.ahead.clear();
        self.failed = None;
        (self.at, self.read_to) = (offset, offset);
    }

    /// The entries that come next, each with the offset behind it: some, or none at the end. Whoever
    /// uses one takes it.
    pub(super) fn ahead(&mut self) -> Result<&VecDeque<(Listed, u64)>> {
        while self.failed.is_none() && self.ahead.len() < AHEAD {
            match self.read() {
                Ok(Some(entry)) => self.ahead.push_back(entry),
                Ok(None) => break,
                Err(fault) => self.failed = Some(Box::new(fault)),
            }
        }
        match self.failed.take_if(|_| self.ahead.is_empty()) {
            Some(fault) => Err(*fault),
            None => Ok(&self.ahead),
        }
    }

    /// Takes the next entry.
    pub(super) fn take(&mut self) -> Option<(Listed, u64)> {
        let entry = self.ahead.pop_front()?;
        self.at = entry.1;
        Some(entry)
    }

    /// The next entry, taken; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<(Listed, u64)>> {
        self.ahead()?;
        Ok(self.take())
    }

    fn read(&mut self) -> Result<Option<(Listed, u64)>> {
        let index = |at| usize::try_from(at).unwrap_or(usize::MAX);
        while let Some(place) = self.first.get(index(self.read_to)) {
            self.read_to += 1;
            if let Some(listed) = place {
                return Ok(Some((listed.clone(), self.read_to)));
            }
        }
        let Some((listed, position)) = (match &mut self.rest {
            Some(rest) => rest.next()?,
            None => None,
        }) else {
            return Ok(None);
        };
        self.read_to = self.offset(position);
        Ok(Some((listed, self.read_to)))
    }

    /// Where the cursor stands at an offset.
    fn position(&self, offset: u64) -> Option<Position> {
        if offset >= RESERVED {
            return Some(Position { segment: 0, offset: offset - RESERVED });
        }
        if offset >= FIRST_MAX {
            return self.noted.position(offset - FIRST_MAX);
        }
        (offset <= self.first.len() as u64).then(Position::default)
    }

    /// The offset for a position of the cursor.
    fn offset(&mut self, position: Position) -> u64 {
        let regular =
            position.offset.checked_add(RESERVED).filter(|offset| *offset <= i64::MAX as u64);
        if let (0, Some(offset)) = (position.segment, regular) {
            return offset;
        }
        FIRST_MAX + self.noted.number(position)
    }
}

/// Positions under numbers that count up: the same position has the same number as long as it is
/// noted, and no number is ever another position's.
#[derive(Default)]
struct Noted {
    positions: VecDeque<Position>,
    numbers: HashMap<Position, u64>,
    /// How many positions were noted before those that still are.
    forgotten: u64,
}

impl Noted {
    fn number(&mut self, position: Position) -> u64 {
        if let Some(number) = self.numbers.get(&position) {
            return *number;
        }
        if self.positions.len() == NOTED_MAX
            && let Some(first) = self.positions.pop_front()
        {
            self.numbers.remove(&first);
            self.forgotten += 1;
        }
        let number = self.forgotten + self.positions.len() as u64;
        self.positions.push_back(position);
        self.numbers.insert(position, number);
        number
    }

    fn position(&self, number: u64) -> Option<Position> {
        let index = number.checked_sub(self.forgotten)?;
        self.positions.get(usize::try_from(index).ok()?).copied()
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
        // Those offsets stay the same, so a reader who goes back again and again uses none up.
        for _ in 0..3 {
            listing.seek(0).unwrap();
            assert_eq!(names(&mut listing), all);
        }
    }

    #[test]
    fn a_listing_that_is_begun_again_keeps_its_places() {
        let first = |names: &str| {
            let entries = names.chars().map(|name| listed(&name.to_string())).collect();
            Listing::new(entries, None)
        };
        let mut listing = first("abcd");
        let before = names(&mut listing);
        listing.renew(first("xdbayz"));
        let after = names(&mut listing);
        assert_eq!(after.iter().map(|(name, _)| &**name).collect::<String>(), "abxdyz");
        for name in ["a", "b", "d"] {
            let place = |list: &[(String, u64)]| list.iter().find(|(it, _)| it == name).cloned();
            assert_eq!(place(&before), place(&after));
        }
        listing.renew(first("z"));
        assert_eq!(names(&mut listing), [("z".to_owned(), after[5].1)]);
    }

    #[test]
    fn a_listing_of_any_length_notes_no_more_than_the_last_positions() {
        let position = |number| Position { segment: 1, offset: number as u64 };
        let positions = (0..NOTED_MAX + 10).map(position).collect();
        let mut listing = Listing::new(Vec::new(), Some(Box::new(Positions(positions, 0))));
        let all = names(&mut listing);
        let noted = &listing.noted;
        assert_eq!((all.len(), noted.positions.len()), (NOTED_MAX + 10, NOTED_MAX));
        assert_eq!(noted.numbers.len(), NOTED_MAX);
        assert!(all.is_sorted_by(|one, other| one.1 < other.1));
        listing.seek(all[10].1).unwrap();
        assert_eq!(listing.next().unwrap().unwrap().0.name, "12");
        // Whoever wants to go back that far is told that it cannot be, and nothing is skipped.
        assert!(matches!(listing.seek(all[9].1), Err(Fault::PositionUnknown)));
        assert_eq!(listing.next().unwrap().unwrap().0.name, "13");
    }

    #[test]
    fn an_offset_that_was_never_given_out_is_refused() {
        for offset in [3, FIRST_MAX, RESERVED - 1] {
            assert!(matches!(listing().seek(offset), Err(Fault::PositionUnknown)), "{offset}");
        }
    }

    #[test]
    fn what_did_not_fit_comes_again() {
        let mut listing = listing();
        let mut before = 0;
        let mut seen = String::new();
        for round in 0..20 {
            listing.seek(before).unwrap();
            let Some((listed, offset)) = listing.ahead().unwrap().front().cloned() else { break };
            if round % 2 == 1 {
                listing.take();
                seen += &listed.name.into_string().unwrap();
                before = offset;
            }
        }
        assert_eq!(seen, "...12345");
    }
}
