//! Every repository, found by walking the tree of namespaces depth first.

use crate::model::{RepositoryName, Result};
use crate::registry::{Cursor, Position};
use crate::store::{Store, directory::Directory, layout};
use std::{collections::VecDeque, sync::Arc};

/// How many positions are remembered: a listing in a mount goes back by a buffer of entries.
const REMEMBERED_MAX: usize = 1024;

/// A walk in progress. It holds a stack of open folders, one per component, and nothing else that
/// grows.
///
/// A position is the number of repositories given out before. Where the walk stood then is
/// remembered for the last of them; going back further walks again from the beginning and counts,
/// which is exact as long as no repository comes or goes before that point.
pub(super) struct Walk {
    store: Arc<Store>,
    stack: Vec<Level>,
    given: u64,
    remembered: VecDeque<(u64, Vec<Footprint>)>,
}

/// One folder on the way.
struct Level {
    name: Option<RepositoryName>,
    directory: Directory,
}

/// Where the walk stood in one folder.
#[derive(Clone)]
struct Footprint {
    name: Option<RepositoryName>,
    place: u64,
}

impl Walk {
    /// A walk from the beginning.
    pub(super) fn new(store: Arc<Store>) -> Result<Self> {
        let mut walk = Self { store, stack: Vec::new(), given: 0, remembered: VecDeque::new() };
        walk.restart()?;
        Ok(walk)
    }

    fn restart(&mut self) -> Result<()> {
        self.stack.clear();
        self.given = 0;
        self.enter(None)?;
        Ok(())
    }

    /// Opens a folder and stands at its beginning. `false` when it is gone.
    fn enter(&mut self, name: Option<RepositoryName>) -> Result<bool> {
        let at = layout::namespace(name.as_ref());
        let Some(folder) = self.store.root.open_folder(at)? else { return Ok(false) };
        let Some(directory) = Directory::open(&folder)? else { return Ok(false) };
        self.stack.push(Level { name, directory });
        Ok(true)
    }

    /// Stands where the footprints say, as deep as the folders are still there.
    fn stand(&mut self, footprints: &[Footprint]) -> Result<()> {
        self.stack.clear();
        for footprint in footprints {
            if !self.enter(footprint.name.clone())? {
                break;
            }
            if let Some(level) = self.stack.last_mut() {
                level.directory.seek(footprint.place)?;
            }
        }
        Ok(())
    }

    fn remember(&mut self) {
        if self.remembered.len() == REMEMBERED_MAX {
            self.remembered.pop_front();
        }
        let footprint =
            |level: &Level| Footprint { name: level.name.clone(), place: level.directory.place() };
        let footprints = self.stack.iter().map(footprint).collect();
        self.remembered.push_back((self.given, footprints));
    }

    /// The next repository, its folder entered.
    fn step(&mut self) -> Result<Option<RepositoryName>> {
        while let Some(level) = self.stack.last_mut() {
            let Some(entry) = level.directory.next()? else {
                self.stack.pop();
                continue;
            };
            let component = layout::parse_component(&entry.name).filter(|_| entry.is_folder);
            let Some(component) = component else { continue };
            // A name that is too long is nobody's.
            let Ok(name) = RepositoryName::child(level.name.as_ref(), &component) else { continue };
            if self.enter(Some(name.clone()))?
                && self.store.has_content(&layout::repository(&name))?
            {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }
}

impl Cursor<RepositoryName> for Walk {
    fn seek(&mut self, position: Position) -> Result<()> {
        let wanted = position.offset;
        if wanted == self.given {
            return Ok(());
        }
        let found = self.remembered.iter().position(|(given, _)| *given == wanted);
        if let Some(index) = found {
            let footprints = self.remembered[index].1.clone();
            self.remembered.truncate(index + 1);
            self.stand(&footprints)?;
            self.given = wanted;
            return Ok(());
        }
        self.remembered.clear();
        self.restart()?;
        while self.given < wanted && self.next()?.is_some() {}
        Ok(())
    }

    fn next(&mut self) -> Result<Option<(RepositoryName, Position)>> {
        let Some(name) = self.step()? else { return Ok(None) };
        self.given += 1;
        self.remember();
        Ok(Some((name, Position { segment: 0, offset: self.given })))
    }
}
