//! What cannot be done now, or here: somebody writes it, something is in it, it is mounted read-only.

use super::matrix::{Matrix, copying_tools, moving_tools, tool};
use crate::common::{
    self, Background, Mount, digest_of, eventually, manifest_of, needs, run_in, session,
};
use std::{process::Command, time::Duration};

/// A process that has begun to write `path`, and does not go on.
fn writer_of(mount: &Mount, path: &str) -> Background {
    let mut shell = Command::new("sh");
    let command = format!("exec 3>> {path}; printf hel >&3; exec sleep 60");
    let writer = Background::start(shell.args(["-c", &command]).current_dir(mount.path()));
    eventually(Duration::from_secs(10), "the writer has begun", || {
        std::fs::metadata(mount.path().join(path)).is_ok_and(|stat| stat.len() == 3)
    });
    writer
}

#[test]
fn a_layer_that_is_being_written() {
    needs!("fuse", "rsync", "busybox", "python3");
    let mount = Mount::empty();
    run_in(mount.path(), "mkdir a b");
    let target = format!("a/layers/{}", digest_of(b"hello"));
    let _writer = writer_of(&mount, &target);
    let mut matrix = Matrix::new(
        &mount,
        "EBUSY: a layer that is being written",
        "A process writes `TARGET`, and has not closed it yet.",
        b"hello",
        &target,
    );
    matrix.more = vec![("OTHER", target.replace("a/", "b/"))];
    let tools = [
        "cat $TARGET",
        "cp $TARGET $COPY",
        "mv $TARGET $OTHER",
        "ln $TARGET $OTHER",
        "dd if=$TARGET status=none",
        "rsync $TARGET $COPY",
        "tar cf $TAR $TARGET",
        "sha256sum $TARGET",
        "rm $TARGET",
        "mv a c",
        "python3 -c 'open(\"$TARGET\").read()'",
    ];
    matrix.run(&tools.map(tool));
}

#[test]
fn an_upload_that_another_mount_writes() {
    needs!("fuse", "rsync", "busybox", "python3");
    let mount = Mount::empty();
    run_in(mount.path(), "mkdir a");
    let _writer = writer_of(&mount, "a/uploads/begun");
    let other = Mount::of_store(mount.store());
    let mut matrix = Matrix::new(
        &other,
        "EBUSY: an upload that another mount writes",
        "A process writes `TARGET` through another mount of the same store. It can be read here, and \
         nothing else.",
        b"hello",
        "a/uploads/begun",
    );
    let layer = digest_of(b"hello");
    matrix.more = vec![("LAYER", format!("a/layers/{layer}"))];
    let tools = [
        "cp $FILE $TARGET",
        "cat $FILE > $TARGET",
        "cat $FILE >> $TARGET",
        "tee $TARGET < $FILE > /dev/null",
        "dd if=$FILE of=$TARGET status=none",
        "rsync --inplace $FILE $TARGET",
        "truncate -s 5 $TARGET",
        "mv $TARGET $LAYER",
        "mv $TARGET a/uploads/other",
        "rm $TARGET",
        "python3 -c 'open(\"$TARGET\", \"ab\")'",
    ];
    matrix.run(&tools.map(tool));
}

#[test]
fn a_repository_with_something_in_it() {
    needs!("fuse", "python3");
    let mount = Mount::empty();
    mount.push_layer("a", b"layer");
    run_in(mount.path(), "mkdir b");
    let matrix = Matrix::new(
        &mount,
        "ENOTEMPTY: a repository with something in it",
        "`TARGET` is a repository with a layer.",
        b"",
        "a",
    );
    let tools = [
        "rmdir $TARGET",
        "rmdir a/layers",
        "mv -T b $TARGET",
        "python3 -c 'import os; os.rmdir(\"$TARGET\")'",
    ];
    matrix.run(&tools.map(tool));
}

#[test]
fn a_mount_that_is_read_only() {
    needs!("fuse", "rsync", "busybox", "python3", "setfattr");
    let mut mount = Mount::empty();
    let config = mount.push_layer("a", b"{}");
    let manifest = manifest_of((&config, 2), &[]);
    std::fs::write(mount.beside().join("old"), &manifest).unwrap();
    run_in(mount.path(), "cp ../old a/manifests/1.0; mkdir b; cp ../old a/uploads/upload");
    mount.remount_with(&["ro"]);
    let mut matrix = Matrix::new(
        &mount,
        "EROFS: mounted read-only",
        "The mount has `-o ro`. The kernel refuses every change by itself, so there is no line for \
         any: the first lines of `.regfs/errors` say it, and what to do.",
        manifest.as_bytes(),
        "a/manifests/new",
    );
    matrix.has_lines = false;
    matrix.keeps_upload = true;
    let mut tools = copying_tools();
    tools.extend(moving_tools());
    tools.extend(
        [
            "echo hello > $TARGET",
            "sed -i s/schemaVersion/version/ a/manifests/1.0",
            "truncate -s 5 a/uploads/upload",
            "touch a/manifests/1.0",
            "chmod 600 a/manifests/1.0",
            "ln a/manifests/1.0 $TARGET",
            "mv a/manifests/1.0 $TARGET",
            "rm a/manifests/1.0",
            "rm -r b",
            "rmdir b",
            "mkdir c",
            "setfattr -n user.x -v y a/manifests/1.0",
        ]
        .map(tool),
    );
    matrix.run(&tools);
    session(
        &mount,
        "
        $ grep -c '^#   Read-only file system  *this is mounted with -o ro: regfs umount /.*/mnt && regfs mount /.*/store /.*/mnt$' .regfs/errors
        1
        ",
    );
    // What it says is right.
    let line = run_in(mount.path(), "grep Read-only .regfs/errors");
    let (_, remedy) = line.trim().split_once(": ").unwrap();
    run_in(mount.beside(), remedy);
    session(&mount, "$ ln a/manifests/1.0 a/manifests/new\n$ ls a/manifests\n1.0\nnew");
}
