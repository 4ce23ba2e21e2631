//! Uploads from their beginning to their end.

use super::*;

#[test]
fn a_layer_lives_from_upload_to_fetch() {
    let scene = scene();
    let repository = scene.repository("library/hello");
    let upload = scene.upload("library/hello", "new");
    assert_eq!(repository.layers().find_upload(&uploads_file("new")).unwrap(), Some(upload.uuid()));
    upload.write_at(b"world", 5).unwrap();
    upload.write_at(b"hello", 0).unwrap();
    let mut bytes = [0; 16];
    assert_eq!(upload.read_at(&mut bytes, 3).unwrap(), 7);
    let digest = Digest::sha256(b"helloworld");
    assert_eq!(upload.digest().unwrap(), digest);
    assert_eq!(upload.stat().unwrap().length, 10);
    assert!(!repository.layers().exists(&digest).unwrap());
    let layer = upload.finish(&digest).unwrap();
    assert_eq!(read_layer(&*layer), b"helloworld");
    assert_eq!(read_layer(&*repository.layers().fetch(&digest).unwrap()), b"helloworld");
    assert_eq!(repository.layers().stat(&digest).unwrap().length, 10);
    assert_eq!(all(repository.layers().digests().unwrap()), [digest]);
    // The upload is over, and can be read on.
    assert_eq!(upload.read_at(&mut bytes, 0).unwrap(), 10);
    for over in [
        upload.write_at(b"x", 0),
        upload.truncate(0),
        upload.sync(),
        upload.cancel(),
        upload.finish(&digest).map(drop),
        upload.stat().map(drop),
        upload.digest().map(drop),
        upload.rename(&uploads_file("other")),
    ] {
        assert!(matches!(over, Err(Error::UploadUnknown(_))), "{over:?}");
    }
    assert_eq!(repository.layers().find_upload(&uploads_file("new")).unwrap(), None);
    let (hex, file) = (digest.hex(), disk::metadata(scene.path(layout::blob(&digest))).unwrap());
    assert_eq!(file.permissions().mode() & 0o7777, 0o644);
    let expected = [
        format!("blobs/sha256/{}/{hex}/data", &hex[..2]),
        format!("repositories/library/hello/_layers/sha256/{hex}/link"),
        "repositories/library/hello/_manifests/revisions/".to_owned(),
        "repositories/library/hello/_manifests/tags/".to_owned(),
        "repositories/library/hello/_uploads/".to_owned(),
    ];
    assert_eq!(scene.tree(), BTreeSet::from(expected));
    let link = scene.v2(&format!("repositories/library/hello/_layers/sha256/{hex}/link"));
    assert_eq!(disk::read_to_string(link).unwrap(), digest.to_string());
    scene.registry.close().unwrap();
    for folder in [layout::TMP, layout::TRASH] {
        assert_eq!(disk::read_dir(scene.path(folder)).unwrap().count(), 0, "{folder}");
    }
}

/// The inode of the folder of an upload, and what its file `name` says.
fn folder_of(scene: &Scene, upload: &dyn LayerUpload) -> (u64, String) {
    let folder = scene.v2(&format!("repositories/app/_uploads/{}", upload.uuid()));
    let name = disk::read(folder.join(layout::NAME)).unwrap();
    (disk::metadata(folder).unwrap().ino(), String::from_utf8(name).unwrap())
}

/// The folders in `regfs/tmp`.
fn spares(scene: &Scene) -> Vec<PathBuf> {
    let entries = disk::read_dir(scene.path(layout::TMP)).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn an_upload_gets_the_folder_of_a_finished_one_and_nothing_that_it_said() {
    let scene = scene();
    let first = scene.upload("app", "a-rather-long-name");
    let (inode, name) = folder_of(&scene, &*first);
    assert_eq!(name, format!("uploads/a-rather-long-name\0{}\0", first.uuid()));
    first.finish(&Digest::sha256(b"")).unwrap();
    let second = scene.upload("app", "x");
    // The first may be there again after a power cut, and must have its name then.
    let name = format!("{name}uploads/x\0{}\0", second.uuid());
    assert_eq!(folder_of(&scene, &*second), (inode, name));
    assert_eq!(second.stat().unwrap().length, 0);
    let again = scene.again();
    let app = again.repository(&"app".parse().unwrap());
    let uploads = app.layers().uploads().unwrap();
    assert_eq!(uploads.len(), 1);
    assert_eq!(uploads[0].name, Some(uploads_file("x")));
    // What is cancelled has its data still, whoever reads it, and is deleted.
    second.cancel().unwrap();
    assert_eq!(spares(&scene), [] as [PathBuf; 0]);
    // Names do not pile up for ever.
    let lengths = (0..100).map(|_| {
        let upload = scene.upload("app", "one-of-many");
        let length = folder_of(&scene, &*upload).1.len();
        upload.finish(&Digest::sha256(b"")).unwrap();
        length
    });
    assert!((4000..8192).contains(&lengths.max().unwrap()));
}

#[test]
fn a_finished_uploads_folder_with_anything_else_in_it_is_not_used_again() {
    let scene = scene();
    let other = scene.path("other");
    let spoil: [&dyn Fn(&Path); 6] = [
        // A name as it was written before, and one of which a power cut has left a part.
        &|spare| disk::write(spare.join(layout::NAME), "uploads/y").unwrap(),
        &|spare| {
            let name = spare.join(layout::NAME);
            let whole = disk::read_to_string(&name).unwrap();
            disk::write(name, whole + "uploads/y").unwrap();
        },
        &|spare| disk::create_dir_all(spare.join(layout::STATES)).unwrap(),
        &|spare| disk::remove_file(spare.join(layout::NAME)).unwrap(),
        &|spare| {
            disk::remove_file(spare.join(layout::NAME)).unwrap();
            disk::hard_link(&other, spare.join(layout::NAME)).unwrap();
        },
        &|spare| {
            disk::remove_file(spare.join(layout::STARTED_AT)).unwrap();
            symlink(&other, spare.join(layout::STARTED_AT)).unwrap();
        },
    ];
    for spoil in spoil {
        disk::write(&other, "somebody else's").unwrap();
        scene.layer("app", b"");
        let [spare] = &spares(&scene)[..] else { panic!("{:?}", spares(&scene)) };
        spoil(spare);
        let upload = scene.upload("app", "x");
        let files = scene.v2(&format!("repositories/app/_uploads/{}", upload.uuid()));
        assert_eq!(disk::read_dir(files).unwrap().count(), 3);
        assert_eq!(folder_of(&scene, &*upload).1, format!("uploads/x\0{}\0", upload.uuid()));
        assert_eq!(spares(&scene), [] as [PathBuf; 0]);
        assert_eq!(disk::read_to_string(&other).unwrap(), "somebody else's");
        upload.cancel().unwrap();
    }
}

/// After a power cut the folder may have its new name, and its files what they said before.
#[test]
fn an_upload_that_has_the_name_of_another_one_is_none() {
    let scene = scene();
    let upload = scene.upload("app", "x");
    let id = upload.uuid();
    drop(upload);
    let name = scene.v2(&format!("repositories/app/_uploads/{id}/name"));
    let app = |registry: &LocalRegistry| registry.repository(&"app".parse().unwrap());
    let other = UploadId::random();
    let own = || Some(Some(uploads_file("y")));
    for (text, expected) in [
        ("uploads/y".to_owned(), own()),
        (format!("uploads/y\0{id}\0"), own()),
        (format!("uploads/z\0{other}\0uploads/y\0{id}\0"), own()),
        (format!("uploads/y\0{id}\0uploads/z\0{other}\0"), own()),
        // What was written later did not reach the disk, or not the whole of it.
        (format!("uploads/y\0{id}\0\0\0\0\0"), own()),
        (format!("uploads/y\0{id}\0uploads/z"), own()),
        (format!("uploads/z\0{other}\0\0\0\0\0"), None),
        (format!("uploads/z\0{other}\0uploads/y"), None),
        (format!("uploads/z\0{other}\0"), None),
        ("uploads/y\0".to_owned(), None),
        (String::new(), Some(None)),
    ] {
        disk::write(&name, &text).unwrap();
        let uploads = app(&scene.again()).layers().uploads().unwrap();
        let seen = uploads.first().map(|upload| upload.name.clone());
        assert_eq!(seen, expected, "{text:?}");
    }
}

#[test]
fn a_wrong_digest_leaves_the_upload_as_it_was() {
    let scene = scene();
    let upload = scene.upload("app", "x");
    upload.write_at(b"hello", 0).unwrap();
    let (right, wrong) = (Digest::sha256(b"hello!"), Digest::sha256(b"other"));
    let before = upload.stat().unwrap();
    match upload.finish(&wrong).map(drop) {
        Err(Error::DigestMismatch { expected, computed }) => {
            assert_eq!((expected, computed), (wrong, Digest::sha256(b"hello")));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(upload.stat().unwrap(), before);
    upload.write_at(b"!", 5).unwrap();
    upload.finish(&right).unwrap();
}

#[test]
fn of_many_who_finish_one_wins() {
    let scene = scene();
    let upload = scene.upload("app", "x");
    upload.write_at(&noise(3 << 20), 0).unwrap();
    let digest = upload.digest().unwrap();
    let won = thread::scope(|scope| {
        let finish = || scope.spawn(|| upload.finish(&digest).is_ok());
        let threads: Vec<_> = (0..8).map(|_| finish()).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).filter(|won| *won).count()
    });
    assert_eq!(won, 1);
}

#[test]
fn an_upload_has_one_writer() {
    let scene = scene();
    let app = scene.repository("app");
    let upload = scene.upload("app", "x");
    let id = upload.uuid();
    for registry in [&scene.registry, &scene.again()] {
        let app = registry.repository(&"app".parse().unwrap());
        let error = app.layers().resume(&id).map(drop).unwrap_err();
        assert!(matches!(error, Error::UploadBusy(_)), "{error}");
        assert_eq!(app.layers().stat_upload(&id).unwrap().uuid, id);
    }
    drop(upload);
    let upload = app.layers().resume(&id).unwrap();
    upload.cancel().unwrap();
    upload.cancel().unwrap();
    let error = app.layers().resume(&id).map(drop).unwrap_err();
    assert!(matches!(error, Error::UploadUnknown(_)), "{error}");
    assert!(app.layers().uploads().unwrap().is_empty());
}

#[test]
fn the_youngest_of_one_name_is_found() {
    let scene = scene();
    let app = scene.repository("app");
    let first = scene.upload("app", "x");
    let second = scene.upload("app", "x");
    let find = |name: &str| app.layers().find_upload(&uploads_file(name)).unwrap();
    assert_eq!(find("x"), Some(second.uuid()));
    second.rename(&uploads_file("y")).unwrap();
    assert_eq!((find("x"), find("y")), (Some(first.uuid()), Some(second.uuid())));
    first.cancel().unwrap();
    assert_eq!(find("x"), None);
    // Another process renames it, and is noticed at once when it is found, else a second later.
    let id = second.uuid();
    drop(second);
    let other = scene.again();
    let other = other.repository(&"app".parse().unwrap()).layers().resume(&id).unwrap();
    other.rename(&uploads_file("z")).unwrap();
    assert_eq!(find("y"), None);
    wait_until(|| find("z") == Some(id));
}

#[test]
fn what_a_cancelled_upload_leaves_is_hidden_and_swept() {
    let scene = scene();
    let app = scene.repository("app");
    scene.upload("app", "x").cancel().unwrap();
    let id = UploadId::random();
    let zombie = scene.v2(&format!("repositories/app/_uploads/{id}"));
    disk::create_dir_all(zombie.join("hashstates/sha256")).unwrap();
    disk::write(zombie.join("hashstates/sha256/0"), [0; 108]).unwrap();
    assert!(app.layers().uploads().unwrap().is_empty());
    assert!(matches!(app.layers().stat_upload(&id), Err(Error::UploadUnknown(_))));
    assert!(matches!(app.layers().resume(&id).map(drop), Err(Error::UploadUnknown(_))));
    assert!(zombie.exists());
    let old = SystemTime::now() - Duration::from_secs(7200);
    File::open(&zombie).unwrap().set_modified(old).unwrap();
    assert!(app.layers().uploads().unwrap().is_empty());
    assert!(!zombie.exists());
}

#[test]
fn a_layer_whose_writer_was_killed_leaves_nothing_in_the_way() {
    let scene = scene();
    let app = scene.repository("app");
    let hidden = |file: &str| {
        let name = UploadName::new(Area::Layers, file.as_ref()).unwrap();
        app.layers().upload(&name, &AttributesChange::default()).unwrap()
    };
    let digest = Digest::sha256(b"hello");
    let (live, killed) = (hidden(&digest.to_string()), hidden(&digest.to_string()));
    let staged = hidden(".rsync");
    // As if its process had been killed: the system takes back the lock.
    drop((killed, staged));
    let name: RepositoryName = "app".parse().unwrap();
    let uploads = |registry: &LocalRegistry| registry.repository(&name).layers().uploads().unwrap();
    assert_eq!(uploads(&scene.again()).len(), 2, "the live one and the one a person can see");
    assert!(matches!(scene.registry.remove(&name), Err(Error::NotEmpty(_))));
    live.write_at(b"hello", 0).unwrap();
    live.finish(&digest).unwrap();
    app.layers().delete(&digest).unwrap();
    let [staged] = &uploads(&scene.registry)[..] else { panic!() };
    app.layers().resume(&staged.uuid).unwrap().cancel().unwrap();
    drop(hidden("sha256:x"));
    scene.registry.remove(&name).unwrap();
    assert_eq!(disk::read_dir(scene.path(layout::TRASH)).unwrap().count(), 0);
}

#[test]
fn an_upload_that_a_crash_left_with_the_file_of_a_blob_gets_its_own() {
    let scene = scene();
    let app = scene.repository("app");
    let upload = scene.upload("app", "x");
    upload.write_at(b"hello", 0).unwrap();
    let id = upload.uuid();
    drop(upload);
    // Its data is a blob already, and the layer is not linked yet.
    let blob = scene.path(layout::blob(&Digest::sha256(b"hello")));
    disk::create_dir_all(blob.parent().unwrap()).unwrap();
    disk::hard_link(scene.v2(&format!("repositories/app/_uploads/{id}/data")), &blob).unwrap();
    let upload = app.layers().resume(&id).unwrap();
    upload.write_at(b"j", 0).unwrap();
    assert_eq!(disk::read(blob).unwrap(), b"hello");
    upload.finish(&Digest::sha256(b"jello")).unwrap();
}

#[test]
fn an_upload_goes_on_while_its_repository_is_renamed() {
    let scene = scene();
    let upload = scene.upload("old/name", "x");
    upload.write_at(b"he", 0).unwrap();
    let (from, to) = ("old/name".parse().unwrap(), "new/place/name".parse().unwrap());
    scene.registry.rename(&from, &to).unwrap();
    upload.write_at(b"llo", 2).unwrap();
    upload.rename(&uploads_file("y")).unwrap();
    upload.sync().unwrap();
    let digest = Digest::sha256(b"hello");
    let app = scene.repository("new/place/name");
    assert_eq!(app.layers().find_upload(&uploads_file("y")).unwrap(), Some(upload.uuid()));
    upload.finish(&digest).unwrap();
    assert!(app.layers().exists(&digest).unwrap());
    assert!(!scene.v2("repositories/old/name").exists());
}

#[test]
fn ten_thousand_uploads_in_one_folder_are_made_in_no_time() {
    let scene = scene();
    let app = scene.repository("app");
    let begun = Instant::now();
    for number in 0..2_000 {
        let name = uploads_file(&format!("file-{number}"));
        assert_eq!(app.layers().find_upload(&name).unwrap(), None);
        let upload = app.layers().upload(&name, &AttributesChange::default()).unwrap();
        assert_eq!(app.layers().find_upload(&name).unwrap(), Some(upload.uuid()));
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(app.layers().uploads().unwrap().len(), 2_000);
}

#[test]
fn a_sync_after_a_rename_syncs_the_new_names() {
    let scene = scene();
    let (from, to) = ("old/name".parse().unwrap(), "new/place/name".parse().unwrap());
    let home = LocalRepository { store: Arc::clone(&scene.registry.store), name: from };
    let folder = home.store.open_repository_for_content(&home.name).unwrap();
    let change = AttributesChange::default();
    let begin = upload::LocalUpload::begin(&home, folder.clone(), &uploads_file("x"), &change);
    let upload = begin.unwrap();
    let sync = || {
        assert!(!upload.has_synced_names());
        upload.sync().unwrap();
        assert!(upload.has_synced_names());
    };
    sync();
    upload.rename(&uploads_file("y")).unwrap();
    sync();
    scene.registry.rename(&home.name, &to).unwrap();
    sync();
    // What was known of a way counts for nothing when another folder lies there.
    let uploads = folder.open_folder(layout::UPLOADS).unwrap().unwrap();
    let again = |uploads: &Folder| {
        home.store.ways.sync(uploads, &folder, &home.store.root).unwrap();
        home.store.ways.knows(uploads)
    };
    assert!(again(&uploads));
    scene.registry.rename(&to, &home.name).unwrap();
    assert!(!home.store.ways.knows(&uploads));
    assert!(again(&uploads));
    scene.registry.rename(&home.name, &to).unwrap();
    // The way up is the one that leads there now.
    let mut way = vec![folder];
    for at in ["repositories/new/place", "repositories/new", "repositories"] {
        way.push(way.last().unwrap().open_parent().unwrap());
        let there = disk::metadata(scene.v2(at)).unwrap();
        let found = folder::identity(&way.last().unwrap().stat_self().unwrap());
        assert_eq!(found, (there.dev(), there.ino()));
    }
}
