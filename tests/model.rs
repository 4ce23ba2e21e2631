//! Random programs do the same on real mounts as on a model that is obviously right.
//!
//! Here they run for some seconds, `scripts/soak` lets them run for long. A program that fails is made
//! short and printed: its steps can be put into a test of `model/regressions.rs`, or into a file for
//! REGFS_MODEL_PROGRAM.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![allow(clippy::print_stderr, reason = "how much was run must be seen")]

mod common;
#[path = "model/mod.rs"]
mod model;

use common::needs;
use model::{
    peer::Peer,
    programs::Kind,
    soak::{Plan, soak, successes},
    world::Setting,
};

/// Programs of which most is refused would find little.
#[test]
fn every_kind_of_step_is_drawn_and_succeeds_often() {
    for (word, (successes, drawn)) in successes(Kind::WithRegistry, 40) {
        eprintln!("{word}: {successes} of {drawn}");
        assert!(successes * 1200 >= drawn, "{word}: {successes} of {drawn}");
    }
}

#[test]
fn a_mount_does_what_a_registry_in_memory_does() {
    needs!("fuse", "root");
    soak(Setting::default(), &Plan { kind: Kind::Alone, groups: 120, seconds: 10 });
}

#[test]
fn a_registry_that_pushes_to_the_same_repositories_is_followed() {
    needs!("fuse", "root", "docker-registry");
    let peer = Peer::start();
    let setting = Setting { peer: Some(&peer), ..Setting::default() };
    soak(setting, &Plan { kind: Kind::WithRegistry, groups: 40, seconds: 6 });
}

#[test]
fn a_registry_that_pushes_all_the_time_is_in_nobodys_way() {
    needs!("fuse", "root", "docker-registry");
    let peer = Peer::start();
    let setting = Setting { peer: Some(&peer), foreign: Some("foreign"), ..Setting::default() };
    soak(setting, &Plan { kind: Kind::Alone, groups: 60, seconds: 4 });
}

#[test]
fn two_mounts_of_a_store_show_the_same() {
    needs!("fuse", "root");
    let setting = Setting { two_mounts: true, ..Setting::default() };
    soak(setting, &Plan { kind: Kind::TwoMounts, groups: 40, seconds: 5 });
}
