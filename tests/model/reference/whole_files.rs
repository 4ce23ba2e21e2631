//! Whole files: what cp and cat do.

use super::files::kept;
use super::names::Node;
use super::{OTHER, OWN, Reference};
use crate::model::outcome::Result;
use crate::model::step::{Access, Bytes};
use crate::model::words::Path;
use regfs::registry::Subject;

impl Reference {
    pub(super) fn put(&mut self, bytes: Bytes, path: &Path) -> Result {
        self.open(OWN, Access::of("wct"), path)?;
        let written = if bytes.get().is_empty() { Ok(()) } else { self.write(OWN, bytes.get(), 0) };
        written.and(self.close(OWN))
    }

    pub(super) fn append(&mut self, bytes: Bytes, path: &Path) -> Result {
        self.open(OWN, Access::of("wca"), path)?;
        let written = self.write(OWN, bytes.get(), 0);
        written.and(self.close(OWN))
    }

    pub(super) fn copy(&mut self, from: &Path, to: &Path) -> Result {
        self.open(OTHER, Access::of("r"), from)?;
        if let Err(refusal) = self.open(OWN, Access::of("wct"), to) {
            self.close(OTHER)?;
            return Err(refusal);
        }
        let copied = self.copy_range();
        self.close(OTHER)?;
        copied.and(self.close(OWN))
    }

    /// From the one file to the other. A layer that is copied to its own name is linked there.
    fn copy_range(&mut self) -> Result {
        let (source, target) = (self.open[&OTHER].node.clone(), self.open[&OWN].node.clone());
        let mut bytes = self.read(OTHER)?;
        // The kernel asks for as much as the file's name shows, which may be what a writer has.
        bytes.truncate(usize::try_from(self.length_of(&source)).unwrap());
        if bytes.is_empty() {
            return Ok(());
        }
        if let (Node::Layer(a, digest), Node::Layer(b, new)) = (&source, &target)
            && digest == new
            && self.at(a).layers().exists(digest)?
        {
            let repository = self.at(b);
            let writer = self.slot(OWN).layer_writer_mut().unwrap();
            let own = Subject::Upload(writer.upload.uuid());
            let attributes = repository.attributes().get(&own)?;
            repository.layers().mount(digest, a, &kept(&attributes))?;
            return writer.is_linked();
        }
        self.write(OWN, &bytes, 0)
    }
}
