//! Each tool against each refusal: what it says, the line in `.regfs/errors`, and that nothing wrong
//! is stored, nothing of what was there is lost, and nothing is left behind.
//!
//! `docs/errors.md` is what these tests saw. A refusal is a [`matrix::Matrix`]: a file, the name it
//! is to have, and the tools that try.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

#[path = "refusals/content.rs"]
mod content;
#[path = "refusals/disk.rs"]
mod disk;
#[path = "refusals/disks.rs"]
mod disks;
#[path = "refusals/document.rs"]
mod document;
#[path = "refusals/matrix.rs"]
mod matrix;
#[path = "refusals/names.rs"]
mod names;
#[path = "refusals/places.rs"]
mod places;
