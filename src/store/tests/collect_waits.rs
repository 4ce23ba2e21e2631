//! Who waits for whom in a collection: those who move links for it, or it for them; and what is out for a
//! docker-registry.

use super::collect::{NOW, ON, age, scene_in_use};
use super::*;

/// Its links would never be where they were when a collection began.
#[test]
fn a_collection_ends_though_links_are_moved_whenever_it_looks() {
    let scene = scene_in_use();
    let layer = scene.layer("gone", b"layer");
    scene.repository("gone").layers().delete(&layer).unwrap();
    age();
    let (other, mut moves) = (scene.again(), 0);
    let name = |number: usize| format!("used{number}").parse().unwrap();
    other.rename(&"used".parse().unwrap(), &name(0)).unwrap();
    let collected = thread::scope(|scope| {
        let mut mover = None;
        scene.registry.collect(&NOW, &ON, &mut |_| {
            let is_idle = mover.as_ref().is_none_or(thread::ScopedJoinHandle::is_finished);
            if !is_idle {
                return;
            }
            let (from, to) = (name(moves), name(moves + 1));
            let other = &other;
            let next = scope.spawn(move || other.rename(&from, &to).unwrap());
            // While links have to stay it waits, and so does nobody for it.
            thread::sleep(Duration::from_millis(20));
            mover = Some(next);
            moves += 1;
        })
    });
    let collected = collected.unwrap();
    assert_eq!((collected.removed.count, collected.is_cut_short), (1, false));
    assert!(moves > 2, "{moves}");
    let used = scene.repository(name(moves).as_str()).layers().fetch(&Digest::sha256(b"used"));
    assert_eq!(read_layer(&*used.unwrap()), b"used");
}

#[test]
fn who_moves_links_waits_while_they_have_to_stay_and_others_do_not() {
    let scene = scene_in_use();
    let still = scene.registry.store.hold_still(&|| Ok(())).unwrap();
    let (other, new) = (scene.again(), "new".parse().unwrap());
    thread::scope(|scope| {
        let rename = scope.spawn(|| other.rename(&"used".parse().unwrap(), &new));
        scene.layer("app", b"layer");
        scene.image("app", "v1", b"config");
        let app = scene.repository("app");
        app.manifests().retag(&tag("v1"), &tag("v2"), Retag::Replace).unwrap();
        assert!(!rename.is_finished());
        drop(still);
        rename.join().unwrap().unwrap();
    });
    let used = scene.repository("new").layers().fetch(&Digest::sha256(b"used")).unwrap();
    assert_eq!(read_layer(&*used), b"used");
}

/// As docker-registry 2.1 wrote them: the tag is all that leads to the manifest.
#[test]
fn a_tag_that_alone_leads_to_its_manifest_waits_and_counts_as_a_move() {
    let scene = scene();
    let digest = scene.image("app", "v1", b"config");
    let repository = scene.v2("repositories/app");
    disk::remove_dir_all(repository.join(layout::revision(&digest))).unwrap();
    let link = repository.join(layout::layer_link(&digest));
    disk::create_dir_all(link.parent().unwrap()).unwrap();
    disk::write(link, digest.to_string()).unwrap();
    let moves = || scene.registry.store.close_gate(&|| Ok(())).unwrap().moves().unwrap();
    let before = moves();
    let still = scene.registry.store.hold_still(&|| Ok(())).unwrap();
    let other = scene.again();
    thread::scope(|scope| {
        let app = other.repository(&"app".parse().unwrap());
        let retag =
            scope.spawn(move || app.manifests().retag(&tag("v1"), &tag("v2"), Retag::Replace));
        thread::sleep(Duration::from_millis(200));
        assert!(!retag.is_finished());
        drop(still);
        retag.join().unwrap().unwrap();
    });
    assert_eq!(moves(), before + 1);
}

/// For how long docker-registry may have found what it links.
const SETTLE: Duration = Duration::from_secs(5);

/// A store in which nothing has happened for longer than that, with two contents that nobody refers to:
/// what may be a manifest and what is none.
fn quiet_scene() -> (Scene, [Digest; 2]) {
    let scene = scene_in_use();
    let text = "x".repeat(2000);
    let contents = [format!(" {{\"x\":\"{text}\"}}"), text];
    let digests = contents.map(|content| scene.layer("app", content.as_bytes()));
    scene.image("team", "v1", b"config");
    let app = scene.repository("app");
    digests.iter().for_each(|digest| app.layers().delete(digest).unwrap());
    thread::sleep(SETTLE + Duration::from_secs(1));
    (scene, digests)
}

/// How long after the beginning of a collection each of these is removed.
fn removals(scene: &Scene, digests: [Digest; 2]) -> [Duration; 2] {
    let (start, mut removals) = (Instant::now(), BTreeMap::new());
    scene
        .registry
        .collect(&NOW, &ON, &mut |event| {
            if let CollectEvent::Blob { digest, .. } = event {
                removals.insert(digest.to_string(), start.elapsed());
            }
        })
        .unwrap();
    digests.map(|digest| removals[&digest.to_string()])
}

#[test]
fn only_what_may_be_a_manifest_waits_where_nobody_pushes_and_nothing_was_removed() {
    let (scene, digests) = quiet_scene();
    let [manifest, other] = removals(&scene, digests);
    assert!(other < SETTLE && manifest >= SETTLE, "{other:?}, {manifest:?}");
}

/// A docker-registry may have found any content for it.
#[test]
fn all_wait_while_somebody_uploads_a_layer() {
    let (scene, digests) = quiet_scene();
    let uploads = scene.v2("repositories/team/deep/_uploads");
    disk::create_dir_all(uploads.join("1eea0b5e-3b1c-4b7e-9e64-4c9c1f0a2d11")).unwrap();
    // That folders are new is another reason.
    thread::sleep(SETTLE + Duration::from_secs(1));
    assert!(removals(&scene, digests).iter().all(|after| *after >= SETTLE));
}

/// A docker-registry may have found it by the link that it had, to mount it elsewhere.
#[test]
fn all_wait_when_a_link_was_removed_just_now() {
    let (scene, digests) = quiet_scene();
    let gone = scene.v2("repositories/gone");
    disk::create_dir_all(gone.join("_layers/sha256")).unwrap();
    disk::remove_dir_all(gone).unwrap();
    let after = removals(&scene, digests);
    let least = SETTLE - Duration::from_secs(1);
    assert!(after.iter().all(|after| *after >= least), "{after:?}");
}

/// As by a docker-registry that was told to delete the manifest: its folder stays.
#[test]
fn all_wait_when_the_link_of_a_manifest_was_removed_just_now() {
    let (scene, digests) = quiet_scene();
    let manifests = scene.repository("team");
    let manifest = manifests.manifests().stat(&Reference::Tag(tag("v1"))).unwrap().digest;
    let link = scene.v2("repositories/team").join(layout::revision_link(&manifest));
    disk::remove_file(link).unwrap();
    let after = removals(&scene, digests);
    let least = SETTLE - Duration::from_secs(1);
    assert!(after.iter().all(|after| *after >= least), "{after:?}");
}
