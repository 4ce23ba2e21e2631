//! What makes a file of another one.

use super::table::{ANYWHERE, Content, Place, Table, tool};

/// Every kind of place where a file can come to be.
const PLACES: &[Place] = &[
    Place::new("`R/uploads/NAME`", "r/uploads/name"),
    Place::new("over another upload", "r/uploads/name")
        .with(&[("r/uploads/name", Content::OtherBlob)]),
    Place::new("`R/layers/D`", "r/layers/@result"),
    Place::new("a layer that is there", "r/layers/@result")
        .with(&[("r/layers/@result", Content::Result)]),
    Place::new("wrong bytes for `D`", "r/layers/@other_blob"),
    Place::new("`R/layers/.NAME`, then `mv` to `D`", "r/layers/.name")
        .then("mv PLACE r/layers/sha256:$(sha256sum < PLACE | cut -c-64)"),
    Place::new(NEW_TAG, "r/manifests/one").file(Content::Manifest),
    Place::new("over another manifest", "r/manifests/one")
        .file(Content::Manifest)
        .with(&[("r/manifests/one", Content::OtherManifest)]),
    Place::new("no manifest, over one", "r/manifests/one")
        .file(Content::Junk)
        .with(&[("r/manifests/one", Content::OtherManifest)]),
    Place::new("`R/manifests/D`", "r/manifests/@result").file(Content::Manifest),
];

/// Headings of what is JSON.
const MANIFESTS: &[&str] = &[NEW_TAG, "`R/manifests/D`"];
const NEW_TAG: &str = "`R/manifests/T`";

pub(crate) static TABLE: Table = Table {
    title: "Writing a file",
    about: "Each makes a file of `FILE`, which holds the bytes that `D` names, or a manifest.",
    needs: &["busybox", "curl", "jq", "python3", "rsync", "xz", "zstd"],
    places: PLACES,
    tools: &[
        tool("cp FILE PLACE"),
        tool("cp -a FILE PLACE").keeps_time(),
        tool("cp -p FILE PLACE").keeps_time(),
        tool("cp -r FILE PLACE"),
        tool("cp -n FILE PLACE"),
        tool("cp -u FILE PLACE"),
        tool("cp -b FILE PLACE"),
        tool("cp -l FILE PLACE"),
        tool("cp -s FILE PLACE"),
        tool("cp --remove-destination FILE PLACE"),
        tool("cp --reflink=auto FILE PLACE"),
        tool("cp --reflink=always FILE PLACE"),
        tool("cp --sparse=always FILE PLACE"),
        tool("cp --attributes-only FILE PLACE"),
        tool("mv FILE PLACE").keeps_time(),
        tool("mv -n FILE PLACE").keeps_time(),
        tool("mv -b FILE PLACE").keeps_time(),
        tool("ln FILE PLACE"),
        tool("ln -s FILE PLACE"),
        tool("install FILE PLACE"),
        tool("install -m 600 FILE PLACE"),
        tool("install -C FILE PLACE"),
        tool("install -b FILE PLACE"),
        tool("cat FILE > PLACE"),
        tool("cat < FILE | cat > PLACE"),
        tool("printf '%s\\n' \"$(cat FILE)\" > PLACE"),
        tool("tee PLACE < FILE > /dev/null"),
        tool("tee -a PLACE < FILE > /dev/null"),
        tool("dd if=FILE of=PLACE status=none"),
        tool("dd if=FILE of=PLACE bs=1001 status=none"),
        tool("dd if=FILE of=PLACE conv=fsync status=none"),
        tool("dd if=FILE of=PLACE conv=notrunc status=none"),
        tool("dd if=FILE of=PLACE conv=excl status=none"),
        tool("dd if=FILE of=PLACE conv=sparse bs=512 status=none"),
        tool("dd if=FILE of=PLACE oflag=append conv=notrunc status=none"),
        tool("dd if=FILE of=PLACE oflag=direct bs=4k status=none"),
        // Here a direct write may have any length.
        tool("dd if=FILE of=PLACE oflag=direct bs=1001 status=none")
            .means(&[(ANYWHERE, "dd if=FILE of=PLACE bs=1001 status=none")]),
        tool("dd if=FILE of=PLACE bs=1k seek=3 status=none"),
        tool("head -c 100 FILE > PLACE"),
        tool("sed 's/^ *//' FILE > PLACE"),
        tool("sort -o PLACE FILE"),
        tool("awk '{ print > \"PLACE\" }' FILE"),
        tool("gzip -n -c FILE > PLACE"),
        tool("gzip -n -c FILE | gzip -d > PLACE"),
        tool("zstd -q -f FILE -o PLACE"),
        tool("xz -c FILE > PLACE"),
        tool("tar -c -f PLACE --owner=0 --mtime=@0 -C DISK file"),
        tool("tar -c -z -f PLACE --owner=0 --mtime=@0 -C DISK file"),
        tool("jq . FILE > PLACE").only(MANIFESTS),
        tool("curl -sS -o PLACE file://FILE"),
        tool("curl -sS -T FILE file://$PWD/PLACE"),
        tool("rsync FILE PLACE"),
        tool("python3 -c 'open(\"PLACE\", \"wb\").write(open(\"FILE\", \"rb\").read())'"),
        tool("busybox cp FILE PLACE"),
        tool("busybox cp -a FILE PLACE"),
        tool("busybox mv FILE PLACE"),
        tool("busybox dd if=FILE of=PLACE bs=64k status=none"),
    ],
};
