//! What a listing tells of each entry: its number, its kind, and that it is there at all.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use common::{Crowd, Mount, digest_of, needs, run_in, session, session_with};
use std::{fs, os::unix::fs::symlink, thread, time::Duration};

/// More tags than fit into the first reply, which tells more than the others.
const MANY: usize = 1_000;

fn with_many_tags() -> Mount {
    let mut mount = Mount::unmounted();
    let crowd = Crowd::of(mount.store());
    crowd.staying_tags("a/b", MANY);
    (0..MANY).for_each(|number| drop(crowd.layer("a/b", format!("{number}").as_bytes())));
    crowd.uploads("a/b", (0..MANY).map(|number| format!("up-{number}")));
    mount.mount(&[]);
    mount
}

#[test]
fn the_number_that_a_listing_shows_is_the_number_of_the_file() {
    needs!("fuse", "python3", "busybox");
    let mount = with_many_tags();
    session(
        &mount,
        r#"
        $ cd a/b
        $ ls -i manifests | awk '{print $1}' | sort | uniq -d
        $ ls -i1 manifests | sort -k 2 > ../../../listed
        $ cd manifests
        $ stat -c '%i %n' * | sort -k 2 > ../../../../stats; sed 's/^ *//' ../../../../listed | cmp - ../../../../stats
        $ ls -i1 ../layers ../uploads | grep -E '^ *[0-9]+ (sha256:|up-)' | wc -l
        2001
        $ [ "$(find . -inum $(stat -c %i stay-999))" = ./stay-999 ]
        $ [ "$(busybox find . -inum $(stat -c %i stay-77))" = ./stay-77 ]
        $ ls -i1 ../uploads > ../../../../one; ls -i1 ../uploads | cmp - ../../../../one
        $ rm stay-5 && ls -i1 | awk '{print $1}' | sort | uniq -d
        "#,
    );
    // What is made under an old name is something else.
    session(
        &mount,
        r#"
        $ cd a/b/manifests
        $ ls -i1 > ../../../../one; number=$(awk '$2 == "stay-8" {print $1}' ../../../../one); rm stay-8; ln stay-9 stay-8; ls -i1 | grep -c "^ *$number "
        0
        [exit 1]
        "#,
    );
}

#[test]
fn the_numbers_of_dot_and_dot_dot_are_those_of_the_folders() {
    needs!("fuse", "python3", "busybox");
    let mount = Mount::empty();
    run_in(mount.path(), "mkdir -p x/y/%layers/manifests/.staging");
    let script = r#"
import ctypes, os
libc = ctypes.CDLL(None)
def listed(path):
    folder = os.open(path, os.O_RDONLY)
    buffer = ctypes.create_string_buffer(65536)
    length, at, found = libc.getdents64(folder, buffer, 65536), 0, {}
    while at < length:
        size = int.from_bytes(buffer.raw[at + 16:at + 18], "little")
        name = buffer.raw[at + 19:at + size].split(b"\0")[0].decode()
        found[name] = int.from_bytes(buffer.raw[at:at + 8], "little")
        at += size
    return found
for path, folders, files in os.walk("."):
    found = listed(path)
    assert found["."] == os.stat(path).st_ino, path
    if path != ".":
        assert found[".."] == os.stat(path + "/..").st_ino, path
    for name in folders + files:
        assert found[name] == os.lstat(os.path.join(path, name)).st_ino, name
    print(path)
"#;
    fs::write(mount.beside().join("dots.py"), script).unwrap();
    session_with(
        &mount,
        &[("HERE", mount.path().to_str().unwrap())],
        r#"
        $ python3 ../dots.py | sort
        .
        ./x
        ./x/y
        ./x/y/%layers
        ./x/y/%layers/layers
        ./x/y/%layers/manifests
        ./x/y/%layers/manifests/.staging
        ./x/y/%layers/uploads
        $ cd x/y/%layers/manifests
        $ pwd -P; /bin/pwd -P; busybox pwd -P; python3 -c 'import os; print(os.getcwd())'
        $HERE/x/y/%layers/manifests
        $HERE/x/y/%layers/manifests
        $HERE/x/y/%layers/manifests
        $HERE/x/y/%layers/manifests
        $ ls -ia | awk '$2 == ".." {print $1}' | grep -qx $(stat -c %i ..)
        "#,
    );
}

#[test]
fn find_tells_files_from_folders_by_the_listing_alone() {
    needs!("fuse", "python3", "busybox");
    let mount = with_many_tags();
    let before = mount.metric("regfs_operations_total{operation=\"lookup\"}");
    session(
        &mount,
        "
        $ find a/b/manifests -type f | wc -l
        1000
        $ find a/b/layers -type f | wc -l
        1001
        $ find a/b -type d | sort
        a/b
        a/b/layers
        a/b/manifests
        a/b/uploads
        $ find a -noleaf -type d | wc -l; find a -type d -links 1 | wc -l
        5
        5
        $ busybox find a -type d | wc -l
        5
        ",
    );
    let lookups = mount.metric("regfs_operations_total{operation=\"lookup\"}") - before;
    // Only busybox looks at each.
    assert!(lookups < 2.0 * MANY as f64 * 3.0, "{lookups} look-ups");
}

#[test]
fn names_at_their_limits_are_listed_and_found() {
    needs!("fuse", "python3", "rsync");
    let mut mount = Mount::unmounted();
    let crowd = Crowd::of(mount.store());
    let longest_tag = format!("_{}", "T".repeat(127));
    let deep = ["a".repeat(60), "layers".to_owned(), "b".repeat(60), "c".repeat(126)].join("/");
    assert_eq!(deep.len(), 255);
    for repository in [&*deep, "one", &"d".repeat(255)] {
        let digest = crowd.manifest(repository, "x");
        crowd.tags(repository, &digest, [longest_tag.clone(), "0".to_owned(), "_".to_owned()]);
    }
    mount.mount(&[]);
    let shown = deep.replace("/layers/", "/%layers/");
    session_with(
        &mount,
        &[("DEEP", &shown), ("LONGEST", &longest_tag), ("WIDE", &"d".repeat(255))],
        "
        $ ls $DEEP/manifests $WIDE/manifests
        $DEEP/manifests:
        0
        _
        $LONGEST

        $WIDE/manifests:
        0
        _
        $LONGEST
        $ find . -name $LONGEST | wc -l
        3
        $ cmp $DEEP/manifests/$LONGEST one/manifests/0
        $ ls -d */%layers */%*/*/*/manifests | wc -l
        2
        $ mkdir $DEEP/x 2>&1 | grep -c 'Invalid argument'
        1
        $ rsync -r ./ ../copy/ && diff -r . ../copy && rm -r ../copy
        ",
    );
}

#[test]
fn an_upload_named_like_the_number_of_another_is_listed_once() {
    needs!("fuse");
    let mut mount = Mount::unmounted();
    let crowd = Crowd::of(mount.store());
    crowd.uploads("a", ["x".to_owned(), "00000000-0000-4000-8000-000000000002".to_owned()]);
    crowd.uploads("b", ["x".to_owned(), "y".to_owned(), "z".to_owned()]);
    // As another program begins one: without a name.
    let uploads = crowd.repository("b/_uploads");
    let nameless = uploads.join("00000000-0000-4000-8000-000000000002");
    fs::remove_file(nameless.join("name")).unwrap();
    let to = crowd.repository("a/_uploads").join(nameless.file_name().unwrap());
    run_in(mount.beside(), &format!("mv {} {}", nameless.display(), to.display()));
    mount.mount(&[]);
    session(
        &mount,
        "
        $ ls a/uploads
        00000000-0000-4000-8000-000000000002
        x
        $ rm a/uploads/0*; ls a/uploads
        00000000-0000-4000-8000-000000000002
        x
        $ rm a/uploads/0*; ls a/uploads
        x
        ",
    );
}

#[test]
fn a_damaged_entry_is_seen_hides_no_other_and_can_be_removed() {
    needs!("fuse");
    let mut mount = Mount::unmounted();
    let crowd = Crowd::of(mount.store());
    crowd.staying_tags("a", MANY);
    let tags = crowd.repository("a/_manifests/tags");
    // What a power cut does to links that nobody synced.
    let damage = |tag: &str, text: &str| {
        fs::create_dir_all(tags.join(tag).join("current")).unwrap();
        fs::write(tags.join(tag).join("current/link"), text).unwrap();
    };
    (0..MANY).for_each(|number| damage(&format!("empty-{number}"), ""));
    let gone = digest_of(b"gone");
    damage("dangling", &gone);
    fs::create_dir_all(tags.join("planted/current")).unwrap();
    symlink("/etc/hostname", tags.join("planted/current/link")).unwrap();
    // A docker-registry was killed over this one.
    fs::create_dir_all(tags.join("begun")).unwrap();
    mount.mount(&[]);
    // Somebody might still be writing them before.
    thread::sleep(Duration::from_secs(3));
    session_with(
        &mount,
        &[("GONE", &gone)],
        "
        $ cd a/manifests
        $ ls -l > ../../../long
        ls: cannot access 'planted': Too many levels of symbolic links
        [exit 1]
        $ grep -c stay- ../../../long; grep -c ' 0 .* empty-' ../../../long
        1000
        1000
        $ grep -c dangling ../../../long; grep -c 'planted' ../../../long; grep -c begun ../../../long
        1
        1
        1
        $ ls -f | wc -l
        2005
        $ cat empty-7
        cat: empty-7: Bad message
        [exit 1]
        $ cat dangling
        cat: dangling: Link has been severed
        [exit 1]
        $ grep dangling ../../.regfs/errors
        … a/manifests/dangling: ENOLINK: the link … leads to $GONE, and there is no such manifest; remove the tag, or put it again
        $ rm empty-* dangling begun && ls -f | grep -c -e empty -e dangling -e begun
        0
        [exit 1]
        ",
    );
}

#[test]
fn a_tag_that_outlived_its_manifest_is_put_again_or_replaced() {
    needs!("fuse");
    let mut mount = Mount::unmounted();
    let crowd = Crowd::of(mount.store());
    let good = crowd.manifest("a", "good");
    crowd.tags("a", &digest_of(b"gone"), ["1", "2", "3"].map(str::to_owned));
    mount.mount(&[]);
    session_with(
        &mount,
        &[("GOOD", &good)],
        "
        $ cd a/manifests
        $ ls
        1
        2
        3
        $ cp $GOOD ../../../good
        $ cp ../../../good 1 && cmp 1 $GOOD
        $ ln $GOOD 2
        ln: failed to create hard link '2': File exists
        [exit 1]
        $ ln -f $GOOD 2 && cmp 2 $GOOD
        $ mv 3 4
        mv: cannot move '3' to '4': Link has been severed
        [exit 1]
        $ mv 1 3 && cmp 3 $GOOD
        $ ls
        2
        3
        ",
    );
}
