//! Layers under their TarSum, the sum of the files in an archive, by which registries of 2015 named
//! them.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use common::{Mount, Registry, digest_of_file, fixture, needs, run_in, session_with};
use serde_json::Value;
use std::{fs, path::Path};

/// Archives of `tests/fixtures/tarsum`, and what variables of a session call them: two with the same
/// files in another order, which have one TarSum, one of another file, and one without any.
const ARCHIVES: [(&str, &str); 4] =
    [("AB", "two-files-ab"), ("BA", "two-files-ba"), ("ONE", "one-file"), ("EMPTY", "empty-1024")];

/// For each archive: `$AB` is the file, `$AB_SHA256` its digest, `$AB_V1` its TarSum, `$AB_DEV` and
/// `$AB_V0` those of the other versions, `$AB_512` the one with the other hash.
fn archives() -> Vec<(String, String)> {
    let vectors: Vec<Value> =
        serde_json::from_slice(&fs::read(fixture("tarsum.json")).unwrap()).unwrap();
    let mut variables = Vec::new();
    for (short, name) in ARCHIVES {
        let vector = vectors.iter().find(|vector| vector["name"] == name).unwrap();
        let file = fixture("tarsum").join(vector["file"].as_str().unwrap());
        variables.push((format!("{short}_SHA256"), digest_of_file(&file)));
        variables.push((short.to_owned(), file.to_str().unwrap().to_owned()));
        for (suffix, label) in [
            ("V0", "tarsum+sha256"),
            ("V1", "tarsum.v1+sha256"),
            ("DEV", "tarsum.dev+sha256"),
            ("512", "tarsum.v1+sha512"),
        ] {
            let sum = vector["expect"][label].as_str().unwrap();
            variables.push((format!("{short}_{suffix}"), sum.to_owned()));
        }
    }
    variables
}

#[track_caller]
fn session_on(folder: impl AsRef<Path>, variables: &[(String, String)], text: &str) {
    let variables: Vec<(&str, &str)> =
        variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    session_with(folder, &variables, text);
}

#[test]
fn an_upload_is_finished_under_its_tarsum() {
    needs!("fuse");
    let mut mount = Mount::empty();
    session_on(
        &mount,
        &archives(),
        "
        $ mkdir a && cd a && cp $AB uploads/x && mv uploads/x layers/$AB_V1
        $ cmp $AB a/layers/$AB_V1
        $ ls a/layers a/uploads
        a/layers:
        $AB_SHA256
        $AB_V1
        a/uploads:
        $ cmp $AB a/layers/$AB_SHA256
        $ getfattr --only-values -n user.regfs.digest a/layers/$AB_V1; echo
        $AB_V1
        $ stat -c %s a/layers/$AB_V1
        3072
        ",
    );
    mount.remount();
    session_on(
        &mount,
        &archives(),
        "
        $ cmp $AB a/layers/$AB_V1
        $ mkdir b && ln a/layers/$AB_V1 b/layers/$AB_V1 && cmp $AB b/layers/$AB_V1
        $ mkdir c && cp a/layers/$AB_V1 c/layers/ && cmp $AB c/layers/$AB_V1
        $ ls c/layers
        $AB_SHA256
        $AB_V1
        $ rm a/layers/$AB_V1
        $ ls a/layers
        $AB_SHA256
        $ cmp $AB b/layers/$AB_V1
        $ rm a/layers/$AB_SHA256 && rmdir a
        $ grep -v '^#' .regfs/errors
        [exit 1]
        ",
    );
}

#[test]
fn every_version_and_hash_of_a_tarsum_is_verified() {
    needs!("fuse");
    let mount = Mount::empty();
    session_on(
        &mount,
        &archives(),
        "
        $ mkdir a
        $ cd a
        $ for sum in $AB_V0 $AB_V1 $AB_DEV $AB_512 $AB_SHA256; do cp $AB uploads/x && mv uploads/x layers/$sum; done
        $ for sum in $AB_V0 $AB_V1 $AB_DEV $AB_512 $AB_SHA256; do cmp layers/$sum $AB || echo $sum; done
        $ ls layers | wc -l
        5
        $ cp $ONE uploads/x
        $ mv uploads/x layers/$AB_V1
        mv: cannot move 'uploads/x' to 'layers/$AB_V1': Bad message
        [exit 1]
        $ cmp $AB layers/$AB_V1
        $ for sum in $AB_V0 $AB_DEV $AB_512 $EMPTY_V1; do mv uploads/x layers/$sum || true; done
        mv: cannot move 'uploads/x' to 'layers/$AB_V0': Bad message
        mv: cannot move 'uploads/x' to 'layers/$AB_DEV': Bad message
        mv: cannot move 'uploads/x' to 'layers/$AB_512': Bad message
        mv: cannot move 'uploads/x' to 'layers/$EMPTY_V1': Bad message
        $ cmp uploads/x $ONE
        $ mv uploads/x layers/$ONE_V1 && cmp layers/$ONE_V1 $ONE
        ",
    );
    let variables = archives();
    let value = |name: &str| &variables.iter().find(|(known, _)| known == name).unwrap().1;
    let said = format!("the content is {}, not {} as named", value("ONE_V1"), value("AB_V1"));
    mount.assert_error(&["rename a/uploads/x -> a/layers/tarsum.v1+sha256:", "EBADMSG", &said]);
}

#[test]
fn what_is_no_archive_has_no_tarsum() {
    needs!("fuse");
    let mount = Mount::empty();
    session_on(
        &mount,
        &archives(),
        "
        $ mkdir a && echo hello > a/uploads/text && head -c 1100 $AB > a/uploads/cut
        $ cd a
        $ mv uploads/text layers/$AB_V1
        mv: cannot move 'uploads/text' to 'layers/$AB_V1': Bad message
        [exit 1]
        $ mv uploads/cut layers/$AB_V1
        mv: cannot move 'uploads/cut' to 'layers/$AB_V1': Bad message
        [exit 1]
        $ gzip -c $AB | head -c 60 > uploads/gzip; mv uploads/gzip layers/$AB_V1
        mv: cannot move 'uploads/gzip' to 'layers/$AB_V1': Bad message
        [exit 1]
        $ ls layers uploads
        layers:
        uploads:
        cut
        gzip
        text
        ",
    );
    mount.assert_error(&["a/uploads/text", "this is not a whole tar archive"]);
    mount.assert_error(&["a/uploads/cut", "this is not a whole tar archive"]);
    mount.assert_error(&["a/uploads/gzip", "EBADMSG", "gzip"]);
}

#[test]
fn a_layer_is_written_under_its_tarsum_in_one_step() {
    needs!("fuse", "rsync");
    let mount = Mount::empty();
    session_on(
        &mount,
        &archives(),
        "
        $ mkdir a b c
        $ cd a
        $ cp $AB layers/$AB_V1 && cmp $AB layers/$AB_V1
        $ cat $ONE > layers/$AB_DEV
        cat: write error: Bad message
        [exit 1]
        $ ls layers
        $AB_SHA256
        $AB_V1
        $ cp $EMPTY layers/$EMPTY_V1 && cmp $EMPTY layers/$EMPTY_V1
        $ cp /dev/null ../b/layers/$EMPTY_V1 && stat -c %s ../b/layers/$EMPTY_V1
        0
        $ rsync -a layers/ ../c/layers/ && diff -r layers ../c/layers
        $ rsync -ain layers/ ../c/layers/
        $ echo more >> layers/$AB_V1
        sh: …: cannot create layers/$AB_V1: Operation not permitted
        [exit 2]
        ",
    );
}

/// Archives with the same files in another order, or with something behind their end, have one
/// TarSum: the name goes on standing for the bytes that it stood for first.
#[test]
fn the_bytes_under_a_tarsum_never_change() {
    needs!("fuse");
    let mount = Mount::empty();
    session_on(
        &mount,
        &archives(),
        "
        $ mkdir a && cd a && cp $AB uploads/x && mv uploads/x layers/$AB_V1
        $ cd a
        $ test $AB_V1 = $BA_V1 && cmp -s $AB $BA
        [exit 1]
        $ cp $BA uploads/x && mv uploads/x layers/$BA_V1
        $ cmp $AB layers/$AB_V1
        $ cmp $BA layers/$BA_SHA256
        $ cp $BA layers/$BA_V1 && cmp $AB layers/$AB_V1
        $ mkdir ../b && cp $BA ../b/layers/$BA_V1 && cmp $BA ../b/layers/$BA_V1
        $ mv -f ../b/layers/$BA_V1 layers/$AB_V1 && cmp $AB layers/$AB_V1
        $ ls layers | sort | cut -d : -f 1
        sha256
        sha256
        tarsum.v1+sha256
        $ ls ../b/layers
        $BA_SHA256
        ",
    );
}

#[test]
fn a_compressed_layer_has_the_tarsum_of_the_archive_in_it() {
    needs!("fuse", "gzip");
    let mount = Mount::empty();
    session_on(
        &mount,
        &archives(),
        "
        $ mkdir a && gzip -nc $AB > a/uploads/x && mv a/uploads/x a/layers/$AB_V1
        $ gzip -dc a/layers/$AB_V1 | cmp - $AB
        $ tar tzf a/layers/$AB_V1
        a
        b
        ",
    );
}

#[test]
fn the_stock_registry_serves_the_bytes_under_their_sha256() {
    needs!("fuse", "docker-registry", "curl");
    let mount = Mount::empty();
    let registry = Registry::serve(mount.store());
    session_on(
        &mount,
        &archives(),
        &format!(
            "
            $ mkdir a && cp $AB a/uploads/x && mv a/uploads/x a/layers/$AB_V1
            $ curl -sSf http://{}/v2/a/blobs/$AB_SHA256 | cmp - $AB
            ",
            registry.address()
        ),
    );
}

/// `$TREES` is the folder with what registries of 2015 have written, and served.
fn trees() -> Vec<(String, String)> {
    vec![("TREES".to_owned(), fixture("trees").display().to_string())]
}

/// A mount of a store that a registry of 2015 has written.
fn mount_tree(archive: &str) -> Mount {
    let mut mount = Mount::unmounted();
    run_in(mount.store(), &format!("tar xzf {}", fixture("trees").join(archive).display()));
    mount.mount(&[]);
    mount
}

/// Of then, when blobs were stored under their TarSum, and a link said the same as its name.
#[test]
fn a_store_of_february_2015_is_mounted_and_read() {
    needs!("fuse", "tar");
    let mount = mount_tree("registry-seed.tar.gz");
    session_on(
        &mount,
        &trees(),
        "
        $ ls -R foo
        foo:
        bar
        foo/bar:
        layers
        manifests
        uploads
        foo/bar/layers:
        tarsum.v1+sha256:7d3e8cfe6463c0307291fd446236d723cb857c1ff073b21bb50dcc9768a270ce
        tarsum.v1+sha256:93615a25ba9c7bbb3f314c992840aa7a14cf4d7d7cee66c03ebc8bd3f936c74e
        tarsum.v1+sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
        foo/bar/manifests:
        latest
        v1.0
        foo/bar/uploads:
        e99cd968-3897-4417-a2a9-f4a0727bb9a6
        $ cd foo/bar
        $ sha256sum < layers/tarsum.v1+sha256:7d3e8cfe6463c0307291fd446236d723cb857c1ff073b21bb50dcc9768a270ce
        746a3bbefb5048f9e773da615e0c311ba498f0e9680e87bfae37b3acdbf050a0  -
        $ sha256sum < layers/tarsum.v1+sha256:93615a25ba9c7bbb3f314c992840aa7a14cf4d7d7cee66c03ebc8bd3f936c74e
        c48085684e7401ed7f195afb6d455c7eb82e0a05a78935d0f1f1be3d7964b678  -
        $ stat -c %s layers/tarsum.v1+sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 uploads/*
        0
        40
        $ mkdir ../copy && cp -a layers/. ../copy/layers && for layer in layers/*; do cmp $layer ../copy/$layer; done
        $ cp layers/tarsum.v1+sha256:9361* uploads/x && mv uploads/x layers/sha256:c48085684e7401ed7f195afb6d455c7eb82e0a05a78935d0f1f1be3d7964b678
        $ ls layers | wc -l
        4
        $ cmp manifests/latest $TREES/seed-latest.json
        $ cmp manifests/v1.0 $TREES/seed-v1.0.json
        $ getfattr --only-values -n user.regfs.digest manifests/latest; echo
        sha256:5ae13ccc62ac1522e8d6a823bcc6ba19c84d571629c534c86e9e252eda99db3d
        $ getfattr --only-values -n user.regfs.signed_by manifests/v1.0 | wc -w
        1
        ",
    );
}

/// What it names is copied as well: a registry of today has the same layers under the same names.
#[test]
fn a_store_of_february_2015_is_mirrored_into_another() {
    needs!("fuse", "tar", "rsync");
    let (from, to) = (mount_tree("registry-seed.tar.gz"), Mount::empty());
    let mut trees = trees();
    trees.push(("TO".to_owned(), to.path().display().to_string()));
    session_on(
        &from,
        &trees,
        "
        $ mkdir -p $TO/foo/bar && rsync -a foo/bar/ $TO/foo/bar/
        $ cd foo/bar
        $ for layer in layers/*; do cmp $layer $TO/foo/bar/$layer; done
        $ diff -r manifests $TO/foo/bar/manifests
        $ cmp $TO/foo/bar/manifests/latest $TREES/seed-latest.json
        $ rsync -ain --exclude=uploads ./ $TO/foo/bar/
        ",
    );
}

#[test]
fn a_store_of_version_2_0_0_is_mounted_and_read() {
    needs!("fuse", "tar");
    let mount = mount_tree("registry-v200.tar.gz");
    session_on(
        &mount,
        &trees(),
        "
        $ cd foo/bar
        $ ls layers manifests
        layers:
        sha256:c48085684e7401ed7f195afb6d455c7eb82e0a05a78935d0f1f1be3d7964b678
        sha256:e2391d9f08afe3f2ecabad6b6cc1c14120431451d2fafa98c3bfec8faab4e6a4
        tarsum.v1+sha256:64c8054fa74a485d39cdf9af272a5adb8ca8c9d391ebe9435bda9c49b32dc91e
        tarsum.v1+sha256:93615a25ba9c7bbb3f314c992840aa7a14cf4d7d7cee66c03ebc8bd3f936c74e
        manifests:
        latest
        $ cmp layers/sha256:c480* layers/tarsum.v1+sha256:9361*
        $ cmp layers/sha256:e239* layers/tarsum.v1+sha256:64c8*
        $ sha256sum < layers/tarsum.v1+sha256:64c8054fa74a485d39cdf9af272a5adb8ca8c9d391ebe9435bda9c49b32dc91e
        e2391d9f08afe3f2ecabad6b6cc1c14120431451d2fafa98c3bfec8faab4e6a4  -
        $ cmp manifests/latest $TREES/v200-latest.json
        $ mv uploads/8b32cdd7-ef9a-4e2b-8275-fd4e116d38f3 uploads/mine && stat -c %s uploads/mine
        40
        ",
    );
}
