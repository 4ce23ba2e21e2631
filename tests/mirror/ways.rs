//! Every way to call rsync, in every direction: the trees are equal afterwards, with their attributes;
//! the same call again transfers nothing; and so it is the day after, when things have changed.

use crate::common::{self, Mount, needs, run_within, scratch};
use crate::daemon::Daemon;
use crate::source::{PATIENCE, Same, assert_equal, write_after, write_before};
use std::path::Path;

/// The ways. Each also brings what changed, `--delete-after` added where it does not delete.
const WAYS: &[&str] = &[
    "-a",
    "-aH",
    "-aX",
    "-aX --filter='-x user.regfs.*'",
    "-aAXH --numeric-ids",
    "-a --inplace",
    "-a --partial",
    "-a --partial-dir=.rsync-partial",
    "-a --delay-updates",
    "-a --checksum",
    "-a --delete",
    "-a --delete-before",
    "-a --delete-during",
    "-a --delete-delay",
    "-a --fsync",
    "-a --preallocate",
    "-a -S",
    "-a -S --inplace",
    "-a -S --preallocate",
    "-a --whole-file",
    "-a --no-whole-file",
    "-a --no-whole-file --inplace",
    "-a -z",
    "-a --omit-dir-times",
    "-a --update",
];

/// From where to where.
struct Direction<'a> {
    /// The registry before, as rsync is told and as a folder.
    before: (&'a str, &'a Path),
    after: (&'a str, &'a Path),
    to: (&'a str, &'a Path),
}

impl Direction<'_> {
    /// Mirrors in every way, each time into an empty folder.
    fn try_all(&self) {
        for way in WAYS {
            let same =
                Same { folder_times: !way.contains("omit-dir-times"), extended: way.contains('X') };
            self.mirror(way, self.before, same);
            let deleting = if way.contains("--delete") { "" } else { " --delete-after" };
            self.mirror(&format!("{way}{deleting}"), self.after, same);
            run_within(PATIENCE, self.to.1, "rm -r -- *");
        }
    }

    fn mirror(&self, way: &str, from: (&str, &Path), same: Same) {
        let rsync = format!("rsync {way} {} {}", from.0, self.to.0);
        run_within(PATIENCE, Path::new("/"), &rsync);
        assert_equal(&rsync, from.1, self.to.1, same);
        let again = rsync.replacen("rsync", "rsync -i --stats", 1);
        assert_transfers_nothing(&again, &run_within(PATIENCE, Path::new("/"), &again));
    }
}

/// Fails if a run of `rsync -i --stats` had anything to do. But what is a hard link in the source is
/// linked again each time, since the mount does not show that two names have one content; and with -X
/// rsync goes on to see that the mount tells the digests, and the disk does not.
#[track_caller]
fn assert_transfers_nothing(what: &str, text: &str) {
    let is_push = what.ends_with("/registry/");
    // The other side of a push does not know the filter.
    let sees_digests = what.contains('X') && (is_push || !what.contains("-x user"));
    let done = text.lines().take_while(|line| !line.starts_with("Number of files"));
    let done: Vec<_> = done
        .filter(|line| !line.is_empty() && !line.starts_with("hf  "))
        .filter(|line| !line.contains("f........x ") || !sees_digests)
        .collect();
    assert!(done.is_empty(), "{what}: {done:?}");
    assert!(text.contains("\nNumber of regular files transferred: 0\n"), "{what}: {text}");
    assert!(text.contains("\nLiteral data: 0 bytes\n"), "{what}: {text}");
}

fn address(folder: &Path) -> String {
    format!("{}/", folder.display())
}

/// The registry before and after, as files on a disk.
fn on_disk() -> tempfile::TempDir {
    let folder = scratch();
    write_before(&folder.path().join("before"));
    write_after(&folder.path().join("before"), &folder.path().join("after"));
    folder
}

/// The same in a mount.
fn in_mount() -> Mount {
    let (disk, mount) = (on_disk(), Mount::empty());
    for state in ["before", "after"] {
        let rsync = format!("rsync -aX {state} {}", mount.path().display());
        run_within(PATIENCE, disk.path(), &rsync);
        let same = Same { folder_times: true, extended: true };
        assert_equal(&rsync, &disk.path().join(state), &mount.path().join(state), same);
    }
    mount
}

/// Tries all ways between two folders.
fn mirror(from: &Path, to: &Path) {
    let (before, after) = (from.join("before"), from.join("after"));
    Direction {
        before: (&address(&before), &before),
        after: (&address(&after), &after),
        to: (&address(to), to),
    }
    .try_all();
}

macro_rules! needs_rsync {
    () => {
        needs!("fuse", "root", "rsync", "umoci", "busybox", "jq", "getfattr")
    };
}

#[test]
fn rsync_goes_from_a_disk_to_a_mount_in_every_way() {
    needs_rsync!();
    mirror(on_disk().path(), Mount::empty().path());
}

#[test]
fn rsync_goes_from_a_mount_to_a_disk_in_every_way() {
    needs_rsync!();
    mirror(in_mount().path(), scratch().path());
}

#[test]
fn rsync_goes_from_a_mount_to_a_mount_in_every_way() {
    needs_rsync!();
    mirror(in_mount().path(), Mount::empty().path());
}

#[test]
fn rsync_goes_from_one_place_in_a_mount_to_another_in_every_way() {
    needs_rsync!();
    let mount = in_mount();
    let to = mount.path().join("copy");
    std::fs::create_dir(&to).unwrap();
    mirror(mount.path(), &to);
}

#[test]
fn rsync_pushes_to_a_daemon_in_every_way() {
    needs_rsync!();
    let (disk, mount) = (on_disk(), Mount::empty());
    let (before, after) = (disk.path().join("before"), disk.path().join("after"));
    let daemon = Daemon::serve(mount.path());
    Direction {
        before: (&address(&before), &before),
        after: (&address(&after), &after),
        to: (&daemon.address(), mount.path()),
    }
    .try_all();
}

#[test]
fn rsync_pulls_from_a_daemon_in_every_way() {
    needs_rsync!();
    let (from, to) = (in_mount(), Mount::empty());
    let (before, after) = (from.path().join("before"), from.path().join("after"));
    let daemon = Daemon::serve(from.path());
    Direction {
        before: (&format!("{}before/", daemon.address()), &before),
        after: (&format!("{}after/", daemon.address()), &after),
        to: (&address(to.path()), to.path()),
    }
    .try_all();
}
