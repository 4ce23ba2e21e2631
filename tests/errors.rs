//! Refusals: what is refused, what the tool says, and what `.regfs/errors` says about it.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use common::{Mount, digest_of, manifest_of, needs, noise, session_with};
use std::fs;

#[test]
fn a_part_of_a_layer_under_the_name_of_the_whole_is_refused_and_leaves_nothing() {
    needs!("fuse");
    let mount = Mount::empty();
    let whole = noise(1, 1 << 20);
    let digest = digest_of(&whole);
    fs::write(mount.beside().join("part"), &whole[..1 << 19]).unwrap();
    session_with(
        &mount,
        &[("WHOLE", &digest)],
        "
        $ mkdir a
        $ cd a
        $ cat ../../part > layers/$WHOLE
        cat: write error: Bad message
        [exit 1]
        $ ls -A layers uploads
        layers:
        uploads:
        $ sleep 0.3; cat layers/$WHOLE
        cat: 'layers/$WHOLE': No such file or directory
        [exit 1]
        $ cp ../../part layers/$WHOLE
        cp: failed to close 'layers/$WHOLE': Bad message
        [exit 1]
        $ ls -A layers uploads
        layers:
        uploads:
        ",
    );
    mount.assert_error(&["EBADMSG", &format!("a/layers/{digest}")]);
    assert_remedy(&mount, "EBADMSG");
    assert!(!mount.blob_file(&digest).exists());
}

#[test]
fn moving_a_file_in_under_a_wrong_digest_keeps_the_file() {
    needs!("fuse");
    let mount = Mount::empty();
    let digest = digest_of(b"other");
    session_with(
        &mount,
        &[("DIGEST", &digest)],
        "
        $ mkdir a
        $ echo hi > ../file
        $ mv ../file a/layers/$DIGEST
        mv: …Bad message
        [exit 1]
        $ cat ../file
        hi
        $ ls -A a/layers
        ",
    );
}

#[test]
fn a_wrong_digest_is_explained_with_both_digests() {
    needs!("fuse");
    let mount = Mount::empty();
    let (named, content) = (digest_of(b"other"), digest_of(b"hello"));
    session_with(
        &mount,
        &[("NAMED", &named)],
        "
        $ mkdir a
        $ printf hello > a/uploads/x
        $ mv a/uploads/x a/layers/$NAMED
        mv: cannot move 'a/uploads/x' to 'a/layers/$NAMED': Bad message
        [exit 1]
        ",
    );
    mount.assert_error(&["EBADMSG", &named, &content]);
    assert_remedy(&mount, "EBADMSG");
}

#[test]
fn what_is_no_manifest_is_refused() {
    needs!("fuse");
    let mount = Mount::empty();
    session_with(
        &mount,
        &[],
        "
        $ mkdir a
        $ cd a
        $ echo hi > ../../hi
        $ cp ../../hi manifests/x
        cp: failed to close 'manifests/x': Invalid argument
        [exit 1]
        $ echo hi | tee manifests/x
        hi
        tee: manifests/x: Invalid argument
        [exit 1]
        $ cp ../../hi uploads/x; mv uploads/x manifests/x
        mv: …
        [exit 1]
        $ cat uploads/x
        hi
        $ printf '{}' | tee manifests/x > /dev/null
        tee: manifests/x: Invalid argument
        [exit 1]
        $ ls -A manifests
        $ cat manifests/x
        cat: manifests/x: No such file or directory
        [exit 1]
        ",
    );
    mount.assert_error(&["EINVAL", "a/manifests/x"]);
    assert_remedy(&mount, "EINVAL");
}

#[test]
fn a_refused_manifest_leaves_the_tag_as_it_was() {
    needs!("fuse");
    let mount = Mount::empty();
    let config = mount.push_layer("a", b"{}");
    let manifest = manifest_of((&config, 2), &[]);
    session_with(
        &mount,
        &[("TEXT", &manifest)],
        "
        $ printf %s \"$TEXT\" | tee a/manifests/x > /dev/null
        $ echo hi | tee a/manifests/x > /dev/null
        tee: a/manifests/x: Invalid argument
        [exit 1]
        $ cat a/manifests/x; echo
        $TEXT
        $ ls -A a/manifests
        x
        ",
    );
}

#[test]
fn a_manifest_that_names_a_missing_blob_is_refused() {
    needs!("fuse");
    let mount = Mount::empty();
    let config = mount.push_layer("a", b"{}");
    let elsewhere = mount.push_layer("b", b"layer");
    let manifest = manifest_of((&config, 2), &[(&elsewhere, 5)]);
    let digest = digest_of(manifest.as_bytes());
    fs::write(mount.beside().join("m"), &manifest).unwrap();
    session_with(
        &mount,
        &[("MISSING", &elsewhere), ("DIGEST", &digest)],
        "
        $ cp ../m a/manifests/1.0
        cp: failed to close 'a/manifests/1.0': Link has been severed
        [exit 1]
        $ ls -A a/manifests
        $ cp ../m a/manifests/$DIGEST
        cp: failed to close 'a/manifests/$DIGEST': Link has been severed
        [exit 1]
        $ cp ../m a/uploads/m; mv a/uploads/m a/manifests/1.0
        mv: cannot move 'a/uploads/m' to 'a/manifests/1.0': Link has been severed
        [exit 1]
        $ cp b/layers/$MISSING a/layers
        $ mv a/uploads/m a/manifests/1.0
        $ ls a/manifests
        1.0
        ",
    );
    mount.assert_error(&["ENOLINK", "a/manifests/1.0", &elsewhere]);
    assert_remedy(&mount, "ENOLINK");
}

#[test]
fn a_relaxed_mount_takes_a_manifest_before_its_layers() {
    needs!("fuse");
    let mount = Mount::with_options(&["relaxed"]);
    let absent = digest_of(b"absent");
    let manifest = manifest_of((&absent, 6), &[]);
    session_with(
        &mount,
        &[("TEXT", &manifest)],
        "
        $ mkdir a
        $ printf %s \"$TEXT\" | tee a/manifests/1.0 > /dev/null
        $ cat a/manifests/1.0; echo
        $TEXT
        $ echo hi | tee a/manifests/1.0 > /dev/null
        tee: a/manifests/1.0: Invalid argument
        [exit 1]
        ",
    );
}

#[test]
fn an_index_needs_its_manifests_in_the_repository() {
    needs!("fuse");
    let mount = Mount::empty();
    let config = mount.push_layer("a", b"{}");
    let manifest = manifest_of((&config, 2), &[]);
    let child = digest_of(manifest.as_bytes());
    let media = "application/vnd.oci.image";
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"{media}.index.v1+json","manifests":[{{"mediaType":"{media}.manifest.v1+json","digest":"{child}","size":{},"platform":{{"architecture":"amd64","os":"linux"}}}}]}}"#,
        manifest.len()
    );
    session_with(
        &mount,
        &[("INDEX", &index), ("TEXT", &manifest), ("CHILD", &child)],
        "
        $ cd a
        $ printf %s \"$INDEX\" | tee manifests/multi > /dev/null
        tee: manifests/multi: Link has been severed
        [exit 1]
        $ printf %s \"$TEXT\" | tee manifests/$CHILD > /dev/null
        $ printf %s \"$INDEX\" | tee manifests/multi > /dev/null
        $ cat manifests/multi; echo
        $INDEX
        $ ls manifests
        multi
        ",
    );
}

#[test]
fn a_manifest_has_at_most_four_mebibytes() {
    needs!("fuse");
    let mount = Mount::empty();
    let config = mount.push_layer("a", b"{}");
    let filler = " ".repeat((4 << 20) - manifest_of((&config, 2), &[]).len());
    fs::write(mount.beside().join("most"), manifest_of((&config, 2), &[]) + &filler).unwrap();
    fs::write(mount.beside().join("more"), manifest_of((&config, 2), &[]) + &filler + " ").unwrap();
    session_with(
        &mount,
        &[],
        "
        $ cp ../most a/manifests/most
        $ cmp ../most a/manifests/most
        $ cp ../more a/manifests/more
        *
        cp: …File too large
        [exit 1]
        $ ls -A a/manifests
        most
        ",
    );
    mount.assert_error(&["EFBIG", "a/manifests/more"]);
}

#[test]
fn every_refusal_has_a_line_with_its_errno_path_and_remedy() {
    needs!("fuse", "setfattr");
    let mount = Mount::empty();
    let layer = mount.push_layer("a", b"hello");
    session_with(
        &mount,
        &[("LAYER", &layer)],
        "
        $ mkdir UPPER
        mkdir: cannot create directory 'UPPER': Invalid argument
        [exit 1]
        $ echo x >> a/layers/$LAYER
        *
        [exit 2]
        $ setfattr -n user.regfs.digest -v other a/layers/$LAYER
        setfattr: a/layers/$LAYER: Operation not permitted
        [exit 1]
        $ ln -s a b
        *
        [exit 1]
        $ cat a/layers/none
        *
        [exit 1]
        ",
    );
    mount.assert_error(&["EINVAL", "UPPER"]);
    mount.assert_error(&["EPERM", &format!("a/layers/{layer}")]);
    assert_remedy(&mount, "EINVAL");
    assert_remedy(&mount, "EPERM");
    // What is merely not there is no refusal: every shell asks for many such names.
    assert!(!mount.errors().contains("ENOENT"), "{}", mount.errors());
}

#[test]
fn the_list_of_refusals_has_an_end() {
    needs!("fuse");
    let mount = Mount::empty();
    session_with(
        &mount,
        &[],
        "
        $ for n in $(seq 1200); do echo UPPER$n; done | xargs mkdir 2> /dev/null
        [exit 123]
        $ grep -c UPPER .regfs/errors
        1000
        $ grep -c 'UPPER1200' .regfs/errors
        1
        $ grep -cw 'UPPER1' .regfs/errors
        0
        [exit 1]
        ",
    );
}

/// Fails unless some line with `errno` goes on after it with at least a sentence of explanation.
#[track_caller]
fn assert_remedy(mount: &Mount, errno: &str) {
    const WORDS_MIN: usize = 6;
    let errors = mount.errors();
    let mut explanations = errors.lines().filter_map(|line| line.split_once(errno));
    assert!(
        explanations.any(|(_, text)| text.split_whitespace().count() >= WORDS_MIN),
        "no line says why {errno} and what to do:\n{errors}"
    );
}
