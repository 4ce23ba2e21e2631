//! mount(8) and `/etc/fstab`, through the link `mount.regfs`; and what a mount becomes by `remount`.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use common::{Household, needs};

#[test]
fn a_line_of_fstab_is_mounted_and_unmounted() {
    needs!("fuse", "root", "nsenter", "setpriv", "mount", "findmnt");
    let household = Household::with_fstab(
        "/home/root/store /home/root/mnt regfs allow_other,noatime,_netdev 0 0",
    );
    household.session(
        "root",
        &[],
        "
        $ mkdir mnt; mount /home/root/mnt
        regfs: made a new registry in /home/root/store
        $ findmnt -n -o SOURCE,FSTYPE,OPTIONS mnt | tr -s ' '
        /home/root/store fuse.regfs rw,nosuid,nodev,noatime,…allow_other
        $ mkdir mnt/a; mount -a; ls mnt
        a
        $ mount /home/root/mnt
        regfs: /home/root/mnt is in use: /home/root/store is mounted there; unmount it first (regfs umount /home/root/mnt)…
        [exit 1]
        $ umount mnt; ls -A mnt
        $ mount -t regfs -o ro,uid=5 store mnt; stat -c %u mnt/a; umount mnt
        5
        ",
    );
}

#[test]
fn a_user_mounts_what_fstab_lets_users_mount() {
    needs!("fuse", "root", "fusermount3", "nsenter", "setpriv", "mount", "findmnt");
    let household =
        Household::with_fstab("/home/alice/store /home/alice/mnt regfs user,noauto 0 0");
    household.session(
        "alice",
        &[],
        "
        $ mkdir mnt; mount mnt; findmnt -n -o SOURCE,FSTYPE,OPTIONS mnt | tr -s ' '
        regfs: made a new registry in /home/alice/store
        /home/alice/store fuse.regfs rw,nosuid,nodev,noexec,…user_id=64711…
        $ mkdir mnt/a; stat -c %U mnt/a
        alice
        ",
    );
    household.session("bob", &[], "$ umount /home/alice/mnt\numount: …superuser…\n[exit 32]");
    household.session("alice", &[], "$ umount mnt; ls -A mnt");
}

#[test]
fn an_option_that_nobody_knows_is_refused_by_name() {
    needs!("fuse", "root", "nsenter", "setpriv", "mount");
    let household = Household::with_fstab("/home/root/store /home/root/mnt regfs alow_other 0 0");
    household.session(
        "root",
        &[],
        "
        $ mkdir mnt; mount mnt
        regfs: there is no mount option \"alow_other\"; there are: ro, rw, allow_other…
        [exit 2]
        $ mount -s mnt && umount mnt
        regfs: made a new registry in /home/root/store
        ",
    );
}

/// Every way of changing something, each refused.
const CHANGES: &str = "
    $ cd mnt/a
    $ for c in 'touch uploads/new' 'echo >> uploads/x' 'truncate -s 0 uploads/x' 'rm uploads/x' 'mv uploads/x uploads/y' 'mv uploads/x layers/none' 'mkdir ../b' 'rmdir ../e' 'rm -r ../e' 'mv ../e ../f' 'chmod 600 uploads/x' 'chown 5 uploads/x' 'touch -d 2001-02-03 uploads/x' 'setfattr -n user.x -v y uploads/x' 'setfattr -x user.y uploads/x' 'cp ../../file manifests/new' 'chmod 700 .' 'mkdir layers/.new'; do sh -c \"$c\" 2>&1 | grep -q 'Read-only file system' || echo \"not refused: $c\"; done
    $ cat uploads/x; echo; ls uploads
    x
    x
    ";

#[test]
fn a_mount_becomes_read_only_and_writable_again() {
    needs!("fuse", "root", "nsenter", "setpriv", "mount", "findmnt", "setfattr");
    let household = Household::with_fstab("/home/root/store /home/root/mnt regfs allow_other 0 0");
    let run = |text: &str| household.session("root", &[], text);
    run("
        $ mkdir mnt; mount mnt; mkdir mnt/a mnt/e; printf x > mnt/a/uploads/x; echo > file
        regfs: made a new registry in /home/root/store
        $ mount -o remount,ro mnt; findmnt -n -o OPTIONS mnt
        ro,nosuid,nodev,…allow_other
        ");
    run(CHANGES);
    run("
        $ mount -o remount,rw mnt; printf y >> mnt/a/uploads/x; cat mnt/a/uploads/x; echo
        xy
        $ exec 5>> mnt/a/uploads/x; mount -o remount,ro mnt
        regfs: something on /home/root/mnt is open for writing: close it (fuser -vm /home/root/mnt shows by whom), and try again
        [exit 1]
        $ mount -o remount,uid=5 mnt
        regfs: the owner that it shows (uid=) cannot change while it is mounted: unmount /home/root/mnt (regfs umount /home/root/mnt), and mount it anew
        [exit 1]
        $ regfs umount mnt; mount -o remount,ro mnt
        regfs: nothing is mounted at /home/root/mnt: regfs status lists what is
        [exit 1]
        ");
}

#[test]
fn status_and_errors_say_how_it_is_mounted_now() {
    needs!("fuse", "root", "nsenter", "setpriv", "mount", "jq");
    let household =
        Household::with_fstab("/home/root/store /home/root/mnt regfs allow_other,uid=5 0 0");
    household.session(
        "root",
        &[],
        "
        $ mkdir mnt; mount mnt; mount -o remount,ro,noatime mnt; regfs status mnt | grep -E '^(options|mounted with)'
        regfs: made a new registry in /home/root/store
        mounted with: rw,allow_other,uid=5
        options: ro,noatime,allow_other,uid=5
        $ touch mnt/x; grep Read-only mnt/.regfs/errors
        touch: cannot touch 'mnt/x': Read-only file system
        #   Read-only file system      this was made so by remount; as root: mount -i -o remount,rw /home/root/mnt
        $ sh -c \"$(sed -n 's/.*as root: //p' mnt/.regfs/errors)\"; regfs status --json mnt | jq -r .options; mkdir mnt/a
        rw,noatime,allow_other,uid=5
        $ grep Read-only mnt/.regfs/errors
        [exit 1]
        $ umount mnt; mount -o ro mnt; mount -i -o remount,rw mnt; regfs status mnt | grep ^options; rmdir mnt/a
        options: ro,allow_other,uid=5
        rmdir: failed to remove 'mnt/a': Read-only file system
        [exit 1]
        $ grep Read-only mnt/.regfs/errors
        #   Read-only file system      this is mounted with -o ro: regfs umount /home/root/mnt && regfs mount /home/root/store /home/root/mnt
        ",
    );
}

#[test]
fn what_was_mounted_read_only_stays_so() {
    needs!("fuse", "root", "nsenter", "setpriv", "mount", "setfattr");
    let household = Household::with_fstab("/home/root/store /home/root/mnt regfs ro 0 0");
    let run = |text: &str| household.session("root", &[], text);
    run("
        $ mkdir mnt; mount mnt
        regfs: there is no registry in /home/root/store: mount it without -o ro once, which makes one
        [exit 1]
        $ mount -o rw mnt; mkdir mnt/a mnt/e; printf x > mnt/a/uploads/x; echo > file; umount mnt; mount mnt
        regfs: made a new registry in /home/root/store
        ");
    run(CHANGES);
    run("
        $ mount -o remount,rw mnt
        regfs: that it is read-only cannot change while it is mounted: unmount /home/root/mnt (regfs umount /home/root/mnt), and mount it anew
        [exit 1]
        ");
}
