//! One signature of a signed manifest, and how it is written.
//!
//! Only this file knows the members of a signature and their order, which libtrust keeps: a
//! signature by itself lies in a blob that is named by its sha256.

use crate::model::object::{Object, object};
use crate::model::signed::key::{KeyId, PublicKey, Result};
use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json, ser::PrettyFormatter};
use std::time::SystemTime;

/// One signature, with the key that made it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Block {
    #[serde(deserialize_with = "object")]
    header: Header,
    signature: String,
    protected: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
struct Header {
    /// Members sorted by name, as libtrust writes them.
    #[serde(skip_serializing_if = "Option::is_none")]
    jwk: Option<Map<String, Value>>,
    alg: String,
    /// Certificates in base64, the signer's first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    x5c: Vec<String>,
}

/// How to get the payload from a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Split {
    /// So many bytes of the document,
    pub(super) length: u64,
    /// and then these.
    pub(super) tail: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Protected {
    format_length: u64,
    format_tail: String,
}

impl Split {
    /// The protected header that says this, and when it was said, in base64url.
    pub(super) fn protected(&self, at: SystemTime) -> String {
        let header = json!({
            "formatLength": self.length,
            "formatTail": BASE64URL_NOPAD.encode(&self.tail),
            "time": humantime::format_rfc3339_seconds(at).to_string(),
        });
        BASE64URL_NOPAD.encode(header.to_string().as_bytes())
    }
}

impl Block {
    /// A signature made with ES256 by the key `jwk`.
    pub(super) fn new(jwk: Map<String, Value>, signature: String, protected: String) -> Self {
        let header = Header { jwk: Some(jwk), alg: "ES256".to_owned(), x5c: Vec::new() };
        Self { header, signature, protected }
    }

    /// How to get the payload from the document that this is in.
    pub(super) fn format(&self) -> Result<Split> {
        let header = decode(&self.protected, "its protected header")?;
        let Object(Protected { format_length: length, format_tail }) =
            serde_json::from_slice(&header)
                .map_err(|error| format!("its protected header cannot be read: {error}"))?;
        Ok(Split { length, tail: decode(&format_tail, "formatTail")? })
    }

    /// Whether it is over `payload`, given in base64url; names the key that made it.
    pub(super) fn verify(&self, payload: &str) -> Result<KeyId> {
        let key = self.key()?;
        let signature = decode(&self.signature, "it")?;
        let message = [&self.protected, ".", payload].concat();
        key.verify(&self.header.alg, message.as_bytes(), &signature)?;
        key.id()
    }

    /// The key that is said to have made it. A certificate goes before a JWK.
    fn key(&self) -> Result<PublicKey> {
        match (self.header.x5c.first(), &self.header.jwk) {
            (Some(leaf), _) => PublicKey::from_certificate(leaf),
            (None, Some(jwk)) => PublicKey::from_jwk(jwk),
            (None, None) => Err("it names no key".to_owned()),
        }
    }

    /// The name of the key that is said to have made it.
    pub(super) fn key_id(&self) -> Option<KeyId> {
        self.key().and_then(|key| key.id()).ok()
    }

    /// By what signatures of a document are ordered.
    pub(super) fn order(&self) -> (Option<KeyId>, String) {
        (self.key_id(), self.signature.clone())
    }

    /// By itself, as it lies in a blob.
    pub(super) fn compact(&self) -> Vec<u8> {
        escaped(serde_json::to_vec(&self.with_key_id()).unwrap_or_default())
    }

    /// With the key's name in its JWK, which may lack it when it is read and not when it is written.
    fn with_key_id(&self) -> Self {
        let mut block = self.clone();
        // Not the name of the certificate's key, which may be another.
        if let Some(jwk) = &mut block.header.jwk
            && let Ok(id) = PublicKey::from_jwk(jwk).and_then(|key| key.id())
        {
            jwk.entry("kid").or_insert_with(|| Value::String(id.to_string()));
        }
        block
    }
}

/// A list of signatures on one line.
pub(super) fn compact(blocks: &[&Block]) -> Vec<u8> {
    let blocks: Vec<Block> = blocks.iter().map(|block| block.with_key_id()).collect();
    escaped(serde_json::to_vec(&blocks).unwrap_or_default())
}

/// A list of signatures, a member on each line, in a document whose members have this `indent`.
pub(super) fn indented(blocks: &[&Block], indent: &[u8]) -> Vec<u8> {
    let blocks: Vec<Block> = blocks.iter().map(|block| block.with_key_id()).collect();
    let mut list = Vec::new();
    let formatter = PrettyFormatter::with_indent(indent);
    let mut serializer = serde_json::Serializer::with_formatter(&mut list, formatter);
    if blocks.serialize(&mut serializer).is_err() {
        list.clear();
    }
    let newline = [b"\n", indent].concat();
    let lines: Vec<&[u8]> = list.split(|byte| *byte == b'\n').collect();
    escaped(lines.join(&*newline))
}

/// As Go writes texts: these characters are in JSON within texts only.
fn escaped(json: Vec<u8>) -> Vec<u8> {
    const ESCAPES: [(char, &str); 5] = [
        ('<', "\\u003c"),
        ('>', "\\u003e"),
        ('&', "\\u0026"),
        ('\u{2028}', "\\u2028"),
        ('\u{2029}', "\\u2029"),
    ];
    match String::from_utf8(json) {
        Ok(text) => {
            ESCAPES.into_iter().fold(text, |text, (from, to)| text.replace(from, to)).into_bytes()
        }
        Err(error) => error.into_bytes(),
    }
}

fn decode(text: &str, what: &str) -> Result<Vec<u8>> {
    BASE64URL_NOPAD
        .decode(text.as_bytes())
        .map_err(|error| format!("{what} is not base64url: {error}"))
}
