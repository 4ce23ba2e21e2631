//! Listings: each entry that is there all the time exactly once, whatever comes and goes.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use crate::fixtures::*;
use regfs::{
    model::{Digest, RepositoryName, Tag},
    registry::{Cursor, Position, PutAs, Registry, Repository, Retag},
};
use std::{collections::BTreeSet, fmt::Debug, ops::Range};

/// Entries that are there from beginning to end, that go meanwhile, and that come meanwhile.
const STAYING: Range<u32> = 0..60;
const GOING: Range<u32> = 100..140;
const COMING: Range<u32> = 200..240;

/// Lists while entries come and go, and looks at what came out. `entry` names an entry.
fn assert_exactly_once<T: Ord + Clone + Debug>(
    open: impl FnOnce() -> Box<dyn Cursor<T>>, entry: impl Fn(u32) -> T, add: impl Fn(u32),
    remove: impl Fn(u32),
) {
    STAYING.chain(GOING).for_each(&add);
    let mut cursor = open();
    let mut listed = Vec::new();
    let mut changes = GOING.zip(COMING);
    while let Some((found, _)) = cursor.next().unwrap() {
        listed.push(found);
        if listed.len() % 2 == 0
            && let Some((going, coming)) = changes.next()
        {
            remove(going);
            add(coming);
        }
        assert!(listed.len() < 1_000, "the listing has no end");
    }
    let once: BTreeSet<&T> = listed.iter().collect();
    assert_eq!(once.len(), listed.len(), "something was listed twice");
    for number in STAYING {
        assert!(once.contains(&entry(number)), "{number} was skipped");
    }
    let possible: BTreeSet<T> = STAYING.chain(GOING).chain(COMING).map(&entry).collect();
    assert!(listed.iter().all(|found| possible.contains(found)));
}

fn numbered(number: u32) -> Digest {
    Digest::sha256(&number.to_le_bytes())
}

fn numbered_tag(number: u32) -> Tag {
    tag(&format!("tag-{number}"))
}

/// A repository with one manifest, to tag.
fn with_a_manifest(registry: &dyn Registry) -> (std::sync::Arc<dyn Repository>, Digest) {
    let alpine = alpine(registry);
    let manifest = pushed_image(&*alpine, "one");
    let digest = alpine.manifests().put(&manifest, &PutAs::Untagged, &as_it_is()).unwrap();
    (alpine, digest)
}

/// The same with `tag-0` to `tag-39`.
fn with_tags(registry: &dyn Registry) -> (std::sync::Arc<dyn Repository>, Vec<Tag>) {
    let (alpine, digest) = with_a_manifest(registry);
    let tags: Vec<Tag> = (0..40).map(numbered_tag).collect();
    for tag in &tags {
        alpine.manifests().tag(&digest, tag, &as_it_is()).unwrap();
    }
    (alpine, sorted(tags))
}

pub(crate) fn tags_are_listed_exactly_once_while_others_come_and_go(registry: &dyn Registry) {
    let (alpine, digest) = with_a_manifest(registry);
    let manifests = alpine.manifests();
    assert_exactly_once(
        || manifests.tags().unwrap(),
        numbered_tag,
        |number| manifests.tag(&digest, &numbered_tag(number), &as_it_is()).unwrap(),
        |number| manifests.delete(&numbered_tag(number).into()).unwrap(),
    );
}

pub(crate) fn revisions_are_listed_exactly_once_while_others_come_and_go(registry: &dyn Registry) {
    let alpine = alpine(registry);
    let manifests = alpine.manifests();
    let config = push(&*alpine, b"{}");
    let numbered = |number: u32| image(&number.to_string(), &[config]);
    assert_exactly_once(
        || manifests.revisions().unwrap(),
        |number| *numbered(number).digest(),
        |number| {
            manifests.put(&numbered(number), &PutAs::Untagged, &as_it_is()).unwrap();
        },
        |number| manifests.delete(&(*numbered(number).digest()).into()).unwrap(),
    );
}

pub(crate) fn layers_are_listed_exactly_once_while_others_come_and_go(registry: &dyn Registry) {
    let alpine = alpine(registry);
    assert_exactly_once(
        || alpine.layers().digests().unwrap(),
        numbered,
        |number| {
            push(&*alpine, &number.to_le_bytes());
        },
        |number| alpine.layers().delete(&numbered(number)).unwrap(),
    );
}

pub(crate) fn repositories_are_listed_exactly_once_while_others_come_and_go(
    registry: &dyn Registry,
) {
    // At several depths, and some below others.
    let numbered = |number: u32| -> RepositoryName {
        match number % 3 {
            0 => name(&format!("r{number}")),
            1 => name(&format!("r{}/below", number - 1)),
            _ => name(&format!("deep/r{number}/below")),
        }
    };
    assert_exactly_once(
        || registry.repositories().unwrap(),
        numbered,
        |number| {
            push(&*registry.repository(&numbered(number)), b"content");
        },
        |number| {
            // What lies below another keeps that one from going, so it only gets empty.
            let repository = registry.repository(&numbered(number));
            repository.layers().delete(&Digest::sha256(b"content")).unwrap();
            if !registry.stat(Some(repository.name())).unwrap().has_children {
                registry.remove(repository.name()).unwrap();
            }
        },
    );
}

pub(crate) fn children_are_listed_exactly_once_while_others_come_and_go(registry: &dyn Registry) {
    let numbered = |number: u32| name(&format!("above/r{number}"));
    assert_exactly_once(
        || registry.children(Some(&name("above"))).unwrap(),
        |number| numbered(number).last().to_string().parse().unwrap(),
        |number| registry.create(&numbered(number)).unwrap(),
        |number| registry.remove(&numbered(number)).unwrap(),
    );
}

pub(crate) fn a_tag_that_moves_is_listed_once(registry: &dyn Registry) {
    let (alpine, tags) = with_tags(registry);
    let one = alpine.manifests().revisions().unwrap().collect().unwrap()[0];
    let two = put(&*alpine, "two", "tag-0");
    let mut cursor = alpine.manifests().tags().unwrap();
    let mut listed = Vec::new();
    while let Some((found, _)) = cursor.next().unwrap() {
        // Every tag is there all the time, and moves again and again.
        let digest = if listed.len() % 2 == 0 { one } else { two };
        alpine.manifests().tag(&digest, &found, &as_it_is()).unwrap();
        alpine.manifests().tag(&digest, &tags[7], &as_it_is()).unwrap();
        alpine.manifests().retag(&tags[3], &tags[30], Retag::Exchange).unwrap();
        listed.push(found);
        assert!(listed.len() < 1_000, "the listing has no end");
    }
    assert_eq!(sorted(listed), tags);
}

pub(crate) fn a_listing_goes_on_from_any_position_it_gave(registry: &dyn Registry) {
    let (alpine, tags) = with_tags(registry);
    let mut cursor = alpine.manifests().tags().unwrap();
    let mut listed: Vec<(Tag, Position)> = Vec::new();
    while let Some(found) = cursor.next().unwrap() {
        assert!(i64::try_from(found.1.offset).is_ok());
        listed.push(found);
    }
    for (index, (_, position)) in listed.iter().enumerate().rev() {
        cursor.seek(*position).unwrap();
        let expected = sorted(listed[index + 1..].iter().map(|(tag, _)| tag.clone()));
        assert_eq!(sorted(cursor.collect().unwrap()), expected);
    }
    // Also behind an entry that has gone since.
    let (gone, position) = &listed[19];
    alpine.manifests().delete(&gone.clone().into()).unwrap();
    cursor.seek(*position).unwrap();
    assert_eq!(cursor.collect().unwrap().len(), tags.len() - 20);
}

pub(crate) fn a_listing_starts_again_from_the_beginning(registry: &dyn Registry) {
    let (alpine, tags) = with_tags(registry);
    let mut cursor = alpine.manifests().tags().unwrap();
    for taken in [0, 1, 20, 40] {
        for _ in 0..taken {
            cursor.next().unwrap().unwrap();
        }
        cursor.seek(Position::default()).unwrap();
        assert_eq!(sorted(cursor.collect().unwrap()), tags);
        cursor.seek(Position::default()).unwrap();
    }
    // What has come or gone since is seen then.
    alpine.manifests().delete(&tags[0].clone().into()).unwrap();
    assert_eq!(sorted(cursor.collect().unwrap()), tags[1..]);
}

pub(crate) fn a_listing_at_its_end_stays_there(registry: &dyn Registry) {
    let (alpine, tags) = with_tags(registry);
    let mut cursor = alpine.manifests().tags().unwrap();
    assert_eq!(cursor.collect().unwrap().len(), tags.len());
    for _ in 0..3 {
        assert!(cursor.next().unwrap().is_none());
    }
}
