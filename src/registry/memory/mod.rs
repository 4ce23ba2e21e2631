//! A registry in maps: the reference for every other body, an example to read, and a fake for
//! tests.
//!
//! It is meant to be obviously right rather than fast: everything is in maps (`folder.rs`) under
//! one mutex, and every method takes it once, so each call happens at one moment. Content is not
//! shared between repositories by digest but by reference, and goes with its last link.

mod attributes;
mod folder;
mod layers;
mod manifests;
mod table;
mod upload;

use crate::model::{AttributesChange, Component, Error, RepositoryName, Result};
use crate::registry::{
    AttributeService, Capacity, Cursor, LayerService, ManifestService, ReferenceCheck, Registry,
    Repository, RepositoryStat,
};
use folder::{FOLDER_PERMISSIONS, Folder, Marks};
use parking_lot::Mutex;
use std::sync::Arc;
use table::{Listing, Table};

/// A registry in memory.
pub struct MemoryRegistry {
    shared: Arc<Shared>,
}

struct Shared {
    check: ReferenceCheck,
    /// Taken once by each method; only an upload's body is taken under it.
    state: Mutex<State>,
}

/// Everything there is.
struct State {
    root: Marks,
    /// Every repository and every namespace above one.
    folders: Table<RepositoryName, Folder>,
}

struct MemoryRepository {
    shared: Arc<Shared>,
    name: RepositoryName,
}

impl MemoryRegistry {
    /// An empty registry.
    pub fn new(check: ReferenceCheck) -> Self {
        let root = Marks::new(FOLDER_PERMISSIONS);
        let state = Mutex::new(State { root, folders: Table::default() });
        Self { shared: Arc::new(Shared { check, state }) }
    }
}

impl Default for MemoryRegistry {
    fn default() -> Self {
        Self::new(ReferenceCheck::Strict)
    }
}

impl Registry for MemoryRegistry {
    fn repository(&self, name: &RepositoryName) -> Arc<dyn Repository> {
        Arc::new(MemoryRepository { shared: self.shared.clone(), name: name.clone() })
    }

    fn stat(&self, name: Option<&RepositoryName>) -> Result<RepositoryStat> {
        let state = self.shared.state.lock();
        let has_children = state.has_children(name);
        let Some(name) = name else {
            let attributes = state.root.attributes;
            return Ok(RepositoryStat { attributes, has_content: false, has_children });
        };
        let folder = state.folder(name)?;
        let attributes = folder.marks.attributes;
        Ok(RepositoryStat { attributes, has_content: folder.has_content, has_children })
    }

    fn children(&self, name: Option<&RepositoryName>) -> Result<Box<dyn Cursor<Component>>> {
        let (shared, name) = (self.shared.clone(), name.cloned());
        Ok(Box::new(Listing::new(move |number| {
            let state = shared.state.lock();
            let mut behind = state.folders.after(number);
            let found = behind.find(|(_, child, _)| child.parent() == name);
            found.map(|(number, child, _)| (number, child.last()))
        })))
    }

    fn repositories(&self) -> Result<Box<dyn Cursor<RepositoryName>>> {
        let shared = self.shared.clone();
        Ok(Box::new(Listing::new(move |number| {
            let state = shared.state.lock();
            let found = state.folders.after(number).find(|(_, _, folder)| folder.has_content);
            found.map(|(number, name, _)| (number, name.clone()))
        })))
    }

    fn create(&self, name: &RepositoryName) -> Result<()> {
        let mut state = self.shared.state.lock();
        if state.folders.contains(name) {
            return Err(Error::Exists(name.to_string()));
        }
        state.make(name);
        Ok(())
    }

    fn remove(&self, name: &RepositoryName) -> Result<()> {
        let mut state = self.shared.state.lock();
        state.folder(name)?;
        if !state.is_empty(name) {
            return Err(Error::NotEmpty(name.clone()));
        }
        state.folders.remove(name);
        Ok(())
    }

    fn rename(&self, from: &RepositoryName, to: &RepositoryName) -> Result<()> {
        let mut state = self.shared.state.lock();
        state.folder(from)?;
        if from.is_within(to) || to.is_within(from) {
            return Err(Error::Unsupported("a repository cannot be renamed into itself"));
        }
        if state.folders.contains(to) && !state.is_empty(to) {
            return Err(Error::NotEmpty(to.clone()));
        }
        let within = state.folders.iter().filter(|(name, _)| name.is_within(from));
        let mut moves = Vec::new();
        for (old, _) in within {
            let new = old.rebased(from, to).ok_or_else(|| {
                Error::name_invalid("repository", old.as_str(), "it gets too long below that name")
            })?;
            moves.push((old.clone(), new));
        }
        state.make(to);
        for (old, new) in moves {
            if let Some(folder) = state.folders.remove(&old) {
                state.folders.insert(&new, folder);
            }
        }
        Ok(())
    }

    fn change(&self, change: &AttributesChange) -> Result<()> {
        self.shared.state.lock().root.change(change);
        Ok(())
    }

    fn extended(&self, name: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.shared.state.lock().root.extended.get(name).cloned())
    }

    fn extended_names(&self) -> Result<Vec<String>> {
        Ok(self.shared.state.lock().root.extended.keys().cloned().collect())
    }

    fn set_extended(&self, name: &str, value: Option<&[u8]>) -> Result<()> {
        self.shared.state.lock().root.set_extended(name, value);
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    /// Memory has no measure of its own.
    fn capacity(&self) -> Result<Capacity> {
        Ok(Capacity::default())
    }
}

impl State {
    fn folder(&self, name: &RepositoryName) -> Result<&Folder> {
        self.folders.get(name).ok_or_else(|| Error::RepositoryUnknown(name.clone()))
    }

    /// The folder, made with the namespaces above it if it is missing.
    fn make(&mut self, name: &RepositoryName) -> &mut Folder {
        if let Some(parent) = name.parent() {
            self.make(&parent);
        }
        self.folders.get_or_insert_with(name, Folder::new)
    }

    /// The folder of a repository that gets content.
    fn fill(&mut self, name: &RepositoryName) -> &mut Folder {
        let folder = self.make(name);
        folder.has_content = true;
        folder.make_areas();
        folder
    }

    fn has_children(&self, name: Option<&RepositoryName>) -> bool {
        self.folders.iter().any(|(child, _)| child.parent().as_ref() == name)
    }

    fn is_empty(&self, name: &RepositoryName) -> bool {
        self.folders.get(name).is_none_or(Folder::is_empty) && !self.has_children(Some(name))
    }
}

impl MemoryRepository {
    /// A listing of one table of the repository's folder.
    fn listing<K: Ord + Clone + 'static, V: 'static>(
        &self, table: impl Fn(&Folder) -> &Table<K, V> + Send + 'static,
    ) -> Box<dyn Cursor<K>> {
        let (shared, name) = (self.shared.clone(), self.name.clone());
        Box::new(Listing::new(move |number| {
            let state = shared.state.lock();
            let folder = state.folders.get(&name)?;
            let found = table(folder).after(number).next();
            found.map(|(number, key, _)| (number, key.clone()))
        }))
    }
}

impl Repository for MemoryRepository {
    fn name(&self) -> &RepositoryName {
        &self.name
    }

    fn manifests(&self) -> &dyn ManifestService {
        self
    }

    fn layers(&self) -> &dyn LayerService {
        self
    }

    fn attributes(&self) -> &dyn AttributeService {
        self
    }
}
