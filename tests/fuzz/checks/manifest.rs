//! Bytes as a manifest: what is taken is kept byte for byte, and refers to what it says.

use regfs::model::{MANIFEST_BYTES_MAX, Manifest};

/// Fails when it does not hold.
pub(crate) fn check(bytes: &[u8]) {
    let Ok(manifest) = Manifest::parse(bytes) else { return };
    assert_eq!(**manifest.bytes(), *bytes);
    assert!(bytes.len() as u64 <= MANIFEST_BYTES_MAX);
    let again = Manifest::parse(manifest.bytes()).expect("it was one before");
    assert_eq!(again.digest(), manifest.digest());
    assert_eq!(again.blobs(), manifest.blobs());
    assert_eq!(again.manifests(), manifest.manifests());
}
