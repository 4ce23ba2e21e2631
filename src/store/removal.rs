//! Removing a folder with everything in it, which others may be filling, moving or removing at the time.

use crate::model::{Error, Result};
use crate::store::{
    directory::Directory,
    folder::{Folder, identity},
};
use rustix::io::Errno;
use std::{ffi::OsString, path::Path};

impl Folder {
    /// Removes a file or a folder with everything in it. That others do the same is fine.
    pub(super) fn remove_all(&self, at: impl AsRef<Path>) -> Result<()> {
        let at = at.as_ref();
        if !self.has_folder(at)? {
            return self.remove_file(at).map(drop);
        }
        let Some(folder) = self.open_folder(at)? else { return Ok(()) };
        folder.remove_content()?;
        self.remove_folder(at).map(drop)
    }

    /// Goes down and up again step by step, so that it takes no more than one open folder however deep it
    /// is: somebody may have made it so.
    fn remove_content(self) -> Result<()> {
        // The names gone down by, and which folder has each.
        let mut way: Vec<(OsString, (u64, u64))> = Vec::new();
        let mut folder = self;
        loop {
            if let Some(name) = folder.remove_what_is_empty()? {
                let Some(inner) = folder.step(&name)? else { continue };
                way.push((name, identity(&folder.stat_self()?)));
                folder = inner;
                continue;
            }
            let Some((name, above)) = way.pop() else { return Ok(()) };
            let parent = folder.step_up()?;
            // Moved meanwhile, what lies above is not ours to remove; and who goes on adding has won.
            let is_same = identity(&parent.stat_self()?) == above;
            if !is_same || (!parent.remove_folder(&name)? && parent.stat(&name)?.is_some()) {
                return Err(Error::io("remove", parent.path_of(name))(Errno::NOTEMPTY));
            }
            folder = parent;
        }
    }

    /// Removes files and empty folders in this one. The name of a folder that is not empty, if there is
    /// one.
    fn remove_what_is_empty(&self) -> Result<Option<OsString>> {
        // What was listed is gone when the listing goes on, so it is begun anew until it is empty.
        loop {
            let mut entries = Directory::of(self)?;
            let mut removed = 0;
            while let Some(entry) = entries.next()? {
                if !entry.is_folder {
                    self.remove_file(&entry.name)?;
                } else if !self.remove_folder(&entry.name)? {
                    return Ok(Some(entry.name));
                }
                removed += 1;
            }
            if removed == 0 {
                return Ok(None);
            }
        }
    }
}
