//! What lies in the store, read as a docker-registry reads it: plain files, and no code of ours.

use crate::common::digest_of;
use regfs::model::RepositoryName;
use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

/// The tags and layers of a repository, each with the bytes that it must have.
pub(crate) struct Expected {
    pub(crate) repository: RepositoryName,
    pub(crate) tags: Vec<(String, Vec<u8>)>,
    pub(crate) layers: Vec<(String, Vec<u8>)>,
}

/// What is wrong in `store`, in words: links that are missing, that are too many, or that lead to
/// other bytes, and blobs that are not what they are called.
pub(crate) fn faults(store: &Path, expected: &[Expected]) -> String {
    let registry = store.join("docker/registry/v2");
    let mut text = String::new();
    for blob in below(&registry.join("blobs/sha256"), 2) {
        let bytes = fs::read(blob.join("data")).unwrap();
        if digest_of(&bytes) != format!("sha256:{}", name_of(&blob)) {
            writeln!(text, "{} has other bytes", blob.display()).unwrap();
        }
    }
    for Expected { repository, tags, layers } in expected {
        let folder = registry.join("repositories").join(repository.as_str());
        let tags_there = folder.join("_manifests/tags");
        let layers_there = folder.join("_layers/sha256");
        compare(&registry, &tags_there, "current/link", tags, &mut text);
        compare(&registry, &layers_there, "link", layers, &mut text);
    }
    text
}

/// Compares the links in the folders of `at` with what they must lead to.
fn compare(
    registry: &Path, at: &Path, link: &str, expected: &[(String, Vec<u8>)], text: &mut String,
) {
    let mut seen: Vec<(String, Vec<u8>)> = Vec::new();
    for folder in below(at, 1) {
        let Ok(digest) = fs::read_to_string(folder.join(link)) else { continue };
        let hex = digest.strip_prefix("sha256:").unwrap();
        let data = registry.join("blobs/sha256").join(&hex[..2]).join(hex).join("data");
        seen.push((name_of(&folder), fs::read(data).unwrap_or_default()));
    }
    seen.sort();
    if seen != expected {
        let names = |all: &[(String, Vec<u8>)]| {
            all.iter().map(|(name, bytes)| format!(" {name} ({})", bytes.len())).collect::<String>()
        };
        writeln!(text, "{}: model{}; disk{}", at.display(), names(expected), names(&seen)).unwrap();
    }
}

/// The folders some levels below a folder; none when it is not there.
fn below(folder: &Path, levels: usize) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let folders: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    match levels {
        1 => folders,
        _ => folders.iter().flat_map(|folder| below(folder, levels - 1)).collect(),
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}
