//! Listings that can be taken up again: one entry at a time, from any position given out before.

use crate::model::Result;

/// A place in a listing, given out by [`Cursor::next`] of one cursor and good for that cursor only.
/// The default is the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Which part of the listing. The part with most entries is 0.
    pub segment: u32,
    /// Where in the part; opaque, at most `i64::MAX`.
    pub offset: u64,
}

/// A listing in progress.
///
/// Entries may come and go meanwhile: each entry that exists from beginning to end is listed
/// exactly once, others at most once. A body keeps no list of all entries.
pub trait Cursor<T>: Send {
    /// Goes on behind the entry with which `position` was given out, or from the beginning.
    fn seek(&mut self, position: Position) -> Result<()>;

    /// The next entry, and the position behind it; `None` at the end.
    fn next(&mut self) -> Result<Option<(T, Position)>>;
}

impl<T> dyn Cursor<T> + '_ {
    /// Everything from here to the end, for callers that know it is little.
    pub fn collect(&mut self) -> Result<Vec<T>> {
        let mut all = Vec::new();
        while let Some((entry, _)) = self.next()? {
            all.push(entry);
        }
        Ok(all)
    }
}
