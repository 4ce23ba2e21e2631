//! Attributes: modes, owners, times and extended attributes, and that they are kept.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use common::{Mount, digest_of, manifest_of, needs, run_in, session, session_with};

/// A mount with a layer, a tag and an upload, and the digest of the layer and the manifest.
fn filled() -> (Mount, String, String) {
    let mount = Mount::empty();
    let layer = mount.push_layer("a", b"hello");
    let manifest = manifest_of((&layer, 5), &[]);
    let text =
        format!("printf %s '{manifest}' | tee a/manifests/1.0 > /dev/null; printf x > a/uploads/x");
    run_in(mount.path(), &text);
    (mount, layer, digest_of(manifest.as_bytes()))
}

#[test]
fn mode_owner_and_time_are_kept_across_a_remount() {
    needs!("fuse", "root");
    let (mut mount, layer, _) = filled();
    let shown = "
        $ stat -c '%a %u:%g %y' layers/$LAYER manifests/1.0 uploads/x
        600 12:34 2001-02-03 04:05:06.123456789 +0000
        640 56:78 1969-12-31 23:59:58.000000000 +0000
        604 90:12 2100-01-01 00:00:00.000000000 +0000
        ";
    session_with(
        mount.path().join("a"),
        &[("LAYER", &layer)],
        &format!(
            "
            $ chmod 600 layers/$LAYER; chown 12:34 layers/$LAYER; touch -d '2001-02-03 04:05:06.123456789' layers/$LAYER
            $ chmod 640 manifests/1.0; chown 56:78 manifests/1.0; touch -d '1969-12-31 23:59:58' manifests/1.0
            $ chmod 604 uploads/x; chown 90:12 uploads/x; touch -d '2100-01-01' uploads/x
            {shown}"
        ),
    );
    mount.remount();
    session_with(mount.path().join("a"), &[("LAYER", &layer)], shown);
    mount.kill_daemon();
    mount.mount(&[]);
    session_with(mount.path().join("a"), &[("LAYER", &layer)], shown);
}

#[test]
fn folders_keep_their_mode_and_time() {
    needs!("fuse");
    let (mut mount, ..) = filled();
    let shown = "
        $ stat -c '%a %Y' a a/layers a/manifests
        700 981173106
        750 981173106
        711 981173106
        ";
    session(
        &mount,
        &format!(
            "
            $ chmod 700 a; chmod 750 a/layers; chmod 711 a/manifests
            $ touch -d '2001-02-03 04:05:06' a/layers a/manifests a
            {shown}"
        ),
    );
    mount.remount();
    session(&mount, shown);
}

#[test]
fn attributes_belong_to_the_name_in_its_repository() {
    needs!("fuse");
    let (mount, layer, _) = filled();
    session_with(
        &mount,
        &[("LAYER", &layer)],
        "
        $ mkdir b; cp a/layers/$LAYER b/layers/$LAYER
        $ chmod 600 a/layers/$LAYER; chmod 640 b/layers/$LAYER
        $ stat -c %a a/layers/$LAYER b/layers/$LAYER
        600
        640
        $ touch -d '2001-02-03 04:05:06' a/layers/$LAYER
        $ cp -p a/layers/$LAYER b/layers/$LAYER
        $ stat -c '%a %Y' b/layers/$LAYER
        600 981173106
        ",
    );
}

#[test]
fn what_an_upload_had_its_layer_has() {
    needs!("fuse");
    let (mount, ..) = filled();
    session_with(
        &mount,
        &[("DIGEST", &digest_of(b"x"))],
        "
        $ cd a
        $ chmod 640 uploads/x; touch -d '2001-02-03 04:05:06' uploads/x
        $ mv uploads/x layers/$DIGEST
        $ stat -c '%a %Y' layers/$DIGEST
        640 981173106
        $ printf y > ../../y; chmod 604 ../../y; touch -d '2001-02-03 04:05:07' ../../y
        $ cp -p ../../y layers/sha256:$(sha256sum < ../../y | cut -c-64)
        $ stat -c '%a %Y' layers/sha256:$(sha256sum < ../../y | cut -c-64)
        604 981173107
        ",
    );
}

#[test]
fn an_upload_shows_when_it_was_last_written() {
    needs!("fuse");
    let (mount, ..) = filled();
    session(
        &mount,
        "
        $ touch -d '2001-02-03 04:05:06' a/uploads/x
        $ printf more >> a/uploads/x
        $ test $(( $(date +%s) - $(stat -c %Y a/uploads/x) )) -le 5
        $ touch a/uploads/x; test $(( $(date +%s) - $(stat -c %Y a/uploads/x) )) -le 5
        ",
    );
}

#[test]
fn what_is_known_of_a_file_is_in_its_extended_attributes() {
    needs!("fuse", "getfattr", "setfattr");
    let (mount, layer, manifest) = filled();
    session_with(
        mount.path().join("a"),
        &[("LAYER", &layer), ("MANIFEST", &manifest), ("X", &digest_of(b"x"))],
        "
        $ getfattr -d layers/$LAYER | grep -v '^#'
        user.regfs.digest=\"$LAYER\"
        $ getfattr --only-values -n user.regfs.created_at layers/$LAYER; echo
        20…Z
        $ getfattr -d manifests/1.0 | grep -v '^#'
        user.regfs.digest=\"$MANIFEST\"
        user.regfs.media_type=\"application/vnd.oci.image.manifest.v1+json\"
        $ getfattr -d uploads/x | grep -v '^#'
        user.regfs.digest=\"$X\"
        $ for a in started_at uuid; do getfattr --only-values -n user.regfs.$a uploads/x; echo; done
        20…Z
        …-…-4…-…-…
        $ setfattr -n user.regfs.digest -v $LAYER layers/$LAYER
        $ setfattr -n user.regfs.digest -v other layers/$LAYER
        setfattr: layers/$LAYER: Operation not permitted
        [exit 1]
        $ setfattr -n user.regfs.mine -v other manifests/1.0
        setfattr: manifests/1.0: Operation not permitted
        [exit 1]
        $ setfattr -x user.regfs.digest manifests/1.0
        setfattr: manifests/1.0: Operation not permitted
        [exit 1]
        $ getfattr -n system.posix_acl_access layers/$LAYER
        layers/$LAYER: system.posix_acl_access: Operation not supported
        [exit 1]
        ",
    );
}

#[test]
fn extended_attributes_of_the_user_are_kept() {
    needs!("fuse", "getfattr", "setfattr");
    let (mut mount, layer, _) = filled();
    session_with(
        mount.path().join("a"),
        &[("LAYER", &layer)],
        "
        $ for f in layers/$LAYER manifests/1.0 uploads/x; do setfattr -n user.colour -v blue-$f $f; done
        $ setfattr -n user.empty uploads/x
        $ setfattr -x user.empty uploads/x
        $ setfattr -x user.empty uploads/x
        setfattr: uploads/x: No such attribute
        [exit 1]
        ",
    );
    mount.remount();
    session_with(
        mount.path().join("a"),
        &[("LAYER", &layer)],
        "
        $ for f in layers/$LAYER manifests/1.0 uploads/x; do getfattr --only-values -n user.colour $f; echo; done
        blue-layers/$LAYER
        blue-manifests/1.0
        blue-uploads/x
        $ getfattr -n user.none uploads/x
        uploads/x: user.none: No such attribute
        [exit 1]
        ",
    );
}

#[test]
fn what_ls_shows_makes_sense() {
    needs!("fuse");
    let (mount, layer, _) = filled();
    session_with(
        mount.path().join("a"),
        &[("LAYER", &layer)],
        "
        $ stat -c '%A %h %s' layers/$LAYER
        -r… 1 5
        $ stat -c '%F' . .. layers layers/$LAYER manifests/1.0 uploads/x ../.regfs
        directory
        directory
        directory
        regular file
        regular file
        regular file
        directory
        $ test $(( $(stat -c %b layers/$LAYER) * 512 )) -ge 5
        $ stat -c %i layers/$LAYER manifests/1.0 uploads/x . layers manifests uploads | sort -u | wc -l
        7
        $ test $(stat -c %i layers/$LAYER) = $(ls -i layers/$LAYER | cut -d' ' -f1)
        ",
    );
}
