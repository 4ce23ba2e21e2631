//! Attributes: what `chmod`, `chown`, `touch` and `setfattr` leave on things.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use crate::fixtures::*;
use regfs::{
    model::{Area, Attributes, AttributesChange, Digest, Error, UploadId},
    registry::{PutAs, Registry, Repository, Retag, Subject},
};
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

/// A repository with one thing of each kind.
fn one_of_each(registry: &dyn Registry) -> (Arc<dyn Repository>, Vec<Subject>) {
    let alpine = alpine(registry);
    let revision = put(&*alpine, "one", "latest");
    let upload = begin(alpine.layers(), b"content").uuid();
    let mut subjects = vec![
        Subject::Repository,
        Subject::Layer(Digest::sha256(b"a layer")),
        Subject::Tag(tag("latest")),
        Subject::Revision(revision),
        Subject::Upload(upload),
    ];
    subjects.extend(Area::ALL.map(Subject::Area));
    (alpine, subjects)
}

/// What `stat` of the service in question says of a subject.
fn stat(repository: &dyn Repository, subject: &Subject) -> Option<Attributes> {
    let (manifests, layers) = (repository.manifests(), repository.layers());
    match subject {
        Subject::Repository | Subject::Area(_) => None,
        Subject::Layer(digest) => Some(layers.stat(digest).unwrap().attributes),
        Subject::Tag(tag) => Some(manifests.stat(&tag.clone().into()).unwrap().attributes),
        Subject::Revision(digest) => Some(manifests.stat(&(*digest).into()).unwrap().attributes),
        Subject::Upload(uuid) => Some(layers.stat_upload(uuid).unwrap().attributes),
    }
}

pub(crate) fn attributes_of_every_subject_are_kept(registry: &dyn Registry) {
    let (alpine, subjects) = one_of_each(registry);
    for (permissions, subject) in (0o700..).zip(&subjects) {
        let modified_at = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::from(permissions));
        let change = AttributesChange {
            permissions: Some(permissions),
            modified_at: Some(modified_at),
            ..AttributesChange::default()
        };
        stat(&*alpine, subject);
        let changed = alpine.attributes().change(subject, &change).unwrap();
        assert_eq!((changed.permissions, changed.modified_at), (permissions, modified_at));
    }
    // Each has its own, and every way to ask says the same.
    for (permissions, subject) in (0o700..).zip(&subjects) {
        let attributes = alpine.attributes().get(subject).unwrap();
        assert_eq!(attributes.permissions, permissions, "{subject:?}");
        if let Some(stat) = stat(&*alpine, subject) {
            assert_eq!(stat, attributes, "{subject:?}");
        }
    }
    let folder = registry.stat(Some(alpine.name())).unwrap().attributes;
    assert_eq!(folder, alpine.attributes().get(&Subject::Repository).unwrap());
}

pub(crate) fn a_change_leaves_the_rest_as_it_was(registry: &dyn Registry) {
    let (alpine, subjects) = one_of_each(registry);
    for subject in &subjects {
        let before = alpine.attributes().get(subject).unwrap();
        let after = alpine.attributes().change(subject, &permissions(0o640)).unwrap();
        let expected = Attributes { permissions: 0o640, changed_at: after.changed_at, ..before };
        assert_eq!(after, expected, "{subject:?}");
        let unchanged = alpine.attributes().change(subject, &as_it_is()).unwrap();
        assert_eq!(AttributesChange::to(&unchanged), AttributesChange::to(&after), "{subject:?}");
    }
}

pub(crate) fn owners_are_kept(registry: &dyn Registry) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root can give things to others");
        return;
    }
    let (alpine, subjects) = one_of_each(registry);
    for subject in &subjects {
        let change =
            AttributesChange { uid: Some(1234), gid: Some(5678), ..AttributesChange::default() };
        alpine.attributes().change(subject, &change).unwrap();
        let after = alpine.attributes().get(subject).unwrap();
        assert_eq!((after.uid, after.gid), (1234, 5678), "{subject:?}");
    }
}

pub(crate) fn times_are_kept_to_the_nanosecond_and_before_1970(registry: &dyn Registry) {
    let (alpine, subjects) = one_of_each(registry);
    let old = SystemTime::UNIX_EPOCH - Duration::new(86_400, 1);
    let new = SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789);
    for (modified_at, accessed_at) in [(old, new), (new, old)] {
        for subject in &subjects {
            let change = AttributesChange {
                modified_at: Some(modified_at),
                accessed_at: Some(accessed_at),
                ..AttributesChange::default()
            };
            let after = alpine.attributes().change(subject, &change).unwrap();
            assert_eq!((after.modified_at, after.accessed_at), (modified_at, accessed_at));
            let kept = alpine.attributes().get(subject).unwrap();
            assert_eq!(kept.modified_at, modified_at, "{subject:?}");
        }
    }
}

pub(crate) fn attributes_go_from_the_upload_to_the_layer(registry: &dyn Registry) {
    let alpine = alpine(registry);
    let modified_at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let digest = Digest::sha256(b"content");
    // The second time there is such a layer already.
    for wanted in [0o600, 0o440] {
        let upload = begin(alpine.layers(), b"content");
        let change = AttributesChange { modified_at: Some(modified_at), ..permissions(wanted) };
        alpine.attributes().change(&Subject::Upload(upload.uuid()), &change).unwrap();
        upload.finish(&digest).unwrap();
        let stat = alpine.layers().stat(&digest).unwrap();
        assert_eq!(stat.attributes.permissions, wanted);
        assert_eq!(stat.attributes.modified_at, modified_at);
    }
}

pub(crate) fn extended_attributes_go_from_the_upload_to_the_layer(registry: &dyn Registry) {
    let alpine = alpine(registry);
    let upload = begin(alpine.layers(), b"content");
    let subject = Subject::Upload(upload.uuid());
    alpine.attributes().set_extended(&subject, "user.comment", Some(b"kept")).unwrap();
    let digest = Digest::sha256(b"content");
    upload.finish(&digest).unwrap();
    let found = alpine.attributes().extended(&Subject::Layer(digest), "user.comment").unwrap();
    assert_eq!(found.as_deref(), Some(b"kept".as_slice()));
}

pub(crate) fn each_repository_has_its_own_attributes_of_a_layer(registry: &dyn Registry) {
    let (alpine, other) = (alpine(registry), registry.repository(&name("other")));
    let digest = push(&*alpine, b"content");
    push(&*other, b"content");
    let layer = Subject::Layer(digest);
    alpine.attributes().change(&layer, &permissions(0o600)).unwrap();
    other.attributes().change(&layer, &permissions(0o640)).unwrap();
    assert_eq!(permissions_of(&*alpine, &layer), 0o600);
    assert_eq!(alpine.layers().stat(&digest).unwrap().attributes.permissions, 0o600);
    assert_eq!(other.layers().stat(&digest).unwrap().attributes.permissions, 0o640);
}

pub(crate) fn a_mount_sets_only_the_attributes_it_names(registry: &dyn Registry) {
    let (alpine, other) = (alpine(registry), registry.repository(&name("other")));
    let layer = Subject::Layer(push(&*alpine, b"content"));
    let Subject::Layer(digest) = layer else { unreachable!() };
    let modified_at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let change = AttributesChange { modified_at: Some(modified_at), ..permissions(0o600) };
    other.layers().mount(&digest, alpine.name(), &change).unwrap();
    assert_eq!(permissions_of(&*other, &layer), 0o600);
    other.layers().mount(&digest, alpine.name(), &permissions(0o640)).unwrap();
    let after = other.layers().stat(&digest).unwrap().attributes;
    assert_eq!((after.permissions, after.modified_at), (0o640, modified_at));
}

pub(crate) fn a_moved_tag_keeps_the_attributes_that_the_put_leaves_open(registry: &dyn Registry) {
    let alpine = alpine(registry);
    let latest = Subject::Tag(tag("latest"));
    let put = |note, change: &AttributesChange| {
        let manifest = pushed_image(&*alpine, note);
        alpine.manifests().put(&manifest, &PutAs::Tag(tag("latest")), change).unwrap()
    };
    let one = put("one", &permissions(0o600));
    assert_eq!(permissions_of(&*alpine, &latest), 0o600);
    put("two", &as_it_is());
    assert_eq!(permissions_of(&*alpine, &latest), 0o600);
    alpine.manifests().tag(&one, &tag("latest"), &as_it_is()).unwrap();
    assert_eq!(permissions_of(&*alpine, &latest), 0o600);
    alpine.manifests().tag(&one, &tag("latest"), &permissions(0o640)).unwrap();
    let stat = alpine.manifests().stat(&by_tag("latest")).unwrap();
    assert_eq!((stat.digest, stat.attributes.permissions), (one, 0o640));
}

pub(crate) fn an_untagged_put_sets_the_attributes_of_the_revision(registry: &dyn Registry) {
    let alpine = alpine(registry);
    let manifest = pushed_image(&*alpine, "one");
    for wanted in [0o600, 0o640] {
        let put_as = PutAs::Untagged;
        let digest = alpine.manifests().put(&manifest, &put_as, &permissions(wanted)).unwrap();
        assert_eq!(permissions_of(&*alpine, &Subject::Revision(digest)), wanted);
    }
}

pub(crate) fn a_retag_takes_the_attributes_along(registry: &dyn Registry) {
    let alpine = alpine(registry);
    for (text, wanted) in [("one", 0o600), ("two", 0o640)] {
        put(&*alpine, text, text);
        alpine.attributes().change(&Subject::Tag(tag(text)), &permissions(wanted)).unwrap();
    }
    let of = |text| permissions_of(&*alpine, &Subject::Tag(tag(text)));
    let retag = |from, to, mode| alpine.manifests().retag(&tag(from), &tag(to), mode).unwrap();
    retag("one", "two", Retag::Exchange);
    assert_eq!((of("one"), of("two")), (0o640, 0o600));
    retag("one", "new", Retag::KeepExisting);
    assert_eq!(of("new"), 0o640);
    retag("two", "new", Retag::Replace);
    assert_eq!(of("new"), 0o600);
}

pub(crate) fn extended_attributes_are_set_listed_and_removed(registry: &dyn Registry) {
    let (alpine, subjects) = one_of_each(registry);
    let attributes = alpine.attributes();
    for subject in &subjects {
        assert_eq!(attributes.extended(subject, "user.comment").unwrap(), None, "{subject:?}");
        assert_eq!(attributes.extended_names(subject).unwrap(), [""; 0], "{subject:?}");
        attributes.set_extended(subject, "user.comment", Some(b"old")).unwrap();
        attributes.set_extended(subject, "user.comment", Some(b"\0new")).unwrap();
        attributes.set_extended(subject, "user.empty", Some(b"")).unwrap();
        let comment = attributes.extended(subject, "user.comment").unwrap();
        assert_eq!(comment.as_deref(), Some(b"\0new".as_slice()), "{subject:?}");
        assert_eq!(attributes.extended(subject, "user.empty").unwrap(), Some(Vec::new()));
        let names = sorted(attributes.extended_names(subject).unwrap());
        assert_eq!(names, ["user.comment", "user.empty"], "{subject:?}");
        for _ in 0..2 {
            attributes.set_extended(subject, "user.comment", None).unwrap();
        }
        assert_eq!(attributes.extended_names(subject).unwrap(), ["user.empty"], "{subject:?}");
    }
}

pub(crate) fn a_folder_without_content_has_attributes(registry: &dyn Registry) {
    let alpine = alpine(registry);
    registry.create(alpine.name()).unwrap();
    for area in Area::ALL {
        let before = permissions_of(&*alpine, &Subject::Area(area));
        assert_eq!(before & 0o700, 0o700, "{area:?}");
    }
}

pub(crate) fn attributes_of_what_is_not_there_are_unknown(registry: &dyn Registry) {
    let alpine = alpine(registry);
    let digest = Digest::sha256(b"unknown");
    let subjects = [
        Subject::Layer(digest),
        Subject::Tag(tag("unknown")),
        Subject::Revision(digest),
        Subject::Upload(UploadId::random()),
    ];
    for _ in ["in a repository that does not exist", "in one that does"] {
        let attributes = alpine.attributes();
        for subject in &subjects {
            let errors = [
                attributes.get(subject).map(drop),
                attributes.change(subject, &permissions(0o600)).map(drop),
                attributes.extended(subject, "user.comment").map(drop),
                attributes.extended_names(subject).map(drop),
                attributes.set_extended(subject, "user.comment", Some(b"x")),
            ];
            for error in errors.map(Result::unwrap_err) {
                let fits = match subject {
                    Subject::Layer(_) => matches!(error, Error::LayerUnknown(..)),
                    Subject::Tag(_) => matches!(error, Error::TagUnknown(..)),
                    Subject::Revision(_) => matches!(error, Error::ManifestUnknown(..)),
                    Subject::Upload(_) => matches!(error, Error::UploadUnknown(_)),
                    Subject::Repository | Subject::Area(_) => unreachable!(),
                };
                assert!(fits, "{subject:?}: {error}");
            }
        }
        put(&*alpine, "another", "another");
    }
}

pub(crate) fn a_folder_that_is_yet_to_be_made_looks_like_its_repository(registry: &dyn Registry) {
    let alpine = registry.repository(&name("alpine"));
    registry.create(alpine.name()).unwrap();
    let attributes = alpine.attributes();
    attributes.change(&Subject::Repository, &permissions(0o1770)).unwrap();
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        let owner = AttributesChange { uid: Some(12), gid: Some(34), ..as_it_is() };
        attributes.change(&Subject::Repository, &owner).unwrap();
    }
    let seen = || {
        let like = |it: Attributes| (it.permissions, it.uid, it.gid);
        let repository = like(attributes.get(&Subject::Repository).unwrap());
        Area::ALL.map(|area| like(attributes.get(&Subject::Area(area)).unwrap()) == repository)
    };
    assert_eq!(seen(), [true; 3], "before they are made");
    push(&*alpine, b"content");
    assert_eq!(seen(), [true; 3], "once they are made");
    attributes.change(&Subject::Repository, &permissions(0o755)).unwrap();
    assert_eq!(seen(), [false; 3], "from then on they have attributes of their own");
}

pub(crate) fn the_root_has_extended_attributes(registry: &dyn Registry) {
    assert_eq!(registry.extended_names().unwrap(), [""; 0]);
    registry.set_extended("user.note", Some(b"old")).unwrap();
    registry.set_extended("user.note", Some(b"\0new")).unwrap();
    assert_eq!(registry.extended("user.note").unwrap().as_deref(), Some(b"\0new".as_slice()));
    assert_eq!(registry.extended_names().unwrap(), ["user.note"]);
    for _ in 0..2 {
        registry.set_extended("user.note", None).unwrap();
    }
    assert_eq!(registry.extended("user.note").unwrap(), None);
}
