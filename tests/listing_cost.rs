//! What a listing costs: requests, and memory of the daemon.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use common::{Crowd, Disk, Mount, Strace, is_root, needs, run_in, run_within, scratch};
use std::{fs, path::PathBuf, time::Duration};

/// How many requests of a kind there were.
fn requests(mount: &Mount, operation: &str) -> f64 {
    mount.metric(&format!("regfs_operations_total{{operation=\"{operation}\"}}"))
}

/// How many requests of each of `operations` a command makes.
fn requests_of<const N: usize>(mount: &Mount, operations: [&str; N], command: &str) -> [f64; N] {
    let before = operations.map(|operation| requests(mount, operation));
    run_in(mount.path(), command);
    let mut made = operations.map(|operation| requests(mount, operation));
    made.iter_mut().zip(before).for_each(|(made, before)| *made -= before);
    made
}

#[test]
fn ls_with_attributes_asks_for_many_at_once_and_ls_without_asks_for_none() {
    needs!("fuse");
    const COUNT: usize = 3_000;
    let mut mount = Mount::unmounted();
    let crowd = Crowd::of(mount.store());
    (0..COUNT).for_each(|number| drop(crowd.layer("a", format!("{number}").as_bytes())));
    mount.mount(&[]);
    let kinds = ["lookup", "getattr", "readdir", "readdirplus"];
    // The first reply is one with attributes, whoever asks.
    let [lookups, getattrs, plain, with_attributes] =
        requests_of(&mount, kinds, "ls -f a/layers | wc -l");
    assert!(lookups + getattrs < 20.0, "{lookups} look-ups, {getattrs} of attributes");
    assert!((1.0..=2.0).contains(&with_attributes), "{with_attributes}");
    assert!(plain < COUNT as f64 / 50.0, "{plain}");
    let known = mount.metric("regfs_known_inodes");
    assert!(known < COUNT as f64 / 4.0, "the kernel was given {known} inodes");

    let [lookups, getattrs, plain, with_attributes] =
        requests_of(&mount, kinds, "ls -l a/layers | wc -l");
    assert!(lookups + getattrs < COUNT as f64 / 10.0, "{lookups} and {getattrs}");
    assert!(plain < 3.0, "{plain}");
    assert!(with_attributes < COUNT as f64 / 50.0, "{with_attributes}");
}

#[test]
fn ls_looks_at_none_of_the_tags_that_it_lists() {
    needs!("fuse", "root", "strace");
    const COUNT: usize = 10_000;
    let mut mount = Mount::unmounted();
    Crowd::of(mount.store()).staying_tags("a", COUNT);
    mount.mount(&[]);
    let trace = mount.beside().join("trace");
    let looks = ["-e".to_owned(), "trace=openat2,newfstatat,statx,fstat".to_owned()];
    let strace = Strace::attach(mount.pid(), &looks, &trace);
    let listed = run_in(mount.path(), "ls a/manifests | wc -l");
    strace.detach();
    assert_eq!(listed.trim(), COUNT.to_string());
    // The first reply is one with attributes: of two hundred tags, by some calls each.
    let looks = fs::read_to_string(trace).unwrap().lines().count();
    assert!(looks < COUNT / 4, "{looks} looks at the disk for {COUNT} tags");
}

/// What the daemon has of memory, and the most it ever had, in bytes.
fn memory(mount: &Mount) -> [u64; 2] {
    let status = fs::read_to_string(format!("/proc/{}/status", mount.pid())).unwrap();
    ["VmRSS:", "VmHWM:"].map(|field| {
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    })
}

/// How many tags are listed: 50,000, or REGFS_TEST_CROWD.
fn crowd() -> usize {
    std::env::var_os("REGFS_TEST_CROWD")
        .map_or(50_000, |text| text.to_str().unwrap().parse().unwrap())
}

/// What a listing may take: 4 MiB for the numbers it has shown, the first page of attributes, and
/// what threads take that were not there before. A list of the names would take 20 MiB.
const LISTING_BYTES_MAX: u64 = 10 << 20;

#[test]
fn a_listing_of_any_length_takes_little_memory() {
    needs!("fuse");
    let folder = scratch();
    let disk = is_root().then(|| Disk::new("tmpfs"));
    let store: PathBuf = disk.as_ref().map_or(folder.path().join("store"), Disk::store);
    let crowd_of = Crowd::of(&store);
    let digest = crowd_of.manifest("a", "x");
    // As long as tags get.
    crowd_of.tags("a", &digest, (0..crowd()).map(|number| format!("{number:0128}")));
    let mount = Mount::of_store(&store);
    run_in(mount.path(), "ls a/layers");

    let [before, _] = memory(&mount);
    let listed = run_within(Duration::from_secs(120), mount.path(), "ls -f a/manifests | wc -l");
    assert_eq!(listed.trim(), (crowd() + 2).to_string());
    let [after_ls, most] = memory(&mount);
    let grown = most - before;
    assert!(grown < LISTING_BYTES_MAX, "{grown} bytes for a listing without attributes");

    // With attributes the kernel holds an inode for each, until it needs the memory.
    run_within(Duration::from_secs(240), mount.path(), "ls -l a/manifests | wc -l");
    let [with_attributes, _] = memory(&mount);
    let each = with_attributes.saturating_sub(after_ls) / crowd() as u64;
    // Tags of this length take 418 here, of which the names are 144.
    assert!(each < 600, "{each} bytes for each inode");
    if !is_root() || fs::write("/proc/sys/vm/drop_caches", "2").is_err() {
        return;
    }
    common::eventually(Duration::from_secs(60), "the kernel forgets", || {
        mount.metric("regfs_known_inodes") < 1_000.0
    });
    // Less than a third of what they took is left: pages that others have a part of stay.
    let bound = after_ls + with_attributes.saturating_sub(after_ls) / 3;
    common::eventually(Duration::from_secs(60), "the daemon gives memory back", || {
        memory(&mount)[0] < bound
    });
}
