//! A registry around a registry, that remembers: manifests, what names resolved to, open layers.
//!
//! Disk is the truth, and others may change it behind us. So what a name resolves to is believed
//! for half a second at most, and that something is not there is never remembered. Content cannot change
//! under its digest, so it is kept as long as there is room; but only a repository that has a name
//! for it gets it. What changes through this registry is seen through it at once (`changes.rs`).
//!
//! No lock is held across a call into the inner registry.

mod changes;
mod lru;
mod remembered;
mod repository;
mod shards;
mod upload;

use crate::model::{AttributesChange, Component, RepositoryName, Result};
use crate::registry::{Capacity, Cursor, Registry, Repository, RepositoryStat};
use remembered::Remembered;
use repository::CachedRepository;
use std::{sync::Arc, time::Duration};

/// How much is remembered, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheLimits {
    /// Memory for manifests, in bytes.
    pub manifest_bytes_max: u64,
    /// How many tags and revisions are remembered with what they name.
    pub tag_count_max: u64,
    /// How many links of layers are remembered with what they name.
    pub layer_count_max: u64,
    /// How many layers are kept open.
    pub open_file_count_max: u64,
    /// How long a resolved name is believed.
    pub link_life: Duration,
}

impl Default for CacheLimits {
    fn default() -> Self {
        Self {
            // Some 15,000 manifests of a usual size (2 KiB, and as much again once read), or a few
            // of the longest.
            manifest_bytes_max: 64 << 20,
            // An entry takes about 400 bytes: 6 MiB for each kind.
            tag_count_max: 1 << 14,
            layer_count_max: 1 << 14,
            // A quarter of the 1,024 files that a process may have open where nobody raised it.
            open_file_count_max: 256,
            // Together with the kernel, which believes what it is told for as long (`fs/attr.rs`),
            // the second that the design promises for tags that another process moves.
            link_life: Duration::from_millis(500),
        }
    }
}

/// What the cache did and holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheCounters {
    /// Questions answered from memory.
    pub hits: u64,
    /// Questions passed on.
    pub misses: u64,
    /// Entries that had to make room for others.
    pub evictions: u64,
    /// Memory that manifests take, in bytes.
    pub bytes: u64,
    /// Layers that are kept open.
    pub open_files: u64,
}

/// A registry that remembers what another one said.
pub struct CachedRegistry {
    inner: Arc<dyn Registry>,
    remembered: Arc<Remembered>,
}

impl CachedRegistry {
    /// Around `inner`, with nothing remembered yet.
    pub fn new(inner: Arc<dyn Registry>, limits: CacheLimits) -> Self {
        Self { inner, remembered: Arc::new(Remembered::new(&limits)) }
    }

    /// What the cache did and holds, now.
    pub fn counters(&self) -> CacheCounters {
        self.remembered.counters()
    }

    /// Forgets what tags and links resolved to: for when memory is to be given back.
    pub fn forget_links(&self) {
        self.remembered.forget_links();
    }

    /// Forgets everything, and closes the layers that nobody reads.
    pub fn forget(&self) {
        self.remembered.forget();
    }
}

impl Registry for CachedRegistry {
    fn repository(&self, name: &RepositoryName) -> Arc<dyn Repository> {
        let inner = self.inner.repository(name);
        Arc::new(CachedRepository { inner, remembered: self.remembered.clone() })
    }

    fn stat(&self, name: Option<&RepositoryName>) -> Result<RepositoryStat> {
        self.inner.stat(name)
    }

    fn children(&self, name: Option<&RepositoryName>) -> Result<Box<dyn Cursor<Component>>> {
        self.inner.children(name)
    }

    fn repositories(&self) -> Result<Box<dyn Cursor<RepositoryName>>> {
        self.inner.repositories()
    }

    /// Nothing to forget: that it was not there is not remembered.
    fn create(&self, name: &RepositoryName) -> Result<()> {
        self.inner.create(name)
    }

    fn remove(&self, name: &RepositoryName) -> Result<()> {
        let _manifests = self.remembered.change_manifests(name);
        let _layers = self.remembered.change_layers(name);
        self.inner.remove(name)
    }

    fn rename(&self, from: &RepositoryName, to: &RepositoryName) -> Result<()> {
        let _everything = self.remembered.change_everything();
        self.inner.rename(from, to)
    }

    fn change(&self, change: &AttributesChange) -> Result<()> {
        self.inner.change(change)
    }

    fn extended(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.inner.extended(name)
    }

    fn extended_names(&self) -> Result<Vec<String>> {
        self.inner.extended_names()
    }

    fn set_extended(&self, name: &str, value: Option<&[u8]>) -> Result<()> {
        self.inner.set_extended(name, value)
    }

    fn sync(&self) -> Result<()> {
        self.inner.sync()
    }

    fn capacity(&self) -> Result<Capacity> {
        self.inner.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        Algorithm, Area, AttributesChange, Digest, Error, Hasher, Manifest, Reference, Tag,
        UploadName,
    };
    use crate::registry::{Layer, PutAs, memory::MemoryRegistry};
    use std::ffi::OsStr;

    /// A registry behind and a cache before it, which believes links for `link_life`.
    fn both(limits: CacheLimits) -> (Arc<dyn Repository>, Arc<dyn Repository>, CachedRegistry) {
        let inner: Arc<dyn Registry> = Arc::new(MemoryRegistry::default());
        let cached = CachedRegistry::new(inner.clone(), limits);
        let name = "a".parse().unwrap();
        (inner.repository(&name), cached.repository(&name), cached)
    }

    fn forever() -> CacheLimits {
        CacheLimits { link_life: Duration::MAX, ..CacheLimits::default() }
    }

    fn push(repository: &dyn Repository, content: &[u8]) -> Digest {
        let name = UploadName::new(Area::Uploads, OsStr::new("new")).unwrap();
        let upload = repository.layers().upload(&name, &AttributesChange::default()).unwrap();
        upload.write_at(content, 0).unwrap();
        let digest = Digest::sha256(content);
        upload.finish(&digest).unwrap();
        digest
    }

    /// Puts a manifest like no other under the tag `latest`.
    fn put(repository: &dyn Repository, note: &str) -> Digest {
        let text = format!(r#"{{"schemaVersion":2,"manifests":[],"note":"{note}"}}"#);
        let manifest = Manifest::parse(text.as_bytes()).unwrap();
        let put_as = PutAs::Tag("latest".parse::<Tag>().unwrap());
        repository.manifests().put(&manifest, &put_as, &AttributesChange::default()).unwrap()
    }

    fn latest(repository: &dyn Repository) -> Result<Digest> {
        let latest = Reference::Tag("latest".parse().unwrap());
        repository.manifests().get(&latest).map(|manifest| *manifest.digest())
    }

    #[test]
    fn what_is_pushed_behind_the_cache_appears_at_once() {
        let (behind, before, _) = both(forever());
        assert!(matches!(latest(&*before), Err(Error::TagUnknown(..))));
        let digest = put(&*behind, "one");
        assert_eq!(latest(&*before).unwrap(), digest);
        assert!(!before.layers().exists(&Digest::sha256(b"x")).unwrap());
        push(&*behind, b"x");
        assert!(before.layers().exists(&Digest::sha256(b"x")).unwrap());
    }

    #[test]
    fn a_tag_moved_behind_the_cache_is_seen_when_the_links_life_is_over() {
        let (behind, before, _) = both(forever());
        let one = put(&*behind, "one");
        assert_eq!(latest(&*before).unwrap(), one);
        let two = put(&*behind, "two");
        assert_eq!(latest(&*before).unwrap(), one);
        // And one moved through it, at once.
        assert_eq!(put(&*before, "two"), two);
        assert_eq!(latest(&*before).unwrap(), two);
        let (behind, before, _) = both(CacheLimits { link_life: Duration::ZERO, ..forever() });
        put(&*behind, "one");
        latest(&*before).unwrap();
        assert_eq!(put(&*behind, "two"), latest(&*before).unwrap());
    }

    #[test]
    fn a_manifest_in_memory_is_given_to_its_repositories_only() {
        let (_, before, cached) = both(forever());
        let digest = put(&*before, "one");
        latest(&*before).unwrap();
        let other = cached.repository(&"other".parse().unwrap());
        assert!(matches!(
            other.manifests().get(&Reference::Digest(digest)),
            Err(Error::ManifestUnknown(..))
        ));
    }

    #[test]
    fn an_open_layer_is_given_to_its_repositories_only() {
        let (_, before, cached) = both(forever());
        let digest = push(&*before, b"content");
        before.layers().fetch(&digest).unwrap();
        let other = cached.repository(&"other".parse().unwrap());
        assert!(matches!(other.layers().fetch(&digest), Err(Error::LayerUnknown(..))));
    }

    #[test]
    fn a_layer_pushed_anew_is_opened_anew() {
        let (_, before, cached) = both(forever());
        let digest = push(&*before, b"content");
        let fetch = || before.layers().fetch(&digest).unwrap();
        let damaged: Arc<dyn Layer> = fetch();
        assert!(Arc::ptr_eq(&damaged, &fetch()));
        push(&*before, b"content");
        assert_eq!(cached.counters().open_files, 0);
        assert!(!Arc::ptr_eq(&damaged, &fetch()));
    }

    #[test]
    fn a_layer_healed_behind_the_cache_is_opened_anew_when_the_links_life_is_over() {
        let (behind, before, _) = both(CacheLimits { link_life: Duration::ZERO, ..forever() });
        let digest = push(&*before, b"content");
        let fetch = || before.layers().fetch(&digest).unwrap();
        let damaged: Arc<dyn Layer> = fetch();
        assert!(Arc::ptr_eq(&damaged, &fetch()), "what is still the same stays open");
        push(&*behind, b"content");
        let healed = fetch();
        assert!(!Arc::ptr_eq(&damaged, &healed));
        assert!(Arc::ptr_eq(&healed, &fetch()));
    }

    #[test]
    fn a_layer_deleted_by_its_second_name_is_closed() {
        let (_, before, cached) = both(forever());
        let mut hasher = Hasher::new(Algorithm::Sha512);
        hasher.update(b"content");
        let second = hasher.digest().unwrap();
        let name = UploadName::new(Area::Uploads, OsStr::new("new")).unwrap();
        let upload = before.layers().upload(&name, &AttributesChange::default()).unwrap();
        upload.write_at(b"content", 0).unwrap();
        upload.finish(&second).unwrap();
        before.layers().fetch(&second).unwrap();
        assert_eq!(cached.counters().open_files, 1);
        before.layers().delete(&second).unwrap();
        assert_eq!(cached.counters().open_files, 0);
    }

    #[test]
    fn files_and_memory_stay_within_their_limits() {
        let limits = CacheLimits { open_file_count_max: 3, manifest_bytes_max: 3_000, ..forever() };
        let (_, before, cached) = both(limits);
        for number in 0..20 {
            let digest = push(&*before, &[number]);
            before.layers().fetch(&digest).unwrap();
            put(&*before, &number.to_string());
            latest(&*before).unwrap();
        }
        let counters = cached.counters();
        assert!((1..=3).contains(&counters.open_files), "{counters:?}");
        assert!((1..=3_000).contains(&counters.bytes), "{counters:?}");
        assert!(counters.evictions >= 17, "{counters:?}");
    }

    #[test]
    fn hits_and_misses_are_counted() {
        let (behind, before, cached) = both(forever());
        put(&*behind, "one");
        latest(&*before).unwrap();
        let counters = cached.counters();
        assert_eq!((counters.hits, counters.misses), (0, 2));
        latest(&*before).unwrap();
        let counters = cached.counters();
        assert_eq!((counters.hits, counters.misses), (2, 2));
    }
}
