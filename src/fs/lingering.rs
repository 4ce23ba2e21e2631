//! Uploads that stay open for a moment behind their last close. What copies a file sets its mode and
//! times then, and renames it: each of that would look for the upload on the disk, and the rename
//! would take it up again and hash it anew.
//!
//! Other processes find it busy meanwhile, and try again for longer than that.

use crate::model::UploadId;
use crate::registry::LayerUpload;
use parking_lot::Mutex;
use std::{collections::VecDeque, sync::Arc, thread, time::Duration};

/// How long an upload stays open at least, unless there are too many; at most it is twice as long, far
/// shorter than others try to take up one that is busy (`handles.rs`).
const LIFE: Duration = Duration::from_millis(20);
/// How many stay open: more than are closed and not yet renamed by a few tools at a time.
const COUNT_MAX: usize = 16;

/// The uploads that stay open. The lock is held for an operation of the list.
#[derive(Default)]
pub(super) struct Lingering {
    list: Arc<Mutex<List>>,
}

#[derive(Default)]
struct List {
    /// The first `old` have been seen by the thread that lets go of them.
    uploads: VecDeque<Arc<dyn LayerUpload>>,
    old: usize,
    /// Whether there is such a thread.
    is_watched: bool,
}

impl Lingering {
    /// Keeps an upload open for a moment. One that has ended is nothing to wait for.
    pub(super) fn keep(&self, upload: Arc<dyn LayerUpload>) {
        if upload.stat().is_err() {
            return;
        }
        let mut list = self.list.lock();
        list.uploads.push_back(upload);
        // Dropped without the lock: that may touch the disk.
        let surplus = if list.uploads.len() > COUNT_MAX { list.pop() } else { None };
        if !list.is_watched {
            let shared = Arc::clone(&self.list);
            let thread = thread::Builder::new().name("regfs-linger".to_owned());
            match thread.spawn(move || watch(&shared)) {
                Ok(_) => list.is_watched = true,
                Err(error) => {
                    log::warn!("no thread to close uploads later: {error}");
                    let uploads = std::mem::take(&mut *list);
                    drop(list);
                    drop(uploads);
                    return;
                }
            }
        }
        drop(list);
        drop(surplus);
    }

    /// Whether an upload stays open, and perhaps nobody has it open any more.
    pub(super) fn has(&self, id: &UploadId) -> bool {
        self.list.lock().uploads.iter().any(|upload| upload.uuid() == *id)
    }

    /// Lets go of an upload that has come to its end.
    pub(super) fn forget(&self, id: &UploadId) {
        let mut list = self.list.lock();
        let mut forgotten = Vec::new();
        while let Some(at) = list.uploads.iter().position(|upload| upload.uuid() == *id) {
            forgotten.extend(list.uploads.remove(at));
            list.old -= usize::from(at < list.old);
        }
        drop(list);
        drop(forgotten);
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        let uploads = std::mem::take(&mut self.list.lock().uploads);
        drop(uploads);
    }
}

impl List {
    /// The one that is open for longest.
    fn pop(&mut self) -> Option<Arc<dyn LayerUpload>> {
        self.old = self.old.saturating_sub(1);
        self.uploads.pop_front()
    }
}

/// Lets go of those that are there for the second time, until there is none any more.
fn watch(list: &Mutex<List>) {
    loop {
        thread::sleep(LIFE);
        let mut locked = list.lock();
        let count = locked.old.min(locked.uploads.len());
        let gone: Vec<_> = locked.uploads.drain(..count).collect();
        locked.old = locked.uploads.len();
        locked.is_watched = locked.old > 0;
        let is_over = !locked.is_watched;
        drop(locked);
        drop(gone);
        if is_over {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Area, AttributesChange, UploadName};
    use crate::registry::{ReferenceCheck, Registry as _, memory::MemoryRegistry};
    use std::time::Instant;

    fn upload(file: &str) -> Arc<dyn LayerUpload> {
        let registry = MemoryRegistry::new(ReferenceCheck::Strict);
        let name = UploadName::new(Area::Uploads, file.as_ref()).unwrap();
        let repository = registry.repository(&"a".parse().unwrap());
        repository.layers().upload(&name, &AttributesChange::default()).unwrap()
    }

    #[test]
    fn an_upload_stays_open_for_a_moment_and_no_longer() {
        let lingering = Lingering::default();
        let start = Instant::now();
        let uploads: Vec<_> = (0..COUNT_MAX + 1).map(|_| upload("x")).collect();
        let weak: Vec<_> = uploads.iter().map(Arc::downgrade).collect();
        uploads.into_iter().for_each(|upload| lingering.keep(upload));
        assert!(weak[0].upgrade().is_none(), "there are too many");
        let is_open = weak[1].upgrade().is_some();
        assert!(is_open || start.elapsed() >= LIFE);
        while weak.iter().any(|upload| upload.strong_count() > 0) {
            assert!(start.elapsed() < Duration::from_secs(10));
            thread::sleep(LIFE);
        }
    }

    #[test]
    fn one_that_has_ended_is_let_go_of() {
        let lingering = Lingering::default();
        let (one, other) = (upload("one"), upload("other"));
        lingering.keep(Arc::clone(&one));
        assert!(lingering.has(&one.uuid()));
        lingering.forget(&one.uuid());
        other.cancel().unwrap();
        lingering.keep(Arc::clone(&other));
        assert_eq!([one, other].map(|upload| Arc::strong_count(&upload)), [1, 1]);
    }
}
