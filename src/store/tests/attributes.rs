//! Attributes, and tags that change names.

use super::*;

#[test]
fn tags_change_names_as_the_caller_wishes() {
    let scene = scene();
    let (one, two) = (scene.image("app", "a", b"1"), scene.image("app", "b", b"2"));
    let app = scene.repository("app");
    let at = |name: &str| app.manifests().stat(&named(name)).map(|stat| stat.digest);
    let time = UNIX_EPOCH + Duration::from_secs(1_000_000);
    let change = AttributesChange {
        permissions: Some(0o640),
        modified_at: Some(time),
        ..AttributesChange::default()
    };
    app.attributes().change(&Subject::Tag(tag("a")), &change).unwrap();
    let error = app.manifests().retag(&tag("a"), &tag("b"), Retag::KeepExisting).unwrap_err();
    assert!(matches!(error, Error::Exists(_)), "{error}");
    app.manifests().retag(&tag("a"), &tag("b"), Retag::Exchange).unwrap();
    assert_eq!((at("a").unwrap(), at("b").unwrap()), (two, one));
    let stat = app.manifests().stat(&named("b")).unwrap();
    assert_eq!((stat.attributes.permissions, stat.attributes.modified_at), (0o640, time));
    app.manifests().retag(&tag("b"), &tag("a"), Retag::Replace).unwrap();
    assert_eq!(at("a").unwrap(), one);
    assert!(at("b").unwrap_err().is_unknown());
    let stat = app.manifests().stat(&named("a")).unwrap();
    assert_eq!((stat.attributes.permissions, stat.attributes.modified_at), (0o640, time));
    app.manifests().retag(&tag("a"), &tag("c"), Retag::KeepExisting).unwrap();
    app.manifests().retag(&tag("c"), &tag("c"), Retag::Replace).unwrap();
    assert_eq!(at("c").unwrap(), one);
    for (from, to) in [("x", "c"), ("c", "x")] {
        let error = app.manifests().retag(&tag(from), &tag(to), Retag::Exchange).unwrap_err();
        assert!(matches!(&error, Error::TagUnknown(_, tag) if tag.as_str() == "x"), "{error}");
    }
    // Moving a tag keeps its permissions, and not its time.
    app.manifests().tag(&two, &tag("c"), &AttributesChange::default()).unwrap();
    let stat = app.manifests().stat(&named("c")).unwrap();
    assert_eq!((stat.digest, stat.attributes.permissions), (two, 0o640));
    assert!(stat.attributes.modified_at > time);
}

/// docker-registry runs as another user, and must be able to read every link.
#[test]
fn a_link_is_readable_for_the_registry_whatever_its_mode_in_the_mount() {
    let scene = scene();
    let app = scene.repository("app");
    let upload = scene.upload("app", "x");
    upload.write_at(b"hello", 0).unwrap();
    let digest = Digest::sha256(b"hello");
    upload.finish(&digest).unwrap();
    let layer = Subject::Layer(digest);
    for permissions in (0..=0o777).chain([0o600]) {
        let change = AttributesChange { permissions: Some(permissions), ..Default::default() };
        let seen = app.attributes().change(&layer, &change).unwrap();
        assert_eq!(seen.permissions, permissions);
        let link = scene
            .path(layout::repository(&"app".parse().unwrap()).join(layout::layer_link(&digest)));
        assert_eq!(disk::metadata(link).unwrap().permissions().mode() & 0o444, 0o444);
    }
    if rustix::process::geteuid().is_root() {
        let change = AttributesChange { uid: Some(12), gid: Some(34), ..Default::default() };
        assert_eq!(app.attributes().change(&layer, &change).unwrap().permissions, 0o600);
    }
}

#[test]
fn attributes_of_an_upload_become_those_of_the_layer() {
    let scene = scene();
    let app = scene.repository("app");
    let time = UNIX_EPOCH + Duration::new(1_234_567_890, 123_456_789);
    let upload = scene.upload("app", "x");
    upload.write_at(b"hello", 0).unwrap();
    let subject = Subject::Upload(upload.uuid());
    let change = AttributesChange {
        permissions: Some(0o600),
        modified_at: Some(time),
        ..AttributesChange::default()
    };
    app.attributes().change(&subject, &change).unwrap();
    app.attributes().set_extended(&subject, "user.comment", Some(b"mine")).unwrap();
    let digest = Digest::sha256(b"hello");
    upload.finish(&digest).unwrap();
    let layer = Subject::Layer(digest);
    let attributes = app.attributes().get(&layer).unwrap();
    assert_eq!((attributes.permissions, attributes.modified_at), (0o600, time));
    assert_eq!(app.layers().stat(&digest).unwrap().attributes, attributes);
    let comment = app.attributes().extended(&layer, "user.comment").unwrap();
    assert_eq!(comment.as_deref(), Some(b"mine".as_slice()));
    assert_eq!(app.attributes().extended_names(&layer).unwrap(), ["user.comment"]);
    app.attributes().set_extended(&layer, "user.comment", None).unwrap();
    assert_eq!(app.attributes().extended(&layer, "user.comment").unwrap(), None);
    let blob = disk::metadata(scene.path(layout::blob(&digest))).unwrap();
    assert_eq!(blob.permissions().mode() & 0o7777, 0o644);
    assert!(blob.modified().unwrap() > time);
    // Other repositories have their own.
    let other = scene.repository("other");
    other.layers().mount(&digest, &"app".parse().unwrap(), &AttributesChange::default()).unwrap();
    assert_eq!(other.attributes().get(&layer).unwrap().permissions, 0o644);
}

#[test]
fn folders_have_attributes_before_they_exist() {
    let scene = scene();
    scene.registry.create(&"app".parse().unwrap()).unwrap();
    let app = scene.repository("app");
    for area in Area::ALL {
        assert_eq!(app.attributes().get(&Subject::Area(area)).unwrap().permissions, 0o755);
    }
    let change = AttributesChange { permissions: Some(0o700), ..AttributesChange::default() };
    app.attributes().change(&Subject::Area(Area::Layers), &change).unwrap();
    assert_eq!(app.attributes().get(&Subject::Area(Area::Layers)).unwrap().permissions, 0o700);
    let none = scene.repository("none");
    assert!(none.attributes().get(&Subject::Repository).unwrap_err().is_unknown());
    assert!(none.attributes().get(&Subject::Area(Area::Layers)).is_ok());
    let error = none.attributes().change(&Subject::Area(Area::Layers), &change).unwrap_err();
    assert!(matches!(error, Error::RepositoryUnknown(_)), "{error}");
}

/// rsync sets the time of `uploads` while it still writes to `layers`.
#[test]
fn the_time_of_uploads_changes_with_what_is_seen_in_it_and_nothing_else() {
    let scene = scene();
    let app = scene.repository("app");
    let upload = scene.upload("app", "x");
    let uploads = Subject::Area(Area::Uploads);
    let time = || app.attributes().get(&uploads).unwrap().modified_at;
    let set = UNIX_EPOCH - Duration::new(1, 500_000_000);
    let change = AttributesChange { modified_at: Some(set), ..AttributesChange::default() };
    assert_eq!(app.attributes().change(&uploads, &change).unwrap().modified_at, set);
    let stage = |file: &str| {
        let name = UploadName::new(Area::Layers, file.as_ref()).unwrap();
        app.layers().upload(&name, &AttributesChange::default()).unwrap()
    };
    stage(".a").finish(&Digest::sha256(b"")).unwrap();
    stage(".b").cancel().unwrap();
    let staged = stage(".c");
    assert_eq!(time(), set);
    assert!(app.attributes().extended_names(&uploads).unwrap().is_empty());
    staged.rename(&uploads_file("y")).unwrap();
    assert!(time() > UNIX_EPOCH);
    app.attributes().change(&uploads, &change).unwrap();
    upload.cancel().unwrap();
    assert!(time() > UNIX_EPOCH);
}
