//! Pushing: what a user does to bring layers and manifests into the registry.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use common::{
    Mount, big_bytes, digest_of, digest_of_file, image, manifest_of, needs, noise, run_in, session,
    session_with,
};
use std::fs;

/// The digest of `hello`.
const HELLO: &str = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
/// Some digest that nothing here has.
const OTHER: &str = "sha256:486ea46224d1bb4fb680f34f7c9ad96a8f24ec88be73ea8e5a6c65260e9cb8a7";

#[test]
fn a_layer_is_pushed_by_renaming_its_upload() {
    needs!("fuse");
    session_with(
        Mount::empty(),
        &[("HELLO", HELLO)],
        "
        $ mkdir -p library/hello
        $ cd library/hello
        $ printf hello > uploads/new
        $ ls uploads layers
        layers:
        uploads:
        new
        $ cat uploads/new; echo
        hello
        $ mv uploads/new layers/$HELLO
        $ cat layers/$HELLO; echo
        hello
        $ ls uploads layers
        layers:
        $HELLO
        uploads:
        $ rm layers/sha256:0000
        rm: cannot remove 'layers/sha256:0000': No such file or directory
        [exit 1]
        ",
    );
}

#[test]
fn a_big_layer_is_copied_and_renamed() {
    needs!("fuse");
    let mount = Mount::empty();
    run_in(mount.beside(), &format!("head -c {} /dev/urandom > big", big_bytes()));
    let big = mount.beside().join("big");
    let digest = digest_of_file(&big);
    session_with(
        &mount,
        &[("BIG", big.to_str().unwrap()), ("DIGEST", &digest), ("OTHER", OTHER)],
        "
        $ mkdir -p a
        $ cd a
        $ cp $BIG uploads/x && mv uploads/x layers/$DIGEST
        $ cmp $BIG layers/$DIGEST
        $ ls uploads
        $ cp $BIG uploads/x
        $ mv uploads/x layers/$OTHER
        mv: cannot move 'uploads/x' to 'layers/$OTHER': Bad message
        [exit 1]
        $ ls layers uploads
        layers:
        $DIGEST
        uploads:
        x
        $ cmp $BIG uploads/x
        $ mv uploads/x layers/$DIGEST
        $ ls uploads
        $ cmp $BIG layers/$DIGEST
        ",
    );
    assert_eq!(fs::metadata(mount.blob_file(&digest)).unwrap().len(), big_bytes() as u64);
}

#[test]
fn a_layer_with_a_wrong_digest_stays_an_upload() {
    needs!("fuse");
    session_with(
        Mount::empty(),
        &[("HELLO", HELLO), ("OTHER", OTHER)],
        "
        $ mkdir a
        $ cd a
        $ printf hello > uploads/x
        $ mv uploads/x layers/$OTHER
        mv: cannot move 'uploads/x' to 'layers/$OTHER': Bad message
        [exit 1]
        $ ls layers
        $ cat uploads/x; echo
        hello
        $ mv uploads/x layers/$HELLO
        $ ls layers uploads
        layers:
        $HELLO
        uploads:
        ",
    );
}

#[test]
fn a_layer_may_be_written_under_its_digest_by_any_tool() {
    needs!("fuse", "python3", "busybox", "dd");
    let mount = Mount::empty();
    fs::create_dir(mount.path().join("a")).unwrap();
    let tools = [
        "cp $SOURCE layers/$DIGEST",
        "cp -a $SOURCE layers/$DIGEST",
        "cat $SOURCE > layers/$DIGEST",
        "cat < $SOURCE | tee layers/$DIGEST > /dev/null",
        "dd if=$SOURCE of=layers/$DIGEST bs=3000 status=none",
        "dd if=$SOURCE of=layers/$DIGEST bs=64k conv=fsync status=none",
        "install -m 644 $SOURCE layers/$DIGEST",
        "cp $SOURCE copy-of && mv copy-of layers/$DIGEST",
        "rsync $SOURCE layers/$DIGEST",
        "rsync -a --inplace $SOURCE layers/$DIGEST",
        "busybox cp $SOURCE layers/$DIGEST",
        "busybox cp $SOURCE copy-of && busybox mv copy-of layers/$DIGEST",
        "python3 -c 'import shutil,sys; shutil.copy2(sys.argv[1], sys.argv[2])' $SOURCE layers/$DIGEST",
        "head -c 5000 $SOURCE > uploads/u; tail -c +5001 $SOURCE >> uploads/u; mv uploads/u layers/$DIGEST",
    ];
    for (seed, tool) in tools.iter().enumerate() {
        // Copies that a session moves in from outside lie beside the mount.
        let tool = tool.replace("copy-of", "$SOURCE.copy");
        let bytes = noise(seed as u64, 200_000);
        let digest = digest_of(&bytes);
        let source = mount.beside().join("source");
        fs::write(&source, &bytes).unwrap();
        session_with(
            mount.path().join("a"),
            &[("SOURCE", source.to_str().unwrap()), ("DIGEST", &digest)],
            &format!(
                "
                $ {tool}
                $ cmp $SOURCE layers/$DIGEST
                $ ls layers | grep -c $DIGEST
                1
                $ ls uploads
                "
            ),
        );
        assert_eq!(fs::read(mount.blob_file(&digest)).unwrap(), bytes, "{tool}");
    }
}

#[test]
fn a_real_image_is_pushed_with_cp() {
    needs!("fuse", "umoci", "busybox", "jq");
    let mount = Mount::empty();
    let variables = image().variables();
    let variables: Vec<(&str, &str)> = variables.iter().map(|(n, v)| (&**n, &**v)).collect();
    session_with(
        &mount,
        &variables,
        "
        $ mkdir -p library/busybox
        $ cd library/busybox
        $ cp $LAYER1_FILE layers/$LAYER1
        $ cp $LAYER2_FILE uploads/second
        $ mv uploads/second layers/$LAYER2
        $ cat $LAYER3_FILE > layers/$LAYER3
        $ cp $CONFIG_FILE layers/$CONFIG
        $ cp $MANIFEST_FILE manifests/1.35
        $ ls manifests uploads
        manifests:
        1.35
        uploads:
        $ cmp $MANIFEST_FILE manifests/1.35
        $ cmp $MANIFEST_FILE manifests/$MANIFEST
        $ ls layers | wc -l
        4
        ",
    );
}

#[test]
fn an_upload_may_be_written_in_pieces_and_in_any_order() {
    needs!("fuse", "dd");
    let zeros_between = digest_of(b"start\0\0\0\0\0end");
    session_with(
        Mount::empty(),
        &[("HELLO", HELLO), ("GAP", &zeros_between)],
        "
        $ mkdir a
        $ cd a
        $ printf lo | dd of=uploads/x bs=1 seek=3 status=none
        $ printf hel | dd of=uploads/x bs=1 conv=notrunc status=none
        $ cat uploads/x; echo
        hello
        $ mv uploads/x layers/$HELLO
        $ printf hel > uploads/y
        $ printf lo >> uploads/y
        $ mv uploads/y layers/$HELLO
        $ printf 'hello, world' > uploads/z
        $ truncate -s 5 uploads/z
        $ stat -c %s uploads/z
        5
        $ mv uploads/z layers/$HELLO
        $ printf hallo > uploads/w
        $ printf e | dd of=uploads/w bs=1 seek=1 conv=notrunc status=none
        $ mv uploads/w layers/$HELLO
        $ printf start > uploads/gap
        $ printf end | dd of=uploads/gap bs=1 seek=10 conv=notrunc status=none
        $ od -An -c uploads/gap
        s   t   a   r   t  \\0  \\0  \\0  \\0  \\0   e   n   d
        $ mv uploads/gap layers/$GAP
        $ printf hel > uploads/v; printf lo | dd of=uploads/v oflag=append conv=notrunc status=none
        $ cp --sparse=always uploads/v uploads/sparse
        $ mv uploads/sparse layers/$HELLO
        $ truncate -s 1M uploads/v; wc -c < uploads/v
        1048576
        $ rm uploads/v
        $ ls layers | sort | uniq | wc -l
        2
        $ ls uploads
        ",
    );
}

#[test]
fn an_upload_is_cancelled_by_removing_it() {
    needs!("fuse");
    let mount = Mount::empty();
    session(
        &mount,
        "
        $ mkdir a
        $ cd a
        $ printf hello > uploads/x
        $ rm uploads/x
        $ ls uploads
        $ cat uploads/x
        cat: uploads/x: No such file or directory
        [exit 1]
        $ printf again > uploads/x
        $ cat uploads/x; echo
        again
        ",
    );
    let uploads = mount.store().join("docker/registry/v2/repositories/a/_uploads");
    assert_eq!(run_in(&uploads, "find . -name data | wc -l").trim(), "1");
}

#[test]
fn an_upload_tells_its_digest_and_its_uuid() {
    needs!("fuse", "getfattr");
    session_with(
        Mount::empty(),
        &[("HELLO", HELLO)],
        "
        $ mkdir a
        $ cd a
        $ printf hello > uploads/x
        $ getfattr --only-values -n user.regfs.digest uploads/x; echo
        $HELLO
        $ cat uploads/$(getfattr --only-values -n user.regfs.uuid uploads/x); echo
        hello
        $ ls uploads
        x
        $ mv uploads/x layers/$(getfattr --only-values -n user.regfs.digest uploads/x)
        $ ls layers
        $HELLO
        ",
    );
}

#[test]
fn any_file_name_is_welcome_in_uploads() {
    needs!("fuse");
    session_with(
        Mount::empty(),
        &[("HELLO", HELLO)],
        "
        $ mkdir a
        $ cd a
        $ printf hello > 'uploads/with space'
        $ printf hello > uploads/UPPER.tar.gz
        $ printf hello > uploads/.hidden
        $ printf hello > uploads/-dash
        $ printf hello > uploads/$HELLO
        $ ls -A uploads
        -dash
        .hidden
        UPPER.tar.gz
        $HELLO
        with space
        $ mv uploads/.hidden uploads/seen
        $ mv 'uploads/with space' layers/$HELLO
        $ mv uploads/seen layers/$HELLO
        $ ls -A uploads
        -dash
        UPPER.tar.gz
        $HELLO
        ",
    );
}

#[test]
fn a_layer_that_is_there_already_can_be_pushed_again() {
    needs!("fuse");
    let mount = Mount::empty();
    session_with(
        &mount,
        &[("HELLO", HELLO)],
        "
        $ mkdir a b
        $ cd a
        $ printf hello > ../b/uploads/x; mv ../b/uploads/x layers/$HELLO
        $ cp layers/$HELLO uploads/x; mv uploads/x layers/$HELLO
        $ cp layers/$HELLO uploads/x; mv -f uploads/x layers/$HELLO
        $ cp uploads/none layers/$HELLO
        cp: cannot stat 'uploads/none': No such file or directory
        [exit 1]
        $ printf hello > uploads/x; cat uploads/x > layers/$HELLO
        $ cp -f uploads/x layers/$HELLO
        $ cat layers/$HELLO; echo
        hello
        $ rm layers/$HELLO
        $ ls layers
        $ cp uploads/x layers/$HELLO
        $ cat layers/$HELLO; echo
        hello
        ",
    );
}

#[test]
fn many_processes_can_push_the_same_layer_at_once() {
    // cp asks for a new file (O_EXCL) where it saw none, and the system lets only one have that, on
    // any disk; so the first to arrive together are cat, and cp where the layer is or has a name.
    needs!("fuse");
    let mount = Mount::empty();
    let bytes = noise(77, 3 << 20);
    fs::write(mount.beside().join("source"), &bytes).unwrap();
    let digest = digest_of(&bytes);
    let source = mount.beside().join("source");
    session_with(
        &mount,
        &[("SOURCE", source.to_str().unwrap()), ("DIGEST", &digest)],
        "
        $ mkdir a b
        $ for n in 1 2 3 4 5 6 7 8; do { cat $SOURCE > a/layers/$DIGEST || echo $n failed; } & done; wait
        $ for n in 1 2 3 4 5 6 7 8; do { cp $SOURCE a/layers/$DIGEST || echo $n failed; } & done; wait
        $ for n in 1 2 3 4 5 6 7 8; do { cp $SOURCE b/uploads/$n && mv b/uploads/$n b/layers/$DIGEST || echo $n failed; } & done; wait
        $ ls a/layers a/uploads b/layers b/uploads
        a/layers:
        $DIGEST
        a/uploads:
        b/layers:
        $DIGEST
        b/uploads:
        $ cmp $SOURCE a/layers/$DIGEST
        $ cmp $SOURCE b/layers/$DIGEST
        ",
    );
}

#[test]
fn tools_that_make_files_can_make_uploads() {
    needs!("fuse", "tar", "gzip");
    let mount = Mount::empty();
    session_with(
        &mount,
        &[("HELLO", HELLO)],
        "
        $ mkdir a ../tree
        $ cd a
        $ printf hello > ../../tree/x; printf world > ../../tree/y; tar cf ../../t.tar -C ../../tree x y
        $ tar xf ../../t.tar -C uploads
        $ ls uploads
        x
        y
        $ tar xf ../../t.tar -C uploads
        $ cat uploads/x uploads/y; echo
        helloworld
        $ tar czf uploads/t.tgz -C ../../tree x && tar tzf uploads/t.tgz
        x
        $ gzip -c ../../t.tar > uploads/t.gz && gzip -dc uploads/t.gz | cmp - ../../t.tar
        $ touch uploads/empty && stat -c %s uploads/empty
        0
        $ sed s/hello/HELLO/ uploads/x > uploads/changed && cat uploads/changed; echo
        HELLO
        $ split -b 3 uploads/x uploads/part. && cat uploads/part.aa; echo
        hel
        $ sort -o uploads/x uploads/x && head -c 5 uploads/x; echo
        hello
        $ mv uploads/y uploads/z && ls uploads/z
        uploads/z
        $ mv ../../tree/x uploads/moved && mv uploads/moved layers/$HELLO
        $ ls layers
        $HELLO
        ",
    );
}

#[test]
fn an_empty_layer_is_a_layer() {
    needs!("fuse");
    let empty = digest_of(b"");
    session_with(
        Mount::empty(),
        &[("EMPTY", &empty)],
        "
        $ mkdir a
        $ cd a
        $ touch uploads/x
        $ mv uploads/x layers/$EMPTY
        $ cat layers/$EMPTY
        $ stat -c %s layers/$EMPTY
        0
        ",
    );
}

#[test]
fn a_manifest_is_visible_only_when_it_is_whole() {
    needs!("fuse");
    let mount = Mount::empty();
    let config = mount.push_layer("a", b"{}");
    let layer = mount.push_layer("a", b"layer");
    let one = manifest_of((&config, 2), &[(&layer, 5)]);
    let two = manifest_of((&config, 2), &[(&layer, 5), (&layer, 5)]);
    session_with(
        &mount,
        &[("ONE", &one), ("TWO", &two)],
        "
        $ cd a
        $ printf %s \"$ONE\" > uploads/one; printf %s \"$TWO\" > uploads/two
        $ cp uploads/one manifests/1.0
        $ { head -c 50 uploads/two; sleep 0.4; tail -c +51 uploads/two; } | cat > manifests/1.0 & sleep 0.2; cmp manifests/1.0 uploads/one; wait; cmp manifests/1.0 uploads/two
        $ printf %s \"$ONE\" | tee manifests/1.0 > /dev/null
        $ cmp manifests/1.0 uploads/one
        $ mv uploads/two manifests/2.0
        $ ls manifests uploads
        manifests:
        1.0
        2.0
        uploads:
        one
        $ cat uploads/one > manifests/.tmp && mv manifests/.tmp manifests/3.0
        $ cmp uploads/one manifests/3.0 && ls -A manifests
        1.0
        2.0
        3.0
        ",
    );
}

#[test]
fn a_manifest_can_be_edited_in_place() {
    needs!("fuse", "vim", "sed");
    let mount = Mount::empty();
    let config = mount.push_layer("a", b"{}");
    let manifest = manifest_of((&config, 2), &[])
        .replace(r#""layers":[]"#, r#""layers":[],"annotations":{"colour":"red"}"#);
    fs::write(mount.beside().join("m"), manifest).unwrap();
    session(
        &mount,
        "
        $ cd a
        $ cp ../../m manifests/1.0
        $ sed -i s/red/green/ manifests/1.0
        $ grep -o 'colour.*\"' manifests/1.0
        colour\":\"green\"
        $ ls -A manifests
        1.0
        $ vim -es -c '%s/green/blue/' -c wq manifests/1.0
        $ grep -o 'colour.*\"' manifests/1.0
        colour\":\"blue\"
        $ ls -A manifests
        1.0
        $ cp manifests/1.0 ../../edited && sha256sum < ../../edited | cut -c-64 > ../../digest
        $ cmp ../../edited manifests/sha256:$(cat ../../digest)
        ",
    );
}

#[test]
fn a_manifest_may_be_put_under_its_digest_without_a_tag() {
    needs!("fuse");
    let mount = Mount::empty();
    let config = mount.push_layer("a", b"{}");
    let manifest = manifest_of((&config, 2), &[]);
    let digest = digest_of(manifest.as_bytes());
    session_with(
        &mount,
        &[("TEXT", &manifest), ("DIGEST", &digest), ("OTHER", OTHER)],
        "
        $ cd a
        $ printf %s \"$TEXT\" | tee manifests/$DIGEST > /dev/null
        $ ls manifests
        $ cat manifests/$DIGEST; echo
        $TEXT
        $ cp manifests/$DIGEST ../../m
        $ cp ../../m manifests/$OTHER
        cp: …Bad message
        [exit 1]
        $ sleep 0.3; cat manifests/$OTHER
        cat: 'manifests/$OTHER': No such file or directory
        [exit 1]
        ",
    );
}
