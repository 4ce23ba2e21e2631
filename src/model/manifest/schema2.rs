//! Everything with schemaVersion 2: Docker's image manifests and lists, OCI's manifests and indexes.

use crate::model::manifest::{Descriptor, Format, Manifest, invalid, parse_digest};
use crate::model::object::{Object, from_json};
use crate::model::{Digest, Result};
use serde::Deserialize;

/// Everything that any of them has, in one lenient shape; members not named here are skipped.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    media_type: Option<String>,
    config: Option<Object<RawDescriptor>>,
    layers: Option<Vec<Object<RawDescriptor>>>,
    manifests: Option<Vec<Object<RawDescriptor>>>,
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

/// Reads a manifest.
pub(super) fn parse(bytes: &[u8]) -> Result<Manifest> {
    let document: Document = from_json(bytes)?;
    let format = document.format()?;
    let layers = document.layers.unwrap_or_default();
    let blobs = document.config.into_iter().chain(layers);
    Ok(Manifest {
        bytes: bytes.into(),
        digest: Digest::sha256(bytes),
        format,
        blobs: blobs.map(|Object(raw)| raw.check()).collect::<Result<_>>()?,
        manifests: (document.manifests.unwrap_or_default().into_iter())
            .map(|Object(raw)| raw.check())
            .collect::<Result<_>>()?,
        inside: None,
        signed: None,
    })
}

impl Document {
    /// The format that it says it has, or that its members show.
    fn format(&self) -> Result<Format> {
        let has_blobs = self.config.is_some() || self.layers.is_some();
        let has_manifests = self.manifests.is_some();
        let format = match self.media_type.as_deref() {
            Some(media_type) => Format::ALL
                .into_iter()
                .find(|format| format.media_type() == media_type)
                .filter(|format| *format != Format::DockerSchema1)
                .ok_or_else(|| invalid(&format!("mediaType {media_type:?} is no known format")))?,
            None if has_manifests && !has_blobs => Format::OciIndex,
            None if self.config.is_some() => Format::OciManifest,
            None => return Err(invalid("it has neither mediaType nor config nor manifests")),
        };
        // One document must not be readable as both kinds (CVE-2021-41190).
        match format.is_index() {
            true if has_blobs => Err(invalid("a list of manifests has config or layers")),
            true if !has_manifests => Err(invalid("a list of manifests has no manifests")),
            false if has_manifests => Err(invalid("an image manifest has manifests")),
            false if self.config.is_none() => Err(invalid("it has no config")),
            true | false => Ok(format),
        }
    }
}
