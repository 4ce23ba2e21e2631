//! The tar reader beside the archivers that people use: GNU tar, bsdtar and Python's tarfile write
//! archives of one tree in each of their formats, and both the reader and tarfile must find the same
//! files in them.
//!
//! They differ where the registry of 2015 read otherwise than is usual today, and `listed` says
//! where: tarfile takes the slash off a folder's name, applies a global header instead of listing it,
//! rounds times down, and tells a folder of the oldest format by its slash.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use common::{needs, run, run_in};
use regfs::model::{
    Digest,
    tar::{self, Entry, Event, Reader},
};
use std::{fmt::Write as _, fs, path::Path, process::Command};
use tempfile::TempDir;

/// Prints what tarfile finds in an archive, a line for each file.
const LIST: &str = r#"
import hashlib, math, os, sys, tarfile
def hex(text):
    return os.fsencode(text).hex() or "-"
with tarfile.open(sys.argv[1], "r:", encoding="utf-8", errors="surrogateescape") as archive:
    for member in archive:
        body = archive.extractfile(member).read() if member.isreg() else b""
        print("folder" if member.isdir() else "file" if member.isreg() else member.type.decode(),
            member.size, oct(member.mode), member.uid, member.gid, math.floor(member.mtime),
            hex(member.name), hex(member.linkname), hex(member.uname), hex(member.gname),
            hashlib.sha256(body).hexdigest())
"#;

/// Writes a tree with tarfile, in the format that is named.
const WRITE: &str = r#"
import sys, tarfile
formats = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
with tarfile.open(sys.argv[2], "w", format=formats[sys.argv[1]], pax_headers={"comment": "global"}) as out:
    out.add(".")
    for name, uid, mtime in [("far", 3000000000, 8589934592.5), ("before", 5, -1.5 if sys.argv[1] == "pax" else 0)]:
        if sys.argv[1] == "ustar":
            uid, mtime = 7, 1
        member = tarfile.TarInfo(name)
        member.uid, member.mtime, member.uname, member.gname = uid, mtime, "Ärger", "g" * 31
        out.addfile(member)
"#;

/// What the reader finds, as `LIST` prints it.
fn listed(archive: &[u8]) -> Vec<String> {
    let (mut reader, mut files) = (Reader::new(), Vec::<(Box<Entry>, Vec<u8>)>::new());
    for mut piece in archive.chunks(10_007) {
        while let Some(event) = reader.next(&mut piece).unwrap() {
            match event {
                Event::Entry(entry) => files.push((entry, Vec::new())),
                Event::Body(bytes) => files.last_mut().unwrap().1.extend_from_slice(bytes),
                Event::Hole(length) => {
                    let body = &mut files.last_mut().unwrap().1;
                    body.resize(body.len() + usize::try_from(length).unwrap(), 0);
                }
                Event::End => {}
            }
        }
    }
    reader.finish().unwrap();
    // A global header was a file in 2015; tarfile applies it to others.
    files.retain(|(entry, _)| entry.typeflag() != b'g');
    files.iter().map(|(entry, body)| line(entry, body)).collect()
}

fn line(entry: &Entry, body: &[u8]) -> String {
    let hex = |text: &[u8]| {
        let digits = text.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        if digits.is_empty() { "-".to_owned() } else { digits }
    };
    // In the oldest format, a folder is a file with a slash at the end.
    let is_old_folder = entry.typeflag() == 0 && entry.name.ends_with(b"/");
    let (kind, body) = match entry.typeflag() {
        b'5' => ("folder".to_owned(), &[][..]),
        _ if is_old_folder => ("folder".to_owned(), &[][..]),
        0 | b'0' | b'7' | b'S' => ("file".to_owned(), body),
        other => (char::from(other).to_string(), &[][..]),
    };
    // tarfile keeps fractions, and rounds them down here; in 2015 they were cut off.
    let is_below_zero = |mtime: &[u8]| mtime.starts_with(b"-") && mtime.contains(&b'.');
    let pax_mtime = entry.pax.as_ref().and_then(|pax| pax.get(b"mtime"));
    let mtime = entry.mtime - i64::from(pax_mtime.is_some_and(is_below_zero));
    let name = entry.name.strip_suffix(b"/").unwrap_or(&entry.name);
    format!(
        "{kind} {} 0o{:o} {} {} {mtime} {} {} {} {} {}",
        entry.size,
        entry.mode,
        entry.uid,
        entry.gid,
        hex(name),
        hex(&entry.linkname),
        hex(&entry.uname),
        hex(&entry.gname),
        Digest::sha256(body).hex()
    )
}

/// Both list `archive` alike. Gives the number of files in it.
#[track_caller]
fn compare(archive: &Path) -> usize {
    let theirs = run(Command::new("python3").args(["-c", LIST]).arg(archive));
    let theirs: Vec<&str> = theirs.lines().collect();
    let ours = listed(&fs::read(archive).unwrap());
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs, "{}", archive.display());
    }
    assert_eq!(ours.len(), theirs.len(), "{}", archive.display());
    ours.len()
}

/// A tree with some of everything; `has_all`: also what the oldest formats cannot name.
fn tree(has_all: bool) -> TempDir {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut script = "
        mkdir -p a/b empty
        : > nothing
        printf hello > a/hello
        for size in 1 511 512 513 1023 1024 1025 10239 10240 65536 100001; do
            head -c $size /dev/urandom > a/b/$size
        done
        chmod 4755 a/hello; chmod 1777 empty; chmod 600 nothing
        ln a/hello a/b/hard
        ln -s ../a/hello a/b/soft
        mkdir holes
        truncate -s 1M holes/all
        printf data > holes/begin; truncate -s 300K holes/begin
        truncate -s 300K holes/end; printf data >> holes/end
        touch -d @0 nothing; touch -d @1424116800.25 a/hello
        for at in 1 3 4 9 12 13 20 21 30 31 40 50 60 70 80 90 100 110 120 130 140 150 160 170 180; do
            printf %s $at | dd of=holes/many bs=8k seek=$at conv=notrunc status=none
        done
        "
    .to_owned();
    if has_all {
        let name = |letter: &str, length: usize| letter.repeat(length);
        let deep = [name("d", 90), name("e", 90), name("f", 60)].join("/");
        write!(
            script,
            "
            printf x > {}; printf x > {}; printf x > {}
            mkfifo pipe; touch -d @8589934592 a/b/1
            mkdir -p {deep}/{}; printf deep > {deep}/file
            ln -s /{}/{}/target long-target
            printf x > 'Ärger mit Umlauten'; printf x > \"$(printf 'no\\377utf8')\"
            printf x > 'new
line'
            ",
            name("x", 99),
            name("y", 100),
            name("z", 101),
            name("g", 200),
            name("t", 90),
            name("u", 90),
        )
        .unwrap();
    }
    run_in(folder.path(), &script);
    folder
}

/// Archives the tree with a command for each word of `formats`, and compares.
fn archive_and_compare(formats: &[&str], has_all: bool, command: &str) {
    let tree = tree(has_all);
    let out = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    for (index, format) in formats.iter().enumerate() {
        let archive = out.path().join(format!("{index}.tar"));
        let command =
            command.replace("FORMAT", format).replace("ARCHIVE", archive.to_str().unwrap());
        run_in(tree.path(), &command);
        // A name with a newline would count twice.
        let there = run_in(tree.path(), "find . -printf x").len();
        if format.contains("--sparse") {
            let entries = tar::entries(&fs::read(&archive).unwrap()).unwrap();
            let pieces = entries.iter().filter_map(|entry| entry.extents.as_ref());
            let most = pieces.map(|pieces| pieces.len()).max();
            assert!(most >= Some(25), "{format}: no file was written as a sparse one");
        }
        assert!(compare(&archive) >= there, "{format}: of {there} files some are missing");
    }
}

#[test]
fn archives_of_gnu_tar_are_read_as_tarfile_reads_them() {
    needs!("python3", "tar");
    let formats = [
        "gnu",
        "posix",
        "gnu --sparse",
        "oldgnu --sparse",
        "posix --sparse --sparse-version=0.0",
        "posix --sparse --sparse-version=0.1",
        "posix --sparse --sparse-version=1.0",
        "gnu --owner=far:3000000000 --group=+4000000000 --mtime=@-5",
        "posix --owner=far:3000000000 --group=+4000000000 --mtime=@-5.25",
    ];
    archive_and_compare(&formats, true, "tar --create --format=FORMAT --file=ARCHIVE .");
    let formats = ["ustar", "v7"];
    archive_and_compare(&formats, false, "tar --create --format=FORMAT --file=ARCHIVE .");
}

#[test]
fn archives_of_bsdtar_are_read_as_tarfile_reads_them() {
    needs!("python3", "bsdtar");
    let command = "bsdtar --create --format=FORMAT --file=ARCHIVE .";
    archive_and_compare(&["pax", "gnutar"], true, command);
    archive_and_compare(&["ustar", "v7"], false, command);
}

#[test]
fn archives_of_tarfile_are_read_as_it_reads_them() {
    needs!("python3");
    let write = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    fs::write(write.path(), WRITE).unwrap();
    let command = format!("python3 {} FORMAT ARCHIVE", write.path().display());
    archive_and_compare(&["gnu", "pax"], true, &command);
    archive_and_compare(&["ustar"], false, &command);
}
