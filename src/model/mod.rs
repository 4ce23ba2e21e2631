//! The words of a registry: names, digests, manifests, attributes, and what can go wrong with them.
//!
//! Nothing here does I/O, takes a lock or knows a disk, a network or FUSE. A value that exists is
//! right: text is checked where it enters (`FromStr`, `parse`), and `Display` is the exact inverse.

mod attributes;
mod digest;
mod digester;
mod error;
mod gzip;
mod manifest;
mod name;
mod object;
mod signed;
pub mod tar;
pub mod tarsum;
mod upload_name;

pub use attributes::{Attributes, AttributesChange};
pub use digest::{Algorithm, Digest};
pub use digester::{Digester, Hasher, STATE_LENGTH};
pub use error::{Error, Result, without_number};
pub use manifest::{Descriptor, Format, MANIFEST_BYTES_MAX, Manifest};
pub use name::{Component, Reference, RepositoryName, Tag, UploadId};
pub use signed::{KeyId, SIGNATURE_BYTES_MAX, SignatureFault, SignedManifest, SigningKey};
pub use upload_name::{Area, UploadName};
