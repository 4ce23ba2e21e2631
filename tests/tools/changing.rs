//! What changes a file that is there, or its attributes.

use super::table::{Content, Place, Table, tool};

/// Every kind of file that can be there.
const PLACES: &[Place] = &[
    Place::new("`R/uploads/NAME`", "r/uploads/name").with(&[("r/uploads/name", Content::Blob)]),
    Place::new("`R/layers/.NAME`", "r/layers/.name").with(&[("r/layers/.name", Content::Blob)]),
    Place::new("`R/layers/D`", "r/layers/@blob").with(&[("r/layers/@blob", Content::Blob)]),
    Place::new("`R/manifests/T`", "r/manifests/one")
        .file(Content::OtherManifest)
        .with(&[("r/manifests/one", Content::Manifest)]),
    Place::new("`R/manifests/D`", "r/manifests/@manifest")
        .file(Content::OtherManifest)
        .with(&[("r/manifests/@manifest", Content::Manifest)]),
    Place::new("`R/manifests/.NAME`", "r/manifests/.name")
        .file(Content::OtherManifest)
        .with(&[("r/manifests/.name", Content::Manifest)]),
];

pub(crate) static TABLE: Table = Table {
    title: "Changing a file",
    about: "A manifest has a line `\"colour\": \"one\"`, which may be changed: it is another manifest \
            then, under the same tag.",
    needs: &["busybox", "perl", "python3", "setfacl", "setfattr", "vim"],
    places: PLACES,
    tools: &[
        tool("echo >> PLACE"),
        tool("echo more >> PLACE"),
        tool("cat FILE >> PLACE"),
        tool("tee -a PLACE < FILE > /dev/null"),
        tool("dd if=FILE of=PLACE conv=notrunc status=none"),
        tool("dd if=FILE of=PLACE oflag=append conv=notrunc status=none"),
        tool("dd if=FILE of=PLACE bs=1 count=3 seek=5 conv=notrunc status=none"),
        tool("dd if=/dev/null of=PLACE status=none"),
        tool(": > PLACE"),
        tool("truncate -s 0 PLACE"),
        tool("truncate -s 10 PLACE"),
        tool("truncate -s +10 PLACE"),
        tool("truncate -r PLACE PLACE"),
        tool("fallocate -l 1M PLACE"),
        tool("fallocate -n -l 1M PLACE"),
        tool("fallocate -p -o 0 -l 4096 PLACE"),
        tool("fallocate -d PLACE"),
        tool("touch PLACE"),
        tool("touch -c PLACE"),
        tool("touch -d 2003-04-05T06:07:08.123456789 PLACE").keeps_time(),
        tool("touch -r FILE PLACE").keeps_time(),
        tool("chmod 600 PLACE"),
        tool("chmod a+w PLACE"),
        tool("chown 1:1 PLACE && stat -c %u:%g PLACE"),
        tool("chgrp 1 PLACE && stat -c %g PLACE"),
        tool("setfattr -n user.note -v text PLACE && getfattr --only-values -n user.note PLACE"),
        tool("setfacl -m u:1:r PLACE"),
        tool("sed -i 's/\"one\"/\"two\"/' PLACE"),
        tool("sed -i '1s/.//' PLACE"),
        tool("sed -i.old 's/\"one\"/\"two\"/' PLACE"),
        tool("busybox sed -i 's/\"one\"/\"two\"/' PLACE"),
        tool("perl -pi -e 's/\"one\"/\"two\"/' PLACE"),
        tool("HOME=DISK vim -es -u NONE -c '%s/\"one\"/\"two\"/e' -c wq PLACE"),
        tool("vim -es -u NONE -c 'set nowritebackup' -c '1s/.//' -c wq PLACE"),
        tool(
            "HOME=DISK vim -es -u NONE -c 'set backupcopy=no' -c '%s/\"one\"/\"two\"/e' -c wq PLACE",
        ),
        tool(
            "HOME=DISK vim -es -u NONE -c 'set nowritebackup' -c '%s/\"one\"/\"two\"/e' -c wq PLACE",
        ),
        tool("sort -o PLACE PLACE"),
        tool("sort -r -o PLACE PLACE"),
        tool("shred -x -n 1 --random-source=/dev/zero PLACE"),
        tool("gzip -n PLACE"),
        tool("flock PLACE true"),
        tool(
            "python3 -c 'f = open(\"PLACE\", \"r+b\"); f.seek(-2, 2); f.write(b\" }\"); f.close()'",
        ),
        tool("python3 -c 'f = open(\"PLACE\", \"ab\"); f.write(b\" \"); f.close()'"),
        tool("python3 -c 'import os; os.truncate(\"PLACE\", 10)'"),
        tool(
            "python3 -c 'import mmap; f = open(\"PLACE\", \"r+b\"); m = mmap.mmap(f.fileno(), 0); m[-1:] = b\" \"; m.close(); f.close()'",
        ),
        tool("sh -c 'exec 3<> PLACE; cat <&3; echo >&3'"),
    ],
};
