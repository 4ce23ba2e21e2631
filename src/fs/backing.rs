//! How the kernel reads each open layer: the file beneath by itself (passthrough), from its own pages
//! (cached), or by asking each time (directly).
//!
//! A long layer is read by passthrough where that is possible. One that a single request fetches is
//! cached: the kernel need not be given a file each time it is opened, and has it in memory the next time.
//! One that somebody has open to write is read directly, and a short one that has just come.
//!
//! All open files of an inode are read in the same way, and have the same content:
//!
//! - Beside a backing the kernel refuses every open with another or without, with EIO (measured on
//!   6.18). It would take a file without and then one with a backing; but two answers may reach it in
//!   another order than they were given.
//! - What is cached has one length and one content for all; who writes it anew begins with length 0.
//!
//! An open that the others exclude is [`Choice::Stale`]: it has to get another inode. Where the kernel
//! refuses the first backing of all (no privilege, a store on overlayfs), all layers are cached from then
//! on; where it refuses a later one, that one file is direct.

use crate::fs::attr::LAYER_LIFE;
use crate::fs::handles::Kept;
use crate::fs::inodes::Ino;
use lru::LruCache;
use parking_lot::Mutex;
use rustix::fs::Stat;
use std::{
    collections::HashMap,
    io,
    num::NonZeroUsize,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// How many backings are kept for inodes that nobody has open, so that opening one again costs no
/// system call. Each pins one open file in the kernel.
const IDLE_BACKINGS_MAX: NonZeroUsize = NonZeroUsize::new(256).unwrap();
/// Shorter layers are cached: the kernel asks for as much at once when it reads ahead by default.
const PASSTHROUGH_BYTES_MIN: u64 = 128 << 10;
/// For how many inodes it is remembered whose pages the kernel has; of others it is asked to fetch them
/// again. Each takes about 100 bytes, until the kernel forgets the inode.
const CACHED_MAX: usize = 1 << 16;

/// Which content a file has: device, inode and times of the last changes in the store. What is damaged may
/// be replaced by what is not, under the same name and of the same length, or in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Content {
    file: (u64, u64),
    modified_at: (i64, u64),
    /// Anything about it; who pushes it once more changes this, too.
    changed_at: (i64, u64),
    length: u64,
}

impl Content {
    /// Of the file that this was told of.
    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            file: (stat.st_dev, stat.st_ino),
            modified_at: (stat.st_mtime, stat.st_mtime_nsec),
            changed_at: (stat.st_ctime, stat.st_ctime_nsec),
            length: u64::try_from(stat.st_size).unwrap_or(0),
        }
    }

    /// Whether both are one, as far as who has it open is concerned.
    fn is(&self, other: &Self) -> bool {
        *self == Self { changed_at: self.changed_at, ..*other }
    }

    /// Whether the kernel may still believe what it was told before this came, its length above all: it
    /// would cut what it has in memory.
    fn is_young(&self) -> bool {
        let (seconds, _) = self.changed_at;
        let changed_at = UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        let age = SystemTime::now().duration_since(changed_at);
        // By whole seconds; and a clock may have been set back.
        age.unwrap_or_else(|ahead| ahead.duration()) < LAYER_LIFE + Duration::from_secs(1)
    }
}

/// A backing, and what it reads.
type Known<B> = (Content, Arc<B>);

/// How a layer is to be opened.
pub(super) enum Choice<B> {
    /// The kernel reads the backing.
    Passthrough(Arc<B>),
    /// Every read asks.
    Direct,
    /// Reads ask once, then the kernel has it.
    Cached(Kept),
    /// Not under this inode: the kernel is to look the name up again, and gets another.
    Stale,
}

/// How the files of one mount are read.
pub(super) struct Backings<B> {
    table: Mutex<Table<B>>,
}

struct Table<B> {
    enabled: bool,
    recent: LruCache<Ino, Known<B>>,
    /// Whose pages the kernel has.
    cached: LruCache<Ino, Content>,
    /// By their handles; with what the kernel reads, if it does.
    open: HashMap<u64, (Ino, Option<Known<B>>)>,
    uses: HashMap<Ino, Use>,
}

/// The open files of an inode.
struct Use {
    count: usize,
    way: Way,
}

/// How they are read, all of them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Passthrough,
    Cached(Content),
    /// Directly, or cached where all that there can be is one content.
    Other,
}

impl<B> Table<B> {
    fn insert(&mut self, ino: Ino, handle: u64, way: Way, backing: Option<Known<B>>) {
        self.open.insert(handle, (ino, backing));
        self.uses.entry(ino).or_insert(Use { count: 0, way }).count += 1;
    }

    /// How the files of the inode are read that are open; `None` when none is.
    fn way(&self, ino: Ino) -> Option<Way> {
        self.uses.get(&ino).map(|open| open.way)
    }

    fn direct(&mut self, ino: Ino, handle: u64) -> Choice<B> {
        self.insert(ino, handle, Way::Other, None);
        Choice::Direct
    }

    fn cached(&mut self, ino: Ino, handle: u64, content: Content) -> Choice<B> {
        match self.way(ino) {
            Some(Way::Other) => return self.direct(ino, handle),
            None if content.is_young() => return self.direct(ino, handle),
            Some(Way::Passthrough) => return Choice::Stale,
            Some(Way::Cached(other)) if !other.is(&content) => return Choice::Stale,
            Some(Way::Cached(_)) | None => {}
        }
        self.insert(ino, handle, Way::Cached(content), None);
        let is_kept = self.cached.get(&ino) == Some(&content);
        Choice::Cached(if is_kept { Kept::Valid } else { Kept::Old })
    }

    /// The kernel has seen an open of this content to its end, and has no page of another any more.
    fn note_cached(&mut self, ino: Ino, content: Content) {
        self.cached.put(ino, content);
        if self.cached.len() > CACHED_MAX {
            self.cached.pop_lru();
        }
    }

    /// The backing of the inode that reads just this.
    fn known(&mut self, ino: Ino, content: Content, in_use: bool) -> Option<Arc<B>> {
        match self.recent.get(&ino) {
            Some((known, backing)) if known.is(&content) => Some(Arc::clone(backing)),
            Some(_) => None,
            // Pushed out of the recent ones while open.
            None if in_use => {
                let of_inode = self.open.values().filter(|(of, _)| *of == ino);
                let mut backings = of_inode.filter_map(|(_, backing)| backing.as_ref());
                let found = backings.find(|(known, _)| known.is(&content));
                found.map(|(_, backing)| Arc::clone(backing))
            }
            None => None,
        }
    }
}

impl<B> Default for Backings<B> {
    fn default() -> Self {
        let table = Table {
            enabled: true,
            recent: LruCache::new(IDLE_BACKINGS_MAX),
            // It would take the memory for all of them at once if it knew how many.
            cached: LruCache::unbounded(),
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
        &self, ino: Ino, handle: u64, content: Content, make: impl FnOnce() -> io::Result<B>,
    ) -> Choice<B> {
        let mut table = self.table.lock();
        if !table.enabled || content.length < PASSTHROUGH_BYTES_MIN {
            return table.cached(ino, handle, content);
        }
        let in_use = match table.way(ino) {
            Some(Way::Other) => return table.direct(ino, handle),
            Some(Way::Cached(_)) => return Choice::Stale,
            Some(Way::Passthrough) => true,
            None => false,
        };
        let backing = match table.known(ino, content, in_use) {
            Some(backing) => backing,
            // The content was replaced (healed) while somebody reads the old file.
            None if in_use => return Choice::Stale,
            None => match make() {
                Ok(backing) => Arc::new(backing),
                Err(error) if table.uses.values().all(|open| open.way != Way::Passthrough) => {
                    log::info!("layers are read through the daemon, not by passthrough: {error}");
                    table.enabled = false;
                    return table.cached(ino, handle, content);
                }
                Err(error) => {
                    log::debug!("no passthrough for inode {}: {error}", ino.0);
                    return table.direct(ino, handle);
                }
            },
        };
        table.recent.put(ino, (content, Arc::clone(&backing)));
        table.insert(ino, handle, Way::Passthrough, Some((content, Arc::clone(&backing))));
        Choice::Passthrough(backing)
    }

    /// Opens the file `handle` of the inode `ino` as `choice`, which is for what is no layer, or not yet.
    pub(super) fn choose_without(&self, ino: Ino, handle: u64, choice: Choice<B>) -> Choice<B> {
        let mut table = self.table.lock();
        match table.way(ino) {
            Some(Way::Passthrough | Way::Cached(_)) => return Choice::Stale,
            Some(Way::Other) | None => {}
        }
        table.insert(ino, handle, Way::Other, None);
        choice
    }

    /// The file `handle` was closed for the last time.
    pub(super) fn release(&self, handle: u64) {
        let mut table = self.table.lock();
        let Some((ino, backing)) = table.open.remove(&handle) else { return };
        let way = table.way(ino);
        if let Some(open) = table.uses.get_mut(&ino) {
            open.count -= 1;
            if open.count == 0 {
                table.uses.remove(&ino);
            }
        }
        if let Some(Way::Cached(content)) = way {
            table.note_cached(ino, content);
        }
        drop(table);
        drop(backing);
    }

    /// The kernel has forgotten the inode.
    pub(super) fn forget(&self, ino: Ino) {
        let mut table = self.table.lock();
        table.cached.pop(&ino);
        let backing = table.recent.pop(&ino);
        drop(table);
        drop(backing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So long that it is read by passthrough.
    const LONG: u64 = PASSTHROUGH_BYTES_MIN;
    const SHORT: u64 = LONG - 1;

    fn content(file: u64, length: u64) -> Content {
        Content { file: (1, file), modified_at: (0, 0), changed_at: (0, 0), length }
    }

    fn backing<B>(choice: Choice<B>) -> Option<Arc<B>> {
        match choice {
            Choice::Passthrough(backing) => Some(backing),
            Choice::Direct | Choice::Cached(_) | Choice::Stale => None,
        }
    }

    #[test]
    fn all_open_files_of_an_inode_share_one_backing() {
        let backings = Backings::default();
        let choose = |handle, make| {
            backing(backings.choose(Ino(2), handle, content(1, LONG), || Ok(make))).unwrap()
        };
        let first = choose(1, "first");
        assert!(Arc::ptr_eq(&first, &choose(2, "again")));
        backings.release(1);
        backings.release(2);
        assert!(Arc::ptr_eq(&first, &choose(3, "later")));
    }

    #[test]
    fn replaced_content_needs_another_inode_until_the_old_file_is_closed() {
        let backings = Backings::default();
        for old in [LONG, SHORT] {
            let opened = backings.choose(Ino(2), 1, content(1, old), || Ok("old"));
            assert!(!matches!(opened, Choice::Stale));
            for new in [LONG, SHORT] {
                let opened = backings.choose(Ino(2), 2, content(2, new), || Ok("new"));
                assert!(matches!(opened, Choice::Stale));
            }
            backings.release(1);
        }
        let new = backing(backings.choose(Ino(2), 3, content(2, LONG), || Ok("new")));
        assert_eq!(new.as_deref(), Some(&"new"));
    }

    /// However the answers overtake each other on the way to the kernel.
    #[test]
    fn who_writes_and_who_reads_a_layer_never_have_one_inode_open_in_different_ways() {
        let backings = Backings::default();
        let written = |handle| backings.choose_without(Ino(2), handle, Choice::Direct);
        for length in [LONG, SHORT] {
            let read = |handle| backings.choose(Ino(2), handle, content(1, length), || Ok(()));
            assert!(matches!(written(1), Choice::Direct));
            assert!(matches!(read(2), Choice::Direct));
            backings.release(1);
            assert!(matches!(read(3), Choice::Direct));
            backings.release(2);
            backings.release(3);
            assert!(matches!(read(4), Choice::Passthrough(_) | Choice::Cached(_)));
            assert!(matches!(written(5), Choice::Stale));
            backings.release(4);
            assert!(matches!(written(6), Choice::Direct));
            backings.release(6);
        }
    }

    /// How a file is opened, and closed again, that is to be cached.
    fn kept(backings: &Backings<()>, content: Content) -> Kept {
        let Choice::Cached(kept) = backings.choose(Ino(2), 1, content, || Ok(())) else {
            panic!("it is not cached");
        };
        backings.release(1);
        kept
    }

    #[test]
    fn the_kernel_keeps_its_pages_of_a_short_layer_as_long_as_they_are_of_the_same_content() {
        let backings = Backings::default();
        let kept = |content| kept(&backings, content);
        let [one, two] = [1, 2].map(|file| content(file, SHORT));
        assert_eq!([kept(one), kept(one)], [Kept::Old, Kept::Valid]);
        assert_eq!([kept(two), kept(two), kept(one)], [Kept::Old, Kept::Valid, Kept::Old]);
        let mended = Content { changed_at: (0, 1), ..one };
        assert_eq!([kept(one), kept(mended)], [Kept::Valid, Kept::Old]);
        backings.forget(Ino(2));
        assert_eq!(kept(mended), Kept::Old);
    }

    /// The kernel need not have heard of the first when it hears of the second.
    #[test]
    fn what_two_open_at_once_is_fetched_anew_for_both() {
        let backings = Backings::<()>::default();
        let [old, new] = [1, 2].map(|file| content(file, SHORT));
        kept(&backings, old);
        for handle in [2, 3] {
            let opened = backings.choose(Ino(2), handle, new, || Ok(()));
            assert!(matches!(opened, Choice::Cached(Kept::Old)));
        }
        backings.release(2);
        assert_eq!(kept(&backings, new), Kept::Valid);
    }

    #[test]
    fn what_has_just_come_is_not_cached_yet() {
        let backings = Backings::<()>::default();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let young = Content { changed_at: (i64::try_from(now).unwrap(), 0), ..content(1, SHORT) };
        let open = |handle, content| backings.choose(Ino(2), handle, content, || Ok(()));
        assert!(matches!(open(1, young), Choice::Direct));
        backings.release(1);
        // It is the same that somebody has open: its link was renewed.
        assert!(matches!(open(2, content(1, SHORT)), Choice::Cached(_)));
        assert!(matches!(open(3, young), Choice::Cached(Kept::Old)));
    }

    #[test]
    fn what_is_known_of_the_kernels_pages_is_bounded() {
        let backings = Backings::<()>::default();
        for number in 0..CACHED_MAX as u64 + 10 {
            backings.choose(Ino(number), number, content(number, SHORT), || Ok(()));
            backings.release(number);
        }
        assert_eq!(backings.table.lock().cached.len(), CACHED_MAX);
    }

    #[test]
    fn without_privilege_everything_is_cached_from_then_on() {
        let backings = Backings::<()>::default();
        let refused = || Err(io::Error::from(io::ErrorKind::PermissionDenied));
        let first = backings.choose(Ino(2), 1, content(1, LONG), refused);
        assert!(matches!(first, Choice::Cached(_)));
        let later = backings.choose(Ino(2), 2, content(1, LONG), || Ok(()));
        assert!(matches!(later, Choice::Cached(_)));
    }

    #[test]
    fn more_open_inodes_than_idle_backings_keep_theirs() {
        let backings = Backings::default();
        let many = IDLE_BACKINGS_MAX.get() as u64 + 10;
        for number in 0..many {
            let made = backings.choose(Ino(number), number, content(number, LONG), || Ok(number));
            assert!(backing(made).is_some());
        }
        let again = backings.choose(Ino(0), many, content(0, LONG), || Ok(many));
        assert_eq!(*backing(again).unwrap(), 0);
    }
}
