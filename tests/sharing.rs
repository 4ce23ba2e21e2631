//! One store, several who use it: open files beside new ones, and two mounts at once.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use common::{
    Mount, digest_of, eventually, image, is_root, needs, noise, run_in, session_with, skip,
};
use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

#[test]
fn a_layer_that_somebody_reads_can_be_pushed_again() {
    needs!("fuse");
    let mount = Mount::empty();
    let layer = mount.push_layer("a", &noise(1, 300_000));
    session_with(
        &mount,
        &[("LAYER", &layer)],
        "
        $ cp a/layers/$LAYER ../copy
        $ exec 5< a/layers/$LAYER; head -c 1 <&5 > /dev/null; cp ../copy a/layers/$LAYER && cat <&5 | wc -c
        299999
        $ cmp ../copy a/layers/$LAYER
        ",
    );
}

/// Readers came first under the second inode, too, and a write open in a hundred was refused with
/// "Stale file handle".
#[test]
fn a_layer_is_pushed_again_and_again_while_many_open_it() {
    needs!("fuse");
    // The one is too short to be read from the disk by the kernel itself.
    for length in [20_000, 200_000] {
        push_while_many_open(&noise(3, length));
    }
}

fn push_while_many_open(content: &[u8]) {
    let mount = Mount::empty();
    let layer = mount.push_layer("a", content);
    let path = mount.path().join("a/layers").join(&layer);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    assert_eq!(fs::read(&path).unwrap().len(), content.len());
                }
            });
        }
        let pushed: Vec<_> = (0..500).map(|_| fs::write(&path, content)).collect();
        done.store(true, Ordering::Relaxed);
        let refused: Vec<_> = pushed.into_iter().filter_map(Result::err).collect();
        assert!(refused.is_empty(), "{} refused: {:?}", refused.len(), refused[0]);
    });
    assert_eq!(fs::read(&path).unwrap(), content);
}

/// The blob that docker-registry leaves after a crash is empty; pushing it again replaces it.
#[test]
fn a_layer_that_was_healed_is_read_healed_by_everybody() {
    needs!("fuse");
    let mount = Mount::empty();
    let other = Mount::of_store(mount.store());
    let content = noise(2, 300_000);
    let layer = mount.push_layer("a", &content);
    fs::write(mount.blob_file(&layer), b"").unwrap();
    fs::write(mount.beside().join("good"), &content).unwrap();
    let variables = [("LAYER", &*layer), ("OTHER", other.path().to_str().unwrap())];
    session_with(
        &mount,
        &variables,
        "
        $ exec 5< $OTHER/a/layers/$LAYER; cat <&5 | wc -c; cp ../good a/layers/$LAYER
        0
        $ cmp ../good a/layers/$LAYER
        $ sleep 1.1; cmp ../good $OTHER/a/layers/$LAYER
        ",
    );
}

/// The kernel had the damaged bytes in memory, of the same length and time as the good ones.
#[test]
fn a_short_layer_that_was_healed_is_read_healed_by_everybody() {
    needs!("fuse");
    let mount = Mount::empty();
    let other = Mount::of_store(mount.store());
    let content = noise(2, 20_000);
    let layer = mount.push_layer("a", &content);
    let mut damaged = content.clone();
    damaged[10_000] ^= 1;
    fs::write(mount.blob_file(&layer), &damaged).unwrap();
    fs::write(mount.beside().join("good"), &content).unwrap();
    fs::write(mount.beside().join("damaged"), &damaged).unwrap();
    let variables = [("LAYER", &*layer), ("OTHER", other.path().to_str().unwrap())];
    session_with(
        &mount,
        &variables,
        "
        $ touch -d 2001-01-01 ../good a/layers/$LAYER; sleep 6.1
        $ cmp ../damaged $OTHER/a/layers/$LAYER; cmp ../damaged a/layers/$LAYER
        $ cp -p ../good a/layers/$LAYER; cmp ../good a/layers/$LAYER
        $ sleep 6.1; cmp ../good a/layers/$LAYER; cmp ../good $OTHER/a/layers/$LAYER
        $ stat -c %y a/layers/$LAYER | cut -d' ' -f1
        2001-01-01
        ",
    );
}

/// Once it is no longer new, what the kernel has in memory it does not ask for.
#[test]
fn a_short_layer_is_asked_for_once() {
    needs!("fuse");
    let mount = Mount::empty();
    let layer = mount.push_layer("a", &noise(5, 20_000));
    session_with(
        &mount,
        &[("LAYER", &layer)],
        r#"
        $ asked() { sed -n 's/^regfs_operations_total{operation="read"} //p' .regfs/metrics; }; sleep 6.1; one=$(asked); two=$(asked); cat a/layers/$LAYER | wc -c; sleep 0.2; cat a/layers/$LAYER | wc -c; three=$(asked); echo $((three - two - (two - one)))
        20000
        20000
        1
        "#,
    );
}

#[test]
fn an_upload_is_read_while_another_mount_writes_it() {
    needs!("fuse");
    let mount = Mount::empty();
    let other = Mount::of_store(mount.store());
    session_with(
        &mount,
        &[("OTHER", other.path().to_str().unwrap())],
        "
        $ mkdir a
        $ exec 5> a/uploads/x; echo one >&5; sleep 1.1; cat $OTHER/a/uploads/x; echo two >> $OTHER/a/uploads/x
        one
        sh: 1: cannot create $OTHER/a/uploads/x: Device or resource busy
        [exit 2]
        $ exec 5< a/uploads/x; sleep 0.3; echo two >> $OTHER/a/uploads/x
        $ cat a/uploads/x
        one
        two
        $ getfattr --absolute-names --only-values -n user.regfs.digest $OTHER/a/uploads/x; echo
        sha256:c3f9c8c283a2b1f2f1896f27a01cbe3cddc0c9d93f752e4639035a0f5b36f6e8
        ",
    );
}

/// The first mount believed in the name for a moment, and refused to write it with "Stale file handle".
#[test]
fn what_another_mount_has_just_removed_can_be_put_again_at_once() {
    needs!("fuse");
    let mount = Mount::with_image(&image());
    let other = Mount::of_store(mount.store());
    let layer = mount.push_layer("a", &noise(4, 20_000));
    session_with(
        &mount,
        &[("LAYER", &layer), ("OTHER", other.path().to_str().unwrap())],
        "
        $ cp a/layers/$LAYER ../layer; cp library/busybox/manifests/1.35 ../manifest
        $ stat -c %s a/layers/$LAYER; rm $OTHER/a/layers/$LAYER; cp ../layer a/layers/$LAYER
        20000
        $ cmp ../layer a/layers/$LAYER
        $ tag=library/busybox/manifests/1.35; cat $tag > /dev/null; rm $OTHER/$tag; cp ../manifest $tag && cmp ../manifest $tag
        ",
    );
}

/// As `rsync -H` makes one, to rename it over a name that is taken.
#[test]
fn a_hidden_link_is_whole_when_it_is_there() {
    needs!("fuse");
    let mount = Mount::empty();
    let other = Mount::of_store(mount.store());
    let layer = mount.push_layer("a", &noise(1, 64 << 20));
    session_with(
        &mount,
        &[("OTHER", other.path().to_str().unwrap()), ("LAYER", &layer)],
        "
        $ { ln a/layers/$LAYER a/layers/.link & while kill -0 $! 2> /dev/null; do stat -c %s $OTHER/a/layers/.link 2> /dev/null; done; sleep 1.1; stat -c %s $OTHER/a/layers/.link; } | sort -u
        67108864
        $ cmp a/layers/.link a/layers/$LAYER; mv a/layers/.link a/layers/$LAYER; ls -A a/layers a/uploads
        a/layers:
        $LAYER
        a/uploads:
        ",
    );
}

#[test]
fn uploads_are_read_where_nothing_may_be_written() {
    needs!("fuse");
    let mut mount = Mount::empty();
    session_with(&mount, &[], "$ mkdir a; echo one > a/uploads/x");
    mount.remount_with(&["ro"]);
    session_with(&mount, &[], "$ cat a/uploads/x\none");
}

#[test]
fn a_repository_is_not_renamed_under_what_is_being_put_into_it() {
    needs!("fuse");
    let mount = Mount::empty();
    session_with(
        &mount,
        &[],
        "
        $ mkdir a
        $ exec 5> a/manifests/1.0; mv a b
        mv: cannot move 'a' to 'b': Device or resource busy
        [exit 1]
        $ sleep 0.2; mv a b; ls
        b
        ",
    );
    mount.assert_error(&["EBUSY", "rename a -> b"]);
}

#[test]
fn a_layer_that_is_pushed_again_keeps_its_attributes() {
    needs!("fuse", "getfattr", "setfattr");
    let mount = Mount::empty();
    let layer = mount.push_layer("a", b"hello");
    session_with(
        &mount,
        &[("LAYER", &layer)],
        "
        $ chmod 600 a/layers/$LAYER; setfattr -n user.note -v mine a/layers/$LAYER
        $ cp a/layers/$LAYER ../copy; chmod 644 ../copy; cp ../copy a/layers/$LAYER
        $ stat -c %a a/layers/$LAYER; getfattr --only-values -n user.note a/layers/$LAYER; echo
        600
        mine
        ",
    );
}

/// A killed daemon can leave a layer that was being written under its digest: nobody can go on with
/// it, so it is in nobody's way.
#[test]
fn what_a_killed_push_left_behind_is_not_in_the_way() {
    needs!("fuse");
    let mut mount = Mount::empty();
    run_in(mount.path(), "mkdir a; mkfifo ../fifo");
    let digest = digest_of(b"never");
    run_in(
        mount.path(),
        &format!(
            "(cat ../fifo > a/layers/{digest} 2>/dev/null &) ; sh -c 'printf part; sleep 0.3' > ../fifo & sleep 0.2"
        ),
    );
    mount.kill_daemon();
    mount.mount(&[]);
    session_with(&mount, &[], "$ ls -A a/layers a/uploads\na/layers:\na/uploads:\n$ rm -r a\n$ ls");
}

/// The kernel forgets all at once, in requests that nobody answers.
#[test]
fn the_daemon_ends_at_once_after_a_walk_over_many_layers() {
    needs!("fuse");
    if !is_root() {
        return skip("dropping the kernel's caches needs root");
    }
    let mut mount = Mount::empty();
    session_with(
        &mount,
        &[],
        "$ mkdir -p a; for i in $(seq 1500); do echo $i > a/uploads/$i; done; ls -l a/uploads | wc -l\n1501",
    );
    assert!(mount.metric("regfs_known_inodes") > 1500.0);
    run_in(mount.path(), "sync; echo 2 > /proc/sys/vm/drop_caches");
    eventually(Duration::from_secs(5), "what the kernel forgot is forgotten", || {
        mount.metric("regfs_known_inodes") < 100.0
    });
    mount.unmount();
}

/// README, "Limits": the parts of an index have no tag, and are copied by their names.
#[test]
fn a_multi_platform_image_is_copied_with_its_parts_by_name() {
    needs!("fuse", "jq");
    let mount = Mount::empty();
    let config = mount.push_layer("a", b"{}");
    let part = common::manifest_of((&config, 2), &[]);
    let part_digest = digest_of(part.as_bytes());
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"digest":"{part_digest}","size":{}}}]}}"#,
        part.len()
    );
    fs::write(mount.beside().join("part"), part).unwrap();
    fs::write(mount.beside().join("index"), index).unwrap();
    session_with(
        &mount,
        &[("PART", &part_digest)],
        "
        $ cp ../part a/manifests/$PART; cp ../index a/manifests/multi
        $ ls a/manifests
        multi
        $ mkdir b; cp a/layers/* b/layers; cp a/manifests/multi b/manifests/multi
        cp: …Link has been severed
        [exit 1]
        $ for d in $(jq -r .manifests[].digest a/manifests/multi); do cp a/manifests/$d b/manifests/; done
        $ cp a/manifests/multi b/manifests/multi; cmp ../part b/manifests/$PART
        ",
    );
}
