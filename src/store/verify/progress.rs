//! How far a verification is: numbers that anybody may look at while it runs.

use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// What was looked at, and what came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Blobs that were hashed.
    pub blobs: u64,
    /// The bytes in them.
    pub bytes: u64,
    /// Links that were followed.
    pub links: u64,
    /// Manifests whose references were followed.
    pub manifests: u64,
    /// Repositories that were gone through.
    pub repositories: u64,
    /// Findings that are damage.
    pub damage: u64,
    /// Findings that are notes.
    pub notes: u64,
}

impl Counts {
    pub(super) fn add(&mut self, other: &Self) {
        self.blobs += other.blobs;
        self.bytes += other.bytes;
        self.links += other.links;
        self.manifests += other.manifests;
        self.repositories += other.repositories;
        self.damage += other.damage;
        self.notes += other.notes;
    }
}

/// The numbers as they grow.
#[derive(Debug, Default)]
pub struct Progress {
    blobs: AtomicU64,
    bytes: AtomicU64,
    links: AtomicU64,
    manifests: AtomicU64,
    repositories: AtomicU64,
    damage: AtomicU64,
    notes: AtomicU64,
    bytes_read: AtomicU64,
    bytes_to_read: AtomicU64,
    is_measured: AtomicBool,
}

impl Progress {
    /// What was done so far.
    pub fn counts(&self) -> Counts {
        Counts {
            blobs: self.blobs.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            links: self.links.load(Relaxed),
            manifests: self.manifests.load(Relaxed),
            repositories: self.repositories.load(Relaxed),
            damage: self.damage.load(Relaxed),
            notes: self.notes.load(Relaxed),
        }
    }

    /// Bytes of blobs that were read, those in the midst of a blob, too.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Relaxed)
    }

    /// Bytes of blobs that are to be read in all, once somebody has counted them.
    pub fn bytes_to_read(&self) -> Option<u64> {
        self.is_measured.load(Relaxed).then(|| self.bytes_to_read.load(Relaxed))
    }

    pub(super) fn add(&self, counts: &Counts) {
        self.blobs.fetch_add(counts.blobs, Relaxed);
        self.bytes.fetch_add(counts.bytes, Relaxed);
        self.links.fetch_add(counts.links, Relaxed);
        self.manifests.fetch_add(counts.manifests, Relaxed);
        self.repositories.fetch_add(counts.repositories, Relaxed);
        self.damage.fetch_add(counts.damage, Relaxed);
        self.notes.fetch_add(counts.notes, Relaxed);
    }

    pub(super) fn read(&self, bytes: u64) {
        self.bytes_read.fetch_add(bytes, Relaxed);
    }

    pub(super) fn to_read(&self, bytes: u64) {
        self.bytes_to_read.fetch_add(bytes, Relaxed);
    }

    pub(super) fn measured(&self) {
        self.is_measured.store(true, Relaxed);
    }
}
