//! Layers: content that a repository links.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use crate::fixtures::*;
use regfs::{
    model::{Digest, Error},
    registry::Registry,
};
use std::{
    thread,
    time::{Duration, SystemTime},
};

pub(crate) fn a_layer_that_was_never_pushed_is_unknown(registry: &dyn Registry) {
    let alpine = alpine(registry);
    let unknown = Digest::sha256(b"unknown");
    for _ in ["in a repository that does not exist", "in one that does"] {
        let layers = alpine.layers();
        assert!(!layers.exists(&unknown).unwrap());
        assert!(!layers.exists(&sha512(b"unknown")).unwrap());
        assert_refused!(layers.stat(&unknown), Error::LayerUnknown(_, digest) if digest == unknown);
        assert_refused!(layers.fetch(&unknown), Error::LayerUnknown(_, digest) if digest == unknown);
        assert_refused!(layers.delete(&unknown), Error::LayerUnknown(_, digest) if digest == unknown);
        push(&*alpine, b"another");
    }
}

pub(crate) fn a_pushed_layer_reads_back(registry: &dyn Registry) {
    let alpine = alpine(registry);
    let bytes = b"some bytes, and some more of them";
    let digest = Digest::sha256(bytes);
    let finished = begin(alpine.layers(), bytes).finish(&digest).unwrap();
    for layer in [finished, alpine.layers().fetch(&digest).unwrap()] {
        assert_eq!(*layer.digest(), digest);
        assert_eq!(layer.length(), bytes.len() as u64);
        assert_eq!(content(&*layer), bytes);
        let age = SystemTime::now().duration_since(layer.created_at()).unwrap_or_default();
        assert!(age < Duration::from_secs(60), "{age:?}");
        let mut buffer = [0; 64];
        assert_eq!(layer.read_at(&mut buffer, 5).unwrap(), bytes.len() - 5);
        assert_eq!(layer.read_at(&mut buffer, bytes.len() as u64).unwrap(), 0);
        assert_eq!(layer.read_at(&mut buffer, 1 << 40).unwrap(), 0);
        assert_eq!(layer.read_at(&mut [], 0).unwrap(), 0);
    }
    let stat = alpine.layers().stat(&digest).unwrap();
    assert_eq!((stat.canonical, stat.length), (digest, bytes.len() as u64));
    assert_eq!(alpine.layers().digests().unwrap().collect().unwrap(), [digest]);
}

pub(crate) fn an_empty_layer_can_be_pushed(registry: &dyn Registry) {
    let alpine = alpine(registry);
    let upload = alpine.layers().upload(&upload_name("new"), &as_it_is()).unwrap();
    let digest = Digest::sha256(b"");
    assert_eq!(upload.digest().unwrap(), digest);
    assert_eq!(upload.finish(&digest).unwrap().length(), 0);
    assert_eq!(content(&*alpine.layers().fetch(&digest).unwrap()), b"");
    assert_eq!(alpine.layers().stat(&digest).unwrap().length, 0);
}

pub(crate) fn a_layer_of_another_repository_is_unknown_here(registry: &dyn Registry) {
    let digest = push(&*alpine(registry), b"content");
    let other = registry.repository(&name("library/other"));
    push(&*other, b"something else");
    assert!(!other.layers().exists(&digest).unwrap());
    assert_refused!(other.layers().stat(&digest), Error::LayerUnknown(..));
    assert_refused!(other.layers().fetch(&digest), Error::LayerUnknown(..));
    assert_refused!(other.layers().delete(&digest), Error::LayerUnknown(..));
    assert!(alpine(registry).layers().exists(&digest).unwrap());
}

pub(crate) fn a_mounted_layer_stays_when_its_origin_is_gone(registry: &dyn Registry) {
    let alpine = alpine(registry);
    let digest = push(&*alpine, b"content");
    let other = registry.repository(&name("other"));
    other.layers().mount(&digest, alpine.name(), &as_it_is()).unwrap();
    alpine.layers().delete(&digest).unwrap();
    assert_eq!(content(&*other.layers().fetch(&digest).unwrap()), b"content");
    assert_eq!(other.layers().stat(&digest).unwrap().length, 7);
    assert!(!alpine.layers().exists(&digest).unwrap());
    assert_eq!(other.layers().uploads().unwrap(), []);
}

pub(crate) fn a_mount_of_what_the_origin_does_not_have_is_refused(registry: &dyn Registry) {
    let alpine = alpine(registry);
    let here = push(&*alpine, b"here");
    let unknown = Digest::sha256(b"unknown");
    let nowhere = name("nowhere");
    let mount = |digest, from| alpine.layers().mount(digest, from, &as_it_is());
    assert_refused!(mount(&unknown, alpine.name()), Error::LayerUnknown(..));
    // That it is here already does not make it the other's.
    assert_refused!(mount(&here, &nowhere), Error::LayerUnknown(..));
    assert_refused!(registry.stat(Some(&nowhere)), Error::RepositoryUnknown(_));
    let other = registry.repository(&name("other"));
    assert_refused!(other.layers().mount(&unknown, &nowhere, &as_it_is()), Error::LayerUnknown(..));
    assert!(!other.layers().exists(&unknown).unwrap());
}

pub(crate) fn mounting_what_is_here_already_succeeds(registry: &dyn Registry) {
    let alpine = alpine(registry);
    let digest = push(&*alpine, b"content");
    let other = registry.repository(&name("other"));
    for _ in 0..2 {
        other.layers().mount(&digest, alpine.name(), &as_it_is()).unwrap();
    }
    alpine.layers().mount(&digest, alpine.name(), &as_it_is()).unwrap();
    assert_eq!(content(&*alpine.layers().fetch(&digest).unwrap()), b"content");
    assert_eq!(other.layers().digests().unwrap().collect().unwrap(), [digest]);
}

pub(crate) fn a_deleted_layer_is_gone_and_an_open_one_reads_on(registry: &dyn Registry) {
    let alpine = alpine(registry);
    let digest = push(&*alpine, b"content");
    let open = alpine.layers().fetch(&digest).unwrap();
    alpine.layers().stat(&digest).unwrap();
    alpine.layers().delete(&digest).unwrap();
    assert!(!alpine.layers().exists(&digest).unwrap());
    assert_refused!(alpine.layers().fetch(&digest), Error::LayerUnknown(..));
    assert_refused!(alpine.layers().delete(&digest), Error::LayerUnknown(..));
    assert_eq!(alpine.layers().digests().unwrap().collect().unwrap(), []);
    assert_eq!(content(&*open), b"content");
}

pub(crate) fn a_deleted_layer_can_be_pushed_again(registry: &dyn Registry) {
    let alpine = alpine(registry);
    for _ in 0..2 {
        let digest = push(&*alpine, b"content");
        assert_eq!(content(&*alpine.layers().fetch(&digest).unwrap()), b"content");
        alpine.layers().delete(&digest).unwrap();
        assert!(!alpine.layers().exists(&digest).unwrap());
    }
}

pub(crate) fn a_layer_pushed_by_sha512_is_found_by_both_names(registry: &dyn Registry) {
    let alpine = alpine(registry);
    let (second, canonical) = (sha512(b"content"), Digest::sha256(b"content"));
    let finished = begin(alpine.layers(), b"content").finish(&second).unwrap();
    assert_eq!(*finished.digest(), canonical);
    for digest in [second, canonical] {
        assert_eq!(alpine.layers().stat(&digest).unwrap().canonical, canonical);
        let layer = alpine.layers().fetch(&digest).unwrap();
        assert_eq!(*layer.digest(), canonical);
        assert_eq!(content(&*layer), b"content");
    }
    let listed = sorted(alpine.layers().digests().unwrap().collect().unwrap());
    assert_eq!(listed, sorted([second, canonical]));
}

pub(crate) fn pushing_what_is_there_already_succeeds(registry: &dyn Registry) {
    let alpine = alpine(registry);
    let digest = push(&*alpine, b"content");
    let open = alpine.layers().fetch(&digest).unwrap();
    assert_eq!(push(&*alpine, b"content"), digest);
    assert_eq!(content(&*alpine.layers().fetch(&digest).unwrap()), b"content");
    assert_eq!(content(&*open), b"content");
    assert_eq!(alpine.layers().uploads().unwrap(), []);
    assert_eq!(alpine.layers().digests().unwrap().collect().unwrap(), [digest]);
}

pub(crate) fn many_writers_can_finish_the_same_layer_at_once(registry: &dyn Registry) {
    let bytes: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
    let digest = Digest::sha256(&bytes);
    let repositories = ["one", "two"].map(|text| registry.repository(&name(text)));
    thread::scope(|scope| {
        for number in 0..8 {
            let (repository, bytes) = (&repositories[number % 2], &bytes);
            scope.spawn(move || {
                let upload = begin(repository.layers(), bytes);
                let layer = upload.finish(&digest).unwrap();
                assert_eq!(layer.length(), bytes.len() as u64);
                let mut buffer = vec![0; bytes.len()];
                assert_eq!(layer.read_at(&mut buffer, 0).unwrap(), bytes.len());
                assert!(buffer == *bytes);
            });
        }
    });
    for repository in &repositories {
        let mut buffer = vec![0; bytes.len()];
        let layer = repository.layers().fetch(&digest).unwrap();
        assert_eq!(layer.read_at(&mut buffer, 0).unwrap(), bytes.len());
        assert!(buffer == bytes);
        assert_eq!(repository.layers().uploads().unwrap(), []);
    }
}
