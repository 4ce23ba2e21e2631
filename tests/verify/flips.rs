//! Single bits, flipped all over a store: each is found, nothing is said of what is whole, and what is
//! read afterwards is as it was before, or refused.
//!
//! 300 bits, each in another file, or as many as REGFS_FLIPS says.

use super::common::{self, Mount, effort, image, needs, noise, reliability_row, run_in, try_in};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// How many bits are flipped.
const FLIPS_DEFAULT: u64 = 300;
/// For so many flips there is a repository; each has a dozen files.
const FLIPS_PER_REPOSITORY: u64 = 8;
/// The seed that chooses them.
const SEED: u64 = 20_261_128;

#[test]
fn every_flipped_bit_is_found() {
    needs!("fuse", "umoci", "busybox", "jq");
    let mut mount = Mount::with_image(&image());
    // Enough files: repositories with layers and tags of their own.
    let flips = effort("REGFS_FLIPS", FLIPS_DEFAULT);
    for number in 0..flips.div_ceil(FLIPS_PER_REPOSITORY) {
        let repository = format!("many/r{number}");
        mount.push_layer(&repository, &noise(number, 3000));
        mount.push_image(&image(), &repository, "1");
        run_in(mount.path(), &format!("ln {repository}/manifests/1 {repository}/manifests/2"));
    }
    mount.unmount();
    let beside = mount.beside().to_owned();
    run_in(&beside, "cp -a store whole");
    let v2 = beside.join("store/docker/registry/v2");
    let mut files = Vec::new();
    collect(&v2, &mut files);
    files.sort();
    let flips = usize::try_from(flips).unwrap();
    assert!(files.len() > flips, "{} files", files.len());

    let mut random = noise(SEED, 16 * flips * 4).into_iter();
    let mut number = || {
        let bytes: Vec<u8> = random.by_ref().take(8).collect();
        usize::try_from(u64::from_le_bytes(bytes.try_into().unwrap()) >> 1).unwrap()
    };
    let mut flipped = BTreeSet::new();
    while flipped.len() < flips {
        let file = files.swap_remove(number() % files.len());
        let mut bytes = fs::read(&file).unwrap();
        let bit = number() % (8 * bytes.len());
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(&file, bytes).unwrap();
        flipped.insert(file.strip_prefix(beside.join("store")).unwrap().to_owned());
    }
    // Each changed a moment ago, and nobody is at work on it any more.
    let (code, text) = try_in(&beside, &[], "sleep 2; regfs verify --json store");
    assert_eq!(code, Some(1), "{text}");
    let found: serde_json::Value = serde_json::from_str(&text).unwrap();
    let found: BTreeSet<PathBuf> = found["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["severity"] == "damage")
        .map(|finding| PathBuf::from(finding["path"].as_str().unwrap()))
        .collect();
    let missed: Vec<_> = flipped.difference(&found).collect();
    assert!(missed.is_empty(), "not found: {missed:?}");
    // What else is named lacks something that was flipped: a tag, or a manifest.
    for path in found.difference(&flipped) {
        let text = path.to_str().unwrap();
        assert!(text.contains("/_manifests/"), "nothing is wrong with {text}");
    }
    let (code, text) = try_in(&beside, &[], "regfs verify whole");
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("no damage, no notes"), "{text}");
    let (code, _) = try_in(&beside, &[], "regfs verify --quarantine store");
    assert_eq!(code, Some(1));
    mount.mount(&[]);
    let whole = Mount::of_store(&beside.join("whole"));
    let refused = compare(mount.path(), whole.path());
    assert!(refused > 0, "all of it can be read");
    reliability_row(
        "bits flipped in blobs and links",
        flips as u64,
        &format!("verify named each; {refused} files refused after that, all others as before"),
        "REGFS_FLIPS=1000 cargo test --release --test verify flips",
    );
}

/// Reads everything in one mount and in the other: it is the same, or refused. Gives how much was.
fn compare(damaged: &Path, whole: &Path) -> usize {
    let mut refused = 0;
    for entry in fs::read_dir(whole).unwrap() {
        let entry = entry.unwrap();
        let (there, path) = (entry.path(), damaged.join(entry.file_name()));
        if there.is_dir() {
            refused += compare(&path, &there);
            continue;
        }
        match fs::read(&path) {
            Ok(bytes) => assert!(bytes == fs::read(there).unwrap(), "{}", path.display()),
            Err(_) => refused += 1,
        }
    }
    refused
}

/// Every blob and every link that is below `folder`.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.ends_with("data") || path.ends_with("link") {
            files.push(path);
        }
    }
}
