//! Vectors: what the programs of 2015 said of files that were made for this project, and what regfs
//! must say of them. Their provenance is in tests/fixtures/README.md.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use regfs::model::{
    Digest, Result, tar,
    tarsum::{Hash, LayerSummer, Summer, Sums, Version},
};
use serde_json::Value;
use std::{fs, path::Path};

fn fixture(name: &str) -> Vec<u8> {
    fs::read(Path::new("tests/fixtures").join(name)).unwrap()
}

fn vectors(name: &str) -> Vec<Value> {
    serde_json::from_slice(&fixture(name)).unwrap()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap()
}

/// The columns of `expect`, and how each is computed.
const KINDS: [(&str, Version, Hash); 4] = [
    ("tarsum+sha256", Version::V0, Hash::Sha256),
    ("tarsum.v1+sha256", Version::V1, Hash::Sha256),
    ("tarsum.dev+sha256", Version::Dev, Hash::Sha256),
    ("tarsum.v1+sha512", Version::V1, Hash::Sha512),
];

fn sums(version: Version, hash: Hash, archive: &[u8], step: usize) -> Result<Sums> {
    let mut summer = Summer::new(version, hash);
    archive.chunks(step).for_each(|piece| summer.update(piece));
    summer.finish()
}

#[test]
fn every_archive_has_the_tarsums_that_it_had_in_2015() {
    let vectors = vectors("tarsum.json");
    assert!(vectors.len() >= 54, "vectors are missing");
    for vector in &vectors {
        let name = text(vector, "name");
        let archive = fixture(&format!("tarsum/{}", text(vector, "file")));
        assert_eq!(
            Digest::sha256(&archive).hex(),
            text(vector, "sha256"),
            "{name} is another file"
        );
        for (label, version, hash) in KINDS {
            for step in [1, 511, 512, 4096, archive.len().max(1)] {
                let found = sums(version, hash, &archive, step);
                let Some(expected) = vector["expect"][label].as_str() else {
                    assert!(found.is_err(), "{name} {label}: there is no sum of it");
                    continue;
                };
                let found = found.unwrap();
                assert_eq!(found.digest(&[]).to_string(), expected, "{name} in pieces of {step}");
                assert_eq!(expected.parse::<Digest>().unwrap(), found.digest(&[]));
                if let Some(extra) = vector.get("extra") {
                    let digest = found.digest(text(extra, "payload").as_bytes());
                    assert_eq!(digest.to_string(), text(&extra["expect"], label), "{name}, extra");
                }
            }
        }
    }
}

#[test]
fn every_entry_has_the_sum_that_it_had_in_2015() {
    for vector in vectors("tarsum.json") {
        let Some(expected) = vector["entries"].as_array() else { continue };
        let name = text(&vector, "name");
        let archive = fixture(&format!("tarsum/{}", text(&vector, "file")));
        for (column, version) in [("v0", Version::V0), ("v1", Version::V1)] {
            let found = sums(version, Hash::Sha256, &archive, 1000).unwrap();
            let found: Vec<String> = found
                .iter()
                .map(|sum| sum.iter().map(|byte| format!("{byte:02x}")).collect())
                .collect();
            let expected: Vec<&str> = expected.iter().map(|entry| text(entry, column)).collect();
            assert_eq!(found, expected, "{name} {column}");
        }
        let entries = tar::entries(&archive).unwrap();
        for (entry, expected) in entries.iter().zip(expected) {
            let path = String::from_utf8_lossy(&entry.name).into_owned();
            let key = path.strip_prefix("./").unwrap_or(&path);
            assert_eq!(key.strip_suffix('/').unwrap_or(key), text(expected, "key"), "{name}");
        }
    }
}

#[test]
fn a_compressed_layer_has_the_sum_of_what_is_in_it() {
    let digest = |file: &str| {
        let mut summer = LayerSummer::new(Version::V1, Hash::Sha256);
        fixture(file).chunks(50).for_each(|piece| summer.update(piece));
        summer.digest().unwrap()
    };
    assert_eq!(digest("tarsum/gzipped.tar.gz"), digest("tarsum/gzip-inner.tar"));
}

#[test]
fn digests_are_those_of_the_strict_grammar() {
    let vectors = vectors("digests.json");
    assert!(vectors.len() >= 26, "vectors are missing");
    for vector in &vectors {
        let input = text(vector, "input");
        match input.parse::<Digest>() {
            Ok(digest) => {
                assert_eq!(text(vector, "suggested"), "accept", "{input:?}");
                assert_eq!(digest.to_string(), input);
            }
            Err(error) => assert_eq!(text(vector, "suggested"), "reject", "{input:?}: {error}"),
        }
    }
}
