//! The rules of TarSum that the vectors in `tests/vectors.rs` do not reach.

use super::*;
use crate::model::tar::writing::{Draft, archives, pax, trailer};
use crate::model::{Algorithm, Digest, Error, Hasher, Result};
use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;
use sha2::Digest as _;
use std::io::Write as _;

fn sums(version: Version, archive: &[u8], step: usize) -> Result<Sums> {
    let mut summer = Summer::new(version, Hash::Sha256);
    archive.chunks(step).for_each(|piece| summer.update(piece));
    summer.finish()
}

fn v1(archive: &[u8]) -> Result<Digest> {
    sums(Version::V1, archive, 1000).map(|sums| sums.digest(&[]))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn layer(bytes: &[u8], step: usize) -> Result<Digest> {
    let mut summer = LayerSummer::new(Version::V1, Hash::Sha256);
    bytes.chunks(step).for_each(|piece| summer.update(piece));
    summer.digest()
}

/// The sum of the only entry, by the text that is hashed for it.
fn entry_of(text: &[u8]) -> Vec<u8> {
    sha2::Sha256::digest(text).to_vec()
}

#[test]
fn an_entry_is_hashed_as_keys_and_values_without_anything_between() {
    let archive = Draft::new("./a/", b'0').with(265, b"u").with(297, b"g").entry(b"body");
    let of = |version| sums(version, &archive, 5).unwrap().iter().next().unwrap().to_vec();
    let before = "name./a/mode420uid1000gid1000size4";
    let behind = "typeflag0linknameunameugnamegdevmajor0devminor0body";
    let with_time = format!("{before}mtime1424069856{behind}");
    assert_eq!(of(Version::V0), entry_of(with_time.as_bytes()));
    assert_eq!(of(Version::V1), entry_of(format!("{before}{behind}").as_bytes()));
    assert_eq!(of(Version::Dev), of(Version::V1));
}

#[test]
fn attributes_are_sorted_and_the_last_of_a_key_counts() {
    let records = ["SCHILY.xattr.b=1", "SCHILY.xattr.a=2", "SCHILY.xattr.b=3", "SCHILY.other=4"];
    let archive = [pax(&records), Draft::new("a", b'0').entry(b"")].concat();
    let sum = sums(Version::V1, &archive, 999).unwrap().iter().next().unwrap().to_vec();
    let text = "nameamode420uid1000gid1000size0typeflag0linknameunamegnamedevmajor0devminor0a2b3";
    assert_eq!(sum, entry_of(text.as_bytes()));
}

#[test]
fn an_attribute_without_a_name_is_repeated_as_it_was() {
    let records = ["SCHILY.xattr.=X", "SCHILY.xattr.b=1", "SCHILY.xattr.c=2"];
    let archive = [pax(&records), Draft::new("a", b'0').entry(b"")].concat();
    let sum = sums(Version::V1, &archive, 999).unwrap().iter().next().unwrap().to_vec();
    let text =
        "nameamode420uid1000gid1000size0typeflag0linknameunamegnamedevmajor0devminor0XXXXb1c2";
    assert_eq!(sum, entry_of(text.as_bytes()));
    let mut records = vec![format!("SCHILY.xattr.={}", "x".repeat(1 << 20))];
    records.extend((0..20).map(|index| format!("SCHILY.xattr.{index}=")));
    let records: Vec<&str> = records.iter().map(String::as_str).collect();
    let archive = [pax(&records), Draft::new("a", b'0').entry(b"")].concat();
    assert!(v1(&archive).unwrap_err().to_string().contains("repeated"));
}

#[test]
fn what_the_registry_of_2015_could_not_write_again_has_no_sum() {
    let mode = |field: &[u8]| v1(&Draft::new("a", b'0').with(100, field).entry(b""));
    assert!(mode(b"77777777").is_ok());
    let error = mode(b"\x80\0\0\0\x01\0\0\0").unwrap_err();
    assert!(matches!(error, Error::TarInvalid { what: "entry", offset: 0, .. }), "{error}");
    let size = |record| v1(&[pax(&[record]), Draft::new("a", b'0').entry(b"body")].concat());
    assert!(size("size=4").is_ok());
    for record in ["size=3", "size=5", "size=0"] {
        let error = size(record).unwrap_err();
        assert!(error.to_string().contains("another size"), "{error}");
    }
}

#[test]
fn holes_without_end_are_refused_before_they_are_hashed() {
    let mut summer = Summer::new(Version::V1, Hash::Sha256);
    let huge = Draft::new("b", b'S').with(483, b"\x80\0\0\0\x10\0\0\0\0\0\0\x01");
    summer.update(&huge.entry(b""));
    assert!(summer.fault().unwrap().to_string().contains("holes"));
    assert!(summer.finish().is_err());
}

#[test]
fn a_layer_may_be_compressed() {
    let archive = [Draft::new("a", b'0').entry(b"body"), trailer()].concat();
    let plain = v1(&archive).unwrap();
    let (one, two) = archive.split_at(700);
    for step in [1, 2, 3, 500, 10_000] {
        assert_eq!(layer(&archive, step).unwrap(), plain);
        assert_eq!(layer(&gzip(&archive), step).unwrap(), plain);
        assert_eq!(layer(&[gzip(one), gzip(two)].concat(), step).unwrap(), plain);
    }
    let cut = gzip(&archive);
    assert!(matches!(layer(&cut[..cut.len() - 1], 9), Err(Error::GzipInvalid(_))));
    assert!(matches!(layer(&[&cut[..], b"x"].concat(), 9), Err(Error::GzipInvalid(_))));
    assert!(matches!(layer(&gzip(b"text"), 9), Err(Error::TarInvalid { .. })));
    // TarSum itself inflates nothing.
    assert!(matches!(v1(&cut), Err(Error::TarInvalid { .. })));
}

#[test]
fn a_layer_of_a_few_bytes_is_no_archive() {
    let nothing = layer(b"", 1).unwrap();
    assert_eq!(nothing.hash(), Digest::sha256(b"").hash());
    for short in [&b"\x1f"[..], b"\x1f\x8b", b"\x1f\x8b\x08", b"a", b"\x1fa"] {
        assert!(layer(short, 1).is_err(), "{short:?}");
    }
}

#[test]
fn a_hasher_of_a_tarsum_gives_its_digest_or_says_why_not() {
    let archive = Draft::new("a", b'0').entry(b"body");
    let algorithm = Algorithm::TarSum(Version::V1, Hash::Sha256);
    let mut hasher = Hasher::new(algorithm);
    hasher.update(&archive);
    assert_eq!(hasher.digest().unwrap(), v1(&archive).unwrap());
    let mut hasher = Hasher::new(algorithm);
    hasher.update(b"text");
    let error = hasher.digest().unwrap_err().to_string();
    assert_eq!(
        error,
        "this is not a whole tar archive: the header at byte 4: the archive ends before it does"
    );
}

#[test]
fn the_order_of_entries_does_not_count_unless_a_path_comes_twice() {
    let (a, b) = (Draft::new("a", b'0').entry(b"1"), Draft::new("b", b'0').entry(b"2"));
    let again = Draft::new("./a/", b'0').entry(b"3");
    let sum = |entries: &[&Vec<u8>]| {
        v1(&entries.iter().flat_map(|entry| entry.iter().copied()).collect::<Vec<_>>()).unwrap()
    };
    assert_eq!(sum(&[&a, &b]), sum(&[&b, &a]));
    assert_ne!(sum(&[&a, &again]), sum(&[&again, &a]));
}

proptest! {
    #[test]
    fn sums_do_not_depend_on_the_pieces(archive in archives(), step in 1..3000_usize) {
        for version in [Version::V0, Version::V1] {
            let whole = sums(version, &archive, archive.len().max(1)).map(|sums| sums.digest(&[]));
            let pieces = sums(version, &archive, step).map(|sums| sums.digest(&[]));
            prop_assert_eq!(format!("{whole:?}"), format!("{pieces:?}"));
        }
        let compressed = format!("{:?}", layer(&gzip(&archive), step));
        prop_assert_eq!(compressed, format!("{:?}", v1(&archive)));
    }

    #[test]
    fn flipped_bytes_crash_nothing(
        archive in archives(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        compressed: bool,
    ) {
        let mut bytes = if compressed { gzip(&archive) } else { archive };
        if bytes.is_empty() {
            return Ok(());
        }
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(digest) = layer(&bytes, 700) {
            prop_assert!(digest.algorithm().is_tarsum());
        }
    }
}
