//! The store against the disk: what lies there afterwards, and what is read of what others wrote.
//! Here is what the tests share.

mod attributes;
mod collect;
mod collect_waits;
mod distribution;
mod hashing;
mod listings;
mod opening;
mod races;
mod uploads;

use super::*;
use crate::model::{
    Algorithm, Area, Digest, Hasher, MANIFEST_BYTES_MAX, Manifest, Reference, Tag, UploadId,
    UploadName,
};
use crate::registry::{LayerUpload, Position, PutAs, Retag, Subject};
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self as disk, File},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::PathBuf,
    sync::atomic::AtomicUsize,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tempfile::TempDir;

const V2: &str = "docker/registry/v2";

/// A store in a folder of its own.
struct Scene {
    folder: TempDir,
    registry: LocalRegistry,
}

fn scene() -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let registry = LocalRegistry::open(folder.path(), &StoreOptions::default()).unwrap();
    Scene { folder, registry }
}

impl Scene {
    fn again(&self) -> LocalRegistry {
        LocalRegistry::open(self.folder.path(), &StoreOptions::default()).unwrap()
    }

    fn path(&self, at: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(at)
    }

    fn v2(&self, at: &str) -> PathBuf {
        self.path(V2).join(at)
    }

    fn repository(&self, name: &str) -> Arc<dyn Repository> {
        self.registry.repository(&name.parse().unwrap())
    }

    fn upload(&self, repository: &str, file: &str) -> Arc<dyn LayerUpload> {
        let name = uploads_file(file);
        self.repository(repository).layers().upload(&name, &AttributesChange::default()).unwrap()
    }

    /// Puts a layer.
    fn layer(&self, repository: &str, content: &[u8]) -> Digest {
        let upload = self.upload(repository, "layer");
        upload.write_at(content, 0).unwrap();
        *upload.finish(&Digest::sha256(content)).unwrap().digest()
    }

    /// Puts an image with one layer under a tag.
    fn image(&self, repository: &str, tag: &str, content: &[u8]) -> Digest {
        let manifest = self.manifest(repository, content);
        let put_as = PutAs::Tag(tag.parse().unwrap());
        let change = AttributesChange::default();
        self.repository(repository).manifests().put(&manifest, &put_as, &change).unwrap()
    }

    /// A manifest whose config is `content`, which is put.
    fn manifest(&self, repository: &str, content: &[u8]) -> Manifest {
        let config = self.layer(repository, content);
        let text = format!(r#"{{"schemaVersion":2,"config":{{"digest":"{config}"}}}}"#);
        Manifest::parse(text.as_bytes()).unwrap()
    }

    /// Every file below `docker/registry/v2`, and every empty folder with a slash behind it.
    fn tree(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let top = self.path(V2);
        let mut folders = vec![top.clone()];
        while let Some(folder) = folders.pop() {
            let mut entries = disk::read_dir(&folder).unwrap().peekable();
            let text = |path: &Path| path.strip_prefix(&top).unwrap().display().to_string();
            if entries.peek().is_none() {
                found.insert(format!("{}/", text(&folder)));
            }
            for entry in entries.map(Result::unwrap) {
                if entry.file_type().unwrap().is_dir() {
                    folders.push(entry.path());
                } else {
                    found.insert(text(&entry.path()));
                }
            }
        }
        found
    }
}

fn uploads_file(file: &str) -> UploadName {
    UploadName::new(Area::Uploads, file.as_ref()).unwrap()
}

fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

fn named(text: &str) -> Reference {
    text.parse().unwrap()
}

fn all<T>(mut cursor: Box<dyn Cursor<T>>) -> Vec<T> {
    cursor.collect().unwrap()
}

fn read_layer(layer: &dyn crate::registry::Layer) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(layer.length()).unwrap()];
    assert_eq!(layer.read_at(&mut bytes, 0).unwrap(), bytes.len());
    bytes
}

/// Bytes that differ from place to place.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn wait_until(mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < end, "it takes too long");
        thread::sleep(Duration::from_millis(5));
    }
}

fn hashstates(upload: &Path) -> Vec<String> {
    let Ok(entries) = disk::read_dir(upload.join("hashstates/sha256")) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}
