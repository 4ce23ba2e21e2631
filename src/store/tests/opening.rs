//! Opening a store.

use super::*;

#[test]
fn a_newer_store_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    disk::create_dir(folder.path().join("regfs")).unwrap();
    disk::write(folder.path().join(layout::VERSION), "2\n").unwrap();
    let error = LocalRegistry::open(folder.path(), &StoreOptions::default()).map(drop).unwrap_err();
    assert!(matches!(&error, Error::StoreVersion { found, known: 1 } if found == "2"), "{error}");
    assert_eq!(disk::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_new_store_is_made_in_a_folder_that_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let open = |at: &str| LocalRegistry::open(&folder.path().join(at), &StoreOptions::default());
    assert!(matches!(open("a/b").map(drop), Err(Error::Io { doing: "make", .. })));
    assert_eq!(disk::read_dir(folder.path()).unwrap().count(), 0);
    assert!(open("a").unwrap().is_new());
    assert!(!open("a").unwrap().is_new());
}

/// They keep others waiting, so who can only read must not have them.
#[test]
fn who_may_write_our_folder_may_take_its_locks() {
    for (folder_mode, mode) in [(0o755, 0o600), (0o775, 0o660), (0o777, 0o666)] {
        let folder = tempfile::tempdir().unwrap();
        let ours = folder.path().join("regfs");
        disk::create_dir(&ours).unwrap();
        disk::set_permissions(&ours, disk::Permissions::from_mode(folder_mode)).unwrap();
        LocalRegistry::open(folder.path(), &StoreOptions::default()).unwrap();
        for lock in layout::LOCKS {
            let stat = disk::metadata(folder.path().join(lock)).unwrap();
            assert_eq!(stat.mode() & 0o777, mode, "{lock}");
        }
    }
}

#[test]
fn read_only_writes_nothing() {
    let options = StoreOptions { read_only: true, ..StoreOptions::default() };
    let folder = tempfile::tempdir().unwrap();
    assert!(LocalRegistry::open(folder.path(), &options).is_err(), "there is no store");
    assert_eq!(disk::read_dir(folder.path()).unwrap().count(), 0);
    let scene = scene();
    let digest = scene.image("app", "v1", b"x");
    let id = scene.upload("app", "x").uuid();
    disk::remove_dir_all(scene.path("regfs")).unwrap();
    let registry = LocalRegistry::open(scene.folder.path(), &options).unwrap();
    let app = registry.repository(&"app".parse().unwrap());
    let manifest = app.manifests().get(&named("v1")).unwrap();
    assert_eq!(app.layers().find_upload(&uploads_file("x")).unwrap(), Some(id));
    assert_eq!(app.layers().read_upload(&id).unwrap().length().unwrap(), 0);
    let before = scene.tree();
    let change = AttributesChange::default();
    let name = |text: &str| text.parse::<RepositoryName>().unwrap();
    for refused in [
        app.layers().upload(&uploads_file("y"), &change).map(drop),
        app.layers().resume(&id).map(drop),
        app.layers().delete(&Digest::sha256(b"x")),
        app.layers().mount(&Digest::sha256(b"x"), &name("app"), &change),
        app.manifests().put(&manifest, &PutAs::Untagged, &change).map(drop),
        app.manifests().tag(&digest, &tag("v2"), &change),
        app.manifests().retag(&tag("v1"), &tag("v2"), Retag::Replace),
        app.manifests().delete(&named("v1")),
        app.attributes().change(&Subject::Repository, &change).map(drop),
        app.attributes().set_extended(&Subject::Repository, "user.x", None),
        registry.create(&name("new")),
        registry.remove(&name("app")),
        registry.rename(&name("app"), &name("new")),
    ] {
        assert!(matches!(refused, Err(Error::ReadOnly)), "{refused:?}");
    }
    assert_eq!(scene.tree(), before);
    assert!(!scene.path("regfs").exists());
}

#[test]
fn leftovers_of_a_crash_are_swept_by_who_has_the_store_alone() {
    let scene = scene();
    disk::write(scene.path(layout::TMP).join("half"), "x").unwrap();
    disk::create_dir_all(scene.path(layout::TRASH).join("a/b")).unwrap();
    let [half, removed] = [(layout::TMP, "half"), (layout::TRASH, "a")]
        .map(|(folder, name)| scene.path(folder).join(name));
    drop(scene.again());
    assert!(half.exists(), "somebody may be at it");
    assert!(removed.exists(), "somebody may be about to put it back");
    let Scene { folder, registry } = scene;
    drop(registry);
    let _first = LocalRegistry::open(folder.path(), &StoreOptions::default()).unwrap();
    assert!(!half.exists() && !removed.exists());
    // Whoever opens it next, though the first has been alone.
    let _second = LocalRegistry::open(folder.path(), &StoreOptions::default()).unwrap();
}

#[test]
fn what_was_made_long_ago_and_removed_just_now_is_not_swept() {
    let scene = scene();
    scene.registry.create(&"app".parse().unwrap()).unwrap();
    // Whatever its times say: the rename is what counts.
    File::open(scene.v2("repositories/app")).unwrap().set_modified(UNIX_EPOCH).unwrap();
    thread::sleep(Duration::from_millis(300));
    let store = &scene.registry.store;
    let at = layout::repository(&"app".parse().unwrap());
    let removed = store.scratch().unwrap().remove(store.root.place(&at)).unwrap().unwrap();
    sweep::sweep_scratch(store.scratch().unwrap(), Duration::from_millis(250)).unwrap();
    assert!(removed.put_back(store.root.place(&at)).unwrap());
}

/// A file system of its own over a folder, where the test may mount one.
struct Mounted(PathBuf);

impl Mounted {
    fn over(folder: PathBuf) -> Option<Self> {
        let mut mount = std::process::Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "none"]).arg(&folder).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(folder))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        std::process::Command::new("umount").arg("-l").arg(&self.0).status().unwrap();
    }
}

#[test]
fn a_store_on_two_file_systems_is_not_opened_to_write() {
    let scene = scene();
    let Some(_mounted) = Mounted::over(scene.path(layout::BLOBS)) else { return };
    let open = |read_only| {
        let options = StoreOptions { read_only, ..StoreOptions::default() };
        LocalRegistry::open(scene.folder.path(), &options).map(drop)
    };
    let error = open(false).unwrap_err();
    assert!(matches!(&error, Error::StoreSplit { other, .. } if other.ends_with("blobs/sha256")));
    open(true).unwrap();
}

#[test]
fn a_blob_folder_on_another_file_system_is_told_in_words() {
    let scene = scene();
    let digest = Digest::sha256(b"x");
    let prefix = scene.v2(&format!("blobs/sha256/{}", &digest.hex()[..2]));
    disk::create_dir(&prefix).unwrap();
    let Some(_mounted) = Mounted::over(prefix) else { return };
    let registry = scene.again();
    let app = registry.repository(&"app".parse().unwrap());
    let upload = app.layers().upload(&uploads_file("x"), &AttributesChange::default()).unwrap();
    upload.write_at(b"x", 0).unwrap();
    assert!(matches!(upload.finish(&digest).map(drop), Err(Error::StoreSplit { .. })));
    assert_eq!(app.layers().uploads().unwrap().len(), 1, "the upload stays");
}
