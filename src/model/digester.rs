//! Hashing that can be asked on the way, kept, and taken up again: the running sha256 of an upload.
//!
//! Only this file knows the kept form. It is the one that docker/distribution writes to
//! `hashstates/sha256/OFFSET` (Go's `crypto/sha256`, marshalled): the magic `sha\x03`, eight
//! big-endian state words, the 64-byte block buffer, the length so far as a big-endian u64.

use crate::model::tarsum::LayerSummer;
use crate::model::{Algorithm, Digest, Result};
use sha2::{
    Digest as _, Sha256, Sha384, Sha512,
    digest::common::hazmat::{SerializableState, SerializedState},
};

/// Length of a kept state in bytes.
pub const STATE_LENGTH: usize = 108;

const MAGIC: &[u8; 4] = b"sha\x03";
const BLOCK_LENGTH: usize = 64;

/// Where the parts of the library's own form lie: words and block count little-endian, then the
/// number of buffered bytes, then the buffer, which is never full.
const KEPT_WORDS: std::ops::Range<usize> = 0..32;
const KEPT_BLOCKS: std::ops::Range<usize> = 32..40;
const KEPT_BUFFERED: usize = 40;
const KEPT_BUFFER: usize = 41;

/// A running sha256.
#[derive(Clone, Debug, Default)]
pub struct Digester {
    hash: Sha256,
    length: u64,
}

impl Digester {
    /// Hashes `bytes` behind what was hashed before.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.length += bytes.len() as u64;
    }

    /// Number of bytes hashed so far.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The digest of everything hashed so far; hashing can go on afterwards.
    pub fn digest(&self) -> Digest {
        Digest::of(Algorithm::Sha256, &self.hash.clone().finalize())
    }

    /// The state in distribution's form.
    pub fn state(&self) -> [u8; STATE_LENGTH] {
        let kept = self.hash.serialize();
        let mut state = [0; STATE_LENGTH];
        state[..4].copy_from_slice(MAGIC);
        swap_words(&kept[KEPT_WORDS], &mut state[4..36]);
        let buffered = usize::from(kept[KEPT_BUFFERED]);
        state[36..36 + buffered].copy_from_slice(&kept[KEPT_BUFFER..KEPT_BUFFER + buffered]);
        state[100..].copy_from_slice(&self.length.to_be_bytes());
        state
    }

    /// Takes up a kept state. `None` when `state` is not one.
    pub fn from_state(state: &[u8]) -> Option<Self> {
        let state: &[u8; STATE_LENGTH] = state.try_into().ok()?;
        if &state[..4] != MAGIC {
            return None;
        }
        let length = u64::from_be_bytes(state[100..].try_into().ok()?);
        let buffered = usize::try_from(length % BLOCK_LENGTH as u64).ok()?;
        let mut kept = SerializedState::<Sha256>::default();
        swap_words(&state[4..36], &mut kept[KEPT_WORDS]);
        kept[KEPT_BLOCKS].copy_from_slice(&(length / BLOCK_LENGTH as u64).to_le_bytes());
        kept[KEPT_BUFFERED] = u8::try_from(buffered).ok()?;
        kept[KEPT_BUFFER..KEPT_BUFFER + buffered].copy_from_slice(&state[36..36 + buffered]);
        let hash = Sha256::deserialize(&kept).ok()?;
        Some(Self { hash, length })
    }
}

/// A running hash of any algorithm, for a check from beginning to end.
#[derive(Debug)]
pub struct Hasher(Running);

#[derive(Debug)]
enum Running {
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
    TarSum(Box<LayerSummer>),
}

impl Hasher {
    /// Nothing hashed yet.
    pub fn new(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Sha256 => Running::Sha256(Sha256::new()),
            Algorithm::Sha384 => Running::Sha384(Sha384::new()),
            Algorithm::Sha512 => Running::Sha512(Sha512::new()),
            Algorithm::TarSum(version, hash) => {
                Running::TarSum(Box::new(LayerSummer::new(version, hash)))
            }
        })
    }

    /// Hashes `bytes` behind what was hashed before.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Running::Sha256(hash) => hash.update(bytes),
            Running::Sha384(hash) => hash.update(bytes),
            Running::Sha512(hash) => hash.update(bytes),
            Running::TarSum(summer) => summer.update(bytes),
        }
    }

    /// The digest of everything hashed. Errors: `TarInvalid` and `GzipInvalid`, when a TarSum was
    /// asked for and the content has none.
    pub fn digest(self) -> Result<Digest> {
        Ok(match self.0 {
            Running::Sha256(hash) => Digest::of(Algorithm::Sha256, &hash.finalize()),
            Running::Sha384(hash) => Digest::of(Algorithm::Sha384, &hash.finalize()),
            Running::Sha512(hash) => Digest::of(Algorithm::Sha512, &hash.finalize()),
            Running::TarSum(summer) => return summer.digest(),
        })
    }
}

/// Copies 32-bit words from one byte order to the other. Both slices are 32 bytes long.
fn swap_words(from: &[u8], to: &mut [u8]) {
    for (from, to) in from.chunks_exact(4).zip(to.chunks_exact_mut(4)) {
        to.copy_from_slice(from);
        to.reverse();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Dumps of docker-registry 2.8.2 after nothing, `hello` and `hello world`.
    #[test]
    fn the_kept_state_is_distributions_own() {
        let words = "6a09e667bb67ae853c6ef372a54ff53a510e527f9b05688c1f83d9ab5be0cd19";
        for text in ["", "hello", "hello world"] {
            let mut digester = Digester::default();
            digester.update(text.as_bytes());
            let state = digester.state();
            let hex: String = state.iter().map(|byte| format!("{byte:02x}")).collect();
            let buffer: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, format!("73686103{words}{buffer:0<128}{:016x}", text.len()));
        }
    }

    #[test]
    fn what_is_no_state_is_refused() {
        assert!(Digester::from_state(&[]).is_none());
        assert!(Digester::from_state(&[0; STATE_LENGTH]).is_none());
        assert!(Digester::from_state(&[0; STATE_LENGTH + 1]).is_none());
    }

    proptest! {
        #[test]
        fn hashing_goes_on_from_a_kept_state(
            before in prop::collection::vec(any::<u8>(), 0..300),
            after in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let mut digester = Digester::default();
            digester.update(&before);
            let mut resumed = Digester::from_state(&digester.state()).unwrap();
            prop_assert_eq!(resumed.length(), before.len() as u64);
            resumed.update(&after);
            prop_assert_eq!(resumed.digest(), Digest::sha256(&[before, after].concat()));
        }
    }
}
