//! `regfs verify`: what it finds, what it passes over, and that it does no harm beside mounts and a
//! docker-registry at work.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;
#[path = "verify/flips.rs"]
mod flips;
#[path = "verify/kills.rs"]
mod kills;

use common::{
    Mount, Registry, digest_of, fixture, image, manifest_of, needs, run_in, run_within, session,
    session_with, try_in,
};
use std::{fs, path::PathBuf, thread, time::Duration};

/// The repository that `Mount::with_image` fills.
const REPOSITORY: &str = "library/busybox";

/// A mounted store with one repository `a`: a config, a layer, and a manifest tagged `v1`.
struct Small {
    mount: Mount,
    config: String,
    layer: String,
    manifest: String,
}

impl Small {
    fn new() -> Self {
        let mount = Mount::empty();
        let config = mount.push_layer("a", b"{}");
        let layer = mount.push_layer("a", b"a layer of some bytes");
        let text = manifest_of((&config, 2), &[(&layer, 21)]);
        fs::write(mount.beside().join("manifest"), &text).unwrap();
        fs::write(mount.beside().join("layer"), "a layer of some bytes").unwrap();
        run_in(mount.path(), "cp ../manifest a/manifests/v1");
        Self { mount, config, layer, manifest: digest_of(text.as_bytes()) }
    }

    fn repository(&self) -> PathBuf {
        self.mount.store().join("docker/registry/v2/repositories/a")
    }

    /// A session beside store and mount, in which `$LAYER` and so on are digests, `$BLOB` is the
    /// layer's file and `$A` the repository's folder in the store.
    #[track_caller]
    fn session(&self, text: &str) {
        session_with(
            self.mount.beside(),
            &[
                ("LAYER", &self.layer),
                ("CONFIG", &self.config),
                ("MANIFEST", &self.manifest),
                ("BLOB", self.mount.blob_file(&self.layer).to_str().unwrap()),
                ("A", self.repository().to_str().unwrap()),
                ("LINKS", "_layers/sha256"),
            ],
            text,
        );
    }
}

#[test]
fn a_store_that_was_pushed_to_is_clean() {
    needs!("fuse", "umoci", "busybox", "jq");
    let mount = Mount::with_image(&image());
    session(
        mount.beside(),
        "
        $ regfs verify store
        verified 5 blobs (…), 7 links and 1 manifest in 1 repository, in … s: no damage, no notes
        $ jq -c '[.clean, .whole, .counts.blobs, .counts.damage]' store/regfs/verify-last.json
        [true,true,5,0]
        $ ls store/regfs
        collected
        collector
        gate
        lock
        mounts
        moves
        moves-turnstile
        states
        tmp
        trash
        turnstile
        verify-last.json
        version
        ",
    );
}

#[test]
fn what_is_no_store_is_said_to_be_none() {
    session(
        common::scratch().path(),
        "
        $ regfs verify none
        regfs: there is no registry in none: name the folder that is given to regfs mount, or to docker-registry as its rootdirectory
        [exit 1]
        $ mkdir empty; regfs verify empty
        regfs: there is no registry in empty: …
        [exit 1]
        $ ls empty
        $ regfs verify --since yesterday empty
        error: invalid value 'yesterday' for '--since <DURATION|TIME>': a duration as 25h, or a time (UTC) as 2026-11-01T12:00:00Z
        *
        [exit 2]
        ",
    );
}

#[test]
fn a_flipped_bit_is_found_and_named() {
    needs!("fuse");
    Small::new().session(
        "
        $ printf X | dd of=$BLOB bs=1 seek=7 conv=notrunc status=none
        $ regfs verify store
        damage: blob $LAYER: its bytes have the hash sha256:…; push it again from a good copy, which replaces it
        verified 3 blobs (…), 5 links and 1 manifest in 1 repository, in … s: 1 damaged thing, no notes
        [exit 1]
        $ truncate -s 5 $BLOB; regfs verify store
        damage: blob $LAYER: its bytes have the hash sha256:…; …
        verified …: 1 damaged thing, no notes
        [exit 1]
        $ truncate -s 0 $BLOB; regfs verify store
        damage: blob $LAYER: it is empty; …
        verified …: 1 damaged thing, no notes
        [exit 1]
        $ cp layer $BLOB; regfs verify store
        verified …: no damage, no notes
        ",
    );
}

#[test]
fn damaged_links_are_found_and_healed_by_copying_again() {
    needs!("fuse");
    let small = Small::new();
    small.session(
        "
        $ echo garbage > $A/$LINKS/${LAYER#sha256:}/link; regfs verify store | sort
        damage: layer $LAYER of a: it holds no digest; …
        damage: manifest $MANIFEST of a: its repository does not have $LAYER; push what is missing, or remove the tag (rm)
        verified …: 2 damaged things, no notes
        $ cp layer mnt/a/layers/$LAYER; regfs verify store
        verified …: no damage, no notes
        $ printf %s $CONFIG > $A/$LINKS/${LAYER#sha256:}/link; regfs verify store
        damage: layer $LAYER of a: it leads to $CONFIG, and lies under $LAYER; …
        verified …: 1 damaged thing, no notes
        [exit 1]
        $ rm mnt/a/layers/$LAYER; cp layer mnt/a/layers/; mv mnt/a/uploads/layer mnt/a/layers/$LAYER
        *
        $ cp layer mnt/a/layers/$LAYER; regfs verify store
        verified …: no damage, no notes
        ",
    );
}

#[test]
fn a_tag_that_leads_nowhere_is_found() {
    needs!("fuse");
    let small = Small::new();
    let other = digest_of(b"other");
    fs::write(small.repository().join("_manifests/tags/v1/current/link"), &other).unwrap();
    small.session(
        "
        $ regfs verify store
        damage: tag v1 of a: it leads to sha256:…, which its repository does not have; push the manifest again, or remove the name (rm)
        verified …: 1 damaged thing, no notes
        [exit 1]
        $ rm mnt/a/manifests/v1; regfs verify store
        verified …: no damage, no notes
        ",
    );
}

#[test]
fn a_manifest_without_a_layer_is_damage_while_a_tag_leads_to_it() {
    needs!("fuse");
    Small::new().session(
        "
        $ rm mnt/a/layers/$LAYER; regfs verify store
        damage: manifest $MANIFEST of a: its repository does not have $LAYER; …
        verified …: 1 damaged thing, no notes
        [exit 1]
        $ rm mnt/a/manifests/v1; regfs verify store
        note: manifest $MANIFEST of a: its repository does not have $LAYER; …
        verified …: no damage, 1 note
        $ rm mnt/a/manifests/$MANIFEST; regfs verify store
        verified …: no damage, no notes
        ",
    );
}

#[test]
fn an_index_may_name_what_was_never_copied_here() {
    needs!("fuse");
    let small = Small::new();
    let absent = digest_of(b"for another processor");
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{{"digest":"{}","size":1}},{{"digest":"{absent}","size":1}}]}}"#,
        small.manifest
    );
    let mut mount = small.mount;
    mount.remount_with(&["relaxed"]);
    fs::write(mount.beside().join("index"), index).unwrap();
    session_with(
        mount.beside(),
        &[("ABSENT", &absent), ("LAYER", &small.layer), ("MANIFEST", &small.manifest)],
        "
        $ cp index mnt/a/manifests/multi; rm mnt/a/manifests/v1
        $ regfs verify store
        note: manifest sha256:… of a: its repository does not have $ABSENT; nothing, unless they are wanted here: then push them
        verified …: no damage, 1 note
        $ rm mnt/a/layers/$LAYER; regfs verify store | sort
        damage: manifest $MANIFEST of a: its repository does not have $LAYER; …
        note: manifest sha256:… of a: its repository does not have $ABSENT; …
        verified …: 1 damaged thing, 1 note
        ",
    );
}

#[test]
fn what_nobody_misses_is_a_note() {
    needs!("fuse");
    let small = Small::new();
    small.session(
        "
        $ touch store/notes.txt $A/$LINKS/x; ln -s / $A/_manifests/tags/link; mkdir -p store/docker/registry/v2/blobs/md5/ab
        $ printf x > mnt/a/uploads/old; touch -d '9 days ago' $A/_uploads/* $A/_uploads/*/*
        $ printf x > mnt/a/uploads/new
        $ regfs verify store | sort
        note: docker/registry/v2/blobs/md5: a folder that belongs neither to a registry nor to regfs; move it out of the store
        note: docker/registry/v2/repositories/a/_layers/sha256/x: a file that …
        note: docker/registry/v2/repositories/a/_manifests/tags/link: a symbolic link that …
        note: notes.txt: a file that belongs neither to a registry nor to regfs; move it out of the store
        note: upload …-…-… of a: nobody has written to it for 9days; finish it, or remove it (rm)
        verified …: no damage, 5 notes
        $ regfs verify --uploads-older-than 10days store | grep -c upload
        0
        [exit 1]
        ",
    );
}

#[test]
fn symbolic_links_are_never_followed() {
    needs!("fuse");
    let small = Small::new();
    small.session(
        "
        $ mv $BLOB layer.data; ln -s $PWD/layer.data $BLOB
        $ regfs verify store | sort
        damage: layer $LAYER of a: it leads to $LAYER, which is no file; …
        damage: manifest $MANIFEST of a: …
        note: docker/registry/v2/blobs/sha256/…/data: a symbolic link that …
        verified 2 blobs …: 2 damaged things, 1 note
        $ rm $BLOB; mv layer.data $BLOB; mv $A $PWD/elsewhere; ln -s $PWD/elsewhere $A
        $ regfs verify store
        note: docker/registry/v2/repositories/a: a symbolic link that …
        verified 3 blobs (…), 0 links and 0 manifests in 0 repositories, …
        ",
    );
}

#[test]
fn what_is_in_quarantine_says_so_until_it_is_pushed_again() {
    needs!("fuse");
    let mut small = Small::new();
    small.session(
        "
        $ printf X | dd of=$BLOB bs=1 seek=7 conv=notrunc status=none; cp $BLOB damaged
        $ regfs verify --quarantine store | sort
        damage: blob $LAYER: its bytes have the hash sha256:…; it was moved to regfs/quarantine/$LAYER; push it again from a good copy, which replaces it
        damage: layer $LAYER of a: it leads to $LAYER, which is in quarantine: regfs verify moved it …
        damage: manifest $MANIFEST of a: its repository does not have $LAYER; …
        verified …: 3 damaged things, no notes
        $ cmp damaged store/regfs/quarantine/$LAYER/data; grep -c 'its bytes have the hash' store/regfs/quarantine/$LAYER/reason
        1
        $ sleep 5.5; cat mnt/a/layers/$LAYER
        cat: …: Bad message
        [exit 1]
        $ ls mnt/a/layers | grep -c $LAYER
        1
        ",
    );
    let digest = small.layer.clone();
    small.mount.assert_error(&["EBADMSG", &digest, "regfs verify moved it", "copy it here again"]);
    small.session(
        "
        $ regfs verify store | tail -1
        verified 2 blobs …: 2 damaged things, no notes
        $ cp layer mnt/a/layers/$LAYER; cmp layer mnt/a/layers/$LAYER
        $ regfs verify store
        verified 3 blobs …: no damage, no notes
        $ ls store/regfs/quarantine/$LAYER
        data
        $ printf Y > $BLOB; regfs verify --quarantine store > quarantined
        [exit 1]
        $ ls store/regfs/quarantine/$LAYER
        data
        data.2
        reason
        $ mv mnt/a/manifests/v1 mnt/a/manifests/v2; mkdir mnt/b; cp layer mnt/b/layers/$LAYER; cmp layer mnt/a/layers/$LAYER
        ",
    );
    small.mount.remount();
    small.session("$ cmp layer mnt/a/layers/$LAYER");
}

/// To a docker-registry it is not there, so that clients push it again.
#[test]
fn what_is_in_quarantine_is_healed_through_a_registry() {
    needs!("fuse", "docker-registry", "skopeo", "umoci", "busybox", "jq", "curl");
    let image = image();
    let mount = Mount::with_image(&image);
    let registry = Registry::serve(mount.store());
    let layer = &image.layers[1];
    fs::write(mount.blob_file(layer), "damaged").unwrap();
    session_with(
        mount.beside(),
        &[
            ("LAYER", layer),
            ("LAYOUT", image.layout.to_str().unwrap()),
            ("AT", &format!("{}/v2/{REPOSITORY}/blobs", registry.address())),
            ("TO", &format!("{}/{REPOSITORY}:1.35", registry.address())),
        ],
        "
        $ regfs verify --quarantine store > found
        [exit 1]
        $ curl -s -o answer -w '%{http_code}' http://$AT/$LAYER; echo
        404
        $ skopeo --insecure-policy copy -q --preserve-digests --dest-tls-verify=false oci:$LAYOUT:1.35 docker://$TO
        $ regfs verify store
        verified 5 blobs …: no damage, no notes
        $ sha256sum mnt/library/busybox/layers/$LAYER | cut -c-64 | sed s/^/sha256:/
        $LAYER
        ",
    );
}

/// A manifest, whose content is read and remembered otherwise than a layer's.
#[test]
fn a_manifest_in_quarantine_is_healed_by_its_tag() {
    needs!("fuse");
    let small = Small::new();
    let file = small.mount.blob_file(&small.manifest);
    fs::write(file, "{").unwrap();
    small.session(
        "
        $ regfs verify --quarantine store | sort
        damage: blob $MANIFEST: its bytes have …
        damage: manifest $MANIFEST of a: it leads to $MANIFEST, which is in quarantine: …
        damage: tag v1 of a: it leads to $MANIFEST, which is in quarantine: …
        verified …: 3 damaged things, no notes
        $ sleep 1; cat mnt/a/manifests/v1
        cat: mnt/a/manifests/v1: Bad message
        [exit 1]
        $ cp manifest mnt/a/manifests/v1; cmp manifest mnt/a/manifests/v1
        $ regfs verify store
        verified …: no damage, no notes
        ",
    );
}

#[test]
fn json_is_for_programs() {
    needs!("fuse", "jq");
    Small::new().session(
        "
        $ regfs verify --json store | jq -c '[.result, .findings, .counts.blobs, .counts.links, .bytes > 100, .seconds > 0]'
        [\"clean\",[],3,5,true,true]
        $ touch store/x; printf X > $BLOB; regfs verify --json store > found.json
        [exit 1]
        $ jq -c '[.result, .counts.damage, .counts.notes]' found.json
        [\"damage\",1,1]
        $ jq -c '.findings[] | select(.severity == \"damage\") | [.kind, .subject, .path]' found.json
        [\"blob_damaged\",\"blob $LAYER\",\"docker/registry/v2/blobs/sha256/…/data\"]
        $ jq -c '.findings[] | select(.severity == \"note\") | [.kind, .subject, .path]' found.json
        [\"foreign\",\"x\",\"x\"]
        $ jq -c '.findings[] | keys' found.json | uniq
        [\"kind\",\"path\",\"reason\",\"remedy\",\"severity\",\"subject\"]
        ",
    );
}

#[test]
fn since_leaves_out_what_has_not_changed() {
    needs!("fuse");
    let small = Small::new();
    thread::sleep(Duration::from_millis(3100));
    small.session(
        "
        $ regfs verify --since 3s store
        verified 0 blobs (0 B), 0 links and 0 manifests in 1 repository, …: no damage, no notes
        $ printf X > $BLOB; regfs verify --since 3s store
        damage: blob $LAYER: …
        verified 1 blob (1 B), 0 links and 0 manifests in 1 repository, …: 1 damaged thing, no notes
        [exit 1]
        $ regfs verify --since 2030-01-01 store
        verified 0 blobs …: no damage, no notes
        $ jq .whole store/regfs/verify-last.json
        false
        ",
    );
}

#[test]
fn a_tarsum_must_be_that_of_what_it_leads_to() {
    needs!("fuse");
    let mount = Mount::empty();
    let vectors: Vec<serde_json::Value> =
        serde_json::from_slice(&fs::read(fixture("tarsum.json")).unwrap()).unwrap();
    let vector = |name: &str| vectors.iter().find(|vector| vector["name"] == name).unwrap();
    let (ab, one) = (vector("two-files-ab"), vector("one-file"));
    let sum = |vector: &serde_json::Value| {
        vector["expect"]["tarsum.v1+sha256"].as_str().unwrap().to_owned()
    };
    let file = fixture("tarsum").join(ab["file"].as_str().unwrap());
    let other = common::digest_of_file(&fixture("tarsum").join(one["file"].as_str().unwrap()));
    session_with(
        mount.beside(),
        &[
            ("FILE", file.to_str().unwrap()),
            ("ONE", fixture("tarsum").join(one["file"].as_str().unwrap()).to_str().unwrap()),
            ("SUM", &sum(ab)),
            ("HEX", sum(ab).rsplit(':').next().unwrap()),
            ("OTHER", &other),
        ],
        "
        $ mkdir mnt/a; cp $FILE mnt/a/layers/$SUM; cp $ONE mnt/a/layers/$OTHER
        $ regfs verify store
        verified 2 blobs (…), 3 links and 0 manifests …: no damage, no notes
        $ printf %s $OTHER > store/docker/registry/v2/repositories/a/_layers/tarsum/v1/sha256/$HEX/link
        $ regfs verify store
        damage: layer $SUM of a: it leads to $OTHER, which is tarsum.v1+sha256:…; …
        verified …: 1 damaged thing, no notes
        [exit 1]
        ",
    );
}

#[test]
fn signed_manifests_and_their_signatures_are_verified() {
    needs!("fuse");
    let mount = Mount::empty();
    mount.push_signed_layers("vec/s1");
    let from = fixture("schema1").join("valid-es256.json");
    session_with(
        mount.beside(),
        &[
            ("FROM", from.to_str().unwrap()),
            (
                "REVISIONS",
                "store/docker/registry/v2/repositories/vec/s1/_manifests/revisions/sha256",
            ),
        ],
        "
        $ cp $FROM mnt/vec/s1/manifests/es256
        $ regfs verify store
        verified 4 blobs (…), 6 links and 1 manifest in 1 repository, …: no damage, no notes
        $ for link in $REVISIONS/*/signatures/sha256/*/link; do printf x >> $link; done
        $ regfs verify store
        damage: signature sha256:… on manifest sha256:… of vec/s1: it holds no digest; …
        verified …: 1 damaged thing, no notes
        [exit 1]
        ",
    );
}

#[test]
fn a_store_that_can_only_be_read_is_verified_all_the_same() {
    needs!("fuse", "root");
    let mut small = Small::new();
    small.mount.unmount();
    small.session(
        "
        $ mkdir ro; mount --bind store ro; mount -o remount,bind,ro ro
        $ regfs verify ro; umount ro
        verified 3 blobs …: no damage, no notes
        regfs: the result is not kept in the store: could not …: Read-only file system
        $ mount --bind store ro; mount -o remount,bind,ro ro
        $ regfs verify --quarantine ro || { umount ro; exit 1; }
        regfs: could not …: Read-only file system; the disk is read-only: leave --quarantine out
        [exit 1]
        ",
    );
}

#[test]
fn what_cannot_be_read_is_damage() {
    needs!("fuse", "setpriv", "root");
    let mut small = Small::new();
    small.mount.unmount();
    small.session(
        "
        $ chmod 755 . ; chmod 000 $BLOB; chmod -R o+rX store/regfs
        $ setpriv --reuid 65534 --regid 65534 --clear-groups regfs verify store
        damage: docker/registry/v2/blobs/sha256/…/data: could not open …: Permission denied; let this user read the store, …
        verified 2 blobs …: 1 damaged thing, no notes
        regfs: the result is not kept in the store: …
        [exit 1]
        ",
    );
}

/// What root has verified, its owner can mount.
#[test]
fn root_leaves_a_store_to_its_owner() {
    needs!("root");
    let folder = common::scratch();
    let v2 = folder.path().join("store/docker/registry/v2");
    fs::create_dir_all(v2.join("blobs/sha256")).unwrap();
    fs::create_dir_all(v2.join("repositories")).unwrap();
    session(
        folder.path(),
        "
        $ chown -R 65534:65534 store; regfs verify store
        verified 0 blobs (0 B), 0 links and 0 manifests in 0 repositories, …: no damage, no notes
        $ find store ! -user 65534
        ",
    );
}

#[test]
fn what_mounts_and_a_registry_do_meanwhile_is_no_damage() {
    needs!("fuse", "docker-registry", "skopeo", "umoci", "busybox", "jq", "curl");
    let image = image();
    let mount = Mount::with_image(&image);
    let registry = Registry::serve(mount.store());
    let beside = mount.beside();
    let layout = image.layout.display().to_string();
    let address = registry.address();
    let push = format!(
        "for n in 1 2 3 4 5 6; do skopeo --insecure-policy copy -q --dest-tls-verify=false \
         oci:{layout}:1.35 docker://{address}/pushed/by$n:1; \
         skopeo delete --tls-verify=false docker://{address}/pushed/by$n:1; done"
    );
    let blob = image.blob(&image.layers[0]).display().to_string();
    let (layer, manifest) = (&image.layers[0], image.blob(&image.manifest).display().to_string());
    let blobs: String = image
        .layers
        .iter()
        .chain([&image.config])
        .map(|digest| format!("cp {} mnt/w$n/layers/{digest}; ", image.blob(digest).display()))
        .collect();
    let write = format!(
        "for n in $(seq 12); do mkdir -p mnt/w$n; {blobs} cp {manifest} mnt/w$n/manifests/1; \
         ln mnt/w$n/manifests/1 mnt/w$n/manifests/2; cp {blob} mnt/w$n/uploads/x; \
         mv mnt/w$n/uploads/x mnt/w$n/layers/{layer}; rm -r mnt/w$n; done; \
         for n in $(seq 40); do head -c 70000 /dev/urandom > f; \
         cp f mnt/{REPOSITORY}/layers/sha256:$(sha256sum < f | cut -c-64); done"
    );
    let done = std::sync::atomic::AtomicUsize::new(0);
    let mut runs = 0;
    thread::scope(|scope| {
        for work in [&push, &write] {
            scope.spawn(|| {
                run_within(Duration::from_secs(120), beside, work);
                done.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            });
        }
        while done.load(std::sync::atomic::Ordering::Relaxed) < 2 {
            let (code, text) = try_in(beside, &[], "regfs verify store");
            assert_eq!(code, Some(0), "{text}");
            runs += 1;
        }
    });
    assert!(runs >= 3, "{runs} runs");
    session(beside, "$ regfs verify --quarantine store | grep -v ^note\nverified …: no damage, …");
}
