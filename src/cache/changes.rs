//! Who changes what right now: so that nobody remembers what was read before or during a change.
//!
//! Things are counted in groups, by hash. A change raises its group's count of begun changes, works,
//! and raises the count of ended ones. Who reads asks for a ticket first: there is none while a
//! change is going on, and it is good until the next one begins. What is remembered carries its
//! ticket, so a change makes everything in its group forgotten by one addition, also what a slow
//! reader is about to remember. Two things in one group cost a miss, never a wrong answer.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hash},
    sync::atomic::{AtomicU64, Ordering::SeqCst},
};

/// Groups: so many that repositories that are busy at the same time seldom share one.
const GROUP_COUNT: u64 = 64;

pub(super) struct Changes {
    groups: Box<[Group]>,
    hasher: RandomState,
}

#[derive(Default)]
struct Group {
    begun: AtomicU64,
    ended: AtomicU64,
}

/// The number of changes that a group had seen when somebody began to read, all of them ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket(u64);

/// A change in progress. It ends when this is dropped, also by an error on the way.
#[must_use = "the change ends when this is dropped"]
pub(super) struct Change<'a> {
    groups: &'a [Group],
}

impl Changes {
    pub(super) fn new() -> Self {
        let groups = (0..GROUP_COUNT).map(|_| Group::default()).collect();
        Self { groups, hasher: RandomState::new() }
    }

    fn index<T: Hash>(&self, thing: &T) -> usize {
        // Below the number of groups, so it fits.
        (self.hasher.hash_one(thing) % GROUP_COUNT) as usize
    }

    /// For who begins to read. `None` while a change is going on: what is read then may be from
    /// before it.
    pub(super) fn ticket<T: Hash>(&self, thing: &T) -> Option<Ticket> {
        let group = &self.groups[self.index(thing)];
        // In this order: what had ended before is equal to what has begun by now, so nothing was
        // going on in between.
        let ended = group.ended.load(SeqCst);
        let begun = group.begun.load(SeqCst);
        (ended == begun).then_some(Ticket(begun))
    }

    /// Whether no change has begun since the ticket was given.
    pub(super) fn is_current<T: Hash>(&self, thing: &T, ticket: Ticket) -> bool {
        self.groups[self.index(thing)].begun.load(SeqCst) == ticket.0
    }

    /// Begins a change of one thing.
    pub(super) fn begin<T: Hash>(&self, thing: &T) -> Change<'_> {
        let index = self.index(thing);
        Change::new(&self.groups[index..=index])
    }

    /// Begins a change of everything.
    pub(super) fn begin_all(&self) -> Change<'_> {
        Change::new(&self.groups)
    }
}

impl<'a> Change<'a> {
    fn new(groups: &'a [Group]) -> Self {
        for group in groups {
            group.begun.fetch_add(1, SeqCst);
        }
        Self { groups }
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        for group in self.groups {
            group.ended.fetch_add(1, SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_good_until_the_next_change_begins() {
        let changes = Changes::new();
        let before = changes.ticket(&1).unwrap();
        assert!(changes.is_current(&1, before));
        let change = changes.begin(&1);
        assert!(!changes.is_current(&1, before));
        assert_eq!(changes.ticket(&1), None);
        let other = changes.begin_all();
        drop(change);
        assert_eq!(changes.ticket(&1), None);
        drop(other);
        let after = changes.ticket(&1).unwrap();
        assert!(changes.is_current(&1, after));
        assert_ne!(before, after);
    }
}
