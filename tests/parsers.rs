//! The parsers with random mutations of the test data, by the checks that `scripts/fuzz` feeds with what
//! a fuzzer invents: that finds more, and needs to be built for it.
//!
//! Two seconds for each, or as many as REGFS_PARSERS_SECONDS says. What is drawn follows from a seed,
//! REGFS_PARSERS_SEED, which a failure shows with the input.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

#[path = "fuzz/checks/manifest.rs"]
mod manifest;
#[path = "fuzz/checks/names.rs"]
mod names;
#[path = "common/reliability.rs"]
mod reliability;
#[path = "fuzz/checks/signed.rs"]
mod signed;
#[path = "fuzz/checks/store.rs"]
mod store;
#[path = "fuzz/checks/tar.rs"]
mod tar;
#[path = "fuzz/checks/texts.rs"]
mod texts;

use reliability::{effort, reliability_row};
use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

/// How long one input may take: far longer than any does.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest input.
const BYTES_MAX: usize = 1 << 16;
/// What grammars have on their edges.
const WORDS: &[&str] = &[
    "sha256:",
    "tarsum.v1+sha256:",
    "..",
    "/",
    "%",
    "\0",
    "\u{1b}[",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "\\ud800",
    "18446744073709551616",
    "-1",
    "1e999",
    "null",
    "\"signatures\":[",
    "\"mediaType\":",
    "\"schemaVersion\":1",
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    "2026-11-23T11:37:53Z",
    "uid=",
    ",ro",
    "36 35 98:0 / /mnt rw - fuse.regfs x rw\n",
    "\\040",
];

/// xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let drawn = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16;
        usize::try_from(drawn).unwrap() % limit.max(1)
    }
}

fn mutated(random: &mut Random, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = corpus[random.below(corpus.len())].clone();
    for _ in 0..=random.below(6) {
        let (at, other) = (random.below(bytes.len() + 1), random.below(bytes.len() + 1));
        let (from, to) = (at.min(other), at.max(other));
        match random.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 if at < bytes.len() => bytes[at] = random.below(256).to_le_bytes()[0],
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(from..to.min(from + 64))),
            4 => bytes.extend_from_within(from..to),
            5 => {
                let donor = &corpus[random.below(corpus.len())];
                let start = random.below(donor.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&donor[start..]);
            }
            _ => {
                let word = WORDS[random.below(WORDS.len())];
                bytes.splice(at..at, word.bytes());
            }
        }
    }
    bytes.truncate(BYTES_MAX);
    bytes
}

/// The files in `folders` of the test data that are no longer than an input, and every word.
fn corpus(folders: &[&str]) -> Vec<Vec<u8>> {
    let files =
        folders.iter().flat_map(|folder| fs::read_dir(format!("tests/fixtures/{folder}")).unwrap());
    let files = files.map(|file| fs::read(file.unwrap().path()).unwrap());
    let words = WORDS.iter().map(|word| word.as_bytes().to_vec());
    files.filter(|bytes| bytes.len() <= BYTES_MAX).chain(words).collect()
}

fn feed(name: &str, folders: &[&str], check: fn(&[u8])) {
    let corpus = corpus(folders);
    let seconds = effort("REGFS_PARSERS_SECONDS", 2);
    let seed = effort("REGFS_PARSERS_SEED", u64::from(std::process::id()));
    let (mut random, begun_at, mut tried) = (Random(seed << 1 | 1), Instant::now(), 0);
    while begun_at.elapsed() < Duration::from_secs(seconds) {
        let bytes = mutated(&mut random, &corpus);
        let start = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| check(&bytes)));
        let is_fine = outcome.is_ok() && start.elapsed() < PATIENCE;
        assert!(
            is_fine,
            "{name}: seed {seed}, input {tried}: {:?}",
            String::from_utf8_lossy(&bytes)
        );
        tried += 1;
    }
    assert!(tried > 10, "{tried} inputs");
    reliability_row(
        &format!("random inputs to parsers: {name}"),
        tried,
        "none ended the program, was taken for something else, or took long",
        &format!("REGFS_PARSERS_SECONDS={seconds} cargo test --release --test parsers"),
    );
}

#[test]
fn names_take_anything() {
    feed("names", &[], names::check);
}

#[test]
fn manifests_take_anything() {
    feed("manifest", &["schema1", "real"], manifest::check);
}

#[test]
fn signatures_take_anything() {
    feed("signed", &["schema1", "signed"], signed::check);
}

#[test]
fn archives_take_anything() {
    feed("tar", &["tarsum"], tar::check);
}

#[test]
fn texts_take_anything() {
    feed("texts", &["schema1"], texts::check);
}

#[test]
fn a_store_takes_anything() {
    feed("store", &["real", "schema1"], store::check);
}
