//! Layers by the sum of the files in them: what the tests of the registry of 2015 asserted of them
//! (layer_test.go), and what follows from a sum that does not pin bytes.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use crate::fixtures::*;
use regfs::{
    model::{Algorithm, Digest, Error, Hasher, tarsum},
    registry::Registry,
};
use std::{fs, path::Path};

/// One of the archives in `tests/fixtures/tarsum`.
fn archive(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tarsum");
    fs::read(folder.join(name).with_extension("tar")).unwrap()
}

/// Every kind of TarSum that there is.
fn kinds() -> impl Iterator<Item = Algorithm> {
    Algorithm::ALL.into_iter().filter(|algorithm| algorithm.is_tarsum())
}

fn sum(algorithm: Algorithm, archive: &[u8]) -> Digest {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(archive);
    hasher.digest().unwrap()
}

/// The one that registries used.
const V1: Algorithm = Algorithm::TarSum(tarsum::Version::V1, tarsum::Hash::Sha256);

/// TestSimpleLayerUpload: begun, written, closed, resumed, and finished without another look at it.
pub(crate) fn an_archive_is_resumed_and_finished_under_each_of_its_sums(registry: &dyn Registry) {
    let alpine = alpine(registry);
    let layers = alpine.layers();
    let bytes = archive("many-shuffled");
    for algorithm in kinds() {
        let digest = sum(algorithm, &bytes);
        assert!(!layers.exists(&digest).unwrap(), "{digest}");
        assert_refused!(layers.fetch(&digest), Error::LayerUnknown(_, unknown) if unknown == digest);
        let upload = begin(layers, &bytes);
        let uuid = upload.uuid();
        drop(upload);
        let finished = layers.resume(&uuid).unwrap().finish(&digest).unwrap();
        assert_refused!(layers.resume(&uuid), Error::UploadUnknown(unknown) if unknown == uuid);
        assert_eq!(*finished.digest(), Digest::sha256(&bytes));
        assert!(layers.exists(&digest).unwrap(), "{digest}");
        assert_eq!(layers.stat(&digest).unwrap().canonical, Digest::sha256(&bytes));
        assert_eq!(content(&*layers.fetch(&digest).unwrap()), bytes);
        assert!(layers.digests().unwrap().collect().unwrap().contains(&digest), "{digest}");
    }
    assert_eq!(content(&*layers.fetch(&Digest::sha256(&bytes)).unwrap()), bytes);
    assert_eq!(layers.digests().unwrap().collect().unwrap().len(), kinds().count() + 1);
}

/// TestLayerUploadZeroLength: an upload in which nothing was written.
pub(crate) fn an_upload_of_nothing_is_an_archive_of_nothing(registry: &dyn Registry) {
    let alpine = alpine(registry);
    for algorithm in kinds() {
        let digest = sum(algorithm, b"");
        let upload = alpine.layers().upload(&upload_name("new"), &as_it_is()).unwrap();
        assert_eq!(upload.finish(&digest).unwrap().length(), 0);
        assert_eq!(content(&*alpine.layers().fetch(&digest).unwrap()), b"");
    }
    let known = "tarsum.v1+sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert!(alpine.layers().exists(&known.parse().unwrap()).unwrap());
    // An archive of no files has the same sum: nothing is lost of it, and the name stays.
    let zeros = [0; 1024];
    assert_eq!(begin(alpine.layers(), &zeros).finish(&sum(V1, &zeros)).unwrap().length(), 0);
    let stored = alpine.layers().fetch(&Digest::sha256(&zeros)).unwrap();
    assert_eq!(content(&*stored), zeros);
}

pub(crate) fn a_tarsum_goes_on_naming_its_first_bytes(registry: &dyn Registry) {
    let (first, second) = (archive("two-files-ab"), archive("two-files-ba"));
    let digest = sum(V1, &first);
    assert_eq!(digest, sum(V1, &second));
    let alpine = alpine(registry);
    for bytes in [&first, &second, &first, &second] {
        let finished = begin(alpine.layers(), bytes).finish(&digest).unwrap();
        assert_eq!(content(&*finished), first);
        assert_eq!(content(&*alpine.layers().fetch(&digest).unwrap()), first);
        assert_eq!(alpine.layers().stat(&digest).unwrap().canonical, Digest::sha256(&first));
        assert_eq!(content(&*alpine.layers().fetch(&Digest::sha256(bytes)).unwrap()), *bytes);
    }
    // Each repository has its own first.
    let other = registry.repository(&name("other"));
    begin(other.layers(), &second).finish(&digest).unwrap();
    assert_eq!(content(&*other.layers().fetch(&digest).unwrap()), second);
    alpine.layers().mount(&digest, other.name(), &as_it_is()).unwrap();
    assert_eq!(content(&*alpine.layers().fetch(&digest).unwrap()), first);
    // Whose name is free takes what comes.
    alpine.layers().delete(&digest).unwrap();
    begin(alpine.layers(), &second).finish(&digest).unwrap();
    assert_eq!(content(&*alpine.layers().fetch(&digest).unwrap()), second);
}

pub(crate) fn another_archive_is_refused_and_stays_an_upload(registry: &dyn Registry) {
    let alpine = alpine(registry);
    let (bytes, other) = (archive("xattr-one"), archive("one-file"));
    let upload = begin(alpine.layers(), &bytes);
    for algorithm in kinds() {
        let wrong = sum(algorithm, &other);
        let right = sum(algorithm, &bytes);
        assert_refused!(upload.finish(&wrong), Error::DigestMismatch { expected, computed }
            if (expected, computed) == (wrong, right));
        assert!(!alpine.layers().exists(&wrong).unwrap());
    }
    // Nor is it known under the label of another version.
    let [v0, v1] = ["tarsum+sha256", "tarsum.v1+sha256"].map(|label| {
        let digest = format!("{label}:{}", sum(V1, &bytes).hex());
        digest.parse::<Digest>().unwrap()
    });
    assert_refused!(upload.finish(&v0), Error::DigestMismatch { .. });
    assert_eq!(written(&*upload), bytes);
    assert_eq!(content(&*upload.finish(&v1).unwrap()), bytes);
}

pub(crate) fn what_is_no_archive_is_refused_and_stays_an_upload(registry: &dyn Registry) {
    let alpine = alpine(registry);
    let whole = archive("one-file");
    let upload = begin(alpine.layers(), &whole[..400]);
    let digest = sum(V1, &whole);
    assert_refused!(upload.finish(&digest), Error::TarInvalid { .. });
    assert_eq!(written(&*upload), whole[..400]);
    upload.write_at(&whole[400..], 400).unwrap();
    assert_eq!(content(&*upload.finish(&digest).unwrap()), whole);
    let upload = begin(alpine.layers(), &[&[0x1f, 0x8b, 8][..], b"no more of it"].concat());
    assert_refused!(upload.finish(&digest), Error::GzipInvalid(_));
}

pub(crate) fn a_layer_mounted_by_its_tarsum_has_both_names(registry: &dyn Registry) {
    let alpine = alpine(registry);
    let bytes = archive("two-files-ab");
    let (digest, canonical) = (sum(V1, &bytes), Digest::sha256(&bytes));
    begin(alpine.layers(), &bytes).finish(&digest).unwrap();
    let other = registry.repository(&name("other"));
    other.layers().mount(&digest, alpine.name(), &as_it_is()).unwrap();
    alpine.layers().delete(&digest).unwrap();
    assert!(alpine.layers().exists(&canonical).unwrap());
    assert_eq!(
        sorted(other.layers().digests().unwrap().collect().unwrap()),
        sorted([digest, canonical])
    );
    for name in [digest, canonical] {
        assert_eq!(content(&*other.layers().fetch(&name).unwrap()), bytes);
    }
}
