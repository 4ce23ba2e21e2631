//! `regfs gc`: what nobody refers to goes, and nothing else, whoever publishes meanwhile.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use common::{Mount, Registry, digest_of, eventually, image, needs, noise, run_in, session_with};
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

/// How often things are published beside a collection.
const ROUNDS: usize = 200;

/// How many links there are to follow while a repository is renamed.
const LINKS: usize = 5000;
/// How many images are pushed beside how many collections.
const PUSHES: usize = 12;
const COLLECTIONS: usize = 4;

/// Longer than the time by which the clock of files may be behind.
fn age() {
    thread::sleep(Duration::from_millis(1200));
}

/// Starts `regfs gc --grace 0s` on the mount's store, in a shell that says when it has ended.
fn collector(mount: &Mount) -> std::process::Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_regfs"));
    command.args(["gc", "--grace", "0s"]).arg(mount.store()).stdout(Stdio::null()).spawn().unwrap()
}

/// The hexadecimal names in a folder of blobs that a collector has taken out.
fn taken_out(mount: &Mount) -> usize {
    fs::read_dir(mount.store().join("regfs/collected")).into_iter().flatten().count()
}

#[test]
fn what_nobody_refers_to_is_removed_and_all_else_stays() {
    needs!("fuse", "jq");
    let image = image();
    let mount = Mount::with_image(&image);
    let lost = mount.push_layer("b", &noise(1, 3 << 20));
    mount.push_layer("b", b"stays");
    let hex = image.manifest.strip_prefix("sha256:").unwrap();
    let variables = [
        ("LOST", &*lost),
        ("STORE", mount.store().to_str().unwrap()),
        ("MANIFEST", &image.manifest),
        ("HEX", hex),
    ];
    session_with(
        &mount,
        &variables,
        "
        $ rm b/layers/$LOST library/busybox/manifests/1.35
        $ regfs gc --dry-run $STORE
        would remove no blobs and no uploads; … in use, 1 blob (3.0 MiB) not, but too young
        $ sleep 1.2; regfs gc --dry-run --grace 1s $STORE
        would remove blob $LOST, 3.0 MiB, untouched for …
        would remove 1 blob (3.0 MiB) and no uploads; …
        $ regfs gc --dry-run --grace 1s --json $STORE | jq -c '.removed, .dry_run, .things[0].name'
        {\"bytes\":3145728,\"count\":1}
        true
        \"$LOST\"
        $ regfs gc --grace 1s $STORE
        removed blob $LOST, 3.0 MiB, untouched for …
        removed 1 blob (3.0 MiB) and no uploads; …
        $ regfs gc --grace 1s $STORE
        removed no blobs and no uploads; …
        $ cat b/layers/*; echo; cat library/busybox/layers/* > ../all; cat library/busybox/manifests/$MANIFEST | sha256sum
        stays
        $HEX  -
        $ ls -A $STORE/regfs/collected $STORE/regfs/trash
        $STORE/regfs/collected:
        $STORE/regfs/trash:
        $ regfs gc $STORE/docker
        regfs: there is no registry in $STORE/docker: give the folder that you mount, not the mountpoint
        [exit 1]
        ",
    );
}

#[test]
fn who_has_the_store_can_use_it_after_root_has_collected() {
    needs!("root", "setpriv");
    let scratch = common::scratch();
    session_with(
        scratch.path(),
        &[("AS", "setpriv --reuid 65534 --regid 65534 --clear-groups")],
        "
        $ chmod 755 .; mkdir -p store/docker/registry/v2/blobs/sha256 store/docker/registry/v2/repositories; chown -R 65534:65534 store
        $ regfs gc store
        removed no blobs and no uploads; no blobs in use
        $ stat -c '%u %n' store/regfs/* | grep -v ^65534
        [exit 1]
        $ $AS regfs gc store
        removed no blobs and no uploads; no blobs in use
        ",
    );
}

#[test]
fn uploads_that_nobody_goes_on_with_are_cancelled() {
    needs!("fuse");
    let mount = Mount::empty();
    session_with(
        &mount,
        &[("STORE", mount.store().to_str().unwrap())],
        "
        $ mkdir -p a/b a/b/uploads/inner; echo old > a/b/uploads/inner/x; echo young > a/b/uploads/y
        $ exec 5>> a/b/uploads/y; sleep 1.2; regfs gc --uploads-older-than 1s $STORE
        removed upload a/b/uploads/inner/x, 4 B, untouched for …
        removed no blobs and 1 upload (4 B); no blobs in use
        $ sleep 1; cat a/b/uploads/y; cat a/b/uploads/inner/x
        young
        cat: a/b/uploads/inner/x: No such file or directory
        [exit 1]
        ",
    );
}

/// A manifest that was removed lies in `blobs/` until it is collected; who puts it again then finds it.
#[test]
fn what_is_published_beside_a_collection_is_there() {
    needs!("fuse");
    let mount = Mount::with_image(&image());
    let text = fs::read_to_string(mount.path().join("library/busybox/manifests/1.35")).unwrap();
    let manifest = |round: usize| format!("{text}{}", " ".repeat(round + 1));
    for round in 0..ROUNDS {
        fs::write(mount.beside().join(format!("m{round}")), manifest(round)).unwrap();
        let digest = digest_of(manifest(round).as_bytes());
        let command = format!(
            "cp ../m{round} library/busybox/manifests/t{round}; rm library/busybox/manifests/{digest}"
        );
        run_in(mount.path(), &command);
    }
    age();
    thread::scope(|scope| {
        let collections = scope.spawn(|| {
            (0..3).for_each(|_| assert!(collector(&mount).wait().unwrap().success()));
        });
        for round in 0..ROUNDS {
            let tag = format!("library/busybox/manifests/t{round}");
            // Nor is it away for a moment.
            run_in(mount.path(), &format!("cp ../m{round} {tag} && cmp ../m{round} {tag}"));
        }
        collections.join().unwrap();
    });
    for round in 0..ROUNDS {
        let tag = mount.path().join(format!("library/busybox/manifests/t{round}"));
        assert_eq!(fs::read_to_string(&tag).unwrap(), manifest(round), "{round}");
    }
}

/// Each rename takes links past whoever follows them from folder to folder.
#[test]
fn a_collection_ends_with_success_while_a_repository_is_renamed_in_a_loop() {
    needs!("fuse");
    let mount = Mount::empty();
    let lost = mount.push_layer("b", b"lost");
    let kept = mount.push_layer("moving0", b"kept");
    run_in(mount.path(), "rm b/layers/*");
    // So that following links takes longer than a rename.
    let links = mount.store().join("docker/registry/v2/repositories/b/_layers/sha256");
    for number in 0..LINKS {
        let digest = digest_of(format!("{number}").as_bytes());
        let link = links.join(digest.strip_prefix("sha256:").unwrap());
        fs::create_dir_all(&link).unwrap();
        fs::write(link.join("link"), digest).unwrap();
    }
    age();
    let moving = |number: usize| mount.path().join(format!("moving{number}"));
    let ended = AtomicBool::new(false);
    let renames = thread::scope(|scope| {
        let renames = scope.spawn(|| {
            let mut number = 0;
            while !ended.load(Ordering::Relaxed) {
                rustix::fs::rename(moving(number), moving(number + 1)).unwrap();
                number += 1;
            }
            number
        });
        let status = collector(&mount).wait().unwrap();
        ended.store(true, Ordering::Relaxed);
        assert!(status.success());
        renames.join().unwrap()
    });
    assert!(!mount.blob_file(&lost).exists());
    assert_eq!(fs::read(moving(renames).join("layers").join(kept)).unwrap(), b"kept");
}

/// As docker-registry does when it has found the blob a moment before.
#[test]
fn what_is_linked_while_it_is_taken_out_is_brought_back() {
    needs!("fuse");
    let mount = Mount::empty();
    mount.push_layer("used", b"used");
    let layers = ["one", "other"].map(|text| mount.push_layer("a", text.as_bytes()));
    let links = layers.each_ref().map(|layer| {
        let hex = layer.strip_prefix("sha256:").unwrap();
        let repository = mount.store().join("docker/registry/v2/repositories/a");
        repository.join("_layers/sha256").join(hex).join("link")
    });
    run_in(mount.path(), "rm a/layers/*");
    age();
    let mut collector = collector(&mount);
    eventually(Duration::from_secs(10), "both are taken out", || taken_out(&mount) == 2);
    fs::create_dir_all(links[0].parent().unwrap()).unwrap();
    fs::write(&links[0], &layers[0]).unwrap();
    assert!(collector.wait().unwrap().success());
    assert_eq!(fs::read(mount.path().join("a/layers").join(&layers[0])).unwrap(), b"one");
    assert!(mount.blob_file(&layers[0]).exists() && !mount.blob_file(&layers[1]).exists());
}

#[test]
fn a_mount_collects_by_itself_when_it_is_told_to() {
    needs!("fuse", "jq");
    let mut mount = Mount::empty();
    mount.push_layer("used", b"used");
    let layer = mount.push_layer("a", b"content");
    mount.unmount();
    mount.mount(&["gc_interval=1s", "gc_grace=1s"]);
    session_with(
        &mount,
        &[("LAYER", &layer), ("STORE", mount.store().to_str().unwrap())],
        "
        $ jq -r .options .regfs/status
        rw,gc_interval=1s,gc_grace=1s
        $ sleep 2.5; cat a/layers/$LAYER; echo; rm a/layers/$LAYER
        content
        ",
    );
    let blob = mount.blob_file(&layer);
    eventually(Duration::from_secs(30), "the blob is collected", || !blob.exists());
}

#[test]
fn ctrl_c_brings_back_what_is_taken_out() {
    needs!("fuse");
    let mount = Mount::empty();
    mount.push_layer("used", b"used");
    let layer = mount.push_layer("a", b"content");
    session_with(
        &mount,
        &[("LAYER", &layer), ("STORE", mount.store().to_str().unwrap())],
        "
        $ rm a/layers/$LAYER; sleep 1.2
        $ regfs gc --grace 0s $STORE & until ls $STORE/regfs/collected/* > ../out 2>&1; do sleep 0.1; done; kill -INT $!; wait $!
        regfs: stopped: nothing was removed from $STORE, all else is where it was
        [exit 130]
        $ ls $STORE/regfs/collected; ls $STORE/docker/registry/v2/blobs/sha256/*/*/data | wc -l
        2
        $ nohup regfs gc --grace 0s $STORE > ../out & until ls $STORE/regfs/collected/* > ../list 2>&1; do sleep 0.1; done; kill -HUP $!; wait $!; tail -n 1 ../out
        removed 1 blob (7 B) and no uploads; …
        ",
    );
}

#[test]
fn what_a_killed_collector_has_taken_out_comes_back_with_the_next_mount() {
    needs!("fuse");
    let mut mount = Mount::empty();
    mount.push_layer("used", b"used");
    let layer = mount.push_layer("a", b"content");
    run_in(mount.path(), "rm a/layers/*");
    age();
    let mut collector = collector(&mount);
    eventually(Duration::from_secs(10), "it is taken out", || taken_out(&mount) == 1);
    collector.kill().unwrap();
    collector.wait().unwrap();
    assert!(!mount.blob_file(&layer).exists());
    mount.remount();
    assert_eq!(fs::read(mount.blob_file(&layer)).unwrap(), b"content");
    assert_eq!(taken_out(&mount), 0);
}

#[test]
fn nothing_is_removed_when_something_cannot_be_understood() {
    needs!("fuse");
    let mount = Mount::with_image(&image());
    let lost = mount.push_layer("b", b"lost");
    run_in(mount.path(), "rm b/layers/*");
    age();
    let manifest = run_in(
        mount.path(),
        "getfattr --only-values -n user.regfs.digest library/busybox/manifests/1.35",
    );
    let blob = mount.blob_file(&manifest);
    let repositories = mount.store().join("docker/registry/v2/repositories");
    session_with(
        &mount,
        &[
            ("STORE", mount.store().to_str().unwrap()),
            ("REPOSITORIES", repositories.to_str().unwrap()),
            ("BLOB", blob.to_str().unwrap()),
        ],
        "
        $ ln -s /elsewhere $REPOSITORIES/linked; regfs gc --grace 0s $STORE
        regfs: nothing was removed from $STORE: $REPOSITORIES/linked: it is a symbolic link, and what lies behind it is not known…
        [exit 1]
        $ rm $REPOSITORIES/linked; cp $BLOB ../good; printf X | dd of=$BLOB conv=notrunc status=none; regfs gc --grace 0s $STORE
        regfs: nothing was removed from $STORE: …
        [exit 1]
        $ cp ../good $BLOB; regfs gc --grace 0s $STORE | tail -n 1
        removed 1 blob (4 B) and no uploads; …
        ",
    );
    assert!(!mount.blob_file(&lost).exists());
}

#[test]
fn images_pushed_to_a_docker_registry_beside_collections_are_whole() {
    needs!("fuse", "docker-registry", "skopeo");
    let mount = Mount::empty();
    let registry = Registry::serve(mount.store());
    let image = image();
    thread::scope(|scope| {
        let collections = scope.spawn(|| {
            let store = mount.store().display();
            for _ in 0..COLLECTIONS {
                run_in(Path::new("/"), &format!("regfs gc --grace 2s {store}"));
            }
        });
        for round in 0..PUSHES {
            let (layout, to) = (image.layout.display(), registry.address());
            let skopeo = "skopeo copy -q --insecure-policy --dest-tls-verify=false";
            run_in(
                Path::new("/"),
                &format!("{skopeo} oci:{layout}:1.35 docker://{to}/app{round}:v1"),
            );
        }
        collections.join().unwrap();
    });
    for round in 0..PUSHES {
        let read = format!("cat app{round}/layers/* app{round}/manifests/v1 | wc -c");
        let bytes: u64 = run_in(mount.path(), &read).trim().parse().unwrap();
        assert!(bytes > 1000, "app{round}: {bytes}");
    }
}
