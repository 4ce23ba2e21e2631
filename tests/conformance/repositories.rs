//! Repositories and the namespaces above them.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use crate::fixtures::*;
use regfs::{
    model::{Digest, Error, RepositoryName},
    registry::{PutAs, Registry},
};

/// The names one level below, sorted.
fn children(registry: &dyn Registry, of: Option<&str>) -> Vec<String> {
    let of: Option<RepositoryName> = of.map(name);
    let children = registry.children(of.as_ref()).unwrap().collect().unwrap();
    sorted(children.iter().map(ToString::to_string))
}

/// Every repository, sorted.
fn repositories(registry: &dyn Registry) -> Vec<String> {
    let repositories = registry.repositories().unwrap().collect().unwrap();
    sorted(repositories.iter().map(ToString::to_string))
}

fn is_there(registry: &dyn Registry, text: &str) -> bool {
    match registry.stat(Some(&name(text))) {
        Ok(_) => true,
        Err(Error::RepositoryUnknown(unknown)) if unknown == name(text) => false,
        Err(error) => panic!("{error}"),
    }
}

pub(crate) fn a_repository_that_was_never_made_is_unknown(registry: &dyn Registry) {
    assert!(!is_there(registry, "a"));
    assert!(!is_there(registry, "a/b"));
    assert_refused!(registry.remove(&name("a")), Error::RepositoryUnknown(_));
    assert_eq!(children(registry, Some("a")), [""; 0]);
    assert_eq!(children(registry, None), [""; 0]);
    assert_eq!(repositories(registry), [""; 0]);
    let root = registry.stat(None).unwrap();
    assert_eq!((root.has_content, root.has_children), (false, false));
    registry.capacity().unwrap();
}

pub(crate) fn a_handle_of_an_unknown_repository_lists_nothing(registry: &dyn Registry) {
    let alpine = alpine(registry);
    assert_eq!(*alpine.name(), name("library/alpine"));
    assert_eq!(tags(&*alpine), [""; 0]);
    assert_eq!(alpine.manifests().revisions().unwrap().collect().unwrap(), []);
    assert_eq!(alpine.layers().digests().unwrap().collect().unwrap(), []);
    assert_eq!(alpine.layers().uploads().unwrap(), []);
    // To ask is not to make.
    assert!(!is_there(registry, "library/alpine"));
    assert!(!is_there(registry, "library"));
}

pub(crate) fn content_makes_the_repository_and_its_namespaces(registry: &dyn Registry) {
    push(&*registry.repository(&name("a/b/layer")), b"content");
    begin(registry.repository(&name("a/upload")).layers(), b"content");
    registry
        .repository(&name("mount"))
        .layers()
        .mount(&Digest::sha256(b"content"), &name("a/b/layer"), &as_it_is())
        .unwrap();
    assert_eq!(children(registry, None), ["a", "mount"]);
    assert_eq!(children(registry, Some("a")), ["b", "upload"]);
    assert_eq!(children(registry, Some("a/b")), ["layer"]);
    assert_eq!(children(registry, Some("a/b/layer")), [""; 0]);
    assert_eq!(repositories(registry), ["a/b/layer", "a/upload", "mount"]);
    for (text, has_content, has_children) in
        [("a", false, true), ("a/b", false, true), ("a/b/layer", true, false)]
    {
        let stat = registry.stat(Some(&name(text))).unwrap();
        assert_eq!((stat.has_content, stat.has_children), (has_content, has_children), "{text}");
    }
    assert!(registry.stat(None).unwrap().has_children);
    // A namespace can be a repository as well, and a repository stays one that is empty again.
    push(&*registry.repository(&name("a")), b"content");
    registry.repository(&name("mount")).layers().delete(&Digest::sha256(b"content")).unwrap();
    assert_eq!(repositories(registry), ["a", "a/b/layer", "a/upload", "mount"]);
    assert!(registry.stat(Some(&name("a"))).unwrap().has_content);
}

pub(crate) fn a_created_repository_is_there_and_has_no_content(registry: &dyn Registry) {
    registry.create(&name("a/b")).unwrap();
    assert!(is_there(registry, "a/b"));
    let stat = registry.stat(Some(&name("a/b"))).unwrap();
    assert_eq!((stat.has_content, stat.has_children), (false, false));
    assert!(registry.stat(Some(&name("a"))).unwrap().has_children);
    assert_eq!(children(registry, None), ["a"]);
    assert_eq!(children(registry, Some("a")), ["b"]);
    assert_eq!(repositories(registry), [""; 0]);
}

pub(crate) fn a_name_that_is_taken_cannot_be_created(registry: &dyn Registry) {
    registry.create(&name("a/b")).unwrap();
    push(&*alpine(registry), b"content");
    for taken in ["a/b", "a", "library/alpine", "library"] {
        assert_refused!(registry.create(&name(taken)), Error::Exists(_));
    }
    registry.create(&name("a/c")).unwrap();
}

pub(crate) fn only_an_empty_repository_can_be_removed(registry: &dyn Registry) {
    let refused = |text| assert_refused!(registry.remove(&name(text)), Error::NotEmpty(full) if full == name(text));
    let repository = registry.repository(&name("a/b"));
    let digest = put(&*repository, "one", "latest");
    let upload = begin(repository.layers(), b"content");
    refused("a/b");
    refused("a");
    repository.manifests().delete(&digest.into()).unwrap();
    refused("a/b");
    for layer in repository.layers().digests().unwrap().collect().unwrap() {
        repository.layers().delete(&layer).unwrap();
    }
    refused("a/b");
    upload.cancel().unwrap();
    registry.remove(&name("a/b")).unwrap();
    assert!(!is_there(registry, "a/b"));
    assert_refused!(registry.remove(&name("a/b")), Error::RepositoryUnknown(_));
    registry.create(&name("c/d")).unwrap();
    refused("c");
    registry.remove(&name("c/d")).unwrap();
    registry.remove(&name("c")).unwrap();
    assert!(!is_there(registry, "c"));
}

pub(crate) fn untagged_revisions_go_with_their_repository(registry: &dyn Registry) {
    let alpine = alpine(registry);
    let manifest = pushed_image(&*alpine, "one");
    alpine.manifests().put(&manifest, &PutAs::Untagged, &as_it_is()).unwrap();
    for layer in alpine.layers().digests().unwrap().collect().unwrap() {
        alpine.layers().delete(&layer).unwrap();
    }
    let revision = (*manifest.digest()).into();
    alpine.manifests().get(&revision).unwrap();
    registry.remove(alpine.name()).unwrap();
    assert!(!alpine.manifests().exists(&revision).unwrap());
    assert_refused!(alpine.manifests().get(&revision), Error::ManifestUnknown(..));
}

pub(crate) fn a_renamed_repository_takes_everything_below_along(registry: &dyn Registry) {
    let old = registry.repository(&name("a/b"));
    let digest = put(&*old, "one", "latest");
    let layer = push(&*old, b"content");
    put(&*registry.repository(&name("a/b/c/d")), "two", "latest");
    for repository in ["a/b", "a/b/c/d"] {
        // What was asked before must not be remembered under the old name.
        tagged(&*registry.repository(&name(repository)), "latest").unwrap();
    }
    old.layers().fetch(&layer).unwrap();
    registry.rename(&name("a/b"), &name("x/y")).unwrap();
    assert!(!is_there(registry, "a/b"));
    assert!(!is_there(registry, "a/b/c/d"));
    assert_eq!(repositories(registry), ["x/y", "x/y/c/d"]);
    assert_eq!(children(registry, Some("x/y")), ["c"]);
    assert_eq!(tagged(&*old, "latest"), None);
    assert_refused!(old.manifests().get(&digest.into()), Error::ManifestUnknown(..));
    assert_refused!(old.layers().fetch(&layer), Error::LayerUnknown(..));
    let new = registry.repository(&name("x/y"));
    assert_eq!(tagged(&*new, "latest"), Some(digest));
    assert_eq!(content(&*new.layers().fetch(&layer).unwrap()), b"content");
    assert!(tagged(&*registry.repository(&name("x/y/c/d")), "latest").is_some());
}

pub(crate) fn an_upload_goes_on_in_a_renamed_repository(registry: &dyn Registry) {
    let (old, new) = (registry.repository(&name("old")), registry.repository(&name("new")));
    let upload = begin(old.layers(), b"con");
    let uuid = upload.uuid();
    drop(upload);
    registry.rename(old.name(), new.name()).unwrap();
    assert_refused!(old.layers().resume(&uuid), Error::UploadUnknown(_));
    let upload = new.layers().resume(&uuid).unwrap();
    upload.write_at(b"tent", 3).unwrap();
    upload.finish(&Digest::sha256(b"content")).unwrap();
    assert!(new.layers().exists(&Digest::sha256(b"content")).unwrap());
}

pub(crate) fn an_empty_repository_is_replaced_by_a_rename(registry: &dyn Registry) {
    let digest = put(&*registry.repository(&name("old")), "one", "latest");
    registry.create(&name("new")).unwrap();
    registry.rename(&name("old"), &name("new")).unwrap();
    assert_eq!(tagged(&*registry.repository(&name("new")), "latest"), Some(digest));
    assert_eq!(children(registry, None), ["new"]);
}

pub(crate) fn a_repository_with_content_is_not_replaced_by_a_rename(registry: &dyn Registry) {
    let one = put(&*registry.repository(&name("one")), "one", "latest");
    let two = put(&*registry.repository(&name("two")), "two", "latest");
    registry.create(&name("above/below")).unwrap();
    for to in ["two", "above"] {
        assert_refused!(
            registry.rename(&name("one"), &name(to)),
            Error::NotEmpty(full) if full == name(to)
        );
    }
    assert_eq!(tagged(&*registry.repository(&name("one")), "latest"), Some(one));
    assert_eq!(tagged(&*registry.repository(&name("two")), "latest"), Some(two));
}

pub(crate) fn a_repository_cannot_be_renamed_into_itself(registry: &dyn Registry) {
    let digest = put(&*registry.repository(&name("a/b")), "one", "latest");
    for (from, to) in [("a/b", "a/b/c"), ("a", "a/c"), ("a/b", "a")] {
        assert_refused!(registry.rename(&name(from), &name(to)), Error::Unsupported(_));
    }
    // A name that only begins the same lies elsewhere.
    registry.rename(&name("a/b"), &name("a/bc")).unwrap();
    assert_eq!(tagged(&*registry.repository(&name("a/bc")), "latest"), Some(digest));
}

pub(crate) fn an_unknown_repository_cannot_be_renamed(registry: &dyn Registry) {
    registry.create(&name("here")).unwrap();
    for to in ["new", "here"] {
        assert_refused!(
            registry.rename(&name("unknown"), &name(to)),
            Error::RepositoryUnknown(unknown) if unknown == name("unknown")
        );
    }
    assert!(!is_there(registry, "new"));
}
