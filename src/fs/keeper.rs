//! Where the extended attributes of a node are kept: on what is stored, or with what is being written,
//! because tools copy attributes before they close.

use crate::fs::RegistryFs;
use crate::fs::handles::Writer;
use crate::fs::manifest_writer::ManifestWriter;
use crate::fs::node::Node;
use crate::model::Result;
use crate::registry::{Registry, Repository, Subject};
use std::{collections::BTreeSet, sync::Arc};

/// What keeps the extended attributes of one node.
pub(super) enum Keeper {
    /// The root's folder.
    Root(Arc<dyn Registry>),
    /// Something of a repository.
    Subject(Arc<dyn Repository>, Subject),
    /// A layer being written under its digest: its upload, whose attributes it will have. One that is
    /// there already is changed as well.
    Layer(Arc<dyn Repository>, Subject, Subject),
    /// A manifest being written, before what is stored.
    Manifest(Arc<dyn Repository>, Subject, Arc<ManifestWriter>),
}

impl RegistryFs {
    /// What keeps the extended attributes of `node`; `None` for what has none.
    pub(super) fn keeper(&self, node: &Node) -> Option<Keeper> {
        if *node == Node::Root {
            return Some(Keeper::Root(Arc::clone(&self.registry)));
        }
        let (name, subject) = self.subject(node)?;
        let repository = self.repository(name);
        Some(match self.writers.get(node) {
            Some(Writer::Layer(writer)) if !writer.is_published() => {
                Keeper::Layer(repository, subject, writer.subject())
            }
            Some(Writer::Manifest(writer)) if writer.stat().is_some() => {
                Keeper::Manifest(repository, subject, writer)
            }
            Some(_) | None => Keeper::Subject(repository, subject),
        })
    }

    /// Gives the things at `to` the extended attributes of those at `from`, and no others. What has
    /// its name by now keeps it, so a failure is only noted.
    pub(super) fn copy_extended(
        &self, (from, source): (&dyn Repository, &Subject),
        (to, target): (&dyn Repository, &Subject),
    ) {
        if let Err(error) = copy((from, source), (to, target)) {
            log::warn!("{target:?} of {} goes without attributes: {error}", to.name());
        }
    }
}

fn copy(
    (from, source): (&dyn Repository, &Subject), (to, target): (&dyn Repository, &Subject),
) -> Result<()> {
    let (from, to) = (from.attributes(), to.attributes());
    let names = from.extended_names(source)?;
    for name in to.extended_names(target)?.iter().filter(|name| !names.contains(name)) {
        to.set_extended(target, name, None)?;
    }
    for name in names {
        let value = from.extended(source, &name)?;
        to.set_extended(target, &name, value.as_deref())?;
    }
    Ok(())
}

impl Keeper {
    /// The value of an attribute, `None` when it is not set.
    pub(super) fn get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let kept = match self {
            Self::Root(registry) => return registry.extended(name),
            Self::Subject(repository, subject) => repository.attributes().extended(subject, name),
            Self::Layer(repository, _, upload) => repository.attributes().extended(upload, name),
            Self::Manifest(repository, subject, writer) => match writer.extended(name) {
                Some(value) => return Ok(value),
                None => repository.attributes().extended(subject, name),
            },
        };
        absent_as_empty(kept)
    }

    /// The names of all attributes that are set.
    pub(super) fn names(&self) -> Result<BTreeSet<String>> {
        let kept = match self {
            Self::Root(registry) => registry.extended_names(),
            Self::Subject(repository, subject) | Self::Manifest(repository, subject, _) => {
                repository.attributes().extended_names(subject)
            }
            Self::Layer(repository, _, upload) => repository.attributes().extended_names(upload),
        };
        let mut names: BTreeSet<String> = absent_as_empty(kept)?.into_iter().collect();
        if let Self::Manifest(_, _, writer) = self {
            for (name, is_set) in writer.extended_names() {
                if is_set {
                    names.insert(name);
                } else {
                    names.remove(&name);
                }
            }
        }
        Ok(names)
    }

    /// Sets an attribute, or removes it for `None`.
    pub(super) fn set(&self, name: &str, value: Option<&[u8]>) -> Result<()> {
        match self {
            Self::Root(registry) => registry.set_extended(name, value),
            Self::Subject(repository, subject) => {
                repository.attributes().set_extended(subject, name, value)
            }
            Self::Layer(repository, subject, upload) => {
                let kept = repository.attributes();
                let beside = kept.set_extended(upload, name, value);
                match kept.set_extended(subject, name, value) {
                    // It is not there yet.
                    Err(error) if error.is_unknown() => beside,
                    // The upload has become it by now.
                    outcome => absent_as_empty(beside).and(outcome),
                }
            }
            Self::Manifest(_, _, writer) => writer.set_extended(name, value),
        }
    }
}

/// What is being written, or was removed while open, has no attributes.
fn absent_as_empty<T: Default>(kept: Result<T>) -> Result<T> {
    match kept {
        Err(error) if error.is_unknown() => Ok(T::default()),
        kept => kept,
    }
}
