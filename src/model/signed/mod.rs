//! Signed manifests (Docker schema 1): the payload, the signatures on it, and the document of both.
//!
//! This is libtrust's "JSON signature". A document is the payload with a last member `signatures` put
//! into it; what is signed, and what gives the manifest its digest, are the exact bytes of the
//! payload. Each signature's protected header says how to get them back: the first `formatLength`
//! bytes of the document and then `formatTail`. Whether a signature makes a manifest trusted is not
//! decided here: `registry/references.rs` asks [`SignedManifest::verify`].
//!
//! Where libtrust was lenient this is strict: signatures there must be, all of them must hold, there is
//! nothing in a document that is not signed, and no member is there twice.

mod block;
mod key;
mod signing;
mod unique;

#[cfg(test)]
mod tests;

pub use key::KeyId;
pub use signing::SigningKey;

use crate::model::object::{Object, from_json};
use crate::model::{Digest, Error, MANIFEST_BYTES_MAX, Result};
use block::Block;
use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, de::IgnoredAny};
use std::collections::{BTreeMap, HashSet};

/// How many signatures a manifest may have: nobody needs more, and each takes time to verify.
const SIGNATURES_MAX: usize = 64;
/// Longest signature by itself, with its key or certificates, in bytes.
pub const SIGNATURE_BYTES_MAX: usize = 64 << 10;

/// A payload and the signatures on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedManifest {
    payload: Vec<u8>,
    blocks: Vec<Block>,
}

/// A signature that does not hold, with the key that was to have made it where that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureFault {
    /// Which signature, counted from 1.
    pub number: usize,
    /// The key.
    pub key: Option<KeyId>,
    /// What is wrong.
    pub reason: String,
}

impl SignedManifest {
    /// Reads a document: a payload with its signatures in it. Errors: `SignatureMissing`,
    /// `SignatureRejected`, `SignaturesTooMany`, `ManifestInvalid`; signatures are not verified.
    pub fn parse(document: &[u8]) -> Result<Self> {
        unique::check(document)?;
        let found: Members = from_json(document)?;
        if found.payload.is_some() {
            return Self::from_jws(from_json(document)?);
        }
        let blocks = found.signatures.unwrap_or_default();
        let Object(first) = blocks.first().ok_or(Error::SignatureMissing)?;
        let format = first.format().map_err(|reason| rejected(1, reason))?;
        let length = usize::try_from(format.length).unwrap_or(usize::MAX);
        let Some((head, rest)) = document.split_at_checked(length) else {
            return Err(rejected(1, "formatLength is beyond the end of the document".to_owned()));
        };
        let blocks = signatures_in(rest)?;
        Self::new([head, &format.tail].concat(), blocks)
    }

    /// The other form of a JSON signature, which has the payload in base64url.
    fn from_jws(jws: Jws) -> Result<Self> {
        let payload = BASE64URL_NOPAD.decode(jws.payload.as_bytes()).map_err(|error| {
            Error::ManifestInvalid(format!("its payload is not base64url: {error}"))
        })?;
        Self::new(payload, plain(jws.signatures))
    }

    /// Puts a payload and signatures together that were kept apart, each as
    /// [`SignedManifest::signatures`] gives them. Errors: as for `parse`.
    pub fn assemble<'a>(
        payload: &[u8], signatures: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Self> {
        let blocks = signatures.into_iter().map(from_json).collect::<Result<_>>()?;
        Self::new(payload.to_vec(), blocks)
    }

    fn new(payload: Vec<u8>, blocks: Vec<Block>) -> Result<Self> {
        match blocks.len() {
            0 => return Err(Error::SignatureMissing),
            1..=SIGNATURES_MAX => {}
            count => return Err(Error::SignaturesTooMany { count, limit: SIGNATURES_MAX }),
        }
        let end = head_length(&payload)?;
        for (number, block) in (1..).zip(&blocks) {
            let format = block.format().map_err(|reason| rejected(number, reason))?;
            if block.compact().len() > SIGNATURE_BYTES_MAX {
                let reason = format!("it has more than {SIGNATURE_BYTES_MAX} bytes");
                return Err(rejected(number, reason));
            }
            // The document is the payload up to here: a signature that cuts elsewhere would be over
            // members that nobody sees in it, or over none of them.
            if format.length != end as u64 || format.tail != payload[end..] {
                let reason = "formatLength and formatTail do not give back the payload".to_owned();
                return Err(rejected(number, reason));
            }
        }
        unique::check(&payload)?;
        // The document has these members itself.
        let members: BTreeMap<String, IgnoredAny> = from_json(&payload)?;
        if let Some(name) = ["payload", "signatures"].iter().find(|it| members.contains_key(**it)) {
            let reason = format!("it has a member {name:?} within what is signed");
            return Err(Error::ManifestInvalid(reason));
        }
        Ok(Self { payload, blocks })
    }

    /// The signed bytes: what the manifest says.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The manifest's name: the sha256 of the payload, whoever signed it.
    pub fn digest(&self) -> Digest {
        Digest::sha256(&self.payload)
    }

    /// How many signatures there are; at least one.
    pub fn signature_count(&self) -> usize {
        self.blocks.len()
    }

    /// Each signature by itself, as distribution keeps it in a blob.
    pub fn signatures(&self) -> Vec<Vec<u8>> {
        self.blocks.iter().map(Block::compact).collect()
    }

    /// Verifies every signature, and gives the names of the keys that made them, in order. Any key
    /// will do: whom to trust is for who reads the names.
    pub fn verify(&self) -> Result<Vec<KeyId>, SignatureFault> {
        let payload = BASE64URL_NOPAD.encode(&self.payload);
        let verify = |(number, block): (usize, &Block)| {
            let key = block.key_id();
            block.verify(&payload).map_err(|reason| SignatureFault { number, key, reason })
        };
        (1..).zip(&self.blocks).map(verify).collect()
    }

    /// The same payload with those signatures that hold, or `None` when none does.
    pub fn verified(mut self) -> Option<Self> {
        let payload = BASE64URL_NOPAD.encode(&self.payload);
        self.blocks.retain(|block| block.verify(&payload).is_ok());
        (!self.blocks.is_empty()).then_some(self)
    }

    /// Takes the signatures of `other`, which is over the same payload, that are not here yet, as long
    /// as there is room.
    pub fn merge(&mut self, other: &Self) {
        for block in &other.blocks {
            if !self.blocks.contains(block) && self.blocks.len() < SIGNATURES_MAX {
                self.blocks.push(block.clone());
            }
        }
    }

    /// What `other`, which is over the same payload, adds to this: the signatures by keys that have not
    /// signed it yet. A key that signs again, as docker-registry does for each pull, says nothing new.
    /// `None` when that is nothing. Errors: `SignaturesTooMany` and `ManifestTooLarge` when there would
    /// be more of them, or of the document, than is read.
    pub fn added(&self, other: &Self) -> Result<Option<Self>> {
        let keys: HashSet<_> = self.blocks.iter().map(Block::key_id).collect();
        let new = other.blocks.iter().filter(|block| !keys.contains(&block.key_id()));
        let added = Self { payload: self.payload.clone(), blocks: new.cloned().collect() };
        let count = self.blocks.len() + added.blocks.len();
        if count > SIGNATURES_MAX {
            return Err(Error::SignaturesTooMany { count, limit: SIGNATURES_MAX });
        }
        let mut all = self.clone();
        all.merge(&added);
        let length = all.document().len() as u64;
        if length > MANIFEST_BYTES_MAX {
            return Err(Error::ManifestTooLarge { length, limit: MANIFEST_BYTES_MAX });
        }
        Ok(Some(added).filter(|added| !added.blocks.is_empty()))
    }

    /// The document as libtrust writes it: indented as the payload is, signatures in the order of
    /// their keys' names.
    pub fn document(&self) -> Vec<u8> {
        let mut blocks: Vec<&Block> = self.blocks.iter().collect();
        blocks.sort_by_cached_key(|block| block.order());
        let end = head_length(&self.payload).unwrap_or(self.payload.len());
        let head = &self.payload[..end];
        let indent = indent_of(&self.payload);
        if indent.is_empty() {
            return [head, br#","signatures":"#, &block::compact(&blocks), b"}"].concat();
        }
        let list = block::indented(&blocks, indent);
        [head, b",\n", indent, br#""signatures": "#, &list, b"\n}"].concat()
    }
}

/// The members of a document that are looked at here.
#[derive(Deserialize)]
struct Members {
    payload: Option<IgnoredAny>,
    signatures: Option<Vec<Object<Block>>>,
}

/// A document that has the payload in base64url, and nothing else that would not be signed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Jws {
    payload: String,
    signatures: Vec<Object<Block>>,
}

fn plain(blocks: Vec<Object<Block>>) -> Vec<Block> {
    blocks.into_iter().map(|Object(block)| block).collect()
}

/// The signatures in what follows the payload's head: `,"signatures": […]}` and nothing else.
fn signatures_in(rest: &[u8]) -> Result<Vec<Block>> {
    let unsigned = || {
        let reason = "there is something beside the signatures that is not signed".to_owned();
        Error::SignatureRejected(reason)
    };
    let after = |text: &[u8], wanted: &[u8]| {
        text.trim_ascii_start().strip_prefix(wanted).map(<[u8]>::to_vec).ok_or_else(unsigned)
    };
    let rest = after(rest, b",")?;
    let rest = after(&rest, br#""signatures""#)?;
    let rest = after(&rest, b":")?;
    let mut values = serde_json::Deserializer::from_slice(&rest).into_iter::<Vec<Object<Block>>>();
    let blocks = match values.next() {
        Some(blocks) => blocks.map_err(|error| Error::ManifestInvalid(error.to_string()))?,
        None => return Err(unsigned()),
    };
    let end = after(&rest[values.byte_offset()..], b"}")?;
    if end.trim_ascii().is_empty() { Ok(plain(blocks)) } else { Err(unsigned()) }
}

/// Length of the payload without its closing brace and the blanks around that.
fn head_length(payload: &[u8]) -> Result<usize> {
    let open = payload.trim_ascii_end().strip_suffix(b"}");
    let head = open.map(<[u8]>::trim_ascii_end).filter(|head| !head.is_empty());
    head.map(<[u8]>::len)
        .ok_or_else(|| Error::ManifestInvalid("what is signed is no JSON object".to_owned()))
}

/// What the payload's first member is indented with; empty when it is on the line of the brace.
fn indent_of(payload: &[u8]) -> &[u8] {
    let Some(line) = payload.strip_prefix(b"{\n") else { return &[] };
    line.iter().position(|byte| *byte == b'"').map_or(&[], |end| &line[..end])
}

fn rejected(number: usize, reason: String) -> Error {
    SignatureFault { number, key: None, reason }.into()
}

impl From<SignatureFault> for Error {
    fn from(fault: SignatureFault) -> Self {
        let SignatureFault { number, key, reason } = fault;
        Self::SignatureRejected(match key {
            Some(key) => format!("signature {number}, of the key {key}: {reason}"),
            None => format!("signature {number}: {reason}"),
        })
    }
}
