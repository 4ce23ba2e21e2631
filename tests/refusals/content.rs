//! Content that is not what it is named, or not what belongs there.

use super::matrix::{Matrix, Tool, copying_tools, moving_tools, tool};
use crate::common::{self, Mount, digest_of, manifest_of, needs, run_in};
use std::fs;

/// A Python program that forgets to close what it writes.
const FORGETFUL: &str = "python3 -c 'import os; os.write(os.open(\"$TARGET\", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), b\"hello\")'";

#[test]
fn a_layer_under_another_digest() {
    needs!("fuse", "rsync", "busybox", "python3");
    let mount = Mount::empty();
    let layer = mount.push_layer("a", b"layer");
    let target = format!("a/layers/{}", digest_of(b"other"));
    let mut matrix = Matrix::new(
        &mount,
        "EBADMSG: a layer under another digest",
        "`TARGET` is the digest of other content than that of `FILE`.",
        b"hello",
        &target,
    );
    matrix.more = vec![("LAYER", format!("a/layers/{layer}"))];
    let mut tools = copying_tools();
    tools.extend(moving_tools());
    tools.extend([
        tool("printf hello > $TARGET").deaf(),
        tool(FORGETFUL).deaf(),
        tool("truncate -s 5 $TARGET"),
        tool("touch $TARGET"),
        tool("cp /dev/null $TARGET").deaf(),
        tool("ln $LAYER $TARGET"),
        tool("mv $LAYER $TARGET"),
    ]);
    matrix.run(&tools);
}

#[test]
fn a_layer_that_is_no_archive() {
    needs!("fuse", "rsync", "busybox", "python3");
    let mount = Mount::empty();
    mount.push_layer("a", b"layer");
    let matrix = Matrix::new(
        &mount,
        "EBADMSG: a layer that is no archive",
        "`TARGET` is a TarSum, which only tar archives have, and `FILE` is none.",
        b"hello",
        &format!("a/layers/tarsum.v1+{}", digest_of(b"other")),
    );
    let mut tools = copying_tools();
    tools.extend(moving_tools());
    matrix.run(&tools);
}

#[test]
fn over_a_layer_that_is_there() {
    needs!("fuse", "rsync", "busybox", "python3");
    let mount = Mount::empty();
    let layer = mount.push_layer("a", b"layer");
    let target = format!("a/layers/{layer}");
    let mut matrix = Matrix::new(
        &mount,
        "EBADMSG, EPERM: over a layer that is there",
        "`TARGET` is a layer, and `FILE` is something else. A tool that begins anew is told at the \
         end, one that changes a part is told at once. Some tools remove what has the name before \
         they copy: then it is gone from the repository, as with `rm`.",
        b"hello, world",
        &target,
    );
    matrix.more = vec![old_content(&mount, b"layer")];
    let mut tools: Vec<Tool> = copying_tools().into_iter().map(removing).collect();
    let inplace = tools.iter_mut().find(|tool| tool.is("rsync --inplace")).unwrap();
    *inplace = tool("rsync --inplace $FILE $TARGET").meets("EPERM");
    tools.extend(moving_tools());
    tools.extend([
        tool("printf hello > $TARGET").deaf(),
        tool("cat $FILE >> $TARGET").meets("EPERM"),
        tool("tee -a $TARGET < $FILE > /dev/null").meets("EPERM"),
        tool("dd if=$FILE of=$TARGET status=none conv=notrunc").meets("EPERM"),
        tool("truncate -s 3 $TARGET").meets("EPERM"),
        tool("sed -i s/l/L/ $TARGET").meets("EINVAL"),
        tool("python3 -c 'open(\"$TARGET\", \"r+b\")'").meets("EPERM"),
        tool("setfattr -n user.regfs.digest -v other $TARGET").meets("EPERM"),
        tool("cp /dev/null $TARGET").deaf(),
    ]);
    matrix.run(&tools);
}

/// What is in place of `$TARGET`, for tools that remove that first.
fn old_content(mount: &Mount, content: &[u8]) -> (&'static str, String) {
    let old = mount.beside().join("old");
    fs::write(&old, content).unwrap();
    ("OLD", old.display().to_string())
}

/// mv from another disk, install and tar remove what has the name before they copy.
fn removing(tool: Tool) -> Tool {
    let removes = ["mv $COPY", "install", "tar x"].iter().any(|start| tool.is(start));
    if removes { tool.removing() } else { tool }
}

/// A repository `a` with a layer, and a manifest of it as the tag 1.0; gives the manifest.
fn image(mount: &Mount) -> String {
    let config = mount.push_layer("a", b"{}");
    let manifest = manifest_of((&config, 2), &[]);
    fs::write(mount.beside().join("old"), &manifest).unwrap();
    run_in(mount.path(), "cp ../old a/manifests/1.0");
    manifest
}

#[test]
fn a_manifest_under_another_digest() {
    needs!("fuse", "rsync", "busybox", "python3");
    let mount = Mount::empty();
    let manifest = image(&mount);
    let matrix = Matrix::new(
        &mount,
        "EBADMSG: a manifest under another digest",
        "`FILE` is a manifest, and `TARGET` the digest of another.",
        (manifest + " ").as_bytes(),
        &format!("a/manifests/{}", digest_of(b"other")),
    );
    let mut tools = copying_tools();
    tools.extend(moving_tools());
    matrix.run(&tools);
}

#[test]
fn what_is_stored_is_damaged() {
    needs!("fuse", "rsync", "busybox", "python3");
    let mut mount = Mount::empty();
    let manifest = image(&mount);
    mount.unmount();
    let blob = mount.blob_file(&digest_of(manifest.as_bytes()));
    fs::write(&blob, manifest.replace("{}", "{ }") + "damage").unwrap();
    mount.mount(&[]);
    let matrix = Matrix::new(
        &mount,
        "EBADMSG: what is stored is damaged",
        "`TARGET` is a tag, and the disk has changed the bytes of its manifest.",
        b"",
        "a/manifests/1.0",
    );
    let tools = [
        "cat $TARGET",
        "cp $TARGET $COPY",
        "dd if=$TARGET status=none",
        "rsync $TARGET $COPY",
        "tar cf $TAR $TARGET",
        "grep -c x $TARGET",
        "sha256sum $TARGET",
        "python3 -c 'open(\"$TARGET\").read()'",
    ];
    matrix.run(&tools.map(tool));
}

#[test]
fn what_is_no_manifest() {
    needs!("fuse", "rsync", "busybox", "python3");
    let mount = Mount::empty();
    image(&mount);
    let mut matrix = Matrix::new(
        &mount,
        "EINVAL: no manifest",
        "`FILE` is no manifest, and `TARGET` is a tag. The tag stays as it was, but where a tool \
         removes what has the name before it copies.",
        b"hello",
        "a/manifests/1.0",
    );
    matrix.more = vec![("OLD", mount.beside().join("old").display().to_string())];
    let mut tools: Vec<Tool> = copying_tools().into_iter().map(removing).collect();
    tools.extend(moving_tools());
    tools.extend([
        tool("printf hello > $TARGET").deaf(),
        tool(FORGETFUL).deaf(),
        tool("cat $FILE >> $TARGET"),
        tool("sed -i s/schemaVersion/version/ $TARGET"),
        tool("truncate -s 9 $TARGET"),
        tool("touch a/manifests/new"),
        tool("cp /dev/null $TARGET").deaf().meets("EBADMSG"),
    ]);
    matrix.run(&tools);
}

#[test]
fn a_manifest_before_its_layers() {
    needs!("fuse", "rsync", "busybox", "python3");
    let mount = Mount::empty();
    image(&mount);
    let manifest = manifest_of((&digest_of(b"absent"), 6), &[]);
    fs::create_dir(mount.path().join("b")).unwrap();
    let matrix = Matrix::new(
        &mount,
        "ENOLINK: a manifest before its layers",
        "`FILE` is a manifest, and its repository does not have what it refers to.",
        manifest.as_bytes(),
        "a/manifests/new",
    );
    let mut tools = copying_tools();
    tools.extend(moving_tools());
    tools.extend([
        tool("sed -n p $FILE > $TARGET"),
        tool("ln a/manifests/1.0 b/manifests/1.0"),
        tool("cp a/manifests/1.0 b/manifests/1.0"),
        tool("mv a/manifests/1.0 b/manifests/1.0"),
    ]);
    matrix.run(&tools);
}

/// A repository with all that the signed manifests of the fixtures refer to, and the bytes of one.
fn signed(mount: &Mount, name: &str) -> Vec<u8> {
    mount.push_signed_layers("vec/s1");
    fs::read(common::fixture("schema1").join(name)).unwrap()
}

#[test]
fn a_signed_manifest_in_another_place() {
    needs!("fuse", "rsync", "busybox", "python3");
    let mount = Mount::empty();
    let manifest = signed(&mount, "valid-es256.json");
    // The matrix keeps its uploads there.
    fs::create_dir(mount.path().join("a")).unwrap();
    let matrix = Matrix::new(
        &mount,
        "EINVAL: a signed manifest in another place",
        "`FILE` is a schema 1 manifest, which has a name and a tag inside, and `TARGET` is another tag.",
        &manifest,
        "vec/s1/manifests/another",
    );
    matrix.run(&copying_tools());
}

#[test]
fn a_signature_that_does_not_hold() {
    needs!("fuse", "rsync", "busybox", "python3");
    let mount = Mount::empty();
    let manifest = signed(&mount, "bad-signature-flipped-es256.json");
    let matrix = Matrix::new(
        &mount,
        "EKEYREJECTED: a signature that does not hold",
        "`FILE` is a signed schema 1 manifest of which a bit was changed.",
        &manifest,
        "vec/s1/manifests/bad",
    );
    matrix.run(&copying_tools());
}

#[test]
fn a_schema_1_manifest_without_signatures() {
    needs!("fuse", "rsync", "busybox", "python3");
    let mount = Mount::empty();
    let manifest = signed(&mount, "bad-no-signatures-key.json");
    let matrix = Matrix::new(
        &mount,
        "ENOKEY: no signatures",
        "`FILE` is a schema 1 manifest without signatures.",
        &manifest,
        "vec/s1/manifests/unsigned",
    );
    matrix.run(&copying_tools());
}

#[test]
fn a_long_manifest() {
    needs!("fuse", "rsync", "busybox", "python3");
    let mount = Mount::empty();
    let manifest = image(&mount) + &" ".repeat(4 << 20);
    let matrix = Matrix::new(
        &mount,
        "EFBIG: a long manifest",
        "`FILE` is a manifest of more than 4 MiB.",
        manifest.as_bytes(),
        "a/manifests/long",
    );
    let mut tools = copying_tools();
    tools.extend(moving_tools());
    tools.push(tool("truncate -s 5M a/manifests/1.0"));
    matrix.run(&tools);
}
