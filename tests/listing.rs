//! Crowded folders: whatever comes and goes while a tool lists one, each entry that is there all the
//! time is listed exactly once.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use common::{
    Crowd, Disk, Mount, Registry, digest_of, is_root, lack_of, needs, run_in, run_within, scratch,
};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

/// How many tags, or layers, there are in the crowded folders: 50,000, or REGFS_TEST_CROWD.
fn crowd() -> usize {
    std::env::var_os("REGFS_TEST_CROWD")
        .map_or(50_000, |text| text.to_str().unwrap().parse().unwrap())
}

/// How long one tool may take for the longest listing, while others do the same.
const PATIENCE: Duration = Duration::from_secs(240);

/// Reads a folder with the system call itself and a buffer of `BYTES`, as programs of other C
/// libraries do: 2,048 is musl's.
const GETDENTS: &str = r#"
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
folder, size = os.open(sys.argv[1], os.O_RDONLY), int(sys.argv[2])
buffer = ctypes.create_string_buffer(size)
while True:
    length = libc.getdents64(folder, buffer, size)
    if length < 0:
        raise OSError(ctypes.get_errno(), "getdents64")
    if length == 0:
        break
    at = 0
    while at < length:
        ino, off, reclen, kind = struct.unpack_from("<QqHB", buffer, at)
        print(buffer.raw[at + 19:at + reclen].split(b"\0")[0].decode())
        at += reclen
"#;

/// Commands that list the folder they run in, one name in each line. Two of them look at each file.
const TOOLS: &[&str] = &[
    "ls -f",
    "ls -l | tail -n +2",
    "find . -mindepth 1",
    "python3 -c 'import os; [print(e.name) for e in os.scandir() if e.is_file()]'",
    "python3 ../../../getdents.py . 2048",
    "python3 ../../../getdents.py . 1000000",
    "busybox ls",
    "rsync -rn --out-format=%n ./ ../../../nowhere/",
];

/// A store on a disk of its own kind where that can be had, which is thrown away at once; otherwise
/// in the scratch folder.
struct Scene {
    // The mount goes before what lies beneath it.
    mount: Mount,
    crowd: Crowd,
    _disk: Option<Disk>,
    _folder: tempfile::TempDir,
}

impl Scene {
    fn on(kind: &str, fill: impl FnOnce(&Crowd)) -> Self {
        let folder = scratch();
        let can = is_root() && (kind == "tmpfs" || lack_of(&["loop", "mkfs.ext4"]).is_none());
        let disk = can.then(|| Disk::new(kind));
        let store = disk.as_ref().map_or(folder.path().join("store"), Disk::store);
        let crowd = Crowd::of(&store);
        fill(&crowd);
        let mount = Mount::of_store(&store);
        fs::write(mount.beside().join("getdents.py"), GETDENTS).unwrap();
        fs::create_dir(mount.beside().join("nowhere")).unwrap();
        Self { mount, crowd, _disk: disk, _folder: folder }
    }

    fn folder(&self, path: &str) -> PathBuf {
        self.mount.path().join(path)
    }
}

/// Runs every tool in `folder` at once, `rounds` times, while `churn` goes on; it is called again
/// and again, by a thread for each of its elements, with the number of the call. Then checks what
/// the tools printed: the names of `staying` once each, and no other name twice.
#[track_caller]
fn assert_whole(
    folder: &Path, staying: &BTreeSet<String>, rounds: usize, churn: &[&(dyn Fn(usize) + Sync)],
) {
    let go = AtomicBool::new(true);
    thread::scope(|scope| {
        for churn in churn {
            let go = &go;
            scope.spawn(move || {
                let mut number = 0;
                while go.load(Ordering::Relaxed) {
                    churn(number);
                    number += 1;
                }
            });
        }
        // A tool that fails must not leave the others running.
        let outcome = std::panic::catch_unwind(|| list(folder, staying, rounds));
        go.store(false, Ordering::Relaxed);
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    });
}

fn list(folder: &Path, staying: &BTreeSet<String>, rounds: usize) {
    thread::scope(|scope| {
        let tools = TOOLS.iter().map(|tool| {
            scope.spawn(move || {
                for _ in 0..rounds {
                    assert_tool_lists(tool, folder, staying);
                }
            })
        });
        let tools: Vec<_> = tools.collect();
        tools.into_iter().for_each(|tool| tool.join().unwrap());
    });
}

/// Whoever looks at an entry that went meanwhile says so: that is right, and no entry.
fn assert_tool_lists(tool: &str, folder: &Path, staying: &BTreeSet<String>) {
    let text = run_within(PATIENCE, folder, &format!("{tool} || true"));
    let mut seen = BTreeSet::new();
    for line in text.lines() {
        let is_complaint = line.contains(": ");
        if is_complaint {
            let is_fair = staying.iter().all(|name| !line.contains(&**name));
            assert!(is_fair, "{tool} says: {line}");
            continue;
        }
        let name = line.rsplit([' ', '/']).find(|part| !part.is_empty()).unwrap_or_default();
        if !matches!(name, "" | "." | "..") {
            assert!(seen.insert(name.to_owned()), "{tool} lists {name} twice");
        }
    }
    let missing: Vec<&String> = staying.difference(&seen).take(10).collect();
    assert!(missing.is_empty(), "{tool} lists {} names, and not {missing:?}", seen.len());
}

fn staying(count: usize) -> BTreeSet<String> {
    (0..count).map(|number| format!("stay-{number}")).collect()
}

fn pause() {
    thread::sleep(Duration::from_millis(2));
}

#[test]
fn of_fifty_thousand_tags_each_is_listed_once_while_others_come_and_go() {
    needs!("fuse", "python3", "busybox", "rsync");
    let scene = Scene::on("ext4", |all| all.staying_tags("a", crowd()));
    let other_mount = Mount::of_store(scene.mount.store());
    let other_manifest = scene.crowd.manifest("a", "another");
    let here = scene.folder("a/manifests");
    let there = other_mount.path().join("a/manifests");
    let bytes = fs::read(here.join(&other_manifest)).unwrap();

    let through_this_mount = |number: usize| {
        let [tag, renamed] =
            ["this", "renamed"].map(|kind| here.join(format!("move-{kind}-{number}")));
        fs::hard_link(here.join("stay-500"), &tag).unwrap();
        rustix::fs::rename(&tag, &renamed).unwrap();
        if number >= 5 {
            fs::remove_file(here.join(format!("move-renamed-{}", number - 5))).unwrap();
        }
        pause();
    };
    let through_another_mount = |number: usize| {
        fs::write(there.join(format!("move-other-{number}")), &bytes).unwrap();
        if number >= 5 {
            fs::remove_file(there.join(format!("move-other-{}", number - 5))).unwrap();
        }
        pause();
    };
    let in_the_store = |number: usize| {
        let name = format!("move-store-{number}");
        scene.crowd.tags("a", &other_manifest, [name]);
        if number >= 5 {
            let tags = scene.crowd.repository("a").join("_manifests/tags");
            fs::remove_dir_all(tags.join(format!("move-store-{}", number - 5))).unwrap();
        }
        pause();
    };
    // These stay, whatever they name.
    let in_place = |number: usize| {
        let tag = here.join(format!("stay-{}", number % 100));
        fs::write(&tag, &bytes).unwrap();
        let other = here.join("stay-200");
        #[expect(clippy::disallowed_methods, reason = "this is what a user does in the mount")]
        let exchanged = renameat_with(CWD, &tag, CWD, other, RenameFlags::EXCHANGE);
        exchanged.unwrap();
        let temporary = here.join(format!("move-link-{number}"));
        fs::hard_link(here.join("stay-300"), &temporary).unwrap();
        rustix::fs::rename(&temporary, &tag).unwrap();
        pause();
    };
    assert_whole(
        &here,
        &staying(crowd()),
        1,
        &[&through_this_mount, &through_another_mount, &in_the_store, &in_place],
    );
}

#[test]
fn tags_that_a_docker_registry_pushes_and_deletes_meanwhile_disturb_no_listing() {
    needs!("fuse", "docker-registry", "curl", "python3", "busybox", "rsync");
    const STAYING: usize = 3_000;
    let scene = Scene::on("tmpfs", |all| all.staying_tags("a", STAYING));
    let registry = Registry::serve(scene.mount.store());
    let address = format!("http://{}/v2/a/manifests", registry.address());
    let config = digest_of(b"{}");
    let push_and_delete = |number: usize| {
        let text = common::manifest_of((&config, 2), &[(&config, 2)])
            .replace("]}", &format!("],\"annotations\":{{\"n\":\"{number}\"}}}}"));
        fs::write(scene.mount.beside().join("manifest"), &text).unwrap();
        let digest = digest_of(text.as_bytes());
        let kind = "content-type: application/vnd.oci.image.manifest.v1+json";
        run_in(
            scene.mount.beside(),
            &format!(
                "curl -sf -T manifest -H '{kind}' {address}/move-{number} &&
                 curl -sf -X DELETE {address}/{digest}"
            ),
        );
    };
    assert_whole(&scene.folder("a/manifests"), &staying(STAYING), 3, &[&push_and_delete]);
}

#[test]
fn of_fifty_thousand_layers_each_is_listed_once_while_others_come_and_go() {
    needs!("fuse", "python3", "busybox", "rsync");
    let content = |number: usize| format!("layer {number}");
    let digest = |number: usize| digest_of(content(number).as_bytes());
    let layers: BTreeSet<String> = (0..crowd()).map(digest).collect();
    let scene = Scene::on("tmpfs", |all| {
        (0..crowd()).for_each(|number| drop(all.layer("a", content(number).as_bytes())));
    });
    let here = scene.folder("a/layers");
    let push_and_remove = |number: usize| {
        // Names that nobody else gives, also for those who say that one of them went.
        let bytes = format!("move {number}");
        let layer = here.join(digest_of(bytes.as_bytes()));
        fs::write(&layer, bytes).unwrap();
        fs::remove_file(&layer).unwrap();
        pause();
    };
    let begin_and_cancel = |number: usize| {
        let staging = here.join(format!(".move-{number}"));
        fs::write(&staging, "x").unwrap();
        fs::remove_file(&staging).unwrap();
        pause();
    };
    assert_whole(&here, &layers, 1, &[&push_and_remove, &begin_and_cancel]);
}

#[test]
fn of_twenty_thousand_repositories_each_is_listed_once_while_others_come_and_go() {
    needs!("fuse", "python3", "busybox");
    const STAYING: usize = 20_000;
    let scene = Scene::on("tmpfs", |all| {
        let folder = |number| all.repository(&format!("team/stay-{number}")).join("_layers");
        (0..STAYING).for_each(|number| fs::create_dir_all(folder(number)).unwrap());
    });
    let here = scene.folder("team");
    let come_and_go = |number: usize| {
        let [made, renamed] =
            ["made", "renamed"].map(|kind| here.join(format!("move-{kind}-{number}")));
        fs::create_dir(&made).unwrap();
        rustix::fs::rename(&made, &renamed).unwrap();
        fs::remove_dir(&renamed).unwrap();
        pause();
    };
    let go = AtomicBool::new(true);
    thread::scope(|scope| {
        scope.spawn(|| (0..).take_while(|_| go.load(Ordering::Relaxed)).for_each(come_and_go));
        for tool in ["ls -f", "ls -l | tail -n +2", "find . -mindepth 1 -maxdepth 1", "busybox ls"]
        {
            assert_tool_lists(tool, &here, &staying(STAYING));
        }
        go.store(false, Ordering::Relaxed);
    });
    // Through all of it, as a mirror goes.
    let folders = run_within(PATIENCE, &here, "find . -type d | wc -l");
    assert_eq!(folders.trim(), (1 + STAYING * 4).to_string());
}

#[test]
fn of_five_thousand_uploads_each_is_listed_once_while_others_come_and_go() {
    needs!("fuse", "python3", "busybox", "rsync");
    const STAYING: usize = 5_000;
    let names = || (0..STAYING).map(|number| format!("stay-{number}"));
    let scene = Scene::on("tmpfs", |all| all.uploads("a", names()));
    let here = scene.folder("a/uploads");
    let come_and_go = |number: usize| {
        let upload = here.join(format!("move-{number}"));
        fs::write(&upload, "x").unwrap();
        fs::remove_file(&upload).unwrap();
        pause();
    };
    assert_whole(&here, &staying(STAYING), 2, &[&come_and_go]);
    // Each is found by its name, too, and the other folders have none of them.
    let found = run_in(&here, "for n in $(seq 0 7 4999); do cat stay-$n; done | wc -c");
    assert_eq!(found.trim(), "715");
    assert_eq!(
        run_in(scene.mount.path(), "ls -A a/layers a/manifests | grep -c stay || true").trim(),
        "0"
    );
}

#[test]
fn a_tag_that_is_renamed_meanwhile_hides_no_other() {
    needs!("fuse", "python3", "busybox", "rsync");
    const STAYING: usize = 3_000;
    let scene = Scene::on("tmpfs", |all| all.staying_tags("a", STAYING + 500));
    let here = scene.folder("a/manifests");
    // Those above go to and fro: they may be listed under either name, under both, or not at all.
    let to_and_fro = |number: usize| {
        let one = here.join(format!("stay-{}", STAYING + number % 500));
        let other = here.join(format!("move-{number}"));
        rustix::fs::rename(&one, &other).unwrap();
        rustix::fs::rename(&other, &one).unwrap();
    };
    let go = AtomicBool::new(true);
    thread::scope(|scope| {
        scope.spawn(|| (0..).take_while(|_| go.load(Ordering::Relaxed)).for_each(to_and_fro));
        for _ in 0..5 {
            let text = run_within(PATIENCE, &here, "ls -f | sort | uniq -c");
            for number in 0..STAYING {
                let line = format!(" 1 stay-{number}");
                let once = text.lines().filter(|seen| seen.ends_with(&line)).count();
                assert_eq!(once, 1, "stay-{number}");
            }
        }
        go.store(false, Ordering::Relaxed);
    });
}
