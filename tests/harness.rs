//! The helpers of the tests, tested on plain folders: a test that cannot fail proves nothing.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use common::{Registry, image, needs, run_in, scratch, session, session_with};
use std::panic::catch_unwind;

#[test]
fn a_session_shows_what_the_user_sees() {
    let folder = scratch();
    session_with(
        &folder,
        &[("NAME", "world"), ("NAMES", "worlds")],
        "
        $ mkdir a
        $ cd a
        $ echo hello $NAME > b; cat b
        hello $NAME
        $ printf '%s\\n' 1 2 3 4 $NAMES
        1
        *
        4
        $NAMES
        $ echo from 12:34 to 56:78 | cat
        from … to …:78
        $ ls missing
        ls: cannot access 'missing': No such file or directory
        [exit 2]
        ",
    );
}

#[test]
fn a_session_fails_when_something_else_is_seen() {
    for wrong in [
        "$ echo a",
        "$ echo a\nb",
        "$ true\na",
        "$ echo a; echo b\n*\na",
        "$ echo ab\na…c",
        "$ false",
        "$ cd missing\n$ true",
    ] {
        let folder = scratch();
        assert!(catch_unwind(|| session(&folder, wrong)).is_err(), "{wrong}");
    }
}

#[test]
fn an_image_can_be_pushed_to_the_stock_registry_and_pulled_back() {
    needs!("docker-registry", "skopeo", "umoci", "busybox", "jq");
    let folder = scratch();
    let image = image();
    assert_eq!(image.layers.len(), 3);
    let registry = Registry::serve(&folder.path().join("store"));
    let copy = "skopeo --insecure-policy copy -q --preserve-digests";
    let (address, layout) = (registry.address(), image.layout.display().to_string());
    run_in(
        folder.path(),
        &format!("{copy} --dest-tls-verify=false oci:{layout}:1.35 docker://{address}/x/y:1"),
    );
    run_in(
        folder.path(),
        &format!("{copy} --src-tls-verify=false docker://{address}/x/y:1 oci:back:1"),
    );
    session(&folder, &format!("$ diff -r back/blobs {layout}/blobs"));
}
