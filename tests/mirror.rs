//! Mirroring a registry with rsync.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;
#[path = "mirror/daemon.rs"]
mod daemon;
#[path = "mirror/interrupted.rs"]
mod interrupted;
#[path = "mirror/options.rs"]
mod options;
#[path = "mirror/source.rs"]
mod source;
#[path = "mirror/ways.rs"]
mod ways;

use common::{Mount, image, manifest_of, needs, noise, run_in, session_with};

/// A registry with two repositories, an image, an untagged layer and attributes of its own.
fn source() -> Mount {
    let mount = Mount::with_image(&image());
    mount.push_image(&image(), "deep/er/image", "latest");
    let layer = mount.push_layer("deep/er", &noise(1, 100_000));
    let manifest = manifest_of((&layer, 100_000), &[]);
    run_in(
        mount.path(),
        &format!(
            "cd deep/er
            printf %s '{manifest}' | tee manifests/1.0 > /dev/null
            ln manifests/1.0 manifests/latest
            chmod 600 layers/{layer}
            touch -d '2001-02-03 04:05:06' layers/{layer} manifests/1.0
            echo unfinished > uploads/not-yet"
        ),
    );
    mount
}

#[test]
fn rsync_mirrors_a_registry_and_the_second_time_has_nothing_to_do() {
    needs!("fuse", "rsync", "umoci", "busybox", "jq");
    let (from, to) = (source(), Mount::empty());
    let manifest = image().manifest;
    session_with(
        from.beside(),
        &[("TO", to.path().to_str().unwrap()), ("MANIFEST", &manifest)],
        "
        $ rsync -a --exclude uploads mnt/ $TO/
        $ diff -r --exclude uploads mnt $TO
        $ cmp $TO/library/busybox/manifests/$MANIFEST mnt/library/busybox/manifests/1.35
        $ sh -c 'cd mnt; find . -type f ! -path \"*/uploads/*\" -printf \"%P %m %s %U:%G %Ts\\n\" | sort' > attributes
        $ sh -c 'cd $TO; find . -type f -printf \"%P %m %s %U:%G %Ts\\n\" | sort' | diff attributes -
        $ grep -c '600 100000.* 981173106' attributes
        1
        $ rsync -ai --exclude uploads mnt/ $TO/
        $ rsync -a --stats --exclude uploads mnt/ $TO/ | grep 'regular files transferred'
        Number of regular files transferred: 0
        $ find $TO -name 'not-yet' -o -name '.*.??????'
        ",
    );
    // Equal after a restart as well, since what was mirrored is on disk.
    let mut to = to;
    to.remount();
    session_with(
        from.beside(),
        &[("TO", to.path().to_str().unwrap())],
        "$ rsync -ai --exclude uploads mnt/ $TO/",
    );
}

#[test]
fn rsync_brings_what_is_new_and_removes_what_is_gone() {
    needs!("fuse", "rsync", "umoci", "busybox", "jq");
    let (from, to) = (source(), Mount::empty());
    session_with(
        from.beside(),
        &[("TO", to.path().to_str().unwrap())],
        "
        $ rsync -a --delete --exclude uploads mnt/ $TO/
        $ rm mnt/deep/er/manifests/latest
        $ ln mnt/library/busybox/manifests/1.35 mnt/library/busybox/manifests/new
        $ rsync -a --delete --exclude uploads mnt/ $TO/
        $ diff -r --exclude uploads mnt $TO
        $ ls $TO/library/busybox/manifests $TO/deep/er/manifests
        …:
        1.0
        …:
        1.35
        new
        ",
    );
}

#[test]
fn rsync_brings_a_registry_out_to_a_disk_and_back() {
    needs!("fuse", "rsync", "umoci", "busybox", "jq");
    let (from, to) = (source(), Mount::empty());
    session_with(
        from.beside(),
        &[("TO", to.path().to_str().unwrap())],
        "
        $ rsync -a --exclude uploads mnt/ disk/
        $ diff -r --exclude uploads mnt disk
        $ rsync -a disk/ $TO/
        $ diff -r --exclude uploads disk $TO
        $ rsync -ai disk/ $TO/
        ",
    );
}

#[test]
fn cp_mirrors_a_repository_too() {
    needs!("fuse", "umoci", "busybox", "jq");
    let (from, to) = (source(), Mount::empty());
    // `/.` since cp makes the folders of a new folder without looking, and here they are at once.
    session_with(
        from.beside(),
        &[("TO", to.path().to_str().unwrap())],
        "
        $ mkdir -p $TO/library/busybox mnt/copy
        $ cp -a mnt/library/busybox/. $TO/library/busybox
        $ diff -r mnt/library $TO/library
        $ cp -a mnt/library/busybox/. mnt/copy
        $ diff -r mnt/library/busybox mnt/copy
        $ tar cf disk.tar -C mnt library && tar xf disk.tar -C $TO
        $ diff -r mnt/library $TO/library
        ",
    );
}
