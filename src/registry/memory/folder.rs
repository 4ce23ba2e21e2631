//! What the registry remembers of one repository: plain data, no lock.

use super::table::Table;
use crate::model::{
    Area, Attributes, AttributesChange, Digest, Manifest, Result, Tag, UploadId, UploadName,
};
use crate::registry::{Layer, ManifestStat, UploadStat};
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// Permissions of folders and files that nobody has changed.
pub(super) const FOLDER_PERMISSIONS: u32 = 0o755;
const FILE_PERMISSIONS: u32 = 0o644;

/// A repository or namespace.
pub(super) struct Folder {
    pub(super) marks: Marks,
    /// The folders of the repository, once they are made: for content, or to change attributes.
    pub(super) areas: BTreeMap<Area, Marks>,
    pub(super) has_content: bool,
    pub(super) tags: Table<Tag, Tagged>,
    pub(super) revisions: Table<Digest, Revision>,
    pub(super) layers: Table<Digest, Link>,
    pub(super) uploads: Table<UploadId, Upload>,
}

/// Where a tag points.
pub(super) struct Tagged {
    pub(super) marks: Marks,
    pub(super) digest: Digest,
}

/// A manifest, under its digest.
pub(super) struct Revision {
    pub(super) marks: Marks,
    pub(super) manifest: Manifest,
}

/// A digest of any algorithm, and the content it gives this repository.
pub(super) struct Link {
    pub(super) marks: Marks,
    pub(super) blob: Arc<Blob>,
}

/// Content that never changes. It lives as long as somebody links or reads it.
pub(super) struct Blob {
    pub(super) digest: Digest,
    pub(super) bytes: Vec<u8>,
    pub(super) created_at: SystemTime,
}

/// An upload in progress.
pub(super) struct Upload {
    pub(super) marks: Marks,
    pub(super) name: UploadName,
    pub(super) started_at: SystemTime,
    pub(super) body: Arc<Mutex<Body>>,
}

/// The content of an upload; its handles share it and read on when the upload has ended.
#[derive(Default)]
pub(super) struct Body {
    pub(super) bytes: Vec<u8>,
    pub(super) is_cancelled: bool,
}

/// What `chmod`, `chown`, `touch` and `setfattr` leave on a thing.
#[derive(Clone)]
pub(super) struct Marks {
    pub(super) attributes: Attributes,
    pub(super) extended: BTreeMap<String, Vec<u8>>,
}

impl Folder {
    pub(super) fn new() -> Self {
        Self {
            marks: Marks::new(FOLDER_PERMISSIONS),
            areas: BTreeMap::new(),
            has_content: false,
            tags: Table::default(),
            revisions: Table::default(),
            layers: Table::default(),
            uploads: Table::default(),
        }
    }

    /// Whether the repository can be removed; untagged revisions do not count.
    pub(super) fn is_empty(&self) -> bool {
        self.tags.is_empty() && self.layers.is_empty() && self.uploads.is_empty()
    }

    /// What a folder of the repository is made with: it belongs to whom the repository belongs, with
    /// the same mode.
    pub(super) fn marks_of_new_area(&self) -> Marks {
        Marks { attributes: self.marks.attributes, extended: BTreeMap::new() }
    }

    /// Makes the folders of the repository that are missing.
    pub(super) fn make_areas(&mut self) {
        for area in Area::ALL {
            if !self.areas.contains_key(&area) {
                self.areas.insert(area, self.marks_of_new_area());
            }
        }
    }

    /// Points `tag` at a revision. A tag that is there keeps what `change` leaves open.
    pub(super) fn point(&mut self, tag: &Tag, digest: Digest, change: &AttributesChange) {
        let tagged =
            self.tags.get_or_insert_with(tag, || Tagged { marks: Marks::of_file(), digest });
        tagged.digest = digest;
        tagged.marks.touch();
        tagged.marks.change(change);
    }

    /// What is known of a revision, with the attributes of whatever name it was asked by.
    pub(super) fn manifest_stat(&self, digest: &Digest, marks: &Marks) -> Option<ManifestStat> {
        let length = self.revisions.get(digest)?.manifest.bytes().len() as u64;
        Some(ManifestStat { digest: *digest, length, attributes: marks.attributes })
    }
}

impl Upload {
    pub(super) fn new(name: &UploadName) -> Self {
        let now = SystemTime::now();
        let parts = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().subsec_nanos();
        Self {
            marks: Marks::of_file(),
            name: name.clone(),
            started_at: now - Duration::from_nanos(u64::from(parts)),
            body: Arc::default(),
        }
    }

    pub(super) fn stat(&self, uuid: UploadId) -> UploadStat {
        UploadStat {
            uuid,
            name: Some(self.name.clone()),
            started_at: self.started_at,
            length: self.body.lock().bytes.len() as u64,
            attributes: self.marks.attributes,
        }
    }
}

impl Marks {
    pub(super) fn of_file() -> Self {
        Self::new(FILE_PERMISSIONS)
    }

    pub(super) fn new(permissions: u32) -> Self {
        let now = SystemTime::now();
        let attributes = Attributes {
            permissions,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            modified_at: now,
            accessed_at: now,
            changed_at: now,
        };
        Self { attributes, extended: BTreeMap::new() }
    }

    pub(super) fn change(&mut self, change: &AttributesChange) {
        let old = self.attributes;
        self.attributes = Attributes {
            permissions: change.permissions.unwrap_or(old.permissions) & 0o7777,
            uid: change.uid.unwrap_or(old.uid),
            gid: change.gid.unwrap_or(old.gid),
            modified_at: change.modified_at.unwrap_or(old.modified_at),
            accessed_at: change.accessed_at.unwrap_or(old.accessed_at),
            changed_at: SystemTime::now(),
        };
    }

    pub(super) fn set_extended(&mut self, name: &str, value: Option<&[u8]>) {
        match value {
            Some(value) => self.extended.insert(name.to_owned(), value.to_vec()),
            None => self.extended.remove(name),
        };
    }

    /// The content has changed.
    pub(super) fn touch(&mut self) {
        let now = SystemTime::now();
        self.attributes.modified_at = now;
        self.attributes.changed_at = now;
    }
}

impl Layer for Blob {
    fn digest(&self) -> &Digest {
        &self.digest
    }

    fn length(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn created_at(&self) -> SystemTime {
        self.created_at
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        Ok(copy_at(&self.bytes, buffer, offset))
    }
}

/// Fills `buffer` from `offset` in `bytes`, as far as they go.
pub(super) fn copy_at(bytes: &[u8], buffer: &mut [u8], offset: u64) -> usize {
    let offset = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
    let length = buffer.len().min(bytes.len() - offset);
    buffer[..length].copy_from_slice(&bytes[offset..offset + length]);
    length
}
