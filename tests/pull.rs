//! Pulling: what a user does with the layers and manifests that are there.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use common::{Mount, digest_of, image, manifest_of, needs, noise, session, session_with};
use std::fs;

#[test]
fn a_real_image_is_pulled_with_ordinary_tools() {
    needs!("fuse", "umoci", "busybox", "jq", "tar", "gzip", "python3");
    let image = image();
    let mount = Mount::with_image(&image);
    let variables = image.variables();
    let variables: Vec<(&str, &str)> = variables.iter().map(|(n, v)| (&**n, &**v)).collect();
    session_with(
        &mount,
        &variables,
        "
        $ cd library/busybox
        $ cmp manifests/1.35 $MANIFEST_FILE
        $ cmp manifests/$MANIFEST $MANIFEST_FILE
        $ jq -r .layers[].digest manifests/1.35
        $LAYER1
        $LAYER2
        $LAYER3
        $ tar tzf layers/$LAYER2 | grep words/
        *
        …usr/share/words/alpha
        *
        $ tar xzf layers/$LAYER1 -C ../../.. ./bin 2> /dev/null || tar xzf layers/$LAYER1 -C ../../.. bin
        $ ../../../bin/busybox echo it runs
        it runs
        $ sh -c 'cd layers; for layer in *; do echo \"${layer#sha256:}  $layer\"; done' > ../../../sums
        $ cd layers
        $ sha256sum --quiet -c ../../../../sums
        $ cd ..
        $ cp layers/$LAYER1 ../../../copy && cmp ../../../copy $LAYER1_FILE
        $ cp -a layers/$LAYER1 ../../../copy2 && cmp ../../../copy2 $LAYER1_FILE
        $ busybox cp layers/$LAYER1 ../../../copy3 && cmp ../../../copy3 $LAYER1_FILE
        $ dd if=layers/$LAYER1 bs=7k status=none | cmp - $LAYER1_FILE
        $ dd if=layers/$LAYER1 bs=1 skip=1000 count=77 status=none | od -A n -t x1 > ../../../part
        $ dd if=$LAYER1_FILE bs=1 skip=1000 count=77 status=none | od -A n -t x1 | cmp - ../../../part
        $ tail -c 1000 layers/$LAYER1 > ../../../tail && tail -c 1000 $LAYER1_FILE | cmp - ../../../tail
        $ head -c 1000 layers/$LAYER1 > ../../../head && head -c 1000 $LAYER1_FILE | cmp - ../../../head
        $ test $(wc -c < layers/$LAYER1) = $(stat -c %s $LAYER1_FILE)
        $ test $(stat -c %s layers/$LAYER1) = $(stat -c %s $LAYER1_FILE)
        $ gzip -t < layers/$LAYER3
        $ python3 -c 'import shutil,sys; shutil.copy2(sys.argv[1], sys.argv[2])' layers/$LAYER2 ../../../copy4
        $ cmp ../../../copy4 $LAYER2_FILE
        $ python3 -c 'import mmap,sys; f=open(sys.argv[1],\"rb\"); sys.stdout.buffer.write(mmap.mmap(f.fileno(),0,prot=mmap.PROT_READ))' layers/$LAYER1 | cmp - $LAYER1_FILE
        ",
    );
}

#[test]
fn a_repository_is_copied_out_whole() {
    needs!("fuse", "umoci", "busybox", "jq");
    let image = image();
    let mount = Mount::with_image(&image);
    session(
        &mount,
        "
        $ cp -r library ../out
        $ diff -r library ../out
        $ cp -a library ../out2
        $ diff -r library ../out2
        $ tar cf ../out.tar library
        $ tar df ../out.tar
        $ ls ../out/busybox/manifests
        1.35
        ",
    );
}

#[test]
fn what_looks_through_a_tree_can_look_through_the_mount() {
    needs!("fuse", "find", "grep", "du");
    let mount = Mount::empty();
    let config = mount.push_layer("a/b", b"{\"needle\":1}");
    let layer = mount.push_layer("a/b", &noise(1, 100_000));
    let manifest = manifest_of((&config, 12), &[(&layer, 100_000)]);
    let digest = digest_of(manifest.as_bytes());
    let mut layers = [config.clone(), layer.clone()];
    layers.sort();
    session_with(
        &mount,
        &[
            ("TEXT", &manifest),
            ("CONFIG", &config),
            ("LAYER", &layer),
            ("FIRST", &layers[0]),
            ("SECOND", &layers[1]),
            ("DIGEST", &digest),
        ],
        "
        $ printf %s \"$TEXT\" | tee a/b/manifests/1.0 > /dev/null
        $ find . | sort
        .
        ./a
        ./a/b
        ./a/b/layers
        ./a/b/layers/$FIRST
        ./a/b/layers/$SECOND
        ./a/b/manifests
        ./a/b/manifests/1.0
        ./a/b/uploads
        $ find . -type f -size +50k
        ./a/b/layers/$LAYER
        $ grep -rl needle .
        ./a/b/layers/$CONFIG
        $ grep -rl $LAYER a
        a/b/manifests/1.0
        $ ls -l a/b/layers | grep -c ' 100000 '
        1
        $ stat -c '%F %s' a a/b/layers a/b/layers/$LAYER
        directory …
        directory …
        regular file 100000
        $ test $(du -s --apparent-size -B1 a/b/layers/$LAYER | cut -f1) = 100000
        $ wc -c a/b/manifests/* a/b/layers/$LAYER | tail -n 1
        … total
        $ ls a/b/manifests/$DIGEST
        a/b/manifests/$DIGEST
        $ ls -R a | grep -c sha256
        2
        ",
    );
}

#[test]
fn a_tag_that_moves_does_not_tear_a_read() {
    needs!("fuse");
    let mount = Mount::empty();
    let config = mount.push_layer("a", b"{}");
    let one = manifest_of((&config, 2), &[]);
    let two = manifest_of((&config, 2), &[(&config, 2), (&config, 2)]);
    fs::write(mount.beside().join("one"), &one).unwrap();
    fs::write(mount.beside().join("two"), &two).unwrap();
    session_with(
        &mount,
        &[("ONE", &one), ("TWO", &two)],
        "
        $ cd a
        $ cp ../../one manifests/t
        $ { head -c 10; cp ../../two manifests/t; cat; } < manifests/t; echo
        $ONE
        $ cat manifests/t; echo
        $TWO
        $ { head -c 10; rm manifests/t; cat; } < manifests/t; echo
        $TWO
        $ ls manifests
        ",
    );
}

#[test]
fn a_layer_that_was_removed_can_be_read_by_who_has_it_open() {
    needs!("fuse");
    let mount = Mount::empty();
    let bytes = noise(5, 3 << 20);
    fs::write(mount.beside().join("bytes"), &bytes).unwrap();
    let layer = mount.push_layer("a", &bytes);
    session_with(
        &mount,
        &[("LAYER", &layer)],
        "
        $ { head -c 10; rm a/layers/$LAYER; cat; } < a/layers/$LAYER | cmp - ../bytes
        $ ls a/layers
        $ cat a/layers/$LAYER
        cat: 'a/layers/$LAYER': No such file or directory
        [exit 1]
        ",
    );
}

#[test]
fn many_readers_read_the_same_layer_at_once() {
    needs!("fuse");
    let mount = Mount::empty();
    let layer = mount.push_layer("a", &noise(6, 2 << 20));
    session_with(
        &mount,
        &[("LAYER", &layer)],
        "
        $ for n in 1 2 3 4 5 6 7 8 9 10 11 12; do sha256sum < a/layers/$LAYER & done | sort -u | sed 's/  -//; s/^/sha256:/'; wait
        $LAYER
        ",
    );
}

#[test]
fn a_damaged_layer_is_never_served_as_if_it_were_whole() {
    needs!("fuse");
    let mut mount = Mount::empty();
    let bytes = noise(8, 300_000);
    let layer = mount.push_layer("a", &bytes);
    mount.unmount();
    let file = mount.blob_file(&layer);
    // A cut is what a power failure leaves; the length is the one thing every open can see.
    fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(0).unwrap();
    mount.mount(&[]);
    fs::write(mount.beside().join("bytes"), &bytes).unwrap();
    session_with(
        &mount,
        &[("LAYER", &layer)],
        "
        $ cp ../bytes a/uploads/x
        $ mv a/uploads/x a/layers/$LAYER
        $ cmp ../bytes a/layers/$LAYER
        $ sha256sum < a/layers/$LAYER | sed 's/  -//; s/^/sha256:/'
        $LAYER
        ",
    );
}
