//! One slow request never stalls the others.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use common::{
    Background, Mount, eventually, image, is_mounted, needs, noise, run, run_in, session_with,
};
use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

/// A bindfs over a folder of itself: the same files, through a process that can be stopped.
struct Bindfs {
    child: Child,
    folder: PathBuf,
}

impl Bindfs {
    fn over(folder: PathBuf) -> Self {
        let child = Command::new("bindfs")
            .args(["-f", "-o", "nonempty,attr_timeout=0,entry_timeout=0,direct_io"])
            .args([&folder, &folder])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        eventually(Duration::from_secs(10), "bindfs mounts", || is_mounted(&folder));
        Self { child, folder }
    }

    /// Lets it answer no more requests.
    fn stop(&self) {
        run(Command::new("kill").args(["-STOP", &self.child.id().to_string()]));
    }

    fn go_on(&self) {
        run(Command::new("kill").args(["-CONT", &self.child.id().to_string()]));
    }
}

impl Drop for Bindfs {
    fn drop(&mut self) {
        self.go_on();
        run(Command::new("umount").arg("-l").arg(&self.folder));
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn one_hanging_request_stalls_nobody_else() {
    needs!("fuse", "root", "bindfs", "umoci", "busybox", "jq");
    others_go_on_while_readers_hang(1);
}

#[test]
fn many_hanging_requests_stall_nobody_else() {
    needs!("fuse", "root", "bindfs", "umoci", "busybox", "jq");
    others_go_on_while_readers_hang(12);
}

/// Reads a layer that does not come with `readers` processes, and uses everything else meanwhile.
fn others_go_on_while_readers_hang(readers: usize) {
    let mut mount = Mount::with_image(&image());
    let slow = mount.push_layer("slow", &noise(1, 3 << 20));
    let quick = mount.push_layer("quick", &noise(2, 3 << 20));
    assert_ne!(slow[..9], quick[..9], "they lie in different folders");
    mount.unmount();
    let prefix = mount.blob_file(&slow).parent().unwrap().parent().unwrap().to_owned();
    let bindfs = Bindfs::over(prefix);
    mount.mount(&[]);
    // So that the slow one hangs in reading it, or in opening it, as it likes.
    run_in(mount.path(), "ls -R . > /dev/null");
    bindfs.stop();
    let mut hanging: Vec<Background> = (0..readers)
        .map(|number| {
            let output = fs::File::create(mount.beside().join(format!("slow-{number}"))).unwrap();
            let mut cat = Command::new("cat");
            cat.arg(mount.path().join("slow/layers").join(&slow)).stdout(output);
            Background::start(&mut cat)
        })
        .collect();
    std::thread::sleep(Duration::from_millis(300));
    let others = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        session_with(
            &mount,
            &[("QUICK", &quick), ("LAYER", &image().layers[0])],
            "
            $ timeout 5 cat quick/layers/$QUICK > ../quick
            $ timeout 5 sha256sum ../quick | cut -c-64 | sed s/^/sha256:/
            $QUICK
            $ timeout 5 ls library/busybox/manifests
            1.35
            $ timeout 5 ls
            library
            quick
            slow
            $ timeout 5 cat library/busybox/manifests/1.35 > /dev/null
            $ timeout 5 cp library/busybox/layers/$LAYER ../copy
            $ mkdir new && timeout 5 cp ../quick new/uploads/x && timeout 5 mv new/uploads/x new/layers/$QUICK
            $ timeout 5 ln library/busybox/manifests/1.35 library/busybox/manifests/latest
            $ timeout 5 ls slow/uploads
            $ timeout 5 cat .regfs/metrics > /dev/null
            ",
        );
    }));
    let hang: Vec<bool> =
        hanging.iter_mut().map(|cat| cat.0.try_wait().unwrap().is_none()).collect();
    bindfs.go_on();
    for cat in &mut hanging {
        eventually(Duration::from_secs(20), "the slow one ends after all", || {
            cat.0.try_wait().unwrap().is_some()
        });
        assert!(cat.0.wait().unwrap().success());
    }
    others.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    assert!(hang.iter().all(|hangs| *hangs), "the slow layer was to hang, or nothing is proved");
    for number in 0..hanging.len() {
        let copy = mount.beside().join(format!("slow-{number}"));
        assert_eq!(common::digest_of_file(&copy), slow);
    }
    mount.unmount();
    drop(bindfs);
}
