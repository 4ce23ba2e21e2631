//! One look at one thing. Whatever somebody may be changing just now is looked at again later, before
//! anything is said of it.

use crate::model::{Error, RepositoryName, Result};
use crate::store::{
    attributes::attributes,
    directory::Directory,
    parts::{LinkName, Part},
    verify::{Counts, Finding, Kind, run::Run, walk::is_symlink},
};
use rustix::fs::{FileType, Stat};
use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// How long a thing must have been left alone that is believed to be as it is. The steps of a push or
/// a removal follow each other much faster.
pub(super) const SETTLED_AGE: Duration = Duration::from_secs(2);
/// How often a thing is looked at at most, while somebody is at work beside it.
pub(super) const LOOKS_MAX: u32 = 10;

/// What is to be looked at.
#[derive(Clone)]
pub(super) struct Task {
    /// What lies there; `None` when nobody knows.
    pub(super) part: Option<Part>,
    pub(super) at: PathBuf,
    pub(super) repository: Option<RepositoryName>,
    /// Its number in the ledger, for what an interrupted run need not look at again.
    pub(super) number: Option<u64>,
    /// How often it was looked at.
    pub(super) looks: u32,
}

/// What a look has shown.
#[derive(Default)]
pub(super) struct Look {
    pub(super) looks: u32,
    pub(super) findings: Vec<Finding>,
    pub(super) counts: Counts,
    /// Whether to look again before anything is said.
    pub(super) is_in_doubt: bool,
    /// Whether somebody ended the run in the midst of it.
    pub(super) is_cut_off: bool,
}

impl Look {
    pub(super) fn at(task: &Task) -> Self {
        Self { looks: task.looks, ..Self::default() }
    }

    pub(super) fn is_first(&self) -> bool {
        self.looks == 0
    }

    /// It is so.
    pub(super) fn sure(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// It looks so; whether it is to be looked at again is for the caller to say.
    pub(super) fn found(&mut self, finding: Finding, is_in_doubt: bool) {
        self.is_in_doubt |= is_in_doubt && self.looks + 1 < LOOKS_MAX;
        self.findings.push(finding);
    }

    /// It could not be looked at.
    pub(super) fn unreadable(&mut self, at: &Path, error: &Error) {
        let finding = Finding::file(Kind::Unreadable, at, error.to_string());
        self.found(finding, self.is_first());
    }
}

impl Run<'_> {
    /// Looks at what `task` says.
    pub(super) fn look_at(&self, task: &Task) -> Look {
        let mut look = Look::at(task);
        match &task.part {
            None => self.look_at_foreign(&task.at, &mut look),
            Some(Part::Upload(id)) => {
                self.look_at_upload(*id, &task.at, task.repository.as_ref(), &mut look);
                self.look_into(&Part::Upload(*id), task, &task.at, &mut look);
            }
            Some(part) => self.look_into(part, task, &task.at, &mut look),
        }
        look
    }

    /// Looks at everything in the folder `at`, which belongs to one thing.
    fn look_into(&self, part: &Part, task: &Task, at: &Path, look: &mut Look) {
        let mut entries = match self.entries(at) {
            Ok(Some(entries)) => entries,
            // It went a moment ago.
            Ok(None) => return,
            Err(error) if is_symlink(&error) => return self.look_at_foreign(at, look),
            Err(error) => return look.unreadable(at, &error),
        };
        loop {
            let entry = match entries.next() {
                Ok(Some(entry)) => entry,
                Ok(None) => return,
                Err(error) => return look.unreadable(at, &error),
            };
            let inner = at.join(&entry.name);
            match part.child(&entry.name, entry.is_folder) {
                None => self.look_at_foreign(&inner, look),
                Some(Part::Known) => {}
                Some(Part::Blob(digest)) => self.look_at_blob(&digest, &inner, look),
                Some(Part::Link(link)) => self.look_at_link_of(&link, task, &inner, look),
                Some(child) => self.look_into(&child, task, &inner, look),
            }
            if look.is_cut_off {
                return;
            }
        }
    }

    fn entries(&self, at: &Path) -> Result<Option<Directory>> {
        match self.store.root.open_folder(at)? {
            Some(folder) => Directory::open(&folder),
            None => Ok(None),
        }
    }

    fn look_at_link_of(&self, link: &LinkName, task: &Task, at: &Path, look: &mut Look) {
        if let Some(repository) = &task.repository {
            self.look_at_link(link, repository, at, look);
        }
    }

    /// What belongs to nobody. A young one may be a registry's, which renames it in a moment.
    pub(super) fn look_at_foreign(&self, at: &Path, look: &mut Look) {
        let stat = match self.store.root.stat(at) {
            Ok(Some(stat)) => stat,
            Ok(None) => return,
            Err(error) => return look.unreadable(at, &error),
        };
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            kind if kind.is_symlink() => "a symbolic link",
            kind if kind.is_dir() => "a folder",
            _ => "a file",
        };
        let reason = format!("{kind} that belongs neither to a registry nor to regfs");
        look.found(Finding::file(Kind::Foreign, at, reason), !is_settled(&stat));
    }

    /// Whether a file is left out because it has not changed lately.
    pub(super) fn is_passed_over(&self, stat: &Stat) -> bool {
        self.options.since.is_some_and(|since| attributes(stat).changed_at < since)
    }

    /// Whether to look again for what is missing at `at`: the first time always, and then as long as
    /// somebody makes or removes things just there.
    pub(super) fn may_come(&self, at: &Path, look: &Look) -> bool {
        if look.is_first() {
            return true;
        }
        let folders = at.ancestors().skip(1).filter(|at| !at.as_os_str().is_empty());
        let nearest = folders.filter_map(|at| self.store.root.stat(at).ok().flatten()).next();
        nearest.is_some_and(|stat| !is_settled(&stat))
    }
}

/// Whether a file or folder was left alone for a while. A clock that was set back makes it look as if
/// it was not.
pub(super) fn is_settled(stat: &Stat) -> bool {
    let changed_at = attributes(stat).changed_at;
    SystemTime::now().duration_since(changed_at).is_ok_and(|age| age >= SETTLED_AGE)
}
