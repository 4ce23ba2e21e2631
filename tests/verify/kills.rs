//! Runs that are interrupted, and go on later.

use super::common::{self, Mount, digest_of, needs, noise, session_with};
use std::fs;

/// How many blobs there are, and how long each is: together they take a while even at full speed.
const BLOBS: u64 = 300;
const BLOB_BYTES: usize = 2 << 20;

/// A store of many blobs that nobody links, one of which is damaged.
fn filled() -> (Mount, String) {
    let mount = Mount::unmounted();
    let v2 = mount.store().join("docker/registry/v2");
    fs::create_dir_all(v2.join("repositories")).unwrap();
    let mut first: Option<String> = None;
    for number in 0..BLOBS {
        let bytes = noise(number, BLOB_BYTES);
        let digest = digest_of(&bytes);
        let file = mount.blob_file(&digest);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, bytes).unwrap();
        first = first.into_iter().chain([digest]).min();
    }
    // The first of all, so that every run that goes on has passed it.
    let first = first.unwrap();
    fs::write(mount.blob_file(&first), "damaged").unwrap();
    (mount, first)
}

#[test]
fn an_interrupted_run_goes_on_where_it_stopped() {
    needs!("fuse", "jq");
    let (mount, damaged) = filled();
    session_with(
        mount.beside(),
        &[("DAMAGED", &damaged)],
        "
        $ sleep 2.1
        $ regfs verify --threads 1 store & until test $(sed -n 's/^rchar: //p' /proc/$!/io) -gt 100000000; do :; done; kill -INT $!; wait $!
        *
        regfs: stopped after docker/registry/v2/blobs/sha256/…; regfs verify --resume store goes on there, and looks at all links then
        [exit 130]
        $ jq -c '[.findings[].kind]' store/regfs/verify-state.json
        [\"blob_damaged\"]
        $ jq .blobs store/regfs/verify-state.json > before; test $(cat before) -ge 1 && test $(cat before) -lt 300
        $ regfs verify --resume --threads 1 store & until test $(sed -n 's/^rchar: //p' /proc/$!/io) -gt 50000000; do :; done; kill -TERM $!; wait $!
        *
        regfs: stopped after …
        [exit 143]
        $ test $(jq .blobs store/regfs/verify-state.json) -ge $(cat before)
        $ regfs verify --resume store
        damage: blob $DAMAGED: …
        verified 300 blobs …: 1 damaged thing, no notes
        [exit 1]
        $ test -e store/regfs/verify-state.json
        [exit 1]
        $ regfs verify --resume store | tail -1
        regfs: there is no interrupted run to resume: this one begins anew
        verified 300 blobs …: 1 damaged thing, no notes
        ",
    );
}
