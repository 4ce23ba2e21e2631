//! Single bits, flipped all over a store: each is found, and nothing is said of what is whole.

use super::common::{self, Mount, image, needs, noise, run_in, try_in};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// How many bits are flipped, each in another file.
const FLIPS: usize = 300;
/// The seed that chooses them.
const SEED: u64 = 20_261_128;

#[test]
fn every_flipped_bit_is_found() {
    needs!("fuse", "umoci", "busybox", "jq");
    let mut mount = Mount::with_image(&image());
    // Enough files: repositories with layers and tags of their own.
    for number in 0..40 {
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
    assert!(files.len() > FLIPS, "{} files", files.len());

    let mut random = noise(SEED, 16 * FLIPS * 4).into_iter();
    let mut number = || {
        let bytes: Vec<u8> = random.by_ref().take(8).collect();
        usize::try_from(u64::from_le_bytes(bytes.try_into().unwrap()) >> 1).unwrap()
    };
    let mut flipped = BTreeSet::new();
    while flipped.len() < FLIPS {
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
