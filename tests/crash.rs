//! Crashes: the daemon is killed, and nothing that was promised is lost, and nothing torn appears.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use common::{
    Background, Crowd, Mount, big_bytes, digest_of, digest_of_file, eventually, manifest_of, needs,
    noise, run_in, session, session_with, writer,
};
use std::{
    fs,
    io::Write as _,
    process::{Command, Stdio},
    time::Duration,
};

#[test]
fn an_upload_is_taken_up_after_the_daemon_was_killed() {
    needs!("fuse", "dd");
    let mut mount = Mount::empty();
    let length = big_bytes() as u64;
    run_in(mount.beside(), &format!("head -c {length} /dev/urandom > big"));
    let big = fs::read(mount.beside().join("big")).unwrap();
    let digest = digest_of_file(&mount.beside().join("big"));
    run_in(mount.path(), &format!("mkdir a; head -c {} ../big > a/uploads/x", length / 2));
    // What a closed file needs to be resumed quickly may be kept in the background.
    std::thread::sleep(Duration::from_millis(500));
    let upload = mount.path().join("a/uploads/x");
    let mut cat = writer(&upload);
    let (from, to) = (big.len() / 2, big.len() * 5 / 8);
    cat.0.stdin.as_mut().unwrap().write_all(&big[from..to]).unwrap();
    eventually(Duration::from_secs(10), "cat has written", || {
        fs::metadata(&upload).unwrap().len() == to as u64
    });
    mount.kill_daemon();
    drop(cat);
    mount.mount(&[]);
    session_with(
        &mount,
        &[("DIGEST", &digest), ("WRITTEN", &to.to_string())],
        "
        $ cd a
        $ ls uploads
        x
        $ stat -c %s uploads/x
        $WRITTEN
        $ cmp -n $WRITTEN uploads/x ../../big
        $ dd if=../../big of=uploads/x bs=1M iflag=skip_bytes skip=$WRITTEN oflag=append conv=notrunc status=none
        $ mv uploads/x layers/$DIGEST
        $ ls uploads
        $ cmp layers/$DIGEST ../../big
        ",
    );
    let hashed = mount.metric("regfs_store_hashed_bytes_total");
    assert!(hashed < length as f64, "{hashed} of {length} bytes were hashed after the restart");
}

#[test]
fn a_half_written_layer_is_not_published_by_a_crash() {
    needs!("fuse");
    let mut mount = Mount::empty();
    let bytes = noise(1, 2 << 20);
    let digest = digest_of(&bytes);
    fs::write(mount.beside().join("bytes"), &bytes).unwrap();
    fs::create_dir(mount.path().join("a")).unwrap();
    let layer = mount.path().join("a/layers").join(&digest);
    let mut cat = writer(&layer);
    cat.0.stdin.as_mut().unwrap().write_all(&bytes[..1 << 20]).unwrap();
    eventually(Duration::from_secs(10), "cat has written", || {
        fs::metadata(&layer).unwrap().len() == 1 << 20
    });
    mount.kill_daemon();
    drop(cat);
    mount.mount(&[]);
    session_with(
        &mount,
        &[("DIGEST", &digest)],
        "
        $ ls a/layers
        $ cp ../bytes a/layers/$DIGEST
        $ cmp ../bytes a/layers/$DIGEST
        ",
    );
}

#[test]
fn a_killed_writer_publishes_nothing() {
    needs!("fuse");
    let mount = Mount::empty();
    let bytes = noise(2, 2 << 20);
    let digest = digest_of(&bytes);
    fs::create_dir(mount.path().join("a")).unwrap();
    let layer = mount.path().join("a/layers").join(&digest);
    let mut cat = writer(&layer);
    cat.0.stdin.as_mut().unwrap().write_all(&bytes[..1 << 20]).unwrap();
    eventually(Duration::from_secs(10), "cat has written", || {
        fs::metadata(&layer).unwrap().len() == 1 << 20
    });
    // Killed before its input ends: it has no chance to say anything.
    cat.0.kill().unwrap();
    cat.0.wait().unwrap();
    eventually(Duration::from_secs(5), "what was written is gone", || !layer.exists());
    session(&mount, "$ ls -A a/layers a/manifests\na/layers:\na/manifests:");
    assert!(!mount.blob_file(&digest).exists());
}

#[test]
fn what_was_published_is_there_after_a_crash() {
    needs!("fuse");
    let mut mount = Mount::empty();
    let layer = mount.push_layer("a", &noise(3, 100_000));
    let manifest = manifest_of((&layer, 100_000), &[]);
    run_in(mount.path(), &format!("printf %s '{manifest}' | tee a/manifests/1.0 > /dev/null"));
    run_in(mount.path(), "ln a/manifests/1.0 a/manifests/latest; printf x > a/uploads/x; sync .");
    mount.kill_daemon();
    mount.mount(&[]);
    session_with(
        &mount,
        &[("LAYER", &layer), ("TEXT", &manifest)],
        "
        $ ls a/layers a/manifests a/uploads
        a/layers:
        $LAYER
        a/manifests:
        1.0
        latest
        a/uploads:
        x
        $ cat a/manifests/latest; echo
        $TEXT
        $ sha256sum < a/layers/$LAYER | sed 's/  -//; s/^/sha256:/'
        $LAYER
        ",
    );
}

#[test]
fn no_name_ever_has_other_bytes_however_often_the_daemon_is_killed() {
    needs!("fuse");
    const KILLS: u64 = 6;
    let mut mount = Mount::empty();
    for round in 0..KILLS {
        let files = mount.beside().join(format!("files-{round}"));
        fs::create_dir(&files).unwrap();
        for number in 0..40 {
            let bytes = noise(round * 100 + number, 60_000 + number as usize * 3_000);
            fs::write(files.join(digest_of(&bytes)), bytes).unwrap();
        }
        fs::create_dir_all(mount.path().join("a")).unwrap();
        let copy = "for f in *; do cp $f $MOUNT/a/uploads/$f && mv $f ../done-$f && mv $MOUNT/a/uploads/$f $MOUNT/a/layers/$f; done";
        let mut child = Command::new("sh");
        child.args(["-c", copy]).current_dir(&files).env("MOUNT", mount.path());
        let child = Background::start(child.stderr(Stdio::null()));
        std::thread::sleep(Duration::from_millis(20 + 35 * round));
        mount.kill_daemon();
        drop(child);
        mount.mount(&[]);
        session(
            &mount,
            "
            $ cd a/layers
            $ for f in *; do [ \"$f\" = '*' ] || [ sha256:$(sha256sum < $f | cut -c-64) = $f ] || echo $f is damaged; done
            $ for u in ../uploads/*; do [ \"$u\" = '../uploads/*' ] || cat $u > /dev/null || echo $u cannot be read; done
            ",
        );
    }
}

#[test]
fn a_store_that_a_crash_left_can_be_used_like_any_other() {
    needs!("fuse");
    let mut mount = Mount::empty();
    run_in(mount.path(), "mkdir a; printf hel > a/uploads/x");
    mount.kill_daemon();
    // A folder that was being made, and one that was being removed.
    let uploads = mount.store().join("docker/registry/v2/repositories/a/_uploads");
    fs::create_dir_all(uploads.join("11111111-2222-4333-8444-555555555555/hashstates/sha256"))
        .unwrap();
    fs::create_dir_all(mount.store().join("docker/registry/v2/blobs/sha256/ab")).unwrap();
    mount.mount(&[]);
    session(
        &mount,
        "
        $ ls a/uploads a/manifests
        a/manifests:
        a/uploads:
        x
        $ printf lo >> a/uploads/x
        $ mv a/uploads/x a/layers/sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824
        $ ls a/uploads
        $ rm -r a
        $ ls -A
        ",
    );
}

#[test]
fn a_tag_that_a_docker_registry_was_killed_over_is_seen_everywhere_until_it_is_removed_or_put_again()
 {
    needs!("fuse", "tar", "rsync");
    // More than fit into the first reply, which tells more than the others.
    const WHOLE: usize = 1_000;
    const HALF: usize = 20;
    let mut mount = Mount::unmounted();
    let crowd = Crowd::of(mount.store());
    crowd.staying_tags("a", WHOLE);
    let tags = crowd.repository("a").join("_manifests/tags");
    for number in 0..HALF {
        fs::create_dir_all(tags.join(format!("half-{number}/index/sha256"))).unwrap();
    }
    mount.mount(&[]);
    // Somebody may be making it.
    session(&mount, "$ [ -e a/manifests/half-0 ]\n[exit 1]");
    eventually(Duration::from_secs(10), "nobody makes it any more", || {
        HALF == (0..HALF)
            .filter(|number| mount.path().join(format!("a/manifests/half-{number}")).exists())
            .count()
    });
    session_with(
        &mount,
        &[("HALF", &HALF.to_string())],
        "
        $ cd a/manifests
        $ ls | grep -c half
        $HALF
        $ ls -l | grep -c '^-rw------- .* 0 .* half'
        $HALF
        $ find . -type f -name 'half*' | wc -l
        $HALF
        $ du -s . | wc -l
        1
        $ cat half-0
        cat: half-0: Bad message
        [exit 1]
        $ rm half-0; ls | grep -c half
        19
        $ cp stay-1 half-1; cmp stay-1 half-1
        $ mv stay-2 half-2; cmp stay-1 half-2
        $ ln -f stay-3 half-3; cmp stay-1 half-3
        ",
    );
    mount.assert_error(&["open", "a/manifests/half-0", "EBADMSG", "copy it here again"]);
    for number in 1..=3 {
        assert!(tags.join(format!("half-{number}/current/link")).exists(), "{number}");
    }
    session(&mount, "$ rm -r a\n$ ls -A");
}
