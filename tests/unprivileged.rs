//! A mount that a user makes who is not root: with fusermount3, a store of its own, and nobody's help.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use common::{Household, Sides, Table, digest_of, manifest_of, needs};
use std::fs;

#[test]
fn a_user_mounts_pushes_pulls_and_unmounts() {
    needs!("fuse", "root", "fusermount3", "nsenter", "setpriv", "findmnt", "jq");
    let household = Household::new();
    let layer = digest_of(b"hello");
    fs::write(household.home_outside("alice").join("manifest"), manifest_of((&layer, 5), &[]))
        .unwrap();
    household.session(
        "alice",
        &[("LAYER", &layer), ("OTHER", &digest_of(b"other"))],
        "
        $ mkdir mnt; regfs mount store mnt
        regfs: made a new registry in /home/alice/store
        $ findmnt -n -o SOURCE,FSTYPE,OPTIONS mnt | tr -s ' '
        /home/alice/store fuse.regfs rw,nosuid,nodev,…user_id=64711,group_id=64711,default_permissions
        $ mkdir -p mnt/library/app; cd mnt/library/app; printf hello > uploads/x; mv uploads/x layers/$LAYER; cp ~/manifest manifests/1.0
        $ printf other > other; cp other mnt/library/app/layers/$OTHER; cmp other mnt/library/app/layers/$OTHER
        $ cat mnt/library/app/layers/$LAYER; echo
        hello
        $ cmp manifest mnt/library/app/manifests/1.0
        $ cat mnt/library/app/layers/$LAYER | tail -c 2; echo
        lo
        $ stat -c '%U:%G %a %n' mnt/library/app mnt/library/app/layers/$LAYER mnt/library/app/manifests/1.0
        alice:alice 755 mnt/library/app
        alice:alice 644 mnt/library/app/layers/$LAYER
        alice:alice 644 mnt/library/app/manifests/1.0
        $ regfs status mnt | grep -E '^(mountpoint|source|options)'
        mountpoint: /home/alice/mnt
        options: rw
        source: /home/alice/store
        $ regfs umount mnt; ls -A mnt
        $ regfs mount store mnt; ls mnt/library/app/layers | wc -l
        2
        $ fusermount3 -u mnt; ls -A mnt
        $ regfs mount store mnt; kill -TERM $(jq .pid mnt/.regfs/status); while mountpoint -q mnt; do sleep 0.1; done; ls -A mnt
        ",
    );
}

#[test]
fn a_user_sets_modes_and_groups_and_gives_nothing_away() {
    needs!("fuse", "root", "fusermount3", "nsenter", "setpriv");
    let household = Household::new();
    household.session(
        "alice",
        &[("LAYER", &digest_of(b"hello"))],
        "
        $ mkdir mnt; regfs mount store mnt; mkdir mnt/a; printf x > mnt/a/uploads/x; printf hello > mnt/a/layers/$LAYER
        regfs: made a new registry in /home/alice/store
        $ chmod 640 mnt/a/uploads/x; chmod 600 mnt/a/layers/$LAYER; chgrp team mnt/a/uploads/x
        $ chown bob mnt/a/uploads/x
        chown: changing ownership of 'mnt/a/uploads/x': Operation not permitted
        [exit 1]
        $ chgrp bob mnt/a/layers/$LAYER
        chgrp: changing group of 'mnt/a/layers/$LAYER': Operation not permitted
        [exit 1]
        $ chgrp team mnt/a/manifests; chmod 2775 mnt/a/manifests; touch -d 2001-02-03 mnt/a/layers/$LAYER
        $ regfs umount mnt; regfs mount store mnt; stat -c '%U:%G %a' mnt/a/uploads/x mnt/a/layers/$LAYER mnt/a/manifests
        alice:team 640
        alice:alice 600
        alice:team 2775
        $ stat -c %y mnt/a/layers/$LAYER
        2001-02-03 00:00:00.000000000 +0000
        $ mkdir mnt/t; chgrp team mnt/t; chmod 2775 mnt/t; mkdir mnt/t/b; stat -c '%U:%G %a' mnt/t/b mnt/t/b/uploads
        alice:team 2755
        alice:team 2755
        ",
    );
}

/// A mode binds a daemon that is not root as it binds its user; it can do what its user may all the
/// same.
#[test]
fn what_is_read_only_can_be_finished_and_rights_can_be_given_back() {
    needs!("fuse", "root", "fusermount3", "nsenter", "setpriv", "rsync", "setfattr");
    let household = Household::new();
    household.session(
        "alice",
        &[("LAYER", &digest_of(b"hello"))],
        "
        $ mkdir mnt src; regfs mount store mnt; mkdir mnt/a mnt/b mnt/c
        regfs: made a new registry in /home/alice/store
        $ printf hello > src/$LAYER; setfattr -n user.note -v mine src/$LAYER; chmod 444 src/$LAYER
        $ cp --preserve=all src/$LAYER mnt/a/uploads/x; mv mnt/a/uploads/x mnt/a/layers/$LAYER
        $ rsync -aX src/ mnt/b/layers/; cp --preserve=all src/$LAYER mnt/c/layers/
        $ stat -c %a mnt/?/layers/$LAYER; for r in a b c; do getfattr --only-values -n user.note mnt/$r/layers/$LAYER; echo; done
        444
        444
        444
        mine
        mine
        mine
        $ rsync -aXi --filter='-x user.regfs.*' src/ mnt/b/layers/
        $ printf x > mnt/a/uploads/x; chmod 000 mnt/a/uploads/x; cat mnt/a/uploads/x
        cat: mnt/a/uploads/x: Permission denied
        [exit 1]
        $ chmod 600 mnt/a/uploads/x; cat mnt/a/uploads/x; echo
        x
        $ chmod 000 mnt/a; ls mnt/a
        ls: cannot open directory 'mnt/a': Permission denied
        [exit 2]
        $ stat -c '%a %n' mnt/a; chmod 755 mnt/a; ls mnt/a/uploads
        0 mnt/a
        x
        ",
    );
}

/// Whoever has it already, root or a registry of another user; it was refused with EACCES for a while.
#[test]
fn a_manifest_that_another_user_has_stored_is_put_again() {
    needs!("fuse", "root", "fusermount3", "nsenter", "setpriv");
    let household = Household::new();
    let home = household.home_outside("alice");
    let text = manifest_of((&digest_of(b"hello"), 5), &[]);
    fs::write(home.join("manifest"), &text).unwrap();
    let digest = digest_of(text.as_bytes());
    let hex = digest.strip_prefix("sha256:").unwrap();
    household.session(
        "alice",
        &[("LAYER", &digest_of(b"hello"))],
        "
        $ mkdir mnt; regfs mount store mnt; mkdir mnt/a; printf hello > mnt/a/layers/$LAYER; cp manifest mnt/a/manifests/1
        regfs: made a new registry in /home/alice/store
        ",
    );
    let blobs = home.join("store/docker/registry/v2/blobs/sha256");
    common::run_in(&blobs, &format!("chown -R 0:0 {}/{hex}", &hex[..2]));
    household.session(
        "alice",
        &[],
        "
        $ cp manifest mnt/a/manifests/2; cmp manifest mnt/a/manifests/2; ls mnt/a/manifests; regfs umount mnt
        1
        2
        ",
    );
}

/// What was copied there by root, say. The new name is the user's; it was refused with EPERM.
#[test]
fn a_tag_of_another_user_is_moved() {
    needs!("fuse", "root", "fusermount3", "nsenter", "setpriv");
    let household = Household::new();
    let home = household.home_outside("alice");
    let layer = digest_of(b"hello");
    fs::write(home.join("manifest"), manifest_of((&layer, 5), &[])).unwrap();
    household.session(
        "alice",
        &[("LAYER", &layer)],
        "
        $ mkdir mnt; regfs mount store mnt; mkdir mnt/a; printf hello > mnt/a/layers/$LAYER; cp manifest mnt/a/manifests/1
        regfs: made a new registry in /home/alice/store
        ",
    );
    let repository = home.join("store/docker/registry/v2/repositories/a");
    common::run_in(&repository, "find . -name link -exec chown 0:0 {} +");
    household.session(
        "alice",
        &[],
        "
        $ sleep 1.2; stat -c %U mnt/a/manifests/1
        root
        $ mv mnt/a/manifests/1 mnt/a/manifests/.x; cmp manifest mnt/a/manifests/.x; stat -c %U mnt/a/manifests/.x
        alice
        $ regfs umount mnt
        ",
    );
}

#[test]
fn a_user_mirrors_into_the_mount_and_out_of_it() {
    needs!("fuse", "root", "fusermount3", "nsenter", "setpriv", "rsync");
    let household = Household::new();
    let layer = digest_of(b"hello");
    fs::write(household.home_outside("alice").join("manifest"), manifest_of((&layer, 5), &[]))
        .unwrap();
    household.session(
        "alice",
        &[("LAYER", &layer)],
        "
        $ mkdir mnt; regfs mount store mnt; mkdir -p mnt/a src/layers src/manifests src/uploads
        regfs: made a new registry in /home/alice/store
        $ printf hello > src/layers/$LAYER; cp manifest src/manifests/1.0; rsync -a src/ mnt/a/
        $ rsync -ai src/ mnt/a/
        $ rsync -a mnt/a/ back/; diff -r src back
        ",
    );
}

#[test]
fn a_user_mounts_again_over_what_a_killed_daemon_left() {
    needs!("fuse", "root", "fusermount3", "nsenter", "setpriv", "jq");
    let household = Household::new();
    household.session(
        "alice",
        &[],
        "
        $ mkdir mnt; regfs mount store mnt; mkdir mnt/a; printf x > mnt/a/uploads/x
        regfs: made a new registry in /home/alice/store
        $ kill -9 $(jq .pid mnt/.regfs/status); sleep 0.5; ls mnt
        ls: cannot … 'mnt': Transport endpoint is not connected
        [exit 2]
        $ regfs status mnt
        regfs: the daemon of the mount at /home/alice/mnt is gone: mount again (regfs mount /home/alice/store /home/alice/mnt)…
        [exit 1]
        $ regfs mount store mnt
        …clearing the mount that a dead daemon left at /home/alice/mnt
        regfs: the last mount did not end cleanly (it was killed): …; 1 upload to go on with
        $ cat mnt/a/uploads/x; echo
        x
        $ kill -9 $(jq .pid mnt/.regfs/status); sleep 0.5; regfs umount mnt; ls -A mnt
        ",
    );
}

#[test]
fn others_are_let_in_where_fuse_conf_allows_it() {
    needs!("fuse", "root", "fusermount3", "nsenter", "setpriv");
    let household = Household::new();
    household.session(
        "alice",
        &[],
        "
        $ mkdir mnt; regfs mount -o allow_other store mnt
        regfs: made a new registry in /home/alice/store
        regfs: fusermount3 refused /home/alice/mnt: option allow_other only allowed if 'user_allow_other' is set in /etc/fuse.conf; ask who runs this machine to put that word on a line of its own there, or leave allow_other out
        [exit 1]
        $ regfs mount store mnt; mkdir mnt/a
        ",
    );
    for user in ["bob", "root"] {
        household.session(
            user,
            &[],
            "
            $ ls /home/alice/mnt
            ls: cannot access '/home/alice/mnt': Permission denied
            [exit 2]
            ",
        );
    }
    household.run("root", "echo user_allow_other > /etc/fuse.conf");
    household.session("alice", &[], "$ regfs umount mnt; regfs mount -o allow_other store mnt");
    household.session(
        "bob",
        &[],
        "
        $ ls /home/alice/mnt
        a
        $ printf x > /home/alice/mnt/a/uploads/x
        sh: 1: cannot create /home/alice/mnt/a/uploads/x: Permission denied
        [exit 2]
        ",
    );
    // Alice's daemon cannot give files away, so what bob makes is hers.
    household.run("alice", "chmod 1777 mnt/a/uploads");
    household.session(
        "bob",
        &[],
        "
        $ cd /home/alice/mnt/a
        $ printf x > uploads/x; stat -c '%U:%G %a' uploads/x; cat uploads/x; echo
        alice:alice 644
        x
        $ rm uploads/x
        rm: cannot remove 'uploads/x': Operation not permitted
        [exit 1]
        ",
    );
    household.session(
        "root",
        &[],
        "
        $ cd /home/alice/mnt/a
        $ printf y > uploads/y; stat -c %U uploads/y; chown bob uploads/y
        alice
        chown: changing ownership of 'uploads/y': Operation not permitted
        [exit 1]
        $ tail -n 1 ../.regfs/errors
        …setattr a/uploads/y: EPERM…mount as root…
        ",
    );
}

#[test]
fn what_a_user_cannot_mount_is_refused_with_the_remedy() {
    needs!("fuse", "root", "fusermount3", "nsenter", "setpriv");
    let household = Household::new();
    household.run("root", "mkdir mnt store; regfs mount store mnt; mkdir mnt/a; regfs umount mnt");
    household.session(
        "alice",
        &[],
        "
        $ mkdir mnt; regfs mount store /home/root/mnt
        regfs: made a new registry in /home/alice/store
        regfs: fusermount3 refused /home/root/mnt: user has no write access to mountpoint /home/root/mnt; take a directory that is yours, or mount as root
        [exit 1]
        $ regfs mount /home/root/store mnt
        regfs: could not …/home/root/store…: Permission denied…; the store /home/root/store has to belong to who mounts it (chown -R): mount as its owner or as root, or with -o ro if reading it is enough
        [exit 1]
        $ regfs mount /home/root/new mnt
        regfs: could not make /home/root/new: Permission denied…; the store /home/root/new has to belong to who mounts it…
        [exit 1]
        $ ls -A mnt
        $ regfs mount -o ro /home/root/store mnt; ls mnt; mkdir mnt/b
        a
        mkdir: cannot create directory 'mnt/b': Read-only file system
        [exit 1]
        $ regfs umount mnt
        ",
    );
    household.run("root", "chmod 700 store");
    household.session(
        "alice",
        &[],
        "
        $ regfs mount -o ro /home/root/store mnt
        regfs: could not open /home/root/store: Permission denied…; let this user read the store /home/root/store, or mount as root
        [exit 1]
        $ regfs umount /home/root/mnt
        regfs: nothing is mounted at /home/root/mnt: regfs status lists what is
        [exit 1]
        ",
    );
    household.run("root", "chmod 600 /dev/fuse");
    household.session(
        "alice",
        &[],
        "
        $ regfs mount store mnt
        regfs: could not open /dev/fuse: Permission denied…; let this user open it (chmod 666 /dev/fuse), or mount as root
        [exit 1]
        $ ls -A mnt
        ",
    );
}

#[test]
fn what_root_has_mounted_a_user_does_not_unmount() {
    needs!("fuse", "root", "fusermount3", "nsenter", "setpriv");
    let household = Household::new();
    household.run("root", "mkdir mnt; regfs mount -o allow_other store mnt");
    household.session(
        "alice",
        &[],
        "
        $ regfs umount /home/root/mnt
        regfs: /home/root/mnt was mounted by root: only root can unmount it (regfs umount /home/root/mnt)
        [exit 1]
        $ regfs umount --lazy /home/root/mnt
        regfs: /home/root/mnt was mounted by root: only root can unmount it (regfs umount /home/root/mnt)
        [exit 1]
        $ regfs mount -o remount,ro store /home/root/mnt
        regfs: only root can remount: unmount it, and mount it with the other options
        [exit 1]
        $ ls -A /home/root/mnt
        ",
    );
    household.run("root", "regfs umount mnt");
}

#[test]
fn mounts_of_others_are_rows_with_one_line_beneath() {
    needs!("fuse", "root", "fusermount3", "nsenter", "setpriv", "jq");
    let household = Household::new();
    household.run(
        "root",
        "mkdir a b shared; regfs mount store a; regfs mount store b; regfs mount -o allow_other store shared",
    );
    household.run("alice", "mkdir mnt; regfs mount store mnt");
    household.session(
        "alice",
        &[],
        "
        $ regfs status | tr -s ' '
        MOUNTPOINT STORE OPTIONS REFUSALS
        /home/root/a /home/root/store rw,… hidden
        /home/root/b /home/root/store rw,… hidden
        /home/root/shared /home/root/store rw,… none
        /home/alice/mnt /home/alice/store rw,… none
        hidden: only the user who mounted it sees more: ask as root
        ",
    );
    household.session(
        "bob",
        &[],
        "
        $ regfs status | tail -n 1
        hidden: only the user who mounted it sees more: ask as alice, root
        $ regfs status /home/alice/mnt
        regfs: the mount at /home/alice/mnt lets in only the user who mounted it: ask as alice, or let others in (regfs mount -o allow_other)
        [exit 1]
        $ regfs status --json | jq -r '.[].problem' | grep -c 'lets in only'
        3
        $ regfs umount /home/alice/mnt
        regfs: /home/alice/mnt was mounted by alice: only alice or root can unmount it (regfs umount /home/alice/mnt)
        [exit 1]
        ",
    );
    household.session("root", &[], "$ regfs umount /home/alice/mnt; ls -A /home/alice/mnt");
}

/// What a user takes from itself, by the modes of its own things.
const SCENES: &[(&str, &str)] = &[
    ("755", ""),
    ("555", "chmod 555 r/*"),
    ("300", "chmod 300 r/*"),
    ("000", "chmod 000 r"),
    ("files 444", "chmod 444 r/*/*"),
    ("files 000", "chmod 000 r/*/*"),
];

const GROUPS: &[&[&str]] = &[
    &[
        "ls r",
        "ls r/layers",
        "stat -c \"%U %a\" r",
        "stat -c \"%U %a\" r/layers/$LAYER",
        "cat r/layers/$LAYER",
        "cat r/manifests/tag",
        "cat r/uploads/mine",
    ],
    &["echo more >> r/uploads/mine", "truncate -s 2 r/uploads/mine", "echo x > r/uploads/new"],
    &["mv -f r/uploads/mine r/layers/$MINE", "mv -f r/manifests/tag r/manifests/tag2"],
    &["ln r/manifests/tag r/manifests/tag2", "ln r/layers/$LAYER s/layers/$LAYER"],
    &["cp ../../manifest r/manifests/tag", "setfattr -n user.note -v x r/layers/$LAYER"],
    &["touch -d 2001-02-03 r/uploads/mine", "touch -d 2001-02-03 r/layers r"],
    &["rm -f r/uploads/mine", "rm -f r/layers/$LAYER", "rm -rf r"],
    &["mv r r2 && mv r2 r", "chmod 755 r && chmod 755 r/* && chmod 644 r/*/*", "cat r/*/*"],
];

#[test]
fn a_user_is_bound_by_its_own_modes_as_on_a_disk() {
    needs!("fuse", "root", "fusermount3", "nsenter", "setpriv", "tar", "setfattr");
    let household = Household::new();
    let home = household.home_outside("alice");
    let layer = digest_of(b"layer");
    let table = Table { made: "tar xf ../../template.tar", scenes: SCENES, groups: GROUPS };
    fs::write(home.join("manifest"), manifest_of((&layer, 5), &[])).unwrap();
    fs::write(home.join("making"), table.making()).unwrap();
    fs::write(home.join("doing"), table.doing()).unwrap();
    household.run(
        "alice",
        &format!(
            "mkdir disk mnt template; regfs mount store mnt; cd template
             mkdir -p r/layers r/manifests r/uploads s/layers s/manifests s/uploads
             printf layer > r/layers/{layer}; cp ../manifest r/manifests/tag
             printf mine > r/uploads/mine; tar cf ../template.tar --sort=name r s"
        ),
    );
    let outcomes = |folder: &str| {
        let run = |script: &str| {
            let mine = digest_of(b"mine");
            let command = format!("cd {folder}; LAYER={layer} MINE={mine} sh ../{script}");
            household.run("alice", &command)
        };
        run("making");
        table.outcomes(&run("doing"))
    };
    table.assert_same(&Sides { disk: outcomes("disk"), mount: outcomes("mnt") });
}
