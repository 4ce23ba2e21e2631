//! What hostile people put into a store or push through a mount: nothing leaves the store, nothing
//! hangs, and nothing takes the daemon down.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;
#[path = "hostile/links.rs"]
mod links;
#[path = "hostile/manifests.rs"]
mod manifests;
#[path = "hostile/stores.rs"]
mod stores;
