//! What close(2) says: never that all is well when it is not, as far as a program can be told.
//!
//! Each test is a small program on a real mount, in Python because it closes, forks and maps what one
//! tells it to. It prints what each call said.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

#[path = "closing/descriptors.rs"]
mod descriptors;
#[path = "refusals/disk.rs"]
mod disk;
#[path = "closing/disks.rs"]
mod disks;
#[path = "closing/maps.rs"]
mod maps;
#[path = "closing/program.rs"]
mod program;
#[path = "closing/writers.rs"]
mod writers;
