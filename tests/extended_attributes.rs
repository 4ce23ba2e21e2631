//! Extended attributes that people and tools set: every kind of value, wherever they may be.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use common::{Mount, digest_of, manifest_of, needs, session_with};
use std::fs;

/// What setfattr cannot type: run as `python3 ../attributes FILE…`. Prints what is wrong.
const PROGRAM: &str = r#"
import errno, os, sys

def refused(number, call, *arguments):
    try:
        call(*arguments)
    except OSError as error:
        if error.errno != number:
            print(sys.argv[0], call.__name__, arguments[:2], error)
        return True
    print(call.__name__, arguments[:2], "is not refused")

for name in sys.argv[2:]:
    before = sorted(os.listxattr(name))
    if sys.argv[1] == "set":
        os.setxattr(name, "user.empty", b"")
        os.setxattr(name, "user.binary", b"\0a\xff\0\n")
        os.setxattr(name, "user.long", b"x" * 2000)
        os.setxattr(name, "user.long", b"y" * 1500, os.XATTR_REPLACE)
        os.setxattr(name, "user.new", b"once", os.XATTR_CREATE)
        refused(errno.EEXIST, os.setxattr, name, "user.new", b"twice", os.XATTR_CREATE)
        refused(errno.ENODATA, os.setxattr, name, "user.none", b"x", os.XATTR_REPLACE)
        refused(errno.ENODATA, os.removexattr, name, "user.none")
        refused(errno.E2BIG, os.setxattr, name, "user.big", b"x" * 65537)
        for number in range(30):
            os.setxattr(name, "user.many-%d" % number, b"%d" % number)
        for number in range(10, 30):
            os.removexattr(name, "user.many-%d" % number)
    wanted = {"user.empty": b"", "user.binary": b"\0a\xff\0\n", "user.long": b"y" * 1500,
              "user.new": b"once"}
    wanted.update(("user.many-%d" % number, b"%d" % number) for number in range(10))
    has = {key: os.getxattr(name, key) for key in os.listxattr(name)
           if not key.startswith("user.regfs.")}
    if has != wanted:
        print(name, "has", sorted(has.items()))
"#;

#[test]
fn every_kind_of_value_is_kept_wherever_it_is_set() {
    needs!("fuse", "python3");
    let mut mount = Mount::empty();
    let layer = mount.push_layer("a", b"hello");
    let manifest = manifest_of((&layer, 5), &[]);
    let revision = digest_of(manifest.as_bytes());
    fs::write(mount.beside().join("attributes"), PROGRAM).unwrap();
    fs::write(mount.beside().join("manifest"), manifest).unwrap();
    let variables = [("LAYER", &*layer), ("REVISION", &*revision)];
    let names = "a/layers/$LAYER a/manifests/1.0 a/manifests/$REVISION a/uploads/x a a/layers \
                 a/manifests a/uploads .";
    session_with(
        &mount,
        &variables,
        &format!(
            "
            $ cp ../manifest a/manifests/1.0; printf x > a/uploads/x
            $ python3 ../attributes set {names}
            $ python3 ../attributes look {names}
            "
        ),
    );
    let look = format!("$ python3 ../attributes look {names}");
    mount.remount();
    session_with(&mount, &variables, &look);
    mount.kill_daemon();
    mount.mount(&[]);
    session_with(&mount, &variables, &look);
}

#[test]
fn attributes_for_which_the_disk_has_no_room_are_refused_with_the_reason() {
    needs!("fuse", "python3", "getfattr");
    let mount = Mount::empty();
    let layer = mount.push_layer("a", b"hello");
    // A disk that keeps 64 KiB of them has no such limit.
    session_with(
        &mount,
        &[("LAYER", &layer)],
        "
        $ : > ../file; for f in ../file a/layers/$LAYER; do python3 -c 'import os, sys; os.setxattr(sys.argv[1], \"user.big\", b\"x\" * 60000)' $f 2>&1 | tail -n 1 | sed 's/: .[^ ]*$//'; done | uniq | wc -l
        1
        $ getfattr -d --absolute-names ../file | grep -q user.big || grep -c 'ENOSPC: there is no room for this attribute.*ext4 keeps about 4,000 bytes' .regfs/errors | grep -x 1 > /dev/null
        ",
    );
}

#[test]
fn tools_copy_attributes_before_they_close() {
    needs!("fuse", "setfattr", "getfattr", "rsync", "tar");
    let mount = Mount::empty();
    let config = mount.push_layer("a", b"{}");
    let layer = digest_of(b"hello");
    fs::write(mount.beside().join("manifest"), manifest_of((&config, 2), &[])).unwrap();
    session_with(
        &mount,
        &[("LAYER", &layer), ("CONFIG", &config)],
        "
        $ cd ../
        $ mkdir -p src/layers src/manifests; printf hello > src/layers/$LAYER; printf '{}' > src/layers/$CONFIG; cp manifest src/manifests/1.0
        $ for f in src/layers/* src/manifests/1.0; do setfattr -n user.note -v mine $f; setfattr -n user.empty $f; done
        $ mkdir mnt/cp mnt/rsync mnt/tar mnt/shutil
        $ cp --preserve=all src/layers/* mnt/cp/layers; cp --preserve=all src/manifests/1.0 mnt/cp/manifests
        $ rsync -aX src/ mnt/rsync/
        $ tar c --xattrs -C src layers | tar x --xattrs -C mnt/tar
        *
        [exit 2]
        $ tail -n 1 mnt/.regfs/errors
        …mknod tar/layers/…: EPERM: layers and manifests are made and written in one go…
        $ tar c --xattrs -C src/layers $LAYER $CONFIG -C ../manifests 1.0 | tar x --xattrs -C mnt/tar/uploads
        $ (cd mnt/tar/uploads; for f in sha256:*; do mv $f ../layers; done; mv 1.0 ../manifests)
        $ python3 -c 'import shutil, sys; [shutil.copy2(\"src/\" + f, \"mnt/shutil/\" + f) for f in sys.argv[1:]]' layers/$LAYER layers/$CONFIG manifests/1.0
        $ for r in cp rsync tar shutil; do getfattr -d --absolute-names mnt/$r/layers/* mnt/$r/manifests/* | grep -cE '^user.(note=.mine.|empty=..)'; done
        6
        6
        6
        6
        $ rsync -aXi --filter='-x user.regfs.*' src/ mnt/rsync/
        ",
    );
}

#[test]
fn a_refused_manifest_leaves_the_attributes_of_the_tag_alone() {
    needs!("fuse", "setfattr", "getfattr");
    let mount = Mount::empty();
    let config = mount.push_layer("a", b"{}");
    fs::write(mount.beside().join("manifest"), manifest_of((&config, 2), &[])).unwrap();
    session_with(
        &mount,
        &[],
        "
        $ cp ../manifest a/manifests/1.0; setfattr -n user.note -v old a/manifests/1.0
        $ echo no > ../bad; setfattr -n user.note -v new ../bad
        $ cp --preserve=xattr ../bad a/manifests/1.0
        cp: failed to close 'a/manifests/1.0': Invalid argument
        [exit 1]
        $ getfattr --only-values -n user.note a/manifests/1.0; echo
        old
        ",
    );
}

#[test]
fn attributes_of_other_kinds_are_refused_as_on_a_disk_without_them() {
    needs!("fuse", "root", "setfattr");
    let mount = Mount::empty();
    mount.push_layer("a", b"hello");
    session_with(
        &mount,
        &[],
        "
        $ setfattr -n trusted.note -v x a
        setfattr: a: Operation not supported
        [exit 1]
        $ setfattr -n user.regfs.note -v x a
        setfattr: a: Operation not permitted
        [exit 1]
        $ setfattr -n user.note -v x .regfs
        setfattr: .regfs: Operation not supported
        [exit 1]
        ",
    );
}
