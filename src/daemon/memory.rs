//! Memory that is free again, given back to the system.
//!
//! After `ls -l` of a million tags the kernel holds a million inodes, and so do we. When it lets
//! them go, the allocator keeps what they took, in small pieces and for whoever comes next.

use std::{io, sync::mpsc, thread, time::Duration};

/// How long to wait before memory is given back. The kernel lets go of inodes one by one, and each
/// that is left keeps a page of its own.
const PAUSE: Duration = Duration::from_secs(1);

/// Starts a thread that calls `forget`, and gives back what is free then, a moment after it was told
/// that much is. Gives what tells it.
pub(super) fn keeper(
    forget: impl Fn() + Send + 'static,
) -> io::Result<Box<dyn Fn() + Send + Sync>> {
    // Who is told twice in that moment does it once.
    let (sender, receiver) = mpsc::sync_channel(1);
    let work = move || {
        while receiver.recv().is_ok() {
            thread::sleep(PAUSE);
            forget();
            give_back();
        }
    };
    thread::Builder::new().name("memory".to_owned()).spawn(work)?;
    Ok(Box::new(move || {
        // It is full when it was told already.
        sender.try_send(()).ok();
    }))
}

/// Pieces from this length on have pages of their own, which go back when they are free: greater than
/// what a request needs for its answer, and far smaller than a table of many inodes.
#[cfg(target_env = "gnu")]
const OWN_PAGES_FROM: libc::c_int = 1 << 20;

/// Sees to it that large pieces keep pages of their own. The allocator would raise the limit to the
/// largest one that was ever freed, here a buffer of 16 MiB; then tables that grow leave holes behind.
/// To be called before there are threads.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "mallopt has no safe wrapper")]
pub(super) fn keep_large_pieces_apart() {
    // SAFETY: it sets a number of the allocator, and no other thread allocates yet.
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_PAGES_FROM) };
}

/// Other allocators do by themselves.
#[cfg(not(target_env = "gnu"))]
pub(super) fn keep_large_pieces_apart() {}

/// Gives back every free page. It takes some milliseconds, so it is for when much became free.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "malloc_trim has no safe wrapper")]
pub(super) fn give_back() {
    // SAFETY: it takes the allocator's own locks, and touches only what nobody has allocated.
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators give back by themselves.
#[cfg(not(target_env = "gnu"))]
pub(super) fn give_back() {}
