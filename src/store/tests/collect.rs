//! What happens between the steps of a collection.

use super::*;
use std::sync::atomic::Ordering;

pub(super) const NOW: CollectOptions = CollectOptions {
    dry_run: false,
    grace: Duration::ZERO,
    uploads_age: Duration::MAX,
    unreferenced_layers: false,
    all: false,
};

/// What nobody stops.
pub(super) static ON: AtomicUsize = AtomicUsize::new(0);

/// A store in which something is in use that is in nobody's way.
pub(super) fn scene_in_use() -> Scene {
    let scene = scene();
    scene.layer("used", b"used");
    scene
}

/// Longer than the time by which the clock of files may be behind.
pub(super) fn age() {
    thread::sleep(Duration::from_millis(1200));
}

/// Collects, and calls `act` once everything is marked.
fn collect_and(scene: &Scene, act: impl Fn()) -> Collected {
    try_collect_and(scene, act).unwrap()
}

fn try_collect_and(scene: &Scene, act: impl Fn()) -> Result<Collected> {
    let mut done = false;
    scene.registry.collect(&NOW, &ON, &mut |event| {
        if matches!(event, CollectEvent::Sweeping(_)) && !done {
            done = true;
            act();
        }
    })
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
    let collected = scene.registry.collect(&NOW, &ON, &mut { rename }).unwrap();
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
        let refused = again.collect(&NOW, &ON, &mut |_| {});
        assert!(matches!(refused, Err(Error::StoreBusy(_))));
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
    let collected = scene.registry.collect(&NOW, &ON, &mut |_| {}).unwrap();
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
    let collected = scene.registry.collect(&NOW, &ON, &mut |_| {}).unwrap();
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
            scene.registry.collect(&NOW, &ON, &mut |_| {}).unwrap();
        }
    });
}

/// What nobody can understand comes to be there when blobs are out already.
#[test]
fn after_an_error_half_way_everything_is_where_it_was() {
    let scene = scene_in_use();
    let layer = scene.layer("app", b"layer");
    scene.repository("app").layers().delete(&layer).unwrap();
    age();
    let link = scene.v2("repositories/app/linked");
    let refused = try_collect_and(&scene, || symlink("/elsewhere", &link).unwrap());
    assert!(matches!(refused, Err(Error::Unclear { .. })));
    assert_eq!(disk::read(scene.path(layout::blob(&layer))).unwrap(), b"layer");
    assert_eq!(disk::read_dir(scene.path(layout::COLLECTED)).unwrap().count(), 0);
}

#[test]
fn who_stops_a_collection_finds_everything_where_it_was() {
    let scene = scene_in_use();
    let layer = scene.layer("app", b"layer");
    scene.repository("app").layers().delete(&layer).unwrap();
    age();
    let stop = AtomicUsize::new(0);
    let stopped = scene.registry.collect(&NOW, &stop, &mut |event| {
        if matches!(event, CollectEvent::Sweeping(_)) {
            stop.store(2, Ordering::Relaxed);
        }
    });
    assert!(stopped.is_err());
    assert_eq!(disk::read(scene.path(layout::blob(&layer))).unwrap(), b"layer");
}

/// Who begins to push a blob makes its folder first; and docker-registry 2.8 writes manifests in place.
#[test]
fn what_was_taken_out_comes_back_to_where_something_lies_by_now() {
    let scene = scene();
    let contents: [(&[u8], Option<&[u8]>); 4] = [
        (b"folder", None),
        (b"torn", Some(b"to")),
        (b"wrong", Some(b"gnorw")),
        (b"same", Some(b"same")),
    ];
    for (content, there) in contents {
        let layer = scene.layer("app", content);
        let (blob, out) = (scene.path(layout::blob(&layer)), scene.path(layout::collected(&layer)));
        disk::create_dir_all(&out).unwrap();
        disk::copy(&blob, out.join(layout::DATA)).unwrap();
        disk::remove_file(&blob).unwrap();
        if let Some(bytes) = there {
            disk::write(&blob, bytes).unwrap();
        }
    }
    // What is nobody's keeps nobody from the rest.
    disk::create_dir(scene.path(layout::COLLECTED).join("0-junk")).unwrap();
    let layers = scene.again().repository(&"app".parse().unwrap());
    for (content, _) in contents {
        let layer = layers.layers().fetch(&Digest::sha256(content)).unwrap();
        assert_eq!(read_layer(&*layer), content);
    }
    assert_eq!(disk::read_dir(scene.path(layout::COLLECTED)).unwrap().count(), 1);
}

/// A disk that is not mounted, a tree that was removed by mistake: nothing is in use then, it seems.
#[test]
fn where_there_is_no_repository_nothing_goes_unasked() {
    let scene = scene();
    let layer = scene.layer("app", b"layer");
    disk::remove_dir_all(scene.v2("repositories/app")).unwrap();
    age();
    let refused = || scene.registry.collect(&NOW, &ON, &mut |_| {});
    assert!(matches!(refused(), Err(Error::Unclear { .. })));
    disk::create_dir(scene.v2("repositories/empty")).unwrap();
    assert!(matches!(refused(), Err(Error::Unclear { .. })));
    disk::remove_dir_all(scene.v2("repositories")).unwrap();
    assert!(matches!(refused(), Err(Error::Unclear { .. })));
    assert!(scene.path(layout::blob(&layer)).exists());
    let all = CollectOptions { all: true, ..NOW };
    assert_eq!(scene.registry.collect(&all, &ON, &mut |_| {}).unwrap().removed.count, 1);
}

/// The link of a manifest that lost its content in a crash still says by its place what it was.
#[test]
fn what_a_manifest_with_a_damaged_link_refers_to_stays() {
    let scene = scene();
    let digest = scene.image("app", "v1", b"config");
    let repository = scene.v2("repositories/app");
    disk::remove_dir_all(repository.join(layout::TAGS).join("v1")).unwrap();
    disk::remove_dir_all(repository.join(layout::LAYERS)).unwrap();
    disk::write(repository.join(layout::revision_link(&digest)), b"").unwrap();
    age();
    age();
    let collected = scene.registry.collect(&NOW, &ON, &mut |_| {}).unwrap();
    assert_eq!((collected.removed.count, collected.used.count), (0, 2));
}

/// As docker-registry leaves it that has deleted the manifest.
#[test]
fn a_layer_that_only_its_link_refers_to_goes_when_asked() {
    let scene = scene();
    let layer = scene.layer("app", b"layer");
    scene.image("app", "v1", b"config");
    age();
    let asked = CollectOptions { unreferenced_layers: true, ..NOW };
    assert_eq!(scene.registry.collect(&NOW, &ON, &mut |_| {}).unwrap().removed.count, 0);
    let young = CollectOptions { grace: Duration::from_secs(60), ..asked };
    assert_eq!(scene.registry.collect(&young, &ON, &mut |_| {}).unwrap().removed.count, 0);
    let collected = scene.registry.collect(&asked, &ON, &mut |_| {}).unwrap();
    assert_eq!((collected.removed.count, collected.used.count), (1, 2));
    assert!(!scene.path(layout::blob(&layer)).exists());
}

/// Somebody may be stopped (Ctrl-Z) when they have made sure of a blob and not linked it yet.
#[test]
fn who_is_stopped_while_publishing_keeps_nobody_else_from_it() {
    let scene = scene_in_use();
    let stopped = scene.again();
    let passage = stopped.store.pass().unwrap();
    let layer = scene.layer("app", b"layer");
    scene.repository("app").layers().delete(&layer).unwrap();
    age();
    thread::scope(|scope| {
        let collection = scope.spawn(|| scene.registry.collect(&NOW, &ON, &mut |_| {}));
        for content in 0..20 {
            thread::sleep(Duration::from_millis(100));
            scene.again().store.pass().map(drop).unwrap();
            scene.layer("app", format!("{content}").as_bytes());
        }
        assert!(!collection.is_finished());
        drop(passage);
        assert_eq!(collection.join().unwrap().unwrap().removed.count, 1);
    });
}

#[test]
fn each_move_of_links_counts_however_fast_they_follow_each_other() {
    let scene = scene();
    let moves = || scene.registry.store.close_gate(&|| Ok(())).unwrap().moves().unwrap();
    let before = moves();
    for number in 1..=100 {
        let moving = scene.registry.store.begin_move().unwrap();
        let passage = scene.registry.store.pass().unwrap();
        scene.registry.store.note_move(&moving, &passage).unwrap();
        drop((passage, moving));
        assert_eq!(moves(), before + number);
    }
}

/// What leads from a sha512 to where the content lies is the link only.
#[test]
fn a_layer_that_a_manifest_names_by_another_hash_stays_however_old_its_link_is() {
    let scene = scene();
    let app = scene.repository("app");
    let mut hasher = Hasher::new(Algorithm::Sha512);
    hasher.update(b"layer");
    let sha512 = hasher.digest().unwrap();
    let upload = scene.upload("app", "layer");
    upload.write_at(b"layer", 0).unwrap();
    upload.finish(&sha512).unwrap();
    let config = scene.layer("app", b"config");
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"a/b","digest":"{config}","size":6}},"layers":[{{"mediaType":"a/b","digest":"{sha512}","size":5}}]}}"#
    );
    let manifest = Manifest::parse(text.as_bytes()).unwrap();
    let change = AttributesChange::default();
    app.manifests().put(&manifest, &PutAs::Tag(tag("v1")), &change).unwrap();
    age();
    let asked = CollectOptions { unreferenced_layers: true, ..NOW };
    assert_eq!(scene.registry.collect(&asked, &ON, &mut |_| {}).unwrap().removed.count, 0);
    assert_eq!(read_layer(&*app.layers().fetch(&sha512).unwrap()), b"layer");
}

/// Who publishes brings back what a collector has taken out just now.
#[test]
fn what_is_out_is_brought_back_by_who_needs_it() {
    let scene = scene();
    let app = scene.repository("app");
    let config = scene.layer("app", b"config");
    let manifest = scene.manifest("app", b"config");
    let (blob, out) = (scene.path(layout::blob(&config)), scene.path(layout::collected(&config)));
    let take_out = || {
        disk::create_dir_all(&out).unwrap();
        disk::copy(&blob, out.join(layout::DATA)).unwrap();
        disk::remove_dir_all(blob.parent().unwrap()).unwrap();
    };
    take_out();
    app.manifests().put(&manifest, &PutAs::Untagged, &AttributesChange::default()).unwrap();
    assert!(blob.exists() && !out.exists());
    take_out();
    assert_eq!(read_layer(&*app.layers().fetch(&config).unwrap()), b"config");
}

/// rmdir takes manifests without a tag along.
#[test]
fn what_a_removed_repository_had_stays_for_the_grace_period() {
    let scene = scene();
    scene.layer("used", b"used");
    let digest = scene.image("app", "v1", b"config");
    thread::sleep(Duration::from_secs(3));
    let app = scene.repository("app");
    app.manifests().delete(&named("v1")).unwrap();
    app.layers().delete(&Digest::sha256(b"config")).unwrap();
    scene.registry.remove(&"app".parse().unwrap()).unwrap();
    let options = CollectOptions { grace: Duration::from_secs(3), ..NOW };
    let collected = scene.registry.collect(&options, &ON, &mut |_| {}).unwrap();
    assert_eq!((collected.removed.count, collected.young.count), (0, 2));
    assert!(scene.path(layout::blob(&digest)).exists());
}
