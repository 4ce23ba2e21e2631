//! Links out of the store, symbolic and hard.
//!
//! A store whose every part is a symbolic link in turn, to the same part of another store outside:
//! whatever is done to the mount, to that other store nothing is done, and nothing of it is read.
//!
//! REGFS_PLANTED says for how many parts; every so many-th is taken then.

use crate::common::{
    self, Mount, digest_of, effort, manifest_of, needs, reliability_row, run_in, session,
    session_with, try_in,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::{MetadataExt as _, symlink},
    path::{Path, PathBuf},
};

/// Everything that a user can do. What fails is of no interest, only what comes of it.
const EVERYTHING: &str = r#"
    trap 'regfs umount mnt || umount -l mnt' EXIT
    exec 2>&1
    regfs mount --log daemon.log store mnt || exit 0
    cd mnt
    ls -lR . ; find . ; getfattr -R -d . ; df .
    cat a/b/layers/* a/b/manifests/* a/b/uploads/* a/b/manifests/$MANIFEST
    stat -t a a/b a/b/* a/b/*/* a/b/manifests/$MANIFEST
    for it in a a/b a/b/layers a/b/manifests a/b/uploads a/b/layers/* a/b/uploads/* \
        a/b/manifests/v1 a/b/manifests/$MANIFEST; do
        chmod 700 $it; chown 1:1 $it; touch -d 2001-02-03 $it; setfattr -n user.x -v y $it
    done
    cp ../new a/b/layers/$NEW; cp ../layer a/b/layers/$LAYER; ln a/b/layers/$LAYER a/layers/$LAYER
    printf more >> a/b/uploads/half; truncate -s 3 a/b/uploads/half; cp ../new a/b/uploads/new
    mv a/b/uploads/half a/b/uploads/other; mv a/b/uploads/new a/b/layers/$NEW
    printf x > a/b/uploads/x; sync -f .; sync a/b a/b/layers a/b/manifests/v1
    ln a/b/manifests/v1 a/b/manifests/v2; mv a/b/manifests/v2 a/b/manifests/v3
    mv --exchange a/b/manifests/v1 a/b/manifests/v3; cp ../manifest a/b/manifests/v4
    mkdir a/n a/b/c n n/m; rmdir a/n n/m; cp ../new n/uploads/new
    rm -f a/b/uploads/*; rm -f a/b/manifests/v1; rm -f a/b/layers/$NEW
    mv a/b a/c; mv a/c a/b; rm -f a/b/manifests/$MANIFEST; rm -rf a/b; rm -rf a
    cd ..
    regfs status mnt; cat mnt/.regfs/errors
"#;
/// The same for who has only the store.
const BESIDE: &str = "
    exec 2>&1
    regfs verify --quarantine store; regfs verify --resume store; regfs gc --dry-run --grace 0s store
";

/// A store with something of every kind in it, not mounted, and the digests in it.
struct Scene {
    mount: Mount,
    variables: Vec<(&'static str, String)>,
}

impl Scene {
    fn new() -> Self {
        let mut mount = Mount::empty();
        let layer = mount.push_layer("a/b", b"a layer of some bytes");
        let config = mount.push_layer("a/b", b"{}");
        let manifest = manifest_of((&config, 2), &[(&layer, 21)]);
        fs::write(mount.beside().join("manifest"), &manifest).unwrap();
        fs::write(mount.beside().join("layer"), "a layer of some bytes").unwrap();
        fs::write(mount.beside().join("new"), "new").unwrap();
        run_in(
            mount.path(),
            "cp ../manifest a/b/manifests/v1; head -c 100000 /dev/zero > a/b/uploads/half",
        );
        mount.unmount();
        let variables = vec![
            ("LAYER", layer),
            ("MANIFEST", digest_of(manifest.as_bytes())),
            ("NEW", digest_of(b"new")),
        ];
        run_in(mount.beside(), "mv store whole; cp -a whole outside");
        Self { mount, variables }
    }

    fn beside(&self) -> &Path {
        self.mount.beside()
    }

    /// Makes the store anew, with a link in the place of `part`.
    fn plant(&self, part: &Path) {
        run_in(self.beside(), "rm -rf store outside; cp -a whole store; cp -a whole outside");
        self.make_recognisable();
        let (place, aim) = (self.beside().join("store").join(part), self.beside().join("outside"));
        run_in(self.beside(), &format!("rm -r '{}'", place.display()));
        symlink(aim.join(part), place).unwrap();
    }

    /// What lies outside is told from what belongs to the store wherever it comes to light.
    fn make_recognisable(&self) {
        run_in(
            &self.beside().join("outside/docker/registry/v2"),
            "
            for data in blobs/sha256/*/*/data; do printf SECRET | dd of=$data conv=notrunc status=none; done
            cp -a repositories/a/b repositories/a/secret
            cp -a repositories/a repositories/secret
            for tags in repositories/a/b/_manifests/tags; do cp -a $tags/v1 $tags/secret; done
            for name in repositories/a/b/_uploads/*/name; do printf uploads/secret > $name; done
            find . -name data -exec setfattr -n user.secret -v secret {} +
            find . -name link -exec setfattr -n user.secret -v secret {} +
            ",
        );
    }

    fn run(&self, script: &str) -> String {
        let variables: Vec<(&str, &str)> =
            self.variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        try_in(self.beside(), &variables, script).1
    }
}

/// Everything that a change of any kind would change, of everything below `folder`: the time of change
/// is one that nobody can set.
fn state(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let stat = fs::symlink_metadata(entry.path()).unwrap();
            if stat.is_dir() {
                folders.push(entry.path());
            }
            let (seconds, nanoseconds) = (stat.ctime(), stat.ctime_nsec());
            let state = format!(
                "{} {:o} {}:{} {} {seconds}.{nanoseconds}",
                stat.ino(),
                stat.mode(),
                stat.uid(),
                stat.gid(),
                stat.len()
            );
            found.insert(entry.path(), state);
        }
    }
    found
}

/// Every part of the store, of each kind one: a name that is drawn or computed stands for all.
fn parts(store: &Path) -> Vec<PathBuf> {
    let listed = run_in(store, "find . -mindepth 1 | sort");
    let is_drawn = |name: &str| name.len() == 64 || name.len() == 36;
    let kind = |path: &str| {
        let names = path.split('/').map(|name| if is_drawn(name) { "*" } else { name });
        names.map(|name| if name.len() == 2 { "**" } else { name }).collect::<Vec<_>>().join("/")
    };
    let mut kinds = BTreeSet::new();
    let all = listed.lines().map(|line| line.trim_start_matches("./"));
    all.filter(|path| kinds.insert(kind(path))).map(PathBuf::from).collect()
}

#[test]
fn a_symbolic_link_in_any_part_of_the_store_leads_nowhere() {
    needs!("fuse", "root", "getfattr", "setfattr");
    let scene = Scene::new();
    let parts = parts(&scene.beside().join("whole"));
    let wanted = usize::try_from(effort("REGFS_PLANTED", 8)).unwrap().clamp(1, parts.len());
    let step = parts.len().div_ceil(wanted);
    let mut tried = 0;
    for part in parts.iter().step_by(step) {
        scene.plant(part);
        let outside = scene.beside().join("outside");
        let before = state(&outside);
        let seen = scene.run(EVERYTHING) + &scene.run(BESIDE);
        let (part, after) = (part.display(), state(&outside));
        let changed: Vec<_> =
            before.iter().filter(|(path, was)| after.get(*path) != Some(was)).collect();
        assert!(before == after, "{part}: outside the store was changed {changed:?}\n{seen}");
        let leaked = seen.lines().find(|line| line.to_lowercase().contains("secret"));
        assert!(leaked.is_none(), "{part}: outside the store was read {leaked:?}");
        assert!(!common::is_mounted(scene.mount.path()), "{part}: it is still mounted\n{seen}");
        let panicked = seen.contains("panicked");
        assert!(!panicked, "{part}: {seen}");
        tried += 1;
    }
    reliability_row(
        "a symbolic link in the place of a part of the store, and every operation on the mount",
        tried,
        "nothing outside the store was read or changed",
        "REGFS_PLANTED=1000 cargo test --release --test hostile symbolic",
    );
}

/// The store's owner may put a link to any file in the place of one of ours; where the system lets them,
/// and root looks after their store.
#[test]
fn root_gives_away_nothing_that_it_has_not_made() {
    needs!("root");
    let folder = common::scratch();
    let ours = ["version", "lock", "gate", "turnstile", "moves", "moves-turnstile", "collector"];
    for ours in ours.into_iter().chain(["verify-last.json"]) {
        session_with(
            folder.path(),
            &[("OURS", ours)],
            "
            $ rm -rf store roots; mkdir -p store/docker/registry/v2/blobs/sha256 store/docker/registry/v2/repositories store/regfs
            $ printf 1 > roots; chmod 600 roots; chown -R 65534:65534 store; ln roots store/regfs/$OURS
            $ regfs verify store > out 2>&1; regfs gc store >> out 2>&1; stat -c '%u %a' roots
            0 600
            $ find store ! -user 65534 ! -samefile roots
            ",
        );
    }
    session(
        folder.path(),
        "
        $ rm -rf store; mkdir -p store/docker/registry/v2/blobs/sha256 store/docker/registry/v2/repositories store/regfs
        $ chown -R 65534:65534 store; mkdir store/regfs/states store/regfs/collected; echo > store/regfs/states/roots
        $ echo > store/regfs/collected/roots; regfs verify store > out 2>&1; regfs gc store > out 2>&1; stat -c '%u %n' store/regfs/states store/regfs/collected
        0 store/regfs/states
        0 store/regfs/collected
        $ find store/regfs ! -user 65534 | wc -l
        3
        ",
    );
}
