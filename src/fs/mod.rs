//! To come.

mod fusermount;
pub mod mount;
pub mod mountinfo;
mod stub;

pub use stub::{FsOptions, RegistryFs};
