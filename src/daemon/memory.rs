//! Memory that is free again, given back to the system.
//!
//! After `ls -l` of a million tags the kernel holds a million inodes, and so do we. When it lets
//! them go, the allocator keeps what they took, in small pieces and for whoever comes next.

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
