//! Crowded registries: tens of thousands of names, written into the store as docker-registry lays
//! them out, because pushing so many would take longer than all other tests together.

use super::{digest_of, manifest_of};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A store to fill. It need not be mounted, and may be.
pub(crate) struct Crowd {
    v2: PathBuf,
    /// Files that are linked into the store instead of being written again and again.
    beside: PathBuf,
}

/// How many links one file gets: ext4 allows 65,000.
const LINKS_MAX: usize = 60_000;
/// The config of every image here.
const CONFIG: &str = "{}";

impl Crowd {
    /// The store in the folder `store`.
    pub(crate) fn of(store: &Path) -> Self {
        let (v2, beside) = (store.join("docker/registry/v2"), store.join("crowd"));
        fs::create_dir_all(&beside).unwrap();
        Self { v2, beside }
    }

    /// A repository's folder.
    pub(crate) fn repository(&self, name: &str) -> PathBuf {
        self.v2.join("repositories").join(name)
    }

    /// Puts a small manifest into a repository, untagged; gives its digest. Each `note` makes
    /// another one.
    pub(crate) fn manifest(&self, repository: &str, note: &str) -> String {
        let config = self.layer(repository, CONFIG.as_bytes());
        let text = manifest_of((&config, CONFIG.len()), &[]);
        let text = format!(r#"{},"annotations":{{"note":"{note}"}}}}"#, text.trim_end_matches('}'));
        let digest = self.blob(text.as_bytes());
        let hex = digest.strip_prefix("sha256:").unwrap();
        let revision = self.repository(repository).join("_manifests/revisions/sha256").join(hex);
        write_link(&revision, &digest);
        digest
    }

    /// Tags `digest` under every one of `names`. What a tag named before, its `index`, is for the
    /// collector of docker-registry, and left out.
    pub(crate) fn tags(
        &self, repository: &str, digest: &str, names: impl IntoIterator<Item = String>,
    ) {
        let tags = self.repository(repository).join("_manifests/tags");
        fs::create_dir_all(&tags).unwrap();
        let mut links = Links::new(self, digest);
        for name in names {
            let tag = tags.join(name);
            fs::create_dir(&tag).unwrap();
            fs::create_dir(tag.join("current")).unwrap();
            links.put(&tag.join("current/link"));
        }
    }

    /// Tags a manifest `stay-0`, `stay-1` and so on.
    pub(crate) fn staying_tags(&self, repository: &str, count: usize) {
        let digest = self.manifest(repository, "stays");
        self.tags(repository, &digest, (0..count).map(|number| format!("stay-{number}")));
    }

    /// Pushes a layer; gives its digest.
    pub(crate) fn layer(&self, repository: &str, bytes: &[u8]) -> String {
        let digest = self.blob(bytes);
        let hex = digest.strip_prefix("sha256:").unwrap();
        write_link(&self.repository(repository).join("_layers/sha256").join(hex), &digest);
        digest
    }

    /// Begins an upload under each of `names`, with a byte in it.
    pub(crate) fn uploads(&self, repository: &str, names: impl IntoIterator<Item = String>) {
        for (number, name) in names.into_iter().enumerate() {
            let uuid = format!("00000000-0000-4000-8000-{number:012x}");
            let upload = self.repository(repository).join("_uploads").join(uuid);
            fs::create_dir_all(&upload).unwrap();
            fs::write(upload.join("data"), "x").unwrap();
            fs::write(upload.join("startedat"), "2026-11-23T11:37:53Z").unwrap();
            fs::write(upload.join("name"), format!("uploads/{name}")).unwrap();
        }
    }

    fn blob(&self, bytes: &[u8]) -> String {
        let digest = digest_of(bytes);
        let hex = digest.strip_prefix("sha256:").unwrap();
        let folder = self.v2.join("blobs/sha256").join(&hex[..2]).join(hex);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("data"), bytes).unwrap();
        digest
    }
}

fn write_link(folder: &Path, digest: &str) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("link"), digest).unwrap();
}

/// Files with a digest in them, each linked to many places.
struct Links<'a> {
    crowd: &'a Crowd,
    digest: &'a str,
    count: usize,
}

impl<'a> Links<'a> {
    fn new(crowd: &'a Crowd, digest: &'a str) -> Self {
        Self { crowd, digest, count: 0 }
    }

    fn put(&mut self, at: &Path) {
        let name = format!("{}-{}", self.digest, self.count / LINKS_MAX);
        let file = self.crowd.beside.join(name);
        if self.count.is_multiple_of(LINKS_MAX) {
            fs::remove_file(&file).ok();
            fs::write(&file, self.digest).unwrap();
        }
        fs::hard_link(&file, at).unwrap();
        self.count += 1;
    }
}
