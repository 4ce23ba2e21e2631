//! Bytes as one of the files of a store, which the first byte chooses: the store is opened and read, or
//! refused, and a manifest that is given out hashes to its digest.

use regfs::{
    model::{Digest, Reference},
    registry::{Registry as _, Subject},
    store::{
        LocalRegistry, StoreOptions,
        verify::{Verification, VerifyOptions},
    },
};
use std::{fs, path::Path, time::Duration};

const REPOSITORY: &str = "docker/registry/v2/repositories/a";
const UPLOAD: &str = "1eea0b5e-3b1c-4b7e-9e64-4c9c1f0a2d11";

/// Fails when it does not hold.
pub(crate) fn check(bytes: &[u8]) {
    let Some((chosen, content)) = bytes.split_first() else { return };
    let folder = std::env::temp_dir().join(format!("regfs-fuzz-{}", std::process::id()));
    make(&folder, *chosen, content);
    read(&folder);
    fs::remove_dir_all(&folder).expect("it was made here");
}

fn make(store: &Path, chosen: u8, content: &[u8]) {
    let blob = Digest::sha256(content);
    let (hex, link) = (blob.hex(), blob.to_string());
    let upload = format!("{REPOSITORY}/_uploads/{UPLOAD}");
    let whole: [(String, &[u8]); 6] = [
        (format!("{REPOSITORY}/_layers/sha256/{hex}/link"), link.as_bytes()),
        (format!("{REPOSITORY}/_manifests/tags/v1/current/link"), link.as_bytes()),
        (format!("{REPOSITORY}/_manifests/revisions/sha256/{hex}/link"), link.as_bytes()),
        (format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]), content),
        (format!("{upload}/data"), b"0123456789"),
        (format!("{upload}/startedat"), b"2026-11-23T11:37:53Z"),
    ];
    for (at, content) in &whole {
        write(&store.join(at), content);
    }
    let others = [
        whole[0].0.clone(),
        whole[1].0.clone(),
        whole[2].0.clone(),
        whole[3].0.clone(),
        whole[5].0.clone(),
        format!("{upload}/name"),
        format!("{upload}/hashstates/sha256/10"),
        format!("regfs/states/{UPLOAD}"),
        "regfs/version".to_owned(),
        "regfs/verify-state.json".to_owned(),
        "regfs/verify-last.json".to_owned(),
        "regfs/gc-last.json".to_owned(),
        "regfs/signing-key.json".to_owned(),
        format!("regfs/mounts/{UPLOAD}"),
        format!("regfs/quarantine/{blob}/reason"),
    ];
    write(&store.join(&others[usize::from(chosen) % others.len()]), content);
}

fn write(file: &Path, content: &[u8]) {
    fs::create_dir_all(file.parent().expect("it lies in the store")).expect("there is room");
    fs::write(file, content).expect("there is room");
}

fn read(store: &Path) {
    let options = StoreOptions { is_mount: true, ..StoreOptions::default() };
    let Ok(registry) = LocalRegistry::open(store, &options) else { return };
    let (_, _) = (registry.last_verify(), registry.last_collection());
    let name = "a".parse().expect("a name");
    let repository = registry.repository(&name);
    let (layers, manifests) = (repository.layers(), repository.manifests());
    if let Ok(manifest) = manifests.get(&Reference::Tag("v1".parse().expect("a tag"))) {
        let is_right =
            manifest.signed().is_some() || Digest::sha256(manifest.bytes()) == *manifest.digest();
        assert!(is_right, "{manifest:?}");
    }
    if let Ok(mut digests) = layers.digests() {
        while let Ok(Some((digest, _))) = digests.next() {
            if let Ok(layer) = layers.fetch(&digest) {
                layer.read_at(&mut [0; 64], 0).ok();
            }
            repository.attributes().get(&Subject::Layer(digest)).ok();
        }
    }
    for upload in layers.uploads().unwrap_or_default() {
        if let Ok(upload) = layers.resume(&upload.uuid) {
            upload.digest().ok();
        }
    }
    registry.close().ok();
    drop(registry);
    let options = VerifyOptions {
        quarantine: false,
        since: None,
        uploads_older_than: Duration::ZERO,
        resume: true,
        threads: 1,
        measure: false,
    };
    Verification::open(store, options).map(|run| run.resumes_after().map(str::len)).ok();
}
