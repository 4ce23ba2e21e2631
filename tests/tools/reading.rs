//! What reads a file, or looks at it.

use super::table::{Content, Place, Table, tool};

/// Every kind of file that can be read.
const PLACES: &[Place] = &[
    Place::new("`R/layers/D`", "r/layers/@blob").with(&[("r/layers/@blob", Content::Blob)]),
    Place::new("`R/manifests/T`", "r/manifests/one")
        .with(&[("r/manifests/one", Content::Manifest)]),
    Place::new("`R/manifests/D`", "r/manifests/@manifest")
        .with(&[("r/manifests/@manifest", Content::Manifest)]),
    Place::new("`R/uploads/NAME`", "r/uploads/name").with(&[("r/uploads/name", Content::Blob)]),
    Place::new("`R/layers/.NAME`", "r/layers/.name").with(&[("r/layers/.name", Content::Blob)]),
];

/// Headings of what is JSON.
const MANIFESTS: &[&str] = &["`R/manifests/T`", "`R/manifests/D`"];

pub(crate) static TABLE: Table = Table {
    title: "Reading a file",
    about: "What is printed is compared, too.",
    needs: &["busybox", "curl", "file", "git", "jq", "perl", "python3", "rsync", "xz", "zstd"],
    places: PLACES,
    tools: &[
        tool("cat PLACE"),
        tool("wc PLACE"),
        tool("head -c 100 PLACE"),
        tool("tail -c 100 PLACE"),
        tool("tail -n 3 PLACE"),
        tool("tail -c +100 PLACE"),
        tool("od -c PLACE | tail -n 3"),
        tool("grep -c e PLACE"),
        tool("grep -r -c e PLACE"),
        tool("sed -n '$p' PLACE"),
        tool("awk 'END { print NR }' PLACE"),
        tool("diff PLACE PLACE"),
        tool("diff PLACE FILE | wc -l"),
        tool("cmp PLACE PLACE"),
        tool("sha256sum PLACE"),
        tool("sha256sum PLACE > DISK/sums && sha256sum -c DISK/sums"),
        tool("split -b 64k PLACE DISK/part."),
        tool("cp PLACE DISK/copy"),
        tool("cp -a PLACE DISK/copy").keeps_time(),
        tool("cp --reflink=auto PLACE DISK/copy"),
        tool("cp --sparse=always PLACE DISK/copy"),
        tool("install -m 600 PLACE DISK/copy"),
        tool("ln PLACE DISK/copy"),
        tool("ln -s $PWD/PLACE DISK/copy && cmp PLACE DISK/copy && rm DISK/copy"),
        tool("dd if=PLACE of=DISK/copy bs=1000 skip=1 status=none"),
        tool("dd if=PLACE of=DISK/copy iflag=direct bs=4k status=none"),
        tool("gzip -n -c PLACE > DISK/copy"),
        tool("xz -c PLACE > DISK/copy"),
        tool("zstd -q -c PLACE > DISK/copy"),
        tool("tar -c --owner=0 --mtime=@0 -f DISK/t.tar PLACE && tar -t -f DISK/t.tar"),
        tool("tar -c -z -f DISK/t.tgz PLACE && tar -d -f DISK/t.tgz && rm DISK/t.tgz"),
        tool("curl -sS file://$PWD/PLACE"),
        tool("curl -sS -r 10-19 file://$PWD/PLACE"),
        tool("rsync PLACE DISK/copy"),
        tool("jq . PLACE").only(MANIFESTS),
        tool("jq -r .config.digest PLACE").only(MANIFESTS),
        tool("python3 -m json.tool PLACE").only(MANIFESTS),
        tool("git hash-object PLACE"),
        tool("ls PLACE"),
        tool("ls -l --time-style=full-iso PLACE"),
        tool("ls -s PLACE"),
        tool("stat -c '%F %s %a %u %g %h %y' PLACE"),
        tool("find PLACE -printf '%p %s %m %y %TY\\n'"),
        tool("du -b PLACE"),
        tool("du -k PLACE"),
        tool("file -b PLACE"),
        tool("test -r PLACE -a -f PLACE -a -s PLACE"),
        tool("python3 -c 'print(len(open(\"PLACE\", \"rb\").read()))'"),
        tool(
            "python3 -c 'import mmap; f = open(\"PLACE\", \"rb\"); m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ); print(m[:9], m[-9:])'",
        ),
        tool("python3 -c 'import shutil; shutil.copy(\"PLACE\", \"DISK/copy\")'"),
        tool("python3 -c 'import shutil; shutil.copy2(\"PLACE\", \"DISK/copy\")'").keeps_time(),
        tool(
            "python3 -c 'import os; f = os.open(\"PLACE\", 0); print(os.pread(f, 5, 9), os.lseek(f, 0, os.SEEK_END))'",
        ),
        tool("perl -ne 'END { print $. }' PLACE"),
        tool("busybox cat PLACE | cmp - PLACE"),
        tool("busybox tail -c 20 PLACE"),
        tool("busybox cp PLACE DISK/copy"),
        tool("busybox ls -l PLACE"),
    ],
};
