//! Where a person finds the reason of a refusal: one `cat`, and `regfs status` that names the file.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use common::{Mount, digest_of, manifest_of, needs, run, run_in, session, session_with};
use std::{fs, process::Command};

#[test]
fn status_counts_refusals_shows_the_last_and_names_the_file_to_cat() {
    needs!("fuse", "jq");
    let mount = Mount::empty();
    session_with(
        mount.beside(),
        &[("OTHER", &digest_of(b"other")), ("MNT", mount.path().to_str().unwrap())],
        "
        $ regfs status mnt | tail -n 2
        refusals: none
        errors: cat $MNT/.regfs/errors
        $ mkdir mnt/a mnt/Upper
        mkdir: cannot create directory 'mnt/Upper': Invalid argument
        [exit 1]
        $ echo hi > mnt/a/layers/$OTHER
        $ regfs status mnt | tail -n 3
        refusals: 2
        last refusal: …Z pid … close a/layers/$OTHER: EBADMSG: the content is …, not $OTHER as named; name it by the digest that it has, or copy the right file; an upload stays as it is
        errors: cat $MNT/.regfs/errors tells each, why, and what to do
        $ $(regfs status mnt | sed -n 's/^errors: \\(cat [^ ]*\\) .*/\\1/p') | grep -c EBADMSG
        1
        $ regfs status --json mnt | jq -r .refusals,.errors
        2
        $MNT/.regfs/errors
        $ regfs status --json mnt | jq -r .last_refusal | grep -c EBADMSG
        1
        ",
    );
}

#[test]
fn status_of_all_mounts_says_which_have_refusals() {
    needs!("fuse", "jq");
    let (mount, mut gone) = (Mount::empty(), Mount::empty());
    session(&mount, "$ mkdir Upper 2> /dev/null\n[exit 1]");
    gone.kill_daemon();
    let (at, gone_at) = (mount.path().to_str().unwrap(), gone.path().to_str().unwrap());
    session_with(
        mount.beside(),
        &[("MNT", at), ("GONE", gone_at), ("STORE", mount.store().to_str().unwrap())],
        "
        $ regfs status | head -n 1
        MOUNTPOINT … STORE … OPTIONS … REFUSALS
        $ regfs status | grep \"^$MNT \"
        $MNT … $STORE … 1
        $ regfs status | grep \"^$GONE \"
        $GONE … ?
        $ regfs status | grep -c \"^what was refused, why, and what to do: cat .*$MNT/.regfs/errors\"
        1
        $ regfs status | grep -c \"^the daemon of the mount at $GONE is gone: mount again (regfs mount .* $GONE)\"
        1
        $ regfs status --json | jq -r --arg at $MNT '.[] | select(.mountpoint == $at) | .refusals, .errors'
        1
        $MNT/.regfs/errors
        $ regfs status --json | jq -r --arg at $GONE '.[] | select(.mountpoint == $at) | .problem' | grep -c gone
        1
        ",
    );
}

#[test]
fn status_of_a_place_in_a_mount_is_that_of_the_mount() {
    needs!("fuse", "jq");
    let mount = Mount::empty();
    let layer = mount.push_layer("library/a", b"layer");
    session_with(
        mount.path().join("library"),
        &[("MNT", mount.path().to_str().unwrap()), ("LAYER", &layer)],
        "
        $ regfs status . | grep ^mountpoint
        mountpoint: $MNT
        $ regfs status --json a/layers/$LAYER | jq -r .mountpoint
        $MNT
        $ regfs umount .
        regfs: . is a place in the mount at $MNT: name the mount itself, $MNT
        [exit 1]
        $ regfs status ../..
        regfs: nothing is mounted at ../..: regfs status lists what is
        [exit 1]
        ",
    );
    // Who stands in it when its daemon is killed is told what to do, too.
    session_with(
        mount.beside(),
        &[("MNT", mount.path().to_str().unwrap())],
        "
        $ (cd mnt/library; kill -9 $(jq .pid ../.regfs/status); while test -e .; do sleep 0.1; done; regfs status .)
        regfs: the daemon of the mount at $MNT is gone: mount again (regfs mount …
        [exit 1]
        ",
    );
}

#[test]
fn a_mountpoint_with_spaces_can_be_pasted() {
    needs!("fuse");
    let mount = Mount::empty();
    let other = mount.beside().join("it's a mount");
    fs::create_dir(&other).unwrap();
    run_in(mount.beside(), "regfs mount -o ro store \"it's a mount\"");
    let status = run_in(mount.beside(), "regfs status \"it's a mount\"");
    let command = status.lines().find_map(|line| line.strip_prefix("errors: ")).unwrap();
    // What it says about a mount that is read-only can be pasted, too.
    let errors = run_in(mount.beside(), command);
    let line = errors.lines().find(|line| line.contains("Read-only file system")).unwrap();
    run_in(mount.beside(), line.split_once(": ").unwrap().1);
    session(
        mount.beside(),
        "
        $ mkdir \"it's a mount/a\"
        $ ls mnt
        a
        $ regfs umount \"it's a mount\"
        ",
    );
}

#[test]
fn what_tools_try_and_do_without_leaves_no_line() {
    needs!("fuse", "rsync", "getfattr", "setfacl");
    let mount = Mount::empty();
    let config = mount.push_layer("a", b"{}");
    let manifest = manifest_of((&config, 2), &[]);
    fs::write(mount.beside().join("m"), &manifest).unwrap();
    session_with(
        &mount,
        &[("LAYER", &config)],
        "
        $ cp -a ../m a/manifests/1.0
        $ cp -p ../m a/manifests/1.1
        $ install -m 600 ../m a/uploads/x
        $ mkdir b
        $ mv a/uploads/x b/uploads/y
        $ mv b/uploads/y b/uploads/z
        $ mv a/manifests/1.0 a/manifests/1.1
        $ rsync -aAX a/ c/
        $ ls -l a/layers a/none b > /dev/null 2>&1
        [exit 2]
        $ getfacl a/layers/$LAYER > /dev/null 2>&1
        $ getfattr -n user.none a/layers/$LAYER 2> /dev/null
        [exit 1]
        $ cp a/layers/$LAYER b/layers/
        $ mkdir a/layers 2> /dev/null
        [exit 1]
        $ rm -r a b c
        $ grep -v '^#' .regfs/errors
        [exit 1]
        ",
    );
}

#[test]
fn what_a_person_wanted_and_does_not_get_leaves_a_line() {
    needs!("fuse", "root", "setfacl", "setfattr");
    let mount = Mount::empty();
    let layer = mount.push_layer("a", b"layer");
    session_with(
        &mount,
        &[("LAYER", &layer)],
        "
        $ setfacl -m u:daemon:r a/layers/$LAYER
        setfacl: a/layers/$LAYER: Operation not supported
        [exit 1]
        $ setfacl -d -m u:daemon:r a
        setfacl: a: Operation not supported
        [exit 1]
        $ setfattr -n trusted.x -v y a/layers/$LAYER
        setfattr: a/layers/$LAYER: Operation not supported
        [exit 1]
        $ setfattr -n user.x -v y .regfs/errors
        setfattr: .regfs/errors: Operation not supported
        [exit 1]
        $ rmdir a
        rmdir: failed to remove 'a': Directory not empty
        [exit 1]
        ",
    );
    mount.assert_error(&["setxattr a/layers/", "EOPNOTSUPP: access lists are not kept"]);
    mount.assert_error(&["setxattr a: EOPNOTSUPP: default access lists"]);
    mount.assert_error(&["setxattr a/layers/", "EOPNOTSUPP", "not called user.…"]);
    mount.assert_error(&["setxattr .regfs/errors: EOPNOTSUPP"]);
    mount.assert_error(&["rmdir a: ENOTEMPTY", "rm -r"]);
}

#[test]
fn what_the_kernel_refuses_by_itself_is_told_above_the_lines() {
    needs!("fuse", "root", "setpriv");
    let mount = Mount::with_options(&["allow_other"]);
    let layer = mount.push_layer("a", b"layer");
    fs::write(mount.path().join("a/uploads/x"), "x").unwrap();
    run_in(mount.path(), "mkdir b; chmod 700 a/layers");
    let stranger = |command: &str| {
        // Its own folder may be closed to others: they come in through the descriptor.
        let mut shell = Command::new("setpriv");
        shell.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "sh", "-c", command]);
        shell.current_dir(mount.path()).env("LC_ALL", "C");
        let output = shell.output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{command}: {text}");
        text.trim().rsplit(": ").next().unwrap().to_owned()
    };
    let digest = format!("a/layers/{layer}");
    let mut seen = vec![
        stranger(&format!("cat {digest}")),
        stranger("chmod 600 a/uploads/x"),
        stranger("mkdir c"),
    ];
    for command in [
        "mkdir a/layers",
        "python3 -c 'import os; os.rename(\"a/uploads/x\", \"../x\")' 2>&1 | grep -o 'Invalid cross-device link' >&2; false",
    ] {
        let output = Command::new("sh")
            .args(["-c", command])
            .current_dir(mount.path())
            .env("LC_ALL", "C")
            .output()
            .unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        seen.push(text.trim().rsplit(": ").next().unwrap().to_owned());
    }
    assert_eq!(
        seen,
        [
            "Permission denied",
            "Operation not permitted",
            "Permission denied",
            "File exists",
            "Invalid cross-device link"
        ]
    );
    let text = run(Command::new("cat").arg(mount.path().join(".regfs/errors")));
    assert_eq!(mount.errors(), "", "the kernel asked nobody");
    for message in seen {
        let is_told = |line: &str| line.starts_with(&format!("#   {message} "));
        assert!(text.lines().any(is_told), "{message} is told above the lines:\n{text}");
    }
}

#[test]
fn the_same_refusal_again_is_counted_and_takes_one_line() {
    needs!("fuse", "python3");
    let mount = Mount::empty();
    run_in(
        mount.path(),
        "python3 -c 'import os\nfor _ in range(5):\n  try: os.mkdir(\"Upper\")\n  except OSError: pass'",
    );
    let errors = mount.errors();
    assert_eq!(errors.lines().count(), 1, "{errors}");
    assert!(errors.trim_end().ends_with("(5 times)"), "{errors}");
    assert!(mount.metric("regfs_refusals_total") >= 5.0);
}
