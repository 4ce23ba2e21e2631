//! Bytes as what the program reads of the system and of who starts it: the list of mounts, mount options,
//! the state of a hash, a signing key. What is taken is written as it was read.

use regfs::{
    config::MountOptions,
    fs::mountinfo,
    model::{Digester, SigningKey, tar},
};

/// Fails when it does not hold.
pub(crate) fn check(bytes: &[u8]) {
    assert!(mountinfo::parse(bytes).len() <= bytes.split(|byte| *byte == b'\n').count());
    if let Some(digester) = Digester::from_state(bytes) {
        assert_eq!(digester.state(), bytes);
    }
    if let Ok(key) = SigningKey::from_jwk(bytes) {
        let again = SigningKey::from_jwk(&key.to_jwk()).expect("it was one before");
        assert_eq!(again.id(), key.id());
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        MountOptions::parse(&[text], false).ok();
        MountOptions::parse(&[text], true).ok();
    }
    tar::entries(bytes).ok();
}
