//! Signed manifests of Docker's schema 1, as people and their tools meet them.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use common::{Mount, Registry, image, needs, noise, run_in, session_with};
use regfs::model::{Manifest, SignedManifest, SigningKey};
use std::{
    fs,
    io::Write as _,
    path::Path,
    time::{Duration, UNIX_EPOCH},
};

/// The names of the keys that signed the manifests of `vec/s1`.
const KEY: &str = "PZHS:CGEZ:AQIX:BWUY:DSP5:DXIJ:3LVN:LX3W:HEJB:RHHE:XWWR:SW6O";
const OTHER_KEY: &str = "WHZQ:DQPT:UYYA:BSLY:JKM5:R22B:EEDC:X4W6:WF5F:6BKW:KEJE:VCCI";

fn fixtures() -> String {
    common::fixture("schema1").display().to_string()
}

/// A mount with the layers of `vec/s1` in that repository.
fn filled() -> Mount {
    let mount = Mount::empty();
    mount.push_signed_layers("vec/s1");
    mount
}

#[test]
fn a_signed_manifest_is_put_and_read_with_the_name_of_its_key() {
    needs!("fuse", "getfattr");
    let mut mount = filled();
    let variables = &[("FIXTURES", &*fixtures()), ("KEY", KEY)] as &[(&str, &str)];
    session_with(
        &mount,
        variables,
        "
        $ cd vec/s1
        $ cp $FIXTURES/valid-es256.json manifests/es256
        $ cmp $FIXTURES/valid-es256.json manifests/es256
        $ ls manifests
        es256
        $ getfattr -d manifests/es256
        # file: manifests/es256
        user.regfs.digest=\"sha256:6cc58c50…\"
        user.regfs.media_type=\"application/vnd.docker.distribution.manifest.v1+prettyjws\"
        user.regfs.signed_by=\"$KEY\"
        $ cmp $FIXTURES/valid-es256.json manifests/$(getfattr --only-values -n user.regfs.digest manifests/es256)
        $ for kind in es384 rs256 x5c-es256 compact indent-2 trailing-newlines unicode-unknown-fields two-signatures; do tag=$(jq -r .tag $FIXTURES/valid-$kind.json); cp $FIXTURES/valid-$kind.json manifests/$tag; cmp $FIXTURES/valid-$kind.json manifests/$tag; done
        $ ls manifests | wc -l
        9
        ",
    );
    mount.remount();
    session_with(&mount, variables, "$ cmp $FIXTURES/valid-es256.json vec/s1/manifests/es256");
}

/// A blank line at the end is not signed, and the form with the payload in base64url is another way to
/// say the same.
#[test]
fn a_signed_manifest_comes_back_as_docker_writes_it() {
    needs!("fuse", "jq", "getfattr");
    session_with(
        filled(),
        &[("FIXTURES", &*fixtures()), ("KEY", KEY)],
        "
        $ cd vec/s1
        $ cp $FIXTURES/trailing-newline-after-document.json manifests/bad
        $ cat manifests/bad > ../../../read; echo >> ../../../read; cmp ../../../read $FIXTURES/trailing-newline-after-document.json
        $ cp $FIXTURES/jws-form-0.json manifests/jws0
        $ jq -r '.tag, .signatures[0].header.jwk.kid' manifests/jws0
        jws0
        $KEY
        $ getfattr --only-values -n user.regfs.signed_by manifests/jws0; echo
        $KEY
        $ cp manifests/jws0 ../../../read; cp ../../../read manifests/jws0; cmp ../../../read manifests/jws0
        ",
    );
}

#[test]
fn a_signature_that_does_not_hold_is_refused_with_its_key() {
    needs!("fuse");
    let mount = filled();
    session_with(
        &mount,
        &[("FIXTURES", &*fixtures())],
        "
        $ cd vec/s1
        $ cp $FIXTURES/bad-signature-flipped-es256.json manifests/bad
        cp: failed to close 'manifests/bad': Key was rejected by service
        [exit 1]
        $ cp $FIXTURES/bad-no-signatures-key.json manifests/unsigned
        cp: failed to close 'manifests/unsigned': Required key not available
        [exit 1]
        $ cp $FIXTURES/bad-empty-signatures.json manifests/bad
        cp: failed to close 'manifests/bad': Required key not available
        [exit 1]
        $ cp $FIXTURES/bad-one-of-two.json uploads/x; mv uploads/x manifests/$(jq -r .tag uploads/x)
        mv: …Key was rejected by service
        [exit 1]
        $ ls -A manifests
        ",
    );
    mount.assert_error(&["EKEYREJECTED", "vec/s1/manifests/bad", "signature 1", KEY]);
    mount.assert_error(&["ENOKEY", "vec/s1/manifests/unsigned", "skopeo"]);
    mount.assert_error(&["EKEYREJECTED", "signature 2", OTHER_KEY]);
}

#[test]
fn a_signed_manifest_under_a_wrong_name_is_refused_and_the_right_one_named() {
    needs!("fuse");
    let mount = filled();
    mount.push_signed_layers("other");
    session_with(
        &mount,
        &[("FIXTURES", &*fixtures())],
        "
        $ cp $FIXTURES/valid-es256.json vec/s1/manifests/
        cp: failed to close 'vec/s1/manifests/valid-es256.json': Invalid argument
        [exit 1]
        $ cp $FIXTURES/valid-es256.json other/manifests/es256
        cp: failed to close 'other/manifests/es256': Invalid argument
        [exit 1]
        $ cp $FIXTURES/valid-es256.json vec/s1/manifests/es256
        $ mv vec/s1/manifests/es256 vec/s1/manifests/renamed
        mv: cannot move 'vec/s1/manifests/es256' to a subdirectory of itself, 'vec/s1/manifests/renamed'
        [exit 1]
        $ ln vec/s1/manifests/es256 vec/s1/manifests/renamed
        ln: …Invalid argument
        [exit 1]
        $ ls vec/s1/manifests other/manifests
        other/manifests:
        vec/s1/manifests:
        es256
        ",
    );
    mount.assert_error(&["EINVAL", "vec/s1/manifests/valid-es256.json", "vec/s1:es256"]);
    mount.assert_error(&["EINVAL", "other/manifests/es256", "vec/s1:es256", KEY]);
    mount.assert_error(&["EINVAL", "rename vec/s1/manifests/es256", "vec/s1:es256", KEY]);
}

#[test]
fn signatures_by_several_keys_come_together() {
    needs!("fuse", "getfattr", "jq");
    let mount = filled();
    let both = fs::read_to_string(format!("{}/valid-two-signatures.json", fixtures())).unwrap();
    // The same payload with one of its two signatures each.
    let blocks = both.find("\"signatures\": [").unwrap();
    let (head, list) = both.split_at(blocks);
    let middle = list.find("},\n      {").unwrap();
    let start = "\"signatures\": [".len();
    let first = format!("{head}\"signatures\": [{}}}\n   ]\n}}", &list[start..middle]);
    let second = format!("{head}\"signatures\": [\n      {}", &list[middle + "},\n      ".len()..]);
    fs::write(mount.beside().join("first"), first).unwrap();
    fs::write(mount.beside().join("second"), second).unwrap();
    session_with(
        &mount,
        &[("FIXTURES", &*fixtures()), ("KEY", KEY), ("OTHER", OTHER_KEY)],
        "
        $ cd vec/s1
        $ jq -r .tag ../../../first ../../../second | uniq | wc -l
        1
        $ tag=$(jq -r .tag ../../../first); cp ../../../second manifests/$tag; getfattr --only-values -n user.regfs.signed_by manifests/$tag; echo; cp ../../../first manifests/$tag; getfattr --only-values -n user.regfs.signed_by manifests/$tag; echo; cmp manifests/$tag $FIXTURES/valid-two-signatures.json
        $OTHER
        $KEY,$OTHER
        $ rm manifests/$(getfattr --only-values -n user.regfs.digest manifests/*)
        $ ls -A manifests
        ",
    );
}

/// As a docker-registry does it for each pull.
#[test]
fn a_key_that_signs_again_adds_nothing_and_more_than_64_keys_are_refused() {
    needs!("fuse", "getfattr", "jq");
    let mount = filled();
    let signed = fs::read(format!("{}/valid-es256.json", fixtures())).unwrap();
    let payload = Manifest::parse(&signed).unwrap().signed().unwrap().payload().to_vec();
    let write = |name: &str, key: &SigningKey, second: u64| {
        let at = UNIX_EPOCH + Duration::from_secs(second);
        let document = SignedManifest::sign(&payload, key, at).unwrap().document();
        fs::write(mount.beside().join(name), document).unwrap();
    };
    let key = SigningKey::random().unwrap();
    write("first", &key, 1);
    write("again", &key, 2);
    for number in 2..=65 {
        write(&format!("key{number}"), &SigningKey::random().unwrap(), 1);
    }
    session_with(
        &mount,
        &[("KEY", &*key.id().to_string())],
        "
        $ cd vec/s1
        $ cp ../../../first manifests/es256
        $ ! cmp -s ../../../first ../../../again; cp ../../../again manifests/es256
        $ cmp ../../../first manifests/es256; getfattr --only-values -n user.regfs.signed_by manifests/es256; echo
        $KEY
        $ for number in $(seq 2 64); do cp ../../../key$number manifests/es256 || break; done
        $ jq '.signatures | length' manifests/es256
        64
        $ cp ../../../key65 manifests/es256
        cp: failed to close 'manifests/es256': Key was rejected by service
        [exit 1]
        $ tail -n 1 ../../.regfs/errors | grep -o 'EKEYREJECTED: .*'
        EKEYREJECTED: there are 65 signatures on this manifest, and 64 may be; rm it by its digest first: then only new signatures count
        $ cp ../../../again manifests/es256; jq '.signatures | length' manifests/es256
        64
        $ rm manifests/$(getfattr --only-values -n user.regfs.digest manifests/es256)
        $ cp ../../../key65 manifests/es256; jq '.signatures | length' manifests/es256
        1
        ",
    );
}

#[test]
fn a_signed_manifest_is_mirrored_with_its_signatures() {
    needs!("fuse", "rsync");
    let (from, to) = (filled(), Mount::empty());
    session_with(
        from.beside(),
        &[("FIXTURES", &*fixtures()), ("TO", to.path().to_str().unwrap())],
        "
        $ cp $FIXTURES/valid-es256.json mnt/vec/s1/manifests/es256
        $ rsync -aX --exclude uploads mnt/ $TO/
        $ diff -r --exclude uploads mnt $TO
        $ rsync -aXi --exclude uploads mnt/ $TO/
        $ cp -a mnt/vec/s1/manifests/es256 copy
        $ rm $TO/vec/s1/manifests/es256
        $ cp -a copy $TO/vec/s1/manifests/es256
        $ cmp copy $TO/vec/s1/manifests/es256
        ",
    );
}

#[test]
fn no_flipped_bit_of_a_payload_is_ever_taken() {
    const FLIPS: usize = 500;
    needs!("fuse");
    let mount = filled();
    let folder = mount.path().join("vec/s1/manifests");
    let good = fs::read(format!("{}/valid-es256.json", fixtures())).unwrap();
    let text = String::from_utf8(good.clone()).unwrap();
    let end = text.find(",\n   \"signatures\"").unwrap();
    for random in noise(7, 4 * FLIPS).chunks_exact(4) {
        let index = usize::from(u16::from_le_bytes([random[0], random[1]])) % end;
        let mut flipped = good.clone();
        flipped[index] ^= 1 << (random[2] % 8);
        let error = put(&folder.join("es256"), &flipped).expect_err("a flipped bit was taken");
        let number = error.raw_os_error().unwrap();
        assert!([libc::EKEYREJECTED, libc::EINVAL].contains(&number), "byte {index}: {error}");
    }
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    put(&folder.join("es256"), &good).unwrap();
}

/// Writes a file and syncs it, which puts the manifest as closing it does, and tells what that said.
fn put(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut open = fs::File::create(file)?;
    open.write_all(bytes)?;
    open.sync_all()
}

/// What docker-registry has of a signed manifest is its payload; it signs that anew for each client.
#[test]
fn a_signed_manifest_pushed_to_the_stock_registry_is_read_and_verified_in_the_mount() {
    needs!("fuse", "docker-registry", "skopeo", "umoci", "busybox", "jq", "getfattr");
    let mut mount = Mount::empty();
    let registry = Registry::serve(mount.store());
    let other = Mount::empty();
    let image = image();
    let mut variables = image.variables();
    variables.push(("REGISTRY".to_owned(), registry.address()));
    variables.push(("OTHER".to_owned(), other.path().display().to_string()));
    let variables: Vec<(&str, &str)> =
        variables.iter().map(|(name, value)| (&**name, &**value)).collect();
    session_with(
        &mount,
        &variables,
        "
        $ skopeo copy -q --format v2s1 --dest-tls-verify=false oci:$LAYOUT:1.35 docker://$REGISTRY/old/busybox:1.35
        $ cd old/busybox
        $ jq -r '.name, .tag, .schemaVersion' manifests/1.35
        old/busybox
        1.35
        1
        $ stat -c %s manifests/1.35 > ../../../size; cat manifests/1.35 | wc -c | cmp - ../../../size
        $ getfattr --only-values -n user.regfs.signed_by manifests/1.35 | tee ../../../key; echo
        …:…:…
        $ jq -r '.signatures[0].header.jwk.kid' manifests/1.35 | tr -d '\\n' | cmp - ../../../key
        $ test $(curl -sI -H 'Accept: application/vnd.docker.distribution.manifest.v1+prettyjws' http://$REGISTRY/v2/old/busybox/manifests/1.35 | tr -d '\\r' | sed -n 's/^Docker-Content-Digest: //p') = $(getfattr --only-values -n user.regfs.digest manifests/1.35)
        $ cp manifests/1.35 ../../../manifest
        $ mkdir -p $OTHER/old/busybox
        $ cp layers/* $OTHER/old/busybox/layers/
        $ cp ../../../manifest $OTHER/old/busybox/manifests/1.35
        $ cmp ../../../manifest $OTHER/old/busybox/manifests/1.35
        $ getfattr --absolute-names --only-values -n user.regfs.signed_by $OTHER/old/busybox/manifests/1.35 | cmp - ../../../key
        ",
    );
    mount.remount();
    session_with(&mount, &variables, "$ cmp ../manifest old/busybox/manifests/1.35");
}

#[test]
fn a_manifest_whose_signatures_are_gone_is_signed_with_the_key_of_the_store() {
    needs!("fuse", "getfattr", "jq");
    let mut mount = filled();
    let (fixtures, store) = (fixtures(), mount.store().display().to_string());
    let variables = &[("FIXTURES", &*fixtures), ("STORE", &*store), ("KEY", KEY)];
    let remount = |mount: &mut Mount, command: &str| {
        mount.unmount();
        run_in(Path::new(&store), command);
        mount.mount(&[]);
    };
    session_with(&mount, variables, "$ cp $FIXTURES/valid-es256.json vec/s1/manifests/es256");
    remount(
        &mut mount,
        "rm -r docker/registry/v2/repositories/vec/s1/_manifests/revisions/sha256/*/signatures",
    );
    session_with(
        &mount,
        variables,
        "
        $ cat vec/s1/manifests/es256 > ../signed
        $ getfattr --only-values -n user.regfs.signed_by vec/s1/manifests/es256 > ../key
        $ jq -j .kid $STORE/regfs/signing-key.json | cmp - ../key
        $ stat -c %a $STORE/regfs/signing-key.json
        600
        ",
    );
    // It is the same each time, until there is another key.
    remount(&mut mount, "");
    session_with(&mount, variables, "$ cmp vec/s1/manifests/es256 ../signed");
    remount(&mut mount, "echo damaged > regfs/signing-key.json");
    session_with(
        &mount,
        variables,
        "
        $ cat vec/s1/manifests/es256
        cat: vec/s1/manifests/es256: Required key not available
        [exit 1]
        ",
    );
    mount.assert_error(&["ENOKEY", "vec/s1/manifests/es256", "regfs/signing-key.json"]);
    remount(&mut mount, "mv regfs/signing-key.json old-key");
    session_with(
        &mount,
        variables,
        "
        $ cat vec/s1/manifests/es256 > ../again
        $ cmp -s ../again ../signed
        [exit 1]
        $ test $(jq -S 'del(.signatures)' ../again | sha256sum | cut -c1-64) = $(jq -S 'del(.signatures)' $FIXTURES/valid-es256.json | sha256sum | cut -c1-64)
        ",
    );
}

/// `compatibility: schema1: signingkeyfile:` of the registry names the key of the store.
#[test]
fn the_stock_registry_signs_with_the_key_of_the_store() {
    needs!("fuse", "docker-registry", "curl", "jq", "getfattr");
    let mount = filled();
    let fixtures = fixtures();
    session_with(
        &mount,
        &[("FIXTURES", &*fixtures)],
        "
        $ cp $FIXTURES/valid-es256.json vec/s1/manifests/es256
        $ rm -r ../store/docker/registry/v2/repositories/vec/s1/_manifests/revisions/sha256/*/signatures
        $ getfattr --only-values -n user.regfs.signed_by vec/s1/manifests/es256 > ../key
        ",
    );
    let registry = Registry::serve(mount.store());
    session_with(
        &mount,
        &[("REGISTRY", &registry.address())],
        "
        $ curl -s http://$REGISTRY/v2/vec/s1/manifests/es256 | jq -j '.signatures[].header.jwk.kid' | cmp - ../key
        ",
    );
}

#[test]
fn a_signed_manifest_put_in_the_mount_is_served_by_the_stock_registry_and_survives_its_collector() {
    needs!("fuse", "docker-registry", "curl");
    let mount = filled();
    let registry = Registry::serve(mount.store());
    session_with(
        &mount,
        &[("FIXTURES", &*fixtures()), ("REGISTRY", &registry.address()), ("KEY", KEY)],
        "
        $ cp $FIXTURES/valid-es256.json vec/s1/manifests/es256
        $ curl -s -H 'Accept: application/vnd.docker.distribution.manifest.v1+prettyjws' http://$REGISTRY/v2/vec/s1/manifests/es256 | jq -r '.name, .tag'
        vec/s1
        es256
        ",
    );
    // The collector does not know signatures, and takes them for garbage.
    let collected = Registry::collect_garbage(mount.store());
    assert!(collected.contains("1 blobs and 0 manifests eligible for deletion"), "{collected}");
    session_with(
        &mount,
        &[("FIXTURES", &*fixtures())],
        "
        $ jq -r '.name, .tag' vec/s1/manifests/es256
        vec/s1
        es256
        $ cp vec/s1/manifests/es256 ../again; cp ../again vec/s1/manifests/es256
        $ ls vec/s1/layers | wc -l
        2
        ",
    );
}
