//! Random programs, run on real mounts and on a model, step by step.
//!
//! The model (`reference/`) is the registry in memory, which is obviously right because it is a few
//! maps, and a few rules in plain code: what a file that is being written means, and what the kernel
//! itself says of names. Nothing of `src/fs` or `src/store` is in it but the table of error numbers.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a rule of the model is about the kinds that it names"
)]

pub(crate) mod aim;
pub(crate) mod disk;
pub(crate) mod eye;
pub(crate) mod outcome;
pub(crate) mod peer;
pub(crate) mod programs;
pub(crate) mod real;
pub(crate) mod reference;
mod regressions;
mod requests;
mod shorter;
pub(crate) mod soak;
pub(crate) mod step;
pub(crate) mod tree;
pub(crate) mod words;
pub(crate) mod world;
