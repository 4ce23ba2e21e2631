//! Listings, and the tree of repositories.

use super::*;

#[test]
fn repositories_come_and_go() {
    let scene = scene();
    let registry = &scene.registry;
    let name = |text: &str| text.parse::<RepositoryName>().unwrap();
    registry.create(&name("a/b")).unwrap();
    assert!(matches!(registry.create(&name("a/b")), Err(Error::Exists(_))));
    let stat = registry.stat(Some(&name("a"))).unwrap();
    assert!(!stat.has_content && stat.has_children);
    scene.image("a/c", "v1", b"x");
    scene.image("a/c/d", "v1", b"x");
    assert!(registry.stat(Some(&name("a/c"))).unwrap().has_content);
    let repositories = BTreeSet::from_iter(all(registry.repositories().unwrap()));
    assert_eq!(repositories, BTreeSet::from([name("a/c"), name("a/c/d")]));
    let components = BTreeSet::from_iter(all(registry.children(Some(&name("a"))).unwrap()));
    assert_eq!(components, BTreeSet::from(["b".parse().unwrap(), "c".parse().unwrap()]));

    for full in ["a", "a/c", "a/c/d"] {
        assert!(matches!(registry.remove(&name(full)), Err(Error::NotEmpty(_))), "{full}");
    }
    let digest = Digest::sha256(b"x");
    let d = scene.repository("a/c/d");
    d.manifests().delete(&named("v1")).unwrap();
    d.layers().delete(&digest).unwrap();
    assert!(matches!(registry.rename(&name("a/b"), &name("a/c")), Err(Error::NotEmpty(_))));
    assert!(matches!(registry.rename(&name("a"), &name("a/x")), Err(Error::Unsupported(_))));
    registry.rename(&name("a/c"), &name("a/b")).unwrap();
    assert!(scene.repository("a/b").manifests().exists(&named("v1")).unwrap());
    registry.remove(&name("a/b/d")).unwrap();
    assert!(matches!(registry.stat(Some(&name("a/b/d"))), Err(Error::RepositoryUnknown(_))));
    assert!(matches!(registry.remove(&name("none")), Err(Error::RepositoryUnknown(_))));
    assert!(matches!(registry.rename(&name("none"), &name("x")), Err(Error::RepositoryUnknown(_))));
    assert_eq!(disk::read_dir(scene.path(layout::TRASH)).unwrap().count(), 0);
}

#[test]
fn a_walk_goes_back_to_any_position() {
    let scene = scene();
    for number in 0..1500 {
        let layers = scene.v2(&format!("repositories/n{}/r{number}/_layers", number % 7));
        disk::create_dir_all(layers).unwrap();
    }
    let mut cursor = scene.registry.repositories().unwrap();
    let mut seen = Vec::new();
    while let Some((name, position)) = cursor.next().unwrap() {
        seen.push((name, position));
    }
    assert_eq!(BTreeSet::from_iter(seen.iter().map(|(name, _)| name)).len(), 1500);
    for index in [1400, 700, 3, 1499, 0] {
        cursor.seek(seen[index].1).unwrap();
        let next = cursor.next().unwrap().map(|(name, _)| name);
        assert_eq!(next.as_ref(), seen.get(index + 1).map(|(name, _)| name), "{index}");
    }
    cursor.seek(Position::default()).unwrap();
    assert_eq!(cursor.next().unwrap().unwrap().0, seen[0].0);
}

#[test]
fn tags_are_listed_once_each_while_others_come_and_go() {
    const TAGS: usize = 2000;
    let scene = scene();
    let digest = scene.image("app", "first", b"x");
    let app = scene.repository("app");
    let link = scene.path("link");
    disk::write(&link, digest.to_string()).unwrap();
    app.manifests().delete(&named("first")).unwrap();
    let tags = scene.v2("repositories/app/_manifests/tags");
    let plant = |tag: String| {
        disk::create_dir_all(tags.join(&tag).join("current")).unwrap();
        disk::hard_link(&link, tags.join(&tag).join("current/link")).unwrap();
    };
    for number in 0..TAGS {
        plant(format!("stays-{number}"));
        plant(format!("goes-{number}"));
    }
    let mut cursor = app.manifests().tags().unwrap();
    let mut seen = BTreeMap::<String, usize>::new();
    let mut number = 0;
    while let Some((found, position)) = cursor.next().unwrap() {
        *seen.entry(found.to_string()).or_default() += 1;
        if number < TAGS {
            disk::remove_dir_all(tags.join(format!("goes-{number}"))).unwrap();
            plant(format!("comes-{number}"));
        }
        number += 1;
        // As a reader does whose buffer is full.
        if number % 100 == 0 {
            cursor.seek(Position::default()).unwrap();
            cursor.seek(position).unwrap();
        }
    }
    assert!(seen.values().all(|count| *count == 1));
    assert_eq!(seen.keys().filter(|tag| tag.starts_with("stays")).count(), TAGS);
    assert!(app.manifests().exists(&digest.into()).unwrap());
}

#[test]
fn one_layer_that_cannot_be_looked_at_does_not_hide_the_others() {
    let scene = scene();
    scene.layer("app", b"x");
    let layers = scene.v2("repositories/app/_layers/sha256");
    let folder = |content: &[u8]| {
        let folder = layers.join(Digest::sha256(content).hex());
        disk::create_dir_all(&folder).unwrap();
        folder
    };
    folder(b"begun");
    disk::write(folder(b"nowhere").join("link"), Digest::sha256(b"nowhere").to_string()).unwrap();
    disk::write(folder(b"empty").join("link"), "").unwrap();
    // Links of ours are never symbolic: this one leads out of the store.
    std::os::unix::fs::symlink("/dev/null", folder(b"planted").join("link")).unwrap();
    let listed = BTreeSet::from_iter(all(scene.repository("app").layers().digests().unwrap()));
    let seen: [&[u8]; 3] = [b"x", b"empty", b"planted"];
    assert_eq!(listed, BTreeSet::from_iter(seen.map(Digest::sha256)));
}

#[test]
fn a_tag_that_outlived_its_manifest_is_seen_and_can_be_removed() {
    let scene = scene();
    let digest = scene.image("app", "latest", b"x");
    let app = scene.repository("app");
    let revision = layout::revision_link(&digest);
    disk::remove_file(scene.v2("repositories/app").join(revision)).unwrap();
    assert_eq!(all(app.manifests().tags().unwrap()), [tag("latest")]);
    let stat = app.manifests().stat(&named("latest"));
    assert!(matches!(stat, Err(Error::LinkDangling { digest: said, .. }) if said == digest));
    let kept = app.manifests().retag(&tag("latest"), &tag("other"), Retag::Replace);
    assert!(matches!(kept, Err(Error::LinkDangling { .. })));
    app.layers().delete(&Digest::sha256(b"x")).unwrap();
    let name = "app".parse().unwrap();
    assert!(matches!(scene.registry.remove(&name), Err(Error::NotEmpty(_))));
    app.manifests().delete(&named("latest")).unwrap();
    scene.registry.remove(&name).unwrap();
}

#[test]
fn layers_of_both_algorithms_are_listed_from_any_position() {
    let scene = scene();
    for number in 0..20_u8 {
        let mut hasher = Hasher::new(Algorithm::Sha512);
        hasher.update(&[number]);
        let upload = scene.upload("app", "x");
        upload.write_at(&[number], 0).unwrap();
        upload.finish(&hasher.digest().unwrap()).unwrap();
    }
    let mut cursor = scene.repository("app").layers().digests().unwrap();
    let mut seen = Vec::new();
    while let Some(entry) = cursor.next().unwrap() {
        seen.push(entry);
    }
    assert_eq!(seen.len(), 40);
    for index in [39, 5, 22, 19, 20] {
        cursor.seek(seen[index].1).unwrap();
        let next = cursor.next().unwrap().map(|(digest, _)| digest);
        assert_eq!(next, seen.get(index + 1).map(|(digest, _)| *digest));
    }
    cursor.seek(Position::default()).unwrap();
    assert_eq!(cursor.collect().unwrap().len(), 40);
}
