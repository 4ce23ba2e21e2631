//! What makes a new name, or removes one.

use super::table::{Content, Place, Table, tool};

/// Names that are new.
const NEW: &[Place] = &[
    Place::new("`R/uploads/NAME`", "r/uploads/name"),
    Place::new("`R/layers/D`", "r/layers/@blob"),
    Place::new("`R/layers/.NAME`", "r/layers/.name"),
    Place::new("`R/layers/NAME`", "r/layers/name"),
    Place::new("`R/manifests/T`", "r/manifests/one").file(Content::Manifest),
    Place::new("`R/manifests/.NAME`", "r/manifests/.name").file(Content::Manifest),
    Place::new("`R/manifests/+NAME`", "r/manifests/+name").file(Content::Manifest),
    Place::new("`R/NAME`", "r/name"),
    Place::new("`R/NAME~`", "r/name~"),
    Place::new("`NAME`", "name"),
];

pub(crate) static MAKING_TABLE: Table = Table {
    title: "Making a new name",
    about: "A layer is named by a digest, a manifest by a tag or digest, a repository in lower case; \
            names with a dot before them are for staging.",
    needs: &["python3", "busybox"],
    places: NEW,
    tools: &[
        tool("touch PLACE"),
        tool("touch -c PLACE"),
        tool("touch -d 2003-04-05 PLACE"),
        tool(": > PLACE"),
        tool("truncate -s 0 PLACE"),
        tool("truncate -s 10 PLACE"),
        tool("fallocate -l 10 PLACE"),
        tool("cp FILE PLACE"),
        tool("cp FILE PLACE/"),
        tool("cp -t PLACE FILE"),
        tool("split -b 64k FILE PLACE."),
        tool("mkdir PLACE"),
        tool("mkdir -p PLACE"),
        tool("mkdir -p PLACE/PLACE"),
        tool("mkdir -m 700 PLACE"),
        tool("mkdir PLACE && rmdir PLACE"),
        tool("mkdir -p PLACE/a/b && rmdir -p PLACE/a/b 2> /dev/null; ls -d PLACE"),
        tool("install -d PLACE"),
        tool("install -D FILE PLACE/uploads/name"),
        tool("mknod PLACE p"),
        tool("mkfifo PLACE"),
        tool("ln -s FILE PLACE"),
        tool("mv $(mktemp PLACE.TmpXXXXXX) PLACE"),
        tool("rmdir $(mktemp -d PLACE.TmpXXXXXX)"),
        tool("python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"PLACE\")'"),
        tool("busybox touch PLACE"),
        tool("busybox mkdir -p PLACE"),
    ],
};

/// With a tag, and by its digest as well.
const UNDER_BOTH: &[(&str, Content)] =
    &[("r/manifests/one", Content::Manifest), ("r/manifests/@manifest", Content::Manifest)];
const BY_DIGEST: &str = "`R/manifests/D` with a tag";
const REPOSITORY: &[(&str, Content)] = &[
    ("r/layers/@blob", Content::Blob),
    ("r/manifests/one", Content::Manifest),
    ("r/uploads/name", Content::OtherBlob),
    ("r/manifests/.name", Content::OtherBlob),
];

pub(crate) static REMOVING_TABLE: Table = Table {
    title: "Removing",
    about: "A manifest that is removed by its digest takes its tags with it. `layers`, `manifests` \
            and `uploads` of a repository stay as long as that does, so removing one of them when \
            it is empty changes nothing.",
    needs: &["python3", "busybox", "rsync"],
    places: &[
        Place::new("`R/uploads/NAME`", "r/uploads/name").with(REPOSITORY),
        Place::new("`R/layers/D`", "r/layers/@blob").with(REPOSITORY),
        Place::new("`R/manifests/.NAME`", "r/manifests/.name").with(REPOSITORY),
        Place::new("`R/manifests/T`", "r/manifests/one").with(UNDER_BOTH),
        Place::new(BY_DIGEST, "r/manifests/@manifest").with(UNDER_BOTH),
        Place::new("`R/uploads`", "r/uploads").with(REPOSITORY),
        Place::new("`R/layers`", "r/layers").with(REPOSITORY),
        Place::new("`R`", "r").with(REPOSITORY),
    ],
    tools: &[
        tool("rm PLACE").means(&[(BY_DIGEST, "rm PLACE r/manifests/one")]),
        tool("rm -f PLACE").means(&[(BY_DIGEST, "rm PLACE r/manifests/one")]),
        tool("rm -d PLACE").means(&[(BY_DIGEST, "rm PLACE r/manifests/one")]),
        tool("rm -r PLACE").means(&[(BY_DIGEST, "rm PLACE r/manifests/one")]),
        tool("rm -rf PLACE").means(&[(BY_DIGEST, "rm PLACE r/manifests/one")]),
        tool("unlink PLACE").means(&[(BY_DIGEST, "rm PLACE r/manifests/one")]),
        tool("rmdir PLACE"),
        tool("rm -rf PLACE/*"),
        tool("find PLACE -delete").means(&[(BY_DIGEST, "rm PLACE r/manifests/one")]),
        tool("find PLACE -type f -delete").means(&[(BY_DIGEST, "rm PLACE r/manifests/one")]),
        tool("shred -n 0 -u PLACE"),
        tool("mv PLACE DISK/away").means(&[(BY_DIGEST, "mv PLACE DISK/away; rm r/manifests/one")]),
        tool("mkdir DISK/empty; rsync -r --delete DISK/empty/ PLACE/"),
        tool("python3 -c 'import os; os.remove(\"PLACE\")'")
            .means(&[(BY_DIGEST, "rm PLACE r/manifests/one")]),
        tool("python3 -c 'import shutil; shutil.rmtree(\"PLACE\")'"),
        tool("busybox rm PLACE").means(&[(BY_DIGEST, "rm PLACE r/manifests/one")]),
        tool("busybox rm -r PLACE").means(&[(BY_DIGEST, "rm PLACE r/manifests/one")]),
    ],
};
