//! Docker schema 1: layers by name, and the manifest's own place, mostly signed.

use crate::model::manifest::{Descriptor, Format, Manifest, invalid, parse_digest};
use crate::model::object::{Object, from_json};
use crate::model::{Digest, Error, Result, SignedManifest};
use serde::Deserialize;
use std::sync::Arc;

/// What a manifest says; of a signed one, what its payload says. Members not named here are skipped.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload {
    schema_version: i64,
    name: Option<String>,
    tag: Option<String>,
    fs_layers: Option<Vec<Object<FsLayer>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FsLayer {
    blob_sum: String,
}

/// Reads a manifest, with or without signatures.
pub(super) fn parse(bytes: &[u8]) -> Result<Manifest> {
    let signed = match SignedManifest::parse(bytes) {
        Ok(signed) => Some(Arc::new(signed)),
        Err(Error::SignatureMissing) => None,
        Err(error) => return Err(error),
    };
    let said = signed.as_ref().map_or(bytes, |signed| signed.payload());
    let payload: Payload = from_json(said)?;
    if payload.schema_version != 1 {
        return Err(invalid("what is signed has another schemaVersion than 1"));
    }
    let (Some(name), Some(tag), Some(layers)) = (payload.name, payload.tag, payload.fs_layers)
    else {
        return Err(invalid("a schema 1 manifest has name, tag and fsLayers"));
    };
    let mut blobs = Vec::with_capacity(layers.len());
    for Object(layer) in layers {
        blobs.push(Descriptor {
            digest: parse_digest(&layer.blob_sum)?,
            media_type: String::new(),
            size: None,
            foreign: false,
        });
    }
    Ok(Manifest {
        bytes: bytes.into(),
        digest: Digest::sha256(said),
        format: Format::DockerSchema1,
        blobs,
        manifests: Vec::new(),
        inside: Some((name, tag)),
        signed,
    })
}
