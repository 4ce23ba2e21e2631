//! The life of a mount: how it begins, how it ends, and what is left.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use common::{
    Background, Mount, eventually, image, is_mounted, is_root, is_running, needs, run_in, session,
    session_with,
};
use std::{
    fs,
    process::{Command, Stdio},
    time::Duration,
};

#[test]
fn findmnt_shows_the_mount_and_where_it_comes_from() {
    needs!("fuse", "findmnt");
    let mount = Mount::empty();
    session_with(
        mount.beside(),
        &[
            ("STORE", mount.store().to_str().unwrap()),
            ("MOUNTPOINT", mount.path().to_str().unwrap()),
        ],
        "
        $ findmnt -t fuse.regfs -n -o TARGET,SOURCE,FSTYPE $MOUNTPOINT | tr -s ' '
        $MOUNTPOINT $STORE fuse.regfs
        $ mountpoint mnt
        mnt is a mountpoint
        $ findmnt -n -o OPTIONS $MOUNTPOINT | tr , '\\n' | grep -E 'nosuid|nodev|^rw' | sort
        nodev
        nosuid
        rw
        ",
    );
}

#[test]
fn umount_leaves_nothing_behind() {
    needs!("fuse");
    let mut mount = Mount::empty();
    mount.push_layer("a", b"hello");
    let pid = mount.pid();
    mount.unmount();
    assert!(!is_running(pid));
    assert!(!is_mounted(mount.path()));
    assert!(mount.log().ends_with("] unmounted\n"), "{}", mount.log());
    session(
        mount.beside(),
        "
        $ ls -A mnt
        $ touch mnt/file && rm mnt/file
        $ regfs umount mnt
        *
        [exit …]
        $ regfs mount store mnt && ls mnt && regfs umount mnt
        a
        ",
    );
    assert!(!is_mounted(mount.path()));
}

#[test]
fn sigterm_unmounts() {
    needs!("fuse");
    let mut mount = Mount::empty();
    mount.push_layer("a", b"hello");
    mount.terminate_daemon();
    assert!(!is_mounted(mount.path()));
    session(mount.beside(), "$ ls -A mnt\n$ rmdir mnt\n$ mkdir mnt");
    mount.mount(&[]);
    session(&mount, "$ ls\na");
}

#[test]
fn sigterm_unmounts_though_somebody_is_inside() {
    needs!("fuse");
    let mut mount = Mount::empty();
    mount.push_layer("a", b"hello");
    let inside = sleeper_in(&mount);
    mount.terminate_daemon();
    let is_gone = !is_mounted(mount.path());
    drop(inside);
    assert!(is_gone);
}

/// It answers until the kernel has ended it, and its mount may go while another looks at it.
#[test]
fn a_daemon_that_was_killed_this_moment_is_not_in_the_way() {
    needs!("fuse", "jq");
    let mount = Mount::empty();
    session(
        mount.beside(),
        "$ for round in $(seq 40); do kill -9 $(jq .pid mnt/.regfs/status); regfs mount store mnt 2> said || cat said; done",
    );
    session(mount.beside(), "$ regfs umount mnt");
}

/// `regfs status` opens a file in every mount, and so do file managers.
#[test]
fn umount_waits_for_who_just_looks() {
    needs!("fuse");
    let mount = Mount::empty();
    session(
        mount.beside(),
        "
        $ (exec 3< mnt/.regfs/status; touch looking; sleep 0.2) & until test -e looking; do :; done; regfs umount mnt
        $ regfs umount mnt
        *
        [exit …]
        ",
    );
}

#[test]
fn an_ordinary_umount_ends_the_daemon_too() {
    needs!("fuse", "root");
    let mount = Mount::empty();
    let pid = mount.pid();
    session(mount.beside(), "$ umount mnt");
    eventually(Duration::from_secs(10), "the daemon ends", || !is_running(pid));
}

#[test]
fn umount_takes_away_only_the_mount_itself() {
    needs!("fuse", "root");
    let mut mount = Mount::unmounted();
    session(mount.beside(), "$ mount -t tmpfs -o size=1m tmpfs mnt\n$ echo kept > mnt/file");
    for way in ["umount mnt", "regfs umount mnt", "kill -TERM $PID"] {
        mount.mount(&[]);
        let pid = mount.pid();
        session(&mount, "$ ls");
        run_in(mount.beside(), &format!("PID={pid}; {way}"));
        eventually(Duration::from_secs(10), "the daemon ends", || !is_running(pid));
        session(mount.beside(), "$ cat mnt/file\nkept");
    }
    session(mount.beside(), "$ umount mnt\n$ ls -A mnt");
}

#[test]
fn a_stale_mount_is_cleared_by_mounting_again() {
    needs!("fuse");
    let mut mount = Mount::empty();
    mount.push_layer("a", b"hello");
    mount.kill_daemon();
    session(
        mount.beside(),
        "
        $ ls mnt
        ls: cannot … 'mnt': Transport endpoint is not connected
        [exit 2]
        ",
    );
    mount.mount(&[]);
    session(&mount, "$ ls\na");
    mount.unmount();
    assert!(!is_mounted(mount.path()), "the stale mount is gone as well");
}

#[test]
fn a_stale_mount_is_cleared_by_umount() {
    needs!("fuse");
    let mut mount = Mount::empty();
    mount.kill_daemon();
    session(mount.beside(), "$ regfs umount mnt\n$ ls -A mnt");
    assert!(!is_mounted(mount.path()));
}

#[test]
fn a_busy_mount_is_unmounted_whole_or_not_at_all() {
    needs!("fuse");
    let mut mount = Mount::empty();
    mount.push_layer("a", b"hello");
    let pid = mount.pid();
    let inside = sleeper_in(&mount);
    let status = Command::new(env!("CARGO_BIN_EXE_regfs"))
        .arg("umount")
        .arg(mount.path())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    let still = is_mounted(mount.path());
    drop(inside);
    assert_eq!(status.success(), !still, "the exit code says what happened");
    if still {
        session(&mount, "$ ls\na");
        mount.unmount();
    }
    eventually(Duration::from_secs(10), "the daemon ends", || !is_running(pid));
}

#[test]
fn a_read_only_mount_changes_nothing() {
    needs!("fuse", "umoci", "busybox", "jq");
    let image = image();
    let mut mount = Mount::with_image(&image);
    run_in(mount.path(), "printf x > library/busybox/uploads/x");
    mount.remount_with(&["ro"]);
    let state = |mount: &Mount| run_in(mount.store(), "find docker -printf '%p %s %T@\\n' | sort");
    let before = state(&mount);
    session_with(
        mount.path().join("library/busybox"),
        &[("LAYER", &image.layers[0])],
        "
        $ ls manifests uploads
        manifests:
        1.35
        uploads:
        x
        $ cat layers/$LAYER > /dev/null
        $ touch uploads/y
        touch: cannot touch 'uploads/y': Read-only file system
        [exit 1]
        $ rm manifests/1.35
        rm: cannot remove 'manifests/1.35': Read-only file system
        [exit 1]
        $ ln manifests/1.35 manifests/latest
        ln: failed to create hard link 'manifests/latest': Read-only file system
        [exit 1]
        $ mv uploads/x uploads/y
        mv: cannot move 'uploads/x' to 'uploads/y': Read-only file system
        [exit 1]
        $ mkdir ../other
        mkdir: cannot create directory '../other': Read-only file system
        [exit 1]
        $ echo more >> uploads/x
        sh: 1: cannot create uploads/x: Read-only file system
        [exit 2]
        $ chmod 600 layers/$LAYER
        chmod: changing permissions of 'layers/$LAYER': Read-only file system
        [exit 1]
        ",
    );
    assert_eq!(state(&mount), before);
}

#[test]
fn owner_and_mode_can_be_set_for_the_whole_mount() {
    needs!("fuse", "root");
    let mut mount = Mount::with_options(&["uid=1234,gid=4321,umask=027"]);
    let layer = mount.push_layer("a", b"hello");
    mount.remount_with(&["uid=1234", "gid=4321", "umask=027"]);
    session_with(
        &mount,
        &[("LAYER", &layer)],
        "
        $ stat -c '%u:%g %a' . a a/layers a/manifests a/uploads
        1234:4321 750
        1234:4321 750
        1234:4321 750
        1234:4321 750
        1234:4321 750
        $ stat -c '%u:%g' a/layers/$LAYER
        1234:4321
        $ printf x > a/uploads/new; stat -c '%a' a/uploads/new a/layers/$LAYER | grep -v '0$'
        [exit 1]
        ",
    );
}

#[test]
fn what_cannot_be_mounted_is_refused_with_a_reason() {
    needs!("fuse");
    let mount = Mount::unmounted();
    session(
        mount.beside(),
        "
        $ regfs mount store nowhere
        …nowhere…
        *
        [exit …]
        $ touch file
        $ regfs mount store file
        …file…
        *
        [exit …]
        $ regfs mount file mnt
        …file…
        *
        [exit …]
        $ regfs mount store mnt -o nonsense
        …nonsense…
        *
        [exit 2]
        $ regfs
        *
        [exit 2]
        $ regfs umount mnt
        …mnt…
        *
        [exit …]
        $ ls -A mnt
        ",
    );
    assert!(!is_mounted(mount.path()));
}

#[test]
fn a_new_store_is_made_and_an_old_one_is_kept() {
    needs!("fuse");
    let mut mount = Mount::unmounted();
    fs::remove_dir(mount.store()).unwrap();
    mount.mount(&[]);
    let layer = mount.push_layer("a", b"hello");
    mount.unmount();
    // Nothing of the registry's content lies in what is ours.
    fs::remove_dir_all(mount.store().join("regfs")).unwrap();
    mount.mount(&[]);
    session_with(&mount, &[("LAYER", &layer)], "$ cat a/layers/$LAYER; echo\nhello");
}

#[test]
fn a_source_that_is_mistyped_does_not_go_unnoticed() {
    needs!("fuse");
    let mount = Mount::unmounted();
    session_with(
        mount.beside(),
        &[("HERE", mount.beside().to_str().unwrap())],
        "
        $ regfs mount sotre/one mnt
        regfs: there is no directory $HERE/sotre to make the registry $HERE/sotre/one in: if the name is right, make it first (mkdir -p $HERE/sotre)
        [exit 1]
        $ ls; ls -A mnt
        mnt
        store
        $ mkdir -p $HERE/sotre; regfs mount sotre/one mnt
        regfs: made a new registry in $HERE/sotre/one
        $ regfs umount mnt; regfs mount sotre/one mnt; regfs umount mnt
        $ regfs mount --log log sotre mnt
        […INFO ] made a new registry in $HERE/sotre
        […INFO ] mounted $HERE/sotre at $HERE/mnt
        $ regfs umount mnt; grep -c 'made a new registry' log
        1
        ",
    );
}

#[test]
fn a_store_of_a_newer_program_is_refused() {
    needs!("fuse");
    let mut mount = Mount::empty();
    mount.unmount();
    let version = mount.store().join("regfs/version");
    assert!(version.exists());
    fs::write(&version, "4000000\n").unwrap();
    session(
        mount.beside(),
        "
        $ regfs mount store mnt
        …version…
        *
        [exit …]
        ",
    );
    assert!(!is_mounted(mount.path()));
    assert_eq!(fs::read_to_string(&version).unwrap(), "4000000\n");
}

#[test]
fn a_mount_in_the_foreground_ends_with_its_process() {
    needs!("fuse");
    let mount = Mount::unmounted();
    let mut command = Command::new(env!("CARGO_BIN_EXE_regfs"));
    command.args(["mount", "-f"]).args([mount.store(), mount.path()]);
    let mut child = Background::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
    eventually(Duration::from_secs(10), "it is mounted", || is_mounted(mount.path()));
    session(&mount, "$ mkdir a\n$ ls\na");
    run_in(mount.beside(), &format!("kill -TERM {}", child.0.id()));
    eventually(Duration::from_secs(10), "it ends", || child.0.try_wait().unwrap().is_some());
    assert!(child.0.wait().unwrap().success());
    assert!(!is_mounted(mount.path()));
}

#[test]
fn the_command_returns_when_the_mount_answers_and_keeps_no_terminal() {
    needs!("fuse");
    let mut mount = Mount::unmounted();
    // A pipe that the daemon kept open would keep `cat` waiting.
    session(
        mount.beside(),
        "
        $ { regfs mount store mnt 2>&1; ls -A mnt; } | cat
        regfs: made a new registry in …/store
        ",
    );
    assert!(is_mounted(mount.path()));
    session(mount.beside(), "$ regfs umount mnt");
    mount.mount(&[]);
    let status = run_in(mount.beside(), "regfs status mnt");
    assert!(status.contains(&mount.pid().to_string()), "{status}");
    assert!(is_root() || !status.is_empty());
}

/// Somebody whose working folder is in the mount.
fn sleeper_in(mount: &Mount) -> Background {
    Background::start(Command::new("sleep").arg("60").current_dir(mount.path().join("a")))
}
