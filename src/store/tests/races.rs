//! Two at once, in the same process or in two: nothing that succeeded is lost.

use super::*;
use crate::store::durable::move_over;
use std::{path::Path, sync::atomic::AtomicBool};

/// Often enough to meet a window that is open for a few system calls.
const ROUNDS: u64 = 60;

/// Calls `one` and `other` at once, one of them a little later each time.
fn at_once(round: u64, one: impl FnOnce() + Send, other: impl FnOnce()) {
    let start = std::sync::Barrier::new(2);
    thread::scope(|scope| {
        scope.spawn(|| {
            start.wait();
            thread::sleep(Duration::from_micros(round % 60 * 10));
            one();
        });
        start.wait();
        other();
    });
}

fn names(app: &dyn Repository, tag: &str) -> Option<Digest> {
    app.manifests().stat(&named(tag)).ok().map(|stat| stat.digest)
}

#[test]
fn no_put_is_lost_while_its_tag_is_renamed() {
    let scene = scene();
    let [old, new, other] = ["1", "2", "3"].map(|text| scene.image("app", text, text.as_bytes()));
    let app = scene.repository("app");
    let change = AttributesChange::default();
    let put = |digest, under| app.manifests().tag(digest, &tag(under), &change).unwrap();
    for round in 0..ROUNDS {
        put(&old, "from");
        put(&other, "to");
        let retag = || app.manifests().retag(&tag("from"), &tag("to"), Retag::Replace).unwrap();
        at_once(round, || put(&new, "from"), retag);
        let (from, to) = (names(&*app, "from"), names(&*app, "to"));
        assert!(from == Some(new) || (from.is_none() && to == Some(new)), "{from:?} {to:?}");
    }
    assert_eq!(disk::read_dir(scene.path(layout::TRASH)).unwrap().count(), 0);
}

#[test]
fn no_put_is_lost_while_what_the_tag_named_is_deleted() {
    let scene = scene();
    let manifest = scene.manifest("app", b"old");
    let new = scene.image("app", "new", b"new");
    let (app, change) = (scene.repository("app"), AttributesChange::default());
    for round in 0..ROUNDS {
        let put_as = PutAs::Tag(tag("it"));
        let old = app.manifests().put(&manifest, &put_as, &change).unwrap();
        let put = || app.manifests().tag(&new, &tag("it"), &change).unwrap();
        at_once(round, put, || app.manifests().delete(&old.into()).unwrap());
        assert_eq!(names(&*app, "it"), Some(new));
    }
}

#[test]
fn no_put_is_lost_while_what_the_tag_named_is_untagged() {
    let scene = scene();
    let manifest = scene.manifest("app", b"old");
    let new = scene.image("app", "new", b"new");
    let (app, change) = (scene.repository("app"), AttributesChange::default());
    for round in 0..ROUNDS {
        let old = app.manifests().put(&manifest, &PutAs::Tag(tag("it")), &change).unwrap();
        let put = || app.manifests().tag(&new, &tag("it"), &change).unwrap();
        at_once(round, put, || app.manifests().untag(&tag("it"), &old).unwrap());
        assert_eq!(names(&*app, "it"), Some(new));
    }
}

#[test]
fn no_put_is_lost_while_its_repository_is_removed() {
    let scene = scene();
    let name: RepositoryName = "app".parse().unwrap();
    let (app, change) = (scene.repository("app"), AttributesChange::default());
    let manifest = Manifest::parse(br#"{"schemaVersion":2,"manifests":[]}"#).unwrap();
    for round in 0..ROUNDS {
        let put = || {
            let put_as = PutAs::Tag(tag("it"));
            app.manifests().put(&manifest, &put_as, &change).unwrap();
        };
        let remove = || {
            thread::sleep(Duration::from_micros(round * 100));
            scene.registry.remove(&name).ok();
        };
        at_once(0, put, remove);
        assert_eq!(names(&*app, "it"), Some(*manifest.digest()));
        app.manifests().delete(&named("it")).unwrap();
        scene.registry.remove(&name).ok();
        let content = round.to_le_bytes();
        let push = || {
            scene.layer("app", &content);
        };
        at_once(0, push, remove);
        app.layers().delete(&Digest::sha256(&content)).unwrap();
    }
}

/// A registry lists the folders there are: one without a link is a tag that nobody can get.
#[test]
fn whoever_looks_at_the_disk_sees_each_tag_whole_or_not_at_all() {
    let scene = scene();
    let [one, two] = ["1", "2"].map(|text| scene.image("app", text, text.as_bytes()));
    let (app, change) = (scene.repository("app"), AttributesChange::default());
    let tags = scene.v2("repositories/app/_manifests/tags");
    let put = |digest, under: &str| app.manifests().tag(digest, &tag(under), &change).unwrap();
    for round in 0..ROUNDS {
        let name = format!("new-{round}");
        let folder = tags.join(&name);
        at_once(
            round,
            || put(&one, &name),
            || {
                while !folder.exists() {
                    thread::yield_now();
                }
                let links = [layout::TAG_LINK.into(), layout::index_link(&one)];
                assert!(links.iter().all(|link| folder.join(link).exists()));
            },
        );
        // Who moves a tag that somebody removes does not leave half of it.
        let gone = tags.join("gone");
        put(&one, "gone");
        let remove = || drop(app.manifests().delete(&named("gone")));
        at_once(round, remove, || put(&two, "gone"));
        assert!(!gone.exists() || gone.join(layout::TAG_LINK).exists());
        put(&one, "gone");
        let exchange = || drop(app.manifests().retag(&tag("gone"), &tag("1"), Retag::Exchange));
        at_once(round, exchange, remove);
        assert!(!gone.exists() || gone.join(layout::TAG_LINK).exists());
    }
}

#[test]
fn of_two_who_make_a_tag_at_once_both_succeed() {
    let scene = scene();
    let [one, two] = ["1", "2"].map(|text| scene.image("app", text, text.as_bytes()));
    let (app, change) = (scene.repository("app"), AttributesChange::default());
    let drafts = || disk::read_dir(scene.path(layout::TMP)).unwrap().count();
    let before = drafts();
    for round in 0..ROUNDS {
        let put = |digest| app.manifests().tag(digest, &tag("it"), &change).unwrap();
        at_once(round % 10, || put(&one), || put(&two));
        let now = names(&*app, "it");
        assert!(now == Some(one) || now == Some(two), "{now:?}");
        app.manifests().delete(&named("it")).unwrap();
    }
    assert_eq!(drafts(), before);
}

/// As a tag that is untagged: the kernel found that it did not lie in the store any more, and that was
/// said to who put it ("Invalid cross-device link").
#[test]
fn what_is_moved_away_while_it_is_opened_is_there_or_not() {
    let folder = TempDir::new().unwrap();
    disk::create_dir_all(folder.path().join("in/tag")).unwrap();
    disk::create_dir(folder.path().join("out")).unwrap();
    disk::write(folder.path().join("in/tag/link"), "it").unwrap();
    let top = Folder::top(folder.path()).unwrap();
    let (inner, done) = (Folder::top(&folder.path().join("in")).unwrap(), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            let (here, away) = (top.place(Path::new("in/tag")), top.place(Path::new("out/tag")));
            while !done.load(Ordering::Relaxed) {
                move_over(here, away).unwrap();
                move_over(away, here).unwrap();
            }
        });
        let looks: Vec<_> = (0..200_000).map(|_| inner.read("tag/link", 9)).collect();
        done.store(true, Ordering::Relaxed);
        for look in looks {
            assert!(look.unwrap().is_none_or(|text| text == b"it"));
        }
    });
}
