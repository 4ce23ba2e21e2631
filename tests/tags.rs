//! Tags: names that move, without any content moving with them.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use common::{Mount, digest_of, manifest_of, needs, noise, run_in, session, session_with};
use std::{fs, os::unix::fs::MetadataExt as _};

/// A mount with two manifests, in `../one` and `../two`, and what they are called by digest.
fn two_manifests() -> (Mount, [String; 2]) {
    let mount = Mount::empty();
    let config = mount.push_layer("a", b"{}");
    let one = manifest_of((&config, 2), &[]);
    let two = manifest_of((&config, 2), &[(&config, 2)]);
    fs::write(mount.beside().join("one"), &one).unwrap();
    fs::write(mount.beside().join("two"), &two).unwrap();
    (mount, [digest_of(one.as_bytes()), digest_of(two.as_bytes())])
}

#[test]
fn a_manifest_is_tagged_with_ln() {
    needs!("fuse");
    let (mount, [one, two]) = two_manifests();
    session_with(
        &mount,
        &[("ONE", &one), ("TWO", &two)],
        "
        $ cd a
        $ cp ../../one manifests/1.0
        $ ln manifests/1.0 manifests/latest
        $ ls manifests
        1.0
        latest
        $ cmp manifests/latest ../../one
        $ cp ../../two manifests/2.0
        $ cmp manifests/latest ../../one
        $ ln manifests/2.0 manifests/latest
        ln: failed to create hard link 'manifests/latest': File exists
        [exit 1]
        $ ln -f manifests/2.0 manifests/latest
        $ cmp manifests/latest ../../two
        $ ln manifests/$ONE manifests/old
        $ cmp manifests/old ../../one
        $ ls manifests
        1.0
        2.0
        latest
        old
        ",
    );
}

#[test]
fn a_tag_is_renamed_with_mv() {
    needs!("fuse");
    let (mount, _) = two_manifests();
    session(
        &mount,
        "
        $ cd a
        $ cp ../../one manifests/rc
        $ mv manifests/rc manifests/1.1
        $ ls manifests
        1.1
        $ cmp manifests/1.1 ../../one
        $ cp ../../two manifests/rc
        $ mv -n manifests/rc manifests/1.1
        $ cmp manifests/1.1 ../../one
        $ mv manifests/rc manifests/1.1
        $ cmp manifests/1.1 ../../two
        $ ls manifests
        1.1
        ",
    );
}

#[test]
fn two_tags_are_exchanged_at_once() {
    needs!("fuse", "python3");
    let (mount, _) = two_manifests();
    let exchange = "import ctypes,sys; libc=ctypes.CDLL(None,use_errno=True); \
                    a,b=(x.encode() for x in sys.argv[1:]); \
                    sys.exit(libc.renameat2(-100,a,-100,b,2) and ctypes.get_errno())";
    session_with(
        &mount,
        &[("EXCHANGE", exchange)],
        "
        $ cd a/manifests
        $ cp ../../../one blue; cp ../../../two green
        $ python3 -c \"$EXCHANGE\" blue green
        $ cmp blue ../../../two
        $ cmp green ../../../one
        $ ls
        blue
        green
        ",
    );
}

#[test]
fn a_tag_is_removed_with_rm_and_the_manifest_stays() {
    needs!("fuse");
    let (mount, [one, _]) = two_manifests();
    session_with(
        &mount,
        &[("ONE", &one)],
        "
        $ cd a
        $ cp ../../one manifests/1.0
        $ rm manifests/1.0
        $ ls manifests
        $ cat manifests/1.0
        cat: manifests/1.0: No such file or directory
        [exit 1]
        $ cmp manifests/$ONE ../../one
        $ ln manifests/$ONE manifests/1.0
        $ cmp manifests/1.0 ../../one
        ",
    );
}

#[test]
fn a_manifest_removed_by_its_digest_takes_its_tags_with_it() {
    needs!("fuse");
    let (mount, [one, _]) = two_manifests();
    session_with(
        &mount,
        &[("ONE", &one)],
        "
        $ cd a
        $ cp ../../one manifests/1.0; ln manifests/1.0 manifests/latest; cp ../../two manifests/2.0
        $ rm manifests/$ONE
        $ ls manifests
        2.0
        $ cat manifests/$ONE
        cat: 'manifests/$ONE': No such file or directory
        [exit 1]
        $ cp ../../one manifests/1.0 && cmp manifests/$ONE ../../one
        ",
    );
}

#[test]
fn tagging_and_mounting_layers_elsewhere_moves_no_content() {
    needs!("fuse");
    let (mount, _) = two_manifests();
    let length = 5 << 20;
    let layer = mount.push_layer("a", &noise(11, length));
    run_in(mount.path(), "cp ../one a/manifests/1.0; cp ../one a/manifests/rc; mkdir b c d");
    let blobs = mount.store().join("docker/registry/v2/blobs");
    let state = || {
        let file = fs::metadata(mount.blob_file(&layer)).unwrap();
        let usage = run_in(&blobs, "find . -type f -printf '%i %s %p\\n' | sort");
        (file.ino(), file.mtime(), file.mtime_nsec(), usage)
    };
    let (state_before, written_before) = (state(), mount.metric("regfs_bytes_written_total"));
    session_with(
        &mount,
        &[("LAYER", &layer)],
        "
        $ ln a/manifests/1.0 a/manifests/latest
        $ mv a/manifests/rc a/manifests/1.1
        $ ln a/layers/$LAYER b/layers/$LAYER
        $ cp a/layers/$LAYER c/layers/$LAYER
        $ cp a/layers/$LAYER c/layers
        $ cp -a a/layers/$LAYER d/layers
        $ cmp a/layers/$LAYER b/layers/$LAYER && cmp b/layers/$LAYER c/layers/$LAYER
        $ ln a/layers/$LAYER b/layers/$LAYER
        ln: failed to create hard link 'b/layers/$LAYER': File exists
        [exit 1]
        $ rm a/layers/$LAYER
        $ mv b/layers/$LAYER a/layers/$LAYER
        $ ls b/layers
        $ ls a/layers c/layers d/layers | grep -c $LAYER
        3
        ",
    );
    assert_eq!(state(), state_before);
    let written = mount.metric("regfs_bytes_written_total") - written_before;
    assert!(written < length as f64, "{written} bytes were written to say who has what");
}

#[test]
fn a_copied_layer_travels_as_one_copy_file_range() {
    needs!("fuse", "strace");
    let mount = Mount::empty();
    let layer = mount.push_layer("a", &noise(12, 3 << 20));
    session_with(
        &mount,
        &[("LAYER", &layer)],
        "
        $ mkdir b
        $ strace -o ../trace -e trace=copy_file_range,write cp a/layers/$LAYER b/layers/$LAYER
        $ grep -c 'copy_file_range.* = 3145728' ../trace
        1
        $ grep -c '^write' ../trace
        0
        [exit 1]
        $ cmp a/layers/$LAYER b/layers/$LAYER
        ",
    );
}

#[test]
fn a_layer_cannot_be_linked_under_another_digest() {
    needs!("fuse");
    let mount = Mount::empty();
    let layer = mount.push_layer("a", b"hello");
    session_with(
        &mount,
        &[("LAYER", &layer), ("OTHER", &digest_of(b"other"))],
        "
        $ ln a/layers/$LAYER a/layers/$OTHER
        ln: failed to create hard link 'a/layers/$OTHER' => 'a/layers/$LAYER': Bad message
        [exit 1]
        $ mv a/layers/$LAYER a/layers/$OTHER
        mv: cannot move 'a/layers/$LAYER' to 'a/layers/$OTHER': Bad message
        [exit 1]
        $ cp a/layers/$LAYER a/layers/$OTHER
        cp: …Bad message
        [exit 1]
        $ ls a/layers
        $LAYER
        ",
    );
}

#[test]
fn a_listing_is_whole_while_tags_come_and_go() {
    needs!("fuse");
    const STAYING: usize = 2500;
    let (mount, _) = two_manifests();
    let tags = mount.store().join("docker/registry/v2/repositories/a/_manifests/tags");
    run_in(mount.path(), "cp ../one a/manifests/stay-0");
    // Made as docker-registry makes them; the way through the mount is tried below.
    let digest = fs::read_to_string(tags.join("stay-0/current/link")).unwrap();
    for number in 1..STAYING {
        let tag = tags.join(format!("stay-{number}"));
        let index = tag.join("index").join(digest.replace(':', "/"));
        for folder in [tag.join("current"), index] {
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("link"), &digest).unwrap();
        }
    }
    let churn = "i=0; while [ -e ../go ]; do i=$((i+1)); ln a/manifests/stay-0 a/manifests/move-$((i%7)) 2>/dev/null; rm -f a/manifests/move-$(((i+3)%7)); done";
    run_in(mount.path(), "touch ../go");
    std::thread::scope(|scope| {
        scope.spawn(|| run_in(mount.path(), churn));
        for _ in 0..12 {
            let listed = run_in(
                mount.path(),
                "ls -f a/manifests | sort > ../listed; uniq -d ../listed; grep -c stay- ../listed",
            );
            assert_eq!(listed.trim(), STAYING.to_string(), "repeated names, then how many");
        }
        fs::remove_file(mount.beside().join("go")).unwrap();
    });
    session_with(
        &mount,
        &[("STAYING", &STAYING.to_string())],
        "
        $ rm -f a/manifests/move-*
        $ ls a/manifests | wc -l
        $STAYING
        $ rm a/manifests/stay-1*
        $ ls a/manifests | grep -c stay-1
        0
        [exit 1]
        $ rm -r a/manifests/*
        $ ls a/manifests
        ",
    );
}

#[test]
fn what_refers_to_a_moving_tag_always_sees_one_or_the_other() {
    needs!("fuse");
    let (mount, [one, two]) = two_manifests();
    session_with(
        &mount,
        &[("ONE", &one), ("TWO", &two)],
        "
        $ cp ../one a/manifests/t
        $ for n in $(seq 100); do cp ../two a/manifests/t; ln -f a/manifests/$ONE a/manifests/t; done & for n in $(seq 300); do sha256sum < a/manifests/t; done | sort -u | sed 's/  -//; s/^/sha256:/' > ../seen; wait
        $ printf '%s\\n' $ONE $TWO | sort > ../allowed
        $ grep -vxFf ../allowed ../seen
        [exit 1]
        ",
    );
}
