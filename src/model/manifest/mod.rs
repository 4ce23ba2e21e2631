//! A manifest: the exact bytes, what format they are, and what they refer to.
//!
//! Reading is not parsing: whoever has the bytes gives them to [`Manifest::parse`]. The bytes are
//! kept as they came, because their hash is the manifest's name.

mod schema1;
mod schema2;

use crate::model::{Digest, Error, Result, SignedManifest, object};
use serde::{Deserialize, de::IgnoredAny};
use std::sync::Arc;

/// Longest manifest in bytes: what docker-registry accepts, and so what clients can push.
pub const MANIFEST_BYTES_MAX: u64 = 4 << 20;

/// The formats a manifest can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Docker schema 1, with or without signatures.
    DockerSchema1,
    /// Docker schema 2.
    DockerSchema2,
    /// Docker manifest list.
    DockerList,
    /// OCI image manifest; artifacts are of this format too.
    OciManifest,
    /// OCI image index.
    OciIndex,
}

impl Format {
    /// Every format there is.
    pub const ALL: [Self; 5] = [
        Self::DockerSchema1,
        Self::DockerSchema2,
        Self::DockerList,
        Self::OciManifest,
        Self::OciIndex,
    ];

    /// The media type under which clients know it.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::DockerSchema1 => "application/vnd.docker.distribution.manifest.v1+prettyjws",
            Self::DockerSchema2 => "application/vnd.docker.distribution.manifest.v2+json",
            Self::DockerList => "application/vnd.docker.distribution.manifest.list.v2+json",
            Self::OciManifest => "application/vnd.oci.image.manifest.v1+json",
            Self::OciIndex => "application/vnd.oci.image.index.v1+json",
        }
    }

    /// Whether it lists other manifests rather than layers.
    fn is_index(self) -> bool {
        match self {
            Self::DockerList | Self::OciIndex => true,
            Self::DockerSchema1 | Self::DockerSchema2 | Self::OciManifest => false,
        }
    }
}

/// A reference from a manifest to content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// The content's name.
    pub digest: Digest,
    /// The content's media type, empty when the manifest does not say.
    pub media_type: String,
    /// The length in bytes that the manifest claims; nobody checks it.
    pub size: Option<u64>,
    /// Whether the content is fetched from elsewhere (`urls`), so that a registry need not have it.
    pub foreign: bool,
}

/// A manifest of any known format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    bytes: Arc<[u8]>,
    digest: Digest,
    format: Format,
    blobs: Vec<Descriptor>,
    manifests: Vec<Descriptor>,
    inside: Option<(String, String)>,
    signed: Option<Arc<SignedManifest>>,
}

impl Manifest {
    /// Reads a manifest. Errors: `ManifestTooLarge`, and `ManifestInvalid` with what is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let length = bytes.len() as u64;
        if length > MANIFEST_BYTES_MAX {
            return Err(Error::ManifestTooLarge { length, limit: MANIFEST_BYTES_MAX });
        }
        let kind: Kind = object::from_json(bytes)?;
        match kind.schema_version {
            Some(1) => schema1::parse(bytes),
            Some(2) => schema2::parse(bytes),
            Some(other) => Err(invalid(&format!("schemaVersion is {other}, neither 1 nor 2"))),
            // With the payload in base64url, where the version is.
            None if kind.payload.is_some() && kind.signatures.is_some() => schema1::parse(bytes),
            None => Err(invalid("it has no schemaVersion")),
        }
    }

    /// The exact bytes.
    pub fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }

    /// The name: the sha256 of the bytes, or of the signed payload for schema 1.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The config and the layers it refers to, in order.
    pub fn blobs(&self) -> &[Descriptor] {
        &self.blobs
    }

    /// The manifests that an index or list refers to, in order.
    pub fn manifests(&self) -> &[Descriptor] {
        &self.manifests
    }

    /// Repository and tag as a schema 1 manifest states them; not checked against any grammar.
    pub fn inside(&self) -> Option<(&str, &str)> {
        self.inside.as_ref().map(|(name, tag)| (&**name, &**tag))
    }

    /// The signed form of a schema 1 manifest that has signatures; they are not verified here.
    pub fn signed(&self) -> Option<&SignedManifest> {
        self.signed.as_deref()
    }
}

/// What tells formats apart.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    schema_version: Option<i64>,
    payload: Option<IgnoredAny>,
    signatures: Option<IgnoredAny>,
}

fn parse_digest(text: &str) -> Result<Digest> {
    text.parse().map_err(|error: Error| invalid(&error.to_string()))
}

fn invalid(reason: &str) -> Error {
    Error::ManifestInvalid(reason.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn parse(text: &str) -> Result<Manifest> {
        Manifest::parse(text.replace("EMPTY", EMPTY).as_bytes())
    }

    #[test]
    fn a_missing_media_type_is_inferred_from_the_content() {
        let image = parse(r#"{"schemaVersion":2,"config":{"digest":"EMPTY","size":2}}"#).unwrap();
        assert_eq!(image.format(), Format::OciManifest);
        assert_eq!(image.blobs().len(), 1);
        let index = parse(r#"{"schemaVersion":2,"manifests":[{"digest":"EMPTY"}]}"#).unwrap();
        assert_eq!(index.format(), Format::OciIndex);
        assert_eq!(index.manifests().len(), 1);
    }

    #[test]
    fn a_list_in_place_of_an_object_is_refused() {
        let digest = Digest::sha256(b"");
        let lists = [
            format!(r#"{{"schemaVersion":2,"config":["{digest}","",0,null],"layers":[]}}"#),
            format!(r#"{{"schemaVersion":2,"manifests":[["{digest}","",0,null]]}}"#),
            format!(r#"{{"schemaVersion":1,"name":"a","tag":"b","fsLayers":[["{digest}"]]}}"#),
            r#"[2,null,null]"#.to_owned(),
        ];
        for text in lists {
            let refused = Manifest::parse(text.as_bytes());
            assert!(matches!(refused, Err(Error::ManifestInvalid(_))), "{text}: {refused:?}");
        }
    }

    #[test]
    fn a_layer_with_urls_is_foreign() {
        let image = r#"{"schemaVersion":2,"config":{"digest":"EMPTY"},
            "layers":[{"digest":"EMPTY","urls":["https://example.com/x"]},{"digest":"EMPTY"}]}"#;
        let foreign: Vec<bool> =
            parse(image).unwrap().blobs().iter().map(|blob| blob.foreign).collect();
        assert_eq!(foreign, [false, true, false]);
    }

    #[test]
    fn what_is_no_manifest_is_refused_with_its_reason() {
        for (text, reason) in [
            ("hi", "expected value"),
            ("{}", "it has no schemaVersion"),
            (r#"{"schemaVersion":3}"#, "schemaVersion is 3"),
            (r#"{"schemaVersion":2}"#, "neither mediaType nor config nor manifests"),
            (r#"{"schemaVersion":2,"mediaType":"text/plain"}"#, "is no known format"),
            (r#"{"schemaVersion":2,"config":{"digest":"sha256:x"}}"#, "is not a digest"),
            (r#"{"schemaVersion":2,"config":{"digest":"EMPTY"},"manifests":[]}"#, "has manifests"),
            (r#"{"schemaVersion":2,"config":{"digest":"EMPTY","size":-1}}"#, "size is negative"),
            (r#"{"schemaVersion":2,"schemaVersion":2}"#, "duplicate field"),
            (r#"{"schemaVersion":1,"name":"a","tag":"b"}"#, "name, tag and fsLayers"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn a_manifest_has_four_mebibytes_at_most() {
        let image = r#"{"schemaVersion":2,"config":{"digest":"EMPTY"}}"#.replace("EMPTY", EMPTY);
        let padded = |length: u64| image.clone() + &" ".repeat(length as usize - image.len());
        assert!(Manifest::parse(padded(MANIFEST_BYTES_MAX).as_bytes()).is_ok());
        let error = Manifest::parse(padded(MANIFEST_BYTES_MAX + 1).as_bytes()).unwrap_err();
        assert!(matches!(error, Error::ManifestTooLarge { .. }));
    }

    proptest! {
        #[test]
        fn no_bytes_crash_the_parser(bytes: Vec<u8>) {
            prop_assert!(Manifest::parse(&bytes).is_err());
        }
    }
}
