//! A manifest: the exact bytes, what format they are, and what they refer to.
//!
//! Reading is not parsing: whoever has the bytes gives them to [`Manifest::parse`]. The bytes are
//! kept as they came, because their hash is the manifest's name.

use crate::model::{Digest, Error, Result};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
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
    signature_count: usize,
}

impl Manifest {
    /// Reads a manifest. Errors: `ManifestTooLarge`, and `ManifestInvalid` with what is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let length = bytes.len() as u64;
        if length > MANIFEST_BYTES_MAX {
            return Err(Error::ManifestTooLarge { length, limit: MANIFEST_BYTES_MAX });
        }
        let document: Document = serde_json::from_slice(bytes)
            .map_err(|error| Error::ManifestInvalid(error.to_string()))?;
        match document.schema_version {
            1 => Self::schema1(bytes, document),
            2 => Self::schema2(bytes, document),
            other => Err(invalid(&format!("schemaVersion is {other}, neither 1 nor 2"))),
        }
    }

    fn schema1(bytes: &[u8], document: Document) -> Result<Self> {
        let (Some(name), Some(tag), Some(layers)) =
            (document.name, document.tag, document.fs_layers)
        else {
            return Err(invalid("a schema 1 manifest has name, tag and fsLayers"));
        };
        let signatures = document.signatures.unwrap_or_default();
        let digest = match signatures.first() {
            None => Digest::sha256(bytes),
            Some(signature) => Digest::sha256(&payload(bytes, &signature.protected)?),
        };
        let mut blobs = Vec::with_capacity(layers.len());
        for layer in layers {
            blobs.push(Descriptor {
                digest: parse_digest(&layer.blob_sum)?,
                media_type: String::new(),
                size: None,
                foreign: false,
            });
        }
        Ok(Self {
            bytes: bytes.into(),
            digest,
            format: Format::DockerSchema1,
            blobs,
            manifests: Vec::new(),
            inside: Some((name, tag)),
            signature_count: signatures.len(),
        })
    }

    fn schema2(bytes: &[u8], document: Document) -> Result<Self> {
        let has_blobs = document.config.is_some() || document.layers.is_some();
        let has_manifests = document.manifests.is_some();
        let format = match document.media_type.as_deref() {
            Some(media_type) => Format::ALL
                .into_iter()
                .find(|format| format.media_type() == media_type)
                .filter(|format| *format != Format::DockerSchema1)
                .ok_or_else(|| invalid(&format!("mediaType {media_type:?} is no known format")))?,
            None if has_manifests && !has_blobs => Format::OciIndex,
            None if document.config.is_some() => Format::OciManifest,
            None => return Err(invalid("it has neither mediaType nor config nor manifests")),
        };
        // One document must not be readable as both kinds (CVE-2021-41190).
        match format.is_index() {
            true if has_blobs => return Err(invalid("a list of manifests has config or layers")),
            true if !has_manifests => return Err(invalid("a list of manifests has no manifests")),
            false if has_manifests => return Err(invalid("an image manifest has manifests")),
            false if document.config.is_none() => return Err(invalid("it has no config")),
            true | false => {}
        }
        let layers = document.layers.unwrap_or_default();
        let blobs = document.config.into_iter().chain(layers);
        Ok(Self {
            bytes: bytes.into(),
            digest: Digest::sha256(bytes),
            format,
            blobs: blobs.map(RawDescriptor::check).collect::<Result<_>>()?,
            manifests: (document.manifests.unwrap_or_default().into_iter())
                .map(RawDescriptor::check)
                .collect::<Result<_>>()?,
            inside: None,
            signature_count: 0,
        })
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

    /// Number of signatures that a schema 1 manifest carries; they are not verified here.
    pub fn signature_count(&self) -> usize {
        self.signature_count
    }
}

/// Everything that any format has, in one lenient shape; members not named here are skipped.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: i64,
    media_type: Option<String>,
    config: Option<RawDescriptor>,
    layers: Option<Vec<RawDescriptor>>,
    manifests: Option<Vec<RawDescriptor>>,
    name: Option<String>,
    tag: Option<String>,
    fs_layers: Option<Vec<FsLayer>>,
    signatures: Option<Vec<Signature>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    digest: String,
    #[serde(default)]
    media_type: String,
    size: Option<i64>,
    urls: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FsLayer {
    blob_sum: String,
}

#[derive(Deserialize)]
struct Signature {
    protected: String,
}

/// The protected header of a signature: how to get the payload back from the signed document.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Protected {
    format_length: usize,
    format_tail: String,
}

impl RawDescriptor {
    fn check(self) -> Result<Descriptor> {
        let size = self.size.map(u64::try_from).transpose();
        Ok(Descriptor {
            digest: parse_digest(&self.digest)?,
            media_type: self.media_type,
            size: size.map_err(|_| invalid("a size is negative"))?,
            foreign: self.urls.is_some_and(|urls| !urls.is_empty()),
        })
    }
}

/// The signed payload of a schema 1 document: its first `formatLength` bytes and `formatTail`
/// (libtrust's JSON signature).
fn payload(bytes: &[u8], protected: &str) -> Result<Vec<u8>> {
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).ok();
    let header = decode(protected).ok_or_else(|| invalid("a protected header is not base64url"))?;
    let header: Protected = serde_json::from_slice(&header)
        .map_err(|error| invalid(&format!("a protected header does not parse: {error}")))?;
    let tail = decode(&header.format_tail).ok_or_else(|| invalid("formatTail is not base64url"))?;
    let head = bytes
        .get(..header.format_length)
        .ok_or_else(|| invalid("formatLength is beyond the end of the document"))?;
    Ok([head, &tail].concat())
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
            ("{}", "missing field `schemaVersion`"),
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

    #[test]
    fn a_schema_1_manifest_is_named_by_its_payload() {
        let payload = "{\n   \"schemaVersion\": 1,\n   \"name\": \"a/b\",\n   \"tag\": \"t\",\n   \
            \"fsLayers\": []\n}";
        let length = payload.len() - 2;
        let header = format!(r#"{{"formatLength":{length},"formatTail":"Cn0"}}"#);
        let protected = URL_SAFE_NO_PAD.encode(header);
        let head = &payload[..length];
        let signed = format!(r#"{head},"signatures":[{{"protected":"{protected}"}}]}}"#);
        let manifest = Manifest::parse(signed.as_bytes()).unwrap();
        assert_eq!(*manifest.digest(), Digest::sha256(payload.as_bytes()));
        assert_eq!(manifest.inside(), Some(("a/b", "t")));
        assert_eq!(manifest.signature_count(), 1);
        let unsigned = Manifest::parse(payload.as_bytes()).unwrap();
        assert_eq!((unsigned.digest(), unsigned.signature_count()), (manifest.digest(), 0));
    }

    proptest! {
        #[test]
        fn no_bytes_crash_the_parser(bytes: Vec<u8>) {
            prop_assert!(Manifest::parse(&bytes).is_err());
        }
    }
}
