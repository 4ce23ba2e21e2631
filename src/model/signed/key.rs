//! The keys that sign manifests: read from a JWK or a certificate, named, and asked whether a
//! signature is theirs.
//!
//! Only this file knows curves, key encodings and the cryptography library. A key is named as
//! libtrust names it: by the first 240 bits of the sha256 of its SubjectPublicKeyInfo in DER.

use data_encoding::{BASE32, BASE64, BASE64URL_NOPAD};
use pkcs1::RsaPublicKey;
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use std::fmt;
use x509_cert::{
    Certificate,
    der::{
        Decode, Encode,
        asn1::{AnyRef, BitStringRef, ObjectIdentifier, UintRef},
    },
    spki::{AlgorithmIdentifier, SubjectPublicKeyInfo},
};

/// Why a key or signature is refused, in words.
pub(super) type Result<T> = std::result::Result<T, String>;

/// The name of a key: twelve groups of four letters and digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(String);

impl fmt::Display for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Bytes of the hash that a key's name shows.
const KEY_ID_BYTES: usize = 30;
/// Letters between two colons of a key's name.
const KEY_ID_GROUP: usize = 4;

/// The curves of RFC 7518 whose keys libtrust takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Curve {
    P256,
    P384,
    P521,
}

impl Curve {
    const ALL: [Self; 3] = [Self::P256, Self::P384, Self::P521];

    /// The name in a JWK.
    fn name(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::P521 => "P-521",
        }
    }

    /// The signature algorithm that goes with it; there is no other.
    fn algorithm(self) -> &'static str {
        match self {
            Self::P256 => "ES256",
            Self::P384 => "ES384",
            Self::P521 => "ES512",
        }
    }

    /// Length in bytes of a coordinate, and of each half of a signature.
    fn coordinate_bytes(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    /// The identifier in certificates (RFC 5480).
    fn identifier(self) -> ObjectIdentifier {
        match self {
            Self::P256 => ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7"),
            Self::P384 => ObjectIdentifier::new_unwrap("1.3.132.0.34"),
            Self::P521 => ObjectIdentifier::new_unwrap("1.3.132.0.35"),
        }
    }
}

/// Identifiers of kinds of keys in certificates (RFC 3279, RFC 5480).
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// What a point begins with that is written with both coordinates.
const POINT_UNCOMPRESSED: u8 = 4;

/// Lengths of an RSA modulus in bits: shorter ones can be broken, longer ones keep a registry busy.
const RSA_BITS: std::ops::RangeInclusive<usize> = 1024..=8192;
/// Longest RSA exponent in bytes, as in libtrust.
const RSA_EXPONENT_BYTES_MAX: usize = 4;
/// Below this many bits the library verifies under another name.
const RSA_BITS_MODERN: usize = 2048;

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PublicKey {
    /// A point on a curve: 4, x, y.
    Ec(Curve, Vec<u8>),
    /// Modulus and exponent, big-endian without leading zeros.
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
}

impl PublicKey {
    /// Reads a JWK (RFC 7517). Members that it does not need are skipped.
    pub(super) fn from_jwk(jwk: &Map<String, Value>) -> Result<Self> {
        if jwk.contains_key("d") {
            return Err("its jwk is a private key".to_owned());
        }
        let key = match text(jwk, "kty")? {
            "EC" => Self::ec_from_jwk(jwk)?,
            "RSA" => Self::rsa(decoded(jwk, "n")?, decoded(jwk, "e")?)?,
            other => return Err(format!("the kind of its key, {other:?}, is neither EC nor RSA")),
        };
        if jwk.contains_key("kid") {
            let (claimed, id) = (text(jwk, "kid")?, key.id()?);
            if claimed != id.0 {
                return Err(format!("its jwk calls the key {id} by another name, {claimed}"));
            }
        }
        Ok(key)
    }

    fn ec_from_jwk(jwk: &Map<String, Value>) -> Result<Self> {
        let name = text(jwk, "crv")?;
        let curve = Curve::ALL.into_iter().find(|curve| curve.name() == name);
        let curve = curve.ok_or_else(|| format!("the curve {name:?} is not known"))?;
        let (x, y) = (decoded(jwk, "x")?, decoded(jwk, "y")?);
        let wanted = curve.coordinate_bytes();
        if x.len() != wanted || y.len() != wanted {
            return Err(format!("the coordinates of its key do not have {wanted} bytes each"));
        }
        Ok(Self::Ec(curve, [vec![POINT_UNCOMPRESSED], x, y].concat()))
    }

    fn rsa(modulus: Vec<u8>, exponent: Vec<u8>) -> Result<Self> {
        if modulus.first().is_none_or(|byte| *byte == 0)
            || exponent.first().is_none_or(|byte| *byte == 0)
        {
            return Err("a number of its RSA key is empty or begins with a zero".to_owned());
        }
        if exponent.len() > RSA_EXPONENT_BYTES_MAX {
            return Err("the exponent of its RSA key is too long".to_owned());
        }
        let key = Self::Rsa { modulus, exponent };
        let bits = key.modulus_bits();
        if !RSA_BITS.contains(&bits) {
            let (least, most) = RSA_BITS.into_inner();
            return Err(format!("its RSA key has {bits} bits, and may have {least} to {most}"));
        }
        Ok(key)
    }

    /// The key of a certificate in DER. Who issued it, and until when it holds, is not looked at.
    pub(super) fn from_certificate(certificate: &str) -> Result<Self> {
        let der = BASE64
            .decode(certificate.as_bytes())
            .map_err(|error| format!("its certificate is not base64: {error}"))?;
        let certificate = Certificate::from_der(&der)
            .map_err(|error| format!("its certificate cannot be read: {error}"))?;
        let info = certificate.tbs_certificate().subject_public_key_info();
        let key = info.subject_public_key.raw_bytes();
        match info.algorithm.oid {
            EC_PUBLIC_KEY => {
                let parameters = info.algorithm.parameters.as_ref();
                let oid = parameters.and_then(|any| any.decode_as::<ObjectIdentifier>().ok());
                let curve = Curve::ALL.into_iter().find(|it| Some(it.identifier()) == oid);
                let curve = curve.ok_or("the curve of its certificate is not known")?;
                let length = 1 + 2 * curve.coordinate_bytes();
                if key.len() != length || key[0] != POINT_UNCOMPRESSED {
                    return Err("the point of its certificate has another form".to_owned());
                }
                Ok(Self::Ec(curve, key.to_vec()))
            }
            RSA_ENCRYPTION => {
                let key = RsaPublicKey::<UintRef<'_>>::from_der(key)
                    .map_err(|error| format!("the key of its certificate: {error}"))?;
                Self::rsa(key.modulus.as_bytes().to_vec(), key.public_exponent.as_bytes().to_vec())
            }
            _ => Err("the key of its certificate is neither EC nor RSA".to_owned()),
        }
    }

    /// The key's name.
    pub(super) fn id(&self) -> Result<KeyId> {
        let info = self.info().map_err(|error| format!("its key cannot be written: {error}"))?;
        let hash = Sha256::digest(info);
        let letters = BASE32.encode(&hash[..KEY_ID_BYTES]);
        let groups: Vec<&str> = (0..letters.len())
            .step_by(KEY_ID_GROUP)
            .map(|start| &letters[start..start + KEY_ID_GROUP])
            .collect();
        Ok(KeyId(groups.join(":")))
    }

    /// Its SubjectPublicKeyInfo in DER.
    fn info(&self) -> x509_cert::der::Result<Vec<u8>> {
        match self {
            Self::Ec(curve, point) => {
                let curve = curve.identifier();
                let algorithm = AlgorithmIdentifier {
                    oid: EC_PUBLIC_KEY,
                    parameters: Some(AnyRef::from(&curve)),
                };
                let subject_public_key = BitStringRef::from_bytes(point)?;
                SubjectPublicKeyInfo { algorithm, subject_public_key }.to_der()
            }
            Self::Rsa { modulus, exponent } => {
                let modulus = UintRef::new(modulus)?;
                let key = RsaPublicKey { modulus, public_exponent: UintRef::new(exponent)? };
                let key = key.to_der()?;
                let algorithm =
                    AlgorithmIdentifier { oid: RSA_ENCRYPTION, parameters: Some(AnyRef::NULL) };
                let subject_public_key = BitStringRef::from_bytes(&key)?;
                SubjectPublicKeyInfo { algorithm, subject_public_key }.to_der()
            }
        }
    }

    fn modulus_bits(&self) -> usize {
        match self {
            Self::Rsa { modulus, .. } => {
                let unused = modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
                modulus.len() * 8 - unused
            }
            Self::Ec(..) => 0,
        }
    }

    /// Whether `signature` is this key's over `message`, made as `algorithm` says (RFC 7518).
    pub(super) fn verify(&self, algorithm: &str, message: &[u8], signature: &[u8]) -> Result<()> {
        let good = match self {
            Self::Ec(curve, point) => {
                if algorithm != curve.algorithm() {
                    let (name, wanted) = (curve.name(), curve.algorithm());
                    return Err(format!("its algorithm is {algorithm:?}; {name} has {wanted}"));
                }
                let length = 2 * curve.coordinate_bytes();
                if signature.len() != length {
                    return Err(format!("it has {} bytes, not {length}", signature.len()));
                }
                match curve {
                    Curve::P256 => {
                        verify_ec(&signature::ECDSA_P256_SHA256_FIXED, point, message, signature)
                    }
                    Curve::P384 => {
                        verify_ec(&signature::ECDSA_P384_SHA384_FIXED, point, message, signature)
                    }
                    Curve::P521 => verify_p521(point, message, signature),
                }
            }
            Self::Rsa { modulus, exponent } => {
                let parameters = self.rsa_parameters(algorithm)?;
                let key = RsaPublicKeyComponents { n: modulus, e: exponent };
                key.verify(parameters, message, signature).is_ok()
            }
        };
        if good { Ok(()) } else { Err("it is not a signature of this content".to_owned()) }
    }

    fn rsa_parameters(&self, algorithm: &str) -> Result<&'static signature::RsaParameters> {
        let modern = self.modulus_bits() >= RSA_BITS_MODERN;
        match (algorithm, modern) {
            ("RS256", true) => Ok(&signature::RSA_PKCS1_2048_8192_SHA256),
            ("RS384", true) => Ok(&signature::RSA_PKCS1_2048_8192_SHA384),
            ("RS512", true) => Ok(&signature::RSA_PKCS1_2048_8192_SHA512),
            ("RS256", false) => Ok(&signature::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY),
            ("RS512", false) => Ok(&signature::RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY),
            ("RS384", false) => {
                Err(format!("RS384 with fewer than {RSA_BITS_MODERN} bits is not known here"))
            }
            (other, _) => Err(format!("its algorithm is {other:?}; RSA has RS256, RS384, RS512")),
        }
    }
}

fn verify_ec(
    algorithm: &'static signature::EcdsaVerificationAlgorithm, point: &[u8], message: &[u8],
    signature: &[u8],
) -> bool {
    UnparsedPublicKey::new(algorithm, point).verify(message, signature).is_ok()
}

fn verify_p521(point: &[u8], message: &[u8], signature: &[u8]) -> bool {
    use p521::ecdsa::{Signature, VerifyingKey, signature::Verifier as _};
    let (Ok(key), Ok(signature)) =
        (VerifyingKey::from_sec1_bytes(point), Signature::from_slice(signature))
    else {
        return false;
    };
    key.verify(message, &signature).is_ok()
}

/// A member of a JWK that must be a text.
fn text<'a>(jwk: &'a Map<String, Value>, name: &str) -> Result<&'a str> {
    let member = jwk.get(name).ok_or_else(|| format!("its jwk has no {name}"))?;
    member.as_str().ok_or_else(|| format!("{name} of its jwk is no text"))
}

/// A member of a JWK that must be bytes.
fn decoded(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>> {
    BASE64URL_NOPAD
        .decode(text(jwk, name)?.as_bytes())
        .map_err(|error| format!("{name} of its jwk is not base64url: {error}"))
}
