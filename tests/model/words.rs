//! What programs are made of: few contents and few names, so that they meet often.

use crate::common::{digest_of, manifest_of, noise};
use regfs::model::{Area, Component, Digest, RepositoryName};
use std::{fmt, path::PathBuf, sync::OnceLock};

/// Something that is written, with the name that it has in programs.
pub(crate) struct Content {
    pub(crate) name: &'static str,
    pub(crate) bytes: Vec<u8>,
    pub(crate) digest: String,
}

/// Longer than one page and one step of hashing is not needed; longer than a few pages is.
const NOISE_BYTES: usize = 70_000;

/// Everything that is ever written: blobs, then manifests.
pub(crate) fn contents() -> &'static [Content] {
    static CONTENTS: OnceLock<Vec<Content>> = OnceLock::new();
    CONTENTS.get_or_init(|| {
        let make = |name, bytes: Vec<u8>| Content { name, digest: digest_of(&bytes), bytes };
        let [empty, config] = [make("empty", Vec::new()), make("config", b"{}".to_vec())];
        let [hello, noise] =
            [make("hello", b"hello".to_vec()), make("noise", noise(1, NOISE_BYTES))];
        let manifest = |name, layer: &Content| {
            let layer = (&*layer.digest, layer.bytes.len());
            make(name, manifest_of((&config.digest, config.bytes.len()), &[layer]).into_bytes())
        };
        let [image, big] = [manifest("image", &hello), manifest("big", &noise)];
        let index = make("index", index_of(&[&image]));
        let bare = make("bare", index_of(&[]));
        vec![empty, config, hello, noise, image, big, index, bare]
    })
}

/// The names of the contents that are no manifests.
pub(crate) const BLOBS: [&str; 4] = ["empty", "config", "hello", "noise"];
/// The names of the contents that are manifests.
pub(crate) const MANIFESTS: [&str; 4] = ["image", "big", "index", "bare"];

fn index_of(manifests: &[&Content]) -> Vec<u8> {
    const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    let manifests: Vec<_> = manifests
        .iter()
        .map(|manifest| {
            serde_json::json!({
                "mediaType": MANIFEST,
                "digest": manifest.digest,
                "size": manifest.bytes.len(),
            })
        })
        .collect();
    let index = serde_json::json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
    index.to_string().into_bytes()
}

/// The content of that name.
pub(crate) fn content(name: &str) -> &'static Content {
    let found = contents().iter().find(|content| content.name == name);
    found.unwrap_or_else(|| panic!("there is no content {name}"))
}

/// Bytes in few words: the content that they are, or their length.
pub(crate) fn called(bytes: &[u8]) -> String {
    match contents().iter().find(|content| content.bytes == bytes) {
        Some(content) => format!("@{}", content.name),
        None if bytes.len() < 20 => format!("{:?}", String::from_utf8_lossy(bytes)),
        None => format!("{} bytes, {}", bytes.len(), &digest_of(bytes)[..15]),
    }
}

/// A path below the mount point, as programs write it: `a/layers/@hello` for the digest of hello.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Path(pub(crate) String);

/// What a path can name, by its words alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Spot {
    Repository(RepositoryName),
    /// A name below this repository, or the root, that no repository can have.
    NoRepository(Option<RepositoryName>),
    Area(RepositoryName, Area),
    /// A file, or a staging folder.
    File {
        repository: RepositoryName,
        area: Area,
        folder: Option<String>,
        file: String,
    },
}

impl Path {
    /// With digests in place of the names of contents.
    pub(crate) fn spelled(&self) -> PathBuf {
        let parts = self.0.split('/').map(|part| match part.strip_prefix('@') {
            Some(name) => &*content(name).digest,
            None => part,
        });
        parts.collect()
    }

    /// The inverse of [`Path::spelled`].
    pub(crate) fn of(spelled: &str) -> Self {
        let parts = spelled.split('/').map(|part| {
            let known = contents().iter().find(|content| content.digest == part);
            known.map_or_else(|| part.to_owned(), |content| format!("@{}", content.name))
        });
        Self(parts.collect::<Vec<_>>().join("/"))
    }

    pub(crate) fn spot(&self) -> Spot {
        let spelled = self.spelled();
        let mut parts = spelled.to_str().unwrap().split('/');
        let mut repository: Option<RepositoryName> = None;
        while let Some(part) = parts.next() {
            let area = Area::ALL.into_iter().find(|area| area.name() == part);
            if let (Some(area), Some(repository)) = (area, &repository) {
                return in_area(repository, area, &parts.collect::<Vec<_>>());
            }
            let part = part.strip_prefix('%').unwrap_or(part);
            let child = part
                .parse::<Component>()
                .ok()
                .and_then(|part| RepositoryName::child(repository.as_ref(), &part).ok());
            match child {
                Some(child) => repository = Some(child),
                None => return Spot::NoRepository(repository),
            }
        }
        Spot::Repository(repository.unwrap())
    }

    /// The repository that it is in, and the name of a layer there, when it is one.
    pub(crate) fn is_layer(&self) -> bool {
        match self.spot() {
            Spot::File { area: Area::Layers, folder: None, file, .. } => {
                file.parse::<Digest>().is_ok()
            }
            _ => false,
        }
    }
}

fn in_area(repository: &RepositoryName, area: Area, rest: &[&str]) -> Spot {
    let repository = repository.clone();
    let (folder, file) = match rest {
        [] => return Spot::Area(repository, area),
        [file] => (None, *file),
        [folder, file] => (Some((*folder).to_owned()), *file),
        _ => panic!("nothing is that deep: {rest:?}"),
    };
    Spot::File { repository, area, folder, file: file.to_owned() }
}

impl fmt::Display for Path {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl From<&str> for Path {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// How a path of a repository begins in the mount: with a `%` before reserved names.
pub(crate) fn shown(name: &RepositoryName) -> String {
    let parts = name.components().map(|part| {
        let reserved = Area::ALL.into_iter().any(|area| area.name() == part);
        if reserved { format!("%{part}") } else { part.to_owned() }
    });
    parts.collect::<Vec<_>>().join("/")
}
