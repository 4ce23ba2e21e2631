//! Folders in `uploads/`: trees of files on their way to be layers.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use common::{Mount, image, needs, session, session_with};
use std::fs;

#[test]
fn an_image_is_unpacked_into_uploads_and_its_files_become_layers() {
    needs!("fuse", "umoci", "busybox", "jq");
    let image = image();
    let mount = Mount::empty();
    let variables = image.variables();
    let variables: Vec<_> = variables.iter().map(|(name, value)| (&**name, &**value)).collect();
    session_with(
        &mount,
        &variables,
        r#"
        $ mkdir -p a/uploads/image
        $ cd a
        $ tar c -C $LAYOUT . | tar x -C uploads/image
        $ diff -r $LAYOUT uploads/image
        $ cd uploads/image/blobs/sha256
        $ for digest in $CONFIG $LAYER1 $LAYER2 $LAYER3; do mv ${digest#sha256:} ../../../../layers/$digest; done
        $ m=$MANIFEST; mv ${m#sha256:} ../../../../manifests/1.35
        $ ls
        $ cd ../../../..
        $ cmp $MANIFEST_FILE manifests/1.35
        $ cmp $LAYER2_FILE layers/$LAYER2
        "#,
    );
    session(
        &mount,
        "
        $ rm -r a/uploads/image
        $ ls -A a/uploads
    ",
    );
}

#[test]
fn a_tree_is_copied_moved_and_removed() {
    needs!("fuse");
    let mount = Mount::empty();
    session(
        &mount,
        "
        $ mkdir -p ../tree/b/c a
        $ echo one > ../tree/one; echo two > ../tree/b/c/two
        $ cp -r ../tree a/uploads/
        $ cd a/uploads
        $ find . | sort
        .
        ./tree
        ./tree/b
        ./tree/b/c
        ./tree/b/c/two
        ./tree/one
        $ mv tree/b/c/two tree/b/one
        $ rmdir tree/b/c
        $ rmdir tree/b
        rmdir: failed to remove 'tree/b': Directory not empty
        [exit 1]
        $ mkdir tree
        mkdir: cannot create directory 'tree': File exists
        [exit 1]
        $ mkdir empty; mv empty tree/renamed; ls tree
        b
        one
        renamed
        $ mv tree/b tree/renamed/b
        $ cat tree/renamed/b/one
        two
        $ mv -T tree/one tree/renamed
        mv: cannot overwrite directory 'tree/renamed' with non-directory
        [exit 1]
        $ cat tree/one/x
        cat: tree/one/x: Not a directory
        [exit 1]
        $ rm -r tree
        $ ls -A
        ",
    );
}

#[test]
fn a_folder_has_attributes_and_its_time_is_that_of_the_last_change() {
    needs!("fuse");
    let mount = Mount::empty();
    session(
        &mount,
        "
        $ mkdir -p a/uploads/folder
        $ cd a/uploads
        $ chmod 700 folder; chown 1:2 folder; touch -d '2020-01-01 UTC' folder
        $ stat -c '%A %u %g %Y' folder
        drwx------ 1 2 1577836800
        $ touch folder/file; find folder -maxdepth 0 -newermt 2021-01-01
        folder
        $ touch -d '2020-01-01 UTC' folder; mv folder/file folder/other; find folder -maxdepth 0 -newermt 2021-01-01
        folder
        $ touch -d '2020-01-01 UTC' folder; rm folder/other; find folder -maxdepth 0 -newermt 2021-01-01
        folder
        $ stat -c %A folder
        drwx------
        ",
    );
}

/// A store knows uploads and their names. So a folder lasts as long as something is in it, and an
/// empty one as long as the mount.
#[test]
fn a_folder_lasts_with_what_is_in_it() {
    needs!("fuse");
    let mut mount = Mount::empty();
    session(
        &mount,
        "
        $ mkdir -p a/uploads/full/deep a/uploads/empty
        $ echo hi > a/uploads/full/deep/file
    ",
    );
    let other = Mount::of_store(mount.store());
    session(
        &other,
        "
        $ ls a/uploads
        full
        $ cat a/uploads/full/deep/file
        hi
    ",
    );
    mount.remount();
    session(
        &mount,
        "
        $ ls a/uploads
        full
        $ cat a/uploads/full/deep/file
        hi
        $ rm a/uploads/full/deep/file
        $ ls a/uploads/full
        deep
        $ rmdir a/uploads/full/deep a/uploads/full
    ",
    );
}

#[test]
fn names_have_at_most_255_bytes_and_say_so() {
    needs!("fuse");
    let mount = Mount::empty();
    let longest = "n".repeat(255);
    session_with(
        &mount,
        &[("LONGEST", &longest)],
        "
        $ mkdir -p a/uploads/$LONGEST
        $ cd a/uploads
        $ echo hi > $LONGEST/$LONGEST; cat $LONGEST/$LONGEST
        hi
        $ touch x$LONGEST
        touch: …File name too long
        [exit 1]
        $ mkdir x$LONGEST
        mkdir: …File name too long
        [exit 1]
        $ mv $LONGEST/$LONGEST x$LONGEST
        mv: …File name too long
        [exit 1]
        $ cat $LONGEST/$LONGEST
        hi
        ",
    );
    mount.assert_error(&["ENAMETOOLONG", "255 bytes"]);
}

#[test]
fn a_removed_upload_goes_on_for_who_has_it_open() {
    needs!("fuse", "python3");
    let mount = Mount::empty();
    let script = "
import os
file = open('scratch', 'w+b', buffering=0)
os.unlink('scratch')
print(os.listdir('.'), os.fstat(file.fileno()).st_nlink)
file.write(b'still here')
file.truncate(5)
os.fsync(file.fileno())
file.seek(0)
print(file.read(), os.fstat(file.fileno()).st_size)
";
    fs::write(mount.beside().join("script.py"), script).unwrap();
    session(
        &mount,
        "
        $ mkdir a
        $ cd a/uploads
        $ python3 ../../../script.py
        [] 0
        b'still' 5
        $ ls -A
        ",
    );
    let uploads = mount.store().join("docker/registry/v2/repositories/a/_uploads");
    assert_eq!(fs::read_dir(uploads).unwrap().count(), 0);
}

#[test]
fn room_is_reserved_for_an_upload_and_holes_are_punched() {
    needs!("fuse", "fallocate", "getfattr");
    let mount = Mount::empty();
    session(
        &mount,
        "
        $ mkdir a
        $ cd a/uploads
        $ fallocate -l 4M new; stat -c %s new
        4194304
        $ head -c 4M /dev/urandom > new; getfattr --only-values -n user.regfs.digest new > ../../../before
        $ fallocate -p -o 1M -l 1M new; stat -c %s new
        4194304
        $ cmp -n 1048576 -i 1048576:0 new /dev/zero
        $ fallocate -z -o 3M -l 2M new; stat -c %s new
        5242880
        $ fallocate -n -o 5M -l 8M new; stat -c %s new
        5242880
        $ [ sha256:$(sha256sum < new | cut -c-64) = $(getfattr --only-values -n user.regfs.digest new) ]
        $ [ $(cat ../../../before) != $(getfattr --only-values -n user.regfs.digest new) ]
        $ fallocate -c -l 1M new
        fallocate: fallocate failed: Operation not supported
        [exit 1]
        ",
    );
    // What was punched out is given back, and what was reserved is taken.
    session(&mount, "
        $ [ $(du -k ../store/docker/registry/v2/repositories/a/_uploads/*/data | cut -f1) -ge 12288 ]
        $ fallocate -p -l 5M a/uploads/new
        $ [ $(du -k ../store/docker/registry/v2/repositories/a/_uploads/*/data | cut -f1) -lt 9216 ]
    ");
}
