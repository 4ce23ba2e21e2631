//! What moves, links or copies a file from one name to another.

use super::table::{Content, Place, Table, Tool, tool};

/// The layer and both manifests, where a way begins or ends.
const LAYER: (&str, Content) = ("r/layers/@blob", Content::Blob);
const UPLOAD: (&str, Content) = ("r/uploads/name", Content::Blob);
const TAG: (&str, Content) = ("r/manifests/one", Content::Manifest);
const OTHER_TAG: (&str, Content) = ("r/manifests/other", Content::OtherManifest);

/// Ways within a repository.
const WITHIN: &[Place] = &[
    Place::way("upload to `layers/D`", "r/uploads/name", "r/layers/@blob").with(&[UPLOAD]),
    Place::way("to `layers/D` that is there", "r/uploads/name", "r/layers/@blob")
        .with(&[LAYER, UPLOAD]),
    Place::way("to another `D`", "r/uploads/name", "r/layers/@other_blob").with(&[UPLOAD]),
    Place::way("`layers/.NAME` to `D`", "r/layers/.name", "r/layers/@blob")
        .with(&[("r/layers/.name", Content::Blob)]),
    Place::way("upload to upload", "r/uploads/name", "r/uploads/other").with(&[UPLOAD]),
    Place::way("upload over upload", "r/uploads/name", "r/uploads/other")
        .with(&[UPLOAD, ("r/uploads/other", Content::OtherBlob)]),
    Place::way("upload to `manifests/T`", "r/uploads/name", "r/manifests/one")
        .with(&[("r/uploads/name", Content::Manifest)]),
    Place::way("`manifests/.NAME` over `T`", "r/manifests/.name", "r/manifests/other")
        .with(&[("r/manifests/.name", Content::Manifest), OTHER_TAG]),
    Place::way("tag to tag", "r/manifests/one", "r/manifests/two").with(&[TAG]),
    Place::way("tag over tag", "r/manifests/one", "r/manifests/other").with(&[TAG, OTHER_TAG]),
    Place::way("`manifests/D` to tag", "r/manifests/@manifest", "r/manifests/two")
        .with(&[("r/manifests/@manifest", Content::Manifest)]),
    Place::way("layer to upload", "r/layers/@blob", "r/uploads/name").with(&[LAYER]),
    Place::way("tag to upload", "r/manifests/one", "r/uploads/name").with(&[TAG]),
];

/// Ways to another repository, registry or disk.
const ACROSS: &[Place] = &[
    Place::way("`R/layers/D` to `S`", "r/layers/@blob", "s/layers/@blob").with(&[LAYER]),
    Place::way("where it is there", "r/layers/@blob", "s/layers/@blob")
        .with(&[LAYER, ("s/layers/@blob", Content::Blob)]),
    Place::way("`R/layers/D` to another `D`", "r/layers/@blob", "s/layers/@other_blob")
        .with(&[LAYER]),
    Place::way("`R/manifests/T` to `S`", "r/manifests/one", "s/manifests/one").with(&[TAG]),
    Place::way("over a tag of `S`", "r/manifests/one", "s/manifests/other")
        .with(&[TAG, ("s/manifests/other", Content::OtherManifest)]),
    Place::way("`R/uploads/NAME` to `S`", "r/uploads/name", "s/uploads/name").with(&[UPLOAD]),
    Place::way("upload to layer of `S`", "r/uploads/name", "s/layers/@blob").with(&[UPLOAD]),
    Place::way("layer to another mount", "r/layers/@blob", "ELSEWHERE/r/layers/@blob")
        .with(&[LAYER]),
    Place::way("tag to another mount", "r/manifests/one", "ELSEWHERE/r/manifests/one").with(&[TAG]),
    Place::way("upload to another mount", "r/uploads/name", "ELSEWHERE/r/uploads/name")
        .with(&[UPLOAD]),
    Place::way("layer to a disk", "r/layers/@blob", "DISK/copy").with(&[LAYER]),
    Place::way("tag to a disk", "r/manifests/one", "DISK/copy").with(&[TAG]),
    Place::way("upload to a disk", "r/uploads/name", "DISK/copy").with(&[UPLOAD]),
];

/// On a disk a manifest has no second name.
const BY_DIGEST: &str = "`manifests/D` to tag";

const WITHIN_TOOLS: &[Tool] = &[
    tool("mv FROM TO").keeps_time().means(&[(BY_DIGEST, "cp -a FROM TO")]),
    tool("mv -n FROM TO").keeps_time().means(&[(BY_DIGEST, "cp -a FROM TO")]),
    tool("mv -b FROM TO").keeps_time().means(&[(BY_DIGEST, "cp -a FROM TO")]),
    tool("mv -T FROM TO").keeps_time().means(&[(BY_DIGEST, "cp -a FROM TO")]),
    tool("ln FROM TO"),
    tool("ln -f FROM TO"),
    tool("ln -b FROM TO"),
    tool("ln -s FROM TO"),
    tool("cp FROM TO"),
    tool("cp -a FROM TO").keeps_time(),
    tool("cp -l FROM TO"),
    tool("cp -lf FROM TO"),
    tool("cp -n FROM TO"),
    tool("cp -u FROM TO"),
    tool("cp -b FROM TO"),
    tool("cp --remove-destination FROM TO"),
    tool("cp --reflink=always FROM TO"),
    tool("cp --sparse=always FROM TO"),
    tool("install FROM TO"),
    tool("cat FROM > TO"),
    tool("dd if=FROM of=TO bs=64k status=none"),
    tool("busybox mv FROM TO").means(&[(BY_DIGEST, "cp -a FROM TO")]),
    tool("busybox ln FROM TO"),
    tool("python3 -c 'import os; os.rename(\"FROM\", \"TO\")'")
        .means(&[(BY_DIGEST, "cp -a FROM TO")]),
    tool("python3 -c 'import os; os.link(\"FROM\", \"TO\")'"),
    tool("python3 -c 'import shutil; shutil.move(\"FROM\", \"TO\")'")
        .keeps_time()
        .means(&[(BY_DIGEST, "cp -a FROM TO")]),
    tool(
        "python3 -c 'import os; a, b = os.open(\"FROM\", 0), os.open(\"TO\", 65, 0o644); os.copy_file_range(a, b, 9 << 20); os.close(b)'",
    ),
    tool(RENAME_NOREPLACE).means(&[(BY_DIGEST, "cp -a FROM TO")]),
    tool(RENAME_EXCHANGE),
];

const ACROSS_TOOLS: &[Tool] = &[
    tool("mv FROM TO").keeps_time(),
    tool("mv -n FROM TO").keeps_time(),
    tool("mv FROM $(dirname TO)/").keeps_time(),
    tool("ln FROM TO"),
    tool("ln -f FROM TO"),
    tool("cp FROM TO"),
    tool("cp -a FROM TO").keeps_time(),
    tool("cp -l FROM TO"),
    tool("cp -n FROM TO"),
    tool("cp --reflink=auto FROM TO"),
    tool("install FROM TO"),
    tool("cat FROM > TO"),
    tool("rsync -a FROM TO").keeps_time(),
    tool("busybox mv FROM TO"),
    tool("busybox cp FROM TO"),
    tool("python3 -c 'import os; os.replace(\"FROM\", \"TO\")'"),
    tool("python3 -c 'import shutil; shutil.move(\"FROM\", \"TO\")'").keeps_time(),
];

/// No tool here can ask for these but mv, which does so in its own way.
const RENAME_NOREPLACE: &str = "python3 -c 'import ctypes, os; c = ctypes.CDLL(None, use_errno=True); c.renameat2(-100, b\"FROM\", -100, b\"TO\", 1) and exit(os.strerror(ctypes.get_errno()))'";
const RENAME_EXCHANGE: &str = "python3 -c 'import ctypes, os; c = ctypes.CDLL(None, use_errno=True); c.renameat2(-100, b\"FROM\", -100, b\"TO\", 2) and exit(os.strerror(ctypes.get_errno()))'";

const NEEDS: &[&str] = &["python3", "rsync", "busybox"];

pub(crate) static WITHIN_TABLE: Table = Table {
    title: "Moving, linking and copying within a repository",
    about: "`FROM` and `TO` lie in one repository. The last two are `RENAME_NOREPLACE` and \
            `RENAME_EXCHANGE`.",
    needs: NEEDS,
    places: WITHIN,
    tools: WITHIN_TOOLS,
};

pub(crate) static ACROSS_TABLE: Table = Table {
    title: "Moving, linking and copying to another repository, mount or disk",
    about: "The manifest's config is in both repositories and both registries.",
    needs: NEEDS,
    places: ACROSS,
    tools: ACROSS_TOOLS,
};
