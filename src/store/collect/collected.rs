//! What a collection is asked for, and what it tells.

use crate::model::Digest;
use serde::{Deserialize, Serialize};
use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

/// A push of many images may take hours from its first blob to its last manifest.
const GRACE_DEFAULT: Duration = Duration::from_secs(24 * 60 * 60);
/// Who uploads on workdays only comes back within a week.
const UPLOADS_AGE_DEFAULT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What is to be collected.
#[derive(Clone, Copy, Debug)]
pub struct CollectOptions {
    /// Nothing is removed, only counted.
    pub dry_run: bool,
    /// What has changed more lately stays.
    pub grace: Duration,
    /// Uploads that nobody has written to for longer are cancelled.
    pub uploads_age: Duration,
    /// A layer's link that is older than the grace period keeps no blob; only manifests do.
    pub unreferenced_layers: bool,
    /// Whether all blobs may go when there is no repository.
    pub all: bool,
}

impl Default for CollectOptions {
    fn default() -> Self {
        Self {
            dry_run: false,
            grace: GRACE_DEFAULT,
            uploads_age: UPLOADS_AGE_DEFAULT,
            unreferenced_layers: false,
            all: false,
        }
    }
}

/// How many things, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// How many.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Tally {
    pub(super) fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }
}

/// What a collection has found and done. In a dry run, what it would have done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Collected {
    /// Links that were followed.
    pub links: u64,
    /// Manifests that were read.
    pub manifests: u64,
    /// Blobs that are in use.
    pub used: Tally,
    /// Blobs that are not in use, and too young to be removed.
    pub young: Tally,
    /// Blobs that were removed.
    pub removed: Tally,
    /// Blobs that somebody began to use while they were being removed.
    pub brought_back: Tally,
    /// Uploads that were cancelled.
    pub uploads: Tally,
    /// Blobs and uploads that are not in use, and that this user may not remove.
    pub denied: Tally,
    /// A repository was renamed meanwhile: the rest is for the next collection.
    pub is_cut_short: bool,
}

/// What goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CollectEvent {
    /// So many links were followed.
    Marking(u64),
    /// So many of 256 folders of blobs were looked through.
    Sweeping(u64),
    /// A blob is removed, or would be.
    Blob {
        /// Its digest.
        digest: Digest,
        /// Its length.
        bytes: u64,
        /// When it was used last.
        changed_at: SystemTime,
    },
    /// An upload is cancelled, or would be.
    Upload {
        /// Where people see it, from the root of a mount.
        path: PathBuf,
        /// Its length.
        bytes: u64,
        /// When it was written last.
        changed_at: SystemTime,
    },
}
