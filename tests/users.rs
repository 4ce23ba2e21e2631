//! Several users of one mount: what each may do is what the modes say, as on any disk.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use common::{Mount, digest_of, manifest_of, needs, session, session_with};
use std::{fs, os::unix::fs::PermissionsExt as _};

/// A user with a group of its own, and one that it shares; no machine need know them.
const USER: &str = "setpriv --reuid 1234 --regid 1234 --groups 4321";

/// A new mount that lets others in, and folders that others can enter on the way to it.
fn open_mount() -> Mount {
    let mount = Mount::with_options(&["allow_other"]);
    fs::set_permissions(mount.beside(), fs::Permissions::from_mode(0o755)).unwrap();
    mount
}

#[test]
fn what_is_made_belongs_to_who_makes_it() {
    needs!("fuse", "root", "setpriv");
    let mount = open_mount();
    let layer = digest_of(b"hello");
    let manifest = manifest_of((&layer, 5), &[]);
    fs::write(mount.beside().join("manifest"), manifest).unwrap();
    session_with(
        &mount,
        &[("USER", USER), ("LAYER", &layer)],
        "
        $ chmod 1777 .
        $ $USER mkdir a
        $ $USER sh -c 'printf hello > a/uploads/x; (umask 077; printf x > a/uploads/quiet)'
        $ $USER mv a/uploads/x a/layers/$LAYER
        $ $USER cp ../manifest a/manifests/1.0; $USER ln a/manifests/1.0 a/manifests/latest
        $ stat -c '%u:%g %a %n' a a/layers a/manifests a/uploads a/layers/* a/manifests/* a/uploads/*
        1234:1234 755 a
        1234:1234 755 a/layers
        1234:1234 755 a/manifests
        1234:1234 755 a/uploads
        1234:1234 644 a/layers/$LAYER
        1234:1234 644 a/manifests/1.0
        1234:1234 644 a/manifests/latest
        1234:1234 600 a/uploads/quiet
        $ (umask 027; $USER mkdir b); stat -c '%u:%g %a %n' b b/layers
        1234:1234 750 b
        1234:1234 750 b/layers
        $ printf hello > a/uploads/roots; stat -c %u:%g a/uploads/roots
        0:0
        ",
    );
}

#[test]
fn a_folder_with_the_set_group_id_bit_gives_its_group_to_what_is_made_in_it() {
    needs!("fuse", "root", "setpriv");
    let mount = open_mount();
    session_with(
        &mount,
        &[("USER", USER), ("LAYER", &digest_of(b"hello"))],
        "
        $ mkdir team; chgrp 4321 team; chmod 2775 team
        $ (umask 002; $USER mkdir team/app)
        $ $USER sh -c 'umask 002; printf hello > team/app/uploads/x; mv team/app/uploads/x team/app/layers/$LAYER'
        $ stat -c '%u:%g %a %n' team/app team/app/layers team/app/layers/$LAYER
        1234:4321 2775 team/app
        1234:4321 2775 team/app/layers
        1234:4321 664 team/app/layers/$LAYER
        ",
    );
}

#[test]
fn another_user_pushes_where_the_folders_of_a_repository_let_it() {
    needs!("fuse", "root", "setpriv");
    let mount = open_mount();
    session_with(
        &mount,
        &[("USER", USER), ("LAYER", &digest_of(b"hello")), ("ROOTS", &digest_of(b"roots"))],
        "
        $ mkdir a; printf roots > a/layers/$ROOTS; printf hello > ../file; chmod 644 ../file
        $ $USER mkdir b
        mkdir: cannot create directory 'b': Permission denied
        [exit 1]
        $ $USER cp ../file a/uploads/x
        cp: cannot create regular file 'a/uploads/x': Permission denied
        [exit 1]
        $ $USER cp ../file a/layers/$LAYER
        cp: cannot create regular file 'a/layers/$LAYER': Permission denied
        [exit 1]
        $ chmod 1777 a/uploads; $USER cp ../file a/uploads/x; $USER mv a/uploads/x a/layers/$LAYER
        mv: cannot move 'a/uploads/x' to 'a/layers/$LAYER': Permission denied
        [exit 1]
        $ chmod 1777 a/layers; $USER mv a/uploads/x a/layers/$LAYER
        $ $USER rm -f a/layers/$ROOTS
        rm: cannot remove 'a/layers/$ROOTS': Operation not permitted
        [exit 1]
        $ $USER rm a/layers/$LAYER; ls a/layers
        $ROOTS
        ",
    );
}

#[test]
fn who_is_not_let_in_is_kept_out_by_the_kernel() {
    needs!("fuse", "root", "setpriv");
    let mount = Mount::empty();
    fs::set_permissions(mount.beside(), fs::Permissions::from_mode(0o755)).unwrap();
    session_with(
        mount.beside(),
        &[("USER", USER)],
        "
        $ mkdir mnt/a; chmod 777 mnt
        $ $USER ls mnt
        ls: cannot access 'mnt': Permission denied
        [exit 2]
        $ $USER cat mnt/.regfs/version
        cat: mnt/.regfs/version: Permission denied
        [exit 1]
        $ $USER mkdir mnt/b
        mkdir: cannot create directory 'mnt/b': Permission denied
        [exit 1]
        ",
    );
}

/// Layers are read by the kernel itself, with the rights of who mounted: nobody else has to reach
/// the store.
#[test]
fn layers_are_read_though_the_store_is_closed_to_the_reader() {
    needs!("fuse", "root", "setpriv");
    let mount = open_mount();
    let layer = mount.push_layer("a", b"hello");
    fs::set_permissions(mount.store(), fs::Permissions::from_mode(0o700)).unwrap();
    session_with(
        &mount,
        &[("USER", USER), ("LAYER", &layer)],
        "
        $ chmod 644 a/layers/$LAYER; $USER cat a/layers/$LAYER; echo
        hello
        $ $USER ls ../store
        ls: cannot open directory '../store': Permission denied
        [exit 2]
        $ chmod 600 a/layers/$LAYER; $USER cat a/layers/$LAYER
        cat: 'a/layers/$LAYER': Permission denied
        [exit 1]
        ",
    );
}

#[test]
fn everybody_reads_why_something_was_refused() {
    needs!("fuse", "root", "setpriv");
    let mount = open_mount();
    session_with(
        &mount,
        &[("USER", USER)],
        "
        $ chmod 1777 .
        $ $USER mkdir UPPER
        mkdir: cannot create directory 'UPPER': Invalid argument
        [exit 1]
        $ $USER tail -n 1 .regfs/errors
        …UPPER: EINVAL…
        $ $USER regfs status . | grep -c 'UPPER: EINVAL'
        …
        $ $USER sh -c 'echo x > .regfs/errors'
        sh: 1: cannot create .regfs/errors: Permission denied
        [exit 2]
        $ $USER touch .regfs/new
        touch: cannot touch '.regfs/new': Permission denied
        [exit 1]
        ",
    );
}

#[test]
fn special_bits_are_kept_on_folders_and_not_on_files() {
    needs!("fuse", "root");
    let mut mount = open_mount();
    let layer = mount.push_layer("a", b"hello");
    let shown = "
        $ stat -c '%a %n' a a/uploads a/layers/$LAYER a/uploads/x
        3775 a
        1777 a/uploads
        755 a/layers/$LAYER
        640 a/uploads/x
        ";
    session_with(
        &mount,
        &[("LAYER", &layer)],
        &format!(
            "
            $ printf x > a/uploads/x
            $ chmod 3775 a; chmod 1777 a/uploads; chmod 6755 a/layers/$LAYER; chmod 7640 a/uploads/x
            {shown}
            $ printf y >> a/uploads/x; truncate -s 1 a/uploads/x; chown 5:6 a a/uploads/x a/layers/$LAYER
            {shown}"
        ),
    );
    mount.remount_with(&["allow_other"]);
    session_with(&mount, &[("LAYER", &layer)], shown);
}

/// README, "Who may do what": the registry may be another user than the one who is kept out.
#[test]
fn a_mode_guards_the_mount_and_not_the_store() {
    needs!("fuse", "root", "setpriv");
    let mount = open_mount();
    let layer = mount.push_layer("a", b"hello");
    fs::write(mount.beside().join("manifest"), manifest_of((&layer, 5), &[])).unwrap();
    session_with(
        &mount,
        &[("USER", USER), ("LAYER", &layer)],
        "
        $ cp ../manifest a/manifests/1.0; chmod 600 a/layers/$LAYER a/manifests/1.0
        $ $USER cat a/layers/$LAYER a/manifests/1.0
        cat: 'a/layers/$LAYER': Permission denied
        cat: a/manifests/1.0: Permission denied
        [exit 1]
        $ find ../store/docker -type f ! -perm -444
        $ $USER sh -c 'cd ../store/docker; find . -type f | xargs cat' | grep -c hello
        1
        ",
    );
}

/// Owners and permissions that the mount shows decide, and what is kept beneath does not change.
#[test]
fn what_the_options_show_is_what_counts() {
    needs!("fuse", "root", "setpriv");
    let mut mount = open_mount();
    let layer = mount.push_layer("a", b"hello");
    mount.remount_with(&["allow_other,uid=1234,gid=1234,umask=077"]);
    session_with(
        &mount,
        &[("USER", USER), ("LAYER", &layer)],
        "
        $ $USER sh -c 'printf x > a/uploads/x; chmod 640 a/uploads/x; stat -c \"%u:%g %a\" a/uploads/x'
        1234:1234 600
        $ setpriv --reuid 5 --regid 5 --clear-groups cat a/layers/$LAYER
        cat: 'a/layers/$LAYER': Permission denied
        [exit 1]
        ",
    );
    mount.remount_with(&["allow_other"]);
    session(&mount, "$ stat -c '%u:%g %a %n' a a/uploads/x\n0:0 755 a\n0:0 640 a/uploads/x");
}
