//! A big layer or upload that rsync was copying when somebody pressed Ctrl-C, or killed it: what is
//! seen then, and how it goes on.

use crate::common::{
    self, Background, Mount, eventually, group_is_running, needs, noise, scratch, session_with,
};
use crate::source::{write_layer, write_manifest};
use rustix::process::{Pid, Signal, kill_process_group};
use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

const BIG_BYTES: u64 = 8 << 20;
/// How much is there before rsync is interrupted, at least.
const BEGUN_BYTES: u64 = 1 << 20;
/// Longer than rsync takes to write and to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// A big layer with its tag, and a big upload, on a disk in `from`; and an empty mount.
struct Scene {
    disk: tempfile::TempDir,
    to: Mount,
    big: String,
}

impl Scene {
    fn new() -> Self {
        let (disk, to) = (scratch(), Mount::empty());
        let app = disk.path().join("from/app");
        let bytes = noise(5, usize::try_from(BIG_BYTES).unwrap());
        let big = write_layer(&app, &bytes);
        write_manifest(&app, "1.0", &[&big]);
        fs::write(app.join("uploads/big"), bytes).unwrap();
        Self { disk, to, big }
    }

    /// A session beside `from`, with TO for the mount and BIG for the layer.
    #[track_caller]
    fn session(&self, text: &str) {
        let to = self.to.path().to_str().unwrap();
        session_with(&self.disk, &[("TO", to), ("BIG", &self.big)], text);
    }

    /// Runs rsync, and sends a signal to all of its processes when a part of the file is there.
    fn interrupt(&self, way: &str, area: &str, signal: Signal) {
        let mut rsync = Command::new("rsync");
        rsync
            .args(way.split(' '))
            // A part is written at once and must not be all: slow enough, and not too slow.
            .args(["--bwlimit=6m", "--no-whole-file"])
            .arg(self.disk.path().join("from/app").join(area))
            .arg(self.to.path().join("app/"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        fs::create_dir_all(self.to.path().join("app")).unwrap();
        let mut rsync = Background::start(&mut rsync);
        let folder = self.to.path().join("app").join(area);
        eventually(PATIENCE, "rsync is under way", || is_begun(&folder, &self.big));
        let group = Pid::from_raw(i32::try_from(rsync.0.id()).unwrap()).unwrap();
        kill_process_group(group, signal).unwrap();
        assert!(!rsync.0.wait().unwrap().success(), "rsync was ready before it was interrupted");
        // The receiver, its child, tidies up a little later.
        eventually(PATIENCE, "rsync has ended", || !group_is_running(rsync.0.id()));
    }
}

/// Whether a file in the folder, listed or not, is long enough.
fn is_begun(folder: &Path, unlisted: &str) -> bool {
    let listed = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    listed
        .chain([folder.join(unlisted)])
        .any(|file| fs::metadata(file).is_ok_and(|stat| stat.is_file() && stat.len() > BEGUN_BYTES))
}

#[test]
fn an_interrupted_layer_is_not_there_and_comes_with_the_next_rsync() {
    needs!("fuse", "rsync");
    let scene = Scene::new();
    for way in ["-a", "-a --partial", "-a --inplace", "-a --append-verify"] {
        scene.interrupt(way, "layers", Signal::INT);
        // --partial cannot keep it under a name that promises the whole.
        scene.session(&format!(
            "
            $ ls -A $TO/app/layers | grep -e $BIG
            [exit 1]
            $ ls -A $TO/app/manifests
            $ rsync {way} from/ $TO/
            $ diff -r from $TO
            $ rsync -ai from/ $TO/
            $ find $TO -name '.?*'
            $ rm -r $TO/app
            "
        ));
    }
}

#[test]
fn rsync_goes_on_with_a_layer_that_it_kept_in_a_folder_for_parts() {
    needs!("fuse", "rsync");
    let scene = Scene::new();
    for (way, folder) in
        [("-a --partial-dir=.rsync-partial", ".rsync-partial"), ("-a --delay-updates", ".~tmp~")]
    {
        scene.interrupt(way, "layers", Signal::INT);
        scene.session(&format!(
            "
            $ ls $TO/app/layers/{folder} | grep -e $BIG
            $BIG
            $ test $(stat -c %s $TO/app/layers/{folder}/$BIG) -gt 1000000
            $ ls $TO/app/layers | grep -e $BIG
            [exit 1]
            $ rsync {way} --no-whole-file --stats from/app/layers $TO/app/ | sed -n 's/,//g; s/Matched data: \\([0-9]*\\) bytes/\\1/p' > matched
            $ test $(cat matched) -gt 1000000
            $ rsync -a from/ $TO/
            $ diff -r from $TO
            $ find $TO -name '.?*'
            $ rm -r $TO/app
            "
        ));
    }
}

#[test]
fn rsync_goes_on_with_an_upload_where_it_stopped() {
    needs!("fuse", "rsync");
    let scene = Scene::new();
    for (way, signal) in [
        ("-a --append-verify", Signal::INT),
        ("-a --append-verify", Signal::KILL),
        ("-a --append", Signal::KILL),
        ("-a --inplace", Signal::KILL),
        ("-a --partial", Signal::INT),
    ] {
        scene.interrupt(way, "uploads", signal);
        scene.session(&format!(
            "
            $ ls -A $TO/app/uploads
            big
            $ cmp -n 1000000 $TO/app/uploads/big from/app/uploads/big
            $ rsync {way} --no-whole-file --stats from/app/uploads $TO/app/ | sed -n 's/,//g; s/Literal data: \\([0-9]*\\) bytes/\\1/p' > literal
            $ test $(cat literal) -lt 7500000
            $ mv $TO/app/uploads/big $TO/app/layers/$BIG
            $ cmp from/app/layers/$BIG $TO/app/layers/$BIG
            $ rm -r $TO/app
            "
        ));
    }
}

#[test]
fn what_a_killed_rsync_leaves_goes_with_delete() {
    needs!("fuse", "rsync");
    let scene = Scene::new();
    for area in ["layers", "uploads"] {
        scene.interrupt("-a", area, Signal::KILL);
        scene.session(&format!(
            "
            $ ls -A $TO/app/{area} | grep -c '^[.].*[.]......$'
            1
            $ rsync -a from/ $TO/
            $ ls -A $TO/app/{area} | grep -c '^[.].*[.]......$'
            1
            $ rsync -ai --delete from/ $TO/ | sed 's/[.].*[.]......$/.…/'
            *deleting   app/{area}/.…
            $ diff -r from $TO
            $ find $TO -name '.?*'
            $ rsync -ai --delete from/ $TO/
            $ rm -r $TO/app
            "
        ));
    }
}
