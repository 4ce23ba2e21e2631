//! Which open files the kernel reads by itself (passthrough), and with which backing each.
//!
//! The kernel wants one backing for all files of an inode that are open at once: while there is one,
//! it refuses every open with another or without, with EIO (measured on 6.18). It would take a file
//! without and then one with a backing; but two answers may reach it in another order than they were
//! given, so here, too, all open files of an inode have the backing, or none has. So a layer is read by
//! passthrough where that is possible; one that somebody has open to write is read directly.
//! Where the kernel refuses the first backing of all (no privilege, a store on overlayfs), layers are
//! cached from then on; where it refuses a later one, that one file is direct. An open that a backing
//! of the same inode excludes is [`Choice::Stale`]: it has to get another inode.

use crate::fs::inodes::Ino;
use lru::LruCache;
use parking_lot::Mutex;
use std::{collections::HashMap, io, num::NonZeroUsize, sync::Arc};

/// How many backings are kept for inodes that nobody has open, so that opening one again costs no
/// system call. Each pins one open file in the kernel.
const IDLE_BACKINGS_MAX: NonZeroUsize = NonZeroUsize::new(256).unwrap();

/// Which file a backing reads: device and inode in the store.
pub(super) type Identity = (u64, u64);

/// A backing, and what it reads.
type Known<B> = (Identity, Arc<B>);

/// How a layer is to be opened.
pub(super) enum Choice<B> {
    /// The kernel reads the backing.
    Passthrough(Arc<B>),
    /// Every read asks.
    Direct,
    /// Reads ask once, then the kernel has it.
    Cached,
    /// Not under this inode: the kernel is to look the name up again, and gets another.
    Stale,
}

/// The backings of one mount.
pub(super) struct Backings<B> {
    table: Mutex<Table<B>>,
}

struct Table<B> {
    enabled: bool,
    recent: LruCache<Ino, Known<B>>,
    /// By their handles; with what the kernel reads, if it does.
    open: HashMap<u64, (Ino, Option<Known<B>>)>,
    uses: HashMap<Ino, Use>,
}

/// The open files of an inode.
struct Use {
    count: usize,
    /// Whether the kernel reads them; all of them or none.
    passthrough: bool,
}

impl<B> Table<B> {
    fn insert(&mut self, ino: Ino, handle: u64, backing: Option<Known<B>>) {
        let passthrough = backing.is_some();
        self.open.insert(handle, (ino, backing));
        self.uses.entry(ino).or_insert(Use { count: 0, passthrough }).count += 1;
    }

    /// Which backing the files of the inode have that are open; `None` when none is.
    fn passthrough(&self, ino: Ino) -> Option<bool> {
        self.uses.get(&ino).map(|open| open.passthrough)
    }
}

impl<B> Default for Backings<B> {
    fn default() -> Self {
        let table = Table {
            enabled: true,
            recent: LruCache::new(IDLE_BACKINGS_MAX),
            open: HashMap::new(),
            uses: HashMap::new(),
        };
        Self { table: Mutex::new(table) }
    }
}

impl<B> Backings<B> {
    /// The kernel cannot do it at all.
    pub(super) fn disable(&self) {
        self.table.lock().enabled = false;
    }

    /// Chooses how the file `handle` of the inode `ino` is opened. `make` registers a new backing;
    /// it is called under the lock, because two backings of one inode would exclude each other, and
    /// it touches no disk.
    pub(super) fn choose(
        &self, ino: Ino, handle: u64, identity: Identity, make: impl FnOnce() -> io::Result<B>,
    ) -> Choice<B> {
        let mut table = self.table.lock();
        if !table.enabled {
            return Choice::Cached;
        }
        let in_use = match table.passthrough(ino) {
            Some(false) => {
                table.insert(ino, handle, None);
                return Choice::Direct;
            }
            in_use => in_use.is_some(),
        };
        let known = match table.recent.get(&ino) {
            Some((known, backing)) if *known == identity => Some(Arc::clone(backing)),
            Some(_) => None,
            // Pushed out of the recent ones while open.
            None if in_use => {
                let of_inode = table.open.values().filter(|(of, _)| *of == ino);
                let mut backings = of_inode.filter_map(|(_, backing)| backing.as_ref());
                let found = backings.find(|(known, _)| *known == identity);
                found.map(|(_, backing)| Arc::clone(backing))
            }
            None => None,
        };
        let backing = match known {
            Some(backing) => backing,
            // The content was replaced (healed) while somebody reads the old file.
            None if in_use => return Choice::Stale,
            None => match make() {
                Ok(backing) => Arc::new(backing),
                Err(error) if table.uses.values().all(|open| !open.passthrough) => {
                    log::info!("layers are read through the daemon, not by passthrough: {error}");
                    table.enabled = false;
                    return Choice::Cached;
                }
                Err(error) => {
                    log::debug!("no passthrough for inode {}: {error}", ino.0);
                    table.insert(ino, handle, None);
                    return Choice::Direct;
                }
            },
        };
        table.recent.put(ino, (identity, Arc::clone(&backing)));
        table.insert(ino, handle, Some((identity, Arc::clone(&backing))));
        Choice::Passthrough(backing)
    }

    /// Opens the file `handle` of the inode `ino` as `choice`, for which there is no backing.
    pub(super) fn choose_without(&self, ino: Ino, handle: u64, choice: Choice<B>) -> Choice<B> {
        let mut table = self.table.lock();
        if table.passthrough(ino) == Some(true) {
            return Choice::Stale;
        }
        if table.enabled {
            table.insert(ino, handle, None);
        }
        choice
    }

    /// The file `handle` was closed for the last time.
    pub(super) fn release(&self, handle: u64) {
        let mut table = self.table.lock();
        let Some((ino, backing)) = table.open.remove(&handle) else { return };
        if let Some(open) = table.uses.get_mut(&ino) {
            open.count -= 1;
            if open.count == 0 {
                table.uses.remove(&ino);
            }
        }
        drop(table);
        drop(backing);
    }

    /// The kernel has forgotten the inode.
    pub(super) fn forget(&self, ino: Ino) {
        let backing = self.table.lock().recent.pop(&ino);
        drop(backing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backing<B>(choice: Choice<B>) -> Option<Arc<B>> {
        match choice {
            Choice::Passthrough(backing) => Some(backing),
            Choice::Direct | Choice::Cached | Choice::Stale => None,
        }
    }

    #[test]
    fn all_open_files_of_an_inode_share_one_backing() {
        let backings = Backings::default();
        let first = backing(backings.choose(Ino(2), 1, (1, 1), || Ok("first"))).unwrap();
        let again = backing(backings.choose(Ino(2), 2, (1, 1), || Ok("again"))).unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        backings.release(1);
        backings.release(2);
        let later = backing(backings.choose(Ino(2), 3, (1, 1), || Ok("later"))).unwrap();
        assert!(Arc::ptr_eq(&first, &later));
    }

    #[test]
    fn replaced_content_needs_another_inode_until_the_old_file_is_closed() {
        let backings = Backings::default();
        let old = backings.choose(Ino(2), 1, (1, 1), || Ok("old"));
        assert!(backing(old).is_some());
        let new = backings.choose(Ino(2), 2, (1, 2), || Ok("new"));
        assert!(matches!(new, Choice::Stale));
        backings.release(1);
        let new = backing(backings.choose(Ino(2), 3, (1, 2), || Ok("new")));
        assert_eq!(new.as_deref(), Some(&"new"));
    }

    /// However the answers overtake each other on the way to the kernel.
    #[test]
    fn files_with_and_without_a_backing_are_never_open_together() {
        let backings = Backings::default();
        let written = |handle| backings.choose_without(Ino(2), handle, Choice::Direct);
        let read = |handle| backings.choose(Ino(2), handle, (1, 1), || Ok(()));
        assert!(matches!(written(1), Choice::Direct));
        assert!(matches!(read(2), Choice::Direct));
        backings.release(1);
        assert!(matches!(read(3), Choice::Direct));
        backings.release(2);
        backings.release(3);
        assert!(matches!(read(4), Choice::Passthrough(_)));
        assert!(matches!(written(5), Choice::Stale));
        backings.release(4);
        assert!(matches!(written(6), Choice::Direct));
    }

    #[test]
    fn without_privilege_everything_is_cached_from_then_on() {
        let backings = Backings::<()>::default();
        let refused = || Err(io::Error::from(io::ErrorKind::PermissionDenied));
        assert!(matches!(backings.choose(Ino(2), 1, (1, 1), refused), Choice::Cached));
        assert!(matches!(backings.choose(Ino(2), 2, (1, 1), || Ok(())), Choice::Cached));
    }

    #[test]
    fn more_open_inodes_than_idle_backings_keep_theirs() {
        let backings = Backings::default();
        let many = IDLE_BACKINGS_MAX.get() as u64 + 10;
        for number in 0..many {
            let made = backings.choose(Ino(number), number, (1, number), || Ok(number));
            assert!(backing(made).is_some());
        }
        let again = backing(backings.choose(Ino(0), many, (1, 0), || Ok(many))).unwrap();
        assert_eq!(*again, 0);
    }
}
