//! STUB until `store` is there.
#![allow(missing_docs, reason = "it goes away")]
use crate::model::{Error, Result};
use crate::registry::{ReferenceCheck, memory::MemoryRegistry};
use std::path::Path;

pub(super) struct StoreOptions {
    pub(super) reference_check: ReferenceCheck,
    pub(super) read_only: bool,
}
pub(super) struct LocalRegistry;
impl LocalRegistry {
    pub(super) fn open(root: &Path, options: &StoreOptions) -> Result<MemoryRegistry> {
        let _unused = options.read_only;
        std::fs::create_dir_all(root).map_err(Error::io("make", root))?;
        Ok(MemoryRegistry::new(options.reference_check))
    }
}
