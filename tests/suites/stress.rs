//! stress-ng: everything its file system class does, in a folder of uploads. What it finds wrong
//! fails; and so does what it leaves behind, in the mount or in the daemon.

use crate::common::{
    self, Mount, digest_of, eventually, needs, noise, run_in, run_within, session,
};
use std::{fs, time::Duration};

/// What is left out, and why.
const LEFT_OUT: &[(&str, &str)] = &[
    ("link", "a registry has no hard links between uploads"),
    ("symlink", "a registry has no symbolic links"),
    ("fiemap", "FUSE does not tell where on the disk a file lies"),
    ("verity", "FUSE has no fs-verity"),
    ("binderfs", "it is about another file system"),
    ("bind-mount", "it is about another file system"),
    ("procfs", "it is about another file system"),
    ("eventfd", "it has no file"),
    ("io", "it syncs every file system of the machine"),
];

/// The daemon may have this much memory afterwards. It has a third of that.
const RESIDENT_KIB_MAX: u64 = 64 << 10;

#[test]
fn what_stresses_file_systems_leaves_nothing_behind() {
    needs!("fuse", "root", "stress-ng");
    let mount = Mount::empty();
    let before = noise(1, 8 << 20);
    let digest = mount.push_layer("a", &before);
    let left_out = LEFT_OUT.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(",");
    let command = format!(
        "mkdir mnt/a/uploads/stress && stress-ng --class filesystem --sequential 1 --timeout 1s \
         --verify --exclude {left_out} --temp-path mnt/a/uploads/stress"
    );
    let text = run_within(Duration::from_secs(600), mount.beside(), &command);
    assert!(!text.contains("fail:"), "{text}");
    assert!(!text.contains("skipping"), "say in LEFT_OUT why:\n{text}");

    session(
        &mount,
        "
        $ rmdir a/uploads/stress
        $ ls -A a/uploads
    ",
    );
    assert_eq!(digest_of(&fs::read(mount.path().join("a/layers").join(&digest)).unwrap()), digest);
    for name in ["open_files", "open_uploads"] {
        eventually(Duration::from_secs(20), "everything is closed", || status(&mount, name) == 0);
    }
    let uploads = mount.store().join("docker/registry/v2/repositories/a/_uploads");
    assert_eq!(fs::read_dir(uploads).unwrap().count(), 0, "uploads in the store");
    // The folders of finished uploads wait for the next ones.
    let left = "find regfs/tmp regfs/trash -type f ! -name name ! -name startedat";
    eventually(Duration::from_secs(20), "nothing lies about", || {
        run_in(mount.store(), left).is_empty()
    });
    let memory = fs::read_to_string(format!("/proc/{}/status", mount.pid())).unwrap();
    let resident = memory.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let resident: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(resident < RESIDENT_KIB_MAX, "the daemon has {resident} KiB of memory");
    let log = mount.log();
    assert!(!log.contains("panic"), "{log}");
}

/// A number of `.regfs/status`.
fn status(mount: &Mount, name: &str) -> u64 {
    let status: serde_json::Value =
        serde_json::from_str(&run_in(mount.path(), "cat .regfs/status")).unwrap();
    status[name].as_u64().unwrap()
}
