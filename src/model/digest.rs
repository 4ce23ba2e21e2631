//! A digest: the algorithm and the hash that name content. Only this file knows its grammar.

use crate::model::tarsum::{self, Version};
use crate::model::{Error, Result};
use sha2::Digest as _;
use std::{fmt, str::FromStr};

/// How content is hashed. Digests are ordered and compared with their algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// The canonical algorithm: every blob of a store lies under its sha256.
    Sha256,
    /// Accepted as a second name of a blob.
    Sha384,
    /// Accepted as a second name of a blob.
    Sha512,
    /// What registries of 2015 named layers by: of the files in an archive, not of its bytes. Many
    /// blobs can have one TarSum, so it is never more than a second name.
    TarSum(Version, tarsum::Hash),
}

impl Algorithm {
    /// Every algorithm that hashes bytes, the canonical one first.
    pub const OF_BYTES: [Self; 3] = [Self::Sha256, Self::Sha384, Self::Sha512];

    /// Every algorithm there is, the canonical one first.
    pub const ALL: [Self; 9] = [
        Self::Sha256,
        Self::Sha384,
        Self::Sha512,
        Self::TarSum(Version::V0, tarsum::Hash::Sha256),
        Self::TarSum(Version::V0, tarsum::Hash::Sha512),
        Self::TarSum(Version::V1, tarsum::Hash::Sha256),
        Self::TarSum(Version::V1, tarsum::Hash::Sha512),
        Self::TarSum(Version::Dev, tarsum::Hash::Sha256),
        Self::TarSum(Version::Dev, tarsum::Hash::Sha512),
    ];

    /// The name before the colon.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
            Self::TarSum(Version::V0, tarsum::Hash::Sha256) => "tarsum+sha256",
            Self::TarSum(Version::V0, tarsum::Hash::Sha512) => "tarsum+sha512",
            Self::TarSum(Version::V1, tarsum::Hash::Sha256) => "tarsum.v1+sha256",
            Self::TarSum(Version::V1, tarsum::Hash::Sha512) => "tarsum.v1+sha512",
            Self::TarSum(Version::Dev, tarsum::Hash::Sha256) => "tarsum.dev+sha256",
            Self::TarSum(Version::Dev, tarsum::Hash::Sha512) => "tarsum.dev+sha512",
        }
    }

    /// Length of the hash in bytes; its hexadecimal form is twice as long.
    pub fn length(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => HASH_BYTES_MAX,
            Self::TarSum(_, hash) => hash.length(),
        }
    }

    /// Whether it sums up the files of an archive rather than bytes.
    pub fn is_tarsum(self) -> bool {
        matches!(self, Self::TarSum(..))
    }
}

/// The longest hash of any algorithm, in bytes.
const HASH_BYTES_MAX: usize = 64;

/// The name of content: an algorithm's name, a colon, and the hash in lower-case hexadecimal digits,
/// of its full length: `sha256:` and 64 of them, `tarsum.v1+sha256:` and 64.
///
/// Invariant: every `Digest` prints to a text that parses back to it and has no byte outside
/// `[a-z0-9.+:]`, nor two dots beside each other, so a digest can stand in a path without further
/// checks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    /// The hash, and zeros behind it up to the longest hash.
    bytes: [u8; HASH_BYTES_MAX],
}

impl Digest {
    /// The digest whose hash is already known. `None` when `hash` is not as long as `algorithm`'s.
    pub fn new(algorithm: Algorithm, hash: &[u8]) -> Option<Self> {
        (hash.len() == algorithm.length()).then(|| Self::of(algorithm, hash))
    }

    /// The sha256 digest of `content`.
    pub fn sha256(content: &[u8]) -> Self {
        Self::of(Algorithm::Sha256, &sha2::Sha256::digest(content))
    }

    /// The sha256 digest with this hash.
    pub fn of_sha256(hash: &[u8; 32]) -> Self {
        Self::of(Algorithm::Sha256, hash)
    }

    /// The hash, of a sha256 digest.
    pub fn as_sha256(&self) -> Option<&[u8; 32]> {
        let is_it = self.algorithm == Algorithm::Sha256;
        self.bytes.first_chunk().filter(|_| is_it)
    }

    /// The digest with a hash that the caller has just computed with `algorithm`, and which
    /// therefore has its length.
    pub(in crate::model) fn of(algorithm: Algorithm, hash: &[u8]) -> Self {
        debug_assert_eq!(hash.len(), algorithm.length());
        let mut bytes = [0; HASH_BYTES_MAX];
        bytes[..hash.len()].copy_from_slice(hash);
        Self { algorithm, bytes }
    }

    /// How the content was hashed.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The hash itself.
    pub fn hash(&self) -> &[u8] {
        &self.bytes[..self.algorithm.length()]
    }

    /// The hash in lower-case hexadecimal digits, without the algorithm.
    pub fn hex(&self) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = String::with_capacity(2 * self.algorithm.length());
        for byte in self.hash() {
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
        text
    }

    /// Puts a digest together from an algorithm and hexadecimal digits, as folders on disk have
    /// them. Errors: `NameInvalid` unless the digits are lower-case and of the right number.
    pub fn from_hex(algorithm: Algorithm, hex: &str) -> Result<Self> {
        parse_hex(algorithm, hex).map_err(|reason| Error::name_invalid("digest", hex, reason))
    }
}

/// The digest, or why `hex` is not its hash.
fn parse_hex(algorithm: Algorithm, hex: &str) -> Result<Digest, &'static str> {
    if hex.len() != 2 * algorithm.length() {
        return Err("the hash has the wrong number of digits");
    }
    let mut bytes = [0; HASH_BYTES_MAX];
    for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        let (Some(high), Some(low)) = (nibble(pair[0]), nibble(pair[1])) else {
            return Err("the hash is not in lower-case hexadecimal digits");
        };
        *byte = high << 4 | low;
    }
    Ok(Digest { algorithm, bytes })
}

/// The value of one lower-case hexadecimal digit.
fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refused = |reason| Error::name_invalid("digest", text, reason);
        let (name, hex) = text
            .split_once(':')
            .ok_or_else(|| refused("a digest is an algorithm, a colon and a hash"))?;
        let algorithm = Algorithm::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
            .ok_or_else(|| refused("the algorithm is none of sha256, sha384, sha512 and tarsum"))?;
        parse_hex(algorithm, hex).map_err(refused)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.algorithm.name(), self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_digest_of_nothing_is_the_known_one() {
        assert_eq!(
            Digest::sha256(b"").to_string(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }

    #[test]
    fn what_is_no_digest_is_refused_with_its_reason() {
        let short = "sha256:abc";
        let upper = format!("sha256:{}", "A".repeat(64));
        let other = format!("md5:{}", "a".repeat(32));
        let path = format!("sha256:{}/../x", "a".repeat(59));
        for text in ["", "sha256", short, &upper, &other, &path] {
            let error = text.parse::<Digest>().unwrap_err();
            assert!(matches!(error, Error::NameInvalid { kind: "digest", .. }), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn a_digest_prints_to_what_parses_back(
            hash in prop::collection::vec(any::<u8>(), 64), long: bool,
        ) {
            let algorithm = if long { Algorithm::Sha512 } else { Algorithm::Sha256 };
            let digest = Digest::new(algorithm, &hash[..algorithm.length()]).unwrap();
            prop_assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        }

        #[test]
        fn no_text_crashes_the_parser(text: String) {
            if let Ok(digest) = text.parse::<Digest>() {
                prop_assert_eq!(digest.to_string(), text);
            }
        }
    }
}
