//! A registry that changes is mirrored by an rsync that is killed at random points, again and again,
//! and by a mount whose daemon is. Nothing wrong is ever to be seen in the mirror; it ends equal, and
//! then there is nothing left to do.
//!
//! 100 kills, or as many as REGFS_KILLS says. What is drawn follows from a seed, which a failure
//! shows; REGFS_KILLS_SEED draws the same again, though not to the microsecond.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[path = "mirror_kills/checks.rs"]
mod checks;
mod common;
#[path = "mirror/daemon.rs"]
mod daemon;
#[path = "mirror_kills/moving_source.rs"]
mod moving_source;

use checks::Mirror;
use common::{
    Background, Mount, effort, eventually, group_is_running, needs, reliability_row, run_within,
    scratch, session_with,
};
use daemon::Daemon;
use moving_source::{MovingSource, Random};
use rustix::process::{Pid, Signal, kill_process_group};
use std::{
    fs::File,
    io::{Read as _, Seek as _},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// How many kills it takes, unless REGFS_KILLS says otherwise.
const KILLS_DEFAULT: u64 = 100;
/// Each so many kills, the mount's daemon is killed and not rsync.
const DAEMON_KILL_EVERY: u64 = 8;
/// How long to wait between two looks at the tags while rsync runs.
const LOOK_PAUSE: Duration = Duration::from_millis(20);
/// Much longer than one rsync takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// How the mirror is made. FROM and TO are folders, PULL and PUSH the same by an rsync daemon.
const WAYS: &[&str] = &[
    "rsync -a $FROM/ $TO/",
    // A layer that is whole, and whose time a killed rsync did not get to set, is left alone by this.
    "rsync -a --inplace --checksum --no-whole-file $FROM/ $TO/",
    "rsync -a --partial $PULL $TO/",
    "rsync -a --partial-dir=.rsync-partial --no-whole-file $FROM/ $TO/",
    "rsync -a --delay-updates $FROM/ $TO/",
    "rsync -a $FROM/ $PUSH",
    "rsync -a --append-verify --exclude manifests $FROM/ $TO/ && rsync -a $FROM/ $TO/",
    // First what is new comes and tags go, then the layers that no tag needs any more.
    "rsync -a --delete-after --filter='protect layers/sha256:*' $FROM/ $TO/ && rsync -a --delete-after $FROM/ $TO/",
];

/// A shell that runs rsync, with what it prints. The processes are a group of their own.
struct Run {
    shell: Background,
    output: File,
}

impl Run {
    fn start(command: &str, variables: &[(&str, String)]) -> Self {
        let output = tempfile::tempfile_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut shell = Command::new("sh");
        shell
            .args(["-c", command])
            .envs(variables.iter().cloned())
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output.try_clone().unwrap())
            .process_group(0);
        Self { shell: Background::start(&mut shell), output }
    }

    /// How it ended, if it has.
    fn ended(&mut self) -> Option<ExitStatus> {
        self.shell.0.try_wait().unwrap()
    }

    /// Kills every process of it, and waits until none is left.
    fn kill(&mut self) {
        kill_group(self.shell.0.id());
        self.shell.0.wait().unwrap();
    }

    fn text(&mut self) -> String {
        let mut text = String::new();
        self.output.rewind().unwrap();
        self.output.read_to_string(&mut text).unwrap();
        text
    }
}

fn kill_group(leader: u32) {
    let group = Pid::from_raw(i32::try_from(leader).unwrap()).unwrap();
    kill_process_group(group, Signal::KILL).ok();
    eventually(PATIENCE, "the killed processes are gone", || !group_is_running(leader));
}

/// What is killed, and how often it was.
struct Scene {
    source: MovingSource,
    mount: Mount,
    from_daemon: Daemon,
    random: Random,
    kills: u64,
    daemon_kills: u64,
}

impl Scene {
    /// Mirrors in one way until that succeeds, killed at random points before.
    fn mirror(&mut self, way: &str, kills_max: u64, usual: &mut Duration) {
        eprintln!("{way}");
        // What was copied before a kill need not be copied again: together, all runs take as long as
        // one that is not killed.
        let mut spent = Duration::ZERO;
        loop {
            let to_daemon = way.contains("$PUSH").then(|| Daemon::serve(self.mount.path()));
            let variables = [
                ("FROM", self.source.folder().display().to_string()),
                ("TO", self.mount.path().display().to_string()),
                ("PULL", self.from_daemon.address()),
                ("PUSH", to_daemon.as_ref().map_or_else(String::new, Daemon::address)),
            ];
            let start = Instant::now();
            let mut run = Run::start(way, &variables);
            let until = match self.kills < kills_max {
                true => start + usual.mul_f64(self.random.fraction()),
                false => start + PATIENCE,
            };
            while Instant::now() < until && run.ended().is_none() {
                self.look().tags();
                thread::sleep(LOOK_PAUSE);
            }
            spent += start.elapsed();
            if let Some(status) = run.ended() {
                assert!(status.success(), "{way}: {status}\n{}", run.text());
                *usual = (*usual + spent) / 2;
                self.look().everything();
                return;
            }
            assert!(Instant::now() < start + PATIENCE, "{way} does not end\n{}", run.text());
            self.kill(&mut run, to_daemon);
            self.look().everything();
        }
    }

    /// Kills rsync, or the daemon that serves the mount and then rsync.
    fn kill(&mut self, run: &mut Run, to_daemon: Option<Daemon>) {
        self.kills += 1;
        if self.kills.is_multiple_of(DAEMON_KILL_EVERY) {
            self.mount.kill_daemon();
            self.daemon_kills += 1;
        }
        run.kill();
        if let Some(daemon) = to_daemon {
            daemon.kill();
        }
        if self.kills.is_multiple_of(DAEMON_KILL_EVERY) {
            self.mount.mount(&[]);
        }
    }

    fn look(&self) -> Mirror<'_> {
        Mirror { mount: &self.mount, source: &self.source }
    }
}

#[test]
fn a_mirror_is_right_however_often_rsync_is_killed() {
    needs!("fuse", "root", "rsync");
    let kills_max = effort("REGFS_KILLS", KILLS_DEFAULT);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let seed = effort("REGFS_KILLS_SEED", now);
    eprintln!("REGFS_KILLS_SEED={seed}");
    let disk = scratch();
    let source = MovingSource::write(&disk.path().join("source"), Random::new(seed));
    let from_daemon = Daemon::serve(source.folder());
    let (mount, random) = (Mount::empty(), Random::new(seed + 1));
    let mut scene = Scene { source, mount, from_daemon, random, kills: 0, daemon_kills: 0 };
    let mut usual = Duration::from_secs(1);
    let mut leftovers = 0;
    for way in WAYS.iter().cycle() {
        scene.mirror(way, kills_max, &mut usual);
        leftovers += count_hidden(scene.mount.path());
        if scene.kills >= kills_max {
            break;
        }
        scene.source.change();
    }
    eprintln!("{} kills, {} of them of the mount's daemon", scene.kills, scene.daemon_kills);
    assert!(scene.daemon_kills > 0 || kills_max < DAEMON_KILL_EVERY);
    assert!(leftovers > 0 || kills_max < KILLS_DEFAULT, "no temporary file was ever left");
    let (from, to) = (scene.source.folder(), scene.mount.path());
    session_with(
        disk.path(),
        &[("FROM", from.to_str().unwrap()), ("TO", to.to_str().unwrap())],
        "
        $ rsync -a --delete-after $FROM/ $TO/
        $ diff -r $FROM $TO
        $ find $TO -name '.?*'
        $ rsync -ai --delete-after $FROM/ $TO/
        $ rsync -a --stats $FROM/ $TO/ | grep 'files transferred'
        Number of regular files transferred: 0
        ",
    );
    scene.look().everything();
    scene.mount.remount();
    scene.look().everything();
    reliability_row(
        "SIGKILL of rsync, or of the daemon that it mirrors into",
        scene.kills,
        "nothing wrong was ever visible, and the mirror ended equal",
        "REGFS_KILLS=240 cargo test --release --test mirror_kills",
    );
}

/// How many hidden files there are: what killed rsyncs have left.
fn count_hidden(folder: &Path) -> usize {
    run_within(PATIENCE, folder, "find . -name '.?*'").lines().count()
}
