//! The digests that are in use, and how they are found in a manifest: whatever looks like one is one.

use crate::model::Digest;
use parking_lot::Mutex;
use serde_json::Value;
use std::{
    collections::{HashMap, HashSet},
    time::SystemTime,
};

/// What a digest in a text begins with, before its hash.
const ALGORITHM_END: &[u8] = b"sha";

/// The first 8 bytes of a hash: enough to tell blobs apart, and if two ever had the same, both would
/// stay. A million take 16 MiB.
pub(super) type Mark = u64;

/// The digests that are in use.
#[derive(Default)]
pub(super) struct Marks {
    blobs: HashSet<Mark>,
    /// The manifests that were looked for, and whether they were there.
    scanned: HashMap<Mark, bool>,
    links: u64,
    /// When a folder was changed last from which links may have been removed.
    changed_at: Option<SystemTime>,
}

impl Marks {
    /// Whether the blob with this hash, in hex, is in use. What is no hash is nobody's to remove.
    pub(super) fn has(&self, hex: &str) -> bool {
        mark_of(hex).is_none_or(|mark| self.blobs.contains(&mark))
    }

    /// How many links were read.
    pub(super) fn links(&self) -> u64 {
        self.links
    }

    /// How many manifests were read.
    pub(super) fn manifests(&self) -> u64 {
        self.scanned.values().filter(|is_there| **is_there).count() as u64
    }

    /// When a link was removed last, at the latest.
    pub(super) fn changed_at(&self) -> Option<SystemTime> {
        self.changed_at
    }

    /// Notes when a folder was changed from which links may have been removed.
    pub(super) fn note_change(&mut self, at: SystemTime) {
        self.changed_at = self.changed_at.max(Some(at));
    }

    /// Adds what others have marked.
    pub(super) fn extend(&mut self, others: Self) {
        self.blobs.extend(others.blobs);
        self.scanned.extend(others.scanned);
        self.links += others.links;
        self.changed_at = self.changed_at.max(others.changed_at);
    }

    /// Counts a link that was read.
    pub(super) fn count_link(&mut self) {
        self.links += 1;
    }

    /// Marks the blob with this hash, in hex.
    pub(super) fn add(&mut self, hex: &str) {
        self.blobs.extend(mark_of(hex));
    }

    /// Marks a manifest, and says whether what it refers to is marked, too; or is being marked by another
    /// of those who share `begun`.
    pub(super) fn add_manifest(&mut self, digest: &Digest, begun: &Mutex<HashSet<Mark>>) -> bool {
        let mark = mark_of(&digest.hex());
        self.blobs.extend(mark);
        mark.is_some_and(|mark| !begun.lock().insert(mark))
    }

    /// Marks what a manifest refers to, whose bytes are these, if it is there.
    pub(super) fn add_references(&mut self, digest: &Digest, manifest: Option<&[u8]>) {
        let mark = mark_of(&digest.hex());
        self.scanned.extend(mark.map(|mark| (mark, manifest.is_some())));
        manifest.into_iter().for_each(|bytes| self.add_digests_of(bytes));
    }

    /// Marks everything that looks like a digest in a manifest.
    fn add_digests_of(&mut self, manifest: &[u8]) {
        self.add_digests_in(manifest);
        // Escapes may hide it.
        if manifest.contains(&b'\\')
            && let Ok(value) = serde_json::from_slice(manifest)
        {
            self.add_digests_below(&value);
        }
    }

    fn add_digests_below(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.add_digests_in(text.as_bytes()),
            Value::Array(values) => values.iter().for_each(|value| self.add_digests_below(value)),
            Value::Object(members) => members.iter().for_each(|(name, value)| {
                self.add_digests_in(name.as_bytes());
                self.add_digests_below(value);
            }),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// Marks everything that looks like a digest in `text`.
    fn add_digests_in(&mut self, text: &[u8]) {
        for (at, _) in text.iter().enumerate().filter(|(_, byte)| **byte == b':') {
            let algorithm = text[..at].trim_ascii_end();
            let digits = algorithm.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
            if !algorithm[..algorithm.len() - digits].ends_with(ALGORITHM_END) {
                continue;
            }
            let hash = &text[at + 1..];
            let length = hash.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
            if let Ok(hex) = str::from_utf8(&hash[..length]) {
                self.add(hex);
            }
        }
    }
}

fn mark_of(hex: &str) -> Option<Mark> {
    hex.get(..16).and_then(|head| Mark::from_str_radix(head, 16).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_looks_like_a_digest_is_in_use() {
        let [one, two, three] = [b"1", b"2", b"3"].map(|text| Digest::sha256(text).hex());
        let mut marks = Marks::default();
        let text = format!(
            "{{\"config\":\"sha256:{one}\", \"x\" : \"tarsum.v1+sha256:{two}\", \"y\":\"sha:{three}z\"}}"
        );
        marks.add_digests_in(text.as_bytes());
        assert!(marks.has(&one) && marks.has(&two) && marks.has(&three));
        assert!(!marks.has(&Digest::sha256(b"4").hex()));
        assert!(marks.has("no hash"));
        let hidden = Digest::sha256(b"5").hex();
        marks.add_digests_of(format!("{{\"digest\":[\"sha256\\u003a{hidden}\"]}}").as_bytes());
        assert!(marks.has(&hidden));
    }
}
