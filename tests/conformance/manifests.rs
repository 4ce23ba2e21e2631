//! Manifests and tags.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use crate::fixtures::*;
use regfs::{
    model::{Digest, Error, Manifest, Reference, Result, SignedManifest, SigningKey},
    registry::{PutAs, Registry, Repository, Retag},
};
use std::{thread, time::SystemTime};

pub(crate) fn a_manifest_that_was_never_put_is_unknown(registry: &dyn Registry) {
    let alpine = alpine(registry);
    let digest = Digest::sha256(b"unknown");
    for _ in ["in a repository that does not exist", "in one that does"] {
        let manifests = alpine.manifests();
        let (tag, revision) = (by_tag("unknown"), Reference::Digest(digest));
        assert!(!manifests.exists(&tag).unwrap());
        assert!(!manifests.exists(&revision).unwrap());
        assert_refused!(manifests.stat(&tag), Error::TagUnknown(..));
        assert_refused!(manifests.get(&tag), Error::TagUnknown(..));
        assert_refused!(manifests.delete(&tag), Error::TagUnknown(..));
        assert_refused!(manifests.stat(&revision), Error::ManifestUnknown(..));
        assert_refused!(manifests.get(&revision), Error::ManifestUnknown(..));
        assert_refused!(manifests.delete(&revision), Error::ManifestUnknown(..));
        assert_refused!(manifests.get(&sha512(b"unknown").into()), Error::ManifestUnknown(..));
        put(&*alpine, "another", "another");
    }
    // A layer is no manifest.
    assert_refused!(
        alpine.manifests().get(&Digest::sha256(b"a layer").into()),
        Error::ManifestUnknown(..)
    );
}

pub(crate) fn a_manifest_put_by_tag_is_found_by_tag_and_digest(registry: &dyn Registry) {
    let alpine = alpine(registry);
    let manifest = pushed_image(&*alpine, "one");
    let digest = put_as(alpine.manifests(), &manifest, "latest").unwrap();
    assert_eq!(digest, *manifest.digest());
    for reference in [by_tag("latest"), Reference::Digest(digest)] {
        // Twice: the second time may come from a cache.
        for _ in 0..2 {
            assert!(alpine.manifests().exists(&reference).unwrap());
            assert_eq!(alpine.manifests().get(&reference).unwrap(), manifest);
            let stat = alpine.manifests().stat(&reference).unwrap();
            assert_eq!((stat.digest, stat.length), (digest, manifest.bytes().len() as u64));
        }
    }
    assert_eq!(tags(&*alpine), ["latest"]);
    assert_eq!(alpine.manifests().revisions().unwrap().collect().unwrap(), [digest]);
    let other = registry.repository(&name("other"));
    put(&*other, "its own", "its-own");
    assert_refused!(other.manifests().get(&by_tag("latest")), Error::TagUnknown(..));
    assert_refused!(other.manifests().get(&digest.into()), Error::ManifestUnknown(..));
}

pub(crate) fn a_manifest_can_be_put_untagged(registry: &dyn Registry) {
    let alpine = alpine(registry);
    let manifest = pushed_image(&*alpine, "one");
    let digest = alpine.manifests().put(&manifest, &PutAs::Untagged, &as_it_is()).unwrap();
    assert_eq!(alpine.manifests().get(&digest.into()).unwrap(), manifest);
    assert_eq!(tags(&*alpine), [""; 0]);
    assert_eq!(alpine.manifests().revisions().unwrap().collect().unwrap(), [digest]);
}

pub(crate) fn the_tag_inside_is_asked_for_only_where_there_can_be_one(registry: &dyn Registry) {
    let alpine = alpine(registry);
    let put = |manifest| alpine.manifests().put(&manifest, &PutAs::TagInside, &as_it_is());
    assert_refused!(put(pushed_image(&*alpine, "one")), Error::ManifestUntagged);
    // A schema 1 manifest has one, and what is wrong with it is found behind that.
    assert_refused!(put(unsigned("library/alpine", "3.19")), Error::SignatureMissing);
    assert_refused!(put(unsigned("library/alpine", "no tag")), Error::NameInvalid { .. });
}

pub(crate) fn a_schema_1_manifest_must_say_where_it_is_put(registry: &dyn Registry) {
    assert_schema_1_misplaced(registry);
}

pub(crate) fn a_schema_1_manifest_must_be_signed(registry: &dyn Registry) {
    assert_schema_1_untrusted(registry);
}

fn assert_schema_1_misplaced(registry: &dyn Registry) {
    let alpine = alpine(registry);
    for (name, tag) in [("library/busybox", "3.19"), ("library/alpine", "3.18")] {
        let good = signed(name, tag, &SigningKey::random().unwrap());
        for manifest in [unsigned(name, tag), forged(name, tag), good] {
            assert_refused!(
                put_as(alpine.manifests(), &manifest, "3.19"),
                Error::ManifestMisplaced { inside, path, .. }
                    if inside == format!("{name}:{tag}") && path == "library/alpine:3.19"
            );
        }
    }
    assert_eq!(tagged(&*alpine, "3.19"), None);
}

fn assert_schema_1_untrusted(registry: &dyn Registry) {
    let alpine = alpine(registry);
    for put_as in [PutAs::Tag(tag("3.19")), PutAs::TagInside, PutAs::Untagged] {
        let put = |manifest| alpine.manifests().put(&manifest, &put_as, &as_it_is());
        assert_refused!(put(unsigned("library/alpine", "3.19")), Error::SignatureMissing);
        assert_refused!(put(forged("library/alpine", "3.19")), Error::SignatureRejected(_));
    }
    assert_eq!(tagged(&*alpine, "3.19"), None);
}

pub(crate) fn a_signed_manifest_is_put_under_the_tag_that_it_carries(registry: &dyn Registry) {
    let alpine = alpine(registry);
    let manifest = signed("library/alpine", "3.19", &SigningKey::random().unwrap());
    let digest = alpine.manifests().put(&manifest, &PutAs::TagInside, &as_it_is()).unwrap();
    let read = alpine.manifests().get(&by_tag("3.19")).unwrap();
    assert_eq!((read.bytes(), *read.digest()), (manifest.bytes(), digest));
    let stat = alpine.manifests().stat(&by_tag("3.19")).unwrap();
    assert_eq!((stat.digest, stat.length), (digest, manifest.bytes().len() as u64));
    assert_eq!(alpine.manifests().get(&digest.into()).unwrap(), manifest);
}

pub(crate) fn signatures_by_several_keys_on_one_manifest_come_together(registry: &dyn Registry) {
    let alpine = alpine(registry);
    let keys = [SigningKey::random().unwrap(), SigningKey::random().unwrap()];
    let [one, other] = keys.each_ref().map(|key| signed("library/alpine", "3.19", key));
    assert_eq!(one.digest(), other.digest());
    let again = SignedManifest::sign(one.signed().unwrap().payload(), &keys[0], SystemTime::now());
    let again = Manifest::parse(&again.unwrap().document()).unwrap();
    assert_ne!(again, one);
    for manifest in [&one, &other, &one, &again] {
        put_as(alpine.manifests(), manifest, "3.19").unwrap();
    }
    let both = alpine.manifests().get(&by_tag("3.19")).unwrap();
    let mut names: Vec<_> = keys.iter().map(|key| key.id().clone()).collect();
    names.sort();
    assert_eq!(both.signed().unwrap().verify().unwrap(), names);
    let stat = alpine.manifests().stat(&by_tag("3.19")).unwrap();
    assert_eq!(stat.length, both.bytes().len() as u64);
    // They are gone with the manifest.
    alpine.manifests().delete(&(*one.digest()).into()).unwrap();
    put_as(alpine.manifests(), &one, "3.19").unwrap();
    assert_eq!(alpine.manifests().get(&by_tag("3.19")).unwrap(), one);
}

pub(crate) fn a_signed_manifest_gets_no_tag_but_its_own(registry: &dyn Registry) {
    let alpine = alpine(registry);
    let manifest = signed("library/alpine", "3.19", &SigningKey::random().unwrap());
    let digest = put_as(alpine.manifests(), &manifest, "3.19").unwrap();
    put(&*alpine, "one", "latest");
    let manifests = alpine.manifests();
    let (own, new, latest) = (tag("3.19"), tag("new"), tag("latest"));
    assert_refused!(manifests.tag(&digest, &new, &as_it_is()), Error::ManifestMisplaced { .. });
    for retag in [Retag::Replace, Retag::KeepExisting] {
        assert_refused!(manifests.retag(&own, &new, retag), Error::ManifestMisplaced { .. });
    }
    for (one, other) in [(&own, &latest), (&latest, &own)] {
        let refused = manifests.retag(one, other, Retag::Exchange);
        assert_refused!(refused, Error::ManifestMisplaced { .. });
    }
    assert_eq!(tags(&*alpine), ["3.19", "latest"]);
    manifests.tag(&digest, &own, &as_it_is()).unwrap();
    assert_eq!(manifests.get(&by_tag("3.19")).unwrap(), manifest);
}

pub(crate) fn every_missing_reference_is_named(registry: &dyn Registry) {
    let alpine = alpine(registry);
    let here = push(&*alpine, b"here");
    let [config, layer] = [b"missing config", b"missing layer."].map(|text| Digest::sha256(text));
    let manifest = image("one", &[config, here, layer, layer]);
    assert_refused!(
        put_as(alpine.manifests(), &manifest, "latest"),
        Error::ReferencesUnknown { repository, missing }
            if repository == *alpine.name() && sorted(missing.clone()) == sorted([config, layer])
    );
}

pub(crate) fn content_of_another_repository_is_no_reference(registry: &dyn Registry) {
    let manifest = pushed_image(&*registry.repository(&name("other")), "one");
    let alpine = alpine(registry);
    assert_refused!(
        put_as(alpine.manifests(), &manifest, "latest"),
        Error::ReferencesUnknown { missing, .. } if missing.len() == 2
    );
    for blob in manifest.blobs() {
        alpine.layers().mount(&blob.digest, &name("other"), &as_it_is()).unwrap();
    }
    put_as(alpine.manifests(), &manifest, "latest").unwrap();
}

pub(crate) fn foreign_layers_need_not_be_there(registry: &dyn Registry) {
    let alpine = alpine(registry);
    let (config, foreign) = (push(&*alpine, b"{}"), Digest::sha256(b"elsewhere"));
    let text = format!(
        r#"{{"schemaVersion":2,"config":{{"digest":"{config}"}},
        "layers":[{{"digest":"{foreign}","urls":["https://example.com/layer"]}}]}}"#
    );
    let manifest = Manifest::parse(text.as_bytes()).unwrap();
    put_as(alpine.manifests(), &manifest, "latest").unwrap();
}

pub(crate) fn the_children_of_an_index_must_be_revisions_here(registry: &dyn Registry) {
    let alpine = alpine(registry);
    let elsewhere = put(&*registry.repository(&name("other")), "elsewhere", "latest");
    let child = pushed_image(&*alpine, "child");
    // Its bytes as a layer are not a revision.
    let as_layer = push(&*alpine, child.bytes());
    assert_refused!(
        put_as(alpine.manifests(), &index(&[elsewhere, as_layer]), "latest"),
        Error::ReferencesUnknown { missing, .. }
            if sorted(missing.clone()) == sorted([elsewhere, as_layer])
    );
    alpine.manifests().put(&child, &PutAs::Untagged, &as_it_is()).unwrap();
    let index = index(&[*child.digest()]);
    put_as(alpine.manifests(), &index, "latest").unwrap();
    assert_eq!(alpine.manifests().get(&by_tag("latest")).unwrap(), index);
}

pub(crate) fn a_refused_put_changes_nothing(registry: &dyn Registry) {
    let alpine = alpine(registry);
    let digest = put(&*alpine, "one", "latest");
    let refused = image("two", &[Digest::sha256(b"missing")]);
    assert_refused!(
        put_as(alpine.manifests(), &refused, "latest"),
        Error::ReferencesUnknown { .. }
    );
    assert_eq!(tagged(&*alpine, "latest"), Some(digest));
    assert!(!alpine.manifests().exists(&Reference::Digest(*refused.digest())).unwrap());
    assert_eq!(alpine.manifests().revisions().unwrap().collect().unwrap(), [digest]);
}

pub(crate) fn a_tag_moves_and_the_old_revision_stays(registry: &dyn Registry) {
    let alpine = alpine(registry);
    let one = put(&*alpine, "one", "latest");
    assert_eq!(tagged(&*alpine, "latest"), Some(one));
    let two = put(&*alpine, "two", "latest");
    assert_eq!(tagged(&*alpine, "latest"), Some(two));
    assert_eq!(*alpine.manifests().get(&by_tag("latest")).unwrap().digest(), two);
    assert!(alpine.manifests().exists(&one.into()).unwrap());
    assert_eq!(tags(&*alpine), ["latest"]);
    // And back again, to what is there already.
    put(&*alpine, "one", "latest");
    assert_eq!(tagged(&*alpine, "latest"), Some(one));
    let revisions = alpine.manifests().revisions().unwrap().collect().unwrap();
    assert_eq!(sorted(revisions), sorted([one, two]));
}

pub(crate) fn a_tag_can_be_given_to_a_revision_that_is_here(registry: &dyn Registry) {
    let alpine = alpine(registry);
    let one = put(&*alpine, "one", "one");
    let two = put(&*alpine, "two", "two");
    alpine.manifests().tag(&one, &tag("latest"), &as_it_is()).unwrap();
    assert_eq!(tagged(&*alpine, "latest"), Some(one));
    alpine.manifests().tag(&two, &tag("latest"), &as_it_is()).unwrap();
    assert_eq!(tagged(&*alpine, "latest"), Some(two));
    let unknown = Digest::sha256(b"unknown");
    for (repository, digest) in [("library/alpine", unknown), ("other", one)] {
        let repository = registry.repository(&name(repository));
        assert_refused!(
            repository.manifests().tag(&digest, &tag("latest"), &as_it_is()),
            Error::ManifestUnknown(..)
        );
    }
    assert_eq!(tagged(&*alpine, "latest"), Some(two));
}

/// A repository with the tags `one` and `two`, and what they name.
fn two_tags(registry: &dyn Registry) -> (std::sync::Arc<dyn Repository>, Digest, Digest) {
    let alpine = alpine(registry);
    let one = put(&*alpine, "one", "one");
    let two = put(&*alpine, "two", "two");
    (alpine, one, two)
}

fn retag(repository: &dyn Repository, from: &str, to: &str, retag: Retag) -> Result<()> {
    repository.manifests().retag(&tag(from), &tag(to), retag)
}

pub(crate) fn a_retag_replaces_the_other_tag(registry: &dyn Registry) {
    let (alpine, one, two) = two_tags(registry);
    retag(&*alpine, "one", "new", Retag::Replace).unwrap();
    assert_eq!((tagged(&*alpine, "one"), tagged(&*alpine, "new")), (None, Some(one)));
    retag(&*alpine, "new", "two", Retag::Replace).unwrap();
    assert_eq!((tagged(&*alpine, "new"), tagged(&*alpine, "two")), (None, Some(one)));
    assert_eq!(tags(&*alpine), ["two"]);
    assert!(alpine.manifests().exists(&two.into()).unwrap());
}

pub(crate) fn a_retag_can_keep_the_other_tag(registry: &dyn Registry) {
    let (alpine, one, two) = two_tags(registry);
    assert_refused!(retag(&*alpine, "one", "two", Retag::KeepExisting), Error::Exists(_));
    assert_eq!((tagged(&*alpine, "one"), tagged(&*alpine, "two")), (Some(one), Some(two)));
    retag(&*alpine, "one", "new", Retag::KeepExisting).unwrap();
    assert_eq!((tagged(&*alpine, "one"), tagged(&*alpine, "new")), (None, Some(one)));
}

pub(crate) fn two_tags_can_be_exchanged(registry: &dyn Registry) {
    let (alpine, one, two) = two_tags(registry);
    retag(&*alpine, "one", "two", Retag::Exchange).unwrap();
    assert_eq!((tagged(&*alpine, "one"), tagged(&*alpine, "two")), (Some(two), Some(one)));
    assert_refused!(retag(&*alpine, "one", "new", Retag::Exchange), Error::TagUnknown(..));
    assert_refused!(retag(&*alpine, "new", "one", Retag::Exchange), Error::TagUnknown(..));
    assert_eq!(tags(&*alpine), ["one", "two"]);
}

pub(crate) fn a_retag_onto_itself_loses_nothing(registry: &dyn Registry) {
    let (alpine, one, _) = two_tags(registry);
    retag(&*alpine, "one", "one", Retag::Replace).unwrap();
    retag(&*alpine, "one", "one", Retag::Exchange).unwrap();
    assert_refused!(retag(&*alpine, "one", "one", Retag::KeepExisting), Error::Exists(_));
    assert_eq!(tagged(&*alpine, "one"), Some(one));
    assert_eq!(tags(&*alpine), ["one", "two"]);
}

pub(crate) fn a_retag_of_an_unknown_tag_is_refused(registry: &dyn Registry) {
    let (alpine, _, two) = two_tags(registry);
    for mode in [Retag::Replace, Retag::KeepExisting, Retag::Exchange] {
        assert_refused!(retag(&*alpine, "new", "newer", mode), Error::TagUnknown(..));
        assert_refused!(retag(&*alpine, "new", "new", mode), Error::TagUnknown(..));
    }
    assert_refused!(retag(&*alpine, "new", "two", Retag::Replace), Error::TagUnknown(..));
    assert_eq!(tagged(&*alpine, "two"), Some(two));
}

pub(crate) fn untagging_leaves_the_revision(registry: &dyn Registry) {
    let (alpine, one, _) = two_tags(registry);
    alpine.manifests().delete(&by_tag("one")).unwrap();
    assert_refused!(alpine.manifests().get(&by_tag("one")), Error::TagUnknown(..));
    assert_refused!(alpine.manifests().delete(&by_tag("one")), Error::TagUnknown(..));
    assert_eq!(tags(&*alpine), ["two"]);
    assert_eq!(*alpine.manifests().get(&one.into()).unwrap().digest(), one);
}

pub(crate) fn a_tag_that_has_moved_on_is_not_untagged(registry: &dyn Registry) {
    let (alpine, one, two) = two_tags(registry);
    alpine.manifests().untag(&tag("one"), &two).unwrap();
    assert_eq!(tagged(&*alpine, "one"), Some(one));
    alpine.manifests().untag(&tag("one"), &one).unwrap();
    alpine.manifests().untag(&tag("one"), &one).unwrap();
    assert_eq!(tags(&*alpine), ["two"]);
    assert_eq!(*alpine.manifests().get(&one.into()).unwrap().digest(), one);
}

pub(crate) fn deleting_a_revision_takes_all_its_tags(registry: &dyn Registry) {
    let (alpine, one, two) = two_tags(registry);
    for text in ["1", "1.0"] {
        alpine.manifests().tag(&one, &tag(text), &as_it_is()).unwrap();
    }
    // A tag that only once named it is not on it.
    alpine.manifests().tag(&one, &tag("moved"), &as_it_is()).unwrap();
    alpine.manifests().tag(&two, &tag("moved"), &as_it_is()).unwrap();
    for reference in [by_tag("1"), one.into()] {
        alpine.manifests().get(&reference).unwrap();
    }
    alpine.manifests().delete(&one.into()).unwrap();
    assert_eq!(tags(&*alpine), ["moved", "two"]);
    assert_refused!(alpine.manifests().get(&by_tag("1")), Error::TagUnknown(..));
    assert_refused!(alpine.manifests().get(&one.into()), Error::ManifestUnknown(..));
    assert_refused!(alpine.manifests().delete(&one.into()), Error::ManifestUnknown(..));
    assert_eq!(alpine.manifests().revisions().unwrap().collect().unwrap(), [two]);
}

pub(crate) fn a_deleted_manifest_can_be_put_again(registry: &dyn Registry) {
    let alpine = alpine(registry);
    for _ in 0..2 {
        let digest = put(&*alpine, "one", "latest");
        assert_eq!(*alpine.manifests().get(&digest.into()).unwrap().digest(), digest);
        alpine.manifests().delete(&digest.into()).unwrap();
        assert_eq!(tagged(&*alpine, "latest"), None);
    }
}

pub(crate) fn readers_of_a_moving_tag_always_find_a_manifest(registry: &dyn Registry) {
    let (alpine, one, two) = two_tags(registry);
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for _ in 0..50 {
                retag(&*alpine, "one", "two", Retag::Exchange).unwrap();
                alpine.manifests().tag(&one, &tag("one"), &as_it_is()).unwrap();
                alpine.manifests().tag(&two, &tag("two"), &as_it_is()).unwrap();
            }
        });
        while !writer.is_finished() {
            let found = *alpine.manifests().get(&by_tag("one")).unwrap().digest();
            assert!(found == one || found == two);
        }
    });
    assert_eq!((tagged(&*alpine, "one"), tagged(&*alpine, "two")), (Some(one), Some(two)));
}

pub(crate) fn a_relaxed_registry_takes_manifests_without_their_references(registry: &dyn Registry) {
    let alpine = alpine(registry);
    let missing = Digest::sha256(b"missing");
    put_as(alpine.manifests(), &image("one", &[missing, missing]), "image").unwrap();
    put_as(alpine.manifests(), &index(&[missing]), "index").unwrap();
    assert_eq!(tags(&*alpine), ["image", "index"]);
}

pub(crate) fn a_relaxed_registry_still_looks_at_place_and_signatures(registry: &dyn Registry) {
    assert_schema_1_misplaced(registry);
    assert_schema_1_untrusted(registry);
}
