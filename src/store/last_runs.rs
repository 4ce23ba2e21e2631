//! How the last runs over a whole store ended, kept in it for who asks later: `regfs status`, and
//! whatever watches over a registry.

use crate::model::{Error, Result};
use crate::store::{Collected, Store, Tally, folder::Folder, layout, ownership, verify::Counts};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    io::Write as _,
    time::{Duration, SystemTime},
};

/// More than any such file has.
const BYTES_MAX: u64 = 64 << 10;

/// The last verification that went to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastVerify {
    /// When it ended.
    pub finished_at: String,
    /// How long it took, in seconds.
    pub seconds: u64,
    /// Whether nothing was damaged.
    pub clean: bool,
    /// Whether everything was looked at, and not only what had changed lately.
    pub whole: bool,
    /// What was looked at and found.
    pub counts: Counts,
}

/// The last collection that was no dry run and went to its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastCollection {
    /// When it began.
    pub started_at: String,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Blobs that were removed.
    pub removed: Tally,
    /// Uploads that were cancelled.
    pub uploads: Tally,
}

impl LastVerify {
    /// Keeps it in the store.
    pub(super) fn keep(&self, store: &Store) -> Result<()> {
        write(store, layout::VERIFY_LAST, self)
    }

    /// What is kept; nothing where it cannot be read.
    pub(super) fn read(root: &Folder) -> Option<Self> {
        read(root, layout::VERIFY_LAST)
    }
}

impl LastCollection {
    /// A collection that has just ended.
    pub(super) fn new(started_at: SystemTime, elapsed: Duration, collected: &Collected) -> Self {
        Self {
            started_at: humantime::format_rfc3339_seconds(started_at).to_string(),
            seconds: elapsed.as_secs_f64(),
            removed: collected.removed,
            uploads: collected.uploads,
        }
    }

    /// Keeps it in the store.
    pub(super) fn keep(&self, store: &Store) -> Result<()> {
        write(store, layout::GC_LAST, self)
    }

    /// What is kept; nothing where it cannot be read.
    pub(super) fn read(root: &Folder) -> Option<Self> {
        read(root, layout::GC_LAST)
    }
}

fn read<T: DeserializeOwned>(root: &Folder, at: &str) -> Option<T> {
    let text = root.read(at, BYTES_MAX).ok().flatten()?;
    serde_json::from_slice(&text).ok()
}

/// Writes a small file of ours, at once.
pub(super) fn write(store: &Store, at: &str, what: &impl Serialize) -> Result<()> {
    let draft = store.scratch()?.draft()?;
    let path = draft.path();
    let text = serde_json::to_vec_pretty(what)
        .map_err(|error| Error::io("write", &path)(std::io::Error::from(error)))?;
    draft.file().write_all(&text).map_err(Error::io("write", &path))?;
    ownership::give_file(&store.root, draft.file(), &path)?;
    draft.sync()?;
    draft.publish(store.root.place(at))
}
