//! Stores in which something else lies where a file is expected: whatever it is, a mount answers, nothing
//! hangs, nothing is written to a terminal that it would obey, and the daemon goes on.
//!
//! REGFS_HOSTILE says how many of the things are tried; every so many-th is taken then.

use crate::common::{
    self, Mount, digest_of, effort, manifest_of, needs, reliability_row, run_in, run_within, try_in,
};
use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

/// How long it may take to make thousands of strange names, on a machine that has much else to do.
const MANY_NAMES_WITHIN: Duration = Duration::from_secs(600);

/// What is put in the place of a file, and how: `$AT` is where.
const THINGS: &[(&str, &str)] = &[
    ("fifo", "mkfifo \"$AT\""),
    ("folder", "mkdir \"$AT\"; : > \"$AT/file\""),
    (
        "socket",
        "perl -MIO::Socket::UNIX -e 'chdir shift; IO::Socket::UNIX->new(Local=>shift,Listen=>1) or die' \"${AT%/*}\" \"${AT##*/}\"",
    ),
    ("endless device", "mknod \"$AT\" c 1 5"),
    ("empty device", "mknod \"$AT\" c 1 3"),
    ("symbolic link to itself", "ln -s \"${AT##*/}\" \"$AT\""),
    ("symbolic link to /etc/passwd", "ln -s /etc/passwd \"$AT\""),
    ("hundred megabytes", "truncate -s 100M \"$AT\""),
    ("noise", "head -c 3000 /dev/urandom > \"$AT\""),
    ("escape sequences", "printf '\\033]0;owned\\007\\033[2Jsha256:\\n\\033[31m' > \"$AT\""),
    ("nothing", ": > \"$AT\""),
    ("file without rights", "printf x > \"$AT\"; chmod 000 \"$AT\""),
];

/// Files of a repository, relative to the registry's folder; each is replaced in a repository of its own.
const FILES: &[&str] = &[
    "blobs/sha256/${LAYER_SHARD}/$LAYER/data",
    "blobs/sha256/${MANIFEST_SHARD}/$MANIFEST/data",
    "repositories/$R/_layers/sha256/$LAYER/link",
    "repositories/$R/_manifests/tags/v1/current/link",
    "repositories/$R/_manifests/tags/v1/index/sha256/$MANIFEST/link",
    "repositories/$R/_manifests/revisions/sha256/$MANIFEST/link",
    "repositories/$R/_uploads/*/data",
    "repositories/$R/_uploads/*/startedat",
    "repositories/$R/_uploads/*/name",
    "repositories/$R/_uploads",
    "repositories/$R/_manifests/tags",
];

/// What is ours.
const OURS: &[&str] = &[
    "version",
    "lock",
    "gate",
    "turnstile",
    "moves",
    "moves-turnstile",
    "collector",
    "states",
    "states/x",
    "tmp/x",
    "trash/x",
    "mounts",
    "mounts/x",
    "verify-last.json",
    "verify-state.json",
    "gc-last.json",
    "signing-key.json",
    "quarantine",
    "collected",
];

/// How long anything may take. Far longer than it does.
const PATIENCE: Duration = Duration::from_secs(20);
/// Memory of the daemon at its most.
const MEMORY_KIB_MAX: u64 = 256 << 10;

/// Looks at everything, without waiting for an end that does not come.
const LOOK: &str = "
    exec 2>&1
    timeout 10 regfs mount --log log store mnt || { echo REFUSED; exit 0; }
    cd mnt
    timeout 10 ls -lR .; timeout 10 getfattr -R -d . > /dev/null
    for file in */manifests/* */layers/* */uploads/*; do timeout 5 head -c 1000 \"$file\" > /dev/null; done
    for file in */uploads/*; do printf x >> \"$file\"; done
    timeout 5 cat .regfs/errors
    cd ..; timeout 10 regfs status mnt; grep VmHWM /proc/$(jq .pid mnt/.regfs/status)/status
    timeout 10 regfs umount mnt || echo HANGS
";

/// So many of the things as REGFS_HOSTILE says.
fn things() -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    let wanted = usize::try_from(effort("REGFS_HOSTILE", 4)).unwrap().clamp(1, THINGS.len());
    THINGS.iter().step_by(THINGS.len().div_ceil(wanted))
}

struct Scene(Mount);

impl Scene {
    /// A store with a repository for each file that is to be replaced.
    fn new() -> Self {
        let mut mount = Mount::empty();
        for number in 0..FILES.len() {
            let content = format!("layer {number}");
            let layer = mount.push_layer(&format!("r{number}"), content.as_bytes());
            let text = manifest_of((&layer, content.len()), &[]);
            fs::write(mount.beside().join("manifest"), text).unwrap();
            run_in(
                mount.path(),
                &format!("cp ../manifest r{number}/manifests/v1; printf x > r{number}/uploads/x"),
            );
        }
        mount.unmount();
        run_in(mount.beside(), "mv store whole; cp -a whole store");
        Self(mount)
    }

    fn beside(&self) -> &Path {
        self.0.beside()
    }

    fn anew(&self) {
        run_in(self.beside(), "rm -rf store log; cp -a whole store");
    }

    /// Puts `thing` in the place of the file `number`.
    fn replace(&self, number: usize, thing: &str) {
        let content = format!("layer {number}");
        let layer = digest_of(content.as_bytes());
        let manifest = digest_of(manifest_of((&layer, content.len()), &[]).as_bytes());
        let (layer, manifest) = (&layer[7..], &manifest[7..]);
        let variables = [
            ("R", &*format!("r{number}")),
            ("LAYER", layer),
            ("MANIFEST", manifest),
            ("LAYER_SHARD", &layer[..2]),
            ("MANIFEST_SHARD", &manifest[..2]),
        ];
        let script = format!(
            "cd store/docker/registry/v2; AT=$(echo {}); test -e \"$AT\" || exit 7; rm -r \"$AT\"; {thing}",
            FILES[number]
        );
        let (code, text) = try_in(self.beside(), &variables, &script);
        assert_eq!(code, Some(0), "{script}: {text}");
    }

    /// Looks at everything in every way.
    fn look(&self, what: &str, with_verify: bool) -> String {
        let start = Instant::now();
        let mut seen = try_in(self.beside(), &[], LOOK).1;
        if with_verify {
            let verify = "timeout 20 regfs verify store 2>&1; test $? = 124 && echo HANGS; cat log";
            seen += &try_in(self.beside(), &[], verify).1;
        }
        assert!(!seen.contains("HANGS"), "{what}: it hangs\n{seen}");
        assert!(start.elapsed() < PATIENCE * 2, "{what}: it took {:?}\n{seen}", start.elapsed());
        assert!(!seen.contains("panicked"), "{what}: {seen}");
        let is_obeyed = |c: char| c.is_control() && c != '\n' && c != '\t';
        let line = seen.lines().find(|line| line.contains(is_obeyed));
        assert!(line.is_none(), "{what}: a terminal would obey {line:?}");
        let memory = seen.lines().find_map(|line| {
            line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()
        });
        match memory {
            Some(memory) => assert!(memory < MEMORY_KIB_MAX, "{what}: {memory} KiB of memory"),
            None => assert!(seen.contains("REFUSED"), "{what}: the daemon is gone\n{seen}"),
        }
        seen
    }
}

#[test]
fn whatever_lies_in_the_place_of_a_registrys_file_is_survived() {
    needs!("fuse", "root", "perl", "getfattr", "jq");
    let scene = Scene::new();
    for (what, thing) in things() {
        scene.anew();
        (0..FILES.len()).for_each(|number| scene.replace(number, thing));
        let seen = scene.look(what, true);
        assert!(!seen.contains("REFUSED"), "{what}: {seen}");
        assert!(!seen.contains("root:x:0"), "{what}: {seen}");
    }
    let tried = things().count() * FILES.len();
    reliability_row(
        "hostile things in the place of a store's files",
        tried as u64,
        "everything else was served, in bounded time and memory",
        "REGFS_HOSTILE=12 cargo test --release --test hostile whatever",
    );
}

#[test]
fn whatever_lies_in_the_place_of_our_own_files_is_survived() {
    needs!("fuse", "root", "perl", "getfattr", "jq");
    let scene = Scene::new();
    run_in(
        scene.beside(),
        "rm -rf whole/docker/registry/v2/repositories/r[2-9]* whole/docker/registry/v2/repositories/r1?",
    );
    for (what, thing) in things() {
        for ours in OURS {
            scene.anew();
            let script = format!("AT=store/regfs/{ours}; rm -rf $AT; mkdir -p ${{AT%/*}}; {thing}");
            run_in(scene.beside(), &script);
            scene.look(&format!("{what} as {ours}"), false);
        }
    }
}

/// Names that no registry makes, in every folder of a store.
#[test]
fn strange_names_and_deep_folders_are_survived() {
    needs!("fuse", "root", "perl", "getfattr", "jq");
    let scene = Scene::new();
    run_within(
        MANY_NAMES_WITHIN,
        &scene.beside().join("store"),
        r#"
        find . -type d > ../folders
        while read -r folder; do
            for name in "$(printf '\033[31mred')" "$(printf 'new\nline')" "$(printf '\377\376')" \
                "$(printf '%0255d' 0)" ' ' "it's" '$(reboot)' '..x' '%' '-rf'; do
                : > "$folder/$name"; mkdir "$folder/d$name" 2> /dev/null
            done
        done < ../folders
        for at in docker/registry/v2/repositories docker/registry/v2/repositories/r1 docker/registry/v2/blobs regfs/trash regfs/tmp; do
            perl -e 'chdir shift; for (1..2000) { mkdir "d"; chdir "d" or die }' $at
        done
        printf '\033[31m' > docker/registry/v2/repositories/r3/_uploads/*/name
        mkdir regfs/trash/deep
        perl -e 'chdir shift; for (1..5000) { mkdir "d"; chdir "d" or die }' regfs/trash/deep
        # As after a kill, so that all of it is cleared up.
        mkdir -p regfs/mounts; : > regfs/mounts/1eea0b5e-3b1c-4b7e-9e64-4c9c1f0a2d11
        truncate -s 1T docker/registry/v2/repositories/r4/_uploads/*/data
        "#,
    );
    scene.look("strange names", true);
    let left = run_in(&scene.beside().join("store/regfs"), "ls trash tmp | wc -l");
    assert_eq!(left.trim(), "3", "the names of both folders and a line between them");
}
