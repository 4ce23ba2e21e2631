//! Names that nothing can have, and things that a registry does not have.

use super::matrix::{Matrix, copying_tools, moving_tools, tool};
use crate::common::{self, Mount, needs, run_in};

#[test]
fn no_name_for_a_layer() {
    needs!("fuse", "rsync", "busybox", "python3");
    let mount = Mount::empty();
    let layer = mount.push_layer("a", b"layer");
    let mut matrix = Matrix::new(
        &mount,
        "EINVAL: no name for a layer",
        "`TARGET` is `layers/blob.tar`: a layer is named by its digest.",
        b"hello",
        "a/layers/blob.tar",
    );
    matrix.more = vec![("LAYER", format!("a/layers/{layer}"))];
    let mut tools = copying_tools();
    tools.extend(moving_tools());
    tools.extend([
        tool("echo hello > $TARGET"),
        tool("cat $FILE >> $TARGET"),
        tool("sed -i s/l/L/ $LAYER"),
        tool("split -b 2 $FILE $TARGET"),
        tool("truncate -s 5 $TARGET"),
        tool("touch $TARGET"),
        tool("ln $LAYER $TARGET"),
        tool("mv $LAYER $TARGET"),
        tool("mkdir $TARGET"),
    ]);
    matrix.run(&tools);
}

#[test]
fn no_name_for_a_tag() {
    needs!("fuse", "rsync", "busybox", "python3");
    let mount = Mount::empty();
    run_in(mount.path(), "mkdir a");
    let matrix = Matrix::new(
        &mount,
        "EINVAL: no name for a tag",
        "`TARGET` is `manifests/+1.0`: a tag is made of letters, digits, `_`, `.` and `-`.",
        b"{}",
        "a/manifests/+1.0",
    );
    let mut tools = copying_tools();
    tools.extend(moving_tools());
    tools.extend([
        tool("echo hello > $TARGET"),
        tool("truncate -s 5 $TARGET"),
        tool("touch $TARGET"),
        tool("mkdir $TARGET"),
    ]);
    matrix.run(&tools);
}

#[test]
fn no_name_for_a_repository() {
    needs!("fuse", "rsync", "busybox", "python3");
    let mount = Mount::empty();
    run_in(mount.path(), "mkdir -p a/b");
    let matrix = Matrix::new(
        &mount,
        "EINVAL: no name for a repository",
        "`TARGET` is `Upper`: repositories have small letters.",
        b"",
        "Upper",
    );
    let tools = [
        "mkdir $TARGET",
        "mkdir -p $TARGET/more",
        "mv a/b $TARGET",
        "cp -r a/b $TARGET",
        "install -d $TARGET",
        "mkdir a/b/layers/new",
        "mkdir layers",
        "python3 -c 'import os; os.mkdir(\"$TARGET\")'",
        "rsync -r a/b/ $TARGET",
    ];
    matrix.run(&tools.map(tool));
}

#[test]
fn no_such_thing_in_a_registry() {
    needs!("fuse", "rsync", "busybox", "python3", "setfattr");
    let mount = Mount::empty();
    let layer = mount.push_layer("a", b"layer");
    run_in(mount.path(), "mkdir b; echo hello > a/uploads/begun");
    let mut matrix = Matrix::new(
        &mount,
        "EPERM: no such thing in a registry",
        "Links, devices and folders that a registry has no meaning for, and files beside the three \
         folders of a repository: `TARGET` is `a/file`.",
        b"hello",
        "a/file",
    );
    matrix.more = vec![("LAYER", format!("a/layers/{layer}"))];
    let tools = [
        "cp $FILE $TARGET",
        "mv $COPY $TARGET",
        "cat $FILE > $TARGET",
        "tee $TARGET < $FILE > /dev/null",
        "dd if=$FILE of=$TARGET status=none",
        "tar xf $TAR -C $FOLDER",
        "install -m 644 $FILE $TARGET",
        "touch $TARGET",
        "truncate -s 5 $TARGET",
        "mv a/uploads/begun $TARGET",
        "ln -s b link",
        "ln $LAYER a/manifests/1.0",
        "ln a/uploads/begun a/uploads/other",
        "mkfifo a/uploads/pipe",
        "mknod a/uploads/device c 1 3",
        "mv a/layers a/other",
        "mv -T a b/layers",
        "rm .regfs/errors",
        "truncate -s 0 .regfs/errors",
        "touch .regfs/errors",
        "setfattr -n user.regfs.digest -v other $LAYER",
        "python3 -c 'import os; os.symlink(\"b\", \"link\")'",
    ];
    let mut tools = tools.map(tool).to_vec();
    // Its temporary file has a name that no repository can have.
    tools.push(tool("rsync $FILE a/").meets("EINVAL"));
    matrix.run(&tools);
}
