//! Bytes as a signed manifest: what verifies is kept with the payload as it was signed, and no
//! other payload verifies with the same signatures.

use regfs::model::{Manifest, SignedManifest};

/// Fails when it does not hold.
pub(crate) fn check(bytes: &[u8]) {
    let Ok(signed) = SignedManifest::parse(bytes) else { return };
    let (payload, digest) = (signed.payload().to_vec(), signed.digest());
    let verified = signed.verify();
    // The document that is given out says the same.
    let document = signed.document();
    let again = SignedManifest::parse(&document).expect("what is given out can be put again");
    assert_eq!((again.payload(), again.digest()), (&*payload, digest));
    assert_eq!(sorted(&again), sorted(&signed));
    let Ok(keys) = verified else { return };
    assert!(!keys.is_empty());
    if let Ok(manifest) = Manifest::parse(bytes) {
        assert_eq!(*manifest.digest(), digest);
    }
    // A flipped bit of the payload, in each place in turn.
    let start = document.windows(payload.len().min(16)).position(|part| payload.starts_with(part));
    let at = usize::from(bytes.first().copied().unwrap_or(0)) % payload.len().max(1);
    if let Some(byte) = start.and_then(|start| document.get(start + at)) {
        let mut flipped = document.clone();
        flipped[start.unwrap_or(0) + at] = byte ^ 1;
        if let Ok(flipped) = SignedManifest::parse(&flipped) {
            assert!(flipped.verify().is_err() || flipped.payload() == payload);
        }
    }
}

/// The names of the keys, when every signature holds: a document has them in order of these.
fn sorted(signed: &SignedManifest) -> Option<Vec<String>> {
    let mut names: Vec<String> = signed.verify().ok()?.iter().map(ToString::to_string).collect();
    names.sort();
    Some(names)
}
