//! What `chmod`, `chown` and `touch` change: kept per repository for each layer, tag, upload and
//! folder, so that mirroring twice copies nothing the second time.

use std::time::SystemTime;

/// The attributes of one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// The permission bits, `0o7777` at most; no file type.
    pub permissions: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// When the content last changed, or what `touch -d` said.
    pub modified_at: SystemTime,
    /// When it was last read, as far as the store keeps that.
    pub accessed_at: SystemTime,
    /// When content or attributes last changed.
    pub changed_at: SystemTime,
}

/// A wish to change attributes; what is `None` stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttributesChange {
    /// New permission bits, `0o7777` at most.
    pub permissions: Option<u32>,
    /// New owner.
    pub uid: Option<u32>,
    /// New group.
    pub gid: Option<u32>,
    /// New time of modification.
    pub modified_at: Option<SystemTime>,
    /// New time of access.
    pub accessed_at: Option<SystemTime>,
}

impl AttributesChange {
    /// The change that gives another entry these attributes.
    pub fn to(attributes: &Attributes) -> Self {
        Self {
            permissions: Some(attributes.permissions),
            uid: Some(attributes.uid),
            gid: Some(attributes.gid),
            modified_at: Some(attributes.modified_at),
            accessed_at: Some(attributes.accessed_at),
        }
    }

    /// Whether nothing is to change.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
