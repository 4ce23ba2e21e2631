//! Attributes: modes, owners, times and extended attributes, and that they are kept.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use common::{Mount, Registry, digest_of, manifest_of, needs, run_in, session, session_with};

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
        $ setfattr -x user.regfs.digest manifests/1.0; getfattr --only-values -n user.regfs.digest manifests/1.0; echo
        $MANIFEST
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

#[test]
fn times_are_kept_to_the_nanosecond_before_1970_and_after_2038() {
    needs!("fuse");
    let (mut mount, layer, _) = filled();
    let shown = "
        $ stat -c '%x %y' a/layers/$LAYER a/manifests/1.0 a/uploads/x a/layers a .
        1960-01-02 00:00:00.000000001 +0000 1969-12-31 23:59:59.500000000 +0000
        2039-01-02 00:00:00.250000000 +0000 1901-12-14 00:00:00.999999999 +0000
        1969-12-31 23:59:58.750000000 +0000 2100-02-28 23:59:59.123456789 +0000
        1965-05-05 00:00:00.500000000 +0000 1965-05-05 00:00:00.500000000 +0000
        1999-09-09 00:00:00.900000000 +0000 1999-09-09 00:00:00.900000000 +0000
        1969-12-31 23:59:59.000000001 +0000 1969-12-31 23:59:59.000000001 +0000
        ";
    let text = format!(
        "
        $ touch -a -d '1960-01-02 00:00:00.000000001' a/layers/$LAYER; touch -m -d '1969-12-31 23:59:59.5' a/layers/$LAYER
        $ touch -a -d '2039-01-02 00:00:00.25' a/manifests/1.0; touch -m -d '1901-12-14 00:00:00.999999999' a/manifests/1.0
        $ touch -a -d '1969-12-31 23:59:58.75' a/uploads/x; touch -m -d '2100-02-28 23:59:59.123456789' a/uploads/x
        $ touch -d '1965-05-05 00:00:00.5' a/layers; touch -d '1999-09-09 00:00:00.9' a; touch -d '1969-12-31 23:59:59.000000001' .
        {shown}
        $ cat a/layers/$LAYER a/manifests/1.0 a/uploads/x > /dev/null; ls -lR > /dev/null; getfattr -dR . > /dev/null
        {shown}"
    );
    session_with(&mount, &[("LAYER", &layer)], &text);
    mount.remount();
    session_with(&mount, &[("LAYER", &layer)], shown);
    mount.kill_daemon();
    mount.mount(&[]);
    session_with(&mount, &[("LAYER", &layer)], shown);
}

/// Nobody can set the time of the last change, on any file system: backups go by it.
#[test]
fn the_time_of_change_follows_every_change() {
    needs!("fuse", "setfattr");
    let (mount, layer, _) = filled();
    session_with(
        mount.path().join("a"),
        &[("LAYER", &layer)],
        "
        $ for f in layers/$LAYER manifests/1.0 uploads/x; do for c in 'chmod 640' 'touch -d 2001-02-03' 'setfattr -n user.note -v new'; do a=$(stat -c %Z.%z $f); sleep 0.02; $c $f; b=$(stat -c %Z.%z $f); [ \"$a\" != \"$b\" ] || echo \"$c $f: $a\"; done; done
        $ test $(( $(date +%s) - $(stat -c %Z layers/$LAYER) )) -le 20
        ",
    );
}

#[test]
fn the_time_of_a_folder_says_when_something_came_or_went() {
    needs!("fuse");
    let (mount, layer, _) = filled();
    session_with(
        mount.path().join("a"),
        &[("LAYER", &layer), ("X", &digest_of(b"x"))],
        "
        $ for c in 'mv uploads/x layers/$X' 'rm layers/$LAYER' 'ln manifests/1.0 manifests/1' 'rm manifests/1' 'touch uploads/new' 'rm uploads/new' 'mkdir ../a/b' 'rmdir b' 'touch layers/.new' 'rm layers/.new' 'touch manifests/.new' 'rm manifests/.new' 'touch uploads/new' 'mv uploads/new layers/.new'; do touch -d 2001-02-03 layers manifests uploads .; sh -c \"$c\"; stat -c %Y layers manifests uploads . | grep -vc 981158400; done
        2
        1
        1
        1
        1
        1
        1
        1
        1
        1
        1
        1
        1
        2
        ",
    );
}

#[test]
fn a_second_name_has_the_attributes_of_the_first() {
    needs!("fuse", "root", "setfattr", "getfattr");
    let (mut mount, layer, _) = filled();
    let shown = "
        $ for f in b/layers/$LAYER c/layers/$LAYER d/manifests/latest d/manifests/renamed c/manifests/1.0; do stat -c '%u:%g %a %Y' $f; getfattr --only-values -n user.note $f; echo; done
        5:6 640 981158400
        mine
        5:6 640 981158400
        mine
        7:8 604 981158401
        its own
        7:8 604 981158401
        its own
        7:8 604 981158401
        its own
        ";
    session_with(
        &mount,
        &[("LAYER", &layer)],
        &format!(
            "
            $ chown 5:6 a/layers/$LAYER; chmod 640 a/layers/$LAYER; touch -d 2001-02-03 a/layers/$LAYER; setfattr -n user.note -v mine a/layers/$LAYER
            $ chown 7:8 a/manifests/1.0; chmod 604 a/manifests/1.0; touch -d '2001-02-03 00:00:01' a/manifests/1.0; setfattr -n user.note -v 'its own' a/manifests/1.0
            $ mkdir b c; ln a/layers/$LAYER b/layers/$LAYER; ln b/layers/$LAYER c/layers/$LAYER
            $ cp -a a/manifests/1.0 c/manifests/1.0
            $ ln a/manifests/1.0 a/manifests/latest; ln a/manifests/1.0 a/manifests/x; mv a/manifests/x a/manifests/renamed
            $ mv a d
            {shown}"
        ),
    );
    mount.remount();
    session_with(&mount, &[("LAYER", &layer)], shown);
}

#[test]
fn what_moves_to_another_repository_takes_everything_along() {
    needs!("fuse", "root", "setfattr", "getfattr");
    let (mount, layer, _) = filled();
    session_with(
        &mount,
        &[("LAYER", &layer)],
        "
        $ f=a/layers/$LAYER; chown 5:6 $f; chmod 600 $f; touch -d 2001-02-03 $f; setfattr -n user.note -v mine $f
        $ mkdir b; mv a/layers/$LAYER b/layers/$LAYER; stat -c '%u:%g %a %Y' b/layers/$LAYER; getfattr --only-values -n user.note b/layers/$LAYER; echo
        5:6 600 981158400
        mine
        ",
    );
}

/// What a tool sets before it closes is for what it writes, also when that takes the place of another.
#[test]
fn what_is_set_while_a_layer_is_written_over_stays() {
    needs!("fuse", "setfattr", "getfattr");
    let (mut mount, layer, _) = filled();
    let shown = "
        $ stat -c '%a %Y' a/layers/$LAYER a/manifests/1.0; getfattr --only-values -n user.note a/layers/$LAYER; echo; getfattr --only-values -n user.note a/manifests/1.0; echo
        604 981158400
        640 981158400
        new
        new
        ";
    session_with(
        &mount,
        &[("LAYER", &layer)],
        &format!(
            "
            $ printf hello > ../layer; setfattr -n user.note -v new ../layer; chmod 604 ../layer; touch -d 2001-02-03 ../layer
            $ cp a/manifests/1.0 ../manifest; setfattr -n user.note -v new ../manifest; chmod 640 ../manifest; touch -d 2001-02-03 ../manifest
            $ setfattr -n user.note -v old a/layers/$LAYER; setfattr -n user.note -v old a/manifests/1.0
            $ cp --preserve=all ../layer a/layers/$LAYER; cp --preserve=all ../manifest a/manifests/1.0
            {shown}"
        ),
    );
    mount.remount();
    session_with(&mount, &[("LAYER", &layer)], shown);
}

/// docker-registry writes into the link that is there.
#[test]
fn a_tag_that_docker_registry_pushes_again_keeps_its_attributes() {
    needs!("fuse", "root", "docker-registry", "curl", "setfattr", "getfattr");
    let (mount, ..) = filled();
    let registry = Registry::serve(mount.store());
    session_with(
        &mount,
        &[("REGISTRY", &registry.address())],
        "
        $ chown 5:6 a/manifests/1.0; chmod 640 a/manifests/1.0; setfattr -n user.note -v mine a/manifests/1.0; touch -d 2001-02-03 a/manifests/1.0
        $ curl -sf -o /dev/null -X PUT -H 'Content-Type: application/vnd.oci.image.manifest.v1+json' --data-binary @a/manifests/1.0 http://$REGISTRY/v2/a/manifests/1.0
        $ sleep 1.1; stat -c '%u:%g %a' a/manifests/1.0; getfattr --only-values -n user.note a/manifests/1.0; echo
        5:6 640
        mine
        $ test $(( $(date +%s) - $(stat -c %Y a/manifests/1.0) )) -le 20
        ",
    );
}
