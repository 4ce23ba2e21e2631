//! What happens between the steps of a collection.

use super::*;

const NOW: CollectOptions =
    CollectOptions { dry_run: false, grace: Duration::ZERO, uploads_age: Duration::MAX };

/// Longer than the time by which the clock of files may be behind.
fn age() {
    thread::sleep(Duration::from_millis(1200));
}

/// Collects, and calls `act` once everything is marked.
fn collect_and(scene: &Scene, act: impl Fn()) -> Collected {
    let mut done = false;
    let collected = scene.registry.collect(&NOW, &mut |event| {
        if matches!(event, CollectEvent::Sweeping(_)) && !done {
            done = true;
            act();
        }
    });
    collected.unwrap()
}

/// A blob that is found where it lies is linked as it is, and is in nobody's way for a moment.
#[test]
fn what_is_put_after_everything_was_marked_is_not_even_taken_out() {
    let scene = scene();
    let (app, change) = (scene.repository("app"), AttributesChange::default());
    let manifest = scene.manifest("app", b"config");
    let put = || app.manifests().put(&manifest, &PutAs::Tag(tag("v1")), &change).unwrap();
    let digest = put();
    app.manifests().delete(&digest.into()).unwrap();
    age();
    let collected = collect_and(&scene, || assert_eq!(put(), digest));
    assert_eq!(collected.brought_back.count + collected.removed.count, 0);
    assert_eq!(app.manifests().get(&named("v1")).unwrap(), manifest);
}

#[test]
fn what_is_mounted_and_unlinked_after_everything_was_marked_stays() {
    let scene = scene();
    let (one, other) = (scene.repository("one"), scene.repository("other"));
    let layer = scene.layer("one", b"layer");
    age();
    let collected = collect_and(&scene, || {
        let change = AttributesChange::default();
        other.layers().mount(&layer, &"one".parse().unwrap(), &change).unwrap();
        one.layers().delete(&layer).unwrap();
    });
    assert_eq!(collected.brought_back.count + collected.removed.count, 0);
    assert_eq!(read_layer(&*other.layers().fetch(&layer).unwrap()), b"layer");
}

/// Its links go from where nobody has looked yet to where somebody has.
#[test]
fn a_repository_that_is_renamed_while_links_are_followed_keeps_its_layers() {
    let scene = scene();
    let layers: Vec<_> = ["a", "b", "c"]
        .into_iter()
        .map(|name| (name, scene.layer(name, name.as_bytes())))
        .collect();
    age();
    let mut renamed = false;
    let rename = |event| {
        if matches!(event, CollectEvent::Marking(_)) && !renamed {
            renamed = true;
            for (name, _) in &layers {
                let new = format!("new-{name}").parse().unwrap();
                scene.registry.rename(&name.parse().unwrap(), &new).unwrap();
            }
        }
    };
    let collected = scene.registry.collect(&NOW, &mut { rename }).unwrap();
    assert_eq!((collected.removed.count, collected.used.count), (0, 3));
    for (name, layer) in &layers {
        let repository = scene.repository(&format!("new-{name}"));
        assert_eq!(read_layer(&*repository.layers().fetch(layer).unwrap()), name.as_bytes());
    }
}

#[test]
fn one_collects_at_a_time() {
    let scene = scene();
    let again = scene.again();
    scene.layer("app", b"layer");
    collect_and(&scene, || {
        let refused = again.collect(&NOW, &mut |_| {});
        assert!(matches!(refused, Err(Error::CollectorBusy)));
    });
}

/// A tag that is damaged names nobody knows what: all that it ever named stays.
#[test]
fn what_a_damaged_tag_may_name_stays() {
    let scene = scene();
    let digest = scene.image("app", "v1", b"config");
    let hex = digest.hex();
    let repository = scene.v2("repositories/app/_manifests");
    disk::remove_dir_all(repository.join("revisions/sha256").join(hex)).unwrap();
    disk::write(repository.join("tags/v1/current/link"), b"").unwrap();
    age();
    age();
    let collected = scene.registry.collect(&NOW, &mut |_| {}).unwrap();
    assert_eq!((collected.removed.count, collected.used.count), (0, 2));
}

/// Formats that nobody here knows refer to blobs, too.
#[test]
fn what_a_manifest_of_an_unknown_format_mentions_stays() {
    let scene = scene();
    let layer = scene.layer("app", b"mentioned");
    let text = format!(r#"{{"schemaVersion":7,"novelty":["{layer}"]}}"#);
    let digest = Digest::sha256(text.as_bytes());
    let blob = scene.path(layout::blob(&digest));
    disk::create_dir_all(blob.parent().unwrap()).unwrap();
    disk::write(blob, &text).unwrap();
    let link = scene.v2("repositories/app").join(layout::revision_link(&digest));
    disk::create_dir_all(link.parent().unwrap()).unwrap();
    disk::write(link, digest.to_string()).unwrap();
    scene.repository("app").layers().delete(&layer).unwrap();
    age();
    let collected = scene.registry.collect(&NOW, &mut |_| {}).unwrap();
    assert_eq!((collected.removed.count, collected.used.count), (0, 2));
}

/// The folder above may be gone, as it was empty.
#[test]
fn what_was_taken_out_comes_back_to_a_folder_that_is_gone() {
    let scene = scene();
    let layer = scene.layer("app", b"layer");
    let hex = layer.hex();
    let blob = scene.path(layout::blob(&layer));
    let out = scene.path(layout::COLLECTED).join(&hex);
    disk::create_dir_all(&out).unwrap();
    disk::write(out.join(layout::DATA), b"layer").unwrap();
    disk::remove_dir_all(blob.parent().unwrap().parent().unwrap()).unwrap();
    let layers = scene.again().repository(&"app".parse().unwrap());
    assert_eq!(read_layer(&*layers.layers().fetch(&layer).unwrap()), b"layer");
}

#[test]
fn what_is_removed_while_it_is_looked_at_ends_no_collection() {
    let scene = scene();
    let app = scene.repository("app");
    let digests: Vec<_> =
        (0..50).map(|number| scene.image("app", "v", format!("{number}").as_bytes())).collect();
    thread::scope(|scope| {
        let removals = scope.spawn(|| {
            digests.iter().for_each(|digest| app.manifests().delete(&(*digest).into()).unwrap());
        });
        while !removals.is_finished() {
            scene.registry.collect(&NOW, &mut |_| {}).unwrap();
        }
    });
}
