//! Browsing: what the tree looks like, and how its folders are made, moved and removed.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use common::{Mount, manifest_of, needs, session, session_with};

#[test]
fn a_new_registry_is_empty() {
    needs!("fuse");
    session(
        Mount::empty(),
        "
        $ ls -A
        $ find .
        .
        $ df . > /dev/null
        $ rmdir .regfs
        rmdir: failed to remove '.regfs': …
        [exit 1]
        ",
    );
}

#[test]
fn a_new_folder_is_a_repository_and_a_folder_in_it_makes_it_a_namespace() {
    needs!("fuse");
    session(
        Mount::empty(),
        "
        $ mkdir a
        $ ls
        a
        $ ls a
        layers
        manifests
        uploads
        $ mkdir a/b
        $ ls a
        b
        $ ls a/b
        layers
        manifests
        uploads
        $ ls a/layers a/manifests
        a/layers:
        a/manifests:
        $ printf x > a/uploads/x
        $ ls a
        b
        layers
        manifests
        uploads
        ",
    );
}

#[test]
fn repositories_nest() {
    needs!("fuse");
    let mount = Mount::empty();
    let layer = mount.push_layer("a", b"one");
    let deep = mount.push_layer("a/b/c/d/e/f/g", b"two");
    session_with(
        &mount,
        &[("LAYER", &layer), ("DEEP", &deep)],
        "
        $ ls a a/b
        a:
        b
        layers
        manifests
        uploads
        a/b:
        c
        $ ls a/layers a/b/c/d/e/f/g/layers
        a/b/c/d/e/f/g/layers:
        $DEEP
        a/layers:
        $LAYER
        $ ls a/b/c/layers
        $ mkdir -p a/b/c/d
        $ mkdir a
        mkdir: cannot create directory 'a': File exists
        [exit 1]
        $ mkdir x/y
        mkdir: cannot create directory 'x/y': No such file or directory
        [exit 1]
        ",
    );
}

#[test]
fn an_empty_repository_is_removed_with_rmdir() {
    needs!("fuse");
    session(
        Mount::empty(),
        "
        $ mkdir -p a/b
        $ rmdir a
        rmdir: failed to remove 'a': Directory not empty
        [exit 1]
        $ rmdir a/b
        $ rmdir a
        $ ls -A
        $ mkdir -p a/b/c
        $ rmdir -p a/b/c
        $ ls -A
        $ mkdir a
        $ printf x > a/uploads/x
        $ rmdir a
        rmdir: failed to remove 'a': Directory not empty
        [exit 1]
        $ rm a/uploads/x
        $ rmdir a
        $ ls -A
        ",
    );
}

#[test]
fn a_repository_is_removed_with_rm_r() {
    needs!("fuse", "umoci", "busybox", "jq");
    let image = common::image();
    let mount = Mount::with_image(&image);
    mount.push_image(&image, "library/other", "latest");
    session(
        &mount,
        "
        $ printf x > library/busybox/uploads/x
        $ rm -r library/busybox
        $ ls library
        other
        $ rm -rf library
        $ ls -A
        $ mkdir -p library/busybox
        $ ls library/busybox/manifests library/busybox/layers
        library/busybox/layers:
        library/busybox/manifests:
        ",
    );
    let repositories = mount.store().join("docker/registry/v2/repositories/library");
    assert!(!repositories.join("other").exists());
}

#[test]
fn a_repository_is_renamed_with_mv() {
    needs!("fuse");
    let mount = Mount::empty();
    let layer = mount.push_layer("old/name", b"one");
    let below = mount.push_layer("old/name/below", b"two");
    let manifest = manifest_of((&layer, 3), &[]);
    session_with(
        &mount,
        &[("LAYER", &layer), ("BELOW", &below), ("TEXT", &manifest)],
        "
        $ printf %s \"$TEXT\" | tee old/name/manifests/1.0 > /dev/null
        $ printf x > old/name/uploads/x
        $ mkdir new
        $ mv old/name new/name
        $ ls old
        layers
        manifests
        uploads
        $ cat new/name/manifests/1.0; echo
        $TEXT
        $ cat new/name/layers/$LAYER new/name/below/layers/$BELOW new/name/uploads/x; echo
        onetwox
        $ mkdir -p full && cp new/name/layers/$LAYER full/layers
        $ mv -T new/name full
        mv: cannot move 'new/name' to 'full': Directory not empty
        [exit 1]
        $ mkdir empty && mv -T new/name empty && cat empty/layers/$LAYER; echo
        one
        $ mv empty empty/inside
        mv: cannot move 'empty' to a subdirectory of itself, 'empty/inside'
        [exit 1]
        ",
    );
}

#[test]
fn what_else_lies_in_a_repository_stays_where_it_is() {
    needs!("fuse");
    session(
        Mount::empty(),
        "
        $ mkdir a b
        $ mv a/layers b/elsewhere
        mv: …
        [exit 1]
        $ mkdir a/layers
        mkdir: cannot create directory 'a/layers': File exists
        [exit 1]
        $ mkdir -p a/layers a/manifests a/uploads
        $ ls a
        layers
        manifests
        uploads
        $ echo hi | tee file
        tee: file: …
        hi
        [exit 1]
        $ echo hi | tee a/file
        tee: a/file: …
        hi
        [exit 1]
        $ ln -s a link
        ln: failed to create symbolic link 'link': Operation not permitted
        [exit 1]
        $ mkfifo a/uploads/pipe
        mkfifo: cannot create fifo 'a/uploads/pipe': Operation not permitted
        [exit 1]
        $ ls -A . a/uploads
        .:
        a
        b
        a/uploads:
        ",
    );
}

#[test]
fn a_folder_that_another_program_made_in_the_store_is_seen() {
    needs!("fuse");
    let mount = Mount::empty();
    session_with(
        &mount,
        &[("STORE", mount.store().to_str().unwrap())],
        "
        $ ls -A
        $ mkdir -p $STORE/docker/registry/v2/repositories/made/elsewhere/_layers
        $ sleep 1.1; ls
        made
        $ ls made
        elsewhere
        $ rm -r $STORE/docker/registry/v2/repositories/made
        $ sleep 1.1; ls -A
        ",
    );
}

#[test]
fn the_room_that_is_left_is_that_of_the_store() {
    needs!("fuse");
    let mount = Mount::empty();
    session_with(
        &mount,
        &[("STORE", mount.store().to_str().unwrap())],
        "
        $ df --output=size . > ../mounted; df --output=size $STORE | cmp - ../mounted
        $ test $(stat -f -c %l .) -ge 255
        ",
    );
}

#[test]
fn the_control_files_tell_what_goes_on() {
    needs!("fuse", "jq");
    let mount = Mount::empty();
    session_with(
        &mount,
        &[("MOUNT", mount.path().to_str().unwrap())],
        "
        $ ls -A
        $ cat .regfs/version
        *
        $ grep -c . .regfs/metrics | grep -v '^0$'
        …
        $ jq -r .pid .regfs/status | grep -v '[^0-9]'
        …
        $ echo x | tee .regfs/errors
        tee: …
        x
        [exit 1]
        $ rm .regfs/errors
        rm: cannot remove '.regfs/errors': …
        [exit 1]
        $ cd $MOUNT/..
        $ regfs status mnt > /dev/null
        ",
    );
}
