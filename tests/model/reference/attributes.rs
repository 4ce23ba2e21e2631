//! Attributes, and truncate(2) by name.

use super::Reference;
use super::names::Node;
use super::tree::own;
use crate::model::outcome::{EBADMSG, EISDIR, ENODATA, EOPNOTSUPP, EPERM, Result};
use crate::model::tree::Marks;
use crate::model::words::Path;
use regfs::model::{Area, Attributes, AttributesChange, Digest, Reference as Name, RepositoryName};
use regfs::registry::Subject;
use std::time::{Duration, SystemTime};

/// The one extended attribute that programs set.
pub(crate) const COLOUR: &str = "user.colour";

impl Reference {
    pub(super) fn chmod(&mut self, mode: u32, path: &Path) -> Result {
        let change = AttributesChange { permissions: Some(mode), ..Default::default() };
        self.change(&change, path)
    }

    pub(super) fn chown(&mut self, owner: u32, path: &Path) -> Result {
        let change = AttributesChange { uid: Some(owner), gid: Some(owner), ..Default::default() };
        self.change(&change, path)
    }

    pub(super) fn touch(&mut self, seconds: i64, path: &Path) -> Result {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.try_into().unwrap());
        let (modified_at, accessed_at) = (Some(at), Some(at));
        let change = AttributesChange { modified_at, accessed_at, ..Default::default() };
        self.change(&change, path)
    }

    fn change(&mut self, change: &AttributesChange, path: &Path) -> Result {
        let node = self.find(path)?;
        self.change_node(&node, change)
    }

    /// Of what is being written, what it will be published with.
    fn change_node(&mut self, node: &Node, change: &AttributesChange) -> Result {
        let Some(subject) = node.subject() else {
            if let Node::Folder(name, area, folder) = node {
                self.change_folder((name.clone(), *area, folder.clone()), change);
            }
            return Ok(());
        };
        let repository = self.at(node.repository());
        match node {
            Node::Layer(_, digest) => {
                let stored = repository.layers().exists(digest)?;
                for writer in self.layer_writers(node) {
                    let is_touch = change.modified_at.is_some();
                    if !stored && writer.is_empty() && is_touch && *digest != Digest::sha256(b"") {
                        return Err(EBADMSG);
                    }
                    let upload = Subject::Upload(writer.upload.uuid());
                    repository.attributes().change(&upload, change)?;
                }
                if !stored {
                    return Ok(());
                }
            }
            Node::Manifest(_, reference) => {
                let stored = repository.manifests().exists(reference)?;
                let mut is_for_drafts = false;
                for draft in self.drafts_mut(node) {
                    is_for_drafts |= draft.change(change, stored)?;
                }
                if is_for_drafts {
                    return Ok(());
                }
            }
            _ => {}
        }
        repository.attributes().change(&subject, change)?;
        Ok(())
    }

    fn change_folder(&mut self, key: (RepositoryName, Area, String), change: &AttributesChange) {
        if let Some((around, _)) = key.2.split_once('/') {
            let around = (key.0.clone(), key.1, around.to_owned());
            self.staging.entry(around).or_insert_with(|| own(0o755));
        }
        let kept = self.staging.entry(key).or_insert_with(|| own(0o755));
        kept.permissions = change.permissions.unwrap_or(kept.permissions);
        kept.uid = change.uid.unwrap_or(kept.uid);
        kept.gid = change.gid.unwrap_or(kept.gid);
    }

    pub(super) fn set_colour(&mut self, value: Option<&str>, path: &Path) -> Result {
        let node = self.find(path)?;
        let Some(subject) = node.subject() else { return Err(EOPNOTSUPP) };
        if value.is_none() && self.colour(&node).is_none() {
            return Err(ENODATA);
        }
        if let Some(draft) = self.draft_mut(&node).filter(|draft| draft.makes_its_name()) {
            draft.colour = Some(value.map(str::to_owned));
            return Ok(());
        }
        let repository = self.at(node.repository());
        let value = value.map(str::as_bytes);
        if let Some(writer) = self.layer_writer(&node) {
            let upload = Subject::Upload(writer.upload.uuid());
            repository.attributes().set_extended(&upload, COLOUR, value)?;
            if repository.attributes().get(&subject).is_err() {
                return Ok(());
            }
        }
        Ok(repository.attributes().set_extended(&subject, COLOUR, value)?)
    }

    /// The colour of a node; of what is being written that with which it will be published.
    fn colour(&self, node: &Node) -> Option<String> {
        let draft = self.draft(node).filter(|draft| draft.makes_its_name());
        if let Some(colour) = draft.and_then(|draft| draft.colour.clone()) {
            return colour;
        }
        let subject = match self.layer_writer(node) {
            Some(writer) => Subject::Upload(writer.upload.uuid()),
            None => node.subject()?,
        };
        let kept = self.at(node.repository());
        let value = kept.attributes().extended(&subject, COLOUR).ok().flatten()?;
        Some(String::from_utf8(value).unwrap())
    }

    /// truncate(2) by name. The kernel sets the time of modification with it.
    pub(super) fn resize(&mut self, length: u64, path: &Path) -> Result {
        let node = self.find(path)?;
        if node.is_folder() {
            return Err(EISDIR);
        }
        match self.truncate_writer(&node, length) {
            Some(result) => result?,
            None => self.resize_node(&node, length)?,
        }
        let modified_at = Some(SystemTime::now());
        self.change_node(&node, &AttributesChange { modified_at, ..Default::default() })
    }

    fn resize_node(&mut self, node: &Node, length: u64) -> Result {
        let repository = self.at(node.repository());
        match node {
            Node::Upload(_, uuid) => Ok(repository.layers().resume(uuid)?.truncate(length)?),
            Node::Layer(_, digest) => {
                let same = repository.layers().stat(digest)?.length == length;
                if same { Ok(()) } else { Err(EPERM) }
            }
            Node::Manifest(_, Name::Digest(_)) => Err(EPERM),
            Node::Manifest(name, target) => {
                let manifest = repository.manifests().get(target)?;
                let mut bytes = manifest.bytes().to_vec();
                if bytes.len() as u64 == length {
                    return Ok(());
                }
                bytes.resize(usize::try_from(length).unwrap(), 0);
                self.put_manifest(name, target, &bytes, &AttributesChange::default())
            }
            Node::Repository(_) | Node::Area(..) | Node::Folder(..) => Err(EISDIR),
        }
    }

    /// The attributes of a node as they are shown, but for times.
    pub(super) fn marks(&self, node: &Node, attributes: &Attributes) -> Marks {
        Marks {
            mode: attributes.permissions,
            uid: attributes.uid,
            gid: attributes.gid,
            colour: self.colour(node),
        }
    }
}
