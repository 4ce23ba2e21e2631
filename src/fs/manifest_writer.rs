//! Writing a manifest: the bytes gather in memory and are put when they are flushed, whole or not
//! at all. Until then the tag names what it named before.
//!
//! A close does not say whether the writer was ready or was killed. What ends too early is no JSON,
//! so it is refused; but a manifest that is changed in place has the end of the old one. It is put
//! only when it was written over as a whole, or cut to its length, which rsync does last.

use crate::fs::fault::{Fault, Result};
use crate::model::{AttributesChange, Digest, Error, MANIFEST_BYTES_MAX, Manifest, Reference};
use crate::registry::{PutAs, Repository, Subject};
use parking_lot::Mutex;
use std::{collections::BTreeMap, mem, sync::Arc, time::SystemTime};

/// A manifest being written.
pub(super) struct ManifestWriter {
    repository: Arc<dyn Repository>,
    target: Reference,
    /// Lock 3 (ARCHITECTURE, "Locks"): one publisher at a time. Held across the put.
    publishing: Mutex<()>,
    draft: Mutex<Draft>,
}

struct Draft {
    bytes: Vec<u8>,
    /// Whether something was written that no flush has put.
    dirty: bool,
    /// Whether there is nothing of the name but what is here. A name that is there when it is opened
    /// is the manifest's; when that is removed, nothing is left of it before something is written.
    makes_name: bool,
    /// Whether the manifest is stored, as far as it was flushed.
    published: bool,
    /// How far a writer wanted to go that was refused: what is here is not what it meant, though it
    /// may well be a manifest. Only cutting the file mends that.
    refused: Option<u64>,
    old: Old,
    attributes: AttributesChange,
    /// Extended attributes to set, or to remove for `None`, once it is put.
    extended: Extended,
    modified_at: SystemTime,
    /// Whether a tool was told that what is here now was not put.
    told: bool,
}

/// What the draft still has of the manifest that was there. One that is written over in part may
/// well be a manifest again, and nobody meant it: that is what a killed `rsync --inplace` leaves.
struct Old {
    /// Whether each byte that was there is still the old one. Writes come in any order.
    bytes: Vec<bool>,
    /// Whether anything that was there was changed.
    changed: bool,
}

impl Old {
    /// Everything up to `length` is as it was, or as somebody who cut the file there wants it.
    fn of(length: usize) -> Self {
        Self { bytes: vec![true; length], changed: false }
    }

    fn wrote(&mut self, start: usize, end: usize, changed: bool) {
        let length = self.bytes.len();
        self.changed |= changed && start < length;
        self.bytes[start.min(length)..end.min(length)].fill(false);
    }

    /// Where the first part begins that is old while another is new.
    fn rest(&self) -> Option<usize> {
        self.bytes.iter().position(|old| *old).filter(|_| self.changed)
    }
}

type Extended = BTreeMap<String, Option<Vec<u8>>>;

/// How much of extended attributes a draft holds in memory: more than disks keep for one file.
const EXTENDED_BYTES_MAX: usize = 128 << 10;

/// What is known of an unpublished manifest.
#[derive(Clone, Copy, Debug)]
pub(super) struct DraftStat {
    /// Number of bytes so far.
    pub length: u64,
    /// The attributes it will be put with.
    pub attributes: AttributesChange,
    /// When something was last written.
    pub modified_at: SystemTime,
}

/// What a writer begins with.
pub(super) enum Start {
    /// With nothing; nothing is stored under the name.
    New,
    /// With nothing; what is stored under the name stays until something is put.
    Emptied,
    /// With the bytes of the manifest that is to be changed.
    Stored(Manifest),
}

impl ManifestWriter {
    /// Begins to write `target`.
    pub(super) fn begin(
        repository: Arc<dyn Repository>, target: Reference, start: Start,
        attributes: AttributesChange,
    ) -> Self {
        let makes_name = matches!(start, Start::New);
        let (bytes, published) = match start {
            Start::New | Start::Emptied => (Vec::new(), false),
            Start::Stored(manifest) => (manifest.bytes().to_vec(), true),
        };
        let modified_at = SystemTime::now();
        let old = Old::of(bytes.len());
        let draft = Draft {
            bytes,
            dirty: false,
            makes_name,
            published,
            refused: None,
            old,
            attributes,
            extended: Extended::new(),
            modified_at,
            told: false,
        };
        let (publishing, draft) = (Mutex::new(()), Mutex::new(draft));
        Self { repository, target, publishing, draft }
    }

    /// Writes. Errors: `ManifestTooLarge`.
    pub(super) fn write_at(&self, data: &[u8], offset: u64) -> Result<()> {
        let mut draft = self.draft.lock();
        let end = draft.within_limit(offset.saturating_add(data.len() as u64))?;
        let start = end - data.len();
        if draft.bytes.len() < end {
            draft.bytes.resize(end, 0);
        }
        let changed = draft.bytes[start..end] != *data;
        draft.old.wrote(start, end, changed);
        draft.bytes[start..end].copy_from_slice(data);
        draft.touch();
        Ok(())
    }

    /// Reads what was written so far. Gives the bytes from `offset`, at most `length`.
    pub(super) fn read_at(&self, offset: u64, length: usize) -> Vec<u8> {
        let draft = self.draft.lock();
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(draft.bytes.len());
        let end = start.saturating_add(length).min(draft.bytes.len());
        draft.bytes[start..end].to_vec()
    }

    /// Cuts or lengthens; to the length it has is no change. Who cuts says what the whole is.
    pub(super) fn truncate(&self, length: u64) -> Result<()> {
        let mut draft = self.draft.lock();
        let length = draft.within_limit(length)?;
        draft.refused = None;
        draft.old = Old::of(length);
        if draft.bytes.len() != length {
            draft.bytes.resize(length, 0);
            draft.touch();
        }
        Ok(())
    }

    /// A descriptor is closed: as [`Self::flush`], and what goes wrong is told.
    pub(super) fn close(&self) -> Result<()> {
        self.flush().inspect_err(|_| self.draft.lock().told = true)
    }

    /// After the last close: what is lost and nobody was told of.
    pub(super) fn loss(&self) -> Option<Fault> {
        let draft = self.draft.lock();
        match (draft.told, draft.dirty, draft.published) {
            (true, ..) | (false, false, true) => None,
            (false, false, false) => Some(Fault::NothingWritten),
            (false, true, _) => Some(Fault::LateWrite),
        }
    }

    /// Puts what was written since the last time; with nothing written this is a no-op. A refusal
    /// comes again with every flush until something more is written, or what is missing is there.
    pub(super) fn flush(&self) -> Result<()> {
        let _publishing = self.publishing.lock();
        let (bytes, attributes, extended) = {
            let mut draft = self.draft.lock();
            if let Some(length) = draft.refused {
                return Err(too_large(length).into());
            }
            if !draft.dirty {
                return Ok(());
            }
            if let Some(rest) = draft.old.rest() {
                let reason = format!("it was written over in part: from byte {rest} on it is old");
                return Err(Error::ManifestInvalid(reason).into());
            }
            draft.dirty = false;
            (draft.bytes.clone(), draft.attributes, mem::take(&mut draft.extended))
        };
        let put = self.put(&bytes, &attributes, &extended);
        let mut draft = self.draft.lock();
        match put {
            Ok(()) => {
                draft.published = true;
                draft.makes_name = false;
                // What comes now changes what was put.
                if !draft.dirty {
                    draft.old = Old::of(bytes.len());
                }
            }
            Err(error) => {
                draft.dirty = true;
                // What was set meanwhile is newer.
                let newer = mem::replace(&mut draft.extended, extended);
                draft.extended.extend(newer);
                return Err(error.into());
            }
        }
        Ok(())
    }

    fn put(
        &self, bytes: &[u8], attributes: &AttributesChange, extended: &Extended,
    ) -> Result<(), Error> {
        put(&*self.repository, bytes, &self.target, attributes)?;
        let subject = Subject::from(&self.target);
        let kept = self.repository.attributes();
        extended
            .iter()
            .try_for_each(|(name, value)| kept.set_extended(&subject, name, value.as_deref()))
    }

    /// What was done to an extended attribute that is not put yet: set, or removed. `None` for one
    /// that was left as it is.
    pub(super) fn extended(&self, name: &str) -> Option<Option<Vec<u8>>> {
        self.draft.lock().extended.get(name).cloned()
    }

    /// The names of the extended attributes that were set, and of those that were removed.
    pub(super) fn extended_names(&self) -> Vec<(String, bool)> {
        let draft = self.draft.lock();
        draft.extended.iter().map(|(name, value)| (name.clone(), value.is_some())).collect()
    }

    /// Sets an extended attribute of what will be put, or removes it. Errors: `AttributesFull`.
    pub(super) fn set_extended(&self, name: &str, value: Option<&[u8]>) -> Result<(), Error> {
        let mut draft = self.draft.lock();
        let others = draft.extended.iter().filter(|(other, _)| *other != name);
        let length = |name: &str, value: Option<&[u8]>| name.len() + value.map_or(0, <[u8]>::len);
        let held: usize = others.map(|(name, value)| length(name, value.as_deref())).sum();
        if held + length(name, value) > EXTENDED_BYTES_MAX {
            return Err(Error::AttributesFull { path: self.target.to_string().into() });
        }
        draft.extended.insert(name.to_owned(), value.map(<[u8]>::to_vec));
        Ok(())
    }

    /// The manifest as written so far, when it is one and has something that was not put.
    pub(super) fn draft(&self) -> Option<Manifest> {
        let bytes = {
            let draft = self.draft.lock();
            draft.dirty.then(|| draft.bytes.clone())?
        };
        Manifest::parse(&bytes).ok()
    }

    /// What is known of the draft; `None` when it has nothing that was not put.
    pub(super) fn stat(&self) -> Option<DraftStat> {
        let draft = self.draft.lock();
        (draft.dirty || draft.makes_name).then(|| DraftStat {
            length: draft.bytes.len() as u64,
            attributes: draft.attributes,
            modified_at: draft.attributes.modified_at.unwrap_or(draft.modified_at),
        })
    }

    /// How long it is by now, put or not.
    pub(super) fn length(&self) -> u64 {
        self.draft.lock().bytes.len() as u64
    }

    /// Changes the attributes it will be put with; `false` when nothing here is to be put, and the
    /// change belongs to what is stored. Times on a new file in which nothing was written (`touch`)
    /// are refused, because that would look as if a manifest had been made.
    pub(super) fn change(&self, change: &AttributesChange) -> Result<bool> {
        let exists = || self.repository.manifests().stat(&self.target).is_ok();
        if !self.is_dirty() && (self.draft.lock().published || exists()) {
            return Ok(false);
        }
        let mut draft = self.draft.lock();
        if !draft.dirty && change.modified_at.is_some() {
            draft.told = true;
            return Err(Error::ManifestInvalid("nothing was written to it".to_owned()).into());
        }
        let attributes = &mut draft.attributes;
        attributes.permissions = change.permissions.or(attributes.permissions);
        attributes.uid = change.uid.or(attributes.uid);
        attributes.gid = change.gid.or(attributes.gid);
        attributes.modified_at = change.modified_at.or(attributes.modified_at);
        attributes.accessed_at = change.accessed_at.or(attributes.accessed_at);
        Ok(true)
    }

    /// Whether it has something that was not put.
    pub(super) fn is_dirty(&self) -> bool {
        self.draft.lock().dirty
    }
}

impl Draft {
    /// `length` as an index, when a manifest may be that long.
    fn within_limit(&mut self, length: u64) -> Result<usize, Error> {
        match usize::try_from(length) {
            Ok(index) if length <= MANIFEST_BYTES_MAX => Ok(index),
            Ok(_) | Err(_) => {
                self.refused = Some(length);
                Err(too_large(length))
            }
        }
    }

    /// Something was written: a time that was set before no longer holds.
    fn touch(&mut self) {
        self.dirty = true;
        self.told = false;
        self.modified_at = SystemTime::now();
        self.attributes.modified_at = None;
    }
}

/// Puts `bytes` as a manifest under `target`. Errors: as parsing and putting; `DigestMismatch` when
/// the target is another digest.
pub(super) fn put(
    repository: &dyn Repository, bytes: &[u8], target: &Reference, attributes: &AttributesChange,
) -> Result<(), Error> {
    let manifest = Manifest::parse(bytes)?;
    let put_as = match target {
        Reference::Tag(tag) => PutAs::Tag(tag.clone()),
        Reference::Digest(expected) => {
            let computed = *manifest.digest();
            if computed != *expected {
                return Err(Error::DigestMismatch { expected: *expected, computed });
            }
            PutAs::Untagged
        }
    };
    let _digest: Digest = repository.manifests().put(&manifest, &put_as, attributes)?;
    Ok(())
}

fn too_large(length: u64) -> Error {
    Error::ManifestTooLarge { length, limit: MANIFEST_BYTES_MAX }
}
