//! STUB until `store` and `cache` are there: a registry that is empty and takes nothing.
#![allow(missing_docs, reason = "it goes away")]

use crate::model::{Component, Error, RepositoryName, Result};
use crate::registry::{Capacity, Cursor, ReferenceCheck, Registry, Repository, RepositoryStat};
use std::{path::Path, sync::Arc};

pub(super) struct StoreOptions {
    pub(super) reference_check: ReferenceCheck,
    pub(super) read_only: bool,
}

pub(super) struct LocalRegistry;

impl LocalRegistry {
    pub(super) fn open(root: &Path, options: &StoreOptions) -> Result<Self> {
        let _unused = (options.reference_check, options.read_only);
        std::fs::create_dir_all(root).map_err(Error::io("make", root))?;
        Ok(Self)
    }
}

#[derive(Default)]
pub(super) struct CacheLimits {
    _bytes: u64,
}

pub(super) struct CachedRegistry(Arc<dyn Registry>);

impl CachedRegistry {
    pub(super) fn new(inner: Arc<dyn Registry>, _limits: CacheLimits) -> Self {
        Self(inner)
    }
}

const STUB: Error = Error::Unsupported("a stub");

impl Registry for LocalRegistry {
    #[expect(clippy::unimplemented, reason = "a stub")]
    fn repository(&self, _: &RepositoryName) -> Arc<dyn Repository> {
        unimplemented!()
    }
    fn stat(&self, _: Option<&RepositoryName>) -> Result<RepositoryStat> {
        Err(STUB)
    }
    fn children(&self, _: Option<&RepositoryName>) -> Result<Box<dyn Cursor<Component>>> {
        Err(STUB)
    }
    fn repositories(&self) -> Result<Box<dyn Cursor<RepositoryName>>> {
        Err(STUB)
    }
    fn create(&self, _: &RepositoryName) -> Result<()> {
        Err(STUB)
    }
    fn remove(&self, _: &RepositoryName) -> Result<()> {
        Err(STUB)
    }
    fn rename(&self, _: &RepositoryName, _: &RepositoryName) -> Result<()> {
        Err(STUB)
    }
    fn capacity(&self) -> Result<Capacity> {
        Err(STUB)
    }
}

impl Registry for CachedRegistry {
    fn repository(&self, name: &RepositoryName) -> Arc<dyn Repository> {
        self.0.repository(name)
    }
    fn stat(&self, name: Option<&RepositoryName>) -> Result<RepositoryStat> {
        self.0.stat(name)
    }
    fn children(&self, name: Option<&RepositoryName>) -> Result<Box<dyn Cursor<Component>>> {
        self.0.children(name)
    }
    fn repositories(&self) -> Result<Box<dyn Cursor<RepositoryName>>> {
        self.0.repositories()
    }
    fn create(&self, name: &RepositoryName) -> Result<()> {
        self.0.create(name)
    }
    fn remove(&self, name: &RepositoryName) -> Result<()> {
        self.0.remove(name)
    }
    fn rename(&self, from: &RepositoryName, to: &RepositoryName) -> Result<()> {
        self.0.rename(from, to)
    }
    fn capacity(&self) -> Result<Capacity> {
        self.0.capacity()
    }
}
