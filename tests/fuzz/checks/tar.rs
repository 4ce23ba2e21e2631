//! Bytes as a layer: its TarSum does not depend on the pieces in which it comes, and neither does
//! the reason why it has none.

use regfs::model::{
    Result,
    tarsum::{Hash, LayerSummer, Sums, Version},
};

/// Fails when it does not hold.
pub(crate) fn check(bytes: &[u8]) {
    for version in [Version::V0, Version::V1] {
        let sums = |step| sums(version, bytes, step);
        let whole = sums(bytes.len().max(1));
        for step in [1, 7, 512, 1000] {
            match (&whole, sums(step)) {
                (Ok(whole), Ok(pieces)) => assert_eq!(whole.digest(&[]), pieces.digest(&[])),
                (Err(whole), Err(pieces)) => assert_eq!(whole.to_string(), pieces.to_string()),
                (whole, pieces) => panic!("{whole:?} and in pieces of {step} {pieces:?}"),
            }
        }
    }
}

fn sums(version: Version, bytes: &[u8], step: usize) -> Result<Sums> {
    let mut summer = LayerSummer::new(version, Hash::Sha256);
    bytes.chunks(step).for_each(|piece| summer.update(piece));
    summer.finish()
}
