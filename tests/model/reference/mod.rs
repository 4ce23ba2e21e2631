//! The model: a registry in memory, and what the steps of a program mean for it.

mod attributes;
mod files;
mod moves;
mod names;
mod peer;
mod tree;
mod whole_files;
mod writers;

use super::outcome::{ENOENT, Outcome, Result};
use super::step::{Slot, Step};
pub(crate) use attributes::COLOUR;
use files::Open;
use regfs::model::{Area, Attributes, RepositoryName};
use regfs::registry::{Registry as _, Repository, memory::MemoryRegistry};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// The model.
#[derive(Default)]
pub(crate) struct Reference {
    registry: MemoryRegistry,
    /// Folders among uploads that something happened to since the mount began.
    staging: BTreeMap<(RepositoryName, Area, String), Attributes>,
    open: BTreeMap<Slot, Open>,
    /// How many files were ever opened: tells which is the youngest.
    opened: u64,
    /// How long something may be seen longer than it is there.
    lingers: Duration,
}

/// How long a file that was closed without being published may be seen: the kernel tells of the last
/// close, and waits for no answer.
const CLOSES_BEHIND_MAX: Duration = Duration::from_secs(2);
/// How long the kernel may believe in tags after the manifest that they named was removed.
const TAGS_BEHIND_MAX: Duration = Duration::from_millis(500);

/// A slot for files that a step opens and closes.
const OWN: Slot = 200;
/// Another one.
const OTHER: Slot = 201;

impl Reference {
    /// Does what the step means.
    pub(crate) fn apply(&mut self, step: &Step) -> Outcome {
        match step {
            Step::Mkdir(path) => self.mkdir(path).into(),
            Step::Rmdir(path) => self.rmdir(path).into(),
            Step::Unlink(path) => self.unlink(path).into(),
            Step::Rename(from, to, replacing) => self.rename(from, to, *replacing).into(),
            Step::Link(from, to) => self.link(from, to).into(),
            // What cp refuses to do.
            Step::Copy(from, to) if from == to => Outcome::Nothing,
            Step::Copy(from, to) => self.copy(from, to).into(),
            Step::Put(bytes, path) => self.put(*bytes, path).into(),
            Step::Append(bytes, path) => self.append(*bytes, path).into(),
            Step::Chmod(mode, path) => self.chmod(*mode, path).into(),
            Step::Chown(owner, path) => self.chown(*owner, path).into(),
            Step::Touch(seconds, path) => self.touch(*seconds, path).into(),
            Step::Setxattr(value, path) => self.set_colour(Some(value), path).into(),
            Step::Removexattr(path) => self.set_colour(None, path).into(),
            Step::Resize(length, path) => self.resize(*length, path).into(),
            Step::Open(slot, access, path) => {
                if self.open.contains_key(slot) {
                    return Outcome::Nothing;
                }
                self.open(*slot, *access, path).into()
            }
            Step::Write(slot, bytes, at) => {
                self.in_slot(*slot, |model| model.write(*slot, bytes.get(), *at).into())
            }
            Step::Truncate(slot, length) => {
                self.in_slot(*slot, |model| model.truncate(*slot, *length).into())
            }
            Step::Read(slot) => self.in_slot(*slot, |model| match model.read(*slot) {
                Ok(bytes) => Outcome::Read(bytes),
                Err(refusal) => Outcome::Refused(refusal),
            }),
            Step::Sync(slot) => self.in_slot(*slot, |model| model.sync(*slot).into()),
            Step::Flush(slot) => self.in_slot(*slot, |model| model.flush(*slot).into()),
            Step::Close(slot) => self.in_slot(*slot, |model| model.close(*slot).into()),
            Step::Remount => {
                let closed = self.slots().into_iter().map(|slot| self.close(slot));
                let outcome = closed.fold(Ok(()), Result::and);
                self.staging.clear();
                outcome.into()
            }
            Step::Kill => {
                std::mem::take(&mut self.open).into_values().for_each(Open::drop_unpublished);
                self.staging.clear();
                Outcome::Done
            }
            Step::PushBlob(repository, content) => self.push_blob(repository, content).into(),
            Step::PushManifest(repository, content, tag) => {
                self.push_manifest(repository, content, tag.as_deref()).into()
            }
            Step::DeleteBlob(repository, content) => self.delete_blob(repository, content).into(),
            Step::DeleteManifest(repository, content) => {
                self.delete_manifest(repository, content).into()
            }
            Step::On(_) => Outcome::Done,
        }
    }

    /// How long what the last step has taken away may still be seen.
    pub(crate) fn take_lingering(&mut self) -> Duration {
        std::mem::take(&mut self.lingers)
    }

    /// The slots in which files are open.
    pub(crate) fn slots(&self) -> Vec<Slot> {
        self.open.keys().copied().collect()
    }

    fn in_slot(&mut self, slot: Slot, act: impl FnOnce(&mut Self) -> Outcome) -> Outcome {
        if self.open.contains_key(&slot) { act(self) } else { Outcome::Nothing }
    }

    fn at(&self, name: &RepositoryName) -> Arc<dyn Repository> {
        self.registry.repository(name)
    }

    /// Whether a repository or namespace is there.
    fn has(&self, name: &RepositoryName) -> Result {
        self.registry.stat(Some(name)).map(drop).map_err(|_| ENOENT)
    }
}
