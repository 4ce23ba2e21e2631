//! What lies on disk, and what is read of what docker-registry wrote.

use super::*;

#[test]
fn an_image_lies_on_disk_as_docker_registry_would_have_it() {
    let scene = scene();
    let digest = scene.image("team/app", "v1", b"{}");
    let (config, hex) = (Digest::sha256(b"{}").hex(), digest.hex());
    let manifests = "repositories/team/app/_manifests";
    let image = [
        format!("blobs/sha256/{}/{config}/data", &config[..2]),
        format!("blobs/sha256/{}/{hex}/data", &hex[..2]),
        format!("repositories/team/app/_layers/sha256/{config}/link"),
        format!("{manifests}/revisions/sha256/{hex}/link"),
        format!("{manifests}/tags/v1/current/link"),
        format!("{manifests}/tags/v1/index/sha256/{hex}/link"),
        "repositories/team/app/_uploads/".to_owned(),
    ];
    assert_eq!(scene.tree(), BTreeSet::from(image.clone()));
    let current = scene.v2(&format!("{manifests}/tags/v1/current/link"));
    assert_eq!(disk::read_to_string(&current).unwrap(), digest.to_string());

    let app = scene.repository("team/app");
    app.manifests().retag(&tag("v1"), &tag("v2"), Retag::Replace).unwrap();
    let moved = image.clone().map(|path| path.replace("tags/v1", "tags/v2"));
    assert_eq!(scene.tree(), BTreeSet::from(moved));

    app.manifests().delete(&named("v2")).unwrap();
    assert!(app.manifests().exists(&digest.into()).unwrap(), "the revision stays");
    app.manifests().tag(&digest, &tag("v3"), &AttributesChange::default()).unwrap();
    app.manifests().delete(&digest.into()).unwrap();
    assert!(all(app.manifests().tags().unwrap()).is_empty());
    let left = [
        image[0].clone(),
        image[1].clone(),
        image[2].clone(),
        format!("{manifests}/revisions/sha256/"),
        format!("{manifests}/tags/"),
        image[6].clone(),
    ];
    assert_eq!(scene.tree(), BTreeSet::from(left));
    for unknown in [named("v3"), digest.into()] {
        assert!(app.manifests().delete(&unknown).unwrap_err().is_unknown());
    }
}

/// Writes what docker-registry 2.8 writes for one image, by hand.
fn plant_image(scene: &Scene, repository: &str, tag: &str) -> (Digest, Digest) {
    let write = |at: String, bytes: &[u8]| {
        let path = scene.v2(&at);
        disk::create_dir_all(path.parent().unwrap()).unwrap();
        disk::write(path, bytes).unwrap();
    };
    let config = Digest::sha256(b"config");
    let manifest = format!(r#"{{"schemaVersion":2,"config":{{"digest":"{config}"}}}}"#);
    let digest = Digest::sha256(manifest.as_bytes());
    for (digest, bytes) in [(config, b"config".as_slice()), (digest, manifest.as_bytes())] {
        let hex = digest.hex();
        write(format!("blobs/sha256/{}/{hex}/data", &hex[..2]), bytes);
    }
    let home = format!("repositories/{repository}");
    let (hex, text) = (digest.hex(), digest.to_string());
    write(format!("{home}/_layers/sha256/{}/link", config.hex()), config.to_string().as_bytes());
    for at in [
        format!("revisions/sha256/{hex}"),
        format!("tags/{tag}/current"),
        format!("tags/{tag}/index/sha256/{hex}"),
    ] {
        write(format!("{home}/_manifests/{at}/link"), text.as_bytes());
    }
    (config, digest)
}

#[test]
fn what_docker_registry_wrote_is_read() {
    let scene = scene();
    let (config, digest) = plant_image(&scene, "team/app", "v1");
    let app = scene.repository("team/app");
    let manifest = app.manifests().get(&named("v1")).unwrap();
    assert_eq!(*manifest.digest(), digest);
    assert_eq!(app.manifests().get(&digest.into()).unwrap(), manifest);
    assert_eq!(read_layer(&*app.layers().fetch(&config).unwrap()), b"config");
    assert_eq!(all(app.manifests().tags().unwrap()), [tag("v1")]);
    assert_eq!(all(app.manifests().revisions().unwrap()), [digest]);
    // Junk that the registry itself would trip over.
    let tags = scene.v2("repositories/team/app/_manifests/tags");
    disk::write(tags.join(".junk"), "").unwrap();
    disk::create_dir(tags.join("bad name")).unwrap();
    disk::write(tags.join("file"), "").unwrap();
    assert_eq!(all(app.manifests().tags().unwrap()), [tag("v1")]);
    // What an HTTP DELETE leaves.
    let revision = scene.v2("repositories/team/app").join(layout::revision_link(&digest));
    disk::remove_file(&revision).unwrap();
    assert!(all(app.manifests().revisions().unwrap()).is_empty());
    let error = app.manifests().get(&named("v1")).unwrap_err();
    assert!(matches!(error, Error::LinkDangling { .. }), "{error}");
    // What 2.1 wrote: the manifest is linked as a layer.
    let layer = scene.v2("repositories/team/app").join(layout::layer_link(&digest));
    disk::create_dir_all(layer.parent().unwrap()).unwrap();
    disk::write(layer, digest.to_string()).unwrap();
    assert_eq!(app.manifests().stat(&named("v1")).unwrap().digest, digest);
}

#[test]
fn a_link_that_is_being_written_is_waited_for() {
    let scene = scene();
    let (_, digest) = plant_image(&scene, "app", "v1");
    let app = scene.repository("app");
    let link = scene.v2("repositories/app").join(layout::tag_link(&tag("v1")));
    disk::write(&link, "").unwrap();
    let writer = thread::spawn({
        let link = link.clone();
        move || {
            thread::sleep(Duration::from_millis(5));
            disk::write(link, digest.to_string()).unwrap();
        }
    });
    assert_eq!(app.manifests().stat(&named("v1")).unwrap().digest, digest);
    writer.join().unwrap();
    for damaged in ["", "sha256:", &format!("{digest}\n")] {
        disk::write(&link, damaged).unwrap();
        let error = app.manifests().stat(&named("v1")).unwrap_err();
        assert!(matches!(error, Error::LinkDamaged { .. }), "{error}");
    }
    // Writing it anew heals it.
    app.manifests().tag(&digest, &tag("v1"), &AttributesChange::default()).unwrap();
    assert_eq!(app.manifests().stat(&named("v1")).unwrap().digest, digest);
}

#[test]
fn a_manifest_that_is_damaged_is_never_given() {
    let scene = scene();
    let digest = scene.image("app", "v1", b"config");
    let app = scene.repository("app");
    let blob = scene.path(layout::blob(&digest));
    let bytes = disk::read(&blob).unwrap();
    let manifest = app.manifests().get(&named("v1")).unwrap();
    let mut flipped = bytes.clone();
    flipped[20] ^= 1;
    disk::write(&blob, flipped).unwrap();
    assert!(matches!(app.manifests().get(&named("v1")), Err(Error::Damaged { .. })));
    app.manifests().put(&manifest, &PutAs::Untagged, &AttributesChange::default()).unwrap();
    assert_eq!(disk::read(&blob).unwrap(), bytes, "a put heals it");
    let inode = disk::metadata(&blob).unwrap().ino();
    app.manifests().put(&manifest, &PutAs::Untagged, &AttributesChange::default()).unwrap();
    assert_eq!(disk::metadata(&blob).unwrap().ino(), inode, "and leaves it when it is well");
    File::options().write(true).open(&blob).unwrap().set_len(MANIFEST_BYTES_MAX + 1).unwrap();
    assert!(matches!(app.manifests().get(&named("v1")), Err(Error::ManifestTooLarge { .. })));
    disk::remove_file(&blob).unwrap();
    symlink("/etc/passwd", &blob).unwrap();
    assert!(matches!(app.manifests().get(&named("v1")), Err(Error::Damaged { .. })));
}

#[test]
fn a_sha512_is_a_second_name() {
    let scene = scene();
    let content = noise(2_500_000);
    let mut hasher = Hasher::new(Algorithm::Sha512);
    hasher.update(&content);
    let (long, canonical) = (hasher.digest().unwrap(), Digest::sha256(&content));
    let upload = scene.upload("app", "x");
    upload.write_at(&content, 0).unwrap();
    let layer = upload.finish(&long).unwrap();
    assert_eq!(*layer.digest(), canonical);
    let layers = scene.repository("app");
    let layers = layers.layers();
    assert_eq!(layers.stat(&long).unwrap().canonical, canonical);
    assert_eq!(read_layer(&*layers.fetch(&long).unwrap()), content);
    assert_eq!(
        BTreeSet::from_iter(all(layers.digests().unwrap())),
        BTreeSet::from([canonical, long])
    );
    let link = scene.v2("repositories/app").join(layout::layer_link(&long));
    assert_eq!(disk::read_to_string(link).unwrap(), canonical.to_string());
    // Elsewhere under both names too.
    let other = scene.repository("other");
    other.layers().mount(&long, &"app".parse().unwrap(), &AttributesChange::default()).unwrap();
    assert!(other.layers().exists(&canonical).unwrap());
    assert!(other.layers().exists(&long).unwrap());
    other.layers().delete(&long).unwrap();
    assert!(!other.layers().exists(&long).unwrap());
    assert!(other.layers().exists(&canonical).unwrap());
}

#[test]
fn a_damaged_blob_is_healed_by_the_next_upload() {
    let scene = scene();
    let digest = scene.layer("app", b"content");
    let blob = scene.path(layout::blob(&digest));
    for damage in ["", "cONTENT"] {
        disk::write(&blob, damage).unwrap();
        scene.layer("app", b"content");
        assert_eq!(disk::read(&blob).unwrap(), b"content");
    }
}
