//! What copies, moves or looks through whole trees.

use super::table::{Content, Place, Table, tool};

/// Columns whose files a tool reads in an order that regfs decides.
const FROM_A_MOUNT: &[&str] = &[TO_A_DISK, TO_A_NAME, TO_A_MOUNT];
const TO_A_DISK: &str = "`R` to a disk";
const TO_A_NAME: &str = "`R` to another name";
const TO_A_MOUNT: &str = "`R` to another mount";

/// A repository with everything in it.
const REPOSITORY: &[(&str, Content)] = &[
    ("r/layers/@blob", Content::Blob),
    ("r/manifests/one", Content::Manifest),
    ("r/manifests/other", Content::OtherManifest),
    ("r/uploads/name", Content::OtherBlob),
];
/// The same on a disk.
const TREE: &[(&str, Content)] = &[
    ("DISK/tree/layers/@blob", Content::Blob),
    ("DISK/tree/layers/@config", Content::Config),
    ("DISK/tree/manifests/one", Content::Manifest),
    ("DISK/tree/manifests/other", Content::OtherManifest),
];

pub(crate) static COPYING_TABLE: Table = Table {
    title: "Copying and moving a repository",
    about: "`R` has layers, tags and an upload; `TO` is not there. Manifests go where their layers \
            are, so the order counts: a mount shows `layers` first, and a disk has an order of its \
            own, which is why some of these say it.",
    needs: &["python3", "rsync", "busybox"],
    places: &[
        Place::way(TO_A_DISK, "r", "DISK/new").with(REPOSITORY),
        Place::way(TO_A_NAME, "r", "new").with(REPOSITORY),
        Place::way(TO_A_MOUNT, "r", "ELSEWHERE/new").with(REPOSITORY),
        Place::way("a disk to `R`", "DISK/tree", "new").with(TREE),
    ],
    tools: &[
        tool("cp -r FROM TO"),
        tool("cp -a FROM TO"),
        tool("mkdir TO && cp -r FROM/. TO").only(FROM_A_MOUNT),
        tool("mkdir TO && cp -a FROM/. TO").only(FROM_A_MOUNT).keeps_time(),
        tool("mkdir TO && cp -al FROM/. TO").only(FROM_A_MOUNT).keeps_time(),
        tool("mkdir TO && cp -a FROM/layers FROM/manifests TO").keeps_time(),
        tool("mkdir TO && cp -a FROM/manifests FROM/layers TO").keeps_time(),
        tool("mkdir TO && cp -a FROM/layers FROM/manifests TO && cp -au FROM/layers FROM/manifests TO")
            .keeps_time(),
        tool("mkdir -p TO/layers TO/manifests && cp FROM/layers/* TO/layers && cp FROM/manifests/* TO/manifests"),
        tool("mkdir TO && tar -c -C FROM . | tar -x -C TO").only(FROM_A_MOUNT),
        tool("mkdir TO && tar -c --sort=name -C FROM . | tar -x -p -C TO"),
        tool("mkdir TO && tar -c -C FROM layers manifests | tar -x -C TO"),
        tool("mkdir TO && tar -c -C FROM manifests layers | tar -x -C TO"),
        tool("mkdir TO && tar -c -z -f DISK/t -C FROM layers manifests && tar -x -f DISK/t -C TO && tar -x -f DISK/t -C TO && rm DISK/t"),
        tool("mkdir TO && tar -c -C FROM layers manifests | tar -x -k -C TO"),
        tool("mkdir TO && tar -c -C FROM layers manifests | tar -x --unlink-first -C TO"),
        tool("mkdir TO && busybox tar -c -C FROM layers manifests | busybox tar -x -C TO"),
        tool("mkdir TO && busybox cp -r FROM/layers FROM/manifests TO"),
        tool("rsync -a FROM/ TO").keeps_time(),
        tool("rsync -r FROM/ TO && rsync -r --delete FROM/ TO"),
        tool("python3 -c 'import shutil; shutil.copytree(\"FROM\", \"TO\")'"),
        tool("python3 -c 'import shutil; shutil.copytree(\"FROM\", \"TO\", dirs_exist_ok=True)'")
            .only(FROM_A_MOUNT)
            .keeps_time(),
        tool("mv FROM TO"),
        tool("busybox mv FROM TO"),
        tool("python3 -c 'import os; os.rename(\"FROM\", \"TO\")'"),
    ],
};

pub(crate) static LOOKING_TABLE: Table = Table {
    title: "Looking through a tree",
    about: "What is printed is compared. The sizes of folders are left out: here they are 0.",
    needs: &["python3", "busybox"],
    places: &[
        Place::new("a repository", "r").with(REPOSITORY),
        Place::new("its `layers`", "r/layers").with(REPOSITORY),
        Place::new("its `manifests`", "r/manifests").with(REPOSITORY),
        Place::new("a namespace", ".").with(REPOSITORY),
    ],
    tools: &[
        tool("ls PLACE"),
        tool("ls -a PLACE"),
        tool("ls -R PLACE"),
        tool("ls -l --time-style=+ PLACE/* | grep ^-"),
        tool("echo PLACE/*"),
        tool("find PLACE | sort"),
        tool("find PLACE -type f -size +4k | sort"),
        tool("find PLACE -name 'o*' | sort"),
        tool("find PLACE -type f -exec sha256sum {} + | sort"),
        tool("find PLACE -type f -newermt 2002-01-01"),
        tool("find PLACE -type f -print0 | xargs -0 du -b | sort"),
        tool("find PLACE -xdev -type d | sort"),
        tool("grep -r -l colour PLACE | sort"),
        tool("grep -r -h -c colour PLACE | sort"),
        tool("du -a PLACE | grep -v -e uploads$ -e layers$ -e manifests$ -e [rs.]$ | sort"),
        tool("diff -r PLACE PLACE"),
        tool("diff -r -q PLACE s | sort"),
        tool("tar -c PLACE | tar -t | sort"),
        tool("tar -c -f DISK/t PLACE && tar -d -f DISK/t; rm DISK/t"),
        tool(
            "python3 -c 'import os; print(sorted((d, sorted(n), sorted(f)) for d, n, f in os.walk(\"PLACE\")))'",
        ),
        tool("python3 -c 'import glob; print(sorted(glob.glob(\"PLACE/**\", recursive=True)))'"),
        tool("busybox find PLACE | sort"),
        tool("busybox ls -R PLACE"),
        tool("rsync -r --list-only PLACE/ | grep ^- | sort"),
    ],
};
