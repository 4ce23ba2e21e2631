//! What single options of rsync mean on a mount, and those that cannot mean anything there.

use crate::common::{self, Mount, digest_of, needs, noise, run_in, scratch, session_with};
use crate::source::{write_layer, write_manifest};
use std::fs;

/// A registry on a disk, in `from`, and an empty mount.
struct Scene {
    disk: tempfile::TempDir,
    to: Mount,
    layers: [String; 2],
}

impl Scene {
    /// Two layers, two tags and an upload.
    fn new() -> Self {
        let (disk, to) = (scratch(), Mount::empty());
        let app = disk.path().join("from/app");
        let layers = [noise(1, 100_000), noise(2, 5000)].map(|bytes| write_layer(&app, &bytes));
        write_manifest(&app, "1.0", &[&layers[0]]);
        write_manifest(&app, "2.0", &[&layers[1]]);
        fs::write(app.join("uploads/x"), noise(3, 1000)).unwrap();
        // So that it does not look as if it had just been changed.
        run_in(disk.path(), "find from -exec touch -d 2020-01-01 {} +");
        Self { disk, to, layers }
    }

    /// A session beside `from`, with TO for the mount, LAYER and OTHER for the layers.
    #[track_caller]
    fn session(&self, text: &str) {
        let to = self.to.path().to_str().unwrap();
        let [layer, other] = &self.layers;
        session_with(&self.disk, &[("TO", to), ("LAYER", layer), ("OTHER", other)], text);
    }
}

#[test]
fn rsync_appends_to_an_upload_that_grew() {
    needs!("fuse", "rsync");
    let scene = Scene::new();
    fs::write(scene.disk.path().join("more"), noise(4, 2_000_000)).unwrap();
    scene.session(
        "
        $ rsync -a from/ $TO/
        $ cat more >> from/app/uploads/x
        $ rsync -a --append --stats from/ $TO/ | grep Literal
        Literal data: 2,000,000 bytes
        $ diff -r from $TO
        $ cat more >> from/app/uploads/x; printf new | dd of=from/app/uploads/x conv=notrunc status=none
        $ rsync -a --append-verify from/ $TO/
        $ diff -r from $TO
        $ rsync -ai from/ $TO/
        ",
    );
}

#[test]
fn rsync_append_cannot_make_a_tag_of_the_ends_of_two_manifests() {
    needs!("fuse", "rsync");
    let scene = Scene::new();
    scene.session("$ rsync -a from/ $TO/\n$ cp from/app/manifests/1.0 before");
    let app = scene.disk.path().join("from/app");
    let [layer, other] = &scene.layers;
    write_manifest(&app, "1.0", &[other, layer]);
    scene.session(
        "
        $ rsync -a --append from/ $TO/
        rsync: …close failed on …app/manifests/1.0…: Invalid argument (22)
        *
        [exit 11]
        $ cmp before $TO/app/manifests/1.0
        $ rsync -a from/ $TO/
        $ diff -r from $TO
        ",
    );
    scene.to.assert_error(&["app/manifests/1.0", "EINVAL", "manifest"]);
}

#[test]
fn rsync_inplace_cannot_change_a_layer() {
    needs!("fuse", "rsync");
    let scene = Scene::new();
    scene.session(
        "
        $ rsync -a from/ $TO/
        $ touch -d 2021-01-01 from/app/layers/$LAYER
        $ rsync -a --inplace from/ $TO/
        rsync: …open …app/layers/$LAYER… failed: Operation not permitted (1)
        *
        [exit 23]
        $ stat -c %y $TO/app/layers/$LAYER
        2020-01-01 00:00:00.000000000 +0000
        $ rsync -a --inplace --checksum from/ $TO/
        $ stat -c %y $TO/app/layers/$LAYER
        2021-01-01 00:00:00.000000000 +0000
        $ touch -d 2022-01-01 from/app/layers/$LAYER
        $ rsync -a from/ $TO/
        $ rsync -ai from/ $TO/
        ",
    );
    scene.to.assert_error(&["app/layers/", "EPERM", "cannot change", "uploads/"]);
}

#[test]
fn rsync_does_not_bring_a_layer_whose_bytes_are_not_those_of_its_name() {
    needs!("fuse", "rsync");
    let scene = Scene::new();
    scene.session("$ printf x >> from/app/layers/$LAYER");
    for way in ["-a", "-a --partial-dir=.p", "-a --delay-updates", "-a --temp-dir=$TO/tmp/uploads"]
    {
        scene.session(&format!(
            "
            $ mkdir -p $TO/tmp; rsync {way} from/ $TO/ 2>&1 | grep -c 'Bad message'
            …
            $ ls $TO/app/layers | grep -c -e $LAYER
            0
            [exit 1]
            $ cmp from/app/layers/$OTHER $TO/app/layers/$OTHER
            $ ls $TO/app/manifests
            2.0
            $ cat $TO/.regfs/errors | grep -c \"EBADMSG.*not $LAYER as named\"
            …
            $ rm -r $TO/*
            "
        ));
    }
}

#[test]
fn a_manifest_that_was_changed_in_place_by_half_is_not_put() {
    needs!("fuse", "python3");
    let scene = Scene::new();
    let python = |then: &str| {
        format!(
            "import os; new = open('from/app/manifests/2.0', 'rb').read(); \
             f = os.open('$TO/app/manifests/1.0', os.O_WRONLY); \
             middle = len(new) // 2; os.pwrite(f, new[middle:], middle); {then}"
        )
    };
    scene.session(&format!(
        "
        $ rsync -a from/ $TO/
        $ python3 -c \"{}\" 2> said; cmp from/app/manifests/1.0 $TO/app/manifests/1.0
        $ python3 -c \"{}\" 2>&1 | tail -n 1
        OSError: [Errno 22] Invalid argument
        $ cmp from/app/manifests/1.0 $TO/app/manifests/1.0
        $ cp from/app/manifests/2.0 from/app/manifests/1.0
        $ rsync -a --inplace --no-whole-file from/ $TO/
        $ cmp from/app/manifests/1.0 $TO/app/manifests/1.0
        ",
        python("os.kill(os.getpid(), 9)"),
        python("os.close(f)"),
    ));
    scene.to.assert_error(&["close app/manifests/1.0", "EINVAL", "written over in part"]);
}

#[test]
fn rsync_backs_up_a_tag_that_moves_as_another_tag() {
    needs!("fuse", "rsync");
    let scene = Scene::new();
    scene.session(
        "
        $ rsync -a from/ $TO/
        $ cp from/app/manifests/1.0 before; cp from/app/manifests/2.0 from/app/manifests/1.0
        $ rsync -a --backup from/ $TO/ 2>&1 | grep -c 'Invalid argument'
        …
        $ cmp before $TO/app/manifests/1.0
        $ rsync -a --backup --suffix=.old from/ $TO/
        $ ls $TO/app/manifests
        1.0
        1.0.old
        2.0
        $ cmp before $TO/app/manifests/1.0.old
        $ cmp from/app/manifests/1.0 $TO/app/manifests/1.0
        $ cp before from/app/manifests/2.0; rm from/app/layers/$OTHER $TO/app/manifests/1.0.old
        $ rsync -a --delete-after --backup --backup-dir=$PWD/replaced from/ $TO/ --exclude 1.0
        $ ls replaced/app/*
        replaced/app/layers:
        $OTHER
        replaced/app/manifests:
        2.0
        $ ls $TO/app/layers | grep -c -e $OTHER
        0
        [exit 1]
        ",
    );
    scene.to.assert_error(&["app/manifests/1.0~", "EINVAL", "a tag is"]);
}

#[test]
fn rsync_takes_from_another_mount_or_place_what_is_there() {
    needs!("fuse", "rsync");
    for dest in ["--link-dest", "--copy-dest"] {
        for same_mount in [true, false] {
            let scene = Scene::new();
            let old = if same_mount { None } else { Some(Mount::empty()) };
            let place = match &old {
                None => scene.to.path().join("old"),
                Some(old) => old.path().to_owned(),
            };
            let old = place.display();
            scene.session(&format!(
                "
                $ mkdir -p $TO/old $TO/new; rsync -a from/ {old}/; rm {old}/app/layers/$OTHER {old}/app/manifests/2.0
                $ rsync -a {dest}={old} from/ $TO/new/
                $ diff -r from $TO/new
                $ rsync -ai {dest}={old} from/ $TO/new/
                $ rsync -ai from/ $TO/new/
                "
            ));
        }
    }
}

#[test]
fn rsync_writes_its_temporary_files_elsewhere() {
    needs!("fuse", "rsync");
    let scene = Scene::new();
    for folder in ["$PWD/tmp", "$TO/tmp/uploads", "$TO/app/uploads"] {
        scene.session(&format!(
            "
            $ mkdir -p tmp $TO/tmp $TO/app
            $ rsync -a --temp-dir={folder} from/ $TO/
            $ diff -r from/app $TO/app
            $ ls -A {folder} | grep [.].x
            [exit 1]
            $ rsync -ai --temp-dir={folder} from/ $TO/
            $ rm -r $TO/*
            "
        ));
    }
}

#[test]
fn rsync_gives_modes_and_owners_and_leaves_what_is_newer() {
    needs!("fuse", "root", "rsync");
    let scene = Scene::new();
    scene.session(
        "
        $ rsync -an from/ $TO/
        $ ls $TO
        $ rsync -a --chmod=D2770,F640 --chown=12:34 from/ $TO/
        $ cd $TO
        $ stat -c '%a %u:%g' app app/layers app/layers/$LAYER app/manifests/1.0 app/uploads/x
        2770 12:34
        2770 12:34
        640 12:34
        640 12:34
        640 12:34
        $ cp app/manifests/2.0 app/manifests/1.0; cp app/manifests/2.0 ../newer
        ",
    );
    scene.session(
        "
        $ rsync -ai --chmod=D2770,F640 --chown=12:34 from/app/layers $TO/app/
        $ rsync -a --update from/ $TO/
        $ cmp from/app/manifests/2.0 $TO/app/manifests/1.0
        $ rsync -a from/ $TO/
        $ diff -r from $TO
        ",
    );
}

#[test]
fn rsync_brings_an_index_when_its_parts_are_there() {
    needs!("fuse", "rsync");
    let mut scene = Scene::new();
    let app = scene.disk.path().join("from/app");
    let part = fs::read(app.join("manifests/1.0")).unwrap();
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{}","size":{}}}]}}"#,
        digest_of(&part),
        part.len()
    );
    fs::write(app.join("manifests/0.all"), index).unwrap();
    // Names come in order, and that of the index is the first.
    scene.session(
        "
        $ rsync -a from/ $TO/
        rsync: …app/manifests/0.all…: Link has been severed (67)
        *
        [exit 23]
        $ ls $TO/app/manifests
        1.0
        2.0
        $ rsync -a from/ $TO/
        $ diff -r from $TO
        $ rm -r $TO/*
        ",
    );
    scene.to.assert_error(&["app/manifests/0.all", "ENOLINK", "relaxed"]);
    scene.to.remount_with(&["relaxed"]);
    scene.session("$ rsync -a from/ $TO/\n$ diff -r from $TO");
}

#[test]
fn rsync_links_what_is_linked_in_the_source() {
    needs!("fuse", "rsync");
    let scene = Scene::new();
    // Links in other repositories are made when rsync has the first, and that may be too soon.
    scene.session(
        "
        $ cp -al from/app from/zoo; rm from/zoo/uploads/x; ln from/app/manifests/1.0 from/app/manifests/same
        $ rsync -aH from/ $TO/ > said 2>&1; rsync -aH from/ $TO/ | grep -v '^$'
        [exit 1]
        $ diff -r from $TO
        $ rsync -aH --stats from/ $TO/ | grep 'files transferred\\|Literal'
        Number of regular files transferred: 0
        Literal data: 0 bytes
        $ find $TO -name '.?*'
        $ rsync -ai from/ $TO/
        ",
    );
}
