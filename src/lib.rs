//! regfs mounts a container registry as files.
//!
//! Read the modules in this order: [`model`] (the words), [`registry`] (the interfaces),
//! [`store`] and [`cache`] (bodies of them), [`fs`] (the mount), [`daemon`] (all put together),
//! [`cli`] and [`config`] (the command line as typed and as needed).

pub mod cache;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod fs;
pub mod model;
pub mod registry;
pub mod store;
