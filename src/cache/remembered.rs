//! What the cache remembers, and when it may say so. It knows no registry: it is asked and told.

use super::changes::{Change, Changes, Ticket};
use super::shards::Shards;
use super::{CacheCounters, CacheLimits};
use crate::model::{Descriptor, Digest, MANIFEST_BYTES_MAX, Manifest, Reference, RepositoryName};
use crate::registry::{Layer, LayerStat, ManifestStat};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// What a repository's name for something resolved to, while it may be believed.
#[derive(Clone, Copy)]
struct Resolved<T> {
    stat: T,
    ticket: Ticket,
    read_at: Instant,
}

type Links<K, T> = Shards<(RepositoryName, K), Resolved<T>>;

pub(super) struct Remembered {
    manifest_stats: Links<Reference, ManifestStat>,
    layer_stats: Links<Digest, LayerStat>,
    manifests: Shards<Digest, Manifest>,
    open_layers: Shards<Digest, Arc<dyn Layer>>,
    /// Of a repository's tags and revisions, by its name.
    manifest_changes: Changes,
    /// Of a repository's layers, by its name.
    layer_changes: Changes,
    /// Of content, by its digest.
    content_changes: Changes,
    link_life: Duration,
    hits: AtomicU64,
    misses: AtomicU64,
}

impl Remembered {
    pub(super) fn new(limits: &CacheLimits) -> Self {
        Self {
            manifest_stats: Shards::new(limits.tag_count_max, 1),
            layer_stats: Shards::new(limits.layer_count_max, 1),
            manifests: Shards::new(limits.manifest_bytes_max, MANIFEST_WEIGHT_MAX),
            open_layers: Shards::new(limits.open_file_count_max, 1),
            manifest_changes: Changes::new(),
            layer_changes: Changes::new(),
            content_changes: Changes::new(),
            link_life: limits.link_life,
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    pub(super) fn counters(&self) -> CacheCounters {
        CacheCounters {
            hits: self.hits.load(Relaxed),
            misses: self.misses.load(Relaxed),
            evictions: self.manifest_stats.evictions()
                + self.layer_stats.evictions()
                + self.manifests.evictions()
                + self.open_layers.evictions(),
            bytes: self.manifests.weight(),
            open_files: self.open_layers.weight(),
        }
    }

    /// The stat of a manifest, remembered or `read`.
    pub(super) fn manifest_stat<E>(
        &self, repository: &RepositoryName, reference: &Reference,
        read: impl FnOnce() -> Result<ManifestStat, E>,
    ) -> Result<ManifestStat, E> {
        let (links, changes) = (&self.manifest_stats, &self.manifest_changes);
        self.resolve(links, changes, (repository.clone(), reference.clone()), read)
    }

    /// The stat of a layer, remembered or `read`.
    pub(super) fn layer_stat<E>(
        &self, repository: &RepositoryName, digest: &Digest,
        read: impl FnOnce() -> Result<LayerStat, E>,
    ) -> Result<LayerStat, E> {
        let (links, changes) = (&self.layer_stats, &self.layer_changes);
        self.resolve(links, changes, (repository.clone(), *digest), read)
    }

    fn resolve<K: std::hash::Hash + Eq, T: Copy, E>(
        &self, links: &Links<K, T>, changes: &Changes, key: (RepositoryName, K),
        read: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let found = links.get(&key).filter(|found| {
            found.read_at.elapsed() < self.link_life && changes.is_current(&key.0, found.ticket)
        });
        if let Some(found) = self.count(found) {
            return Ok(found.stat);
        }
        // The age counts from before the read: that is when the answer was still to come.
        let (ticket, read_at) = (changes.ticket(&key.0), Instant::now());
        let stat = read()?;
        if let Some(ticket) = ticket {
            // Whether the ticket is current is looked at when it is asked for.
            links.insert(key, Resolved { stat, ticket, read_at }, 1, || true);
        }
        Ok(stat)
    }

    /// Forgets what names resolved to, and the memory that it took. It is believed for a moment only,
    /// and a big listing has filled it with names that nobody asks for again.
    pub(super) fn forget_links(&self) {
        self.manifest_stats.clear();
        self.layer_stats.clear();
    }

    /// Forgets everything.
    pub(super) fn forget(&self) {
        self.forget_links();
        self.manifests.clear();
        self.open_layers.clear();
    }

    /// The manifest `digest`, when it is remembered; else what `read` gives, under its own digest.
    /// Whether a repository has it is for the caller to know.
    pub(super) fn manifest<E>(
        &self, digest: &Digest, read: impl FnOnce() -> Result<Manifest, E>,
    ) -> Result<Manifest, E> {
        if let Some(manifest) = self.count(self.manifests.get(digest)) {
            return Ok(manifest);
        }
        let ticket = self.content_changes.ticket(digest);
        let manifest = read()?;
        // A tag may have moved since the caller looked. Then what came is not what the ticket is
        // for, and the next one to ask for it will remember it.
        // The signatures on it are each repository's own, so a signed one is not remembered.
        if let Some(ticket) = ticket
            && manifest.digest() == digest
            && manifest.signed().is_none()
        {
            let is_current = || self.content_changes.is_current(digest, ticket);
            self.manifests.insert(*digest, manifest.clone(), weight(&manifest), is_current);
        }
        Ok(manifest)
    }

    /// The open layer that `stat` tells of, when there is one; else the one that `open` gives.
    /// Whether a repository has it is for the caller to know, and that `stat` may be believed.
    ///
    /// Content cannot change under its digest, but what lies there can be damaged, and be replaced
    /// by another process: then it has another time, and the file that is kept open is the old one.
    pub(super) fn layer<E>(
        &self, stat: &LayerStat, open: impl FnOnce() -> Result<Arc<dyn Layer>, E>,
    ) -> Result<Arc<dyn Layer>, E> {
        let digest = &stat.canonical;
        let told = (stat.length, stat.created_at);
        let found = self.open_layers.get(digest);
        let found = found.filter(|layer| (layer.length(), layer.created_at()) == told);
        if let Some(layer) = self.count(found) {
            return Ok(layer);
        }
        let ticket = self.content_changes.ticket(digest);
        let layer = open()?;
        if let Some(ticket) = ticket
            && layer.digest() == digest
        {
            let is_current = || self.content_changes.is_current(digest, ticket);
            self.open_layers.insert(*digest, layer.clone(), 1, is_current);
        }
        Ok(layer)
    }

    /// Tags or revisions of a repository change while the guard lives.
    pub(super) fn change_manifests(&self, repository: &RepositoryName) -> Change<'_> {
        self.manifest_changes.begin(repository)
    }

    /// Layers of a repository change while the guard lives.
    pub(super) fn change_layers(&self, repository: &RepositoryName) -> Change<'_> {
        self.layer_changes.begin(repository)
    }

    /// Repositories change their names while the guards live.
    pub(super) fn change_everything(&self) -> [Change<'_>; 2] {
        [self.manifest_changes.begin_all(), self.layer_changes.begin_all()]
    }

    /// The stored content of `digest` has changed: it was healed, or is there no more.
    pub(super) fn forget_content(&self, digest: &Digest) {
        let change = self.content_changes.begin(digest);
        self.manifests.remove(digest);
        self.open_layers.remove(digest);
        drop(change);
    }

    fn count<T>(&self, found: Option<T>) -> Option<T> {
        let counter = if found.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Relaxed);
        found
    }
}

/// More than any manifest weighs. The shortest descriptor, `{"digest":"sha256:…"}`, has 84 bytes of
/// JSON, and in memory not much more beside its media type, which stands in the JSON as well.
const MANIFEST_WEIGHT_MAX: u64 = 4 * MANIFEST_BYTES_MAX;

/// What a manifest takes in memory: the bytes, and what was read from them.
fn weight(manifest: &Manifest) -> u64 {
    let descriptors = manifest.blobs().iter().chain(manifest.manifests());
    let parsed: usize =
        descriptors.map(|each| size_of::<Descriptor>() + each.media_type.len()).sum();
    (size_of::<Manifest>() + manifest.bytes().len() + parsed) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Attributes, Error};
    use std::time::SystemTime;

    /// A stat that is told from others by its length.
    fn stat(length: u64) -> Result<LayerStat, Error> {
        let attributes = Attributes {
            permissions: 0,
            uid: 0,
            gid: 0,
            modified_at: SystemTime::UNIX_EPOCH,
            accessed_at: SystemTime::UNIX_EPOCH,
            changed_at: SystemTime::UNIX_EPOCH,
        };
        let created_at = SystemTime::UNIX_EPOCH;
        Ok(LayerStat { canonical: Digest::sha256(b""), length, created_at, attributes })
    }

    fn remembered(link_life: Duration) -> Remembered {
        Remembered::new(&CacheLimits { link_life, ..CacheLimits::default() })
    }

    /// The length that comes out when the registry would say `now`.
    fn ask(remembered: &Remembered, name: &RepositoryName, now: u64) -> u64 {
        remembered.layer_stat(name, &Digest::sha256(b""), || stat(now)).unwrap().length
    }

    #[test]
    fn what_was_read_before_a_change_is_not_remembered_after_it() {
        let (remembered, name) = (remembered(Duration::MAX), "a".parse().unwrap());
        let digest = Digest::sha256(b"");
        let slow = remembered.layer_stat(&name, &digest, || {
            drop(remembered.change_layers(&name));
            stat(1)
        });
        assert_eq!(slow.unwrap().length, 1);
        assert_eq!(ask(&remembered, &name, 2), 2);
        assert_eq!(ask(&remembered, &name, 3), 2);
    }

    #[test]
    fn what_was_read_during_a_change_is_not_remembered() {
        let (remembered, name) = (remembered(Duration::MAX), "a".parse().unwrap());
        assert_eq!(ask(&remembered, &name, 1), 1);
        let change = remembered.change_layers(&name);
        assert_eq!(ask(&remembered, &name, 2), 2);
        assert_eq!(ask(&remembered, &name, 3), 3);
        drop(change);
        assert_eq!(ask(&remembered, &name, 4), 4);
        assert_eq!(ask(&remembered, &name, 5), 4);
    }

    #[test]
    fn a_change_of_names_is_a_change_of_everything() {
        let (remembered, name) = (remembered(Duration::MAX), "a".parse().unwrap());
        assert_eq!(ask(&remembered, &name, 1), 1);
        drop(remembered.change_everything());
        assert_eq!(ask(&remembered, &name, 2), 2);
    }

    #[test]
    fn a_link_is_believed_for_its_life_only() {
        let (remembered, name) = (remembered(Duration::from_millis(20)), "a".parse().unwrap());
        assert_eq!(ask(&remembered, &name, 1), 1);
        std::thread::sleep(Duration::from_millis(25));
        assert_eq!(ask(&remembered, &name, 2), 2);
    }

    #[test]
    fn that_something_is_absent_is_not_remembered() {
        let (remembered, name) =
            (remembered(Duration::MAX), "a".parse::<RepositoryName>().unwrap());
        let digest = Digest::sha256(b"");
        let absent = || Err(Error::LayerUnknown(name.clone(), digest));
        assert!(remembered.layer_stat(&name, &digest, absent).is_err());
        assert_eq!(ask(&remembered, &name, 1), 1);
    }

    #[test]
    fn content_that_is_forgotten_while_it_is_read_is_not_remembered() {
        let remembered = remembered(Duration::MAX);
        let manifest = Manifest::parse(br#"{"schemaVersion":2,"manifests":[]}"#).unwrap();
        let digest = *manifest.digest();
        let read = || Ok::<_, Error>(manifest.clone());
        let slow = remembered.manifest(&digest, || {
            remembered.forget_content(&digest);
            read()
        });
        slow.unwrap();
        assert_eq!(remembered.counters().bytes, 0);
        remembered.manifest(&digest, read).unwrap();
        assert_ne!(remembered.counters().bytes, 0);
    }

    #[test]
    fn the_heaviest_manifest_fits() {
        let child = format!(r#"{{"digest":"{}"}},"#, Digest::sha256(b""));
        let count = MANIFEST_BYTES_MAX as usize / child.len() - 1;
        let children = child.repeat(count);
        let children = children.trim_end_matches(',');
        let text = format!(r#"{{"schemaVersion":2,"manifests":[{children}]}}"#);
        let manifest = Manifest::parse(text.as_bytes()).unwrap();
        assert_eq!(manifest.manifests().len(), count);
        assert!(weight(&manifest) <= MANIFEST_WEIGHT_MAX);
    }
}
