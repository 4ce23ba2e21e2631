//! What who runs a registry sees of it: how the last mount ended, what goes on, and that a signal makes
//! it forget.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use common::{Mount, digest_of, eventually, needs, run_in, session, session_with, writer};
use std::{fs, io::Write as _, time::Duration};

#[test]
fn a_killed_daemon_is_told_of_at_the_next_mount() {
    needs!("fuse", "jq");
    let mut mount = Mount::empty();
    run_in(mount.path(), "mkdir a; head -c 3000000 /dev/zero > a/uploads/x");
    mount.kill_daemon();
    session(
        mount.beside(),
        "
        $ mkdir -p store/regfs/trash/gone/deep; echo > store/regfs/tmp/made; echo > store/regfs/tmp/more
        $ regfs mount store mnt
        […] clearing the mount that a dead daemon left at …
        regfs: the last mount did not end cleanly (it was killed): deleted 2 things in the making and 1 removed; 1 upload to go on with
        $ ls store/regfs/tmp store/regfs/trash; ls store/regfs/mounts | wc -l
        store/regfs/tmp:
        store/regfs/trash:
        1
        $ regfs umount mnt; ls store/regfs/mounts; regfs mount store mnt
        $ kill -9 $(jq .pid mnt/.regfs/status); umount -l mnt; regfs mount -o ro store mnt; regfs umount mnt
        $ echo 8a8cf1d2-0000-4000-8000-000000000000 | head -c 36 > $(echo store/regfs/mounts/*)
        $ regfs mount store mnt
        regfs: the last mount did not end cleanly (the machine went down): deleted 0 things in the making and 0 removed; 1 upload to go on with
        $ kill -TERM $(jq .pid mnt/.regfs/status); while mountpoint -q mnt; do sleep 0.1; done; sleep 0.3; regfs mount store mnt
        $ regfs umount mnt
        ",
    );
    mount.mount(&[]);
}

#[test]
fn what_others_may_be_at_is_left_alone_after_a_kill() {
    needs!("fuse");
    let mut mount = Mount::empty();
    let other = Mount::of_store(mount.store());
    mount.kill_daemon();
    session(
        mount.beside(),
        "
        $ echo > store/regfs/tmp/made
        $ regfs mount store mnt
        […] clearing the mount that a dead daemon left at …
        regfs: the last mount did not end cleanly (it was killed): deleted 0 things …; what is younger than an hour was left, as others have the store open
        $ ls store/regfs/tmp
        made
        $ regfs umount mnt
        ",
    );
    drop(other);
}

#[test]
fn a_newer_store_is_refused_in_words() {
    needs!("fuse");
    let mut mount = Mount::empty();
    mount.unmount();
    session(
        mount.beside(),
        r"
        $ printf 2 > store/regfs/version; regfs mount store mnt
        regfs: the store has version 2 and this program knows versions up to 1: use a newer regfs
        [exit 1]
        $ regfs verify store
        regfs: the store has version 2 and this program knows versions up to 1: use a newer regfs
        [exit 1]
        $ printf '\033[31m9' > store/regfs/version; regfs mount store mnt
        regfs: the store has version \u{1b}[31m9 and this program knows versions up to 1: use a newer regfs
        [exit 1]
        ",
    );
}

/// Files that the cache has open, and its memory.
fn held(mount: &Mount) -> (f64, f64) {
    (mount.metric("regfs_cache_open_files"), mount.metric("regfs_cache_bytes"))
}

#[test]
fn sighup_makes_the_daemon_forget() {
    needs!("fuse", "jq");
    let mount = Mount::empty();
    let layer = mount.push_layer("a", b"a layer");
    let config = mount.push_layer("a", b"{}");
    fs::write(mount.beside().join("manifest"), common::manifest_of((&config, 2), &[(&layer, 7)]))
        .unwrap();
    run_in(
        mount.path(),
        &format!("cp ../manifest a/manifests/v1; cat a/manifests/v1 a/layers/{layer}"),
    );
    let (files, bytes) = held(&mount);
    assert!(files >= 1.0 && bytes > 0.0, "{files} files and {bytes} bytes");
    run_in(mount.beside(), "kill -HUP $(jq .pid mnt/.regfs/status)");
    eventually(Duration::from_secs(10), "it forgets", || held(&mount) == (0.0, 0.0));
    // And goes on.
    session_with(
        &mount,
        &[("LAYER", &layer)],
        "$ cat a/layers/$LAYER; echo\na layer\n$ ls a/manifests\nv1",
    );
    assert!(mount.log().contains("SIGHUP: forgot what was remembered"));
}

#[test]
fn status_shows_what_goes_on_and_what_was_done() {
    needs!("fuse", "jq");
    let mount = Mount::empty();
    let layer = digest_of(b"x");
    fs::create_dir(mount.path().join("a")).unwrap();
    let mut cat = writer(&mount.path().join("a/uploads/big\u{1b}[31m"));
    cat.0.stdin.as_mut().unwrap().write_all(b"12345").unwrap();
    eventually(Duration::from_secs(10), "cat has written", || {
        run_in(mount.path(), "jq '.uploads[0].bytes' .regfs/status").trim() == "5"
    });
    session_with(
        mount.beside(),
        &[("LAYER", &layer)],
        r#"
        $ regfs status mnt | grep -E '^(uploads|last|cache open|open uploads)'
        cache open files: 0
        last gc: none
        last verify: none
        open uploads: 1
        uploads: bytes 5, path a/uploads/big\u{1b}[31m, started at 20…Z
        $ regfs verify store > out; regfs status mnt | grep -E '^last verify (clean|finished|counts damage)'
        last verify clean: true
        last verify counts damage: 0
        last verify finished at: 20…Z
        $ echo '{"started_at": "2026-11-01T00:00:00Z", "seconds": 1.5, "removed": {"count": 2, "bytes": 30}, "uploads": {"count": 0, "bytes": 0}}' > store/regfs/gc-last.json
        $ regfs status mnt | grep '^last gc'
        last gc removed bytes: 30
        last gc removed count: 2
        last gc seconds: 1.5
        last gc started at: 2026-11-01T00:00:00Z
        last gc uploads bytes: 0
        last gc uploads count: 0
        $ regfs status --json mnt | jq -c '[.last_gc.removed.count, .last_verify.clean, .uploads[0].bytes]'
        [2,true,5]
        $ head -c 1000000 /dev/zero > store/regfs/gc-last.json; regfs status mnt | grep '^last gc'
        last gc: none
        "#,
    );
}
