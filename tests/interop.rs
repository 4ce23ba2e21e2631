//! The same store behind a mount and behind docker-registry, at the same time.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use common::{Mount, Registry, eventually, image, needs, run_in, session, session_with};
use std::time::{Duration, Instant};

/// skopeo as the tests call it: on loopback, without a policy file, without a word.
const COPY: &str = "skopeo --insecure-policy copy -q --preserve-digests --src-tls-verify=false --dest-tls-verify=false";

#[test]
fn an_image_pushed_with_cp_is_pulled_from_the_stock_registry() {
    needs!("fuse", "docker-registry", "skopeo", "umoci", "busybox", "jq");
    let image = image();
    let mount = Mount::empty();
    let registry = Registry::serve(mount.store());
    session_with(
        mount.beside(),
        &[
            ("LAYOUT", image.layout.to_str().unwrap()),
            ("REGISTRY", &registry.address()),
            ("COPY", COPY),
        ],
        "
        $ $COPY oci:$LAYOUT:1.35 dir:image
        $ mkdir -p mnt/library/busybox
        $ for blob in $(jq -r '.config.digest, .layers[].digest' image/manifest.json); do cp image/${blob#sha256:} mnt/library/busybox/layers/$blob; done
        $ cp image/manifest.json mnt/library/busybox/manifests/1.35
        $ $COPY docker://$REGISTRY/library/busybox:1.35 oci:back:1.35
        $ diff -r $LAYOUT/blobs back/blobs
        $ skopeo list-tags --tls-verify=false docker://$REGISTRY/library/busybox | jq -c .Tags
        [\"1.35\"]
        $ ln mnt/library/busybox/manifests/1.35 mnt/library/busybox/manifests/latest
        $ $COPY docker://$REGISTRY/library/busybox:latest oci:again:latest
        $ diff -r $LAYOUT/blobs again/blobs
        $ rm mnt/library/busybox/manifests/latest
        $ skopeo list-tags --tls-verify=false docker://$REGISTRY/library/busybox | jq -c .Tags
        [\"1.35\"]
        ",
    );
}

#[test]
fn an_image_pushed_to_the_stock_registry_appears_in_the_mount() {
    needs!("fuse", "docker-registry", "skopeo", "umoci", "busybox", "jq", "tar");
    let image = image();
    let mount = Mount::empty();
    let registry = Registry::serve(mount.store());
    let pushed = mount.path().join("library/pushed");
    // Asked before, so that the mount has something to forget.
    session(&mount, "$ ls -A");
    let push = |tag: &str| {
        let to = format!("docker://{}/library/pushed:{tag}", registry.address());
        run_in(mount.beside(), &format!("{COPY} oci:{}:1.35 {to}", image.layout.display()));
        let start = Instant::now();
        let list = || run_in(mount.path(), "ls library/pushed/manifests 2>&1 || true");
        eventually(Duration::from_secs(2), "the tag is listed", || {
            list().lines().any(|line| line == tag)
        });
        assert!(start.elapsed() < Duration::from_secs(2));
    };
    push("1.0");
    push("2.0");
    let variables = image.variables();
    let variables: Vec<(&str, &str)> = variables.iter().map(|(n, v)| (&**n, &**v)).collect();
    session_with(
        &pushed,
        &variables,
        "
        $ ls manifests
        1.0
        2.0
        $ cmp manifests/1.0 $MANIFEST_FILE
        $ cmp manifests/$MANIFEST $MANIFEST_FILE
        $ ls layers | wc -l
        4
        $ for layer in $(jq -r .layers[].digest manifests/1.0); do test sha256:$(sha256sum < layers/$layer | cut -c-64) = $layer && tar tzf layers/$layer > /dev/null || echo $layer; done
        $ cmp layers/$CONFIG $CONFIG_FILE
        $ ls uploads
        ",
    );
}

#[test]
fn what_the_stock_registry_deletes_disappears_from_the_mount() {
    needs!("fuse", "docker-registry", "skopeo", "umoci", "busybox", "jq");
    let image = image();
    let mount = Mount::with_image(&image);
    let registry = Registry::serve(mount.store());
    session_with(
        &mount,
        &[("REGISTRY", &registry.address()), ("MANIFEST", &image.manifest)],
        "
        $ ls library/busybox/manifests
        1.35
        $ skopeo delete --tls-verify=false docker://$REGISTRY/library/busybox:1.35
        $ sleep 1.1; ls library/busybox/manifests
        $ cat library/busybox/manifests/$MANIFEST
        cat: …: No such file or directory
        [exit 1]
        ",
    );
}

#[test]
fn a_tag_moved_by_the_stock_registry_moves_in_the_mount() {
    needs!("fuse", "docker-registry", "skopeo", "umoci", "busybox", "jq");
    let image = image();
    let mount = Mount::with_image(&image);
    let registry = Registry::serve(mount.store());
    session_with(
        mount.beside(),
        &[
            ("LAYOUT", image.layout.to_str().unwrap()),
            ("REGISTRY", &registry.address()),
            ("COPY", COPY),
            ("MANIFEST_FILE", image.blob(&image.manifest).to_str().unwrap()),
        ],
        "
        $ cmp mnt/library/busybox/manifests/1.35 $MANIFEST_FILE
        $ cp -r $LAYOUT changed; umoci config --image changed:1.35 --config.user nobody
        $ $COPY oci:changed:1.35 docker://$REGISTRY/library/busybox:1.35
        $ $COPY docker://$REGISTRY/library/busybox:1.35 dir:now
        $ sleep 1.1; cmp mnt/library/busybox/manifests/1.35 now/manifest.json
        $ cmp -s now/manifest.json $MANIFEST_FILE
        [exit 1]
        ",
    );
}

#[test]
fn an_image_pushed_in_docker_form_is_pulled_from_the_mount() {
    needs!("fuse", "docker-registry", "skopeo", "umoci", "busybox", "jq", "getfattr");
    let image = image();
    let mount = Mount::empty();
    let registry = Registry::serve(mount.store());
    session_with(
        mount.beside(),
        &[("LAYOUT", image.layout.to_str().unwrap()), ("REGISTRY", &registry.address())],
        "
        $ skopeo --insecure-policy copy -q --format v2s2 --dest-tls-verify=false oci:$LAYOUT:1.35 docker://$REGISTRY/docker/form:2
        $ sleep 1.1; jq -r .mediaType mnt/docker/form/manifests/2
        application/vnd.docker.distribution.manifest.v2+json
        $ getfattr --only-values -n user.regfs.media_type mnt/docker/form/manifests/2; echo
        application/vnd.docker.distribution.manifest.v2+json
        $ mkdir -p mnt/copied/form; cp -a mnt/docker/form/. mnt/copied/form
        $ skopeo --insecure-policy copy -q --src-tls-verify=false docker://$REGISTRY/copied/form:2 dir:back
        $ cmp back/manifest.json mnt/docker/form/manifests/2
        ",
    );
}

#[test]
fn what_the_mount_made_survives_the_stock_garbage_collector() {
    needs!("fuse", "docker-registry", "skopeo", "umoci", "busybox", "jq");
    let image = image();
    let mut mount = Mount::with_image(&image);
    run_in(mount.path(), "mkdir -p empty/one; printf x > library/busybox/uploads/x");
    mount.unmount();
    let program = std::env::var_os("REGFS_DOCKER_REGISTRY").unwrap_or("docker-registry".into());
    session_with(
        mount.beside(),
        &[
            ("STORE", mount.store().to_str().unwrap()),
            ("PROGRAM", program.to_str().unwrap()),
            ("LAYERS", &(image.layers.len() + 2).to_string()),
        ],
        "
        $ printf 'version: 0.1\\nstorage: {filesystem: {rootdirectory: %s}}\\nhttp: {addr: 127.0.0.1:0}\\n' $STORE > config.yml
        $ $PROGRAM garbage-collect config.yml 2>&1 | grep 'eligible for deletion'
        $LAYERS blobs marked, 0 blobs and 0 manifests eligible for deletion
        ",
    );
    mount.mount(&[]);
    session(
        &mount,
        "
        $ ls library/busybox/manifests library/busybox/uploads
        library/busybox/manifests:
        1.35
        library/busybox/uploads:
        x
        ",
    );
}

#[test]
fn an_upload_of_the_stock_registry_can_be_seen_and_finished_in_the_mount() {
    needs!("fuse", "docker-registry", "curl");
    let mount = Mount::empty();
    let registry = Registry::serve(mount.store());
    session_with(
        &mount,
        &[
            ("REGISTRY", &registry.address()),
            ("HELLO", "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"),
        ],
        "
        $ curl -s -D ../headers -X POST http://$REGISTRY/v2/a/blobs/uploads/
        $ tr -d '\\r' < ../headers | sed -n 's/^Location: //ip' > ../location
        $ curl -s -o ../answer -X PATCH -H 'Content-Type: application/octet-stream' --data-binary hel \"$(cat ../location)\"
        $ tr -d '\\r' < ../headers | sed -n 's/^Docker-Upload-Uuid: //ip' > ../uuid
        $ test $(ls a/uploads) = $(cat ../uuid)
        $ cat a/uploads/$(cat ../uuid); echo
        hel
        $ printf lo >> a/uploads/$(cat ../uuid)
        $ mv a/uploads/$(cat ../uuid) a/layers/$HELLO
        $ curl -s http://$REGISTRY/v2/a/blobs/$HELLO; echo
        hello
        ",
    );
}

#[test]
fn two_mounts_of_one_store_show_the_same() {
    needs!("fuse", "umoci", "busybox", "jq");
    let one = Mount::empty();
    let other = Mount::of_store(one.store());
    one.push_image(&image(), "library/busybox", "1.35");
    session_with(
        &one,
        &[("OTHER", other.path().to_str().unwrap())],
        "
        $ sleep 1.1; diff -r . $OTHER
        $ ln $OTHER/library/busybox/manifests/1.35 $OTHER/library/busybox/manifests/latest
        $ sleep 1.1; ls library/busybox/manifests
        1.35
        latest
        $ rm library/busybox/manifests/1.35
        $ sleep 1.1; ls $OTHER/library/busybox/manifests
        latest
        ",
    );
}
