//! The store against the disk: what lies there afterwards, and what is read of what others wrote.

use super::*;
use crate::model::{Algorithm, Tag, UploadId};
use crate::model::{Area, Digest, Hasher, MANIFEST_BYTES_MAX, Manifest, Reference, UploadName};
use crate::registry::{LayerUpload, Position, PutAs, Retag, Subject};
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs as disk,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::PathBuf,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tempfile::TempDir;

const V2: &str = "docker/registry/v2";

/// A store in a folder of its own.
struct Scene {
    folder: TempDir,
    registry: LocalRegistry,
}

fn scene() -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let registry = LocalRegistry::open(folder.path(), &StoreOptions::default()).unwrap();
    Scene { folder, registry }
}

impl Scene {
    fn again(&self) -> LocalRegistry {
        LocalRegistry::open(self.folder.path(), &StoreOptions::default()).unwrap()
    }

    fn path(&self, at: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(at)
    }

    fn v2(&self, at: &str) -> PathBuf {
        self.path(V2).join(at)
    }

    fn repository(&self, name: &str) -> Arc<dyn Repository> {
        self.registry.repository(&name.parse().unwrap())
    }

    fn upload(&self, repository: &str, file: &str) -> Arc<dyn LayerUpload> {
        let name = uploads_file(file);
        self.repository(repository).layers().upload(&name, &AttributesChange::default()).unwrap()
    }

    /// Puts a layer.
    fn layer(&self, repository: &str, content: &[u8]) -> Digest {
        let upload = self.upload(repository, "layer");
        upload.write_at(content, 0).unwrap();
        *upload.finish(&Digest::sha256(content)).unwrap().digest()
    }

    /// Puts an image with one layer under a tag.
    fn image(&self, repository: &str, tag: &str, content: &[u8]) -> Digest {
        let manifest = self.manifest(repository, content);
        let put_as = PutAs::Tag(tag.parse().unwrap());
        let change = AttributesChange::default();
        self.repository(repository).manifests().put(&manifest, &put_as, &change).unwrap()
    }

    /// A manifest whose config is `content`, which is put.
    fn manifest(&self, repository: &str, content: &[u8]) -> Manifest {
        let config = self.layer(repository, content);
        let text = format!(r#"{{"schemaVersion":2,"config":{{"digest":"{config}"}}}}"#);
        Manifest::parse(text.as_bytes()).unwrap()
    }

    /// Every file below `docker/registry/v2`, and every empty folder with a slash behind it.
    fn tree(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let top = self.path(V2);
        let mut folders = vec![top.clone()];
        while let Some(folder) = folders.pop() {
            let mut entries = disk::read_dir(&folder).unwrap().peekable();
            let text = |path: &Path| path.strip_prefix(&top).unwrap().display().to_string();
            if entries.peek().is_none() {
                found.insert(format!("{}/", text(&folder)));
            }
            for entry in entries.map(Result::unwrap) {
                if entry.file_type().unwrap().is_dir() {
                    folders.push(entry.path());
                } else {
                    found.insert(text(&entry.path()));
                }
            }
        }
        found
    }
}

fn uploads_file(file: &str) -> UploadName {
    UploadName::new(Area::Uploads, file.as_ref()).unwrap()
}

fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

fn named(text: &str) -> Reference {
    text.parse().unwrap()
}

fn all<T>(mut cursor: Box<dyn Cursor<T>>) -> Vec<T> {
    cursor.collect().unwrap()
}

fn read_layer(layer: &dyn crate::registry::Layer) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(layer.length()).unwrap()];
    assert_eq!(layer.read_at(&mut bytes, 0).unwrap(), bytes.len());
    bytes
}

/// Bytes that differ from place to place.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn wait_until(mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < end, "it takes too long");
        thread::sleep(Duration::from_millis(5));
    }
}

fn hashstates(upload: &Path) -> Vec<String> {
    let Ok(entries) = disk::read_dir(upload.join("hashstates/sha256")) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

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
    for folder in [layout::TMP, layout::TRASH] {
        assert_eq!(disk::read_dir(scene.path(folder)).unwrap().count(), 0, "{folder}");
    }
}

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
    assert!(matches!(error, Error::TagUnknown(..)), "{error}");
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
            thread::sleep(Duration::from_millis(15));
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
        threads
            .into_iter()
            .filter(|_| true)
            .map(|thread| thread.join().unwrap())
            .filter(|won| *won)
            .count()
    });
    assert_eq!(won, 1);
}

#[test]
fn a_sha512_is_a_second_name() {
    let scene = scene();
    let content = noise(2_500_000);
    let mut hasher = Hasher::new(Algorithm::Sha512);
    hasher.update(&content);
    let (long, canonical) = (hasher.digest(), Digest::sha256(&content));
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

#[test]
fn resuming_hashes_only_the_tail() {
    let scene = scene();
    let content = noise(9 << 20);
    let upload = scene.upload("app", "x");
    let id = upload.uuid();
    let folder = scene.v2(&format!("repositories/app/_uploads/{id}"));
    upload.write_at(&content, 0).unwrap();
    upload.settle();
    wait_until(|| hashstates(&folder) == [content.len().to_string()]);
    upload.write_at(b"tail", content.len() as u64).unwrap();
    drop(upload);
    let registry = scene.again();
    let repository = registry.repository(&"app".parse().unwrap());
    let upload = repository.layers().resume(&id).unwrap();
    assert_eq!(upload.stat().unwrap().name, Some(uploads_file("x")));
    let digest = Digest::sha256(&[&content[..], b"tail"].concat());
    assert_eq!(upload.digest().unwrap(), digest);
    assert_eq!(registry.counters().bytes_hashed(), 4);
    upload.finish(&digest).unwrap();
}

#[test]
fn a_kept_state_goes_before_its_bytes_change() {
    let scene = scene();
    let mut content = noise(6 << 20);
    let upload = scene.upload("app", "x");
    let id = upload.uuid();
    let folder = scene.v2(&format!("repositories/app/_uploads/{id}"));
    upload.write_at(&content, 0).unwrap();
    upload.settle();
    wait_until(|| hashstates(&folder) == [content.len().to_string()]);
    upload.write_at(b"other", 77).unwrap();
    assert!(hashstates(&folder).is_empty());
    content[77..82].copy_from_slice(b"other");
    drop(upload);
    let upload = scene.repository("app").layers().resume(&id).unwrap();
    upload.finish(&Digest::sha256(&content)).unwrap();
}

#[test]
fn a_state_that_does_not_fit_is_not_trusted() {
    let scene = scene();
    let content = noise(100_000);
    let app = scene.repository("app");
    let upload = scene.upload("app", "x");
    let id = upload.uuid();
    upload.write_at(&content, 0).unwrap();
    drop(upload);
    let states = scene.v2(&format!("repositories/app/_uploads/{id}/hashstates/sha256"));
    let state = |bytes: &[u8]| {
        let mut digester = crate::model::Digester::default();
        digester.update(bytes);
        digester.state()
    };
    // Beyond the end, garbled, and written before the data changed behind our back.
    disk::create_dir_all(&states).unwrap();
    disk::write(states.join("100000"), state(&[0; 100_000])).unwrap();
    disk::write(states.join("200000"), state(&[0; 200_000])).unwrap();
    disk::write(states.join("50000"), b"garbled").unwrap();
    thread::sleep(Duration::from_millis(20));
    let data = scene.v2(&format!("repositories/app/_uploads/{id}/data"));
    disk::write(data, &content).unwrap();
    let upload = app.layers().resume(&id).unwrap();
    assert!(hashstates(states.parent().unwrap().parent().unwrap()).is_empty());
    assert_eq!(upload.digest().unwrap(), Digest::sha256(&content));
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
    const TAGS: usize = 5000;
    let scene = scene();
    let digest = scene.image("app", "first", b"x");
    let app = scene.repository("app");
    app.manifests().delete(&named("first")).unwrap();
    let tags = scene.v2("repositories/app/_manifests/tags");
    for number in 0..TAGS {
        disk::create_dir(tags.join(format!("stays-{number}"))).unwrap();
        disk::create_dir(tags.join(format!("goes-{number}"))).unwrap();
    }
    let mut cursor = app.manifests().tags().unwrap();
    let mut seen = BTreeMap::<String, usize>::new();
    let mut number = 0;
    while let Some((found, position)) = cursor.next().unwrap() {
        *seen.entry(found.to_string()).or_default() += 1;
        if number < TAGS {
            disk::remove_dir(tags.join(format!("goes-{number}"))).unwrap();
            disk::create_dir(tags.join(format!("comes-{number}"))).unwrap();
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
fn layers_of_both_algorithms_are_listed_from_any_position() {
    let scene = scene();
    for number in 0..20_u8 {
        let mut hasher = Hasher::new(Algorithm::Sha512);
        hasher.update(&[number]);
        let upload = scene.upload("app", "x");
        upload.write_at(&[number], 0).unwrap();
        upload.finish(&hasher.digest()).unwrap();
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
fn leftovers_of_a_crash_are_swept_when_old() {
    let scene = scene();
    disk::write(scene.path(layout::TMP).join("half"), "x").unwrap();
    disk::create_dir_all(scene.path(layout::TRASH).join("a/b")).unwrap();
    drop(scene.again());
    assert!(scene.path(layout::TMP).join("half").exists(), "somebody may be at it");
    assert!(!scene.path(layout::TRASH).join("a").exists());
    let scratch = scene.registry.store.scratch().unwrap();
    sweep::sweep_scratch(scratch, Duration::ZERO).unwrap();
    assert!(!scene.path(layout::TMP).join("half").exists());
}

/// What a writer may do next.
#[derive(Clone, Debug)]
enum Step {
    Write { offset: usize, length: usize, byte: u8 },
    Append { length: usize, byte: u8 },
    Truncate { length: usize },
    Settle,
    Digest,
    Resume,
    Pause,
}

fn steps() -> impl Strategy<Value = Step> {
    const MAX: usize = 7 << 20;
    prop_oneof![
        2 => (0..MAX, 1..2_000_000_usize, any::<u8>())
            .prop_map(|(offset, length, byte)| Step::Write { offset, length, byte }),
        4 => (1..4_000_000_usize, any::<u8>()).prop_map(|(length, byte)| Step::Append { length, byte }),
        1 => (0..MAX).prop_map(|length| Step::Truncate { length }),
        2 => Just(Step::Settle),
        1 => Just(Step::Digest),
        2 => Just(Step::Resume),
        2 => Just(Step::Pause),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever is written in whatever order, the hash that followed is that of what is read.
    #[test]
    fn the_running_hash_is_that_of_the_bytes(steps in prop::collection::vec(steps(), 1..16)) {
        let scene = scene();
        let app = scene.repository("app");
        let mut upload = scene.upload("app", "x");
        let mut model = Vec::new();
        for step in steps {
            match step {
                Step::Write { offset, length, byte } => {
                    upload.write_at(&vec![byte; length], offset as u64).unwrap();
                    model.resize(model.len().max(offset + length), 0);
                    model[offset..offset + length].fill(byte);
                }
                Step::Append { length, byte } => {
                    upload.write_at(&vec![byte; length], model.len() as u64).unwrap();
                    model.resize(model.len() + length, byte);
                }
                Step::Truncate { length } => {
                    upload.truncate(length as u64).unwrap();
                    model.resize(length, 0);
                }
                Step::Settle => upload.settle(),
                Step::Digest => prop_assert_eq!(upload.digest().unwrap(), Digest::sha256(&model)),
                Step::Resume => {
                    let id = upload.uuid();
                    drop(upload);
                    upload = app.layers().resume(&id).unwrap();
                }
                Step::Pause => thread::sleep(Duration::from_millis(10)),
            }
        }
        let mut read = vec![0; model.len() + 1];
        let length = upload.read_at(&mut read, 0).unwrap();
        prop_assert!(read[..length] == model, "the bytes are those written");
        let layer = upload.finish(&Digest::sha256(&model)).unwrap();
        prop_assert_eq!(layer.length(), model.len() as u64);
    }
}
