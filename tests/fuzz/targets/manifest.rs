//! Bytes as a manifest: what is taken is kept byte for byte, and refers to what it says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use regfs::model::{MANIFEST_BYTES_MAX, Manifest};

fuzz_target!(|bytes: &[u8]| {
    let Ok(manifest) = Manifest::parse(bytes) else { return };
    assert_eq!(**manifest.bytes(), *bytes);
    assert!(bytes.len() as u64 <= MANIFEST_BYTES_MAX);
    let again = Manifest::parse(manifest.bytes()).expect("it was one before");
    assert_eq!(again.digest(), manifest.digest());
    assert_eq!(again.blobs(), manifest.blobs());
    assert_eq!(again.manifests(), manifest.manifests());
});
