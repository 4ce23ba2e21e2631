//! What the interface of February 2015 had on its list of things to do, each as a method of a trait
//! and as something that a person does in the mount.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use common::{Mount, digest_of, manifest_of, needs, run_in, session_with};
use regfs::{
    model::{AttributesChange, Digest, Error, Format, Manifest, Reference, Tag},
    registry::{PutAs, ReferenceCheck, Registry, Repository},
    store::{LocalRegistry, StoreOptions},
};
use std::{fs, sync::Arc, thread};

/// A mount, and the body of a registry on the same store.
fn both() -> (Mount, Arc<dyn Registry>) {
    let mount = Mount::empty();
    let options =
        StoreOptions { reference_check: ReferenceCheck::Strict, read_only: false, is_mount: false };
    let registry = LocalRegistry::open(mount.store(), &options).unwrap();
    (mount, Arc::new(registry))
}

/// Pushes an image manifest as `a:one` through the mount.
fn with_image(mount: &Mount) -> Digest {
    let config = mount.push_layer("a", b"{}");
    let manifest = manifest_of((&config, 2), &[]);
    fs::write(mount.path().join("a/manifests/one"), &manifest).unwrap();
    Digest::sha256(manifest.as_bytes())
}

/// A signed manifest of `vec/s1`.
fn signed_fixture(name: &str) -> String {
    common::fixture("schema1").join(name).display().to_string()
}

fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

fn repository(registry: &dyn Registry, name: &str) -> Arc<dyn Repository> {
    registry.repository(&name.parse().unwrap())
}

fn as_it_is() -> AttributesChange {
    AttributesChange::default()
}

/// "GetByTag and GetByDigest": one method, with a reference that is the one or the other.
#[test]
fn a_manifest_is_got_by_tag_and_by_digest() {
    needs!("fuse");
    let (mount, registry) = both();
    let digest = with_image(&mount);
    let manifests = repository(&*registry, "a");
    let manifests = manifests.manifests();
    let by_tag = manifests.get(&Reference::Tag(tag("one"))).unwrap();
    let by_digest = manifests.get(&Reference::Digest(digest)).unwrap();
    assert_eq!((by_tag.digest(), by_tag.bytes()), (&digest, by_digest.bytes()));
    let name = digest.to_string();
    session_with(
        &mount,
        &[("DIGEST", &name)],
        "
        $ cmp a/manifests/one a/manifests/$DIGEST
        $ echo sha256:$(sha256sum < a/manifests/one | cut -c-64)
        $DIGEST
        $ ls a/manifests
        one
        ",
    );
}

/// "Put should read its tag from the manifest", where it has one inside.
#[test]
fn a_put_reads_the_tag_in_the_manifest() {
    needs!("fuse");
    let (mount, registry) = both();
    mount.push_signed_layers("vec/s1");
    let file = signed_fixture("valid-es256.json");
    let signed = Manifest::parse(&fs::read(&file).unwrap()).unwrap();
    let repository = repository(&*registry, "vec/s1");
    let digest = repository.manifests().put(&signed, &PutAs::TagInside, &as_it_is()).unwrap();
    let stat = repository.manifests().stat(&Reference::Tag(tag("es256"))).unwrap();
    assert_eq!(stat.digest, digest);
    let elsewhere = PutAs::Tag(tag("elsewhere"));
    let refused = repository.manifests().put(&signed, &elsewhere, &as_it_is());
    assert!(matches!(refused, Err(Error::ManifestMisplaced { .. })), "{refused:?}");
    session_with(
        &mount,
        &[("FILE", &file)],
        "
        $ ls vec/s1/manifests
        es256
        $ cp $FILE vec/s1/manifests/
        cp: failed to close 'vec/s1/manifests/valid-es256.json': Invalid argument
        [exit 1]
        $ grep -o 'says it is.*' .regfs/errors
        says it is vec/s1:es256, and was put as vec/s1:valid-es256.json; copy it to the repository and tag that it names
        $ cp $FILE vec/s1/manifests/es256
        $ ls vec/s1/manifests
        es256
        ",
    );
}

/// "Tag(digest, tag)".
#[test]
fn a_digest_is_given_a_tag() {
    needs!("fuse");
    let (mount, registry) = both();
    let digest = with_image(&mount);
    let manifests = repository(&*registry, "a");
    manifests.manifests().tag(&digest, &tag("two"), &as_it_is()).unwrap();
    let unknown = Digest::sha256(b"unknown");
    let refused = manifests.manifests().tag(&unknown, &tag("three"), &as_it_is());
    assert!(matches!(refused, Err(Error::ManifestUnknown(_, other)) if other == unknown));
    session_with(
        &mount,
        &[("DIGEST", &digest.to_string()), ("UNKNOWN", &unknown.to_string())],
        "
        $ cd a/manifests
        $ cmp one two
        $ ln $DIGEST three && ls
        one
        three
        two
        $ ln $UNKNOWN four
        ln: failed to access '$UNKNOWN': No such file or directory
        [exit 1]
        ",
    );
}

/// "Tags must be re-entrant": many read them at once, each from where it likes.
#[test]
fn tags_are_read_by_many_at_once() {
    needs!("fuse", "python3");
    const TAGS: usize = 300;
    let (mount, registry) = both();
    let digest = with_image(&mount);
    let repository = repository(&*registry, "a");
    let manifests = repository.manifests();
    for number in 0..TAGS {
        manifests.tag(&digest, &tag(&format!("t{number}")), &as_it_is()).unwrap();
    }
    // Two cursors of one service, step by step, and one that goes back.
    let (mut one, mut other) = (manifests.tags().unwrap(), manifests.tags().unwrap());
    let (mut of_one, mut of_other) = (Vec::new(), Vec::new());
    while let Some((tag, position)) = one.next().unwrap() {
        of_one.push(tag);
        of_other.extend(other.next().unwrap().map(|(tag, _)| tag));
        if of_one.len() == TAGS / 2 {
            let (rest, _) = one.next().unwrap().unwrap();
            one.seek(position).unwrap();
            assert_eq!(one.next().unwrap().unwrap().0, rest);
            of_one.push(rest);
            of_other.extend(other.next().unwrap().map(|(tag, _)| tag));
        }
    }
    assert_eq!((of_one.len(), &of_one), (TAGS + 1, &of_other));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope
                .spawn(|| assert_eq!(manifests.tags().unwrap().collect().unwrap().len(), TAGS + 1));
        }
    });
    session_with(
        &mount,
        &[],
        "
        $ for reader in 1 2 3 4; do ls a/manifests | wc -l & done; wait
        301
        301
        301
        301
        $ python3 -c 'import os; one, other = os.scandir(\"a/manifests\"), os.scandir(\"a/manifests\"); print(all(a.name == b.name for a, b in zip(one, other)))'
        True
        ",
    );
}

/// "All()": every repository.
#[test]
fn every_repository_is_listed() {
    needs!("fuse");
    let (mount, registry) = both();
    let names = ["a", "b/c", "b/c/d", "library/alpine"];
    run_in(mount.path(), &format!("mkdir -p {}", names.join(" ")));
    names.iter().for_each(|name| drop(mount.push_layer(name, b"content")));
    let mut all = registry.repositories().unwrap().collect().unwrap();
    all.sort();
    let all: Vec<String> = all.iter().map(ToString::to_string).collect();
    let mut found: Vec<String> =
        run_in(mount.path(), "find . -name layers -type d -printf '%P\\n'")
            .lines()
            .map(|line| line.trim_end_matches("/layers").to_owned())
            .collect();
    found.sort();
    assert_eq!(found, all);
    assert_eq!(found, names);
}

/// "Signing should be broken out": a manifest is parsed without a look at its signatures, and a
/// signature says nothing about the format; that a put needs good ones is a rule beside both.
#[test]
fn signing_is_apart_from_manifests() {
    needs!("fuse", "getfattr");
    let (mount, registry) = both();
    mount.push_signed_layers("vec/s1");
    let repository = repository(&*registry, "vec/s1");
    let put = |name: &str| {
        let manifest = Manifest::parse(&fs::read(signed_fixture(name)).unwrap()).unwrap();
        let verified = manifest.signed().map(|signed| signed.verify().is_ok());
        (verified, repository.manifests().put(&manifest, &PutAs::TagInside, &as_it_is()))
    };
    assert!(matches!(put("valid-es256.json"), (Some(true), Ok(_))));
    let (verified, refused) = put("bad-signature-flipped-es256.json");
    assert!(verified == Some(false) && matches!(refused, Err(Error::SignatureRejected { .. })));
    let (verified, refused) = put("bad-no-signatures-key.json");
    assert!(verified.is_none() && matches!(refused, Err(Error::SignatureMissing)));
    session_with(
        &mount,
        &[("BAD", &signed_fixture("bad-signature-flipped-es256.json"))],
        "
        $ cp $BAD vec/s1/manifests/bad
        cp: failed to close 'vec/s1/manifests/bad': Key was rejected by service
        [exit 1]
        $ getfattr --only-values -n user.regfs.signed_by vec/s1/manifests/es256; echo
        PZHS:CGEZ:AQIX:BWUY:DSP5:DXIJ:3LVN:LX3W:HEJB:RHHE:XWWR:SW6O
        ",
    );
}

/// "Manifest should be an interface": all formats are put, read, tagged and removed by the same
/// calls and commands.
#[test]
fn every_format_of_a_manifest_is_handled_alike() {
    needs!("fuse", "getfattr");
    let (mount, registry) = both();
    let config = mount.push_layer("a", b"{}");
    let media_type = |text: &str| format!("application/vnd.{text}+json");
    let image = |of: &str| {
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{of}","config":{{"digest":"{config}"}},"layers":[]}}"#
        )
    };
    let list = |of: &str, child: &str| {
        format!(r#"{{"schemaVersion":2,"mediaType":"{of}","manifests":[{{"digest":"{child}"}}]}}"#)
    };
    let oci = image(&media_type("oci.image.manifest.v1"));
    let schema_2 = image(&media_type("docker.distribution.manifest.v2"));
    let formats = [
        ("oci", oci.clone(), Format::OciManifest),
        ("schema-2", schema_2.clone(), Format::DockerSchema2),
        (
            "index",
            list(&media_type("oci.image.index.v1"), &digest_of(oci.as_bytes())),
            Format::OciIndex,
        ),
        (
            "list",
            list(
                &media_type("docker.distribution.manifest.list.v2"),
                &digest_of(schema_2.as_bytes()),
            ),
            Format::DockerList,
        ),
    ];
    let repository = repository(&*registry, "a");
    for (name, text, format) in &formats {
        fs::write(mount.path().join("a/manifests").join(name), text).unwrap();
        let manifest = repository.manifests().get(&Reference::Tag(tag(name))).unwrap();
        assert_eq!((manifest.format(), &**manifest.bytes()), (*format, text.as_bytes()));
    }
    session_with(
        &mount,
        &[],
        "
        $ cd a/manifests
        $ for name in oci schema-2 index list; do getfattr --only-values -n user.regfs.media_type $name; echo; done
        application/vnd.oci.image.manifest.v1+json
        application/vnd.docker.distribution.manifest.v2+json
        application/vnd.oci.image.index.v1+json
        application/vnd.docker.distribution.manifest.list.v2+json
        $ for name in oci schema-2 index list; do ln $name $name-2 && cmp $name $name-2 && rm $name $name-2; done
        $ ls
        ",
    );
}
