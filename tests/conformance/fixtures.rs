//! What the cases of the suite are made of: names, content, manifests, and asking for them.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use regfs::{
    model::{
        Area, AttributesChange, Digest, Error, Hasher, Manifest, Reference, RepositoryName, Result,
        SignedManifest, SigningKey, Tag, UploadName,
    },
    registry::{
        Layer, LayerService, LayerUpload, ManifestService, PutAs, Registry, Repository, Subject,
    },
};
use std::{ffi::OsStr, sync::Arc, time::SystemTime};

pub(crate) fn name(text: &str) -> RepositoryName {
    text.parse().unwrap()
}

pub(crate) fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

pub(crate) fn by_tag(text: &str) -> Reference {
    Reference::Tag(tag(text))
}

/// The repository that most cases are about.
pub(crate) fn alpine(registry: &dyn Registry) -> Arc<dyn Repository> {
    registry.repository(&name("library/alpine"))
}

/// A file of `uploads/`.
pub(crate) fn upload_name(file: &str) -> UploadName {
    UploadName::new(Area::Uploads, OsStr::new(file)).unwrap()
}

/// No wish for any attribute.
pub(crate) fn as_it_is() -> AttributesChange {
    AttributesChange::default()
}

pub(crate) fn permissions(permissions: u32) -> AttributesChange {
    AttributesChange { permissions: Some(permissions), ..AttributesChange::default() }
}

pub(crate) fn sha512(content: &[u8]) -> Digest {
    let mut hasher = Hasher::new(regfs::model::Algorithm::Sha512);
    hasher.update(content);
    hasher.digest().unwrap()
}

/// An upload with `content` in it.
pub(crate) fn begin(layers: &dyn LayerService, content: &[u8]) -> Arc<dyn LayerUpload> {
    let upload = layers.upload(&upload_name("new"), &as_it_is()).unwrap();
    upload.write_at(content, 0).unwrap();
    upload
}

/// Makes `content` a layer of the repository.
pub(crate) fn push(repository: &dyn Repository, content: &[u8]) -> Digest {
    let digest = Digest::sha256(content);
    begin(repository.layers(), content).finish(&digest).unwrap();
    digest
}

/// All of a layer, read in pieces that fit nothing.
pub(crate) fn content(layer: &dyn Layer) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buffer = [0; 7];
    loop {
        let length = layer.read_at(&mut buffer, all.len() as u64).unwrap();
        all.extend(&buffer[..length]);
        if length < buffer.len() {
            return all;
        }
    }
}

/// All of an upload.
pub(crate) fn written(upload: &dyn LayerUpload) -> Vec<u8> {
    let mut buffer = vec![0; 1 << 16];
    let length = upload.read_at(&mut buffer, 0).unwrap();
    buffer.truncate(length);
    buffer
}

/// An image manifest whose config and layers are `blobs`; `note` makes it unlike others.
pub(crate) fn image(note: &str, blobs: &[Digest]) -> Manifest {
    let [config, layers @ ..] = blobs else { panic!("an image has a config") };
    let layers: Vec<String> =
        layers.iter().map(|layer| format!(r#"{{"digest":"{layer}"}}"#)).collect();
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",
        "annotations":{{"note":"{note}"}},
        "config":{{"digest":"{config}"}},"layers":[{}]}}"#,
        layers.join(",")
    );
    Manifest::parse(text.as_bytes()).unwrap()
}

/// An index of `children`.
pub(crate) fn index(children: &[Digest]) -> Manifest {
    let children: Vec<String> =
        children.iter().map(|child| format!(r#"{{"digest":"{child}"}}"#)).collect();
    let text = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, children.join(","));
    Manifest::parse(text.as_bytes()).unwrap()
}

/// The payload of a schema 1 manifest without layers that says it is `name:tag`.
fn schema_1_payload(name: &str, tag: &str) -> String {
    format!(
        r#"{{"schemaVersion":1,"name":"{name}","tag":"{tag}","architecture":"amd64","fsLayers":[]}}"#
    )
}

/// A schema 1 manifest that nobody signed.
pub(crate) fn unsigned(name: &str, tag: &str) -> Manifest {
    Manifest::parse(schema_1_payload(name, tag).as_bytes()).unwrap()
}

/// A schema 1 manifest signed by `key`.
pub(crate) fn signed(name: &str, tag: &str, key: &SigningKey) -> Manifest {
    let payload = schema_1_payload(name, tag);
    let signed = SignedManifest::sign(payload.as_bytes(), key, SystemTime::UNIX_EPOCH).unwrap();
    Manifest::parse(&signed.document()).unwrap()
}

/// A schema 1 manifest that was changed after it was signed.
pub(crate) fn forged(name: &str, tag: &str) -> Manifest {
    let signed = signed(name, tag, &SigningKey::random().unwrap());
    let text = std::str::from_utf8(signed.bytes()).unwrap();
    Manifest::parse(text.replacen("amd64", "arm64", 1).as_bytes()).unwrap()
}

/// An image that can be put: its config and one layer are pushed.
pub(crate) fn pushed_image(repository: &dyn Repository, note: &str) -> Manifest {
    let config = push(repository, b"{}");
    let layer = push(repository, b"a layer");
    image(note, &[config, layer])
}

/// Pushes an image and puts it under a tag.
pub(crate) fn put(repository: &dyn Repository, note: &str, under: &str) -> Digest {
    put_as(repository.manifests(), &pushed_image(repository, note), under).unwrap()
}

/// Puts a manifest under a tag, with no wish for attributes.
pub(crate) fn put_as(
    manifests: &dyn ManifestService, manifest: &Manifest, under: &str,
) -> Result<Digest> {
    manifests.put(manifest, &PutAs::Tag(tag(under)), &as_it_is())
}

/// The digest that a tag names, `None` when there is no such tag.
pub(crate) fn tagged(repository: &dyn Repository, text: &str) -> Option<Digest> {
    match repository.manifests().stat(&by_tag(text)) {
        Ok(stat) => Some(stat.digest),
        Err(Error::TagUnknown(..)) => None,
        Err(error) => panic!("{error}"),
    }
}

/// All tags, sorted.
pub(crate) fn tags(repository: &dyn Repository) -> Vec<String> {
    sorted(repository.manifests().tags().unwrap().collect().unwrap().iter().map(Tag::to_string))
}

pub(crate) fn sorted<T: Ord>(entries: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut entries: Vec<T> = entries.into_iter().collect();
    entries.sort();
    entries
}

/// The permissions of something in a repository.
pub(crate) fn permissions_of(repository: &dyn Repository, subject: &Subject) -> u32 {
    repository.attributes().get(subject).unwrap().permissions
}

/// Asserts that an expression fails with an error of this shape.
macro_rules! assert_refused {
    ($result:expr, $pattern:pat $(if $guard:expr)?) => {
        match $result {
            Err($pattern) $(if $guard)? => {}
            Err(error) => panic!("another error: {error:?}"),
            Ok(_) => panic!("it was not refused: {}", stringify!($result)),
        }
    };
}
pub(crate) use assert_refused;
