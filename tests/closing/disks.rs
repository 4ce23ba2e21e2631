//! Disks that take what is written, and have not got it in the end.

use super::disk::Disk;
use crate::common::{self, Mount, digest_of, needs, noise, run_in, session_with};

/// A disk that promises more than it has: its image is a file with holes on a small tmpfs.
struct ThinDisk {
    folder: tempfile::TempDir,
}

impl ThinDisk {
    fn new() -> Self {
        let disk = Self { folder: common::scratch() };
        // Without a journal, which would end everything at the first error.
        disk.run(
            "mkdir small disk && mount -t tmpfs -o size=24M tmpfs small &&
            truncate -s 64M small/image && mkfs.ext4 -q -O ^has_journal small/image &&
            mount -o loop small/image disk && mkdir disk/store",
        );
        disk
    }

    fn run(&self, command: &str) {
        run_in(self.folder.path(), command);
    }
}

impl Drop for ThinDisk {
    fn drop(&mut self) {
        for at in ["disk", "small"] {
            let path = self.folder.path().join(at);
            rustix::mount::unmount(&path, rustix::mount::UnmountFlags::DETACH).ok();
        }
    }
}

#[test]
fn what_a_disk_has_lost_is_told_and_never_taken_for_there() {
    needs!("fuse", "root", "/dev/loop-control", "mkfs.ext4", "python3");
    let disk = ThinDisk::new();
    let mut mount = Mount::of_store(&disk.folder.path().join("disk/store"));
    let content = noise(1, 8 << 20);
    let digest = digest_of(&content);
    std::fs::write(mount.beside().join("file"), &content).unwrap();
    run_in(mount.path(), "mkdir a; sync -f a");
    disk.run("head -c 20M /dev/zero > small/filler");
    session_with(
        &mount,
        &[("DIGEST", &digest)],
        "
        $ cp ../file a/uploads/x
        $ mv a/uploads/x a/layers/$DIGEST
        mv: cannot move 'a/uploads/x' to 'a/layers/$DIGEST': …
        [exit 1]
        $ ls a/layers
        $ cp ../file a/layers/$DIGEST 2> /dev/null
        [exit 1]
        $ ls a/layers
        ",
    );
    mount.assert_error(&["rename a/uploads/x -> a/layers/"]);
    // There is room again. The kernel has said once what it could not write, and takes it for
    // written since; in its memory it has the right bytes still.
    disk.run("rm small/filler");
    run_in(mount.path(), &format!("mv a/uploads/x a/layers/{digest} 2> /dev/null || true"));
    // What the disk has is seen when nothing is left in memory.
    mount.unmount();
    disk.run("umount disk && mount -o loop small/image disk");
    mount.mount(&[]);
    session_with(
        &mount,
        &[("DIGEST", &digest)],
        "
        $ [ ! -e a/layers/$DIGEST ] || cmp ../file a/layers/$DIGEST
        $ cp ../file a/uploads/x
        $ mv a/uploads/x a/layers/$DIGEST
        $ cmp ../file a/layers/$DIGEST
        ",
    );
    drop(mount);
}

#[test]
fn closing_a_file_that_was_only_read_is_fine_when_the_disk_has_failed() {
    needs!("fuse", "root", "/dev/loop-control", "mkfs.ext4", "python3");
    let disk = Disk::new("32M", "mkfs.ext4 -q");
    let store = disk.path().join("store");
    std::fs::create_dir(&store).unwrap();
    let mount = Mount::of_store(&store);
    let digest = mount.push_layer("a", b"hello");
    run_in(
        mount.path(),
        "cp ../../../../../../etc/hostname a/uploads/x 2> /dev/null || echo hi > a/uploads/x",
    );
    let program = format!(
        "import os, sys
files = [os.open(path, os.O_RDONLY) for path in ('a/layers/{digest}', 'a/uploads/x')]
writer = os.open('a/layers/sha256:' + 64 * '0', os.O_WRONLY | os.O_CREAT)
print('open', flush=True)
sys.stdin.readline()
for file in files: os.close(file)
print('closed')
for call in (lambda: os.write(writer, b'hello'), lambda: os.close(writer)):
    try: call()
    except OSError as error: print(os.strerror(error.errno))
"
    );
    let mut python = std::process::Command::new("python3");
    python.args(["-c", &program]).current_dir(mount.path());
    python.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = python.spawn().unwrap();
    let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut output, &mut line).unwrap();
    assert_eq!(line, "open\n");
    disk.fail();
    drop(child.stdin.take());
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut output, &mut rest).unwrap();
    child.wait().unwrap();
    assert_eq!(rest, "closed\nInput/output error\nInput/output error\n");
    mount.assert_error(&["write a/layers/sha256:0000", "EIO"]);
    mount.assert_error(&["close a/layers/sha256:0000", "EIO"]);
    drop(mount);
}
