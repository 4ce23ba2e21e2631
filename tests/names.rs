//! Names: which can be, which cannot, and which are there without being listed.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use common::{Mount, digest_of, manifest_of, needs, noise, session, session_with};
use std::fs;

#[test]
fn a_repository_called_like_a_folder_of_a_repository_is_reached_with_a_percent_sign() {
    needs!("fuse");
    let mount = Mount::empty();
    let store = mount.store().to_str().unwrap().to_owned();
    session_with(
        &mount,
        &[("REPOSITORIES", &format!("{store}/docker/registry/v2/repositories"))],
        "
        $ mkdir -p a/%layers a/%manifests/b
        $ ls a
        %layers
        %manifests
        $ printf x > a/%layers/uploads/x
        $ ls a/%layers a/%manifests
        a/%layers:
        layers
        manifests
        uploads
        a/%manifests:
        b
        $ ls a/layers
        $ ls $REPOSITORIES/a
        *
        layers
        manifests
        $ mkdir -p $REPOSITORIES/a/uploads/c/_layers
        $ sleep 1.1; ls a/%uploads
        c
        $ mkdir a/%other
        mkdir: cannot create directory 'a/%other': Invalid argument
        [exit 1]
        ",
    );
}

#[test]
fn a_name_that_cannot_be_is_not_there_and_cannot_be_made() {
    needs!("fuse");
    session_with(
        Mount::empty(),
        &[("LONG", &"n".repeat(200)), ("TAG", &"t".repeat(129))],
        "
        $ mkdir a
        $ ls Upper a/-x a/b..c _a 2>&1 | wc -l
        4
        $ ls Upper
        ls: cannot access 'Upper': No such file or directory
        [exit 2]
        $ mkdir Upper
        mkdir: cannot create directory 'Upper': Invalid argument
        [exit 1]
        $ mkdir a/-x
        mkdir: cannot create directory 'a/-x': Invalid argument
        [exit 1]
        $ mkdir _a a..b a___b 'a b' 2>&1 | grep -c 'Invalid argument'
        4
        $ mkdir $LONG && mkdir $LONG/$LONG
        mkdir: cannot create directory '$LONG/$LONG': Invalid argument
        [exit 1]
        $ cat a/manifests/-bad
        cat: a/manifests/-bad: No such file or directory
        [exit 1]
        $ echo x | tee a/manifests/-bad
        tee: a/manifests/-bad: Invalid argument
        x
        [exit 1]
        $ touch a/manifests/$TAG
        touch: cannot touch 'a/manifests/$TAG': Invalid argument
        [exit 1]
        $ cp /etc/passwd a/layers/plain
        cp: cannot create regular file 'a/layers/plain': Invalid argument
        [exit 1]
        $ cp /etc/passwd a/layers/sha256:0123
        cp: cannot create regular file 'a/layers/sha256:0123': Invalid argument
        [exit 1]
        $ printf x > a/uploads/x
        $ mv a/uploads/x a/manifests/-bad
        mv: …
        [exit 1]
        $ ls a/uploads a/layers a/manifests
        a/layers:
        a/manifests:
        a/uploads:
        x
        $ mkdir a.b a_b a__b a--b 0 a-0.1
        $ ls
        0
        a
        a--b
        a-0.1
        a.b
        a__b
        a_b
        $LONG
        ",
    );
}

#[test]
fn the_control_folder_is_found_by_name_and_not_listed() {
    needs!("fuse");
    session(
        Mount::empty(),
        "
        $ ls -A
        $ ls .regfs
        errors
        *
        metrics
        *
        status
        *
        version
        *
        $ find . -name errors
        $ mkdir .other
        mkdir: cannot create directory '.other': Invalid argument
        [exit 1]
        ",
    );
}

#[test]
fn a_manifest_is_found_by_its_digest_and_not_listed() {
    needs!("fuse");
    let mount = Mount::empty();
    let config = mount.push_layer("a", b"{}");
    let manifest = manifest_of((&config, 2), &[]);
    let digest = digest_of(manifest.as_bytes());
    session_with(
        &mount,
        &[("TEXT", &manifest), ("DIGEST", &digest)],
        "
        $ cd a
        $ ls manifests/$DIGEST
        ls: cannot access 'manifests/$DIGEST': No such file or directory
        [exit 2]
        $ printf %s \"$TEXT\" | tee manifests/1.0 > /dev/null
        $ ls manifests
        1.0
        $ ls manifests/$DIGEST
        manifests/$DIGEST
        $ cmp manifests/1.0 manifests/$DIGEST
        $ ls layers/$DIGEST
        ls: cannot access 'layers/$DIGEST': No such file or directory
        [exit 2]
        ",
    );
}

#[test]
fn a_layer_that_is_being_written_is_seen_by_stat_but_not_listed_and_not_read() {
    needs!("fuse");
    let mount = Mount::empty();
    let bytes = noise(3, 10_000);
    let digest = digest_of(&bytes);
    fs::write(mount.beside().join("bytes"), &bytes).unwrap();
    session_with(
        &mount,
        &[("DIGEST", &digest)],
        "
        $ mkdir a
        $ cd a
        $ mkfifo ../../fifo
        $ cat ../../fifo > layers/$DIGEST & exec 3> ../../fifo; head -c 5000 ../../bytes >&3; sleep 0.3; stat -c %n:%s layers/$DIGEST; ls layers; cat layers/$DIGEST; tail -c +5001 ../../bytes >&3; exec 3>&-; wait
        layers/$DIGEST:5000
        cat: 'layers/$DIGEST': Device or resource busy
        $ ls layers
        $DIGEST
        $ cmp layers/$DIGEST ../../bytes
        ",
    );
}

#[test]
fn a_published_layer_is_not_written_to() {
    needs!("fuse");
    let mount = Mount::empty();
    let layer = mount.push_layer("a", b"hello");
    session_with(
        &mount,
        &[("LAYER", &layer)],
        "
        $ cd a
        $ echo more >> layers/$LAYER
        sh: 1: cannot create layers/$LAYER: Operation not permitted
        [exit 2]
        $ truncate -s 0 layers/$LAYER
        truncate: cannot open 'layers/$LAYER' for writing: Operation not permitted
        [exit 1]
        $ printf j | dd of=layers/$LAYER conv=notrunc status=none
        dd: failed to open 'layers/$LAYER': Operation not permitted
        [exit 1]
        $ printf other | tee layers/$LAYER > /dev/null
        tee: 'layers/$LAYER': Bad message
        [exit 1]
        $ cat layers/$LAYER; echo
        hello
        $ printf hello | tee layers/$LAYER > /dev/null
        $ printf hello > ../../hello; cp ../../hello layers/$LAYER; cp -a ../../hello layers/$LAYER
        $ cat layers/$LAYER; echo
        hello
        $ ls layers uploads
        layers:
        $LAYER
        uploads:
        ",
    );
}

#[test]
fn what_stages_a_file_beside_its_final_name_can_do_so() {
    needs!("fuse");
    let mount = Mount::empty();
    let digest = digest_of(b"hello");
    let config = mount.push_layer("a", b"{}");
    let manifest = manifest_of((&config, 2), &[]);
    session_with(
        &mount,
        &[("DIGEST", &digest), ("TEXT", &manifest), ("CONFIG", &config)],
        "
        $ cd a
        $ printf hello > layers/.tmp
        $ ls -A layers
        .tmp
        $CONFIG
        $ cat layers/.tmp; echo
        hello
        $ mv layers/.tmp layers/$DIGEST
        $ cat layers/$DIGEST; echo
        hello
        $ mkdir layers/.partial manifests/.partial
        $ printf %s \"$TEXT\" > manifests/.partial/1.0
        $ mv manifests/.partial/1.0 manifests/1.0
        $ cat manifests/1.0; echo
        $TEXT
        $ rmdir layers/.partial manifests/.partial
        $ ls -A manifests
        1.0
        $ echo scratch > manifests/.1.0.swp && rm manifests/.1.0.swp
        $ mv layers/.none layers/$DIGEST
        mv: cannot stat 'layers/.none': No such file or directory
        [exit 1]
        ",
    );
}

#[test]
fn other_kinds_of_digest_are_names_too() {
    needs!("fuse");
    let mount = Mount::empty();
    session(
        &mount,
        "
        $ mkdir a
        $ cd a
        $ printf hello > uploads/x
        $ mv uploads/x layers/sha512:$(printf hello | sha512sum | cut -c-128)
        $ cat layers/sha512:$(printf hello | sha512sum | cut -c-128); echo
        hello
        $ printf hello > uploads/x
        $ mv uploads/x layers/sha512:$(printf hallo | sha512sum | cut -c-128)
        mv: …: Bad message
        [exit 1]
        $ cat layers/md5:5d41402abc4b2a76b9719d911017c592
        cat: 'layers/md5:…': No such file or directory
        [exit 1]
        $ cat layers/sha256:$(printf hello | sha256sum | cut -c-64 | tr a-f A-F)
        cat: …: No such file or directory
        [exit 1]
        ",
    );
}
