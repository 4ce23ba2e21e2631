//! Signing a payload, for a registry that has one without signatures.
//!
//! The key is kept as a JWK, in which form docker-registry takes it too (`signingkeyfile`). Signing
//! is deterministic (RFC 6979): a document that is made anew each time it is asked for is always
//! the same.

use crate::model::signed::{
    SignedManifest,
    block::{Block, Split},
    head_length,
    key::{KeyId, PublicKey},
};
use crate::model::{Error, Result};
use data_encoding::BASE64URL_NOPAD;
use p256::ecdsa::{self, Signature, signature::Signer as _};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::{Map, Value, json};
use std::time::SystemTime;

/// Length of a private key in bytes.
const SECRET_BYTES: usize = 32;
/// How often random bytes are tried as a key: nearly all are one.
const SECRETS_MAX: usize = 16;

/// A private key on the curve P-256.
pub struct SigningKey {
    key: ecdsa::SigningKey,
    public: Map<String, Value>,
    id: KeyId,
}

impl SigningKey {
    /// A new key.
    pub fn random() -> Result<Self> {
        let mut secret = [0; SECRET_BYTES];
        for _ in 0..SECRETS_MAX {
            if SystemRandom::new().fill(&mut secret).is_ok()
                && let Ok(key) = ecdsa::SigningKey::from_slice(&secret)
            {
                return Self::new(key);
            }
        }
        Err(unusable("there are no random numbers"))
    }

    /// Reads a private JWK. Errors: `SigningKeyInvalid`.
    pub fn from_jwk(text: &[u8]) -> Result<Self> {
        let jwk: Map<String, Value> =
            serde_json::from_slice(text).map_err(|error| unusable(&error.to_string()))?;
        let member = |name: &str| jwk.get(name).and_then(Value::as_str).unwrap_or_default();
        if (member("kty"), member("crv")) != ("EC", "P-256") {
            return Err(unusable("it is no EC key on the curve P-256"));
        }
        let secret = BASE64URL_NOPAD.decode(member("d").as_bytes());
        let key = secret.ok().and_then(|secret| ecdsa::SigningKey::from_slice(&secret).ok());
        Self::new(key.ok_or_else(|| unusable("its member d is no private key"))?)
    }

    fn new(key: ecdsa::SigningKey) -> Result<Self> {
        let point = key.verifying_key().to_sec1_point(false);
        let (x, y) = (point.x(), point.y());
        let encode = |coordinate: Option<&_>| {
            BASE64URL_NOPAD.encode(coordinate.map_or(&[][..], |it: &p256::FieldBytes| it))
        };
        let mut public = Map::new();
        public.insert("kty".to_owned(), json!("EC"));
        public.insert("crv".to_owned(), json!("P-256"));
        public.insert("x".to_owned(), json!(encode(x)));
        public.insert("y".to_owned(), json!(encode(y)));
        let id = PublicKey::from_jwk(&public).and_then(|key| key.id());
        let id = id.map_err(|reason| unusable(&reason))?;
        public.insert("kid".to_owned(), json!(id.to_string()));
        Ok(Self { key, public, id })
    }

    /// The key as a private JWK.
    pub fn to_jwk(&self) -> Vec<u8> {
        let mut jwk = self.public.clone();
        jwk.insert("d".to_owned(), json!(BASE64URL_NOPAD.encode(&self.key.to_bytes())));
        Value::Object(jwk).to_string().into_bytes()
    }

    /// The key's name.
    pub fn id(&self) -> &KeyId {
        &self.id
    }
}

impl SignedManifest {
    /// Signs `payload`, and says that this was done at `at`. Errors: `ManifestInvalid`.
    pub fn sign(payload: &[u8], key: &SigningKey, at: SystemTime) -> Result<Self> {
        let end = head_length(payload)?;
        let split = Split { length: end as u64, tail: payload[end..].to_vec() };
        let protected = split.protected(at);
        let message = [&protected, ".", &BASE64URL_NOPAD.encode(payload)].concat();
        let signature: Signature = key.key.sign(message.as_bytes());
        let signature = BASE64URL_NOPAD.encode(&signature.to_bytes());
        Self::new(payload.to_vec(), vec![Block::new(key.public.clone(), signature, protected)])
    }
}

fn unusable(reason: &str) -> Error {
    Error::SigningKeyInvalid(reason.to_owned())
}
