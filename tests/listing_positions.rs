//! Places in a listing: telldir, seekdir and rewinddir, on every kind of disk a store may lie on.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use common::{Crowd, Disk, Mount, needs, run_in, run_within, scratch};
use std::{
    fs,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The C library's own calls, and what a program may expect of them. Each prints what it found.
const DIRECTORY: &str = r#"
import ctypes, errno, os, random, subprocess, sys, time
libc = ctypes.CDLL(None, use_errno=True)

class Entry(ctypes.Structure):
    _fields_ = [("ino", ctypes.c_uint64), ("off", ctypes.c_int64), ("reclen", ctypes.c_ushort),
                ("type", ctypes.c_ubyte), ("name", ctypes.c_char * 256)]

libc.opendir.restype = ctypes.c_void_p
libc.readdir.restype = ctypes.POINTER(Entry)
libc.readdir.argtypes = libc.rewinddir.argtypes = libc.closedir.argtypes = [ctypes.c_void_p]
libc.telldir.argtypes = [ctypes.c_void_p]
libc.telldir.restype = ctypes.c_long
libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]

class Directory:
    def __init__(self, path):
        self.stream = libc.opendir(path.encode())
        assert self.stream, path
    def read(self):
        ctypes.set_errno(0)
        entry = libc.readdir(self.stream)
        if not entry and ctypes.get_errno():
            raise OSError(ctypes.get_errno(), "readdir")
        return entry.contents.name.decode() if entry else None
    def rest(self):
        return list(iter(self.read, None))
    def tell(self):
        return libc.telldir(self.stream)
    def seek(self, place):
        libc.seekdir(self.stream, place)
    def rewind(self):
        libc.rewinddir(self.stream)

# Every name with the place before it; the last place is the end.
def places(directory):
    found = []
    while True:
        place = directory.tell()
        name = directory.read()
        found.append((place, name))
        if name is None:
            return found
"#;

/// Runs Python with [`DIRECTORY`] in a folder.
#[track_caller]
fn python(mount: &Mount, folder: &Path, text: &str) -> String {
    let file = mount.beside().join("script.py");
    fs::write(&file, format!("{DIRECTORY}{text}")).unwrap();
    run_within(Duration::from_secs(120), folder, &format!("python3 {}", file.display()))
}

/// Every place is sought in random order while tags come and go; those that stay are always where
/// they were.
fn assert_places_hold(store: &Path, count: usize) {
    Crowd::of(store).staying_tags("a", count);
    let mount = Mount::of_store(store);
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let script = format!(
        r#"
random.seed({seed})
for number in range(50):
    os.link("stay-0", f"move-{{number}}")
directory = Directory(".")
found = places(directory)
names = [name for _, name in found]
assert len(set(names)) == len(names) == {count} + 50 + 3, (len(names), len(set(names)))
assert len(set(place for place, _ in found)) == len(found), "places that are the same"
assert all(place >= 0 for place, _ in found)

# In random order, first with nobody about, then while others come and go.
for place, name in random.sample(found, 200):
    directory.seek(place)
    assert directory.tell() == place
    assert directory.read() == name, (place, name, {seed})
for number, (place, name) in enumerate(random.sample(found, 200)):
    if number < 50:
        os.unlink(f"move-{{number}}")
    os.link("stay-1", f"come-{{number}}")
    directory.seek(place)
    if name and not name.startswith("move"):
        read = directory.read()
        while read and read.startswith("come"):
            read = directory.read()
        assert read == name, (place, name, read, {seed})

# From a place to the end, everything that was behind it and stays, once.
for place, name in random.sample(found, 3):
    directory.seek(place)
    rest = [name for name in directory.rest() if name.startswith("stay")]
    behind = names[[place for place, _ in found].index(place):]
    assert sorted(rest) == sorted(name for name in behind if name and name.startswith("stay"))

directory.rewind()
new = directory.rest()
assert sorted(new) == sorted(os.listdir() + [".", ".."])
assert "come-7" in new and "move-7" not in new
print("all places hold")
"#
    );
    let printed = python(&mount, &mount.path().join("a/manifests"), &script);
    assert_eq!(printed, "all places hold\n");
}

#[test]
fn every_place_in_a_folder_can_be_sought() {
    needs!("fuse", "python3");
    let folder = scratch();
    assert_places_hold(folder.path(), 2_500);
}

/// Their places are offsets in memory, hashes of 63 bits, places in a tree and running numbers.
#[test]
fn places_hold_whatever_the_store_lies_on() {
    needs!("fuse", "root", "loop", "python3", "mkfs.ext4", "mkfs.xfs", "mkfs.btrfs");
    for kind in ["tmpfs", "ext4", "xfs", "btrfs"] {
        eprintln!("{kind}");
        let disk = Disk::new(kind);
        assert_places_hold(&disk.store(), 5_000);
    }
}

#[test]
fn a_folder_is_read_anew_after_rewinddir() {
    needs!("fuse", "python3");
    let mount = Mount::empty();
    let digest = mount.push_layer("a", b"{}");
    let script = format!(
        r#"
def look(path, make):
    directory = Directory(path)
    before = directory.rest()
    make()
    assert directory.read() is None
    directory.rewind()
    after = directory.rest()
    print(path, sorted(set(after) - set(before)), sorted(set(before) - set(after)))

look("a/uploads", lambda: open("a/uploads/new", "w").close())
look("a/layers", lambda: open("a/layers/.new", "w").close())
look("a/layers", lambda: os.mkdir("a/layers/.folder"))
look("a/layers/.folder", lambda: open("a/layers/.folder/file", "w").close())
look("a/layers", lambda: os.unlink("a/layers/{digest}"))
look("a/uploads", lambda: os.unlink("a/uploads/new"))
look("a", lambda: os.mkdir("a/b"))
look(".", lambda: os.mkdir("c"))
"#
    );
    let printed = python(&mount, mount.path(), &script);
    let expected = format!(
        "a/uploads ['new'] []
a/layers ['.new'] []
a/layers ['.folder'] []
a/layers/.folder ['file'] []
a/layers [] ['{digest}']
a/uploads [] ['new']
a ['b'] []
. ['c'] []
"
    );
    assert_eq!(printed, expected);
}

/// A second name for content makes a listing of two parts.
#[test]
fn places_hold_in_a_folder_of_layers_with_long_digests() {
    needs!("fuse", "python3");
    let mount = Mount::empty();
    let script = r#"
import hashlib
os.makedirs("a")
for number in range(300):
    content = b"%d" % number
    for kind in ["sha256", "sha512"]:
        name = kind + ":" + hashlib.new(kind, content).hexdigest()
        with open("a/layers/" + name, "wb") as file:
            file.write(content)
for number in range(5):
    open(f"a/layers/.{number}", "w").close()
directory = Directory("a/layers")
for times in range(3):
    directory.rewind()
    found = places(directory)
    names = [name for _, name in found]
    assert len(set(names)) == len(names) == 608, len(names)
    for place, name in random.sample(found, 300):
        directory.seek(place)
        assert directory.read() == name
print("all places hold")
"#;
    assert_eq!(python(&mount, mount.path(), script), "all places hold\n");
}

#[test]
fn a_place_that_was_never_given_out_is_refused_and_nothing_is_lost() {
    needs!("fuse", "python3");
    let mount = Mount::empty();
    mount.push_layer("a", b"{}");
    let script = r#"
directory = Directory("a/layers")
directory.read()
place = directory.tell()
directory.seek(5000)
try:
    print(directory.rest())
except OSError as error:
    print(errno.errorcode[error.errno])
directory.seek(place)
print(len(directory.rest()))
"#;
    assert_eq!(python(&mount, mount.path(), script), "EINVAL\n2\n");
    mount.assert_error(&["readdir", "a/layers", "EINVAL", "list the folder from its beginning"]);
}

#[test]
fn a_folder_that_is_removed_while_it_is_listed_just_ends() {
    needs!("fuse", "python3");
    let mount = Mount::empty();
    mount.push_layer("other", b"{}");
    Crowd::of(mount.store()).staying_tags("a", 1_000);
    Crowd::of(mount.store()).staying_tags("b", 1_000);
    let repository = mount.store().join("docker/registry/v2/repositories/b");
    let script = format!(
        r#"
def remove_here():
    subprocess.run(["rm", "-r", "a"], check=True)
def remove_in_the_store():
    subprocess.run(["rm", "-r", "{}"], check=True)

for path, remove in [("a", remove_here), ("b", remove_in_the_store)]:
    folders = [Directory(path), Directory(path + "/manifests"), Directory(path + "/layers")]
    for folder in folders:
        folder.read()
    remove()
    for folder in folders:
        try:
            folder.rest()
            folder.rewind()
            left = set(folder.rest()) - {{".", "..", "layers", "manifests", "uploads"}}
            assert not left, left
        except OSError as error:
            # As on any disk: the folder is no more.
            assert error.errno in [errno.ENOENT, errno.ESTALE], error
    # The kernel may believe in what another process removed for half a second.
    time.sleep(1)
    print(path, os.path.exists(path))
"#,
        repository.display()
    );
    assert_eq!(python(&mount, mount.path(), &script), "a False\nb False\n");
    assert_eq!(run_in(mount.path(), "ls"), "other\n");
}

/// A repository always has its three folders: one that was removed is there again.
#[test]
fn an_area_that_is_removed_while_somebody_stands_in_it_is_there_again() {
    needs!("fuse", "python3");
    let mount = Mount::empty();
    mount.push_layer("a", b"{}");
    let script = r#"
old = os.open("a/uploads", os.O_RDONLY)
os.rmdir("a/uploads")
print(os.listdir(old), os.listdir("a/uploads"))
open("a/uploads/new", "w").close()
print(os.listdir("a/uploads"), sorted(os.listdir("a")))
"#;
    let printed = python(&mount, mount.path(), script);
    assert_eq!(printed, "[] []\n['new'] ['layers', 'manifests', 'uploads']\n");
}
