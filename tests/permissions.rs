//! Every operation under many modes, on a mount and on a disk beside it: the same comes of it.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use common::{
    Mount, Sides, Table, digest_of, keep_document, manifest_of, needs, run_in, run_within,
};
use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

/// A user with a group of its own, and one that it shares; no machine need know them.
const USER: &str = "setpriv --reuid 1234 --regid 1234 --groups 4321";

/// How a case of the table below begins: two repositories of root's, with a tag and an upload of the
/// user's among root's.
const MADE: &str = "tar xf ../../template.tar; setfattr -n user.note -v old r/layers/$LAYER";

/// What root does to them before the user comes.
const SCENES: &[(&str, &str)] = &[
    ("755, as made", ""),
    ("1777", "chmod 1777 r/* s/*"),
    ("777", "chmod 777 r/* s/*"),
    ("777, files 666", "chmod 777 r/* s/*; chmod 666 r/*/*"),
    ("711", "chmod 711 r/* s/*"),
    ("744", "chmod 744 r/* s/*"),
    ("repository 700", "chmod 700 r s"),
    ("files 600", "chmod 600 r/*/*"),
    ("2775, my group", "chgrp -R 4321 r s; chmod 2775 r/* s/*"),
    ("777 above", "chmod 777 ."),
    ("all mine", "chown -R 1234:1234 r s"),
];

/// What the user does.
const GROUPS: &[&[&str]] = &[
    &[
        "ls r",
        "ls r/layers",
        "ls r/manifests",
        "ls -d r/uploads/.",
        "stat -c \"%u:%g %a %s\" r/layers/$LAYER",
        "cat r/layers/$LAYER",
        "cat r/manifests/tag",
        "cat r/uploads/other",
        "cat r/uploads/mine",
        "getfattr --only-values -n user.note r/layers/$LAYER",
    ],
    &[
        "cp ../../files/plain r/uploads/new && stat -c \"%u:%g %a\" r/uploads/new",
        "(umask 027; echo x > r/uploads/quiet) && stat -c \"%u:%g %a\" r/uploads/quiet",
        "cp -p ../../files/plain r/uploads/copy && stat -c \"%u:%g %a %y\" r/uploads/copy",
        "cp ../../files/new r/layers/$NEW && stat -c \"%u:%g %a\" r/layers/$NEW",
        "cp ../../files/manifest r/manifests/new && stat -c \"%u:%g %a\" r/manifests/new",
    ],
    &[
        "echo more >> r/uploads/other",
        "truncate -s 2 r/uploads/other",
        "cp ../../files/plain r/uploads/other",
        "echo more >> r/uploads/mine",
        "truncate -s 2 r/uploads/mine",
        "cp ../../files/plain r/uploads/mine",
        "cp ../../files/manifest r/manifests/tag",
        "cp ../../files/manifest r/manifests/own",
    ],
    &["mv -f r/uploads/mine r/layers/$MINE", "mv -f r/uploads/other r/layers/$OTHER"],
    &[
        "mv -f r/uploads/mine r/uploads/mine2",
        "mv -f r/uploads/other r/uploads/other2",
        "mv -f r/manifests/tag r/manifests/tag2",
        "mv -f r/manifests/own r/manifests/own2",
        "mv -f r/layers/$LAYER s/layers/$LAYER",
    ],
    &["mv -f r/uploads/mine r/uploads/other", "mv -f r/manifests/own r/manifests/tag"],
    &[
        "ln r/manifests/tag r/manifests/tag2",
        "ln r/manifests/own r/manifests/own2 && stat -c \"%u:%g %a\" r/manifests/own2",
        "ln r/layers/$LAYER s/layers/$LAYER",
        "ln -f r/manifests/own r/manifests/tag",
    ],
    &["cp r/layers/$LAYER s/layers/$LAYER && stat -c \"%u:%g %a\" s/layers/$LAYER"],
    &[
        "rm -f r/uploads/mine",
        "rm -f r/uploads/other",
        "rm -f r/manifests/own",
        "rm -f r/manifests/tag",
        "rm -f r/layers/$LAYER",
    ],
    &[
        "chmod 600 r/layers/$LAYER",
        "chmod 640 r/uploads/mine && stat -c %a r/uploads/mine",
        "chmod 640 r/manifests/own && stat -c %a r/manifests/own",
        "chgrp 4321 r/uploads/mine && stat -c %g r/uploads/mine",
        "chgrp 99 r/uploads/mine",
        "chown 99 r/uploads/mine",
        "chown 1234 r/layers/$LAYER",
        "chmod 700 r/layers",
    ],
    &[
        "touch r/uploads/mine",
        "touch -d 2001-02-03 r/uploads/mine",
        "touch r/uploads/other",
        "touch -d 2001-02-03 r/uploads/other",
        "touch r/layers/$LAYER",
        "touch -c -d 2001-02-03 r/layers/$LAYER",
        "touch -d 2001-02-03 r/manifests/tag",
        "touch -d 2001-02-03 r/layers",
    ],
    &[
        "setfattr -n user.note -v new r/layers/$LAYER",
        "setfattr -n user.note -v new r/uploads/mine",
        "setfattr -n user.note -v new r/manifests/tag",
        "setfattr -n user.note -v new r/layers",
    ],
    &["mkdir new && stat -c \"%u:%g %a\" new", "mv r r2", "rm -rf s"],
    &["rm -rf r"],
];

/// On the mount and on the disk beside it, with the same modes and the same user, every operation
/// ends with the same words and the same exit code.
#[test]
fn modes_mean_what_they_mean_on_a_disk() {
    needs!("fuse", "root", "setpriv", "getfattr", "setfattr", "tar");
    let mount = Mount::with_options(&["allow_other"]);
    fs::set_permissions(mount.beside(), fs::Permissions::from_mode(0o755)).unwrap();
    let (layer, new) = (digest_of(b"layer"), digest_of(b"new"));
    let manifest = manifest_of((&layer, 5), &[]);
    let files = mount.beside().join("files");
    fs::create_dir(&files).unwrap();
    fs::write(files.join("manifest"), &manifest).unwrap();
    fs::write(files.join("new"), "new").unwrap();
    fs::write(files.join("plain"), "plain").unwrap();
    run_in(
        mount.beside(),
        &format!(
            "umask 022; mkdir disk template; cd template
             mkdir -p r/layers r/manifests r/uploads s/layers s/manifests s/uploads
             printf layer > r/layers/{layer}
             cp ../files/manifest r/manifests/tag; cp ../files/manifest r/manifests/own
             printf mine > r/uploads/mine; printf other > r/uploads/other
             chown 1234:1234 r/manifests/own r/uploads/mine
             tar cf ../template.tar --sort=name r s"
        ),
    );
    let table = Table { made: MADE, scenes: SCENES, groups: GROUPS };
    fs::write(mount.beside().join("making"), table.making()).unwrap();
    fs::write(mount.beside().join("doing"), table.doing()).unwrap();
    let run = |folder: &Path, script: &str, prefix: &str| {
        let variables = format!(
            "LAYER={layer} NEW={new} MINE={} OTHER={}",
            digest_of(b"mine"),
            digest_of(b"other")
        );
        let command = format!("umask 022; env {variables} {prefix} sh ../{script}");
        run_within(Duration::from_secs(240), folder, &command)
    };
    let outcomes = |folder: &Path| {
        run(folder, "making", "");
        table.outcomes(&run(folder, "doing", USER))
    };
    let disk = outcomes(&mount.beside().join("disk"));
    let sides = Sides { mount: outcomes(mount.path()), disk };
    table.assert_same(&sides);
    // Without this protection users may link what others own, here as there.
    if fs::read_to_string("/proc/sys/fs/protected_hardlinks").is_ok_and(|text| text.trim() == "1") {
        keep_document("docs/permissions.md", &document(&table, &sides));
    }
}

/// The table for people.
fn document(table: &Table<'_>, sides: &Sides) -> String {
    let names: Vec<&str> = SCENES.iter().map(|(name, _)| *name).collect();
    format!(
        "# Who may do what\n
What a user may do on a mount with `allow_other` that root made. `r` and `s` are repositories of \
root's; the upload `r/uploads/mine` and the tag `r/manifests/own` are the user's, all other files \
root's, mode 644. A column says what was done to the mode of the three folders of each repository, \
or to other things where it says so.\n
`tests/permissions.rs` writes this file: it does all of this on a mount and on a disk beside it, and fails \
unless both answer the same. EACCES prints as \"Permission denied\", EPERM as \"Operation not \
permitted\".\n
| | {} |\n|---|{}\n{}",
        names.join(" | "),
        "---|".repeat(names.len()),
        table.rows(&sides.mount)
    )
}
