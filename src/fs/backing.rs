//! Which open files the kernel reads by itself (passthrough), and with which backing each.
//!
//! The kernel wants one backing for all files of an inode that are open at once: while there is one,
//! it refuses every open with another or without (measured on 6.18; the other order, a file without
//! and then one with a backing, is fine). So a layer is read by passthrough where that is possible.
//! Where the kernel refuses the first backing of all (no privilege, a store on overlayfs), layers are
//! cached from then on; where it refuses a later one, that one file is direct. An open that another
//! backing of the same inode excludes is [`Choice::Stale`]: it has to get another inode.

use crate::fs::inodes::Ino;
use lru::LruCache;
use parking_lot::Mutex;
use std::{collections::HashMap, io, num::NonZeroUsize, sync::Arc};

/// How many backings are kept for inodes that nobody has open, so that opening one again costs no
/// system call. Each pins one open file in the kernel.
const IDLE_BACKINGS_MAX: NonZeroUsize = NonZeroUsize::new(256).unwrap();

/// Which file a backing reads: device and inode in the store.
pub(super) type Identity = (u64, u64);

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
    recent: LruCache<Ino, (Identity, Arc<B>)>,
    open: HashMap<u64, (Ino, Identity, Arc<B>)>,
    counts: HashMap<Ino, usize>,
}

impl<B> Default for Backings<B> {
    fn default() -> Self {
        let table = Table {
            enabled: true,
            recent: LruCache::new(IDLE_BACKINGS_MAX),
            open: HashMap::new(),
            counts: HashMap::new(),
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
        let in_use = table.counts.contains_key(&ino);
        let known = match table.recent.get(&ino) {
            Some((known, backing)) if *known == identity => Some(Arc::clone(backing)),
            Some(_) => None,
            // Pushed out of the recent ones while open.
            None if in_use => {
                let mut open = table.open.values();
                let found = open.find(|(of, known, _)| *of == ino && *known == identity);
                found.map(|(_, _, backing)| Arc::clone(backing))
            }
            None => None,
        };
        let backing = match known {
            Some(backing) => backing,
            // The content was replaced (healed) while somebody reads the old file.
            None if in_use => return Choice::Stale,
            None => match make() {
                Ok(backing) => Arc::new(backing),
                Err(error) if table.open.is_empty() => {
                    log::info!("layers are read through the daemon, not by passthrough: {error}");
                    table.enabled = false;
                    return Choice::Cached;
                }
                Err(error) => {
                    log::debug!("no passthrough for inode {}: {error}", ino.0);
                    return Choice::Direct;
                }
            },
        };
        table.recent.put(ino, (identity, Arc::clone(&backing)));
        table.open.insert(handle, (ino, identity, Arc::clone(&backing)));
        *table.counts.entry(ino).or_default() += 1;
        Choice::Passthrough(backing)
    }

    /// Whether a file of the inode is open by passthrough: then no other file of it can be opened.
    pub(super) fn is_in_use(&self, ino: Ino) -> bool {
        self.table.lock().counts.contains_key(&ino)
    }

    /// The file `handle` was closed for the last time.
    pub(super) fn release(&self, handle: u64) {
        let mut table = self.table.lock();
        let Some((ino, _, backing)) = table.open.remove(&handle) else { return };
        if let Some(count) = table.counts.get_mut(&ino) {
            *count -= 1;
            if *count == 0 {
                table.counts.remove(&ino);
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
        assert!(backings.is_in_use(Ino(2)));
        backings.release(1);
        assert!(!backings.is_in_use(Ino(2)));
        let new = backing(backings.choose(Ino(2), 3, (1, 2), || Ok("new")));
        assert_eq!(new.as_deref(), Some(&"new"));
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
