//! What the disk beneath the store refuses, and a daemon that is gone.

use super::disk::Disk;
use super::matrix::{Matrix, Tool, copying_tools, folder_on, moving_tools, tool};
use crate::common::{self, Mount, digest_of, needs, noise, run_in, session_with};

/// More than the small disks here have room for.
const BIG_BYTES: usize = 24 << 20;

/// A file that does not fit, under its right digest: as a layer by each tool.
fn copy_to_a_small_disk(mount: &Mount, title: &'static str, case: &'static str) {
    let content = noise(1, BIG_BYTES);
    run_in(mount.path(), "mkdir a");
    let target = format!("a/layers/{}", digest_of(&content));
    let mut matrix = Matrix::new(mount, title, case, &content, &target);
    matrix.settle = Some(format!("sync -f {}", mount.store().display()));
    let free = || run_in(mount.path(), "df --output=avail . | tail -n 1");
    let free_before = free();
    let mut tools = copying_tools();
    tools.push(tool("cat $FILE > a/uploads/part; rm a/uploads/part; false"));
    tools.push(tool("rsync --preallocate $FILE $TARGET"));
    matrix.run(&tools);
    // Nothing of all these is left on the disk: it has as much room, within its own bookkeeping.
    let number = |text: String| text.trim().parse::<i64>().unwrap();
    let lost = number(free_before) - number(free());
    assert!(lost < 1024, "{lost} KiB are gone");
}

/// An upload of what does not fit goes on where it stopped once there is room.
fn an_upload_goes_on(mount: &Mount, make_room: &str) {
    let digest = digest_of(&noise(1, BIG_BYTES));
    session_with(
        mount,
        &[("DIGEST", &digest), ("ROOM", make_room)],
        "
        $ cat ../file > a/uploads/big
        cat: write error: …
        [exit 1]
        $ sh -c \"$ROOM\"
        $ dd if=../file of=a/uploads/big bs=1M conv=notrunc oflag=append iflag=skip_bytes skip=$(stat -c %s a/uploads/big) status=none
        $ mv a/uploads/big a/layers/$DIGEST
        $ cmp ../file a/layers/$DIGEST
        ",
    );
}

#[test]
fn a_full_disk() {
    needs!("fuse", "root", "/dev/loop-control", "mkfs.ext4", "rsync", "busybox", "python3");
    let disk = Disk::new("64M", "mkfs.ext4 -q");
    let filler = disk.path().join("filler");
    run_in(disk.as_ref(), "head -c 40M /dev/zero > disk/filler; sync -f disk");
    let mount = Mount::of_store(&folder_on(&disk.path()));
    copy_to_a_small_disk(
        &mount,
        "ENOSPC: a full disk",
        "`FILE` is longer than there is room on the store's disk, and `TARGET` is its digest.",
    );
    an_upload_goes_on(&mount, &format!("rm {}", filler.display()));
}

#[test]
fn over_a_quota() {
    needs!(
        "fuse",
        "root",
        "/dev/loop-control",
        "mkfs.btrfs",
        "btrfs",
        "rsync",
        "busybox",
        "python3"
    );
    let disk = Disk::new("128M", "mkfs.btrfs -q --mixed");
    let at = disk.path().display().to_string();
    run_in(disk.as_ref(), "btrfs quota enable disk && btrfs qgroup limit 12M disk");
    let mount = Mount::of_store(&folder_on(&disk.path()));
    copy_to_a_small_disk(
        &mount,
        "EDQUOT: over a quota",
        "The store's disk has a quota (of btrfs) that is less than `FILE` is long, and `TARGET` is the \
         digest of `FILE`.",
    );
    an_upload_goes_on(&mount, &format!("btrfs qgroup limit none {at}"));
}

#[test]
fn a_disk_that_failed() {
    needs!(
        "fuse",
        "root",
        "/dev/loop-control",
        "mkfs.ext4",
        "rsync",
        "busybox",
        "python3",
        "setfattr"
    );
    let disk = Disk::new("32M", "mkfs.ext4 -q");
    let mut mount = Mount::of_store(&folder_on(&disk.path()));
    let layer = mount.push_layer("a", b"layer");
    std::fs::write(mount.beside().join("file"), b"upload").unwrap();
    run_in(mount.path(), "mkdir b; cp ../file a/uploads/upload");
    run_in(disk.as_ref(), "sync -f disk");
    let mut matrix = Matrix::new(
        &mount,
        "EIO: a disk that failed",
        "The store's disk answers nothing any more: ext4 was shut down beneath the mount, as it is after \
         a disk was pulled out.",
        b"hello",
        &format!("a/layers/{}", digest_of(b"hello")),
    );
    matrix.more = vec![("LAYER", format!("a/layers/{layer}"))];
    let before = matrix.state();
    disk.fail();
    matrix.sees_nothing = true;
    matrix.keeps_upload = true;
    let mut tools: Vec<Tool> = copying_tools();
    tools.extend(moving_tools());
    tools.extend(
        [
            "echo hello > a/uploads/new",
            "cat $LAYER",
            "rm $LAYER",
            "rm a/uploads/upload",
            "touch a/uploads/upload",
            "truncate -s 5 a/uploads/upload",
            "chmod 600 $LAYER",
            "ln $LAYER b/layers/",
            "mkdir c",
            "mv b c",
            "rmdir b",
        ]
        .map(tool),
    );
    matrix.run(&tools);
    let (title, case, target) = (matrix.title, matrix.case, matrix.target.clone());
    mount.unmount();
    disk.unmount();
    disk.mount();
    mount.mount(&[]);
    let matrix = Matrix::new(&mount, title, case, b"hello", &target);
    assert_eq!(matrix.state(), before, "a disk that comes back has everything as it was");
}

#[test]
fn a_daemon_that_is_gone() {
    needs!("fuse", "rsync", "busybox", "python3");
    let mut mount = Mount::empty();
    mount.push_layer("a", b"layer");
    let mut matrix_mount = Mount::of_store(mount.store());
    matrix_mount.kill_daemon();
    let mut matrix = Matrix::new(
        &matrix_mount,
        "ENOTCONN: the daemon is gone",
        "The process that served the mount was killed, and with it `.regfs/errors`; `regfs status` says \
         so. Mounting again clears it.",
        b"hello",
        "a/uploads/new",
    );
    matrix.has_lines = false;
    matrix.sees_nothing = true;
    let beside = matrix_mount.beside().display().to_string();
    matrix.folder = Some(matrix_mount.beside().to_owned());
    matrix.more = vec![("MNT", format!("{beside}/mnt"))];
    let tools = [
        "ls $MNT",
        "cat $MNT/.regfs/errors",
        "cp $FILE $MNT/$TARGET",
        "mv $COPY $MNT/$TARGET",
        "cat $FILE > $MNT/$TARGET",
        "rsync $FILE $MNT/$TARGET",
        "mkdir $MNT/b",
        "regfs status $MNT",
    ];
    matrix.run(&tools.map(tool));
    let state = Matrix::new(&mount, matrix.title, matrix.case, b"", "a").state();
    assert!(!state.iter().any(|entry| entry.contains("new")), "{state:?}");
    mount.unmount();
}
